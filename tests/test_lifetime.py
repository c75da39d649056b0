"""The ledger of a lifetime: arithmetic that can be done by hand, and what records must say to be compared."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import t as students

from prt_bench.board.drawing import spread
from prt_bench.board.ledger_chart import draw, specification
from prt_bench.errors import RequestError
from prt_bench.lifetime import (
    Amount,
    BreakEven,
    Costs,
    Gap,
    Ledger,
    LedgerLine,
    boundaries,
    break_even_queries,
    break_even_upgrades,
    cheapest,
    combined,
    counted,
    exact,
    measured,
    parse_chain,
    student_t,
    territory,
)
from prt_bench.lifetime_records import read_ledger
from prt_bench.records import (
    Artifacts,
    Cell,
    Cost,
    CostTerm,
    Environment,
    Failure,
    Flops,
    LatencyRow,
    Memory,
    Metric,
    ModelProvenance,
    PairNames,
    ParameterCount,
    PerQuery,
    Provenance,
    Quality,
    Record,
    TaskProvenance,
)

N = 20
G = 10**9
Put = Callable[..., Path]


def latency(ms: float = 10.0, ratio: tuple[float, float, float] | None = (1.0, 1.0, 1.0), **changes: Any) -> LatencyRow:
    row = LatencyRow(session="s", batch_size=1, p50_ms=ms, p90_ms=None, ratio_to_target=ratio, valid=True)
    return row.model_copy(update=changes)


def put_record(
    out: Path,
    method: str,
    role: str = "method",
    *,
    right: int = 10,
    seed: int = 0,
    pair: tuple[str, str] = ("a", "b"),
    task: str = "digits",
    once: int | None = 0,
    upgrade: int | None = 0,
    query: int | None = 100,
    once_seconds: float | None = 0.0,
    upgrade_seconds: float | None = 0.0,
    rows: list[LatencyRow] | None = None,
    params: dict[str, Any] | None = None,
    title: str = "",
    track: str = "paper",
    recipe: str = "embedded",
    trials: int = 1,
    hardware: str = "h",
    version: str = "1",
    status: str = "ok",
    partial: bool = False,
    fitted: str = "",
    finished: str = "2026-01-01T00:00:01Z",
    absent: dict[str, str] | None = None,
) -> Path:
    """One record with its predictions, of which `right` of 20 are right."""
    folder = out / "results" / f"{pair[0]}__{pair[1]}"
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{len(list(folder.glob('*.json'))):03d}"
    made = Record(
        cell=Cell(
            id=name, pair=PairNames(source=pair[0], target=pair[1]), task=task, method=method, role=role, title=title,
            seed=seed, params=params or {}, track=track, recipe={"b": {"name": recipe}}, recipe_name=recipe,
            limit=N if partial else None,
        ),
        status=status,
        error=None if status == "ok" else Failure(type="CellError", message="no", where="fit"),
        quality=None if status != "ok" else Quality(
            primary="top1", metrics={"top1": Metric(value=right / N, ci95=None, n=N, split="test")}, nll=None,
            nll_calibrated=None, ece=None, predictions=f"{name}.predictions.csv",
        ),
        cost=Cost(
            once=CostTerm(train_flops=once, seconds=once_seconds, examples=1, trials=trials),
            per_upgrade=CostTerm(train_flops=upgrade, seconds=upgrade_seconds, examples=1),
            per_query=PerQuery(
                unit="image",
                shape={},
                flops=Flops(
                    total=query, by_member={"target": query}, calls={"target": 1.0}, rule=0, rule_elementwise=0,
                    uncounted_ops=[] if query is not None else ["aten.mystery"],
                ),
                params=ParameterCount(total=1, by_member={"target": 1}),
                memory=Memory(weights=1),
                latency=[latency()] if rows is None else rows or None,
            ),
        ),
        environment=Environment(
            hardware=hardware, device="cpu", processor="p", threads=1, memory_bytes=1, system="s", python="3"
        ),
        provenance=Provenance(
            models={
                alias: ModelProvenance(
                    revision=None, sha256=alias, head_sha256=None, preprocessing_sha256=None, embedded=True
                )
                for alias in pair
            },
            task=TaskProvenance(version=version, data_sha256="d" * 64, split_sha256="s", template_sha256="t"),
            method_source_sha256="m", git=None, packages={}, request="",
            started="2026-01-01T00:00:00Z", finished=finished,
        ),
        partial=partial,
        artifacts=[Artifacts(verb="fit", key=fitted, log=[])] if fitted else [],
        absent=absent or {},
    )  # fmt: skip
    path = folder / f"{name}.json"
    path.write_text(made.model_dump_json(), encoding="utf-8")
    with path.with_name(f"{name}.predictions.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "label", "prediction"])
        writer.writerows([index, 0, int(index >= right)] for index in range(N))
    return path


@pytest.fixture
def put(tmp_path: Path) -> Put:
    return lambda *words, **facts: put_record(tmp_path, *words, **facts)


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Ledger]:
    def ledger(
        *pairs: str, task: str = "digits", track: str = "paper", recipe: str | None = None, batch_size: int = 1
    ) -> Ledger:
        return read_ledger(tmp_path, parse_chain(pairs or ("a:b",)), task, track, recipe, batch_size)

    return ledger


def lines(ledger: Ledger) -> dict[str, LedgerLine]:
    return {line.label: line for line in ledger.lines}


def costs(once: float, per_upgrade: float, per_query: float) -> Costs:
    return Costs(exact(once), exact(per_upgrade), exact(per_query))


def line(label: str, found: Costs, role: str = "method", score: float = 0.5) -> LedgerLine:
    return LedgerLine(label, label, label, role, {}, (0,), score, 1, {"flops": found, "seconds": found})


def value(term: Amount | Gap) -> float:
    assert isinstance(term, Amount)
    return term.value


# Arithmetic.


def test_a_total_is_once_and_upgrades_and_queries() -> None:
    assert costs(1000, 30, 7).total(4, 100) == exact(1000 + 4 * 30 + 100 * 7)


def test_the_worked_example() -> None:
    """Re-tuning ViT-L-14 by the paper's recipe against the passes of a ViT-B-16 that porting adds to a query."""
    retrain = costs(0, 2000 * 128 * 3 * 162.026 * G, 162.026 * G)
    once = costs(0, 0, (162.026 + 35.127) * G), costs(0, 0, (162.026 + 70.25) * G)
    one_source, two_sources = (break_even_queries(ported, retrain, 1) for ported in once)
    assert isinstance(one_source, BreakEven)
    assert isinstance(two_sources, BreakEven)
    assert retrain.total(1, 0) == exact(pytest.approx(1.244e17, rel=1e-3))
    assert (one_source.kind, one_source.low, one_source.high) == ("below", one_source.value, one_source.value)
    assert one_source.value == pytest.approx(3.54e6, rel=2e-3)
    assert two_sources.value == pytest.approx(1.77e6, rel=2e-3)


