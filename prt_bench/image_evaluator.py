"""Labelled images: every member's logits of every image, from the store where they are known."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from prt_bench.api import Composition, Model, Network
from prt_bench.composing import compose
from prt_bench.costs import CompositionMeter
from prt_bench.data.examples import Examples
from prt_bench.errors import CellError
from prt_bench.evaluating import Scores, Validated
from prt_bench.feeds import Batch, Step
from prt_bench.files import digest
from prt_bench.meters import quality
from prt_bench.meters.flops import input_shape
from prt_bench.meters.queries import RAW_SIZE, ImageQuery
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
        self._seconds: dict[str, float] = {}
        """That reading the validation images took, by network."""

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

    def steps(self, model: Model, frozen: Mapping[str, Model], batch_size: int, live: bool) -> Callable[[], Step]:
        device, generator = self._networks.device, torch.Generator().manual_seed(0)
        held = {name: self._networks.get(other) for name, other in frozen.items()}

        def pixels(of: Model) -> torch.Tensor:
            shape = (batch_size, *input_shape(self._networks.shape_only(of)))
            return torch.randn(shape, generator=generator).to(device)

        inputs, seen = pixels(model), {name: pixels(other) for name, other in frozen.items()}
        truth = torch.randint(model.space.size, (batch_size,), generator=generator).to(device)

        @torch.no_grad()
        def answers() -> dict[str, torch.Tensor]:
            return {name: network.module(seen[name]).float() for name, network in held.items()}

        known = {} if live else answers()
        return lambda: Step(batch_size, iter([Batch(inputs, answers() if live else known, truth)]))

    def validate(self, composition: Composition) -> Validated:
        logits = self._logits(composition, self._validation)
        labels = self._validation.labels
        metrics = quality.metrics(logits, labels, "validation")
        return Validated(metrics[self._primary].value, metrics, quality.calibration_temperature(logits, labels))

    def reading(self, compositions: Sequence[Composition]) -> tuple[int | None, float]:
        # Outputs are kept per network: another strength is arithmetic.
        networks = {model.key for composition in compositions for model in composition.members.values()}
        seconds = sum(self._seconds.get(key, 0.0) for key in networks)
        prices: dict[str, int] = {}
        rules = 0
        for composition in compositions:
            flops = self._meter.measure(composition, self.query(composition))[0]
            if flops.total is None:
                return None, seconds
            rules += flops.rule
            prices |= {model.key: flops.by_member[name] or 0 for name, model in composition.members.items()}
        return (sum(prices.values()) + rules) * len(self._validation), seconds

    def test(self, composition: Composition, validated: Validated) -> Scores:
        logits, labels = self._logits(composition, self._test), self._test.labels
        temperature = validated.temperature
        assert temperature is not None
        bins = quality.reliability(logits, labels)
        names = next(iter(composition.members.values())).space.labels
        return Scores(
            metrics=quality.metrics(logits, labels, "test"),
            predictions=_predictions(self._test, logits),
            nll=quality.negative_log_likelihood(logits, labels),
            nll_calibrated=quality.negative_log_likelihood(logits / temperature, labels),
            ece=quality.expected_calibration_error(bins),
            temperature=temperature,
            reliability=bins,
            per_class={names[label]: counts for label, counts in quality.per_class(logits, labels).items()},
        )

    def _logits(self, composition: Composition, examples: Examples) -> Logits:
        def answers(_: str, model: Model) -> torch.Tensor:
            found = self._networks.outputs(model, examples)
            if examples is self._validation:
                self._seconds[model.key] = found.seconds
            return found.logits

        logits = compose(composition, answers)
        if not bool(torch.isfinite(logits).all()):
            raise CellError("the rule gives values that are no numbers")
        return logits.double().numpy()


class ImageSystem:
    """A query of `batch_size` images through every network once, and the rule.

    Inputs of the first member are at hand. Where another needs another preprocessing, that is part of the query.
    """

    def __init__(self, composition: Composition, batch_size: int, networks: Networks) -> None:
        self._composition = composition
        self._device = networks.device
        self._built = {model.key: networks.get(model) for model in composition.members.values()}
        # Networks of one preprocessing read the same pixels.
        self._kind = {
            model.key: digest(dict(self._built[model.key].preprocessing) or model.identity)
            for model in composition.members.values()
        }
        self._kinds: dict[str, Network] = {}
        for key, network in self._built.items():
            self._kinds.setdefault(self._kind[key], network)
        generator = np.random.default_rng(0)
        size = (batch_size, RAW_SIZE[1], RAW_SIZE[0], 3)
        first, *others = self._kinds
        self._raw = [Image.fromarray(one) for one in generator.integers(0, 256, size, dtype=np.uint8)] if others else []
        shape = (batch_size, *input_shape(self._kinds[first]))
        self._pixels = {first: torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(self._device)}

    def __call__(self) -> object:
        with torch.inference_mode():
            pixels = dict(self._pixels)
            for kind, network in self._kinds.items():
                if kind not in pixels:
                    pixels[kind] = network.preprocess(self._raw).to(self._device)
            logits = {key: network.module(pixels[self._kind[key]]) for key, network in self._built.items()}
            return compose(self._composition, lambda _, model: logits[model.key]).argmax(dim=-1).cpu()

    def times(self, rounds: int) -> None:
        return None


def _predictions(examples: Examples, logits: Logits) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "label", "prediction", "log_prob_label"])
    log_probs = quality.log_probabilities(logits)
    for index, (name, label) in enumerate(zip(examples.ids, examples.labels, strict=True)):
        writer.writerow([name, int(label), int(logits[index].argmax()), f"{log_probs[index, label]:.6g}"])
    return text.getvalue()
