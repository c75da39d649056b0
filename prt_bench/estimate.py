"""What a plan will take: networks to train, passes to make, disk for what is kept, and the time of it all."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from prt_bench.api import Artifact, Model
from prt_bench.costs import CompositionMeter
from prt_bench.language_spec import LanguageSpec
from prt_bench.networks import Networks
from prt_bench.plan import Plan, PlannedCell, verb_data
from prt_bench.task_spec import Recipe
from prt_bench.tasks import Spec
from prt_bench.toolbox import Training, opened
from prt_bench.tools import Planned, PlanTools
from prt_bench.trials import Trial
from prt_bench.work import Work

__all__ = ["Estimate", "ask", "estimate"]

BACKWARD = 2
"""A backward pass counts two forward ones, in this estimate."""
PRODUCT_SIZE = 1024
PRODUCT_ROUNDS = 20
BYTES_PER_PARAMETER = 4


@dataclass
class Estimate:
    """Plain values, so that they can cross from the worker's process."""

    trainings: list[str] = field(default_factory=list)
    reused: int = 0
    unknown: list[str] = field(default_factory=list)
    """Cells whose verbs only a run can tell of."""
    skipped: list[str] = field(default_factory=list)
    """Cells that do not apply, with the reason."""
    training_flops: int = 0
    reading_flops: int = 0
    artifact_bytes: int = 0
    flops_per_second: float = 0.0
    """Of a large matrix product on this machine and device, measured now."""

    @property
    def hours(self) -> float:
        """At the speed of a matrix product; real networks take longer."""
        return (self.training_flops + self.reading_flops) / max(self.flops_per_second, 1.0) / 3600


def estimate(plan: Plan, cells: Sequence[PlannedCell], networks: Networks) -> Estimate:
    """Ask the verbs of every cell, with tools that only note, and count."""
    found = Estimate()
    asked: dict[str, Training] = {}
    reads: dict[tuple[str, str], tuple[Model, Work]] = {}
    specs: dict[str, Spec] = {}
    for planned in cells:
        for trial in planned.trials:
            try:
                artifact, trainings = ask(plan, planned, trial)
                asked |= trainings
                specs |= dict.fromkeys(trainings, planned.task.spec)
                composition = planned.method.method.attach(artifact, planned.source, planned.target)
            except Planned:
                found.unknown.append(planned.title)
            except Exception as error:  # noqa: BLE001 - a plugin may raise anything; its own cell will say what
                reason = f"{planned.title} ({error})"
                (found.skipped if type(error).__name__ == SKIP else found.unknown).append(reason)
            else:
                test = len(planned.task.roles["test"])
                examples = min(test, planned.cell.limit or test) + len(planned.task.roles["validation"])
                for model in composition.members.values():
                    reads[model.key, planned.task.name] = (model, _work(planned.task.spec, examples))
    found.unknown, found.skipped = list(dict.fromkeys(found.unknown)), list(dict.fromkeys(found.skipped))
    missing = {key: text for key, text in asked.items() if not plan.store.path("artifacts", key).is_file()}
    found.trainings = [str(training) for training in missing.values()]
    found.reused = len(asked) - len(missing)
    _count(found, [(training, specs[key]) for key, training in missing.items()], list(reads.values()), networks)
    found.flops_per_second = matrix_product_speed(networks.device)
    return found


def ask(plan: Plan, planned: PlannedCell, trial: Trial) -> tuple[Artifact | None, dict[str, Training]]:
    """The artifact that the verbs of a cell would leave, and by key what they would train.

    Raises:
        Planned: a verb needs results that only a run has.
    """
    tools = PlanTools(plan.store, trial.recipes, planned.cell.seed, plan.request.device, plan.request.places)
    method, pair = planned.method.for_verbs(), planned.learning
    tools.opened = opened(method, {"source": pair.source})
    fitted = method.fit(pair.source, verb_data(planned, "fit"), tools)
    # Chosen on the source, trials end there, and the chosen one is ported: the first is as good a guess as any.
    on_source = planned.cell.strengths == "source"
    for target in [pair.source] * on_source + [pair.target] * (not on_source or trial is planned.trials[0]):
        tools.opened = opened(method, {"source": pair.source, "target": target})
        artifact = method.port(fitted, pair.source, target, verb_data(planned, "port"), tools)
    return artifact, tools.asked


SKIP = "SkipError"


def _work(spec: Spec, examples: int) -> Work:
    """What reading so many examples of a task is; a text is taken to be as long as the task's stated query."""
    if not isinstance(spec, LanguageSpec):
        return Work(images=examples)
    tokens, answer = spec.query.prompt_tokens + spec.query.output_tokens, spec.query.output_tokens
    return Work(lengths=Counter({tokens: examples}), rows=examples * answer)


def _count(
    found: Estimate,
    trainings: Sequence[tuple[Training, Spec]],
    reads: Sequence[tuple[Model, Work]],
    networks: Networks,
) -> None:
    meter = CompositionMeter(networks)

    def forward(model: Model, work: Work) -> int:
        return meter.price(model).of(work) or 0

    for training, spec in trainings:
        found.artifact_bytes += BYTES_PER_PARAMETER * meter.parameters(training.model)
        if isinstance(training.tuning, Recipe):
            seen = training.tuning.steps * training.tuning.batch_size
            live = training.tuning.random_resized_crop or isinstance(spec, LanguageSpec)
            passes = _work(spec, seen if live else training.examples)
            found.training_flops += (1 + BACKWARD) * forward(training.model, _work(spec, seen))
            found.training_flops += sum(forward(model, passes) for model in training.frozen.values())
    found.reading_flops += sum(forward(model, work) for model, work in reads)


def matrix_product_speed(device: torch.device) -> float:
    """FLOPs per second of a large product in single precision: what networks stay below."""
    matrix = torch.ones(PRODUCT_SIZE, PRODUCT_SIZE, device=device)
    product = matrix @ matrix
    started = time.perf_counter()
    for _ in range(PRODUCT_ROUNDS):
        product = matrix @ matrix
    # Waits for the device.
    product[0, 0].item()
    return 2 * PRODUCT_SIZE**3 * PRODUCT_ROUNDS / (time.perf_counter() - started)
