"""A composition is run as it stands, or refused with its reason."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from prt_bench.api import Composition, Model, OutputSpace, WeightedSum
from prt_bench.composing import compose
from prt_bench.errors import CellError, RequestError
from prt_bench.networks import Networks
from tests.conftest import SOURCE, Bench, quiet


@pytest.fixture
def source(bench: Bench) -> Model:
    return bench.model(SOURCE)


def test_outputs_of_another_size_than_the_labels_are_refused(source: Model) -> None:
    composition = Composition({"target": source}, WeightedSum(target=1.0))
    with pytest.raises(CellError, match=r"member target gives shape \(2, 7\); its output space has 10 labels"):
        compose(composition, lambda name, model: torch.zeros(2, 7))


def test_members_with_other_labels_are_refused_with_the_first_difference(source: Model) -> None:
    other = dataclasses.replace(source, space=OutputSpace((*source.space.labels[:9], "ten")))
    composition = Composition({"target": source, "reward": other}, WeightedSum(target=1.0, reward=1.0))
    with pytest.raises(CellError, match="label 9 is 'nine' against 'ten'"):
        compose(composition, lambda name, model: torch.zeros(2, 10))


def test_a_rule_that_drops_examples_or_labels_is_refused(source: Model) -> None:
    composition = Composition({"target": source}, lambda outputs: outputs["target"][:, :3])
    with pytest.raises(CellError, match=r"the rule gives shape \(2, 3\)"):
        compose(composition, lambda name, model: torch.zeros(2, 10))


def test_a_composition_without_members_is_refused() -> None:
    with pytest.raises(CellError, match="at least one member"):
        compose(Composition({}, WeightedSum(target=1.0)), lambda name, model: torch.zeros(2, 10))


def test_a_rule_that_cannot_be_keyed_is_not_trained_through(bench: Bench, source: Model) -> None:
    with pytest.raises(CellError, match="so that it can be keyed"):
        bench.tools().tune(source, bench.data().train, rule=lambda outputs: outputs["trained"])  # type: ignore[arg-type]


def test_a_device_that_is_not_there_is_refused(bench: Bench) -> None:
    with pytest.raises(RequestError, match="--device nonsense"):
        Networks(bench.registry, bench.networks.places, bench.store, "nonsense", quiet)


def test_verbs_never_see_a_strength(bench: Bench) -> None:
    request = bench.registry.method("eft:alpha=0.25")
    assert request.method.params == {"alpha": 0.25}
    assert request.for_verbs().params == {"alpha": 1.0}
    setting = bench.registry.method("prt:lambda=2,weight=3")
    assert setting.for_verbs().params == {"lambda": 2.0, "weight": 1.0}
