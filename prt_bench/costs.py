"""What a composition costs per query, and sessions that time a pair's compositions against each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from prt_bench.api import Composition, Model, Network, TextNetwork, TokenBatch, WeightedSum
from prt_bench.composing import compose, shared_outputs
from prt_bench.environment import describe, now, packages
from prt_bench.files import digest
from prt_bench.meters.flops import Count, count_composition, counted
from prt_bench.meters.latency import P90_ROUNDS, Timings, interleave, percentile, ratio_interval
from prt_bench.meters.pricing import Price, forward_price, training_price
from prt_bench.meters.queries import Query
from prt_bench.networks import Networks
from prt_bench.records import CostSession, Flops, LatencyRow, Memory, PairNames, ParameterCount, Params, SessionEntry
from prt_bench.task_spec import LowRank

__all__ = ["CompositionMeter", "System", "Timed", "Workload", "measure_session"]

ABSENT = {
    "analytic": "the closed form is a later version's",
    "kv": "images need no key-value cache",
    "peak": "peak memory needs a fresh process per composition: a later version's",
    "text": "for text only",
}
EXCLUDED = ("decoding and preprocessing of images", "building of text heads: once per class set")


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

    def times(self) -> tuple[float, float, float] | None:
        """Of the runs so far, in ms: median time to the first token and per further token, and the tokens per
        second of a median run; None for images."""


class Workload(Protocol):
    """What compositions of one task are asked."""

    def query(self, composition: Composition) -> Query:
        """The unit of cost."""

    def system(self, composition: Composition, batch_size: int) -> System:
        """So many such queries at once."""


@dataclass(frozen=True)
class _Member:
    """What is counted of a network once."""

    price: Price
    parameters: int
    weight_bytes: int
    bytes_per_token: int


class CompositionMeter:
    """FLOPs, parameters and bytes of compositions, from networks without weights."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self._members: dict[str, _Member] = {}
        self._training: dict[str, Price] = {}

    def measure(self, composition: Composition, query: Query) -> tuple[Flops, ParameterCount, Memory]:
        """Per query. Calls are measured by running the composition, not declared."""
        found = {name: self._member(model) for name, model in composition.members.items()}
        flops = {name: query.flops(member.price) for name, member in found.items()}
        counts = {name: Count(part.total or 0, 0, found[name].price.uncounted) for name, part in flops.items()}
        batch = 2
        calls: Counter[str] = Counter()

        def forward(name: str, model: Model) -> torch.Tensor:
            calls[name] += batch
            return torch.zeros(batch, model.space.size)

        compose(composition, forward)
        columns = shared_outputs(list(composition.members.values())).size
        one = {name: torch.zeros(1, columns) for name in composition.members}
        rule = counted(lambda: composition.rule(one))
        per_query = {name: calls[name] / batch for name in counts}
        total = count_composition(counts, per_query, rule, query.rows)
        text = query.kept_tokens and total.total is not None
        parts = {
            "prefill": _sum(part.prefill for part in flops.values()) if text else None,
            "per_token": _sum(part.per_token for part in flops.values()) if text else None,
        }
        parameters = {name: member.parameters for name, member in found.items()}
        held = {model.key: found[name].weight_bytes for name, model in composition.members.items()}
        kept = sum(member.bytes_per_token for member in found.values()) * query.kept_tokens
        return (
            total.model_copy(update=parts),
            ParameterCount(total=sum(parameters.values()), by_member=parameters),
            Memory(weights=sum(held.values()), kv=kept if query.kept_tokens else None),
        )

    def price(self, model: Model) -> Price:
        """FLOPs of a pass at inference."""
        return self._member(model).price

    def training(self, model: Model, low_rank: LowRank | None = None, checkpointing: bool = False) -> Price:
        """FLOPs of a pass forward and backward, of what learns by a recipe with these settings."""
        shown = low_rank.model_dump() if low_rank else None
        key = digest([model.identity, model.space.key, shown, checkpointing])
        if key not in self._training:
            self._training[key] = training_price(self._networks.shape_only(model), low_rank, checkpointing)
        return self._training[key]

    def parameters(self, model: Model) -> int:
        """How many parameters a model has."""
        return self._member(model).parameters

    def _member(self, model: Model) -> _Member:
        key = digest([model.identity, model.space.key])
        if key not in self._members:
            network = self._networks.shape_only(model)
            tensors = [*network.module.parameters(), *network.module.buffers()]
            self._members[key] = _Member(
                forward_price(network),
                sum(parameter.numel() for parameter in network.module.parameters()),
                sum(tensor.numel() * tensor.element_size() for tensor in tensors),
                _bytes_per_token(network),
            )
        return self._members[key]


def _sum(values: Iterable[int | None]) -> int:
    return sum(value or 0 for value in values)


