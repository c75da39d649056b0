"""lm-eval's tasks are built from local data alone, the same each time, and what they need is asked for by name."""

from __future__ import annotations

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prt_bench import benchmarks
from prt_bench.benchmarks import build_tasks, refuse_unmet, seeded
from prt_bench.data.text import Documents
from prt_bench.errors import MissingError, RequestError, SkipError
from prt_bench.language_spec import LanguageSpec
from prt_bench.registry import Registry
from prt_bench.store import Store
from prt_bench.tasks import task_spec
from prt_bench.text_tasks import TextPlaces, load_roles
from tests.language.stand_ins import ROWS, write

REPOSITORIES = {
    "gpqa-diamond": "Idavidrein/gpqa",
    "humaneval": "openai/openai_humaneval",
    "mbpp": "google-research-datasets/mbpp",
    "ifeval": "google/IFEval",
    "arc-easy": "allenai/ai2_arc",
}


def spec_of(name: str, registry: Registry, **benchmark: Any) -> LanguageSpec:
    """A shipped task, of which stand-ins have too few rows for the shipped validation."""
    spec = task_spec(name, registry)
    assert isinstance(spec, LanguageSpec)
    train = spec.train.model_copy(update={"validation": 2})
    return spec.model_copy(update={"train": train, "benchmark": spec.benchmark.model_copy(update=benchmark)})


def stand_in(name: str, registry: Registry, root: Path) -> Documents:
    """What a shipped task asks, of stand-ins for its repositories."""
    data = root / "data"
    for repository in (REPOSITORIES[name], "allenai/tulu-v2-sft-mixture"):
        write(data / repository, repository)
    found = load_roles(spec_of(name, registry), TextPlaces(name, Path(), data, Store(root / "store")))
    test = found.roles["test"]
    assert isinstance(test, Documents)
    return test


def asked(task: Any) -> list[tuple[str, Any]]:
    """Every prompt with its answer, in the order of lm-eval's documents."""
    return [(task.doc_to_text(doc), task.doc_to_target(doc)) for _, doc in task.doc_iterator(rank=0, world_size=1)]


# --- what is drawn ---


def options(seed: int, registry: Registry, root: Path) -> list[tuple[str, Any]]:
    """What GPQA asks when it is built for the first time on a machine."""
    documents = stand_in("gpqa-diamond", registry, root)
    (task,) = build_tasks(spec_of("gpqa-diamond", registry, seed=seed), documents, False).values()
    return asked(task)


def test_two_builds_of_a_task_that_shuffles_its_options_agree(registry: Registry, tmp_path: Path) -> None:
    found = []
    for state, machine in enumerate(("one", "one", "other")):
        random.seed(state)
        np.random.seed(state)
        found.append(options(0, registry, tmp_path / machine))
    assert found[0] == found[1] == found[2]
    assert len({answer for _, answer in found[0]}) > 1, "shuffled"


def test_the_seed_decides_the_order_of_options(registry: Registry, tmp_path: Path) -> None:
    orders = {str(options(seed, registry, tmp_path / str(seed))) for seed in range(3)}
    assert len(orders) == 3


def test_options_stay_in_their_order_from_asking_to_scoring(registry: Registry, tmp_path: Path) -> None:
    documents = stand_in("gpqa-diamond", registry, tmp_path)
    (task,) = build_tasks(spec_of("gpqa-diamond", registry), documents, False).values()
    first = asked(task)
    random.seed(99)
    assert asked(task) == first


def test_another_seed_gives_another_order_on_the_same_machine(registry: Registry, tmp_path: Path) -> None:
    documents = stand_in("gpqa-diamond", registry, tmp_path)
    orders = set()
    for seed in range(3):
        (task,) = build_tasks(spec_of("gpqa-diamond", registry, seed=seed), documents, False).values()
        orders.add(str(asked(task)))
    assert len(orders) == 3


def test_building_leaves_the_global_random_state_as_it_was(registry: Registry, tmp_path: Path) -> None:
    documents = stand_in("gpqa-diamond", registry, tmp_path)
    before, array = random.getstate(), np.random.get_state()
    build_tasks(spec_of("gpqa-diamond", registry), documents, False)
    assert random.getstate() == before
    assert np.array_equal(np.random.get_state()[1], array[1])  # type: ignore[index]
    assert np.random.get_state()[2] == array[2]  # type: ignore[index]


