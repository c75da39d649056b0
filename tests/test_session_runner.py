"""Taking a session from outside: what fails is left out by name, and peaks come from processes of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from prt_bench.executors.local import WorkerDied, WorkFailed
from prt_bench.records import (
    Environment,
    Flops,
    LatencyRow,
    Memory,
    PairNames,
    ParameterCount,
)
from prt_bench.session_plan import SessionPlan
from prt_bench.session_records import CostSession, SessionEntry, TrainingRow, read_session
from prt_bench.session_runner import take_session

WHOLE = SessionPlan((1, 8), 100.0, whole=True)


def entry(timed_as: str = "") -> SessionEntry:
    row = LatencyRow(session="s", batch_size=8, p50_ms=1.0, p90_ms=None, ratio_to_target=None, valid=True)
    return SessionEntry(
        method="m",
        params={},
        method_source_sha256="0",
        members={"target": "t"},
        flops=Flops(total=1, by_member={"target": 1}, calls={"target": 1.0}, rule=0, rule_elementwise=0),
        params_count=ParameterCount(total=1, by_member={"target": 1}),
        memory=Memory(weights=4),
        latency=[row],
        timed_as=timed_as,
    )


def session(**compositions: SessionEntry) -> CostSession:
    environment = Environment(
        hardware="h", device="cpu", processor="p", threads=1, memory_bytes=1, system="s", python="3"
    )
    return CostSession(
        id="s", pair=PairNames(source="a", target="b"), unit="image", shape={}, weights="random",
        placement="one after another", order="o", excludes=[], compositions=compositions, noise_floor={}, valid=True,
        reasons=[], environment=environment, packages={}, started="", finished="",
        absent={"compositions.*.memory.peak": "not yet", "training": "not yet"}, flops_per_second=5e9,
    )  # fmt: skip


class Executor:
    """Answers as it is told, and notes what it was asked."""

    def __init__(self, **answers: Callable[..., Any]) -> None:
        self.answers, self.asked, self.closed = answers, list[tuple[Any, ...]](), 0

    def call(self, name: str, *args: Any, report: Any, timeout: float | None, memory_bytes: int | None) -> Any:
        self.asked.append((name, *args))
        return self.answers[name](*args)

    def close(self) -> None:
        self.closed += 1


class Watcher:
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def progress(self, title: str, done: int, total: int) -> None: ...

    def warn(self, text: str) -> None:
        self.warnings.append(text)


def cells(*labels: str) -> list[Any]:
    pair = PairNames(source="a", target="b")
    return [
        SimpleNamespace(path=Path(label), method=SimpleNamespace(label=label), cell=SimpleNamespace(pair=pair))
        for label in labels
    ]


def taken(
    tmp_path: Path, executor: Executor, labels: tuple[str, ...], plan: SessionPlan = WHOLE, fresh: Any = None
) -> tuple[Path | None, str, Watcher]:
    watcher = Watcher()
    found = take_session(executor, fresh or Executor, cells(*labels), plan, tmp_path, watcher)  # type: ignore[arg-type]
    return *found, watcher


def test_what_cannot_be_timed_is_named_and_costs_the_others_nothing(tmp_path: Path) -> None:
    def tried(path: str, scratch: str) -> None:
        assert Path(scratch).is_dir()
        if path == "bad":
            raise WorkFailed("ValueError", "it is bad", "here", expected=False)

    where = tmp_path / "out" / "s.json"
    executor = Executor(can_be_timed=tried, session=lambda *_: (str(where), session(good=entry())))
    path, problem, watcher = taken(tmp_path, executor, ("good", "bad"), SessionPlan((1,), 5.0))
    assert (path, problem) == (where, "")
    assert watcher.warnings == ["a:b: bad is not timed: it is bad"]
    assert executor.asked[-1][1] == ["good"]
    assert read_session(where).absent["compositions.*.memory.peak"] == "not yet", "peaks were not asked for"
    assert list(tmp_path.iterdir()) == [tmp_path / "out"], "networks of zero steps are gone"


def test_nothing_to_time_is_no_session(tmp_path: Path) -> None:
    def fails(*_: str) -> None:
        raise WorkerDied("was ended by signal 11")

    path, problem, _ = taken(tmp_path, Executor(can_be_timed=fails), ("a", "b"))
    assert (path, problem) == (None, "none of its compositions can be timed")


def test_a_session_that_fails_is_tried_again_once(tmp_path: Path) -> None:
    left = [WorkerDied("was ended by signal 9"), WorkerDied("was ended by signal 15")]

    def dies(*_: Any) -> None:
        raise left.pop(0)

    executor = Executor(can_be_timed=lambda *_: None, session=dies)
    path, problem, _ = taken(tmp_path, executor, ("a",))
    assert path is None
    assert problem == "was ended by signal 15"
    assert not left


def test_a_session_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    where = tmp_path / "s.json"
    where.write_text("as it was")
    executor = Executor(can_be_timed=lambda *_: None, session=lambda *_: (str(where), session(a=entry())))
    assert taken(tmp_path, executor, ("a",))[0] == where
    assert where.read_text() == "as it was"


@pytest.fixture
def whole(tmp_path: Path) -> Callable[..., tuple[CostSession, list[Executor]]]:
    """Takes a session of three compositions, two of which do the same work as the target alone."""

    def take(
        peak: Callable[..., Any], plan: SessionPlan = WHOLE, trainings: Callable[..., Any] = lambda *_: []
    ) -> tuple[CostSession, list[Executor]]:
        where = tmp_path / "s.json"
        found = session(a=entry("target alone"), b=entry("target alone"), c=entry())
        executor = Executor(can_be_timed=lambda *_: None, session=lambda *_: (str(where), found))
        made: list[Executor] = []

        def fresh() -> Executor:
            assert executor.closed, "its networks would stand in the way"
            made.append(Executor(peak=peak, trainings=trainings))
            return made[-1]

        taken(tmp_path, executor, ("a", "b", "c"), plan, fresh)
        return read_session(where), made

    return take


def test_every_work_has_a_process_for_its_peak(whole: Callable[..., tuple[CostSession, list[Executor]]]) -> None:
    found, made = whole(lambda path, batch_size, scratch: ({"a": 700, "c": 900}[path], 300, ""))
    assert [executor.asked[0][:3] for executor in made[:2]] == [("peak", "a", 8), ("peak", "c", 8)]
    assert all(executor.closed for executor in made)
    peaks = {label: entry.memory for label, entry in found.compositions.items()}
    assert {label: (memory.peak, memory.before, memory.peak_batch_size) for label, memory in peaks.items()} == {
        "a": (700, 300, 8), "b": (700, 300, 8), "c": (900, 300, 8),
    }  # fmt: skip
    assert not [path for path in found.absent if "peak" in path]


def test_a_peak_that_fails_is_null_with_its_reason(whole: Callable[..., tuple[CostSession, list[Executor]]]) -> None:
    def peak(path: str, *_: Any) -> tuple[None, int, str]:
        if path == "c":
            raise WorkFailed("CellError", "no room", "here", expected=True)
        return None, 300, "the kernel does not tell"

    found, _ = whole(peak)
    assert [entry.memory.peak for entry in found.compositions.values()] == [None] * 3
    reasons = {path: why for path, why in found.absent.items() if path.endswith(".peak")}
    assert found.absent["compositions.c.memory.before"] == "no room"
    assert reasons == {
        "compositions.a.memory.peak": "the kernel does not tell",
        "compositions.b.memory.peak": "the kernel does not tell",
        "compositions.c.memory.peak": "no room",
    }


def test_peaks_without_time_are_not_begun(whole: Callable[..., tuple[CostSession, list[Executor]]]) -> None:
    found, made = whole(lambda *_: pytest.fail("begun"), SessionPlan((1,), 0.0, whole=True))
    assert [executor.asked[0][0] for executor in made] == ["trainings"], "which says itself what it has no time for"
    assert found.absent["compositions.c.memory.peak"] == "no time was left for it (--max-seconds 0)"


def test_training_has_a_process_of_its_own_and_the_time_that_is_left(
    whole: Callable[..., tuple[CostSession, list[Executor]]],
) -> None:
    row = TrainingRow(
        model="a", frozen=[], frozen_outputs="none", methods=["m"], batch_size=1, flops=1, step_ms=1.0,
        ratio=None, peak_memory_bytes=None,
    )  # fmt: skip
    found, made = whole(lambda *_: (1, 1, ""), trainings=lambda *_: [row])
    assert found.training == [row]
    assert "training" not in found.absent
    name, paths, batch_sizes, speed, seconds = made[-1].asked[0]
    assert (name, paths, batch_sizes, speed) == ("trainings", ["a", "b", "c"], (1, 8), 5e9)
    assert 0 < seconds <= 100
    assert made[-1].closed


def test_training_that_fails_leaves_the_rest_and_its_reason(
    whole: Callable[..., tuple[CostSession, list[Executor]]],
) -> None:
    def fails(*_: Any) -> None:
        raise WorkerDied("was ended by signal 9")

    found, _ = whole(lambda *_: (1, 1, ""), trainings=fails)
    assert (found.training, found.absent["training"]) == ([], "was ended by signal 9")
    assert found.compositions["c"].memory.peak == 1
