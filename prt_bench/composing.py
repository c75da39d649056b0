"""Runs a composition: each member once per batch, in lockstep, then the rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, reduce

import torch

from prt_bench.api import Composition, Model, OutputSpace, Vocabulary
from prt_bench.errors import CellError

__all__ = ["Shared", "compose", "shared_outputs"]

IMPOSSIBLE = float("-inf")


@dataclass(frozen=True)
class Shared:
    """The outputs that all members have: the first `size` columns less the `masked` ones."""

    size: int
    masked: tuple[int, ...] = ()
    """Columns below `size` that are no token of every member; they cannot be answered."""
    left_out: int = 0
    """Columns from `size` up, over all members: padding, and tokens that one side lacks."""

    def narrowed(self, outputs: torch.Tensor) -> torch.Tensor:
        """The first `size` columns of a member's outputs (R, K of the member), fp32."""
        return outputs[:, : self.size].float()

    def possible(self, combined: torch.Tensor) -> torch.Tensor:
        """Combined outputs (R, K) in which the masked columns cannot be answered."""
        if not self.masked:
            return combined
        return combined.index_fill(1, _places(self.masked, combined.device), IMPOSSIBLE)

    def has(self, column: int) -> bool:
        """Whether every member can answer with this output."""
        return column < self.size and column not in self.masked


@cache
def _places(columns: tuple[int, ...], device: torch.device) -> torch.Tensor:
    return torch.tensor(columns, device=device)


def shared_outputs(members: Sequence[Model]) -> Shared:
    """What the outputs of these models have in common.

    Raises:
        CellError: their output spaces do not agree.
    """
    first = members[0]
    for model in members[1:]:
        difference = _difference(first.space, model.space)
        if difference:
            raise CellError(f"members {first.name} and {model.name} have different output spaces: {difference}")
    return _shared(tuple(dict.fromkeys(model.space for model in members)))


@cache
def _difference(mine: OutputSpace, theirs: OutputSpace) -> str | None:
    return mine.difference(theirs)


@cache
def _shared(spaces: tuple[OutputSpace, ...]) -> Shared:
    vocabularies = [space for space in spaces if isinstance(space, Vocabulary)]
    if not vocabularies:
        return Shared(spaces[0].size)
    first = vocabularies[0]
    apart = reduce(set.union, (set(first.one_sided(other)) for other in vocabularies))
    rows = max(space.size for space in vocabularies)
    size = 1 + max((index for index in range(first.size) if index not in apart), default=-1)
    masked = tuple(sorted(index for index in apart if index < size))
    return Shared(size, masked, rows - size)


def compose(composition: Composition, outputs: Callable[[str, Model], torch.Tensor]) -> torch.Tensor:
    """The composition's logits (R, K), fp32, from a function of a member's name and model that gives its
    (R, K of the member). A row is an image, or a place in a text.

    Of vocabularies that differ in control tokens or padding, K is what all share; the rest is masked.

    Raises:
        CellError: members disagree on labels or shape, or the rule does not give (R, K).
    """
    if not composition.members:
        raise CellError("a composition needs at least one member")
    shared = shared_outputs(list(composition.members.values()))
    given: dict[str, torch.Tensor] = {}
    for name, model in composition.members.items():
        found = outputs(name, model)
        if found.ndim != 2 or found.shape[1] != model.space.size:
            shape = tuple(found.shape)
            raise CellError(f"member {name} gives shape {shape}; its output space has {model.space.size} labels")
        given[name] = shared.narrowed(found)
    try:
        combined = composition.rule(given)
    except KeyError as error:
        raise CellError(f"the rule asks for a member {error}; the composition has {', '.join(given)}") from error
    expected = next(iter(given.values())).shape
    if combined.shape != expected:
        raise CellError(f"the rule gives shape {tuple(combined.shape)} where {tuple(expected)} is expected")
    return shared.possible(combined.float())
