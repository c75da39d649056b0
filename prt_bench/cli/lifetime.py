"""`prt-bench lifetime`: what a tuning costs over upgrades and queries, and which method is cheapest where."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from prt_bench.board.drawing import refuse_unwritable
from prt_bench.cli.counted import read_counted
from prt_bench.cli.lifetime_text import CONVENTIONS, THRESHOLDS, Question, answer, meaning, print_ledger
from prt_bench.cli.settings import Settings
from prt_bench.errors import RequestError
from prt_bench.lifetime import (
    UNITS,
    BreakEven,
    Gap,
    Ledger,
    LedgerLine,
    Term,
    boundaries,
    break_even_queries,
    break_even_upgrades,
    cheapest,
    parse_chain,
    territory,
)
from prt_bench.lifetime_records import read_ledger
from prt_bench.records import SCHEMA_VERSION

__all__ = ["lifetime"]

MOST = 1e30
GRID = (*(float(digit * 10**power) for power in range(3) for digit in (1, 2, 5)), 1000.0)
"""Upgrades of the map in JSON; queries need no grid."""


class Track(StrEnum):
    """Which records."""

    paper = "paper"
    equal = "equal"


def lifetime(
    context: typer.Context,
    pair: Annotated[
        list[str], typer.Option(help="SOURCE:TARGET; several of one source, or SOURCE:TARGET:TARGET, are a chain.")
    ],
    task: Annotated[str, typer.Option(help="A task that was run.")],
    upgrades: Annotated[int, typer.Option(help="How many times the model is replaced.")],
    queries: Annotated[float, typer.Option(help="How many queries in all; 1e9 will do.")],
    price: Annotated[float | None, typer.Option(help="Of one hour of the machine of the records.")] = None,
    within: Annotated[
        float | None, typer.Option(help="Only methods at most so many points below the reference may be cheapest.")
    ] = None,
    track: Annotated[Track, typer.Option(help="Records of which track.")] = Track.paper,
    recipe: Annotated[str | None, typer.Option(help="Records of which recipe, where there are several.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Queries at once, as timed.")] = 1,
    chart: Annotated[Path | None, typer.Option(help="Also draw it: a file ending in .svg, .png or .html.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All of it as JSON.")] = False,
) -> int:
    """Total each method: once + upgrades · per upgrade + queries · per query, in FLOPs, time and money.

    Exit code 1 where a file of the leaderboard folder does not hold: it is named, and the ledger stands without it.
    """
    settings: Settings = context.obj
    for name, value in (("--upgrades", upgrades), ("--queries", queries), ("--price", price)):
        if value is not None and not 0 < value <= MOST:
            raise RequestError(f"{name} {value:g}: a number above 0, at most {MOST:g}")
    if within is not None and not 0 <= within <= 100:
        raise RequestError(f"--within {within:g}: points between 0 and 100")
    refuse_unwritable(chart)
    chain = parse_chain(pair)
    held = read_counted(settings.out)
    ledger = read_ledger(settings.out, chain, task, track.value, recipe, batch_size, held)
    question = Question(upgrades, queries, price, within)
    if as_json:
        typer.echo(json.dumps(_document(ledger, question), indent=1, allow_nan=False))
    else:
        print_ledger(ledger, question, Console())
    stderr = Console(stderr=True)
    for note in ledger.notes:
        stderr.print(f"note: {note}", markup=False, highlight=False, soft_wrap=True)
    if chart is not None:
        # Drawing loads what nothing else here needs.
        from prt_bench.board.ledger_chart import draw

        draw(ledger, upgrades, queries, within, chart)
        stderr.print(f"chart: {chart}", markup=False, highlight=False, soft_wrap=True)
    return 1 if held.refused else 0


def _document(ledger: Ledger, question: Question) -> dict[str, Any]:
    """All of it, for programs. What is null says why under `absent`, by dotted path."""
    asked = (
        ("price_per_hour", question.price, "no --price was given"),
        ("within_points", question.within, "no --within was given: scores are not looked at"),
    )
    absent = {name: why for name, value, why in asked if value is None}
    eligible = ledger.eligible(question.within)
    return {
        "schema_version": SCHEMA_VERSION,
        "pairs": [str(pair) for pair in ledger.pairs],
        "source": ledger.pairs[0].source,
        "targets": [pair.target for pair in ledger.pairs],
        "task": ledger.task,
        "version": ledger.version,
        "data_sha256": ledger.data_sha256,
        "contamination": ledger.contamination,
        "metric": ledger.primary,
        "n": ledger.n,
        "track": ledger.track,
        "recipe": ledger.recipe,
        "embedded_models": list(ledger.embedded),
        "upgrades": question.upgrades,
        "queries": question.queries,
        "price_per_hour": question.price,
        "within_points": question.within,
        "query": {"unit": ledger.unit, "shape": dict(ledger.shape), "batch_size": ledger.batch_size},
        "hardware": list(ledger.hardware),
        "placement": list(ledger.placements),
        "units": {"flops": "FLOP", "seconds": "s", "money": "as the price", "score": "fraction"},
        "conventions": CONVENTIONS,
        "reference": ledger.reference.label,
        "methods": [_line(ledger, line, question, f"methods.{i}", absent) for i, line in enumerate(ledger.lines)],
        "left_out": dict(ledger.left_out),
        "cheapest": _cheapest(ledger, question.within, question, "cheapest", absent),
        "cheapest_within": [
            {"points": points, **_cheapest(ledger, points, question, f"cheapest_within.{i}", absent)}
            for i, points in enumerate(THRESHOLDS)
        ],
        "map": {unit: _map(eligible, unit, absent) for unit in UNITS},
        "between_methods": _between(eligible, question, absent),
        "notes": list(ledger.notes),
        "absent": absent,
    }


def _line(ledger: Ledger, line: LedgerLine, question: Question, path: str, absent: dict[str, str]) -> dict[str, Any]:
    reaches = ledger.reaches(line, question.within)
    if line.role == "floor":
        absent[f"{path}.eligible"] = "a floor is what one has for nothing: never called cheapest"
    found: dict[str, Any] = {
        "label": line.label,
        "method": line.method,
        "title": line.title,
        "role": line.role,
        "params": line.params,
        "seeds": list(line.seeds),
        "trials": line.trials,
        "score": line.score,
        "score_minus_reference": line.score - ledger.reference.score,
        "within": reaches,
        "eligible": None if line.role == "floor" else reaches,
    }
    for unit, told in answer(ledger, line, question).items():
        terms = dict(zip(("once", "per_upgrade", "per_query"), told.costs.terms, strict=True)) | {"total": told.total}
        found[unit] = {name: _term(term, f"{path}.{unit}.{name}", absent) for name, term in terms.items()}
        for along, place in (("queries", told.queries), ("upgrades", told.upgrades)):
            name = f"break_even_{along}"
            found[unit][name] = _break_even(place, along, f"{path}.{unit}.{name}", absent)
    return found


def _term(term: Term, path: str, absent: dict[str, str]) -> dict[str, Any] | None:
    if isinstance(term, Gap):
        absent[path] = term.reason
        return None
    if term.low is None:
        absent |= {f"{path}.{end}": term.unknown for end in ("low", "high")}
    return {"low": term.low, "value": term.value, "high": term.high}


def _break_even(found: BreakEven | Gap | None, along: str, path: str, absent: dict[str, str]) -> dict[str, Any] | None:
    if not isinstance(found, BreakEven):
        absent[path] = "this is the reference" if found is None else found.reason
        return None
    ends = {"low": found.low, "high": found.high}
    for name, value in ends.items():
        if value is None:
            absent[f"{path}.{name}"] = found.unknown
        elif math.isinf(value):
            ends[name] = None
            absent[f"{path}.{name}"] = "without end in more than 2.5 % of the draws"
    if found.value is None:
        absent[f"{path}.value"] = f"the costs are nowhere equal above 0: {found.kind}"
    return {
        "cheaper": found.kind,
        "low": ends["low"],
        "value": found.value,
        "high": ends["high"],
        "shares_of_draws": dict(found.shares),
        "meaning": f"costs less {meaning(found, along)}",
    }


def _cheapest(
    ledger: Ledger, within: float | None, question: Question, path: str, absent: dict[str, str]
) -> dict[str, Any]:
    """Money ranks as the seconds do."""
    lines = ledger.eligible(within)
    found: dict[str, Any] = {"eligible": [line.label for line in lines]}
    for unit in UNITS:
        best = [line.label for line in cheapest(lines, unit, question.upgrades, question.queries)]
        found[unit] = best or None
        if not best:
            absent[f"{path}.{unit}"] = "no method has a total"
    return found


def _map(lines: Sequence[LedgerLine], unit: Any, absent: dict[str, str]) -> dict[str, Any] | None:
    """Who is cheapest at some upgrades, by segments of queries, and where that changes as a closed form."""
    strips = {upgrades: territory(lines, unit, upgrades) for upgrades in GRID}
    if not any(strips.values()):
        absent[f"map.{unit}"] = "no method has a total"
        return None
    absent[f"map.{unit}.strips.*.segments.*.to_queries"] = "null where there is no end"
    return {
        "strips": [
            {
                "upgrades": upgrades,
                "segments": [
                    {
                        "from_queries": segment.start,
                        "to_queries": None if math.isinf(segment.end) else segment.end,
                        "method": segment.line.label,
                    }
                    for segment in segments
                ],
            }
            for upgrades, segments in strips.items()
        ],
        "boundaries": [
            {
                "cheapest_below": boundary.few.label,
                "cheapest_above": boundary.many.label,
                "queries": {"at_no_upgrade": boundary.at_no_upgrade, "per_upgrade": boundary.per_upgrade},
            }
            for boundary in boundaries(lines, unit, GRID)
        ],
    }


def _between(lines: Sequence[LedgerLine], question: Question, absent: dict[str, str]) -> list[dict[str, Any]]:
    """Break-evens of every two methods that may be cheapest."""
    found: list[dict[str, Any]] = []
    for place, other in enumerate(lines):
        for line in lines[place + 1 :]:
            path = f"between_methods.{len(found)}"
            entry: dict[str, Any] = {"method": line.label, "other": other.label}
            for unit in UNITS:
                mine, theirs = line.costs[unit], other.costs[unit]
                both = {
                    "queries": break_even_queries(mine, theirs, question.upgrades),
                    "upgrades": break_even_upgrades(mine, theirs, question.queries),
                }
                entry[unit] = {
                    f"break_even_{along}": _break_even(told, along, f"{path}.{unit}.break_even_{along}", absent)
                    for along, told in both.items()
                }
            found.append(entry)
    return found
