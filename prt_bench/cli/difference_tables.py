"""What changed between two boards, for people on a terminal, and as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from prt_bench.board.differences import KINDS, Change, Differences, Kind
from prt_bench.board.verdicts import Standing
from prt_bench.cli.tables import MARKS, points
from prt_bench.records import USUAL_CHOICE

__all__ = ["difference_rows", "print_differences"]

SHOWN: tuple[Kind, ...] = tuple(kind for kind in KINDS if kind != "unchanged")
STANDINGS: dict[Kind, Standing] = {"better": "above", "worse": "below", "within noise": "same", "unchanged": "same"}
COMPARED: tuple[Kind, ...] = tuple(STANDINGS)
LEGEND = (
    "Scores in %, differences in points, B − A, paired over common seeds and test items, with 95 % intervals. ▲ "
    "better, ▼ worse, ≈ not distinguishable: after Holm's correction over all rows that were measured again."
)


def print_differences(found: Differences, names: tuple[str, str], console: Console) -> None:
    """A table per kind of change and pair; unchanged rows are counted."""
    console.print(f"A: {names[0]}\nB: {names[1]}", markup=False, highlight=False, soft_wrap=True)
    console.print(", ".join(f"{len(found.of(kind))} {kind}" for kind in KINDS) + "\n", highlight=False)
    for kind in SHOWN:
        changes = found.of(kind)
        for pair in dict.fromkeys(str(change.table.pair) for change in changes):
            alike = [change for change in changes if str(change.table.pair) == pair]
            console.print(_table(kind, pair, alike))
    if any(found.of(kind) for kind in COMPARED):
        console.print(LEGEND, highlight=False)


def _table(kind: Kind, pair: str, changes: Sequence[Change]) -> RichTable:
    compared = kind in COMPARED
    shown = RichTable(title=escape(f"{kind}: {pair}"), title_justify="left", box=SIMPLE, pad_edge=False)
    for name in ("method", "task"):
        shown.add_column(name, overflow="fold")
    for name in ("A", "B", *(("difference", "seeds") if compared else ())):
        shown.add_column(name, justify="right", no_wrap=True)
    for change in changes:
        cells = [_method(change), _task(change), _percent(change.was), _percent(change.now)]
        if compared and change.found is not None:
            cells += [f"{MARKS[STANDINGS[kind]]} {points(change.found)}", str(change.found.n_seeds)]
        shown.add_row(*map(escape, cells))
    return shown


def _method(change: Change) -> str:
    return "\n  ".join(filter(None, (change.row.label, change.row.settings, change.note)))


def _task(change: Change) -> str:
    table, strengths = change.table, change.row.strengths
    after = f"after {table.tuned_on}" if table.tuned_on else ""
    chosen = "constants" if strengths == "constants" else f"chosen on the {strengths}"
    if strengths == USUAL_CHOICE.get(table.track):
        chosen = ""
    return "\n  ".join(filter(None, (table.task, after, f"{table.track} track", chosen)))


def _percent(score: float | None) -> str:
    return "–" if score is None else f"{100 * score:.1f}"


def difference_rows(found: Differences, names: tuple[str, str]) -> dict[str, Any]:
    """What changed, as plain values: scores and differences are fractions, B − A."""
    return {
        "before": names[0],
        "after": names[1],
        "counts": {kind: len(found.of(kind)) for kind in KINDS},
        "changes": [_row(change) for change in found.changes],
    }


def _row(change: Change) -> dict[str, Any]:
    table, row, found = change.table, change.row, change.found
    return {
        "kind": change.kind,
        "source": table.pair.source,
        "target": table.pair.target,
        "task": table.task,
        "tuned_on": table.tuned_on,
        "version": table.version,
        "data_sha256": table.data_sha256,
        "track": table.track,
        "recipe": table.recipe,
        "metric": table.primary,
        "method": row.label,
        "settings": row.settings,
        "strengths": row.strengths,
        "before": change.was,
        "after": change.now,
        "n": found.n_items if found else None,
        "seeds": found.n_seeds if found else None,
        "difference": found.value if found else None,
        "low": found.interval[0] if found else None,
        "high": found.interval[1] if found else None,
        "p": found.p if found else None,
        "p_holm": change.adjusted,
        "note": change.note,
    }
