"""A leaderboard folder read as far as it holds: one bad file is told by name and takes nothing else down."""

from __future__ import annotations

import gc
import os
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from prt_bench.board.answers import Answers, read_answers
from prt_bench.board.drawing import printable
from prt_bench.board.plausible_sessions import refuse_impossible_session
from prt_bench.board.table import Filed, Table
from prt_bench.cards import Strict
from prt_bench.errors import RequestError
from prt_bench.records import read_record
from prt_bench.session_records import CostSession, read_session

__all__ = ["FiledSession", "Holdings", "Missing", "Refused", "Repeated", "missing", "read_folder"]

LONGEST_REASON = 300
NAMED = 3
"""Tasks that a reason names; the others are counted."""
Content = TypeVar("Content")
Schema = TypeVar("Schema", bound=Strict)
UNREADABLE = (RequestError, ArithmeticError, ValueError, OSError)
"""What files may raise that others wrote."""


@dataclass(frozen=True)
class FiledSession:
    """A cost session and the file that holds it."""

    session: CostSession
    path: Path


@dataclass(frozen=True)
class Refused:
    """A file that is not used."""

    path: str
    """Relative to the leaderboard folder, where it is in that; always printable."""
    reason: str
    """In one line."""


@dataclass(frozen=True)
class Repeated:
    """A record of the same cell, with the same answers or for the same failure, as the one that is used."""

    entry: Filed
    used: Path


@dataclass(frozen=True)
class Holdings:
    """What a leaderboard folder holds, each ordered by path."""

    filed: list[Filed]
    """Records that hold, failed and partial ones among them; with their answers, where they are in a table."""
    sessions: list[FiledSession]
    refused: list[Refused]
    repeated: Sequence[Repeated]
    """Records that are there again, ordered by path."""


@dataclass(frozen=True)
class Missing:
    """What is not in a table, though it is in others or on other seeds."""

    pair: str
    task: str
    track: str
    method: str
    title: str
    seeds: tuple[int, ...]
    reason: str


def read_folder(out: Path, roots: Sequence[Path] | None = None) -> Holdings:
    """All records and sessions under the `roots`, folders with results/ and costs/: `out` alone, unless given.

    Of what is in several roots the first one's counts.
    """
    folders = _Folders(out, [out] if roots is None else roots)
    with _uncollected():
        records = folders.read("results", _record)
        sessions = folders.read("costs", _session)
    filed = _without_odd(_without_copies(records, folders), folders)
    known: dict[str, FiledSession] = {}
    for entry in sessions:
        same = known.setdefault(entry.session.id, entry)
        if same is not entry and same.session != entry.session:
            folders.refuse(entry.path, f"another session of the same id is {folders.name(same.path)}")
    kept = sorted(known.values(), key=lambda entry: str(entry.path))
    refused = sorted(folders.refused, key=lambda entry: (entry.path, entry.reason))
    repeated = sorted(folders.repeated, key=lambda one: str(one.entry.path))
    return Holdings(filed, kept, refused, repeated)


