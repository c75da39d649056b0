"""A cost session: a pair's compositions timed against each other, interleaved, in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from prt_bench.api import Composition, Model, WeightedSum
from prt_bench.costs import CompositionMeter
from prt_bench.environment import describe, now, packages
from prt_bench.errors import CellError
from prt_bench.feeds import Step
from prt_bench.files import digest
from prt_bench.meters import energy
from prt_bench.meters.latency import P90_ROUNDS, Timings, interleave, p90_bound, percentile, ratio_interval, stopwatch
from prt_bench.meters.queries import Query
from prt_bench.networks import Networks, Progress
from prt_bench.records import LatencyRow, PairNames, Params
from prt_bench.session_records import PEAK_FIELDS, CostSession, SessionEntry

__all__ = ["ABSENT", "System", "Timed", "Workload", "measure_session"]

ABSENT = {
    "kv": "images need no key-value cache",
    "causal": "images are no sequences that are read from left to right",
    "peak": "peak memory needs a process of its own per composition: `prt-bench cost` measures it",
    "text": "for text only, and per further token for answers of two or more",
    "p90_ms": f"a bound of the 90th percentile needs {P90_ROUNDS} rounds",
}
REFERENCE = "target alone"
REFERENCE_AGAIN = "target alone, again"
PLACEMENT = "one after another"


@dataclass(frozen=True)
class Timed:
    """A method as it enters a session: its composition, on zero-step or real artifacts of the right shape."""

    label: str
    method: str
    params: Params
    source_sha256: str
    composition: Composition


class System(Protocol):
    """A query of some batch size through a composition, ready to be timed."""

    def __call__(self) -> object:
        """Run it until the answer is there."""

    def times(self, rounds: int) -> tuple[float, float | None, float] | None:
        """Of the last so many runs, in ms: median time to the first token and per further token, and the tokens per
        second of a median run; None for images."""


class Workload(Protocol):
    """What compositions of one task are asked."""

    def query(self, composition: Composition) -> Query:
        """The unit of cost."""

    def system(self, composition: Composition, batch_size: int) -> System:
        """So many such queries at once."""

    def steps(self, model: Model, frozen: Mapping[str, Model], batch_size: int, live: bool) -> Callable[[], Step]:
        """Makes steps of training on so many queries; frozen networks answer live, or their answers are at hand."""


def measure_session(
    session_id: str,
    pair: PairNames,
    target: Composition,
    entries: Sequence[Timed],
    workload: Workload,
    networks: Networks,
    meter: CompositionMeter,
    batch_sizes: Sequence[int],
    max_seconds: float,
    report: Progress,
) -> CostSession:
    """Time all compositions of a pair, interleaved in this process, at each batch size.

    Compositions of the same shape under the same rule are timed once. The target alone enters twice: the ratio of
    its two medians is the session's noise floor. Peak memory and training are measured elsewhere, and filled in.
    """
    started, query = now(), workload.query(target)
    counter, energy_source = energy.find_counter(str(networks.device))
    timing = _Timing(session_id, pair, workload, networks, meter, counter, report)
    timing.take(target, entries, batch_sizes, max_seconds)
    rows = timing.rows
    dropped = [
        f"{entry.label} was not timed: {timing.dropped[timing.timed_as[entry.label]]}"
        for entry in entries
        if timing.timed_as[entry.label] in timing.dropped
    ]
    if counter is not None:
        energy_source = counter.source if timing.measures_energy else timing.energy_problem
    reasons = sorted({reason for timed in rows.values() for row in timed for reason in row.reasons})
    texts = () if query.kept_tokens else ("prefill", "per_token")
    times = () if query.kept_tokens else ("ttft_ms", "tpot_ms", "tokens_per_s")
    return CostSession(
        id=session_id,
        pair=pair,
        unit=query.unit,
        shape=query.shape(),
        weights=networks.weights,
        placement=PLACEMENT,
        order="random ABBA rounds",
        excludes=list(query.excludes),
        compositions={
            entry.label: _entry(entry, timing, meter, workload.query(entry.composition))
            for entry in entries
            if timing.timed_as[entry.label] not in timing.dropped
        },
        noise_floor={size: ratio[1] for size, ratio in timing.noise.items()},
        noise_interval=timing.noise,
        dtypes=timing.dtypes,
        max_seconds=max_seconds,
        skipped=[*timing.skipped, *dropped],
        target_flops=meter.measure(target, query)[0].total,
        flops_per_second=timing.speed,
        energy_source=energy_source,
        valid=not reasons,
        reasons=reasons,
        environment=describe(str(networks.device)),
        packages=packages(),
        started=started,
        finished=now(),
        absent={
            **({} if query.kept_tokens else {"compositions.*.memory.kv": ABSENT["kv"]}),
            **({} if query.kept_tokens else {"compositions.*.flops.causal": ABSENT["causal"]}),
            "compositions.*.flops.analytic": "null where a family has no closed form of the architecture",
            **{f"compositions.*.memory.{name}": ABSENT["peak"] for name in PEAK_FIELDS},
            **{f"compositions.*.flops.{name}": ABSENT["text"] for name in texts},
            **{f"compositions.*.latency.*.{name}": ABSENT["text"] for name in times},
            "compositions.*.latency.*.p90_ms": ABSENT["p90_ms"],
            **({} if timing.measures_energy else {"compositions.*.latency.*.energy_joules": energy_source}),
            "compositions.*.flops.total": "null where `uncounted_ops` names operations without a formula",
            "training": "`prt-bench cost` times training",
        },
    )


class _Timing:
    """The rounds of all batch sizes."""

    def __init__(
        self,
        session_id: str,
        pair: PairNames,
        workload: Workload,
        networks: Networks,
        meter: CompositionMeter,
        counter: energy.Counter | None,
        report: Progress,
    ) -> None:
        self._session_id, self._pair, self._workload = session_id, pair, workload
        self._networks, self._meter, self._counter, self._report = networks, meter, counter, report
        self.rows: dict[str, list[LatencyRow]] = {}
        self.timed_as: dict[str, str] = {}
        self.noise: dict[str, tuple[float, float, float]] = {}
        self.skipped: list[str] = []
        self.dropped: dict[str, str] = {}
        """Compositions that could not run, with the reason."""
        self.energy_problem = ""
        self.dtypes: list[str] = []
        self.speed = 0.0
        """FLOPs per second of the target alone, at the largest batch size that was timed; of text in reading."""

    @property
    def measures_energy(self) -> bool:
        """Whether there is a counter that moves."""
        return self._counter is not None and not self.energy_problem

    def take(
        self, target: Composition, entries: Sequence[Timed], batch_sizes: Sequence[int], max_seconds: float
    ) -> None:
        """Fill all of the above."""
        compositions = {REFERENCE: target, REFERENCE_AGAIN: target}
        by_work = {self._work(target): REFERENCE}
        for entry in entries:
            self.timed_as[entry.label] = by_work.setdefault(self._work(entry.composition), entry.label)
            compositions.setdefault(self.timed_as[entry.label], entry.composition)
        self.rows = {entry.label: [] for entry in entries}
        end = time.monotonic() + max_seconds
        fitting = self._fitting(compositions, sorted(batch_sizes), max_seconds)
        compositions = {name: each for name, each in compositions.items() if name not in self.dropped}
        entries = [entry for entry in entries if self.timed_as[entry.label] in compositions]
        for done, batch_size in enumerate(fitting):
            title = f"timing {self._pair} at batch {batch_size}"
            self._report(title, done, len(fitting))
            systems = {name: self._workload.system(each, batch_size) for name, each in compositions.items()}
            # What a smaller batch did not need, a larger one has.
            timings = self._rounds(systems, title, (end - time.monotonic()) / (len(fitting) - done))
            self._keep(target, entries, systems, timings, batch_size)
        self._report(f"timing {self._pair}", len(fitting), len(fitting))

    def _fitting(
        self, compositions: Mapping[str, Composition], batch_sizes: Sequence[int], max_seconds: float
    ) -> list[int]:
        """The batch sizes that there is time for, by a pass at each; the smallest is timed in any case."""
        smallest, *larger = batch_sizes
        self._report(f"timing {self._pair} at batch {smallest}", 0, len(batch_sizes))
        seconds = self._pass(compositions, smallest)
        fitting, needed = [smallest], LEAST_PASSES * seconds
        for batch_size in larger:
            # More at once take less time each: what would not fit even so is not tried.
            seconds *= batch_size / smallest
            smallest = batch_size
            if seconds <= max_seconds / LEAST_PASSES * MOST_GAIN:
                seconds = self._pass(compositions, batch_size)
            if needed + LEAST_PASSES * seconds <= max_seconds:
                needed += LEAST_PASSES * seconds
                fitting.append(batch_size)
            else:
                self.skipped.append(
                    f"batch {batch_size} was not timed: {LEAST_PASSES} passes would take about "
                    f"{LEAST_PASSES * seconds:.0f} s"
                )
        return fitting

    def _pass(self, compositions: Mapping[str, Composition], batch_size: int) -> float:
        """Seconds of a second pass of all: the first sets things up.

        What cannot run is dropped, with the reason; the target alone must.
        """
        systems = {}
        for name, each in compositions.items():
            if name in self.dropped:
                continue
            try:
                systems[name] = self._workload.system(each, batch_size)
                systems[name]()
            except Exception as error:
                if name in (REFERENCE, REFERENCE_AGAIN):
                    raise
                systems.pop(name, None)
                self.dropped[name] = f"{type(error).__name__}: {' '.join(str(error).split())}"
        began = time.monotonic()
        for system in systems.values():
            system()
        return time.monotonic() - began

    def _rounds(self, systems: Mapping[str, System], title: str, share: float) -> Timings:
        def tick(seconds: float) -> None:
            self._report(title, min(int(seconds), int(share)), int(share) + 1)

        return interleave(systems, REFERENCE, share, tick=tick, once=stopwatch(self._networks.device))

    def _keep(
        self,
        target: Composition,
        entries: Sequence[Timed],
        systems: Mapping[str, System],
        timings: Timings,
        batch_size: int,
    ) -> None:
        alone = timings.rounds[REFERENCE]
        self.noise[str(batch_size)] = ratio_interval(timings.rounds[REFERENCE_AGAIN], alone)
        flops = self._meter.measure(target, self._workload.query(target))[0]
        first = (systems[REFERENCE].times(len(alone)) or (None,))[0]
        # Of text the prefill: decoding waits for memory, and training does not.
        done, milliseconds = (flops.total, percentile(alone, 50)) if first is None else (flops.prefill, first)
        self.speed = 1000 * (done or 0) * batch_size / milliseconds
        self.dtypes = sorted(set(self.dtypes) | _dtypes(entries, self._networks))
        names = {self.timed_as[entry.label] for entry in entries}
        rows = {name: _row(self._session_id, batch_size, timings, name, systems[name]) for name in names}
        for name in names:
            rows[name] = rows[name].model_copy(update={"energy_joules": self._joules(systems[name], batch_size)})
        for entry in entries:
            self.rows[entry.label].append(rows[self.timed_as[entry.label]])

    def _joules(self, system: System, batch_size: int) -> float | None:
        """Per query; None once the counter has been seen to stand still."""
        if self._counter is None or self.energy_problem:
            return None
        try:
            return energy.measure(system, self._counter)[0] / batch_size
        except CellError as error:
            self.energy_problem = str(error)
            return None

    def _work(self, composition: Composition) -> str:
        """Equal where two compositions surely do the same work: weighted sums over like networks, of like queries."""
        models = list(composition.members.values())
        shapes = {model.key: self._meter.shape(model) for model in models}
        facts = [sorted(shapes.values()), len(models), self._workload.query(composition).shape()]
        kinds = self._meter.preprocessings(composition)
        # Whose preprocessing is free depends on who comes first.
        facts += [kinds, shapes[models[0].key] if kinds > 1 else ""]
        # A subclass may do more.
        plain = type(composition.rule) is WeightedSum
        return digest([facts, "" if plain else id(composition)])


MOST_GAIN = 8.0
"""How many times faster each query may get in a larger batch, for a size to be tried at all."""
LEAST_PASSES = 18
"""Passes of all compositions that a batch size must have time for: a warm-up, and rounds enough to be valid."""


def _dtypes(entries: Sequence[Timed], networks: Networks) -> set[str]:
    models = {model.key: model for entry in entries for model in entry.composition.members.values()}
    known = [networks.loaded(model) for model in models.values()]
    parameters = [parameter for network in known if network for parameter in network.module.parameters()]
    return {str(parameter.dtype).removeprefix("torch.") for parameter in parameters}


def _entry(entry: Timed, timing: _Timing, meter: CompositionMeter, query: Query) -> SessionEntry:
    flops, parameters, memory = meter.measure(entry.composition, query)
    stands_for = timing.timed_as[entry.label]
    return SessionEntry(
        method=entry.method,
        params=entry.params,
        method_source_sha256=entry.source_sha256,
        members={name: model.name for name, model in entry.composition.members.items()},
        flops=flops,
        params_count=parameters,
        memory=memory,
        latency=timing.rows[entry.label],
        timed_as="" if stands_for == entry.label else stands_for,
        preprocessings=meter.preprocessings(entry.composition),
    )


def _row(session: str, batch_size: int, timings: Timings, name: str, system: System) -> LatencyRow:
    rounds = timings.rounds[name]
    first, further, rate = system.times(len(rounds)) or (None, None, None)
    return LatencyRow(
        session=session,
        batch_size=batch_size,
        p50_ms=percentile(rounds, 50),
        p90_ms=p90_bound(rounds),
        ratio_to_target=ratio_interval(rounds, timings.rounds[REFERENCE]),
        ttft_ms=first,
        tpot_ms=further,
        tokens_per_s=rate,
        rounds=len(rounds),
        placement=PLACEMENT,
        valid=not timings.reasons,
        reasons=list(timings.reasons),
    )
