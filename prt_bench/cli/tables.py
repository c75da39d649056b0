"""Tables for people, on a terminal."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from prt_bench.board.table import Row, Table

__all__ = ["difference_text", "in_bytes", "print_tables", "score_text"]


def print_tables(tables: Iterable[Table], console: Console) -> None:
    """One table per pair × task: methods × (score, difference to the best floor, GFLOPs, ms)."""
    for table in tables:
        seeds = max(len(row.seeds) for row in table.rows)
        title = (
            f"{table.pair}  {table.task}\nversion {table.version}, {table.n} test items, {table.primary}, "
            f"{seeds} seed{'s' if seeds > 1 else ''}, track {table.track}, recipe {table.recipe}"
        )
        shown = RichTable(title=escape(title), title_justify="left")
        shown.add_column("method", overflow="fold", min_width=16)
        for name in ("score %", "to best floor", "GFLOPs", "ms"):
            shown.add_column(name, justify="right", no_wrap=True)
        for row in table.rows:
            latency = row.latency
            shown.add_row(
                escape(row.label + (f" ({row.note})" if row.note else "")),
                score_text(row),
                difference_text(row),
                "–" if row.gflops is None else f"{row.gflops:.3g}",
                "–" if latency is None else f"{latency.p50_ms:.2f}",
            )
        console.print(shown)


def score_text(row: Row) -> str:
    """Score in percent with its interval."""
    low, high = row.score_ci95
    return f"{100 * row.score:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def difference_text(row: Row) -> str:
    """Paired difference in points with its interval, or why there is none."""
    if row.difference is None:
        return "best floor" if row.is_best_floor else "–"
    low, middle, high = row.difference
    return f"{100 * middle:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"


def in_bytes(size: float) -> str:
    """A size in decimal units, as hubs and disks count."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
