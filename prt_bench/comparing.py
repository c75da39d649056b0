"""What can be said of a difference: intervals and tests that count both test items and training seeds.

A method's scores are one array (N,) per training seed: what item i adds to the score of seed s, which is their mean.
All seeds answer the same N items. Scores are fractions; so is everything here. Two things are samples, and each
has its own variance:

- the *items*: another test set of the same kind would give another score (at the seeds at hand);
- the *seeds*: training again would give another score (on the items at hand).

Their half widths are put together by MOVER (Zou & Donner 2008, Statistics in Medicine 27: the squares add up). An
item is never counted once per seed: K seeds on N items are not K · N items. docs/statistics.md tells why, with
what `python -m tests.simulations.statistics` found.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import nctdtrinc, stdtrit

from prt_bench.stats import bootstrap_interval, wilson_around

__all__ = [
    "LEVEL",
    "NO_GAP",
    "POWER",
    "Across",
    "Comparison",
    "Estimate",
    "Floats",
    "Interval",
    "across_tasks",
    "compare",
    "compare_all",
    "detectable_difference",
    "expected_best",
    "gap_closed",
    "half_width",
    "holm",
    "largest_difference",
    "score",
    "standard_errors",
    "two_sided_p",
]

LEVEL = 0.05
"""Of every test; an interval holds 1 − `LEVEL`."""
POWER = 0.8
NO_GAP = "no gap to close: the tuned target is not above the untuned one beyond noise"
SMALLEST_P = 1e-12
"""Below this a p says nothing more: no such approximation holds that far out."""
HALVINGS = 40
FEW_TASKS = 10

Interval = tuple[float, float]
Floats: TypeAlias = NDArray[np.float64]
BySeed: TypeAlias = Sequence[NDArray[Any]] | NDArray[Any]
"""Item scores, one array (N,) per training seed: (K, N)."""


@dataclass(frozen=True)
class Estimate:
    """A method's score, or a paired difference of two, as a fraction, with 95 % intervals."""

    value: float
    seeds: Interval | None
    """Over training seeds, on the items at hand: Student's t. None with one seed: nothing is known of it."""
    interval: Interval
    """Over both."""
    n_items: int
    n_seeds: int
    padded: Floats = field(repr=False, compare=False)
    """Averages over seeds of all items and of the two added ones (N + 2,)."""

    @cached_property
    def items(self) -> Interval:
        """Over test items, at the seeds at hand: percentile bootstrap, two items added as told at `compare`.

        `interval` holds its closed form: it covers the truth as often, and agrees with p.
        """
        low, high = bootstrap_interval(self.padded)
        return min(low, self.value), max(high, self.value)


@dataclass(frozen=True)
class Comparison(Estimate):
    """A paired difference and how sure it is. `p` < 0.05 exactly where `interval` leaves out 0."""

    p: float = 1.0
    """Two-sided, of no difference."""
    detectable: float = math.nan
    """The smallest true difference that 4 of 5 comparisons as large and as noisy as this one would see at 5 %."""


@dataclass(frozen=True)
class Across:
    """Paired differences of two methods on several tasks."""

    wins: int
    ties: int
    losses: int
    tasks: tuple[str, ...]
    mean: float
    """Of the differences, every task counting the same."""
    interval: Interval | None
    """95 %, Student's t over tasks: they are the sample. None for one task."""
    note: str
    """What the number of tasks allows to say."""


