"""Text from a composition: every member reads the same tokens in lockstep, and the rule says the next one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from prt_bench.api import Composition, KeyValues, Model, TextNetwork, TokenBatch
from prt_bench.composing import compose, shared_outputs
from prt_bench.errors import CellError

__all__ = ["Decoding", "Lockstep", "Pasts", "decode", "generate"]

PADDING = 0
"""Any id that has a row in every embedding: what is padded is masked."""

Pasts = Mapping[str, KeyValues]
"""What each network of a composition has read, by the model's key."""


@dataclass(frozen=True)
class Decoding:
    """How the next token is taken from the composition's logits, and when to stop."""

    max_new_tokens: int
    temperature: float = 0.0
    """0 takes the likeliest token."""
    top_p: float = 1.0
    """Draw from the likeliest tokens that together have this share; after the temperature."""
    stops: tuple[str, ...] = ()
    """Texts that end an output. They stay in it: the caller cuts."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise CellError(f"max_new_tokens is {self.max_new_tokens}; at least one token must be asked for")
        if not self.temperature >= 0:
            raise CellError(f"temperature is {self.temperature}; it cannot be below 0")
        if not 0 <= self.top_p <= 1:
            raise CellError(f"top_p is {self.top_p}; it is a share, from 0 to 1")


class Lockstep:
    """The networks of a composition, fed the same tokens. A model that is two members is loaded and run once."""

    def __init__(self, composition: Composition, network_of: Callable[[Model], TextNetwork]) -> None:
        if not composition.members:
            raise CellError("a composition needs at least one member")
        self.composition = composition
        self.first_model = next(iter(composition.members.values()))
        self.shared = shared_outputs(list(composition.members.values()))
        self._keys = {name: model.key for name, model in composition.members.items()}
        models = {self._keys[name]: model for name, model in composition.members.items()}
        self.networks = {key: network_of(model) for key, model in models.items()}
        self._devices = {key: _device(network) for key, network in self.networks.items()}
        first = next(iter(self.networks))
        self.first, self.device = self.networks[first], self._devices[first]

    @property
    def context_length(self) -> int:
        """The most tokens that all members can read."""
        return min(network.context_length for network in self.networks.values())

    def check(self, sequences: Iterable[Sequence[int]]) -> None:
        """Raises CellError where a sequence holds a token that is not one and the same for all members."""
        for token in sorted(set[int]().union(*sequences)):
            if not self.shared.has(token):
                labels = self.first_model.space.labels
                name = repr(labels[token]) if token < len(labels) else "no token of the first"
                raise CellError(
                    f"token {token} ({name}) of a prompt is not the same token for all of "
                    f"{', '.join(self.composition.members)}; use text or a chat format without it"
                )

    def new_pasts(self) -> Pasts:
        """An empty memory for each network."""
        return {key: network.new_past() for key, network in self.networks.items()}

    def keep(self, pasts: Pasts, sequences: torch.Tensor) -> None:
        """Forget all sequences but these, by index (B',)."""
        for key, past in pasts.items():
            past.keep(sequences.to(self._devices[key]))

    def logits(
        self,
        ids: torch.Tensor,
        mask: torch.Tensor | None = None,
        rows: torch.Tensor | None = None,
        pasts: Pasts | None = None,
    ) -> torch.Tensor:
        """The composition's logits (R, K), fp32, on the first member's device; arguments as of `TokenBatch`."""
        found = {}
        for key, network in self.networks.items():
            device = self._devices[key]
            batch = TokenBatch(
                ids.to(device),
                None if mask is None else mask.to(device),
                None if rows is None else rows.to(device),
                None if pasts is None else pasts[key],
            )
            found[key] = network.module(batch)
        # Moved only once all are launched: a copy waits for its device, and members on others would wait too.
        return compose(self.composition, lambda name, _: found[self._keys[name]].to(self.device))


def generate(
    composition: Composition,
    network_of: Callable[[Model], TextNetwork],
    prompts: Sequence[Sequence[int]],
    decoding: Decoding,
    on_token: Callable[[], None] | None = None,
) -> list[list[int]]:
    """The new tokens of each prompt, without the token that ended it; see `decode`."""
    return decode(Lockstep(composition, network_of), prompts, decoding, on_token)


@torch.inference_mode()
def decode(
    lockstep: Lockstep,
    prompts: Sequence[Sequence[int]],
    decoding: Decoding,
    on_token: Callable[[], None] | None = None,
    numbers: Sequence[int] | None = None,
) -> list[list[int]]:
    """The new tokens of each prompt, without the token that ended it.

    A prompt's tokens depend on no other prompt's: what is drawn depends on the seed and on the request's number
    (its place in `prompts`, unless `numbers` says otherwise). An output ends where the context is full.

    Args:
        on_token: called after every step, when all tokens of the step are known.

    Raises:
        CellError: a prompt is empty, fills the context, or holds a token that members do not share.
    """
    if not prompts:
        return []
    lockstep.check(prompts)
    limits = [_room(prompt, lockstep.context_length, decoding) for prompt in prompts]
    outputs: list[list[int]] = [[] for _ in prompts]
    ends = _Ends(lockstep.first, decoding.stops, limits)
    ids, mask = _left_padded(prompts, max(limits), lockstep.device)
    draws = _draws(range(len(prompts)) if numbers is None else numbers, decoding, lockstep.device)
    pasts, rows, width = lockstep.new_pasts(), list(range(len(prompts))), ids.shape[1]
    for step in range(max(limits)):
        logits = lockstep.logits(ids, mask[:, : width + step], pasts=pasts)
        tokens = logits.argmax(-1) if draws is None else _sampled(logits, draws[:, step : step + 1], decoding)
        going = ends.going(outputs, rows, tokens.tolist())
        if on_token is not None:
            on_token()
        if not going:
            break
        if len(going) < len(rows):
            kept = torch.tensor(going, device=lockstep.device)
            lockstep.keep(pasts, kept)
            tokens, mask, draws = tokens[kept], mask[kept], None if draws is None else draws[kept]
            rows = [rows[place] for place in going]
        ids = tokens[:, None]
    return outputs


class _Ends:
    """Adds tokens to outputs, and says which outputs go on."""

    def __init__(self, network: TextNetwork, stops: Sequence[str], limits: Sequence[int]) -> None:
        self.stop_ids, self.tokenizer = frozenset(network.stop_ids), network.tokenizer
        self.stops, self.limits = [stop for stop in stops if stop], limits
        # A token spells at least one byte, so a stop that the newest token completes starts in this window. Two
        # more, as decoders treat the first token's leading space and an empty first token in ways of their own.
        self.window = 2 + max((len(stop.encode()) for stop in self.stops), default=0)

    def going(self, outputs: Sequence[list[int]], rows: Sequence[int], tokens: Sequence[int]) -> list[int]:
        """Places in `rows` whose outputs go on after these tokens."""
        going = []
        for place, (row, token) in enumerate(zip(rows, tokens, strict=True)):
            if token not in self.stop_ids:
                outputs[row].append(token)
                if len(outputs[row]) < self.limits[row]:
                    going.append(place)
        if not self.stops or not going:
            return going
        texts = self.tokenizer.batch_decode([outputs[rows[place]][-self.window :] for place in going])
        return [place for place, text in zip(going, texts, strict=True) if not any(stop in text for stop in self.stops)]


def _device(network: TextNetwork) -> torch.device:
    return next((parameter.device for parameter in network.module.parameters()), torch.device("cpu"))


def _room(prompt: Sequence[int], context_length: int, decoding: Decoding) -> int:
    """New tokens that a prompt leaves room for."""
    if not prompt:
        raise CellError("a prompt has no tokens; start it with the tokenizer's first token")
    if len(prompt) >= context_length:
        raise CellError(f"a prompt of {len(prompt)} tokens fills the context of {context_length}")
    return min(decoding.max_new_tokens, context_length - len(prompt))


def _left_padded(
    prompts: Sequence[Sequence[int]], more: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Ids (B, T) and a mask (B, T + more) that holds for the tokens to come."""
    width = max(map(len, prompts))
    ids = torch.tensor([[PADDING] * (width - len(prompt)) + list(prompt) for prompt in prompts])
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    mask = torch.arange(width + more) >= width - lengths[:, None]
    return ids.to(device), mask.long().to(device)


def _draws(numbers: Sequence[int], decoding: Decoding, device: torch.device) -> torch.Tensor | None:
    """Uniform numbers in (0, 1], (N, steps): one row per request, from a generator of its own."""
    if decoding.temperature == 0:
        return None
    rows = []
    for number in numbers:
        seed = int.from_bytes(hashlib.sha256(f"{decoding.seed} {number}".encode()).digest()[:8]) >> 1
        generator = torch.Generator().manual_seed(seed)
        rows.append(1 - torch.rand(decoding.max_new_tokens, dtype=torch.float64, generator=generator))
    return torch.stack(rows).to(device)


def _sampled(logits: torch.Tensor, draws: torch.Tensor, decoding: Decoding) -> torch.Tensor:
    """The tokens (B,) at which the cumulative chances of (B, K) logits first reach the draws (B, 1).

    A draw above 0 never lands on a token of no chance, such as a masked one.
    """
    chances = (logits.double() / decoding.temperature).softmax(-1)
    if decoding.top_p == 1:
        cumulative = chances.cumsum(-1)
        return torch.searchsorted(cumulative, draws * cumulative[:, -1:])[:, 0]
    chances, order = chances.sort(dim=-1, descending=True, stable=True)
    cumulative = chances.cumsum(-1)
    last = torch.searchsorted(cumulative, decoding.top_p * cumulative[:, -1:])
    places = torch.searchsorted(cumulative, draws * cumulative.gather(1, last))
    return order.gather(1, places)[:, 0]
