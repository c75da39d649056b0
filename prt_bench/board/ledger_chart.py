"""The ledger as a picture: totals against upgrades, and which method is cheapest where."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prt_bench.board.drawing import (
    COLOURS,
    DASHES,
    GREY,
    INK,
    PAPER,
    SHAPES,
    cut,
    dressed,
    powers,
    prefixed,
    spread,
    write_chart,
)
from prt_bench.lifetime import Amount, BreakEven, Ledger, LedgerLine, break_even_upgrades, counted, territory

if TYPE_CHECKING:
    import altair

__all__ = ["draw", "specification"]

STEPS = 120
MOST_UPGRADES, MOST_QUERIES = 1e3, 1e12
WIDTH, HEIGHT = 380, 340
ROOM = 285
"""Pixels between the panels, for the labels of the left and the axis of the right one."""
PER_SIGN, LINE = 7.6, 16.0
"""Pixels of a sign of a region's name, and of its line."""
LONGEST = 26
"""Signs of a label."""
Row = dict[str, Any]


def draw(ledger: Ledger, upgrades: int, queries: float, within: float | None, path: Path) -> None:
    """Write the chart as SVG, PNG or HTML, by the file's suffix. The page holds the picture and no script.

    Raises:
        RequestError: the file cannot be written.
    """
    write_chart(specification(ledger, upgrades, queries, within), path, _title(ledger))


def specification(ledger: Ledger, upgrades: int, queries: float, within: float | None) -> dict[str, Any]:
    """The chart in Vega-Lite."""
    import altair

    look = _look(ledger, within)
    most = max(MOST_UPGRADES, 10.0 ** math.ceil(math.log10(upgrades)))
    many = max(MOST_QUERIES, 10.0 ** math.ceil(math.log10(queries)))
    asked = {"upgrades": upgrades, "queries": queries}
    left = _totals(ledger, look, asked, most)
    right = _cheapest(ledger.eligible(within), look, asked, most, many, _bound(ledger, within))
    chart = altair.hconcat(left, right, spacing=ROOM, bounds="flush")
    return dressed(chart, _title(ledger), _subtitle(ledger, asked), offset=34, padding=18)


def _title(ledger: Ledger) -> str:
    targets = ", ".join(pair.target for pair in ledger.pairs)
    return f"What keeping a tuning costs: {ledger.pairs[0].source} → {targets}"


def _subtitle(ledger: Ledger, asked: Mapping[str, float]) -> list[str]:
    seeds = sorted({len(line.seeds) for line in ledger.lines})
    told = " to ".join(map(str, dict.fromkeys((seeds[0], seeds[-1])))) + (" seed" if seeds == [1] else " seeds")
    recipe = f", recipe {ledger.recipe}" if ledger.recipe else ""
    told_at = f"upgrades {counted(asked['upgrades'])}, queries {counted(asked['queries'], words=True)}"
    lines = [
        f"{ledger.task}, {ledger.n:,} test items, {told}, track {ledger.track}{recipe}; scores are {ledger.primary}; "
        "1 multiply-add = 2 FLOPs",
        f"Dotted line and cross: {told_at}; grey: never called cheapest",
    ]
    if ledger.embedded:
        lines.append("Embedded models: they show the mechanism and prove nothing of real ones")
    return lines


def _bound(ledger: Ledger, within: float | None) -> str:
    if within is None:
        return "scores are not looked at"
    return f"within {within:g} point{'' if within == 1 else 's'} of {cut(ledger.reference.title, LONGEST)}"


@dataclass(frozen=True)
class _Look:
    """How each method is drawn: label → name, colour, dashes, shape."""

    names: Mapping[str, str]
    colours: Mapping[str, str]
    dashes: Mapping[str, list[int]]
    shapes: Mapping[str, str]

    def scale(self, kind: Mapping[str, Any]) -> altair.Scale:
        import altair

        return altair.Scale(domain=list(kind), range=list(kind.values()))


