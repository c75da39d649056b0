"""A folder is read as far as it holds: what does not is one line, and takes no other record down."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prt_bench.board.answers import Answers
from prt_bench.board.reading import Holdings, Missing, _agree, missing, read_folder
from prt_bench.board.rows import flat_rows
from prt_bench.board.table import Table, tables
from tests.board.by_hand import measured, table
from tests.board.filing import File
from tests.board.many import METHODS, record_of, write_many, write_one

ITEMS = 12
LABELS = np.arange(ITEMS) % 3
BAD = "bad"
NEWEST = {"started": "2026-01-01T00:00:00Z", "finished": "2026-05-01T00:00:00Z"}
SESSION: dict[str, Any] = {
    "id": "s", "pair": {"source": "old-0", "target": "new-0"}, "unit": "image", "shape": {}, "weights": "real",
    "placement": "one after another", "order": "", "excludes": [], "noise_floor": {"1": 1.01},
    "noise_interval": {"1": [0.9, 1.01, 1.1]}, "valid": True, "reasons": [], "packages": {}, "max_seconds": 12.0,
    "target_flops": 10, "flops_per_second": 5.0, "started": "2026-01-01T00:00:00Z", "finished": "2026-01-01T00:00:01Z",
    "environment": record_of("", ("a", "b"), "", "tuned", 0)["environment"],
    "compositions": {
        "tuned": {
            "method": "tuned", "params": {}, "method_source_sha256": "m", "members": {"target": "new-0"},
            "flops": {
                "total": 10, "by_member": {"target": 10}, "calls": {"target": 1.0}, "rule": 0, "rule_elementwise": 0,
            },
            "params_count": {"total": 5, "by_member": {"target": 5}},
            "memory": {"weights": 20},
            "latency": [{
                "session": "s", "batch_size": 1, "p50_ms": 2.0, "p90_ms": 2.5, "ratio_to_target": [1.1, 1.2, 1.3],
                "valid": True,
            }],
        },
    },
    "training": [{
        "model": "old-0", "frozen": [], "frozen_outputs": "none", "methods": ["tuned"], "batch_size": 8, "flops": 5,
        "step_ms": 3.0, "ratio": [1.0, 1.0, 1.0], "peak_memory_bytes": 7,
    }],
}  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tables of four methods and two seeds, and a session."""
    out = tmp_path_factory.mktemp("sound")
    write_many(out, 16, ITEMS, methods=4, seeds=2)
    write_session(out, SESSION)
    return out


@pytest.fixture(scope="module")
def before(sound: Path) -> list[dict[str, Any]]:
    """What is shown of it."""
    return shown(read_folder(sound))


@pytest.fixture
def out(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "out"))


def write_session(out: Path, session: dict[str, Any], name: str = "s") -> Path:
    path = out / "costs" / "h" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(session), encoding="utf-8")
    return path


def write_bad(out: Path, task: str = "task-9", **facts: Any) -> Path:
    """One more record, of a task of its own."""
    folder = out / "results"
    folder.mkdir(parents=True, exist_ok=True)
    return write_one(folder, BAD, ("old-0", "new-0"), task, METHODS[5], 0, LABELS, np.random.default_rng(1), **facts)


def told(held: Holdings) -> dict[str, str]:
    return {one.path: one.reason for one in held.refused}


def shown(held: Holdings) -> list[dict[str, Any]]:
    return flat_rows(tables(held.filed))


def test_what_holds_is_read_with_its_answers(out: Path) -> None:
    held = read_folder(out)
    assert (len(held.filed), len(held.sessions), held.refused) == (16, 1, [])
    assert [entry.path for entry in held.filed] == sorted((out / "results").rglob("*.json"))
    assert all(entry.answers is not None for entry in held.filed)
    assert {len(made.rows) for made in tables(held.filed)} == {4}
    # The answers are read once: tables need the files no more.
    shutil.rmtree(out)
    assert len(tables(held.filed)) == 2


def test_an_empty_folder_holds_nothing(tmp_path: Path) -> None:
    assert read_folder(tmp_path / "none") == Holdings([], [], [], [])