def _bytes_per_token(network: Network) -> int:
    """Keys and values of one token."""
    if not isinstance(network, TextNetwork):
        return 0
    past = network.new_past()
    with torch.no_grad():
        network.module(TokenBatch(torch.zeros(1, 1, dtype=torch.long, device="meta"), past=past))
    return past.nbytes


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
    report: Callable[[str, int, int], None],
) -> CostSession:
    """Time all compositions of a pair, interleaved in this process, at each batch size.

    Compositions that run the same networks under the same rule are timed once. The target alone enters
    twice: the ratio of its two medians is the session's noise floor.
    """
    started = now()
    compositions = {REFERENCE: target, REFERENCE_AGAIN: target}
    same_as: dict[str, str] = {}
    by_work = {_work(target, workload): REFERENCE}
    for entry in entries:
        stands_for = by_work.setdefault(_work(entry.composition, workload), entry.label)
        same_as[entry.label] = stands_for
        compositions.setdefault(stands_for, entry.composition)
    rows: dict[str, list[LatencyRow]] = {entry.label: [] for entry in entries}
    floor: dict[str, float] = {}
    skipped: list[str] = []
    seconds_per_query = 0.0
    for done, batch_size in enumerate(batch_sizes):
        report(f"timing {pair} at batch {batch_size}", done, len(batch_sizes))
        systems = {name: workload.system(composition, batch_size) for name, composition in compositions.items()}
        share = max_seconds / len(batch_sizes)
        if seconds_per_query * batch_size > share:
            skipped.append(f"batch {batch_size} was not timed: one pass of all would take more than {share:g} s")
            continue
        title = f"timing {pair} at batch {batch_size}"

        def tick(seconds: float, title: str = title, share: float = share) -> None:
            report(title, min(int(seconds), int(share)), int(share) + 1)

        timings = interleave(systems, REFERENCE, share, tick=tick)
        seconds_per_query = sum(percentile(times, 50) for times in timings.rounds.values()) / 1000 / batch_size
        floor[str(batch_size)] = ratio_interval(timings.rounds[REFERENCE_AGAIN], timings.rounds[REFERENCE])[1]
        for entry in entries:
            name = same_as[entry.label]
            rows[entry.label].append(_row(session_id, batch_size, timings, name, systems[name]))
    report(f"timing {pair}", len(batch_sizes), len(batch_sizes))
    reasons = sorted({reason for timed in rows.values() for row in timed for reason in row.reasons}) + skipped
    query = workload.query(target)
    texts = () if query.kept_tokens else ("prefill", "per_token")
    times = () if query.kept_tokens else ("ttft_ms", "tpot_ms", "tokens_per_s")
    return CostSession(
        id=session_id,
        pair=pair,
        unit=query.unit,
        shape=query.shape(),
        weights=networks.weights,
        placement="members one after another on one device",
        order="random ABBA rounds",
        excludes=list(EXCLUDED),
        compositions={entry.label: _entry(entry, rows[entry.label], meter, workload) for entry in entries},
        noise_floor=floor,
        valid=not reasons,
        reasons=reasons,
        environment=describe(str(networks.device)),
        packages=packages(),
        started=started,
        finished=now(),
        absent={
            "compositions.*.flops.analytic": ABSENT["analytic"],
            **({} if query.kept_tokens else {"compositions.*.memory.kv": ABSENT["kv"]}),
            "compositions.*.memory.peak": ABSENT["peak"],
            **{f"compositions.*.flops.{name}": ABSENT["text"] for name in texts},
            **{f"compositions.*.latency.*.{name}": ABSENT["text"] for name in times},
            "compositions.*.latency.*.p90_ms": "null where fewer than 64 rounds were timed",
            "compositions.*.flops.total": "null where `uncounted_ops` names operations without a formula",
        },
    )


REFERENCE = "target alone"
REFERENCE_AGAIN = "target alone, again"


def _entry(entry: Timed, rows: list[LatencyRow], meter: CompositionMeter, workload: Workload) -> SessionEntry:
    flops, parameters, memory = meter.measure(entry.composition, workload.query(entry.composition))
    return SessionEntry(
        method=entry.method,
        params=entry.params,
        method_source_sha256=entry.source_sha256,
        members={name: model.name for name, model in entry.composition.members.items()},
        flops=flops,
        params_count=parameters,
        memory=memory,
        latency=rows,
    )


def _work(composition: Composition, workload: Workload) -> str:
    """Equal where two compositions surely do the same work: weighted sums over the same networks, of like queries."""
    members = [*sorted(model.identity for model in composition.members.values()), workload.query(composition).shape()]
    if isinstance(composition.rule, WeightedSum):
        return digest(members)
    return digest([members, id(composition)])


def _row(session: str, batch_size: int, timings: Timings, name: str, system: System) -> LatencyRow:
    rounds = timings.rounds[name]
    first, further, rate = system.times() or (None, None, None)
    return LatencyRow(
        session=session,
        batch_size=batch_size,
        p50_ms=percentile(rounds, 50),
        p90_ms=percentile(rounds, 90) if len(rounds) >= P90_ROUNDS else None,
        ratio_to_target=ratio_interval(rounds, timings.rounds[REFERENCE]),
        ttft_ms=first,
        tpot_ms=further,
        tokens_per_s=rate,
        valid=not timings.reasons,
        reasons=list(timings.reasons),
    )
