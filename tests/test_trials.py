"""Trials: the paper's recipe as it is, or the same number of draws for every method, and the best by validation."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prt_bench.api import Artifact, Composition, Method, MethodCard, Model, Setting, WeightedSum
from prt_bench.cli.main import invoke
from prt_bench.errors import CellError, RequestError
from prt_bench.executors.local import WorkFailed
from prt_bench.recipes import equal_budget
from prt_bench.records import Record, read_record
from prt_bench.registry import Registry
from prt_bench.runner import RunOptions
from prt_bench.task_spec import PublishedEncoder, Recipe, Search
from prt_bench.trials import Trial, equal_trials

PAIR = "nano-rn16-a:nano-rn24-b"
ALIASES = ("nano-rn16-a", "nano-rn24-b")
RECIPE = Recipe(steps=100, batch_size=64, learning_rate=2e-3, warmup_steps=10, weight_decay=0.01, clip_norm=1.0)
ENCODER = PublishedEncoder(repository="org/tuned", model="nano-rn16-a", task="digits", tuned=0.9)
SEARCH = Search(trials=6, learning_rate=(0.1, 10.0), steps=(0.5, 2.0), strength=(0.25, 4.0))
HAS_NOTHING_TO_SEARCH = {"few-shot", "zero-shot", "source-zero-shot", "urial"}
TASK = """
name: few-digits
version: 1
title: A few digits
kind: image-classification
source: {kind: builtin, name: digits}
roles:
  train: {split: train, per_class: 4, size: 40}
  validation: {split: train, per_class: 4, size: 40}
  test: {split: test, per_class: 10, size: 100}
classes:
  - {name: zero, labels: ["0"]}
  - {name: one, labels: ["1"]}
  - {name: two, labels: ["2"]}
  - {name: three, labels: ["3"]}
  - {name: four, labels: ["4"]}
  - {name: five, labels: ["5"]}
  - {name: six, labels: ["6"]}
  - {name: seven, labels: ["7"]}
  - {name: eight, labels: ["8"]}
  - {name: nine, labels: ["9"]}
templates: ["a photo of the number {}."]
templates_source: ours
licence: CC-BY-4.0
recipe:
  embedded: {steps: 3, batch_size: 16, warmup_steps: 1}
"""


class HereExecutor:
    """The worker's object in this process: the start of a real worker takes longer than all that these tests do."""

    def __init__(self, open_job: Callable[..., Any]) -> None:
        self._open_job = open_job
        self._job: Any = None

    def call(self, name: str, *args: Any, report: Callable[[str, int, int], None], **_: Any) -> Any:
        ours = logging.getLogger("prt_bench")
        level = ours.level
        ours.setLevel(logging.ERROR)  # as in a worker
        try:
            if self._job is None:
                self._job = self._open_job(report)
            return getattr(self._job, name)(*args)
        except RequestError:
            raise
        except Exception as error:
            expected = isinstance(error, CellError)
            raise WorkFailed(type(error).__name__, " ".join(str(error).split()), "here", expected) from error
        finally:
            ours.setLevel(level)

    def close(self) -> None:
        self._job = None


def method_of(**strengths: Setting) -> type[Method]:
    """A method that tunes nothing and has these strengths."""

    class Odd(Method):
        card = MethodCard(name="odd", title="Odd", strengths=strengths)

        def attach(self, artifact: Artifact | None, source: Model, target: Model) -> Composition:
            return Composition({"target": target}, WeightedSum(target=1.0))

    return Odd


def trials_of(registry: Registry, text: str, search: Search = SEARCH, **tunings: Any) -> list[Trial]:
    method = registry.method(text).method
    return equal_trials(search, tunings or dict.fromkeys(ALIASES, RECIPE), method.card, method.params)


@st.composite
def bounds(draw: st.DrawFn) -> tuple[float, float]:
    low, high = sorted(draw(st.tuples(st.floats(1e-3, 1e3), st.floats(1e-3, 1e3))))
    return low, high


SEARCHES = st.builds(Search, trials=st.integers(1, 8), learning_rate=bounds(), steps=bounds(), strength=bounds())
RECIPES = st.builds(
    Recipe,
    steps=st.integers(0, 5000),
    batch_size=st.just(8),
    learning_rate=st.floats(1e-7, 1.0),
    warmup_steps=st.integers(0, 0),
    weight_decay=st.just(0.1),
    clip_norm=st.just(1.0),
    random_resized_crop=st.none() | st.just((0.9, 1.0)),
).flatmap(lambda one: st.integers(0, one.steps).map(lambda steps: one.model_copy(update={"warmup_steps": steps})))


