"""What changed between two boards: which rows are the same question, and what noise allows to say of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prt_bench.board.differences import KINDS, Change, Differences, differences
from prt_bench.board.table import Table
from prt_bench.comparing import compare
from tests.board.by_hand import measured, table


def board(*by_seed: Any, label: str = "ported", again: str = "", **facts: Any) -> Table:
    """A table of one row; `again` names the record that it stands on."""
    of_table = {name: facts.pop(name) for name in ("pair", "task", "version", "track", "tuned_on") if name in facts}
    changed = {"paths": [Path(f"{again}.json")], "finished": facts.pop("finished", "2026-01-01T00:00:00Z")}
    changed |= {name: facts.pop(name) for name in ("settings",) if name in facts}
    return table({label: measured(*by_seed, **facts)}, **of_table, **{label: changed})


def only(found: Differences) -> Change:
    (change,) = found.changes
    return change


def test_a_row_is_better_or_worse_only_beyond_noise() -> None:
    before = [board(100, 104, 102, again="a")]
    for right, kind in (((160, 163, 161), "better"), ((40, 42, 41), "worse"), ((103, 101, 105), "within noise")):
        change = only(differences(before, [board(*right, again="b")]))
        assert change.kind == kind
        assert change.found is not None
        expected = (np.mean(right) - 102) / 200
        assert change.found.value == pytest.approx(expected)
        assert (change.now or 0) - (change.was or 0) == pytest.approx(expected)
        assert change.adjusted == pytest.approx(change.found.p)


def test_the_same_scores_are_unchanged() -> None:
    change = only(differences([board(100, 104, again="a")], [board(100, 104, again="b")]))
    assert (change.kind, change.adjusted) == ("unchanged", 1.0)
    # As many right answers to other items are no such thing.
    others = np.flip(np.arange(200) < 100).astype(float)
    change = only(differences([board(100)], [board(others)]))
    assert change.kind == "within noise"
    assert change.found is not None
    assert change.found.value == 0


def test_the_verdict_counts_all_rows_that_were_measured_again() -> None:
    """Holm: what one test would call better is noise among many."""
    right = np.arange(200) < 100
    better = right | (np.arange(200) >= 192)
    p = compare([better.astype(float)], [right.astype(float)]).p
    assert 0.005 < p < 0.05
    before = [board(right, again="a"), *(board(100, label=f"other{index}", again="a") for index in range(30))]
    after = [board(better, again="b"), *(board(100, label=f"other{index}", again="b") for index in range(30))]
    among = {change.row.label: change for change in differences(before, after).changes}
    assert among["ported"].kind == "within noise"
    assert among["ported"].adjusted == pytest.approx(min(1.0, 31 * p))
    # The very same records are no measurement: they take nothing from those that are.
    kept = [after[0], *before[1:]]
    among = {change.row.label: change for change in differences(before, kept).changes}
    assert (among["ported"].kind, among["ported"].adjusted) == ("better", pytest.approx(p))
    assert (among["other0"].kind, among["other0"].adjusted) == ("unchanged", None)


@pytest.mark.parametrize(
    "other",
    [
        {"pair": "old:newer"}, {"task": "letters"}, {"version": "2"}, {"track": "equal"}, {"tuned_on": "letters"},
        {"label": "other"}, {"settings": "alpha=0.5"}, {"strengths": "target"},
    ],
)  # fmt: skip
def test_rows_that_answer_other_questions_are_gone_and_new(other: dict[str, str]) -> None:
    found = differences([board(100)], [board(160, **other)])
    assert sorted(change.kind for change in found.changes) == ["gone", "new"]
    (gone,), (new,) = found.of("gone"), found.of("new")
    assert (gone.was, gone.now, new.was, new.now) == (0.5, None, None, 0.8)


def test_neighbours_are_told() -> None:
    found = differences([board(100)], [board(160, version="2")])
    assert {change.kind: change.note for change in found.changes} == {
        "gone": "now with version 2",
        "new": "before with version 1",
    }
    before, after = board(100), board(100)
    after.data_sha256, after.recipe = "e" * 64, "long"
    found = differences([before], [after])
    assert found.of("gone")[0].note == f"now with data {'e' * 12}, recipe long"


def test_what_cannot_be_paired_says_why() -> None:
    other_items = [f"new/{index}" for index in range(200)]
    change = only(differences([board(100)], [board(100, items=other_items)]))
    assert (change.kind, change.note, change.found) == ("not comparable", "test items not shared", None)
    change = only(differences([board(100)], [board(100, first=7)]))
    assert (change.kind, change.note) == ("not comparable", "no seed in common")
    after = board(100)
    after.primary = "mean_per_class"
    change = only(differences([board(100)], [after]))
    assert (change.kind, change.note) == ("not comparable", "scored by top1 before, by mean_per_class now")


def test_only_common_seeds_are_compared_and_shown() -> None:
    change = only(differences([board(100)], [board(100, 180, 181)]))
    assert (change.kind, change.was, change.now) == ("unchanged", 0.5, 0.5)
    assert change.note == "seeds: 1 before, 3 now"


@pytest.mark.parametrize("turned", [False, True])
def test_of_several_states_the_newest_counts(turned: bool) -> None:
    states = [board(100, finished="2026-01-02T00:00:00Z"), board(10, finished="2026-01-01T00:00:00Z")]
    change = only(differences([board(100)], states[::-1] if turned else states))
    assert change.kind == "unchanged"


def test_there_and_back_is_the_same_turned_round() -> None:
    one = [board(100, 104, 99, again="a"), board(20, label="lost", again="a")]
    other = [board(160, 163, 158, again="b"), board(20, label="won", again="b")]
    there, back = differences(one, other), differences(other, one)
    turned = {"better": "worse", "worse": "better", "new": "gone", "gone": "new"}
    assert {change.row.label: turned[change.kind] for change in there.changes} == {
        change.row.label: change.kind for change in back.changes
    }
    assert there.of("better")[0].found is not None
    assert {kind: len(there.of(kind)) for kind in KINDS} == dict.fromkeys(KINDS, 0) | {"better": 1, "gone": 1, "new": 1}


def test_nothing_beside_nothing() -> None:
    assert differences([], []).changes == ()
