"""What a composition costs per query, and sessions that time a pair's compositions against each other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from prt_bench.api import Composition, Model, Network, WeightedSum
from prt_bench.composing import compose
from prt_bench.environment import describe, now, packages
from prt_bench.files import digest
from prt_bench.meters.flops import Count, count_composition, count_forward, counted, input_shape
from prt_bench.meters.latency import P90_ROUNDS, Timings, interleave, percentile, ratio_interval
from prt_bench.networks import Networks
from prt_bench.records import CostSession, Flops, LatencyRow, Memory, PairNames, ParameterCount, Params, SessionEntry

__all__ = ["CompositionMeter", "Timed", "measure_session"]

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


class CompositionMeter:
    """FLOPs, parameters and weight bytes of compositions, from networks without weights."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self._shapes: dict[str, tuple[Count, int, int, tuple[int, ...]]] = {}

    def measure(self, composition: Composition) -> tuple[Flops, ParameterCount, Memory]:
        """Per query. Calls are measured by running the composition, not declared."""
        found = {name: self._member(model) for name, model in composition.members.items()}
        counts = {name: member[0] for name, member in found.items()}
        labels = len(next(iter(composition.members.values())).space.labels)
        batch = 2
        calls: Counter[str] = Counter()

        def forward(name: str, model: Model) -> torch.Tensor:
            calls[name] += batch
            return torch.zeros(batch, labels)

        compose(composition, forward)
        one = {name: torch.zeros(1, labels) for name in composition.members}
        rule = counted(lambda: composition.rule(one))
        flops = count_composition(counts, {name: calls[name] / batch for name in counts}, rule)
        parameters = {name: member[1] for name, member in found.items()}
        held = {model.key: found[name][2] for name, model in composition.members.items()}
        return (
            flops,
            ParameterCount(total=sum(parameters.values()), by_member=parameters),
            Memory(weights=sum(held.values())),
        )

    def input_shape(self, model: Model) -> tuple[int, ...]:
        """Shape of one preprocessed example of a model."""
        return self._member(model)[3]

    def forward(self, model: Model) -> int:
        """FLOPs of one example, 0 where an operation has no formula."""
        return self._member(model)[0].flops

    def parameters(self, model: Model) -> int:
        """How many parameters a model has."""
        return self._member(model)[1]

    def _member(self, model: Model) -> tuple[Count, int, int, tuple[int, ...]]:
        key = digest([model.identity, model.space.labels])
        if key not in self._shapes:
            network = self._networks.shape_only(model)
            shape = input_shape(network)
            tensors = [*network.module.parameters(), *network.module.buffers()]
            self._shapes[key] = (
                count_forward(network, shape),
                sum(parameter.numel() for parameter in network.module.parameters()),
                sum(tensor.numel() * tensor.element_size() for tensor in tensors),
                shape,
            )
        return self._shapes[key]


