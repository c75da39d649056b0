"""Two methods side by side as a picture: one difference with its interval per pair and task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prt_bench.board.contests import Contest
from prt_bench.board.drawing import GREY, INK, MUTED, dressed, write_chart
from prt_bench.lifetime import counted

__all__ = ["contest_chart", "draw_contests"]

COLOURS = {"above": "#0072b2", "below": "#b4460a", "same": GREY}
SHAPES = {"above": "triangle-right", "below": "triangle-left", "same": "circle"}
WIDTH, LINE = 420, 30


def draw_contests(found: Sequence[Contest], path: Path) -> None:
    """Write the chart as SVG, PNG or HTML, by the file's suffix.

    Raises:
        RequestError: the file cannot be written.
    """
    write_chart(contest_chart(found), path, _title(found))


def contest_chart(found: Sequence[Contest]) -> dict[str, Any]:
    """The chart in Vega-Lite."""
    import altair

    rows = [
        {
            "line": _line(contest, found),
            "difference": 100 * contest.found.value,
            "low": 100 * contest.found.interval[0],
            "high": 100 * contest.found.interval[1],
            "standing": contest.standing,
            "queries": "" if contest.equal_cost is None else f"{counted(contest.equal_cost)} queries",
        }
        for contest in found
    ]
    data = altair.InlineData(values=rows)
    order = [str(row["line"]) for row in rows]
    y = altair.Y("line:N", sort=order, title=None, axis=altair.Axis(labelLimit=480, domain=False, ticks=False))
    colour = altair.Color(
        "standing:N", scale=altair.Scale(domain=list(COLOURS), range=list(COLOURS.values())), legend=None
    )
    shape = altair.Shape(
        "standing:N", scale=altair.Scale(domain=list(SHAPES), range=list(SHAPES.values())), legend=None
    )
    mine, theirs = found[0].mine.title, found[0].theirs.title
    x = altair.X("low:Q", title=f"points; right of 0: {mine}, left: {theirs}")
    zero = altair.Chart(altair.InlineData(values=[{"zero": 0}])).mark_rule(color=INK).encode(x=altair.X("zero:Q"))
    lines = altair.Chart(data).mark_rule(strokeWidth=2.5).encode(x, altair.X2("high:Q"), y, colour)
    points = (
        altair.Chart(data)
        .mark_point(size=90, filled=True, opacity=1)
        .encode(altair.X("difference:Q"), y, colour, shape)
    )
    costs = (
        altair.Chart(data)
        .mark_text(align="left", fontSize=12, color=MUTED)
        .encode(y, altair.Text("queries:N"), x=altair.value(WIDTH + 12))
    )
    chart = altair.layer(zero, lines, points, costs).properties(width=WIDTH, height=LINE * len(rows))
    return dressed(chart, _title(found), _subtitle(found), offset=14, padding=14)


def _line(contest: Contest, found: Sequence[Contest]) -> str:
    parts = [contest.table.task]
    if contest.table.tuned_on:
        parts = [f"{contest.table.task} (after {contest.table.tuned_on})"]
    if len({str(other.table.pair) for other in found}) > 1:
        parts.append(contest.table.pair.target)
    if len({other.table.track for other in found}) > 1:
        parts.append(f"{contest.table.track} track")
    if len({other.chosen_on for other in found if other.table.track == contest.table.track}) > 1:
        parts.append(f"{contest.chosen_on}")
    return ", ".join(parts)


def _title(found: Sequence[Contest]) -> str:
    return f"{found[0].mine.title} or {found[0].theirs.title}?"


def _subtitle(found: Sequence[Contest]) -> list[str]:
    seeds = sorted({contest.found.n_seeds for contest in found})
    told = f"{seeds[0]}" if len(seeds) == 1 else f"{seeds[0]} to {seeds[-1]}"
    lines = [
        f"Paired differences over items and {told} seed{'' if seeds == [1] else 's'}, 95 % intervals; a triangle "
        "points to the better one,",
        "a grey circle: not distinguishable, after Holm's correction for the lines of a track.",
    ]
    if any(contest.equal_cost for contest in found):
        lines.append(
            "Right: queries per upgrade at which both cost as many FLOPs; below, who pays less per upgrade is cheaper."
        )
    if all(contest.table.embedded for contest in found):
        lines.append("Embedded models: they show the mechanism and prove nothing of real ones.")
    return lines
