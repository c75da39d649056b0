"""What a plan will take, counted before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from prt_bench.estimate import Estimate, estimate, matrix_product_speed
from prt_bench.networks import Networks
from prt_bench.plan import Plan, make_plan, verb_data
from prt_bench.requests import RunRequest
from prt_bench.task_spec import Recipe
from prt_bench.tools import PlanTools
from tests.conftest import Bench, quiet

PAIR = "nano-rn16-a:nano-rn24-b"
SOURCE, TARGET = PAIR.split(":")
STEPS, BATCH, TRAIN, VALIDATION, TEST = 3, 16, 40, 30, 797
TASK = f"""
name: few-digits
version: 1
title: A few digits
kind: image-classification
source: {{kind: builtin, name: digits}}
roles:
  train: {{split: train, per_class: 4, size: {TRAIN}}}
  validation: {{split: train, per_class: 3, size: {VALIDATION}}}
  test: {{split: test, size: {TEST}}}
classes: [CLASSES]
templates: ["a photo of the number {{}}."]
templates_source: ours
licence: CC-BY-4.0
recipe:
  embedded: {{steps: {STEPS}, batch_size: {BATCH}, warmup_steps: 1}}
  paper: {{steps: {STEPS}, batch_size: {BATCH}, warmup_steps: 1}}
"""
NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
PLUGIN = """
from prt_bench.api import Composition, Method, MethodCard, SkipError, WeightedSum

class Base(Method):
    def attach(self, artifact, source, target):
        return Composition({"target": target}, WeightedSum(target=1.0))

class Broken(Base):
    card = MethodCard(name="broken", title="Broken", needs={"fit": ("train",)})
    def fit(self, source, data, tools):
        raise ValueError("this method cannot do it")

class Reading(Base):
    card = MethodCard(name="reading", title="Reading", needs={"fit": ("train",)})
    def fit(self, source, data, tools):
        return tools.save({"mean": tools.outputs(source, data.train).mean(0)}, {})

class Picky(Base):
    card = MethodCard(name="picky", title="Picky", needs={"fit": ("train",)})
    def fit(self, source, data, tools):
        raise SkipError("not for such models")
