"""The page of the ledger: its numbers are those of the ledger's own arithmetic."""

from __future__ import annotations

import json
from typing import Any

import pytest

from prt_bench.board.ledger_view import LedgerTable, ledger_of, ledger_view
from prt_bench.board.numerals import in_flops
from prt_bench.board.table import Table
from prt_bench.lifetime import BreakEven, Ledger, break_even_queries, break_even_upgrades, cheapest, counted
from prt_bench.records import CostTerm
from tests.board.by_hand import measured, paid, query, table

COSTS = {"untuned": (0, 0, 100), "ported": (500_000, 0, 150), "light": (0, 300_000, 101), "tuned": (0, 900_000, 100)}
ROLES = {"tuned": "reference"}
RIGHT = {"untuned": 60, "ported": 178, "light": 177, "tuned": 180}


def board(without: tuple[str, ...] = (), by_row: dict[str, dict[str, Any]] | None = None, **more: Any) -> Table:
    names = [name for name in COSTS if name not in without]
    rows = {name: measured(RIGHT[name], is_floor=name == "untuned") for name in names}
    rows |= more.pop("rows", {})
    told: dict[str, dict[str, Any]] = {}
    for name in names:
        once, upgrade, each = COSTS[name]
        role = {"role": ROLES[name]} if name in ROLES else {}
        told[name] = {"once": paid(once), "per_upgrade": paid(upgrade), "per_query": query(each), **role}
    for name, values in (by_row or {}).items():
        told[name] = {**told.get(name, {}), **values}
    return table(rows, "untuned", **more, **told)


def only(view: dict[str, Any]) -> LedgerTable:
    (part,) = view["parts"]
    (pair,) = part["pairs"]
    (found,) = pair["tables"]
    assert isinstance(found, LedgerTable)
    return found


def test_totals_and_break_evens_are_those_of_the_ledger() -> None:
    shown = only(ledger_view([board()]))
    lines = {line.name: line for line in shown.lines}
    assert [line.name for line in shown.lines] == ["Untuned", "Light", "Ported", "Tuned"]
    # 500,000 + 3 · 0 + 1,000,000 · 150
    assert lines["Ported"].cells == ("500 k", "0", "150", "150 M")
    assert lines["Light"].cells == ("0", "300 k", "101", "102 M")
    assert lines["Tuned"].cells == ("0", "900 k", "100", "103 M")
    # 3 · 900,000 = 500,000 + 50 · Q; 900,000 · U = 500,000 + 50 · 1,000,000
    assert lines["Ported"].less == ("up to 44 k", "from 56.1 on")
    assert lines["Tuned"].less == ("reference", "reference")
    assert lines["Untuned"].less == ("always", "always")
    for name in ("Ported", "Light"):
        mine, theirs = lines[name].line.costs["flops"], lines["Tuned"].line.costs["flops"]
        places = break_even_queries(mine, theirs, 3), break_even_upgrades(mine, theirs, 1e6)
        values = [counted(place.value) for place in places if isinstance(place, BreakEven) and place.value]
        assert lines[name].less == (f"up to {values[0]}", f"from {values[1]} on")


def test_the_cheapest_is_told_of_what_is_good_enough() -> None:
    shown = only(ledger_view([board()]))
    assert [line.name for line in shown.lines if line.cheapest] == ["Light"]
    assert shown.answer == (
        "At 3 upgrades and 1 million queries Light is the cheapest of the 3 that come within 2 points of Tuned: "
        "102 MFLOPs, against 103 MFLOPs."
    )
    ledger = shown.ledger
    for queries, names in shown.map:
        asked = {"10 k": 1e4, "1 M": 1e6, "100 M": 1e8}[queries]
        found = [cheapest(ledger.eligible(2), "flops", upgrades, asked) for upgrades in (1, 3, 10, 30)]
        assert list(names) == [line.label for (line,) in found]
    assert shown.map[0] == ("10 k", ("Light", "Light", "Ported", "Ported"))
    assert shown.map[2][1] == ("Tuned",) * 3 + ("Tuned",)
    assert shown.everywhere == ""


def test_floors_are_shown_and_never_called_cheapest() -> None:
    shown = only(ledger_view([board(rows={"untuned": measured(180, is_floor=True)})]))
    untuned = next(line for line in shown.lines if line.name == "Untuned")
    assert (untuned.eligible, untuned.cheapest) == (False, False)


def test_what_comes_not_near_enough_is_said() -> None:
    shown = only(ledger_view([board(without=("light",), rows={"ported": measured(150)})]))
    assert (
        shown.answer == "Nothing else comes within 2 points of Tuned: 103 MFLOPs at 3 upgrades and 1 million queries."
    )
    assert shown.everywhere == "Tuned"
    assert [line.name for line in shown.lines if line.eligible] == ["Tuned"]


