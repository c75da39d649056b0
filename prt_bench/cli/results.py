"""`prt-bench results`: the tables, for people and for programs."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from prt_bench.board.contest_chart import draw_contests
from prt_bench.board.contests import Contest, contests
from prt_bench.board.drawing import refuse_unwritable
from prt_bench.board.rows import csv_text, flat_rows, latex, markdown
from prt_bench.board.table import tables
from prt_bench.cli.contest_tables import contest_rows, print_contests
from prt_bench.cli.counted import read_counted
from prt_bench.cli.settings import Settings
from prt_bench.cli.tables import print_gains, print_tables
from prt_bench.errors import RequestError

__all__ = ["results"]


class Format(StrEnum):
    """How results are written."""

    table = "table"
    json = "json"
    csv = "csv"
    latex = "latex"
    markdown = "markdown"


def results(
    context: typer.Context,
    format: Annotated[Format, typer.Option(help="How to write them.")] = Format.table,
    compare: Annotated[
        tuple[str, str] | None,
        typer.Option(help="Two methods: the paired difference, first − second, wherever both were run."),
    ] = None,
    chart: Annotated[Path | None, typer.Option(help="Draw that difference: a .svg, .png or .html file.")] = None,
) -> int:
    """Print all results of the leaderboard folder and its releases, or what they say of two methods.

    Exit code 1 where a file does not hold: it is named, and the rest is shown. Exit code 2 where a release is not as it
    was frozen.
    """
    settings: Settings = context.obj
    refuse_unwritable(chart)
    if chart is not None and compare is None:
        raise RequestError("--chart: say which two methods it shows, with --compare METHOD METHOD")
    if compare is not None and format not in (Format.table, Format.json):
        raise RequestError(f"--compare: written as table or json, not {format.value}")
    held = read_counted(settings.out)
    found = tables(held.filed)
    if compare is not None:
        _compare(contests(found, *compare), format, chart)
    elif format is Format.table:
        print_tables(found, Console())
        print_gains(found, Console())
    else:
        typer.echo(_written(flat_rows(found), format), nl=False)
    return 1 if held.refused else 0


def _compare(found: list[Contest], format: Format, chart: Path | None) -> None:
    if format is Format.json:
        typer.echo(json.dumps(contest_rows(found), indent=1))
    else:
        print_contests(found, Console())
    if chart is not None:
        draw_contests(found, chart)
        Console(stderr=True).print(f"chart: {chart}", markup=False, highlight=False, soft_wrap=True)


def _written(rows: list[dict[str, Any]], format: Format) -> str:
    match format:
        case Format.json:
            return json.dumps(rows, indent=1) + "\n"
        case Format.latex:
            return latex(rows)
        case Format.markdown:
            return markdown(rows)
        case _:
            return csv_text(rows)
