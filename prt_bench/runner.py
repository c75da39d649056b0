"""Does a plan: every missing cell once, in a supervised worker; one record per cell; the rest survives a failure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from prt_bench.data.folder import Progress
from prt_bench.environment import impersonal, now
from prt_bench.errors import RequestError
from prt_bench.executors.local import LocalExecutor, WorkerDied, WorkFailed
from prt_bench.plan import Plan, PlannedCell
from prt_bench.provenance import failed_record, write_record
from prt_bench.records import Failure, Record
from prt_bench.requests import RunRequest
from prt_bench.session_plan import SessionPlan
from prt_bench.session_runner import SessionWatcher, take_session

__all__ = ["Outcome", "RunOptions", "Watcher", "foresee", "open_worker", "run_plan"]


def open_worker(request: RunRequest, report: Progress) -> Any:
    """The worker of a request: it makes the same plan again, from the same words."""
    # Loads torch, which the process that supervises does without.
    from prt_bench.worker import Worker

    return Worker(request, report)


class Watcher(SessionWatcher, Protocol):
    """Whoever shows people how a run goes."""

    def started(self, planned: PlannedCell, number: int, count: int) -> None: ...

    def finished(self, planned: PlannedCell, record: Record) -> None: ...


@dataclass(frozen=True)
class RunOptions:
    """How to run, as far as no result depends on it."""

    fail_fast: bool = False
    cell_timeout: float | None = None
    cell_memory: int | None = None
    batch_sizes: tuple[int, ...] = (1, 32)
    session_seconds: float = 8.0


@dataclass
class Outcome:
    """What a run did."""

    done: list[Record] = field(default_factory=list)
    failed: list[Record] = field(default_factory=list)
    not_tried: int = 0


def run_plan(plan: Plan, watcher: Watcher, options: RunOptions) -> Outcome:
    """Do every missing cell of a plan.

    Raises:
        RequestError: a model cannot be loaded or cannot serve a task; said before any cell is begun.
    """
    outcome = Outcome()
    cells = plan.missing
    if not cells:
        return outcome
    executor = LocalExecutor(partial(open_worker, plan.request))
    try:
        groups = _groups(cells)
        for number, group in enumerate(groups):
            watcher.progress("loading models", number, len(groups))
            _prepare(executor, group[0], watcher)
        sessions: dict[str, tuple[str | None, str]] = {}
        for number, planned in enumerate(cells, start=1):
            shape = f"{planned.cell.pair}, {planned.task.spec.query_key}"
            watcher.started(planned, number, len(cells))
            record = _answer(executor, plan, planned, watcher, options, "cell")
            watcher.finished(planned, record)
            if record.status == "ok":
                # Only now: there is a score to look at while the session is taken.
                if shape not in sessions:
                    sessions[shape] = _session(executor, plan, planned, watcher, options)
                record = _answer(executor, plan, planned, watcher, options, "complete", record, *sessions[shape])
            if record.status != "ok":
                write_record(planned, record)
            (outcome.failed if record.status == "failed" else outcome.done).append(record)
            if outcome.failed and options.fail_fast:
                outcome.not_tried = len(cells) - number
                break
    finally:
        executor.close()
    return outcome


def foresee(plan: Plan, watcher: Watcher) -> Any:
    """The `Estimate` of the missing cells, or None and the reason.

    The verbs are strangers' code: they are asked in a worker, with tools that only note, for a bounded time.
    """
    executor = LocalExecutor(partial(open_worker, plan.request))
    try:
        paths = [str(planned.path) for planned in plan.missing]
        return executor.call("estimate", paths, report=watcher.progress, timeout=FORESEE_SECONDS), ""
    except WorkFailed as error:
        return None, error.message
    except WorkerDied as error:
        return None, str(error)
    finally:
        executor.close()


FORESEE_SECONDS = 120.0


def _groups(cells: Sequence[PlannedCell]) -> list[list[PlannedCell]]:
    groups: dict[tuple[str, str], list[PlannedCell]] = {}
    for planned in cells:
        groups.setdefault(planned.group, []).append(planned)
    return list(groups.values())


def _prepare(executor: LocalExecutor, planned: PlannedCell, watcher: Watcher) -> None:
    try:
        executor.call("prepare", str(planned.path), report=watcher.progress)
    except (WorkFailed, WorkerDied) as error:
        reason = error.message if isinstance(error, WorkFailed) else str(error)
        raise RequestError(
            f"pair {planned.cell.pair}: its models cannot be loaded for {planned.cell.task}: {reason}"
        ) from None


def _session(
    executor: LocalExecutor, plan: Plan, planned: PlannedCell, watcher: Watcher, options: RunOptions
) -> tuple[str | None, str]:
    """The session of a pair, on this cell's task: its path, or None and the reason."""
    alike = [other for other in plan.cells if other.group == planned.group and other.cell.seed == planned.cell.seed]
    how = SessionPlan(options.batch_sizes, options.session_seconds)
    path, problem = take_session(
        executor,
        lambda: LocalExecutor(partial(open_worker, plan.request)),
        alike,
        how,
        plan.request.store,
        watcher,
        options.cell_timeout,
        options.cell_memory,
    )
    if path is not None:
        return str(path), ""
    watcher.warn(f"{planned.cell.pair}: no latency is measured: {problem}")
    return None, f"the cost session failed: {impersonal(problem)}"


SKIPPED = "SkipError"


def _answer(
    executor: LocalExecutor,
    plan: Plan,
    planned: PlannedCell,
    watcher: Watcher,
    options: RunOptions,
    name: str,
    *arguments: Any,
) -> Record:
    """The record that the worker makes of a cell when it is asked for `name`, or one that says why it does not hold."""
    started = now()
    try:
        record: Record = executor.call(
            name,
            str(planned.path),
            *arguments,
            report=watcher.progress,
            timeout=options.cell_timeout,
            memory_bytes=options.cell_memory,
        )
        return record
    except WorkFailed as error:
        failure = Failure(type=error.type, message=error.message, where=error.where)
    except RequestError as error:
        failure = Failure(type="RequestError", message=str(error), where="in the cell")
    except WorkerDied as error:
        failure = Failure(type="WorkerDied", message=str(error), where="in the worker process")
    return failed_record(plan, planned, failure, started, "skipped" if failure.type == SKIPPED else "failed")
