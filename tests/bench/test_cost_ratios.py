"""Times against FLOPs at sizes that arithmetic bounds: systems of true architectures, interleaved in one process.

`python -m pytest tests/bench --benchmark-enable` prints them; no assertion depends on a clock.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from prt_bench.api import Artifact, Composition, OutputSpace, Places, WeightedSum
from prt_bench.costs import CompositionMeter
from prt_bench.image_evaluator import ImageSystem
from prt_bench.meters.latency import interleave, ratio_interval
from prt_bench.meters.queries import ImageQuery
from prt_bench.models import model_for
from prt_bench.networks import Networks
from prt_bench.registry import Registry
from prt_bench.store import Store
from tests.conftest import quiet

TEN = OutputSpace(tuple(f"class {index}" for index in range(10)))
SECONDS = 60.0


@pytest.mark.parametrize(("source", "target"), [("rn50-openai", "vitb16-openai"), ("vitb16-laion", "vitb16-laion2b")])
@pytest.mark.parametrize("batch_size", [1, 8])
def test_reward_tuning_against_emulated_tuning(
    benchmark: BenchmarkFixture, registry: Registry, tmp_path: Path, source: str, target: str, batch_size: int
) -> None:
    """Expected: (T + S) / (T + 2 S)."""
    store = Store(tmp_path)
    networks = Networks(registry, Places(), store, "cpu", quiet, "random")
    old, new = (model_for(name, TEN, registry, Places(), "random") for name in (source, target))
    # A tuned source is another network of the same shape; what its weights are changes no time.
    tensors = dict(networks.get(old).module.named_parameters())
    store.put("artifacts", "0" * 64, tensors, {})
    tuned = old.tuned(Artifact("0" * 64, store.path("artifacts", "0" * 64)))
    prt = Composition({"target": new, "reward": tuned}, WeightedSum(target=1.0, reward=1.0))
    eft = Composition({"target": new, "tuned": tuned, "source": old}, WeightedSum(target=1.0, tuned=1.0, source=-1.0))
    alone = Composition({"target": new}, WeightedSum(target=1.0))
    named = {"target": alone, "again": alone, "prt": prt, "eft": eft}
    systems = {name: ImageSystem(each, batch_size, networks) for name, each in named.items()}
    meter, query = CompositionMeter(networks), ImageQuery((3, 224, 224), TEN.size)
    flops = {name: meter.measure(each, query)[0].total or 0 for name, each in named.items()}
    if benchmark.enabled:
        rounds = interleave(systems, "target", SECONDS).rounds
        for name in ("prt", "eft"):
            low, middle, high = ratio_interval(rounds[name], rounds["target"])
            benchmark.extra_info[f"{name} / target"] = f"{middle:.3f} [{low:.3f}, {high:.3f}]"
            benchmark.extra_info[f"{name} / target by FLOPs"] = round(flops[name] / flops["target"], 3)
        low, middle, high = ratio_interval(rounds["prt"], rounds["eft"])
        benchmark.extra_info["prt / eft"] = f"{middle:.3f} [{low:.3f}, {high:.3f}]"
        benchmark.extra_info["prt / eft by FLOPs"] = round(flops["prt"] / flops["eft"], 3)
        low, middle, high = ratio_interval(rounds["again"], rounds["target"])
        benchmark.extra_info["noise"] = f"{middle:.3f} [{low:.3f}, {high:.3f}]"
    benchmark.pedantic(systems["prt"], rounds=1)
