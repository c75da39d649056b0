"""Data of language tasks: the hub's, a user's own in its place, or files beside a task file."""

from __future__ import annotations

import json
import logging
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml

from prt_bench.data.text import Dialogues, Documents
from prt_bench.errors import MissingError, RequestError
from prt_bench.language_spec import LanguageSpec
from prt_bench.nano import world
from prt_bench.places import write_manifest
from prt_bench.registry import Registry
from prt_bench.store import Store
from prt_bench.tasks import Task, TaskSource, load_own, load_task
from prt_bench.text_tasks import TextPlaces, absent_roles, load_roles
from tests.conftest import quiet
from tests.language.stand_ins import PRO_SUBJECTS, write

TRAINED, TESTED = 210, 12
"""Rows of a stand-in for GSM8K, of which 200 are validation's."""


def problems(split: str, count: int) -> list[dict[str, str]]:
    return [
        {"question": f"{n} {split} boxes hold 3 pens each. How many pens?", "answer": f"{3 * n}\n#### {3 * n}"}
        for n in range(count)
    ]


def lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def plainly(data: Path, train: int = TRAINED, test: int = TESTED) -> None:
    lines(data / "gsm8k" / "train.jsonl", problems("train", train))
    lines(data / "gsm8k" / "test.jsonl", problems("test", test))


def as_the_hub(folder: Path, train: int = TRAINED, test: int = TESTED) -> None:
    """A copy of the hub's repository, as it lies there."""
    datasets.disable_progress_bars()
    (folder / "main").mkdir(parents=True)
    for split, count in (("train", train), ("test", test)):
        with (folder / "main" / f"{split}-00000-of-00001.parquet").open("wb") as file:
            datasets.Dataset.from_list(problems(split, count)).to_parquet(file)


@pytest.fixture
def source(registry: Registry, tmp_path: Path) -> TaskSource:
    (tmp_path / "data").mkdir()
    return TaskSource(registry, Store(tmp_path / "store"), tmp_path / "data", quiet)


def role(task: Task, name: str) -> Dialogues:
    found = task.roles[name]
    assert isinstance(found, Dialogues)
    return found


def prompts(task: Task, name: str) -> list[str]:
    return [role(task, name).dialogue(index)[0][1] for index in range(len(role(task, name)))]


# --- in place of the hub ---


def test_a_folder_under_the_tasks_name_stands_for_the_hubs_data(source: TaskSource, tmp_path: Path) -> None:
    plainly(tmp_path / "data")
    task = load_task("gsm8k", source)
    assert {name: len(examples) for name, examples in task.roles.items()} == {
        "test": TESTED,
        "train": TRAINED - 200,
        "validation": 200,
    }
    assert re.fullmatch(r"1\+local\.[0-9a-f]{8}", task.version)
    assert task.version == f"1+local.{task.data_sha256[:8]}"
    assert not task.pinned
    number = int(role(task, "train").ids[0].split("/")[1])
    asked, said = role(task, "train").dialogue(0)
    assert asked == ("user", f"Question: {problems('train', TRAINED)[number]['question']}\nAnswer:")
    assert said == ("assistant", f" {3 * number}\n#### {3 * number}")
    documents = task.roles["test"]
    assert isinstance(documents, Documents)
    assert documents.rows() == problems("test", TESTED)
    assert documents.ids == [f"gsm8k/{index}" for index in range(TESTED)]
    assert set(documents.splits["gsm8k"]) == {"test", "train"}, "what lm-eval's definition reads besides"


def test_a_copy_of_the_repository_gives_the_same_task(source: TaskSource, tmp_path: Path) -> None:
    plainly(tmp_path / "data")
    one = load_task("gsm8k", source)
    shutil.rmtree(tmp_path / "data" / "gsm8k")
    as_the_hub(tmp_path / "data" / "openai" / "gsm8k")
    other = load_task("gsm8k", source)
    assert (one.version, one.data_sha256, one.split_sha256, one.identity) == (
        other.version,
        other.data_sha256,
        other.split_sha256,
        other.identity,
    )


