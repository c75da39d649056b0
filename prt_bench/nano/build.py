"""Train the embedded vision models from procedural pictures; write them as open_clip `local-dir:` folders."""

import json
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import open_clip
import torch
import yaml
from numpy.typing import NDArray
from safetensors.torch import save
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from prt_bench.api import Model, Places
from prt_bench.models import file_sha256
from prt_bench.nano.pictures import pretraining_corpus
from prt_bench.nano.recipes import CONTEXT_LENGTH, CORPUS_SEED, PREPROCESS, RECIPES, TASKS, Recipe, model_config
from prt_bench.nano.tokenizer import train_tokenizer, write_tokenizer
from prt_bench.networks import Networks
from prt_bench.records import ModelCard
from prt_bench.registry import Registry
from prt_bench.store import Store
from prt_bench.tasks import TaskSource, load_task

Report = Callable[[str, int, int], None]


def build(names: Sequence[str], out: Path, report: Report) -> None:
    """Train the named models and write each to `out`/<name>; calls report(name, step, steps) as it goes.

    Each folder holds open_clip's config, fp16 weights, the tokenizer and the model card with its measured
    zero-shot scores: all come out the same, byte for byte, on one machine with one number of threads.
    """
    unknown = sorted(set(names) - set(RECIPES))
    if unknown:
        raise ValueError(f"no recipe for {', '.join(unknown)}; there are {', '.join(RECIPES)}")
    # One vocabulary for all: the captions of both corpora.
    captions = {name: pretraining_corpus(name, 4_000, CORPUS_SEED)[1] for name in ("a", "b")}
    tokenizer = train_tokenizer(captions["a"] + captions["b"], CONTEXT_LENGTH)
    for name in names:
        _build_one(name, RECIPES[name], tokenizer, out / name, report)


def write_card(alias: str, folder: Path) -> None:
    """Write the model card of the weights in `folder`, with zero-shot top-1 measured on TASKS."""
    recipe = RECIPES[alias]
    weights = folder / "open_clip_model.safetensors"
    card = ModelCard(
        alias=alias,
        family="clip",
        architecture="local-dir",
        title=f"{alias}: {recipe.title}",
        sha256=file_sha256(weights),
        verified=True,
        activation="relu",
        licence="Apache-2.0",
        recipe="embedded",
        embedded=True,
        provenance={
            "made_by": "prt-bench nano build",
            "corpus": recipe.corpus,
            "images": recipe.images,
            "steps": recipe.steps,
            "batch_size": recipe.batch_size,
            "seed": recipe.seed,
        },
    )
    measured = card.model_copy(update={"zero_shot": zero_shot(card, folder)})
    facts = measured.model_dump(mode="json", exclude_defaults=True)
    (folder / "card.yaml").write_text(yaml.safe_dump(facts, sort_keys=False), encoding="utf-8")


def zero_shot(card: ModelCard, folder: Path) -> dict[str, float]:
    """Top-1, as a fraction, of the model in `folder` on TASKS with nothing tuned: as any run would measure it."""
    elsewhere = card.model_copy(update={"embedded": False, "alias": folder.name})
    measured = {}
    with tempfile.TemporaryDirectory() as scratch:
        registry, store = Registry(), Store(Path(scratch))
        networks = Networks(registry, Places(weights_dir=folder.parent), store, "cpu", _unseen)
        for name in TASKS:
            task = load_task(name, TaskSource(registry, store, None, _unseen))
            test = task.roles["test"]
            logits = networks.outputs(Model(elsewhere, task.space, card.alias), test).logits
            measured[name] = round(float((logits.argmax(1).numpy() == test.labels).mean()), 4)
    return measured


def _unseen(title: str, done: int, total: int) -> None:
    """Progress that nobody waits for."""


def _build_one(name: str, recipe: Recipe, tokenizer: Tokenizer, folder: Path, report: Report) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    config = model_config(recipe, tokenizer.get_vocab_size())
    # open_clip draws initial weights from torch's global generator: seed a fork of it, leave it as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = open_clip.CLIP(**config)
    images, captions = pretraining_corpus(recipe.corpus, recipe.images, CORPUS_SEED)
    _train(model, recipe, tokenizer, images, captions, lambda step: report(name, step, recipe.steps))
    weights = {key: value.half().contiguous() for key, value in model.state_dict().items() if value.is_floating_point()}
    kept = {key: value for key, value in model.state_dict().items() if not value.is_floating_point()}
    (folder / "open_clip_model.safetensors").write_bytes(save(weights | kept))
    _write_json(folder / "open_clip_config.json", {"model_cfg": config, "preprocess_cfg": dict(PREPROCESS)})
    write_tokenizer(tokenizer, CONTEXT_LENGTH, folder)
    write_card(name, folder)


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def _train(
    model: open_clip.CLIP,
    recipe: Recipe,
    tokenizer: Tokenizer,
    images: NDArray[np.uint8],
    captions: list[str],
    report: Callable[[int], None],
) -> None:
    """Contrastive training in place: AdamW, warm-up and cosine; equal captions in a batch are positives."""
    unique = sorted(set(captions))
    place = {caption: index for index, caption in enumerate(unique)}
    tokens = torch.tensor([encoding.ids for encoding in tokenizer.encode_batch(unique)])
    caption_of = torch.tensor([place[caption] for caption in captions])
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}],
        lr=recipe.learning_rate,
        betas=(0.9, 0.98),
    )
    order = torch.Generator().manual_seed(recipe.seed)
    queue = torch.empty(0, dtype=torch.long)
    model.train()
    for step in range(recipe.steps):
        report(step)
        for group in optimizer.param_groups:
            group["lr"] = recipe.learning_rate * _schedule(step, recipe)
        if len(queue) < recipe.batch_size:
            queue = torch.cat([queue, torch.randperm(len(pixels), generator=order)])
        batch, queue = queue[: recipe.batch_size], queue[recipe.batch_size :]
        loss = _loss(model, pixels[batch], tokens, caption_of[batch], recipe.label_smoothing)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(0.0, math.log(100.0))
    model.eval()
    report(recipe.steps)


def _schedule(step: int, recipe: Recipe) -> float:
    if step < recipe.warmup_steps:
        return (step + 1) / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return 0.5 * (1.0 + math.cos(math.pi * done))


def _loss(model: open_clip.CLIP, pixels: Tensor, tokens: Tensor, caption_of: Tensor, smoothing: float) -> Tensor:
    """Symmetric contrastive loss over the batch's distinct captions; pixels are uint8 (N, 3, 32, 32)."""
    mean = torch.tensor(PREPROCESS["mean"]).view(3, 1, 1)
    std = torch.tensor(PREPROCESS["std"]).view(3, 1, 1)
    seen, target = torch.unique(caption_of, return_inverse=True)
    image = model.encode_image((pixels.float() / 255.0 - mean) / std, normalize=True)
    text = model.encode_text(tokens[seen], normalize=True)
    logits = model.logit_scale.exp() * image @ text.T
    # A caption's positives are all pictures that carry it, in equal shares.
    share = functional.one_hot(target, len(seen)).to(logits.dtype)
    share = (1.0 - smoothing) * share / share.sum(0) + smoothing / len(share)
    to_image = -(share * logits.log_softmax(0)).sum(0).mean()
    to_text = functional.cross_entropy(logits, target, label_smoothing=smoothing)
    loss: Tensor = 0.5 * (to_text + to_image)
    return loss