def test_numbers_drawn_inside_are_the_seeds_and_outside_are_the_callers_own() -> None:
    random.seed(5)
    np.random.seed(5)
    expected = random.random(), np.random.rand()
    random.seed(5)
    np.random.seed(5)
    with seeded(3):
        inside = random.random(), np.random.rand()
    assert (random.random(), np.random.rand()) == expected
    with seeded(3):
        assert (random.random(), np.random.rand()) == inside
    random.seed(5)
    with pytest.raises(ZeroDivisionError), seeded(4):
        _ = random.random() / 0
    assert random.random() == expected[0], "put back after an error too"


# --- what is refused ---


def test_a_definition_that_lm_eval_cannot_use_is_refused_in_one_line(registry: Registry) -> None:
    spec = task_spec("nano-facts", registry)
    assert isinstance(spec, LanguageSpec)
    wrong = {**(spec.benchmark.definition or {}), "metric_lst": []}
    benchmark = spec.benchmark.model_copy(update={"definition": wrong})
    documents = load_roles(spec, TextPlaces("nano-facts", Path(), None, Store(Path()))).roles["test"]
    assert isinstance(documents, Documents)
    with pytest.raises(RequestError, match=r"task nano-facts: lm-eval cannot use facts as it is defined .*metric_lst"):
        build_tasks(spec.model_copy(update={"benchmark": benchmark}), documents, False)


def test_building_changes_nothing_of_what_a_task_is_keyed_by(registry: Registry) -> None:
    """lm-eval writes its defaults into a definition's nested values."""
    spec = task_spec("nano-formats", registry)
    assert isinstance(spec, LanguageSpec)
    before = spec.prompting
    documents = load_roles(spec, TextPlaces("nano-formats", Path(), None, Store(Path()))).roles["test"]
    assert isinstance(documents, Documents)
    assert build_tasks(spec, documents, False)
    assert spec.prompting == before


def test_another_version_of_lm_evals_task_is_refused(registry: Registry, tmp_path: Path) -> None:
    documents = stand_in("arc-easy", registry, tmp_path)
    own = spec_of("arc-easy", registry).benchmark.version
    with pytest.raises(RequestError) as error:
        build_tasks(spec_of("arc-easy", registry, version="0.5"), documents, False)
    text = str(error.value)
    assert f"lm-eval's arc_easy is version {own}, the task file was written for 0.5; install that lm-eval" in text
    assert "\n" not in text
    for same in (own, f"{own}0"):
        assert build_tasks(spec_of("arc-easy", registry, version=same), documents, False)


def test_a_version_that_is_no_number_is_compared_as_text(registry: Registry, tmp_path: Path) -> None:
    documents = stand_in("humaneval", registry, tmp_path)
    own = spec_of("humaneval", registry).benchmark
    assert own.definition is not None
    definition = {**own.definition, "metadata": {"version": "beta"}}
    for version, fits in (("beta", True), ("1.0", False)):
        spec = spec_of("humaneval", registry, definition=definition, version=version)
        if fits:
            build_tasks(spec, documents, True)
        else:
            with pytest.raises(RequestError, match=f"is version beta, the task file was written for {version}"):
                build_tasks(spec, documents, True)


def test_a_task_that_lm_eval_does_not_have_is_refused_with_near_names(registry: Registry, tmp_path: Path) -> None:
    documents = stand_in("arc-easy", registry, tmp_path)
    renamed = Documents.whole({"arc_esay": documents.splits["arc_easy"]}, documents.test)
    with pytest.raises(RequestError, match=r"lm-eval has no task 'arc_esay' in its folder arc; did you mean arc_easy"):
        build_tasks(spec_of("arc-easy", registry, tasks={"arc_esay": "ARC-Easy"}), renamed, False)
    with pytest.raises(RequestError, match="lm-eval has no folder of tasks 'ark'"):
        build_tasks(spec_of("arc-easy", registry, folder="ark"), documents, False)


# --- what scoring needs ---


def test_a_package_that_scoring_needs_is_asked_for_by_name(registry: Registry, tmp_path: Path) -> None:
    spec = spec_of("ifeval", registry, needs=("langdetect", "no_such_package_here"))
    with pytest.raises(MissingError, match="its scorer needs what is not installed: pip install no_such_package_here"):
        refuse_unmet(spec, tmp_path)
    refuse_unmet(spec_of("ifeval", registry, needs=("langdetect",)), tmp_path)
    refuse_unmet(spec_of("arc-easy", registry), tmp_path)


