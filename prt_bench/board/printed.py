"""What papers printed of a pair, beside what was measured here: never in one column, and marked everywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from prt_bench.board.reported import Reported, Table, load_reported
from prt_bench.board.table_view import TableView, is_headline
from prt_bench.records import LatencyRow, PairNames
from prt_bench.session_records import CostSession

__all__ = ["Printed", "printed_of"]

NOT_HERE = "not measured"


@dataclass(frozen=True)
class Printed:
    """One printed number."""

    what: str
    method: str
    printed: str
    ours: str
    where: str


def printed_of(pair: PairNames, views: Sequence[TableView], sessions: Iterable[CostSession]) -> list[Printed]:
    """Scores and times that papers printed of this pair."""
    reported = load_reported()
    mine = [session for session in sessions if session.pair == pair]
    return [*_scores(reported, pair, views), *_times(reported, pair, mine)]


def _scores(reported: Reported, pair: PairNames, views: Sequence[TableView]) -> Iterator[Printed]:
    for table in reported.scores:
        for row in table.rows:
            if (row.source, row.target) == (pair.source, pair.target):
                for method, value in row.values.items():
                    told = f"{value} % ({table.seeds or 'an unknown number of'} seeds)"
                    ours = _score(views, table.task, method)
                    yield Printed(table.task, method, told, ours, f"{reported.source.venue}, table {table.number}")


def _score(views: Sequence[TableView], task: str, method: str) -> str:
    found = [
        f"{shown.score.main} % {shown.score.small[0]} (track {view.table.track})"
        for view in views
        for shown in view.rows
        if view.table.task == task and shown.row.label == method
    ]
    return "; ".join(found) or NOT_HERE


def _times(reported: Reported, pair: PairNames, sessions: Sequence[CostSession]) -> Iterator[Printed]:
    for table in (reported.vision_inference, reported.text_decoding):
        reference = table.columns[0]
        for row in table.rows:
            if (row.source, row.target) == (pair.source, pair.target):
                base = row.values[reference.method].milliseconds
                for column in table.columns[1:]:
                    value = row.values[column.method]
                    told = f"{value.time} ms, {value.milliseconds / base:.2f} × the target"
                    where = f"{reported.source.venue}, table {table.number}; not stated: {', '.join(table.not_stated)}"
                    yield Printed(_what(table), column.method, told, _ratio(sessions, column.method), where)


def _what(table: Table) -> str:
    return f"{table.title[0].lower()}{table.title[1:]}"


def _ratio(sessions: Sequence[CostSession], method: str) -> str:
    found = [
        f"{row.ratio_to_target[1]:.2f} × at batch 1 on {session.environment.hardware}{_valid(row)}"
        for session in sessions
        for entry in session.compositions.values()
        for row in entry.latency
        if entry.method == method and is_headline(row) and row.ratio_to_target
    ]
    return "; ".join(found) or NOT_HERE


def _valid(row: LatencyRow) -> str:
    return "" if row.valid else " (not valid)"