number = st.floats(0, 1e6).map(lambda found: round(found, 3))
any_costs = st.builds(costs, number, number, number)
at_least_one = st.floats(1, 1e4)


@given(any_costs, any_costs, at_least_one)
def test_totals_are_equal_at_a_break_even_and_the_method_cheaper_where_it_says(
    mine: Costs, theirs: Costs, other: float
) -> None:
    for found, total in (
        (break_even_queries(mine, theirs, other), lambda costs, at: value(costs.total(other, at))),
        (break_even_upgrades(mine, theirs, other), lambda costs, at: value(costs.total(at, other))),
    ):
        assert isinstance(found, BreakEven)

        def gap(at: float, total: Any = total) -> float:
            return float(total(mine, at) - total(theirs, at))

        if found.value is None:
            signs = {"always": {-1, 0}, "never": {0, 1}, "equal": {0}}[found.kind]
            size = total(mine, 1e3) + total(theirs, 1e3)
            assert {int(np.sign(round(gap(at) / (size + 1), 9))) for at in (1e-3, 1.0, 1e3)} <= signs
            continue
        size = total(mine, found.value) + total(theirs, found.value)
        assert found.value > 0
        assert gap(found.value) == pytest.approx(0, abs=1e-9 * size)
        before, after = gap(found.value / 2), gap(found.value * 2)
        assert (before < 0 < after) if found.kind == "below" else (after < 0 < before)


