"""The page of the ledger: what each method costs over upgrades and queries on every pair and task, ready for it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from prt_bench.board.addresses import pair_page, table_page
from prt_bench.board.drawing import cut, plain
from prt_bench.board.guide import LONGEST, POINTS, QUERIES, UPGRADES
from prt_bench.board.numerals import in_flops
from prt_bench.board.table import ROLE_ORDER, Row, Table
from prt_bench.lifetime import (
    Amount,
    BreakEven,
    Costs,
    Gap,
    Ledger,
    LedgerLine,
    Term,
    Unit,
    break_even_queries,
    break_even_upgrades,
    cheapest,
    counted,
    exact,
)

__all__ = ["PLACES", "LedgerTable", "LineView", "ledger_of", "ledger_view"]

PLACES = ((1, 3, 10, 30), (1e4, 1e6, 1e8))
"""Upgrades and queries of the small map."""
BATCH = 1


@dataclass(frozen=True)
class LineView:
    """One method on one table."""

    line: LedgerLine
    name: str
    score: str
    cells: tuple[str, str, str, str]
    """FLOPs once, per upgrade, per query, and in all."""
    less: tuple[str, str]
    """Up to how many queries, and from how many upgrades on, it costs less than the reference."""
    gap: str
    """Why it has no total; empty where it has."""
    eligible: bool
    """Whether it may be called cheapest."""
    cheapest: bool


@dataclass(frozen=True)
class LedgerTable:
    """The ledger of one table."""

    ledger: Ledger
    table: Table
    page: str
    """Of the same numbers with their charts, from the site's root."""
    lines: tuple[LineView, ...]
    answer: str
    """What is cheapest, in a sentence."""
    map: tuple[tuple[str, tuple[str, ...]], ...]
    """By queries: what is cheapest at each number of upgrades of `PLACES`."""
    everywhere: str
    """What is cheapest at all of `PLACES`; empty where that changes."""
    command: str

    @property
    def heading(self) -> str:
        return self.table.task

    @property
    def stands_on(self) -> str:
        """Seeds, and the day of the newest record."""
        rows = [row for row in self.table.rows if not row.superseded]
        counts = sorted({len(row.seeds) for row in rows})
        seeds = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
        return f"{seeds} seed{'s' if seeds != '1' else ''} · {max(row.finished for row in rows)[:10]}"


def ledger_view(tables: Sequence[Table]) -> dict[str, Any]:
    """What the page shows, for its template; under `data` what its script needs.

    Tables without a reference are named; tasks that tell what is forgotten cost what the task does that was tuned on.
    """
    made: list[LedgerTable] = []
    without: list[tuple[str, str]] = []
    shown = sorted(
        (table for table in tables if not table.tuned_on),
        key=lambda table: (table.embedded, str(table.pair), table.task, table.track, table.version, table.recipe),
    )
    recipes: dict[tuple[str, str, str], set[str]] = {}
    for table in shown:
        recipes.setdefault((str(table.pair), table.task, table.track), set()).add(table.recipe)
    for table in shown:
        ledger = ledger_of(table)
        if isinstance(ledger, str):
            without.append((f"{table.pair} {table.task}, {table.track}", ledger))
        else:
            several = len(recipes[str(table.pair), table.task, table.track]) > 1
            made.append(_table(table, ledger, several))
    return {
        "parts": [
            {"embedded": embedded, "pairs": [_pair(list(same)) for _, same in groupby(group, key=_pair_of)]}
            for embedded, group in groupby(made, key=lambda one: one.table.embedded)
        ],
        "without": without,
        "asked": {"upgrades": UPGRADES, "queries": counted(QUERIES, words=True), "points": f"{POINTS:g}"},
        "at": f"{UPGRADES} upgrades and {counted(QUERIES, words=True)} queries",
        "places": [str(upgrades) for upgrades in PLACES[0]],
        "data": _data(made),
    }


def _pair_of(made: LedgerTable) -> str:
    return str(made.table.pair)


def _pair(made: Sequence[LedgerTable]) -> dict[str, Any]:
    pair = made[0].table.pair
    return {"pair": pair, "page": pair_page(pair), "tables": made}


