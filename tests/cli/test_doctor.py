"""`prt-bench doctor`: every problem at once, each with its way out."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

from prt_bench.cli import health
from prt_bench.cli.main import invoke
from prt_bench.store import Store

KEY = "ab" * 32


@pytest.fixture(autouse=True)
def _room(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little this machine has."""
    monkeypatch.setattr(health, "LEAST_DISK", 0)
    monkeypatch.setattr(health, "LEAST_MEMORY", 0)


def looked(capsys: pytest.CaptureFixture[str], tmp_path: Path, *words: str) -> tuple[int, dict[str, Any]]:
    """The exit code, and the checks by name."""
    places = ["--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]
    code = invoke([*places, "--offline", "doctor", "--json", *words])
    found = json.loads(capsys.readouterr().out)
    assert found["well"] is (code == 0)
    assert all(check["way_out"] for check in found["checks"] if check["state"] == "problem")
    return code, {check["name"]: check for check in found["checks"]}


def test_all_is_well_here_and_nothing_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = looked(capsys, tmp_path)
    assert code == 0, found
    assert f"torch {version('torch')}" in found["versions"]["detail"]
    assert found["hub"]["state"] == "note"
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_store_a_late_file_and_a_missing_gpu_are_named_at_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "store")
    whole = store.put("outputs", KEY, {"logits": torch.zeros(2)}, {})
    broken = store.put("artifacts", KEY, {"weight": torch.zeros(2)}, {})
    broken.write_bytes(broken.read_bytes()[:-3])
    store.put_note("cd" * 32, {"a": 1})
    note = next((tmp_path / "store" / "notes").rglob("*.json"))
    note.write_text("{", encoding="utf-8")
    os.utime(whole, (time.time() + 7200,) * 2)
    code, found = looked(capsys, tmp_path, "--device", "cuda:7")
    assert code == 1
    entries = found["store entries"]
    assert entries["state"] == "problem"
    assert (str(broken) in entries["detail"], str(note) in entries["detail"]) == (True, True)
    assert str(whole) not in entries["detail"]
    assert "120 min later" in found["clock"]["detail"]
    if not torch.cuda.is_available():
        assert "cuda:7" in found["device"]["detail"]


def test_a_full_disk_and_little_memory_are_problems(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "LEAST_DISK", 2**80)
    monkeypatch.setattr(health, "LEAST_MEMORY", 2**80)
    code, found = looked(capsys, tmp_path)
    assert code == 1
    assert [found[name]["state"] for name in ("memory", "store", "leaderboard")] == ["problem"] * 3


def test_a_folder_that_takes_nothing_is_a_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "store").write_text("a file, where a folder should be")
    code, found = looked(capsys, tmp_path)
    assert code == 1
    assert (found["store"]["state"], found["leaderboard"]["state"]) == ("problem", "ok")


def test_other_versions_than_the_locks_are_named_and_unmet_requirements_are_problems(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = health.version
    monkeypatch.setattr(health, "version", lambda name: "0.0.1" if name in {"rich", "certifi"} else installed(name))
    code, found = looked(capsys, tmp_path)
    assert code == 1
    assert found["lock"]["state"] == "note"
    assert "certifi 0.0.1" in found["lock"]["detail"]
    assert "rich 0.0.1 is not >=14" in found["requirements"]["detail"]
    assert "certifi" not in found["requirements"]["detail"]


@pytest.mark.parametrize(("minutes", "state"), [(1, "ok"), (-1, "ok"), (30, "problem"), (-30, "problem")])
def test_the_clock_is_held_against_the_hubs(tmp_path: Path, minutes: int, state: str) -> None:
    check = health._clock([tmp_path], datetime.now(UTC) + timedelta(minutes=minutes))
    assert check.state == state


def test_a_hub_that_does_not_answer_is_a_problem_with_a_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    check, stated = health._hub(offline=False)
    assert (check.state, stated) == ("problem", None)
    assert "--offline" in check.way_out


def test_a_table_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = ["--out", str(tmp_path / "out"), "--store", str(tmp_path / "store")]
    assert invoke([*places, "--offline", "doctor"]) == 0
    assert "all is well" in capsys.readouterr().out
