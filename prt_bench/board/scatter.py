"""Methods as points with intervals over a cost, in Vega-Lite: what the charts of a table and of the field share.

Written as plain Vega-Lite: a site draws hundreds of these, and altair's objects cost more than the drawing itself.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from prt_bench.board.drawing import (
    COLOURS,
    DASHES,
    FONT,
    GREY,
    GRID,
    INK,
    MUTED,
    PAPER,
    SHAPES,
    cut,
    plain,
    powers,
    spread,
)

__all__ = ["Chart", "Level", "Look", "Point", "Side", "chart", "looks", "pareto", "with_room"]

WIDTH, HEIGHT = 260, 300
LEFT, RIGHT, TOP, BOTTOM = 58, 212, 46, 52
"""Pixels round the plot; the names stand right of it."""
LINE, TITLE_LINE = 18.0, 20.0
"""Pixels of a line of text, and of one of the title."""
LONGEST = 26
"""Signs of a name."""
TITLE_SIGNS, SUBTITLE_SIGNS = 56, 76
"""Of a line over the plot, so that it ends within the picture."""
MOST_LINES = 3
"""Of a title, and of each part of a subtitle; what is longer is cut."""
COLUMN = 9.0
"""Pixels between points that would cover each other."""
LOG_FROM = 3.0
"""Ratio of an axis's ends from which on it is logarithmic."""
ROOM = 0.07
"""Of an axis, beyond its first and last point."""
CONFIG: dict[str, Any] = {
    "font": FONT,
    "aria": False,
    "view": {"stroke": None},
    "title": {"color": INK, "fontSize": 16, "subtitleColor": MUTED, "subtitleFontSize": 13.5, "subtitlePadding": 5},
    "axis": {
        "labelFontSize": 13.5, "titleFontSize": 13.5, "titleFontWeight": "normal", "labelColor": INK, "titleColor": INK,
        "gridColor": GRID, "domain": False, "ticks": False, "labelPadding": 6, "titlePadding": 10,
    },
}  # fmt: skip
Look = tuple[str, str]
"""Colour and shape."""
Interval = tuple[float, float]
Layer = dict[str, Any]


@dataclass(frozen=True)
class Chart:
    """A chart and what its caption must say."""

    spec: dict[str, Any]
    """Vega-Lite."""
    title: str
    summary: str
    """What the picture shows, in words: for who cannot see it."""
    notes: list[str] = field(default_factory=list)
    """How to read it."""
    left_out: list[str] = field(default_factory=list)
    """Who is not in it, each with the reason."""


@dataclass(frozen=True)
class Point:
    """A method: where it stands, and what is told of it."""

    key: str
    """Gives it its look, and tells it apart from the others."""
    name: str
    x: float
    y: float
    y_interval: Interval | None
    x_interval: Interval | None = None
    hollow: bool = False
    facts: Mapping[str, str] = field(default_factory=dict)
    """Heading → text, told beside the name; all points have the same headings."""


@dataclass(frozen=True)
class Level:
    """A horizontal line with its name."""

    name: str
    y: float
    strong: bool = False


@dataclass(frozen=True)
class Side:
    """An axis; without ends it holds all points and their intervals."""

    title: str
    label: str
    """Vega's expression for a tick's label."""
    ends: Interval | None = None


