"""Quality against numbers worked out by hand or by another library."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score

from prt_bench.meters.quality import (
    calibration_temperature,
    expected_calibration_error,
    log_probabilities,
    metrics,
    negative_log_likelihood,
)
from prt_bench.stats import wilson_interval

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]


def simulated(temperature: float, count: int, classes: int = 5, seed: int = 0) -> tuple[Floats, Labels]:
    """Logits, and labels drawn from the softmax of logits / temperature."""
    generator = np.random.default_rng(seed)
    logits = generator.normal(0, 2 * temperature, (count, classes))
    noise = generator.gumbel(size=logits.shape)
    return logits, (logits / temperature + noise).argmax(axis=1)


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


def test_probabilities_sum_to_one_and_survive_large_logits() -> None:
    logits = np.array([[1e5, 0.0, -1e5], [3.0, 3.0, 3.0]])
    result = log_probabilities(logits)
    assert np.isfinite(result).all()
    assert np.exp(result).sum(axis=1) == pytest.approx([1, 1])
    assert log_probabilities(logits + 7) == pytest.approx(result)


def test_a_calibrated_model_has_a_small_calibration_error_and_an_overconfident_one_a_large() -> None:
    logits, labels = simulated(1.0, 20_000)
    assert expected_calibration_error(logits, labels) < 0.02
    assert expected_calibration_error(logits * 4, labels) > 0.15
    assert expected_calibration_error(logits / 4, labels) > 0.15


def test_the_calibration_error_matches_one_worked_out_by_hand() -> None:
    """Confidences 0.9, 0.9 (one right) and 0.6 (right): 2/3 · |0.5 − 0.9| + 1/3 · |1 − 0.6|."""
    logits = np.log(np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4]]))
    assert expected_calibration_error(logits, np.array([0, 1, 0])) == pytest.approx(2 / 3 * 0.4 + 1 / 3 * 0.4)


def test_a_sure_and_right_model_has_no_calibration_error() -> None:
    assert expected_calibration_error(np.eye(3) * 1000, np.arange(3)) == pytest.approx(0)


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
