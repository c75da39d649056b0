"""What is written to disk: whole, canonical, and refused by name where it does not hold."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from prt_bench.errors import RequestError
from prt_bench.files import canonical_json, digest, write_atomically
from prt_bench.records import SCHEMA_VERSION, ModelCard, Record, read_record
from prt_bench.session_records import read_session

TERM = {"train_flops": 0, "seconds": 0.0, "examples": 0}
CELL = {
    "id": "c1",
    "pair": {"source": "old", "target": "new"},
    "task": "digits",
    "method": "prt",
    "seed": 0,
    "params": {"alpha": 0.5, "steps": 3, "mode": "x", "on": True},
    "recipe": {"old": {"steps": 3, "learning_rate": 1e-3}},
}
QUALITY = {
    "primary": "top1",
    "metrics": {"top1": {"value": 0.75, "ci95": [0.7, 0.8], "n": 4, "split": "test"}},
    "nll": 0.5,
    "nll_calibrated": 0.4,
    "ece": 0.1,
    "predictions": "c1.predictions.csv",
}
PER_QUERY = {
    "unit": "image",
    "shape": {"input": [3, 32, 32]},
    "flops": {"total": 10, "by_member": {"target": 10}, "calls": {"target": 1}, "rule": 0, "rule_elementwise": 0},
    "params": {"total": 5, "by_member": {"target": 5}},
    "memory": {"weights": 20},
    "latency": None,
}
MODEL = {"revision": None, "sha256": None, "head_sha256": None, "preprocessing_sha256": None}
RECORD: dict[str, Any] = {
    "schema_version": SCHEMA_VERSION,
    "cell": CELL,
    "status": "ok",
    "quality": QUALITY,
    "cost": {"once": TERM, "per_upgrade": TERM, "per_query": PER_QUERY},
    "environment": {
        "hardware": "h", "device": "cpu", "processor": "p", "threads": 1,
        "memory_bytes": 1, "system": "s", "python": "3",
    },
    "provenance": {
        "models": dict.fromkeys(("old", "new"), MODEL),
        "task": {"version": "1", "data_sha256": "d", "split_sha256": "s", "template_sha256": "t"},
        "method_source_sha256": "m",
        "git": None,
        "packages": {},
        "request": "prt-bench run",
        "started": "2026-01-01T00:00:00Z",
        "finished": "2026-01-01T00:00:01Z",
    },
}  # fmt: skip

JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inside: (
        st.lists(inside, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inside, max_size=4)
    ),
    max_leaves=12,
)


def changed(where: str, value: Any) -> dict[str, Any]:
    """The record with one value, named by its dotted path, set to another."""
    record = deepcopy(RECORD)
    *way, last = where.split(".")
    part = record
    for key in way:
        part = part[key]
    part[last] = value
    return record


def written(folder: Path, record: Any) -> Path:
    path = folder / "c1.json"
    path.write_text(json.dumps(record), encoding="utf-8")
    return path


@given(JSON_VALUES)
def test_canonical_json_is_read_back_as_it_was(value: Any) -> None:
    text = canonical_json(value)
    assert json.loads(text) == value
    assert "\n" not in text


@given(st.dictionaries(st.text("abcé", max_size=3), st.integers(), max_size=6))
def test_the_digest_does_not_depend_on_the_order_of_keys(value: dict[str, int]) -> None:
    assert digest({key: value[key] for key in reversed(value)}) == digest(value)


@given(JSON_VALUES, JSON_VALUES)
def test_values_with_other_text_have_other_digests(one: Any, other: Any) -> None:
    assert (digest(one) == digest(other)) == (canonical_json(one) == canonical_json(other))


def test_a_digest_stays_what_it_was_in_earlier_versions() -> None:
    assert canonical_json({"b": [1, 2.5], "a": "é"}) == '{"a":"é","b":[1,2.5]}'
    assert digest({"b": [1, 2.5], "a": "é"}) == "123b424b7606d08d0756074e1f76051117423e1a66a03e02f56fd334de63705b"


def test_nothing_without_a_json_text_has_a_digest() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        digest({"score": float("nan")})


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_text_is_written_byte_for_byte(tmp_path: Path, text: str) -> None:
    path = tmp_path / "made" / "on the way" / "file.txt"
    write_atomically(path, text)
    assert path.read_bytes() == text.encode()
    assert os.listdir(path.parent) == ["file.txt"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_an_error_while_writing_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.txt"
    write_atomically(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, "new")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, "\ud800")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file.txt"]


WRITER = """
import sys
from pathlib import Path
from prt_bench.files import write_atomically
path, size = Path(sys.argv[1]), int(sys.argv[2])
number = 0
while True:
    write_atomically(path, str(number % 10) * size)
    if number == 0:
        print("writing", flush=True)
    number += 1