@st.composite
def settings(draw: st.DrawFn) -> Setting:
    """A strength with any default but nought, inside its range."""
    default = draw(st.floats(-100, 100).filter(lambda value: abs(value) > 1e-3))
    low = draw(st.none() | st.floats(-200, default))
    high = draw(st.none() | st.floats(default, 200))
    return Setting(default, low, high)


@pytest.mark.parametrize("name", sorted(Registry().methods))
def test_every_method_that_has_something_to_search_has_as_many_trials(name: str, registry: Registry) -> None:
    search = equal_budget(registry)
    found = trials_of(registry, name, search)
    assert len(found) == (1 if name in HAS_NOTHING_TO_SEARCH else search.trials)
    assert len({str((trial.recipes, trial.params)) for trial in found}) == len(found), "no trial stands twice"


def test_the_first_trial_is_the_recipe_and_what_was_asked_for(registry: Registry) -> None:
    for text in ("prt:lambda=2.0,weight=0.5", "full-finetune", "zero-shot"):
        first = trials_of(registry, text)[0]
        assert first == Trial(dict.fromkeys(ALIASES, RECIPE), registry.method(text).method.params, {})


def test_all_methods_draw_the_same_recipes_so_that_tuned_networks_are_shared(registry: Registry) -> None:
    drawn = {name: [trial.recipes for trial in trials_of(registry, name)] for name in ("eft", "prt", "full-finetune")}
    assert drawn["eft"] == drawn["prt"] == drawn["full-finetune"]
    for recipes in drawn["eft"]:
        assert recipes["nano-rn16-a"] == recipes["nano-rn24-b"], "one draw for source and target"
    assert trials_of(registry, "prt") == trials_of(registry, "prt"), "and the same on every day"


def test_a_strength_is_drawn_and_a_setting_is_left_as_asked_for(registry: Registry) -> None:
    found = trials_of(registry, "prt:lambda=2.0")
    assert {trial.params["lambda"] for trial in found} == {2.0}
    assert len({trial.params["weight"] for trial in found}) == len(found)
    for trial in found[1:]:
        assert trial.drawn.keys() == {"learning_rate_factor", "steps_factor", "weight"}
        assert trial.drawn["weight"] == trial.params["weight"]


def test_a_method_that_tunes_nothing_searches_its_strength_alone(registry: Registry) -> None:
    found = trials_of(registry, "untuned-ensemble")
    assert all(trial.recipes == dict.fromkeys(ALIASES, RECIPE) for trial in found)
    assert all(trial.drawn == {"weight": trial.params["weight"]} for trial in found[1:])


@pytest.mark.parametrize("setting", [Setting(0.0), Setting(3), Setting(True), Setting("word")])
def test_what_no_factor_can_change_is_not_searched(setting: Setting) -> None:
    odd = method_of(strength=setting)()
    assert equal_trials(SEARCH, {"a": RECIPE}, odd.card, odd.params) == [Trial({"a": RECIPE}, odd.params, {})]


def test_a_published_encoder_passes_untouched(registry: Registry) -> None:
    found = trials_of(registry, "eft", SEARCH, **{"nano-rn16-a": ENCODER, "nano-rn24-b": RECIPE})
    assert all(trial.recipes["nano-rn16-a"] is ENCODER for trial in found)
    assert len({str(trial.recipes["nano-rn24-b"]) for trial in found}) == SEARCH.trials


@given(SEARCHES, RECIPES)
def test_drawn_recipes_stay_within_the_searchs_bounds(registry: Registry, search: Search, recipe: Recipe) -> None:
    found = trials_of(registry, "full-finetune", search, model=recipe)
    assert len(found) == search.trials
    for trial in found[1:]:
        changed = trial.recipes["model"]
        assert isinstance(changed, Recipe)
        rate, length = trial.drawn["learning_rate_factor"], trial.drawn["steps_factor"]
        for value, (low, high) in ((rate, search.learning_rate), (length, search.steps)):
            assert low * (1 - 1e-9) <= value <= high * (1 + 1e-9)
        assert changed.learning_rate == pytest.approx(recipe.learning_rate * rate, rel=1e-3)
        assert changed.steps == max(1, round(recipe.steps * length))
        assert 0 <= changed.warmup_steps <= changed.steps
        if recipe.steps:
            part = recipe.warmup_steps / recipe.steps
            assert changed.warmup_steps == pytest.approx(part * changed.steps, abs=0.51), "warm-up is the same part"
        same = {"steps", "learning_rate", "warmup_steps"}
        assert changed.model_dump(exclude=same) == recipe.model_dump(exclude=same)


