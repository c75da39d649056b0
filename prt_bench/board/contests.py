"""Two methods side by side wherever both were measured, and one method over tasks. Differences are fractions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from prt_bench.board.table import Row, Table
from prt_bench.board.verdicts import Standing, paired, standing_of
from prt_bench.comparing import Across, Comparison, across_tasks, compare, holm
from prt_bench.errors import RequestError, did_you_mean

__all__ = ["Contest", "Group", "Overall", "against_floor", "contests", "overall", "standings"]

Group = tuple[str, str, str]
"""Pair, track and where parameters were chosen: what is summed up over tasks."""


@dataclass(frozen=True)
class Contest:
    """Two methods on one pair and task, on the same items and seeds."""

    table: Table
    mine: Row
    theirs: Row
    chosen_on: str
    """Where parameters were chosen, of the side that had any to choose."""
    found: Comparison
    """Mine − theirs."""
    adjusted: float = 1.0
    """p of no difference, adjusted by Holm for all contests of the track and the way to choose parameters."""

    @property
    def group(self) -> Group:
        return str(self.table.pair), self.table.track, self.chosen_on

    @property
    def standing(self) -> Standing:
        """Mine beside theirs."""
        return standing_of(self.found.value, self.adjusted)

    @property
    def equal_cost(self) -> float | None:
        """Queries per upgrade at which both cost as many FLOPs: with fewer, the one that pays less per upgrade is
        cheaper. None where one is never cheaper, or a cost is not known."""
        mine, theirs = _flops(self.mine), _flops(self.theirs)
        if mine is None or theirs is None:
            return None
        upgrade, query = theirs[0] - mine[0], mine[1] - theirs[1]
        return upgrade / query if upgrade * query > 0 else None


@dataclass(frozen=True)
class Overall:
    """One method over the tasks of a group, against each task's best floor."""

    title: str
    found: Across
    missing: tuple[str, ...]
    """Tasks of the group without a difference: its mean would be of other tasks than the others' and is not given."""


def contests(tables: Sequence[Table], mine: str, theirs: str) -> list[Contest]:
    """Every table with both methods, and what it says of them.

    Raises:
        RequestError: both are the same, a method has no row, or no table has both on common seeds and items.
    """
    known = {row.label for table in tables for row in table.rows}
    for name in (mine, theirs):
        if name not in known:
            raise RequestError(f"--compare {name}: no results of it{did_you_mean(name, known)}")
    if mine == theirs:
        raise RequestError(f"--compare {mine} {theirs}: a method beside itself says nothing; name two")
    found = [contest for table in tables for contest in _of_table(table, mine, theirs)]
    if not found:
        raise RequestError(f"--compare {mine} {theirs}: no pair and task has both, on common seeds and test items")
    found.sort(key=lambda contest: bool(contest.table.tuned_on))
    # A family is a track and a way to choose parameters, whatever else lies in the folder.
    families: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, contest in enumerate(found):
        families[contest.table.track, contest.chosen_on].append(place)
    for family in families.values():
        for place, p in zip(family, holm([found[place].found.p for place in family]), strict=True):
            found[place] = replace(found[place], adjusted=p)
    return found


def _of_table(table: Table, mine: str, theirs: str) -> Iterator[Contest]:
    """Both methods, for every way to choose parameters that one of them has; a side without it stands as it is."""
    ones, others = _newest(table, mine), _newest(table, theirs)
    for chosen_on in sorted({*ones, *others}):
        one, other = (rows.get(chosen_on) or rows.get("constants") for rows in (ones, others))
        both = paired(one.measured, other.measured) if one and other else "not run"
        if one and other and not isinstance(both, str):
            yield Contest(table, one, other, chosen_on, compare(*both))


def overall(found: Sequence[Contest]) -> dict[Group, Across]:
    """Contests summed up over the tasks of each pair, track and way to choose parameters.

    Derived tasks tell what is forgotten, not what is learnt, and do not count.
    """
    groups: dict[Group, dict[str, Contest]] = defaultdict(dict)
    for contest in found:
        if not contest.table.tuned_on:
            groups[contest.group].setdefault(contest.table.task, contest)
    return {group: _across(tasks) for group, tasks in groups.items()}


def standings(tables: Sequence[Table]) -> dict[tuple[str, str], list[Overall]]:
    """By pair and track: every method and reference over the tasks, against each task's best floor.

    A task counts once, by the first of its tables where there are several: versions, data or recipes.
    """
    found: dict[tuple[str, str], list[Overall]] = {}
    for group in dict.fromkeys((str(table.pair), table.track) for table in tables if not table.tuned_on):
        mine = [table for table in tables if (str(table.pair), table.track) == group and not table.tuned_on]
        tasks = list(dict.fromkeys(table.task for table in mine))
        rows: dict[tuple[str, str], dict[str, Row]] = defaultdict(dict)
        notes: dict[tuple[str, str], str] = {}
        for table in mine:
            for row in table.rows:
                if row.role != "floor" and not row.superseded:
                    rows[row.title, row.settings].setdefault(table.task, row)
                    notes[row.title, row.settings] = notes.get((row.title, row.settings)) or row.note
        found[group] = [
            Overall(
                f"{title} ({note})" if (note := notes[title, settings]) else title,
                across,
                tuple(task for task in tasks if task not in across.tasks),
            )
            for (title, settings), by_task in rows.items()
            if (across := against_floor(by_task)) is not None
        ]
    return found


def against_floor(by_task: Mapping[str, Row]) -> Across | None:
    """One method over tasks, against the best floor of each; None where there is no difference on any."""
    told = {
        task: (row.verdicts.to_floor, row.verdicts.p_floor)
        for task, row in by_task.items()
        if isinstance(row.verdicts.to_floor, Comparison) and row.verdicts.p_floor is not None
    }
    if not told:
        return None
    return across_tasks(
        {task: found for task, (found, _) in told.items()}, {task: adjusted for task, (_, adjusted) in told.items()}
    )


def _across(tasks: Mapping[str, Contest]) -> Across:
    return across_tasks(
        {task: contest.found for task, contest in tasks.items()},
        {task: contest.adjusted for task, contest in tasks.items()},
    )


def _newest(table: Table, label: str) -> dict[str, Row]:
    """Rows of a method by where its parameters were chosen; of several settings, the one of the newest record."""
    rows = [row for row in table.rows if row.label == label and not row.superseded]
    return {row.strengths: row for row in sorted(rows, key=lambda row: row.finished)}


def _flops(row: Row) -> tuple[int, int] | None:
    """Per upgrade and per query."""
    upgrade, query = row.per_upgrade.train_flops, row.per_query.flops.total
    return None if upgrade is None or query is None else (upgrade, query)
