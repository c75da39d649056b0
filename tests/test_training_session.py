"""Training at true sizes: which trainings are timed, at what FLOPs, and what is said where there is no room or time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prt_bench.api import WeightedSum
from prt_bench.data.examples import Examples
from prt_bench.image_evaluator import ImageEvaluator
from prt_bench.session_records import TrainingRow
from prt_bench.task_spec import PublishedEncoder, Recipe
from prt_bench.tools import Training
from prt_bench.training_session import Asked, measure_trainings, merged
from prt_bench.work import Work
from tests.conftest import SOURCE, TARGET, Bench, quiet


@pytest.fixture
def asked(bench: Bench) -> list[Asked]:
    """Tuning the target, the source, and a reward through the source."""
    source, target, recipe = bench.model(SOURCE), bench.model(TARGET), bench.recipe
    rule = WeightedSum(source=1.0, trained=1.0)
    return [
        Asked(Training(target, {}, None, recipe, 100), ("full",)),
        Asked(Training(source, {"source": source}, rule, recipe, 100), ("reward",)),
        Asked(Training(source, {}, None, recipe, 100), ("tuned", "mixed")),
    ]


def measured(bench: Bench, asked: list[Asked], **changes: Any) -> dict[str, TrainingRow]:
    roles: dict[str, Examples] = bench.task.roles  # type: ignore[assignment]
    evaluator = ImageEvaluator(roles["validation"], roles["test"], "top1", bench.networks, bench.meter)
    how: dict[str, Any] = {"keeps_outputs": True, "most_together": 4, "speed": 1e11, "seconds": 0.6, **changes}
    source = how.pop("source", bench.model(SOURCE))
    rows = measure_trainings(
        asked, source, evaluator, Work(images=1), networks=bench.networks, meter=bench.meter, report=quiet, **how
    )
    return {f"{row.model} {' '.join(row.frozen)} {row.frozen_outputs}": row for row in rows}


PLAIN, LIVE, ONCE, FULL = (
    f"{SOURCE}  none",
    f"{SOURCE} {SOURCE} live",
    f"{SOURCE} {SOURCE} computed once",
    f"{TARGET}  none",
)


def test_every_training_is_timed_against_tuning_the_source(bench: Bench, asked: list[Asked]) -> None:
    rows = measured(bench, asked)
    assert set(rows) == {PLAIN, LIVE, ONCE, FULL}
    for row in rows.values():
        assert row.ratio is not None
        assert row.ratio[0] <= row.ratio[1] <= row.ratio[2]
        assert row.step_ms is not None
        assert row.batch_size == 4
        assert row.rounds >= 2
        assert row.peak_memory_bytes or not Path("/proc/self/clear_refs").exists()
    assert rows[PLAIN].ratio == (1.0, 1.0, 1.0)
    assert rows[PLAIN].methods == ["tuned", "mixed"]


def test_without_plain_tuning_there_is_no_ratio_to_it(bench: Bench, asked: list[Asked]) -> None:
    rows = measured(bench, [asked[1]])
    assert {row.ratio for row in rows.values()} == {None}
    assert all(row.step_ms for row in rows.values())
    assert all("no method tunes the source alone" in " ".join(row.reasons) for row in rows.values())


def test_the_source_is_the_reference_where_the_target_is_smaller(bench: Bench) -> None:
    both = [Asked(Training(bench.model(name), {}, None, bench.recipe, 9), ("m",)) for name in (SOURCE, TARGET)]
    rows = measured(bench, both, source=bench.model(TARGET))
    assert rows[FULL].ratio == (1.0, 1.0, 1.0)
    assert rows[PLAIN].ratio != (1.0, 1.0, 1.0)


def test_where_the_speed_is_not_known_nothing_is_begun(bench: Bench, asked: list[Asked]) -> None:
    rows = measured(bench, asked, speed=0.0)
    assert {row.step_ms for row in rows.values()} == {None}
    assert "is not known" in rows[PLAIN].reasons[0]


def test_a_live_frozen_source_adds_its_pass_and_kept_outputs_add_none(bench: Bench, asked: list[Asked]) -> None:
    rows = measured(bench, asked)
    passes = bench.meter.price(bench.model(SOURCE)).of(Work(images=1))
    plain = rows[PLAIN].flops
    assert plain is not None
    assert rows[LIVE].flops == plain + (passes or 0)
    assert rows[ONCE].flops == plain
    assert (rows[FULL].flops or 0) > 2 * plain


def test_outputs_that_are_not_kept_have_one_way(bench: Bench, asked: list[Asked]) -> None:
    assert set(measured(bench, asked, keeps_outputs=False)) == {PLAIN, LIVE, FULL}


def test_what_there_is_no_time_for_is_left_out_with_its_flops(bench: Bench, asked: list[Asked]) -> None:
    plain, full = (bench.meter.training(bench.model(name)).of(Work(images=1)) or 0 for name in (SOURCE, TARGET))
    speed = 18 * 4.2 * plain / 0.6
    rows = measured(bench, asked, speed=speed)
    assert rows[FULL].step_ms is None
    assert rows[FULL].flops == full
    assert "18 steps of one example would take" in rows[FULL].reasons[0]
    assert rows[PLAIN].batch_size == 1, "and the others one at a time"
    assert rows[LIVE].step_ms is not None


def test_what_there_is_no_room_for_is_left_out(
    bench: Bench, asked: list[Asked], monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = bench.meter.parameters(bench.model(SOURCE))
    monkeypatch.setattr("prt_bench.training_session._free", lambda _: 1.3 * 20 * parameters)
    rows = measured(bench, asked)
    assert rows[FULL].step_ms is None
    assert "are left for it" in rows[FULL].reasons[0]
    assert rows[LIVE].step_ms is not None, "it changes the same network as plain tuning"


def test_what_others_trained_is_not_timed(bench: Bench) -> None:
    encoder = PublishedEncoder(model=SOURCE, task="digits", repository="owner/name", file="a.safetensors", tuned=0.9)
    rows = measured(bench, [Asked(Training(bench.model(SOURCE), {}, None, encoder, 1), ("tuned",))])
    assert rows[PLAIN].reasons == ["others did the tuning"]


def test_memory_grows_with_what_learns(bench: Bench, asked: list[Asked]) -> None:
    rows = measured(bench, asked, most_together=16)
    if rows[PLAIN].peak_memory_bytes is None:
        pytest.skip("the kernel does not tell peaks here")
    weights = 4 * bench.meter.parameters(bench.model(TARGET))
    assert (rows[FULL].peak_memory_bytes or 0) > 3 * weights, "a copy, gradients and two moments, less what is reused"


def test_trainings_are_merged_by_key(bench: Bench) -> None:
    training = Training(bench.model(SOURCE), {}, None, Recipe(**bench.recipe.model_dump()), 1)
    found = merged([("k", training, "a"), ("l", training, "b"), ("k", training, "c"), ("k", training, "a")])
    assert [entry.methods for entry in found] == [("a", "c"), ("b",)]
