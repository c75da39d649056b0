"""Which parameters learn: all that may, or the thin matrices of LoRA beside the linear layers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from prt_bench.api import Network
from prt_bench.errors import CellError
from prt_bench.task_spec import LowRank

__all__ = ["Learning", "adapted", "adapted_layers"]

ADAPTER = "tuned"
READ_PAST = {"AttentionPool2d", "MultiheadAttention"}
"""Modules that read their layers' weights past the layers."""
KINDS: tuple[type[torch.nn.Module], ...] = (torch.nn.Linear, torch.nn.Conv2d)


@dataclass(frozen=True)
class Learning:
    """The parameters that an optimiser changes, and what of the network they stand for."""

    parameters: list[torch.nn.Parameter]
    module: torch.nn.Module
    names: tuple[str, ...]

    def tensors(self) -> dict[str, torch.Tensor]:
        """Tuned weights by the names that they have in the untuned network, on the CPU; adapters are merged in."""
        found = {}
        own = dict(self.module.named_parameters())
        for name, part in self.module.named_modules():
            if ADAPTER in getattr(part, "lora_A", ()):
                layer: Any = part
                found[f"{name}.weight"] = layer.base_layer.weight + layer.get_delta_weight(ADAPTER)
        chosen = found or {name: own[name] for name in self.names}
        return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in chosen.items()}


@contextmanager
def adapted(network: Network, names: Sequence[str], low_rank: LowRank | None) -> Iterator[Learning]:
    """The network with exactly these parameters learning, or with adapters beside its layers that learn in their place.

    Raises:
        CellError: there is no layer that could be adapted.
    """
    module = network.module
    if low_rank is not None:
        _inject(network, low_rank)
    learning = []
    for name, parameter in module.named_parameters():
        learns = "lora_" in name if low_rank is not None else name in names
        parameter.requires_grad_(learns)
        if learns:
            learning.append(parameter)
    yield Learning(learning, module, tuple(names))


def adapted_layers(network: Network, low_rank: LowRank) -> list[str]:
    """Names of the layers that get adapters: the linear ones, or where there are none the convolutions; not the
    frozen ones, and not the output matrix.

    Raises:
        CellError: there is none.
    """
    for kind in KINDS:
        found = _fitting(network, low_rank, kind)
        if found:
            return found
    raise CellError("the recipe's low_rank fits no linear layer and no convolution of this network")


def _fitting(network: Network, low_rank: LowRank, kind: type[torch.nn.Module]) -> list[str]:
    module = network.module
    output = getattr(getattr(module, "model", None), "get_output_embeddings", lambda: None)()
    inside = {
        f"{name}.{part}"
        for name, attention in module.named_modules()
        if type(attention).__name__ in READ_PAST
        for part, _ in attention.named_modules()
    }
    return [
        name
        for name, part in module.named_modules()
        if isinstance(part, kind)
        and part is not output
        # Reads its weight past the layer, where an adapter would not be seen.
        and name not in inside
        and not name.startswith(network.frozen or ("\0",))
        and (not low_rank.layers or name.rsplit(".", 1)[-1] in low_rank.layers)
    ]


def _inject(network: Network, low_rank: LowRank) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=low_rank.rank,
        lora_alpha=low_rank.alpha,
        lora_dropout=low_rank.dropout,
        target_modules=adapted_layers(network, low_rank),
        bias="none",
    )
    inject_adapter_in_model(config, network.module, adapter_name=ADAPTER)