def _look(ledger: Ledger, within: float | None) -> _Look:
    """Methods that may be called cheapest have colours; the others are grey. None is told by its colour alone."""
    eligible = [line.label for line in ledger.eligible(within)]
    order = [*eligible, *(line.label for line in ledger.lines if line.label not in eligible)]
    titles = [line.title for line in ledger.lines]
    names = {
        line.label: cut(line.title if titles.count(line.title) == 1 else line.label, LONGEST)
        + f", {100 * line.score:.1f} %"
        for line in ledger.lines
    }
    return _Look(
        names,
        {label: COLOURS[i % len(COLOURS)] if label in eligible else GREY for i, label in enumerate(order)},
        {label: DASHES[i % len(DASHES)] for i, label in enumerate(order)},
        {label: SHAPES[i % len(SHAPES)] for i, label in enumerate(order)},
    )


def _steps(most: float) -> list[float]:
    """Upgrades from 1 to the most, evenly on a log axis."""
    return [most ** (step / STEPS) for step in range(STEPS + 1)]


def _totals(ledger: Ledger, look: _Look, asked: Mapping[str, float], most: float) -> Any:
    """Total FLOPs of every method against upgrades, labelled at the right."""
    import altair

    grid = _steps(most)
    rows: list[Row] = [
        {"method": line.label, "upgrades": at, "flops": total.value, "step": step}
        for line in ledger.lines
        for step, at in enumerate(grid)
        if isinstance(total := line.costs["flops"].total(at, asked["queries"]), Amount) and total.value > 0
    ]
    heading = f"Total FLOPs at {counted(asked['queries'], words=True)} queries"
    if not rows:
        return _empty(heading, "no method has a total in FLOPs")
    low, high = min(row["flops"] for row in rows) / 1.3, max(row["flops"] for row in rows) * 1.3
    x = altair.X("upgrades:Q", scale=_log(1, most), axis=_axis("upgrades", 1, most, counted))
    y = altair.Y("flops:Q", scale=_log(low, high), axis=_axis("", low, high, prefixed))
    colour = altair.Color("method:N", scale=look.scale(look.colours), legend=None)
    dash = altair.StrokeDash("method:N", scale=look.scale(look.dashes), legend=None)
    shape = altair.Shape("method:N", scale=look.scale(look.shapes), legend=None)
    lines = _chart(rows).mark_line(strokeWidth=2).encode(x, y, colour, dash)
    # Where lines run over each other, shapes of different methods stand at different places.
    turn = {label: place for place, label in enumerate(look.names)}
    every = STEPS // 4
    marks = [row for row in rows if (row["step"] - 5 * turn[row["method"]] - 4) % every == 0]
    points = _chart(marks).mark_point(size=46, filled=True, opacity=1).encode(x, y, colour, shape)

    def pixel(value: float) -> float:
        return HEIGHT * (1 - math.log(value / low) / math.log(high / low))

    ends = {row["method"]: row["flops"] for row in rows if row["step"] == STEPS}
    placed = spread({label: pixel(value) for label, value in ends.items()})
    tags = [
        {
            "method": label,
            "name": look.names[label],
            "end": ends[label],
            "flops": low * (high / low) ** (1 - place / HEIGHT),
        }
        for label, place in placed.items()
    ]
    leaders = (
        _chart(tags)
        .mark_rule(strokeWidth=1, opacity=0.8)
        .encode(altair.Y("end:Q"), altair.Y2("flops:Q"), colour, x=altair.value(WIDTH + 2), x2=altair.value(WIDTH + 16))
    )
    keys = _chart(tags).mark_point(size=46, filled=True, opacity=1).encode(y, colour, shape, x=altair.value(WIDTH + 22))
    text = (
        _chart(tags)
        .mark_text(align="left", baseline="middle", fontSize=12)
        .encode(y, colour, altair.Text("name:N"), x=altair.value(WIDTH + 30))
    )
    here = _chart([dict(asked)]).mark_rule(color=INK, strokeDash=[2, 3], opacity=0.7).encode(x)
    return altair.layer(here, lines, points, leaders, keys, text, _heading(heading)).properties(
        width=WIDTH, height=HEIGHT
    )


