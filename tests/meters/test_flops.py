"""FLOPs against published golden values."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from prt_bench.api import Artifact, CellError, Composition, Network, OutputSpace, Places, Rule, WeightedSum
from prt_bench.costs import CompositionMeter
from prt_bench.meters.flops import count_forward, count_training, counted, input_shape
from prt_bench.meters.queries import ImageQuery
from prt_bench.models import model_for
from prt_bench.networks import Networks
from prt_bench.registry import Registry
from tests.conftest import Bench, quiet

TEN = OutputSpace(tuple(f"class {index}" for index in range(10)))
GOLDEN_GFLOPS = {
    "vitb32-openai": 8.818,
    "vitb16-openai": 35.127,
    "vitb16-laion": 35.127,
    "vitl14-openai": 162.026,
    "rn50-openai": 12.223,
}


def one_image(network: Network) -> torch.Tensor:
    return torch.empty(1, *input_shape(network), device="meta")


@pytest.mark.parametrize("alias", GOLDEN_GFLOPS)
def test_an_image_tower_has_its_published_flops(registry: Registry, alias: str) -> None:
    card = registry.card(alias)
    network = registry.family(card).build(card, TEN, "meta", Places())
    count = count_forward(network, one_image(network))
    assert not count.uncounted
    assert round(count.flops / 1e9, 3) == GOLDEN_GFLOPS[alias]


def test_the_headline_pair_costs_what_the_arithmetic_says(registry: Registry, bench: Bench) -> None:
    source = model_for("vitb16-laion", TEN, registry, Places(), "random")
    target = model_for("vitl14-openai", TEN, registry, Places(), "random")
    meter = CompositionMeter(Networks(registry, Places(), bench.store, "cpu", quiet, "random"))
    query = ImageQuery((3, 224, 224), TEN.size)
    prt = Composition({"target": target, "reward": source}, WeightedSum(target=1.0, reward=1.0))
    eft = Composition(
        {"target": target, "tuned": source.tuned(Artifact("tuned", Path("tuned"))), "source": source},
        WeightedSum(target=1.0, tuned=1.0, source=-1.0),
    )
    prt_flops, eft_flops = meter.measure(prt, query)[0].total, meter.measure(eft, query)[0].total
    assert prt_flops is not None
    assert eft_flops is not None
    assert round(prt_flops / 1e9, 2) == 197.15
    assert round(eft_flops / 1e9, 2) == 232.28


def test_training_costs_about_three_passes(registry: Registry) -> None:
    card = registry.card("nano-rn16-a")
    network = registry.family(card).build(card, TEN, "meta", Places())
    pixels = one_image(network)
    both, forward = count_training(network, pixels), count_forward(network, pixels)
    assert not both.uncounted
    assert 2.8 < both.flops / forward.flops < 3.0


class Attending(torch.nn.Module):
    """Attention without a formula: the fused kernel that evaluation takes on a CPU."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = torch.nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        attended: torch.Tensor = self.attention(x, x, x, need_weights=False)[0]
        return attended


def test_an_operation_without_a_formula_makes_the_count_invalid() -> None:
    module = Attending().eval()
    with torch.no_grad():
        count = counted(lambda: module(torch.zeros(1, 4, 8)))
    assert any("multi_head_attention" in name for name in count.uncounted)


def test_calls_are_measured_and_not_declared(bench: Bench) -> None:
    meter = CompositionMeter(bench.networks)
    source = bench.model("nano-rn16-a")
    query = ImageQuery(input_shape(bench.networks.get(source)), bench.task.space.size)
    one, _, _ = meter.measure(Composition({"a": source}, WeightedSum(a=1.0)), query)
    two, _, _ = meter.measure(Composition({"a": source, "b": source}, WeightedSum(a=1.0, b=1.0)), query)
    assert one.calls == {"a": 1.0}
    assert two.calls == {"a": 1.0, "b": 0.0}, "one network answers for both"
    assert two.total == one.total
    assert two.rule_elementwise == len(bench.task.space.labels)


class Hiding(Rule):
    """Runs a network of its own beside the members; says so, or not."""

    def __init__(self, network: torch.nn.Module, says: int) -> None:
        self.network, self.says = network, says

    def __call__(self, outputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return self.network(outputs["a"])  # type: ignore[no-any-return]

    def spec(self) -> Mapping[str, Any]:
        return {}

    def flops(self, columns: int) -> int:
        return self.says


def test_a_network_that_a_rule_hides_is_caught(bench: Bench) -> None:
    meter, source = CompositionMeter(bench.networks), bench.model("nano-rn16-a")
    query = ImageQuery(input_shape(bench.networks.get(source)), bench.task.space.size)
    alone = meter.measure(Composition({"a": source}, WeightedSum(a=1.0)), query)[0].total
    assert alone is not None
    width = alone // 100
    network = torch.nn.Sequential(torch.nn.Linear(10, width, bias=False), torch.nn.Linear(width, 10, bias=False))
    own = 2 * 2 * 10 * width
    for rule in (Hiding(network, 0), lambda outputs: network(outputs["a"])):
        with pytest.raises(CellError, match=r"what ran is not what was declared.*has to be a member"):
            meter.measure(Composition({"a": source}, rule), query)
    with pytest.raises(CellError, match="not what was declared"):
        meter.measure(Composition({"a": source}, Hiding(network, 2 * own)), query)
    open_rule = meter.measure(Composition({"a": source}, Hiding(network, own)), query)[0]
    assert open_rule.rule == own
    assert open_rule.total == open_rule.analytic == alone + own


def test_a_rule_that_rests_while_it_is_watched_gets_no_number(bench: Bench) -> None:
    """Looking at its inputs is an operation that has no formula, and is named."""
    meter, source = CompositionMeter(bench.networks), bench.model("nano-rn16-a")
    query = ImageQuery(input_shape(bench.networks.get(source)), bench.task.space.size)
    hidden = torch.nn.Linear(10, 10**6, bias=False)

    def rule(outputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        given = outputs["a"]
        return given + hidden(given).sum() if bool(given.any()) else given

    flops = meter.measure(Composition({"a": source}, rule), query)[0]
    assert (flops.total, flops.counted) == (None, None)
    assert "aten.any" in flops.uncounted_ops


def test_the_head_is_counted_with_its_classes(registry: Registry) -> None:
    card = registry.card("nano-rn16-a")

    def flops(classes: int) -> int:
        space = OutputSpace(tuple(str(index) for index in range(classes)))
        network: Network = registry.family(card).build(card, space, "meta", Places())
        return count_forward(network, one_image(network)).flops

    assert flops(110) - flops(10) == 2 * 100 * 64
