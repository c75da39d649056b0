"""Which method should I use? By what one has at an upgrade: what can be used, how good it is, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from prt_bench.board.drawing import cut, plain
from prt_bench.board.numerals import points
from prt_bench.board.table import ROLE_ORDER, Row, Table
from prt_bench.board.table_view import cost_ratio
from prt_bench.board.verdicts import the_best
from prt_bench.comparing import FEW_TASKS
from prt_bench.lifetime import TIE, counted

__all__ = [
    "LONGEST",
    "POINTS",
    "QUERIES",
    "UPGRADES",
    "Answer",
    "Guide",
    "Option",
    "Situation",
    "Way",
    "answer",
    "guide",
]

UPGRADES, QUERIES, POINTS = 3, 1_000_000, 2
"""What is asked where nobody says otherwise."""
LONGEST, LISTED = 56, 3
"""Signs of a name, and names of a list."""
LABELLED = {"train", "validation"}
Key = tuple[str, str, str, str]
"""Label, title, role and settings: rows of several tables that share them are one way to do it."""
HAVING = {
    frozenset({"labels+weights"}): "Labelled data for the target, and its weights",
    frozenset({"weights"}): "The target’s weights, but no labelled data for it",
    frozenset({"labels"}): "Labelled data for the target, but only its outputs",
    frozenset({"nothing"}): "No labelled data for the target, and only its outputs",
    frozenset({"weights", "nothing"}): "No labelled data for the target",
    frozenset({"labels", "nothing"}): "Only the target’s outputs, not its weights",
    frozenset({"labels+weights", "weights"}): "The target’s weights",
    frozenset({"labels+weights", "labels"}): "Labelled data for the target",
    frozenset({"weights", "labels", "nothing"}): "No labelled data for the target, or only its outputs",
    frozenset({"labels+weights", "weights", "labels", "nothing"}): "Whatever you have at the upgrade",
}
"""What one has, by the situations that come to the same."""
NAMES = {(True, True): "labels+weights", (False, True): "weights", (True, False): "labels", (False, False): "nothing"}
"""Labels for the target, its weights → what that is called in pages and scripts."""


@dataclass(frozen=True)
class Entry:
    """One way on one table."""

    score: float
    costs: tuple[float, float, float] | None
    """FLOPs once, per upgrade and per query; None where one is not known."""

    def total(self, upgrades: float, queries: float) -> float | None:
        """once + upgrades · per upgrade + queries · per query."""
        if self.costs is None:
            return None
        return self.costs[0] + upgrades * self.costs[1] + queries * self.costs[2]

    @property
    def packed(self) -> list[float]:
        """In few signs: the score to far below what ties are told by, costs without a point."""
        return [round(self.score, 10), *map(int, self.costs or ())]


@dataclass(frozen=True)
class Way:
    """One method with its settings, over the tables."""

    name: str
    label: str
    role: str
    ratio: float | None
    """FLOPs per query, of those of the target alone: geometric mean over the tables. None where one is not known."""
    mean: float | None
    """Of the differences to each table's best floor; None where there is none."""
    compared: int
    """On how many tables."""
    unlabelled: bool
    """Whether it reads inputs without labels at an upgrade."""
    entries: tuple[Entry | None, ...]
    """By table; None where it was not run."""

    @property
    def difference(self) -> str:
        return "–" if self.mean is None else points(self.mean)

    @property
    def price(self) -> str:
        """Per query."""
        return "–" if self.ratio is None else f"{self.ratio:.2f} ×"


@dataclass(frozen=True)
class Option:
    """A way that can be used."""

    way: int
    """Its place in the guide."""
    best: int
    """On how many tables no other usable way is told above it."""
    present: int
    """On how many tables it was run."""


@dataclass(frozen=True)
class Situation:
    """What one has, and what can then be used."""

    having: tuple[str, ...]
    """Of `NAMES`: all that come to the same."""
    options: tuple[Option, ...]
    """The most often among the best first."""
    by_score: str
    """What the scores alone say, as a sentence."""
    notes: tuple[str, ...]

    @property
    def heading(self) -> str:
        return HAVING.get(frozenset(self.having), "; ".join(HAVING[frozenset({name})] for name in self.having))


@dataclass(frozen=True)
class Guide:
    """The tables of one group, by what one has at an upgrade."""

    tables: tuple[str, ...]
    ways: tuple[Way, ...]
    situations: tuple[Situation, ...]
    unknown: tuple[str, ...]
    """Methods whose records do not say what they need: in no situation."""

    @property
    def answers(self) -> list[Answer]:
        """By situation, to what is asked by default."""
        return [answer(self, situation) for situation in self.situations]

    @property
    def data(self) -> dict[str, Any]:
        """What a script needs to answer again."""
        return {
            "asked": [UPGRADES, QUERIES, POINTS],
            "names": [_called(way) for way in self.ways],
            "entries": [[entry and entry.packed for entry in way.entries] for way in self.ways],
            "situations": [[option.way for option in one.options] for one in self.situations],
        }


