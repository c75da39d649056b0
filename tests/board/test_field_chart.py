"""The field as a picture: what methods gain over the best floor, and at what cost."""

from __future__ import annotations

from typing import Any

import altair

from prt_bench.board.field_chart import FieldPoint, field_chart
from prt_bench.board.scatter import LINE, MOST_LINES, SUBTITLE_SIGNS, Chart

POINTS = [
    FieldPoint("a", "Alpha", "method", 1.0, 0.02, (-0.01, 0.05), 4),
    FieldPoint("b", "Beta", "method", 2.0, 0.01, (-0.02, 0.04), 4),
    FieldPoint("c", "Gamma", "method", 3.0, 0.08, None, 1),
]


def drawn(points: list[FieldPoint]) -> Chart:
    chart = field_chart(points, "The field", ["a suite"])
    assert chart is not None
    return chart


def rows(chart: Chart) -> dict[str, dict[str, Any]]:
    return {row["Method"]: row for row in chart.spec["data"]["values"]}


def test_each_method_is_a_point_with_what_is_known_of_it() -> None:
    found = rows(drawn(POINTS))
    assert (found["Alpha"]["x"], found["Alpha"]["y"], found["Alpha"]["low"], found["Alpha"]["high"]) == (1, 2, -1, 5)
    assert found["Alpha"]["To the best floor"] == "+2.0 points [-1.0, +5.0]"
    assert found["Gamma"]["To the best floor"] == "+8.0 points"
    assert found["Gamma"]["low"] == found["Gamma"]["high"] == 8
    assert [row["Over"] for row in found.values()] == ["4 tables", "4 tables", "1 table"]


def test_the_best_floor_is_the_zero_line() -> None:
    chart = drawn(POINTS)
    (zero,) = chart.spec["layer"][0]["data"]["values"]
    assert zero["y"] == 0
    low, high = chart.spec["encoding"]["y"]["scale"]["domain"]
    assert low < -2
    assert high > 8
    below = drawn([FieldPoint("a", "Alpha", "method", 1.0, -0.05, (-0.06, -0.04), 4)])
    assert below.spec["encoding"]["y"]["scale"]["domain"][1] > 0


def test_the_front_is_drawn_and_told() -> None:
    chart = drawn(POINTS)
    (front,) = [layer for layer in chart.spec["layer"] if layer["mark"]["type"] == "line"]
    assert [corner["y"] for corner in front["data"]["values"]] == [2, 8, 8]
    assert "from cheap to dear: Alpha, Gamma." in chart.summary


def test_who_has_no_cost_is_named() -> None:
    lost = FieldPoint("d", "Delta", "method", None, 0.01, None, 1)
    assert drawn([*POINTS, lost]).left_out == ["Delta: FLOPs not counted"]
    assert field_chart([lost], "The field") is None


def test_a_single_method_has_a_picture() -> None:
    chart = drawn(POINTS[:1])
    low, high = chart.spec["encoding"]["x"]["scale"]["domain"]
    assert low < 1 < high


def test_a_long_subtitle_goes_on_in_further_lines_above_the_plot() -> None:
    long = " and ".join(["a suite of many tables"] * 5)
    short, wrapped = (field_chart(POINTS, "The field", [told]) for told in ("a suite", long))
    assert short is not None
    assert wrapped is not None
    lines = wrapped.spec["title"]["subtitle"]
    assert " ".join(lines) == long
    assert len(lines) > 1
    assert max(map(len, lines)) <= SUBTITLE_SIGNS
    assert wrapped.spec["padding"]["top"] - short.spec["padding"]["top"] == LINE * (len(lines) - 1)
    endless = field_chart(POINTS, "title " * 200, ["x" * 1000])
    assert endless is not None
    assert [len(endless.spec["title"][part]) for part in ("text", "subtitle")] == [MOST_LINES, MOST_LINES]


def test_the_chart_is_vega_lite() -> None:
    altair.LayerChart.from_dict(drawn(POINTS).spec, validate=True)
