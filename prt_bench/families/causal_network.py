"""A decoder of transformers behind `TokenBatch`: only the rows that are wanted meet the output matrix."""

from __future__ import annotations

import copy
import inspect
from typing import Any

import torch

from prt_bench.api import TokenBatch
from prt_bench.errors import RequestError

__all__ = ["CausalNetwork", "CausalPast", "cache_argument", "own_config"]

ARCHITECTURES = {
    "GPT2LMHeadModel": "gpt2",
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "Qwen2ForCausalLM": "qwen2",
}
"""Architecture → `model_type`: those whose outputs are tested against transformers' own."""


class CausalPast:
    """Keys and values of the tokens that a network has read, in transformers' cache."""

    def __init__(self, cache: Any) -> None:
        self.cache = cache

    @property
    def nbytes(self) -> int:
        """Bytes of the keys and values that are kept now."""
        layers = [layer for layer in self.cache.layers if layer.is_initialized]
        return sum(part.numel() * part.element_size() for layer in layers for part in (layer.keys, layer.values))

    def keep(self, sequences: torch.Tensor) -> None:
        """Drop all sequences of the batch but these, by index."""
        self.cache.batch_select_indices(sequences)


class CausalNetwork(torch.nn.Module):
    """`TokenBatch` → logits (R, K) of its rows, or (B, K) of each sequence's last token."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self._cache_argument = cache_argument(model)
        self._rows: torch.Tensor | None = None
        # Here and not after the matrix: at 150,000 tokens the logits of all positions fill the memory.
        model.get_output_embeddings().register_forward_pre_hook(self._select)

    def forward(self, batch: TokenBatch) -> torch.Tensor:
        length = batch.ids.shape[1]
        positions = None
        if batch.mask is not None:
            positions = (batch.mask.long().cumsum(dim=-1) - 1).clamp(min=0)[:, -length:]
        past = batch.past.cache if isinstance(batch.past, CausalPast) else None
        mask = batch.mask
        if batch.ids.is_meta:
            # transformers looks at the values of a flat mask, and meta tensors have none.
            read = past.get_seq_length() if past is not None else 0
            mask = batch.ids.new_ones(len(batch.ids), 1, length, read + length, dtype=torch.bool)
        self._rows = batch.rows
        out = self.model(
            input_ids=batch.ids,
            attention_mask=mask,
            position_ids=positions,
            use_cache=past is not None,
            **{self._cache_argument: past},
        )
        logits: torch.Tensor = out.logits.flatten(0, 1)
        return logits

    def checkpoint(self) -> None:
        """Compute activations again in the backward pass, to hold fewer."""
        enable = getattr(self.model, "activation_checkpointing_enable", None)
        (enable or self.model.gradient_checkpointing_enable)()

    def _select(self, _: torch.nn.Module, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        (hidden,) = inputs
        if self._rows is None:
            return (hidden[:, -1:],)
        return (hidden.flatten(0, 1)[self._rows.to(hidden.device)][None],)


def cache_argument(model: Any) -> str:
    """Name of the argument by which a model takes keys and values.

    transformers 5.24 renamed it, and warns where the old name is used; older releases do not know the new one.
    """
    return "cache" if "cache" in inspect.signature(model.forward).parameters else "past_key_values"


def own_config(alias: str, values: dict[str, Any]) -> Any:
    """transformers' configuration of a known architecture from plain values; nothing in them can name code.

    Raises:
        RequestError: the architecture is not one of those that are tested here.
    """
    from transformers import CONFIG_MAPPING

    (architecture,) = values["architectures"]
    if architecture not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise RequestError(f"model {alias}: architecture {architecture} is not known here; known: {known}")
    # Copied: transformers writes into nested values.
    given = copy.deepcopy({name: value for name, value in values.items() if name != "model_type"})
    return CONFIG_MAPPING[ARCHITECTURES[architecture]](**given)
