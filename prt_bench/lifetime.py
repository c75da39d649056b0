"""What a tuning costs over its lifetime: once + U · per upgrade + Q · per query; break-evens; who is cheapest where.

Pure arithmetic on amounts with their uncertainty. FLOPs and seconds are kept apart and never added up.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from prt_bench.errors import RequestError
from prt_bench.records import PairNames, Params
from prt_bench.stats import Z95

__all__ = [
    "DRAWS",
    "UNITS",
    "Amount",
    "Boundary",
    "BreakEven",
    "Costs",
    "Gap",
    "Ledger",
    "LedgerLine",
    "Segment",
    "Term",
    "boundaries",
    "break_even_queries",
    "break_even_upgrades",
    "cheapest",
    "combined",
    "counted",
    "exact",
    "measured",
    "parse_chain",
    "product",
    "student_t",
    "territory",
]

DRAWS = 2000
"""Of every uncertain amount, for the intervals of what is computed from it."""
TAIL = 0.025
TIE = 1e-9
"""Scores are sums of fractions: a difference below this is rounding."""

Unit = Literal["flops", "seconds"]
UNITS: tuple[Unit, ...] = ("flops", "seconds")
Kind = Literal["below", "above", "always", "never", "equal"]
"""Where a method costs less than another one: below the break-even, above it, everywhere, nowhere; or the same."""
KINDS: tuple[Kind, ...] = ("below", "above", "always", "never", "equal")


@dataclass(frozen=True)
class Gap:
    """An amount that is not known, and why."""

    reason: str


@dataclass(frozen=True)
class Amount:
    """FLOPs, seconds or money with a 95 % interval; `low` = `value` = `high` where it is exact."""

    value: float
    low: float | None
    high: float | None
    unknown: str = ""
    """Why there is no interval."""
    draws: NDArray[np.float64] | None = field(default=None, compare=False, repr=False)
    """(DRAWS,) Where it may lie; None where it is exact or its interval is not known."""


Term: TypeAlias = Amount | Gap


def exact(value: float) -> Amount:
    """An amount that was counted."""
    return Amount(value, value, value)


def measured(value: float, half: float, generator: np.random.Generator) -> Amount:
    """An amount that was measured: `half` is half the width of its 95 % interval. Costs are never below 0."""
    if half == 0:
        return exact(value)
    draws = np.maximum(generator.normal(value, half / Z95, DRAWS), 0.0)
    return Amount(value, max(value - half, 0.0), value + half, draws=draws)


def student_t(degrees: int) -> float:
    """The 97.5 % quantile of Student's t: half the width of a 95 % interval, in standard errors."""
    return float(stdtrit(degrees, 1 - TAIL))


def combined(parts: Sequence[tuple[float, Term]]) -> Term:
    """Σ factor · amount. A gap where any part is one; no interval where any part has none."""
    gaps = dict.fromkeys(term.reason for _, term in parts if isinstance(term, Gap))
    if gaps:
        return Gap("; ".join(gaps))
    amounts = [(factor, term) for factor, term in parts if isinstance(term, Amount)]
    value = math.fsum(factor * term.value for factor, term in amounts)
    unknown = "; ".join(dict.fromkeys(term.unknown for _, term in amounts if term.unknown))
    if unknown:
        return Amount(value, None, None, unknown)
    if all(term.draws is None for _, term in amounts):
        return exact(value)
    draws = np.zeros(DRAWS)
    for factor, term in amounts:
        draws += factor * (term.value if term.draws is None else term.draws)
    return _drawn(value, draws)


def product(one: Amount, other: Amount) -> Amount:
    """Of two amounts that vary independently, such as a ratio and the time that it is a ratio to."""
    value = one.value * other.value
    unknown = one.unknown or other.unknown
    if unknown:
        return Amount(value, None, None, unknown)
    if one.draws is None and other.draws is None:
        return exact(value)
    draws = (one.value if one.draws is None else one.draws) * (other.value if other.draws is None else other.draws)
    return _drawn(value, np.asarray(draws))


