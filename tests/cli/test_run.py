"""`prt-bench run` from end to end: real worker processes, real records, a real page."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from prt_bench.cli.main import invoke
from prt_bench.records import Record, read_record
from prt_bench.runner import RunOptions
from prt_bench.session_records import read_session

PAIR = "nano-rn16-a:nano-rn24-b"
TASK = """
name: few-digits
version: 1
title: A few digits
kind: image-classification
source: {kind: builtin, name: digits}
roles:
  train: {split: train, per_class: 4, size: 40}
  validation: {split: train, per_class: 4, size: 40}
  test: {split: test, size: 797}
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
PLUGIN = """
import os, signal
from prt_bench.api import Composition, Method, MethodCard, WeightedSum

class Base(Method):
    def attach(self, artifact, source, target):
        return Composition({"target": target}, WeightedSum(target=1.0))

class Broken(Base):
    card = MethodCard(name="broken", title="Broken", needs={"fit": ("train",)})
    def fit(self, source, data, tools):
        raise ValueError("this method cannot do it")

class Dying(Base):
    card = MethodCard(name="dying", title="Dying", needs={"fit": ("train",)})
    def fit(self, source, data, tools):
        os.kill(os.getpid(), signal.SIGKILL)

class Peeking(Base):
    card = MethodCard(name="peeking", title="Peeking", needs={"fit": ("train",)})
    def fit(self, source, data, tools):
        return tools.tune(source, data.validation)
"""
SHORT_RUN = """
from functools import partial
import prt_bench.cli.run as command
from prt_bench.cli.main import main

command.RunOptions = partial(command.RunOptions, batch_sizes=(1,), session_seconds=0.2)
main()
"""
Runner = Callable[..., int]


@pytest.fixture(autouse=True)
def _short_sessions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prt_bench.cli.run.RunOptions", partial(RunOptions, batch_sizes=(1,), session_seconds=0.2))


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a task file and plugins; its store is shared by this module's tests."""
    root = tmp_path_factory.mktemp("runs")
    (root / "few-digits.yaml").write_text(TASK)
    (root / "plugin.py").write_text(PLUGIN)
    return root


@pytest.fixture
def run(place: Path, tmp_path: Path) -> Runner:
    def call(*words: str, out: Path | None = None) -> int:
        files = ["--out", str(out or tmp_path / "board"), "--store", str(place / "store")]
        return invoke(["run", "--data", str(place / "few-digits.yaml"), *files, *words])

    return call


def records(out: Path) -> dict[str, Record]:
    """Method → record, of a run with one pair, task and seed."""
    found = [read_record(path) for path in (out / "results").rglob("*.json")]
    return {record.cell.method: record for record in found}


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    """Dotted path → leaf value of a JSON value; a list's places are `*`."""
    if isinstance(value, dict):
        return {key: leaf for name, item in value.items() for key, leaf in leaves(item, f"{path}.{name}").items()}
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return {key: leaf for item in value for key, leaf in leaves(item, f"{path}.*").items()}
    return {path.lstrip("."): value}


def test_a_run_leaves_records_a_session_and_a_page_and_then_has_nothing_to_do(
    run: Runner, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("--pair", PAIR, "--pair", "nano-rn16-a:nano-rn24-a")
    assert run(*words, "--method", "zero-shot", "--method", "eft:alpha=0.5", "--method", "prt") == 0
    shown = capfd.readouterr()
    assert "eft" in shown.out
    assert "best floor" in shown.out
    out = tmp_path / "board"
    assert (out / "site" / "index.html").is_file()
    paths = sorted((out / "results").rglob("*.json"))
    assert len(paths) == 6
    for path in paths:
        record = read_record(path)
        cell = record.cell
        assert (
            path == out / "results" / str(cell.pair).replace(":", "__") / "few-digits" / cell.method / f"{cell.id}.json"
        )
        assert record.quality is not None
        assert record.cost is not None
        assert len((path.parent / record.quality.predictions).read_text().splitlines()) == 798
        assert record.cost.per_query.latency is not None
        session_id = record.cost.per_query.latency[0].session
        (session_path,) = (out / "costs").rglob(f"{session_id}.json")
        assert read_session(session_path).compositions.keys() == {"zero-shot", "eft:alpha=0.5", "prt"}
        absent = record.model_dump()["absent"]
        # What a card does not say is nobody's measurement.
        measured = record.model_dump(mode="json", exclude={"cards"})
        nulls = {key for key, value in leaves(measured).items() if value is None}
        assert nulls - absent.keys() == set(), "every null says why"
    once = {
        (read_record(path).cell.pair.target, read_record(path).cell.method): read_record(path).cost for path in paths
    }
    first, second = once["nano-rn24-b", "prt"], once["nano-rn24-a", "prt"]
    assert first is not None
    assert second is not None
    assert not first.once.reused
    assert second.once.reused, "a portable artifact is trained once for all targets"
    assert first.once.train_flops == second.once.train_flops
    assert first.once.train_flops
    if Path("/proc/self/clear_refs").exists():
        assert first.once.peak_memory_bytes, "the memory that training added"
        assert second.once.peak_memory_bytes == first.once.peak_memory_bytes
    eft = records(out)["eft"]
    assert eft.cell.params == {"alpha": 0.5}

    before = {path: path.stat().st_mtime_ns for path in paths}
    started = time.monotonic()
    assert run(*words, "--method", "zero-shot", "--method", "eft:alpha=0.5", "--method", "prt") == 0
    assert "nothing to do" in capfd.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in paths} == before
    assert time.monotonic() - started < 30


