"""`prt-bench board`: the pages, what changed, and releases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from prt_bench.board.differences import differences
from prt_bench.board.reading import read_folder
from prt_bench.board.releases import LIST, RELEASES, find_release, freeze, read_release, refuse_bare
from prt_bench.board.serving import open_server
from prt_bench.board.table import Table, tables
from prt_bench.cli.difference_tables import difference_rows, print_differences
from prt_bench.cli.pages import build_pages
from prt_bench.cli.settings import Settings
from prt_bench.errors import RequestError, did_you_mean
from prt_bench.registry import Registry

__all__ = ["app"]

app = typer.Typer(help="The pages of all results.", no_args_is_help=True, rich_markup_mode=None)
SiteFolder = Annotated[Path | None, typer.Option("--site", help="Where to put them. [default: OUT/site]")]


@app.callback()
def board() -> None:
    """The pages of all results."""


@app.command()
def build(context: typer.Context, site: SiteFolder = None) -> int:
    """Build the pages from records, sessions and releases: static files that open by double click.

    Exit code 1 where a record or session is refused: it is named here and on the pages, which stand without it. Exit
    code 2, and nothing built, where a release is not as it was frozen.
    """
    settings: Settings = context.obj
    return _build(settings, site or settings.out / "site")


def _build(settings: Settings, site: Path) -> int:
    refuse_bare(settings.out)
    refused = build_pages(settings.out, site, Registry(settings.plugins), settings.store)
    typer.echo(str(site / "index.html"))
    return 1 if refused else 0


@app.command()
def serve(
    context: typer.Context,
    site: SiteFolder = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    host: Annotated[str, typer.Option(help="0.0.0.0 lets other machines read the pages.")] = "127.0.0.1",
) -> None:
    """Build the pages, then serve them to the browsers of this machine until Ctrl-C."""
    settings: Settings = context.obj
    folder = site or settings.out / "site"
    # Before the work: a port that is in use is told at once.
    server = open_server(folder, host, port)
    try:
        _build(settings, folder)
        typer.echo(server.address)
        server.serve_forever()
    finally:
        server.server_close()


@app.command()
def diff(
    context: typer.Context,
    before: Annotated[str, typer.Argument(metavar="A", help="A leaderboard folder, or a release: a name or folder.")],
    after: Annotated[str, typer.Argument(metavar="B", help="The same, later.")],
    as_json: Annotated[bool, typer.Option("--json", help="The changes as JSON.")] = False,
    fail_on_worse: Annotated[
        bool, typer.Option("--fail-on-worse", help="Exit code 1 where a row is worse beyond noise.")
    ] = False,
) -> int:
    """What changed from A to B: rows new, gone, better or worse beyond noise, within noise, not comparable.

    A name of a release of --out is that release; to name a folder that is called the same, write ./NAME.
    """
    settings: Settings = context.obj
    names = before, after
    found = differences(*(_tables(name, settings.out) for name in names))
    if as_json:
        typer.echo(json.dumps(difference_rows(found, names), indent=1))
    else:
        print_differences(found, names, Console())
    return 1 if fail_on_worse and found.of("worse") else 0


def _tables(name: str, out: Path) -> list[Table]:
    root = _root(name, out)
    holdings = read_folder(root)
    if holdings.refused:
        # Without it a row would seem to be gone.
        first, *others = holdings.refused
        more = f" (and {len(others)} more files)" if others else ""
        raise RequestError(f"board diff {name}: {root / first.path}: {first.reason}{more}")
    return tables(holdings.filed)


def _root(name: str, out: Path) -> Path:
    """The folder that holds the results of a board."""
    releases = out / RELEASES
    known = {path.name for path in releases.iterdir() if path.name[0] != "."} if releases.is_dir() else set()
    if name in known:
        return find_release(out, name).root
    folder = Path(name)
    if (folder / LIST).is_file():
        return read_release(folder).root
    if not folder.is_dir():
        raise RequestError(
            f"board diff {name}: neither a folder nor a release of --out {out}{did_you_mean(name, known)}"
        )
    if not (folder / "results").is_dir():
        raise RequestError(f"board diff {name}: the folder holds no results/; name a leaderboard folder or a release")
    return folder


@app.command("freeze")
def freeze_release(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Small letters, digits, '.', '_', '-'; for example embedded-2026.1.")],
    title: Annotated[str, typer.Option(help="For people. [default: NAME]")] = "",
    notes: Annotated[str, typer.Option(help="What a reader should know of it.")] = "",
    author: Annotated[
        list[str] | None, typer.Option(help="'Family, Given' or an organisation; several times: how to cite it.")
    ] = None,
    url: Annotated[str, typer.Option(help="Where it can be had: http or https.")] = "",
    date: Annotated[str, typer.Option(help="YYYY-MM-DD. [default: today]")] = "",
    results_from: Annotated[Path | None, typer.Option(help="A leaderboard folder to copy from. [default: OUT]")] = None,
) -> None:
    """Copy all records and sessions into OUT/releases/NAME with a frozen list of their digests: a citable board.

    Partial records are left out by name; failed and skipped ones are part of it; a damaged one stops it.
    """
    settings: Settings = context.obj
    made = freeze(
        settings.out, name, source=results_from, title=title, notes=notes, day=date, authors=author or (), url=url
    )
    for line in made.left_out:
        typer.echo(f"left out: {line}", err=True)
    release = made.release
    typer.echo(
        f"{release.records} records and {release.sessions} sessions frozen, files {release.fingerprint}", err=True
    )
    typer.echo(str(release.root))