def _drawn(value: float, draws: NDArray[np.float64]) -> Amount:
    low, high = np.quantile(draws, [TAIL, 1 - TAIL])
    return Amount(value, min(float(low), value), max(float(high), value), draws=draws)


@dataclass(frozen=True)
class Costs:
    """One method's costs in one unit."""

    once: Term
    per_upgrade: Term
    per_query: Term

    def total(self, upgrades: float, queries: float) -> Term:
        """once + U · per upgrade + Q · per query."""
        return combined([(1.0, self.once), (upgrades, self.per_upgrade), (queries, self.per_query)])

    def scaled(self, factor: float) -> Costs:
        """In another unit, such as money."""
        once, per_upgrade, per_query = (combined([(factor, term)]) for term in self.terms)
        return Costs(once, per_upgrade, per_query)

    @property
    def terms(self) -> tuple[Term, Term, Term]:
        """once, per upgrade, per query."""
        return self.once, self.per_upgrade, self.per_query


@dataclass(frozen=True)
class LedgerLine:
    """One method over all pairs of a chain."""

    label: str
    method: str
    title: str
    role: str
    params: Params
    seeds: tuple[int, ...]
    score: float
    """Mean over seeds and targets, a fraction."""
    trials: int
    """How often work was done to find hyper-parameters; all of it is in the costs."""
    costs: Mapping[Unit, Costs]


@dataclass(frozen=True)
class Ledger:
    """All methods that were measured on every pair of a chain."""

    pairs: tuple[PairNames, ...]
    task: str
    version: str
    data_sha256: str
    primary: str
    n: int
    """Test items."""
    track: str
    recipe: str
    embedded: tuple[str, ...]
    """Models that ship with the package."""
    contamination: str
    unit: str
    """What a query is."""
    shape: Mapping[str, Any]
    batch_size: int
    hardware: tuple[str, ...]
    placements: tuple[str, ...]
    lines: tuple[LedgerLine, ...]
    """By role, then by score."""
    reference: LedgerLine
    left_out: Mapping[str, str]
    """Method → why it has no line."""
    notes: tuple[str, ...]

    def eligible(self, within: float | None) -> list[LedgerLine]:
        """Methods that may be called cheapest, best score first: those whose score is at most `within` points below
        the reference's, or all where no bound is asked for. Never floors: they are what one has for nothing."""
        found = [line for line in self.lines if line.role != "floor" and self.reaches(line, within)]
        return sorted(found, key=lambda line: -line.score)

    def reaches(self, line: LedgerLine, within: float | None) -> bool:
        """Whether a score is at most `within` points below the reference's."""
        return within is None or line.score >= self.reference.score - within / 100 - TIE


@dataclass(frozen=True)
class BreakEven:
    """Where a method costs less than another one, along queries or upgrades."""

    kind: Kind
    value: float | None
    """Where both cost the same; None where they nowhere do above 0, or do everywhere."""
    low: float | None
    """0 where it may be that there is no such place."""
    high: float | None
    """Infinite where it may be that there is no end."""
    shares: Mapping[Kind, float]
    """Kind → part of the draws."""
    unknown: str = ""
    """Why there is no interval."""

    @property
    def told(self) -> tuple[Kind, float | None]:
        """Kind and place for who counts from 1: a place below that, with its interval if it has one, is none."""
        doubtful = self.shares.get(self.kind, 1.0) < 1
        end = self.value if self.high is None and not doubtful else self.high
        if self.value is None or end is None or end >= 1:
            return self.kind, self.value
        return "always" if self.kind == "above" else "never", None


def break_even_queries(mine: Costs, theirs: Costs, upgrades: float) -> BreakEven | Gap:
    """How many queries in all, over so many upgrades: (theirs − mine without queries) / (mine − theirs per query)."""
    start = [(1.0, mine.once), (-1.0, theirs.once), (upgrades, mine.per_upgrade), (-upgrades, theirs.per_upgrade)]
    return _break_even(combined(start), combined([(1.0, mine.per_query), (-1.0, theirs.per_query)]))