"""


def test_a_file_is_whole_whenever_its_writer_is_killed(tmp_path: Path) -> None:
    path, size = tmp_path / "file.txt", 3_000_000
    for wait in (0.0, 0.003, 0.007, 0.012, 0.02, 0.031):
        with subprocess.Popen([sys.executable, "-c", WRITER, path, str(size)], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(wait)
            writer.send_signal(signal.SIGKILL)
        text = path.read_text()
        assert len(text) == size
        assert set(text) == {text[0]}


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    record = Record.model_validate(RECORD)
    path = tmp_path / "c1.json"
    write_atomically(path, json.dumps(record.model_dump(mode="json")))
    assert read_record(path) == record
    assert read_record(path).score == 0.75
    assert type(read_record(path).cell.params["steps"]) is int
    assert read_record(path).cell.params["on"] is True


def test_a_failed_record_has_no_score(tmp_path: Path) -> None:
    error = {"type": "CellError", "message": "no", "where": "fit"}
    failed = {**RECORD, "status": "failed", "quality": None, "cost": None, "error": error}
    assert read_record(written(tmp_path, failed)).score is None


@pytest.mark.parametrize(
    ("where", "value"),
    [
        ("quality.ece", float("nan")),
        ("quality.nll", float("inf")),
        ("quality.metrics.top1.value", float("nan")),
        ("cost.once.seconds", float("-inf")),
        ("cell.params.alpha", float("nan")),
        ("cell.recipe.old.learning_rate", float("nan")),
        ("cost.per_query.shape.side", float("inf")),
        ("provenance.finish", "now"),
        ("quality.metrics.top1.note", 1),
        ("surprise", {}),
        ("cell.seed", "zero"),
        ("cell.seed", None),
        ("status", "fine"),
        ("cost.once.examples", 1.5),
        ("environment.threads", []),
    ],
)
def test_a_value_that_cannot_be_is_named_by_file_and_key(tmp_path: Path, where: str, value: Any) -> None:
    path = written(tmp_path, changed(where, value))
    with pytest.raises(RequestError) as caught:
        read_record(path)
    assert str(caught.value).startswith(f"{path}: {where}")
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    record = deepcopy(RECORD)
    del record["provenance"]["task"]["split_sha256"]
    with pytest.raises(RequestError, match=r"c1\.json: provenance\.task\.split_sha256: Field required"):
        read_record(written(tmp_path, record))


def test_a_number_too_large_for_a_float_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c1.json"
    path.write_text(json.dumps(changed("cell.recipe.old.steps", "HERE")).replace('"HERE"', "1e999"))
    with pytest.raises(RequestError, match=r"cell\.recipe\.old\.steps: Input should be a finite number"):
        read_record(path)


@pytest.mark.parametrize("read", [read_record, read_session])
def test_a_file_of_a_newer_version_asks_for_an_upgrade(tmp_path: Path, read: Any) -> None:
    path = written(tmp_path, {"schema_version": SCHEMA_VERSION + 1, "and": "things we do not know"})
    with pytest.raises(RequestError, match=f"schema version {SCHEMA_VERSION + 1} is newer.*upgrade prt-bench"):
        read(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe", b"[1]", b"null", b'"text"', b"[" * 100_000, b"{}"],
    ids=["empty", "cut", "bytes", "list", "null", "text", "deep", "bare"],
)
def test_a_file_that_is_no_record_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "c1.json"
    path.write_bytes(content)
    with pytest.raises(RequestError, match=r"c1\.json: "):
        read_record(path)


def test_a_record_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"gone\.json: not a readable"):
        read_record(tmp_path / "gone.json")


def test_a_score_that_is_no_number_cannot_be_recorded() -> None:
    with pytest.raises(ValidationError, match="finite number"):
        Record.model_validate(changed("quality.nll", float("nan")))


def test_a_record_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Record.model_validate(RECORD).partial = True  # type: ignore[misc]


@pytest.mark.parametrize("alias", ["", "-x", "a b", "a/b", "../x", "a:b"])
def test_an_alias_that_a_command_line_or_path_would_take_apart_is_refused(alias: str) -> None:
    with pytest.raises(ValidationError, match="alias"):
        ModelCard(alias=alias, family="clip", architecture="x")
