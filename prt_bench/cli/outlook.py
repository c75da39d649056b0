"""What a run would do, fetch, keep and take: said before it begins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from prt_bench.cli.fetch import needs_table
from prt_bench.cli.progress import Show
from prt_bench.cli.tables import in_bytes
from prt_bench.needs import Need
from prt_bench.plan import Plan, PlannedCell, make_plan
from prt_bench.requests import RunRequest
from prt_bench.runner import foresee

if TYPE_CHECKING:
    from prt_bench.estimate import Estimate

__all__ = ["print_outlook"]

REACHED = (0.2, 0.7)
"""Part of a matrix product's speed that networks are assumed to reach: an everyday and a good case."""


def print_outlook(request: RunRequest, found: Sequence[Need], console: Console, stderr: Console) -> None:
    """Print what a run would do, fetch, keep and take, whether or not its weights and data are at hand."""
    with Show(stderr) as show:
        plan = make_plan(request.model_copy(update={"assume": True}), show.progress)
    console.print(_plan_table(plan))
    labels = dict.fromkeys(planned.method.label for planned in plan.cells)
    console.print(f"methods: {', '.join(labels)}", markup=False, highlight=False, soft_wrap=True)
    if found:
        console.print(needs_table(found))
    if not plan.missing:
        console.print("nothing to do: all cells hold already", highlight=False)
        return
    with Show(stderr) as show:
        estimate, reason = foresee(plan, show)
    _print_estimate(plan, estimate, reason, found, console)


def _plan_table(plan: Plan) -> RichTable:
    table = RichTable(title="plan", title_justify="left")
    for name in ("pair", "task", "version"):
        table.add_column(name, overflow="fold")
    for name in ("methods", "seeds", "cells", "to do"):
        table.add_column(name, justify="right")
    missing = {id(planned) for planned in plan.missing}
    groups: dict[tuple[str, str], list[PlannedCell]] = {}
    for planned in plan.cells:
        groups.setdefault(planned.group, []).append(planned)
    for (pair, task), cells in groups.items():
        methods = {planned.method.label for planned in cells}
        seeds = {planned.cell.seed for planned in cells}
        todo = sum(id(planned) in missing for planned in cells)
        counts = (len(methods), len(seeds), len(cells), todo)
        table.add_row(escape(pair), escape(task), escape(cells[0].task.version), *map(str, counts))
    return table


def _print_estimate(
    plan: Plan, estimate: Estimate | None, reason: str, found: Sequence[Need], console: Console
) -> None:
    def say(text: str) -> None:
        console.print(text, markup=False, highlight=False, soft_wrap=True)

    head = f"{len(plan.missing)} of {len(plan.cells)} cells to do"
    if estimate is None:
        say(f"{head}; what they will take is known only while they run: {reason}")
        return
    say(f"{head}; {len(estimate.trainings)} networks to train or take, {estimate.reused} at hand")
    for text, count in Counter(estimate.trainings).items():
        say(f"  {count} × {text}")
    for text in estimate.skipped:
        say(f"  will be skipped: {text}")
    for text in estimate.unknown:
        say(f"  known only while it runs: {text}")
    to_fetch = [need for need in found if not need.at_hand]
    size = sum(need.size_bytes or 0 for need in to_fetch)
    unsized = sum(need.size_bytes is None for need in to_fetch)
    also = f" and {unsized} of unknown size" if unsized else ""
    data = sum(need.size_bytes or 0 for need in to_fetch if need.kind == "dataset")
    kept = estimate.artifact_bytes
    say(f"downloads: about {in_bytes(size)}{also}" if to_fetch else "downloads: none")
    say(
        f"disk: about {in_bytes(size + data + kept)}: downloads, a second copy of data in the form it is read in, and "
        f"{in_bytes(kept)} of tuned networks"
    )
    total = estimate.training_flops + estimate.reading_flops
    least, most = (_hours(estimate.hours / part) for part in reversed(REACHED))
    say(
        f"time: {total / 1e15:,.3f} PFLOPs, {least} to {most} on this machine's {plan.request.device}, where a matrix "
        f"product reaches {estimate.flops_per_second / 1e12:.3g} TFLOP/s, if networks reach {REACHED[0]:.0%} to "
        f"{REACHED[1]:.0%} of that; cost sessions and the reading of files come on top"
    )


def _hours(hours: float) -> str:
    return f"{60 * hours:.2g} min" if hours < 1 else f"{hours:,.0f} h"
