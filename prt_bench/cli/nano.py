"""`prt-bench nano build`: the embedded models, made again from their recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from prt_bench.cli.progress import Show
from prt_bench.errors import RequestError, did_you_mean

__all__ = ["app"]

app = typer.Typer(help="The embedded models.", no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def nano() -> None:
    """The embedded models."""


@app.command()
def build(
    names: Annotated[list[str] | None, typer.Argument(help="Models to make. [default: all]")] = None,
    to: Annotated[Path, typer.Option(help="Where to put them.")] = Path("nano-weights"),
) -> None:
    """Train the embedded models from procedural pictures and texts: the same bytes on the same machine."""
    from prt_bench.nano.build import build as train_vision
    from prt_bench.nano.language import LANGUAGE_RECIPES
    from prt_bench.nano.language import build as train_language
    from prt_bench.nano.recipes import RECIPES
    from prt_bench.store import writable

    known = [*RECIPES, *LANGUAGE_RECIPES]
    for name in names or ():
        if name not in known:
            raise RequestError(f"no recipe for a model {name!r}{did_you_mean(name, known)}")
    writable(to, "--to")
    chosen = names or known
    with Show(Console(stderr=True)) as show:
        for recipes, train in ((RECIPES, train_vision), (LANGUAGE_RECIPES, train_language)):
            asked = [name for name in chosen if name in recipes]
            if asked:
                train(asked, to, show.progress)
    typer.echo(str(to))