def test_a_missing_cost_is_a_gap_with_its_reason() -> None:
    flops = query(None).flops.model_copy(update={"uncounted_ops": ["fft"]})
    broken = {"per_query": query().model_copy(update={"flops": flops}), "once": paid(None)}
    view = ledger_view([board(by_row={"light": broken})])
    light = next(line for line in only(view).lines if line.name == "Light")
    assert light.cells == ("–", "300 k", "–", "–")
    assert light.less == ("not known", "not known")
    assert light.gap == "FLOPs once are not known; FLOPs per query are not known: nothing counts fft"
    (packed,) = view["data"]["tables"]
    assert packed["gaps"] == {"1": light.gap}
    assert packed["lines"][1][3:6] == [None, 300_000, None]


def test_superseded_rows_and_forgetting_are_out() -> None:
    rows, by_row = {"ported/old": measured(179)}, {"ported/old": {"superseded": "by a newer one"}}
    view = ledger_view([board(rows=rows, by_row=by_row), board(tuned_on="letters", task="other")])
    assert [line.name for line in only(view).lines] == ["Untuned", "Light", "Ported", "Tuned"]


def test_without_a_reference_there_is_no_ledger_and_the_page_says_why() -> None:
    view = ledger_view([board(without=("tuned",))])
    assert view["parts"] == []
    assert view["without"] == [("old:new digits, paper", "no tuned target was run, which the others are compared with")]


def test_real_models_come_first() -> None:
    view = ledger_view([board(), board(embedded=False, pair="a:b"), board(embedded=False, pair="a:b", task="letters")])
    assert [(part["embedded"], len(part["pairs"])) for part in view["parts"]] == [(False, 1), (True, 1)]
    assert [table["task"] for table in view["data"]["tables"]] == ["digits", "letters", "digits"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, ""),
        ({"light": {"per_query": query(latency=False)}}, "no valid times of Light"),
        ({"light": {"per_upgrade": paid(1, None)}}, "no valid times of Light"),
    ],
)
def test_times_are_added_up_where_all_have_them(change: dict[str, Any], reason: str) -> None:
    view = ledger_view([board(by_row=change)])
    (packed,) = view["data"]["tables"]
    if reason:
        assert view["data"]["names"][packed["untimed"]] == reason
        assert {len(line) for line in packed["lines"]} == {6}
    else:
        assert packed["lines"][2][6:] == [0, 0, 0.00325]


def test_times_of_several_machines_or_sessions_are_not() -> None:
    made = board()
    made.hardware.append("other")
    ledger = ledger_of(made)
    assert isinstance(ledger, Ledger)
    assert ledger.notes == ("times of different machines are not compared: h, other",)
    other = query()
    assert other.latency
    other = other.model_copy(update={"latency": [other.latency[0].model_copy(update={"session": "t"})]})
    ledger = ledger_of(board(by_row={"light": {"per_query": other}}))
    assert isinstance(ledger, Ledger)
    assert "several sessions" in ledger.notes[0]


def test_rows_of_one_title_have_names_of_their_own() -> None:
    rows = {"ported/strong": measured(170)}
    shown = only(ledger_view([board(rows=rows, by_row={"ported/strong": {"note": "alpha=2"}})]))
    assert {"Ported (ported)", "Ported (ported, alpha=2)"} <= {line.name for line in shown.lines}


def test_the_command_asks_for_the_same() -> None:
    assert only(ledger_view([board()])).command == (
        "prt-bench lifetime --pair old:new --task digits --upgrades 3 --queries 1e6 --within 2 --chart lifetime.svg"
    )
    told = only(ledger_view([board(track="equal", task="a b")])).command
    assert "--task 'a b'" in told
    assert "--track equal" in told


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (150, "150"), (999.6, "1 k"), (4.97e12, "4.97 T"), (3.1e15, "3.1 P"), (1e30, "1,000,000 Y")],
)
def test_flops_have_a_prefix(value: float, text: str) -> None:
    assert in_flops(value, "") == text


def test_the_data_of_a_large_board_is_small() -> None:
    many = [
        table(
            {f"m{i}": measured(150 + i) for i in range(12)} | {"tuned": measured(180)},
            pair=f"source-model-{n // 10}:target-model-{n // 10}",
            task=f"task-number-{n % 10}",
            tuned={"role": "reference"},
            **{
                f"m{i}": {"once": big(n + i), "per_upgrade": big(2 * n + i), "per_query": query(17_583_000_000 + n * i)}
                for i in range(12)
            },
        )
        for n in range(8)
    ]
    sized = [json.dumps(ledger_view(made)["data"], separators=(",", ":")) for made in (many[:4], many)]
    per_table = (len(sized[1]) - len(sized[0])) / 4
    assert 160 * per_table < 300_000


def big(number: int) -> CostTerm:
    return CostTerm(train_flops=123_456_789_012_345_678 + number, seconds=1234.5678 + number, examples=9)
