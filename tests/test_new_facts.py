"""The phenomenon itself, on text: what a new model knows, told in the manner that an old one was tuned to."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from prt_bench.api import Data, Places
from prt_bench.comparing import compare
from prt_bench.costs import CompositionMeter
from prt_bench.data.text import Dialogues, Documents
from prt_bench.language_spec import LanguageSpec
from prt_bench.models import model_for
from prt_bench.networks import Networks
from prt_bench.recipes import recipe_for
from prt_bench.registry import Registry
from prt_bench.requests import suites
from prt_bench.store import Store
from prt_bench.tasks import TaskSource, load_task
from prt_bench.text_evaluator import TextEvaluator
from prt_bench.tools import LiveTools
from prt_bench.views import TaskView
from tests.conftest import quiet

SOURCE, TARGET = "nano-llama-s-a", "nano-llama-m-b"
Answers = Mapping[str, list[NDArray[np.float64]]]


@pytest.fixture(scope="module")
def answers(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Answers:
    """Method → whether each test question was answered right, after one training."""
    store = Store(tmp_path_factory.mktemp("facts"))
    task = load_task("nano-facts", TaskSource(registry, store, None, quiet))
    assert isinstance(task.spec, LanguageSpec)
    networks = Networks(registry, Places(), store, "cpu", quiet)
    meter = CompositionMeter(networks)
    validation, test = task.roles["validation"], task.roles["test"].subset(range(0, 480, 2))
    assert isinstance(validation, Dialogues)
    assert isinstance(test, Documents)
    evaluator = TextEvaluator(task.spec, validation.subset(range(8)), test, networks, meter, quiet, allow_code=False)
    source, target = (model_for(alias, task.space, registry, Places()) for alias in (SOURCE, TARGET))
    recipe = recipe_for(task.spec, "embedded-language", registry)
    found: dict[str, list[NDArray[np.float64]]] = {}
    for name in suites(registry).suites["demo"].methods:
        if registry.methods[name].cls.card.reads == "images" or name == "lora":
            continue
        tools = LiveTools(store, {SOURCE: recipe, TARGET: recipe}, 0, networks, meter, "plain", quiet)
        data = Data({"train": TaskView("train", task.roles["train"])})
        method = registry.method(name).method
        artifact = method.port(method.fit(source, data, tools), source, target, data, tools)
        composition = method.attach(artifact, source, target)
        scores = evaluator.test(composition, evaluator.validate(composition))
        rows = csv.DictReader(io.StringIO(scores.predictions))
        found[name] = [np.array([float(row["score"]) for row in rows])]
    return found


@pytest.mark.parametrize("method", ["eft", "prt"])
def test_a_portable_method_is_above_every_floor_on_facts_that_only_the_target_knows(
    answers: Answers, registry: Registry, method: str
) -> None:
    floors = [name for name in answers if registry.methods[name].cls.card.role == "floor"]
    assert len(floors) == 5
    for floor in floors:
        found = compare(answers[method], answers[floor])
        assert found.interval[0] > 0.1, (floor, found)


def test_the_tuned_target_is_beside_them(answers: Answers) -> None:
    assert np.mean(answers["full-finetune"]) > 0.85
    assert np.mean(answers["source-finetune"]) < 0.35


def test_an_evasive_option_is_what_the_untuned_target_prefers(answers: Answers) -> None:
    assert np.mean(answers["zero-shot"]) < 0.35