def score(by_seed: BySeed) -> Estimate:
    """The score of one method: `by_seed` holds one array (N,) of item scores per training seed.

    Items: where all scores lie between 0 and 1, Wilson's interval with the effective number of items
    value · (1 − value) / (squared standard error over items of the seeds' average). With one seed of 0s and 1s that is
    N, so the interval is Wilson's own; at 0 and 100 %, where no variance is seen, N is taken and the width is
    not zero. Other scores, such as those weighted by class: percentile bootstrap.
    """
    cells = _cells(by_seed)
    seeds, n = cells.shape
    value = float(cells.mean())
    per_item = cells.mean(axis=0)
    fractions = bool(cells.min() >= 0 and cells.max() <= 1)
    if fractions:
        variance = float(per_item.var())
        effective = n * value * (1 - value) / variance if variance > SMALLEST_P else float(n)
        low, high = wilson_around(value, effective)
    else:
        low, high = bootstrap_interval(per_item)
    items = min(low, value), max(high, value)
    ends = (0.0, 1.0) if fractions else (float(cells.min()), float(cells.max()))
    padded = np.append(per_item, ends)
    if seeds == 1:
        return Estimate(value, None, items, n, seeds, padded)
    half = float(half_width(0.0, cells.mean(axis=1).std(ddof=1) / math.sqrt(seeds), n, seeds))
    both = value - math.hypot(value - items[0], half), value + math.hypot(items[1] - value, half)
    bounds = (0.0, 1.0) if fractions else (-math.inf, math.inf)
    return Estimate(value, _within((value - half, value + half), bounds), _within(both, bounds), n, seeds, padded)


def compare(mine: BySeed, theirs: BySeed) -> Comparison:
    """`mine` − `theirs`, paired by seed and item: each is one array (N,) of item scores per seed, in the same order.

    Items, in `interval`: adjusted Wald (Bonett & Price 2012, Journal of Educational and Behavioral Statistics 37): the
    standard error is that of N + 2 items, one more won and one more lost by as much as an item can differ. So equal
    answers do not give certainty, and 3 items against none are no proof. `value` and its intervals are not moved by
    these two.
    In simulation this holds its level as well as a bootstrap of the same N + 2 items, and unlike that it makes `p`
    and `interval` say the same.
    """
    (found,) = compare_all([(mine, theirs)])
    return found


def compare_all(pairs: Sequence[tuple[BySeed, BySeed]]) -> list[Comparison]:
    """`compare` of each pair, in their order: those of one shape at once, which is faster."""
    found: dict[int, Comparison] = {}
    shapes: dict[tuple[int, int], list[tuple[int, Floats, tuple[Floats, Floats, Floats]]]] = defaultdict(list)
    for place, (mine, theirs) in enumerate(pairs):
        one, other = _cells(mine), _cells(theirs)
        _same_shape(one, other)
        differences, largest = one - other, largest_difference(one, other)
        padded = np.append(differences.mean(axis=0), (largest, -largest))
        shapes[one.shape[0], one.shape[1]].append((place, padded, standard_errors(differences, largest)))
    for (seeds, n), parts in shapes.items():
        values, items, over_seeds = (np.array(column) for column in zip(*(part[2] for part in parts), strict=True))
        columns = (
            values,
            half_width(items, over_seeds, n, seeds),
            half_width(0.0, over_seeds, n, seeds),
            two_sided_p(values, items, over_seeds, n, seeds),
            detectable_difference(items, over_seeds, n, seeds),
        )
        numbers = zip(*(np.broadcast_to(column, values.shape).tolist() for column in columns), strict=True)
        for (place, padded, _), (value, half, by_seeds, p, detectable) in zip(parts, numbers, strict=True):
            over = (value - by_seeds, value + by_seeds) if seeds > 1 else None
            found[place] = Comparison(value, over, (value - half, value + half), n, seeds, padded, p, detectable)
    return [found[place] for place in range(len(pairs))]


def standard_errors(differences: Floats, largest: float) -> tuple[Floats, Floats, Floats]:
    """(value, standard error over items, over seeds) of paired `differences` (..., K, N); each is (...).

    `largest` is how much one item can differ. With K = 1 the error over seeds is 0: not known.
    """
    over_items, over_seeds = _covariances(differences, differences, 2 * largest**2)
    return differences.mean(axis=(-2, -1)), np.sqrt(over_items), np.sqrt(over_seeds)


