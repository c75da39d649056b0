"""Data sets of the hub, in their own format: from a local mirror, or from the hub itself."""

from __future__ import annotations

import hashlib
import io
import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from prt_bench.data.examples import Examples, RawData, to_rgb
from prt_bench.errors import RequestError

__all__ = ["load_hub"]


class HubExamples(Examples):
    """Rows of a `datasets` table whose images stay encoded until they are needed."""

    def __init__(self, table: Any, image_column: str, labels: NDArray[np.int64], name: str) -> None:
        self._table = table
        self._image_column = image_column
        self._name = name
        self.labels = labels
        self.ids = [f"{name}/{index}" for index in range(len(labels))]

    def image(self, index: int) -> Image.Image:
        try:
            with Image.open(io.BytesIO(self._encoded(self._table[index]))) as image:
                return to_rgb(image)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise RequestError(f"{self.ids[index]}: cannot be decoded ({error})") from None

    def _encoded(self, row: Any) -> bytes:
        """The image's bytes, which a repository of image files leaves in their files."""
        cell = row[self._image_column]
        content: bytes | None = cell["bytes"]
        return Path(cell["path"]).read_bytes() if content is None else content

    def subset(self, indices: Sequence[int]) -> HubExamples:
        chosen = list(indices)
        part = HubExamples(
            self._table.select(chosen), self._image_column, self.labels[np.asarray(chosen, np.int64)], self._name
        )
        part.ids = [self.ids[index] for index in chosen]
        return part

    def relabelled(self, labels: NDArray[np.int64]) -> HubExamples:
        same = HubExamples(self._table, self._image_column, labels, self._name)
        same.ids = self.ids
        return same

    @cached_property
    def sha256(self) -> str:
        content = hashlib.sha256()
        for row in self._table:
            content.update(hashlib.sha256(self._encoded(row)).digest())
        content.update(np.ascontiguousarray(self.labels).tobytes())
        return content.hexdigest()


def load_hub(
    repository: str,
    revision: str | None,
    config: str | None,
    splits: Sequence[str],
    image_column: str,
    label_column: str,
    mirror: Path | None,
    offline: bool,
) -> RawData:
    """Load splits of a hub data set: from `mirror` (a folder in the repository's own format) where it is given.

    Raises:
        RequestError: it cannot be had, or lacks a split or a column; says what was tried and the ways out.
    """
    import datasets

    # The library tells of every retry; what could not be had is said once, below.
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    found: dict[str, Examples] = {}
    names: tuple[str, ...] = ()
    where = str(mirror) if mirror else repository
    if mirror is None and offline:
        raise RequestError(
            f"data {repository}: not in --data-dir and --offline forbids the hub; {_ways_out(repository)}"
        )
    for split in splits:
        try:
            if mirror:
                table = datasets.load_dataset(str(mirror), name=config, split=split)
            else:
                table = datasets.load_dataset(repository, name=config, revision=revision, split=split)
        except Exception as error:  # noqa: BLE001 - the library raises its own, http's and the system's errors
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise RequestError(
                f"data {where}, split {split}: cannot be loaded ({reason}); {_ways_out(repository)}"
            ) from None
        for column in (image_column, label_column):
            if column not in table.column_names:
                raise RequestError(f"data {where}: no column {column!r}; it has {', '.join(table.column_names)}")
        names = _label_names(table, label_column, where)
        labels = np.asarray([-1 if label is None else label for label in table[label_column]], dtype=np.int64)
        encoded = table.select_columns([image_column]).cast_column(image_column, datasets.Image(decode=False))
        found[split] = HubExamples(encoded, image_column, labels, f"{repository}/{split}")
    return RawData(found, names)


def _label_names(table: Any, column: str, where: str) -> tuple[str, ...]:
    names = getattr(table.features[column], "names", None)
    if names is None:
        raise RequestError(f"data {where}: column {column!r} holds no class labels with names")
    return tuple(names)


def _ways_out(repository: str) -> str:
    return (
        "connect to the network, or put an image folder DIR/TASK/{train,test}/CLASS or a copy of the repository at "
        f"DIR/{repository} and pass --data-dir DIR"
    )
