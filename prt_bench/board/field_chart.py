"""The field as a picture: what each method gains over the best floor, against what a query costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from prt_bench.board.numerals import number
from prt_bench.board.scatter import Chart, Interval, Level, Point, Side, chart, looks, pareto

__all__ = ["FieldPoint", "field_chart"]

RATIO = "'×' + format(datum.value, '~g')"
SIGNED = "datum.value == 0 ? '0' : format(datum.value, '+~g')"


@dataclass(frozen=True)
class FieldPoint:
    """A method over tables."""

    label: str
    title: str
    role: str
    cost_ratio: float | None
    """FLOPs of a query, the target alone = 1; None where they are not counted."""
    difference: float
    """Mean difference to the best floor, as a fraction."""
    interval: Interval | None
    """95 %; None where one table says nothing of others."""
    n_tables: int


def field_chart(
    points: Sequence[FieldPoint], title: str, subtitle: Sequence[str] = (), order: Sequence[str] = ()
) -> Chart | None:
    """One point per method; None where none has a cost. `order`: labels of the whole site, for looks."""
    shown = [_point(point) for point in points if point.cost_ratio is not None]
    left_out = [f"{point.title}: FLOPs not counted" for point in points if point.cost_ratio is None]
    if not shown:
        return None
    keys = [*order, *sorted(point.label for point in points if point.label not in order)]
    front = ", ".join(point.name for point in pareto(shown))
    summary = (
        f"{title}: {len(shown)} method{'' if len(shown) == 1 else 's'}, mean difference to the best floor against "
        f"FLOPs per query. Pareto front, from cheap to dear: {front}. The table holds the same numbers."
    )
    made = chart(
        shown,
        [Level("best floor", 0.0, strong=True)],
        looks(list(dict.fromkeys(keys))),
        title,
        subtitle,
        Side("FLOPs per query, target alone = ×1", RATIO),
        Side("difference to the best floor, points", SIGNED),
        summary,
    )
    return replace(made, left_out=left_out)


def _point(point: FieldPoint) -> Point:
    assert point.cost_ratio is not None
    ends = None if point.interval is None else (100 * point.interval[0], 100 * point.interval[1])
    told = f"{100 * point.difference:+.1f} points"
    facts = {
        "To the best floor": told if ends is None else f"{told} [{ends[0]:+.1f}, {ends[1]:+.1f}]",
        "FLOPs per query": f"×{number(point.cost_ratio)}",
        "Over": f"{point.n_tables} table{'' if point.n_tables == 1 else 's'}",
    }
    return Point(point.label, point.title, point.cost_ratio, 100 * point.difference, ends, facts=facts)
