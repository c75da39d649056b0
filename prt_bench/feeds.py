"""What the training loop is fed with: the same inputs at every step, or a new random crop of each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np
import torch

from prt_bench.api import Box, Network
from prt_bench.data.examples import Examples
from prt_bench.errors import CellError
from prt_bench.files import digest
from prt_bench.networks import Inputs
from prt_bench.prefetch import prefetched

__all__ = ["Batch", "CroppedFeed", "Feed", "FixedFeed", "random_box"]

Batch = tuple[torch.Tensor, dict[str, torch.Tensor]]
"""Inputs (B, *input shape) of the trained network, and logits (B, K) of each frozen one, on the device."""

ASPECT_RATIOS = (3 / 4, 4 / 3)
ATTEMPTS = 10


class Feed(Protocol):
    """Gives batches in the order asked for."""

    def batches(self, order: Sequence[torch.Tensor], device: torch.device) -> Iterator[Batch]:
        """One batch per index tensor (B,)."""


class FixedFeed:
    """Inputs that are the same at every step: what frozen networks say of them, (N, K), was computed once."""

    def __init__(self, inputs: Inputs, frozen: Mapping[str, torch.Tensor]) -> None:
        self._inputs = inputs
        self._frozen = frozen

    def batches(self, order: Sequence[torch.Tensor], device: torch.device) -> Iterator[Batch]:
        for indices, inputs in zip(order, self._inputs.batches(order), strict=True):
            yield inputs.to(device), {name: logits[indices].to(device) for name, logits in self._frozen.items()}


class CroppedFeed:
    """A new random crop of every image at every step, the same crop for all networks; frozen ones see it live.

    Crops depend on the seed and the step alone. The next batches are made while one is trained on.
    """

    def __init__(
        self,
        network: Network,
        examples: Examples,
        frozen: Mapping[str, Network],
        area: tuple[float, float],
        seed: int,
    ) -> None:
        for name, other in {"the trained network": network, **frozen}.items():
            if other.crop is None:
                raise CellError(f"the recipe trains on random crops, which the family of {name} does not offer")
        self._network = network
        self._examples = examples
        self._frozen = frozen
        self._area = area
        self._seed = seed

    def batches(self, order: Sequence[torch.Tensor], device: torch.device) -> Iterator[Batch]:
        for crops in prefetched(self._crops, enumerate(indices.tolist() for indices in order)):
            yield self._batch(crops, device)

    def _crops(self, numbered: tuple[int, list[int]]) -> dict[str, torch.Tensor]:
        """Inputs of one step, by kind of preprocessing."""
        step, indices = numbered
        images = [self._examples.image(index) for index in indices]
        generator = np.random.default_rng([self._seed, step])
        boxes = [random_box(image.size, self._area, generator) for image in images]
        networks = {_kind(network): network for network in (self._network, *self._frozen.values())}
        return {kind: network.crop(images, boxes) for kind, network in networks.items() if network.crop}

    @torch.no_grad()
    def _batch(self, crops: Mapping[str, torch.Tensor], device: torch.device) -> Batch:
        on_device = {kind: pixels.to(device) for kind, pixels in crops.items()}
        held = {name: other.module(on_device[_kind(other)]).float() for name, other in self._frozen.items()}
        return on_device[_kind(self._network)], held


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
