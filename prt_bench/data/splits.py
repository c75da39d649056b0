"""Cuts roles out of a data set's own splits: disjoint, by class, the same on every machine."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from prt_bench.data.examples import Examples
from prt_bench.errors import RequestError
from prt_bench.files import digest

__all__ = ["RoleCut", "cut_roles"]

CARVING_SEED = 0


class RoleCut:
    """How one role is cut from a split: `per_class` examples of each class, a `fraction`, or what is left."""

    def __init__(self, split: str, per_class: int | None = None, fraction: float | None = None) -> None:
        self.split = split
        self.per_class = per_class
        self.fraction = fraction

    @property
    def takes_rest(self) -> bool:
        return self.per_class is None and self.fraction is None


def cut_roles(splits: Mapping[str, Examples], cuts: Mapping[str, RoleCut]) -> tuple[dict[str, Examples], str]:
    """Role → examples, and the digest of the cut. Bounded cuts come first, in order; then those of the rest.

    Raises:
        RequestError: a split is missing, or a class has too few examples.
    """
    queues: dict[str, list[list[int]]] = {}
    chosen: dict[str, NDArray[np.int64]] = {}
    for role, cut in sorted(cuts.items(), key=lambda item: item[1].takes_rest):
        if cut.split not in splits:
            raise RequestError(f"role {role}: the data has no split {cut.split!r}; it has {', '.join(sorted(splits))}")
        queue = queues.setdefault(cut.split, _shuffled_by_class(splits[cut.split].labels))
        taken: list[int] = []
        for label, indices in enumerate(queue):
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
            queue[label] = indices[count:]
        if not taken:
            raise RequestError(f"role {role}: no example of split {cut.split} is left for it; it needs more per class")
        chosen[role] = np.sort(np.asarray(taken, dtype=np.int64))
    roles = {role: splits[cuts[role].split].subset(chosen[role].tolist()) for role in cuts}
    cut_digest = digest({role: [cuts[role].split, chosen[role].tolist()] for role in cuts})
    return roles, cut_digest


def _shuffled_by_class(labels: NDArray[np.int64]) -> list[list[int]]:
    """For each class, its example indices in an order that a fixed seed decides."""
    generator = np.random.default_rng(CARVING_SEED)
    order = generator.permutation(len(labels))
    return [order[labels[order] == label].tolist() for label in range(int(labels.max()) + 1)]