@given(st.lists(any_costs, min_size=1, max_size=6), at_least_one, st.floats(0, 1e8))
def test_the_map_agrees_with_the_totals(every: list[Costs], upgrades: float, queries: float) -> None:
    compared = [line(str(place), found) for place, found in enumerate(every)]
    segments = territory(compared, "flops", upgrades)
    assert (segments[0].start, segments[-1].end) == (0, math.inf)
    assert all(one.end == other.start for one, other in pairwise(segments))
    here = next(segment for segment in segments if segment.start <= queries <= segment.end)
    lowest = min(value(found.total(upgrades, queries)) for found in every)
    assert value(here.line.costs["flops"].total(upgrades, queries)) == pytest.approx(lowest, rel=1e-9, abs=1e-6)


@given(any_costs, st.floats(1e-3, 1e3), at_least_one, at_least_one)
def test_money_is_seconds_times_the_price(found: Costs, price: float, upgrades: float, queries: float) -> None:
    money = found.scaled(price / 3600).total(upgrades, queries)
    assert value(money) == pytest.approx(value(found.total(upgrades, queries)) / 3600 * price)


def test_a_boundary_is_a_line_in_closed_form() -> None:
    tuned, ported = line("tuned", costs(0, 50, 1)), line("ported", costs(20, 0, 3))
    (found,) = boundaries([tuned, ported], "flops", [1, 10, 100])
    assert (found.few.label, found.many.label) == ("ported", "tuned")
    assert (found.at_no_upgrade, found.per_upgrade) == (-10, 25)
    for upgrades in (1, 7, 100):
        queries = found.at_no_upgrade + found.per_upgrade * upgrades
        assert len(cheapest([tuned, ported], "flops", upgrades, queries)) == 2
        assert cheapest([tuned, ported], "flops", upgrades, queries - 1) == [ported]
        assert territory([tuned, ported], "flops", upgrades)[0].end == queries


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 10, 29])
def test_students_t_is_that_of_the_tables(degrees: int) -> None:
    assert student_t(degrees) == pytest.approx(students.ppf(0.975, degrees), rel=1e-9)


@pytest.mark.parametrize(
    ("mine", "theirs", "queries", "upgrades"),
    [
        ((10, 0, 3), (0, 5, 1), ("below", 20), ("above", 22)),
        ((10, 9, 1), (0, 5, 3), ("above", 25), ("below", 2.5)),
        ((0, 1, 1), (5, 2, 2), ("always", None), ("always", None)),
        ((5, 2, 2), (0, 1, 1), ("never", None), ("never", None)),
        ((1, 1, 1), (1, 1, 1), ("equal", None), ("equal", None)),
    ],
)
def test_which_side_is_cheaper(mine: Any, theirs: Any, queries: Any, upgrades: Any) -> None:
    """Over 10 upgrades, and at 50 or 10 queries."""
    along_queries = break_even_queries(costs(*mine), costs(*theirs), 10)
    along_upgrades = break_even_upgrades(costs(*mine), costs(*theirs), 50 if queries[0] == "below" else 10)
    assert isinstance(along_queries, BreakEven)
    assert isinstance(along_upgrades, BreakEven)
    assert (along_queries.kind, along_queries.value) == queries
    assert (along_upgrades.kind, along_upgrades.value) == upgrades


def test_a_break_even_below_one_is_none_for_who_counts_from_one() -> None:
    cheap, dear = costs(1, 0, 3), costs(0, 5, 3)
    found = break_even_upgrades(cheap, dear, 7), break_even_upgrades(dear, cheap, 7)
    assert [(one.kind, one.value, one.told) for one in found if isinstance(one, BreakEven)] == [
        ("above", 0.2, ("always", None)), ("below", 0.2, ("never", None)),
    ]  # fmt: skip
    told = {
        (0.1, 3.0, 1.0): ("above", 0.5), (0.1, 0.9, 0.9): ("always", None), (None, None, 1.0): ("always", None),
        (None, None, 0.6): ("above", 0.5),
    }  # fmt: skip
    for (low, high, share), known in told.items():
        assert BreakEven("above", 0.5, low, high, {"above": share}).told == known


