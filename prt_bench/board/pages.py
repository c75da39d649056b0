"""Pages of tables: the front, all results, pairs, and tables; each is a template with its context."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from prt_bench.board import addresses
from prt_bench.board.content import Absent, Content
from prt_bench.board.contests import standings
from prt_bench.board.figures import Figures
from prt_bench.board.guide import guide
from prt_bench.board.ledger_view import ledger_view
from prt_bench.board.numerals import points
from prt_bench.board.printed import printed_of
from prt_bench.board.summaries import Group, Summary
from prt_bench.board.table_view import RowView, TableView, Value
from prt_bench.board.verdicts import GAINS
from prt_bench.comparing import Across
from prt_bench.records import PairNames

__all__ = ["Page", "absent_pages", "front", "in_parts", "ledger", "pairs", "results", "table_pages"]

MOST_LINES = 1000
"""Of one page: more than that is slow to open."""
GLANCE_ROLES = ("method", "reference")


class Page(NamedTuple):
    """A page of the site: where it lies, by which template, with what."""

    address: str
    template: str
    context: Mapping[str, Any]


def front(content: Content, figures: Figures) -> Page:
    """What to use, and a summary per suite."""
    sections = [_section(group, content, figures) for group in content.groups]
    measured = {str(view.table.pair) for view in content.views}
    embedded = {alias for alias, card in content.models.items() if card and card.embedded}
    only_costs = {
        str(session.pair): session.pair
        for session in content.sessions.values()
        if not {session.pair.source, session.pair.target} & embedded
    }
    facts = {
        "sections": sections,
        "real": any(not group.embedded for group in content.groups),
        "session_pairs": [pair for name, pair in sorted(only_costs.items()) if name not in measured],
    }
    return Page("index.html", "index.html.j2", facts)


def _section(group: Group, content: Content, figures: Figures) -> dict[str, Any]:
    mine = {id(table) for table in group.tables}
    views = [view for view in content.views if id(view.table) in mine]
    by_pair: dict[str, list[TableView]] = {}
    for view in views:
        by_pair.setdefault(str(view.table.pair), []).append(view)
    summed = [view for view in views if not view.table.tuned_on] or views
    days = sorted(day for view in summed for day in view.dates)
    seeds = sorted({count for view in summed for count in view.seeds})
    return {
        "group": group,
        "guide": guide(group.tables),
        "charts": figures.of(group),
        "lines": [(line, _mean(line.across), _cost(line), _among_best(line)) for line in group.lines],
        "note": max((line.across for line in group.lines), key=lambda across: len(across.tasks)).note
        if group.lines
        else "",
        "count": sum(not table.tuned_on for table in group.tables),
        "forgetting": any(table.tuned_on for table in group.tables),
        "n": " to ".join(map(str, dict.fromkeys((seeds[0], seeds[-1])))),
        "dates": (days[0], days[-1]),
        "pairs": [
            (mine[0].table.pair, list({view.table.task: view.table for view in mine}.values()))
            for mine in by_pair.values()
        ],
    }


def _mean(across: Across) -> Value:
    ends = () if across.interval is None else (f"[{', '.join(map(points, across.interval))}]",)
    return Value(points(across.mean), ends, sort=across.mean)


def _cost(line: Summary) -> Value:
    return Value("–") if line.cost_ratio is None else Value(f"{line.cost_ratio:.2f} ×", sort=line.cost_ratio)


def _among_best(line: Summary) -> int:
    return sum(row.verdicts.among_best for row in line.rows.values())


def results(content: Content) -> Iterator[Page]:
    """Every row of every table, in parts that a browser opens at once."""
    yield from in_parts("results.html", "results.html.j2", content.lines, {})


def in_parts(address: str, template: str, lines: Sequence[Any], facts: Mapping[str, Any]) -> Iterator[Page]:
    """A page with many lines as several, of which each knows the others' addresses."""
    starts = range(0, len(lines) or 1, MOST_LINES)
    name = address.removesuffix(".html")
    parts = [address, *(f"{name}-{number}.html" for number in range(2, len(starts) + 1))]
    for part, start in zip(parts, starts, strict=True):
        yield Page(part, template, {**facts, "lines": lines[start : start + MOST_LINES], "parts": parts})