def test_a_users_other_rows_are_another_version(source: TaskSource, tmp_path: Path) -> None:
    plainly(tmp_path / "data")
    one = load_task("gsm8k", source)
    plainly(tmp_path / "data", test=TESTED + 1)
    other = load_task("gsm8k", source)
    assert one.version != other.version
    assert one.identity != other.identity
    assert len(other.roles["test"]) == TESTED + 1


def test_what_was_fetched_must_have_the_pinned_sizes(registry: Registry, tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    folder = store.root / "data" / "openai" / "gsm8k"
    as_the_hub(folder)
    asked = TaskSource(registry, store, None, quiet)
    with pytest.raises(MissingError, match="task gsm8k: no data"):
        load_task("gsm8k", asked)
    write_manifest(folder, "openai/gsm8k", "0" * 40, [{"name": "main/train-00000-of-00001.parquet"}])
    expected = f"task gsm8k: role test has {TESTED} examples where the task pins 1319; the data is another version"
    with pytest.raises(RequestError, match=expected):
        load_task("gsm8k", asked)


def test_data_that_is_nowhere_names_what_was_tried_and_the_ways_out(source: TaskSource, tmp_path: Path) -> None:
    with pytest.raises(MissingError) as error:
        load_task("gsm8k", source)
    text = str(error.value)
    for part in (
        str(tmp_path / "data" / "gsm8k"),
        str(tmp_path / "data" / "openai" / "gsm8k"),
        str(tmp_path / "store"),
        "prt-bench fetch --task gsm8k",
        "DIR/gsm8k/{train,test}.jsonl",
    ):
        assert part in text
    assert "\n" not in text


def test_without_data_a_plan_counts_with_the_pins(registry: Registry, tmp_path: Path) -> None:
    asked = TaskSource(registry, Store(tmp_path), None, quiet, assume=True)
    task = load_task("gsm8k", asked)
    assert {name: len(examples) for name, examples in task.roles.items()} == {
        "test": 1319,
        "train": 7273,
        "validation": 200,
    }
    assert task.data_sha256 == "missing"
    for examples in task.roles.values():
        with pytest.raises(MissingError):
            examples.subset([0])


# --- a task file of the user's ---


def spec_of(**changes: Any) -> dict[str, Any]:
    """A task file beside `test.jsonl` and `train.jsonl`."""
    files = {"kind": "files", "path": "."}
    train = {"source": dict(files), "validation": 3, "prompt": "{{q}}", "response": "{{a}}", **changes.pop("train", {})}
    test = {"source": dict(files), "split": "test", **changes.pop("test", {})}
    definition = {
        "output_type": "generate_until",
        "test_split": "test",
        "doc_to_text": "{{q}}",
        "doc_to_target": "{{a}}",
    }
    benchmark = {
        "tasks": {"mine": None},
        "definition": definition,
        "version": 1,
        "metric": "exact_match",
        **changes.pop("benchmark", {}),
    }
    return {
        "name": "mine",
        "version": 3,
        "title": "Mine",
        "kind": "language",
        "licence": "mine",
        "benchmark": benchmark,
        "test": test,
        "train": train,
        "query": {"prompt_tokens": 8, "output_tokens": 8},
        **changes,
    }


def asks(split: str, count: int) -> list[dict[str, Any]]:
    return [{"q": f"{split} {n}?", "a": f"{n}", "kind": "odd" if n % 2 else "even"} for n in range(count)]


@pytest.fixture
def own(source: TaskSource, tmp_path: Path) -> Any:
    """Writes a task file with its data, and loads it."""

    def load(rows: Sequence[Mapping[str, Any]] | None = None, **changes: Any) -> Task:
        folder = tmp_path / "own"
        lines(folder / "train.jsonl", asks("train", 10) if rows is None else rows)
        lines(folder / "test.jsonl", asks("test", 6))
        (folder / "mine.yaml").write_text(yaml.safe_dump(spec_of(**changes)), encoding="utf-8")
        return load_own(folder / "mine.yaml", source)

    return load


def test_files_beside_a_task_file_are_its_data(own: Any) -> None:
    task = own()
    assert (task.name, task.version) == ("mine", "3")
    assert [len(task.roles[name]) for name in ("train", "validation", "test")] == [7, 3, 6]


def test_pinned_sizes_make_other_data_a_local_variant(own: Any) -> None:
    assert own(test={"size": 6}, train={"size": 10}).version == "3"
    assert re.fullmatch(r"3\+local\.[0-9a-f]{8}", own(test={"size": 6}, train={"size": 11}).version)
    assert re.fullmatch(r"3\+local\.[0-9a-f]{8}", own(test={"size": 7}).version)


def test_validation_is_disjoint_from_train_and_the_same_everywhere(own: Any) -> None:
    task = own()
    ids = {name: role(task, name).ids for name in ("train", "validation")}
    assert not set(ids["train"]) & set(ids["validation"])
    assert sorted(ids["train"] + ids["validation"]) == [f"train/{index}" for index in range(10)]
    # Drawn from the number of rows alone: these, on every machine.
    assert ids["validation"] == ["train/2", "train/4", "train/6"]
    said = {name: prompts(task, name) for name in ids}
    assert said["validation"] == [f"train {index}?" for index in (2, 4, 6)]
    assert said["train"] == [f"train {index}?" for index in (0, 1, 3, 5, 7, 8, 9)]


def test_more_validation_than_rows_is_refused(own: Any) -> None:
    with pytest.raises(RequestError, match=r"task mine: 3 rows to tune on, of which 3 are kept out .* none is left"):
        own(asks("train", 3))


def test_prompts_that_the_test_has_too_are_left_out_and_told(own: Any, caplog: pytest.LogCaptureFixture) -> None:
    rows = asks("train", 10)
    rows[0]["q"], rows[4]["q"], rows[7]["q"] = "test 1?", "test 5?", "test 5? "
    with caplog.at_level(logging.WARNING):
        task = own(rows)
    assert task.left_out == 2
    assert [len(task.roles[name]) for name in ("train", "validation", "test")] == [6, 2, 6]
    assert not set(prompts(task, "train") + prompts(task, "validation")) & {f"test {n}?" for n in range(6)}
    assert "test 5? " in prompts(task, "train"), "word for word"
    (message,) = [text for text in caplog.messages if text.startswith("task mine")]
    assert message == (
        "task mine: 2 training prompts are in the test too, the first as train/0; they are left out of training"
    )
    caplog.clear()
    assert own().left_out == 0
    assert not caplog.messages


@pytest.mark.parametrize("nothing", [" ", "", None])
def test_a_row_without_a_response_is_refused_by_file_and_row(own: Any, nothing: str | None) -> None:
    rows = asks("train", 10)
    rows[6]["a"] = nothing
    with pytest.raises(RequestError, match=r"/train\.jsonl:7: this row has no response"):
        own(rows)


def test_a_column_that_is_not_there_is_refused_with_those_there_are(own: Any) -> None:
    with pytest.raises(RequestError, match="task mine, train: 'question' is undefined; it has q, a, kind"):
        own(train={"prompt": "{{question}}"})
    talks = {"prompt": None, "response": None, "messages": "turns"}
    turns = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "yo"}]
    rows = [{"turns": [{"role": "system", "content": f"{n}"}, *turns]} for n in range(5)]
    task = own(rows, train=talks)
    assert role(task, "train").dialogue(0) == (("system", "0"), ("user", "hi"), ("assistant", "yo"))
    with pytest.raises(RequestError, match="task mine, train: no column 'turn'; did you mean turns"):
        own(rows, train={**talks, "messages": "turn"})