# Uncertainty.


def test_an_interval_covers_as_often_as_it_says() -> None:
    """Break-even from terms whose truth is 12 / 0.5 = 24 queries, measured again 300 times."""
    truth, hits = np.random.default_rng(1), 0
    for trial in range(300):
        generator = np.random.default_rng(trial)
        seen = [truth.normal(12, 0.6), truth.normal(1.5, 0.02)]
        theirs = Costs(exact(0), measured(seen[0], 0.6 * 1.96, generator), exact(1))
        mine = Costs(exact(0), exact(0), measured(seen[1], 0.02 * 1.96, generator))
        found = break_even_queries(mine, theirs, 1)
        assert isinstance(found, BreakEven)
        assert found.low is not None
        assert found.high is not None
        hits += found.low <= 24 <= found.high
    assert 0.92 <= hits / 300 <= 0.98


def test_a_difference_that_may_be_none_has_no_end() -> None:
    """The query of the one costs about as much as that of the other."""
    generator = np.random.default_rng(0)
    theirs = Costs(exact(0), exact(10), exact(1))
    found = break_even_queries(Costs(exact(0), exact(0), measured(1.01, 0.05, generator)), theirs, 1)
    assert isinstance(found, BreakEven)
    assert found.kind == "below"
    assert found.high == math.inf
    assert found.shares["always"] > 0.2
    both = Costs(measured(10.5, 5, generator), exact(0), measured(0.99, 0.05, generator))
    turned = break_even_queries(both, theirs, 1)
    assert isinstance(turned, BreakEven)
    assert turned.low is None
    assert "the other way round" in turned.unknown


def test_what_two_methods_share_does_not_blur_their_difference() -> None:
    shared = measured(10, 5, np.random.default_rng(0))
    found = combined([(1, shared), (-1, shared)])
    assert found == Amount(0, 0, 0)


def test_without_an_interval_a_part_leaves_the_whole_without() -> None:
    found = combined([(1, exact(1)), (2, Amount(3, None, None, "one seed: no interval"))])
    assert found == Amount(7, None, None, "one seed: no interval")
    assert combined([(1, exact(1)), (1, Gap("x")), (1, Gap("x")), (1, Gap("y"))]) == Gap("x; y")


# Records.


def chain(put: Put, seeds: int = 3) -> None:
    """A port of a constant cost, a tuned target, and a floor, on two targets."""
    for seed in range(seeds):
        for target, factor in (("b", 1), ("c", 3)):
            pair = ("a", target)
            rows = [latency(15.0 * factor, (1.4, 1.5, 1.6), session=target)]
            once = {"once": 500, "once_seconds": 5.0 + seed}
            put("ported", pair=pair, seed=seed, query=150 * factor, rows=rows, right=17, fitted=f"f{seed}", **once)
            rows = [latency(10.0 * factor, session=target)]
            tuned = {"upgrade": 1000 * factor, "upgrade_seconds": (10.0 + seed) * factor, "query": 100 * factor}
            put("tuned", "reference", pair=pair, seed=seed, rows=rows, right=18, **tuned)
            put("free", "floor", pair=pair, seed=seed, query=100 * factor, rows=rows, right=5 + seed)


def test_a_chain_is_paid_once_and_averaged_over_its_targets(put: Put, read: Any) -> None:
    chain(put)
    ledger = read("a:b", "a:c")
    assert ledger == read("a:b:c")
    found = lines(ledger)
    assert [line.label for line in ledger.lines] == ["free", "ported", "tuned"]
    assert found["ported"].costs["flops"] == costs(500, 0, 300)
    assert found["tuned"].costs["flops"] == costs(0, 2000, 200)
    assert ledger.reference is found["tuned"]
    assert found["free"].score == pytest.approx(6 / N)
    assert found["tuned"].seeds == (0, 1, 2)
    seconds = found["ported"].costs["seconds"]
    half = students.ppf(0.975, 2) / math.sqrt(3)
    assert isinstance(seconds.once, Amount)
    assert (seconds.once.value, seconds.once.low, seconds.once.high) == pytest.approx((6, 6 - half, 6 + half))
    assert value(found["tuned"].costs["seconds"].per_upgrade) == pytest.approx(22)
    assert value(seconds.per_query) == pytest.approx((0.015 + 0.045) / 2)
    assert found["tuned"].costs["seconds"].per_query == exact(pytest.approx(0.02))
    queries = break_even_queries(found["ported"].costs["flops"], found["tuned"].costs["flops"], 10)
    assert queries == BreakEven("below", 195, 195, 195, {"below": 1.0})


