"""The ledger of a lifetime in words: amounts with units, break-evens as sentences, and the table."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from prt_bench.board.numerals import in_flops
from prt_bench.lifetime import (
    Amount,
    BreakEven,
    Costs,
    Gap,
    Ledger,
    LedgerLine,
    Term,
    break_even_queries,
    break_even_upgrades,
    cheapest,
    counted,
)
from prt_bench.records import FLOP_CONVENTION

__all__ = [
    "CONVENTIONS",
    "THRESHOLDS",
    "Answer",
    "Question",
    "answer",
    "in_seconds",
    "meaning",
    "print_ledger",
]

THRESHOLDS = (1.0, 2.0, 5.0, 10.0)
"""Points below the reference for which the cheapest is named where none were asked for."""
SHOWN = 1e-3
"""Part of an amount from which its interval is shown in the table."""
LEAST = 1e-3
"""Seconds of a verb below which the table says no more."""
WIDE = 100
"""Columns of a terminal; in a narrower one the table is two."""
COLUMNS = ("once", "per upgrade", "per query", "total", "costs less: queries", "upgrades")
CONVENTIONS = {
    "total": "once + upgrades · per upgrade + queries · per query; of a chain, per upgrade and per query are means "
    "over its targets, over which its queries are spread evenly",
    "flops": FLOP_CONVENTION,
    "seconds": "each method pays its whole work itself, shared or not; training and answering on the same machine, one "
    "after another; per query the median latency at the batch size, divided by it",
    "money": "seconds / 3600 × the price of one hour of this machine, for training and answering alike; its "
    "break-evens are those of the seconds",
    "search": "the trials of a search for hyper-parameters are in the costs, of every method alike",
    "intervals": "95 %; of seconds once and per upgrade by Student's t over seeds, per query by the ratio to the "
    "target alone, and of what is computed from them by 2,000 draws; FLOPs are counted, so exact",
    "floors": "floors are what one has for nothing: shown, and never called cheapest",
    "data": "what it costs to have the training data again for an upgrade is not in it",
}


@dataclass(frozen=True)
class Question:
    """What is asked of a ledger."""

    upgrades: int
    queries: float
    price: float | None
    """Of one hour of the machine."""
    within: float | None
    """Points."""


@dataclass(frozen=True)
class Answer:
    """One method in one unit."""

    costs: Costs
    total: Term
    queries: BreakEven | Gap | None
    """Against the reference; None of the reference itself."""
    upgrades: BreakEven | Gap | None


def answer(ledger: Ledger, line: LedgerLine, question: Question) -> dict[str, Answer]:
    """Unit → what a method costs in it; money where there is a price."""
    found = {}
    for unit, costs in line.costs.items():
        other = ledger.reference.costs[unit]
        mine = line is ledger.reference
        found[str(unit)] = Answer(
            costs,
            costs.total(question.upgrades, question.queries),
            None if mine else break_even_queries(costs, other, question.upgrades),
            None if mine else break_even_upgrades(costs, other, question.queries),
        )
    if question.price is not None:
        seconds = found["seconds"]
        costs = seconds.costs.scaled(question.price / 3600)
        found["money"] = Answer(
            costs, costs.total(question.upgrades, question.queries), seconds.queries, seconds.upgrades
        )
    return found


def _scaled(value: float, steps: Sequence[tuple[float, str]]) -> str:
    """Three digits in the largest step that the value reaches, as rounded."""
    rounded = float(f"{value:.3g}")
    size, name = next((step for step in reversed(steps) if rounded >= step[0]), steps[0])
    return f"{float(f'{value / size:.3g}'):.12g} {name}"


TIMES = [
    (1e-9, "ns"), (1e-6, "µs"), (1e-3, "ms"), (1.0, "s"), (60.0, "min"), (3600.0, "h"), (86400.0, "days"),
    (365 * 86400.0, "years"),
]  # fmt: skip


def in_seconds(value: float) -> str:
    """Seconds as people tell time."""
    return "0 s" if value == 0 else _scaled(value, TIMES)


def _in_money(value: float) -> str:
    return counted(value) if value >= 1e6 else f"{value:,.2f}" if value >= 1 else f"{value:.3g}"


TOLD = {"flops": in_flops, "seconds": in_seconds, "money": _in_money}
NAMES = {"flops": "FLOPs", "seconds": "time", "money": "money"}


def _interval(low: float | None, high: float | None) -> str:
    if low is None or high is None or low == high:
        return ""
    ends = counted(low), "∞" if math.isinf(high) else counted(high)
    number, _, size = ends[0].partition(" ")
    # A size that both ends share is said once.
    return f"[{number if ends[1].endswith(f' {size}') else ends[0]}, {ends[1]}]"


def _cell(term: Term, unit: str) -> str:
    """An amount with the wider half of its interval, where that is not far below what is shown."""
    if isinstance(term, Gap):
        return "–"
    told = TOLD[unit]
    half = 0.0 if term.low is None or term.high is None else max(term.value - term.low, term.high - term.value)
    return told(term.value) + (f"\n± {told(half)}" if half >= SHOWN * term.value > 0 else "")


def _work(term: Term, unit: str, seconds: Term) -> str:
    """Of a verb: the moment that a verb takes which does nothing is noise."""
    if unit != "flops" and isinstance(seconds, Amount) and 0 < seconds.value < LEAST:
        return f"< {in_seconds(LEAST)}" if unit == "seconds" else "≈ 0"
    return _cell(term, unit)


def _place(found: BreakEven | Gap | None) -> str:
    if not isinstance(found, BreakEven):
        return "–" if found else "reference"
    kind, value = found.told
    if value is None:
        return "same cost" if kind == "equal" else kind
    word = "up to" if kind == "below" else "from"
    return "\n".join(filter(None, (f"{word} {counted(value)}", _interval(found.low, found.high))))


def meaning(found: BreakEven | Gap | None, along: str) -> str:
    """Where a method costs less, `along` the queries or upgrades, as a phrase."""
    if found is None:
        return "it is the reference"
    if isinstance(found, Gap):
        return "not known"
    kind, value = found.told
    if value is None:
        said = {"always": f"at any number of {along}", "never": f"at no number of {along}"}
        share = found.shares.get(found.kind, 1.0)
        doubt = f" (in {share:.0%} of the draws)" if share < 1 else ""
        return said.get(kind, f"the same at any number of {along}") + doubt
    interval = _interval(found.low, found.high)
    place = " ".join(filter(None, (counted(value, words=True), interval, along)))
    return f"up to {place}" if kind == "below" else f"from {place} on"


def _cells(unit: str, found: Answer, seconds: Costs) -> list[str]:
    costs = found.costs
    # Money breaks even where time does.
    places = ["", ""] if unit == "money" else [_place(found.queries), _place(found.upgrades)]
    amounts = [
        _work(costs.once, unit, seconds.once),
        _work(costs.per_upgrade, unit, seconds.per_upgrade),
        _cell(costs.per_query, unit),
        _cell(found.total, unit),
    ]
    # The first column says what of.
    return [*(amount.removesuffix("FLOPs").rstrip() for amount in amounts), *places]


def print_ledger(ledger: Ledger, question: Question, console: Console) -> None:
    """The table, and below it who is cheapest, the break-evens and the conventions."""
    chain = " → ".join((ledger.pairs[0].source, ", ".join(pair.target for pair in ledger.pairs)))
    title = (
        f"{chain}  {ledger.task}\nversion {ledger.version}, {ledger.n} test items, {ledger.primary}, "
        f"track {ledger.track}, recipe {ledger.recipe or '–'}, {_times(question.upgrades, 'upgrade')}, "
        f"{counted(question.queries, words=True)} queries"
    )
    console.print(Text(title, style="italic"), highlight=False)
    answers = {line.label: answer(ledger, line, question) for line in ledger.lines}
    whole = range(len(COLUMNS))
    for shown in (whole,) if console.width >= WIDE else (whole[:4], whole[4:]):
        table = RichTable(box=box.SIMPLE_HEAD, padding=0, pad_edge=False)
        table.add_column("method", overflow="fold", min_width=14)
        table.add_column("in")
        for place in shown:
            table.add_column(COLUMNS[place], justify="right", overflow="fold")
        for line in ledger.lines:
            sides = (line.label, _about(ledger, line, question), "")
            for side, (unit, found) in zip(sides, answers[line.label].items(), strict=False):
                cells = _cells(unit, found, line.costs["seconds"])
                table.add_row(*map(Text, (side, NAMES[unit], *(cells[place] for place in shown))))
            table.add_section()
        console.print(table)

    def say(text: str) -> None:
        console.print(Text(text), highlight=False)

    for text in _sentences(ledger, question, answers):
        say(text)
    console.print()
    for text in _small_print(ledger, question):
        say(text)


def _about(ledger: Ledger, line: LedgerLine, question: Question) -> str:
    """Score, distance to the reference, and what else must be known of a line."""
    points = 100 * (line.score - ledger.reference.score)
    parts = [f"{100 * line.score:.1f} %" + ("" if line is ledger.reference else f" ({points:+.1f})")]
    if line.role == "floor":
        parts.append("floor")
    elif not ledger.reaches(line, question.within):
        parts.append(f"not within {question.within:g}")
    if line.trials > 1:
        parts.append(f"{line.trials} trials")
    return "\n".join(parts)


def _times(number: int, name: str) -> str:
    return f"{number:,} {name}{'' if number == 1 else 's'}"


def _points(within: float) -> str:
    return f"within {within:g} point{'' if within == 1 else 's'} of"


def _sentences(ledger: Ledger, question: Question, answers: dict[str, dict[str, Answer]]) -> list[str]:
    reference = ledger.reference.label
    where = f"{_times(question.upgrades, 'upgrade')} and {counted(question.queries, words=True)} queries in all"
    within = "" if question.within is None else f" {_points(question.within)} {reference}"
    found = [f"Cheapest{within} at {where}: {_winners(ledger, question, answers)}."]
    if question.within is None:
        bounds = [(bound, cheapest_names(ledger, bound, question)) for bound in THRESHOLDS]
        told = "; ".join(f"{bound:g}: {name}" for bound, name in bounds)
        found.append(f"That looks at no score. In FLOPs, cheapest within so many points of {reference}: {told}.")
    else:
        free = [line.label for line in ledger.lines if line.role == "floor" and ledger.reaches(line, question.within)]
        if free:
            found.append(f"Also {_points(question.within)} {reference}, and a floor: {', '.join(free)}.")
    for line in ledger.eligible(question.within):
        if line is ledger.reference:
            continue
        flops, seconds = answers[line.label]["flops"], answers[line.label]["seconds"]
        found.append(
            f"{line.label} costs less than {reference}: over {_times(question.upgrades, 'upgrade')}, in FLOPs "
            f"{meaning(flops.queries, 'queries')}, in time {meaning(seconds.queries, 'queries')}; at "
            f"{counted(question.queries, words=True)} queries, in FLOPs {meaning(flops.upgrades, 'upgrades')}, in time "
            f"{meaning(seconds.upgrades, 'upgrades')}."
        )
    return found


def cheapest_names(ledger: Ledger, within: float | None, question: Question) -> str:
    """The cheapest in FLOPs, by name."""
    lines = cheapest(ledger.eligible(within), "flops", question.upgrades, question.queries)
    return " and ".join(line.label for line in lines) or "not known"


def _winners(ledger: Ledger, question: Question, answers: dict[str, dict[str, Answer]]) -> str:
    parts = []
    for unit in ("flops", "seconds"):
        best = cheapest(ledger.eligible(question.within), unit, question.upgrades, question.queries)
        if not best:
            parts.append(f"in {NAMES[unit]} not known")
            continue
        shown = ["flops"] if unit == "flops" else ["seconds"] + (["money"] if question.price is not None else [])
        told, theirs = (
            ", ".join(_money_told(name) + _cell(answers[who][name].total, name).replace("\n", " ") for name in shown)
            for who in (best[0].label, ledger.reference.label)
        )
        compared = "" if best[0] is ledger.reference else f"; {ledger.reference.label} {theirs}"
        parts.append(f"in {NAMES[unit]} {' and '.join(line.label for line in best)} ({told}{compared})")
    return "; ".join(parts)


def _money_told(unit: str) -> str:
    return "money " if unit == "money" else ""


def _small_print(ledger: Ledger, question: Question) -> list[str]:
    found = [f"{label} is not totalled: {reason}." for label, reason in ledger.left_out.items()]
    gaps: dict[str, list[str]] = {}
    for line in ledger.lines:
        for unit, costs in line.costs.items():
            for name, term in zip(("once", "per upgrade", "per query"), costs.terms, strict=True):
                if isinstance(term, Gap):
                    gaps.setdefault(f"no {NAMES[unit]} {name}: {term.reason}", []).append(line.label)
                elif term.unknown:
                    gaps.setdefault(f"{NAMES[unit]} {name}: {term.unknown}", []).append(line.label)
    everyone = len(ledger.lines)
    found += [f"{'All methods' if len(who) == everyone else ', '.join(who)}: {reason}." for reason, who in gaps.items()]
    if ledger.embedded:
        found.append(
            f"Embedded models ({', '.join(ledger.embedded)}): they show the mechanism and prove nothing of real ones."
        )
    seeds = sorted({len(line.seeds) for line in ledger.lines})
    machine = f" on {', '.join(ledger.hardware)}, batch size {ledger.batch_size}"
    found.append(f"Per query: {ledger.unit}. Seeds: {' to '.join(map(str, seeds))}. Times{machine}.")
    shown = [
        "total",
        "flops",
        "seconds",
        *(["money"] if question.price is not None else []),
        "intervals",
        "floors",
        "data",
    ]
    if any(line.trials > 1 for line in ledger.lines):
        shown.append("search")
    return found + [
        f"{NAMES.get(name, name).capitalize().replace('Flops', 'FLOPs')}: {CONVENTIONS[name]}." for name in shown
    ]
