"""The guide: what can be used by what one has, what is good and what is cheap of it."""

from __future__ import annotations

from typing import Any

import pytest

from prt_bench.board.guide import Guide, Situation, answer, guide
from prt_bench.board.table import Table
from prt_bench.cards import MethodFacts
from tests.board.by_hand import measured, paid, query, table


def facts(port: tuple[str, ...] = (), weights: tuple[Any, ...] = ("source",)) -> MethodFacts:
    return MethodFacts(
        name="x", title="X", role="method", summary="", source="", bibtex="", reads="anything",
        needs={"fit": ("train",), "port": port}, weights=weights, parameters={},
    )  # fmt: skip


def row(port: tuple[str, ...] = (), weights: tuple[Any, ...] = ("source",), **more: Any) -> dict[str, Any]:
    """Facts of a row; `cost` is FLOPs once, per upgrade, per query."""
    once, upgrade, each = more.pop("cost", (0, 0, 100))
    costs = {"once": paid(once), "per_upgrade": paid(upgrade), "per_query": query(each)}
    return {"facts": facts(port, weights), **costs, **more}


TUNED = row(("train",), ("target",), role="reference", cost=(0, 900_000, 100))
UNTUNED = row(weights=())
PORTED = row(cost=(500_000, 0, 150))


def board(ported: int = 150, tuned: int = 180, untuned: int = 60, **more: Any) -> Table:
    rows = {"untuned": measured(untuned, untuned, is_floor=True), "ported": measured(ported, ported)}
    by_row = {"untuned": UNTUNED, "ported": PORTED, "tuned": TUNED, **more.pop("by_row", {})}
    return table({**rows, "tuned": measured(tuned, tuned), **more.pop("rows", {})}, "untuned", **more, **by_row)


def names(made: Guide, situation: Situation) -> list[str]:
    return [made.ways[option.way].name for option in situation.options]


def test_what_one_has_decides_what_can_be_used() -> None:
    made = guide([board()])
    everything, less = made.situations
    assert (everything.heading, names(made, everything)) == (
        "Labelled data for the target, and its weights",
        ["Tuned", "Ported", "Untuned"],
    )
    assert less.heading == "No labelled data for the target, or only its outputs"
    assert names(made, less) == ["Ported", "Untuned"]


@pytest.mark.parametrize(
    ("port", "weights", "headings"),
    [
        (("validation",), ("source",), ["Labelled data for the target", "No labelled data for the target"]),
        (("unlabelled",), ("source", "target"), ["The target’s weights", "Only the target’s outputs, not its weights"]),
        ((), (), ["Whatever you have at the upgrade"]),
    ],
)
def test_situations_that_come_to_the_same_are_one(port: Any, weights: Any, headings: list[str]) -> None:
    rows = {"untuned": measured(60, is_floor=True), "other": measured(150)}
    made = guide([table(rows, "untuned", untuned=UNTUNED, other=row(port, weights))])
    assert [situation.heading for situation in made.situations] == headings
    told = [note for note in made.situations[0].notes if "without labels" in note]
    assert told == (["Reads inputs without labels at every upgrade: Other."] if port == ("unlabelled",) else [])


def test_parameters_chosen_on_the_target_need_its_labels_whatever_the_card_says() -> None:
    made = guide([board(by_row={"ported": {**PORTED, "strengths": "target"}})])
    assert [names(made, situation) for situation in made.situations] == [
        ["Tuned", "Ported", "Untuned"],
        ["Ported", "Untuned"],
        ["Untuned"],
    ]


def test_among_the_best_are_those_that_no_usable_one_is_told_above() -> None:
    made = guide([board(), board(task="letters", ported=60)])
    everything, less = made.situations
    best = [{made.ways[o.way].name: o.best for o in situation.options} for situation in (everything, less)]
    assert best == [{"Tuned": 2, "Ported": 0, "Untuned": 0}, {"Ported": 2, "Untuned": 1}]
    assert less.by_score == "By score alone: Ported, among the best that can be used on 2 of 2 tables."
    assert "On 1 of 2 tables a floor is among the best too: nothing is shown to gain over it there." in less.notes
    assert not any("a floor is among" in note for note in everything.notes)


def test_of_equally_good_ones_the_price_per_query_is_told() -> None:
    rows = {"other": measured(150, 150)}
    flops = query(100).flops.model_copy(update={"by_member": {"target": 100}})
    alone = {**UNTUNED, "per_query": query(100).model_copy(update={"flops": flops})}
    made = guide([board(rows=rows, by_row={"untuned": alone, "other": row(cost=(0, 0, 260))})])
    assert made.situations[1].by_score == (
        "By score alone: Other or Ported, among the best that can be used on 1 of 1 table; Ported costs the least of "
        "them per query (1.50 × the target, against up to 2.60 ×)."
    )
    ported = next(way for way in made.ways if way.name == "Ported")
    assert (ported.difference, ported.price) == ("+45.0", "1.50 ×")


