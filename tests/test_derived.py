"""Derived tasks: tuned on one task, tested on another one, which tells what is forgotten."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import prt_bench.tasks
from prt_bench.cli.main import invoke
from prt_bench.data.text import Documents
from prt_bench.errors import RequestError
from prt_bench.needs import specs
from prt_bench.records import Record, read_record
from prt_bench.registry import Registry
from prt_bench.requests import RunRequest, choice
from prt_bench.runner import RunOptions
from prt_bench.store import Store
from prt_bench.task_spec import DerivedSpec
from prt_bench.tasks import Task, TaskSource, load_own, load_task, plain_specs, task_spec
from tests.conftest import quiet
from tests.test_trials import PAIR, HereExecutor

NAME = "digits-forgetting"
OWN = """
kind: derived
name: mine
version: 1
title: Mine
tuned_on: TUNED
tested_on: TESTED
"""
Run = Callable[..., int]


@pytest.fixture
def source(tmp_path: Path, registry: Registry) -> TaskSource:
    return TaskSource(registry, Store(tmp_path / "store"), None, quiet)


def own(tmp_path: Path, tuned: str, tested: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(OWN.replace("TUNED", tuned).replace("TESTED", tested), encoding="utf-8")
    return path


# --- the task ---


def test_it_has_one_tasks_examples_to_tune_on_and_the_others_to_test(source: TaskSource) -> None:
    derived, digits, shapes = (load_task(name, source) for name in (NAME, "digits", "shapes"))
    assert derived.roles["train"].sha256 == digits.roles["train"].sha256
    assert derived.roles["validation"].sha256 == digits.roles["validation"].sha256
    assert derived.roles["test"].sha256 == shapes.roles["test"].sha256
    assert derived.space == shapes.space
    assert (derived.name, derived.spec.name, derived.pinned) == (NAME, NAME, True)
    assert derived.tuning.identity == digits.identity
    assert len({derived.identity, digits.identity, shapes.identity}) == 3


@pytest.mark.parametrize("name", sorted(path.stem for path in Path("tasks/derived").glob("*.yaml")))
def test_a_shipped_one_is_made_of_two_tasks_of_one_kind(name: str, registry: Registry) -> None:
    spec = task_spec(name, registry)
    assert isinstance(spec, DerivedSpec)
    tuned, tested = plain_specs(spec, registry)
    assert tuned.reads == tested.reads
    assert tuned.name != tested.name
    assert spec.title
    assert spec.summary


def test_an_own_one_is_a_file_of_six_lines(source: TaskSource, tmp_path: Path) -> None:
    task = load_own(own(tmp_path, "textures", "shapes"), source)
    assert (task.name, task.tuning.name) == ("mine", "textures")


@pytest.mark.parametrize(
    ("tuned", "tested", "message"),
    [
        ("digits", "didgits", r"unknown task 'didgits'.*digits"),
        (NAME, "shapes", r"task mine: digits-forgetting is derived itself"),
        ("digits", "nano-facts", r"task mine: digits is made of images, nano-facts of text"),
    ],
)
def test_one_that_cannot_be_is_refused(
    source: TaskSource, tmp_path: Path, tuned: str, tested: str, message: str
) -> None:
    with pytest.raises(RequestError, match=message):
        load_own(own(tmp_path, tuned, tested), source)


def test_nothing_that_is_tested_may_be_tuned_on(source: TaskSource, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = prt_bench.tasks._with_data

    def leaking(*words: object) -> Task:
        task = whole(*words)  # type: ignore[arg-type]
        digits = load_task("digits", source) if task.name == "shapes" else task
        return replace(task, roles={**task.roles, "test": digits.roles["validation"].subset([0, 1])})

    monkeypatch.setattr(
        "prt_bench.tasks._with_data", lambda *words: whole(*words) if words[0].name == "digits" else leaking(*words)
    )
    with pytest.raises(RequestError, match="2 examples of digits are tests of shapes"):
        load_task(NAME, source)


def test_no_question_that_is_tested_may_be_tuned_on_either(source: TaskSource, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = prt_bench.tasks._with_data
    facts = load_task("nano-facts", source)
    asked = [facts.roles["train"].example(index, labelled=True).dialogue[0][1] for index in range(20)]

    def leaking(*words: Any) -> Task:
        task = whole(*words)
        if task.name == "nano-facts":
            return task
        test = Documents.whole({"formats": {"test": [{"prompt": text} for text in asked]}}, "test")
        return replace(task, roles={**task.roles, "test": test})

    monkeypatch.setattr("prt_bench.tasks._with_data", leaking)
    with pytest.raises(RequestError, match="20 examples of nano-facts are tests of nano-formats"):
        load_task("nano-facts-forgetting", source)


def test_its_data_are_those_of_both(registry: Registry, tmp_path: Path) -> None:
    request = RunRequest(store=tmp_path, pairs=(PAIR,), tasks=("cars-forgetting", "cars"), methods=("zero-shot",))
    assert [spec.name for spec in specs(request, choice(request, registry), registry)] == ["cars", "cifar100"]


def test_it_is_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert invoke(["list", "tasks", "--json"]) == 0
    assert f'"name": "{NAME}"' in capsys.readouterr().out
    assert invoke(["show", "task", NAME]) == 0
    shown = capsys.readouterr().out
    assert "tuned_on" in shown
    assert "shapes" in shown


# --- a run ---


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr("prt_bench.cli.run.RunOptions", partial(RunOptions, batch_sizes=(1,), session_seconds=0.1))
    monkeypatch.setattr("prt_bench.runner.LocalExecutor", HereExecutor)
    words = ["--out", str(tmp_path / "board"), "--store", str(tmp_path / "store"), "--pair", PAIR]

    def call(*more: str) -> int:
        return invoke(["run", *words, *more])

    return call


def made(out: Path) -> dict[tuple[str, str], tuple[Record, list[str]]]:
    """(task, method) → record and the classes that were answered."""
    found = {}
    for path in (out / "results").rglob("*.json"):
        record = read_record(path)
        answers: list[str] = []
        if record.quality is not None:
            with (path.parent / record.quality.predictions).open(encoding="utf-8") as file:
                answers = [row["prediction"] for row in csv.DictReader(file)]
        found[record.cell.task, record.cell.method] = record, answers
    return found


def test_a_run_tells_what_tuning_forgets(run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    methods = [word for name in ("zero-shot", "source-finetune", "linear-probe") for word in ("--method", name)]
    assert run("--task", "digits", "--task", NAME, "--task", "shapes", "--method", "zero-shot") == 0
    assert run("--task", "digits", "--task", NAME, *methods) == 0
    capfd.readouterr()
    found = made(tmp_path / "board")
    before, answers = found[NAME, "zero-shot"]
    assert answers == found["shapes", "zero-shot"][1], "untuned, it is the other task as it is"
    assert before.cell.tuned_on == "digits"
    assert found["shapes", "zero-shot"][0].cell.tuned_on == ""
    tuned, elsewhere = (found[task, "source-finetune"][0] for task in ("digits", NAME))
    assert tuned.artifacts[0].key == elsewhere.artifacts[0].key, "tuned once, for both"
    assert elsewhere.cost is not None
    assert tuned.cost is not None
    assert elsewhere.cost.once.train_flops == tuned.cost.once.train_flops
    assert elsewhere.quality is not None
    assert tuned.quality is not None
    assert elsewhere.quality.validation == tuned.quality.validation, "validated on what was tuned on"
    assert elsewhere.quality.temperature == tuned.quality.temperature
    assert elsewhere.quality.per_class is not None
    assert "circle" in elsewhere.quality.per_class
    probe = found[NAME, "linear-probe"][0]
    assert probe.status == "skipped"
    assert probe.error is not None
    assert "only for the classes that it was tuned on" in probe.error.message
    assert invoke(["--out", str(tmp_path / "board"), "results"]) == 0
    assert "tuned on digits: what lies below the untuned target was forgotten" in " ".join(
        capfd.readouterr().out.split()
    )