def test_a_split_of_its_own_is_validation_as_far_as_it_is_asked_for(own: Any, tmp_path: Path) -> None:
    lines(tmp_path / "own" / "dev.jsonl", asks("dev", 5))
    task = own(train={"validation_split": "dev", "validation": 4})
    assert prompts(task, "validation") == [f"dev {n}?" for n in range(4)]
    assert len(task.roles["train"]) == 10
    assert len(own(train={"validation_split": "dev", "validation": 40}).roles["validation"]) == 5
    with pytest.raises(RequestError, match="no files of split nowhere"):
        own(train={"validation_split": "nowhere"})


def test_validation_never_asks_what_the_test_asks_whatever_is_trained_on(own: Any, tmp_path: Path) -> None:
    rows = asks("train", 10)
    rows[0]["q"], rows[4]["q"] = "test 2?", "test 1?"
    lines(tmp_path / "own" / "elsewhere" / "train.jsonl", rows)
    task = own(train={"source": {"kind": "files", "path": "elsewhere"}})
    assert prompts(task, "validation") == ["train 2?", "train 6?"]
    assert task.left_out == 1
    assert "test 2?" in prompts(task, "train"), "a training set of another source is only looked through for validation"


def test_a_benchmark_keeps_the_rows_that_its_task_asks_about(own: Any) -> None:
    task = own(benchmark={"keeps": {"mine": {"kind": "odd"}}})
    documents = task.roles["test"]
    assert isinstance(documents, Documents)
    assert [row["q"] for row in documents.rows()] == [f"test {n}?" for n in (1, 3, 5)]
    assert documents.ids == ["mine/0", "mine/1", "mine/2"]
    assert task.left_out == 0
    # What is not asked may be trained on.
    rows = asks("train", 10)
    rows[0]["q"], rows[1]["q"] = "test 1?", "test 2?"
    assert own(rows, benchmark={"keeps": {"mine": {"kind": "odd"}}}).left_out == 1


