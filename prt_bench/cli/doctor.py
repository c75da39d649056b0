"""`prt-bench doctor`: what is wrong with this installation and this machine, all at once."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from prt_bench.cli.health import checks
from prt_bench.cli.settings import Settings

__all__ = ["doctor"]

STYLES = {"ok": "green", "note": "yellow", "problem": "red"}


def doctor(context: typer.Context, as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> int:
    """Say what is wrong with this installation and this machine, with the way out; exit code 0 where all is well."""
    settings: Settings = context.obj
    found = checks(settings)
    problems = [check for check in found if check.state == "problem"]
    if as_json:
        typer.echo(json.dumps({"well": not problems, "checks": [asdict(check) for check in found]}, indent=1))
        return 1 if problems else 0
    table = RichTable("", "state", "what was found", "way out")
    for check in found:
        state = f"[{STYLES[check.state]}]{check.state}[/]"
        table.add_row(check.name, state, escape(check.detail), escape(check.way_out))
    console = Console()
    console.print(table)
    console.print(f"{len(problems)} of {len(found)} checks found a problem" if problems else "all is well")
    return 1 if problems else 0