@dataclass(frozen=True)
class Answer:
    """What costs least of what is good enough."""

    lead: str
    """What to use, in few words."""
    sentence: str
    """What that stands on."""
    cheapest: tuple[int, ...]
    """Per option of the situation, on how many tables."""


def guide(tables: Sequence[Table]) -> Guide:
    """The guide to tables of one group; tasks that tell what is forgotten take no part.

    Everything that no number of upgrades, queries or points changes is settled here; `answer` does the rest.
    """
    shown = [table for table in tables if not table.tuned_on]
    rows = [_rows(table) for table in shown]
    keys = sorted({key for mine in rows for key in mine}, key=lambda key: (ROLE_ORDER[key[2]], key))
    known = [key for key in keys if _facts(key, rows)]
    names = _names(keys, rows)
    ways = [_way(key, names[key], shown, rows) for key in known]
    found: dict[frozenset[int], list[str]] = {}
    for labels, weights in product((True, False), repeat=2):
        usable = frozenset(place for place, key in enumerate(known) if _usable(key, rows, labels, weights))
        if usable:
            found.setdefault(usable, []).append(NAMES[labels, weights])
    situations = [_situation(having, sorted(usable), known, ways, rows) for usable, having in found.items()]
    unknown = tuple(dict.fromkeys(names[key] for key in keys if key not in known))
    return Guide(tuple(f"{table.pair} {table.task}" for table in shown), tuple(ways), tuple(situations), unknown)


def _rows(table: Table) -> dict[Key, Row]:
    """Rows that hold, one for each way: the newest."""
    ordered = sorted((row for row in table.rows if not row.superseded), key=lambda row: row.finished)
    return {(row.label, row.title, row.role, row.settings): row for row in ordered}


def _text(key: Key) -> str:
    return "\0".join(key)


def _mine(key: Key, rows: Sequence[Mapping[Key, Row]]) -> list[Row]:
    return [mine[key] for mine in rows if key in mine]


def _facts(key: Key, rows: Sequence[Mapping[Key, Row]]) -> bool:
    return all(row.facts for row in _mine(key, rows))


def _usable(key: Key, rows: Sequence[Mapping[Key, Row]], labels: bool, weights: bool) -> bool:
    """Parameters that were chosen on the target's validation data need its labels, whatever the card asks for."""
    for row in _mine(key, rows):
        assert row.facts is not None
        needs_labels = bool(LABELLED & set(row.facts.needs.get("port", ()))) or row.strengths == "target"
        if (needs_labels and not labels) or ("target" in row.facts.weights and not weights):
            return False
    return True


def _names(keys: Sequence[Key], rows: Sequence[Mapping[Key, Row]]) -> dict[Key, str]:
    """Titles; with what tells them apart where several ways share one."""
    titles = [key[1] for key in keys]
    found = {}
    for key in keys:
        told = "" if titles.count(key[1]) == 1 else f" ({', '.join(filter(None, (key[0], key[3])))})"
        found[key] = cut(plain(key[1] + told), LONGEST)
    return found


def _way(key: Key, name: str, tables: Sequence[Table], rows: Sequence[Mapping[Key, Row]]) -> Way:
    there = [(table, mine[key]) for table, mine in zip(tables, rows, strict=True) if key in mine]
    told = [(table, row) for table, row in there if row.difference or row.is_best_floor]
    return Way(
        name=name,
        label=key[0],
        role=key[2],
        ratio=cost_ratio(told),
        mean=float(np.mean([row.difference.value if row.difference else 0.0 for _, row in told])) if told else None,
        compared=len(told),
        unlabelled=any("unlabelled" in row.facts.needs.get("port", ()) for _, row in there if row.facts),
        entries=tuple(_entry(mine[key]) if key in mine else None for mine in rows),
    )


def _entry(row: Row) -> Entry:
    terms = (row.once.train_flops, row.per_upgrade.train_flops, row.per_query.flops.total)
    known = tuple(float(term) for term in terms if term is not None)
    return Entry(row.score, (known[0], known[1], known[2]) if len(known) == len(terms) else None)


def _situation(
    having: Sequence[str],
    usable: Sequence[int],
    keys: Sequence[Key],
    ways: Sequence[Way],
    rows: Sequence[Mapping[Key, Row]],
) -> Situation:
    best = dict.fromkeys(usable, 0)
    with_floor, single, there = 0, 0, 0
    for mine in rows:
        here = {_text(keys[place]): place for place in usable if keys[place] in mine}
        among = [here[name] for name in _best({name: mine[keys[place]] for name, place in here.items()}, len(mine))]
        for place in among:
            best[place] += 1
        there += bool(here)
        roles = {ways[place].role for place in here.values()}
        with_floor += roles != {"floor"} and any(ways[place].role == "floor" for place in among)
        single += bool(here) and all(len(mine[keys[place]].seeds) == 1 for place in here.values())
    options = [Option(place, best[place], sum(entry is not None for entry in ways[place].entries)) for place in usable]
    options.sort(key=lambda option: (-option.best, -_mean(ways[option.way]), ways[option.way].name))
    return Situation(
        tuple(having),
        tuple(options),
        _by_score(options, ways, there),
        tuple(_notes(options, ways, there, with_floor, single)),
    )