""".replace("MethodCard, SkipError, WeightedSum", "MethodCard, WeightedSum\nfrom prt_bench.errors import SkipError")
Planner = Callable[..., Plan]


@pytest.fixture
def plan(tmp_path: Path) -> Planner:
    classes = ", ".join(f'{{name: {name}, labels: ["{digit}"]}}' for digit, name in enumerate(NAMES))
    (tmp_path / "few-digits.yaml").write_text(TASK.replace("CLASSES", classes), encoding="utf-8")
    (tmp_path / "plugin.py").write_text(PLUGIN, encoding="utf-8")

    def make(*methods: str, **words: object) -> Plan:
        request = RunRequest(
            pairs=(PAIR,),
            methods=methods,
            data=(tmp_path / "few-digits.yaml",),
            plugins=(tmp_path / "plugin.py",),
            store=tmp_path / "store",
            out=tmp_path / "board",
            **words,  # type: ignore[arg-type]
        )
        return make_plan(request, quiet)

    return make


def found_for(plan: Plan) -> Estimate:
    networks = Networks(plan.registry, plan.request.places, plan.store, "cpu", quiet)
    return estimate(plan, plan.cells, networks)


@pytest.fixture(scope="module")
def forward(bench: Bench) -> dict[str, int]:
    """Alias → FLOPs of one image, counted on the real network as it runs."""
    found = {}
    for alias in (SOURCE, TARGET):
        network = bench.networks.get(bench.model(alias))
        pixels = network.preprocess([bench.task.roles["test"].image(0)])
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            network.module(pixels)
        found[alias] = counter.get_total_flops()
    return found


def parameters(bench: Bench, alias: str) -> int:
    return sum(one.numel() for one in bench.networks.get(bench.model(alias)).module.parameters())


def test_training_and_reading_add_up_by_hand(plan: Planner, forward: dict[str, int], bench: Bench) -> None:
    """PRT: three passes per step and image, one of the frozen source per training image; then two members read."""
    found = found_for(plan("prt"))
    assert found.trainings == [f"{SOURCE} through {SOURCE}, {STEPS} steps"]
    assert found.training_flops == 3 * forward[SOURCE] * STEPS * BATCH + forward[SOURCE] * TRAIN
    assert found.reading_flops == (forward[SOURCE] + forward[TARGET]) * (TEST + VALIDATION)
    assert found.artifact_bytes == 4 * parameters(bench, SOURCE)
    assert (found.reused, found.unknown, found.skipped) == (0, [], [])


def test_with_crops_the_frozen_network_reads_every_crop(plan: Planner, forward: dict[str, int]) -> None:
    found = found_for(plan("prt", recipe="paper"))
    assert found.training_flops == (3 + 1) * forward[SOURCE] * STEPS * BATCH


def test_the_target_is_tuned_at_the_targets_price(plan: Planner, forward: dict[str, int]) -> None:
    found = found_for(plan("full-finetune", "zero-shot"))
    assert found.trainings == [f"{TARGET}, {STEPS} steps"]
    assert found.training_flops == 3 * forward[TARGET] * STEPS * BATCH
    assert found.reading_flops == 2 * forward[TARGET] * (TEST + VALIDATION), "the tuned and the untuned"


def test_what_several_methods_ask_for_is_trained_once_and_read_once(plan: Planner, forward: dict[str, int]) -> None:
    found = found_for(plan("eft", "ensemble", "source-finetune"))
    assert found.trainings == [f"{SOURCE}, {STEPS} steps"]
    members = 2 * forward[SOURCE] + forward[TARGET]
    assert found.reading_flops == members * (TEST + VALIDATION)


def test_every_seed_is_a_training_of_its_own(plan: Planner) -> None:
    one, three = found_for(plan("eft")), found_for(plan("eft", seeds=3))
    assert len(three.trainings) == 3
    assert three.training_flops == 3 * one.training_flops
    assert three.artifact_bytes == 3 * one.artifact_bytes


def test_a_network_that_is_in_the_store_is_not_trained_again(plan: Planner) -> None:
    whole = plan("eft", "full-finetune")
    planned = whole.cells[0]
    tools = PlanTools(whole.store, planned.trials[0].recipes, 0, "cpu", whole.request.places)
    path = tools.tune(planned.source, verb_data(planned, "fit").train).path
    path.parent.mkdir(parents=True)
    path.touch()
    found = found_for(whole)
    assert found.reused == 1
    assert found.trainings == [f"{TARGET}, {STEPS} steps"]


def test_the_equal_track_trains_every_trials_network(plan: Planner, forward: dict[str, int]) -> None:
    whole = plan("eft", "full-finetune", track="equal")
    found = found_for(whole)
    steps = []
    for planned in whole.cells:
        alias = SOURCE if planned.method.name == "eft" else TARGET
        for trial in planned.trials:
            recipe = trial.recipes[alias]
            assert isinstance(recipe, Recipe)
            steps.append((alias, recipe.steps))
    assert sorted(found.trainings) == sorted(f"{alias}, {count} steps" for alias, count in steps)
    assert len(found.trainings) == 12
    assert found.training_flops == sum(3 * forward[alias] * count * BATCH for alias, count in steps)


def test_a_method_that_fails_is_known_only_while_it_runs_and_the_others_are_counted(plan: Planner) -> None:
    found = found_for(plan("broken", "eft"))
    assert found.unknown == [f"{PAIR}  few-digits  broken  seed 0 (this method cannot do it)"]
    assert len(found.trainings) == 1


def test_a_method_that_asks_for_results_is_known_only_while_it_runs(plan: Planner) -> None:
    assert found_for(plan("reading")).unknown == [f"{PAIR}  few-digits  reading  seed 0"]


def test_a_cell_that_does_not_apply_is_named_as_skipped(plan: Planner) -> None:
    found = found_for(plan("picky"))
    assert found.skipped == [f"{PAIR}  few-digits  picky  seed 0 (not for such models)"]
    assert found.unknown == []


def test_where_nobody_published_an_encoder_the_cell_is_skipped(plan: Planner) -> None:
    found = found_for(plan("eft", "zero-shot", recipe="published"))
    (text,) = found.skipped
    assert text.startswith(f"{PAIR}  few-digits  eft  seed 0 (nobody has published a tuned encoder of {SOURCE}")
    assert (found.trainings, found.training_flops) == ([], 0)


@pytest.mark.parametrize("name", ["broken", "reading", "picky"])
def test_a_cell_of_several_trials_is_named_once(plan: Planner, name: str) -> None:
    found = found_for(plan(name, track="equal"))
    assert len(found.unknown + found.skipped) == 1


def test_with_a_limit_only_so_many_test_images_are_read(plan: Planner, forward: dict[str, int]) -> None:
    assert found_for(plan("zero-shot", limit=20)).reading_flops == forward[TARGET] * (20 + VALIDATION)


def test_hours_are_flops_at_the_measured_speed() -> None:
    found = Estimate(training_flops=3 * 3600 * 10**9, reading_flops=3600 * 10**9, flops_per_second=2e9)
    assert found.hours == pytest.approx(2.0)
    assert matrix_product_speed(torch.device("cpu")) > 1e8
