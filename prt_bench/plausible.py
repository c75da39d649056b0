"""What the numbers of a record say of each other: a record whose numbers cannot all be true is refused when it is read.

Odd is not impossible. A method above its reference or below every floor, an error of 0, or a temperature that makes
the test worse is a finding, and welcome.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prt_bench.errors import RequestError

if TYPE_CHECKING:
    from prt_bench.cards import Strict
    from prt_bench.records import Cost, Flops, LatencyRow, Metric, ParameterCount, Quality, Record

__all__ = [
    "AGREEMENT", "EXACT", "LARGEST", "Problem", "flop_problems", "latency_problems", "parameter_problems",
    "ratio_problems", "refusal", "refuse_impossible", "sign_problems", "size_problems", "time_problems",
    "zero_problems",
]  # fmt: skip

EXACT = 1e-9
"""How far apart two ways to one number may be by rounding."""
WHOLE = 1e-6
"""How far a share of items times their number may be from a count."""
SHARES = ("top1", "mean_per_class")
LARGEST = 1e30
"""More than anything that is measured here: what is computed from numbers below it stays finite."""
DEEPEST = 30
AGREEMENT = 0.01
"""How far FLOPs that are declared may be from those that ran."""
Problem = tuple[str, str]
"""Dotted path of a value, and why it cannot be."""


def refuse_impossible(record: Record, path: Path) -> None:
    """Raise RequestError, with the file and the dotted path, where a record contradicts itself."""
    # Only the first is asked for, so that a check may rely on those before it.
    for where, what in _problems(record):
        raise refusal(path, where, what)


def refusal(path: Path, where: str, what: str) -> RequestError:
    """What is raised where a file contradicts itself."""
    return RequestError(f"{path}: {where}: {what}; the file was changed or written by something else")


def _problems(record: Record) -> Iterator[Problem]:
    yield from size_problems(record)
    holds = record.status == "ok"
    for name, missing in (("quality", record.quality is None), ("cost", record.cost is None)):
        if holds and missing:
            yield name, "null, though the status is ok"
    if record.quality is not None and not holds:
        yield "quality", f"there are scores, though the status is {record.status}"
    if (record.error is None) != holds:
        yield "error", f"{'null' if record.error is None else 'not null'}, though the status is {record.status}"
    if record.partial != (record.cell.limit is not None):
        yield "partial", f"{record.partial}, though the cell's limit is {record.cell.limit}"
    for alias in (record.cell.pair.source, record.cell.pair.target):
        if alias not in record.provenance.models:
            yield "provenance.models", f"lacks {alias}, a model of the pair"
    yield from time_problems(record.provenance.started, record.provenance.finished, "provenance.")
    if record.quality is not None:
        yield from _quality(record.quality)
    if record.cost is not None:
        yield from _cost(record.cost)


def time_problems(started: str, finished: str, where: str = "") -> Iterator[Problem]:
    """Times that are none, or an end before its start."""
    found = {}
    for name, text in (("started", started), ("finished", finished)):
        try:
            time = datetime.fromisoformat(text)
        except ValueError:
            yield f"{where}{name}", f"{text!r} is no time"
            return
        found[name] = time if time.tzinfo else time.replace(tzinfo=UTC)
    if found["finished"] < found["started"]:
        yield f"{where}finished", f"{finished} is before the start, {started}"


def _quality(quality: Quality) -> Iterator[Problem]:
    yield from _metrics(quality.metrics, "quality.metrics")
    yield from _metrics(quality.validation or {}, "quality.validation")
    if quality.primary not in quality.metrics:
        yield "quality.primary", f"{quality.primary!r} is none of the metrics {', '.join(quality.metrics)}"
    for name, value in (("nll", quality.nll), ("nll_calibrated", quality.nll_calibrated)):
        if value is not None and value < 0:
            yield f"quality.{name}", f"{value} is below 0"
    if quality.ece is not None:
        yield from _share(quality.ece, "quality.ece")
    if quality.temperature is not None and quality.temperature <= 0:
        yield "quality.temperature", f"{quality.temperature} is not above 0"
    yield from sign_problems(quality.counts, "quality.counts")
    yield from _tuning(quality)
    top1 = quality.metrics.get("top1")
    if quality.reliability is not None:
        yield from _reliability(quality, top1)
    if quality.per_class is not None:
        yield from _per_class(quality.per_class, top1, quality.metrics.get("mean_per_class"))


def _tuning(quality: Quality) -> Iterator[Problem]:
    """One of several trials is chosen, the best of those that did not fail."""
    chosen = [trial for trial in quality.tuning if trial.chosen]
    if quality.tuning and len(chosen) != 1:
        yield "quality.tuning", f"{len(chosen)} trials are chosen"
    best = max((trial.value for trial in quality.tuning if trial.value is not None), default=None)
    if chosen and chosen[0].value != best:
        yield "quality.tuning", f"the chosen trial reached {chosen[0].value}, the best one {best}"
    for index, trial in enumerate(quality.tuning):
        yield from sign_problems(trial.train_flops, f"quality.tuning.{index}.train_flops")
        if (trial.value is None) != bool(trial.error):
            yield f"quality.tuning.{index}.value", f"{trial.value}, and the reason of a failure is {trial.error!r}"
        if quality.primary in SHARES and trial.value is not None and not 0 <= trial.value <= 1:
            yield f"quality.tuning.{index}.value", f"{trial.value} is no share"


def _metrics(metrics: Mapping[str, Metric], path: str) -> Iterator[Problem]:
    for name, metric in metrics.items():
        where, value = f"{path}.{name}", metric.value
        if metric.n < 1:
            yield f"{where}.n", f"a score of {metric.n} items"
        if name in SHARES:
            yield from _share(value, f"{where}.value")
        if name == "top1":
            yield from _count(value, metric.n, f"{where}.value")
        if metric.ci95 is not None and not metric.ci95[0] - EXACT <= value <= metric.ci95[1] + EXACT:
            yield where, f"the interval {list(metric.ci95)} does not hold the value {value}"


def _reliability(quality: Quality, top1: Metric | None) -> Iterator[Problem]:
    where, bins = "quality.reliability", quality.reliability or []
    if not bins:
        yield where, "no answers"
    for index, one in enumerate(bins):
        yield from _share(one.confidence, f"{where}.{index}.confidence")
        yield from _share(one.accuracy, f"{where}.{index}.accuracy")
        yield from _count(one.accuracy, one.n, f"{where}.{index}.accuracy")
        if index and one.confidence < bins[index - 1].confidence - EXACT:
            yield f"{where}.{index}.confidence", f"{one.confidence} is below that of the bin before"
    n = sum(one.n for one in bins)
    error = sum(one.n * abs(one.accuracy - one.confidence) for one in bins) / n
    if quality.ece is None or abs(quality.ece - error) > EXACT:
        yield "quality.ece", f"{quality.ece} is not what its bins give, {error}"
    if top1 is not None:
        yield from _counted(n, sum(one.n * one.accuracy for one in bins), top1, where)


def _per_class(
    counts: Mapping[str, tuple[int, int]], top1: Metric | None, mean_per_class: Metric | None
) -> Iterator[Problem]:
    where = "quality.per_class"
    if not counts:
        yield where, "no classes"
    for name, (right, items) in counts.items():
        if not 0 <= right <= items or not items:
            yield f"{where}.{name}", f"{right} right of {items} items"
    recall = sum(right / items for right, items in counts.values()) / len(counts)
    if mean_per_class is not None and abs(recall - mean_per_class.value) > EXACT:
        yield "quality.metrics.mean_per_class", f"{mean_per_class.value} is not the mean recall of classes, {recall}"
    if top1 is not None:
        items, right = (sum(pair[place] for pair in counts.values()) for place in (1, 0))
        yield from _counted(items, right, top1, where)


def _counted(items: int, right: float, top1: Metric, where: str) -> Iterator[Problem]:
    """What parts of the test sum to, against the whole."""
    if items != top1.n:
        yield where, f"{items} items in all, though top1 is of {top1.n}"
    if abs(right - top1.value * top1.n) > WHOLE:
        yield where, f"{right} right in all, though top1 says {top1.value * top1.n}"


def _cost(cost: Cost) -> Iterator[Problem]:
    # Only the shape is free in what it holds.
    yield from sign_problems(cost.model_dump(exclude={"per_query": {"shape"}}), "cost")
    for name, term in (("once", cost.once), ("per_upgrade", cost.per_upgrade)):
        if term.trials < 1:
            yield f"cost.{name}.trials", f"{term.trials} trials"
    query, where = cost.per_query, "cost.per_query"
    yield from flop_problems(query.flops, query.shape, f"{where}.flops")
    yield from parameter_problems(query.params, query.flops, f"{where}.params")
    for index, row in enumerate(query.latency or ()):
        yield from latency_problems(row, f"{where}.latency.{index}")


def flop_problems(flops: Flops, shape: Mapping[str, Any], where: str) -> Iterator[Problem]:
    """FLOPs of a query that are not the sum of their parts."""
    if set(flops.calls) != set(flops.by_member):
        yield f"{where}.calls", f"of {', '.join(flops.calls)}, though the members are {', '.join(flops.by_member)}"
    if not any(flops.calls.values()):
        yield f"{where}.calls", "no network runs"
    if (flops.total is None) != bool(flops.uncounted_ops):
        yield f"{where}.total", f"{flops.total}, though operations without a formula are {flops.uncounted_ops}"
    if flops.counted is not None and flops.counted != flops.total:
        yield f"{where}.total", f"{flops.total} is not what was counted, {flops.counted}"
    if flops.total is None:
        return
    parts = [flops.rule]
    for name, calls in flops.calls.items():
        each = flops.by_member[name]
        if each is None:
            yield f"{where}.by_member.{name}", f"null, though the total is {flops.total}"
        parts.append(round(Fraction(calls) * (each or 0)))
    if sum(parts) != flops.total:
        yield f"{where}.total", f"{flops.total} is not the sum of members by their calls and the rule, {sum(parts)}"
    if flops.analytic is not None and abs(flops.total - flops.analytic) > AGREEMENT * flops.analytic:
        yield f"{where}.analytic", f"{flops.analytic} is not, within {AGREEMENT:.0%}, what ran, {flops.total}"
    for name, part in (("causal", flops.causal), ("prefill", flops.prefill)):
        if part is not None and part > flops.total:
            yield f"{where}.{name}", f"{part} is more than all of it, {flops.total}"
    output = shape.get("output_tokens")
    if isinstance(output, int) and flops.prefill is not None and flops.per_token is not None:
        request = flops.prefill + (output - 1) * flops.per_token + flops.rule
        if request != flops.total:
            yield f"{where}.total", f"{flops.total} is not prefill, {output - 1} further tokens and the rule, {request}"


def parameter_problems(params: ParameterCount, flops: Flops, where: str) -> Iterator[Problem]:
    """More or fewer parameters than the members have."""
    if set(params.by_member) != set(flops.by_member):
        yield f"{where}.by_member", f"of {', '.join(params.by_member)}, though {', '.join(flops.by_member)} run"
    # A network that is two members is held once, and called under the first of their names.
    least = max(sum(count for name, count in params.by_member.items() if flops.calls[name]), *params.by_member.values())
    most = sum(params.by_member.values())
    if not least <= params.total <= most:
        yield f"{where}.total", f"{params.total} is not between {least} and {most}, what its members have"


def latency_problems(row: LatencyRow, where: str) -> Iterator[Problem]:
    """Times that cannot be."""
    for name in ("batch_size", "rounds", "p50_ms", "p90_ms", "ttft_ms", "tpot_ms", "tokens_per_s"):
        yield from zero_problems(getattr(row, name), f"{where}.{name}")
    if row.p90_ms is not None and row.p90_ms < row.p50_ms * (1 - EXACT):
        yield f"{where}.p90_ms", f"{row.p90_ms} is less than the median, {row.p50_ms}"
    if row.ratio_to_target is not None:
        yield from ratio_problems(row.ratio_to_target, f"{where}.ratio_to_target")


def zero_problems(value: float | None, where: str) -> Iterator[Problem]:
    """A number that is there and is not above 0."""
    if value is not None and value <= 0:
        yield where, f"{value} is not above 0"


def ratio_problems(ratio: tuple[float, float, float], where: str) -> Iterator[Problem]:
    """An interval that does not hold its ratio, or a ratio that is not above 0."""
    low, middle, high = ratio
    if not 0 < low <= middle * (1 + EXACT) <= high * (1 + 2 * EXACT):
        yield where, f"the interval [{low}, {high}] does not hold the ratio {middle}"


def _share(value: float, where: str) -> Iterator[Problem]:
    if not -EXACT <= value <= 1 + EXACT:
        yield where, f"{value} is not between 0 and 1"


def _count(share: float, n: int, where: str) -> Iterator[Problem]:
    if abs(share * n - round(share * n)) > WHOLE:
        yield where, f"{share} of {n} items is no whole number"


def sign_problems(value: Any, where: str) -> Iterator[Problem]:
    """Every number below 0 in dicts and lists of them."""
    if isinstance(value, int | float):
        if value < -EXACT:
            yield where, f"{value} is below 0"
        return
    for key, part in _inside(value):
        yield from sign_problems(part, f"{where}.{key}")


def size_problems(schema: Strict) -> Iterator[Problem]:
    """Every number that is larger than can be, and what is nested deeper than anything here."""
    values = schema.model_dump()
    if not _is_bounded(values):
        yield from _large(values, "", 0)


def _is_bounded(values: dict[str, Any]) -> bool:
    """Whether `_large` has nothing to say: level by level, which is faster."""
    level: list[Any] = [values]
    for _ in range(DEEPEST + 1):
        parts = [part for one in level for part in (one.values() if isinstance(one, dict) else one)]
        if not all(-LARGEST < part < LARGEST for part in parts if isinstance(part, int | float)):
            return False
        level = [part for part in parts if isinstance(part, dict | list | tuple)]
        if not level:
            return True
    return False


def _large(value: Any, where: str, depth: int) -> Iterator[Problem]:
    if isinstance(value, int | float):
        if not -LARGEST < value < LARGEST:
            yield where, f"{str(value)[:12]}… is more than anything that is measured here"
    elif depth > DEEPEST:
        yield where, f"lists and objects in each other, more than {DEEPEST} deep"
    else:
        for key, part in _inside(value):
            yield from _large(part, f"{where}.{key}" if where else str(key), depth + 1)


def _inside(value: Any) -> Iterable[tuple[Any, Any]]:
    return value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
