"""What a network costs per image or per text of any length, from counts on the meta device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import torch

from prt_bench.adapting import adapted
from prt_bench.api import Network, TextNetwork, TokenBatch
from prt_bench.meters.flops import Count, count_forward, count_training, input_shape
from prt_bench.networks import tunable
from prt_bench.task_spec import LowRank
from prt_bench.work import Work

__all__ = ["Price", "forward_price", "training_price"]

META = torch.device("meta")


@dataclass(frozen=True)
class Price:
    """FLOPs of a network: of one image, or as a polynomial of a text's T tokens and R rows, a·T + b·T² + c·R.

    T² is attention counted whole; a step of decoding after L − 1 tokens costs a + b·L + c.
    """

    image: Fraction = Fraction(0)
    token: Fraction = Fraction(0)
    pair: Fraction = Fraction(0)
    row: Fraction = Fraction(0)
    uncounted: tuple[str, ...] = ()
    """Operations without a formula: no number is given then."""

    def of(self, work: Work) -> int | None:
        """FLOPs of reading this; None where an operation has no formula."""
        if self.uncounted:
            return None
        texts = sum(count * (self.token * length + self.pair * length**2) for length, count in work.lengths.items())
        return round(self.image * work.images + texts + self.row * work.rows)

    def request(self, prompt: int, output: int) -> tuple[int, int]:
        """FLOPs of reading a prompt up to the first token of the answer, and of one further token, on the mean of
        an answer of `output` tokens, with keys and values kept."""
        prefill = self.token * prompt + self.pair * prompt**2 + self.row
        middle = Fraction(prompt + 1 + prompt + output - 1, 2)
        return round(prefill), round(self.token + self.pair * middle + self.row)


def forward_price(network: Network) -> Price:
    """Of one pass at inference; `network` lies on the meta device."""
    network.module.eval()
    return _price(network, lambda inputs: count_forward(network, inputs))


def training_price(network: Network, low_rank: LowRank | None = None, checkpointing: bool = False) -> Price:
    """Of one pass forward and backward; activations that are computed again count again."""
    once = forward_price(network) if checkpointing else Price()
    with adapted(network, list(tunable(network)), low_rank):
        both = _price(network, lambda inputs: count_training(network, inputs))
    return Price(
        both.image + once.image,
        both.token + once.token,
        both.pair + once.pair,
        both.row + once.row,
        tuple(sorted({*both.uncounted, *once.uncounted})),
    )


def _price(network: Network, count: Callable[[Any], Count]) -> Price:
    if not isinstance(network, TextNetwork):
        found = count(torch.empty(1, *input_shape(network), device=META))
        return Price(image=Fraction(found.flops), uncounted=found.uncounted)
    # Three counts tell three unknowns.
    short, long, wide = (count(_tokens(length, rows)) for length, rows in ((8, 1), (16, 1), (8, 2)))
    row = Fraction(wide.flops - short.flops)
    first, second = short.flops - row, long.flops - row
    pair = (second - 2 * first) / 128
    uncounted = tuple(sorted({*short.uncounted, *long.uncounted, *wide.uncounted}))
    return Price(token=(first - 64 * pair) / 8, pair=pair, row=row, uncounted=uncounted)


def _tokens(length: int, rows: int) -> TokenBatch:
    ids = torch.zeros(1, length, dtype=torch.long, device=META)
    return TokenBatch(ids, rows=torch.arange(rows, device=META))