def ledger_of(table: Table) -> Ledger | str:
    """The ledger of one table, from its rows' own numbers; or why there is none. Superseded rows are in none."""
    rows = [row for row in table.rows if not row.superseded]
    no_seconds = _no_seconds(rows, table.hardware)
    names = _names(rows)
    lines = [_line(row, name, no_seconds) for row, name in zip(rows, names, strict=True)]
    references = [line for line in lines if line.role == "reference"]
    if not references:
        return "no tuned target was run, which the others are compared with"
    query = rows[0].per_query
    return Ledger(
        pairs=(table.pair,),
        task=table.task,
        version=table.version,
        data_sha256=table.data_sha256,
        primary=table.primary,
        n=table.n,
        track=table.track,
        recipe=table.recipe,
        embedded=(table.pair.source, table.pair.target) if table.embedded else (),
        contamination=table.contamination,
        unit=query.unit,
        shape=query.shape,
        batch_size=BATCH,
        hardware=tuple(table.hardware),
        placements=(),
        lines=tuple(sorted(lines, key=lambda line: (ROLE_ORDER[line.role], line.score, line.label))),
        reference=max(references, key=lambda line: line.score),
        left_out={},
        notes=(no_seconds,) if no_seconds else (),
    )


def _names(rows: Sequence[Row]) -> list[str]:
    """Titles, with what tells rows of one title apart."""
    titles = [row.title for row in rows]
    found = []
    for row in rows:
        told = "" if titles.count(row.title) == 1 else f" ({', '.join(filter(None, (row.label, row.note)))})"
        found.append(cut(plain(row.title + told), LONGEST))
    return found


def _line(row: Row, name: str, no_seconds: str) -> LedgerLine:
    flops = Costs(
        _term(row.once.train_flops, "once"),
        _term(row.per_upgrade.train_flops, "per upgrade"),
        _term(row.per_query.flops.total, "per query", row.per_query.flops.uncounted_ops),
    )
    gap = Gap(no_seconds)
    seconds = Costs(gap, gap, gap)
    if not no_seconds and row.latency:
        once, per_upgrade = row.once.seconds or 0.0, row.per_upgrade.seconds or 0.0
        seconds = Costs(exact(once), exact(per_upgrade), exact(row.latency.p50_ms / 1000 / BATCH))
    return LedgerLine(
        label=name,
        method=row.label,
        title=row.title,
        role=row.role,
        params={},
        seeds=tuple(row.seeds),
        score=row.score,
        trials=max(row.once.trials, row.per_upgrade.trials),
        costs={"flops": flops, "seconds": seconds},
    )


def _term(value: float | None, what: str, uncounted: Sequence[str] = ()) -> Term:
    if value is not None:
        return exact(float(value))
    return Gap(f"FLOPs {what} are not known" + (f": nothing counts {', '.join(uncounted)}" if uncounted else ""))


def _no_seconds(rows: Sequence[Row], hardware: Sequence[str]) -> str:
    """Why times of these rows are not added up; empty where they are."""
    if len(hardware) > 1:
        return f"times of different machines are not compared: {', '.join(hardware)}"
    untimed = [
        cut(plain(row.title), LONGEST)
        for row in rows
        if row.once.seconds is None or row.per_upgrade.seconds is None or row.latency is None or not row.latency.valid
    ]
    if untimed:
        return f"no valid times of {', '.join(dict.fromkeys(untimed))}"
    if len({row.latency.session for row in rows if row.latency}) > 1:
        return "timed in several sessions, whose times are compared by their ratios alone"
    return ""


def _table(table: Table, ledger: Ledger, several_recipes: bool) -> LedgerTable:
    eligible = ledger.eligible(POINTS)
    found = cheapest(eligible, "flops", UPGRADES, QUERIES)
    places = [
        (f"{counted(queries)}", tuple(_at(eligible, upgrades, queries) for upgrades in PLACES[0]))
        for queries in PLACES[1]
    ]
    same = {name for _, names in places for name in names}
    return LedgerTable(
        ledger=ledger,
        table=table,
        page=table_page(table.pair, table.task),
        lines=tuple(_line_view(ledger, line, eligible, found) for line in ledger.lines),
        answer=_answer(ledger, eligible, found),
        map=tuple(places),
        everywhere=same.pop() if len(same) == 1 else "",
        command=_command(table, several_recipes),
    )


def _at(eligible: Sequence[LedgerLine], upgrades: float, queries: float) -> str:
    return " = ".join(line.label for line in cheapest(eligible, "flops", upgrades, queries)) or "not known"


