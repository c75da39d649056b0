"""Data that needs no download: real sets that come with a dependency, and procedural pictures."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from prt_bench.data.examples import ArrayExamples, RawData
from prt_bench.errors import RequestError, did_you_mean
from prt_bench.nano.pictures import DOMAINS, SPLITS, domain

__all__ = ["load_builtin", "load_procedural"]


def load_procedural(name: str, counts: Mapping[str, int], seed: int) -> RawData:
    """Draw the splits of a procedural domain. Raises RequestError with near names."""
    if name not in DOMAINS:
        raise RequestError(f"unknown procedural domain {name!r}{did_you_mean(name, DOMAINS)}")
    splits = {}
    for split, count in counts.items():
        if split not in SPLITS:
            raise RequestError(f"procedural domain {name}: unknown split {split!r}{did_you_mean(split, SPLITS)}")
        pixels, labels = domain(name, split, count, seed)
        splits[split] = ArrayExamples(pixels, labels, [f"{name}/{split}/{index}" for index in range(count)])
    return RawData(dict(splits), DOMAINS[name].classes)


def load_builtin(name: str) -> RawData:
    """A built-in data set by name. Raises RequestError with near names."""
    try:
        return _LOADERS[name]()
    except KeyError:
        raise RequestError(f"unknown built-in data set {name!r}{did_you_mean(name, _LOADERS)}") from None


def _digits() -> RawData:
    """scikit-learn's handwritten digits (UCI): 1,797 grey images of 8×8, values 0 to 16.

    The first 1,000 are train, the last 797 test: the set lists writers one after another, so this keeps
    most writers of the test apart from those of train.
    """
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)
    pixels = np.round(np.asarray(values).reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    everything = ArrayExamples(pixels, np.asarray(labels, dtype=np.int64), [f"digits/{i}" for i in range(len(pixels))])
    return RawData(
        {"train": everything.subset(range(1000)), "test": everything.subset(range(1000, len(everything)))},
        tuple(str(digit) for digit in range(10)),
    )


_LOADERS = {"digits": _digits}
