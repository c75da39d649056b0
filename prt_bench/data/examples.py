"""Raw examples, before any model's preprocessing."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from prt_bench.api import Example
from prt_bench.errors import CellError, MissingError, RequestError

__all__ = ["AbsentExamples", "ArrayExamples", "Examples", "FileExamples", "RawData", "to_rgb"]


class Examples(ABC):
    """N raw examples: images with labels, or texts.

    `labels` is (N,) int64, -1 where a label is outside the class list; texts have none.
    """

    labels: NDArray[np.int64]
    ids: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, index: int) -> Image.Image:
        """The decoded image, RGB. Raises CellError where the examples are texts."""
        raise CellError(f"{self.ids[index]} is a text, not an image")

    def example(self, index: int, labelled: bool) -> Example:
        """What a method sees of an example."""
        return Example(self.ids[index], self.image(index), int(self.labels[index]) if labelled else None)

    @abstractmethod
    def subset(self, indices: Sequence[int]) -> Examples:
        """A copy that holds these examples and no way to the others."""

    def relabelled(self, labels: NDArray[np.int64]) -> Examples:
        """The same images under other labels. Raises CellError where the examples are texts."""
        raise CellError("texts have no class labels")

    @property
    @abstractmethod
    def digests(self) -> Sequence[str]:
        """Digest of each example as it is stored: equal for the same one, byte for byte."""

    @cached_property
    def sha256(self) -> str:
        """Digest of all examples and their labels, in order."""
        content = hashlib.sha256("\n".join(self.digests).encode())
        content.update(np.ascontiguousarray(self.labels).tobytes())
        return content.hexdigest()


class ArrayExamples(Examples):
    """Images held in memory, (N, H, W) grey or (N, H, W, 3), uint8."""

    def __init__(self, pixels: NDArray[np.uint8], labels: NDArray[np.int64], ids: Sequence[str]) -> None:
        self._pixels = pixels
        self.labels = labels
        self.ids = list(ids)

    def image(self, index: int) -> Image.Image:
        return Image.fromarray(self._pixels[index]).convert("RGB")

    def subset(self, indices: Sequence[int]) -> ArrayExamples:
        chosen = np.asarray(indices, dtype=np.int64)
        return ArrayExamples(self._pixels[chosen], self.labels[chosen], [self.ids[index] for index in indices])

    def relabelled(self, labels: NDArray[np.int64]) -> ArrayExamples:
        return ArrayExamples(self._pixels, labels, self.ids)

    @cached_property
    def digests(self) -> Sequence[str]:
        return [hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest() for image in self._pixels]


class FileExamples(Examples):
    """Images read from files when they are needed."""

    def __init__(
        self, paths: Sequence[Path], ids: Sequence[str], digests: Sequence[str], labels: NDArray[np.int64]
    ) -> None:
        self._paths = list(paths)
        self._digests = list(digests)
        self.ids = list(ids)
        self.labels = labels

    def image(self, index: int) -> Image.Image:
        return open_rgb(self._paths[index])

    def subset(self, indices: Sequence[int]) -> FileExamples:
        chosen = list(indices)
        return FileExamples(
            [self._paths[index] for index in chosen],
            [self.ids[index] for index in chosen],
            [self._digests[index] for index in chosen],
            self.labels[np.asarray(chosen, dtype=np.int64)],
        )

    def relabelled(self, labels: NDArray[np.int64]) -> FileExamples:
        return FileExamples(self._paths, self.ids, self._digests, labels)

    @property
    def digests(self) -> Sequence[str]:
        return self._digests


class AbsentExamples(Examples):
    """As many examples as there would be, none of which is there: for planning."""

    def __init__(self, name: str, count: int) -> None:
        self.ids = [f"{name}/{index}" for index in range(count)]
        self.labels = np.full(count, -1, dtype=np.int64)

    def image(self, index: int) -> Image.Image:
        raise MissingError(f"{self.ids[index]}: the data is not at hand")

    def subset(self, indices: Sequence[int]) -> Examples:
        raise MissingError("the data is not at hand")

    def relabelled(self, labels: NDArray[np.int64]) -> Examples:
        raise MissingError("the data is not at hand")

    @property
    def digests(self) -> Sequence[str]:
        return self.ids


@dataclass(frozen=True)
class RawData:
    """What a source gives: its own splits, labelled by position in its own list of label names."""

    splits: dict[str, Examples]
    label_names: tuple[str, ...]
    local: bool = False
    """Comes from a folder of the user's, whose sizes may differ from those a task pins."""


def open_rgb(path: Path) -> Image.Image:
    """Decode an image file to RGB. Raises RequestError with the path where it is corrupt."""
    try:
        with Image.open(path) as image:
            return to_rgb(image)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "is not an image or is cut short" if isinstance(error, OSError) else str(error)
        raise RequestError(f"{path}: cannot be decoded: {reason}; mend or remove the file") from None


def to_rgb(image: Image.Image) -> Image.Image:
    """RGB from any mode: 16-bit grey is scaled to 8 bits, transparency lies on black."""
    if image.mode in {"I;16", "I;16B", "I;16L", "I"}:
        values = np.asarray(image, dtype=np.int64)
        return Image.fromarray((values.clip(0, 65535) // 257).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        values = np.asarray(image, dtype=np.float64)
        return Image.fromarray(values.clip(0, 255).round().astype(np.uint8)).convert("RGB")
    if "transparency" in image.info or image.mode in {"RGBA", "LA", "PA"}:
        with_alpha = image.convert("RGBA")
        black = Image.new("RGBA", with_alpha.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, with_alpha).convert("RGB")
    return image.convert("RGB")
