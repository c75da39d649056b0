"""The one training loop, and what is shared between methods."""

from __future__ import annotations

import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prt_bench.api import CellError, Network, WeightedSum
from prt_bench.composing import shared_outputs
from prt_bench.feeds import FixedFeed, Work
from prt_bench.networks import tunable
from prt_bench.task_spec import Recipe
from prt_bench.training import Tuned, batch_order, learning_rate, tune
from tests.conftest import SOURCE, Bench


def tune_alone(bench: Bench, network: Network, recipe: Recipe, seed: int = 0) -> Tuned:
    """Train the source's network, or one in its place, on its own logits."""
    source, train = bench.model(SOURCE), bench.task.roles["train"]
    labels = torch.from_numpy(train.labels)
    feed = FixedFeed(bench.networks.inputs(source, train), {}, labels, recipe.micro_batch_size)
    order = batch_order(len(train), recipe, seed)
    return tune(network, feed, order, recipe, seed, None, shared_outputs([source]), lambda done, total: None)


@given(steps=st.integers(1, 500), warmup=st.integers(0, 100))
def test_the_learning_rate_rises_to_its_peak_and_falls_towards_zero(steps: int, warmup: int) -> None:
    recipe = Recipe(
        steps=steps, batch_size=1, learning_rate=0.5, warmup_steps=min(warmup, steps), weight_decay=0, clip_norm=1
    )
    rates = [learning_rate(recipe, step) for step in range(steps)]
    assert all(0 <= rate <= 0.5 for rate in rates)
    peak = max(range(steps), key=lambda step: rates[step])
    assert rates[: peak + 1] == sorted(rates[: peak + 1])
    assert rates[peak:] == sorted(rates[peak:], reverse=True)


def test_tuning_changes_the_encoder_and_nothing_else(bench: Bench) -> None:
    source = bench.model(SOURCE)
    network = bench.networks.fresh(source)
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    tune_alone(bench, network, bench.recipe)
    after = network.module.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == set(tunable(network))
    assert {"head", "scale"}.isdisjoint(changed)
    assert not any("running" in name or "num_batches" in name for name in changed)


def test_the_log_of_prt_shows_the_reward_of_the_truth_rising_over_its_mean(bench: Bench) -> None:
    _, artifact = bench.ported("prt", steps=120)
    assert artifact is not None
    log = artifact.manifest()["log"]
    first = {name: statistics.mean(entry[name] for entry in log[:2]) for name in log[0]}
    last = {name: statistics.mean(entry[name] for entry in log[-15:]) for name in log[0]}
    assert last["reward_of_truth"] > first["reward_of_truth"]
    assert last["reward_expected"] < first["reward_expected"]
    assert last["reward_gap"] > first["reward_gap"]
    assert last["loss"] < first["loss"]
    assert last["reward_gap"] == pytest.approx(last["reward_of_truth"] - last["reward_expected"])


def test_three_methods_share_one_tuned_source(bench: Bench) -> None:
    artifacts = {name: bench.ported(name, seed=3)[1] for name in ("source-finetune", "ensemble", "eft")}
    assert len({artifact.key for artifact in artifacts.values() if artifact}) == 1
    assert bench.ported("prt", seed=3)[1] not in artifacts.values()


def test_what_is_paid_once_is_charged_in_full_and_marked_reused(bench: Bench) -> None:
    first, second = bench.tools(seed=11), bench.tools(seed=11)
    view = bench.data().train
    first.tune(bench.model(SOURCE), view)
    second.tune(bench.model(SOURCE), view)
    paid, reused = first.ledger.term(0.0, {}), second.ledger.term(0.0, {})
    assert not paid.reused
    assert reused.reused
    assert paid.train_flops == reused.train_flops
    assert paid.examples == reused.examples == bench.recipe.steps * bench.recipe.batch_size
    alone = second.ledger.charges[0].seconds
    assert alone == first.ledger.charges[0].seconds


def test_prt_pays_for_one_frozen_pass_over_the_data_beside_its_training(bench: Bench) -> None:
    source, data = bench.model(SOURCE), bench.data()
    plain, frozen = bench.tools(seed=12), bench.tools(seed=12)
    plain.tune(source, data.train)
    frozen.tune(source, data.train, frozen={"source": source}, rule=WeightedSum(source=1.0, trained=1.0))
    forward = bench.meter.price(source).of(Work(images=1))
    assert forward is not None
    costs = [tools.ledger.term(0.0, {}).train_flops or 0 for tools in (plain, frozen)]
    assert costs[1] - costs[0] == forward * len(data.train)


