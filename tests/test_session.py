"""A cost session: what it times, what it leaves out, and that it does what the meter has counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from prt_bench.api import Artifact, Composition, Model, Network, Vocabulary, WeightedSum
from prt_bench.costs import CompositionMeter
from prt_bench.data.examples import Examples
from prt_bench.errors import CellError
from prt_bench.image_evaluator import ImageEvaluator, ImageSystem
from prt_bench.meters.queries import TextQuery
from prt_bench.models import model_for
from prt_bench.networks import Networks
from prt_bench.records import PairNames
from prt_bench.session import Timed, measure_session
from prt_bench.session_records import CostSession
from prt_bench.text_evaluator import TextSystem
from tests.conftest import SOURCE, TARGET, Bench, quiet


@pytest.fixture
def evaluator(bench: Bench) -> ImageEvaluator:
    roles: dict[str, Examples] = bench.task.roles  # type: ignore[assignment]
    return ImageEvaluator(roles["validation"], roles["test"], "top1", bench.networks, bench.meter)


def models(bench: Bench) -> tuple[Model, Model, Model]:
    """Target, source, and a source that counts as another network."""
    source = bench.model(SOURCE)
    tuned = bench.tools(steps=0).tune(source, bench.data().train)
    return bench.model(TARGET), source, source.tuned(tuned)


def timed(label: str, composition: Composition) -> Timed:
    return Timed(label, label, {}, "0" * 64, composition)


def session(
    bench: Bench, evaluator: ImageEvaluator, entries: list[Timed], sizes: tuple[int, ...] = (1,), seconds: float = 0.3
) -> CostSession:
    target = Composition({"target": bench.model(TARGET)}, WeightedSum(target=1.0))
    pair = PairNames(source=SOURCE, target=TARGET)
    return measure_session(
        "s", pair, target, entries, evaluator, bench.networks, bench.meter, sizes, seconds, quiet
    )  # fmt: skip


def three(bench: Bench) -> list[Timed]:
    target, source, tuned = models(bench)
    prt = Composition({"target": target, "reward": tuned}, WeightedSum(target=1.0, reward=1.0))
    mix = Composition({"target": target, "source": source}, WeightedSum(target=1.0, source=0.5))
    eft = Composition(
        {"target": target, "tuned": tuned, "source": source}, WeightedSum(target=1.0, tuned=1.0, source=-1.0)
    )
    return [timed("prt", prt), timed("mix", mix), timed("eft", eft)]


def test_compositions_of_like_networks_under_a_sum_are_timed_once(bench: Bench, evaluator: ImageEvaluator) -> None:
    target, _, tuned = models(bench)
    alone = timed("alone", Composition({"target": target}, WeightedSum(target=1.0)))
    other_rule = timed("other", Composition({"target": target, "reward": tuned}, lambda outputs: outputs["target"]))
    found = session(bench, evaluator, [*three(bench), alone, other_rule]).compositions
    assert {label: entry.timed_as for label, entry in found.items()} == {
        "prt": "", "mix": "prt", "eft": "", "alone": "target alone", "other": "",
    }  # fmt: skip
    assert found["mix"].latency == found["prt"].latency != found["eft"].latency
    assert found["alone"].latency[0].ratio_to_target == (1.0, 1.0, 1.0)


def test_a_session_tells_its_noise_its_rounds_and_why_a_bound_is_missing(
    bench: Bench, evaluator: ImageEvaluator
) -> None:
    found = session(bench, evaluator, three(bench))
    low, middle, high = found.noise_interval["1"]
    assert low <= middle == found.noise_floor["1"] <= high
    assert found.dtypes == ["float32"]
    assert found.placement == "one after another"
    for entry in found.compositions.values():
        (row,) = entry.latency
        assert row.rounds
        assert (row.p90_ms is None) == (row.rounds < 64)
        assert row.p90_ms is None or row.p90_ms >= row.p50_ms
        assert row.placement == found.placement
        assert (
            row.energy_joules is not None or "energy counter" in found.absent["compositions.*.latency.*.energy_joules"]
        )
    assert "64 rounds" in found.absent["compositions.*.latency.*.p90_ms"]
    assert found.valid == (not found.reasons)


def test_batch_sizes_without_time_are_left_out_by_name(bench: Bench, evaluator: ImageEvaluator) -> None:
    found = session(bench, evaluator, three(bench), sizes=(1, 4096), seconds=0.5)
    assert [row.batch_size for row in found.compositions["eft"].latency] == [1]
    assert any("batch 4096 was not timed: 18 passes would take" in reason for reason in found.skipped)


def test_no_output_is_looked_up_while_timing(
    bench: Bench, evaluator: ImageEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    def looked_up(*_: Any) -> None:
        raise AssertionError("the cache was asked")

    monkeypatch.setattr(Networks, "outputs", looked_up)
    assert session(bench, evaluator, three(bench)).compositions["eft"].latency


@contextmanager
def passes(networks: Mapping[str, Network]) -> Iterator[Counter[str]]:
    """Counts how often each network runs."""
    seen: Counter[str] = Counter()
    hooks = [
        network.module.register_forward_hook(lambda *_, name=name: seen.update([name]))
        for name, network in networks.items()
    ]
    yield seen
    for hook in hooks:
        hook.remove()


def test_the_timed_engine_runs_what_the_meter_counts(bench: Bench, evaluator: ImageEvaluator) -> None:
    target, source, tuned = models(bench)
    twice = Composition({"a": source, "b": source, "c": tuned}, WeightedSum(a=1.0, b=1.0, c=1.0))
    for composition in (*(entry.composition for entry in three(bench)), twice):
        system = evaluator.system(composition, 4)
        networks = {name: bench.networks.get(model) for name, model in composition.members.items()}
        by_id = {id(network): name for name, network in reversed(networks.items())}
        with passes({by_id[id(network)]: network for network in networks.values()}) as seen:
            system()
        calls = bench.meter.measure(composition, evaluator.query(composition))[0].calls
        assert {name: float(seen[name]) for name in composition.members} == calls
    assert target.key not in {source.key, tuned.key}


def text_models(bench: Bench) -> Composition:
    places = bench.networks.places
    source, target = (
        model_for(name, Vocabulary(), bench.registry, places) for name in ("nano-llama-s-a", "nano-llama-m-b")
    )
    members = {"target": target, "source": source, "again": source}
    return Composition(members, WeightedSum(target=1.0, source=1.0, again=-0.5))


def test_decoding_runs_each_network_once_per_token(bench: Bench) -> None:
    composition = text_models(bench)
    networks = {name: bench.networks.text(model) for name, model in composition.members.items() if name != "again"}
    system = TextSystem(composition, TextQuery(6, 5), 2, bench.networks.text)
    with passes(networks) as seen:
        system()
    assert seen == {"target": 5, "source": 5}
    assert bench.meter.measure(composition, TextQuery(6, 5))[0].calls == {"target": 1.0, "source": 1.0, "again": 0.0}


def test_times_of_text_are_stamps_of_the_last_runs(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first token has its own stamp: nothing is told by subtracting one measurement from another."""
    now = iter(range(10**6))
    monkeypatch.setattr("prt_bench.text_evaluator.time.perf_counter", lambda: float(next(now)))
    system = TextSystem(text_models(bench), TextQuery(6, 5), 2, bench.networks.text)
    system()
    monkeypatch.setattr("prt_bench.text_evaluator.time.perf_counter", lambda: 0.5 * next(now))
    system()
    system()
    assert system.times(2) == (500.0, 500.0, pytest.approx(2 * 5 / 2.5))
    assert system.times(3)[0] == 500.0