def test_subjects_of_one_table_are_told_apart(registry: Registry, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for repository in ("TIGER-Lab/MMLU-Pro", "allenai/tulu-v2-sft-mixture"):
        write(data / repository, repository)
    spec = load_task("mmlu-pro", TaskSource(registry, Store(tmp_path / "s"), None, quiet, assume=True)).spec
    assert isinstance(spec, LanguageSpec)
    few = spec.model_copy(update={"train": spec.train.model_copy(update={"validation": 2})})
    found = load_roles(few, TextPlaces("mmlu-pro", Path(), data, Store(tmp_path / "store")))
    documents = found.roles["test"]
    assert isinstance(documents, Documents)
    assert len(documents) == 2 * len(PRO_SUBJECTS)
    for name in documents.chosen:
        subject = {row["category"] for row in documents.splits[name]["test"]}
        assert subject == {name.removeprefix("mmlu_pro_").replace("_", " ")}
    assert not found.pinned


# --- the invented world ---


@pytest.mark.parametrize("name", ["nano-facts", "nano-formats"])
def test_the_worlds_tasks_are_whole_and_keep_the_tested_people_out(name: str, source: TaskSource) -> None:
    task = load_task(name, source)
    items = world.TASKS[name.removeprefix("nano-")]
    assert prompts(task, "train") == [item.prompt for item in items.train]
    assert prompts(task, "validation") == [item.prompt for item in items.validation]
    assert len(task.roles["test"]) == len(items.test)
    assert (task.version, task.left_out) == (task.spec.version, 0)
    tested = {item.prompt for item in items.test}
    assert not tested & set(prompts(task, "train") + prompts(task, "validation"))


def test_absent_roles_are_as_many_as_are_pinned(registry: Registry, tmp_path: Path) -> None:
    asked = TaskSource(registry, Store(tmp_path), None, quiet, assume=True)
    sizes = {"ifeval": (541, 326_154 - 500, 500), "mbpp": (500, 326_154 - 500, 500)}
    for name, (test, train, validation) in sizes.items():
        spec = load_task(name, asked).spec
        assert isinstance(spec, LanguageSpec)
        found = absent_roles(spec)
        assert found.pinned
        assert [len(found.roles[part]) for part in ("test", "train", "validation")] == [test, train, validation]
