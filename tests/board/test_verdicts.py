"""What a table says of its rows: each number by another way to it, and each reason where there is none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from prt_bench.board.verdicts import GAINS, Measured, Verdicts, _pairwise, standing_of, unbeaten, verdicts
from prt_bench.comparing import NO_GAP, Comparison, compare, gap_closed, holm
from tests.board.by_hand import N, measured, scores


def noisy(share: float, seeds: int = 3, draw: int = 0, **facts: Any) -> Measured:
    """Answers that differ between seeds, and between draws."""
    random = np.random.default_rng([round(1000 * share), draw])
    return measured(*(random.random(N) < share for _ in range(seeds)), **facts)


def steps(draw: int = 0, **more: Any) -> dict[str, Measured]:
    """All that others are compared with, on three seeds."""
    facts = {"draw": draw, **more}
    return {
        "untuned": noisy(0.4, stands_for="untuned target", is_floor=True, **facts),
        "both": noisy(0.5, stands_for="untuned ensemble", is_floor=True, **facts),
        "plain": noisy(0.6, stands_for="plain ensemble", **facts),
        "tuned": noisy(0.9, stands_for="tuned target", **facts),
    }


def found(one: Comparison | str) -> Comparison:
    assert isinstance(one, Comparison)
    return one


def of(mine: Measured, others: dict[str, Measured] | None = None, floor: str | None = "untuned") -> Verdicts:
    return verdicts({**(steps() if others is None else others), "mine": mine}, floor)["mine"]


def by_seed(row: Measured) -> list[Any]:
    return list(row.by_seed.values())


def test_each_difference_is_to_the_row_it_names() -> None:
    others, mine = steps(), noisy(0.7)
    told = of(mine, others)
    pairs = {"to_floor": "untuned", "to_target": "untuned", "to_ensemble": "plain", "to_reference": "tuned"}
    for name, other in pairs.items():
        assert getattr(told, name) == compare(by_seed(mine), by_seed(others[other])), name
    assert told.score.value == pytest.approx(np.mean(by_seed(mine)))
    assert told.gap == gap_closed(by_seed(mine), by_seed(others["untuned"]), by_seed(others["tuned"]))


def test_p_to_the_floor_is_adjusted_for_the_rows_of_the_table() -> None:
    """Alone, 10 items more of 200 are a difference; as one of several rows they are none."""
    rows = {"floor": measured(100, is_floor=True), "more": measured(110)}
    (alone,) = [row for key, row in verdicts(rows, "floor").items() if key != "floor"]
    assert found(alone.to_floor).p == alone.p_floor
    assert alone.p_floor is not None
    assert alone.p_floor < 0.05
    assert alone.standing == "above"
    crowd = {f"same {number}": measured(100) for number in range(50)}
    told = verdicts(rows | crowd | {"far": measured(20), "other": measured(200, items=["x"] * N)}, "floor")
    tested = [key for key in told if key not in ("floor", "other")]
    adjusted = dict(zip(tested, holm([found(told[key].to_floor).p for key in tested]), strict=True))
    assert {key: told[key].p_floor for key in tested} == adjusted
    assert found(told["more"].to_floor).interval[0] > 0
    assert told["more"].standing == "same"
    assert told["far"].standing == "below"
    assert (told["floor"].standing, told["floor"].p_floor) == (None, None)
    assert (told["other"].standing, told["other"].p_floor) == (None, None)


@pytest.mark.parametrize(
    ("difference", "p", "standing"),
    [(0.1, 0.049, "above"), (-0.1, 0.049, "below"), (0.1, 0.05, "same"), (-0.1, 0.9, "same")],
)
def test_standing_needs_a_p_below_five_per_cent(difference: float, p: float, standing: str) -> None:
    assert standing_of(difference, p) == standing


def best(rows: dict[str, Measured]) -> set[str]:
    return {key for key, told in verdicts(rows, None).items() if told.among_best}


def test_the_best_are_told_by_the_tests_of_all_pairs() -> None:
    top = measured(120)
    assert best({"top": top, "near": measured(110)}) == {"top"}
    assert best({"near": measured(110), "top": top}) == {"top"}
    # The same two rows among others alike: 45 pairs and not one.
    crowd = {f"same {number}": measured(110) for number in range(9)}
    assert best({"top": top, **crowd}) == {"top", *crowd}
    assert best({"top": top, "far": measured(40), **crowd}) == {"top", *crowd}


def test_all_pairs_have_the_difference_and_p_of_a_comparison() -> None:
    """Rows of several shapes, weighted scores among them."""
    rows = {f"three {number}": noisy(0.5 + 0.03 * number) for number in range(3)}
    rows |= {f"one {number}": noisy(0.45 + 0.1 * number, seeds=1) for number in range(2)}
    rows |= {"weighted": measured(*(3 * scores(40 + seed) for seed in range(3)))}
    pairs = _pairwise(rows)
    assert len(pairs) == 15
    for (one, other), (value, p) in pairs.items():
        seeds = sorted(set(rows[one].by_seed) & set(rows[other].by_seed))
        alone = compare(*([row.by_seed[seed] for seed in seeds] for row in (rows[one], rows[other])))
        assert (value, p) == pytest.approx((alone.value, alone.p), rel=1e-9)


def test_a_row_below_any_other_is_not_among_the_best() -> None:
    """Few noisy seeds hide how far the first is above the last; the second, with less noise, is plainly above it."""
    top = measured(100, 200)
    rows = {"top": top, "middle": measured(140, 140), "last": measured(90, 90)}
    assert found(verdicts(rows, "last")["top"].to_floor).p > 0.05
    assert best(rows) == {"top", "middle"}


@pytest.mark.parametrize("standing", ["above", "below"])
def test_who_is_told_above_or_below_the_best_floor_is_that_for_the_best_too(standing: str) -> None:
    """There are fewer tests against the floor than of all pairs: what these leave open, those may settle."""
    settled = 0
    for right in range(111, 140):
        floor, others = (110, right) if standing == "above" else (right, 110)
        rows = {"floor": measured(floor, is_floor=True)} | {f"same {n}": measured(others) for n in range(9)}
        told = verdicts(rows, "floor")
        if told["same 0"].standing == standing:
            settled += unbeaten(rows) == set(rows)
            worse = {"floor"} if standing == "above" else set(rows) - {"floor"}
            assert {key for key, one in told.items() if one.among_best} == set(rows) - worse
    assert settled


def test_rows_that_cannot_be_paired_cannot_be_told_apart() -> None:
    rows = {"a": measured(190), "b": measured(20, first=7), "c": measured(20, items=[f"x{n}" for n in range(N)])}
    assert best(rows) == {"a", "b", "c"}
    assert verdicts({}, None) == {}


def test_gains_add_up_to_the_difference_to_the_untuned_target() -> None:
    told = of(noisy(0.7))
    assert isinstance(told.gains, dict)
    assert tuple(told.gains) == GAINS
    assert sum(step.value for step in told.gains.values()) == pytest.approx(found(told.to_target).value, abs=1e-12)
    assert told.gains["beyond the ensemble"] == told.to_ensemble


def test_gains_are_on_the_seeds_that_all_steps_have() -> None:
    others = steps()
    others["both"] = noisy(0.5, seeds=2, stands_for="untuned ensemble", is_floor=True)
    told = of(noisy(0.7), others)
    assert isinstance(told.gains, dict)
    assert {step.n_seeds for step in told.gains.values()} == {2}
    assert found(told.to_target).n_seeds == 3


def test_stand_ins_were_chosen_in_the_same_way() -> None:
    constants = steps()
    chosen = {f"{key}, chosen": row for key, row in steps(draw=1, strengths="source").items()}
    for mine, others in (
        (noisy(0.7, strengths="source"), chosen),
        (noisy(0.7), constants),
        # Nothing was chosen in that way but this: constants, as they come first.
        (noisy(0.7, strengths="target"), constants),
    ):
        told = of(mine, {**constants, **chosen})
        (plain,) = [row for row in others.values() if row.stands_for == "plain ensemble"]
        (tuned,) = [row for row in others.values() if row.stands_for == "tuned target"]
        assert told.to_ensemble == compare(by_seed(mine), by_seed(plain))
        assert told.to_reference == compare(by_seed(mine), by_seed(tuned))


def test_agreement_of_images_counts_equal_answers_right_or_wrong() -> None:
    given = {0: np.repeat([1, 2, 3], [50, 100, 50])}
    same = {0: np.repeat([1, 2, 9], [50, 100, 50])}
    rows = {
        "tuned": measured(50, stands_for="tuned target", given=given),
        "mine": measured(100, given=same),
        "text": measured(100),
    }
    told = verdicts(rows, None)
    assert not isinstance(told["mine"].agreement, str)
    assert told["mine"].agreement.value == pytest.approx(150 / N)
    assert told["text"].agreement == "the answers themselves were not kept"
    different = verdicts(rows | {"mine": measured(50, given={0: np.full(N, 7)})}, None)["mine"].agreement
    assert not isinstance(different, str)
    assert different.value == 0


def test_no_gap_is_closed_where_there_is_none() -> None:
    others = steps()
    others["tuned"] = measured(*others["untuned"].by_seed.values(), stands_for="tuned target")
    assert (
        of(noisy(0.7), others).gap
        == NO_GAP
        == "no gap to close: the tuned target is not above the untuned one" + (" beyond noise")
    )


def test_every_number_that_is_not_there_gives_its_reason() -> None:
    others = steps()
    told = of(noisy(0.7), {}, None)
    assert told.to_floor == "no floor was run on this pair and task"
    assert told.to_ensemble == "no plain ensemble was run on this pair and task"
    assert told.to_target == "no untuned target was run on this pair and task"
    assert told.to_reference == "no tuned target was run on this pair and task"
    assert told.gains == "not run on this pair and task: untuned target, untuned ensemble, plain ensemble"
    assert told.gap == "an untuned and a tuned target are needed on this pair and task"
    assert told.agreement == "no tuned target was run on this pair and task"
    told = of(noisy(0.7), {key: row for key, row in others.items() if key != "both"})
    assert told.gains == "not run on this pair and task: untuned ensemble"
    for changed, reason in (
        ({"first": 7}, "no seed in common with"),
        ({"items": [f"other/{index}" for index in range(N)]}, "test items not shared with"),
    ):
        told = of(noisy(0.7, **changed), others)
        assert told.to_floor == f"{reason} the best floor"
        assert told.to_ensemble == f"{reason} the plain ensemble"
        assert told.to_target == f"{reason} the untuned target"
        assert told.to_reference == f"{reason} the tuned target"
        assert told.gains == f"{reason} all steps"
        assert told.gap == f"{reason} both ends of the gap"
        assert told.agreement == f"{reason} the tuned target"


def test_floors_and_stand_ins_are_not_set_against_themselves() -> None:
    told = verdicts(steps(), "untuned")
    assert told["untuned"].to_floor == "this is the best floor"
    assert told["untuned"].to_target == "this is the untuned target"
    assert (told["both"].gains, told["both"].gap) == ("a floor ports nothing", "this is a floor or an end of the gap")
    assert (told["plain"].to_ensemble, told["plain"].gains) == (
        "this is the plain ensemble",
        "this is one of the steps",
    )
    assert told["tuned"].to_reference == told["tuned"].agreement == "this is the tuned target"
    assert told["tuned"].gap == "this is a floor or an end of the gap"
    assert isinstance(told["both"].to_floor, Comparison)
