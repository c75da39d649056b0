"""Train the embedded language models from the invented world; write them as folders that transformers loads."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
import yaml
from safetensors.torch import save
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from prt_bench.models import file_sha256
from prt_bench.nano.world import CorpusName, corpus
from prt_bench.records import ModelCard

__all__ = ["LANGUAGE_RECIPES", "LanguageRecipe", "build", "train_tokenizer", "write_card", "write_tokenizer"]

Report = Callable[[str, int, int], None]

CORPUS_SEED = 20
VOCABULARY = 640
CONTEXT_LENGTH = 1024
PAD, END = "<|pad|>", "<|endoftext|>"
TIED = "lm_head.weight"
"""The output weights are the embeddings, which are stored."""


@dataclass(frozen=True)
class LanguageRecipe:
    """How one language model is made: its size, its corpus and its training."""

    title: str
    corpus: CorpusName
    width: int
    hidden: int
    layers: int
    steps: int
    seed: int
    heads: int = 4
    batch_size: int = 32
    length: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 0.05
    warmup_steps: int = 50


LANGUAGE_RECIPES: Mapping[str, LanguageRecipe] = MappingProxyType(
    {
        "nano-llama-s-a": LanguageRecipe(
            "small, older text", corpus="a", width=64, hidden=128, layers=2, steps=2500, seed=1
        ),
        "nano-llama-m-a": LanguageRecipe(
            "medium, the same text", corpus="a", width=128, hidden=336, layers=3, steps=3000, seed=2
        ),
        "nano-llama-m-b": LanguageRecipe(
            "medium, newer text", corpus="b", width=128, hidden=336, layers=3, steps=3000, seed=3
        ),
    }
)


def build(names: Sequence[str], out: Path, report: Report) -> None:
    """Train the named models and write each to `out`/<name>; calls report(name, step, steps) as it goes.

    Each folder holds transformers' configuration, fp16 weights, the tokenizer that all share and the model card:
    all come out the same, byte for byte, on one machine with one number of threads.
    """
    unknown = sorted(set(names) - set(LANGUAGE_RECIPES))
    if unknown:
        raise ValueError(f"no recipe for {', '.join(unknown)}; there are {', '.join(LANGUAGE_RECIPES)}")
    tokenizer = train_tokenizer(corpus("a", CORPUS_SEED) + corpus("b", CORPUS_SEED))
    for name in names:
        _build_one(name, LANGUAGE_RECIPES[name], tokenizer, out / name, report)


def train_tokenizer(texts: Sequence[str]) -> Tokenizer:
    """Learn byte-level merges, so that it can write any string; it adds no token of its own to a text."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PAD, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    # Sorted and each text once: the merges depend on the set of texts alone.
    tokenizer.train_from_iterator(sorted(set(texts)), trainer)
    return tokenizer


def write_tokenizer(tokenizer: Tokenizer, folder: Path) -> None:
    """Write the two files that transformers' AutoTokenizer reads."""
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONTEXT_LENGTH,
        "pad_token": PAD,
        "bos_token": END,
        "eos_token": END,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")


def write_card(alias: str, folder: Path) -> None:
    """Write the model card of the weights in `folder`."""
    recipe = LANGUAGE_RECIPES[alias]
    card = ModelCard(
        alias=alias,
        family="causal-lm",
        architecture="LlamaForCausalLM",
        title=f"{alias}: {recipe.title}",
        sha256=file_sha256(folder / "model.safetensors"),
        verified=True,
        licence="Apache-2.0",
        recipe="embedded-language",
        embedded=True,
        provenance={
            "made_by": "prt-bench nano build",
            "corpus": recipe.corpus,
            "steps": recipe.steps,
            "batch_size": recipe.batch_size,
            "tokens_per_row": recipe.length,
            "seed": recipe.seed,
        },
    )
    facts = card.model_dump(mode="json", exclude_defaults=True)
    (folder / "card.yaml").write_text(yaml.safe_dump(facts, sort_keys=False), encoding="utf-8")


def _configuration(recipe: LanguageRecipe, tokenizer: Tokenizer) -> LlamaConfig:
    end = tokenizer.token_to_id(END)
    return LlamaConfig(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=recipe.width,
        intermediate_size=recipe.hidden,
        num_hidden_layers=recipe.layers,
        num_attention_heads=recipe.heads,
        max_position_embeddings=CONTEXT_LENGTH,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.token_to_id(PAD),
        bos_token_id=end,
        eos_token_id=end,
        architectures=["LlamaForCausalLM"],
        # Stored in half precision, run in single.
        dtype="float32",
    )


def _build_one(name: str, recipe: LanguageRecipe, tokenizer: Tokenizer, folder: Path, report: Report) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    configuration = _configuration(recipe, tokenizer)
    # transformers draws initial weights from torch's global generator: seed a fork of it, leave it as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = LlamaForCausalLM(configuration)
    rows = _rows(corpus(recipe.corpus, CORPUS_SEED), tokenizer, recipe.length)
    _train(model, recipe, rows, lambda step: report(name, step, recipe.steps))
    configuration.save_pretrained(folder)
    model.generation_config.save_pretrained(folder)
    weights = {name: value.half().contiguous() for name, value in model.state_dict().items() if name != TIED}
    (folder / "model.safetensors").write_bytes(save(weights, {"format": "pt"}))
    write_tokenizer(tokenizer, folder)
    write_card(name, folder)


def _rows(texts: Sequence[str], tokenizer: Tokenizer, length: int) -> Tensor:
    """Whole texts, each closed by the end token, packed into rows: int64 (N, length).

    A row starts where a text starts, as prompts do; the last text of a row is cut.
    """
    end = [tokenizer.token_to_id(END)]
    rows, row = [], []
    for encoding in tokenizer.encode_batch(list(texts)):
        row += encoding.ids + end
        if len(row) >= length:
            rows.append(row[:length])
            row = []
    return torch.tensor(rows)


def _train(model: LlamaForCausalLM, recipe: LanguageRecipe, rows: Tensor, report: Callable[[int], None]) -> None:
    """Next-token training in place: AdamW, warm-up and cosine."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": decayed, "weight_decay": recipe.weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98))
    order = torch.Generator().manual_seed(recipe.seed)
    queue = torch.empty(0, dtype=torch.long)
    model.train()
    for step in range(recipe.steps):
        report(step)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _schedule(step, recipe)
        if len(queue) < recipe.batch_size:
            queue = torch.cat([queue, torch.randperm(len(rows), generator=order)])
        batch, queue = rows[queue[: recipe.batch_size]], queue[recipe.batch_size :]
        logits = model(input_ids=batch[:, :-1], use_cache=False).logits
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.train(False)
    report(recipe.steps)


def _schedule(step: int, recipe: LanguageRecipe) -> float:
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return 0.5 * (1.0 + math.cos(math.pi * done))