def test_items_and_nothing_else_are_shared(out: Path) -> None:
    by_task: dict[str, set[int]] = {}
    for entry in read_folder(out).filed:
        assert entry.answers is not None
        by_task.setdefault(entry.record.cell.task, set()).add(id(entry.answers.items))
    assert [len(lists) for lists in by_task.values()] == [1, 1]


def not_utf_8(path: Path) -> None:
    path.write_bytes(b'{"a": "\xff"}')


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def a_dangling_link(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def newer(path: Path) -> None:
    path.write_text('{"schema_version": 99}')


def nested(path: Path) -> None:
    path.write_text('{"cell":' * 100_000)


def deep(depth: int) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        record = json.loads(path.read_text())
        record["cell"]["recipe"]["old-0"]["deep"] = 0
        path.write_text(json.dumps(record).replace('"deep": 0', '"deep": ' + "[" * depth + "]" * depth))

    return spoil


def set_to(where: str, value: Any) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        record = json.loads(path.read_text())
        *way, last = where.split(".")
        part = record
        for key in way:
            part = part[key]
        part[last] = value
        path.write_text(json.dumps(record))

    return spoil


def answers(change: Callable[[Path], None]) -> Callable[[Path], None]:
    return lambda path: change(path.with_name(f"{BAD}.predictions.csv"))


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda path: path.write_text(""), "not a readable JSON file"),
        (lambda path: path.write_text("[]"), "a record is a JSON object, this is a list"),
        (lambda path: path.write_text("{}"), "cell: Field required"),
        (not_utf_8, "not a readable JSON file"),
        (nested, "not a readable JSON file"),
        (a_folder, "not a file that can be read; move it away"),
        (a_dangling_link, "not a file that can be read; move it away"),
        (a_pipe, "not a file that can be read; move it away"),
        (newer, "schema version 99 is newer than this prt-bench reads"),
        (set_to("quality.metrics.top1.value", float("nan")), "quality.metrics.top1.value: Input should be a finite"),
        (set_to("quality.metrics.top1.value", 1.5), "quality.metrics.top1.value: 1.5 is not between 0 and 1"),
        (set_to("cost.once.seconds", 1e308), "cost.once.seconds: 1e+308… is more than anything that is measured"),
        (set_to("cost.once.train_flops", 10**400), "cost.once.train_flops: 100000000000… is more than"),
        (set_to("cell.params.alpha", -(10**400)), "cell.params.alpha: -10000000000… is more than"),
        (deep(100), "cell.recipe.old-0.deep.0.0."),
        (deep(900), "cell.recipe.old-0.deep.0.0."),
        (set_to("cell.x", 1), "cell.x: Extra inputs are not permitted"),
        (set_to("a\nb" * 10_000, 1), "a b"),
        (set_to("quality.predictions", "../../../etc/passwd"), "quality.predictions: '../../../etc/passwd' is outside"),
        (set_to("quality.predictions", "/etc/passwd"), "quality.predictions: '/etc/passwd' is outside"),
        (set_to("quality.predictions", "sub/../../x"), "quality.predictions: 'sub/../../x' is outside"),
        (set_to("quality.predictions", ""), "results: not a predictions file"),
        (set_to("quality.predictions", "a\0b"), "a�b: not a predictions file"),
        (set_to("quality.predictions", "x" * 10_000), "x" * 300 + "…"),
        (answers(Path.unlink), "bad.predictions.csv: not a predictions file (there is no such file); its record is"),
        (answers(a_folder), "bad.predictions.csv: not a predictions file"),
        (answers(a_pipe), "bad.predictions.csv: not a predictions file"),
        (answers(lambda path: path.write_text("id\n1\n")), "bad.predictions.csv: not a predictions file ('label')"),
        (answers(lambda path: path.write_text(path.read_text() + "x,0,0,-1.0\n")), "bad.predictions.csv: holds 13"),
    ],
    ids=lambda part: part[:40] if isinstance(part, str) else "",
)  # fmt: skip
def test_what_does_not_hold_is_one_line_and_the_rest_as_before(
    out: Path, before: list[dict[str, Any]], spoil: Callable[[Path], Any], reason: str
) -> None:
    path = write_bad(out)
    spoil(path)
    held = read_folder(out)
    assert list(told(held)) == ["results/bad.json"]
    (line,) = told(held).values()
    assert line.startswith(reason)
    assert line.isprintable()
    assert len(line) <= 301
    assert str(out) not in line
    assert shown(held) == before


