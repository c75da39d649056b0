"""Tables summed up: one group per suite and track, one line per method. Differences are fractions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prt_bench.board.contests import against_floor
from prt_bench.board.table import Row, Table, numbered
from prt_bench.board.table_view import cost_ratio
from prt_bench.comparing import Across
from prt_bench.requests import Suite

__all__ = ["Group", "Summary", "summaries"]

OTHERS = "Other pairs and tasks"


@dataclass(frozen=True)
class Summary:
    """One method over the tables of a group, against each table's best floor."""

    label: str
    title: str
    role: str
    settings: str
    """What was asked of it; empty where the group has no other settings of the method."""
    across: Across
    rows: Mapping[str, Row]
    """By table, as `across.tasks` names them."""
    missing: tuple[str, ...]
    """Tables of the group without a difference of it: its mean is then not over the same tables as the others'."""
    cost_ratio: float | None
    """FLOPs per query, of those of the target alone: geometric mean over the tables. None where one is not known."""


@dataclass(frozen=True)
class Group:
    """The tables of one suite on one track, of one kind of tasks."""

    suite: str
    """Its name; empty for tables that no suite has."""
    title: str
    track: str
    embedded: bool
    tables: tuple[Table, ...]
    absent: tuple[str, ...]
    """Pairs and tasks that the suite asks for and that no table is of."""
    lines: tuple[Summary, ...]


def summaries(tables: Sequence[Table], suites: Mapping[str, Suite]) -> list[Group]:
    """Groups of tables, those of real models first, in the order of the suites; a table can be in several suites.

    Tasks that tell what is forgotten are in no sum: their floor is another question.
    """
    found, taken = [], set()
    for name, suite in suites.items():
        wanted = {(pair, task) for pair in suite.pairs for task in suite.tasks}
        mine = [table for table in tables if (str(table.pair), table.task) in wanted]
        taken |= {id(table) for table in mine}
        found += _by_kind(name, suite.title, mine, wanted)
    others = [table for table in tables if id(table) not in taken]
    for embedded in (False, True):
        found += _by_kind("", OTHERS, [table for table in others if table.embedded == embedded], set())
    return sorted(found, key=lambda group: group.embedded)


def _by_kind(name: str, title: str, tables: Sequence[Table], wanted: set[tuple[str, str]]) -> list[Group]:
    """By track and kind of tasks: few methods do images and text, and no mean is over different tables."""
    there = {str(table.pair) for table in tables} | {table.task for table in tables}
    absent = sorted({name for pair_and_task in wanted for name in pair_and_task} - there)
    kinds = sorted({_kind(table) for table in tables})
    return [
        Group(
            name,
            f"{title}: {kind}" if kind and len(kinds) > 1 else title,
            track,
            all(table.embedded for table in mine),
            tuple(mine),
            tuple(absent),
            tuple(_lines([table for table in mine if not table.tuned_on])),
        )
        for track in ("paper", "equal")
        for kind in kinds
        if (mine := [table for table in tables if (table.track, _kind(table)) == (track, kind)])
    ]


def _kind(table: Table) -> str:
    return table.facts.reads if table.facts else ""


def _lines(tables: Sequence[Table]) -> list[Summary]:
    rows: dict[tuple[str, str, str, str], dict[str, tuple[Table, Row]]] = {}
    names = numbered([f"{table.pair} {table.task}" for table in tables])
    for name, table in zip(names, tables, strict=True):
        for row in table.rows:
            if row.role != "floor" and not row.superseded:
                key = (row.label, row.title, row.role, row.settings)
                rows.setdefault(key, {}).setdefault(name, (table, row))
    alike = Counter(label for label, *_ in rows)
    lines = [
        _line((*key[:-1], key[-1] if alike[key[0]] > 1 else ""), by_table, names) for key, by_table in rows.items()
    ]
    return sorted(filter(None, lines), key=lambda line: (line.role == "reference", -line.across.mean))


def _line(
    key: tuple[str, str, str, str], by_table: Mapping[str, tuple[Table, Row]], names: Sequence[str]
) -> Summary | None:
    label, title, role, settings = key
    across = against_floor({name: row for name, (_, row) in by_table.items()})
    if across is None:
        return None
    told = {name: by_table[name] for name in across.tasks}
    rows = {name: row for name, (_, row) in told.items()}
    missing = tuple(dict.fromkeys(name for name in names if name not in told))
    return Summary(label, title, role, settings, across, rows, missing, cost_ratio(list(told.values())))