@given(SEARCHES, settings())
def test_drawn_strengths_are_within_the_declared_range_and_the_search(search: Search, setting: Setting) -> None:
    kind = method_of(strength=setting)
    method = kind()
    for trial in equal_trials(search, {"model": RECIPE}, method.card, method.params):
        assert kind(**trial.params).params == trial.params, "the method takes what was drawn"
        if trial.drawn:
            value, default = trial.drawn["strength"], float(setting.default)
            inside = (setting.low is None or value > setting.low) and (setting.high is None or value < setting.high)
            if inside:
                low, high = search.strength
                assert low * 0.999 <= value / default <= high * 1.001


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    monkeypatch.setattr("prt_bench.cli.run.RunOptions", partial(RunOptions, batch_sizes=(1,), session_seconds=0.1))
    monkeypatch.setattr("prt_bench.runner.LocalExecutor", HereExecutor)
    (tmp_path / "few-digits.yaml").write_text(TASK, encoding="utf-8")
    words = ["--data", str(tmp_path / "few-digits.yaml"), "--out", str(tmp_path / "board"), "--pair", PAIR]
    store = ["--store", str(tmp_path / "store")]

    def call(*more: str) -> int:
        return invoke(["run", *words, *store, *more])

    return call


def records(out: Path) -> dict[tuple[str, str], Record]:
    """(track, method) → record."""
    found = [read_record(path) for path in (out / "results").rglob("*.json")]
    return {(record.cell.track, record.cell.method): record for record in found}


def test_the_equal_track_tries_each_method_as_often_and_charges_for_all_of_it(
    run: Callable[..., int], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    methods = [word for name in ("zero-shot", "eft", "full-finetune") for word in ("--method", name)]
    assert run(*methods) == 0
    assert run(*methods, "--track", "equal") == 0
    found = records(tmp_path / "board")
    assert len(found) == 6
    for name in ("zero-shot", "eft", "full-finetune"):
        paper, equal = found["paper", name], found["equal", name]
        assert (paper.cell.track, equal.cell.track) == ("paper", "equal")
        assert paper.cell.id != equal.cell.id
        assert paper.quality is not None
        assert equal.quality is not None
        assert paper.cost is not None
        assert equal.cost is not None
        assert paper.quality.tuning == []
        tuning = equal.quality.tuning
        if name == "zero-shot":
            assert tuning == []
            assert equal.cost.once.train_flops == equal.cost.per_upgrade.train_flops == 0
            assert equal.cost.once.trials == equal.cost.per_upgrade.trials == 1
            continue
        assert len(tuning) == 6
        assert equal.cost.per_upgrade.trials == 6, "tried, or read on the target's side to be chosen from"
        assert equal.cost.once.trials == (6 if name == "eft" else 1)
        assert paper.cost.once.trials == paper.cost.per_upgrade.trials == 1
        best = max(entry.value for entry in tuning)
        (chosen,) = [entry for entry in tuning if entry.chosen]
        assert chosen.value == best
        assert equal.quality.validation is not None
        assert equal.quality.validation["top1"].value == best
        assert {entry.view for entry in tuning} == {"validation"}
        assert "learning_rate_factor" not in tuning[0].params, "the first is the recipe itself"
        assert all("learning_rate_factor" in entry.params for entry in tuning[1:])
        assert tuning[0].value == paper.quality.validation["top1"].value if paper.quality.validation else False

    steps = [3, *(max(1, round(3 * entry.params["steps_factor"])) for entry in tuning[1:])]
    paper_cost, equal_cost = found["paper", "eft"].cost, found["equal", "eft"].cost
    assert paper_cost is not None
    assert equal_cost is not None
    assert paper_cost.once.train_flops
    per_step = paper_cost.once.train_flops / 3
    assert equal_cost.once.train_flops == pytest.approx(per_step * sum(steps))
    assert equal_cost.once.examples == 16 * sum(steps)
    assert equal_cost.once.seconds is not None
    assert paper_cost.once.seconds is not None
    assert equal_cost.once.seconds > paper_cost.once.seconds
    # To choose is to read the validation images, with every network of the trials once.
    assert paper_cost.per_upgrade.train_flops == 0
    price = equal_cost.per_query.flops.by_member
    reading = 40 * ((price["target"] or 0) + (price["source"] or 0) + 6 * (price["tuned"] or 0))
    assert equal_cost.per_upgrade.train_flops == reading > 0
    tuned_paper, tuned_equal = found["paper", "full-finetune"].cost, found["equal", "full-finetune"].cost
    assert tuned_paper is not None
    assert tuned_equal is not None
    assert (tuned_equal.per_upgrade.train_flops or 0) > (tuned_paper.per_upgrade.train_flops or 0) > 0

    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "board" / "results").rglob("*")}
    capfd.readouterr()
    assert run(*methods, "--track", "equal") == 0
    assert "nothing to do: all 3 cells hold already" in capfd.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "board" / "results").rglob("*")} == before
