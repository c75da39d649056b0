"""What a network costs per image or per text of any length, from counts on the meta device."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import torch

from prt_bench.adapting import adapted
from prt_bench.api import Network, TextNetwork, TokenBatch
from prt_bench.meters.flops import Count, count_forward, count_training, input_shape
from prt_bench.networks import tunable
from prt_bench.task_spec import LowRank
from prt_bench.work import Price

__all__ = ["forward_price", "training_price"]

META = torch.device("meta")


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
