"""The one training loop: every method that tunes, tunes here."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from prt_bench.adapting import Learning, adapted
from prt_bench.api import TRAINED, Network, Rule
from prt_bench.composing import Shared
from prt_bench.errors import CellError
from prt_bench.feeds import Feed, Step
from prt_bench.networks import tunable
from prt_bench.task_spec import Recipe

__all__ = ["Loop", "Tuned", "batch_order", "learning_loop", "learning_rate", "tune"]

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


class Loop:
    """A network that learns: one step of the optimiser at a time."""

    def __init__(self, network: Network, learning: Learning, recipe: Recipe) -> None:
        self._network = network
        self._learning = learning
        self._recipe = recipe
        self._halved = recipe.precision == "bf16" and _device(network).type == "cuda"
        self._optimiser = torch.optim.AdamW(
            learning.parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, foreach=True
        )

    def step(self, number: int, step: Step, rule: Rule | None, shared: Shared, told: bool = False) -> dict[str, float]:
        """Learn from a step's examples through a rule; where it is to be told, what the log keeps of it.

        Raises:
            CellError: the loss is not finite.
        """
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate(self._recipe, number)
        self._optimiser.zero_grad()
        found: dict[str, float] = {}
        for batch in step.parts:
            with torch.autocast(_device(self._network).type, torch.bfloat16, enabled=self._halved):
                trained = self._network.module(batch.inputs)
            trained = shared.narrowed(trained)
            held = {name: shared.narrowed(logits) for name, logits in batch.held.items()}
            combined = trained if rule is None else rule({TRAINED: trained, **held})
            possible = shared.possible(combined)
            loss = torch.nn.functional.cross_entropy(possible, batch.truth, reduction="sum") / step.rows
            if not bool(torch.isfinite(loss)):
                raise CellError(f"the loss is {loss.item()} at step {number}; lower the learning rate")
            loss.backward()  # type: ignore[no-untyped-call]
            if told:
                rewards = _rewards(trained.detach(), held, batch.truth, rule, shared, step.rows)
                for name, value in {"loss": loss.item(), **rewards}.items():
                    found[name] = found.get(name, 0.0) + value
        torch.nn.utils.clip_grad_norm_(self._learning.parameters, self._recipe.clip_norm)
        self._optimiser.step()
        return found


@contextmanager
def learning_loop(network: Network, recipe: Recipe, seed: int) -> Iterator[tuple[Loop, Learning]]:
    """The network, made ready to learn, and what learns; the network is changed in place.

    Normalisation statistics stay as they were pretrained.
    """
    # Weights that learn are fp32: in half precision small steps would be rounded away.
    network.module.float()
    device = _device(network)
    with _own_random_numbers(seed, device), adapted(network, list(tunable(network)), recipe.low_rank) as learning:
        _train_mode(network.module, recipe)
        yield Loop(network, learning, recipe), learning
    network.module.eval().requires_grad_(False)


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

    The network is changed in place. The log keeps, with π the distribution of the rule without the trained
    network and r that network's logits, the loss, r(y*), E_π[r] and their difference: PRT's objective bounds
    the last (Chijiwa et al. 2025, eq. 9).

    Raises:
        CellError: the loss is not finite.
    """
    device = _device(network)
    with learning_loop(network, recipe, seed) as (loop, learning):
        log: list[dict[str, float]] = []
        started = time.perf_counter()
        for number, step in enumerate(feed.steps(order, device)):
            told = number % max(1, recipe.steps // LOGGED_STEPS) == 0 or number == recipe.steps - 1
            found = loop.step(number, step, rule, shared, told)
            if told:
                log.append({"step": number, **found})
            report(number + 1, recipe.steps)
        seconds = time.perf_counter() - started
        tensors = learning.tensors()
    return Tuned(tensors, log, recipe.steps * recipe.batch_size, seconds)


def batch_order(count: int, recipe: Recipe, seed: int) -> list[torch.Tensor]:
    """Indices of each step's batch: one shuffled pass over the `count` examples after another."""
    generator = torch.Generator().manual_seed(seed)
    needed = recipe.steps * recipe.batch_size
    passes = [torch.randperm(count, generator=generator) for _ in range(math.ceil(needed / count))]
    return list(torch.split(torch.cat(passes)[:needed], recipe.batch_size)) if needed else []


def _device(network: Network) -> torch.device:
    return next(network.module.parameters()).device


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
