"""Tables summed up by suite, track and kind: over which tables, and what is left out of a mean."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from prt_bench.board.figures import Figures
from prt_bench.board.pictures import Pictures
from prt_bench.board.summaries import Group, summaries
from prt_bench.board.table import Table
from prt_bench.cards import TaskFacts
from prt_bench.records import Flops, PerQuery
from prt_bench.requests import Suite
from tests.board.by_hand import measured, query, table
from tests.board.filing import Build, File, Reader, floors

FLOOR, GOOD, BEST = 100, 140, 180


def of(task: str, *, reads: str = "", rows: dict[str, Any] | None = None, **facts: Any) -> Table:
    """A table with a floor, on which everything else is above it."""
    made = table({"floor": measured(FLOOR, is_floor=True), **(rows or {"mine": measured(GOOD)})}, "floor", task=task,
                 **facts)  # fmt: skip
    if reads:
        made.facts = TaskFacts(title="", summary="", licence="", citation="", reads=reads)
    return made


def suite(*tasks: str, pairs: tuple[str, ...] = ("old:new",), title: str = "The suite") -> Suite:
    return Suite(title=title, pairs=pairs, tasks=tasks, methods=())


def only(groups: list[Group]) -> Group:
    (group,) = groups
    return group


def costing(total: int | None, member: str = "source") -> PerQuery:
    flops = Flops(total=total, by_member={member: total}, calls={}, rule=0, rule_elementwise=0)
    return query().model_copy(update={"flops": flops})


def test_real_models_come_first_then_the_order_of_the_suites() -> None:
    found = summaries(
        [of("b"), of("a"), of("c", embedded=False), of("other", embedded=False)],
        {"second": suite("b", title="B"), "first": suite("a", title="A"), "real": suite("c", title="C")},
    )
    assert [(group.suite, group.title, group.embedded) for group in found] == [
        ("real", "C", False),
        ("", "Other pairs and tasks", False),
        ("second", "B", True),
        ("first", "A", True),
    ]


def test_a_table_that_two_suites_ask_for_is_in_both_and_in_no_rest() -> None:
    found = summaries([of("a")], {"one": suite("a"), "two": suite("a", "b")})
    assert [(group.suite, len(group.tables)) for group in found] == [("one", 1), ("two", 1)]


def test_tracks_and_kinds_of_tasks_are_summed_up_apart() -> None:
    mixed = [of("a", reads="images"), of("b", reads="text"), of("b", reads="text", track="equal")]
    found = summaries(mixed, {"s": suite("a", "b")})
    assert [(group.title, group.track, [table.task for table in group.tables]) for group in found] == [
        ("The suite: images", "paper", ["a"]),
        ("The suite: text", "paper", ["b"]),
        ("The suite: text", "equal", ["b"]),
    ]
    assert only(summaries(mixed[:1], {"s": suite("a", "b")})).title == "The suite"


def test_what_a_suite_asks_for_and_nobody_ran_is_named() -> None:
    group = only(summaries([of("a")], {"s": suite("a", "b", pairs=("old:new", "x:y"))}))
    assert group.absent == ("b", "x:y")
    assert not summaries([], {"s": suite("a")})


def test_a_mean_is_over_the_tables_that_tell_a_difference_and_the_others_are_named() -> None:
    both = {"mine": measured(GOOD), "theirs": measured(BEST)}
    lines = {line.label: line for line in only(summaries([of("a", rows=both), of("b")], {})).lines}
    assert lines["mine"].across.mean == pytest.approx((GOOD - FLOOR) / 200)
    assert lines["mine"].missing == ()
    assert lines["theirs"].across.mean == pytest.approx((BEST - FLOOR) / 200)
    assert lines["theirs"].missing == ("old:new b",)
    assert set(lines["theirs"].rows) == {"old:new a"}


def test_the_best_mean_comes_first_and_references_last() -> None:
    rows = {"mine": measured(GOOD), "theirs": measured(150), "full": measured(BEST)}
    group = only(summaries([of("a", rows=rows, full={"role": "reference"})], {}))
    assert [line.label for line in group.lines] == ["theirs", "mine", "full"]


def test_floors_superseded_rows_and_forgetting_are_in_no_sum() -> None:
    rows = {"mine": measured(GOOD), "mine/old": measured(BEST, is_superseded=True), "low": measured(9, is_floor=True)}
    after = of("after", tuned_on="a", rows={"mine": measured(BEST)})
    tables = [of("a", rows=rows, **{"mine/old": {"superseded": "newer"}}), after]
    group = only(summaries(tables, {}))
    (line,) = group.lines
    assert (line.label, line.across.mean, line.missing) == ("mine", pytest.approx((GOOD - FLOOR) / 200), ())
    assert len(group.tables) == 2, "its page is linked all the same"


def test_settings_are_told_only_where_a_method_has_several() -> None:
    rows = {"mine/a": measured(GOOD), "mine/b": measured(150), "theirs": measured(160)}
    settings = {"mine/a": {"settings": "alpha=1"}, "mine/b": {"settings": "alpha=2"}, "theirs": {"settings": "beta=3"}}
    group = only(summaries([of("a", rows=rows, **settings)], {}))
    assert {(line.label, line.settings) for line in group.lines} == {
        ("mine", "alpha=1"),
        ("mine", "alpha=2"),
        ("theirs", ""),
    }


def test_the_price_of_a_query_is_the_geometric_mean_of_what_the_target_takes() -> None:
    priced: list[tuple[int | None, int]] = [(400, 200), (800, 100)]

    def line(*costs: tuple[int | None, int]) -> float | None:
        tables = [
            of(f"t{number}", mine={"per_query": costing(mine)}, floor={"per_query": costing(target, "target")})
            for number, (mine, target) in enumerate(costs)
        ]
        (found,) = only(summaries(tables, {})).lines
        return found.cost_ratio

    assert line(*priced) == pytest.approx(4.0)
    assert line(*priced, (None, 100)) is None, "a mean over fewer tables would be another one's"


def test_without_a_floor_there_is_nothing_to_sum_up() -> None:
    group = only(summaries([table({"mine": measured(GOOD)}, task="a")], {}))
    assert group.lines == ()
    assert len(group.tables) == 1


def test_the_picture_of_the_field_has_only_means_over_the_same_tables() -> None:
    both = {"mine": measured(GOOD), "theirs": measured(BEST)}
    priced: dict[str, Any] = {"mine": {"per_query": costing(300)}, "theirs": {"per_query": costing(300)}}
    priced["floor"] = {"per_query": costing(100, "target")}
    tables = [of("a", rows=both, **priced), of("b", **priced), of("after", tuned_on="a", **priced)]
    group = only(summaries(tables, {}))
    (figure,) = Figures([group], [], Undrawn(Path())).of(group)
    assert "mean over 2 tables" in "".join(figure.notes) + json.dumps(figure.spec)
    assert "Mine" in json.dumps(figure.spec)
    assert "Theirs" not in json.dumps(figure.spec)


class Undrawn(Pictures):
    """Charts whose picture nobody looks at."""

    def all_svg(self, charts: Any) -> list[str]:
        return [""] * len(charts)


def test_the_page_says_over_how_many_tables(file: File, build: Build) -> None:
    for task in ("digits", "letters"):
        floors(file, task=task)
        file("mine", 320, title="Mine", task=task)
        file("low", 60, title="Low", task=task, finished="2027-01-02T03:04:05+00:00")
    floors(file, task="after", tuned_on="digits")
    seen = Reader(build("index.html"))
    text = " ".join(seen.text.split())
    assert re.search(r"Over 2 tables \(1 seeds?, 2026-01-02 to 2027-01-02\)", text)
    assert "do not say what they need, so what can be used when is not known" in text, "the guide is there"
    lines = [" ".join(row.split()) for row in seen.rows]
    assert "Mine 2 0 0 +10.0 [+10.0, +10.0] 2 of 2 1.00 ×" in lines
    assert "Low 0 0 2 −55.0 [−55.0, −55.0] 0 of 2 1.00 ×" in lines


def test_a_summary_counts_every_table_that_it_says_it_counts() -> None:
    tables = [
        table({"floor": measured(100, is_floor=True), "mine": measured(right)}, "floor", version=version)
        for version, right in (("1", 140), ("2", 60))
    ]
    (group,) = summaries(tables, {})
    (line,) = group.lines
    assert (len(line.across.tasks), line.across.mean) == (2, pytest.approx(0.0))