def test_predictions_that_a_link_takes_elsewhere_are_refused(out: Path, tmp_path: Path) -> None:
    path = write_bad(out)
    file = path.with_name(f"{BAD}.predictions.csv")
    shutil.move(file, tmp_path / "else.csv")
    file.symlink_to(tmp_path / "else.csv")
    assert "is outside of the record's own folder" in told(read_folder(out))["results/bad.json"]
    file.unlink()
    shutil.move(tmp_path / "else.csv", path.with_name("beside.csv"))
    file.symlink_to("beside.csv")
    assert read_folder(out).refused == []
    sub = path.parent / "sub"
    sub.mkdir()
    shutil.move(path.with_name("beside.csv"), sub / "in.csv")
    set_to("quality.predictions", "sub/in.csv")(path)
    assert read_folder(out).refused == []


def test_what_is_nested_deeper_than_can_be_read_is_told(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def endless(path: Path) -> None:
        endless(path)

    write_bad(out)
    monkeypatch.setattr("prt_bench.board.reading.read_record", endless)
    assert set(told(read_folder(out)).values()) == {"lists and objects in each other, deeper than can be read"}


def test_half_a_character_is_refused_wherever_it_stands(out: Path, before: list[dict[str, Any]]) -> None:
    path = write_bad(out)
    for where in ("cell.title", "cell.recipe.old-0.decay", "cost.per_query.shape.input"):
        whole = path.read_text()
        set_to(where, "\ud800")(path)
        held = read_folder(out)
        assert (list(told(held)), shown(held)) == (["results/bad.json"], before)
        path.write_text(whole)


def test_a_file_whose_name_is_no_text_is_refused(out: Path) -> None:
    path = write_bad(out)
    os.rename(path, os.fsencode(path.parent) + b"/\xff\n.json")
    assert list(told(read_folder(out))) == ["results/� .json"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_told(out: Path) -> None:
    (out / "results" / "shut").mkdir(mode=0)
    path = write_bad(out)
    path.chmod(0)
    assert list(told(read_folder(out))) == ["results/bad.json", "results/shut"]


def test_failed_and_partial_records_are_held_without_answers(out: Path) -> None:
    error = {"type": "CellError", "message": "no", "where": "fit"}
    path = write_bad(out, status="failed", quality=None, error=error)
    path.with_name(f"{BAD}.predictions.csv").unlink()
    held = read_folder(out)
    (failed,) = [entry for entry in held.filed if entry.record.status == "failed"]
    assert (failed.answers, held.refused, len(tables(held.filed))) == (None, [], 2)


def test_of_other_test_items_the_odd_ones_are_refused(out: Path) -> None:
    """What most of the records hold stands, whichever comes first; of as many, what was there first."""
    folder = out / "results" / "old-0__new-0" / "task-0" / METHODS[0]
    for seed, names in ((7, "others"), (8, "others")):
        path = write_one(
            folder, f"late-{seed}", ("old-0", "new-0"), "task-0", METHODS[0], seed, LABELS, np.random.default_rng(seed)
        )
        set_to("provenance", {**json.loads(path.read_text())["provenance"], **NEWEST})(path)
        file = path.with_name(f"late-{seed}.predictions.csv")
        file.write_text(file.read_text().replace("task-0/", f"{names}/"))
    late = [f"results/old-0__new-0/task-0/{METHODS[0]}/late-{seed}.json" for seed in (7, 8)]
    held = read_folder(out)
    assert told(held) == dict.fromkeys(late, "holds other test items than the same method's other seeds")
    assert [row.seeds for made in tables(held.filed) for row in made.rows if row.label == METHODS[0]] == [[0, 1]] * 2
    first = sorted(folder.glob("0*.json"))[0]
    first.unlink()
    assert list(told(read_folder(out))) == [str(next(folder.glob("0*.json")).relative_to(out))]


def test_a_record_that_is_in_a_release_too_counts_once(out: Path) -> None:
    alone = read_folder(out)
    release = out / "releases" / "first"
    shutil.copytree(out / "results", release / "results")
    shutil.copytree(out / "costs", release / "costs")
    write_bad(release)
    held = read_folder(out, [out, release])
    assert held.refused == []
    assert [entry.path for entry in held.sessions] == [entry.path for entry in alone.sessions]
    assert [entry.path for entry in held.filed] == sorted(
        [*(entry.path for entry in alone.filed), release / "results" / f"{BAD}.json"]
    )
    assert {entry.path.relative_to(out).parts[0] for entry in read_folder(out, [release, out]).filed} == {"releases"}


def test_the_same_record_with_other_answers_is_refused(out: Path) -> None:
    release = out / "releases" / "first"
    shutil.copytree(out / "results", release / "results")
    path = next((release / "results").rglob("*.csv"))
    lines = path.read_text().splitlines()
    parts = [line.split(",") for line in lines]
    one = next(place for place, part in enumerate(parts[1:], start=1) if part[1] != part[2])
    parts[one][2] = str(next(said for said in range(10) if str(said) not in parts[one][1:3]))
    path.write_text("\n".join([*map(",".join, parts), ""]))
    held = read_folder(out, [out, release])
    ((name, reason),) = told(held).items()
    twin = path.relative_to(release).as_posix().replace(".predictions.csv", ".json")
    assert (name, reason) == (f"releases/first/{twin}", f"the same record as {twin}, with other answers")
    assert len(held.filed) == 16


def test_the_same_cell_done_again_counts_once_or_supersedes_what_was_other(out: Path) -> None:
    (path, *_) = sorted((out / "results").rglob("*.json"))
    record = json.loads(path.read_text())
    record["provenance"] |= NEWEST
    path.with_name("again.json").write_text(json.dumps(record))
    assert len(read_folder(out).filed) == 16
    record["quality"]["temperature"] = 1.5
    path.with_name("again.json").write_text(json.dumps(record))
    held = read_folder(out)
    assert (len(held.filed), held.refused) == (17, [])
    assert [bool(row.superseded) for made in tables(held.filed) for row in made.rows].count(True) == 1


def test_a_cell_that_failed_again_counts_once_where_it_failed_of_the_same(file: File, tmp_path: Path) -> None:
    board = tmp_path / "board"
    path = file("prt", 0, error="diverged")
    record = json.loads(path.read_text(encoding="utf-8"))
    record["provenance"] |= NEWEST
    again = path.with_name("again.json")
    again.write_text(json.dumps(record), encoding="utf-8")
    held = read_folder(board)
    assert (len(held.filed), {held.repeated[0].entry.path, held.repeated[0].used}) == (1, {path, again})
    record["error"]["where"] = "fit.py:8"
    again.write_text(json.dumps(record), encoding="utf-8")
    assert len(read_folder(board).filed) == 1
    record["error"]["message"] = "out of memory"
    again.write_text(json.dumps(record), encoding="utf-8")
    assert len(read_folder(board).filed) == 2


def test_a_root_elsewhere_is_named_by_its_folder(out: Path, tmp_path: Path) -> None:
    write_bad(tmp_path / "other").write_text("{}")
    assert list(told(read_folder(out, [out, tmp_path / "other"]))) == ["other/results/bad.json"]


LATENCY = "compositions.tuned.latency"


@pytest.mark.parametrize(
    ("where", "value", "reason"),
    [
        ("id", None, "id: Input should be a valid string"),
        ("finished", "2025-01-01T00:00:00Z", "finished: 2025-01-01T00:00:00Z is before the start"),
        ("started", "soon", "started: 'soon' is no time"),
        ("noise_floor", {"1": 0.0}, "noise_floor.1: 0.0 is not above 0"),
        ("noise_interval", {"1": [1.2, 1.1, 1.3]}, "noise_interval.1: the interval [1.2, 1.3] does not hold"),
        ("max_seconds", -1.0, "max_seconds: -1.0 is not above 0"),
        ("target_flops", 0, "target_flops: 0 is not above 0"),
        ("flops_per_second", -5.0, "flops_per_second: -5.0 is not above 0"),
        ("flops_per_second", 1e300, "flops_per_second: 1e+300… is more than"),
        ("flops_per_second", float("inf"), "flops_per_second: Input should be a finite number"),
        ("compositions.tuned.flops.total", 11, "compositions.tuned.flops.total: 11 is not the sum of members"),
        ("compositions.tuned.params_count.total", 6, "compositions.tuned.params_count.total: 6 is not between"),
        ("compositions.tuned.memory.weights", -1, "compositions.tuned.memory.weights: -1 is below 0"),
        (f"{LATENCY}.0.p50_ms", -2.0, f"{LATENCY}.0.p50_ms: -2.0 is below 0"),
        (f"{LATENCY}.0.p50_ms", 0.0, f"{LATENCY}.0.p50_ms: 0.0 is not above 0"),
        (f"{LATENCY}.0.p90_ms", 1.5, f"{LATENCY}.0.p90_ms: 1.5 is less than the median, 2.0"),
        (f"{LATENCY}.0.ratio_to_target", [1.3, 1.2, 1.4], f"{LATENCY}.0.ratio_to_target: the interval"),
        ("training.0.step_ms", 0.0, "training.0.step_ms: 0.0 is not above 0"),
        ("training.0.flops", -5, "training.0.flops: -5 is below 0"),
        ("training.0.ratio", [1.0, 2.0, 1.5], "training.0.ratio: the interval [1.0, 1.5] does not hold the ratio 2.0"),
    ],
)
def test_a_session_whose_numbers_cannot_be_is_refused(tmp_path: Path, where: str, value: Any, reason: str) -> None:
    assert read_folder_of(tmp_path, SESSION).refused == []
    session = deepcopy(SESSION)
    *way, last = where.split(".")
    part: Any = session
    for key in way:
        part = part[int(key) if isinstance(part, list) else key]
    part[last] = value
    held = read_folder_of(tmp_path, session)
    assert held.sessions == []
    assert [one.path for one in held.refused] == ["costs/h/s.json"]
    assert held.refused[0].reason.startswith(reason)


def read_folder_of(out: Path, session: dict[str, Any]) -> Holdings:
    write_session(out, session)
    return read_folder(out)


def test_two_sessions_of_one_id_cannot_both_be(out: Path) -> None:
    write_session(out, SESSION, "twin")
    assert (len(read_folder(out).sessions), read_folder(out).refused) == (1, [])
    write_session(out, {**SESSION, "order": "another"}, "twin")
    assert told(read_folder(out)) == {"costs/h/twin.json": "another session of the same id is costs/h/s.json"}


# Whatever is in a file: it is read or refused, and nothing is raised.

ODD_VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 10**30, -(10**400), 2**63, 99]),
    st.floats(),
    st.sampled_from([1e308, -1e308, 5e-324, float("nan"), float("inf")]),
    st.text(max_size=20),
    st.sampled_from(
        [
            "x" * 10_000,
            "a\0b",
            "\ud800",
            "\u202egnp",
            "<script>",
            "../..",
            "/etc/passwd",
            "=1+1",
            "\r\n",
            "ok",
            "failed",
        ]
    ),
    st.sampled_from([[], {}, [[[[]]]], {"": {}}, [1e308], {"a": [None]}]),
)


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield way
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inside:
        yield from places(part, (*way, key))


