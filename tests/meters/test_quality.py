"""Quality against numbers worked out by hand or by another library."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score, log_loss, recall_score

from prt_bench.meters.quality import (
    calibration_temperature,
    expected_calibration_error,
    log_probabilities,
    metrics,
    negative_log_likelihood,
    per_class,
    reliability,
)
from prt_bench.records import ReliabilityBin
from prt_bench.stats import wilson_interval

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


def simulated(temperature: float, count: int, classes: int = 5, seed: int = 0) -> tuple[Floats, Labels]:
    """Logits, and labels drawn from the softmax of logits / temperature."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2 * temperature, (count, classes))
    noise = generator.gumbel(size=logits.shape)
    return logits, (logits / temperature + noise).argmax(axis=1)


def error_of(logits: Floats, labels: Labels) -> float:
    return expected_calibration_error(reliability(logits, labels))


def test_scores_match_those_worked_out_by_hand() -> None:
    """Class 0: 3 of 4 right, class 1: 0 of 1, class 2: 1 of 1."""
    labels = np.array([0, 0, 0, 0, 1, 2])
    guesses = np.array([0, 0, 0, 2, 0, 2])
    found = metrics(np.eye(3)[guesses], labels, "test")
    assert found["top1"].value == pytest.approx(4 / 6)
    assert found["top1"].ci95 == wilson_interval(4, 6)
    assert found["mean_per_class"].value == pytest.approx((3 / 4 + 0 + 1) / 3)
    assert {(metric.n, metric.split) for metric in found.values()} == {(6, "test")}


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 999), classes=st.integers(2, 6), count=st.integers(1, 60))
def test_scores_are_means_of_what_is_right_and_lie_in_their_intervals(seed: int, classes: int, count: int) -> None:
    logits, labels = simulated(1.0, count, classes, seed)
    found = metrics(logits, labels, "test")
    assert found["top1"].value == pytest.approx((logits.argmax(1) == labels).mean())
    expected = np.mean([(logits.argmax(1) == labels)[labels == label].mean() for label in np.unique(labels)])
    assert found["mean_per_class"].value == pytest.approx(expected)
    for metric in found.values():
        assert metric.ci95 is not None
        assert 0 <= metric.ci95[0] <= metric.value <= metric.ci95[1] <= 1


def test_mean_per_class_is_balanced_accuracy() -> None:
    logits, labels = simulated(1.0, 500)
    labels[:300] = 0
    expected = balanced_accuracy_score(labels, logits.argmax(1))
    assert metrics(logits, labels, "test")["mean_per_class"].value == pytest.approx(expected)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 999), classes=st.integers(2, 9), count=st.integers(1, 80))
def test_recall_by_class_is_scikit_learns(seed: int, classes: int, count: int) -> None:
    """Of the classes that occur, though more could be answered."""
    logits, labels = simulated(1.0, count, classes, seed)
    found, guesses, there = per_class(logits, labels), logits.argmax(1), np.unique(labels)
    assert list(found) == there.tolist()
    expected = recall_score(labels, guesses, labels=there, average=None, zero_division=0)
    assert [right / items for right, items in found.values()] == pytest.approx(expected.tolist())
    macro = recall_score(labels, guesses, labels=there, average="macro", zero_division=0)
    scores = metrics(logits, labels, "test")
    assert scores["mean_per_class"].value == pytest.approx(macro)
    assert sum(items for _, items in found.values()) == count
    assert sum(right for right, _ in found.values()) == round(scores["top1"].value * count)


def test_a_class_that_is_never_right_and_one_that_is_not_asked() -> None:
    assert per_class(np.eye(4)[[0, 0, 0]], np.array([0, 2, 2])) == {0: (1, 1), 2: (0, 2)}


def test_a_rare_class_widens_the_interval_of_mean_per_class_alone() -> None:
    generator = np.random.default_rng(0)
    labels = np.array([0] * 400 + [1] * 4)
    guesses = np.where(generator.random(404) < 0.25, 1 - labels, labels)
    guesses[-4:] = [1, 1, 0, 0]
    found = metrics(np.eye(2)[guesses], labels, "test")
    widths = {name: metric.ci95[1] - metric.ci95[0] for name, metric in found.items() if metric.ci95}
    assert widths["mean_per_class"] > 3 * widths["top1"]


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), scale=st.sampled_from([0.1, 1.0, 30.0, 1000.0]))
def test_likelihood_is_torchs_cross_entropy(seed: int, scale: float) -> None:
    logits, labels = simulated(1.0, 20, seed=seed)
    logits *= scale
    expected = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels)).item()
    assert negative_log_likelihood(logits, labels) == pytest.approx(expected, rel=1e-9, abs=1e-12)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), temperature=st.sampled_from([0.5, 1.0, 3.0]))
def test_likelihood_is_scikit_learns_log_loss(seed: int, temperature: float) -> None:
    logits, labels = simulated(1.0, 30, seed=seed)
    probabilities = np.exp(log_probabilities(logits / temperature))
    expected = log_loss(labels, probabilities / probabilities.sum(axis=1, keepdims=True), labels=np.arange(5))
    assert negative_log_likelihood(logits / temperature, labels) == pytest.approx(expected, rel=1e-6)


