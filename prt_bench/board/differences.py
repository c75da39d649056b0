"""What changed from one board to another: rows that are new, gone, better or worse beyond noise. A pure function."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from prt_bench.board.table import Row, Table
from prt_bench.board.verdicts import Standing, paired, standing_of
from prt_bench.comparing import Comparison, Floats, compare_all, holm

__all__ = ["KINDS", "Change", "Differences", "differences"]

Kind = Literal["worse", "better", "within noise", "not comparable", "gone", "new", "unchanged"]
KINDS: tuple[Kind, ...] = ("worse", "better", "within noise", "not comparable", "gone", "new", "unchanged")
KIND_OF: Mapping[Standing, Kind] = {"above": "better", "below": "worse", "same": "within noise"}

Key = tuple[str, ...]
Placed = tuple[Table, Row]
Both = tuple[Floats, Floats]
"""Scores (K, N) now and before, of common seeds."""
FACTS = {"version": "version", "data_sha256": "data", "recipe": "recipe"}
"""Of a table → what people call it. Rows that differ in these alone answer other questions, and are neighbours."""
SHORT = 12
"""Signs of a digest that are shown."""


@dataclass(frozen=True)
class Change:
    """One row of either board. Scores and differences are fractions."""

    kind: Kind
    table: Table
    """That holds the row now, or held it where it is gone."""
    row: Row
    was: float | None
    """Score before, on the seeds that both have where they are compared; None for a new row."""
    now: float | None
    found: Comparison | None = None
    """Now − before, paired over common seeds and items."""
    adjusted: float | None = None
    """p of no difference, adjusted by Holm for all rows that were measured again; None where nothing was."""
    note: str = ""
    """Why it is not comparable, what tells it from a neighbour, or that its seeds are others."""


@dataclass(frozen=True)
class Differences:
    """All rows of two boards, ordered by pair, task and method."""

    changes: tuple[Change, ...]

    def of(self, kind: Kind) -> list[Change]:
        """The rows of one kind."""
        return [change for change in self.changes if change.kind == kind]


def differences(before: Sequence[Table], after: Sequence[Table]) -> Differences:
    """What changed from `before` to `after`.

    Rows are the same where pair, task, version, data, track, recipe, method, parameters and where these were chosen
    are the same; of several states of one row the newest counts. Rows that stand on the very same records were not
    measured again and widen no family of tests.
    """
    old, new = _newest(before), _newest(after)
    answers = {key: _answers(new[key], old[key]) for key in old if key in new}
    pairs = {key: both for key, both in answers.items() if not isinstance(both, str)}
    found = dict(zip(pairs, compare_all(list(pairs.values())), strict=True))
    again = [key for key, both in pairs.items() if not (_same_records(old[key], new[key]) and _identical(both))]
    adjusted = dict(zip(again, holm([found[key].p for key in again]), strict=True))
    questions_before, questions_now = (
        {_question(*placed): placed[0] for placed in side.values()} for side in (old, new)
    )
    changes = []
    for key in sorted({*old, *new}):
        both = answers.get(key)
        if isinstance(both, str):
            changes.append(_not_comparable(old[key], new[key], both))
        elif both is not None:
            changes.append(_of_both(old[key], new[key], both, found[key], adjusted.get(key)))
        elif key in new:
            changes.append(_alone("new", new[key], questions_before))
        else:
            changes.append(_alone("gone", old[key], questions_now))
    return Differences(tuple(changes))


def _newest(tables: Sequence[Table]) -> dict[Key, Placed]:
    placed = [(table, row) for table in tables for row in table.rows]
    placed.sort(key=lambda entry: (not entry[1].superseded, entry[1].finished))
    return {_key(table, row): (table, row) for table, row in placed}


def _key(table: Table, row: Row) -> Key:
    return (*_question(table, row), *(str(getattr(table, name)) for name in FACTS))


def _question(table: Table, row: Row) -> Key:
    return str(table.pair), table.task, table.tuned_on, table.track, row.label, row.settings, row.strengths


def _answers(new: Placed, old: Placed) -> Both | str:
    """Scores now and before, or why they cannot be paired."""
    if old[0].primary != new[0].primary:
        return f"scored by {old[0].primary} before, by {new[0].primary} now"
    both = paired(new[1].measured, old[1].measured)
    return both if isinstance(both, str) else (both[0], both[1])


def _identical(both: Both) -> bool:
    return np.array_equal(*both)


def _same_records(old: Placed, new: Placed) -> bool:
    names = [(sorted(path.name for path in row.paths), row.finished) for _, row in (old, new)]
    return names[0] == names[1]


def _of_both(old: Placed, new: Placed, both: Both, found: Comparison, adjusted: float | None) -> Change:
    table, row = new
    kind: Kind = "unchanged"
    if adjusted is not None and not _identical(both):
        kind = KIND_OF[standing_of(found.value, adjusted)]
    now, was = (float(scores.mean()) for scores in both)
    return Change(kind, table, row, was, now, found, adjusted, _seeds(old[1], row))


def _seeds(old: Row, new: Row) -> str:
    return "" if old.seeds == new.seeds else f"seeds: {len(old.seeds)} before, {len(new.seeds)} now"


def _not_comparable(old: Placed, new: Placed, why: str) -> Change:
    return Change("not comparable", *new, old[1].score, new[1].score, note=why)


def _alone(kind: Kind, placed: Placed, others: Mapping[Key, Table]) -> Change:
    """A row of one board only, and what tells it from its neighbour in the other one."""
    table, row = placed
    near = others.get(_question(table, row))
    told = [
        f"{word} {getattr(near, name)[:SHORT]}"
        for name, word in FACTS.items()
        if near is not None and getattr(near, name) != getattr(table, name)
    ]
    was, now, when = (None, row.score, "before") if kind == "new" else (row.score, None, "now")
    return Change(kind, table, row, was, now, note=f"{when} with {', '.join(told)}" if told else "")