@st.composite
def mutations(draw: st.DrawFn, whole: dict[str, Any]) -> str:
    """The JSON text of a record or a session of which up to three things were changed."""
    record = deepcopy(whole)
    for _ in range(draw(st.integers(1, 3))):
        way = draw(st.sampled_from([way for way in places(record) if way]))
        part = record
        for key in way[:-1]:
            part = part[key]
        kind = draw(st.sampled_from(["set", "set", "remove", "add", "wrap"]))
        if kind == "remove":
            del part[way[-1]]
        elif kind == "add" and isinstance(part, dict):
            part[draw(st.text(max_size=9) | st.sampled_from(["k" * 10_000, "\n"]))] = draw(ODD_VALUES)
        elif kind == "wrap":
            part[way[-1]] = [part[way[-1]]]
        else:
            part[way[-1]] = draw(ODD_VALUES)
        if not record:
            break
    text = json.dumps(record)
    if draw(st.booleans()):
        # Of keys that are there twice the last one counts.
        text = text[:-1] + f", {json.dumps(draw(st.sampled_from(sorted(whole))))}: {json.dumps(draw(ODD_VALUES))}}}"
    return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 9)) == 0 else text


def settle(out: Path, before: list[dict[str, Any]], name: str) -> None:
    """What is read or refused must leave the others' rows alone, and can be shown."""
    held = read_folder(out)
    lines = told(held)
    assert set(lines) <= {name}
    assert all(line.isprintable() and line for line in lines.values())
    others = [entry for entry in held.filed if entry.path.stem != BAD]
    assert len(others) == 16
    assert shown(Holdings(others, [], [], [])) == before
    rows = shown(held)
    json.dumps(rows, ensure_ascii=False).encode()
    if lines:
        assert rows == before
    else:
        assert len(held.filed) + len(held.sessions) == 18


