"""Tables for people, on a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from prt_bench.board.table import Row, Table
from prt_bench.board.verdicts import GAINS
from prt_bench.comparing import NO_GAP, Estimate
from prt_bench.records import LatencyRow

__all__ = [
    "MARKS",
    "difference_text",
    "in_bytes",
    "points",
    "print_gains",
    "print_tables",
    "score_text",
    "signed",
]

NAME_WIDTH = 16
NOT_VALID = "!"
MARKS = {"above": "▲", "below": "▼", "same": "≈"}
LEGEND = (
    "▲ above and ▼ below the best floor, after Holm's correction over the table; ≈ not distinguishable from it. "
    "Intervals are 95 %, over items and seeds, each of its own row: one that leaves out 0 is not yet a ▲ or ▼."
)
GAINS_LEGEND = (
    "Ensembling: the untuned source added to the target; tuned: the tuned source in its place; beyond: what the method "
    "does beyond that plain ensemble (for a reward: the learning of it). Gap closed: of that between untuned and "
    "tuned target, where it is above its noise."
)


def print_tables(tables: Iterable[Table], console: Console) -> None:
    """One table per pair × task: methods × (score, difference to the best floor, GFLOPs, ms)."""
    shown = list(tables)
    for table in shown:
        seeds = max(len(row.seeds) for row in table.rows)
        title = (
            f"{table.pair}  {table.task}\nversion {table.version}, {table.n} test items, {table.primary}, "
            f"{seeds} seed{'s' if seeds > 1 else ''}, track {table.track}, recipe {table.recipe}"
        )
        columns = ("score %", "to untuned target" if table.tuned_on else "to best floor", "GFLOPs", "ms")
        rows = [
            (
                score_text(row),
                _points(row.verdicts.to_target) if table.tuned_on else difference_text(row),
                "–" if row.gflops is None else f"{row.gflops:.3g}",
                _milliseconds(row.latency),
            )
            for row in table.rows
        ]
        _print(title, columns, table.rows, rows, console)
        console.print(_told(table), highlight=False)
        invalid = [row.latency for row in table.rows if row.latency and not row.latency.valid]
        if invalid:
            reasons = dict.fromkeys(reason for latency in invalid for reason in latency.reasons)
            told = "; ".join(reasons) or "no reason given"
            console.print(f"{NOT_VALID}: not a valid timing: {told}", markup=False, highlight=False)
        console.print()
    if shown:
        console.print(LEGEND + "\n", highlight=False)


def print_gains(tables: Iterable[Table], console: Console) -> None:
    """Where each score comes from: gains step by step, the difference to the tuned target, and the gap closed."""
    told = False
    for table in tables:
        rows, values = [], []
        for row in table.rows:
            gains = row.verdicts.gains
            if not isinstance(gains, str):
                rows.append(row)
                *steps, beyond = (gains[name] for name in GAINS)
                values.append(
                    (
                        *(signed(step.value) for step in steps),
                        points(beyond),
                        _points(row.verdicts.to_reference),
                        _gap(row.verdicts.gap),
                    )
                )
        if rows:
            title = f"{table.pair}  {table.task}\ntrack {table.track}: gains in points from the untuned target on"
            _print(
                title, ("ensem-\nbling", "tuned", "beyond", "to tuned\ntarget", "gap\nclosed"), rows, values, console
            )
            told = True
    if told:
        console.print(GAINS_LEGEND, highlight=False)


def _print(
    title: str, columns: Sequence[str], named: Sequence[Row], values: Sequence[Sequence[str]], console: Console
) -> None:
    shown = RichTable(title=escape(title), title_justify="left", box=SIMPLE, padding=(0, 0, 0, 1), pad_edge=False)
    shown.add_column("method", overflow="fold", min_width=NAME_WIDTH)
    for name in columns:
        shown.add_column(name, justify="right", no_wrap=True)
    most = max((len(row.seeds) for row in named), default=0)
    widths = [
        max(len(line) for cell in column for line in cell.splitlines() or [""])
        for column in zip(columns, *values, strict=True)
    ]
    if NAME_WIDTH + 2 + sum(width + 2 for width in widths) > console.width:
        # Else the last columns would be cut off.
        values = [[cell.replace(" [", "\n[") for cell in cells] for cells in values]
    for row, cells in zip(named, values, strict=True):
        few = "" if len(row.seeds) == most else f"{len(row.seeds)} seed{'' if len(row.seeds) == 1 else 's'}"
        told = ", ".join(filter(None, (row.note, few)))
        shown.add_row(escape(row.label + (f" ({told})" if told else "")), *map(escape, cells))
    console.print(shown)


def _told(table: Table) -> str:
    """Which rows may be the best, and what the table could have seen."""
    best = [row.title + (f" ({row.note})" if row.note else "") for row in table.rows if row.verdicts.among_best]
    told = f"≈ best (beaten by no other row): {', '.join(best)}" if len(best) > 1 else f"best: {', '.join(best)}"
    if table.detectable is not None:
        told += f"; a true difference to the floor of {100 * table.detectable:.1f} points is seen 4 times of 5"
    if table.tuned_on:
        told += f"; tuned on {table.tuned_on}: what lies below the untuned target was forgotten"
    return escape(told)


def _milliseconds(latency: LatencyRow | None) -> str:
    if latency is None:
        return "–"
    return f"{latency.p50_ms:.2f}" + ("" if latency.valid else f" {NOT_VALID}")


def score_text(row: Row) -> str:
    """Score in percent with its interval."""
    low, high = row.score_ci95
    return f"{100 * row.score:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def difference_text(row: Row) -> str:
    """Paired difference in points with its interval and what may be said of it, or why there is none."""
    if row.difference is None or row.verdicts.standing is None:
        return "best floor" if row.is_best_floor else "–"
    return f"{MARKS[row.verdicts.standing]} {points(row.difference)}"


def points(found: Estimate) -> str:
    """A difference in points with its interval."""
    return f"{signed(found.value)} [{', '.join(map(signed, found.interval))}]"


def signed(difference: float) -> str:
    """A difference in points."""
    return f"{100 * difference:+.1f}"


def _points(found: Estimate | str) -> str:
    return "–" if isinstance(found, str) else points(found)


def _gap(found: tuple[float, float, float] | str) -> str:
    if isinstance(found, str):
        return "no gap" if found == NO_GAP else "–"
    low, share, high = found
    return f"{100 * share:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"


def in_bytes(size: float) -> str:
    """A size in decimal units, as hubs and disks count."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