def looks(keys: Sequence[str]) -> dict[str, Look]:
    """Colour and shape of each: as many as 64 are told apart, and neighbours by both."""
    many = len(COLOURS)
    return {key: (COLOURS[i % many], SHAPES[(i + i // many) % many]) for i, key in enumerate(keys)}


def with_room(values: Sequence[float]) -> Interval:
    """Ends of a linear axis that holds these values."""
    room = ROOM * (max(values) - min(values)) or abs(ROOM * values[0]) or 1.0
    return min(values) - room, max(values) + room


def pareto(points: Sequence[Point]) -> list[Point]:
    """Those that no other one beats in cost without being worse, from cheap to dear."""
    found: list[Point] = []
    for point in sorted(points, key=lambda point: (point.x, -point.y)):
        if not found or point.y > found[-1].y:
            found.append(point)
    return found


def chart(
    points: Sequence[Point], levels: Sequence[Level], look: Mapping[str, Look], title: str, subtitle: Sequence[str],
    across: Side, up: Side, summary: str,
) -> Chart:  # fmt: skip
    """Points over a cost, the line of those that nothing cheaper reaches, and levels across.

    Points that would cover each other stand side by side; what is told of them is where they are.
    """
    over = _lines(title, TITLE_SIGNS) or [""]
    under = [line for part in subtitle for line in _lines(part, SUBTITLE_SIGNS)]
    top = TOP + TITLE_LINE * (len(over) - 1) + LINE * len(under)
    height = max(HEIGHT, math.ceil(LINE * (len(points) + len(levels))))
    x = _cost_scale(points, across.ends)
    ends = up.ends or with_room(
        [*(level.y for level in levels), *(f(point) for f in (_low, _high) for point in points)]
    )
    y = _Scale(*ends, log=False, pixels=height)
    aside = _side_by_side(points, x)
    ordered = sorted(levels, key=lambda level: (not level.strong, -level.y, level.name))
    lines = [_line(level, place) for place, level in enumerate(ordered)]
    layers = [
        *([_across(lines)] if lines else []),
        _front_line(pareto(points), aside, x),
        _whisker("y", "low", "high"),
        *([_whisker("x", "left", "right")] if any(point.x_interval for point in points) else []),
        _marks(points),
        *_names(points, lines, look, y),
    ]
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "description": plain(summary),
        "background": PAPER,
        "autosize": "none",
        "padding": {"left": LEFT, "right": RIGHT, "top": top, "bottom": BOTTOM},
        "width": WIDTH,
        "height": height,
        "title": {
            "text": over, "subtitle": under, "anchor": "start", "frame": "group", "offset": 14, "dx": 2 - LEFT,
        },
        "data": {"values": [_row(point, aside[point.key], look[point.key], x) for point in points]},
        "encoding": {"x": _channel("x", x, across), "y": _channel("y", y, up)},
        "layer": layers,
        "config": CONFIG,
    }  # fmt: skip
    return Chart(spec, plain(title), plain(summary))


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float
    log: bool
    pixels: float

    def pixel(self, value: float) -> float:
        """From the low end."""
        if self.log:
            return self.pixels * math.log(value / self.low) / math.log(self.high / self.low)
        return self.pixels * (value - self.low) / (self.high - self.low)

    def moved(self, value: float, by: float) -> float:
        """The value that stands so many pixels further."""
        if by == 0:
            return value
        share = by / self.pixels
        return value * (self.high / self.low) ** share if self.log else value + share * (self.high - self.low)

    @property
    def properties(self) -> dict[str, Any]:
        kind = {"type": "log"} if self.log else {"zero": False}
        return {**kind, "domain": [_rounded(self.low), _rounded(self.high)], "nice": False}


def _cost_scale(points: Sequence[Point], ends: Interval | None) -> _Scale:
    values = ends or [end for point in points for end in (point.x, *(point.x_interval or ()))]
    low, high = min(values), max(values)
    if low > 0 and high / low > LOG_FROM:
        room = (high / low) ** ROOM
        return _Scale(low / room, high * room, True, WIDTH)
    if low == high:
        return _Scale(0.8 * low, 1.2 * high, False, WIDTH) if low > 0 else _Scale(-1.0, 1.0, False, WIDTH)
    return _Scale(*with_room([low, high]), log=False, pixels=WIDTH)


def _side_by_side(points: Sequence[Point], x: _Scale) -> dict[str, float]:
    """By how many pixels a point is moved: those of about one cost whose intervals meet stand in columns."""
    aside: dict[str, float] = {}
    for group in _neighbours(points, x):
        columns: list[float] = []
        place: dict[str, int] = {}
        for point in sorted(group, key=lambda point: (_low(point), point.key)):
            free = next((i for i, top in enumerate(columns) if top < _low(point)), len(columns))
            columns[free : free + 1] = [_high(point)]
            place[point.key] = free
        for point in group:
            aside[point.key] = COLUMN * (place[point.key] - (len(columns) - 1) / 2)
    return aside


def _neighbours(points: Sequence[Point], x: _Scale) -> list[list[Point]]:
    groups: list[list[Point]] = []
    for point in sorted(points, key=lambda point: (point.x, point.key)):
        if groups and x.pixel(point.x) - x.pixel(groups[-1][0].x) < COLUMN:
            groups[-1].append(point)
        else:
            groups.append([point])
    return groups


def _low(point: Point) -> float:
    return point.y_interval[0] if point.y_interval else point.y


def _high(point: Point) -> float:
    return point.y_interval[1] if point.y_interval else point.y


def _row(point: Point, by: float, look: Look, x: _Scale) -> dict[str, Any]:
    """What is drawn and told of a point that is moved `by` pixels; its interval goes with it."""
    left, right = point.x_interval or (point.x, point.x)
    across = {name: x.moved(value, by) for name, value in {"x": point.x, "left": left, "right": right}.items()}
    numbers = {**across, "y": point.y, "low": _low(point), "high": _high(point)}
    return {
        **{name: _rounded(value) for name, value in numbers.items()},
        **_shown(point, look),
        "Method": plain(point.name),
        **{name: plain(text) for name, text in point.facts.items()},
    }


def _shown(point: Point, look: Look) -> dict[str, str]:
    colour, shape = look
    return {"colour": colour, "shape": shape, "inside": PAPER if point.hollow else colour}


def _as_given(name: str) -> dict[str, Any]:
    return {"field": name, "type": "nominal", "scale": None}


GLYPH = {"fill": _as_given("inside"), "stroke": _as_given("colour"), "shape": _as_given("shape")}


def _channel(name: str, scale: _Scale, side: Side) -> dict[str, Any]:
    axis: dict[str, Any] = {"labelExpr": side.label, "tickCount": 5}
    if scale.log:
        axis["values"] = powers(scale.low, scale.high)
    return {"field": name, "type": "quantitative", "scale": scale.properties, "title": side.title, "axis": axis}


def _line(level: Level, place: int) -> dict[str, Any]:
    """How a level is drawn: each with dashes of its own."""
    colour, dash = (INK if level.strong else GREY), DASHES[1 + place % (len(DASHES) - 1)]
    return {"y": _rounded(level.y), "name": level.name, "colour": colour, "dash": dash}


def _across(lines: Sequence[Mapping[str, Any]]) -> Layer:
    drawn = [{name: line[name] for name in ("y", "colour", "dash")} for line in lines]
    ends = {"x": {"value": 0}, "x2": {"value": WIDTH}}
    look = {"color": _as_given("colour"), "strokeDash": _as_given("dash")}
    return {"data": {"values": drawn}, "mark": {"type": "rule", "strokeWidth": 1.5}, "encoding": {**ends, **look}}


def _front_line(front: Sequence[Point], aside: Mapping[str, float], x: _Scale) -> Layer:
    """Steps: until a dearer one is better, the cheaper one is the one to have."""
    corners = [{"x": _rounded(x.moved(point.x, aside[point.key])), "y": _rounded(point.y)} for point in front]
    last = {"x": _rounded(x.high), "y": corners[-1]["y"]}
    mark = {"type": "line", "interpolate": "step-after", "color": GREY, "strokeWidth": 2, "opacity": 0.55}
    return {"data": {"values": [*corners, last]}, "mark": mark}


def _whisker(channel: str, start: str, end: str) -> Layer:
    mark = {"type": "rule", "strokeWidth": 2, "opacity": 0.75}
    ends = {channel: {"field": start}, f"{channel}2": {"field": end}}
    return {"mark": mark, "encoding": {**ends, "color": _as_given("colour")}}


def _marks(points: Sequence[Point]) -> Layer:
    headings = dict.fromkeys(["Method", *(name for point in points for name in point.facts)])
    told = [{"field": name, "type": "nominal"} for name in headings]
    mark = {"type": "point", "size": 80, "opacity": 1, "strokeWidth": 2}
    return {"name": "points", "mark": mark, "encoding": {**GLYPH, "tooltip": told}}


def _names(
    points: Sequence[Point], lines: Sequence[Mapping[str, Any]], look: Mapping[str, Look], y: _Scale
) -> list[Layer]:
    """Keys and names right of the plot, each as near to its height as the others leave room."""
    heights = {f"point {point.key}": y.pixels - y.pixel(point.y) for point in points}
    heights |= {f"line {place}": y.pixels - y.pixel(line["y"]) for place, line in enumerate(lines)}
    placed = {key: _rounded(place) for key, place in spread(heights, LINE, (0.0, y.pixels)).items()}
    dashes = [
        {"at": placed[f"line {place}"], "name": _short(line["name"]), "colour": line["colour"], "dash": line["dash"]}
        for place, line in enumerate(lines)
    ]
    glyphs = [
        {"at": placed[f"point {point.key}"], "name": _short(point.name), **_shown(point, look[point.key])}
        for point in points
    ]
    height = {"y": {"field": "at", "type": "quantitative", "scale": None, "axis": None}}
    colour = {"color": _as_given("colour"), "strokeDash": _as_given("dash")}
    ends = {"x": {"value": WIDTH + 8}, "x2": {"value": WIDTH + 28}}
    text = {"type": "text", "align": "left", "baseline": "middle", "fontSize": 13.5, "color": INK}
    line_keys = {
        "data": {"values": dashes},
        "mark": {"type": "rule", "strokeWidth": 1.5},
        "encoding": {**ends, **height, **colour},
    }
    return [
        *([line_keys] if dashes else []),
        {
            "data": {"values": glyphs},
            "mark": {"type": "point", "size": 64, "opacity": 1, "strokeWidth": 1.5},
            "encoding": {"x": {"value": WIDTH + 18}, **height, **GLYPH},
        },
        {
            "data": {"values": [{"at": row["at"], "name": row["name"]} for row in [*glyphs, *dashes]]},
            "mark": text,
            "encoding": {"x": {"value": WIDTH + 36}, **height, "text": {"field": "name"}},
        },
    ]


def _lines(text: str, signs: int) -> list[str]:
    """Text in lines of at most so many signs, broken between words where that can be."""
    return textwrap.wrap(plain(text), signs, max_lines=MOST_LINES, placeholder=" …", break_on_hyphens=False)


def _short(name: str) -> str:
    return plain(cut(name, LONGEST))


def _rounded(value: float) -> float:
    """Enough digits for a picture."""
    return float(f"{value:.6g}")
