"""The one training loop: every method that tunes, tunes here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from prt_bench.api import TRAINED, Network, Rule
from prt_bench.errors import CellError
from prt_bench.feeds import Feed
from prt_bench.networks import tunable
from prt_bench.task_spec import Recipe

__all__ = ["Tuned", "learning_rate", "tune"]

LOGGED_STEPS = 50


@dataclass(frozen=True)
class Tuned:
    """The tuned parameters, the training log, and what it took."""

    tensors: dict[str, torch.Tensor]
    log: list[dict[str, float]]
    examples: int
    seconds: float


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up to the recipe's rate, then a half cosine to zero; `step` counts from 0."""
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * done))


def tune(
    network: Network,
    feed: Feed,
    labels: torch.Tensor,
    recipe: Recipe,
    seed: int,
    rule: Rule | None,
    report: Callable[[int, int], None],
) -> Tuned:
    """Minimise cross-entropy of `rule` over the network's logits (as `trained`) and those of frozen ones.

    `feed` gives the inputs and the frozen logits of each step; `labels` (N,) are those of all examples.

    The network is changed in place. Normalisation statistics stay as they were pretrained. The log keeps,
    with π the distribution of the rule without the trained network and r that network's logits, the loss,
    r(y*), E_π[r] and their difference: PRT's objective bounds the last (Chijiwa et al. 2025, eq. 9).

    Raises:
        CellError: the loss is not finite.
    """
    device = next(network.module.parameters()).device
    parameters = tunable(network)
    for name, parameter in network.module.named_parameters():
        parameter.requires_grad_(name in parameters)
    _train_mode(network.module)
    optimiser = torch.optim.AdamW(
        parameters.values(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay, foreach=True
    )
    order = _order(len(labels), recipe, seed)
    log: list[dict[str, float]] = []
    started = time.perf_counter()
    with _own_random_numbers(seed, device):
        for step, (inputs, held) in enumerate(feed.batches(order, device)):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(recipe, step)
            trained = network.module(inputs).float()
            truth = labels[order[step]].to(device)
            combined = trained if rule is None else rule({TRAINED: trained, **held})
            loss = torch.nn.functional.cross_entropy(combined, truth)
            if not bool(torch.isfinite(loss)):
                raise CellError(f"the loss is {loss.item()} at step {step}; lower the learning rate")
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(parameters.values(), recipe.clip_norm)
            optimiser.step()
            if step % max(1, recipe.steps // LOGGED_STEPS) == 0 or step == recipe.steps - 1:
                log.append({"step": step, "loss": loss.item(), **_rewards(trained.detach(), held, truth, rule)})
            report(step + 1, recipe.steps)
    seconds = time.perf_counter() - started
    network.module.eval().requires_grad_(False)
    return Tuned(
        tensors={name: parameter.detach().cpu().clone() for name, parameter in parameters.items()},
        log=log,
        examples=recipe.steps * recipe.batch_size,
        seconds=seconds,
    )


def _order(count: int, recipe: Recipe, seed: int) -> list[torch.Tensor]:
    """Indices of each step's batch: one shuffled pass over the examples after another."""
    generator = torch.Generator().manual_seed(seed)
    needed = recipe.steps * recipe.batch_size
    passes = [torch.randperm(count, generator=generator) for _ in range(math.ceil(needed / count))]
    return list(torch.split(torch.cat(passes)[:needed], recipe.batch_size)) if needed else []


@contextmanager
def _own_random_numbers(seed: int, device: torch.device) -> Iterator[None]:
    """Whatever a network draws in training (dropout) depends on the seed alone, and the caller's numbers stay."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _train_mode(module: torch.nn.Module) -> None:
    module.train()
    for part in module.modules():
        if isinstance(part, torch.nn.modules.batchnorm._NormBase):
            part.eval()


def _rewards(
    trained: torch.Tensor, held: Mapping[str, torch.Tensor], truth: torch.Tensor, rule: Rule | None
) -> dict[str, float]:
    without = torch.zeros_like(trained)
    reference = without if rule is None else rule({TRAINED: without, **held})
    of_truth = trained.gather(1, truth[:, None]).mean().item()
    expected = (reference.softmax(-1) * trained).sum(-1).mean().item()
    return {"reward_of_truth": of_truth, "reward_expected": expected, "reward_gap": of_truth - expected}