def break_even_upgrades(mine: Costs, theirs: Costs, queries: float) -> BreakEven | Gap:
    """How many upgrades, at so many queries in all: (theirs − mine without upgrades) / (mine − theirs per upgrade)."""
    start = [(1.0, mine.once), (-1.0, theirs.once), (queries, mine.per_query), (-queries, theirs.per_query)]
    return _break_even(combined(start), combined([(1.0, mine.per_upgrade), (-1.0, theirs.per_upgrade)]))


def _break_even(start: Term, slope: Term) -> BreakEven | Gap:
    """Of the difference in cost, mine − theirs, start + slope · x."""
    if isinstance(start, Gap) or isinstance(slope, Gap):
        return Gap("; ".join(dict.fromkeys(term.reason for term in (start, slope) if isinstance(term, Gap))))
    kind, value = _crossing(start.value, slope.value)
    unknown = "; ".join(dict.fromkeys(filter(None, (start.unknown, slope.unknown))))
    if unknown:
        return BreakEven(kind, value, None, None, {kind: 1.0}, unknown)
    if start.draws is None and slope.draws is None:
        return BreakEven(kind, value, value, value, {kind: 1.0})
    starts = np.broadcast_to(start.value if start.draws is None else start.draws, DRAWS)
    slopes = np.broadcast_to(slope.value if slope.draws is None else slope.draws, DRAWS)
    drawn = [_crossing(float(one), float(other)) for one, other in zip(starts, slopes, strict=True)]
    shares: dict[Kind, float] = {name: sum(found == name for found, _ in drawn) / DRAWS for name in KINDS}
    shares = {name: share for name, share in shares.items() if share}
    if value is None:
        return BreakEven(kind, None, None, None, shares, "there is no break-even to give an interval of")
    opposite: Kind = "above" if kind == "below" else "below"
    if shares.get(opposite, 0.0) > TAIL:
        turned = f"in {shares[opposite]:.0%} of the draws it is the other way round: which costs more is not known"
        return BreakEven(kind, value, None, None, shares, turned)
    # No end and no place at all are the two ends of the scale; inverted_cdf never averages with infinity.
    nowhere, everywhere = (0.0, math.inf) if kind == "below" else (math.inf, 0.0)
    ends = {"never": nowhere, "always": everywhere, "equal": everywhere, opposite: nowhere}
    places = [ends[found] if place is None or found == opposite else place for found, place in drawn]
    low, high = np.quantile(np.array(places), [TAIL, 1 - TAIL], method="inverted_cdf")
    return BreakEven(kind, value, min(float(low), value), max(float(high), value), shares)


def _crossing(start: float, slope: float) -> tuple[Kind, float | None]:
    """Where start + slope · x is below 0, for x above 0."""
    if start == 0 and slope == 0:
        return "equal", None
    if start <= 0 and slope <= 0:
        return "always", None
    if start >= 0 and slope >= 0:
        return "never", None
    return ("below" if slope > 0 else "above"), -start / slope


def cheapest(lines: Sequence[LedgerLine], unit: Unit, upgrades: float, queries: float) -> list[LedgerLine]:
    """The methods of the lowest total: one, or several that cost the same; none where no total is known."""
    totals = [(line, line.costs[unit].total(upgrades, queries)) for line in lines]
    known = [(line, total.value) for line, total in totals if isinstance(total, Amount)]
    lowest = min((value for _, value in known), default=0.0)
    return [line for line, value in known if value == lowest]


@dataclass(frozen=True)
class Segment:
    """Numbers of queries at which one method is the cheapest; `end` is infinite for the last."""

    start: float
    end: float
    line: LedgerLine


