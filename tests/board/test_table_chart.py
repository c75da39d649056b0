"""One table as pictures: who is in them, where, and what is said of the others."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import altair
import pytest

from prt_bench.board.figures import Figures
from prt_bench.board.pictures import Pictures
from prt_bench.board.scatter import HEIGHT, LINE, LOG_FROM, WIDTH, Chart
from prt_bench.board.summaries import summaries
from prt_bench.board.table import Table
from prt_bench.board.table_chart import accuracy_flops_chart, accuracy_latency_chart
from prt_bench.records import LatencyRow, PerQuery
from tests.board.by_hand import measured, query, table

G = 10**9


def timed(ratio: tuple[float, float, float] | None, valid: bool = True) -> PerQuery:
    row = LatencyRow(
        session="s", batch_size=1, p50_ms=3.0, p90_ms=None, ratio_to_target=ratio, valid=valid,
        reasons=[] if valid else ["noisy machine"],
    )  # fmt: skip
    return query().model_copy(update={"latency": [row]})


def drawn(**by_row: dict[str, Any]) -> Table:
    """A floor, a reference and three methods: slow is dear, and no better than fast."""
    rows = {
        "low": measured(90, is_floor=True), "lowest": measured(80, is_floor=True), "slow": measured(150),
        "fast": measured(150), "dear": measured(170), "full": measured(190),
    }  # fmt: skip
    costs = {"slow": 4 * G, "fast": G, "dear": 9 * G, "full": G, "low": G, "lowest": G}
    usual = {label: {"per_query": query(total)} for label, total in costs.items()}
    usual["full"]["role"] = "reference"  # type: ignore[assignment]
    merged = {label: {**facts, **by_row.get(label, {})} for label, facts in usual.items()}
    return table(rows, "low", **merged)


def known(chart: Chart | None) -> Chart:
    assert chart is not None
    return chart


def rows(chart: Chart) -> dict[str, dict[str, Any]]:
    return {row["Method"]: row for row in chart.spec["data"]["values"]}


def layer(chart: Chart, **mark: Any) -> list[dict[str, Any]]:
    """Layers with these properties of the mark."""
    return [one for one in chart.spec["layer"] if mark.items() <= one["mark"].items()]


def names(chart: Chart) -> dict[str, float]:
    """What stands right of the plot, with its height."""
    (texts,) = layer(chart, type="text")
    return {row["name"]: row["at"] for row in texts["data"]["values"]}


def test_methods_are_points_and_floors_and_references_lines_with_names() -> None:
    chart = known(accuracy_flops_chart(drawn()))
    assert set(rows(chart)) == {"Slow", "Fast", "Dear"}
    assert rows(chart)["Dear"]["y"] == 85
    assert rows(chart)["Dear"]["low"] < 85 < rows(chart)["Dear"]["high"]
    assert set(names(chart)) == {"Slow", "Fast", "Dear", "Low, best floor", "Lowest", "Full, reference"}
    across = chart.spec["layer"][0]
    assert [row["y"] for row in across["data"]["values"]] == [95, 45, 40]
    assert len({str(row["dash"]) for row in across["data"]["values"]}) == 3
    assert chart.left_out == chart.notes == []


def test_names_do_not_cover_each_other() -> None:
    many = {f"m{n:02}": measured(150) for n in range(24)}
    chart = known(accuracy_flops_chart(table({"low": measured(90, is_floor=True), **many}, "low")))
    places = sorted(names(chart).values())
    assert len(places) == 25
    assert all(other - one >= LINE - 1e-3 for one, other in pairwise(places))
    assert chart.spec["height"] >= places[-1]
    assert chart.spec["height"] > HEIGHT


def test_the_pareto_front_leaves_out_who_is_dearer_and_no_better() -> None:
    chart = known(accuracy_flops_chart(drawn()))
    (front,) = layer(chart, type="line")
    assert [corner["y"] for corner in front["data"]["values"]] == [75, 85, 85]
    assert "Pareto front, from cheap to dear: Fast, Dear." in chart.summary


@pytest.mark.parametrize(("ratio", "kind"), [(LOG_FROM * 1.1, "log"), (LOG_FROM * 0.9, None)])
def test_the_cost_is_on_a_log_axis_where_it_spans_much(ratio: float, kind: str | None) -> None:
    costs = {label: {"per_query": query(int(cost))} for label, cost in {"a": G, "b": G * ratio}.items()}
    made = table({"low": measured(90, is_floor=True), "a": measured(120), "b": measured(130)}, "low", **costs)
    scale = known(accuracy_flops_chart(made)).spec["encoding"]["x"]["scale"]
    assert scale.get("type") == kind
    assert scale["domain"][0] < G < G * ratio < scale["domain"][1]


def test_points_that_would_cover_each_other_stand_side_by_side() -> None:
    rows_ = {"low": measured(90, is_floor=True), "a": measured(150), "b": measured(151), "c": measured(20)}
    chart = known(accuracy_flops_chart(table(rows_, "low")))
    at = rows(chart)
    low, high = chart.spec["encoding"]["x"]["scale"]["domain"]
    assert (at["B"]["x"] - at["A"]["x"]) / (high - low) * WIDTH == pytest.approx(9, abs=0.1)
    # Far below, it covers nobody: its column is that of the first.
    assert at["C"]["x"] == at["A"]["x"]
    assert {row["FLOPs per query"] for row in at.values()} == {"4 k"}


def test_both_charts_share_the_axis_of_scores() -> None:
    made = drawn()
    flops, latency = known(accuracy_flops_chart(made)), known(accuracy_latency_chart(made))
    assert flops.spec["encoding"]["y"] == latency.spec["encoding"]["y"]
    assert flops.spec["height"] == latency.spec["height"]


def test_a_floor_far_below_is_told_and_does_not_press_the_others_together() -> None:
    rows_ = {
        "low": measured(140, is_floor=True), "far": measured(2, is_floor=True), "a": measured(150), "b": measured(160),
    }  # fmt: skip
    chart = known(accuracy_flops_chart(table(rows_, "low")))
    assert chart.notes == ["Far is below the picture, at 1.0 %."]
    assert chart.spec["encoding"]["y"]["scale"]["domain"][0] > 50


def test_time_is_a_ratio_to_the_target_alone_with_its_interval() -> None:
    chart = known(accuracy_latency_chart(drawn(slow={"per_query": timed((1.9, 2.0, 2.2))})))
    slow = rows(chart)["Slow"]
    assert (slow["left"], slow["x"], slow["right"]) == (1.9, 2.0, 2.2)
    assert slow["Time"] == "×2 [1.9, 2.2] of the target alone"
    assert chart.title.endswith("on h")
    assert layer(chart, type="rule")[2]["encoding"]["x2"] == {"field": "right"}


def test_an_invalid_time_is_drawn_hollow_and_said() -> None:
    invalid = {"per_query": timed((1.9, 2.0, 2.2), valid=False)}
    chart = known(accuracy_latency_chart(drawn(slow=invalid, dear=invalid)))
    assert chart.notes == ["Hollow, timing not valid (noisy machine): Slow, Dear."]
    assert {name: row["inside"] != row["colour"] for name, row in rows(chart).items()} == {
        "Slow": True, "Fast": False, "Dear": True,
    }  # fmt: skip
    assert "not valid: noisy machine" in rows(chart)["Slow"]["Time"]


def test_who_has_no_number_is_named() -> None:
    none, alone = {"per_query": query(None, latency=False)}, {"per_query": timed(None)}
    assert known(accuracy_flops_chart(drawn(slow=none))).left_out == ["Slow: FLOPs not counted"]
    chart = known(accuracy_latency_chart(drawn(slow=none, dear=alone)))
    assert chart.left_out == ["Slow: not timed", "Dear: timed without the target alone"]
    assert set(rows(chart)) == {"Fast"}
    assert accuracy_flops_chart(drawn(slow=none, fast=none, dear=none)) is None


def test_each_hardware_has_a_chart_of_its_own() -> None:
    made = replace(drawn(), hardware=["cpu", "gpu"])
    other = timed((3.0, 3.1, 3.2)).latency
    assert other is not None
    chart = known(accuracy_latency_chart(made, hardware="gpu", latency=lambda row: other[0]))
    assert chart.title == "Score against time on gpu"
    assert rows(chart)["Slow"]["Time"].startswith("×3.1 ")


def subtitle(chart: Chart) -> str:
    return " | ".join(chart.spec["title"]["subtitle"])


def test_a_picture_says_what_it_is_of() -> None:
    made = drawn(slow={"finished": "2026-02-03T04:05:06Z"}, fast={"seeds": [0, 1, 2]})
    for chart in (accuracy_flops_chart(made), accuracy_latency_chart(made)):
        assert subtitle(known(chart)) == (
            "digits, old → new; recipes as published | 200 test items, 1 to 3 seeds, newest record of 2026-02-03 | "
            "95 % intervals; stepped line: none cheaper is better"
        )
    other = replace(made, track="equal", tuned_on="outlines")
    told = subtitle(known(accuracy_flops_chart(other, apart="version 2")))
    assert told.startswith("digits after tuning on outlines, old → new; equal budget; version 2 | ")


def test_what_is_superseded_tells_no_date() -> None:
    made = drawn(slow={"finished": "2026-02-03T04:05:06Z", "superseded": "by a newer record"})
    assert "newest record of 2026-01-01" in subtitle(known(accuracy_flops_chart(made)))


class Undrawn(Pictures):
    """Charts that nobody looks at."""

    def all_svg(self, charts: Sequence[Chart]) -> list[str]:
        return ["<svg/>"] * len(charts)


def test_tables_of_one_page_are_told_apart_in_their_pictures() -> None:
    made = [drawn(), replace(drawn(), version="2"), replace(drawn(), track="equal", recipe="long")]
    views = [SimpleNamespace(table=replace(one, hardware=[]), id=f"table-{n}") for n, one in enumerate(made)]
    figures = Figures([], cast(Any, views), Undrawn(Path()))
    told = [figures.of(cast(Any, view))[0].spec["title"]["subtitle"][0] for view in views]
    assert told == [
        "digits, old → new; recipes as published; version 1",
        "digits, old → new; recipes as published; version 2",
        "digits, old → new; equal budget",
    ]


def test_the_picture_of_the_field_says_its_track_items_seeds_and_day() -> None:
    made = drawn(slow={"finished": "2026-02-03T04:05:06Z"})
    (group,) = summaries([made, replace(drawn(), n=1000, task="b"), replace(drawn(), n=5, tuned_on="b")], {})
    priced = replace(group, lines=tuple(replace(line, cost_ratio=1.0) for line in group.lines))
    (figure,) = Figures([priced], [], Undrawn(Path())).of(priced)
    assert figure.spec["title"]["subtitle"] == [
        "recipes as published; mean over 2 tables",
        "200 to 1,000 test items, 1 seed, newest record of 2026-02-03",
    ]


def test_what_is_superseded_is_in_no_picture() -> None:
    made = drawn()
    for row in made.rows:
        if row.label == "slow":
            row.superseded = "by a newer record"  # type: ignore[attr-defined,unused-ignore]
    assert set(rows(known(accuracy_flops_chart(made)))) == {"Fast", "Dear"}


def test_a_method_looks_the_same_in_all_charts() -> None:
    order = ["dear", "fast", "other", "slow"]
    made = drawn()
    first = rows(known(accuracy_flops_chart(made, order)))
    made.rows = [row for row in made.rows if row.label != "fast"]
    second = rows(known(accuracy_latency_chart(made, order)))
    for name, look in product(("Slow", "Dear"), ("colour", "shape")):
        assert first[name][look] == second[name][look]
    assert first["Slow"]["shape"] != first["Dear"]["shape"] != first["Fast"]["shape"]


def test_rows_of_one_method_are_told_apart() -> None:
    rows_ = {"low": measured(90, is_floor=True), "a/1": measured(150), "a/2": measured(150, strengths="source")}
    told = {"a/1": {"note": "α=1"}, "a/2": {"note": "α=2"}}
    chart = known(accuracy_flops_chart(table(rows_, "low", **told)))
    assert set(rows(chart)) == {"A · α=1", "A · α=2"}
    assert len({row["shape"] for row in rows(chart).values()}) == 2


def test_the_charts_are_vega_lite_of_finite_numbers() -> None:
    for chart in (accuracy_flops_chart(drawn()), accuracy_latency_chart(drawn())):
        spec = known(chart).spec
        altair.LayerChart.from_dict(spec, validate=True)
        numbers = [value for row in spec["data"]["values"] for value in row.values() if isinstance(value, float)]
        assert numbers
        assert all(map(math.isfinite, numbers))
