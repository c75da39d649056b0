"""Pairs of models, and the identity of a model: what makes its outputs what they are."""

from __future__ import annotations

import hashlib
import inspect
from functools import cache
from pathlib import Path
from typing import Literal

from prt_bench.api import Family, Model, OutputSpace, Places, Vocabulary
from prt_bench.errors import MissingError, RequestError
from prt_bench.files import digest
from prt_bench.records import ModelCard, PairNames
from prt_bench.registry import Registry

__all__ = ["file_sha256", "model_for", "parse_pair", "sharing", "weights_sha256"]


WORDS_OF_CARD = {
    *("title", "zero_shot", "provenance", "licence", "verified"),
    *("hub", "file", "revision", "sha256", "size_bytes", "gated", "dtype", "vocabulary"),
}
"""What a card says that changes no output: the weights' own bytes are in the identity."""


def parse_pair(text: str, registry: Registry) -> PairNames:
    """A pair from `SOURCE:TARGET`. Raises RequestError with near names."""
    source, colon, target = text.partition(":")
    if not colon or not source or not target or ":" in target:
        raise RequestError(
            f"--pair {text!r}: a pair is SOURCE:TARGET, tuned on the source and used on the target, "
            "for example nano-rn16-a:nano-rn24-b"
        )
    return PairNames(source=registry.card(source).alias, target=registry.card(target).alias)


def model_for(
    alias: str,
    space: OutputSpace,
    registry: Registry,
    places: Places,
    weights: Literal["real", "random"] = "real",
    assume: bool = False,
) -> Model:
    """The handle that methods get for a model on a task; with random weights it needs no files.

    With `assume` a model whose weights are missing gets an identity that is nobody's.

    Raises:
        RequestError: the weights cannot be had, or the model's output space is not the task's.
    """
    card = registry.card(alias)
    family = registry.family(card)
    own_space = family.space(card, space, places, assume or weights == "random")
    card_facts = card.model_dump(mode="json", exclude=WORDS_OF_CARD)
    try:
        files = ["random"] if weights == "random" else [file_sha256(path) for path in family.weight_files(card, places)]
    except MissingError:
        if not assume:
            raise
        files = ["missing"]
    identity = digest([card_facts, files, _family_sha256(type(family))])
    return Model(card, own_space, identity)


def sharing(source: Model, target: Model) -> dict[str, int]:
    """What two vocabularies have in common, counted; nothing for class labels."""
    mine, theirs = source.space, target.space
    if isinstance(mine, Vocabulary) and isinstance(theirs, Vocabulary):
        return mine.sharing(theirs)
    return {}


def weights_sha256(card: ModelCard, family: Family, places: Places) -> str | None:
    """Digest of the model's weight file, its family's first; None for a family that makes its weights in code."""
    paths = family.weight_files(card, places)
    return file_sha256(paths[0]) if paths else None


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes; each state of a file is read once per process."""
    status = path.stat()
    return _file_sha256(path, status.st_size, status.st_mtime_ns)


@cache
def _file_sha256(path: Path, size: int, modified: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@cache
def _family_sha256(family: type[Family]) -> str:
    return hashlib.sha256(Path(inspect.getfile(family)).read_bytes()).hexdigest()
