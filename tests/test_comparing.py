"""Intervals and tests over items and seeds: against other implementations, and as often right as they say."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import astuple
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from prt_bench.comparing import (
    LEVEL,
    NO_GAP,
    Comparison,
    Floats,
    across_tasks,
    compare,
    expected_best,
    gap_closed,
    holm,
    score,
    standard_errors,
)
from prt_bench.stats import Z95, wilson_interval
from tests.simulations.statistics import (
    Scenario,
    answers,
    coverage_of_differences,
    coverage_of_scores,
    draw,
    false_positives,
    families,
    power,
    row_of,
)

DOCUMENT = (Path(__file__).resolve().parent.parent / "docs" / "statistics.md").read_text()
Answers = list[NDArray[np.float64]]


@st.composite
def methods(
    draw_one: st.DrawFn, how_many: int, kinds: Sequence[tuple[int, float]] = ((2, 1.0), (9, 2.0))
) -> list[Answers]:
    """Item scores by seed of methods on the same items: right or wrong, or in quarters up to 2."""
    generator = np.random.default_rng(draw_one(st.integers(0, 10_000)))
    seeds, items = draw_one(st.integers(1, 4)), draw_one(st.integers(1, 60))
    steps, largest = draw_one(st.sampled_from(kinds))
    levels = draw_one(st.lists(st.floats(0.05, 0.95), min_size=how_many, max_size=how_many))
    return [
        [generator.binomial(steps - 1, level, items) * largest / (steps - 1) for _ in range(seeds)] for level in levels
    ]


def close(one: object, other: object) -> bool:
    """Of dataclasses of numbers and intervals, to rounding."""

    def flat(value: object) -> list[float]:
        if isinstance(value, tuple):
            return [number for part in value for number in flat(part)]
        return [] if value is None or isinstance(value, np.ndarray) else [float(value)]  # type: ignore[arg-type]

    return flat(one) == pytest.approx(flat(other), rel=1e-6, abs=1e-9)


@settings(deadline=None, max_examples=50)
@given(methods(2))
def test_turning_the_sides_turns_the_sign_and_nothing_else(pair: list[Answers]) -> None:
    there, back = compare(*pair), compare(*reversed(pair))
    assert there.value == -back.value
    assert there.interval == (-back.interval[1], -back.interval[0])
    assert (there.p, there.detectable) == pytest.approx((back.p, back.detectable))


@settings(deadline=None, max_examples=50)
@given(methods(2))
def test_every_interval_holds_the_value_and_the_common_one_holds_its_parts(pair: list[Answers]) -> None:
    for found in (compare(*pair), score(pair[0])):
        assert (found.seeds is None) == (found.n_seeds == 1)
        assert found.items[0] <= found.value <= found.items[1]
        if found.seeds is not None:
            low, high = found.seeds
            assert found.interval[0] - 1e-12 <= low <= found.value <= high <= found.interval[1] + 1e-12
    assert compare(*pair).interval[0] < compare(*pair).interval[1]


@settings(deadline=None, max_examples=50)
@given(methods(2))
def test_p_is_below_5_percent_exactly_where_the_interval_leaves_out_0(pair: list[Answers]) -> None:
    found = compare(*pair)
    assert (found.p < LEVEL) == (found.interval[0] > 0 or found.interval[1] < 0)
    assert 0 < found.p <= 1


@settings(deadline=None, max_examples=50)
@given(methods(2), st.integers(0, 1000), st.floats(-3, 3))
def test_the_order_of_items_and_seeds_and_a_common_constant_do_not_matter(
    pair: list[Answers], seed: int, constant: float
) -> None:
    generator = np.random.default_rng(seed)
    items, seeds = generator.permutation(len(pair[0][0])), generator.permutation(len(pair[0]))
    moved = [[each[s][items] + constant for s in seeds] for each in pair]
    assert close(astuple(compare(*moved)), astuple(compare(*pair)))


def test_seeds_alone_are_a_paired_t_test() -> None:
    """All items of a seed differ by the same, so that items say almost nothing."""
    by_seed, n = [0.03, 0.11, 0.04, 0.09], 100_000
    found = compare([np.full(n, value) for value in by_seed], [np.zeros(n)] * 4)
    theirs = scipy.stats.ttest_rel(by_seed, np.zeros(4))
    interval = scipy.stats.ttest_1samp(by_seed, 0).confidence_interval(0.95)
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-3)
    assert found.seeds == pytest.approx((interval.low, interval.high))
    assert found.interval == pytest.approx((interval.low, interval.high), rel=1e-3)


def test_one_seed_is_a_t_test_over_items() -> None:
    generator = np.random.default_rng(3)
    mine, theirs = generator.normal(0.53, 0.25, 3000), generator.normal(0.52, 0.25, 3000)
    found, test = compare([mine], [theirs]), scipy.stats.ttest_1samp(mine - theirs, 0)
    assert found.p == pytest.approx(test.pvalue, abs=1e-3)
    assert found.interval == pytest.approx(tuple(test.confidence_interval(0.95)), abs=2e-4)


def test_the_two_errors_are_those_of_a_crossed_model() -> None:
    """X[s, i] = a[s] + b[i] + e[s, i]: Var over items (σb² + σe² / K) / N, over seeds (σa² + σe² / N) / K."""
    generator = np.random.default_rng(0)
    cells = (
        0.03 * generator.standard_normal((400, 20, 1))
        + 0.5 * generator.standard_normal((400, 1, 300))
        + 0.8 * generator.standard_normal((400, 20, 300))
    )
    _, items, seeds = standard_errors(cells, 1.0)
    added = 2 / 300**2
    assert np.mean(items**2) == pytest.approx((0.25 + 0.64 / 20) / 300 + added, rel=0.02)
    assert np.mean(seeds**2) == pytest.approx((0.0009 + 0.64 / 300) / 20, rel=0.05)


def discordant(n: int, won: int, lost: int) -> Comparison:
    """Of one seed: the rest of the items are answered alike."""
    differences = np.repeat([1.0, -1.0, 0.0], [won, lost, n - won - lost])
    return compare([(differences > 0).astype(float)], [(differences < 0).astype(float)])


@pytest.mark.parametrize("n", [100, 1000])
@pytest.mark.parametrize("others", [0, 1, 3, 10, 30])
def test_one_seed_of_right_and_wrong_agrees_with_the_exact_mcnemar_test(n: int, others: int) -> None:
    """It lies between the exact test's p and its mid-p, to 0.007: exact McNemar errs on the safe side, mid-p hardly."""
    for won in range(others + 1, 60):
        p = discordant(n, won, others).p
        exact = float(mcnemar([[n, won], [others, 0]], exact=True).pvalue)
        middle = exact - float(scipy.stats.binom.pmf(others, won + others, 0.5))
        assert middle - 0.007 < p < exact + 0.007