def _cheapest(
    lines: Sequence[LedgerLine], look: _Look, asked: Mapping[str, float], most: float, many: float, bound: str
) -> Any:
    """Who is cheapest in FLOPs, over upgrades and queries."""
    import altair

    # Where a region begins at one query: its edge is steep there, and a step of the grid would show as a gap.
    met = [
        found.value * (1 + side)
        for one in lines
        for other in lines
        if isinstance(found := break_even_upgrades(one.costs["flops"], other.costs["flops"], 1.0), BreakEven)
        and found.value is not None
        for side in (-1e-6, 1e-6, 1e-2, 5e-2)
    ]
    grid = sorted({*_steps(most), *(at for at in met if 1 < at < most)})
    rows: list[Row] = [
        {"method": segment.line.label, "upgrades": at, "low": max(segment.start, 1.0), "high": min(segment.end, many)}
        for at in grid
        for segment in territory(lines, "flops", at)
        if segment.start < many and segment.end > 1
    ]
    heading = f"Cheapest in FLOPs, {bound}"
    if not rows:
        return _empty(heading, "no method has a total in FLOPs")
    x = altair.X("upgrades:Q", scale=_log(1, most), axis=_axis("upgrades", 1, most, counted))
    y = altair.Y("low:Q", scale=_log(1, many), axis=_axis("queries in all", 1, many, counted))
    colour = altair.Color("method:N", scale=look.scale(look.colours), legend=None)
    areas = _chart(rows).mark_area(opacity=0.22, line=False).encode(x, y, altair.Y2("high:Q"), colour)
    edges = [{**row, "low": row["high"]} for row in rows if row["high"] < many]
    edge = _chart(edges).mark_line(strokeWidth=2, color=INK).encode(x, y, altair.Detail("method:N"))
    tags = [tag for label in {row["method"]: 0 for row in rows} if (tag := _tag(label, rows, look, most, many))]
    text = (
        _chart(tags)
        .mark_text(fontSize=13, fontWeight="bold", baseline="middle")
        .encode(x, y, altair.Text("name:N"), colour)
    )
    here = (
        _chart([{**asked, "low": asked["queries"]}])
        .mark_point(shape="cross", size=110, filled=True, color=INK, opacity=1, stroke=PAPER, strokeWidth=1)
        .encode(x, y)
    )
    return altair.layer(areas, edge, text, here, _heading(heading)).properties(width=WIDTH, height=HEIGHT)


def _tag(label: str, rows: Sequence[Row], look: _Look, most: float, many: float) -> Row | None:
    """The name of a region where it has the most room on all sides; None where it has none."""
    mine = [row for row in rows if row["method"] == label]
    name = look.names[label].rpartition(", ")[0]
    best: tuple[float, Row] | None = None
    for row in mine:
        middle, here = math.sqrt(row["low"] * row["high"]), math.log(row["upgrades"], most)
        inside = [math.log(other["upgrades"], most) for other in mine if other["low"] <= middle <= other["high"]]
        aside = WIDTH * min(here - min(inside), max(inside) - here) - PER_SIGN * len(name) / 2
        above = HEIGHT * math.log(row["high"] / row["low"], many) / 2 - LINE / 2
        if min(aside, above) > (best[0] if best else 0):
            best = min(aside, above), {"method": label, "name": name, "upgrades": row["upgrades"], "low": middle}
    return best[1] if best else None


def _chart(rows: Sequence[Row]) -> altair.Chart:
    import altair

    return altair.Chart(altair.InlineData(values=list(rows)))


def _empty(heading: str, reason: str) -> Any:
    import altair

    made = _chart([{"text": reason}]).mark_text(color=INK, fontSize=13).encode(altair.Text("text:N"))
    return altair.layer(made, _heading(heading)).properties(width=WIDTH, height=HEIGHT)


def _heading(text: str) -> altair.Chart:
    """Above a panel, at the same height in both: a title's place would depend on the axis."""
    import altair

    made = _chart([{"text": text}]).mark_text(align="left", fontSize=13, fontWeight="bold", color=INK)
    placed: altair.Chart = made.encode(altair.Text("text:N"), x=altair.value(0), y=altair.value(-20))
    return placed


def _log(low: float, high: float) -> altair.Scale:
    import altair

    return altair.Scale(type="log", domain=[low, high], nice=False)


def _axis(title: str, low: float, high: float, told: Any) -> altair.Axis:
    """Ticks at powers of ten, or between them where there are few."""
    import altair

    values = powers(low, high)
    words = {f"{math.log10(value):.3f}": told(value) for value in values}
    expression = f"({json.dumps(words)})[format(log(datum.value) / LN10, '.3f')]"
    return altair.Axis(
        title=title or None, values=values, labelExpr=expression, domain=False, ticks=False, labelPadding=6
    )
