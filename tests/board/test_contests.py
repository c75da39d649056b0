"""Two methods side by side, a method over tasks, and the chart of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prt_bench.board.contest_chart import COLOURS, SHAPES, contest_chart, draw_contests
from prt_bench.board.contests import contests, overall, standings
from prt_bench.board.drawing import refuse_unwritable
from prt_bench.board.table import Table
from prt_bench.comparing import across_tasks, compare, holm
from prt_bench.errors import RequestError
from tests.board.by_hand import N, measured, paid, query, table


def duel(mine: int, theirs: int, /, *, task: str = "digits", **facts: Any) -> Table:
    """A table of two methods."""
    return table({"mine": measured(mine), "theirs": measured(theirs)}, task=task, **facts)


def test_a_contest_is_the_paired_difference_of_both() -> None:
    rows = {"mine": measured(120, 130, 141), "theirs": measured(100, 110, 120, 0), "other": measured(5)}
    (found,) = contests([table(rows)], "mine", "theirs")
    pairs = [[row.by_seed[seed] for seed in range(3)] for row in (rows["mine"], rows["theirs"])]
    assert found.found == compare(*pairs)
    assert found.found.value == pytest.approx((20 + 20 + 21) / 3 / N)
    assert (found.found.n_seeds, found.standing, found.adjusted) == (3, "above", found.found.p)
    (turned,) = contests([table(rows)], "theirs", "mine")
    assert (turned.found.value, turned.standing) == (pytest.approx(-found.found.value), "below")


def test_all_lines_told_together_are_one_family() -> None:
    made = [duel(110 + (number == 3), 100, task=f"task {number}") for number in range(6)]
    made += [duel(108, 100, task="derived", tuned_on="task 0", pair="old:newer")]
    (alone,) = contests(made[:1], "mine", "theirs")
    found = contests(made, "mine", "theirs")
    assert [one.adjusted for one in found] == holm([one.found.p for one in found])
    assert found[0].adjusted > alone.adjusted
    weak = [duel(106, 100, task=f"task {number}") for number in range(2)]
    assert contests(weak[:1], "mine", "theirs")[0].standing == "above"
    more = [duel(100, 100, task=f"even {number}") for number in range(8)]
    assert {one.standing for one in contests(weak + more, "mine", "theirs")} == {"same"}


def test_rows_whose_parameters_were_chosen_alike_meet() -> None:
    rows = {
        "mine": measured(120),
        "mine/source": measured(140, strengths="source"),
        "mine/target": measured(160, strengths="target"),
        "theirs": measured(100),
        "theirs/source": measured(90, strengths="source"),
    }
    found = contests([table(rows)], "mine", "theirs")
    told = {one.mine.strengths: (one.theirs.strengths, round(one.found.value * N)) for one in found}
    # Theirs was never chosen on the target: its constants stand there.
    assert told == {"constants": ("constants", 20), "source": ("source", 50), "target": ("constants", 60)}
    assert {group: one.tasks for group, one in overall(found).items()} == {
        ("old:new", "paper", strengths): ("digits",) for strengths in told
    }


def test_of_several_states_the_newest_counts() -> None:
    rows = {"mine": measured(120), "mine/old": measured(20), "theirs": measured(100)}
    made = table(rows, **{"mine/old": {"finished": "2025-01-01T00:00:00Z"}})
    assert [round(one.found.value * N) for one in contests([made], "mine", "theirs")] == [20]
    made.rows.reverse()
    assert [round(one.found.value * N) for one in contests([made], "mine", "theirs")] == [20]


@pytest.mark.parametrize(
    ("mine", "theirs", "queries"),
    [
        # (FLOPs per upgrade, per query): 1,000 to pay off with 20 per query.
        ((0, 120), (1_000, 100), 50.0),
        ((1_000, 100), (0, 120), 50.0),
        ((500, 70), (0, 90), 25.0),
        # Cheaper or as cheap in both: no such number.
        ((0, 100), (1_000, 100), None),
        ((0, 100), (1_000, 120), None),
        ((1_000, 120), (1_000, 100), None),
        ((None, 120), (1_000, 100), None),
        ((0, 120), (1_000, None), None),
    ],
)
def test_queries_at_which_both_cost_the_same(
    mine: tuple[int | None, int | None], theirs: tuple[int | None, int | None], queries: float | None
) -> None:
    costs = {
        label: {"per_upgrade": paid(upgrade), "per_query": query(each)}
        for label, (upgrade, each) in (("mine", mine), ("theirs", theirs))
    }
    (found,) = contests([duel(120, 100, **costs)], "mine", "theirs")
    assert found.equal_cost == queries


def test_an_unknown_method_is_named_with_those_near_it() -> None:
    with pytest.raises(RequestError, match=r"^--compare thiers: no results of it; did you mean theirs\?$"):
        contests([duel(1, 1)], "mine", "thiers")
    with pytest.raises(RequestError, match=r"^--compare zzz: no results of it; known: mine, theirs$"):
        contests([duel(1, 1)], "zzz", "mine")
    with pytest.raises(RequestError, match=r"^--compare mine: no results of it$"):
        contests([], "mine", "theirs")


def test_methods_that_never_met_are_refused() -> None:
    apart = [table({"mine": measured(9)}), table({"theirs": measured(9)}, task="other")]
    other_seeds = [table({"mine": measured(9), "theirs": measured(9, first=4)})]
    other_items = [table({"mine": measured(9), "theirs": measured(9, items=["x"] * N)})]
    for made in (apart, other_seeds, other_items):
        with pytest.raises(RequestError, match="no pair and task has both, on common seeds and test items"):
            contests(made, "mine", "theirs")


def test_forgetting_comes_last_and_does_not_count_over_tasks() -> None:
    made = [
        duel(20, 180, task="after", tuned_on="digits"),
        duel(150, 100, task="digits"),
        duel(100, 100, task="letters"),
        duel(90, 100, task="letters", track="equal"),
        duel(50, 100, task="letters", version="2"),
    ]
    found = contests(made, "mine", "theirs")
    assert [one.table.task for one in found] == ["digits", "letters", "letters", "letters", "after"]
    told = overall(found)
    assert set(told) == {("old:new", "paper", "constants"), ("old:new", "equal", "constants")}
    paper = told["old:new", "paper", "constants"]
    assert (paper.wins, paper.ties, paper.losses, paper.tasks) == (1, 1, 0, ("digits", "letters"))
    assert paper.mean == pytest.approx((50 + 0) / 2 / N)
    assert (told["old:new", "equal", "constants"].losses, told["old:new", "equal", "constants"].ties) == (1, 0)


def test_over_tasks_each_is_against_its_own_best_floor() -> None:
    def one(task: str, **right: int) -> Table:
        rows = {label: measured(number) for label, number in right.items()}
        floors = {"floor": measured(100, is_floor=True), "poor": measured(20, is_floor=True)}
        return table({**floors, **rows}, "floor", task=task)

    made = [
        one("a", mine=150, partly=190), one("b", mine=40), one("c", mine=101, partly=190),
        table({"floor": measured(5, is_floor=True), "mine": measured(190)}, "floor", task="d", tuned_on="a"),
        one("a", mine=0),
    ]  # fmt: skip
    ((group, lines),) = standings(made).items()
    assert group == ("old:new", "paper")
    told = {line.title: line for line in lines}
    assert set(told) == {"Mine", "Partly"}
    mine = told["Mine"].found
    assert (mine.wins, mine.ties, mine.losses, mine.tasks) == (1, 1, 1, ("a", "b", "c"))
    assert mine.mean == pytest.approx((50 - 60 + 1) / 3 / N)
    assert (told["Mine"].missing, told["Partly"].missing) == ((), ("b",))
    rows = [next(row for row in table.rows if row.label == "mine") for table in made[:3]]
    differences = {name: row.difference for name, row in zip("abc", rows, strict=True) if row.difference}
    assert mine == across_tasks(
        differences, {name: row.verdicts.p_floor or 0.0 for name, row in zip("abc", rows, strict=True)}
    )


def test_a_task_without_a_difference_is_missing_too() -> None:
    """It was run there, but on no seed of the floor: its mean would be of fewer tasks than the others'."""
    floor = measured(100, is_floor=True)
    made = [
        table({"floor": floor, "mine": measured(150, first=first), "full": measured(150)}, "floor", task=task)
        for task, first in (("a", 0), ("b", 7))
    ]
    ((_, lines),) = standings(made).items()
    assert {line.title: (line.found.tasks, line.missing) for line in lines} == {
        "Mine": (("a",), ("b",)),
        "Full": (("a", "b"), ()),
    }