def test_equal_answers_are_no_certainty_and_three_against_none_no_proof() -> None:
    same = discordant(200, 0, 0)
    assert (same.value, same.p) == (0, 1)
    assert same.interval[1] > 0.01
    assert discordant(200, 3, 0).p > 0.1
    assert discordant(200, 200, 0).p < 1e-9
    assert discordant(200, 5, 0).p > LEVEL > discordant(200, 7, 0).p


def test_items_that_weigh_more_can_differ_by_more() -> None:
    """Of a class with one item in 100, 4 in all: it alone moves the score by 25 points."""
    rare = np.append(np.full(99, 100 / (4 * 33)), 25.0)
    assert np.diff(compare([rare], [rare]).interval)[0] > 10 * np.diff(discordant(100, 0, 0).interval)[0]


def test_a_deterministic_method_has_no_seed_variance() -> None:
    generator = np.random.default_rng(1)
    one, other = (generator.random((2, 300)) < 0.6).astype(float)
    three, single = compare([one] * 3, [other] * 3), compare([one], [other])
    assert three.seeds == pytest.approx((three.value, three.value))
    assert (three.p, *three.interval) == pytest.approx((single.p, *single.interval))


@pytest.mark.parametrize(
    ("mine", "theirs"),
    [
        ([], []),
        ([np.ones(3)], [np.ones(4)]),
        ([np.ones(3)] * 2, [np.ones(3)]),
        ([np.ones(3), np.ones(4)], [np.ones(3)] * 2),
        ([np.ones(0)], [np.ones(0)]),
        ([np.ones((2, 3))], [np.ones((2, 3))]),
        ([np.array([1.0, math.nan])], [np.ones(2)]),
    ],
)
def test_what_cannot_be_paired_is_refused(mine: Answers, theirs: Answers) -> None:
    with pytest.raises(ValueError, match=r"paired|seed"):
        compare(mine, theirs)