def half_width(
    items: float | Floats, seeds: float | Floats, n_items: int, n_seeds: int, alpha: float | Floats = LEVEL
) -> Floats:
    """Half of a 1 − `alpha` interval from the standard errors over `items` and over `seeds`.

    √((t[N+1] · items)² + (t[K−1] · seeds)²), t being two-sided quantiles of Student's t; one seed: items alone.
    """
    by_items = -stdtrit(n_items + 1, np.asarray(alpha) / 2) * items
    if n_seeds == 1:
        return np.asarray(by_items)
    return np.asarray(np.hypot(by_items, stdtrit(n_seeds - 1, np.asarray(alpha) / 2) * seeds))


def two_sided_p(
    value: float | Floats, items: float | Floats, seeds: float | Floats, n_items: int, n_seeds: int
) -> Floats:
    """The `alpha` at which an interval of `half_width` around `value` just touches 0, by bisection of its logarithm.

    Values and errors are numbers or arrays of one shape.
    """
    size = np.abs(value)
    low, high = np.full(np.shape(size), math.log(SMALLEST_P)), np.zeros(np.shape(size))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        touches = half_width(items, seeds, n_items, n_seeds, np.exp(middle)) >= size
        low, high = np.where(touches, middle, low), np.where(touches, high, middle)
    return np.asarray(np.exp(high))


def detectable_difference(items: float | Floats, seeds: float | Floats, n_items: int, n_seeds: int) -> Floats:
    """The true difference that is found at 5 % with a power of 80 %, from the standard errors over items and seeds.

    For either part alone it is its error times the non-centrality of Student's t with that power, t's own degrees of
    freedom; the squares add up. The errors are taken as known: with few seeds they are not, and the number is rough.
    """
    by_items = _noncentrality(n_items + 1) * items
    return np.asarray(by_items if n_seeds == 1 else np.hypot(by_items, _noncentrality(n_seeds - 1) * seeds))


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for there being several (Holm 1979), in the order given.

    Declaring those below 5 % declares a difference that is not there in at most 5 % of such families.
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted


def gap_closed(mine: BySeed, floor: BySeed, reference: BySeed) -> tuple[float, float, float] | str:
    """(low, share, high) of (mine − floor) / (reference − floor), or why there is none. 1 is the whole gap.

    All three are item scores (N,) per seed, of the same seeds and items. The interval holds each share ρ at which
    mine − floor − ρ (reference − floor) is not told from 0 at 5 % by the rule of `compare` (Fieller 1954): a quadratic
    in ρ. In place of `compare`'s two added items there are three, on each of which one of the three alone is
    right: at ρ = 0, at ρ = 1 and for the gap itself this is `compare`, for items that are right or wrong. Since a
    gap is asked to be above its own noise by the same rule, the interval is always finite.
    """
    answers = [_cells(each) for each in (mine, floor, reference)]
    _same_shape(*answers)
    seeds, n = answers[0].shape
    gain, gap = answers[0] - answers[1], answers[2] - answers[1]
    square = largest_difference(*answers) ** 2

    def squared_half(one: Floats, other: Floats, added: float) -> float:
        over_items, over_seeds = _covariances(one, other, added)
        return float(_quantile(n + 1) ** 2 * over_items + (_quantile(seeds - 1) ** 2 * over_seeds if seeds > 1 else 0))

    total, part = float(gap.mean()), float(gain.mean())
    # a ρ² − 2 b ρ + c ≤ 0 holds for the shares of the interval.
    a = total**2 - squared_half(gap, gap, 2 * square)
    if total <= 0 or a <= 0:
        return NO_GAP
    b = total * part - squared_half(gain, gap, square)
    c = part**2 - squared_half(gain, gain, 2 * square)
    root = math.sqrt(max(0.0, b * b - a * c))
    share = part / total
    return min((b - root) / a, share), share, max((b + root) / a, share)


def expected_best(values: Sequence[float]) -> list[float]:
    """The expected best of n = 1..N trials, drawn from `values` (N,) without replacement.

    The curve of Dodge et al. 2019 (EMNLP, "Show Your Work") in its unbiased form (Tang et al. 2020, ACL): the i-th
    smallest value is the best of n in C(i − 1, n − 1) of C(N, n) draws.
    """
    ordered = sorted(values)
    total = len(ordered)
    return [
        math.fsum(value * (math.comb(index, n - 1) / math.comb(total, n)) for index, value in enumerate(ordered))
        for n in range(1, total + 1)
    ]


