"""Latency of systems against each other, on a clock of the tests' own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import nullcontext
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prt_bench.meters.latency import (
    FEWEST_ROUNDS,
    MOST_ROUNDS,
    P90_ROUNDS,
    interleave,
    p90_bound,
    percentile,
    ratio_interval,
    stopwatch,
)


class Bench:
    """Systems that take no time but move a clock."""

    def __init__(self) -> None:
        self.now = 100.0
        self.calls: list[str] = []

    def clock(self) -> float:
        return self.now

    def system(self, name: str, seconds: Callable[[int], float]) -> Callable[[], None]:
        """A system whose n-th call takes `seconds(n)`, where n counts the calls of all systems."""

        def run() -> None:
            self.now += seconds(len(self.calls))
            self.calls.append(name)

        return run

    def steady(self, **seconds: float) -> dict[str, Callable[[], None]]:
        return {name: self.system(name, lambda _, took=took: took) for name, took in seconds.items()}


def ratio(rounds: dict[str, list[float]], name: str) -> float:
    return ratio_interval(rounds[name], rounds["target"])[1]


@pytest.mark.parametrize("factor", [1.0, 2.0, 0.5, 7.3])
def test_the_ratio_is_how_much_slower_a_system_is(factor: float) -> None:
    bench = Bench()
    timings = interleave(bench.steady(target=0.01, other=0.01 * factor), "target", 60, clock=bench.clock)
    assert timings.reasons == []
    assert ratio_interval(timings.rounds["other"], timings.rounds["target"]) == pytest.approx([factor] * 3)
    assert timings.rounds["target"] == pytest.approx([10.0] * len(timings.rounds["target"]))


def test_every_system_is_timed_as_often_as_every_other() -> None:
    bench = Bench()
    timings = interleave(bench.steady(target=0.01, a=0.02, b=0.03), "target", 60, clock=bench.clock)
    assert len({len(values) for values in timings.rounds.values()}) == 1
    assert len(set(Counter(bench.calls).values())) == 1
    assert len(timings.rounds["a"]) == P90_ROUNDS, "as soon as there are enough for the 90th percentile"


def test_rounds_go_there_and_back_in_orders_that_change() -> None:
    bench = Bench()
    names = ["target", "a", "b", "c"]
    timings = interleave(bench.steady(**dict.fromkeys(names, 0.01)), "target", 60, clock=bench.clock)
    done = len(timings.rounds["target"])
    timed = bench.calls[-4 * done :]
    pairs = [tuple(timed[start : start + 8]) for start in range(0, len(timed), 8)]
    assert all(pair == pair[::-1] and set(pair) == set(names) for pair in pairs)
    assert len({pair[:4] for pair in pairs}) > 1


def test_the_seed_decides_the_order() -> None:
    orders = []
    for seed in (0, 0, 1):
        bench = Bench()
        interleave(bench.steady(target=0.01, a=0.01, b=0.01), "target", 60, seed, clock=bench.clock)
        orders.append(bench.calls)
    assert orders[0] == orders[1] != orders[2]


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 99))
def test_being_first_in_a_round_costs_no_system_its_place(seed: int) -> None:
    """The first call of each pair of rounds takes half as long again; the systems are equal."""
    bench = Bench()
    names = ["target", "a", "b"]
    warm = 5 * len(names)

    def seconds(call: int) -> float:
        return 0.015 if call >= warm and (call - warm) % (2 * len(names)) == 0 else 0.01

    systems = {name: bench.system(name, seconds) for name in names}
    timings = interleave(systems, "target", 60, seed, clock=bench.clock)
    assert bench.calls.count("a") - len(timings.rounds["a"]) == 5
    assert ratio(timings.rounds, "a") == pytest.approx(1)
    assert ratio(timings.rounds, "b") == pytest.approx(1)


def test_a_machine_that_slows_down_all_the_while_favours_no_system() -> None:
    bench = Bench()
    systems = {name: bench.system(name, lambda call: 0.01 * (1 + call / 2000)) for name in ("target", "a")}
    timings = interleave(systems, "target", 60, clock=bench.clock)
    assert ratio(timings.rounds, "a") == pytest.approx(1, abs=0.005)


def test_it_goes_on_until_a_noisy_ratio_is_known_well() -> None:
    generator = np.random.default_rng(0)
    bench = Bench()
    systems = bench.steady(target=0.01) | {"noisy": bench.system("noisy", lambda _: generator.uniform(0.015, 0.025))}
    timings = interleave(systems, "target", 600, clock=bench.clock)
    low, middle, high = ratio_interval(timings.rounds["noisy"], timings.rounds["target"])
    rounds = len(timings.rounds["noisy"])
    assert rounds > 3 * FEWEST_ROUNDS
    assert rounds == MOST_ROUNDS or high - low <= 0.03 * middle
    assert middle == pytest.approx(2, rel=0.05)


def test_it_stops_at_its_time_and_says_so_where_the_rounds_are_few() -> None:
    bench = Bench()
    timings = interleave(bench.steady(target=1.0, other=1.0), "target", 15, clock=bench.clock)
    assert bench.now - 100 <= 15 + 4
    rounds = len(timings.rounds["target"])
    assert 0 < rounds < FEWEST_ROUNDS
    assert timings.reasons == [
        "the warm-up did not settle to 2 %",
        "only 6 rounds in 18 s; 12 take about 36 s",
    ]


def test_without_time_one_pair_of_rounds_is_timed_all_the_same() -> None:
    bench = Bench()
    timings = interleave(bench.steady(target=1.0, other=1.0), "target", 0, clock=bench.clock)
    assert len(timings.rounds["other"]) == 2
    assert timings.reasons == ["the warm-up did not settle to 2 %", "only 2 rounds in 6 s; 12 take about 36 s"]


def test_a_warm_up_that_does_not_settle_is_told() -> None:
    bench = Bench()
    systems = {"target": bench.system("target", lambda call: 0.01 * 1.05**call if call < 60 else 0.2)}
    assert interleave(systems, "target", 600, clock=bench.clock).reasons == ["the warm-up did not settle to 2 %"]


def test_slow_first_calls_are_warm_up_and_not_timed() -> None:
    bench = Bench()
    systems = {name: bench.system(name, lambda call: 1.0 if call < 4 else 0.01) for name in ("target", "a")}
    timings = interleave(systems, "target", 60, clock=bench.clock)
    assert max(timings.rounds["target"] + timings.rounds["a"]) < 11


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(0.1, 100), min_size=1, max_size=20), st.floats(0.1, 10))
def test_a_ratio_lies_in_its_interval(reference: list[float], factor: float) -> None:
    low, middle, high = ratio_interval([factor * value for value in reference], reference)
    assert low <= middle <= high
    assert middle == pytest.approx(factor)


def test_a_percentile_is_interpolated() -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], 50) == 2.5
    assert percentile([1.0, 2.0, 3.0, 4.0], 90) == pytest.approx(3.7)


@pytest.mark.parametrize(("count", "spared"), [(64, 1), (100, 3), (200, 10), (500, 34), (1000, 78)])
def test_the_bound_of_the_90th_percentile_is_mlperfs(count: int, spared: int) -> None:
    values = [float(value) for value in np.random.default_rng(0).permutation(count)]
    assert p90_bound(values) == count - spared


@pytest.mark.parametrize("count", [0, 1, 12, 63])
def test_there_is_no_bound_from_fewer_than_64_values(count: int) -> None:
    assert p90_bound([1.0] * count) is None


def test_the_bound_holds_99_times_of_100() -> None:
    generator = np.random.default_rng(0)
    true = -np.log(0.1)
    bounds = np.array([p90_bound(generator.exponential(size=200).tolist()) for _ in range(2000)])
    assert 0.985 <= np.mean(bounds >= true) <= 1.0
    assert np.median(bounds) < 1.5 * true, "and says something"


def test_a_system_against_itself_stays_within_the_floor_of_noise() -> None:
    """Three times the same work under noise, jumps and drift: no pair differs by more than the floor says."""
    for seed in range(5):
        generator = np.random.default_rng(seed)
        bench = Bench()

        def seconds(call: int, generator: np.random.Generator = generator) -> float:
            jump = 0.02 if generator.random() < 0.05 else 0.0
            return float(0.01 * (1 + call / 20_000) * generator.lognormal(0, 0.05) + jump)

        systems = {name: bench.system(name, seconds) for name in ("target", "again", "other")}
        rounds = interleave(systems, "target", 60, seed, clock=bench.clock).rounds
        low, _, high = ratio_interval(rounds["again"], rounds["target"])
        assert low <= 1.005
        assert high >= 0.995
        assert low - 0.02 <= ratio(rounds, "other") <= high + 0.02


def test_an_effect_above_the_floor_is_seen() -> None:
    generator = np.random.default_rng(1)
    bench = Bench()
    noisy = {name: bench.system(name, lambda _: float(0.01 * generator.lognormal(0, 0.05))) for name in ("target", "a")}
    slow = {"slow": bench.system("slow", lambda _: float(0.011 * generator.lognormal(0, 0.05)))}
    rounds = interleave(noisy | slow, "target", 60, clock=bench.clock).rounds
    assert ratio_interval(rounds["slow"], rounds["target"])[0] > ratio_interval(rounds["a"], rounds["target"])[2]


def test_a_warm_up_that_does_not_settle_leaves_time_for_rounds() -> None:
    bench = Bench()
    systems = {"target": bench.system("target", lambda call: 0.1 if call % 2 else 0.2)}
    timings = interleave(systems, "target", 12, clock=bench.clock)
    assert "did not settle" in timings.reasons[0]
    assert len(timings.rounds["target"]) > 40


def test_a_stopwatch_on_a_cpu_is_the_clock() -> None:
    bench = Bench()
    assert stopwatch(torch.device("cpu"), bench.clock)(bench.system("a", lambda _: 0.25)) == pytest.approx(250)


class Event:
    """A CUDA event of the tests: elapsed only once it was waited for."""

    log: ClassVar[list[str]] = []

    def __init__(self, enable_timing: bool) -> None:
        assert enable_timing

    def record(self) -> None:
        self.log.append("record")

    def synchronize(self) -> None:
        self.log.append("wait")

    def elapsed_time(self, other: object) -> float:
        assert self.log[-1] == "wait"
        return 3.5


def test_a_stopwatch_on_a_gpu_waits_for_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Event, "log", [])
    monkeypatch.setattr("torch.cuda.Event", Event)
    monkeypatch.setattr("torch.cuda.synchronize", lambda: Event.log.append("ready"))
    monkeypatch.setattr("torch.cuda.device", lambda _: nullcontext())
    assert stopwatch(torch.device("cuda"))(lambda: Event.log.append("run")) == 3.5
    assert Event.log == ["ready", "record", "run", "record", "wait"]
