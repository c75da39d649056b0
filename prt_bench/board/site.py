"""Records → one static page with its CSV and JSON twins. A pure function: same records, same bytes."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import resources
from itertools import accumulate, count, groupby
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from prt_bench.board.contests import standings
from prt_bench.board.numerals import duration, number, points
from prt_bench.board.rows import csv_text, flat_rows
from prt_bench.board.table import BEYOND, Filed, Row, Table, tables
from prt_bench.board.verdicts import GAINS
from prt_bench.comparing import Across, Comparison, Estimate
from prt_bench.files import write_atomically
from prt_bench.records import FLOP_CONVENTION, SCHEMA_VERSION, CostTerm, Record

__all__ = ["build_site"]

NO_REASON = "the record gives no reason"
FREE_SECONDS = 0.1
"""A verb that saw no example and took less did nothing: what is left is the call itself."""
LONGEST = 400
CURVE = (160, 34)
"""Width and height of a drawn curve, in pixels."""


def build_site(filed: Sequence[Filed], site: Path) -> Path:
    """Write index.html, results.csv and results.json of all records into `site`; returns the page's path."""
    ordered = sorted(filed, key=lambda entry: str(entry.path))
    found = tables(ordered)
    rows = flat_rows(found)
    write_atomically(site / "results.csv", csv_text(rows))
    write_atomically(site / "results.json", json.dumps(rows, indent=1) + "\n")
    write_atomically(site / "index.html", _page(ordered, found))
    return site / "index.html"


def _page(filed: Sequence[Filed], found: Sequence[Table]) -> str:
    records = {entry.path: entry.record for entry in filed}
    style = (resources.files("prt_bench.board") / "templates" / "board.css").read_text(encoding="utf-8")
    # Not select_autoescape: it goes by the file's name and is off for *.html.j2.
    environment = Environment(
        loader=PackageLoader("prt_bench.board"), autoescape=True, undefined=StrictUndefined, finalize=_safe,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    return environment.get_template("board.html.j2").render(
        style=Markup(style),
        style_hash=base64.b64encode(hashlib.sha256(style.encode()).digest()).decode(),
        pairs=_pairs(found, records),
        records=list(records.values()),
        counts=Counter("partial" if r.partial and r.status == "ok" else r.status for r in records.values()),
        newest=max(records.values(), key=_finished, default=None),
        flop_convention=FLOP_CONVENTION,
        schema_version=SCHEMA_VERSION,
        gains=GAINS,
        curve_size=CURVE,
    )


def _safe(value: Any) -> Any:
    """What a template prints: no control or bidirectional characters, no endless text. It is escaped after this."""
    if not isinstance(value, str) or isinstance(value, Markup):
        return value
    text = re.sub(r"\s+", " ", value)
    shown = "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(sign)[0] == "C" else sign for sign in text)
    return shown if len(shown) <= LONGEST else shown[:LONGEST] + "…"


class Value(NamedTuple):
    """What stands in one place of a table: a number, small print under it, numbers of footnotes."""

    main: str
    small: tuple[str, ...] = ()
    notes: tuple[int, ...] = ()


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

    def x(self, points: float) -> float:
        """Where a value stands, in pixels."""
        return round(6 + (points - self.low) / (self.high - self.low) * (self.width - 12), 2)

    @property
    def ticks(self) -> list[tuple[float, str]]:
        """Position and label of at most five round values."""
        rough = (self.high - self.low) / 4
        size = 10.0 ** math.floor(math.log10(rough))
        step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
        whole = range(math.ceil(self.low / step), math.floor(self.high / step) + 1)
        return [(self.x(n * step), f"{n * step:+g}".replace("-", "−") if n else "0") for n in whole]


def _pairs(found: Sequence[Table], records: Mapping[Path, Record]) -> list[dict[str, Any]]:
    """One section per pair, those of real models first."""
    ordered = sorted(found, key=lambda table: (table.embedded, str(table.pair), table.task, table.version))
    sections, numbers = [], count(1)
    for (embedded, _), same in groupby(ordered, key=lambda table: (table.embedded, str(table.pair))):
        group = list(same)
        views = [_table(table, next(numbers), records) for table in group]
        pair, names = views[0]["table"].pair, Counter(view["name"] for view in views)
        facts = {
            "pair": pair,
            "embedded": embedded,
            "tables": views,
            "names": names,
            "over_tasks": _over_tasks(group),
            "several_tracks": len({table.track for table in group}) > 1,
        }
        sections.append(facts | {"glance": _glance(views)})
    return sections


def _over_tasks(group: Sequence[Table]) -> list[tuple[str, str, list[dict[str, Any]]]]:
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
        for (_, track), lines in standings(group).items()
        if any(len(line.found.tasks) > 1 for line in lines)
    ]