def table_pages(content: Content, figures: Figures) -> Iterator[Page]:
    """A page per pair and task, with all its tables."""
    for address, views in content.by_page.items():
        first = views[0].table
        names = Counter(_named(view) for view in views)
        facts = {
            "pair": first.pair,
            "task": first.task,
            "facts": first.facts,
            "embedded": first.embedded,
            "views": [(view, figures.of(view), names[_named(view)], _tried(view, content)) for view in views],
            "gains": GAINS,
        }
        yield Page(address, "table_page.html.j2", facts)


def _tried(view: TableView, content: Content) -> list[tuple[Absent, str]]:
    """Cells of a table's task and track that did not hold, and their seeds: alike ones once."""
    alike: dict[tuple[str, str, str], list[Absent]] = {}
    for line in content.absent_of(view.table.pair):
        if line.is_tried and (line.task, line.track) == (view.table.task, view.table.track):
            alike.setdefault((line.state, line.method, line.reason), []).append(line)
    return [(lines[0], ", ".join(sorted({line.seed for line in lines}))) for lines in alike.values()]


def _named(view: TableView) -> tuple[str, str, str]:
    return view.table.version, view.table.track, view.table.recipe


def pairs(content: Content) -> Iterator[Page]:
    """A page per pair: all tasks at a glance, its sessions, what papers printed, and what is missing."""
    for pair in content.pairs:
        views = [view for view in content.views if view.table.pair == pair]
        facts = {
            "pair": pair,
            "embedded": bool(views) and views[0].table.embedded,
            "views": views,
            "glance": _glance(views, content.absent_of(pair)),
            "over_tasks": _over_tasks(views),
            "lines": [line for line in content.lines if line.table.pair == pair],
            "sessions": _sessions(content, pair),
            "reported": printed_of(pair, views, content.sessions.values()),
            "absent": content.absent_of(pair),
        }
        yield Page(addresses.pair_page(pair), "pair.html.j2", facts)


def _sessions(content: Content, pair: PairNames) -> list[Any]:
    return [session for _, session in sorted(content.sessions.items()) if session.pair == pair]


def _glance(
    views: Sequence[TableView], absent: Sequence[Absent]
) -> list[tuple[str, str, list[RowView | Absent | None]]]:
    """Methods and references × the pair's tables: what each gains on each, or why it has no row there."""
    tried = {(line.task, line.track, line.method): line for line in absent if line.is_tried}
    lines: dict[tuple[str, ...], list[RowView | Absent | None]] = {}
    notes: dict[tuple[str, ...], str] = {}
    for place, view in enumerate(views):
        for shown in view.rows:
            row = shown.row
            if row.role in GLANCE_ROLES:
                key = (row.role, row.title, row.label, row.settings)
                if key not in lines:
                    lines[key] = [tried.get((other.table.task, other.table.track, row.title)) for other in views]
                lines[key][place] = shown
                notes[key] = notes.get(key) or row.note
    # Stable: methods before references, each in the order they are met.
    ordered = sorted(lines.items(), key=lambda line: GLANCE_ROLES.index(line[0][0]))
    return [(key[1], " · ".join(filter(None, (key[2], notes[key]))), cells) for key, cells in ordered]


def _over_tasks(views: Sequence[TableView]) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """By track, where it has several tasks: methods against each task's best floor, and what so many tasks allow."""
    return [
        (
            track,
            max((line.found for line in lines), key=lambda found: len(found.tasks)).note,
            [
                {"title": line.title, "found": line.found, "missing": line.missing, "mean": _mean(line.found)}
                for line in lines
            ],
        )
        for (_, track), lines in standings([view.table for view in views]).items()
        if any(len(line.found.tasks) > 1 for line in lines)
    ]


def ledger(content: Content) -> Page:
    """What a tuning costs over its lifetime."""
    return Page("ledger.html", "ledger.html.j2", ledger_view([view.table for view in content.views]))


def absent_pages(content: Content) -> Iterator[Page]:
    """All that is in no verdict, with its reason."""
    facts = {"count": len(content.absent), "states": content.states}
    yield from in_parts("absent.html", "absent.html.j2", content.absent, facts)
