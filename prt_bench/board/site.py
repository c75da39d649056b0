"""Records and sessions → a folder of static pages. A pure function: same input, same bytes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import prt_bench
from prt_bench.board import addresses, catalogue, pages
from prt_bench.board.content import Content
from prt_bench.board.figures import Figures
from prt_bench.board.pages import Page
from prt_bench.board.pictures import Pictures
from prt_bench.board.reading import Refused, missing
from prt_bench.board.releases import FOLDERS, RELEASES, Release, bibtex, read_board
from prt_bench.board.rows import csv_text, flat_rows
from prt_bench.board.summaries import summaries
from prt_bench.board.table import Filed, Table, tables
from prt_bench.board.table_view import TableView, table_view
from prt_bench.board.templating import templates
from prt_bench.errors import RequestError
from prt_bench.files import digest, write_atomically
from prt_bench.requests import Suite

__all__ = ["build_site"]

MANIFEST, MADE_BY = "site.json", "prt-bench"
FIRST_SITES = {"index.html", "results.csv", "results.json"}
"""What sites were made of before they had a list of their files."""
LONGEST_LINK = 250
"""Signs of a copy's place."""
SCRIPTS = ("tables.js", "charts.js", "ledger.js")
STYLES = ("board.css", "tables.css", "charts.css", "ledger.css")


def build_site(out: Path, site: Path, suites: Mapping[str, Suite], pictures: Path) -> list[Refused]:
    """Write the pages of a leaderboard folder and its releases into `site`; drawn charts are kept in `pictures`.

    Returns the files that were refused, each with its reason; the pages list them, and stand without them.

    Raises:
        RequestError: a release is not what its frozen list says, or `site` holds files of somebody else.
    """
    _refuse_inside(site, out)
    before = _own_files(site)
    holdings, releases = read_board(out)
    found = sorted(tables(holdings.filed), key=_order)
    records = {entry.path: entry.record for entry in holdings.filed}
    every = [*holdings.filed, *(again.entry for again in holdings.repeated)]
    sessions = {entry.path: entry.session for entry in holdings.sessions}
    content = Content(
        views=list(_views(found, records)),
        records=records,
        copies={path: _copy(path.relative_to(out)) for path in (*(entry.path for entry in every), *sessions)},
        repeated=holdings.repeated,
        sessions=sessions,
        refused=holdings.refused,
        missing=missing(found),
        releases=[(release, _frozen(release, every)) for release in releases],
        groups=summaries(found, suites),
    )
    drawn = Pictures(pictures)
    figures = Figures(content.groups, content.views, drawn)
    writer = _Writer(site, before)
    assets = resources.files("prt_bench.board") / "assets"
    for name in SCRIPTS:
        writer.write(f"assets/{name}", (assets / name).read_bytes())
    writer.write("assets/board.css", b"".join((assets / name).read_bytes() for name in STYLES))
    writer.write("assets/vega.js", drawn.vega().encode())
    rows = flat_rows(found)
    writer.write("results.csv", csv_text(rows).encode())
    writer.write("results.json", (json.dumps(rows, indent=1) + "\n").encode())
    for path, copy in content.copies.items():
        writer.write(copy, path.read_bytes())
    print_page = _printer(content)
    # The front comes last: who sees it sees all that it leads to.
    for page in _all_pages(content, figures):
        writer.write(page.address, print_page(page).encode())
    writer.close(before)
    return list(holdings.refused)


def _order(table: Table) -> tuple[bool, str, str, bool, str, str]:
    return table.embedded, str(table.pair), table.task, table.track != "paper", table.version, table.recipe


def _views(found: Sequence[Table], records: Mapping[Path, Any]) -> Iterator[TableView]:
    """Tables of one page are told apart by their numbers, from the first."""
    numbers: Counter[str] = Counter()
    for table in found:
        page = addresses.table_page(table.pair, table.task)
        numbers[page] += 1
        yield table_view(table, f"table-{numbers[page]}", records)


def _frozen(release: Release, every: Sequence[Filed]) -> list[TableView]:
    """The tables of a release's own records, which no newer one changes; they stand on no page of their own."""
    mine = [entry for entry in every if entry.path.is_relative_to(release.root)]
    records = {entry.path: entry.record for entry in mine}
    return [table_view(table, "", records) for table in sorted(tables(mine), key=_order)]


