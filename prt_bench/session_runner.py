"""Takes a cost session from outside: what cannot be timed is left out by name; peaks have processes of their own."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from prt_bench.errors import RequestError
from prt_bench.executors.local import LocalExecutor, WorkerDied, WorkFailed
from prt_bench.files import write_atomically
from prt_bench.plan import PlannedCell
from prt_bench.session_plan import SessionPlan
from prt_bench.session_records import PEAK_FIELDS, CostSession

__all__ = ["SessionWatcher", "take_session"]

ATTEMPTS = 2
LOADING_SECONDS = 300.0
"""That a process may take to load what it measures, on top of the time for measuring."""


class SessionWatcher(Protocol):
    """Whoever shows people how a session goes."""

    def progress(self, title: str, done: int, total: int) -> None: ...

    def warn(self, text: str) -> None: ...


@dataclass(frozen=True)
class _Caller:
    """Asks a worker, within limits."""

    executor: LocalExecutor
    watcher: SessionWatcher
    timeout: float | None
    memory_bytes: int | None

    def ask(self, name: str, *arguments: Any, more_seconds: float = 0.0) -> tuple[Any, str]:
        """What the worker answers, and what went wrong; the latter is empty where nothing did."""
        timeout = None if self.timeout is None else self.timeout + more_seconds
        try:
            found = self.executor.call(
                name, *arguments, report=self.watcher.progress, timeout=timeout, memory_bytes=self.memory_bytes
            )
        except WorkFailed as error:
            return None, error.message
        except (WorkerDied, RequestError) as error:
            return None, str(error)
        return found, ""


def take_session(
    executor: LocalExecutor,
    fresh: Callable[[], LocalExecutor],
    cells: Sequence[PlannedCell],
    plan: SessionPlan,
    store: Path,
    watcher: SessionWatcher,
    timeout: float | None = None,
    memory_bytes: int | None = None,
) -> tuple[Path | None, str]:
    """The session of a pair, on the task of these cells: its path, or None and the reason.

    Each composition is tried alone before, so that one that fails or dies costs the others no timing. `fresh` makes
    executors for what needs a process of its own; networks of zero steps lie in `store` meanwhile.
    """
    caller = _Caller(executor, watcher, timeout, memory_bytes)
    with tempfile.TemporaryDirectory(dir=store) as scratch:
        timed = []
        for number, planned in enumerate(cells):
            watcher.progress(f"preparing {planned.cell.pair}", number, len(cells))
            problem = caller.ask("can_be_timed", str(planned.path), scratch)[1]
            if problem:
                watcher.warn(f"{planned.cell.pair}: {planned.method.label} is not timed: {problem}")
            else:
                timed.append(planned)
        if not timed:
            return None, "none of its compositions can be timed"
        paths, end = [str(planned.path) for planned in timed], time.monotonic() + plan.seconds
        for _ in range(ATTEMPTS):
            found, problem = caller.ask("session", paths, plan.batch_sizes, plan, scratch, more_seconds=plan.seconds)
            if found is not None:
                break
        else:
            return None, problem
        path, session = Path(found[0]), found[1]
        if path.is_file():
            return path, ""
        if plan.whole:
            # Its networks would be held beside those of the processes to come.
            executor.close()
            session = _with_peaks(session, timed, fresh, plan, scratch, end, watcher)
            session = _with_training(session, paths, fresh, plan, end, watcher)
    write_atomically(path, json.dumps(session.model_dump(mode="json"), indent=1, allow_nan=False) + "\n")
    return path, ""


def _with_peaks(
    session: CostSession,
    cells: Sequence[PlannedCell],
    fresh: Callable[[], LocalExecutor],
    plan: SessionPlan,
    scratch: str,
    end: float,
    watcher: SessionWatcher,
) -> CostSession:
    """The session with the peak memory of every composition, each from a process that did nothing else."""
    batch_size = max((row.batch_size for entry in session.compositions.values() for row in entry.latency), default=1)
    found: dict[str, tuple[int | None, int | None, str]] = {}
    for number, planned in enumerate(cells):
        work = _work(session, planned.method.label)
        if work in found:
            continue
        watcher.progress(f"peak memory of {session.pair}", number, len(cells))
        left = end - time.monotonic()
        late = f"no time was left for it (--max-seconds {plan.seconds:g})"
        found[work] = (None, None, late)
        if left > 0:
            answer, problem = _in_own_process(fresh, watcher, left, "peak", str(planned.path), batch_size, scratch)
            found[work] = answer or (None, None, problem)
    return _filled(session, found, batch_size)


def _with_training(
    session: CostSession,
    paths: Sequence[str],
    fresh: Callable[[], LocalExecutor],
    plan: SessionPlan,
    end: float,
    watcher: SessionWatcher,
) -> CostSession:
    """The session with steps of all that the methods train, in the time that is left."""
    left = max(0.0, end - time.monotonic())
    arguments = (paths, plan.batch_sizes, session.flops_per_second or 0.0, left)
    rows, problem = _in_own_process(fresh, watcher, left, "trainings", *arguments)
    if rows is None:
        return session.model_copy(update={"absent": {**session.absent, "training": problem}})
    reasons = {path: why for path, why in session.absent.items() if path != "training"}
    return session.model_copy(update={"training": rows, "absent": reasons})


def _in_own_process(
    fresh: Callable[[], LocalExecutor], watcher: SessionWatcher, left: float, name: str, *arguments: Any
) -> tuple[Any, str]:
    """What a worker answers that does nothing else, and what went wrong."""
    executor = fresh()
    try:
        found, problem = _Caller(executor, watcher, left + LOADING_SECONDS, None).ask(name, *arguments)
    finally:
        executor.close()
    # The executor names the option that limits cells; here another one did.
    return found, problem.replace("--cell-timeout", "--max-seconds")


def _work(session: CostSession, label: str) -> str:
    """Equal for compositions that do the same work."""
    return session.compositions[label].timed_as or label


def _filled(session: CostSession, found: dict[str, tuple[int | None, int | None, str]], batch_size: int) -> CostSession:
    compositions, reasons = {}, dict(session.absent)
    for name in PEAK_FIELDS:
        reasons.pop(f"compositions.*.memory.{name}", None)
    for label, entry in session.compositions.items():
        peak, before, reason = found[_work(session, label)]
        measured = {"peak": peak, "before": before, "peak_batch_size": None if peak is None else batch_size}
        compositions[label] = entry.model_copy(update={"memory": entry.memory.model_copy(update=measured)})
        if peak is None:
            reasons |= {f"compositions.{label}.memory.{name}": reason for name in measured if measured[name] is None}
    return session.model_copy(update={"compositions": compositions, "absent": reasons})
