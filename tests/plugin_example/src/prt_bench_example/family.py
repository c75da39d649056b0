"""A family of plain classifiers: a fixed list of labels, weights made in code, no text tower."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from prt_bench.api import Family, ModelCard, Network, OutputSpace, Places

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


class PlainFamily(Family):
    """Two-layer classifiers of 8×8 grey images."""

    name = "plain"

    def cards(self) -> Sequence[ModelCard]:
        return [
            ModelCard(alias=f"plain-{width}", family="plain", architecture=str(width), labels=DIGITS, recipe="embedded")
            for width in (8, 16)
        ]

    def build(
        self, card: ModelCard, space: OutputSpace, weights: Literal["real", "random", "meta"], places: Places
    ) -> Network:
        import torch

        width = int(card.architecture)
        with torch.device("meta" if weights == "meta" else "cpu"), torch.random.fork_rng(devices=[]):
            torch.manual_seed(width)
            module = torch.nn.Sequential(
                torch.nn.Flatten(), torch.nn.Linear(64, width), torch.nn.ReLU(), torch.nn.Linear(width, 10)
            )
        return Network(module=module.eval(), preprocess=grey, preprocessing={"grey": [8, 8]})


def grey(images: "Sequence[Image]") -> "torch.Tensor":
    """(B, 1, 8, 8), between 0 and 1."""
    import numpy as np
    import torch

    pixels = [np.asarray(image.convert("L").resize((8, 8)), dtype=np.float32) / 255 for image in images]
    return torch.from_numpy(np.stack(pixels))[:, None]