@given(st.integers(1, 2000), st.floats(0, 1))
def test_a_score_of_one_seed_has_wilsons_interval(n: int, share: float) -> None:
    right = round(n * share)
    found = score([np.repeat([1, 0], [right, n - right])])
    assert found.interval == pytest.approx(wilson_interval(right, n))
    assert found.interval[1] - found.interval[0] > 0.7 / n
    assert found.items[1] - found.items[0] > 0


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_the_bootstrap_over_items_is_as_wide_as_its_closed_form(share: float) -> None:
    generator = np.random.default_rng(11)
    mine, theirs = ([(generator.random(900) < part).astype(float)] for part in (0.6 + share, 0.6))
    for found in (compare(mine, theirs), score(mine)):
        assert np.diff(found.items) == pytest.approx(np.diff(found.interval), rel=0.08)
        assert found.items == compare(mine, theirs).items or found.items == score(mine).items, "the same each time"
    alike = compare(mine, mine)
    assert alike.items[0] < 0 < alike.items[1], "equal answers are no certainty"


def test_a_score_of_several_seeds_is_not_wider_than_one_of_one_nor_narrower_than_all_answers_were_items() -> None:
    generator = np.random.default_rng(5)
    hard = generator.random(500)
    by_seed = [(0.4 * generator.random(500) + 0.6 * hard < 0.6).astype(float) for _ in range(4)]
    width = float(np.diff(score(by_seed).items)[0])
    assert np.diff(wilson_interval(1400, 2000))[0] < width < np.diff(score(by_seed[:1]).items)[0]
    errors = scipy.stats.sem(np.mean(by_seed, axis=0))
    assert width == pytest.approx(2 * Z95 * errors, rel=0.06)


def test_scores_of_weighted_items_are_bootstrapped() -> None:
    weighted = np.repeat([0.0, 0.5, 3.0], [30, 50, 20])
    found = score([weighted])
    theirs = scipy.stats.bootstrap((weighted,), np.mean, method="percentile", n_resamples=20_000, rng=1)
    assert found.interval == pytest.approx(tuple(theirs.confidence_interval), abs=0.02)
    assert score([weighted, weighted]).seeds == pytest.approx((found.value, found.value))


def test_a_score_stays_between_0_and_1() -> None:
    perfect, poor = np.ones(20), np.repeat([1.0, 0.0], 10)
    found = score([perfect, perfect, poor])
    assert found.seeds == pytest.approx((5 / 6 - 4.3027 / 6, 1), abs=1e-4)
    assert found.interval[1] == 1
    assert score([np.zeros(20), np.zeros(20), poor]).interval[0] == 0


@given(st.lists(st.floats(0, 1), max_size=30))
def test_holm_only_ever_raises_a_p_and_keeps_their_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(raw <= larger <= 1 for raw, larger in zip(p_values, adjusted, strict=True))
    order = np.argsort(p_values, kind="stable")
    assert np.all(np.diff(np.array(adjusted)[order]) >= 0)


@pytest.mark.parametrize("size", [1, 2, 7, 30])
def test_holm_is_that_of_statsmodels(size: int) -> None:
    p_values = np.random.default_rng(size).random(size).round(1) ** 3
    assert holm(list(p_values)) == pytest.approx(list(multipletests(p_values, method="holm")[1]))


@given(st.lists(st.floats(-2, 2), max_size=7))
def test_the_expected_best_is_the_mean_over_all_ways_to_draw(values: list[float]) -> None:
    brute = [np.mean([max(drawn) for drawn in combinations(values, n)]) for n in range(1, len(values) + 1)]
    assert expected_best(values) == pytest.approx(brute)


