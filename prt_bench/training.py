"""The one training loop: every method that tunes, tunes here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from prt_bench.adapting import adapted
from prt_bench.api import TRAINED, Network, Rule
from prt_bench.composing import Shared
from prt_bench.errors import CellError
from prt_bench.feeds import Feed
from prt_bench.networks import tunable
from prt_bench.task_spec import Recipe

__all__ = ["Tuned", "batch_order", "learning_rate", "tune"]

LOGGED_STEPS = 50


@dataclass(frozen=True)
class Tuned:
    """The tuned parameters, the training log, and what it took."""

    tensors: dict[str, torch.Tensor]
    log: list[dict[str, float]]
    examples: int
    seconds: float


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up to the recipe's rate, then a half cosine or a straight line to zero; `step` counts from 0."""
    if step < recipe.warmup_steps:
        return recipe.learning_rate * (step + 1) / recipe.warmup_steps
    done = (step - recipe.warmup_steps) / max(1, recipe.steps - recipe.warmup_steps)
    left = 1 - done if recipe.decay == "linear" else 0.5 * (1 + math.cos(math.pi * done))
    return recipe.learning_rate * left


def tune(
    network: Network,
    feed: Feed,
    order: Sequence[torch.Tensor],
    recipe: Recipe,
    seed: int,
    rule: Rule | None,
    shared: Shared,
    report: Callable[[int, int], None],
) -> Tuned:
    """Minimise cross-entropy of `rule` over the network's logits (as `trained`) and those of frozen ones.

    `feed` gives the steps in the `order` of `batch_order`; `shared` says which outputs all these networks have.

    The network is changed in place. Normalisation statistics stay as they were pretrained. The log keeps,
    with π the distribution of the rule without the trained network and r that network's logits, the loss,
    r(y*), E_π[r] and their difference: PRT's objective bounds the last (Chijiwa et al. 2025, eq. 9).

    Raises:
        CellError: the loss is not finite.
    """
    device = next(network.module.parameters()).device
    names = list(tunable(network))
    # Weights that learn are fp32: in half precision small steps would be rounded away.
    network.module.float()
    with _own_random_numbers(seed, device), adapted(network, names, recipe.low_rank) as learning:
        _train_mode(network.module, recipe)
        optimiser = torch.optim.AdamW(
            learning.parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, foreach=True
        )
        log: list[dict[str, float]] = []
        started = time.perf_counter()
        for number, step in enumerate(feed.steps(order, device)):
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(recipe, number)
            optimiser.zero_grad()
            told: dict[str, float] = {}
            for batch in step.parts:
                with torch.autocast(device.type, torch.bfloat16, enabled=_halved(recipe, device)):
                    trained = network.module(batch.inputs)
                trained = shared.narrowed(trained)
                held = {name: shared.narrowed(logits) for name, logits in batch.held.items()}
                combined = trained if rule is None else rule({TRAINED: trained, **held})
                truth = batch.truth
                loss = torch.nn.functional.cross_entropy(shared.possible(combined), truth, reduction="sum") / step.rows
                if not bool(torch.isfinite(loss)):
                    raise CellError(f"the loss is {loss.item()} at step {number}; lower the learning rate")
                loss.backward()  # type: ignore[no-untyped-call]
                if number % max(1, recipe.steps // LOGGED_STEPS) == 0 or number == recipe.steps - 1:
                    part = {"loss": loss.item(), **_rewards(trained.detach(), held, truth, rule, shared, step.rows)}
                    told = {name: told.get(name, 0.0) + value for name, value in part.items()}
            torch.nn.utils.clip_grad_norm_(learning.parameters, recipe.clip_norm)
            optimiser.step()
            if told:
                log.append({"step": number, **told})
            report(number + 1, recipe.steps)
        seconds = time.perf_counter() - started
        tensors = learning.tensors()
    network.module.eval().requires_grad_(False)
    return Tuned(tensors, log, recipe.steps * recipe.batch_size, seconds)


def batch_order(count: int, recipe: Recipe, seed: int) -> list[torch.Tensor]:
    """Indices of each step's batch: one shuffled pass over the `count` examples after another."""
    generator = torch.Generator().manual_seed(seed)
    needed = recipe.steps * recipe.batch_size
    passes = [torch.randperm(count, generator=generator) for _ in range(math.ceil(needed / count))]
    return list(torch.split(torch.cat(passes)[:needed], recipe.batch_size)) if needed else []


def _halved(recipe: Recipe, device: torch.device) -> bool:
    return recipe.precision == "bf16" and device.type == "cuda"


@contextmanager
def _own_random_numbers(seed: int, device: torch.device) -> Iterator[None]:
    """Whatever a network draws in training (dropout) depends on the seed alone, and the caller's numbers stay."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


def _train_mode(module: torch.nn.Module, recipe: Recipe) -> None:
    module.train()
    for part in module.modules():
        if isinstance(part, torch.nn.modules.batchnorm._NormBase):
            part.eval()
    if recipe.checkpointing:
        checkpoint = getattr(module, "checkpoint", None)
        if checkpoint is None:
            raise CellError("the recipe asks for checkpointing, which this network does not offer")
        checkpoint()


def _rewards(
    trained: torch.Tensor,
    held: Mapping[str, torch.Tensor],
    truth: torch.Tensor,
    rule: Rule | None,
    shared: Shared,
    rows: int,
) -> dict[str, float]:
    """This part's share in the means over all `rows` of a step."""
    without = torch.zeros_like(trained)
    reference = shared.possible(without if rule is None else rule({TRAINED: without, **held}))
    of_truth = trained.gather(1, truth[:, None]).sum().item() / rows
    expected = (reference.softmax(-1) * trained).sum().item() / rows
    return {"reward_of_truth": of_truth, "reward_expected": expected, "reward_gap": of_truth - expected}
