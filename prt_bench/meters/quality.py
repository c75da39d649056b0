"""Quality of logits against labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from prt_bench.records import Metric, ReliabilityBin
from prt_bench.stats import wilson_interval

__all__ = [
    "calibration_temperature",
    "expected_calibration_error",
    "log_probabilities",
    "metrics",
    "negative_log_likelihood",
    "per_class",
    "reliability",
]

Floats = NDArray[np.float64]
Labels = NDArray[np.int64]
BINS = 15
RESAMPLES = 1000


def log_probabilities(logits: Floats) -> Floats:
    """Log-softmax over the last axis, in float64."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return result


def metrics(logits: Floats, labels: Labels, split: str) -> dict[str, Metric]:
    """`top1` with a Wilson interval and `mean_per_class` with a bootstrap over items within each class."""
    correct = (logits.argmax(axis=-1) == labels).astype(np.float64)
    n = len(labels)
    by_class = [correct[labels == label] for label in np.unique(labels)]
    generator = np.random.default_rng(0)
    drawn = np.mean(
        [values[generator.integers(0, len(values), (RESAMPLES, len(values)))].mean(axis=1) for values in by_class],
        axis=0,
    )
    mean_per_class = float(np.mean([values.mean() for values in by_class]))
    low, high = np.percentile(drawn, [2.5, 97.5])
    interval = (min(float(low), mean_per_class), max(float(high), mean_per_class))
    top1 = float(correct.mean())
    return {
        "top1": Metric(value=top1, ci95=wilson_interval(int(correct.sum()), n), n=n, split=split),
        "mean_per_class": Metric(value=mean_per_class, ci95=interval, n=n, split=split),
    }


def per_class(logits: Floats, labels: Labels) -> dict[int, tuple[int, int]]:
    """Label → right answers and items, of the labels that occur; their ratio is the class's recall."""
    correct = logits.argmax(axis=-1) == labels
    items, right = np.bincount(labels), np.bincount(labels[correct], minlength=labels.max() + 1)
    return {label: (int(right[label]), int(items[label])) for label in np.flatnonzero(items).tolist()}


def negative_log_likelihood(logits: Floats, labels: Labels) -> float:
    """Mean of −log p(label), in nats."""
    return float(-log_probabilities(logits)[np.arange(len(labels)), labels].mean())


def calibration_temperature(logits: Floats, labels: Labels) -> float:
    """The temperature that minimises validation NLL (Guo et al. 2017), to 1 %, between 0.05 and 20.

    The loss is unimodal in the inverse temperature, so a golden-section search over its logarithm finds it.
    """
    low, high = np.log(0.05), np.log(20.0)
    golden = (np.sqrt(5) - 1) / 2
    while high - low > 0.01:
        left, right = high - golden * (high - low), low + golden * (high - low)
        if negative_log_likelihood(logits / np.exp(left), labels) < negative_log_likelihood(
            logits / np.exp(right), labels
        ):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def reliability(logits: Floats, labels: Labels) -> list[ReliabilityBin]:
    """Answers in 15 equal bins of confidence (Guo et al. 2017); bins that hold none are left out."""
    probabilities = np.exp(log_probabilities(logits))
    confidence = probabilities.max(axis=-1)
    correct = logits.argmax(axis=-1) == labels
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return [
        ReliabilityBin(
            n=int(inside.sum()), confidence=float(confidence[inside].mean()), accuracy=float(correct[inside].mean())
        )
        for inside in (bins == index for index in np.unique(bins))
    ]


def expected_calibration_error(bins: Sequence[ReliabilityBin]) -> float:
    """ECE = Σ n · |accuracy − confidence| / Σ n over the bins (Guo et al. 2017)."""
    return sum(one.n * abs(one.accuracy - one.confidence) for one in bins) / sum(one.n for one in bins)
