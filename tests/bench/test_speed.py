"""The harness's own speed, as ratios of two things timed in turns in one process.

`python -m pytest tests/bench --benchmark-enable` prints them; no assertion depends on a clock.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from prt_bench.api import Composition, WeightedSum
from prt_bench.data.examples import Examples
from prt_bench.meters.latency import ratio_interval
from prt_bench.networks import Networks
from prt_bench.store import Store
from tests.conftest import SOURCE, TARGET, Bench, quiet

ROUNDS = 3
OVERHEAD_ROUNDS = 8


def in_turns(one: Callable[[], object], other: Callable[[], object]) -> tuple[float, float]:
    """Median seconds of each, timed in turns."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for run, kept in zip((one, other), times, strict=True):
            started = time.perf_counter()
            run()
            kept.append(time.perf_counter() - started)
    return statistics.median(times[0]), statistics.median(times[1])


def test_a_sweep_of_strengths_against_its_first_point(
    benchmark: BenchmarkFixture, bench: Bench, tmp_path: Path
) -> None:
    """Outputs are cached per network: eleven strengths cost little more than one."""
    test: Examples = bench.task.roles["test"]
    source, target = bench.model(SOURCE), bench.model(TARGET)
    fresh = iter(range(10**6))

    def sweep(points: int) -> None:
        networks = Networks(bench.registry, bench.networks.places, Store(tmp_path / str(next(fresh))), "cpu", quiet)
        for point in range(points):
            mix = Composition({"target": target, "source": source}, WeightedSum(target=1.0, source=point / 10))
            outputs = {name: networks.outputs(model, test).logits for name, model in mix.members.items()}
            mix.rule(outputs)

    one, eleven = in_turns(lambda: sweep(1), lambda: sweep(11))
    benchmark.extra_info["eleven strengths / one"] = round(eleven / one, 2)
    benchmark.pedantic(sweep, args=(11,), rounds=1)


@pytest.mark.parametrize("epochs", [1, 4, 16])
def test_reward_tuning_against_fine_tuning(
    benchmark: BenchmarkFixture, bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: int
) -> None:
    """Frozen outputs are computed once: the overhead falls as 1 / (3 · epochs)."""
    source, data = bench.model(SOURCE), bench.data()
    # Where nothing is timed, that it runs is all there is to see.
    epochs = epochs if benchmark.enabled else 1
    steps = epochs * len(data.train) // bench.recipe.batch_size
    fresh = iter(range(1000 * epochs, 10**6))
    rule = WeightedSum(source=1.0, trained=1.0)
    flops: dict[bool, int] = {}

    def tune(reward: bool) -> float:
        seed = next(fresh)
        # Nothing is known of the frozen network: each run pays for its pass.
        monkeypatch.setattr(bench.networks, "store", Store(tmp_path / str(seed)))
        tools = bench.tools(seed=seed, steps=steps)
        frozen = {"source": source} if reward else {}
        artifact = tools.tune(source, data.train, frozen=frozen, rule=rule if reward else None)
        cost = artifact.manifest()["cost"]
        flops[reward] = cost["train_flops"]
        return float(cost["seconds"])

    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(OVERHEAD_ROUNDS if benchmark.enabled else 1):
        for reward in (False, True, True, False):
            times[reward].append(tune(reward))
    low, middle, high = ratio_interval(times[True], times[False])
    benchmark.extra_info["reward / plain"] = f"{middle:.3f} [{low:.3f}, {high:.3f}]"
    benchmark.extra_info["by FLOPs"] = round(flops[True] / flops[False], 4)
    benchmark.extra_info["1 + 1 / (3 epochs)"] = round(1 + 1 / (3 * epochs), 4)
    benchmark.pedantic(tune, args=(True,), rounds=1)
