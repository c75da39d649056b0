"""`prt-bench check`, and runs that hold their models to published scores."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import yaml

from prt_bench.cli.main import invoke
from prt_bench.records import Record, read_record
from prt_bench.registry import Registry
from prt_bench.runner import RunOptions
from tests.test_trials import HereExecutor

MODEL = "nano-rn24-b"
ITSELF = f"{MODEL}:{MODEL}"
SHIPPED = Registry().task_files()["digits"].read_text(encoding="utf-8")
SWAPPED = SHIPPED.replace('three, labels: ["3"]', 'three, labels: ["5"]').replace(
    'five, labels: ["5"]', 'five, labels: ["3"]'
)
Check = Callable[..., int]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prt_bench.cli.check.LocalExecutor", HereExecutor)
    monkeypatch.setattr("prt_bench.runner.LocalExecutor", HereExecutor)


@pytest.fixture
def check(here: None, store: Path, tmp_path: Path) -> Check:
    def call(task: str | Path, *words: str) -> int:
        files = ["--store", str(store), "--out", str(tmp_path / "board")]
        return invoke(["check", "--task", str(task), "--pair", ITSELF, *files, *words])

    return call


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prt_bench.cli.run.RunOptions", partial(RunOptions, batch_sizes=(1,), session_seconds=0.1))


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def records(out: Path) -> list[Record]:
    return [read_record(path) for path in (out / "results").rglob("*.json")]


def test_a_right_task_holds(check: Check, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert check("digits") == 0
    shown = capfd.readouterr()
    assert "digits version 1: 10 classes; test 797, train 100, validation 100" in shown.out
    row = next(line for line in shown.out.splitlines() if MODEL in line)
    assert "holds" in row
    assert row.count("77.4") == 2
    assert shown.err == ""
    assert not (tmp_path / "board" / "results").exists()


def test_swapped_names_are_named_and_the_exit_code_is_1(
    check: Check, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert SWAPPED != SHIPPED
    assert check(write(tmp_path / "mine.yaml", SWAPPED)) == 1
    shown = capfd.readouterr()
    assert "off" in next(line for line in shown.out.splitlines() if MODEL in line)
    (line,) = shown.err.strip().splitlines()
    assert line.startswith(f"off: zero-shot {MODEL} on digits: top1 ")
    assert "'three' and 'five' look swapped" in line


def test_json_says_the_same_to_a_program(check: Check, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "mine.yaml", SWAPPED)
    assert check(path, "--pair", "nano-rn16-a:nano-rn24-b", "--json") == 1
    told = json.loads(capfd.readouterr().out)
    assert told["task"]["name"] == "digits"
    assert told["task"]["pinned"] is True
    assert told["task"]["roles"] == {"test": 797, "train": 100, "validation": 100}
    rows = {row["model"]: row for row in told["models"]}
    assert len(told["models"]) == len(rows) == 2, "a model of two pairs is said once"
    assert rows[MODEL]["swapped"] == [["three", "five"]]
    assert (rows[MODEL]["holds"], rows[MODEL]["published"]) == (False, 0.7742)
    assert check("digits", "--json") == 0
    (row,) = json.loads(capfd.readouterr().out)["models"]
    assert row["holds"] is True
    assert row["measured"] == pytest.approx(0.7742, abs=1e-3)


def test_where_nothing_is_published_it_says_so_and_all_is_well(
    check: Check, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "other.yaml", SWAPPED.replace("name: digits", "name: other", 1))
    assert check(path) == 0
    shown = capfd.readouterr()
    row = " ".join(line for line in shown.out.splitlines() if "│" in line)
    assert "nothing" in row
    assert "nothing to" in row
    assert "off" not in shown.out + shown.err


def test_data_of_ones_own_is_said_to_be_so(
    check: Check, tmp_path: Path, image_folder: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    folder = image_folder("few")
    assert check(hub_task(tmp_path, 0.2), "--data-dir", str(folder.parent)) == 1
    shown = capfd.readouterr()
    assert "the data is your own, of other sizes than the task pins" in " ".join(shown.out.split())
    assert f"off: zero-shot {MODEL} on few" in shown.err


@pytest.mark.parametrize(
    ("task", "hint"),
    [
        ("digist", "unknown task 'digist'; did you mean digits"),
        ("nowhere.yaml", "--task nowhere.yaml: no such file"),
        ("FOLDER", "unknown task"),
        ("FOLDER/bad.yaml", "bad.yaml:4: sumary: unknown key; did you mean summary"),
        ("FOLDER/lacking.yaml", "the data's class '9' is not in the task file"),
        ("eurosat", "--data-dir"),
    ],
)
def test_what_cannot_be_checked_is_said_in_one_line_with_exit_code_2(
    check: Check, tmp_path: Path, task: str, hint: str, capfd: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "bad.yaml", SHIPPED.replace("summary:", "sumary:"))
    write(tmp_path / "lacking.yaml", SHIPPED.replace('  - {name: nine, labels: ["9"]}\n', ""))
    assert check(task.replace("FOLDER", str(tmp_path))) == 2
    shown = capfd.readouterr()
    assert shown.out == ""
    (line,) = shown.err.strip().splitlines()
    assert hint in line


def test_a_model_whose_weights_are_missing_is_named(
    check: Check, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert check("digits", "--pair", "vitb32-laion:vitb32-laion") == 2
    (line,) = capfd.readouterr().err.strip().splitlines()
    assert "model vitb32-laion: no weights" in line
    assert "prt-bench fetch --pair vitb32-laion:vitb32-laion" in line


def test_a_run_on_swapped_names_fails_its_cells_with_the_reason(
    here: None, short: None, store: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "mine.yaml", SWAPPED)
    words = ["--data", str(path), "--pair", ITSELF, "--method", "zero-shot", "--method", "untuned-ensemble"]
    assert invoke(["run", *words, "--out", str(tmp_path / "board"), "--store", str(store)]) == 1
    found = records(tmp_path / "board")
    assert len(found) == 2
    for record in found:
        assert record.status == "failed"
        assert record.quality is None
        assert record.error is not None
        assert record.error.type == "CellError"
        assert "'three' and 'five' look swapped" in record.error.message
    assert capfd.readouterr().err.count("look swapped") >= 2


def hub_task(tmp_path: Path, published: float) -> Path:
    """Four of the digits as a hub task with a published score, of which an image folder is a local variant."""
    text = yaml.safe_load(SHIPPED)
    text |= {
        "name": "few",
        "source": {"kind": "hub", "repository": "org/few"},
        "classes": [{"name": name} for name in ("zero", "one", "two", "three")],
        "anchors": {"source": "their table", "scores": {MODEL: published}},
    }
    return write(tmp_path / "few.yaml", yaml.safe_dump(text, sort_keys=False))


def test_a_run_on_data_of_ones_own_goes_on_and_warns_of_a_score_far_off(
    short: None, store: Path, tmp_path: Path, image_folder: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    """With a real worker: what it warns of has to reach the user."""
    folder, path = image_folder("few"), hub_task(tmp_path, 0.2)
    words = ["--data", str(path), "--data-dir", str(folder.parent), "--pair", ITSELF, "--method", "zero-shot"]
    assert invoke(["run", *words, "--out", str(tmp_path / "board"), "--store", str(store)]) == 0
    (record,) = records(tmp_path / "board")
    assert record.status == "ok"
    assert "+local." in record.provenance.task.version
    assert "more than 3 points apart" in capfd.readouterr().err