def test_a_folder_times_the_same_things_once_and_stands_beside_a_release_that_timed_them_too(
    run: Runner, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, words = tmp_path / "board", ("--pair", PAIR, "--method", "zero-shot")
    assert run(*words) == 0
    assert invoke(["board", "freeze", "first", "--out", str(out)]) == 0
    (released,) = (out / "costs").rglob("*.json")
    for folder in ("results", "costs"):
        shutil.rmtree(out / folder)

    assert run(*words) == 0
    (own,) = (out / "costs").rglob("*.json")
    assert own.stem != released.stem, "two measurements"
    assert "refused" not in capfd.readouterr().err
    assert {page.stem for page in (out / "site" / "sessions").glob("*.html")} == {own.stem, released.stem}

    shutil.rmtree(out / "results")
    assert run(*words) == 0
    assert [*(out / "costs").rglob("*.json")] == [own]
    cost = records(out)["zero-shot"].cost
    assert cost is not None
    assert {row.session for row in cost.per_query.latency or ()} == {own.stem}


def test_the_last_tables_are_the_boards_of_what_was_asked_for(
    run: Runner, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, floors = tmp_path / "board", ("--method", "zero-shot", "--method", "untuned-ensemble")
    assert run("--pair", PAIR, "--pair", "nano-rn16-a:nano-rn24-a", *floors) == 0
    assert invoke(["board", "freeze", "first", "--out", str(out)]) == 0
    for folder in ("results", "costs"):
        shutil.rmtree(out / folder)
    capfd.readouterr()

    words = ("--pair", PAIR, "--method", "zero-shot")
    assert run(*words) == 0
    shown = capfd.readouterr().out
    assert shown.count("few-digits") == 1
    assert f"{PAIR}  few-digits" in shown
    assert "untuned-ensemble" in shown, "the release has it"

    # Its records are on no board.
    assert run(*words, "--limit", "20") == 0
    assert "few-digits" not in capfd.readouterr().out

    altered = next((out / "releases").rglob("*.csv"))
    altered.write_text("id\n", encoding="utf-8")
    shutil.rmtree(out / "results")
    assert run(*words) == 2
    told = capfd.readouterr()
    assert f"{PAIR}  few-digits" in told.out, "what was done is shown"
    assert "untuned-ensemble" not in told.out
    assert told.err.splitlines()[-1].startswith("prt-bench: release first: ")
    assert "is altered" in told.err.splitlines()[-1]
    assert records(out)["zero-shot"].status == "ok", "and it is kept"


def test_failing_and_dying_cells_are_named_and_the_others_go_on(
    run: Runner, place: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["--pair", PAIR, "--plugin", str(place / "plugin.py")]
    words += [word for name in ("broken", "dying", "peeking", "zero-shot") for word in ("--method", name)]
    assert run(*words) == 1
    found = records(tmp_path / "board")
    assert found["zero-shot"].status == "ok"
    errors = {name: record.error for name, record in found.items() if record.error}
    assert errors.keys() == {"broken", "dying", "peeking"}
    assert errors["broken"].type == "ValueError"
    assert "cannot do it" in errors["broken"].message
    assert "plugin.py" in errors["broken"].where
    assert "SIGKILL" in errors["dying"].message
    assert "not declared" in errors["peeking"].message
    cost = found["zero-shot"].cost
    assert cost is not None
    assert cost.per_query.latency, "those that fail cost the others no timing"
    err = capfd.readouterr().err
    assert "dying is not timed" in err
    assert all(f"{name} seed 0" in err for name in errors)


def test_a_dead_run_goes_on_where_it_was(run: Runner, place: Path, tmp_path: Path) -> None:
    """kill -9 of the whole run in the middle loses at most the cell in hand."""
    out = tmp_path / "killed"
    words = ["--pair", PAIR, "--seeds", "3", "--method", "source-finetune", "--method", "full-finetune"]
    files = ["--data", str(place / "few-digits.yaml"), "--out", str(out), "--store", str(tmp_path / "store")]
    command = [sys.executable, "-c", SHORT_RUN, "run", *words, *files]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not list((out / "results").rglob("*.json")) and time.monotonic() < end:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = {path: path.stat().st_mtime_ns for path in (out / "results").rglob("*.json")}
    assert 1 <= len(done) < 6
    assert all(read_record(path).status == "ok" for path in done)
    assert run(*words, out=out) == 0
    after = {path: path.stat().st_mtime_ns for path in (out / "results").rglob("*.json")}
    assert len(after) == 6
    assert {path: after[path] for path in done} == done


def listen_to_ctrl_c() -> None:
    """A shell that started this suite in the background may have its children ignore Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_says_that_what_is_done_is_kept(place: Path, tmp_path: Path) -> None:
    files = [
        "--data",
        str(place / "few-digits.yaml"),
        "--out",
        str(tmp_path / "out"),
        "--store",
        str(tmp_path / "store"),
    ]
    command = [sys.executable, "-c", SHORT_RUN, "run", "--pair", PAIR, "--method", "zero-shot", *files]
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=listen_to_ctrl_c,
    )
    assert process.stderr is not None
    assert "cells to do" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "what is done is kept" in err


def test_a_damaged_record_is_named_and_takes_nothing_down(
    run: Runner, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "board" / "results" / "x__y" / "t" / "m" / "abc.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{")
    assert run("--pair", PAIR, "--method", "zero-shot") == 0
    assert f"refused: {damaged}: not a readable JSON file" in capfd.readouterr().err
    site = tmp_path / "board" / "site"
    assert "results/x__y/t/m/abc.json" in (site / "absent.html").read_text(encoding="utf-8")
    assert list((site / "pairs").glob("*__few-digits.html"))


def test_limit_makes_partial_records_that_no_table_shows(
    run: Runner, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("--pair", PAIR, "--method", "zero-shot", "--limit", "20") == 0
    (record,) = records(tmp_path / "board").values()
    assert record.partial
    assert record.quality is not None
    assert record.quality.metrics["top1"].n == 20
    shown = capfd.readouterr()
    assert "partial" in shown.err
    assert "zero-shot │" not in shown.out


def test_a_dry_run_says_what_would_be_trained_and_writes_no_record(
    run: Runner, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("--pair", PAIR, "--seeds", "2", "--method", "eft", "--method", "ensemble", "--dry-run") == 0
    shown = capfd.readouterr().out
    assert "4 of 4 cells to do; 2 networks to train" in shown or "at hand" in shown
    assert not (tmp_path / "board" / "results").exists()


def test_shards_share_the_cells(run: Runner, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for shard, count in (("1/2", 2), ("2/2", 1)):
        words = [word for name in ("eft", "prt", "zero-shot") for word in ("--method", name)]
        assert run("--pair", PAIR, *words, "--shard", shard, "--dry-run") == 0
        assert f"{count} of {count} cells" in capfd.readouterr().out


def test_an_own_image_folder_needs_no_task_file(
    image_folder: Callable[[str, int, int], Path], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = image_folder("My Pictures", 4, 5)
    files = ["--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]
    words = ["run", "--pair", PAIR, "--data", str(folder), "--method", "zero-shot", *files]
    assert invoke(words) == 0
    (record,) = records(tmp_path / "out").values()
    assert record.cell.task == "my-pictures"
    assert record.provenance.task.version.startswith("0+local.")
    (folder / "train" / "one" / "broken.png").write_bytes(b"no image")
    capfd.readouterr()
    assert invoke(words) == 2
    assert "broken.png" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--pair", "nano-rn16-a:nano-rn24-c"], "nano-rn24-b"),
        (["--pair", "nano-rn16-a"], "SOURCE:TARGET"),
        (["--pair", PAIR, "--task", "digit"], "did you mean digits"),
        (["--pair", PAIR, "--method", "etf"], "did you mean eft"),
        (["--pair", PAIR, "--method", "eft:alfa=1"], "alpha"),
        (["--pair", PAIR, "--method", "eft:alpha=high"], "not a number"),
        (["--pair", PAIR, "--method", "eft:alpha=-1"], "range"),
        (["--pair", PAIR, "--method", "eft:alpha"], "key=value"),
        (["--pair", PAIR, "--suite", "dmo"], "demo"),
        (["--pair", PAIR, "--pair", PAIR], "asked for twice"),
        (["--pair", PAIR, "--device", "banana"], "one of cpu, cuda"),
        (["--pair", PAIR, "--shard", "3/2"], "I/N"),
        (["--pair", "vitb16-laion:vitl14-openai"], "--weights-dir"),
        (["--pair", PAIR, "--sed", "1"], "--sed"),
        (["--pair", PAIR, "--task", "eurosat", "--offline"], "--data-dir"),
        (["--pair", PAIR, "--out", "/proc/nowhere"], "--out"),
        (["--pair", PAIR, "--plugin", "/no/such.py"], "no such file"),
    ],
)
def test_bad_input_gets_one_clear_line_before_any_work(
    words: list[str], hint: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    files = [] if "--out" in words else ["--out", str(tmp_path / "out")]
    assert invoke(["run", *words, *files, "--store", str(tmp_path / "store")]) == 2
    shown = capfd.readouterr()
    assert shown.out == ""
    (line,) = shown.err.strip().splitlines()
    assert hint in line
    assert not (tmp_path / "out" / "results").exists()


def test_global_options_may_stand_anywhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert invoke(["list", "--store", str(tmp_path), "methods", "--json"]) == 0
    names = [row["name"] for row in json.loads(capfd.readouterr().out)]
    assert {"zero-shot", "untuned-ensemble", "source-finetune", "full-finetune", "ensemble", "eft", "prt"} <= set(names)
