"""A table as its page shows it: texts, footnotes, plots and links, ready for the template."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from pathlib import Path
from typing import NamedTuple

from prt_bench.board.numerals import duration, in_flops, number, points
from prt_bench.board.table import BEYOND, HEADLINE_BATCH, HEADLINE_PLACEMENT, Row, Table
from prt_bench.board.verdicts import GAINS, standing_of
from prt_bench.comparing import Comparison, Estimate, holm
from prt_bench.records import CostTerm, LatencyRow, Record

__all__ = [
    "NO_REASON",
    "Axis",
    "Footnotes",
    "RowView",
    "TableView",
    "Value",
    "cost_ratio",
    "is_headline",
    "table_view",
    "target_flops",
    "timed",
    "why",
]

NO_REASON = "the record gives no reason"
FREE_SECONDS = 0.1
"""A verb that saw no example and took less did nothing: what is left is the call itself."""
CURVE = (160, 34)
"""Width and height of a drawn curve, in pixels."""
VERBS = ("once", "per_upgrade")


class Value(NamedTuple):
    """What stands in one place of a table: a number, small print under it, numbers of footnotes, what it sorts by."""

    main: str
    small: tuple[str, ...] = ()
    notes: tuple[int, ...] = ()
    sort: float | None = None


class Footnotes(list[str]):
    """Reasons under a table, numbered in the order they are met; equal reasons share a number."""

    def number(self, text: str) -> int:
        """The number of this text."""
        if text not in self:
            self.append(text)
        return self.index(text) + 1

    def missing(self, reason: str) -> Value:
        """The place of a number that is not there."""
        return Value("–", (), (self.number(reason),))


class Axis(NamedTuple):
    """The common horizontal axis of a table's interval plots, in percentage points."""

    low: float
    high: float
    width: int = 160

    def x(self, value: float) -> float:
        """Where a value stands, in pixels."""
        return round(6 + (value - self.low) / (self.high - self.low) * (self.width - 12), 2)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Position and label of at most five round values."""
        rough = (self.high - self.low) / 4
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
        whole = range(math.ceil(self.low / step), math.floor(self.high / step) + 1)
        return [(self.x(n * step), f"{n * step:+g}".replace("-", "−") if n else "0") for n in whole]


@dataclass(frozen=True)
class RowView:
    """One row, ready to be shown."""

    row: Row
    score: Value
    difference: Value
    negative: bool
    """Told below the untuned target after Holm's correction: the tuning did harm there."""
    plot: tuple[float, float, float] | None
    """Low end, middle and high end of the difference on the table's axis."""
    flops: Value
    """GFLOPs per query."""
    times: list[Value]
    """Per query, by the table's hardware."""
    ratios: list[Value]
    """The same as ratios to the target alone."""
    latencies: Mapping[str, LatencyRow]
    """Hardware → the newest headline time there."""
    paid: list[Value]
    """Once and per upgrade."""
    more: list[Value]
    """Gains, differences, gap, agreement, calibration."""
    curve: list[str]
    line: str
    records: list[tuple[int, Path]]
    """Seed and file."""
    finished: str
    """The day of its newest record."""

    @property
    def costs(self) -> list[Value]:
        """As the table's columns have them."""
        return [self.flops, *self.times, *self.paid]


@dataclass(frozen=True)
class TableView:
    """One table, ready to be shown."""

    table: Table
    first: Record
    id: str
    rows: list[RowView]
    """Those that count."""
    superseded: list[RowView]
    groups: list[tuple[str, list[RowView]]]
    """Rows by role."""
    axis: Axis
    notes: Footnotes
    more_notes: Footnotes
    dates: tuple[str, str]
    """Days of the oldest and of the newest record."""
    curve_size: tuple[int, int] = CURVE

    @property
    def detectable(self) -> str | None:
        return None if self.table.detectable is None else f"{100 * self.table.detectable:.1f}"

    @property
    def trials(self) -> int:
        return max(len(view.row.curve) for view in self.rows)

    @property
    def best(self) -> int:
        """How many rows nothing is shown to beat."""
        return sum(view.row.verdicts.among_best for view in self.rows)

    @property
    def sessions(self) -> int:
        return len({view.row.latency.session for view in self.rows if view.row.latency})

    @property
    def seeds(self) -> tuple[int, int]:
        counts = [len(view.row.seeds) for view in self.rows]
        return min(counts), max(counts)


def table_view(table: Table, identity: str, records: Mapping[Path, Record]) -> TableView:
    """The view of a table; `records` holds its rows' records by path."""
    notes, more = Footnotes(), Footnotes()
    ends = [0.0, *(100 * end for row in table.rows if row.difference for end in row.difference.interval)]
    room = 0.05 * (max(ends) - min(ends)) or 1.0
    page = _Page(table, Axis(min(ends) - room, max(ends) + room), notes, more, _harmed(table))
    shown = [page.row(row, [(path, records[path]) for path in row.paths]) for row in table.rows]
    rows = [view for view in shown if not view.row.superseded]
    days = sorted(records[path].provenance.finished[:10] for view in rows for path in view.row.paths)
    return TableView(
        table=table,
        first=records[table.rows[0].paths[0]],
        id=identity,
        rows=rows,
        superseded=[view for view in shown if view.row.superseded],
        groups=[(role, list(group)) for role, group in groupby(rows, key=lambda view: view.row.role)],
        axis=page.axis,
        notes=notes,
        more_notes=more,
        dates=(days[0], days[-1]),
    )