def _copy(path: Path) -> str:
    """Where the copy of a record lies: as in its own folder, under names that are safe in a link."""
    folders = [addresses.plain_name(part) for part in path.parent.parts]
    copy = "/".join(["records", *folders, f"{addresses.plain_name(path.stem)}.json"])
    return copy if len(copy) <= LONGEST_LINK else f"records/{digest(copy)}.json"


def _all_pages(content: Content, figures: Figures) -> Iterator[Page]:
    yield from pages.table_pages(content, figures)
    yield from pages.pairs(content)
    yield from pages.results(content)
    yield from catalogue.methods(content)
    yield from catalogue.models(content)
    yield from catalogue.tasks(content)
    yield from catalogue.sessions(content)
    yield from catalogue.releases(content, prt_bench.__version__)
    yield catalogue.catalogue(content)
    yield pages.ledger(content)
    yield from pages.absent_pages(content)
    yield pages.front(content, figures)


def _printer(content: Content) -> Callable[[Page], str]:
    """Page → HTML. What every page says is worked out once."""
    said: dict[str, Any] = {
        "copies": content.copies,
        "hardware_columns": content.hardware,
        "hardware": sorted(
            {record.environment.hardware for record in content.records.values()}
            | {session.environment.hardware for session in content.sessions.values()}
        ),
        "newest": content.newest,
        "counts": {
            "ok": sum(len(line.shown.records) for line in content.lines),
            "absent": len(content.absent),
        },
        "citation": _citation(content),
    }

    def print_page(page: Page) -> str:
        root = "../" * page.address.count("/")
        return templates().get_template(page.template).render(said, **page.context, root=root, here=page.address)

    return print_page


def _citation(content: Content) -> str:
    """The newest release's entry; of a board without any, what can be said of it."""
    if content.releases:
        newest_release = max((release for release, _ in content.releases), key=lambda release: release.facts.date)
        return bibtex(newest_release, prt_bench.__version__)
    newest = content.newest
    year = newest[:4] or "n.d."
    return (
        f"@misc{{prtbench,\n  title = {{prt-bench: portable fine-tuning, measured side by side}},\n"
        f"  note = {{version {prt_bench.__version__}, records up to {newest[:10] or 'none'}}},\n  year = {{{year}}}\n}}"
    )


def _refuse_inside(site: Path, out: Path) -> None:
    """RequestError where pages would lie among what they are made of, and be read as that by the next build."""
    for name in (*FOLDERS, RELEASES):
        if site.resolve().is_relative_to((out / name).resolve()):
            raise RequestError(
                f"--site {site}: lies in {out / name}, which the pages are made of; name a folder beside it"
            )


def _own_files(site: Path) -> list[str]:
    """What an earlier build left in this folder. RequestError where it holds files of somebody else."""
    there = {path.name for path in site.iterdir()} if site.is_dir() else set()
    if not site.exists() or (site.is_dir() and there <= FIRST_SITES):
        return sorted(there)
    try:
        manifest = json.loads((site / MANIFEST).read_text(encoding="utf-8"))
        files = [str(name) for name in manifest["files"]] if manifest["made_by"] == MADE_BY else None
    except (OSError, ValueError, KeyError, TypeError):
        files = None
    if files is None:
        raise RequestError(f"--site {site}: holds files that are no site of prt-bench; name an empty or a new folder")
    return [name for name in files if not Path(name).is_absolute() and ".." not in Path(name).parts]


class _Writer:
    """Files of a site: written where they differ from what is there, and no others left behind."""

    def __init__(self, site: Path, before: Sequence[str]) -> None:
        self._site = site
        self._written: list[str] = []
        # At once: what a build leaves that is killed is still known as a site.
        self._list(before)

    def write(self, name: str, content: bytes) -> None:
        """Put one file into its place, whole."""
        path = self._site / name
        self._written.append(name)
        if not path.is_file() or path.read_bytes() != content:
            write_atomically(path, content, durable=False)

    def close(self, before: Iterable[str]) -> None:
        """Remove what an earlier build left and this one did not write, and list what it did."""
        for name in set(before) - set(self._written):
            (self._site / name).unlink(missing_ok=True)
        self._list(self._written)

    def _list(self, files: Iterable[str]) -> None:
        manifest = {"made_by": MADE_BY, "files": sorted(files)}
        write_atomically(self._site / MANIFEST, json.dumps(manifest, indent=1) + "\n")
