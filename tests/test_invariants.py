"""What must hold for a correct implementation of the methods, on embedded models, within 1e-5."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch

from prt_bench.api import Composition, WeightedSum
from prt_bench.composing import compose, shared_outputs
from prt_bench.errors import CellError
from prt_bench.meters.flops import input_shape
from prt_bench.meters.queries import ImageQuery
from prt_bench.networks import Networks
from tests.conftest import SOURCE, TARGET, Bench

TOLERANCE = 1e-5
METHODS = (
    "zero-shot",
    "source-zero-shot",
    "untuned-ensemble",
    "source-finetune",
    "full-finetune",
    "ensemble",
    "eft",
    "prt",
)


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool((one - other).abs().max() <= TOLERANCE * max(1.0, float(other.abs().max())))


def test_eft_on_its_own_source_is_the_tuned_source(bench: Bench) -> None:
    eft, _ = bench.ported("eft", SOURCE, SOURCE)
    tuned, _ = bench.ported("source-finetune", SOURCE, SOURCE)
    assert close(bench.log_probs(eft), bench.log_probs(tuned))
    zero_shot, _ = bench.ported("zero-shot", SOURCE, SOURCE)
    assert not close(bench.log_probs(tuned), bench.log_probs(zero_shot)), "tuning must have changed something"


def test_eft_on_its_own_source_mixes_by_alpha(bench: Bench) -> None:
    eft, _ = bench.ported("eft:alpha=0.3", SOURCE, SOURCE)
    tuned, _ = bench.ported("source-finetune", SOURCE, SOURCE)
    zero_shot, _ = bench.ported("zero-shot", SOURCE, SOURCE)
    mixed = 0.7 * bench.log_probs(zero_shot) + 0.3 * bench.log_probs(tuned)
    assert close(bench.log_probs(eft), mixed.log_softmax(-1))


def test_prt_at_zero_steps_on_its_own_source_has_the_zero_shot_argmax(bench: Bench) -> None:
    prt, _ = bench.ported("prt", SOURCE, SOURCE, steps=0)
    zero_shot, _ = bench.ported("zero-shot", SOURCE, SOURCE)
    plain = bench.logits(zero_shot)
    assert torch.equal(bench.logits(prt).argmax(-1), plain.argmax(-1))
    assert close(bench.log_probs(prt), (2 * plain.double()).log_softmax(-1))


def test_prt_on_its_own_source_is_its_training_model(bench: Bench) -> None:
    prt, artifact = bench.ported("prt", SOURCE, SOURCE)
    source = bench.model(SOURCE)
    examples = bench.task.roles["test"]
    frozen = bench.networks.outputs(source, examples).logits
    reward = bench.networks.outputs(source.tuned(artifact), examples).logits
    trained = (frozen.log_softmax(-1) + reward).double().log_softmax(-1)
    assert close(bench.log_probs(prt), trained)


def test_prt_fed_with_the_difference_of_two_models_is_eft(bench: Bench) -> None:
    eft, _ = bench.ported("eft")
    outputs = {
        name: bench.networks.outputs(model, bench.task.roles["test"]).logits.double().log_softmax(-1)
        for name, model in eft.members.items()
    }
    reward = outputs["tuned"] - outputs["source"]
    by_hand = WeightedSum(target=1.0, reward=1.0)({"target": outputs["target"], "reward": reward})
    assert close(bench.log_probs(eft), by_hand.log_softmax(-1))


@pytest.mark.parametrize("shift", ["constant in y", "shifted per example"])
def test_a_reward_that_says_nothing_about_labels_changes_nothing(bench: Bench, shift: str) -> None:
    target = bench.networks.outputs(bench.model(TARGET), bench.task.roles["test"]).logits
    noise = torch.randn(len(target), 1, generator=torch.Generator().manual_seed(0))
    rule = WeightedSum(target=1.0, reward=1.0)
    if shift == "constant in y":
        changed, plain = rule({"target": target, "reward": noise.expand_as(target)}), target
    else:
        reward = bench.networks.outputs(bench.model(SOURCE), bench.task.roles["test"]).logits
        changed = rule({"target": target, "reward": reward + noise})
        plain = rule({"target": target, "reward": reward})
    assert close(changed.double().softmax(-1), plain.double().softmax(-1))


@pytest.mark.parametrize("alpha", [0.5, 1.0, 3.0])
def test_eft_with_an_untuned_tuned_source_is_the_target(bench: Bench, alpha: float) -> None:
    eft, _ = bench.ported(f"eft:alpha={alpha}", steps=0)
    zero_shot, _ = bench.ported("zero-shot")
    assert close(bench.log_probs(eft), bench.log_probs(zero_shot))


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_of_one_equals_a_batch_of_many(bench: Bench, method: str) -> None:
    composition, _ = bench.ported(method)
    many = bench.logits(composition)[:8]
    inputs = {
        name: bench.networks.inputs(model, bench.task.roles["test"]) for name, model in composition.members.items()
    }
    with torch.inference_mode():
        for index in range(8):
            at = torch.tensor([index])
            one = compose(
                composition,
                lambda name, model, at=at: bench.networks.get(model).module(next(inputs[name].batches([at]))),
            )
            assert close(one[0], many[index])


@pytest.mark.parametrize("method", METHODS)
def test_no_verb_changes_a_base_weight(bench: Bench, method: str) -> None:
    def weights() -> dict[str, torch.Tensor]:
        return {
            f"{alias}.{name}": value.clone()
            for alias in (SOURCE, TARGET)
            for name, value in bench.networks.get(bench.model(alias)).module.state_dict().items()
        }

    before = weights()
    composition, _ = bench.ported(method, seed=7, steps=2)
    bench.logits(composition)
    after = weights()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_eft_costs_exactly_one_source_pass_more_than_prt(bench: Bench) -> None:
    query = ImageQuery(input_shape(bench.networks.get(bench.model(SOURCE))), bench.task.space.size)
    names = ("eft", "prt", "source-zero-shot")
    eft, prt, source = (bench.meter.measure(bench.ported(name)[0], query)[0].total for name in names)
    assert eft is not None
    assert prt is not None
    assert eft - prt == source


def test_same_seed_same_predictions_and_another_seed_others(bench: Bench) -> None:
    def run(seed: int) -> torch.Tensor:
        # A network made anew, so that nothing is taken from the store.
        networks = Networks(bench.registry, bench.networks.places, bench.store, "cpu", bench.networks.report)
        from prt_bench.feeds import FixedFeed
        from prt_bench.training import batch_order, tune

        source, train = bench.model(SOURCE), bench.task.roles["train"]
        feed = FixedFeed(networks.inputs(source, train), {}, torch.from_numpy(train.labels))
        order, shared = batch_order(len(train), bench.recipe, seed), shared_outputs([source])
        network = networks.fresh(source)
        tuned = tune(network, feed, order, bench.recipe, seed, None, shared, lambda done, total: None)
        return torch.cat([value.flatten() for value in tuned.tensors.values()])

    assert torch.equal(run(0), run(0))
    assert not torch.equal(run(0), run(1))


def test_permuting_the_labels_permutes_the_outputs(bench: Bench) -> None:
    composition, _ = bench.ported("ensemble")
    order = torch.randperm(10, generator=torch.Generator().manual_seed(1))
    logits = bench.logits(composition)

    def permuted(outputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return composition.rule({name: value[:, order] for name, value in outputs.items()})

    assert torch.equal(bench.logits(Composition(composition.members, permuted)), logits[:, order])


def test_no_verb_can_reach_the_test_split(bench: Bench) -> None:
    """Everything that hangs on what a verb is handed is walked through, in search of a test example."""
    test = set(bench.task.roles["test"].ids)
    data = bench.data()
    with pytest.raises(CellError, match="test split is in no view"):
        _ = data.test
    seen: set[int] = set()
    waiting: list[object] = [data]
    found: list[str] = []
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, str):
            found += [thing] if thing in test else []
        elif isinstance(thing, np.ndarray):
            waiting += [thing.base] if thing.base is not None else []
            assert len(thing) <= len(bench.task.roles["train"])
        elif isinstance(thing, Mapping):
            waiting += [*thing.keys(), *thing.values()]
        elif isinstance(thing, list | tuple | set):
            waiting += thing
        elif hasattr(thing, "__dict__"):
            waiting += vars(thing).values()
    assert not found
