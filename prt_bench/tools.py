"""The tools that verbs are handed: they do the work once, and charge its full price."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from prt_bench.api import Artifact, Model, Network, Places, TextNetwork, View
from prt_bench.data.examples import Examples
from prt_bench.data.text import Dialogues
from prt_bench.errors import CellError, MissingError
from prt_bench.files import digest
from prt_bench.ledger import Charge, Ledger
from prt_bench.places import find_encoder
from prt_bench.store import Store
from prt_bench.task_spec import PublishedEncoder, Recipe, Tuning
from prt_bench.toolbox import Toolbox, Training
from prt_bench.views import view_of
from prt_bench.work import Work

if TYPE_CHECKING:
    import torch

    from prt_bench.costs import CompositionMeter
    from prt_bench.feeds import Feed
    from prt_bench.networks import Networks
    from prt_bench.training import Tuned

__all__ = ["LiveTools", "PlanTools", "Planned"]


UNTRAINED_COST = {
    "train_flops": 0,
    "seconds": 0.0,
    "examples": 0,
    "peak_memory_bytes": None,
    "energy_joules": None,
}


class Planned(Exception):  # noqa: N818 - not an error: the plan ends where results are needed
    """A verb asked for results that only a run has."""


class PlanTools(Toolbox):
    """Notes what a verb would have trained; does nothing."""

    def __init__(self, store: Store, tunings: Mapping[str, Tuning], seed: int, device: str, places: Places) -> None:
        super().__init__(store, tunings, seed, device, places)
        self.asked: dict[str, Training] = {}

    def _tuned(self, training: Training, view: View, key: str) -> Artifact:
        self.asked[key] = training
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

    def _tuned(self, training: Training, view: View, key: str) -> Artifact:
        view_of(view).examples()
        artifact = self.artifact(key)
        with self.ledger.inside(), self.store.lock(key):
            known = artifact.path.is_file()
            if not known:
                match training.tuning:
                    case PublishedEncoder() as encoder:
                        self._take(artifact, training.model, encoder)
                    case recipe:
                        self._train(artifact, training, view, recipe)
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

        self.refuse_closed(model)
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

    def _train(self, artifact: Artifact, training: Training, view: View, recipe: Recipe) -> None:
        from prt_bench.probing import learnable

        model, rule = training.model, training.rule
        examples = view_of(view).examples()
        tensors: Mapping[str, torch.Tensor]
        if not recipe.steps:
            # Cost sessions stand on such artifacts: of the right shape, and nothing is read or copied for them.
            tensors, log, cost = learnable(self._networks.get(model), recipe), [], UNTRAINED_COST
        else:
            result, cost = self._learned(training, examples, recipe)
            tensors, log = result.tensors, result.log
        manifest = {
            "model": model.card.alias,
            "frozen": {name: other.name for name, other in training.frozen.items()},
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

    def _learned(self, training: Training, examples: Examples, recipe: Recipe) -> tuple[Tuned, dict[str, Any]]:
        """What training leaves, and what it costs."""
        from prt_bench.composing import shared_outputs
        from prt_bench.meters import energy
        from prt_bench.meters.memory import peak_of
        from prt_bench.probing import linear_head, probe_of
        from prt_bench.training import batch_order, tune

        model, frozen, head = training.model, training.frozen, recipe.learns == "head"
        title = f"tuning {model.name}" + (f" through {', '.join(frozen)}" if frozen else "")
        order = batch_order(len(examples), recipe, self.seed)
        shared = shared_outputs([model, *frozen.values()])
        counter, _ = energy.find_counter(str(self._networks.device))
        started = counter.joules() if counter else 0.0
        # Before the peak is watched: networks and inputs that are kept for all methods are no part of a training.
        network = self._networks.get(model)
        feed, before = self._feed(model, network, examples, frozen, recipe)

        steps = 0

        def told(done: int, total: int) -> None:
            nonlocal steps
            steps = done
            self._report(title, done, total)
            if counter:
                # One that wraps around must be read before it does so twice.
                counter.joules()

        def learn() -> Tuned:
            learner = probe_of(network) if head else self._networks.fresh(model)
            return tune(learner, feed, order, recipe, self.seed, training.rule, shared, told)

        begun = time.perf_counter()
        try:
            result, peak = peak_of(learn, str(self._networks.device))
        except CellError:
            # What was learnt in vain was paid too, the step that failed included.
            done = order[: steps + 1]
            seconds = before + time.perf_counter() - begun
            price = self._training_flops(training, recipe, feed, done)
            self.ledger.charges.append(Charge(price, seconds, sum(map(len, done)), reused=False))
            raise
        joules = counter.joules() - started if counter and result.seconds >= energy.LEAST_SECONDS else None
        if head:
            result = replace(result, tensors={linear_head(network).name: result.tensors["weight"]})
        return result, {
            "train_flops": self._training_flops(training, recipe, feed, order),
            "seconds": before + result.seconds,
            "examples": result.examples,
            "peak_memory_bytes": peak.added,
            # A counter that stands still counts nothing.
            "energy_joules": joules or None,
        }

    def _training_flops(
        self, training: Training, recipe: Recipe, feed: Feed, order: Sequence[torch.Tensor]
    ) -> int | None:
        flops = self._meter.training(training.model, recipe).of(feed.work(order))
        # The features of a head are one pass over the examples, as what frozen networks say of fixed inputs is.
        read = [*training.frozen.values(), *([training.model] if recipe.learns == "head" else [])]
        for other in read:
            forward = self._meter.price(other).of(feed.frozen_work(order))
            flops = None if flops is None or forward is None else flops + forward
        return flops

    def _feed(
        self, model: Model, network: Network, examples: Examples, frozen: Mapping[str, Model], recipe: Recipe
    ) -> tuple[Feed, float]:
        """What to train on, and the seconds that were paid for it beforehand."""
        import torch

        from prt_bench.feeds import CroppedFeed, FixedFeed
        from prt_bench.networks import BATCH_SIZE
        from prt_bench.probing import features_of

        if isinstance(examples, Dialogues):
            return self._text_feed(model, network, examples, frozen, recipe), 0.0
        labels, together = torch.from_numpy(examples.labels), recipe.micro_batch_size
        if recipe.random_resized_crop and recipe.learns != "head":
            held = {name: self._networks.get(other) for name, other in frozen.items()}
            area = recipe.random_resized_crop
            return CroppedFeed(network, examples, held, labels, area, self.seed, together), 0.0
        # Inputs are the same at every step, so a frozen network's outputs are too: computed once.
        found = {name: self._networks.outputs(other, examples) for name, other in frozen.items()}
        logits = {name: out.logits for name, out in found.items()}
        seconds, inputs = sum(out.seconds for out in found.values()), self._networks.inputs(model, examples)
        if recipe.learns == "head":
            started = time.perf_counter()
            features = features_of(network, inputs, BATCH_SIZE, self._networks.device)
            return FixedFeed(features, logits, labels, together), seconds + time.perf_counter() - started
        return FixedFeed(inputs, logits, labels, together), seconds

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
