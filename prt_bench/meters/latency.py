"""Latency of several systems against each other: interleaved in one process, in random order."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy.special import bdtr

__all__ = ["Timings", "interleave", "p90_bound", "percentile", "ratio_interval", "stopwatch"]

WARM_ROUNDS = 5
MOST_WARM_ROUNDS = 40
STEADY = 0.02
WARM_SHARE = 1 / 3
"""Of the time: rounds that are kept are worth more than a warm-up that does not settle."""
FEWEST_ROUNDS = 12
MOST_ROUNDS = 400
NARROW = 0.03
P90_ROUNDS = 64
SLOWER_THAN_P90, CONFIDENCE = 0.1, 0.99
RESAMPLES = 1000

Stopwatch = Callable[[Callable[[], object]], float]
"""Runs something once; how long that took, in ms."""


def stopwatch(device: torch.device, clock: Callable[[], float] = time.perf_counter) -> Stopwatch:
    """Host time on a CPU; on a GPU the time between two events, waited for: no launch is taken for an answer."""
    if device.type != "cuda":
        return lambda system: _once(system, clock)

    def by_events(system: Callable[[], object]) -> float:
        started, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        with torch.cuda.device(device):
            torch.cuda.synchronize()
            started.record()
            system()
            ended.record()
            ended.synchronize()
        return float(started.elapsed_time(ended))

    return by_events


@dataclass
class Timings:
    """Milliseconds of every round, per system, and whether the warm-up settled."""

    rounds: dict[str, list[float]] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)


def interleave(
    systems: Mapping[str, Callable[[], object]],
    reference: str,
    max_seconds: float,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
    tick: Callable[[float], None] = lambda seconds: None,
    once: Stopwatch | None = None,
) -> Timings:
    """Time every system once per round and back again (ABBA), in an order drawn anew for each pair of rounds.

    Warms up until the last medians of the reference move by less than 2 %; stops when there are rounds enough for
    a bound of the 90th percentile and every ratio to the reference is known to 3 %, or at `max_seconds`. `tick` is
    told the seconds so far, between rounds; `once` times one run, by `clock` where it is not given.
    """
    once = once or (lambda system: _once(system, clock))
    order = random.Random(seed)
    timings = Timings({name: [] for name in systems})
    started = clock()
    end = started + max_seconds
    if not _warm_up(systems, reference, started + max_seconds * WARM_SHARE, clock, once):
        timings.reasons.append("the warm-up did not settle to 2 %")
    names = list(systems)
    while len(timings.rounds[reference]) < MOST_ROUNDS:
        order.shuffle(names)
        for name in (*names, *reversed(names)):
            timings.rounds[name].append(once(systems[name]))
        tick(clock() - started)
        done = len(timings.rounds[reference])
        if clock() >= end or (done >= P90_ROUNDS and done % 8 == 0 and _narrow(timings, reference)):
            break
    if len(timings.rounds[reference]) < FEWEST_ROUNDS:
        done, taken = len(timings.rounds[reference]), clock() - started
        timings.reasons.append(
            f"only {done} rounds in {taken:.0f} s; {FEWEST_ROUNDS} take about {taken * FEWEST_ROUNDS / done:.0f} s"
        )
    return timings


def percentile(values: Sequence[float], percent: float) -> float:
    """A percentile by linear interpolation."""
    return float(np.percentile(np.asarray(values), percent))


def p90_bound(values: Sequence[float]) -> float | None:
    """Upper 99 % confidence bound of the 90th percentile; None from fewer than 64 values.

    MLPerf inference's early stopping for a single stream (d = 0): with q values the largest t for which
    P[Binomial(q, 0.1) ≤ t] ≤ 1 − 0.99; of the values without the t − 1 slowest, the slowest.
    """
    count = len(values)
    spared = 0
    while spared < count and bdtr(spared + 1, count, SLOWER_THAN_P90) <= 1 - CONFIDENCE:
        spared += 1
    return sorted(values)[count - spared] if spared else None


def ratio_interval(system: Sequence[float], reference: Sequence[float], seed: int = 0) -> tuple[float, float, float]:
    """Ratio of medians with its 95 % bootstrap interval over rounds: (low, ratio, high)."""
    mine, theirs = np.asarray(system), np.asarray(reference)
    generator = np.random.default_rng(seed)
    rounds = generator.integers(0, len(mine), (RESAMPLES, len(mine)))
    ratios = np.median(mine[rounds], axis=1) / np.median(theirs[rounds], axis=1)
    low, high = np.percentile(ratios, [2.5, 97.5])
    middle = float(np.median(mine) / np.median(theirs))
    return min(float(low), middle), middle, max(float(high), middle)


def _once(system: Callable[[], object], clock: Callable[[], float]) -> float:
    started = clock()
    system()
    return (clock() - started) * 1000


def _warm_up(
    systems: Mapping[str, Callable[[], object]],
    reference: str,
    end: float,
    clock: Callable[[], float],
    once: Stopwatch,
) -> bool:
    times: list[float] = []
    medians: list[float] = []
    for _ in range(MOST_WARM_ROUNDS):
        for name, system in systems.items():
            elapsed = once(system)
            if name == reference:
                times.append(elapsed)
        medians.append(float(np.median(times[-WARM_ROUNDS:])))
        last = medians[-WARM_ROUNDS:]
        if len(last) == WARM_ROUNDS and max(last) <= min(last) * (1 + STEADY):
            return True
        if clock() >= end:
            return False
    return False


def _narrow(timings: Timings, reference: str) -> bool:
    for name, values in timings.rounds.items():
        low, middle, high = ratio_interval(values, timings.rounds[reference])
        if name != reference and high - low > NARROW * middle:
            return False
    return True