def test_where_no_floor_was_run_there_are_no_standings() -> None:
    assert standings([duel(1, 1)]) == {("old:new", "paper"): []}
    assert standings([]) == {}


def layers(made: list[Table]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    chart = contest_chart(contests(made, "mine", "theirs"))
    return chart, chart["layer"]


def values(chart: dict[str, Any], layer: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = chart["datasets"][layer["data"]["name"]]
    return found


def test_the_chart_has_a_line_per_contest_by_what_is_said_of_it() -> None:
    made = [duel(150, 100), duel(50, 100, task="letters"), duel(101, 100, task="even", tuned_on="digits")]
    chart, (zero, lines, points, costs) = layers(made)
    rows = values(chart, lines)
    assert values(chart, points) == values(chart, costs) == rows
    assert {row["queries"] for row in rows} == {""}
    assert values(chart, zero) == [{"zero": 0}]
    assert [(row["line"], row["standing"]) for row in rows] == [
        ("digits", "above"), ("letters", "below"), ("even (after digits)", "same"),
    ]  # fmt: skip
    found = contests(made, "mine", "theirs")
    for row, one in zip(rows, found, strict=True):
        assert [row["low"], row["difference"], row["high"]] == pytest.approx(
            [100 * one.found.interval[0], 100 * one.found.value, 100 * one.found.interval[1]]
        )
    assert lines["encoding"]["y"]["sort"] == ["digits", "letters", "even (after digits)"]
    for layer in (lines, points):
        scale = layer["encoding"]["color"]["scale"]
        assert dict(zip(scale["domain"], scale["range"], strict=True)) == COLOURS
    scale = points["encoding"]["shape"]["scale"]
    assert dict(zip(scale["domain"], scale["range"], strict=True)) == SHAPES
    assert len(set(COLOURS.values())) == len(set(SHAPES.values())) == 3
    assert (SHAPES["above"], SHAPES["below"]) == ("triangle-right", "triangle-left")
    assert chart["title"]["text"] == "Mine or Theirs?"
    assert chart["title"]["subtitle"][0].startswith("Paired differences over items and 1 seed, 95 % intervals")
    assert lines["encoding"]["x"]["title"] == "points; right of 0: Mine, left: Theirs"


def test_the_chart_tells_where_both_cost_the_same() -> None:
    tuned = {"per_upgrade": paid(1_000_000), "per_query": query(10)}
    made = [duel(150, 100, mine={"per_upgrade": paid(0), "per_query": query(30)}, theirs=tuned)]
    chart, (_, lines, _, costs) = layers(made)
    assert [row["queries"] for row in values(chart, lines)] == ["50 k queries"]
    assert costs["encoding"]["text"]["field"] == "queries"
    assert any("both cost as many FLOPs" in line for line in chart["title"]["subtitle"])


def test_lines_of_the_chart_say_what_tells_them_apart() -> None:
    one, two = measured(150, 150), measured(100, 100)
    made = [
        table({"mine": one, "theirs": two}, embedded=False),
        table({"mine": one, "theirs": two}, track="equal", pair="old:newer"),
        table({"mine/chosen": measured(9, strengths="source"), "mine": one, "theirs": two}, track="equal"),
    ]
    chart, (_, lines, *_) = layers(made)
    assert [row["line"] for row in values(chart, lines)] == [
        "digits, new, paper track",
        "digits, newer, equal track, constants",
        "digits, new, equal track, constants",
        "digits, new, equal track, source",
    ]
    assert len(chart["title"]["subtitle"]) == 2
    assert "1 to 2 seeds," in chart["title"]["subtitle"][0]
    made[0].embedded = True
    assert "prove nothing" in layers(made)[0]["title"]["subtitle"][2]


@pytest.mark.parametrize(("suffix", "start"), [("svg", b"<svg"), ("png", b"\x89PNG"), ("html", b"<!doctype html>")])
def test_charts_are_written_by_their_suffix(tmp_path: Path, suffix: str, start: bytes) -> None:
    path = tmp_path / f"chart.{suffix}"
    found = contests([duel(150, 100, mine={"title": "<script>alert(1)</script>"})], "mine", "theirs")
    draw_contests(found, path)
    written = path.read_bytes()
    assert written.startswith(start)
    assert b"<script" not in written


def test_a_chart_that_cannot_be_written_is_refused_before_any_work(tmp_path: Path) -> None:
    refuse_unwritable(None)
    refuse_unwritable(tmp_path / "fine.SVG")
    for path, reason in (("x.pdf", r"a chart ends in \.svg, \.png, \.html"), ("no/x.svg", "there is no such folder")):
        with pytest.raises(RequestError, match=reason):
            refuse_unwritable(tmp_path / path)
    taken = tmp_path / "taken.svg"
    taken.mkdir()
    with pytest.raises(RequestError, match=r"taken\.svg: cannot be written"):
        draw_contests(contests([duel(150, 100)], "mine", "theirs"), taken)


def test_rows_made_by_hand_are_paired_by_item() -> None:
    """What these tests stand on: items answered rightly are the first ones."""
    assert np.array_equal(measured(3).by_seed[0][:5], [1, 1, 1, 0, 0])