EVERY = settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])


@EVERY
@given(data=st.data())
def test_any_change_of_a_record_is_read_or_refused(
    sound: Path, before: list[dict[str, Any]], data: st.DataObject
) -> None:
    path = write_bad(sound, "task-0")
    try:
        path.write_text(data.draw(mutations(json.loads(path.read_text()))), encoding="utf-8")
        settle(sound, before, "results/bad.json")
    finally:
        path.unlink()
        path.with_name(f"{BAD}.predictions.csv").unlink()


@EVERY
@given(data=st.data())
def test_any_change_of_a_session_is_read_or_refused(
    sound: Path, before: list[dict[str, Any]], data: st.DataObject
) -> None:
    path = write_session(sound, {**SESSION, "id": "other"}, BAD)
    try:
        path.write_text(data.draw(mutations({**SESSION, "id": "other"})), encoding="utf-8")
        held = read_folder(sound)
        assert set(told(held)) <= {"costs/h/bad.json"}
        assert len(held.sessions) + len(held.refused) == 2
        assert shown(held) == before
    finally:
        path.unlink()


@EVERY
@given(content=st.binary(max_size=60), place=st.integers(0, 400), cut=st.integers(0, 400))
def test_any_bytes_among_predictions_are_read_or_refused(
    sound: Path, before: list[dict[str, Any]], content: bytes, place: int, cut: int
) -> None:
    path = write_bad(sound, "task-0")
    file = path.with_name(f"{BAD}.predictions.csv")
    try:
        whole = file.read_bytes()
        file.write_bytes(whole[:place] + content + whole[place + cut :])
        settle(sound, before, "results/bad.json")
    finally:
        path.unlink()
        file.unlink()