def test_the_rule_and_the_recipe_are_part_of_an_artifacts_key(bench: Bench) -> None:
    source, view = bench.model(SOURCE), bench.data().train
    tools = bench.tools()
    keys = {
        tools.tune(source, view).key,
        tools.tune(source, view, frozen={"source": source}, rule=WeightedSum(source=1.0, trained=1.0)).key,
        tools.tune(source, view, frozen={"source": source}, rule=WeightedSum(source=1.0, trained=0.5)).key,
        tools.tune(source, view, learns="head").key,
        tools.tune(source, view, rank=2).key,
        tools.tune(source, view, learning_rate=2.0).key,
        bench.tools(seed=1).tune(source, view).key,
        bench.tools(steps=5).tune(source, view).key,
    }
    assert len(keys) == 8


def test_a_learning_rate_that_explodes_is_a_failure_with_its_way_out(bench: Bench) -> None:
    recipe = bench.recipe.model_copy(update={"learning_rate": 1e30, "warmup_steps": 0})
    with pytest.raises(CellError, match="lower the learning rate"):
        tune_alone(bench, bench.networks.fresh(bench.model(SOURCE)), recipe)


def test_a_method_without_its_artifact_is_told_so(bench: Bench) -> None:
    eft = bench.method("eft")
    with pytest.raises(CellError, match="no artifact to load"):
        eft.attach(None, bench.model(SOURCE), bench.model(SOURCE))


def test_a_network_that_drops_out_depends_on_the_seed_alone(bench: Bench) -> None:
    def tuned(seed: int) -> torch.Tensor:
        network = bench.networks.fresh(bench.model(SOURCE))
        network.module = torch.nn.Sequential(network.module, torch.nn.Dropout(0.5))
        result = tune_alone(bench, network, bench.recipe, seed)
        return torch.cat([value.flatten() for value in result.tensors.values()])

    before = torch.get_rng_state()
    assert torch.equal(tuned(0), tuned(0))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_batch_that_goes_through_in_parts_is_trained_on_as_a_whole(bench: Bench) -> None:
    """Parts of another size each, whose rows count alike: the same gradients and the same log, but for rounding."""
    divided = bench.recipe.model_copy(update={"micro_batch_size": 12})
    whole, parts = (
        tune_alone(bench, bench.networks.fresh(bench.model(SOURCE)), recipe) for recipe in (bench.recipe, divided)
    )
    assert [entry["step"] for entry in whole.log] == [entry["step"] for entry in parts.log]
    assert len(whole.log) == bench.recipe.steps
    for one, other in zip(whole.log, parts.log, strict=True):
        assert other == {name: pytest.approx(value, rel=1e-3, abs=1e-4) for name, value in one.items()}
    start = dict(bench.networks.get(bench.model(SOURCE)).module.named_parameters())
    moved, apart = (
        torch.cat([(whole.tensors[name] - other[name]).flatten() for name in whole.tensors]).norm().item()
        for other in (start, parts.tensors)
    )
    assert apart < 0.05 * moved, (apart, moved)


def test_the_order_passes_over_all_examples_before_any_comes_again(bench: Bench) -> None:
    recipe = bench.recipe.model_copy(update={"steps": 5, "batch_size": 4})
    order = batch_order(10, recipe, 0)
    assert [len(indices) for indices in order] == [4] * 5
    passed = torch.cat(order)
    assert sorted(passed[:10].tolist()) == sorted(passed[10:].tolist()) == list(range(10))
    assert torch.equal(passed, torch.cat(batch_order(10, recipe, 0)))
    assert not torch.equal(passed, torch.cat(batch_order(10, recipe, 1)))
    assert batch_order(10, recipe.model_copy(update={"steps": 0}), 0) == []


def test_what_a_family_freezes_is_not_tuned() -> None:
    class TwoParts(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = torch.nn.Linear(2, 2)
            self.head = torch.nn.Linear(2, 2)

    def names(*frozen: str) -> set[str]:
        return set(tunable(Network(TwoParts(), lambda images: torch.zeros(1), frozen=frozen)))

    assert names() == {"body.weight", "body.bias", "head.weight", "head.bias"}
    assert names("head") == {"body.weight", "body.bias"}