@contextmanager
def _uncollected() -> Iterator[None]:
    """What is read stays: to look through all of it for garbage, again and again, would take most of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


class _Folders:
    """The folders that are read, and what of them is refused."""

    def __init__(self, out: Path, roots: Sequence[Path]) -> None:
        self.refused: list[Refused] = []
        self.repeated: list[Repeated] = []
        self._out = out
        self._roots = roots

    def read(self, folder: str, reader: Callable[[Path], Content]) -> list[Content]:
        """Everything of one kind that holds, root by root, ordered by path."""
        found = []
        for root in self._roots:
            for path in self._files(root / folder):
                try:
                    found.append(reader(path))
                except RecursionError:
                    self.refuse(path, "lists and objects in each other, deeper than can be read")
                except UNREADABLE as error:
                    self.refuse(path, str(error) or type(error).__name__)
        return found

    def refuse(self, path: Path, reason: str) -> None:
        """Tell why a file is not used."""
        told = reason.removeprefix(f"{path}: ").replace(str(path), self._relative(path))
        told = told.replace(f"{path.parent}{os.sep}", "").replace(str(path.parent), self._relative(path.parent))
        self.refused.append(Refused(self.name(path), _printable(told)))

    def name(self, path: Path) -> str:
        """How a file is called."""
        return _printable(self._relative(path))

    def _relative(self, path: Path) -> str:
        if path.is_relative_to(self._out):
            return path.relative_to(self._out).as_posix()
        root = next(root for root in self._roots if path.is_relative_to(root))
        return path.relative_to(root.parent).as_posix()

    def _files(self, folder: Path) -> list[Path]:
        found: list[Path] = []

        def unreadable(error: OSError) -> None:
            if folder.exists():
                self.refuse(Path(error.filename), f"a folder that cannot be read ({error.strerror})")

        for where, folders, files in os.walk(folder, onerror=unreadable):
            found += [Path(where, name) for name in (*folders, *files) if name.endswith(".json")]
        return sorted(found)


def _record(path: Path) -> Filed:
    filed = Filed(_read(path, read_record), path)
    if not filed.holds:
        return filed
    return replace(filed, answers=read_answers(filed.record, path))


def _session(path: Path) -> FiledSession:
    session = _read(path, read_session)
    refuse_impossible_session(session, path)
    return FiledSession(session, path)


def _read(path: Path, reader: Callable[[Path], Schema]) -> Schema:
    # Reading a pipe would never end.
    if not path.is_file():
        raise RequestError(f"{path}: not a file that can be read; move it away")
    found = reader(path)
    # What cannot be written again would stop the page: half a character, in the name or inside.
    str(path).encode()
    found.model_dump_json()
    return found


def _without_copies(records: Sequence[Filed], folders: _Folders) -> list[Filed]:
    """A record that is there twice counts once, and so does a cell that was done again to the very same end."""
    kept: dict[str, list[Filed]] = defaultdict(list)
    for entry in records:
        same = next((other for other in kept[entry.record.cell.id] if _repeats(entry, other)), None)
        if same is None:
            kept[entry.record.cell.id].append(entry)
        elif not _agree(entry.answers, same.answers):
            folders.refuse(entry.path, f"the same record as {folders.name(same.path)}, with other answers")
        else:
            folders.repeated.append(Repeated(entry, same.path))
    return [entry for entries in kept.values() for entry in entries]


def _repeats(one: Filed, other: Filed) -> bool:
    if one.record == other.record:
        return True
    mine, theirs = one.record, other.record
    if mine.error and theirs.error:
        # Where it failed is a line of code, which moves.
        same = (mine.error.type, mine.error.message) == (theirs.error.type, theirs.error.message)
        return same and (mine.cell, mine.status) == (theirs.cell, theirs.status)
    alike = (mine.cell, mine.quality, mine.provenance.task) == (theirs.cell, theirs.quality, theirs.provenance.task)
    return alike and one.answers is not None and _agree(one.answers, other.answers)


def _agree(one: Answers | None, other: Answers | None) -> bool:
    if one is None or other is None:
        return one is other
    if one.items != other.items or not np.array_equal(one.values, other.values):
        return False
    return one.given is None or other.given is None or np.array_equal(one.given, other.given)


def _without_odd(records: Sequence[Filed], folders: _Folders) -> list[Filed]:
    """Seeds of one method answer one test: what most of its records hold stands, of as many what was there first."""
    groups: dict[tuple[object, ...], list[tuple[Filed, list[str]]]] = defaultdict(list)
    for entry in records:
        if entry.answers is not None:
            groups[entry.table_key, entry.row_key].append((entry, entry.answers.items))
    odd: set[Path] = set()
    for group in groups.values():
        if all(items is group[0][1] or items == group[0][1] for _, items in group):
            continue
        group.sort(key=lambda part: (part[0].finished, str(part[0].path)))
        # Of a tie, a counter gives the one that it met first.
        ((most, _),) = Counter(tuple(items) for _, items in group).most_common(1)
        for entry, items in group:
            if tuple(items) != most:
                odd.add(entry.path)
                folders.refuse(entry.path, "holds other test items than the same method's other seeds")
    return sorted((entry for entry in records if entry.path not in odd), key=lambda entry: str(entry.path))


def _printable(text: str) -> str:
    line = printable(" ".join(text.split()))
    return line if len(line) <= LONGEST_REASON else line[:LONGEST_REASON] + "…"


def missing(tables: Sequence[Table]) -> list[Missing]:
    """Seeds that only some rows of a table have, and methods that are only in other tables of the pair and track.

    What was tuned on another task is set beside its like alone. Superseded rows neither have nor lack anything.
    """
    groups: dict[tuple[str, str, bool], list[Table]] = defaultdict(list)
    for table in tables:
        groups[str(table.pair), table.track, bool(table.tuned_on)].append(table)
    return [found for group in groups.values() for table in group for found in _missing(table, group)]


def _missing(table: Table, group: Sequence[Table]) -> Iterator[Missing]:
    facts = str(table.pair), table.task, table.track
    rows = [row for row in table.rows if not row.superseded]
    seeds = {seed for row in rows for seed in row.seeds}
    for row in rows:
        lacking = tuple(sorted(seeds - set(row.seeds)))
        if lacking:
            yield Missing(*facts, row.label, row.title, lacking, "other methods of this table have them")
    elsewhere: dict[str, tuple[str, list[str]]] = {}
    for other in group:
        for row in other.rows:
            if not row.superseded:
                elsewhere.setdefault(row.label, (row.title, []))[1].append(other.task)
    for label, (title, tasks) in elsewhere.items():
        if label not in {row.label for row in rows}:
            yield Missing(*facts, label, title, tuple(sorted(seeds)), f"not run here, though on {_listed(tasks)}")


def _listed(tasks: Sequence[str]) -> str:
    names = list(dict.fromkeys(tasks))
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
