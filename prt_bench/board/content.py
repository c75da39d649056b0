"""All that the pages are made of, read once and looked up by page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from prt_bench.board.addresses import session_page, table_page
from prt_bench.board.reading import Missing, Refused, Repeated
from prt_bench.board.releases import Release
from prt_bench.board.summaries import Group
from prt_bench.board.table import Row, Table
from prt_bench.board.table_view import NO_REASON, RowView, TableView, Value
from prt_bench.cards import Cards, MethodFacts, ModelCard, TaskFacts
from prt_bench.records import PairNames, Record
from prt_bench.session_records import CostSession

__all__ = ["Absent", "Content", "Line", "lines_of"]

TRIED = ("failed", "skipped", "partial")
STANDING = {"above": "▲ above", "below": "▼ below", "same": "◇ same"}


@dataclass(frozen=True)
class Line:
    """One row of one table, wherever rows of several tables stand together."""

    view: TableView
    shown: RowView
    several_versions: bool = False
    """Whether there are tables of other versions of its task."""

    @property
    def table(self) -> Table:
        return self.view.table

    @property
    def row(self) -> Row:
        return self.shown.row

    @property
    def page(self) -> str:
        """Where the row stands whole."""
        page = table_page(self.table.pair, self.table.task)
        return f"{page}#{self.view.id}" if self.view.id else page

    @property
    def family(self) -> str:
        """Of the target; empty where its records have no cards."""
        card = self.table.models.get(self.table.pair.target)
        return card.family if card else ""

    @property
    def standing(self) -> str:
        """Beside the best floor, in words."""
        if self.row.is_best_floor:
            return "the best floor"
        return STANDING.get(self.row.verdicts.standing or "", "–")

    @property
    def marks(self) -> list[str]:
        """What a number of this table must not be read without."""
        table = self.table
        told = {
            f"version {table.version}": self.several_versions,
            "local variant, not comparable with the pinned set": "+local." in table.version,
            f"after tuning on {table.tuned_on}": table.tuned_on,
            "in-domain test": table.contamination,
        }
        return [mark for mark, holds in told.items() if holds]

    def ratios(self, hardware: Sequence[str]) -> list[Value]:
        """Times as ratios to the target alone, each under its own hardware."""
        own = dict(zip(self.table.hardware, self.shown.ratios, strict=True))
        return [own.get(name, Value("")) for name in hardware]


@dataclass(frozen=True)
class Absent:
    """A cell or a file that is in no verdict, and why."""

    state: str
    reason: str
    link: str = ""
    pair: str = ""
    task: str = ""
    track: str = ""
    method: str = ""
    seed: str = ""

    @property
    def is_tried(self) -> bool:
        """Whether it is a cell that was done and did not hold."""
        return self.state in TRIED


@dataclass(frozen=True)
class Content:
    """What was read, and what the tables say."""

    views: Sequence[TableView]
    """By pair, task and track."""
    records: Mapping[Path, Record]
    """Those that count."""
    copies: Mapping[Path, str]
    """Record or session → where its copy lies in the site."""
    repeated: Sequence[Repeated]
    sessions: Mapping[Path, CostSession]
    refused: Sequence[Refused]
    missing: Sequence[Missing]
    releases: Sequence[tuple[Release, Sequence[TableView]]]
    """With the tables of their records alone."""
    groups: Sequence[Group]

    @cached_property
    def lines(self) -> list[Line]:
        """Every row of every table, those of real models first."""
        return lines_of(self.views)

    @cached_property
    def hardware(self) -> list[str]:
        """That some table was timed on."""
        frozen = [view for _, views in self.releases for view in views]
        return sorted({name for view in (*self.views, *frozen) for name in view.table.hardware})

    @cached_property
    def pairs(self) -> list[PairNames]:
        """Of tables, sessions and failures; those of real models first."""
        tables = {str(view.table.pair): view.table for view in self.views}
        found = {str(pair): pair for pair in self._all_pairs()}
        return [found[name] for name in sorted(found, key=lambda name: (_embedded(tables.get(name)), name))]

    def _all_pairs(self) -> Iterable[PairNames]:
        yield from (record.cell.pair for record in self.records.values())
        yield from (session.pair for session in self.sessions.values())

    @cached_property
    def by_page(self) -> dict[str, list[TableView]]:
        """Page of a pair and a task → its tables."""
        found: dict[str, list[TableView]] = {}
        for view in self.views:
            found.setdefault(table_page(view.table.pair, view.table.task), []).append(view)
        return found

    @cached_property
    def methods(self) -> dict[str, MethodFacts | None]:
        """Label → the newest card; None where no record has one."""
        found: dict[str, MethodFacts | None] = {
            method: None for session in self.sessions.values() for method in _methods_of(session)
        }
        found |= {record.cell.method: None for record in self.records.values()}
        for cards in self._cards():
            found |= {name: facts for name, facts in cards.methods.items() if name in found}
        return dict(sorted(found.items()))

    @cached_property
    def models(self) -> dict[str, ModelCard | None]:
        """Alias → the newest card."""
        found: dict[str, ModelCard | None] = {name: None for pair in self.pairs for name in (pair.source, pair.target)}
        for cards in self._cards():
            found |= cards.models
        return dict(sorted(found.items()))

    @cached_property
    def tasks(self) -> dict[str, TaskFacts | None]:
        """Name → the newest facts."""
        found: dict[str, TaskFacts | None] = {record.cell.task: None for record in self.records.values()}
        for record in self._by_age:
            if record.cards and record.cards.task:
                found[record.cell.task] = record.cards.task
        return dict(sorted(found.items()))

    @cached_property
    def _by_age(self) -> list[Record]:
        return sorted(self.records.values(), key=lambda record: record.provenance.finished)

    def _cards(self) -> Iterable[Cards]:
        dated = [(session.finished, session.cards) for session in self.sessions.values()]
        dated += [(record.provenance.finished, record.cards) for record in self._by_age]
        yield from (cards for _, cards in sorted(dated, key=lambda one: one[0]) if cards)

    @cached_property
    def absent(self) -> list[Absent]:
        """All that is in no verdict: refused, failed, skipped, partial, missing, superseded and not validly timed."""
        refused = [Absent("refused", f"{found.path}: {found.reason}") for found in self.refused]
        cells = [self._unheld(path, record) for path, record in sorted(self.records.items()) if _state(record)]
        again = [
            self._of_cell("repeated", f"counts once with {self.copies[one.used]}", one.entry.path, one.entry.record)
            for one in self.repeated
            if one.used in self.records and self.records[one.used] != one.entry.record
        ]
        gaps = [
            Absent(
                "missing", gap.reason, pair=gap.pair.replace(":", " → "), task=gap.task, track=gap.track,
                method=gap.title, seed=_listed(gap.seeds),
            )
            for gap in self.missing
        ]  # fmt: skip
        old = [
            _of_line("superseded", Line(view, shown), f"{shown.row.superseded}; it had {shown.score.main} %")
            for view in self.views
            for shown in view.superseded
        ]
        timed = [
            _of_line("invalid timing", line, "; ".join(line.row.latency.reasons) or NO_REASON)
            for line in self.lines
            if line.row.latency and not line.row.latency.valid
        ]
        sessions = [
            Absent(
                "invalid session",
                "; ".join(session.reasons) or NO_REASON,
                session_page(session.id),
                pair=_arrow(session.pair),
            )
            for session in self.sessions.values()
            if not session.valid
        ]
        return [*refused, *cells, *gaps, *old, *again, *timed, *sessions]

    def absent_of(self, pair: PairNames) -> list[Absent]:
        """Those of one pair."""
        return self._absent_by_pair.get(_arrow(pair), [])

    @cached_property
    def _absent_by_pair(self) -> dict[str, list[Absent]]:
        found: dict[str, list[Absent]] = {}
        for line in self.absent:
            found.setdefault(line.pair, []).append(line)
        return found

    @property
    def newest(self) -> str:
        """When the newest record was finished; empty without any."""
        return max((record.provenance.finished for record in self.records.values()), default="")

    @cached_property
    def states(self) -> list[tuple[str, int]]:
        """State → how many, in the order of the list."""
        return list(Counter(line.state for line in self.absent).items())

    def _unheld(self, path: Path, record: Record) -> Absent:
        return self._of_cell(_state(record), _reason(record), path, record)

    def _of_cell(self, state: str, reason: str, path: Path, record: Record) -> Absent:
        cell = record.cell
        return Absent(
            state, reason, self.copies[path], pair=_arrow(cell.pair), task=cell.task,
            track=cell.track, method=cell.title or cell.method, seed=str(cell.seed),
        )  # fmt: skip


def lines_of(views: Sequence[TableView]) -> list[Line]:
    """Every row of some tables."""
    versions = Counter(task for task, _ in {(view.table.task, view.table.version) for view in views})
    return [Line(view, shown, versions[view.table.task] > 1) for view in views for shown in view.rows]


def _state(record: Record) -> str:
    if record.status != "ok":
        return record.status
    return "partial" if record.partial else ""


def _reason(record: Record) -> str:
    if record.status == "ok":
        return "made with --limit: a part of the test"
    error = record.error
    if error is None:
        return NO_REASON
    # What failed points to the place; what was left out on purpose says why in its own words.
    return error.message if record.status == "skipped" else f"{error.type}: {error.message} ({error.where})"


def _arrow(pair: PairNames) -> str:
    return f"{pair.source} → {pair.target}"


def _of_line(state: str, line: Line, reason: str) -> Absent:
    table, row = line.table, line.row
    return Absent(
        state, reason, line.page, pair=_arrow(table.pair), task=table.task, track=table.track, method=row.title,
        seed=_listed(row.seeds),
    )  # fmt: skip


def _listed(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


def _embedded(table: Table | None) -> bool:
    return table is not None and table.embedded


def _methods_of(session: CostSession) -> list[str]:
    return [entry.method for entry in session.compositions.values()]
