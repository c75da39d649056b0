"""Intervals of one mean."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from prt_bench.stats import Z95, bootstrap_interval, wilson_around, wilson_interval


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


@pytest.mark.parametrize("steps", [3, 400])
def test_a_bootstrap_interval_is_that_of_scipy_where_few_values_are_possible_and_where_many_are(steps: int) -> None:
    values = np.random.default_rng(steps).exponential(1, 400).round(5 if steps > 20 else 0)
    theirs = scipy.stats.bootstrap((values,), np.mean, method="percentile", n_resamples=5000, rng=1).confidence_interval
    width = theirs.high - theirs.low
    assert bootstrap_interval(values) == pytest.approx((theirs.low, theirs.high), abs=0.06 * width)
    shuffled = np.random.default_rng(2).permutation(values)
    assert bootstrap_interval(shuffled) == pytest.approx(bootstrap_interval(values))
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values)


def test_wilsons_interval_takes_an_effective_number_of_trials() -> None:
    assert wilson_around(0.3, 100) == wilson_interval(30, 100)
    narrower, wider = wilson_around(0.3, 150.5), wilson_around(0.3, 99.5)
    assert wider[0] < wilson_interval(30, 100)[0] < narrower[0]