def _harmed(table: Table) -> set[int]:
    """Rows (by identity) of methods that are told below the untuned target; forgetting, those of references too."""
    roles = ("method", "reference") if table.tuned_on else ("method",)
    compared_rows = [
        (id(row), found)
        for row in table.rows
        if row.role in roles and not row.superseded and isinstance(found := row.verdicts.to_target, Comparison)
    ]
    adjusted = holm([found.p for _, found in compared_rows])
    told = zip(compared_rows, adjusted, strict=True)
    return {key for (key, found), p in told if standing_of(found.value, p) == "below"}


@dataclass(frozen=True)
class _Page:
    """What rows of one table share."""

    table: Table
    axis: Axis
    notes: Footnotes
    more_notes: Footnotes
    harmed: set[int]

    def row(self, row: Row, entries: Sequence[tuple[Path, Record]]) -> RowView:
        records = [record for _, record in entries]
        newest, first = max(records, key=_finished), min(records, key=lambda record: record.cell.seed)
        seeds = sorted((record.cell.seed, path) for path, record in entries)
        times = [_newest_on(hardware, records) for hardware in self.table.hardware]
        return RowView(
            row=row,
            score=_estimated(row.verdicts.score, Footnotes()),
            difference=self._difference(row),
            negative=id(row) in self.harmed,
            plot=self._plot(row),
            flops=_flops(row, self.table, self.notes, newest),
            times=[self._time(found) for found in times],
            ratios=[_ratio(found) for found in times],
            latencies={
                name: found.latency
                for name, found in zip(self.table.hardware, times, strict=True)
                if isinstance(found, _Timed)
            },
            paid=[_paid(getattr(row, verb), self.notes, first, f"cost.{verb}") for verb in VERBS],
            more=self._more(row, newest),
            curve=[f"{100 * best:.1f}" for best in row.curve],
            line=self._line(row),
            records=seeds,
            finished=newest.provenance.finished[:10],
        )

    def _difference(self, row: Row) -> Value:
        if row.is_best_floor:
            return Value("–", sort=0.0)
        found = _compared(row.verdicts.to_floor, self.notes)
        told = row.verdicts.to_ensemble
        if isinstance(told, Comparison) and row.role != "floor" and row.difference:
            beside = _compared(told, self.notes)
            found = found._replace(small=(*found.small, "to plain ensemble", f"{beside.main} {beside.small[0]}"))
        return found

    def _plot(self, row: Row) -> tuple[float, float, float] | None:
        if row.difference is None:
            return None
        low, high = row.difference.interval
        return self.axis.x(100 * low), self.axis.x(100 * row.difference.value), self.axis.x(100 * high)

    def _more(self, row: Row, newest: Record) -> list[Value]:
        told, notes = row.verdicts, self.more_notes
        return [
            *(_compared(told.gains if isinstance(told.gains, str) else told.gains[name], notes) for name in GAINS),
            _compared(told.to_target, notes),
            _compared(told.to_reference, notes),
            _gap(told.gap, notes),
            _estimated(told.agreement, notes),
            *(_beyond(row, name, notes, newest) for name in BEYOND),
        ]

    def _time(self, found: _Timed | str) -> Value:
        return self.notes.missing(found) if isinstance(found, str) else timed(found.latency, self.notes, found.no_ratio)

    def _line(self, row: Row) -> str:
        """The curve of a row as points of an SVG line, on the scale of the table."""
        if len(row.curve) < 2:
            return ""
        every = [best for other in self.table.rows for best in other.curve]
        low, room = min(every), max(every) - min(every) or 1.0
        width, height = CURVE
        step = (width - 6) / (len(row.curve) - 1)
        places = ((3 + at * step, height - 4 - (best - low) / room * (height - 8)) for at, best in enumerate(row.curve))
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


class _Timed(NamedTuple):
    """A time, and why it is no ratio to the target's where it is none."""

    latency: LatencyRow
    no_ratio: str


def _newest_on(hardware: str, records: Sequence[Record]) -> _Timed | str:
    """The newest headline time on this hardware, or why there is none."""
    here = [record for record in records if record.environment.hardware == hardware]
    if not here:
        return f"not run on {hardware}"
    record = max(here, key=_finished)
    assert record.cost is not None
    rows = record.cost.per_query.latency
    found = next((row for row in rows or () if is_headline(row)), None)
    if found is None:
        return "batch 1 was not timed" if rows else why(record, "cost.per_query.latency")
    return _Timed(found, why(record, "cost.per_query.latency.*.ratio_to_target"))


