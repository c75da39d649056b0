"""Train the embedded vision models from procedural pictures; write them as open_clip `local-dir:` folders."""

import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import save
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.nn import functional

from prt_bench.data.procedural import domain, pretraining_corpus
from prt_bench.nano.recipes import (
    CONTEXT_LENGTH,
    CORPUS_SEED,
    DIGITS_TEST,
    EVALUATIONS,
    PREPROCESS,
    RECIPES,
    Recipe,
    model_config,
)
from prt_bench.nano.tokenizer import train_tokenizer, write_tokenizer

Report = Callable[[str, int, int], None]


def build(names: Sequence[str], out: Path, report: Report) -> None:
    """Train the named models and write each to `out`/<name>; calls report(name, step, steps) as it goes.

    Each folder holds open_clip's config, fp16 weights, the tokenizer and `measured.json`. Weights and
    tokenizer come out the same, byte for byte, on one machine with one number of threads; `measured.json`
    has the time taken.
    """
    unknown = sorted(set(names) - set(RECIPES))
    if unknown:
        raise ValueError(f"no recipe for {', '.join(unknown)}; there are {', '.join(RECIPES)}")
    # One vocabulary for all: the captions of both corpora.
    captions = {name: pretraining_corpus(name, 4_000, CORPUS_SEED)[1] for name in ("a", "b")}
    tokenizer = train_tokenizer(captions["a"] + captions["b"], CONTEXT_LENGTH)
    for name in names:
        _build_one(name, RECIPES[name], tokenizer, out / name, report)


def zero_shot(folder: Path) -> dict[str, float]:
    """Top-1 per cent of the model in `folder` on every task of EVALUATIONS, with nothing tuned."""
    model, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}", return_transform=True)
    tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    model.eval()
    measured = {}
    for task, evaluation in EVALUATIONS.items():
        images, labels = _test_set(task, evaluation.test_images, evaluation.test_seed)
        with torch.no_grad():
            head = []
            for name in evaluation.classes:
                texts = tokenizer([template.format(name) for template in evaluation.templates])
                head.append(functional.normalize(model.encode_text(texts, normalize=True).mean(0), dim=0))
            pictures = torch.stack([preprocess(Image.fromarray(image)) for image in images])
            logits = model.encode_image(pictures, normalize=True) @ torch.stack(head).T * model.logit_scale.exp()
        correct = logits.argmax(1).numpy() == labels
        measured[task] = round(100.0 * float(correct.mean()), 2)
    return measured


def _test_set(task: str, count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    if task != "digits":
        return domain(task, "test", count, seed)
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255.0 / 16.0)).astype(np.uint8)
    return images[-DIGITS_TEST:], digits.target.astype(np.int64)[-DIGITS_TEST:]


def _build_one(name: str, recipe: Recipe, tokenizer: Tokenizer, folder: Path, report: Report) -> None:
    started = time.perf_counter()
    folder.mkdir(parents=True, exist_ok=True)
    config = model_config(recipe, tokenizer.get_vocab_size())
    # open_clip draws initial weights from torch's global generator: seed a fork of it, leave it as it was.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        model = open_clip.CLIP(**config)
    images, captions = pretraining_corpus(recipe.corpus, recipe.images, CORPUS_SEED)
    _train(model, recipe, tokenizer, images, captions, lambda step: report(name, step, recipe.steps))
    seconds = time.perf_counter() - started
    weights = {key: value.half().contiguous() for key, value in model.state_dict().items() if value.is_floating_point()}
    kept = {key: value for key, value in model.state_dict().items() if not value.is_floating_point()}
    (folder / "open_clip_model.safetensors").write_bytes(save(weights | kept))
    _write_json(folder / "open_clip_config.json", {"model_cfg": config, "preprocess_cfg": dict(PREPROCESS)})
    write_tokenizer(tokenizer, CONTEXT_LENGTH, folder)
    pretraining = {
        "corpus": recipe.corpus,
        "images": recipe.images,
        "steps": recipe.steps,
        "batch_size": recipe.batch_size,
        "seconds": round(seconds, 1),
    }
    _write_json(folder / "measured.json", {"zero_shot": zero_shot(folder), "pretraining": pretraining})


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