def _line_view(
    ledger: Ledger, line: LedgerLine, eligible: Sequence[LedgerLine], found: Sequence[LedgerLine]
) -> LineView:
    costs, other = line.costs["flops"], ledger.reference.costs["flops"]
    total = costs.total(UPGRADES, QUERIES)
    once, per_upgrade, per_query, in_all = (_cell(term) for term in (*costs.terms, total))
    if line is ledger.reference:
        less = ("reference", "reference")
    else:
        less = (_less(break_even_queries(costs, other, UPGRADES)), _less(break_even_upgrades(costs, other, QUERIES)))
    return LineView(
        line=line,
        name=line.label,
        score=f"{100 * line.score:.1f}",
        cells=(once, per_upgrade, per_query, in_all),
        less=less,
        gap=total.reason if isinstance(total, Gap) else "",
        eligible=line in eligible,
        cheapest=line in found,
    )


def _cell(term: Term, unit: str = "") -> str:
    return in_flops(term.value, unit) if isinstance(term, Amount) else "–"


def _less(found: BreakEven | Gap) -> str:
    """Where a method costs less than the reference."""
    if isinstance(found, Gap):
        return "not known"
    kind, value = found.told
    if value is None:
        return {"always": "always", "never": "never"}.get(kind, "the same")
    return f"up to {counted(value)}" if kind == "below" else f"from {counted(value)} on"


def _answer(ledger: Ledger, eligible: Sequence[LedgerLine], found: Sequence[LedgerLine]) -> str:
    """The sentence that the script writes too, for what is asked by default."""
    reference, at = ledger.reference, f"{UPGRADES} upgrades and {counted(QUERIES, words=True)} queries"
    best = (found or [reference])[0]
    total, other = (_cell(line.costs["flops"].total(UPGRADES, QUERIES), "FLOPs") for line in (best, reference))
    if len(eligible) == 1:
        return f"Nothing else comes within {POINTS:g} points of {reference.label}: {other} at {at}."
    those = f"the {len(eligible)} that come within {POINTS:g} points of {reference.label}"
    if not found:
        return f"At {at} no total is known of {those}."
    names = " and ".join(line.label for line in found)
    told = f"At {at} {names} {'is' if len(found) == 1 else 'are'} the cheapest of {those}: {total}"
    return f"{told}." if reference in found else f"{told}, against {other}."


def _command(table: Table, several_recipes: bool) -> str:
    """What draws the same with intervals and in time."""
    words = ["prt-bench", "lifetime", "--pair", str(table.pair), "--task", table.task]
    words += ["--upgrades", str(UPGRADES), "--queries", f"{QUERIES:g}".replace("+0", ""), "--within", f"{POINTS:g}"]
    words += [] if table.track == "paper" else ["--track", table.track]
    words += ["--recipe", table.recipe] if several_recipes and table.recipe else []
    return shlex.join([*words, "--chart", "lifetime.svg"])


def _data(made: Sequence[LedgerTable]) -> dict[str, Any]:
    """Numbers and names, each once."""
    names: dict[str, int] = {}
    hardware: dict[str, int] = {}
    return {
        "asked": [UPGRADES, QUERIES, POINTS],
        "tables": [_packed(one, names, hardware) for one in made],
        "names": list(names),
        "hardware": list(hardware),
    }


def _packed(made: LedgerTable, names: dict[str, int], hardware: dict[str, int]) -> dict[str, Any]:
    ledger, table = made.ledger, made.table
    timed = not ledger.notes
    gaps = {str(place): line.gap for place, line in enumerate(made.lines) if line.gap}
    machine = ", ".join(ledger.hardware)
    return {
        "pair": str(table.pair),
        "task": table.task,
        "track": table.track,
        "recipe": table.recipe,
        "version": table.version,
        "embedded": table.embedded,
        "unit": ledger.unit,
        "page": made.page,
        "reference": ledger.lines.index(ledger.reference),
        "lines": [list(_numbers(line, names, timed)) for line in ledger.lines],
        **({"gaps": gaps} if gaps else {}),
        **({"hardware": hardware.setdefault(machine, len(hardware))} if timed else {}),
        **({} if timed else {"untimed": names.setdefault(ledger.notes[0], len(names))}),
    }


def _numbers(line: LedgerLine, names: dict[str, int], timed: bool) -> Iterator[float | None]:
    yield names.setdefault(line.label, len(names))
    yield ROLE_ORDER[line.role]
    # To far below what ties are told by.
    yield round(line.score, 10)
    units: tuple[Unit, ...] = ("flops", "seconds") if timed else ("flops",)
    for unit in units:
        for term in line.costs[unit].terms:
            yield _short(term.value) if isinstance(term, Amount) else None


def _short(value: float) -> float:
    """Whole numbers without a point; others, which are times, to more digits than are shown."""
    return int(value) if value.is_integer() else float(f"{value:.6g}")
