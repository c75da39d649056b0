"""`prt-bench board`: the page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from prt_bench.board.site import build_site
from prt_bench.board.table import find_records
from prt_bench.cli.settings import Settings

__all__ = ["app"]

app = typer.Typer(help="The page of all results.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def board() -> None:
    """The page of all results."""


@app.command()
def build(
    context: typer.Context,
    site: Annotated[Path | None, typer.Option(help="Where to put it. [default: OUT/site]")] = None,
) -> None:
    """Build the page from the records: one static file that opens by double click."""
    settings: Settings = context.obj
    typer.echo(str(build_site(find_records(settings.out), site or settings.out / "site")))