def test_a_query_takes_what_its_session_says_by_batch_size(put: Put, read: Any) -> None:
    rows = [latency(8.0, (1.9, 2.0, 2.1)), latency(64.0, (1.9, 2.0, 2.1), batch_size=32)]
    put("ported", rows=rows)
    put("tuned", "reference", rows=[latency(4.0), latency(32.0, batch_size=32)])
    assert value(lines(read())["ported"].costs["seconds"].per_query) == pytest.approx(0.008)
    whole = lines(read(batch_size=32))["ported"].costs["seconds"].per_query
    assert isinstance(whole, Amount)
    assert (whole.low, whole.value, whole.high) == pytest.approx((0.0019, 0.002, 0.0021), rel=0.01)
    gap = lines(read(batch_size=8))["ported"].costs["seconds"].per_query
    assert gap == Gap("no latency at batch size 8; there is 1, 32")


def test_sessions_are_joined_by_their_ratios(put: Put, read: Any) -> None:
    """A machine that was busy in the second session is no slower method."""
    put("tuned", "reference", rows=[latency(10.0)])
    put("ported", rows=[latency(45.0, (1.4, 1.5, 1.6), session="busy")])
    found = lines(read())
    ratio = value(found["ported"].costs["seconds"].per_query) / value(found["tuned"].costs["seconds"].per_query)
    assert ratio == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "timed elsewhere"),
        ([latency(valid=False, reasons=["the warm-up did not settle"])], "not valid: the warm-up did not settle"),
        ([latency(ratio=None)], "no ratio to the target alone"),
    ],
)
def test_a_latency_that_is_missing_is_absent_with_its_reason(put: Put, read: Any, rows: Any, reason: str) -> None:
    put("tuned", "reference")
    put("ported", rows=rows, absent={"cost.per_query.latency": "timed elsewhere"})
    found = lines(read())["ported"].costs
    assert isinstance(found["seconds"].per_query, Gap)
    assert reason in found["seconds"].per_query.reason
    assert isinstance(found["seconds"].total(1, 1), Gap)
    assert found["flops"].per_query == exact(100)
    assert [line.label for line in cheapest(read().lines, "seconds", 1, 1)] == ["tuned"]


def test_unknown_flops_and_seconds_are_absent_and_never_nothing(put: Put, read: Any) -> None:
    put("tuned", "reference", upgrade=None, upgrade_seconds=None, absent={"cost.per_upgrade.seconds": "not published"})
    found = read().reference.costs
    assert found["seconds"].total(1, 1) == Gap("not published")
    assert found["flops"].total(1, 1) == Gap("not measured")
    assert territory([read().reference], "flops", 1) == []


def test_times_of_two_machines_are_refused(put: Put, read: Any) -> None:
    put("tuned", "reference", hardware="fast")
    put("ported", hardware="slow")
    found = lines(read())["ported"].costs
    assert set(found["seconds"].terms) == {Gap("times of different machines are not compared: fast, slow")}
    assert found["flops"].per_query == exact(100)


def test_times_of_two_placements_are_refused_per_query_alone(put: Put, read: Any) -> None:
    put("tuned", "reference")
    put("ported", rows=[latency(placement="at the same time")])
    found = lines(read())["ported"].costs["seconds"]
    reason = "times of different placements are not compared: at the same time, one after another"
    assert found.per_query == Gap(reason)
    assert value(found.once) == 0


def test_one_seed_has_no_interval_in_seconds(put: Put, read: Any) -> None:
    put("tuned", "reference", upgrade=5, upgrade_seconds=3.0)
    found = read().reference.costs
    assert found["seconds"].per_upgrade == Amount(3.0, None, None, "one seed: no interval")
    assert found["flops"].per_upgrade == exact(5)


