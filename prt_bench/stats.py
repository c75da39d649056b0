"""Intervals of one mean. Scores are fractions between 0 and 1."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["Z95", "bootstrap_interval", "wilson_around", "wilson_interval"]

RESAMPLES = 2000
CELLS_AT_ONCE = 1_000_000
ITEMS_PER_VALUE = 20
"""Drawing how often each value comes is faster than drawing items where there are this many items per value."""
Z95 = 1.959963984540054


def wilson_around(share: float, n: float) -> tuple[float, float]:
    """95 % interval of a proportion seen as `share` in `n` independent trials; `n` may be an effective number."""
    middle = (share + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n * n))
    # At 0 and n rounding could leave the proportion itself outside.
    return min(max(0.0, middle - half), share), max(min(1.0, middle + half), share)


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927)."""
    if not 0 <= successes <= n or n == 0:
        raise ValueError(f"{successes} successes of {n}")
    return wilson_around(successes / n, n)


def bootstrap_interval(values: NDArray[np.float64], seed: int = 0) -> tuple[float, float]:
    """95 % percentile interval of the mean of `values` (N,), resampling items 2,000 times.

    Where few values are possible, how often each one comes is drawn at once: multinomial, which is what drawing
    items one by one amounts to. The order of `values` does not matter.
    """
    generator = np.random.default_rng(seed)
    n = len(values)
    possible, counts = np.unique(values, return_counts=True)
    if len(possible) * ITEMS_PER_VALUE <= n:
        means = generator.multinomial(n, counts / n, size=RESAMPLES) @ possible / n
    else:
        ordered = np.sort(values)
        rows = max(1, CELLS_AT_ONCE // n)
        sizes = [min(rows, RESAMPLES - start) for start in range(0, RESAMPLES, rows)]
        means = np.concatenate([ordered[generator.integers(0, n, (size, n))].mean(axis=1) for size in sizes])
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
