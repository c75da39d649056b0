"""Intervals and paired differences. Scores are fractions between 0 and 1."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Z95", "Difference", "bootstrap_interval", "paired_difference", "wilson_interval"]

RESAMPLES = 2000
Z95 = 1.959963984540054

Difference = tuple[float, float, float]
"""(low, difference, high)."""


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927)."""
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"{successes} successes of {n}")
    share = successes / n
    middle = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n * n))
    # At 0 and n rounding could leave the proportion itself outside.
    return min(max(0.0, middle - half), share), max(min(1.0, middle + half), share)


def bootstrap_interval(values: NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean of `values` (N,), resampling items."""
    generator = np.random.default_rng(seed)
    means = np.array([values[generator.integers(0, len(values), len(values))].mean() for _ in range(RESAMPLES)])
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def paired_difference(
    mine: Sequence[NDArray[np.float64]], theirs: Sequence[NDArray[np.float64]], seed: int = 0
) -> Difference:
    """Mean difference of two methods on the same items and seeds, with its 95 % interval.

    Each of `mine` and `theirs` is one seed's correctness (N,), item by item. Hierarchical percentile
    bootstrap: seeds are drawn, then items, the same items for all seeds, since all answered the same test.
    """
    differences = np.stack([one - other for one, other in zip(mine, theirs, strict=True)])
    seeds, items = differences.shape
    generator = np.random.default_rng(seed)
    drawn_seeds = generator.integers(0, seeds, (RESAMPLES, seeds))
    means = np.empty(RESAMPLES)
    for row, chosen in enumerate(drawn_seeds):
        per_item = differences[chosen].mean(axis=0)
        means[row] = per_item[generator.integers(0, items, items)].mean()
    middle = float(differences.mean())
    low, high = np.percentile(means, [2.5, 97.5])
    return min(float(low), middle), middle, max(float(high), middle)