def _mean(found: Across) -> Value:
    ends = () if found.interval is None else (f"[{', '.join(map(points, found.interval))}]",)
    return Value(points(found.mean), ends)


def _glance(views: Sequence[dict[str, Any]]) -> list[tuple[str, str, list[dict[str, Any] | None]]]:
    """Methods and references × the pair's tables: what each gains on each, where there is more than one table."""
    lines: dict[tuple[str, ...], list[dict[str, Any] | None]] = {}
    notes: dict[tuple[str, ...], str] = {}
    for place, view in enumerate(views):
        for row in view["rows"]:
            if row["role"] != "floor":
                key = (row["role"], row["title"], row["label"], row["settings"])
                lines.setdefault(key, [None] * len(views))[place] = row
                notes[key] = notes.get(key) or row["note"]
    # Stable: methods before references, each in the order they are met.
    ordered = sorted(lines.items(), key=lambda line: line[0][0] == "reference")
    named = [(key[1], " · ".join(filter(None, (key[2], notes[key]))), cells) for key, cells in ordered]
    return named if len(views) > 1 else []


def _table(table: Table, number: int, records: Mapping[Path, Record]) -> dict[str, Any]:
    notes, more = Footnotes(), Footnotes()
    ends = [0.0, *(100 * end for row in table.rows if row.difference for end in row.difference.interval)]
    room = 0.05 * (max(ends) - min(ends)) or 1.0
    axis = Axis(min(ends) - room, max(ends) + room)
    rows = [_row(row, table, axis, notes, more, [records[path] for path in row.paths]) for row in table.rows]
    first = records[table.rows[0].paths[0]]
    return {
        "table": table,
        "first": first,
        "id": f"table-{number}",
        "name": (table.task, table.version, first.cell.track, table.recipe),
        "detectable": table.detectable and f"{100 * table.detectable:.1f}",
        "trials": max(len(row.curve) for row in table.rows),
        "best": sum(row.verdicts.among_best for row in table.rows),
        "sessions": len({row.latency.session for row in table.rows if row.latency}),
        "axis": axis,
        "rows": rows,
        "groups": [(role, list(group)) for role, group in groupby(rows, key=lambda row: str(row["role"]))],
        "notes": notes,
        "more_notes": more,
    }


def _row(
    row: Row, table: Table, axis: Axis, notes: Footnotes, more: Footnotes, records: Sequence[Record]
) -> dict[str, Any]:
    newest, first = max(records, key=_finished), min(records, key=lambda record: record.cell.seed)
    told, difference, plot = row.verdicts, Value("–"), None
    if row.difference:
        low, high = row.difference.interval
        difference = _compared(row.difference, notes)
        if isinstance(told.to_ensemble, Comparison) and row.role != "floor":
            beside = _compared(told.to_ensemble, notes)
            lines = (*difference.small, "to plain ensemble", f"{beside.main} {beside.small[0]}")
            difference = difference._replace(small=lines)
        plot = [axis.x(100 * end) for end in (low, row.difference.value, high)]
    elif not row.is_best_floor:
        difference = notes.missing(str(told.to_floor))
    return {
        **{
            name: getattr(row, name)
            for name in ("label", "title", "role", "note", "settings", "seeds", "is_best_floor")
        },
        "score": Value(f"{100 * row.score:.1f}", (f"[{', '.join(f'{100 * end:.1f}' for end in row.score_ci95)}]",)),
        "difference": difference,
        "verdict": told.standing,
        "among_best": told.among_best,
        "more": [
            *(_compared(told.gains if isinstance(told.gains, str) else told.gains[name], more) for name in GAINS),
            _compared(told.to_target, more),
            _compared(told.to_reference, more),
            _gap(told.gap, more),
            _share(told.agreement, more),
            *(_beyond(row, name, more, newest) for name in BEYOND),
        ],
        "curve": [f"{100 * best:.1f}" for best in row.curve],
        "line": _line(row, table),
        "plot": plot,
        "costs": [
            _per_query(row, table, notes, newest),
            _latency(row, table, notes, newest),
            *(_paid(getattr(row, verb), notes, first, f"cost.{verb}") for verb in ("once", "per_upgrade")),
        ],
    }


