"""`prt-bench run`: the main job."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated

import typer
from rich.console import Console

from prt_bench.board.releases import read_board
from prt_bench.board.table import Filed, Table, tables
from prt_bench.cli import selection
from prt_bench.cli.fetch import fetch_needs
from prt_bench.cli.outlook import print_outlook
from prt_bench.cli.pages import build_pages
from prt_bench.cli.progress import Show
from prt_bench.cli.settings import Settings
from prt_bench.cli.tables import print_tables
from prt_bench.errors import RequestError
from prt_bench.models import sharing
from prt_bench.needs import Need, needs
from prt_bench.plan import Plan, make_plan
from prt_bench.records import read_record
from prt_bench.registry import Registry
from prt_bench.requests import RunRequest, choice
from prt_bench.runner import Outcome, RunOptions, run_plan

__all__ = ["run"]


class Executor(StrEnum):
    """Where cells are done."""

    local = "local"


def run(
    context: typer.Context,
    pair: selection.Pair = None,
    suite: selection.Suite = None,
    task: selection.Task = None,
    method: selection.Method = None,
    data: selection.Data = None,
    track: selection.TrackOption = selection.Track.paper,
    strengths: selection.StrengthsOption = None,
    recipe: selection.Recipe = None,
    seeds: selection.Seeds = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only N test examples; never on the board.")] = None,
    executor: Annotated[Executor, typer.Option(help="Where cells are done.")] = Executor.local,
    shard: Annotated[str | None, typer.Option(help="I/N: only every N-th cell, from the I-th.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first cell that fails.")] = False,
    cell_timeout: Annotated[float | None, typer.Option(min=0.1, help="Seconds a cell may take.")] = None,
    cell_memory: Annotated[int | None, typer.Option(min=0, help="Bytes a cell's process may hold.")] = None,
    allow_code: Annotated[
        bool,
        typer.Option("--allow-code-execution", help="Score tasks that run code which a model wrote, with limits."),
    ] = False,
) -> int:
    """Run methods over pairs × tasks and build the leaderboard; with nothing named, the demo suite."""
    settings: Settings = context.obj
    others = {"track": track.value, "recipe": recipe, "seeds": seeds, "limit": limit, "shard": _shard(shard)}
    others |= {"allow_code": allow_code, "strengths": strengths.value if strengths else None}
    request = selection.request_of(settings, pair, suite, task, method, data, **others)
    stderr = Console(stderr=True)
    registry = Registry(request.plugins, request.pins)
    found = needs(request, choice(request, registry), registry)
    missing_files = [need for need in found if not need.at_hand]
    if missing_files and request.offline and not dry_run:
        raise _not_at_hand(request, missing_files)
    to_fetch = [need for need in found if not need.at_hand and not request.offline]
    if dry_run or to_fetch:
        print_outlook(request, found, Console() if dry_run else stderr, stderr)
    if dry_run:
        return 0
    fetch_needs(to_fetch, registry, stderr, pins=None)
    with Show(stderr) as show:
        plan = make_plan(request, show.progress)
    missing = plan.missing
    _tell_vocabularies(plan, stderr)
    if missing:
        stderr.print(f"{len(missing)} of {len(plan.cells)} cells to do", highlight=False)
    with Show(stderr) as show:
        outcome = run_plan(plan, show, RunOptions(fail_fast, cell_timeout, cell_memory))
    return _close(plan, outcome, did_nothing=not missing, stderr=stderr)


def _tell_vocabularies(plan: Plan, stderr: Console) -> None:
    """What is masked where two vocabularies meet."""
    pairs = {str(planned.cell.pair): planned for planned in plan.cells}
    for pair, planned in pairs.items():
        found = sharing(planned.source, planned.target)
        if found.get("one_sided") or found.get("padding"):
            stderr.print(
                f"{pair}: {found['shared']:,} tokens shared; masked: {found['one_sided']:,} that one side lacks or "
                f"calls otherwise, {found['padding']:,} rows of padding",
                highlight=False,
                soft_wrap=True,
            )


def _not_at_hand(request: RunRequest, missing: Sequence[Need]) -> RequestError:
    """All that is missing, and the ways out, in one line."""
    asked = {
        "--suite": [request.suite] if request.suite else [],
        "--pair": request.pairs,
        "--task": request.tasks,
        "--data": map(str, request.data),
        "--recipe": [request.recipe] if request.recipe else [],
    }
    words = " ".join(f"{option} {value}" for option, values in asked.items() for value in values)
    return RequestError(
        f"not at hand: {', '.join(need.what for need in missing)}; connect and run `prt-bench fetch {words}`, or bring "
        "copies with --weights-dir DIR and --data-dir DIR as docs/real-models.md says, or try an embedded pair: --pair "
        "nano-rn16-a:nano-rn24-b"
    )


def _close(plan: Plan, outcome: Outcome, did_nothing: bool, stderr: Console) -> int:
    filed = [Filed(read_record(planned.path), planned.path) for planned in plan.cells if planned.path.is_file()]
    out = plan.request.out
    try:
        shown = _asked_for(plan)
    except RequestError:
        # A release is not as it was frozen: the pages are refused for it below, when what was run here is shown.
        shown = tables(filed)
    print_tables(shown, Console())
    build_pages(out, out / "site", plan.registry, plan.request.store)
    if did_nothing:
        stderr.print(f"nothing to do: all {len(plan.cells)} cells hold already", highlight=False)
    if any(entry.record.partial for entry in filed):
        stderr.print("made with --limit: partial, so in no table and not on the board", highlight=False)
    for record in outcome.failed:
        cell = record.cell
        where = f"{record.error.message} ({record.error.where})" if record.error else ""
        text = f"failed: {cell.pair} {cell.task} {cell.method} seed {cell.seed}: {where}"
        stderr.print(text, markup=False, soft_wrap=True)
    if outcome.not_tried:
        stderr.print(f"{outcome.not_tried} cells were not tried (--fail-fast)", highlight=False)
    stderr.print(f"page: {out / 'site' / 'index.html'}", markup=False, highlight=False, soft_wrap=True)
    return 1 if outcome.failed else 0


def _asked_for(plan: Plan) -> list[Table]:
    """The board's tables that the cells of this run belong to; made with --limit they are in none."""
    if plan.request.limit is not None:
        return []
    held, _ = read_board(plan.request.out)
    pairs = {(planned.cell.pair, planned.cell.task) for planned in plan.cells}
    found = tables(entry for entry in held.filed if (entry.record.cell.pair, entry.record.cell.task) in pairs)
    asked = {(cell.pair, cell.task, cell.track, cell.recipe_name) for cell in (planned.cell for planned in plan.cells)}
    return [table for table in found if (table.pair, table.task, table.track, table.recipe) in asked]


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    index, slash, count = text.partition("/")
    if not slash or not index.isdecimal() or not count.isdecimal() or not 1 <= int(index) <= int(count):
        raise RequestError(f"--shard {text!r}: I/N with 1 ≤ I ≤ N, for example 1/4")
    return int(index), int(count)
