"""Does one cell: the verbs, the composition's outputs on the test split, the record."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from prt_bench.anchors import Anchor, Comparison, anchor_of, compare, refuse
from prt_bench.api import Artifact, Composition, Data, Method, Model
from prt_bench.costs import CompositionMeter
from prt_bench.data.examples import Examples
from prt_bench.data.text import Dialogues, Documents
from prt_bench.environment import describe, now
from prt_bench.errors import CellError, SkipError
from prt_bench.estimate import ask
from prt_bench.evaluating import Evaluator, Validated
from prt_bench.files import digest, write_atomically
from prt_bench.image_evaluator import ImageEvaluator
from prt_bench.language_spec import LanguageSpec, QueryShape
from prt_bench.ledger import total
from prt_bench.networks import Networks, Progress
from prt_bench.plan import Plan, PlannedCell, verb_data
from prt_bench.provenance import absent_provenance, provenance, whole, write_record
from prt_bench.reasons import ALWAYS_ABSENT, absent_costs, copied_latency
from prt_bench.records import Artifacts, Cost, CostTerm, LatencyRow, PerQuery, Quality, Record
from prt_bench.session import Timed
from prt_bench.session_records import CostSession
from prt_bench.store import Store
from prt_bench.task_spec import Recipe, Tuning
from prt_bench.text_evaluator import TextEvaluator
from prt_bench.tools import LiveTools, Planned, training_source
from prt_bench.training_session import Asked, merged
from prt_bench.trials import Trial
from prt_bench.views import TaskView

__all__ = ["CellWorker"]

LIMIT_SEED = 0
UNTRAINED = Recipe(steps=0, batch_size=1, learning_rate=1.0, warmup_steps=0, weight_decay=0.0, clip_norm=1.0)
"""Gives artifacts of the right shape, at no training."""
VerbCall = Callable[[Data, LiveTools], Artifact | None]


@dataclass(frozen=True)
class Ported:
    """What the verbs left, and what they cost."""

    fitted: Artifact | None
    ported: Artifact | None
    once: CostTerm
    per_upgrade: CostTerm


@dataclass(frozen=True)
class Tried:
    """One trial of a cell, and what validation says of it."""

    trial: Trial
    verbs: Ported
    composition: Composition
    validated: Validated


class CellWorker:
    """Does cells of one plan, with networks kept warm between them."""

    def __init__(self, plan: Plan, report: Progress) -> None:
        self.plan = plan
        self.report = report
        request = plan.request
        self.networks = Networks(plan.registry, request.places, plan.store, request.device, report, request.weights)
        self.meter = CompositionMeter(self.networks)
        self._evaluators: dict[tuple[str, int | None], Evaluator] = {}
        self._anchored: dict[str, Comparison] = {}
        self._told: set[str] = set()

    def prepare(self, planned: PlannedCell) -> None:
        """Load both models: what is wrong with them, or with what the task asks of them, is said before any work."""
        self.networks.get(planned.source)
        self.networks.get(planned.target)
        # What may not be scored is its own cells' to say.
        with suppress(SkipError):
            self.evaluator(planned).refuse_unfit(planned.target)

    def evaluator(self, planned: PlannedCell) -> Evaluator:
        """Who asks compositions what the cell's task asks."""
        task, limit = planned.task, planned.cell.limit
        key = (task.identity, limit)
        if key not in self._evaluators:
            validation, test = task.roles["validation"], limited(task.roles["test"], limit)
            if isinstance(task.spec, LanguageSpec):
                assert isinstance(validation, Dialogues)
                assert isinstance(test, Documents)
                allow = self.plan.request.allow_code
                lengths = self.plan.request.lengths
                spec = task.spec if lengths is None else task.spec.model_copy(update={"query": QueryShape(**lengths)})
                self._evaluators[key] = TextEvaluator(
                    spec, validation, test, self.networks, self.meter, self.report, allow
                )
            else:
                self._evaluators[key] = ImageEvaluator(validation, test, task.primary, self.networks, self.meter)
        return self._evaluators[key]

    def timed(self, planned: PlannedCell, scratch: Store) -> Timed:
        """The cell's composition on artifacts of zero steps, kept in `scratch`: the right shape, at no training."""
        method = planned.method
        recipes = dict.fromkeys((planned.source.card.alias, planned.target.card.alias), UNTRAINED)
        composition = self._attached(planned, method.method, self._verbs(planned, recipes, scratch))
        self.meter.measure(composition, self.evaluator(planned).query(composition))
        return Timed(method.label, method.name, method.method.params, method.source_sha256, composition)

    def trained(self, cells: Sequence[PlannedCell]) -> list[Asked]:
        """What the methods of these cells train, each training once."""
        found = []
        for planned in cells:
            with suppress(Planned, SkipError):
                # Known otherwise only while it runs.
                trainings = ask(self.plan, planned, planned.trials[0])[1]
                found += [(key, training, planned.method.label) for key, training in trainings.items()]
        return merged(found)

    def do(self, planned: PlannedCell, session: CostSession | str) -> Record:
        """The cell's record, written. `session` holds its latency, or the reason why there is none."""
        started = now()
        self.evaluator(planned).refuse_unscored()
        self._hold_to_anchors(planned)
        chosen, tuning = self._best(planned)
        verbs, composition = chosen.verbs, chosen.composition
        self._hold_to_published(planned, composition)
        evaluator = self.evaluator(planned)
        scores = evaluator.test(composition, chosen.validated)
        predictions = planned.path.with_suffix(".predictions.csv")
        write_atomically(predictions, scores.predictions)
        latency, absent = copied_latency(planned.method.label, session)
        per_query = self._per_query(composition, evaluator, latency)
        absent |= absent_costs(verbs.once, verbs.per_upgrade, per_query, str(self.networks.device))
        absent |= dict(scores.absent)
        networks = {model.card.alias: self.networks.get(model) for model in (planned.source, planned.target)}
        origin = provenance(self.plan, planned, networks, started)
        record = Record(
            cell=planned.cell,
            status="ok",
            quality=Quality(
                primary=planned.task.primary,
                metrics=scores.metrics,
                nll=scores.nll,
                nll_calibrated=scores.nll_calibrated,
                ece=scores.ece,
                predictions=predictions.name,
                validation=chosen.validated.metrics,
                tuning=tuning,
                counts=dict(scores.notes),
            ),
            cost=Cost(once=verbs.once, per_upgrade=verbs.per_upgrade, per_query=per_query),
            environment=describe(str(self.networks.device)),
            provenance=origin,
            partial=planned.cell.limit is not None,
            artifacts=_artifacts(verbs),
            absent={**ALWAYS_ABSENT, **absent, **absent_provenance(origin), **whole(planned)},
        )
        write_record(planned, record)
        return record

    def anchors(self, planned: PlannedCell) -> list[dict[str, Any]]:
        """Both models' zero-shot scores beside the published ones; of text there are none."""
        if isinstance(planned.task.spec, LanguageSpec):
            return []
        return [self._compared(planned, model).row() for model in (planned.source, planned.target)]

    def _compared(self, planned: PlannedCell, model: Model) -> Comparison:
        key = f"{planned.task.identity} {model.key}"
        if key not in self._anchored:
            self._anchored[key] = compare(anchor_of(planned.task, model), planned.task, self.networks)
        return self._anchored[key]

    def _hold_to_anchors(self, planned: PlannedCell) -> None:
        """Compare both models, untuned, with their published scores, once; CellError where they are far off."""
        if self.plan.request.weights == "random" or planned.cell.limit is not None:
            return
        for model in (planned.source, planned.target):
            found = self._compared(planned, model) if anchor_of(planned.task, model).score is not None else None
            # A warning is said once; a refusal is every cell's.
            if found is not None and (found.pinned or found.anchor.what not in self._told):
                self._told.add(found.anchor.what)
                refuse(found)

    def _hold_to_published(self, planned: PlannedCell, composition: Composition) -> None:
        """Compare every published encoder that the composition runs with the score it was published with."""
        if planned.cell.limit is not None:
            return
        for model in composition.members.values():
            published = model.artifact.manifest().get("published") if model.artifact else None
            if published is not None:
                source = f"the card of {published['repository']}"
                anchor = Anchor(model, f"{model.name} on {planned.task.name}", "top1", published["tuned"], source)
                refuse(compare(anchor, planned.task, self.networks))

    def _best(self, planned: PlannedCell) -> tuple[Tried, list[dict[str, Any]]]:
        """The trial that validation prefers, at the price of all; and what each reached."""
        evaluator = self.evaluator(planned)
        tried: list[Tried] = []
        for trial in planned.trials:
            verbs = self._verbs(planned, trial.recipes, self.plan.store)
            method = type(planned.method.method)(**trial.params)
            composition = self._attached(planned, method, verbs)
            tried.append(Tried(trial, verbs, composition, evaluator.validate(composition)))
        best = max(tried, key=lambda entry: entry.validated.value)
        if len(tried) == 1:
            return best, []
        paid = Ported(
            best.verbs.fitted,
            best.verbs.ported,
            _in_trials([entry.verbs.once for entry in tried], len(tried)),
            _in_trials([entry.verbs.per_upgrade for entry in tried] + [self._reading(tried, planned)], len(tried)),
        )
        tuning = [
            {"params": {**entry.trial.params, **entry.trial.drawn}, "value": entry.validated.value}
            | {"view": "validation"}
            | ({"chosen": True} if entry is best else {})
            for entry in tried
        ]
        return replace(best, verbs=paid), tuning

    def _reading(self, tried: Sequence[Tried], planned: PlannedCell) -> CostTerm:
        """What choosing among trials costs: every member of each reads the validation examples."""
        flops = [self.evaluator(planned).reading(entry.composition) for entry in tried]
        price = None if any(value is None for value in flops) else sum(value or 0 for value in flops)
        return CostTerm(train_flops=price, seconds=0.0, examples=len(planned.task.roles["validation"]) * len(tried))

    def _verbs(self, planned: PlannedCell, recipes: Mapping[str, Tuning], store: Store) -> Ported:
        """`fit`, then `port`."""
        method = planned.method.for_verbs()
        source, target = planned.source, planned.target
        only_source = {alias: recipe for alias, recipe in recipes.items() if alias == source.card.alias}

        def fit(data: Data, tools: LiveTools) -> Artifact | None:
            return method.fit(source, data, tools)

        fitted, once = self._verb(planned, "fit", fit, only_source, [source.key], store)

        def port(data: Data, tools: LiveTools) -> Artifact | None:
            return method.port(fitted, source, target, data, tools)

        made_from = [source.key, target.key, fitted.key if fitted else ""]
        ported, per_upgrade = self._verb(planned, "port", port, recipes, made_from, store)
        return Ported(fitted, ported, once, per_upgrade)

    def _verb(
        self,
        planned: PlannedCell,
        verb: str,
        run: VerbCall,
        recipes: Mapping[str, Tuning],
        made_from: list[str],
        store: Store,
    ) -> tuple[Artifact | None, CostTerm]:
        """Run a verb, or take what it left when it was run on the very same things before."""
        data = verb_data(planned, verb)
        views = {role: getattr(data, role) for role in dir(data)}
        chosen = planned.method.method
        settings = {name: chosen.params[name] for name in chosen.card.settings}
        method = [planned.method.name, planned.method.source_sha256, settings]
        shown = {alias: recipe.model_dump() for alias, recipe in recipes.items()}
        seen = {role: view.key for role, view in views.items()}
        place = [planned.cell.seed, self.networks.device.type, training_source(), torch.__version__]
        key = digest(["verb", verb, method, made_from, seen, shown, place])
        how = planned.task.spec.template
        tools = LiveTools(store, recipes, planned.cell.seed, self.networks, self.meter, how, self.report)
        note = store.note(key)
        if note is not None:
            artifact = tools.artifact(note["artifact"]) if note["artifact"] else None
            if artifact is None or artifact.path.is_file():
                cost = CostTerm.model_validate(note["cost"])
                # What was merely passed on had been paid by another verb.
                made_here = note["artifact"] is not None and note["artifact"] not in made_from
                return artifact, cost.model_copy(update={"reused": bool(cost.examples) or made_here})
        started = time.perf_counter()
        artifact = run(data, tools)
        if artifact is not None and not isinstance(artifact, Artifact):
            kind = type(artifact).__name__
            raise CellError(f"method {planned.method.name}: {verb} returned a {kind}, not an Artifact or None")
        read = {role: len(view.read) for role, view in views.items() if isinstance(view, TaskView)}
        cost = tools.ledger.term(time.perf_counter() - started, read)
        store.put_note(key, {"artifact": artifact.key if artifact else None, "cost": cost.model_dump()})
        return artifact, cost

    def _attached(self, planned: PlannedCell, method: Method, verbs: Ported) -> Composition:
        found = method.attach(verbs.ported, planned.source, planned.target)
        if not isinstance(found, Composition):
            raise CellError(
                f"method {planned.method.name}: attach returned a {type(found).__name__}, not a Composition"
            )
        return found

    def _per_query(self, composition: Composition, evaluator: Evaluator, latency: list[LatencyRow] | None) -> PerQuery:
        query = evaluator.query(composition)
        flops, parameters, memory = self.meter.measure(composition, query)
        return PerQuery(
            unit=query.unit, shape=query.shape(), flops=flops, params=parameters, memory=memory, latency=latency
        )


def _in_trials(terms: Sequence[CostTerm], trials: int) -> CostTerm:
    together = total(terms)
    return together.model_copy(update={"trials": trials if together.examples else 1})


def limited(examples: Examples, limit: int | None) -> Examples:
    """The first `limit` of the examples in an order that a fixed seed decides, so that all classes are met."""
    if limit is None or limit >= len(examples):
        return examples
    order = np.random.default_rng(LIMIT_SEED).permutation(len(examples))
    return examples.subset(sorted(order[:limit].tolist()))


def _artifacts(verbs: Ported) -> list[Artifacts]:
    found = []
    if verbs.fitted is not None:
        found.append(Artifacts(verb="fit", key=verbs.fitted.key, log=verbs.fitted.manifest()["log"]))
    if verbs.ported is not None and verbs.ported != verbs.fitted:
        found.append(Artifacts(verb="port", key=verbs.ported.key, log=verbs.ported.manifest()["log"]))
    return found
