"""FLOPs of decoders by formula, from their configuration alone."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from prt_bench.api import Price

__all__ = ["text_price"]

LLAMA, GPT2 = "LlamaForCausalLM", "GPT2LMHeadModel"
LIKE_LLAMA = frozenset({LLAMA, "MistralForCausalLM", "Qwen2ForCausalLM"})


def text_price(config: Mapping[str, Any]) -> Price | None:
    """FLOPs per token, per pair of tokens (attention counted whole) and per row of the output matrix.

    `config` is a repository's config.json. None where its architecture has no formula here, or where it leaves out a
    size that the formula needs: what a library puts in its place is no fact of the model.
    """
    architectures = list(config.get("architectures") or ())
    if len(architectures) == 1 and architectures[0] in LIKE_LLAMA:
        return _like_llama(config, architectures[0])
    return _gpt2(config) if architectures == [GPT2] else None


def _like_llama(config: Mapping[str, Any], architecture: str) -> Price | None:
    """Touvron et al. 2023 with the grouped queries of Ainslie et al. 2023: queries and output of all heads, keys and
    values of few, and a gated layer of three matrices."""
    names = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    width, hidden, layers, heads, rows = (config.get(name) for name in names)
    if not (width and hidden and layers and heads and rows):
        return None
    # Only of Llama is the number of all heads what is meant where none is said.
    if config.get("num_key_value_heads") is None and architecture != LLAMA:
        return None
    each = config.get("head_dim") or width // heads
    queries, keys = heads * each, (config.get("num_key_value_heads") or heads) * each
    return _price(layers, 2 * width * queries + 2 * width * keys + 3 * width * hidden, queries, width * rows)


def _gpt2(config: Mapping[str, Any]) -> Price | None:
    """Radford et al. 2019: four square matrices of attention and two of a layer four times as wide."""
    width, layers, rows = (config.get(name) for name in ("n_embd", "n_layer", "vocab_size"))
    if not (width and layers and rows):
        return None
    hidden = config.get("n_inner") or 4 * width
    return _price(layers, 4 * width**2 + 2 * width * hidden, width, width * rows)


def _price(layers: int, weights: int, queries: int, output: int) -> Price:
    """Two FLOPs per multiply-add: of each weight per token, of scores and of their mean of values per pair, and of the
    whole output matrix per row, whether or not all its rows are tokens."""
    return Price(
        token=Fraction(2 * layers * weights), pair=Fraction(2 * layers * 2 * queries), row=Fraction(2 * output)
    )
