"""Cuts roles out of a data set's own splits: disjoint, the same on every machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from prt_bench.data.examples import Examples
from prt_bench.errors import RequestError
from prt_bench.files import digest

__all__ = ["Cut", "RoleCut", "cut_roles", "held_out"]

CARVING_SEED = 0
HELD_OUT_SEED = 0
LARGEST_HELD_OUT = 5000
TRACK_IN_NAME = re.compile(r"^(.*/)?(\d+)_\d+\.\w+$")
Indices = NDArray[np.int64]


@dataclass(frozen=True)
class RoleCut:
    """How one role is cut from a split: `per_class` of each class, a `fraction`, at `random`, or what is left."""

    split: str
    per_class: int | None = None
    fraction: float | None = None
    random: bool = False
    size: int | None = None
    """How many a random cut takes; None for a tenth, at most 5,000."""
    tracks_of: int | None = None

    @property
    def takes_rest(self) -> bool:
        return self.per_class is None and self.fraction is None and not self.random


@dataclass(frozen=True)
class Cut:
    """Roles with their examples, the indices they took of their splits, and the digest of it all."""

    roles: dict[str, Examples]
    indices: dict[str, list[int]]
    sha256: str


def cut_roles(splits: Mapping[str, Examples], cuts: Mapping[str, RoleCut]) -> Cut:
    """Cut every role. Bounded cuts come first, in order; then those of the rest.

    Raises:
        RequestError: a split is missing, a class has too few examples, or tracks cannot be told.
    """
    left: dict[str, NDArray[np.bool_]] = {}
    chosen: dict[str, Indices] = {}
    for role, cut in sorted(cuts.items(), key=lambda item: item[1].takes_rest):
        if cut.split not in splits:
            raise RequestError(f"role {role}: the data has no split {cut.split!r}; it has {', '.join(sorted(splits))}")
        examples = splits[cut.split]
        free = left.setdefault(cut.split, examples.labels >= 0)
        if cut.random:
            taken = _at_random(role, cut, examples)
        elif cut.takes_rest:
            taken = np.flatnonzero(free)
        else:
            taken = _by_class(role, cut, examples.labels, free)
        taken = taken[free[taken]]
        if not len(taken):
            raise RequestError(f"role {role}: no example of split {cut.split} is left for it; it needs more per class")
        free[taken] = False
        chosen[role] = np.sort(taken)
    indices = {role: chosen[role].tolist() for role in cuts}
    roles = {role: splits[cut.split].subset(indices[role]) for role, cut in cuts.items()}
    return Cut(roles, indices, digest({role: [cuts[role].split, indices[role]] for role in cuts}))


def held_out(count: int, size: int | None = None, tracks_of: int | None = None) -> Indices:
    """Sorted indices of the `size` of `count` rows that are held out for validation, whole tracks of rows.

    They are the last part of PyTorch's `random_split` with a generator of seed 0, as in the code that the PRT
    paper follows (task_vectors); with `tracks_of`, of the tracks in place of the rows.
    """
    unit = tracks_of or 1
    wanted = min(count // 10, LARGEST_HELD_OUT) if size is None else size
    units = np.asarray(_permutation(count // unit))
    last = units[len(units) - wanted // unit :]
    rows: Indices = (last[:, None] * unit + np.arange(unit)[None, :]).reshape(-1).astype(np.int64)
    return np.sort(rows)


def _permutation(count: int) -> list[int]:
    """`torch.randperm(count)` after `manual_seed(0)`, without loading torch: a Mersenne twister and swaps."""
    draws = np.random.RandomState(HELD_OUT_SEED)._bit_generator.random_raw(max(0, count - 1))
    order = list(range(count))
    for index, draw in enumerate(draws.tolist()):
        other = index + draw % (count - index)
        order[index], order[other] = order[other], order[index]
    return order


def _at_random(role: str, cut: RoleCut, examples: Examples) -> Indices:
    count, unit = len(examples), cut.tracks_of
    if cut.size is not None and cut.size > count:
        raise RequestError(f"role {role}: {cut.size} examples asked of the {count} of split {cut.split}")
    if unit is None:
        return held_out(count, cut.size)
    tracks = _named_tracks(examples) or _row_tracks(role, cut, examples, unit)
    wanted = min(count // 10, LARGEST_HELD_OUT) if cut.size is None else cut.size
    taken = held_out(len(tracks), max(1, round(wanted / unit)))
    return np.concatenate([tracks[index] for index in taken])


def _named_tracks(examples: Examples) -> list[Indices] | None:
    """Tracks by file name, TRACK_FRAME.EXT in one class folder, where all examples have such names."""
    found: dict[tuple[str, str], list[int]] = {}
    for index, name in enumerate(examples.ids):
        match = TRACK_IN_NAME.match(name)
        if match is None:
            return None
        found.setdefault((match[1] or "", match[2]), []).append(index)
    return [np.asarray(rows, dtype=np.int64) for rows in found.values()]


def _row_tracks(role: str, cut: RoleCut, examples: Examples, unit: int) -> list[Indices]:
    """Tracks as runs of `unit` rows; refused where a run holds two classes, since then rows are in another order."""
    if len(examples) % unit:
        raise RequestError(f"role {role}: the {len(examples)} rows of split {cut.split} are not tracks of {unit}")
    runs = examples.labels.reshape(-1, unit)
    mixed = np.flatnonzero((runs != runs[:, :1]).any(axis=1))
    if len(mixed):
        raise RequestError(
            f"role {role}: rows {mixed[0] * unit} to {mixed[0] * unit + unit - 1} of split {cut.split} hold two "
            f"classes where a track of {unit} holds one; this copy's rows are in another order, so a track could "
            "lie in both train and validation"
        )
    return list(np.arange(len(examples), dtype=np.int64).reshape(-1, unit))


def _by_class(role: str, cut: RoleCut, labels: NDArray[np.int64], free: NDArray[np.bool_]) -> Indices:
    taken: list[int] = []
    for label, queue in enumerate(_shuffled_by_class(labels)):
        indices = [index for index in queue if free[index]]
        count = len(indices)
        if cut.per_class is not None:
            count = cut.per_class
        elif cut.fraction is not None:
            # A class with a single example leaves it to the roles that take the rest.
            count = min(max(1, round(cut.fraction * len(indices))), len(indices) - 1)
        if count > len(indices):
            raise RequestError(
                f"role {role}: class {label} of split {cut.split} has {len(indices)} examples left of {count} asked"
            )
        taken += indices[:count]
    return np.asarray(taken, dtype=np.int64)


def _shuffled_by_class(labels: NDArray[np.int64]) -> list[list[int]]:
    """For each class, its example indices in an order that a fixed seed decides."""
    generator = np.random.default_rng(CARVING_SEED)
    order = generator.permutation(len(labels))
    return [order[labels[order] == label].tolist() for label in range(int(labels.max()) + 1)]
