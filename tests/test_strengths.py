"""Where strengths are chosen: not at all, on the source's validation data (once), or on the target's (per upgrade)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import prt_bench.training
from prt_bench.api import Method, Setting
from prt_bench.cli.main import invoke
from prt_bench.records import Cost, Quality, Record, read_record
from prt_bench.registry import Registry
from prt_bench.runner import RunOptions
from prt_bench.task_spec import Recipe, Search
from prt_bench.trials import strength_trials
from tests.test_trials import PAIR, RECIPE, TASK, HereExecutor, method_of

SEARCH = Search(
    trials=6, learning_rate=(1.0, 1.0), steps=(1.0, 1.0), strength=(1.0, 1.0), strength_grid=(1.0, 0.5, 2.0)
)
VALIDATION = 40
Run = Callable[..., int]
Found = dict[tuple[str, str], Record]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("prt_bench.cli.run.RunOptions", partial(RunOptions, batch_sizes=(1,), session_seconds=0.1))
    monkeypatch.setattr("prt_bench.runner.LocalExecutor", HereExecutor)
    (tmp_path / "few-digits.yaml").write_text(TASK, encoding="utf-8")
    words = ["--data", str(tmp_path / "few-digits.yaml"), "--out", str(tmp_path / "board"), "--pair", PAIR]

    def call(*more: str) -> int:
        return invoke(["run", *words, "--store", str(tmp_path / "store"), *more])

    return call


@pytest.fixture
def found(tmp_path: Path) -> Callable[[], Found]:
    """(where strengths were chosen, method) → record, of all that were made."""

    def read() -> Found:
        records = [read_record(path) for path in (tmp_path / "board" / "results").rglob("*.json")]
        return {(record.cell.strengths, record.cell.method): record for record in records}

    return read


def asked(*names: str) -> list[str]:
    return [word for name in names for word in ("--method", name)]


def whole(record: Record) -> tuple[Quality, Cost]:
    assert record.quality is not None
    assert record.cost is not None
    return record.quality, record.cost


def prices(record: Record) -> dict[str, int]:
    """FLOPs of a pass of each member over the validation images."""
    return {name: VALIDATION * (price or 0) for name, price in whole(record)[1].per_query.flops.by_member.items()}


# --- the trials ---


def tried(method: Method) -> list[dict[str, Any]]:
    trials = strength_trials(SEARCH, {"m": RECIPE}, method.card, method.params)
    assert all(trial.recipes == {"m": RECIPE} for trial in trials), "strengths alone"
    return [dict(trial.params) for trial in trials]


def test_the_published_constants_are_tried_first_and_every_combination_once() -> None:
    two = method_of(a=Setting(1.0), b=Setting(4.0, 0.0, 6.0))()
    found = tried(two)
    assert found[0] == {"a": 1.0, "b": 4.0}
    every = {(params["a"], params["b"]) for params in found}
    assert every == {(a, b) for a in (1.0, 0.5, 2.0) for b in (4.0, 2.0, 6.0)}, "6 is where the range ends"
    assert len(found) == len(every) == 9


def test_a_strength_that_its_user_set_stays(registry: Registry) -> None:
    method = registry.method("eft:alpha=0.7").method
    assert tried(method) == [{"alpha": 0.7}]


def test_what_cannot_be_scaled_is_not_searched() -> None:
    assert len(tried(method_of(mode=Setting("word"), count=Setting(3), off=Setting(0.0))())) == 1


def test_settings_of_training_are_no_strengths(registry: Registry) -> None:
    assert {params["lambda"] for params in tried(registry.method("prt").method)} == {1.0}


# --- a run ---


def test_each_mode_is_charged_where_its_data_is_read(run: Run, found: Callable[[], Found]) -> None:
    for mode in ("constants", "source", "target"):
        assert run(*asked("eft"), "--strengths", mode) == 0
    made = found()
    assert set(made) == {("constants", "eft"), ("source", "eft"), ("target", "eft")}
    (_, plain), (source, once), (target, upgrade) = (
        whole(made[mode, "eft"]) for mode in ("constants", "source", "target")
    )
    training, read = plain.once.train_flops or 0, prices(made["constants", "eft"])
    # On the source EFT runs the tuned and the untuned source; on the target all three. Each reads once.
    assert once.once.train_flops == training + read["source"] + read["tuned"]
    assert once.per_upgrade.train_flops == plain.per_upgrade.train_flops == 0
    assert upgrade.once.train_flops == training, "one tuned source serves all strengths"
    assert upgrade.per_upgrade.train_flops == sum(read.values())
    assert (once.once.trials, once.per_upgrade.trials) == (7, 1)
    assert (upgrade.once.trials, upgrade.per_upgrade.trials) == (1, 7)
    assert {trial.view for trial in source.tuning} == {"source validation"}
    assert {trial.view for trial in target.tuning} == {"validation"}
    for quality in (source, target):
        (chosen,) = [trial for trial in quality.tuning if trial.chosen]
        assert chosen.value == max(trial.value for trial in quality.tuning)
        assert len({trial.params["alpha"] for trial in quality.tuning}) == 7


def test_on_the_source_everything_is_chosen_as_if_it_were_the_target(
    run: Run, found: Callable[[], Found], tmp_path: Path
) -> None:
    """The pair A → A, chosen on its target, tries the very same compositions."""
    assert run(*asked("eft"), "--strengths", "source") == 0
    on_source = whole(found()["source", "eft"])[0].tuning
    source = PAIR.split(":")[0]
    assert run(*asked("eft"), "--strengths", "target", "--pair", f"{source}:{source}") == 0
    records = [read_record(path) for path in (tmp_path / "board" / "results").rglob("*.json")]
    (alike,) = [whole(record)[0].tuning for record in records if record.cell.pair.target == source]
    assert [(trial.params, trial.value) for trial in on_source] == [(trial.params, trial.value) for trial in alike]


def test_the_chosen_strength_is_the_one_that_is_tested(run: Run, found: Callable[[], Found], tmp_path: Path) -> None:
    assert run(*asked("ensemble"), "--strengths", "target") == 0
    quality, _ = whole(found()["target", "ensemble"])
    (chosen,) = [trial for trial in quality.tuning if trial.chosen]
    weight = chosen.params["weight"]
    assert run(*asked(f"ensemble:weight={weight}"), "--out", str(tmp_path / "fixed")) == 0
    (fixed,) = [read_record(path) for path in (tmp_path / "fixed" / "results").rglob("*.json")]
    assert whole(fixed)[0].metrics == quality.metrics


def test_where_nothing_can_be_chosen_nothing_is_done_again(
    run: Run, found: Callable[[], Found], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run(*asked("zero-shot", "full-finetune")) == 0
    assert run(*asked("zero-shot", "full-finetune"), "--strengths", "target") == 0
    assert "nothing to do: all 2 cells hold already" in capfd.readouterr().err
    assert {mode for mode, _ in found()} == {"constants"}


def test_recipes_may_be_chosen_on_the_source_too(run: Run, found: Callable[[], Found]) -> None:
    """Then tuning the target is tried on the source, once, and done once at every upgrade."""
    assert run(*asked("full-finetune"), "--track", "equal", "--strengths", "source") == 0
    quality, cost = whole(found()["source", "full-finetune"])
    assert (cost.once.trials, cost.per_upgrade.trials) == (6, 1)
    assert (cost.once.train_flops or 0) > 0
    assert (cost.per_upgrade.train_flops or 0) > 0
    assert cost.once.train_flops == sum(trial.train_flops or 0 for trial in quality.tuning), "all trials, on the source"
    (chosen,) = [trial for trial in quality.tuning if trial.chosen]
    steps = max(1, round(3 * float(chosen.params.get("steps_factor", 1.0))))
    assert cost.per_upgrade.examples == 16 * steps


def test_the_equal_track_must_choose(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(*asked("eft"), "--track", "equal", "--strengths", "constants") == 2
    message = capfd.readouterr().err
    assert "the equal-budget track chooses on validation: source or target" in " ".join(message.split())


def test_what_stands_for_a_step_does_so_unchanged_alone(run: Run, found: Callable[[], Found], tmp_path: Path) -> None:
    assert run(*asked("ensemble", "ensemble:weight=0.5")) == 0
    records = [read_record(path) for path in (tmp_path / "board" / "results").rglob("*.json")]
    assert {record.cell.params["weight"]: record.cell.stands_for for record in records} == {
        1.0: "plain ensemble",
        0.5: "",
    }


# --- trials that fail ---


@pytest.mark.parametrize("method", ["full-finetune", "eft"])
def test_a_trial_that_fails_costs_what_it_took_and_not_the_cell(
    run: Run, found: Callable[[], Found], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Of six trials those at more than the recipe's learning rate explode at their first step."""
    original = prt_bench.training.learning_rate

    def exploding(recipe: Recipe, step: int) -> float:
        return float("nan") if recipe.learning_rate > RECIPE.learning_rate and step else original(recipe, step)

    monkeypatch.setattr("prt_bench.training.learning_rate", exploding)
    assert run(*asked(method), "--track", "equal") == 0
    quality, cost = whole(found()["target", method])
    failed = [trial for trial in quality.tuning if trial.error]
    held = [trial for trial in quality.tuning if not trial.error]
    assert failed
    assert held
    assert all(trial.value is None and not trial.chosen for trial in failed)
    assert all("the loss is nan" in trial.error or "no numbers" in trial.error for trial in failed)
    assert all((trial.train_flops or 0) > 0 for trial in quality.tuning), "what was learnt in vain was paid"
    assert len(quality.tuning) == 6
    own = cost.per_upgrade if method == "full-finetune" else cost.once
    assert own.trials == 6
    # The first step still learns; the one after it gives weights that are no numbers, and the next is seen to fail.
    steps = [max(1, round(3 * float(trial.params.get("steps_factor", 1.0)))) for trial in quality.tuning]
    done = [at if not trial.error else min(at, 3) for at, trial in zip(steps, quality.tuning, strict=True)]
    validated = sum("the loss" not in trial.error for trial in quality.tuning)
    read = 0 if method == "eft" else validated * VALIDATION
    assert own.examples == 16 * sum(done) + read
    assert {trial.error for trial in held} == {""}


def test_a_cell_whose_trials_all_fail_has_failed(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("prt_bench.training.learning_rate", lambda recipe, step: float("nan"))
    assert run(*asked("full-finetune"), "--track", "equal") == 1
    (record,) = [read_record(path) for path in (tmp_path / "board" / "results").rglob("*.json")]
    assert record.error is not None
    assert record.error.type == "CellError"
    assert record.error.message.startswith("all 6 trials failed; the first: the loss is nan at step")
    capfd.readouterr()
