"""Labelled images: every member's logits of every image, from the store where they are known."""

from __future__ import annotations

import csv
import io

import numpy as np
import torch
from numpy.typing import NDArray

from prt_bench.api import Composition, Model
from prt_bench.composing import compose
from prt_bench.costs import CompositionMeter
from prt_bench.data.examples import Examples
from prt_bench.errors import CellError
from prt_bench.evaluating import Scores, Validated
from prt_bench.meters import quality
from prt_bench.meters.flops import input_shape
from prt_bench.meters.queries import ImageQuery
from prt_bench.networks import Networks

__all__ = ["ImageEvaluator"]

Logits = NDArray[np.float64]


class ImageEvaluator:
    """Top-1 and its kin."""

    def __init__(
        self, validation: Examples, test: Examples, primary: str, networks: Networks, meter: CompositionMeter
    ) -> None:
        self._validation = validation
        self._test = test
        self._primary = primary
        self._networks = networks
        self._meter = meter
        self._shapes: dict[str, tuple[int, ...]] = {}

    def refuse_unfit(self, model: Model) -> None:
        """Building the head has refused what does not fit."""

    def refuse_unscored(self) -> None:
        """Labels are there."""

    def query(self, composition: Composition) -> ImageQuery:
        first = next(iter(composition.members.values()))
        if first.identity not in self._shapes:
            self._shapes[first.identity] = input_shape(self._networks.shape_only(first))
        return ImageQuery(self._shapes[first.identity], first.space.size)

    def system(self, composition: Composition, batch_size: int) -> ImageSystem:
        return ImageSystem(composition, batch_size, self._networks)

    def validate(self, composition: Composition) -> Validated:
        logits = self._logits(composition, self._validation)
        metrics = quality.metrics(logits, self._validation.labels, "validation")
        return Validated(metrics[self._primary].value, metrics, logits)

    def reading(self, composition: Composition) -> int | None:
        flops = self._meter.measure(composition, self.query(composition))[0].total
        return None if flops is None else flops * len(self._validation)

    def test(self, composition: Composition, validated: Validated) -> Scores:
        logits, labels = self._logits(composition, self._test), self._test.labels
        temperature = quality.calibration_temperature(validated.seen, self._validation.labels)
        return Scores(
            metrics=quality.metrics(logits, labels, "test"),
            predictions=_predictions(self._test, logits),
            nll=quality.negative_log_likelihood(logits, labels),
            nll_calibrated=quality.negative_log_likelihood(logits / temperature, labels),
            ece=quality.expected_calibration_error(logits, labels),
        )

    def _logits(self, composition: Composition, examples: Examples) -> Logits:
        logits = compose(composition, lambda _, model: self._networks.outputs(model, examples).logits)
        if not bool(torch.isfinite(logits).all()):
            raise CellError("the rule gives values that are no numbers")
        return logits.double().numpy()


class ImageSystem:
    """A query of `batch_size` images through every member and the rule."""

    def __init__(self, composition: Composition, batch_size: int, networks: Networks) -> None:
        generator = torch.Generator().manual_seed(0)
        self._composition = composition
        self._built = {model.key: networks.get(model) for model in composition.members.values()}
        self._pixels = {
            key: torch.randn(batch_size, *input_shape(network), generator=generator).to(networks.device)
            for key, network in self._built.items()
        }

    def __call__(self) -> object:
        with torch.inference_mode():
            logits = compose(self._composition, lambda _, model: self._built[model.key].module(self._pixels[model.key]))
            return logits.argmax(dim=-1).cpu()

    def times(self) -> None:
        return None


def _predictions(examples: Examples, logits: Logits) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "label", "prediction", "log_prob_label"])
    log_probs = quality.log_probabilities(logits)
    for index, (name, label) in enumerate(zip(examples.ids, examples.labels, strict=True)):
        writer.writerow([name, int(label), int(logits[index].argmax()), f"{log_probs[index, label]:.6g}"])
    return text.getvalue()
