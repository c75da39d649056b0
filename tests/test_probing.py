"""Linear probes: the head learns, nothing else does, and features are paid once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from prt_bench.api import Composition, Model, Places, WeightedSum
from prt_bench.costs import CompositionMeter
from prt_bench.errors import SkipError
from prt_bench.models import model_for
from prt_bench.networks import Networks
from prt_bench.probing import features_of, learnable, linear_head, probe_of
from prt_bench.tasks import TaskSource, load_task
from prt_bench.work import Work
from tests.conftest import TARGET, Bench, quiet


@pytest.fixture(scope="module")
def probed(bench: Bench) -> Model:
    """The target with a head that a few steps have tuned."""
    model = bench.model(TARGET)
    return model.tuned(bench.tools().tune(model, bench.data().train, learns="head", learning_rate=5.0))


def test_the_head_alone_changes(bench: Bench, probed: Model) -> None:
    network, base = bench.networks.get(probed), bench.networks.get(bench.model(TARGET))
    before, after = base.module.state_dict(), network.module.state_dict()
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["head"]
    assert probed.artifact is not None
    assert set(probed.artifact.tensors()) == {"head"}
    assert probed.artifact.manifest()["recipe"]["learns"] == "head"


def test_a_probe_learns_the_task(bench: Bench, probed: Model) -> None:
    train = bench.task.roles["train"]
    labels = torch.from_numpy(train.labels)
    losses = [
        torch.nn.functional.cross_entropy(bench.networks.outputs(model, train).logits, labels).item()
        for model in (bench.model(TARGET), probed)
    ]
    assert losses[1] < 0.8 * losses[0]


def test_features_and_head_are_the_network(bench: Bench) -> None:
    network = bench.networks.get(bench.model(TARGET))
    inputs = bench.networks.inputs(bench.model(TARGET), bench.task.roles["validation"])
    features = features_of(network, inputs, 32, torch.device("cpu"))
    every = [torch.arange(len(features))]
    with torch.no_grad():
        (read,) = features.batches(every)
        (pixels,) = inputs.batches(every)
        assert torch.allclose(probe_of(network).module(read), network.module(pixels), atol=1e-4)
    assert len(features) == len(bench.task.roles["validation"])


def test_tuning_a_probe_leaves_the_shared_network_as_it_was(bench: Bench) -> None:
    network = bench.networks.get(bench.model(TARGET))
    head = network.module.state_dict()["head"].clone()
    probe = probe_of(network)
    with torch.no_grad():
        next(probe.module.parameters()).add_(1.0)
    assert torch.equal(network.module.state_dict()["head"], head)


def test_a_probe_of_no_steps_is_the_untuned_model(bench: Bench) -> None:
    model = bench.model(TARGET)
    untouched = model.tuned(bench.tools(steps=0).tune(model, bench.data().train, learns="head"))
    alone = [Composition({"m": one}, WeightedSum(m=1.0)) for one in (untouched, model)]
    assert torch.equal(bench.logits(alone[0]), bench.logits(alone[1]))


def test_a_probe_costs_one_pass_over_the_examples_and_the_steps_of_its_head(bench: Bench) -> None:
    """Forward and backward of a head (K, E) are 2·K·E FLOPs each per example; features need no gradient."""
    model, tools = bench.model(TARGET), bench.tools(seed=7)
    tools.tune(model, bench.data().train, learns="head")
    paid = tools.ledger.term(0.0, {})
    forward = bench.meter.price(model).of(Work(images=len(bench.task.roles["train"])))
    classes, width = bench.networks.get(model).module.state_dict()["head"].shape
    assert forward is not None
    assert paid.train_flops == forward + 4 * classes * width * bench.recipe.steps * bench.recipe.batch_size
    assert paid.examples == bench.recipe.steps * bench.recipe.batch_size


def test_a_head_may_learn_through_a_rule_beside_a_frozen_network(bench: Bench) -> None:
    model, rule, train = bench.model(TARGET), WeightedSum(source=1.0, trained=1.0), bench.task.roles["train"]
    artifact = bench.tools().tune(
        model, bench.data().train, frozen={"source": model}, rule=rule, learns="head", learning_rate=5.0
    )
    labels = torch.from_numpy(train.labels)
    losses = [
        torch.nn.functional.cross_entropy(
            bench.logits(Composition({"source": model, "trained": head}, rule), train), labels
        ).item()
        for head in (model, model.tuned(artifact))
    ]
    assert losses[1] < losses[0]


def test_a_tuned_head_answers_for_no_other_classes(bench: Bench, probed: Model) -> None:
    other = load_task("shapes", TaskSource(bench.registry, bench.store, None, quiet))
    elsewhere = model_for(TARGET, other.space, bench.registry, Places()).tuned(probed.artifact)
    with pytest.raises(SkipError, match="only for the classes that it was tuned on"):
        bench.networks.get(elsewhere)


def test_a_model_without_a_linear_head_is_skipped_with_its_reason(bench: Bench) -> None:
    plain = replace(bench.networks.get(bench.model(TARGET)), head=None)
    with pytest.raises(SkipError, match="names no linear head"):
        linear_head(plain)
    with pytest.raises(SkipError, match="names no linear head"):
        learnable(plain, bench.recipe.model_copy(update={"learns": "head"}))


def test_text_has_no_head_to_probe(bench: Bench) -> None:
    store = bench.store
    task = load_task("nano-facts", TaskSource(bench.registry, store, None, quiet))
    networks = Networks(bench.registry, Places(), store, "cpu", quiet)
    texts = Bench(bench.registry, store, task, networks, CompositionMeter(networks), bench.recipe)
    with pytest.raises(SkipError, match="names no linear head"):
        texts.tools(steps=1).tune(texts.model("nano-llama-s-a"), texts.data().train, learns="head")
