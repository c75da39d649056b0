"""Runs a composition: each member once per batch, in lockstep, then the rule."""

from __future__ import annotations

from collections.abc import Callable

import torch

from prt_bench.api import Composition, Model
from prt_bench.errors import CellError

__all__ = ["compose"]


def compose(composition: Composition, outputs: Callable[[str, Model], torch.Tensor]) -> torch.Tensor:
    """The composition's logits (B, K), fp32, from a function of a member's name and model that gives
    its (B, K).

    Raises:
        CellError: members disagree on labels or shape, or the rule does not give (B, K).
    """
    if not composition.members:
        raise CellError("a composition needs at least one member")
    first_name, first = next(iter(composition.members.items()))
    given: dict[str, torch.Tensor] = {}
    for name, model in composition.members.items():
        difference = first.space.difference(model.space)
        if difference:
            raise CellError(f"members {first_name} and {name} have different output spaces: {difference}")
        given[name] = outputs(name, model).float()
        if given[name].ndim != 2 or given[name].shape[1] != len(model.space.labels):
            shape = tuple(given[name].shape)
            raise CellError(f"member {name} gives shape {shape}; its output space has {len(model.space.labels)} labels")
    try:
        combined = composition.rule(given)
    except KeyError as error:
        raise CellError(f"the rule asks for a member {error}; the composition has {', '.join(given)}") from error
    expected = given[first_name].shape
    if combined.shape != expected:
        raise CellError(f"the rule gives shape {tuple(combined.shape)} where {tuple(expected)} is expected")
    return combined.float()