def _ratio(found: _Timed | str) -> Value:
    """Without a reason: the time beside it has it."""
    if isinstance(found, str) or found.latency.ratio_to_target is None:
        return Value("–")
    low, middle, high = found.latency.ratio_to_target
    invalid = "" if found.latency.valid else ", not valid"
    return Value(f"{middle:.2f} ×", (f"[{low:.2f}, {high:.2f}]{invalid}",), sort=middle)


def _compared(found: Comparison | str, notes: Footnotes) -> Value:
    """A difference in points, or the reason why there is none."""
    if isinstance(found, str):
        return notes.missing(found)
    low, high = found.interval
    return Value(points(found.value), (f"[{points(low)}, {points(high)}]",), sort=found.value)


def _estimated(found: Estimate | str, notes: Footnotes) -> Value:
    """A share in per cent, or the reason why there is none."""
    if isinstance(found, str):
        return notes.missing(found)
    ends = ", ".join(f"{100 * end:.1f}" for end in found.interval)
    return Value(f"{100 * found.value:.1f}", (f"[{ends}]",), sort=found.value)


def _gap(found: tuple[float, float, float] | str, notes: Footnotes) -> Value:
    if isinstance(found, str):
        return notes.missing(found)
    low, share, high = (f"{100 * part:.0f}".replace("-", "−") for part in found)
    return Value(f"{share} %", (f"[{low}, {high}]",), sort=found[1])


def _beyond(row: Row, name: str, notes: Footnotes, record: Record) -> Value:
    value, metrics = row.quality[name], record.quality.metrics if record.quality else {}
    if value is None:
        return notes.missing(why(record, f"quality.{name}", f"the task has no {name.replace('_', ' ')}"))
    return Value(f"{100 * value:.1f}" if name in {*metrics, "ece"} else f"{value:.3f}", sort=value)


def _flops(row: Row, table: Table, notes: Footnotes, record: Record) -> Value:
    """GFLOPs per query, and how often those of the target alone."""
    total = row.per_query.flops.total
    if total is None:
        names = ", ".join(row.per_query.flops.uncounted_ops)
        reason = f"no FLOP count is known for {names}" if names else NO_REASON
        return notes.missing(why(record, "cost.per_query.flops.total", reason))
    target = target_flops(table)
    small = (f"{total / target:.2f} × target",) if target else ()
    return Value(number(total / 1e9), small, sort=total / 1e9)


def target_flops(table: Table) -> int | None:
    """FLOPs per query of the target alone: the floor that runs it and nothing else, with nothing before the query.

    Told by its members and its price, since no method is known by name here.
    """
    floors = [row.per_query.flops for row in table.rows if row.role == "floor"]
    return min((floor.total for floor in floors if floor.total and set(floor.by_member) == {"target"}), default=None)


def cost_ratio(there: Sequence[tuple[Table, Row]]) -> float | None:
    """FLOPs per query of a method, of those of the target alone: geometric mean over tables; None where one is not
    known."""
    amounts = [(row.per_query.flops.total, target_flops(table)) for table, row in there]
    logs = [math.log(total / target) for total, target in amounts if total and target]
    return math.exp(math.fsum(logs) / len(logs)) if logs and len(logs) == len(amounts) else None


def is_headline(latency: LatencyRow) -> bool:
    """Whether it is of the headline batch size, of members run one after another: placements share no column."""
    return (latency.batch_size, latency.placement) == (HEADLINE_BATCH, HEADLINE_PLACEMENT)


def timed(latency: LatencyRow, notes: Footnotes, no_ratio: str) -> Value:
    """A time in ms with its ratio to the target alone, and what is wrong with it."""
    small, marks = [], []
    if latency.ratio_to_target:
        low, middle, high = latency.ratio_to_target
        small = [f"{middle:.2f} × target", f"[{low:.2f}, {high:.2f}]"]
    else:
        marks.append(notes.number(f"ratio to the target: {no_ratio}"))
    if not latency.valid:
        marks.append(notes.number(f"not a valid timing: {'; '.join(latency.reasons) or NO_REASON}"))
    return Value(number(latency.p50_ms), tuple(small), tuple(marks), latency.p50_ms)


def _paid(term: CostTerm, notes: Footnotes, record: Record, path: str) -> Value:
    if not term.train_flops and not term.examples and (term.seconds or 0.0) < FREE_SECONDS:
        return Value("none", sort=0.0)
    times = [] if term.seconds is None else [duration(term.seconds)]
    small = (*times, *(["shared with other cells"] if term.reused else []))
    if term.train_flops is None:
        return Value("–", small, (notes.number(f"training FLOPs: {why(record, f'{path}.train_flops')}"),))
    return Value(in_flops(term.train_flops), small, sort=float(term.train_flops))


def why(record: Record, path: str, otherwise: str = NO_REASON) -> str:
    """What the record says about a value that is absent: under its own path or that of something around it."""
    around = accumulate(path.split("."), "{}.{}".format)
    return next((record.absent[name] for name in reversed([*around]) if name in record.absent), otherwise)


def _finished(record: Record) -> tuple[str, str]:
    return record.provenance.finished, record.cell.id
