"""Training at true sizes: steps of what the methods of a pair train, timed against tuning the source alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace

import psutil
import torch

from prt_bench.api import Model
from prt_bench.composing import Shared, shared_outputs
from prt_bench.costs import CompositionMeter
from prt_bench.feeds import Step
from prt_bench.meters.latency import interleave, percentile, ratio_interval, stopwatch
from prt_bench.meters.memory import peak_of
from prt_bench.networks import Networks, Progress
from prt_bench.session import Workload
from prt_bench.session_records import TrainingRow
from prt_bench.task_spec import Recipe
from prt_bench.toolbox import Training
from prt_bench.training import Loop, learning_loop
from prt_bench.work import Price, Work

__all__ = ["Asked", "measure_trainings", "merged"]

BYTES_PER_PARAMETER = 20
"""In single precision: the kept network, the one that learns, its gradients and two moments of the optimiser."""
SPARE = 0.8
"""Part of the free memory that training may take."""
PASSES = 18
"""Steps of every training that a batch size must have time for: two for memory, the others timed."""
PEAK_STEPS = 2


@dataclass(frozen=True)
class Asked:
    """A training that methods ask for."""

    training: Training
    methods: tuple[str, ...]

    def row(self, live: bool, **values: object) -> TrainingRow:
        """What is known of it; values that are not given are null."""
        empty = dict.fromkeys(("batch_size", "flops", "step_ms", "ratio", "peak_memory_bytes"))
        kept = "live" if live else "computed once"
        return TrainingRow.model_validate(
            {
                "model": self.training.model.card.alias,
                "frozen": [model.name for model in self.training.frozen.values()],
                "frozen_outputs": kept if self.training.frozen else "none",
                "methods": list(self.methods),
                **empty,
                **values,
            }
        )


@dataclass(frozen=True)
class _Variant:
    """One way to do it: with frozen networks that answer live, or whose answers are at hand."""

    asked: Asked
    recipe: Recipe
    live: bool

    @property
    def key(self) -> str:
        """Variants of one key change the same network."""
        return f"{self.asked.training.model.key} {self.recipe.low_rank}"

    @property
    def shared(self) -> Shared:
        training = self.asked.training
        return shared_outputs([training.model, *training.frozen.values()])


def measure_trainings(
    asked: Sequence[Asked],
    source: Model,
    workload: Workload,
    work: Work,
    keeps_outputs: bool,
    networks: Networks,
    meter: CompositionMeter,
    most_together: int,
    speed: float,
    seconds: float,
    report: Progress,
) -> list[TrainingRow]:
    """A row for every training and way to do it.

    Args:
        work: what one query of training reads.
        keeps_outputs: whether the answers of frozen networks to fixed inputs are kept, as they are for images.
        most_together: the largest batch size; the largest power of two that there is time for is taken.
        speed: FLOPs per second of the target, to know how long steps will take.
        seconds: how long all this may take.
    """
    rows, variants = [], []
    for entry in asked:
        if not isinstance(entry.training.tuning, Recipe):
            rows.append(entry.row(True, reasons=["others did the tuning"]))
        elif entry.training.tuning.learns == "head":
            rows.append(entry.row(False, reasons=["a head learns from features that are at hand: its steps are free"]))
        else:
            ways = (True, False) if entry.training.frozen and keeps_outputs else (True,)
            variants += [_Variant(entry, entry.training.tuning, live) for live in ways]
    prices = {id(variant): _price(variant, meter, work) for variant in variants}
    fitting, refused = _fitting(variants, networks, meter)
    fitting, late = _in_time(fitting, prices, speed, seconds)
    rows += [
        variant.asked.row(variant.live, flops=prices[id(variant)], reasons=[reason])
        for variant, reason in refused + late
    ]
    if not fitting:
        return rows
    batch_size = _batch_size([prices[id(variant)] or 0 for variant in fitting], most_together, speed, seconds)
    networks.forget()
    timed = _timed(fitting, source, workload, networks, batch_size, seconds, report)
    return [timed[id(variant)].model_copy(update={"flops": prices[id(variant)]}) for variant in fitting] + rows


def _price(variant: _Variant, meter: CompositionMeter, work: Work) -> int | None:
    """FLOPs of one query of training."""
    training, recipe = variant.asked.training, variant.recipe
    own: Price = meter.training(training.model, recipe)
    parts = [own.of(work), *(meter.price(model).of(work) for model in training.frozen.values() if variant.live)]
    return None if None in parts else sum(part or 0 for part in parts)


def _fitting(
    variants: Sequence[_Variant], networks: Networks, meter: CompositionMeter
) -> tuple[list[_Variant], list[tuple[_Variant, str]]]:
    """Those whose networks learn beside each other in the memory that is free, the smallest first, and the others."""
    free = _free(networks) * SPARE
    fitting, refused, taken = [], [], set[str]()
    for variant in sorted(variants, key=lambda variant: _size(variant, meter)):
        needed = BYTES_PER_PARAMETER * meter.parameters(variant.asked.training.model)
        if variant.key in taken or needed <= free:
            free -= 0 if variant.key in taken else needed
            taken.add(variant.key)
            fitting.append(variant)
        else:
            reason = f"training it takes about {needed / 1e9:.0f} GB, {max(free, 0) / 1e9:.0f} GB are left for it"
            refused.append((variant, reason))
    return fitting, refused


def _size(variant: _Variant, meter: CompositionMeter) -> tuple[int, int]:
    training = variant.asked.training
    return meter.parameters(training.model), len(training.frozen)


def _free(networks: Networks) -> int:
    """Bytes that are free once the networks at hand are dropped."""
    networks.forget()
    if networks.device.type == "cuda":
        torch.cuda.empty_cache()
        return int(torch.cuda.mem_get_info(networks.device)[0])
    return int(psutil.virtual_memory().available)


def _in_time(
    variants: Sequence[_Variant], prices: Mapping[int, int | None], speed: float, seconds: float
) -> tuple[list[_Variant], list[tuple[_Variant, str]]]:
    """Those for which there is time, one example at a time, and the others."""
    fitting: list[_Variant] = []
    late: list[tuple[_Variant, str]] = []
    total = 0.0
    for variant in variants:
        price = prices[id(variant)]
        if price is None or speed <= 0:
            late.append((variant, "operations without a FLOP formula: how long steps would take is not known"))
            continue
        needed = PASSES * price / speed
        if total + needed <= seconds:
            total += needed
            fitting.append(variant)
        else:
            text = (
                f"{PASSES} steps of one example would take {needed:.0f} s, {seconds - total:.0f} s were left for them"
            )
            late.append((variant, text))
    return fitting, late


def _batch_size(flops: Sequence[int], most: int, speed: float, seconds: float) -> int:
    """The largest power of two up to `most` for which there is time."""
    per_query = PASSES * sum(flops) / max(speed, 1.0)
    size = 1 << (most.bit_length() - 1)
    while size > 1 and size * per_query > seconds:
        size //= 2
    return size


def _timed(
    variants: Sequence[_Variant],
    source: Model,
    workload: Workload,
    networks: Networks,
    batch_size: int,
    seconds: float,
    report: Progress,
) -> dict[int, TrainingRow]:
    makers = {}
    for variant in variants:
        training = variant.asked.training
        makers[id(variant)] = workload.steps(training.model, training.frozen, batch_size, variant.live)
    peaks = {}
    for number, variant in enumerate(variants):
        report("peak memory of training", number, len(variants))
        peaks[id(variant)] = _peak(variant, makers[id(variant)], networks)
    with ExitStack() as stack:
        loops: dict[str, Loop] = {}
        for variant in variants:
            if variant.key not in loops:
                network = networks.fresh(variant.asked.training.model)
                loops[variant.key] = stack.enter_context(learning_loop(network, variant.recipe, 0))[0]
        systems = {str(id(variant)): _stepping(variant, loops, makers[id(variant)]) for variant in variants}
        plain = [variant for variant in variants if _is_plain(variant, source)]
        reference = str(id((plain or list(variants))[0]))
        left = seconds * (PASSES - PEAK_STEPS) / PASSES
        timings = interleave(
            systems,
            reference,
            left,
            tick=lambda gone: report("timing training", min(int(gone), int(left)), int(left) + 1),
            once=stopwatch(networks.device),
        )
    report("timing training", 1, 1)
    untold = [] if plain else ["no ratio: no method tunes the source alone here"]
    found = {}
    for variant in variants:
        rounds = timings.rounds[str(id(variant))]
        peak, reason = peaks[id(variant)]
        found[id(variant)] = variant.asked.row(
            variant.live,
            batch_size=batch_size,
            step_ms=percentile(rounds, 50),
            ratio=ratio_interval(rounds, timings.rounds[reference]) if plain else None,
            peak_memory_bytes=peak,
            rounds=len(rounds),
            reasons=[*timings.reasons, *untold, *([reason] if peak is None else [])],
        )
    return found


def _is_plain(variant: _Variant, source: Model) -> bool:
    training = variant.asked.training
    return training.model.identity == source.identity and not training.frozen


def _stepping(variant: _Variant, loops: Mapping[str, Loop], make: Callable[[], Step]) -> Callable[[], object]:
    loop, rule, shared = loops[variant.key], variant.asked.training.rule, variant.shared
    # The first steps of a warm-up: whatever is learnt from noise stays small.
    return lambda: loop.step(0, make(), rule, shared)


def _peak(variant: _Variant, make: Callable[[], Step], networks: Networks) -> tuple[int | None, str]:
    """Bytes that a few steps add to what is held before."""
    training = variant.asked.training
    networks.get(training.model)

    def run() -> None:
        with learning_loop(networks.fresh(training.model), variant.recipe, 0) as (loop, _):
            for number in range(PEAK_STEPS):
                loop.step(number, make(), training.rule, variant.shared)

    _, peak = peak_of(run, str(networks.device))
    return peak.added, peak.reason


def merged(asked: Sequence[tuple[str, Training, str]]) -> list[Asked]:
    """Trainings by key, each with the methods that ask for it."""
    found: dict[str, Asked] = {}
    for key, training, method in asked:
        known = found.get(key, Asked(training, ()))
        found[key] = replace(known, methods=tuple(dict.fromkeys((*known.methods, method))))
    return list(found.values())
