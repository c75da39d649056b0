"""What the worker process is asked to do: load, time, and do cells."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prt_bench.api import Composition, WeightedSum
from prt_bench.cards import Cards
from prt_bench.cells import CellWorker
from prt_bench.environment import describe, packages
from prt_bench.estimate import Estimate, estimate
from prt_bench.files import digest
from prt_bench.language_spec import LanguageSpec
from prt_bench.meters.memory import held_on, peak_of
from prt_bench.models import model_for
from prt_bench.networks import Progress
from prt_bench.plan import make_plan
from prt_bench.provenance import cards
from prt_bench.records import Record
from prt_bench.requests import RunRequest
from prt_bench.session import measure_session
from prt_bench.session_plan import SessionPlan
from prt_bench.session_records import CostSession, TrainingRow, read_session
from prt_bench.store import Store
from prt_bench.training_session import measure_trainings
from prt_bench.work import Work

__all__ = ["Worker"]


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

    def can_be_timed(self, path: str, scratch: str) -> None:
        """Try what a session does with one cell's composition, short of timing it; whatever is wrong is raised.

        Its artifacts of zero steps are left in the folder `scratch`.
        """
        self._worker.timed(self._cells[path], Store(Path(scratch)))

    def session(
        self, paths: Sequence[str], batch_sizes: Sequence[int], plan: SessionPlan, scratch: str
    ) -> tuple[str, CostSession]:
        """Time the compositions of cells of one pair and task; returns the session, and the path it belongs at.

        Unless the plan wants it anew, the newest session of the very same things on this machine stands.
        """
        cells = [self._cells[path] for path in paths]
        first, networks, workload = cells[0], self._worker.networks, self._worker.evaluator(cells[0])
        target = Composition({"target": first.target}, WeightedSum(target=1.0))
        environment = describe(str(networks.device))
        things = digest(
            [
                first.source.identity,
                first.target.identity,
                workload.query(target).shape(),
                sorted((cell.method.label, cell.method.source_sha256) for cell in cells),
                list(batch_sizes),
                networks.weights,
                environment.hardware,
                packages(),
                plan.whole,
            ]
        )[:16]
        folder = self._request.out / "costs" / environment.hardware
        measured = [] if plan.anew else sorted(folder.glob(f"{things}*.json"), key=lambda path: path.stem)
        if measured:
            return str(measured[-1]), read_session(measured[-1])
        # The same things measured twice are two sessions, also on a board that meets those of others.
        session_id = f"{things}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        store = Store(Path(scratch))
        session = measure_session(
            session_id,
            first.cell.pair,
            target,
            [self._worker.timed(cell, store) for cell in cells],
            workload,
            networks,
            self._worker.meter,
            batch_sizes,
            plan.timing_seconds,
            self._report,
        )
        on_paper = [cards(cell) for cell in cells]
        methods = {name: facts for one in on_paper for name, facts in one.methods.items()}
        return str(folder / f"{session_id}.json"), session.model_copy(
            update={"cards": Cards(methods=methods, models=on_paper[0].models)}
        )

    def peak(self, path: str, batch_size: int, scratch: str) -> tuple[int | None, int, str]:
        """Peak memory of a cell's composition while it answers, memory before it was loaded, and why there is none.

        To be asked of a worker that has done nothing else.
        """
        planned, device = self._cells[path], str(self._worker.networks.device)
        timed = self._worker.timed(planned, Store(Path(scratch)))
        before = held_on(device)
        system = self._worker.evaluator(planned).system(timed.composition, batch_size)
        # The system holds its own; what others were made from is no part of it.
        self._worker.networks.forget()
        # Once before: what is set up by the first query is no part of the others.
        system()
        _, peak = peak_of(system, device)
        return peak.total, before, peak.reason

    def sizes(self, path: str, aliases: Sequence[str]) -> dict[str, tuple[int, int]]:
        """FLOPs of a pass over an image or a token, and parameters, of models that need not be at hand."""
        space, request = self._cells[path].task.space, self._request
        found = {}
        for number, alias in enumerate(aliases):
            self._report("counting the models of the printed tables", number, len(aliases))
            model = model_for(alias, space, self._plan.registry, request.places, "random")
            work = Work(images=1, lengths=Counter({1: 1}), rows=1)
            found[alias] = (self._worker.meter.price(model).of(work) or 0, self._worker.meter.parameters(model))
        return found

    def trainings(
        self, paths: Sequence[str], batch_sizes: Sequence[int], speed: float, seconds: float
    ) -> list[TrainingRow]:
        """Time what the methods of these cells train; `speed` is the target's, in FLOPs per second."""
        cells = [self._cells[path] for path in paths]
        workload, task = self._worker.evaluator(cells[0]), cells[0].task
        text = isinstance(task.spec, LanguageSpec)
        query = workload.query(Composition({"target": cells[0].target}, WeightedSum(target=1.0)))
        length = sum(query.shape().values()) if text else 0
        work = Work(lengths=Counter({length: 1}), rows=query.rows) if text else Work(images=1)
        worker = self._worker
        return measure_trainings(
            worker.trained(cells),
            cells[0].source,
            workload,
            work,
            not text,
            worker.networks,
            worker.meter,
            max(batch_sizes),
            speed,
            seconds,
            self._report,
        )

    def cell(self, path: str) -> Record:
        """Do one cell; its record waits for its latency."""
        return self._worker.do(self._cells[path])

    def complete(self, path: str, record: Record, session: str | None, reason: str) -> Record:
        """Write a cell's record. `session` is the path of its cost session; without one, `reason` says why."""
        found: CostSession | str = reason if session is None else read_session(Path(session))
        return self._worker.complete(self._cells[path], record, found)
