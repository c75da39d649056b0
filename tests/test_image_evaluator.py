"""What is measured of images: a record follows from it, and reading for a choice among compositions is paid once."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from prt_bench.api import Composition, WeightedSum
from prt_bench.image_evaluator import ImageEvaluator
from prt_bench.meters.quality import log_probabilities, negative_log_likelihood
from tests.conftest import SOURCE, TARGET, Bench


@pytest.fixture
def evaluator(bench: Bench) -> ImageEvaluator:
    """Three of the ten classes are tested; the validation is small."""
    test, validation = bench.task.roles["test"], bench.task.roles["validation"]
    few = np.flatnonzero(np.isin(test.labels, (1, 4, 7)))[:90]
    return ImageEvaluator(validation.subset(range(40)), test.subset(few.tolist()), "top1", bench.networks, bench.meter)


def mixed(bench: Bench, weight: float) -> Composition:
    members = {"target": bench.model(TARGET), "source": bench.model(SOURCE)}
    return Composition(members, WeightedSum(target=1.0, source=weight))


def test_scores_say_what_logits_say(bench: Bench, evaluator: ImageEvaluator) -> None:
    composition = mixed(bench, 0.5)
    validated = evaluator.validate(composition)
    scores = evaluator.test(composition, validated)
    rows = list(csv.DictReader(io.StringIO(scores.predictions)))
    labels = np.array([int(row["label"]) for row in rows])
    right = np.array([row["label"] == row["prediction"] for row in rows])
    names = bench.task.space.labels
    assert scores.per_class == {
        names[label]: (int(right[labels == label].sum()), int((labels == label).sum())) for label in (1, 4, 7)
    }
    assert scores.reliability is not None
    assert sum(one.n for one in scores.reliability) == len(rows) == 90
    assert sum(one.n * one.accuracy for one in scores.reliability) == pytest.approx(right.sum())
    error = sum(one.n * abs(one.accuracy - one.confidence) for one in scores.reliability) / 90
    assert scores.ece == pytest.approx(error, abs=1e-12)


def test_the_temperature_is_validations_and_divides_the_tests_logits(bench: Bench, evaluator: ImageEvaluator) -> None:
    composition = mixed(bench, 0.5)
    validated = evaluator.validate(composition)
    scores = evaluator.test(composition, validated)
    assert scores.temperature == validated.temperature is not None
    validation = bench.task.roles["validation"].subset(range(40))
    seen = bench.logits(composition, validation).double().numpy()

    def loss(temperature: float) -> float:
        return negative_log_likelihood(seen / temperature, validation.labels)

    assert loss(scores.temperature) <= min(loss(scores.temperature * step) for step in (0.9, 1.1))
    labels = bench.task.roles["test"].labels
    few = np.flatnonzero(np.isin(labels, (1, 4, 7)))[:90]
    logits = bench.logits(composition).double().numpy()[few]
    expected = -log_probabilities(logits / scores.temperature)[np.arange(90), labels[few]].mean()
    assert scores.nll_calibrated == pytest.approx(expected, rel=1e-5)
    assert scores.nll == pytest.approx(negative_log_likelihood(logits, labels[few]), rel=1e-5)


def test_every_network_reads_the_validation_once_whatever_is_made_of_it(
    bench: Bench, evaluator: ImageEvaluator
) -> None:
    one = mixed(bench, 0.5)
    alone = Composition({"only": bench.model(TARGET)}, WeightedSum(only=1.0))
    flops = bench.meter.measure(one, evaluator.query(one))[0]
    assert flops.total is not None
    assert evaluator.reading([one])[0] == 40 * flops.total
    assert evaluator.reading([one, mixed(bench, 1.0), mixed(bench, 2.0), alone])[0] == 40 * flops.total
    assert evaluator.reading([alone])[0] == 40 * (flops.by_member["target"] or 0)
    assert evaluator.reading([])[0] == 0


class Turned(WeightedSum):
    """Multiplies by the identity."""

    identity = torch.eye(10)

    def __call__(self, outputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return super().__call__(outputs) @ self.identity

    def flops(self, classes: int) -> int:
        return 2 * classes**2


class Made(WeightedSum):
    """Makes what has no formula."""

    def __call__(self, outputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        return super().__call__(outputs) * torch.eye(1)[0, 0]


def test_products_of_a_rule_are_paid_for_every_composition(bench: Bench, evaluator: ImageEvaluator) -> None:
    members = {"target": bench.model(TARGET)}
    turned = [Composition(members, Turned(target=weight)) for weight in (1.0, 2.0, 3.0)]
    network = bench.meter.measure(turned[0], evaluator.query(turned[0]))[0].by_member["target"] or 0
    assert evaluator.reading(turned)[0] == 40 * (network + 3 * 2 * 10**2)


def test_where_one_has_an_operation_without_a_formula_nothing_is_said(bench: Bench, evaluator: ImageEvaluator) -> None:
    members = {"target": bench.model(TARGET)}
    counted, unknown = (Composition(members, rule(target=1.0)) for rule in (WeightedSum, Made))
    assert evaluator.reading([counted])[0] is not None
    assert evaluator.reading([counted, unknown])[0] is None