def _line(row: Row, table: Table) -> str:
    """The curve of a row as points of an SVG line, on the scale of the table."""
    every = [best for other in table.rows for best in other.curve]
    if len(row.curve) < 2:
        return ""
    low, room = min(every), max(every) - min(every) or 1.0
    width, height = CURVE
    step = (width - 6) / (len(row.curve) - 1)
    places = ((3 + at * step, height - 4 - (best - low) / room * (height - 8)) for at, best in enumerate(row.curve))
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in places)


def _compared(found: Comparison | str, notes: Footnotes) -> Value:
    """A difference in points, or the reason why there is none."""
    if isinstance(found, str):
        return notes.missing(found)
    low, high = found.interval
    return Value(points(found.value), (f"[{points(low)}, {points(high)}]",))


def _gap(found: tuple[float, float, float] | str, notes: Footnotes) -> Value:
    if isinstance(found, str):
        return notes.missing(found)
    low, share, high = (f"{100 * part:.0f}".replace("-", "−") for part in found)
    return Value(f"{share} %", (f"[{low}, {high}]",))


def _share(found: Estimate | str, notes: Footnotes) -> Value:
    if isinstance(found, str):
        return notes.missing(found)
    return Value(f"{100 * found.value:.1f}", (f"[{', '.join(f'{100 * end:.1f}' for end in found.interval)}]",))


def _beyond(row: Row, name: str, notes: Footnotes, record: Record) -> Value:
    value, metrics = row.quality[name], record.quality.metrics if record.quality else {}
    if value is None:
        return notes.missing(_why(record, f"quality.{name}", f"the task has no {name.replace('_', ' ')}"))
    return Value(f"{100 * value:.1f}" if name in {*metrics, "ece"} else f"{value:.3f}")


def _per_query(row: Row, table: Table, notes: Footnotes, record: Record) -> Value:
    flops = row.per_query.flops
    if flops.total is None:
        reason = f"no FLOP count is known for {', '.join(flops.uncounted_ops)}" if flops.uncounted_ops else NO_REASON
        return notes.missing(_why(record, "cost.per_query.flops.total", reason))
    floors = [other.per_query.flops for other in table.rows if other.role == "floor"]
    # The floor that runs the target and nothing else, with nothing before the query: told by its members and its
    # price, since no method is known by name here.
    target = min((floor.total for floor in floors if floor.total and set(floor.by_member) == {"target"}), default=None)
    return Value(number(flops.total / 1e9), (f"{flops.total / target:.2f} × target",) if target else ())


def _latency(row: Row, table: Table, notes: Footnotes, record: Record) -> Value:
    path, latency = "cost.per_query.latency", row.latency
    if latency is None:
        return notes.missing("batch 1 was not timed" if row.per_query.latency else _why(record, path))
    small, marks = [f"on {record.environment.hardware}"] if len(table.hardware) > 1 else [], []
    if latency.ratio_to_target:
        low, middle, high = latency.ratio_to_target
        small += [f"{middle:.2f} × target", f"[{low:.2f}, {high:.2f}]"]
    else:
        marks.append(notes.number(f"ratio to the target: {_why(record, f'{path}.*.ratio_to_target')}"))
    if not latency.valid:
        marks.append(notes.number(f"not a valid timing: {'; '.join(latency.reasons) or NO_REASON}"))
    return Value(number(latency.p50_ms), tuple(small), tuple(marks))


def _paid(term: CostTerm, notes: Footnotes, record: Record, path: str) -> Value:
    if not term.train_flops and not term.examples and (term.seconds or 0.0) < FREE_SECONDS:
        return Value("none")
    times = [] if term.seconds is None else [duration(term.seconds)]
    small = (*times, *(["shared with other cells"] if term.reused else []))
    if term.train_flops is None:
        return Value("–", small, (notes.number(f"training FLOPs: {_why(record, f'{path}.train_flops')}"),))
    unit, size = next(((u, s) for u, s in (("P", 1e15), ("T", 1e12)) if term.train_flops >= s), ("G", 1e9))
    return Value(f"{number(term.train_flops / size)} {unit}FLOPs", small)


def _why(record: Record, path: str, otherwise: str = NO_REASON) -> str:
    """What the record says about a value that is absent: under its own path or that of something around it."""
    around = accumulate(path.split("."), "{}.{}".format)
    return next((record.absent[name] for name in reversed([*around]) if name in record.absent), otherwise)


def _finished(record: Record) -> tuple[str, str]:
    return record.provenance.finished, record.cell.id