def shares_not_told_apart(mine: Answers, floor: Answers, reference: Answers, shares: Floats) -> NDArray[np.bool_]:
    """By brute force: which ρ of `shares` leave mine − floor − ρ (reference − floor) indistinguishable from 0."""
    largest = max(1.0, float(np.ptp([mine, floor, reference])))
    seeds, n = np.shape(mine)
    held = []
    for share in shares:
        cells = np.array(mine) - floor - share * (np.array(reference) - floor)
        # Mine alone is right, the reference alone, the floor alone.
        added = largest * np.array([1, -share, share - 1])
        items = cells.mean(axis=0)
        moment = (np.sum(items**2) + np.sum(added**2)) / (n + 2) - (items.sum() / (n + 2)) ** 2
        half = scipy.stats.t.ppf(0.975, n + 1) * math.sqrt(moment / (n + 2))
        if seeds > 1:
            half = math.hypot(half, scipy.stats.t.ppf(0.975, seeds - 1) * scipy.stats.sem(cells.mean(axis=1)))
        held.append(abs(cells.mean()) <= half)
    return np.array(held)


@pytest.mark.parametrize("seeds", [1, 3, 5])
@pytest.mark.parametrize("level", [0.4, 0.55, 0.75])
def test_the_gap_closed_holds_the_shares_that_a_scan_finds(seeds: int, level: float) -> None:
    scenario = Scenario(400, seeds, 1.0)
    mine, floor, reference = (
        list(cells[0]) for cells in answers(scenario.generator(), scenario, [level, 0.4, 0.75], 1)
    )
    found = gap_closed(mine, floor, reference)
    assert isinstance(found, tuple)
    low, share, high = found
    gap = np.mean(reference) - np.mean(floor)
    assert share == pytest.approx((np.mean(mine) - np.mean(floor)) / gap)
    shares = np.linspace(low - 0.5, high + 0.5, 401)
    inside = shares_not_told_apart(mine, floor, reference, shares)
    assert (inside == ((shares >= low) & (shares <= high))).all()


@settings(deadline=None, max_examples=80)
@given(methods(3, kinds=[(2, 1.0)]))
def test_nothing_and_the_whole_gap_are_told_apart_just_as_compare_does(three: list[Answers]) -> None:
    mine, floor, reference = three
    found, gap = gap_closed(mine, floor, reference), compare(reference, floor)
    assert (found == NO_GAP) == (gap.interval[0] <= 0)
    if isinstance(found, tuple):
        low, share, high = found
        assert low <= share <= high
        assert (low > 0 or high < 0) == (compare(mine, floor).p < LEVEL)
        assert (low > 1 or high < 1) == (compare(mine, reference).p < LEVEL)


def test_the_floor_closes_nothing_and_the_reference_all() -> None:
    floor, reference = [np.repeat([1.0, 0.0], [40, 60])], [np.repeat([1.0, 0.0], [80, 20])]
    shares = [gap_closed(mine, floor, reference)[1] for mine in (floor, reference)]
    assert shares == [0, 1]
    assert gap_closed(reference, reference, floor) == NO_GAP


def on_tasks(*values: float) -> dict[str, Comparison]:
    return {
        f"task-{number}": Comparison(value, (0, 0), None, (0, 0), 100, 1, 0.5, 0.1)
        for number, value in enumerate(values)
    }


def test_tasks_are_the_sample_over_tasks() -> None:
    values = (0.05, -0.02, 0.1, 0.03, 0.04)
    adjusted = {"task-0": 0.01, "task-1": 0.04, "task-2": 0.05, "task-3": 0.6, "task-4": 0.049}
    found = across_tasks(on_tasks(*values), adjusted)
    interval = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.wins, found.ties, found.losses, found.mean) == pytest.approx((2, 2, 1, 0.04))
    assert found.interval == pytest.approx((interval.low, interval.high))
    assert found.tasks == tuple(adjusted)
    assert found.note == "5 tasks: the interval is wide, and another task may differ"


def test_one_task_says_nothing_of_others() -> None:
    found = across_tasks(on_tasks(0.1), {"task-0": 0.001})
    assert (found.wins, found.interval, found.note) == (1, None, "1 task: nothing is known of another one")
    assert across_tasks(on_tasks(*[0.1] * 12), {f"task-{n}": 1.0 for n in range(12)}).note.startswith("12 tasks")


