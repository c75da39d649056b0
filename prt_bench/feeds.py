"""What the training loop is fed with: the same inputs at every step, a new random crop of each, or dialogues."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from prt_bench.api import Box, Network
from prt_bench.data.examples import Examples
from prt_bench.errors import CellError
from prt_bench.files import digest
from prt_bench.prefetch import prefetched
from prt_bench.work import Work

__all__ = ["Batch", "CroppedFeed", "Feed", "FixedFeed", "Kept", "Step", "random_box"]

ASPECT_RATIOS = (3 / 4, 4 / 3)
ATTEMPTS = 10


@dataclass(frozen=True)
class Batch:
    """What goes through the trained network together; a row is an image, or a token to be answered."""

    inputs: Any
    """Of the trained network, on the device."""
    held: Mapping[str, torch.Tensor]
    """Logits (R, K) of each frozen network."""
    truth: torch.Tensor
    """The right output of each row, (R,)."""


@dataclass(frozen=True)
class Step:
    """One step of the optimiser: all rows count alike, however many go through the network together."""

    rows: int
    parts: Iterator[Batch]


class Feed(Protocol):
    """Gives the examples in the order asked for."""

    def steps(self, order: Sequence[torch.Tensor], device: torch.device) -> Iterator[Step]:
        """One step per index tensor (B,)."""

    def work(self, order: Sequence[torch.Tensor]) -> Work:
        """What the trained network reads in these steps."""

    def frozen_work(self, order: Sequence[torch.Tensor]) -> Work:
        """What each frozen network reads for them."""


def _parts(indices: torch.Tensor, together: int | None) -> Sequence[torch.Tensor]:
    return torch.split(indices, together) if together else [indices]


class Kept(Protocol):
    """What a network reads of every example, the same at every step."""

    def __len__(self) -> int: ...

    def batches(self, order: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        """(len(indices), *shape), fp32, on the CPU, for each index tensor."""


class FixedFeed:
    """Inputs that are the same at every step: what frozen networks say of them, (N, K), was computed once."""

    def __init__(
        self, inputs: Kept, frozen: Mapping[str, torch.Tensor], labels: torch.Tensor, together: int | None = None
    ) -> None:
        self._inputs = inputs
        self._frozen = frozen
        self._labels = labels
        self._together = together

    def steps(self, order: Sequence[torch.Tensor], device: torch.device) -> Iterator[Step]:
        parts = [_parts(indices, self._together) for indices in order]
        batches = self._inputs.batches([part for step in parts for part in step])
        for indices, step in zip(order, parts, strict=True):
            yield Step(len(indices), (self._batch(part, next(batches), device) for part in step))

    def work(self, order: Sequence[torch.Tensor]) -> Work:
        return Work(images=sum(map(len, order)))

    def frozen_work(self, order: Sequence[torch.Tensor]) -> Work:
        return Work(images=len(self._inputs) if order else 0)

    def _batch(self, indices: torch.Tensor, inputs: torch.Tensor, device: torch.device) -> Batch:
        held = {name: logits[indices].to(device) for name, logits in self._frozen.items()}
        return Batch(inputs.to(device), held, self._labels[indices].to(device))


class CroppedFeed:
    """A new random crop of every image at every step, the same crop for all networks; frozen ones see it live.

    Crops depend on the seed and the step alone. The next batches are made while one is trained on.
    """

    def __init__(
        self,
        network: Network,
        examples: Examples,
        frozen: Mapping[str, Network],
        labels: torch.Tensor,
        area: tuple[float, float],
        seed: int,
        together: int | None = None,
    ) -> None:
        for name, other in {"the trained network": network, **frozen}.items():
            if other.crop is None:
                raise CellError(f"the recipe trains on random crops, which the family of {name} does not offer")
        self._network = network
        self._examples = examples
        self._frozen = frozen
        self._labels = labels
        self._area = area
        self._seed = seed
        self._together = together

    def steps(self, order: Sequence[torch.Tensor], device: torch.device) -> Iterator[Step]:
        crops = prefetched(self._crops, enumerate(indices.tolist() for indices in order))
        for indices, cropped in zip(order, crops, strict=True):
            places = _parts(torch.arange(len(indices)), self._together)
            truth = self._labels[indices]
            yield Step(len(indices), (self._batch(cropped, part, truth[part], device) for part in places))

    def work(self, order: Sequence[torch.Tensor]) -> Work:
        return Work(images=sum(map(len, order)))

    frozen_work = work

    def _crops(self, numbered: tuple[int, list[int]]) -> dict[str, torch.Tensor]:
        """Inputs of one step, by kind of preprocessing."""
        step, indices = numbered
        images = [self._examples.image(index) for index in indices]
        generator = np.random.default_rng([self._seed, step])
        boxes = [random_box(image.size, self._area, generator) for image in images]
        networks = {_kind(network): network for network in (self._network, *self._frozen.values())}
        return {kind: network.crop(images, boxes) for kind, network in networks.items() if network.crop}

    @torch.no_grad()
    def _batch(
        self, crops: Mapping[str, torch.Tensor], part: torch.Tensor, truth: torch.Tensor, device: torch.device
    ) -> Batch:
        on_device = {kind: pixels[part].to(device) for kind, pixels in crops.items()}
        held = {name: other.module(on_device[_kind(other)]).float() for name, other in self._frozen.items()}
        return Batch(on_device[_kind(self._network)], held, truth.to(device))


def random_box(size: tuple[int, int], area: tuple[float, float], generator: np.random.Generator) -> Box:
    """A box of `area` (smallest and largest fraction) of an image of `size` (width, height), 3:4 to 4:3.

    As torchvision's RandomResizedCrop draws it, from a generator of its own in place of PyTorch's global one.
    """
    width, height = size
    for _ in range(ATTEMPTS):
        wanted = width * height * generator.uniform(*area)
        ratio = math.exp(generator.uniform(*np.log(ASPECT_RATIOS)))
        wide, high = round(math.sqrt(wanted * ratio)), round(math.sqrt(wanted / ratio))
        if 0 < wide <= width and 0 < high <= height:
            left, top = generator.integers(0, width - wide + 1), generator.integers(0, height - high + 1)
            return int(left), int(top), wide, high
    wide, high = width, height
    if width / height < ASPECT_RATIOS[0]:
        high = round(width / ASPECT_RATIOS[0])
    elif width / height > ASPECT_RATIOS[1]:
        wide = round(height * ASPECT_RATIOS[1])
    return (width - wide) // 2, (height - high) // 2, wide, high


def _kind(network: Network) -> str:
    return digest(dict(network.preprocessing)) if network.preprocessing else str(id(network.crop))
