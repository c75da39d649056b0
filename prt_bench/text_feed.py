"""Feeds the training loop with dialogues: only answers are learned; frozen networks read along."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import torch

from prt_bench.api import Model, TextNetwork, TokenBatch
from prt_bench.composing import Shared
from prt_bench.data.text import Dialogues
from prt_bench.errors import CellError
from prt_bench.feeds import Batch, Step
from prt_bench.rendering import Encoded, Rendering
from prt_bench.task_spec import Recipe
from prt_bench.work import Work

__all__ = ["TextFeed", "encode_all", "pad_right", "refuse_unshared"]

log = logging.getLogger(__name__)


def encode_all(dialogues: Dialogues, network: TextNetwork, how: Rendering, longest: int | None = None) -> list[Encoded]:
    """Tokens of all dialogues, at most `longest` of each or what the network can read."""
    most = min(longest or network.context_length, network.context_length)
    found = [how.encode(dialogues.dialogue(index), network.tokenizer, most) for index in range(len(dialogues))]
    for index, entry in enumerate(found):
        if not entry.rows:
            raise CellError(
                f"{dialogues.ids[index]}: no token of an answer is among the first {most}; raise max_tokens, or "
                "remove it"
            )
    cut = sum(entry.cut > 0 for entry in found)
    if cut:
        log.warning("%d of %d training texts are longer than %d tokens and lose their end", cut, len(found), most)
    return found


def refuse_unshared(entries: Sequence[Encoded], shared: Shared, model: Model) -> None:
    """Raise CellError where an answer holds a token that cannot be answered with."""
    wanted = {entry.ids[row + 1] for entry in entries for row in entry.rows}
    for token in sorted(wanted):
        if not shared.has(token):
            raise CellError(
                f"an answer holds token {token} ({model.space.labels[token]!r}); not all networks in the loss have it"
            )


def pad_right(entries: Sequence[Encoded]) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor, torch.Tensor]:
    """Tokens (B, T), mask (B, T) or None where all are of one length, rows (R,) of the flattened (B × T), and the
    token that each row is to answer with (R,)."""
    longest = max(len(entry.ids) for entry in entries)
    ids = torch.zeros(len(entries), longest, dtype=torch.long)
    mask = torch.zeros(len(entries), longest, dtype=torch.long)
    for number, entry in enumerate(entries):
        ids[number, : len(entry.ids)] = torch.tensor(entry.ids)
        mask[number, : len(entry.ids)] = 1
    rows = torch.tensor([number * longest + row for number, entry in enumerate(entries) for row in entry.rows])
    truth = torch.tensor([entry.ids[row + 1] for entry in entries for row in entry.rows])
    return ids, None if bool(mask.all()) else mask, rows, truth


class TextFeed:
    """Dialogues of like length go through the networks together; a step's tokens all count alike."""

    def __init__(self, entries: Sequence[Encoded], frozen: Mapping[str, TextNetwork], recipe: Recipe) -> None:
        self._entries = entries
        self._frozen = frozen
        self._together = recipe.micro_batch_size or recipe.batch_size

    def steps(self, order: Sequence[torch.Tensor], device: torch.device) -> Iterator[Step]:
        for indices in order:
            parts = self._parts(indices)
            rows = sum(len(entry.rows) for part in parts for entry in part)
            yield Step(rows, (self._batch(part, device) for part in parts))

    def work(self, order: Sequence[torch.Tensor]) -> Work:
        lengths: Counter[int] = Counter()
        rows = 0
        for indices in order:
            for part in self._parts(indices):
                lengths[max(len(entry.ids) for entry in part)] += len(part)
                rows += sum(len(entry.rows) for entry in part)
        return Work(lengths=lengths, rows=rows)

    frozen_work = work

    def _parts(self, indices: torch.Tensor) -> list[list[Encoded]]:
        entries = sorted((self._entries[index] for index in indices.tolist()), key=lambda entry: len(entry.ids))
        return [entries[at : at + self._together] for at in range(0, len(entries), self._together)]

    @torch.no_grad()
    def _batch(self, part: Sequence[Encoded], device: torch.device) -> Batch:
        ids, mask, rows, truth = pad_right(part)
        batch = TokenBatch(ids.to(device), None if mask is None else mask.to(device), rows.to(device))
        held = {name: other.module(batch).float() for name, other in self._frozen.items()}
        return Batch(batch, held, truth.to(device))