def _best(rows: Mapping[str, Row], of: int) -> set[str]:
    """The rows that no other one is told above; of a whole table, of so many rows, that is known."""
    if len(rows) == of:
        return {name for name, row in rows.items() if row.verdicts.among_best}
    standings = {name: row.verdicts.standing for name, row in rows.items()}
    return the_best({name: row.measured for name, row in rows.items()}, standings)


def _mean(way: Way) -> float:
    return -math.inf if way.mean is None else way.mean


def _by_score(options: Sequence[Option], ways: Sequence[Way], tables: int) -> str:
    most = options[0].best
    first = [ways[option.way] for option in options if option.best == most]
    names = _listed([_called(way) for way in first], "or")
    told = f"By score alone: {names}, among the best that can be used on {_of(most, tables)}"
    priced = sorted((way for way in first if way.ratio is not None), key=lambda way: way.ratio or 0.0)
    if len(priced) == len(first) and priced[0].price != priced[-1].price:
        low, high = priced[0], priced[-1]
        told += f"; {low.name} costs the least of them per query ({low.price} the target, against up to {high.price})"
    return told + "."


def _notes(options: Sequence[Option], ways: Sequence[Way], tables: int, with_floor: int, single: int) -> Iterator[str]:
    if with_floor:
        yield f"On {_of(with_floor, tables)} a floor is among the best too: nothing is shown to gain over it there."
    if single:
        yield f"On {_of(single, tables)} there is one seed: training again may turn the order."
    if tables < FEW_TASKS:
        yield f"{_tables(tables)} {'is' if tables == 1 else 'are'} few: another task may differ."
    partial = [ways[option.way].name for option in options if option.present < tables]
    if partial:
        yield f"Not run on all of them: {_listed(partial)}."
    reading = [ways[option.way].name for option in options if ways[option.way].unlabelled]
    if reading:
        yield f"Reads inputs without labels at every upgrade: {_listed(reading)}."


def answer(
    made: Guide, situation: Situation, upgrades: float = UPGRADES, queries: float = QUERIES, within: float = POINTS
) -> Answer:
    """What costs the fewest FLOPs of what scores at most `within` points below the best that can be used."""
    ways = [made.ways[option.way] for option in situation.options]
    counts, tables, unpriced = [0] * len(ways), 0, 0
    for at in range(len(made.tables)):
        entries = [way.entries[at] for way in ways]
        bound = max((entry.score for entry in entries if entry), default=0.0) - within / 100 - TIE
        good = [(place, entry) for place, entry in enumerate(entries) if entry and entry.score >= bound]
        totals = [(place, total) for place, entry in good if (total := entry.total(upgrades, queries)) is not None]
        unpriced += len(totals) < len(good)
        lowest = min((total for _, total in totals), default=None)
        tables += lowest is not None
        for place, total in totals:
            counts[place] += total == lowest
    return _told(ways, counts, tables, unpriced, upgrades, queries, within)


def _told(
    ways: Sequence[Way],
    counts: Sequence[int],
    tables: int,
    unpriced: int,
    upgrades: float,
    queries: float,
    within: float,
) -> Answer:
    if not tables:
        return Answer("Not known", "no cost is known of anything that is good enough.", tuple(counts))
    most = max(counts)
    asked = f"at {_many(upgrades, 'upgrade')} and {_many(queries, 'query', 'queries')} in all"
    bound = "has the best score" if within == 0 else f"comes within {_many(within, 'point')} of the best score"
    if 2 * most > tables:
        lead = _listed([_called(way) for way, count in zip(ways, counts, strict=True) if count == most], "or")
        told = f"the fewest FLOPs on {_of(most, tables)}"
    else:
        lead = "It depends on the table"
        order = sorted((place for place, count in enumerate(counts) if count), key=lambda place: -counts[place])
        each = [f"{_called(ways[place])} on {counts[place]}" for place in order]
        told = f"the fewest FLOPs: {_listed(each)} of {_tables(tables)}"
    gap = f" On {_of(unpriced, tables)} something as good has no known cost." if unpriced else ""
    return Answer(lead, f"{told}, counting all that {bound}, {asked}.{gap}", tuple(counts))


def _called(way: Way) -> str:
    return f"{way.name} (a floor)" if way.role == "floor" else way.name


def _many(count: float, one: str, several: str = "") -> str:
    return f"{counted(count, words=True)} {one if count == 1 else several or one + 's'}"


def _of(count: int, tables: int) -> str:
    return f"{count} of {_tables(tables)}"


def _tables(count: int) -> str:
    return f"{count} {'table' if count == 1 else 'tables'}"


def _listed(names: Sequence[str], word: str = "and") -> str:
    """The first few, and how many others there are."""
    more = len(names) - LISTED
    shown = [*names[:LISTED], f"{more} {'other' if more == 1 else 'others'}"] if more > 0 else list(names)
    return f"{', '.join(shown[:-1])} {word} {shown[-1]}" if len(shown) > 1 else shown[0]
