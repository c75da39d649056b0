"""Does one cell: the verbs, the composition's outputs on the test split, the record."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from prt_bench.anchors import Anchor, Comparison, anchor_of, compare, refuse
from prt_bench.api import Composition, Model
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
from prt_bench.plan import Plan, PlannedCell
from prt_bench.provenance import absent_provenance, cards, provenance, whole, write_record
from prt_bench.reasons import ALWAYS_ABSENT, absent_costs, copied_latency
from prt_bench.records import Artifacts, Cost, CostTerm, PerQuery, Quality, Record, TuningTrial
from prt_bench.session import Timed
from prt_bench.session_records import CostSession
from prt_bench.store import Store
from prt_bench.task_spec import Recipe
from prt_bench.tasks import Task
from prt_bench.text_evaluator import TextEvaluator
from prt_bench.tools import Planned
from prt_bench.training_session import Asked, merged
from prt_bench.trials import Trial
from prt_bench.verbs import Failed, Ported, Verbs, attached, shown

__all__ = ["CellWorker"]

LIMIT_SEED = 0
UNTRAINED = Recipe(steps=0, batch_size=1, learning_rate=1.0, warmup_steps=0, weight_decay=0.0, clip_norm=1.0)
"""Gives artifacts of the right shape, at no training."""


@dataclass(frozen=True)
class Tried:
    """One trial of a cell, and what validation says of it."""

    trial: Trial
    verbs: Ported
    composition: Composition
    validated: Validated


@dataclass(frozen=True)
class Broken:
    """A trial that failed, such as one whose learning rate was too high."""

    trial: Trial
    verbs: Ported
    """What was paid until then."""
    error: CellError
    composition: Composition | None = None
    """Where it came as far as being validated."""


class CellWorker:
    """Does cells of one plan, with networks kept warm between them."""

    def __init__(self, plan: Plan, report: Progress) -> None:
        self.plan = plan
        self.report = report
        request = plan.request
        self.networks = Networks(plan.registry, request.places, plan.store, request.device, report, request.weights)
        self.meter = CompositionMeter(self.networks)
        self._verbs = Verbs(self.networks, self.meter, report)
        self._evaluators: dict[tuple[str, int | None], Evaluator] = {}
        self._anchored: dict[str, Comparison] = {}
        self._warned: set[str] = set()
        self._failed: dict[str, Failed] = {}

    def prepare(self, planned: PlannedCell) -> None:
        """Load both models: what is wrong with them, or with what the task asks of them, is said before any work."""
        self.networks.get(planned.source)
        self.networks.get(planned.target)
        # What may not be scored is its own cells' to say.
        with suppress(SkipError):
            self.evaluator(planned).refuse_unfit(planned.target)

    def evaluator(self, planned: PlannedCell) -> Evaluator:
        """Who asks compositions what the cell's task asks."""
        return self._evaluator(planned.task, planned.cell.limit)

    def _validator(self, planned: PlannedCell) -> Evaluator:
        """Who validates what was tuned, on the task that it was tuned on."""
        return self._evaluator(planned.task.tuning, planned.cell.limit)

    def _evaluator(self, task: Task, limit: int | None) -> Evaluator:
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
        verbs = self._verbs.ported(planned, recipes, scratch, planned.learning.target)
        composition = attached(planned.method.name, method.method, verbs, planned.source, planned.target)
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

    def do(self, planned: PlannedCell) -> Record:
        """The cell's record, all but its latency; its predictions are written, the record is not."""
        started = now()
        self.evaluator(planned).refuse_unscored()
        self._hold_to_anchors(planned)
        chosen, tuning = self._best(planned)
        verbs, evaluator = chosen.verbs, self.evaluator(planned)
        self._hold_to_published(planned, chosen.composition)
        method = type(planned.method.method)(**chosen.trial.params)
        composition = attached(planned.method.name, method, verbs, planned.source, planned.target)
        scores = evaluator.test(composition, chosen.validated)
        predictions = planned.path.with_suffix(".predictions.csv")
        write_atomically(predictions, scores.predictions)
        per_query = self._per_query(composition, evaluator)
        absent = absent_costs(verbs.once, verbs.per_upgrade, per_query, str(self.networks.device))
        absent |= dict(scores.absent)
        networks = {model.card.alias: self.networks.get(model) for model in (planned.source, planned.target)}
        origin = provenance(self.plan, planned, networks, started)
        return Record(
            cell=planned.cell,
            status="ok",
            quality=Quality(
                primary=planned.task.primary,
                metrics=scores.metrics,
                nll=scores.nll,
                nll_calibrated=scores.nll_calibrated,
                ece=scores.ece,
                temperature=scores.temperature,
                reliability=scores.reliability,
                per_class=scores.per_class,
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
            cards=cards(planned),
        )

    def complete(self, planned: PlannedCell, record: Record, session: CostSession | str) -> Record:
        """The record with the latency that `session` holds, or the reason why there is none; it is written."""
        assert record.cost is not None
        latency, absent = copied_latency(planned.method.label, session)
        per_query = record.cost.per_query.model_copy(update={"latency": latency})
        cost = record.cost.model_copy(update={"per_query": per_query})
        whole_record = record.model_copy(update={"cost": cost, "absent": {**record.absent, **absent}})
        write_record(planned, whole_record)
        return whole_record

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
            if found is not None and (found.pinned or found.anchor.what not in self._warned):
                self._warned.add(found.anchor.what)
                refuse(found)

    def _hold_to_published(self, planned: PlannedCell, composition: Composition) -> None:
        """Compare every published encoder that the composition runs with the score it was published with."""
        if planned.cell.limit is not None:
            return
        for model in composition.members.values():
            published = model.artifact.manifest().get("published") if model.artifact else None
            if published is not None:
                source = f"the card of {published['repository']}"
                anchor = Anchor(
                    model, f"{model.name} on {planned.task.tuning.name}", "top1", published["tuned"], source
                )
                refuse(compare(anchor, planned.task.tuning, self.networks))

    def _best(self, planned: PlannedCell) -> tuple[Tried, list[TuningTrial]]:
        """The trial that validation prefers, at the price of all; and what each reached.

        Chosen on the source, every trial is done as if the source were the target: once, and for any target. Chosen on
        the target, all of them are done again at every upgrade.
        """
        pair, first = planned.learning, planned.trials[0]
        if len(planned.trials) == 1:
            return self._tried(planned, first, pair.target), []
        on_source = planned.cell.strengths == "source"
        attempts = [
            self._attempt(planned, trial, pair.source if on_source else pair.target) for trial in planned.trials
        ]
        tried = [entry for entry in attempts if isinstance(entry, Tried)]
        if not tried:
            reasons = [entry.error for entry in attempts if isinstance(entry, Broken)]
            raise CellError(f"all {len(attempts)} trials failed; the first: {reasons[0]}")
        best = max(tried, key=lambda entry: entry.validated.value)
        # Trials that differ in strengths alone stand on the same work.
        works = list({digest(shown(entry.trial.recipes)): entry.verbs for entry in attempts}.values())
        fitting, porting = [work.once for work in works], [work.per_upgrade for work in works]
        reading = self._reading(planned, [entry.composition for entry in attempts if entry.composition])
        if on_source:
            final = self._tried(planned, best.trial, pair.target)
            paid = replace(final.verbs, once=_in_trials([*fitting, *porting, reading], len(attempts)))
        else:
            final = best
            paid = replace(
                final.verbs,
                once=_in_trials(fitting, len(works)),
                per_upgrade=_in_trials([*porting, reading], len(attempts)),
            )
        view = "source validation" if on_source else "validation"
        return replace(final, verbs=paid), [self._told(planned, entry, view, entry is best) for entry in attempts]

    def _tried(self, planned: PlannedCell, trial: Trial, target: Model) -> Tried:
        """A trial. Raises CellError where it fails."""
        found = self._attempt(planned, trial, target)
        if isinstance(found, Broken):
            raise found.error
        return found

    def _attempt(self, planned: PlannedCell, trial: Trial, target: Model) -> Tried | Broken:
        work = digest([planned.cell.id, shown(trial.recipes), target.key])
        verbs = self._failed.get(work) or self._verbs.attempted(planned, trial.recipes, self.plan.store, target)
        if isinstance(verbs, Failed):
            # Trials that differ in strengths alone fail together.
            self._failed[work] = verbs
            return Broken(trial, verbs.paid, verbs.error)
        method = type(planned.method.method)(**trial.params)
        composition = attached(planned.method.name, method, verbs, planned.learning.source, target)
        try:
            return Tried(trial, verbs, composition, self._validator(planned).validate(composition))
        except SkipError:
            raise
        except CellError as error:
            return Broken(trial, verbs, error, composition)

    def _told(self, planned: PlannedCell, entry: Tried | Broken, view: str, chosen: bool) -> TuningTrial:
        """What the record says of a trial."""
        terms = [entry.verbs.once, entry.verbs.per_upgrade]
        value, error = None, ""
        if entry.composition:
            terms.append(self._reading(planned, [entry.composition]))
        if isinstance(entry, Tried):
            value = entry.validated.value
        else:
            error = str(entry.error)
        params = {**entry.trial.params, **entry.trial.drawn}
        price = total(terms).train_flops
        return TuningTrial(params=params, value=value, view=view, chosen=chosen, train_flops=price, error=error)

    def _reading(self, planned: PlannedCell, compositions: Sequence[Composition]) -> CostTerm:
        """What choosing among compositions costs: their members read the validation examples."""
        flops, seconds = self._validator(planned).reading(compositions)
        examples = len(planned.task.roles["validation"]) * len(compositions)
        return CostTerm(train_flops=flops, seconds=seconds, examples=examples)

    def _per_query(self, composition: Composition, evaluator: Evaluator) -> PerQuery:
        query = evaluator.query(composition)
        flops, parameters, memory = self.meter.measure(composition, query)
        return PerQuery(
            unit=query.unit, shape=query.shape(), flops=flops, params=parameters, memory=memory, latency=None
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
