"""Runs the verbs of a method, or takes what they left when they were run on the very same things before."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from prt_bench.api import Artifact, Composition, Data, Method, Model
from prt_bench.costs import CompositionMeter
from prt_bench.errors import CellError, SkipError
from prt_bench.files import digest
from prt_bench.networks import Networks, Progress
from prt_bench.plan import PlannedCell, verb_data
from prt_bench.records import CostTerm
from prt_bench.store import Store
from prt_bench.task_spec import Tuning
from prt_bench.toolbox import opened, training_source
from prt_bench.tools import LiveTools
from prt_bench.views import TaskView

__all__ = ["Failed", "Ported", "Verbs", "attached", "shown"]

NOTHING = CostTerm(train_flops=0, seconds=0.0, examples=0)
VerbCall = Callable[[Data, LiveTools], Artifact | None]


@dataclass(frozen=True)
class Ported:
    """What the verbs left, and what they cost."""

    fitted: Artifact | None
    ported: Artifact | None
    once: CostTerm
    per_upgrade: CostTerm


@dataclass(frozen=True)
class Failed:
    """Verbs that did not come to an end: why, and what was paid until then."""

    error: CellError
    paid: Ported


class _Stopped(Exception):  # noqa: N818 - carries an error and its cost to whoever asked
    """A verb that failed, and what it was charged until then."""

    def __init__(self, error: CellError, cost: CostTerm) -> None:
        super().__init__(str(error))
        self.error = error
        self.cost = cost


class Verbs:
    """`fit` and `port`, with tools that do the work."""

    def __init__(self, networks: Networks, meter: CompositionMeter, report: Progress) -> None:
        self._networks = networks
        self._meter = meter
        self._report = report

    def ported(self, planned: PlannedCell, recipes: Mapping[str, Tuning], store: Store, target: Model) -> Ported:
        """`fit`, then `port` to a target. Raises CellError where one of them fails."""
        found = self.attempted(planned, recipes, store, target)
        if isinstance(found, Failed):
            raise found.error
        return found

    def attempted(
        self, planned: PlannedCell, recipes: Mapping[str, Tuning], store: Store, target: Model
    ) -> Ported | Failed:
        """The same, of a trial among others: where it fails, what it has cost."""
        method = planned.method.for_verbs()
        source = planned.learning.source
        only_source = {alias: recipe for alias, recipe in recipes.items() if alias == source.card.alias}

        def fit(data: Data, tools: LiveTools) -> Artifact | None:
            return method.fit(source, data, tools)

        try:
            fitted, once = self._verb(planned, "fit", fit, only_source, {"source": source}, [source.key], store)
        except _Stopped as stopped:
            return Failed(stopped.error, Ported(None, None, stopped.cost, NOTHING))

        def port(data: Data, tools: LiveTools) -> Artifact | None:
            return method.port(fitted, source, target, data, tools)

        models, made_from = (
            {"source": source, "target": target},
            [source.key, target.key, fitted.key if fitted else ""],
        )
        try:
            ported, per_upgrade = self._verb(planned, "port", port, recipes, models, made_from, store)
        except _Stopped as stopped:
            return Failed(stopped.error, Ported(fitted, None, once, stopped.cost))
        return Ported(fitted, ported, once, per_upgrade)

    def _verb(
        self,
        planned: PlannedCell,
        verb: str,
        run: VerbCall,
        recipes: Mapping[str, Tuning],
        models: Mapping[str, Model],
        made_from: list[str],
        store: Store,
    ) -> tuple[Artifact | None, CostTerm]:
        """Run a verb, or take what it left when it was run on the very same things before."""
        data = verb_data(planned, verb)
        views = {role: getattr(data, role) for role in dir(data)}
        chosen = planned.method.method
        settings = {name: chosen.params[name] for name in chosen.card.settings}
        method = [planned.method.name, planned.method.source_sha256, settings]
        seen = {role: view.key for role, view in views.items()}
        place = [planned.cell.seed, self._networks.device.type, training_source(), torch.__version__]
        key = digest(["verb", verb, method, made_from, seen, shown(recipes), place])
        how = planned.task.tuning.spec.template
        tools = LiveTools(store, recipes, planned.cell.seed, self._networks, self._meter, how, self._report)
        tools.opened = opened(chosen, models)
        note = store.note(key)
        if note is not None:
            artifact = tools.artifact(note["artifact"]) if note["artifact"] else None
            if artifact is None or artifact.path.is_file():
                cost = CostTerm.model_validate(note["cost"])
                # What was merely passed on had been paid by another verb.
                made_here = note["artifact"] is not None and note["artifact"] not in made_from
                return artifact, cost.model_copy(update={"reused": bool(cost.examples) or made_here})
        started = time.perf_counter()
        try:
            artifact = run(data, tools)
        except SkipError:
            raise
        except CellError as error:
            raise _Stopped(error, tools.ledger.term(time.perf_counter() - started, {})) from error
        if artifact is not None and not isinstance(artifact, Artifact):
            kind = type(artifact).__name__
            raise CellError(f"method {planned.method.name}: {verb} returned a {kind}, not an Artifact or None")
        read = {role: len(view.read) for role, view in views.items() if isinstance(view, TaskView)}
        cost = tools.ledger.term(time.perf_counter() - started, read)
        store.put_note(key, {"artifact": artifact.key if artifact else None, "cost": cost.model_dump()})
        return artifact, cost


def attached(name: str, method: Method, verbs: Ported, source: Model, target: Model) -> Composition:
    """What a method of this name runs at inference. Raises CellError where it gives something else."""
    found = method.attach(verbs.ported, source, target)
    if not isinstance(found, Composition):
        raise CellError(f"method {name}: attach returned a {type(found).__name__}, not a Composition")
    return found


def shown(recipes: Mapping[str, Tuning]) -> dict[str, dict[str, Any]]:
    """Recipes as plain values, by alias."""
    return {alias: recipe.model_dump() for alias, recipe in recipes.items()}
