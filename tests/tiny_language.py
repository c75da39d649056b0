"""Tiny random language models of three architectures over one byte-level tokenizer, made in memory."""

from __future__ import annotations

import copy
import string
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    DynamicCache,
    GPT2Config,
    LlamaConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from prt_bench.api import Model, ModelCard, TextNetwork, TokenBatch, Vocabulary, no_images
from prt_bench.families.causal_network import CausalNetwork, CausalPast

KINDS = ("llama", "qwen2", "gpt2")
CONTEXT = 64
MERGES = (("t", "h"), ("th", "e"), ("Ġ", "a"), ("i", "n"), (".", "Ċ"))
BEGIN, END = "<begin>", "<end>"


@cache
def tokenizer(begins: bool = False, end: str = END) -> PreTrainedTokenizerFast:
    """Printable characters, five merges and two control tokens: 103 ids. With `begins`, texts get a first token."""
    ordinary = [*string.digits, *string.ascii_letters, *string.punctuation, "Ġ", "Ċ", *("".join(m) for m in MERGES)]
    inner = Tokenizer(models.BPE({token: index for index, token in enumerate(ordinary)}, list(MERGES)))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    inner.add_special_tokens([BEGIN, end])
    if begins:
        inner.post_processor = processors.TemplateProcessing(
            single=f"{BEGIN} $A", special_tokens=[(BEGIN, inner.token_to_id(BEGIN))]
        )
    fast: Any = PreTrainedTokenizerFast
    made: PreTrainedTokenizerFast = fast(tokenizer_object=inner, bos_token=BEGIN, eos_token=end, pad_token=end)
    return made


def spelled(tokens: Sequence[int]) -> str:
    """The text of tokens, control tokens too."""
    text = tokenizer().decode(list(tokens))
    assert isinstance(text, str)
    return text


def size() -> int:
    return len(tokenizer().get_vocab())


def vocabulary(rows: int | None = None, end: str = END) -> Vocabulary:
    """The tokenizer's tokens by id; rows beyond them are padding."""
    tokens = tokenizer(end=end).get_vocab()
    by_id = {index: token for token, index in tokens.items()}
    control = frozenset((tokens[BEGIN], tokens[end]))
    return Vocabulary(tuple(by_id.get(index, "") for index in range(rows or len(tokens))), control=control)


def decoder(kind: str, seed: int, rows: int | None = None, context: int = CONTEXT, **shape: int) -> Any:
    """A random decoder of transformers with outputs far from uniform."""
    rows = rows or size()
    ends = tokenizer().eos_token_id
    config: Any
    if kind == "gpt2":
        config = GPT2Config(vocab_size=rows, n_positions=context, n_embd=32, n_layer=2, n_head=4, eos_token_id=ends)
        config.bos_token_id = tokenizer().bos_token_id
    else:
        of_kind: Any = {"llama": LlamaConfig, "qwen2": Qwen2Config}[kind]
        sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
        config = of_kind(
            vocab_size=rows,
            max_position_embeddings=context,
            num_key_value_heads=2,
            eos_token_id=ends,
            bos_token_id=tokenizer().bos_token_id,
            **{**sizes, **shape},
        )
    config.initializer_range = 0.4
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        auto: Any = AutoModelForCausalLM
        return auto.from_config(config, attn_implementation="sdpa", dtype=torch.float32).eval()


class Counting(torch.nn.Module):
    """A network that remembers how many sequences and tokens each of its forwards read."""

    def __init__(self, inner: CausalNetwork) -> None:
        super().__init__()
        self.inner = inner
        self.read: list[tuple[int, int]] = []
        self.largest = 0

    def forward(self, batch: TokenBatch) -> torch.Tensor:
        self.read.append((batch.ids.shape[0], batch.ids.shape[1]))
        logits: torch.Tensor = self.inner(batch)
        self.largest = max(self.largest, logits.numel())
        return logits


@dataclass
class Speaker:
    """One model in all its forms."""

    model: Model
    decoder: Any
    """transformers' own, which shares nothing with the network."""
    network: TextNetwork

    @property
    def counting(self) -> Counting:
        assert isinstance(self.network.module, Counting)
        return self.network.module

    def plainly(self, tokens: Sequence[int]) -> torch.Tensor:
        """Logits (T, K) of one sequence, by transformers alone: no padding, no memory."""
        with torch.no_grad():
            logits: torch.Tensor = self.decoder(torch.tensor([list(tokens)]), use_cache=False).logits[0]
        return logits


def speaker(
    kind: str,
    seed: int,
    rows: int | None = None,
    end: str = END,
    begins: bool = False,
    context: int = CONTEXT,
    **shape: int,
) -> Speaker:
    made = decoder(kind, seed, rows, context, **shape)
    own = copy.deepcopy(made)
    words = tokenizer(begins, end)
    network = TextNetwork(
        module=Counting(CausalNetwork(made)),
        preprocess=no_images,
        tokenizer=words,
        context_length=context,
        stop_ids=(words.eos_token_id,),
        new_past=lambda: CausalPast(DynamicCache(config=made.config)),
    )
    card = ModelCard(alias=f"{kind}-{seed}", family="causal-lm", architecture=kind)
    identity = f"{kind} {seed} {rows} {context}"
    return Speaker(Model(card, vocabulary(rows, end), identity), own, network)


class Cast:
    """Speakers by their models: `network_of` for those who ask for networks."""

    def __init__(self, *speakers: Speaker) -> None:
        self.by_key = {one.model.key: one for one in speakers}
        self.asked: list[str] = []

    def __call__(self, model: Model) -> TextNetwork:
        self.asked.append(model.name)
        return self.by_key[model.key].network
