"""A worker process that is supervised: its answers, its errors, and its death."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import psutil
import pytest

from prt_bench.errors import RequestError
from prt_bench.executors.local import LOG_LEVEL, LocalExecutor, WorkerDied, WorkFailed
from tests.executors.jobs import Job, refusing_job


def quiet(title: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


@pytest.fixture(scope="module")
def lasting() -> Iterator[LocalExecutor]:
    """One worker for the tests that leave it alive."""
    executor = LocalExecutor(Job)
    yield executor
    executor.close()


@pytest.fixture
def fresh() -> Iterator[LocalExecutor]:
    """A worker of its own for a test that ends it."""
    executor = LocalExecutor(Job)
    yield executor
    executor.close()


def test_work_is_done_in_one_other_process_that_keeps_what_it_holds(lasting: LocalExecutor) -> None:
    assert lasting.call("add", 2, 3, report=quiet) == 5
    before = lasting.call("called", report=quiet)
    lasting.call("add", 1, 1, report=quiet)
    assert lasting.call("called", report=quiet) == before + 1
    pid = lasting.call("pid", report=quiet)
    assert pid == lasting.call("pid", report=quiet) != os.getpid()


def test_a_worker_sees_the_variables_that_hold_when_it_starts(
    lasting: LocalExecutor, fresh: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert lasting.call("variable", "PRT_BENCH_TRIED", report=quiet) is None
    monkeypatch.setenv("PRT_BENCH_TRIED", "yes")
    assert fresh.call("variable", "PRT_BENCH_TRIED", report=quiet) == "yes"


def test_progress_comes_through_as_it_is_made(lasting: LocalExecutor) -> None:
    seen: list[tuple[str, int, int]] = []
    assert lasting.call("steps", 4, report=lambda *step: seen.append(step)) == "counted"
    assert seen[-1] == ("counting", 4, 4)


def test_fast_progress_is_thinned_but_its_end_is_told(lasting: LocalExecutor) -> None:
    seen: list[tuple[str, int, int]] = []
    lasting.call("steps", 20_000, report=lambda *step: seen.append(step))
    assert 1 <= len(seen) < 200
    assert seen[-1] == ("counting", 20_000, 20_000)


@pytest.mark.parametrize(("level", "shown"), [("warning", False), ("info", True)])
def test_what_a_library_warns_of_is_for_the_log(
    level: str, shown: bool, fresh: LocalExecutor, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(LOG_LEVEL, level)
    fresh.call("warn", report=quiet)
    fresh.close()
    assert ("an argument was renamed" in capfd.readouterr().err) is shown


@pytest.mark.parametrize("said", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", None])
def test_threads_wait_as_the_user_says_or_briefly(
    said: str | None, fresh: LocalExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        # Set before it is deleted: whatever the worker's parent sets is undone after the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    if said is not None:
        monkeypatch.setenv(said, "7" if said == "GOMP_SPINCOUNT" else "PASSIVE")
    found = fresh.call("warn", report=quiet)
    assert found == {"OMP_WAIT_POLICY": None, "GOMP_SPINCOUNT": "7", None: "10000"}[said]


def test_a_wrong_request_comes_back_as_one(lasting: LocalExecutor) -> None:
    with pytest.raises(RequestError, match=r"^this cannot be asked$"):
        lasting.call("refuse", report=quiet)


def test_an_error_comes_back_with_its_place_and_the_worker_lives_on(lasting: LocalExecutor) -> None:
    pid = lasting.call("pid", report=quiet)
    with pytest.raises(WorkFailed) as caught:
        lasting.call("stumble", report=quiet)
    assert (caught.value.type, caught.value.message, caught.value.expected) == (
        "ZeroDivisionError",
        "ZeroDivisionError",
        False,
    )
    assert caught.value.where.startswith("jobs.py:")
    assert caught.value.where.endswith(" in stumble")
    assert lasting.call("pid", report=quiet) == pid


def test_an_error_that_explains_itself_is_marked_as_expected(lasting: LocalExecutor) -> None:
    with pytest.raises(WorkFailed) as caught:
        lasting.call("explain", report=quiet)
    assert caught.value.expected
    assert caught.value.message == "cannot be finished, for a reason"


def test_an_answer_that_cannot_be_sent_is_a_failure_of_the_work(lasting: LocalExecutor) -> None:
    with pytest.raises(WorkFailed, match="not to be sent"):
        lasting.call("unsendable", report=quiet)
    assert lasting.call("add", 1, 1, report=quiet) == 2


def test_the_worker_leaves_ctrl_c_to_its_parent(lasting: LocalExecutor) -> None:
    assert lasting.call("interrupt", report=quiet) == "went on"


def test_a_job_that_cannot_be_opened_is_told_at_each_call() -> None:
    executor = LocalExecutor(refusing_job)
    try:
        for _ in range(2):
            with pytest.raises(RequestError, match="no such model"):
                executor.call("add", 1, 1, report=quiet)
    finally:
        executor.close()


def test_a_killed_worker_is_named_by_its_signal_and_replaced(fresh: LocalExecutor) -> None:
    pid = fresh.call("pid", report=quiet)
    with pytest.raises(WorkerDied, match=r"signal 9 \(SIGKILL\)"):
        fresh.call("kill", report=quiet)
    assert fresh.call("add", 20, 3, report=quiet) == 23
    assert fresh.call("pid", report=quiet) != pid
    with pytest.raises(WorkerDied, match="exit code 7"):
        fresh.call("leave", 7, report=quiet)


def test_a_worker_that_died_between_two_calls_is_noticed(fresh: LocalExecutor) -> None:
    os.kill(fresh.call("pid", report=quiet), 9)
    with pytest.raises(WorkerDied, match="SIGKILL"):
        fresh.call("add", 1, 1, report=quiet)
    assert fresh.call("add", 1, 1, report=quiet) == 2


def test_work_that_takes_too_long_is_ended(fresh: LocalExecutor) -> None:
    pid = fresh.call("pid", report=quiet)
    started = time.monotonic()
    with pytest.raises(WorkerDied, match=r"longer than 0\.3 s \(--cell-timeout\)"):
        fresh.call("sleep", 60, report=quiet, timeout=0.3)
    assert time.monotonic() - started < 10
    assert not psutil.pid_exists(pid)
    with pytest.raises(WorkerDied, match="longer than"):
        fresh.call("chatter", 60, report=quiet, timeout=0.3)


def test_work_that_holds_too_much_memory_is_ended(fresh: LocalExecutor) -> None:
    assert fresh.call("hoard", 1000, 0, report=quiet, memory_bytes=2_000_000_000) == 1000
    pid = fresh.call("pid", report=quiet)
    limit = psutil.Process(pid).memory_info().rss + 50_000_000
    with pytest.raises(WorkerDied, match=rf"more than {limit} bytes of memory \(--cell-memory\)"):
        fresh.call("hoard", 150_000_000, 60, report=quiet, memory_bytes=limit)
    assert not psutil.pid_exists(pid)


def test_a_call_that_was_broken_off_leaves_no_answer_for_the_next(fresh: LocalExecutor) -> None:
    def stop(title: str, done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fresh.call("steps", 3, report=stop)
    assert fresh.call("add", 20, 3, report=quiet) == 23


def test_closing_ends_the_worker_and_may_be_done_twice(fresh: LocalExecutor) -> None:
    pid = fresh.call("pid", report=quiet)
    fresh.close()
    fresh.close()
    assert not psutil.pid_exists(pid)


def test_ctrl_c_while_a_worker_starts_leaves_nothing_to_trip_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(process: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("multiprocessing.process.BaseProcess.start", interrupted)
    executor = LocalExecutor(dict)  # type: ignore[arg-type]
    with pytest.raises(KeyboardInterrupt):
        executor.call("any", report=lambda title, done, total: None)
    executor.close()
