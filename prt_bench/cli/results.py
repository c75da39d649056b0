"""`prt-bench results`: the tables, for people and for programs."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console

from prt_bench.board.rows import csv_text, flat_rows, latex, markdown
from prt_bench.board.table import find_records, tables
from prt_bench.cli.settings import Settings
from prt_bench.cli.tables import print_tables

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
) -> None:
    """Print all results of the leaderboard folder."""
    settings: Settings = context.obj
    found = tables(find_records(settings.out))
    if format is Format.table:
        print_tables(found, Console())
        return
    rows = flat_rows(found)
    typer.echo(_written(rows, format), nl=False)


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