@dataclass(frozen=True)
class Boundary:
    """Where the cheapest changes: at Q = at_no_upgrade + per_upgrade · U, from `few` queries to `many`."""

    few: LedgerLine
    many: LedgerLine
    at_no_upgrade: float
    per_upgrade: float


def territory(lines: Sequence[LedgerLine], unit: Unit, upgrades: float) -> list[Segment]:
    """Who is cheapest from 0 queries on, in closed form: the lower envelope of lines. Empty where no total is known.

    Of methods that cost the same the first of `lines` is named.
    """
    known = [
        (line, total.value, slope.value)
        for line in lines
        if isinstance(total := line.costs[unit].total(upgrades, 0.0), Amount)
        and isinstance(slope := line.costs[unit].per_query, Amount)
    ]
    if not known:
        return []
    found: list[Segment] = []
    here, now = 0.0, min(known, key=lambda entry: entry[1:])
    while True:
        lower = [entry for entry in known if entry[2] < now[2]]
        if not lower:
            return [*found, Segment(here, math.inf, now[0])]
        at = _meeting(now)
        after = min(lower, key=lambda entry: (at(entry), entry[2]))
        if at(after) > here:
            found.append(Segment(here, at(after), now[0]))
        here, now = max(here, at(after)), after


Straight: TypeAlias = tuple[LedgerLine, float, float]


def _meeting(now: Straight) -> Callable[[Straight], float]:
    return lambda entry: (entry[1] - now[1]) / (now[2] - entry[2])


def boundaries(lines: Sequence[LedgerLine], unit: Unit, grid: Sequence[float]) -> list[Boundary]:
    """Every place where the cheapest changes at some number of upgrades of `grid`, as a line in closed form."""
    met: dict[tuple[str, str], Boundary] = {}
    for upgrades in grid:
        segments = territory(lines, unit, upgrades)
        for one, other in pairwise(segments):
            few, many = one.line.costs[unit], other.line.costs[unit]
            start = [combined([(1.0, a), (-1.0, b)]) for a, b in zip(many.terms, few.terms, strict=True)]
            once, per_upgrade, per_query = (term.value for term in start if isinstance(term, Amount))
            made = Boundary(one.line, other.line, -once / per_query, -per_upgrade / per_query)
            met.setdefault((one.line.label, other.line.label), made)
    return list(met.values())


def parse_chain(texts: Sequence[str]) -> tuple[PairNames, ...]:
    """The pairs of a chain: `A:B` each, or `A:B:C` for A:B and A:C. RequestError where there is no one source."""
    pairs: list[PairNames] = []
    for text in texts:
        source, *targets = text.split(":")
        if not source or not targets or not all(targets):
            raise RequestError(
                f"--pair {text!r}: a pair is SOURCE:TARGET, and a chain SOURCE:TARGET:TARGET, tuned on the source and "
                "used on every target"
            )
        pairs += [PairNames(source=source, target=target) for target in targets]
    sources = list(dict.fromkeys(pair.source for pair in pairs))
    if len(sources) > 1:
        raise RequestError(
            f"--pair: the pairs of a chain have one source, tuned once and used on every target; here are "
            f"{', '.join(sources)}"
        )
    twice = next((pair for pair in pairs if pairs.count(pair) > 1), None)
    if twice is not None:
        raise RequestError(f"--pair {twice}: given twice, so its target would count twice")
    return tuple(pairs)


COUNTS = [
    (1.0, "", ""),
    (1e3, "k", "thousand"),
    (1e6, "M", "million"),
    (1e9, "bn", "billion"),
    (1e12, "tn", "trillion"),
]


def counted(number: float, words: bool = False) -> str:
    """How many, in three digits: 3.53 M, or in words 3.53 million."""
    rounded = float(f"{number:.3g}")
    if rounded and not 1e-3 <= rounded < 1e15:
        return f"{number:.3g}"
    size, short, long = next((step for step in reversed(COUNTS) if rounded >= step[0]), COUNTS[0])
    return f"{float(f'{number / size:.3g}'):.12g} {long if words else short}".strip()