def test_few_queries_make_one_cheap_and_many_another() -> None:
    made = guide([board(), board(task="letters")])
    everything = made.situations[0]
    few, many = (answer(made, everything, 3, queries, 20) for queries in (1000, 1e9))
    assert (few.lead, many.lead) == ("Ported", "Tuned")
    assert few.sentence == (
        "the fewest FLOPs on 2 of 2 tables, counting all that comes within 20 points of the best score, at 3 upgrades "
        "and 1 thousand queries in all."
    )
    assert [made.ways[o.way].name for o, count in zip(everything.options, few.cheapest, strict=True) if count] == [
        "Ported"
    ]
    # More upgrades turn it.
    assert answer(made, everything, 1000, 1e6, 20).lead == "Ported"
    assert answer(made, everything, 1, 1e9, 0).sentence.startswith(
        "the fewest FLOPs on 2 of 2 tables, counting all that has the best score, at 1 upgrade and 1 billion queries"
    )
    # Keeping what one has is an answer too.
    assert answer(made, everything, 3, 1e6, 100).lead == "Untuned (a floor)"


def test_points_reach_exactly_as_far_as_they_say() -> None:
    made = guide([board(ported=150, tuned=180)])
    assert answer(made, made.situations[0], 3, 1000, 15).lead == "Ported"
    assert answer(made, made.situations[0], 3, 1000, 14.99).lead == "Tuned"


def test_where_tables_differ_the_guide_says_so() -> None:
    made = guide([board(), board(task="letters", ported=60)])
    told = answer(made, made.situations[1], 3, 1e6, 2)
    assert told.lead == "It depends on the table"
    assert told.sentence.startswith("the fewest FLOPs: Ported on 1 and Untuned (a floor) on 1 of 2 tables, counting")


def test_a_cost_that_is_not_known_is_never_the_lowest() -> None:
    made = guide([board(by_row={"ported": {**PORTED, "per_query": query(None)}})])
    assert answer(made, made.situations[0], 3, 1000, 20).lead == "Tuned"
    assert answer(made, made.situations[0], 3, 1000, 20).sentence.endswith(
        "On 1 of 1 table something as good has no known cost."
    )
    assert answer(made, made.situations[1], 3, 1000, 2).lead == "Not known"


def test_rows_without_cards_are_named_and_left_out() -> None:
    made = guide([board(by_row={"ported": {**PORTED, "facts": None}})])
    assert made.unknown == ("Ported",)
    assert [way.name for way in made.ways] == ["Untuned", "Tuned"]
    assert guide([]).situations == ()


def test_superseded_rows_and_forgetting_take_no_part() -> None:
    old = {"ported/old": measured(199, 199)}
    made = guide([board(rows=old, by_row={"ported/old": {"superseded": "by a newer one"}}), board(tuned_on="letters")])
    assert len(made.tables) == 1
    assert [entry and entry.score for way in made.ways for entry in way.entries] == [0.3, 0.75, 0.9]


def test_ways_of_one_title_are_told_apart_by_their_settings() -> None:
    rows = {"ported/strong": measured(150, 150)}
    made = guide([board(rows=rows, by_row={"ported/strong": {**PORTED, "settings": "alpha=2"}})])
    assert {way.name for way in made.ways} >= {"Ported (ported)", "Ported (ported, alpha=2)"}


def test_names_are_short_and_lists_too() -> None:
    rows = {f"m{i}": measured(150, 150) for i in range(6)}
    names = {f"m{i}": row(cost=(0, 0, 100 + i), title=f"{i}\u202e" + "x" * 10_000) for i in range(6)}
    made = guide([table({"untuned": measured(60, 60, is_floor=True), **rows}, "untuned", untuned=UNTUNED, **names)])
    assert {len(way.name) for way in made.ways} == {len("Untuned"), 56}
    assert not any("\u202e" in way.name for way in made.ways)
    told = made.situations[0].by_score
    assert "or 3 others, among the best that can be used on 1 of 1 table" in told
    assert len(told) < 400


def test_little_ground_is_called_little() -> None:
    rows = {"untuned": measured(60, is_floor=True), "ported": measured(150)}
    (only,) = guide([table(rows, "untuned", untuned=UNTUNED, ported=PORTED)]).situations
    assert only.notes == (
        "On 1 of 1 table there is one seed: training again may turn the order.",
        "1 table is few: another task may differ.",
    )
    first = board()
    second = table({"untuned": measured(60, 60, is_floor=True)}, "untuned", task="letters", untuned=UNTUNED)
    assert guide([first, second]).situations[0].notes == (
        "2 tables are few: another task may differ.",
        "Not run on all of them: Tuned and Ported.",
    )
