"""Intervals and paired differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from prt_bench.stats import Z95, bootstrap_interval, paired_difference, wilson_interval


@st.composite
def proportions(draw: st.DrawFn) -> tuple[int, int]:
    n = draw(st.integers(1, 5000))
    return draw(st.integers(0, n)), n


@given(proportions())
def test_a_wilson_interval_holds_its_proportion_and_stays_between_0_and_1(counts: tuple[int, int]) -> None:
    successes, n = counts
    low, high = wilson_interval(successes, n)
    assert 0 <= low <= successes / n <= high <= 1


@given(proportions())
def test_the_ends_of_a_wilson_interval_solve_its_defining_equation(counts: tuple[int, int]) -> None:
    """(p̂ − p)² = z² p (1 − p) / n, written as a quadratic in p and solved by another route."""
    successes, n = counts
    share = successes / n
    low, high = sorted(np.roots([1 + Z95**2 / n, -(2 * share + Z95**2 / n), share**2]).real)
    assert wilson_interval(successes, n) == pytest.approx((low, high), abs=1e-6)


def test_a_wilson_interval_matches_a_published_one() -> None:
    """15 of 148 (Newcombe 1998, table I): 0.0624 to 0.1605."""
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 3), (4, 3)])
def test_a_proportion_that_cannot_be_is_refused(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"{successes} successes of {n}"):
        wilson_interval(successes, n)


@settings(deadline=None, max_examples=15)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_a_bootstrap_interval_holds_its_mean(values: list[float]) -> None:
    array = np.array(values)
    low, high = bootstrap_interval(array)
    assert low - 1e-9 <= array.mean() <= high + 1e-9
    assert array.min() - 1e-9 <= low
    assert high <= array.max() + 1e-9


def test_a_bootstrap_interval_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(1).normal(0, 1, 400)
    low, high = bootstrap_interval(values)
    assert high - low == pytest.approx(2 * Z95 * values.std() / math.sqrt(400), rel=0.1)


def answers(generator: np.random.Generator, share: float, seeds: int, items: int) -> list[NDArray[np.float64]]:
    return [(generator.random(items) < share).astype(np.float64) for _ in range(seeds)]


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 1000), st.integers(1, 3), st.integers(2, 60))
def test_a_paired_difference_turns_its_sign_with_the_sides(seed: int, seeds: int, items: int) -> None:
    generator = np.random.default_rng(seed)
    mine, theirs = answers(generator, 0.7, seeds, items), answers(generator, 0.6, seeds, items)
    low, middle, high = paired_difference(mine, theirs)
    assert low <= middle <= high
    assert middle == pytest.approx(np.mean(mine) - np.mean(theirs))
    assert paired_difference(theirs, mine) == pytest.approx((-high, -middle, -low), abs=1e-3)


def test_equal_answers_differ_by_nothing() -> None:
    same = answers(np.random.default_rng(0), 0.6, 3, 50)
    assert paired_difference(same, same) == (0, 0, 0)


def test_pairing_makes_the_interval_narrower_than_two_separate_ones() -> None:
    generator = np.random.default_rng(5)
    (theirs,) = answers(generator, 0.6, 1, 500)
    mine = theirs.copy()
    mine[np.flatnonzero(theirs == 0)[:20]] = 1
    low, _, high = paired_difference([mine], [theirs])
    assert 0 < low < 0.04 < high
    single = wilson_interval(int(theirs.sum()), 500)
    assert high - low < 0.5 * (single[1] - single[0])


def test_seeds_that_disagree_widen_the_interval() -> None:
    generator = np.random.default_rng(2)
    theirs = answers(generator, 0.5, 4, 300)
    steady = [np.where(generator.random(300) < 0.1, 1.0, other) for other in theirs]
    shaky = [
        np.where(generator.random(300) < part, 1.0, other) for part, other in zip((0, 0.4, 0, 0), theirs, strict=True)
    ]
    widths = [np.diff(paired_difference(mine, theirs)[::2])[0] for mine in (steady, shaky)]
    assert widths[1] > 1.5 * widths[0]


def test_seeds_of_different_number_are_not_paired() -> None:
    one, two = answers(np.random.default_rng(0), 0.5, 1, 10), answers(np.random.default_rng(0), 0.5, 2, 10)
    with pytest.raises(ValueError, match="longer"):
        paired_difference(one, two)


def test_the_interval_of_a_difference_covers_the_truth_about_as_often_as_it_says() -> None:
    """One seed, 150 items; the two methods' answers are correlated through how hard the item is."""
    covered = 0
    for trial in range(200):
        generator = np.random.default_rng(1000 + trial)
        hard = generator.random(150)
        mine = (0.3 * generator.random(150) + 0.7 * hard < 0.6).astype(np.float64)
        theirs = (0.3 * generator.random(150) + 0.7 * hard < 0.5).astype(np.float64)
        low, _, high = paired_difference([mine], [theirs], seed=trial)
        covered += low <= TRUTH <= high
    assert 0.90 <= covered / 200 <= 0.99


def below(limit: float) -> float:
    """P(0.3 a + 0.7 b < limit) for a and b uniform between 0 and 1, where 0.3 ≤ limit ≤ 0.7."""
    return (limit - 0.15) / 0.7


TRUTH = below(0.6) - below(0.5)
