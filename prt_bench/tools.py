"""The tools that verbs are handed: they do the work once, and charge its full price."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prt_bench.api import Artifact, Model, Network, Places, Rule, TextNetwork, View
from prt_bench.data.examples import Examples
from prt_bench.data.text import Dialogues
from prt_bench.errors import CellError, MissingError, SkipError
from prt_bench.files import digest
from prt_bench.ledger import Charge, Ledger
from prt_bench.models import file_sha256
from prt_bench.places import find_encoder
from prt_bench.store import Store
from prt_bench.task_spec import PublishedEncoder, Recipe, Tuning
from prt_bench.views import view_of
from prt_bench.work import Work

if TYPE_CHECKING:
    import torch

    from prt_bench.costs import CompositionMeter
    from prt_bench.feeds import Feed
    from prt_bench.networks import Networks
    from prt_bench.training import Tuned

__all__ = ["LiveTools", "PlanTools", "Planned", "Training", "training_source"]


UNTRAINED_COST = {
    "train_flops": 0,
    "seconds": 0.0,
    "examples": 0,
    "peak_memory_bytes": None,
    "energy_joules": None,
}
TRAINING_FILES = ("training.py", "adapting.py", "composing.py", "feeds.py", "text_feed.py", "rendering.py")


@cache
def training_source() -> str:
    """Digest of the source of the training loop and what feeds it: what is tuned depends on it."""
    content = b"".join((Path(__file__).parent / name).read_bytes() for name in TRAINING_FILES)
    return hashlib.sha256(content).hexdigest()


class Toolbox:
    """What planning and doing share: the keys."""

    def __init__(self, store: Store, tunings: Mapping[str, Tuning], seed: int, device: str, places: Places) -> None:
        self.seed = seed
        self.store = store
        self._tunings = tunings
        self._device = device
        self._places = places

    def tuning(self, model: Model) -> Tuning:
        """Where tuned weights of a model come from. Raises SkipError where there are none to be had."""
        found = self._tunings.get(model.card.alias)
        if found is None:
            raise SkipError(
                f"nobody has published a tuned encoder of {model.card.alias} for this task; it has to be tuned"
            )
        return found

    def tune_key(self, model: Model, view: View, frozen: Mapping[str, Model], rule: Rule | None) -> str:
        """Digest of all that a tuned network is made from."""
        if rule is not None and not isinstance(rule, Rule):
            raise CellError("tools.tune: a rule to train through is a `Rule` with a `spec`, so that it can be keyed")
        held = {name: other.key for name, other in frozen.items()}
        through = None if rule is None else dict(rule.spec())
        tuning = self.tuning(model)
        recipe = tuning.model_dump()
        if isinstance(tuning, PublishedEncoder):
            if frozen or rule is not None:
                raise SkipError(
                    f"published encoders were tuned alone; {model.card.alias} through "
                    f"{', '.join(frozen) or 'a rule'} has to be trained: use a recipe that trains"
                )
            return digest([model.key, recipe, self._published_sha256(tuning)])
        code = [training_source(), version("torch")]
        return digest([model.key, view.key, held, through, recipe, self.seed, self._device, code])

    def artifact(self, key: str) -> Artifact:
        return Artifact(key, self.store.path("artifacts", key))

    def _published_sha256(self, encoder: PublishedEncoder) -> str:
        return file_sha256(find_encoder(encoder, self._places))


class Planned(Exception):  # noqa: N818 - not an error: the plan ends where results are needed
    """A verb asked for results that only a run has."""


@dataclass(frozen=True)
class Training:
    """A network that will be trained, or taken from those who have published it."""

    model: Model
    frozen: Mapping[str, Model]
    rule: Rule | None
    tuning: Tuning
    examples: int
    """How many there are to train on."""

    def __str__(self) -> str:
        if isinstance(self.tuning, PublishedEncoder):
            return f"{self.model.name}, published"
        through = f" through {', '.join(model.name for model in self.frozen.values())}" if self.frozen else ""
        return f"{self.model.name}{through}, {self.tuning.steps} steps"


class PlanTools(Toolbox):
    """Notes what a verb would have trained; does nothing."""

    def __init__(self, store: Store, tunings: Mapping[str, Tuning], seed: int, device: str, places: Places) -> None:
        super().__init__(store, tunings, seed, device, places)
        self.asked: dict[str, Training] = {}

    def tune(
        self, model: Model, view: View, *, frozen: Mapping[str, Model] | None = None, rule: Rule | None = None
    ) -> Artifact:
        frozen = frozen or {}
        key = self.tune_key(model, view, frozen, rule)
        self.asked[key] = Training(model, frozen, rule, self.tuning(model), len(view))
        return self.artifact(key)

    def _published_sha256(self, encoder: PublishedEncoder) -> str:
        try:
            return super()._published_sha256(encoder)
        except MissingError:
            return "missing"

    def outputs(self, model: Model, view: View) -> torch.Tensor:
        raise Planned

    def weights(self, model: Model) -> dict[str, torch.Tensor]:
        raise Planned

    def save(self, tensors: Mapping[str, torch.Tensor], made_from: Mapping[str, Any]) -> Artifact:
        raise Planned


class LiveTools(Toolbox):
    """Does the work, once per content, and charges every verb its full price."""

    def __init__(
        self,
        store: Store,
        tunings: Mapping[str, Tuning],
        seed: int,
        networks: Networks,
        meter: CompositionMeter,
        how: str,
        report: Callable[[str, int, int], None],
    ) -> None:
        """`how` names the template by which dialogues become text."""
        super().__init__(store, tunings, seed, networks.device.type, networks.places)
        self.ledger = Ledger()
        self._networks = networks
        self._meter = meter
        self._how = how
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
                match self.tuning(model):
                    case PublishedEncoder() as encoder:
                        self._take(artifact, model, encoder)
                    case recipe:
                        self._train(artifact, model, view, frozen, rule, recipe)
        cost = artifact.manifest()["cost"]
        self.ledger.charges.append(Charge(**cost, reused=known))
        return artifact

    def outputs(self, model: Model, view: View) -> torch.Tensor:
        examples = view_of(view).examples()
        with self.ledger.inside():
            if isinstance(examples, Dialogues):
                raise CellError("outputs of texts are too many to keep; name the model as frozen where one is tuned")
            found = self._networks.outputs(model, examples)
            price = self._meter.price(model).of(Work(images=len(examples)))
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

    def _take(self, artifact: Artifact, model: Model, encoder: PublishedEncoder) -> None:
        """An encoder that others tuned becomes the artifact, at the FLOPs that its tuning took by the same count."""
        network = self._networks.get(model)
        path = find_encoder(encoder, self._places)
        family = self._networks.registry.family(model.card)
        # What the file lacks was not tuned: the artifact is whole, as one of the training loop's is.
        tensors = {**self.weights(model), **family.published_weights(model.card, network, path)}
        seen = None if encoder.steps is None or encoder.batch_size is None else encoder.steps * encoder.batch_size
        manifest = {
            "model": model.card.alias,
            "published": encoder.model_dump(),
            "labels": list(model.space.labels),
            "log": [],
            "cost": {
                "train_flops": None if seen is None else self._meter.training(model).of(Work(images=seen)),
                "seconds": None,
                "examples": seen or 0,
                "peak_memory_bytes": None,
                "energy_joules": None,
            },
        }
        self.store.put("artifacts", artifact.key, tensors, manifest)

    def _train(
        self,
        artifact: Artifact,
        model: Model,
        view: View,
        frozen: Mapping[str, Model],
        rule: Rule | None,
        recipe: Recipe,
    ) -> None:
        from prt_bench.networks import tunable

        examples = view_of(view).examples()
        tensors: Mapping[str, torch.Tensor]
        if not recipe.steps:
            # Cost sessions stand on such artifacts: of the right shape, and nothing is read or copied for them.
            tensors, log, cost = tunable(self._networks.get(model)), [], UNTRAINED_COST
        else:
            result, cost = self._learned(model, examples, frozen, rule, recipe)
            tensors, log = result.tensors, result.log
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
            "log": log,
            "cost": cost,
        }
        self.store.put("artifacts", artifact.key, tensors, manifest)

    def _learned(
        self, model: Model, examples: Examples, frozen: Mapping[str, Model], rule: Rule | None, recipe: Recipe
    ) -> tuple[Tuned, dict[str, Any]]:
        """What training leaves, and what it costs."""
        from prt_bench.composing import shared_outputs
        from prt_bench.meters import energy
        from prt_bench.meters.memory import peak_of
        from prt_bench.training import batch_order, tune

        title = f"tuning {model.name}" + (f" through {', '.join(frozen)}" if frozen else "")
        order = batch_order(len(examples), recipe, self.seed)
        shared = shared_outputs([model, *frozen.values()])
        counter, _ = energy.find_counter(str(self._networks.device))
        started = counter.joules() if counter else 0.0
        # Before the peak is watched: networks and inputs that are kept for all methods are no part of a training.
        feed, before = self._feed(model, self._networks.get(model), examples, frozen, recipe)

        def told(done: int, total: int) -> None:
            self._report(title, done, total)
            if counter:
                # One that wraps around must be read before it does so twice.
                counter.joules()

        result, peak = peak_of(
            lambda: tune(self._networks.fresh(model), feed, order, recipe, self.seed, rule, shared, told),
            str(self._networks.device),
        )
        joules = counter.joules() - started if counter and result.seconds >= energy.LEAST_SECONDS else None
        flops = self._meter.training(model, recipe.low_rank, recipe.checkpointing).of(feed.work(order))
        for other in frozen.values():
            forward = self._meter.price(other).of(feed.frozen_work(order))
            flops = None if flops is None or forward is None else flops + forward
        return result, {
            "train_flops": flops,
            "seconds": before + result.seconds,
            "examples": result.examples,
            "peak_memory_bytes": peak.added,
            # A counter that stands still counts nothing.
            "energy_joules": joules or None,
        }

    def _feed(
        self, model: Model, network: Network, examples: Examples, frozen: Mapping[str, Model], recipe: Recipe
    ) -> tuple[Feed, float]:
        """What to train on, and the seconds that were paid for it beforehand."""
        import torch

        from prt_bench.feeds import CroppedFeed, FixedFeed

        if isinstance(examples, Dialogues):
            return self._text_feed(model, network, examples, frozen, recipe), 0.0
        labels, together = torch.from_numpy(examples.labels), recipe.micro_batch_size
        if recipe.random_resized_crop:
            held = {name: self._networks.get(other) for name, other in frozen.items()}
            area = recipe.random_resized_crop
            return CroppedFeed(network, examples, held, labels, area, self.seed, together), 0.0
        # Inputs are the same at every step, so a frozen network's outputs are too: computed once.
        found = {name: self._networks.outputs(other, examples) for name, other in frozen.items()}
        logits = {name: out.logits for name, out in found.items()}
        fixed = FixedFeed(self._networks.inputs(model, examples), logits, labels, together)
        return fixed, sum(out.seconds for out in found.values())

    def _text_feed(
        self, model: Model, network: Network, examples: Dialogues, frozen: Mapping[str, Model], recipe: Recipe
    ) -> Feed:
        from prt_bench.composing import shared_outputs
        from prt_bench.rendering import rendering
        from prt_bench.text_feed import TextFeed, encode_all, refuse_unshared

        held = {name: self._networks.text(other) for name, other in frozen.items()}
        assert isinstance(network, TextNetwork)
        entries = encode_all(examples, network, rendering(self._how), recipe.max_tokens)
        refuse_unshared(entries, shared_outputs([model, *frozen.values()]), model)
        return TextFeed(entries, held, recipe)