# What is not there.


def of(made: list[Table], method: str) -> list[tuple[str, tuple[int, ...], str]]:
    return [(one.task, one.seeds, one.reason) for one in missing(made) if one.method == method]


def test_seeds_that_other_rows_have_are_missing() -> None:
    made = table({"full": measured(1, 2, 3), "late": measured(1, first=2), "one": measured(1)})
    assert missing([made]) == [
        Missing("old:new", "digits", "paper", "late", "Late", (0, 1), "other methods of this table have them"),
        Missing("old:new", "digits", "paper", "one", "One", (1, 2), "other methods of this table have them"),
    ]


def test_methods_that_other_tables_of_the_pair_and_track_have_are_missing() -> None:
    both, one = {"mine": measured(1, 2), "theirs": measured(1, 2)}, {"mine": measured(1, 2)}
    made = [table(both, task="digits"), table(one, task="letters")]
    assert missing(made) == [
        Missing("old:new", "letters", "paper", "theirs", "Theirs", (0, 1), "not run here, though on digits")
    ]
    apart: list[dict[str, Any]] = [{"pair": "old:newer"}, {"track": "equal"}, {"tuned_on": "digits"}]
    for facts in apart:
        assert missing([made[0], table(one, task="letters", **facts)]) == []
    many = [table(both, task=f"task {number}") for number in range(5)]
    assert of([*many, made[1]], "theirs")[0][2] == "not run here, though on task 0, task 1, task 2 and 2 more"


def test_what_is_superseded_neither_has_nor_lacks() -> None:
    made = table({"new": measured(1), "old": measured(1, 2, 3)}, old={"superseded": "newer"})
    assert missing([made]) == []
    assert missing([made, table({"new": measured(1)}, task="letters")]) == []


def test_answers_whose_words_were_not_kept_agree_by_their_scores_alone() -> None:
    one, other = (Answers(Path("x.csv"), ["a", "b"], np.array(values), None) for values in ([1.0, 0.0], [0.0, 1.0]))
    assert _agree(one, one)
    assert not _agree(one, other)