def test_a_method_that_is_not_on_the_whole_chain_is_left_out_by_name(put: Put, read: Any) -> None:
    chain(put)
    put("lonely", pair=("a", "c"))
    put("odd", pair=("a", "b"), once=1)
    put("odd", pair=("a", "c"), once=2)
    put("other", pair=("a", "b"), fitted="one")
    put("other", pair=("a", "c"), fitted="two")
    put("late", pair=("a", "b"), seed=0)
    put("late", pair=("a", "c"), seed=1)
    assert dict(read("a:b:c").left_out) == {
        "lonely": "no records on a:b",
        "odd": "what is paid once is not the same on a:b and a:c, seed 0: 1 and 2 FLOPs",
        "other": "what is made once is not the same artifact on a:b and a:c, seed 0: one and two",
        "late": "no seed in common to all pairs",
    }
    assert "lonely" in lines(read("a:c"))


def test_trials_are_shown_and_each_kept_artifact_may_differ(put: Put, read: Any) -> None:
    put("tuned", "reference", track="equal", pair=("a", "b"))
    put("tuned", "reference", track="equal", pair=("a", "c"))
    put("ported", track="equal", pair=("a", "b"), trials=6, once=600, fitted="one")
    put("ported", track="equal", pair=("a", "c"), trials=6, once=600, fitted="two")
    found = lines(read("a:b:c", track="equal"))["ported"]
    assert (found.trials, found.costs["flops"].once) == (6, exact(600))


def test_settings_of_a_method_are_lines_of_their_own(put: Put, read: Any) -> None:
    put("tuned", "reference")
    put("ported", params={"alpha": 0.5})
    put("ported", params={"alpha": 1.0}, right=12)
    put("ported", params={"alpha": 1.0}, right=14, finished="2026-02-01T00:00:00Z")
    ledger = read()
    assert set(lines(ledger)) == {"tuned", "ported (alpha=0.5)", "ported (alpha=1.0)"}
    assert lines(ledger)["ported (alpha=1.0)"].score == pytest.approx(14 / N)
    assert "measured more than once" in ledger.notes[0]


def test_of_several_references_the_best_is_the_reference(put: Put, read: Any) -> None:
    put("tuned", "reference", right=18)
    put("lightly", "reference", right=15)
    assert read().reference.label == "tuned"
    assert [line.label for line in read().eligible(None)] == ["tuned", "lightly"]


def test_eligible_is_who_comes_within_the_points_and_no_floor(put: Put, read: Any) -> None:
    put("tuned", "reference", right=18)
    put("near", right=17)
    put("far", right=10)
    put("free", "floor", right=18)
    assert [line.label for line in read().eligible(5)] == ["tuned", "near"]
    assert [line.label for line in read().eligible(4.9)] == ["tuned"]
    assert [line.label for line in read().eligible(None)] == ["tuned", "near", "far"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"task": "digit"}, "--task digit: no records in .*did you mean digits"),
        ({"pairs": ["a:c"]}, "--pair a:c: no records of task digits in .*did you mean a:b.*prt-bench run --pair a:c"),
        ({"track": "equal"}, "--pair a:b: no records on track equal"),
        ({"recipe": "embeded"}, "--recipe embeded: no records of a:b; did you mean embedded"),
        ({"pairs": ["a"]}, "--pair 'a': a pair is SOURCE:TARGET"),
        ({"pairs": ["a:"]}, "--pair 'a:': a pair is SOURCE:TARGET"),
        ({"pairs": ["a:b", "x:b"]}, "the pairs of a chain have one source.*a, x"),
        ({"pairs": ["a:b", "a:b"]}, "--pair a:b: given twice"),
    ],
)
def test_a_wrong_request_is_named(put: Put, read: Any, words: dict[str, Any], message: str) -> None:
    put("tuned", "reference")
    with pytest.raises(RequestError, match=message):
        read(*words.pop("pairs", ["a:b"]), **words)


def test_records_that_do_not_hold_are_no_records(put: Put, read: Any) -> None:
    put("tuned", "reference")
    put("tuned", "reference", task="other", partial=True)
    with pytest.raises(RequestError, match=r"--task other: no records in .*; its records are partial or failed"):
        read(task="other")


