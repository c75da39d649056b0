"""`prt-bench run`: the main job."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table as RichTable

from prt_bench.board.site import build_site
from prt_bench.board.table import Filed, find_records, tables
from prt_bench.cli.progress import Show
from prt_bench.cli.settings import Settings
from prt_bench.cli.tables import print_tables
from prt_bench.errors import RequestError
from prt_bench.plan import Plan, RunRequest, make_plan
from prt_bench.records import read_record
from prt_bench.runner import Outcome, RunOptions, foresee, run_plan

__all__ = ["run"]


class Track(StrEnum):
    """Whose hyper-parameters."""

    paper = "paper"


class Executor(StrEnum):
    """Where cells are done."""

    local = "local"


def run(
    context: typer.Context,
    pair: Annotated[list[str] | None, typer.Option(help="SOURCE:TARGET; may be given several times.")] = None,
    suite: Annotated[str | None, typer.Option(help="A named list of what to run.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="A task's name; may be given several times.")] = None,
    method: Annotated[list[str] | None, typer.Option(help="NAME[:key=value[,key=value]]; several times.")] = None,
    data: Annotated[
        list[Path] | None, typer.Option(help="Own image folder with train/ and test/, or task file.")
    ] = None,
    track: Annotated[Track, typer.Option(help="The published hyper-parameters as they are.")] = Track.paper,
    seeds: Annotated[int | None, typer.Option(min=1, help="Training seeds 0 … N−1.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only N test examples; never on the board.")] = None,
    executor: Annotated[Executor, typer.Option(help="Where cells are done.")] = Executor.local,
    shard: Annotated[str | None, typer.Option(help="I/N: only every N-th cell, from the I-th.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first cell that fails.")] = False,
    cell_timeout: Annotated[float | None, typer.Option(min=0.1, help="Seconds a cell may take.")] = None,
    cell_memory: Annotated[int | None, typer.Option(min=0, help="Bytes a cell's process may hold.")] = None,
) -> int:
    """Run methods over pairs × tasks and build the leaderboard; with nothing named, the demo suite."""
    settings: Settings = context.obj
    request = RunRequest(
        pairs=tuple(pair or ()),
        suite=suite,
        tasks=tuple(task or ()),
        methods=tuple(method or ()),
        data=tuple(data or ()),
        track=track.value,
        seeds=seeds,
        limit=limit,
        shard=_shard(shard),
        out=settings.out,
        store=settings.store,
        offline=settings.offline,
        plugins=settings.plugins,
        data_dir=settings.data_dir,
        weights_dir=settings.weights_dir,
        device=settings.device,
        words=settings.words,
    )
    stderr = Console(stderr=True)
    with Show(stderr) as show:
        plan = make_plan(request, show.progress)
    if dry_run:
        _print_plan(plan, Console(), stderr)
        return 0
    missing = plan.missing
    if (request.out / "results").is_dir():
        find_records(request.out)  # The page is made of all of them: a damaged one is named before any work.
    if missing:
        stderr.print(f"{len(missing)} of {len(plan.cells)} cells to do", highlight=False)
    with Show(stderr) as show:
        outcome = run_plan(plan, show, RunOptions(fail_fast, cell_timeout, cell_memory))
    return _close(plan, outcome, did_nothing=not missing, stderr=stderr)


def _close(plan: Plan, outcome: Outcome, did_nothing: bool, stderr: Console) -> int:
    filed = [Filed(read_record(planned.path), planned.path) for planned in plan.cells if planned.path.is_file()]
    print_tables(tables(filed), Console())
    page = build_site(find_records(plan.request.out), plan.request.out / "site")
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
    stderr.print(f"page: {page}", markup=False, highlight=False, soft_wrap=True)
    return 1 if outcome.failed else 0


def _print_plan(plan: Plan, console: Console, stderr: Console) -> None:
    table = RichTable("pair", "task", "version", "method", "seed", "state", title="plan", title_justify="left")
    missing = {id(planned) for planned in plan.missing}
    for planned in plan.cells:
        state = "to do" if id(planned) in missing else "done"
        cell = planned.cell
        table.add_row(str(cell.pair), cell.task, planned.task.version, planned.method.label, str(cell.seed), state)
    console.print(table)
    with Show(stderr) as show:
        training, reused, unknown = foresee(plan, show)
    console.print(
        f"{len(missing)} of {len(plan.cells)} cells to do; {len(training)} networks to train, {reused} at hand",
        highlight=False,
    )
    for text in training.values():
        console.print(f"  train {text}", markup=False, highlight=False, soft_wrap=True)
    for text in unknown:
        console.print(f"  known only while it runs: {text}", markup=False, highlight=False, soft_wrap=True)


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    index, slash, count = text.partition("/")
    if not slash or not index.isdecimal() or not count.isdecimal() or not 1 <= int(index) <= int(count):
        raise RequestError(f"--shard {text!r}: I/N with 1 ≤ I ≤ N, for example 1/4")
    return int(index), int(count)
