"""What the worker process is asked to do: load, time, and do cells."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prt_bench.api import Composition, WeightedSum
from prt_bench.cells import CellWorker
from prt_bench.costs import measure_session
from prt_bench.environment import describe, packages
from prt_bench.estimate import Estimate, estimate
from prt_bench.files import digest, write_atomically
from prt_bench.networks import Progress
from prt_bench.plan import make_plan
from prt_bench.records import CostSession, Record, read_session
from prt_bench.requests import RunRequest
from prt_bench.store import Store

__all__ = ["Worker", "session_path"]


def session_path(out: Path, hardware: str, session_id: str) -> Path:
    """Where a session is, or would be."""
    return out / "costs" / hardware / f"{session_id}.json"


class Worker:
    """Does parts of one plan; cells are named by the path of their record."""

    def __init__(self, request: RunRequest, report: Progress) -> None:
        self._request = request
        self._report = report
        self._plan = make_plan(request, report)
        self._cells = {str(planned.path): planned for planned in self._plan.cells}
        self._worker = CellWorker(self._plan, report)

    def estimate(self, paths: Sequence[str]) -> Estimate:
        """What these cells will take: their verbs are run with tools that only note."""
        return estimate(self._plan, [self._cells[path] for path in paths], self._worker.networks)

    def anchors(self, path: str) -> list[dict[str, Any]]:
        """Zero-shot scores of a cell's models beside the published ones, as plain values."""
        return self._worker.anchors(self._cells[path])

    def prepare(self, path: str) -> None:
        """Load the models of a cell and build their heads. Raises RequestError where they cannot serve."""
        self._worker.prepare(self._cells[path])

    def can_be_timed(self, path: str) -> None:
        """Try what a session does with one cell's composition, short of timing it; whatever is wrong is raised."""
        with self._scratch() as scratch:
            self._worker.timed(self._cells[path], scratch)

    def session(self, paths: Sequence[str], batch_sizes: Sequence[int], max_seconds: float, again: str = "") -> str:
        """Time the compositions of cells of one pair and task; returns the session's path.

        A session of the very same things on this machine is not measured twice, unless `again` tells it apart.
        """
        planned = [self._cells[path] for path in paths]
        first = planned[0]
        networks, workload = self._worker.networks, self._worker.evaluator(first)
        target = Composition({"target": first.target}, WeightedSum(target=1.0))
        environment = describe(str(networks.device))
        session_id = digest(
            [
                first.source.identity,
                first.target.identity,
                first.task.spec.query_key,
                sorted((cell.method.label, cell.method.source_sha256) for cell in planned),
                list(batch_sizes),
                networks.weights,
                environment.hardware,
                packages(),
                again,
            ]
        )[:16]
        path = session_path(self._request.out, environment.hardware, session_id)
        if not path.is_file():
            with self._scratch() as scratch:
                session = measure_session(
                    session_id,
                    first.cell.pair,
                    target,
                    [self._worker.timed(cell, scratch) for cell in planned],
                    workload,
                    networks,
                    self._worker.meter,
                    batch_sizes,
                    max_seconds,
                    self._report,
                )
            write_atomically(path, json.dumps(session.model_dump(mode="json"), indent=1, allow_nan=False) + "\n")
        return str(path)

    def cell(self, path: str, session: str | None, reason: str) -> Record:
        """Do one cell. `session` is the path of its cost session; without one, `reason` says why."""
        found: CostSession | str = reason if session is None else read_session(Path(session))
        return self._worker.do(self._cells[path], found)

    @contextmanager
    def _scratch(self) -> Iterator[Store]:
        """A store for artifacts of zero steps, which nobody needs afterwards."""
        with tempfile.TemporaryDirectory(dir=self._request.store) as folder:
            yield Store(Path(folder))