def test_without_a_reference_there_is_nothing_to_compare_with(put: Put, read: Any) -> None:
    put("ported")
    put("ported", pair=("a", "c"))
    with pytest.raises(RequestError, match=r"no reference .* `prt-bench run` with all methods makes one"):
        read("a:b:c")
    put("tuned", "reference")
    with pytest.raises(RequestError, match=r"no reference .*: tuned: no records on a:c"):
        read("a:b:c")


def test_recipes_are_chosen_and_versions_taken_anew(put: Put, read: Any) -> None:
    put("tuned", "reference", right=10)
    put("tuned", "reference", right=11, version="2", finished="2026-03-01T00:00:00Z")
    assert read().version == "2"
    assert "left out" in read().notes[0]
    put("tuned", "reference", recipe="paper")
    with pytest.raises(RequestError, match="choose --recipe embedded or --recipe paper"):
        read()
    assert read(recipe="paper").recipe == "paper"


def test_pairs_on_different_data_are_no_chain(put: Put, read: Any) -> None:
    put("tuned", "reference")
    put("tuned", "reference", pair=("a", "c"), version="2")
    with pytest.raises(
        RequestError, match=r"no task version, data and recipe in common.*a:b: version 1.*a:c: version 2"
    ):
        read("a:b:c")


# The picture.


def texts(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set().union(*(texts(part) for part in value.values()))
    if isinstance(value, list):
        return set().union(*(texts(part) for part in value)) if value else set()
    return {value} if isinstance(value, str) else set()


def test_the_picture_names_what_it_shows(put: Put, read: Any) -> None:
    chain(put)
    made = specification(read("a:b:c"), 10, 1000, 5)
    shown = texts(made)
    assert "What keeping a tuning costs: a → b, c" in shown
    assert any("digits, 20 test items, 3 seeds" in text for text in shown)
    assert any(text.startswith("Embedded models:") for text in shown)
    assert {"ported, 85.0 %", "tuned, 90.0 %", "free, 30.0 %"} <= shown


@pytest.mark.parametrize("suffix", [".svg", ".png", ".html"])
def test_a_picture_is_closed_to_what_labels_smuggle_in(put: Put, read: Any, tmp_path: Path, suffix: str) -> None:
    put("tuned", "reference", upgrade=1000)
    put("</script><script>alert(1)</script>", title="<img src=x onerror=alert(1)>", pair=("a", "b"))
    path = tmp_path / f"chart{suffix}"
    draw(read(), 10, 1000, None, path)
    content = path.read_bytes()
    assert len(content) > 1000
    if suffix == ".png":
        assert content.startswith(b"\x89PNG")
    else:
        assert b"<script" not in content
        assert b"<img" not in content
        assert b"&lt;img src=x" in content


def test_a_picture_without_totals_says_so(put: Put, read: Any, tmp_path: Path) -> None:
    put("tuned", "reference", query=None)
    assert "no method has a total in FLOPs" in texts(specification(read(), 10, 1000, None))


@given(st.dictionaries(st.text(min_size=1, max_size=3), st.floats(0, 340), min_size=1, max_size=9))
@settings(max_examples=50)
def test_labels_never_cover_each_other(pixels: dict[str, float]) -> None:
    placed = spread(pixels)
    ordered = sorted(placed.values())
    assert set(placed) == set(pixels)
    assert all(other - one >= 16 - 1e-6 for one, other in pairwise(ordered))
    order = sorted(pixels, key=lambda label: pixels[label])
    assert [placed[label] for label in order] == pytest.approx(ordered)


@pytest.mark.parametrize(
    ("number", "short", "words"),
    [
        (0, "0", "0"), (0.5, "0.5", "0.5"), (999.4, "999", "999"), (999.9, "1 k", "1 thousand"),
        (3.536e6, "3.54 M", "3.54 million"), (1e12, "1 tn", "1 trillion"), (1e20, "1e+20", "1e+20"),
    ],
)  # fmt: skip
def test_numbers_are_told_in_three_digits(number: float, short: str, words: str) -> None:
    assert (counted(number), counted(number, words=True)) == (short, words)