class Shifted:
    """A preprocessing of its own, which counts its pictures."""

    def __init__(self, inner: Any) -> None:
        self.inner, self.seen = inner, 0

    def __call__(self, images: Any) -> torch.Tensor:
        self.seen += len(images)
        assert {image.size for image in images} == {(500, 375)}
        made: torch.Tensor = self.inner(images)
        return made


def test_a_second_preprocessing_is_part_of_the_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    target, source, tuned = models(bench)
    own, others = bench.networks.get(target), [bench.networks.get(model) for model in (source, tuned)]
    shifted, first = Shifted(others[0].preprocess), Shifted(own.preprocess)
    for network in others:
        monkeypatch.setattr(network, "preprocess", shifted)
        monkeypatch.setattr(network, "preprocessing", {"mean": "another"})
    composition = three(bench)[2].composition
    system = ImageSystem(composition, 3, bench.networks)
    made, shifted.seen = shifted.seen, 0
    monkeypatch.setattr(own, "preprocess", first)
    system()
    assert (first.seen, shifted.seen) == (0, 3), "once for both networks that need it, and never for the first"
    assert made == 0 or made == 1, "only to learn the shape"


def test_like_preprocessings_cost_nothing_more(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    composition = three(bench)[2].composition
    assert bench.meter.preprocessings(composition) == 1
    system = ImageSystem(composition, 3, bench.networks)
    for model in composition.members.values():
        monkeypatch.setattr(bench.networks.get(model), "preprocess", lambda _: pytest.fail("preprocessed"))
    system()


def test_networks_of_one_architecture_do_the_same_work(bench: Bench) -> None:
    meter = CompositionMeter(Networks(bench.registry, bench.networks.places, bench.store, "cpu", quiet, "random"))

    def shape(alias: str) -> str:
        return meter.shape(model_for(alias, bench.task.space, bench.registry, bench.networks.places, "random"))

    assert shape("vitb16-laion") == shape("vitb16-laion2b")
    assert len({shape(alias) for alias in ("vitb16-laion", "vitb16-openai", "vitb32-openai", "vitl14-openai")}) == 4
    assert bench.meter.shape(bench.model(SOURCE)) != bench.meter.shape(bench.model(TARGET))
    tuned = bench.model(SOURCE).tuned(Artifact("tuned", Path("tuned")))
    assert bench.meter.shape(bench.model(SOURCE)) == bench.meter.shape(tuned)


class Priced:
    """A query that takes as long on the clock of the tests as its composition has members."""

    def __init__(self, milliseconds: float, breaks: bool) -> None:
        self.milliseconds, self.breaks = milliseconds, breaks

    def __call__(self) -> None:
        if self.breaks:
            raise ValueError("it does not fit")

    def times(self, rounds: int) -> None:
        return None


class PricedWorkload:
    """An evaluator whose systems cost 2 ms per member and query; the target's second time is 1 % slower."""

    def __init__(self, inner: ImageEvaluator, breaking: tuple[str, ...] = ()) -> None:
        self.inner, self.breaking, self.made = inner, breaking, Counter[str]()

    def query(self, composition: Composition) -> Any:
        return self.inner.query(composition)

    def steps(self, *_: Any) -> Any:
        raise AssertionError("nothing is trained")

    def system(self, composition: Composition, batch_size: int) -> Priced:
        members = " ".join(composition.members)
        self.made[f"{members} {batch_size}"] += 1
        again = members == "target" and self.made[f"{members} {batch_size}"] % 2 == 0
        breaks = any(name in composition.members for name in self.breaking)
        return Priced(2.0 * len(composition.members) * batch_size * (1.01 if again else 1.0), breaks)


class Counted:
    """An energy counter: 3 joules more at each look, or none."""

    source = "the counter of the tests"

    def __init__(self, moves: bool) -> None:
        self.value, self.moves = 0.0, moves

    def joules(self) -> float:
        self.value += 3.0 if self.moves else 0.0
        return self.value


def priced(
    bench: Bench, workload: PricedWorkload, monkeypatch: pytest.MonkeyPatch, counter: Counted | None = None
) -> CostSession:
    monkeypatch.setattr("prt_bench.session.stopwatch", lambda _: lambda system: system.milliseconds)
    monkeypatch.setattr("prt_bench.session.energy.find_counter", lambda _: (counter, "" if counter else "none here"))
    target = Composition({"target": bench.model(TARGET)}, WeightedSum(target=1.0))
    pair = PairNames(source=SOURCE, target=TARGET)
    arguments: Any = (workload, bench.networks, bench.meter, (1, 4), 30.0, quiet)
    return measure_session("s", pair, target, three(bench), *arguments)


def test_ratios_noise_and_speed_are_those_of_the_clock(
    bench: Bench, evaluator: ImageEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = priced(bench, PricedWorkload(evaluator), monkeypatch)
    for index, batch_size in enumerate((1, 4)):
        rows = {label: entry.latency[index] for label, entry in found.compositions.items()}
        assert {label: row.ratio_to_target for label, row in rows.items()} == {
            "prt": (2.0, 2.0, 2.0), "mix": (2.0, 2.0, 2.0), "eft": (3.0, 3.0, 3.0),
        }  # fmt: skip
        assert rows["eft"].p50_ms == rows["eft"].p90_ms == 6.0 * batch_size
        assert found.noise_interval[str(batch_size)] == pytest.approx((1.01, 1.01, 1.01))
    assert found.target_flops
    assert found.flops_per_second == pytest.approx(found.target_flops * 4 / 0.008)
    assert (found.valid, found.reasons, found.skipped) == (True, [], [])


def test_energy_is_told_per_query(bench: Bench, evaluator: ImageEvaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prt_bench.session.energy.measure", lambda *_: (8.0, 1, 5.0))
    found = priced(bench, PricedWorkload(evaluator), monkeypatch, Counted(True))
    assert [row.energy_joules for row in found.compositions["eft"].latency] == [8.0, 2.0]
    assert found.energy_source == "the counter of the tests"


def test_a_counter_that_stands_still_costs_nothing_but_the_energy(
    bench: Bench, evaluator: ImageEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prt_bench.meters.energy import measure

    monkeypatch.setattr("prt_bench.session.energy.measure", lambda run, counter: measure(run, counter, 0.0))
    found = priced(bench, PricedWorkload(evaluator), monkeypatch, Counted(False))
    assert {row.energy_joules for entry in found.compositions.values() for row in entry.latency} == {None}
    assert "did not move" in found.energy_source
    assert found.absent["compositions.*.latency.*.energy_joules"] == found.energy_source
    assert found.compositions["eft"].latency[0].p50_ms == 6.0


def test_what_cannot_run_is_left_out_by_name_and_costs_the_others_nothing(
    bench: Bench, evaluator: ImageEvaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = priced(bench, PricedWorkload(evaluator, breaking=("tuned",)), monkeypatch)
    assert found.compositions.keys() == {"prt", "mix"}
    assert found.skipped == ["eft was not timed: ValueError: it does not fit"]
    assert found.compositions["prt"].latency[1].ratio_to_target == (2.0, 2.0, 2.0)
    with pytest.raises(ValueError, match="does not fit"):
        priced(bench, PricedWorkload(evaluator, breaking=("target",)), monkeypatch)


class Busy(WeightedSum):
    """A sum that may do more."""


def test_only_what_surely_does_the_same_work_shares_its_times(bench: Bench, evaluator: ImageEvaluator) -> None:
    target, source, tuned = models(bench)
    plain = timed("plain", Composition({"t": target, "s": source}, WeightedSum(t=1.0, s=1.0)))
    busy = timed("busy", Composition({"t": target, "s": source}, Busy(t=1.0, s=1.0)))
    small = {"t": target, "a": source, "b": source, "c": tuned, "d": target}
    large = {"t": target, "a": tuned, "b": source, "c": source, "d": source}
    sums = {"small": small, "large": large, "fewer": dict(list(large.items())[:3])}
    entries = [timed(name, Composition(each, WeightedSum(t=1.0))) for name, each in sums.items()]
    found = session(bench, evaluator, [plain, busy, *entries]).compositions
    shared = {label: entry.timed_as for label, entry in found.items()}
    assert shared == {"plain": "", "busy": "", "small": "", "large": "small", "fewer": ""}


def test_a_request_that_does_not_fit_is_refused_before_it_is_timed(bench: Bench) -> None:
    with pytest.raises(CellError, match="a request of 1025 tokens does not fit a context of 1024"):
        TextSystem(text_models(bench), TextQuery(1020, 5), 1, bench.networks.text)


def test_an_answer_of_one_token_has_no_time_per_further_token(bench: Bench) -> None:
    system = TextSystem(text_models(bench), TextQuery(6, 1), 1, bench.networks.text)
    system()
    first, further, rate = system.times(1)
    assert further is None
    assert rate == pytest.approx(1000 / first)


def test_keys_are_kept_of_what_is_read(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last token is answered and never read."""
    composition = text_models(bench)
    system = TextSystem(composition, TextQuery(6, 5), 1, bench.networks.text)
    new_pasts, kept = system._lockstep.new_pasts, []

    def watched() -> Any:
        kept.append(new_pasts())
        return kept[-1]

    monkeypatch.setattr(system._lockstep, "new_pasts", watched)
    system()
    held = sum(past.nbytes for past in kept[-1].values())
    assert held == bench.meter.measure(composition, TextQuery(6, 5))[2].kv
