"""What verbs are handed: metered views of the data, and the tools that do and charge the work."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from prt_bench.api import Artifact, Example, Model, Network, Rule, View
from prt_bench.data.examples import Examples
from prt_bench.errors import CellError
from prt_bench.files import digest
from prt_bench.records import CostTerm
from prt_bench.store import Store
from prt_bench.task_spec import Recipe

if TYPE_CHECKING:
    import torch

    from prt_bench.feeds import Feed
    from prt_bench.networks import Networks

__all__ = ["LiveTools", "PlanTools", "Planned", "TaskView", "training_source", "view_of"]


class TaskView:
    """A part of a task's data that counts what is read of it."""

    def __init__(self, role: str, examples: Examples) -> None:
        self.role = role
        self._examples = examples
        self.read: set[int] = set()

    def __len__(self) -> int:
        return len(self._examples)

    def __iter__(self) -> Iterator[Example]:
        for index in range(len(self)):
            self.read.add(index)
            label = None if self.role == "unlabelled" else int(self._examples.labels[index])
            yield Example(self._examples.ids[index], self._examples.image(index), label)

    @property
    def labels(self) -> NDArray[np.int64]:
        if self.role == "unlabelled":
            raise CellError("the view `unlabelled` has no labels")
        self.read.update(range(len(self)))
        return self._examples.labels.copy()

    @property
    def key(self) -> str:
        return digest([self.role, self._examples.sha256])

    def examples(self) -> Examples:
        """The examples, all counted as read: for the tools."""
        self.read.update(range(len(self)))
        return self._examples


def view_of(view: View) -> TaskView:
    """The harness's own view behind the one a plugin holds. Raises CellError for one that a plugin made up."""
    if not isinstance(view, TaskView):
        raise CellError(f"the tools read the views of `data`, not a {type(view).__name__}")
    return view


@cache
def training_source() -> str:
    """Digest of the training loop's source: what is tuned depends on it."""
    return hashlib.sha256((Path(__file__).parent / "training.py").read_bytes()).hexdigest()


class Toolbox:
    """What planning and doing share: the keys."""

    def __init__(self, store: Store, recipes: Mapping[str, Recipe], seed: int, device: str) -> None:
        self.seed = seed
        self.store = store
        self._recipes = recipes
        self._device = device

    def recipe(self, model: Model) -> Recipe:
        return self._recipes[model.card.alias]

    def tune_key(self, model: Model, view: View, frozen: Mapping[str, Model], rule: Rule | None) -> str:
        """Digest of all that a tuned network is made from."""
        if rule is not None and not isinstance(rule, Rule):
            raise CellError("tools.tune: a rule to train through is a `Rule` with a `spec`, so that it can be keyed")
        held = {name: other.key for name, other in frozen.items()}
        through = None if rule is None else dict(rule.spec())
        recipe = self.recipe(model).model_dump()
        code = [training_source(), version("torch")]
        return digest([model.key, view.key, held, through, recipe, self.seed, self._device, code])

    def artifact(self, key: str) -> Artifact:
        return Artifact(key, self.store.path("artifacts", key))


class Planned(Exception):  # noqa: N818 - not an error: the plan ends where results are needed
    """A verb asked for results that only a run has."""


class PlanTools(Toolbox):
    """Notes what a verb would have trained; does nothing."""

    def __init__(self, store: Store, recipes: Mapping[str, Recipe], seed: int, device: str) -> None:
        super().__init__(store, recipes, seed, device)
        self.asked: dict[str, str] = {}

    def tune(
        self, model: Model, view: View, *, frozen: Mapping[str, Model] | None = None, rule: Rule | None = None
    ) -> Artifact:
        frozen = frozen or {}
        key = self.tune_key(model, view, frozen, rule)
        through = f" through {', '.join(frozen)}" if frozen else ""
        self.asked[key] = f"{model.name}{through}, seed {self.seed}, {self.recipe(model).steps} steps"
        return self.artifact(key)

    def outputs(self, model: Model, view: View) -> torch.Tensor:
        raise Planned

    def weights(self, model: Model) -> dict[str, torch.Tensor]:
        raise Planned

    def save(self, tensors: Mapping[str, torch.Tensor], made_from: Mapping[str, Any]) -> Artifact:
        raise Planned


@dataclass
class Charge:
    """One piece of paid work, at its full standalone price."""

    train_flops: int | None
    seconds: float
    examples: int
    reused: bool


@dataclass
class Ledger:
    """What a verb has been charged so far, and the seconds it has spent inside the tools."""

    charges: list[Charge] = field(default_factory=list)
    seconds_inside: float = 0.0

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Counts the time of a tool at work, which is charged at its own price and not as the verb's time."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds_inside += time.perf_counter() - started

    def term(self, verb_seconds: float, read: Mapping[str, int]) -> CostTerm:
        """What the verb costs alone: its own time and every charge; `reused` where all of it had been paid before."""
        flops = [charge.train_flops for charge in self.charges]
        return CostTerm(
            train_flops=None if any(value is None for value in flops) else sum(value or 0 for value in flops),
            seconds=verb_seconds - self.seconds_inside + sum(charge.seconds for charge in self.charges),
            examples=sum(charge.examples for charge in self.charges),
            reused=bool(self.charges) and all(charge.reused for charge in self.charges),
            read=dict(read),
        )