def measure_session(
    session_id: str,
    pair: PairNames,
    target: Composition,
    entries: Sequence[Timed],
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
    by_work = {_work(target): REFERENCE}
    for entry in entries:
        stands_for = by_work.setdefault(_work(entry.composition), entry.label)
        same_as[entry.label] = stands_for
        compositions.setdefault(stands_for, entry.composition)
    members = [model for composition in compositions.values() for model in composition.members.values()]
    built = {model.key: networks.get(model) for model in members}
    shapes = {model.key: meter.input_shape(model) for model in members}
    rows: dict[str, list[LatencyRow]] = {entry.label: [] for entry in entries}
    floor: dict[str, float] = {}
    skipped: list[str] = []
    seconds_per_image = 0.0
    for done, batch_size in enumerate(batch_sizes):
        report(f"timing {pair} at batch {batch_size}", done, len(batch_sizes))
        systems = {
            name: _system(composition, built, shapes, batch_size, networks.device)
            for name, composition in compositions.items()
        }
        share = max_seconds / len(batch_sizes)
        if seconds_per_image * batch_size > share:
            skipped.append(f"batch {batch_size} was not timed: one pass of all would take more than {share:g} s")
            continue
        title = f"timing {pair} at batch {batch_size}"

        def tick(seconds: float, title: str = title, share: float = share) -> None:
            report(title, min(int(seconds), int(share)), int(share) + 1)

        timings = interleave(systems, REFERENCE, share, tick=tick)
        seconds_per_image = sum(percentile(times, 50) for times in timings.rounds.values()) / 1000 / batch_size
        floor[str(batch_size)] = ratio_interval(timings.rounds[REFERENCE_AGAIN], timings.rounds[REFERENCE])[1]
        for entry in entries:
            rows[entry.label].append(_row(session_id, batch_size, timings, same_as[entry.label]))
    report(f"timing {pair}", len(batch_sizes), len(batch_sizes))
    reasons = sorted({reason for timed in rows.values() for row in timed for reason in row.reasons}) + skipped
    target_model = next(iter(target.members.values()))
    return CostSession(
        id=session_id,
        pair=pair,
        unit="image",
        shape={"input": list(meter.input_shape(target_model)), "classes": len(target_model.space.labels)},
        weights=networks.weights,
        placement="members one after another on one device",
        order="random ABBA rounds",
        excludes=list(EXCLUDED),
        compositions={entry.label: _entry(entry, rows[entry.label], meter) for entry in entries},
        noise_floor=floor,
        valid=not reasons,
        reasons=reasons,
        environment=describe(str(networks.device)),
        packages=packages(),
        started=started,
        finished=now(),
        absent={
            "compositions.*.flops.analytic": ABSENT["analytic"],
            "compositions.*.memory.kv": ABSENT["kv"],
            "compositions.*.memory.peak": ABSENT["peak"],
            **{f"compositions.*.flops.{name}": ABSENT["text"] for name in ("prefill", "per_token")},
            **{f"compositions.*.latency.*.{name}": ABSENT["text"] for name in ("ttft_ms", "tpot_ms", "tokens_per_s")},
            "compositions.*.latency.*.p90_ms": "null where fewer than 64 rounds were timed",
            "compositions.*.flops.total": "null where `uncounted_ops` names operations without a formula",
        },
    )


REFERENCE = "target alone"
REFERENCE_AGAIN = "target alone, again"


def _entry(entry: Timed, rows: list[LatencyRow], meter: CompositionMeter) -> SessionEntry:
    flops, parameters, memory = meter.measure(entry.composition)
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


def _work(composition: Composition) -> str:
    """Equal where two compositions surely do the same work: weighted sums over the same networks."""
    members = sorted(model.identity for model in composition.members.values())
    if isinstance(composition.rule, WeightedSum):
        return digest(members)
    return digest([members, id(composition)])


def _system(
    composition: Composition,
    built: Mapping[str, Network],
    shapes: Mapping[str, tuple[int, ...]],
    batch_size: int,
    device: torch.device,
) -> Callable[[], object]:
    """A query of `batch_size` images through every member and the rule, until the answer is there."""
    generator = torch.Generator().manual_seed(0)
    pixels = {
        model.key: torch.randn(batch_size, *shapes[model.key], generator=generator).to(device)
        for model in composition.members.values()
    }

    def answer() -> object:
        with torch.inference_mode():
            logits = compose(composition, lambda _, model: built[model.key].module(pixels[model.key]))
            return logits.argmax(dim=-1).cpu()

    return answer


def _row(session: str, batch_size: int, timings: Timings, name: str) -> LatencyRow:
    rounds = timings.rounds[name]
    return LatencyRow(
        session=session,
        batch_size=batch_size,
        p50_ms=percentile(rounds, 50),
        p90_ms=percentile(rounds, 90) if len(rounds) >= P90_ROUNDS else None,
        ratio_to_target=ratio_interval(rounds, timings.rounds[REFERENCE]),
        valid=not timings.reasons,
        reasons=list(timings.reasons),
    )