def across_tasks(comparisons: Mapping[str, Comparison], adjusted: Mapping[str, float]) -> Across:
    """Wins, ties and losses over tasks, and the mean difference.

    `comparisons` and `adjusted`, the p values after `holm`, are by task. A win or a loss is an adjusted p below 5 %,
    all else a tie. The interval is over tasks alone: each task's own noise is already in how they differ.
    """
    if not comparisons or set(comparisons) != set(adjusted):
        raise ValueError("at least one task, and one adjusted p for each")
    told = [found.value for task, found in comparisons.items() if adjusted[task] < LEVEL]
    wins, losses = sum(value > 0 for value in told), sum(value < 0 for value in told)
    values = np.array([found.value for found in comparisons.values()])
    n, mean = len(values), float(values.mean())
    interval = None
    if n > 1:
        half = _quantile(n - 1) * float(values.std(ddof=1)) / math.sqrt(n)
        # Few tasks leave room for more than there is between two scores.
        interval = max(mean - half, -1.0), min(mean + half, 1.0)
    return Across(wins, n - wins - losses, losses, tuple(comparisons), mean, interval, _note(n))


def _note(tasks: int) -> str:
    if tasks == 1:
        return "1 task: nothing is known of another one"
    if tasks < FEW_TASKS:
        return f"{tasks} tasks: the interval is wide, and another task may differ"
    return f"{tasks} tasks: the interval is for tasks like these"


def _cells(by_seed: BySeed) -> Floats:
    """(K, N), or a refusal."""
    if not len(by_seed) or len({np.shape(scores) for scores in by_seed}) > 1:
        raise ValueError("at least one seed, and as many items in each")
    cells = np.asarray(by_seed, dtype=np.float64)
    if cells.ndim != 2 or not cells.size or not np.isfinite(cells).all():
        raise ValueError("a seed's scores are a list of finite numbers, one per item")
    return cells


def _same_shape(*answers: Floats) -> None:
    shapes = [each.shape for each in answers]
    if len(set(shapes)) > 1:
        raise ValueError(f"not paired: (seeds, items) are {', '.join(map(str, shapes))}")


def largest_difference(*answers: Floats) -> float:
    """By how much two methods can differ on one item: 1 where it is right or wrong, more where items are weighted."""
    return max(1.0, max(float(each.max()) for each in answers) - min(float(each.min()) for each in answers))


def _covariances(one: Floats, other: Floats, added: float) -> tuple[Floats, Floats]:
    """Of the means of `one` and `other` (..., K, N): over items (...) and over seeds (...).

    `added` is the sum of products over the added items, which count as two and have mean 0. Over seeds it is 0 where
    there is one.
    """
    seeds, items = one.shape[-2:]
    by_item = one.mean(axis=-2), other.mean(axis=-2)
    products = (by_item[0] * by_item[1]).sum(axis=-1) + added
    n = items + 2
    over_items = (products - by_item[0].sum(axis=-1) * by_item[1].sum(axis=-1) / n) / n**2
    by_seed = one.mean(axis=-1), other.mean(axis=-1)
    apart = [each - each.mean(axis=-1, keepdims=True) for each in by_seed]
    over_seeds = (apart[0] * apart[1]).sum(axis=-1) / (seeds * max(1, seeds - 1))
    return over_items, over_seeds


@lru_cache
def _quantile(degrees: int) -> float:
    """Two-sided 5 % quantile of Student's t."""
    return float(-stdtrit(degrees, LEVEL / 2))


@lru_cache
def _noncentrality(degrees: int) -> float:
    """By how many standard errors a mean must differ from 0 for Student's t test to see it at 5 % with power 80 %."""
    return float(nctdtrinc(degrees, 1 - POWER, _quantile(degrees)))


def _within(interval: Interval, bounds: Interval) -> Interval:
    return max(interval[0], bounds[0]), min(interval[1], bounds[1])