def test_data_of_nltk_is_asked_for_with_the_place_where_it_may_lie(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import nltk

    monkeypatch.setattr(nltk.data, "path", [])
    spec = spec_of("ifeval", registry, needs=("nltk:punkt_of_ours",))
    with pytest.raises(MissingError) as error:
        refuse_unmet(spec, tmp_path)
    text = str(error.value)
    for part in ("task ifeval", "punkt_of_ours", "prt-bench fetch", f"{tmp_path}/tokenizers/punkt_of_ours"):
        assert part in text
    assert "\n" not in text
    (tmp_path / "tokenizers" / "punkt_of_ours").mkdir(parents=True)
    refuse_unmet(spec, tmp_path)


# --- answers that are programs ---

HUMAN = {"right": "    return {n} * x\n", "wrong": "    return x + 99\n", "broken": "    return (\n"}
MBPP = {
    "right": "def add_{n}(x):\n    return x + {n}",
    "wrong": "def add_{n}(x):\n    return x - {n}",
    "escaping": "import os\nos._exit(0)",
}


def points(task: Any, answers: Mapping[str, str]) -> dict[str, list[float]]:
    """pass@1 of every document for each kind of answer; documents count from 1."""
    docs = [doc for _, doc in task.doc_iterator(rank=0, world_size=1)]
    return {
        kind: [
            task.process_results(doc, [text.replace("{n}", str(n))])["pass@1"] for n, doc in enumerate(docs, start=1)
        ]
        for kind, text in answers.items()
    }


@pytest.mark.parametrize(("name", "answers"), [("humaneval", HUMAN), ("mbpp", MBPP)])
def test_programs_are_run_only_where_that_is_allowed_and_then_scored(
    name: str, answers: dict[str, str], registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents, spec = stand_in(name, registry, tmp_path), spec_of(name, registry)
    with monkeypatch.context() as patch:
        patch.setattr(benchmarks, "run_program", lambda *_, **__: pytest.fail("ran a program"))
        with pytest.raises(SkipError, match=f"scoring {name} runs code that the model wrote: pass --allow-code-exec"):
            build_tasks(spec, documents, False)
    (task,) = build_tasks(spec, documents, True).values()
    found = points(task, answers)
    assert found.pop("right") == [1.0] * ROWS
    assert all(values == [0.0] * ROWS for values in found.values())
    assert task.aggregation().keys() == {"pass@1"}
    assert task.higher_is_better() == {"pass@1": True}


# --- what is asked ---


def test_a_task_is_asked_of_the_data_at_hand_with_the_files_settings(registry: Registry, tmp_path: Path) -> None:
    documents = stand_in("mbpp", registry, tmp_path)
    spec = spec_of("mbpp", registry)
    (task,) = build_tasks(spec, documents, True).values()
    assert len(asked(task)) == ROWS
    assert asked(task)[0][0].startswith("You are an expert Python programmer, and here is your task: Write a function")
    settings = task.config.generation_kwargs
    assert settings["max_gen_toks"] == spec.benchmark.max_new_tokens == 512
    assert settings["until"] == ["[DONE]"], "what the definition says besides stays"
    assert task.config.num_fewshot == 3


def test_worked_examples_of_a_task_are_part_of_its_prompts(registry: Registry, tmp_path: Path) -> None:
    documents, spec = stand_in("mbpp", registry, tmp_path), spec_of("mbpp", registry)
    (task,) = build_tasks(spec, documents, True).values()
    task.build_all_requests(samples=documents.chosen["mbpp"])
    prompts = [one.args[0] for one in task.instances]
    assert len(prompts) == ROWS
    assert {prompt.count("[DONE]") for prompt in prompts} == {3}
    assert prompts[0].endswith("[BEGIN]\n")


def test_only_chosen_tasks_are_built(registry: Registry, tmp_path: Path) -> None:
    documents = stand_in("arc-easy", registry, tmp_path)
    splits = {"arc_easy": documents.splits["arc_easy"], "arc_challenge": documents.splits["arc_easy"]}
    two = Documents.whole(splits, documents.test).subset(range(ROWS, ROWS + 2))
    spec = spec_of("arc-easy", registry, tasks={"arc_easy": "ARC-Easy", "arc_challenge": "ARC-Challenge"})
    assert list(build_tasks(spec, two, False)) == ["arc_challenge"]
