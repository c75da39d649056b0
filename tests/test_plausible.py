"""Records whose numbers cannot all be true are refused with the number's path; odd ones are read."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prt_bench.errors import RequestError
from prt_bench.plausible import refuse_impossible
from prt_bench.records import Record, read_record
from tests.test_records import RECORD, written

PATH = Path("results/x.json")
QUERY = "cost.per_query"
FLOPS = f"{QUERY}.flops"
ROW = f"{QUERY}.latency.0"
ABOVE, BELOW = 4 / 6, 2 / 6
IMAGE = deepcopy(RECORD)
IMAGE["quality"] |= {
    "metrics": {
        "top1": {"value": 0.5, "ci95": [0.2, 0.8], "n": 10, "split": "test"},
        "mean_per_class": {"value": (3 / 4 + BELOW) / 2, "ci95": [0.3, 0.8], "n": 10, "split": "test"},
    },
    "validation": {"top1": {"value": 0.4, "ci95": [0.3, 0.8], "n": 5, "split": "validation"}},
    "nll": 0.9,
    "nll_calibrated": 0.8,
    "temperature": 1.5,
    "reliability": [{"n": 4, "confidence": 0.3, "accuracy": 0.25}, {"n": 6, "confidence": 0.9, "accuracy": ABOVE}],
    "ece": (4 * 0.05 + 6 * (0.9 - ABOVE)) / 10,
    "per_class": {"cat": [3, 4], "dog": [2, 6]},
    "tuning": [
        {"params": {"alpha": 1.0}, "value": 0.4, "view": "validation", "chosen": True, "train_flops": 7},
        {"params": {"alpha": 2.0}, "value": 0.3, "view": "validation", "train_flops": 7},
    ],
    "counts": {"requests": 3},
}  # fmt: skip
IMAGE["cost"]["per_query"] |= {
    "flops": {
        "total": 1043, "by_member": {"target": 1000, "tuned": 40, "source": 40},
        "calls": {"target": 1.0, "tuned": 1.0, "source": 0.0}, "rule": 3, "rule_elementwise": 9, "analytic": 1040,
        "counted": 1043,
    },
    "params": {"total": 12, "by_member": {"target": 7, "tuned": 5, "source": 5}},
    "memory": {"weights": 48, "peak": 99, "peak_batch_size": 1, "before": 9},
    "latency": [{
        "session": "s", "batch_size": 1, "p50_ms": 2.0, "p90_ms": 2.5, "ratio_to_target": [1.1, 1.2, 1.3],
        "rounds": 64, "energy_joules": 0.1, "valid": True,
    }],
}  # fmt: skip
TEXT = deepcopy(RECORD)
TEXT["quality"] |= {
    "primary": "exact",
    "metrics": {"exact": {"value": 0.25, "ci95": [0.1, 0.4], "n": 8, "split": "test"}},
    "nll": None, "nll_calibrated": None, "ece": None,
    "validation": {"token_likelihood": {"value": 0.7, "ci95": None, "n": 90, "split": "validation"}},
}  # fmt: skip
TEXT["cost"]["per_query"] |= {
    "unit": "request",
    "shape": {"prompt_tokens": 32, "output_tokens": 12},
    "flops": {
        "total": 128, "by_member": {"target": 60, "source": 44}, "calls": {"target": 1.0, "source": 1.0}, "rule": 24,
        "rule_elementwise": 0, "causal": 120, "prefill": 60, "per_token": 4,
    },
    "params": {"total": 3, "by_member": {"target": 2, "source": 1}},
    "memory": {"weights": 12, "kv": 8},
    "latency": [{
        "session": "s", "batch_size": 1, "p50_ms": 2.0, "p90_ms": None, "ratio_to_target": None, "ttft_ms": 1.0,
        "tpot_ms": 0.5, "tokens_per_s": 9.0, "valid": True,
    }],
}  # fmt: skip
TOP1 = {"top1": IMAGE["quality"]["metrics"]["top1"]}
SIX_RIGHT = "quality.per_class: 6 right in all, though top1 says 5.0"
ERROR = {"type": "CellError", "message": "no", "where": "fit"}


def changed(base: dict[str, Any], *changes: tuple[str, Any]) -> Record:
    """A record with other values at dotted paths."""
    # Not by deepcopy, which keeps two costs one where they were.
    record = json.loads(json.dumps(base))
    for where, value in changes:
        part: Any = record
        *way, last = where.split(".")
        for key in way:
            part = part[int(key) if isinstance(part, list) else key]
        part[int(last) if isinstance(part, list) else last] = value
    return Record.model_validate(record)


@pytest.mark.parametrize("base", [IMAGE, TEXT, RECORD], ids=["image", "text", "short"])
def test_a_record_that_holds_together_is_read(tmp_path: Path, base: dict[str, Any]) -> None:
    assert read_record(written(tmp_path, base)) == Record.model_validate(base)


def test_what_cannot_be_is_one_line_with_file_path_and_both_numbers(tmp_path: Path) -> None:
    path = written(tmp_path, changed(IMAGE, ("quality.metrics.top1.ci95", [0.9, 0.95])).model_dump(mode="json"))
    with pytest.raises(RequestError) as caught:
        read_record(path)
    assert str(caught.value) == (
        f"{path}: quality.metrics.top1: the interval [0.9, 0.95] does not hold the value 0.5; "
        "the file was changed or written by something else"
    )


IMPOSSIBLE: list[tuple[dict[str, Any], str, Any, str]] = [
    # The record as a whole.
    (RECORD, "quality", None, "quality: null"),
    (RECORD, "cost", None, "cost: null"),
    (RECORD, "status", "failed", "quality: there are scores"),
    (RECORD, "status", "skipped", "quality: there are scores"),
    (RECORD, "error", ERROR, "error: not null"),
    (RECORD, "partial", True, "partial: True, though the cell's limit is None"),
    (RECORD, "cell.limit", 3, "partial: False, though the cell's limit is 3"),
    (RECORD, "provenance.models", {"old": RECORD["provenance"]["models"]["old"]}, "provenance.models: lacks new"),
    (RECORD, "provenance.models", {"new": RECORD["provenance"]["models"]["old"]}, "provenance.models: lacks old"),
    (RECORD, "provenance.started", "2026-01-01T00:00:02Z", "provenance.finished: "),
    (RECORD, "provenance.started", "2026-01-01T00:00:01.5", "provenance.finished: "),
    (RECORD, "provenance.started", "", "provenance.started: '' is no time"),
    (RECORD, "provenance.finished", "soon", "provenance.finished: 'soon' is no time"),
    # Scores.
    (RECORD, "quality.primary", "top5", "quality.primary: 'top5' is none of the metrics top1"),
    (IMAGE, "quality.metrics.top1.value", 0.6, "quality.reliability: 5.0 right in all, though top1 says 6.0"),
    (IMAGE, "quality.metrics.top1.value", 0.55, "quality.metrics.top1.value: 0.55 of 10 items is no whole"),
    (RECORD, "quality.metrics.top1.value", 1.25, "quality.metrics.top1.value: 1.25 is not between"),
    (RECORD, "quality.metrics.top1.value", -0.25, "quality.metrics.top1.value: -0.25 is not between"),
    (RECORD, "quality.metrics.top1.n", 0, "quality.metrics.top1.n: a score of 0 items"),
    (TEXT, "quality.validation.token_likelihood.n", 0, "quality.validation.token_likelihood.n: "),
    (IMAGE, "quality.metrics.top1.n", 20, "quality.reliability: 10 items in all, though top1 is of 20"),
    (IMAGE, "quality.metrics.top1.ci95", [0.51, 0.8], "quality.metrics.top1: the interval"),
    (IMAGE, "quality.metrics.top1.ci95", [0.2, 0.49], "quality.metrics.top1: the interval"),
    (IMAGE, "quality.metrics.top1.ci95", [0.8, 0.2], "quality.metrics.top1: the interval"),
    (TEXT, "quality.metrics.exact.value", 0.05, "quality.metrics.exact: the interval"),
    (IMAGE, "quality.validation.top1.value", 0.2, "quality.validation.top1: the interval"),
    (IMAGE, "quality.metrics.mean_per_class.value", 0.5, "quality.metrics.mean_per_class: 0.5 is not the mean"),
    (IMAGE, "quality.metrics.mean_per_class.value", 1.5, "quality.metrics.mean_per_class.value: "),
    (IMAGE, "quality.nll", -0.1, "quality.nll: -0.1 is below 0"),
    (IMAGE, "quality.nll_calibrated", -0.1, "quality.nll_calibrated: -0.1 is below 0"),
    (IMAGE, "quality.ece", 0.1, "quality.ece: 0.1 is not what its bins give, 0.16"),
    (IMAGE, "quality.ece", None, "quality.ece: None is not what its bins give"),
    (RECORD, "quality.ece", 1.1, "quality.ece: 1.1 is not between 0 and 1"),
    (IMAGE, "quality.temperature", 0.0, "quality.temperature: 0.0 is not above 0"),
    (IMAGE, "quality.counts.requests", -1, "quality.counts.requests: -1 is below 0"),
    (IMAGE, "quality.tuning.1.chosen", True, "quality.tuning: 2 trials are chosen"),
    (IMAGE, "quality.tuning.0.chosen", False, "quality.tuning: 0 trials are chosen"),
    (IMAGE, "quality.tuning.0.value", 0.01, "quality.tuning: the chosen trial reached 0.01, the best one 0.3"),
    (IMAGE, "quality.tuning.1.value", None, "quality.tuning.1.value: None, and the reason of a failure is ''"),
    (IMAGE, "quality.tuning.1.error", "nan", "quality.tuning.1.value: 0.3, and the reason of a failure is 'nan'"),
    (IMAGE, "quality.tuning.1.value", -3.5, "quality.tuning.1.value: -3.5 is no share"),
    (IMAGE, "quality.tuning.1.train_flops", -7, "quality.tuning.1.train_flops: -7 is below 0"),
    (IMAGE, "quality.reliability", [], "quality.reliability: no answers"),
    (IMAGE, "quality.reliability.0.n", 8, "quality.ece: "),
    (IMAGE, "quality.reliability.0.confidence", 0.31, "quality.ece: "),
    (IMAGE, "quality.reliability.0.confidence", 0.91, "quality.reliability.1.confidence: 0.9 is below"),
    (IMAGE, "quality.reliability.1.confidence", 1.1, "quality.reliability.1.confidence: 1.1 is not between"),
    (IMAGE, "quality.reliability.1.accuracy", 7 / 6, "quality.reliability.1.accuracy: 1.16"),
    (IMAGE, "quality.reliability.1.accuracy", 0.6, "quality.reliability.1.accuracy: 0.6 of 6 items is no whole"),
    (IMAGE, "quality.reliability.1.accuracy", 5 / 6, "quality.ece: "),
    (IMAGE, "quality.per_class", {}, "quality.per_class: no classes"),
    (IMAGE, "quality.per_class.cat", [5, 4], "quality.per_class.cat: 5 right of 4 items"),
    (IMAGE, "quality.per_class.cat", [-1, 4], "quality.per_class.cat: -1 right"),
    (IMAGE, "quality.per_class.cat", [0, 0], "quality.per_class.cat: 0 right of 0"),
    (IMAGE, "quality.per_class.cat", [4, 4], "quality.metrics.mean_per_class: "),
    (IMAGE, "quality.per_class", {"cat": [6, 8], "dog": [2, 6]}, "quality.per_class: 14 items in all"),
    (IMAGE, "quality.per_class", {"a": [3, 3], "b": [1, 6], "c": [1, 1]}, "quality.metrics.mean_per_class: "),
    (IMAGE, "quality", IMAGE["quality"] | {"metrics": TOP1, "per_class": {"a": [4, 4], "b": [2, 6]}}, SIX_RIGHT),
    # Costs.
    (RECORD, "cost.once.train_flops", -1, "cost.once.train_flops: -1 is below 0"),
    (RECORD, "cost.once.seconds", -1.0, "cost.once.seconds: -1.0 is below 0"),
    (RECORD, "cost.per_upgrade.examples", -1, "cost.per_upgrade.examples: -1 is below 0"),
    (RECORD, "cost.per_upgrade.read", {"train": -1}, "cost.per_upgrade.read.train: -1 is below 0"),
    (RECORD, "cost.once.peak_memory_bytes", -1, "cost.once.peak_memory_bytes: "),
    (RECORD, "cost.once.energy_joules", -1.0, "cost.once.energy_joules: "),
    (RECORD, "cost.once.train_flops", 10**400, "cost.once.train_flops: 100000000000… is more than anything"),
    (RECORD, "cost.once.seconds", 1e30, "cost.once.seconds: 1e+30… is more than anything"),
    (RECORD, "cell.params.alpha", -1e300, "cell.params.alpha: -1e+300… is more than anything"),
    (RECORD, f"{QUERY}.shape.input", [[[10**31]]], f"{QUERY}.shape.input.0.0.0: 100000000000… is more"),
    (RECORD, "cost.once.trials", 0, "cost.once.trials: 0 trials"),
    (RECORD, "cost.per_upgrade.trials", 0, "cost.per_upgrade.trials: 0 trials"),
    (IMAGE, f"{FLOPS}.total", 1042, f"{FLOPS}.total: 1042 is not what was counted, 1043"),
    (IMAGE, f"{FLOPS}.counted", 1042, f"{FLOPS}.total: 1043 is not what was counted, 1042"),
    (TEXT, f"{FLOPS}.total", 129, f"{FLOPS}.total: 129 is not the sum of members by their calls and the rule, 128"),
    (IMAGE, f"{FLOPS}.by_member.target", 1001, f"{FLOPS}.total: 1043 is not the sum"),
    (IMAGE, f"{FLOPS}.by_member.tuned", None, f"{FLOPS}.by_member.tuned: null, though the total is 1043"),
    (IMAGE, f"{FLOPS}.by_member.source", -40, f"{FLOPS}.by_member.source: -40 is below 0"),
    (IMAGE, f"{FLOPS}.calls.source", 1.0, f"{FLOPS}.total: 1043 is not the sum"),
    (IMAGE, f"{FLOPS}.calls.target", 1.01, f"{FLOPS}.total: 1043 is not the sum"),
    (IMAGE, f"{FLOPS}.calls", {"target": 1.0, "tuned": 1.0}, f"{FLOPS}.calls: of target, tuned, though"),
    (IMAGE, f"{FLOPS}.calls", dict.fromkeys(("target", "tuned", "source"), 0.0), f"{FLOPS}.calls: no network runs"),
    (IMAGE, f"{FLOPS}.rule", 4, f"{FLOPS}.total: 1043 is not the sum"),
    (IMAGE, f"{FLOPS}.rule_elementwise", -9, f"{FLOPS}.rule_elementwise: "),
    (IMAGE, f"{FLOPS}.analytic", 1032, f"{FLOPS}.analytic: 1032 is not, within 1%, what ran, 1043"),
    (IMAGE, f"{FLOPS}.analytic", 1054, f"{FLOPS}.analytic: 1054"),
    (IMAGE, f"{FLOPS}.analytic", 0, f"{FLOPS}.analytic: 0"),
    (IMAGE, f"{FLOPS}.uncounted_ops", ["aten.mystery"], f"{FLOPS}.total: 1043, though"),
    (RECORD, f"{FLOPS}.total", None, f"{FLOPS}.total: None, though"),
    (TEXT, f"{FLOPS}.causal", 129, f"{FLOPS}.causal: 129 is more than all of it, 128"),
    (TEXT, f"{FLOPS}.prefill", 129, f"{FLOPS}.prefill: 129 is more than all of it, 128"),
    (TEXT, f"{FLOPS}.prefill", 61, f"{FLOPS}.total: 128 is not prefill, 11 further tokens and the rule, 129"),
    (TEXT, f"{FLOPS}.per_token", 5, f"{FLOPS}.total: 128 is not prefill"),
    (TEXT, f"{QUERY}.shape.output_tokens", 11, f"{FLOPS}.total: 128 is not prefill"),
    (IMAGE, f"{QUERY}.params.total", 11, f"{QUERY}.params.total: 11 is not between 12 and 17"),
    (IMAGE, f"{QUERY}.params.total", 18, f"{QUERY}.params.total: 18 is not between 12 and 17"),
    (IMAGE, f"{QUERY}.params.by_member.source", 13, f"{QUERY}.params.total: 12 is not between 13 and 25"),
    (IMAGE, f"{QUERY}.params.by_member", {"target": 12}, f"{QUERY}.params.by_member: of target, though"),
    (RECORD, f"{QUERY}.memory.weights", -1, f"{QUERY}.memory.weights: "),
    (TEXT, f"{QUERY}.memory.kv", -1, f"{QUERY}.memory.kv: "),
    (IMAGE, f"{ROW}.p50_ms", 0.0, f"{ROW}.p50_ms: 0.0 is not above 0"),
    (IMAGE, f"{ROW}.p50_ms", 2.6, f"{ROW}.p90_ms: 2.5 is less than the median, 2.6"),
    (IMAGE, f"{ROW}.p90_ms", 1.9, f"{ROW}.p90_ms: 1.9 is less than the median, 2.0"),
    (IMAGE, f"{ROW}.ratio_to_target", [1.25, 1.2, 1.3], f"{ROW}.ratio_to_target: the interval [1.25, 1.3] does not"),
    (IMAGE, f"{ROW}.ratio_to_target", [1.1, 1.4, 1.3], f"{ROW}.ratio_to_target: "),
    (IMAGE, f"{ROW}.ratio_to_target", [0.0, 0.0, 0.0], f"{ROW}.ratio_to_target: "),
    (IMAGE, f"{ROW}.batch_size", 0, f"{ROW}.batch_size: "),
    (IMAGE, f"{ROW}.rounds", 0, f"{ROW}.rounds: "),
    (IMAGE, f"{ROW}.energy_joules", -0.1, f"{ROW}.energy_joules: "),
    (TEXT, f"{ROW}.ttft_ms", 0.0, f"{ROW}.ttft_ms: "),
    (TEXT, f"{ROW}.tpot_ms", -0.5, f"{ROW}.tpot_ms: "),
    (TEXT, f"{ROW}.tokens_per_s", 0.0, f"{ROW}.tokens_per_s: "),
]


@pytest.mark.parametrize(
    ("base", "where", "value", "told"), IMPOSSIBLE, ids=lambda part: part if isinstance(part, str) else ""
)
def test_what_cannot_be_is_refused_by_its_path(base: dict[str, Any], where: str, value: Any, told: str) -> None:
    with pytest.raises(RequestError) as caught:
        refuse_impossible(changed(base, (where, value)), PATH)
    assert str(caught.value).startswith(f"{PATH}: {told}")
    assert "\n" not in str(caught.value)


def test_a_failure_says_why() -> None:
    failed = {**RECORD, "status": "failed", "quality": None, "cost": None}
    with pytest.raises(RequestError, match="error: null, though the status is failed"):
        refuse_impossible(Record.model_validate(failed), PATH)
    refuse_impossible(Record.model_validate({**failed, "error": ERROR}), PATH)
    refuse_impossible(Record.model_validate({**failed, "status": "skipped", "error": ERROR}), PATH)


def test_a_network_that_is_two_members_is_held_once() -> None:
    """Of members that are all called, all are held."""
    part = deepcopy(IMAGE)
    part["cost"]["per_query"]["flops"] |= {"calls": {"target": 1.0, "tuned": 1.0, "source": 1.0}, "total": 1083}
    part["cost"]["per_query"]["flops"] |= {"counted": None, "analytic": None}
    with pytest.raises(RequestError, match=r"params\.total: 12 is not between 17 and 17"):
        refuse_impossible(Record.model_validate(part), PATH)
    part["cost"]["per_query"]["params"]["total"] = 17
    refuse_impossible(Record.model_validate(part), PATH)


ODD: list[tuple[dict[str, Any], list[tuple[str, Any]]]] = [
    # All right: above any reference; all wrong: below any floor.
    (RECORD, [("quality.metrics.top1.value", 1.0), ("quality.metrics.top1.ci95", [0.5, 1.0])]),
    (RECORD, [("quality.metrics.top1.value", 0.0), ("quality.metrics.top1.ci95", [0.0, 0.5])]),
    (RECORD, [("quality.metrics.top1.ci95", [0.75, 0.75])]),
    (RECORD, [("quality.metrics.top1.ci95", None)]),
    (RECORD, [("quality.metrics.top1.ci95", [0.75 + 1e-12, 0.9])]),
    (RECORD, [("quality.ece", 0.0), ("quality.nll", 0.0)]),
    (RECORD, [("quality.nll_calibrated", 7.0)]),
    (IMAGE, [("quality.temperature", 20.0), ("quality.nll_calibrated", 2.0)]),
    (IMAGE, [("quality.tuning.1.train_flops", None)]),
    (IMAGE, [("quality.tuning.1.value", None), ("quality.tuning.1.error", "the loss is nan")]),
    (IMAGE, [("quality.validation.top1.value", 1.0), ("quality.validation.top1.ci95", None)]),
    # Metrics of text have their own ranges.
    (TEXT, [("quality.metrics.exact.value", 35.5), ("quality.metrics.exact.ci95", [30.0, 40.0])]),
    (TEXT, [("quality.metrics.exact.value", -2.5), ("quality.metrics.exact.ci95", None)]),
    (TEXT, [("quality.validation", {})]),
    # Of an earlier version.
    (IMAGE, [("quality.reliability", None), ("quality.per_class", None), ("quality.temperature", None)]),
    (IMAGE, [(f"{FLOPS}.counted", None), (f"{FLOPS}.analytic", None)]),
    (TEXT, [(f"{FLOPS}.prefill", None)]),
    (TEXT, [(f"{FLOPS}.causal", 128)]),
    (RECORD, [(f"{FLOPS}.total", None), (f"{FLOPS}.uncounted_ops", ["aten.mystery"])]),
    (RECORD, [(f"{FLOPS}.calls.target", 2.5), (f"{FLOPS}.total", 25)]),
    (IMAGE, [(f"{ROW}.p90_ms", 2.0)]),
    (IMAGE, [(f"{ROW}.ratio_to_target", [0.2, 0.2, 0.2])]),
    (IMAGE, [(f"{ROW}.valid", False), (f"{QUERY}.memory.peak", 1)]),
    (RECORD, [("cost.once.seconds", -1e-12), ("cost.once.reused", True)]),
    (RECORD, [("cost.once.train_flops", 10**29), ("cell.params.alpha", -1e29)]),
    (RECORD, [("cost.once.train_flops", None), ("cost.once.seconds", None)]),
    (RECORD, [("partial", True), ("cell.limit", 4)]),
    (RECORD, [("provenance.started", RECORD["provenance"]["finished"])]),
    (RECORD, [("provenance.started", "2026-01-01T02:00:00+02:00")]),
]


@pytest.mark.parametrize(("base", "changes"), ODD, ids=lambda part: part[0][0] if isinstance(part, list) else "")
def test_what_is_odd_is_read(tmp_path: Path, base: dict[str, Any], changes: list[tuple[str, Any]]) -> None:
    record = changed(base, *changes)
    assert read_record(written(tmp_path, record.model_dump(mode="json"))) == record


MEMBERS = st.dictionaries(
    st.sampled_from(["target", "tuned", "source", "again"]),
    st.tuples(st.integers(0, 10**16), st.integers(1, 3)),
    min_size=1,
)


@settings(deadline=None, max_examples=50)
@given(members=MEMBERS, rule=st.integers(0, 10**9), error=st.integers(-(10**6), 10**6))
def test_flops_are_held_to_the_last_one(members: dict[str, tuple[int, int]], rule: int, error: int) -> None:
    total = sum(flops * calls for flops, calls in members.values()) + rule
    flops = {
        "total": total + error, "counted": total + error, "rule": rule, "rule_elementwise": 0,
        "by_member": {name: flops for name, (flops, _) in members.items()},
        "calls": {name: float(calls) for name, (_, calls) in members.items()},
    }  # fmt: skip
    params = {"total": len(members), "by_member": dict.fromkeys(members, 1)}
    record = changed(RECORD, (f"{QUERY}.flops", flops), (f"{QUERY}.params", params))
    if not error:
        refuse_impossible(record, PATH)
    else:
        with pytest.raises(RequestError, match=r"cost\.per_query\.flops\.total: "):
            refuse_impossible(record, PATH)


@st.composite
def answered(draw: st.DrawFn) -> dict[str, Any]:
    """Quality of answers that were drawn: (class, confidence, right) of each item."""
    items = draw(
        st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 14), st.booleans()), min_size=1, max_size=40)
    )
    bins = []
    for index in sorted({place for _, place, _ in items}):
        inside = [right for _, place, right in items if place == index]
        accuracy = sum(inside) / len(inside)
        bins.append({"n": len(inside), "confidence": (index + draw(st.floats(0.1, 0.9))) / 15, "accuracy": accuracy})
    classes = {name: [right for one, _, right in items if one == name] for name in sorted({one for one, *_ in items})}
    recalls = [sum(inside) / len(inside) for inside in classes.values()]
    top1 = sum(right for *_, right in items) / len(items)
    return {
        **RECORD["quality"],
        "metrics": {
            "top1": {"value": top1, "ci95": None, "n": len(items), "split": "test"},
            "mean_per_class": {
                "value": sum(recalls) / len(recalls), "ci95": None, "n": len(items), "split": "test",
            },
        },
        "reliability": bins,
        "ece": sum(one["n"] * abs(one["accuracy"] - one["confidence"]) for one in bins) / len(items),
        "per_class": {name: [sum(inside), len(inside)] for name, inside in classes.items()},
    }  # fmt: skip


@settings(deadline=None, max_examples=100)
@given(quality=answered(), data=st.data())
def test_scores_of_any_answers_are_read_and_none_can_be_changed_alone(quality: dict[str, Any], data: Any) -> None:
    refuse_impossible(changed(RECORD, ("quality", quality)), PATH)
    where, step = data.draw(
        st.sampled_from(
            [
                ("metrics.top1.value", 1 / quality["metrics"]["top1"]["n"]),
                ("metrics.top1.n", 1),
                ("metrics.mean_per_class.value", 0.01),
                ("ece", 0.01),
                *((f"reliability.{index}.n", 1) for index in range(len(quality["reliability"]))),
                *((f"per_class.{name}.{place}", 1) for name in quality["per_class"] for place in (0, 1)),
            ]
        )
    )
    part: Any = quality
    for key in where.split("."):
        part = part[int(key) if isinstance(part, list) else key]
    changes = (("quality", json.loads(json.dumps(quality))), (f"quality.{where}", part + step))
    with pytest.raises(RequestError, match="quality"):
        refuse_impossible(changed(RECORD, *changes), PATH)