def test_probabilities_sum_to_one_and_survive_large_logits() -> None:
    logits = np.array([[1e5, 0.0, -1e5], [3.0, 3.0, 3.0]])
    result = log_probabilities(logits)
    assert np.isfinite(result).all()
    assert np.exp(result).sum(axis=1) == pytest.approx([1, 1])
    assert log_probabilities(logits + 7) == pytest.approx(result)


def test_a_calibrated_model_has_a_small_calibration_error_and_an_overconfident_one_a_large() -> None:
    logits, labels = simulated(1.0, 20_000)
    assert error_of(logits, labels) < 0.02
    assert error_of(logits * 4, labels) > 0.15
    assert error_of(logits / 4, labels) > 0.15


def test_the_calibration_error_matches_one_worked_out_by_hand() -> None:
    """Confidences 0.9, 0.9 (one right) and 0.6 (right): 2/3 · |0.5 − 0.9| + 1/3 · |1 − 0.6|."""
    logits = np.log(np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4]]))
    labels = np.array([0, 1, 0])
    assert error_of(logits, labels) == pytest.approx(2 / 3 * 0.4 + 1 / 3 * 0.4)
    low, high = reliability(logits, labels)
    assert (low.n, low.confidence, low.accuracy) == (1, pytest.approx(0.6), 1.0)
    assert (high.n, high.confidence, high.accuracy) == (2, pytest.approx(0.9), 0.5)


def test_a_sure_and_right_model_has_no_calibration_error() -> None:
    assert error_of(np.eye(3) * 1000, np.arange(3)) == 0
    assert reliability(np.eye(3) * 1000, np.arange(3)) == [ReliabilityBin(n=3, confidence=1.0, accuracy=1.0)]


def brute_force_error(logits: Floats, labels: Labels) -> float:
    """Answer by answer, over the fifteen bins [k/15, (k+1)/15); what is sure is in the last."""
    bins: dict[int, list[tuple[float, bool]]] = {}
    for row, label in zip(logits.tolist(), labels.tolist(), strict=True):
        shares = torch.tensor(row, dtype=torch.float64).softmax(0).tolist()
        confidence = max(shares)
        bins.setdefault(min(int(confidence * 15), 14), []).append((confidence, shares.index(confidence) == label))
    return sum(
        abs(sum(confidence for confidence, _ in inside) - sum(right for _, right in inside)) for inside in bins.values()
    ) / len(labels)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 999),
    classes=st.integers(2, 7),
    count=st.integers(1, 80),
    scale=st.sampled_from([0.0, 0.3, 1.0, 5.0, 200.0]),
)
def test_the_calibration_error_is_that_of_a_brute_force(seed: int, classes: int, count: int, scale: float) -> None:
    logits, labels = simulated(1.0, count, classes, seed)
    bins = reliability(logits * scale, labels)
    assert expected_calibration_error(bins) == pytest.approx(brute_force_error(logits * scale, labels), abs=1e-12)
    assert sum(one.n for one in bins) == count
    right = metrics(logits * scale, labels, "test")["top1"].value * count
    assert sum(one.n * one.accuracy for one in bins) == pytest.approx(right)
    confidences = [one.confidence for one in bins]
    assert confidences == sorted(confidences)
    assert all(1 / classes - 1e-12 <= one.confidence <= 1 and one.n > 0 for one in bins)
    assert len({min(int(confidence * 15 + 1e-9), 14) for confidence in confidences}) == len(bins) <= 15


def test_answers_that_only_logits_tell_apart_are_right_as_the_score_says() -> None:
    """The probabilities are equal in double precision."""
    logits = np.array([[1.0, 1.0 + 2e-16, -5.0]])
    assert logits[0, 0] < logits[0, 1]
    labels = np.array([1])
    assert metrics(logits, labels, "test")["top1"].value == 1.0
    assert reliability(logits, labels)[0].accuracy == 1.0


@pytest.mark.parametrize("temperature", [0.1, 0.5, 1.0, 2.0, 10.0])
def test_calibration_finds_the_temperature_that_made_the_labels(temperature: float) -> None:
    logits, labels = simulated(temperature, 20_000)
    found = calibration_temperature(logits, labels)
    assert found == pytest.approx(temperature, rel=0.05)
    best = negative_log_likelihood(logits / found, labels)
    assert best <= negative_log_likelihood(logits, labels) + 1e-6
    assert best <= min(negative_log_likelihood(logits / (found * step), labels) for step in (0.97, 1.03))


def test_a_temperature_without_a_bound_stays_in_its_range() -> None:
    """All right: the colder the better. All wrong: the warmer."""
    logits = np.eye(4)
    assert calibration_temperature(logits, np.arange(4)) == pytest.approx(0.05, rel=0.02)
    assert calibration_temperature(logits, (np.arange(4) + 1) % 4) == pytest.approx(20, rel=0.02)