class LiveTools(Toolbox):
    """Does the work, once per content, and charges every verb its full price."""

    def __init__(
        self,
        store: Store,
        recipes: Mapping[str, Recipe],
        seed: int,
        networks: Networks,
        report: Callable[[str, int, int], None],
    ) -> None:
        super().__init__(store, recipes, seed, networks.device.type)
        self.ledger = Ledger()
        self._networks = networks
        self._report = report

    def tune(
        self, model: Model, view: View, *, frozen: Mapping[str, Model] | None = None, rule: Rule | None = None
    ) -> Artifact:
        frozen = frozen or {}
        view_of(view).examples()
        key = self.tune_key(model, view, frozen, rule)
        artifact = self.artifact(key)
        with self.ledger.inside(), self.store.lock(key):
            known = artifact.path.is_file()
            if not known:
                self._train(artifact, model, view, frozen, rule)
        cost = artifact.manifest()["cost"]
        self.ledger.charges.append(Charge(cost["train_flops"], cost["seconds"], cost["examples"], reused=known))
        return artifact

    def outputs(self, model: Model, view: View) -> torch.Tensor:
        examples = view_of(view).examples()
        with self.ledger.inside():
            found = self._networks.outputs(model, examples)
            flops = self._flops(model).forward
        price = None if flops is None else flops * len(examples)
        self.ledger.charges.append(Charge(price, found.seconds, len(examples), found.reused))
        return found.logits

    def weights(self, model: Model) -> dict[str, torch.Tensor]:
        from prt_bench.networks import tunable

        parameters = tunable(self._networks.get(model))
        return {name: parameter.detach().cpu().clone() for name, parameter in parameters.items()}

    def save(self, tensors: Mapping[str, torch.Tensor], made_from: Mapping[str, Any]) -> Artifact:
        content = hashlib.sha256()
        for name, tensor in sorted(tensors.items()):
            content.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        key = digest([content.hexdigest(), dict(made_from)])
        self.store.put("artifacts", key, tensors, {"made_from": dict(made_from), "log": []})
        return self.artifact(key)

    def _train(
        self, artifact: Artifact, model: Model, view: View, frozen: Mapping[str, Model], rule: Rule | None
    ) -> None:
        import torch

        from prt_bench.training import tune

        recipe = self.recipe(model)
        examples = view_of(view).examples()
        seen = recipe.steps * recipe.batch_size
        flops = self._flops(model).training(seen)
        passes = seen if recipe.random_resized_crop else len(examples) if recipe.steps else 0
        for other in frozen.values():
            forward = self._flops(other).forward
            flops = None if flops is None or forward is None else flops + forward * passes
        title = f"tuning {model.name}" + (f" through {', '.join(frozen)}" if frozen else "")
        network = self._networks.fresh(model)
        feed, seconds = self._feed(model, network, examples, frozen, recipe)
        result = tune(
            network,
            feed,
            torch.from_numpy(view.labels),
            recipe,
            self.seed,
            rule,
            lambda done, total: self._report(title, done, total),
        )
        manifest = {
            "model": model.card.alias,
            "frozen": {name: other.name for name, other in frozen.items()},
            "rule": None if rule is None else dict(rule.spec()),
            "labels": list(model.space.labels),
            "templates": list(model.space.templates),
            "head_sha256": self._networks.get(model).head_sha256,
            "recipe": recipe.model_dump(),
            "seed": self.seed,
            "view": view.key,
            "log": result.log,
            "cost": {"train_flops": flops, "seconds": seconds + result.seconds, "examples": result.examples},
        }
        self.store.put("artifacts", artifact.key, result.tensors, manifest)

    def _feed(
        self, model: Model, network: Network, examples: Examples, frozen: Mapping[str, Model], recipe: Recipe
    ) -> tuple[Feed, float]:
        """What to train on, and the seconds that were paid for it beforehand."""
        from prt_bench.feeds import CroppedFeed, FixedFeed

        if not recipe.steps:
            # Nothing is read: cost sessions stand on such artifacts.
            return FixedFeed(self._networks.inputs(model, examples.subset([0])), {}), 0.0
        if recipe.random_resized_crop:
            held = {name: self._networks.get(other) for name, other in frozen.items()}
            return CroppedFeed(network, examples, held, recipe.random_resized_crop, self.seed), 0.0
        # Inputs are the same at every step, so a frozen network's outputs are too: computed once.
        found = {name: self._networks.outputs(other, examples) for name, other in frozen.items()}
        fixed = FixedFeed(self._networks.inputs(model, examples), {name: out.logits for name, out in found.items()})
        return fixed, sum(out.seconds for out in found.values())

    def _flops(self, model: Model) -> _PassFlops:
        from prt_bench.meters.flops import count_forward, count_training, input_shape

        network = self._networks.shape_only(model)
        shape = input_shape(network)
        forward = count_forward(network, shape)
        both = count_training(network, shape)
        return _PassFlops(None if forward.uncounted else forward.flops, None if both.uncounted else both.flops)


@dataclass(frozen=True)
class _PassFlops:
    """FLOPs of one example through a network; None where an operation has no formula."""

    forward: int | None
    both: int | None

    def training(self, examples: int) -> int | None:
        """FLOPs of training on this many examples, forward and backward."""
        return None if self.both is None else self.both * examples