@pytest.mark.parametrize(("values", "tasks"), [((), ()), ((0.1,), ("other",)), ((0.1, 0.2), ("task-0",))])
def test_every_task_needs_an_adjusted_p(values: Sequence[float], tasks: Sequence[str]) -> None:
    with pytest.raises(ValueError, match="one adjusted p for each"):
        across_tasks(on_tasks(*values), dict.fromkeys(tasks, 0.5))


# As often right as they say: each with a seed of its own, so it passes or fails for good.


def test_what_the_simulation_counts_is_what_compare_says() -> None:
    scenario = Scenario(150, 3, 2.0)
    drawn = draw(scenario, (0.75, 0.7), 20)
    mine, theirs = answers(scenario.generator(), scenario, [0.75, 0.7], 20)
    for row in range(20):
        found = compare(list(mine[row]), list(theirs[row]))
        half = found.interval[1] - found.value
        assert (found.value, half, found.p) == pytest.approx((drawn.value[row], drawn.half()[row], drawn.p()[row]))


@pytest.mark.parametrize("scenario", [Scenario(200, 3, 5.0), Scenario(1000, 3, 2.0), Scenario(500, 10, 5.0)])
def test_an_interval_over_items_and_seeds_holds_the_truth_where_pooling_does_not(scenario: Scenario) -> None:
    covered = coverage_of_differences(scenario, 400)
    assert 94 <= covered["ours"] <= 99.5
    assert covered["items only"] < 82
    assert covered["pooled"] < 70


def test_the_interval_is_not_wider_than_it_must_be_where_seeds_are_many() -> None:
    assert 93 <= coverage_of_differences(Scenario(400, 20, 5.0), 400)["ours"] <= 98


@pytest.mark.parametrize("scenario", [Scenario(200, 3, 0.0), Scenario(500, 3, 5.0), Scenario(500, 10, 2.0)])
def test_a_difference_that_is_not_there_is_rarely_declared(scenario: Scenario) -> None:
    found = false_positives(scenario, 600)
    assert found["p < 0.05"] <= 6
    assert found["pooled"] > 8


def test_the_best_of_a_table_is_not_tested_as_if_it_had_been_named_before() -> None:
    found = families(Scenario(300, 1, 0.0), 300)
    assert found["best row, read off"] <= found["Holm, all pairs"] <= 8
    assert found["best row, tested alone"] > 9
    assert found["no adjustment"] > 35


@pytest.mark.parametrize("scenario", [Scenario(400, 3, 5.0), Scenario(400, 10, 1.0)])
def test_four_of_five_comparisons_find_the_detectable_difference(scenario: Scenario) -> None:
    assert 76 <= power(scenario, 600)["found, errors known"] <= 88


@pytest.mark.parametrize(("scenario", "level"), [(Scenario(200, 1, 0.0), 0.97), (Scenario(300, 5, 2.0), 0.7)])
def test_the_interval_of_a_score_holds_the_truth(scenario: Scenario, level: float) -> None:
    assert 93 <= coverage_of_scores(scenario, level, 400) <= 99.5


@pytest.mark.parametrize(
    ("title", "measure", "scenario"),
    [
        ("Coverage of the interval of a difference", coverage_of_differences, Scenario(200, 3, 2.0)),
        ("Declared different", false_positives, Scenario(200, 5, 5.0)),
        ("Found at the detectable", power, Scenario(200, 3, 1.0)),
        ("One seed in ten", coverage_of_differences, Scenario(1000, 3, 1.0, failing=0.1)),
    ],
)
def test_the_printed_tables_are_not_stale(title: str, measure: object, scenario: Scenario) -> None:
    """To the simulation's own error: generators may change between versions of numpy."""
    table = DOCUMENT.split(f"**{title}")[1].split("\n\n")[1]
    start = row_of(scenario, {})
    (row,) = (line for line in table.splitlines() if line.startswith(start))
    printed = [float(cell) for cell in re.findall(r"[\d.]+", row.removeprefix(start))]
    assert callable(measure)
    assert printed == pytest.approx(list(measure(scenario).values()), abs=2)


def test_it_loads_neither_torch_nor_the_slow_half_of_scipy() -> None:
    code = "import sys, prt_bench.comparing; sys.exit(bool({'torch', 'scipy.stats', 'statsmodels'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True)
