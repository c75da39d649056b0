"""`prt-bench fetch`: weights and data from the hub, by commit and digest, ahead of a run."""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from prt_bench.benchmarks import fetch_nltk
from prt_bench.cli import selection
from prt_bench.cli.progress import Show
from prt_bench.cli.settings import Settings
from prt_bench.cli.tables import in_bytes
from prt_bench.errors import RequestError
from prt_bench.fetching import Remote, download, look_up
from prt_bench.language_spec import LanguageSpec
from prt_bench.needs import Need, needs, specs
from prt_bench.pins import Pin, write_pin
from prt_bench.places import manifest
from prt_bench.registry import Registry
from prt_bench.requests import choice
from prt_bench.store import writable

__all__ = ["fetch", "fetch_needs", "needs_table"]


def fetch(
    context: typer.Context,
    pair: selection.Pair = None,
    suite: selection.Suite = None,
    task: selection.Task = None,
    method: selection.Method = None,
    data: selection.Data = None,
    recipe: selection.Recipe = None,
    pin: Annotated[
        bool, typer.Option("--pin", help="Note commit and digests; nothing else is taken for it then.")
    ] = False,
) -> None:
    """Fetch what a run of the same words needs; what is there already is not fetched again.

    Files go into the store, or into --weights-dir and --data-dir where those are given. Then --offline runs work.
    """
    settings: Settings = context.obj
    if settings.offline:
        raise RequestError("--offline: fetch needs the network")
    for folder, option in ((settings.weights_dir, "--weights-dir"), (settings.data_dir, "--data-dir")):
        if folder is not None:
            writable(folder, option)
    request = selection.request_of(settings, pair, suite, task, method, data, recipe=recipe)
    registry = Registry(request.plugins, request.pins)
    found = needs(request, choice(request, registry), registry, own_folders=True)
    console = Console(stderr=True)
    for spec in specs(request, choice(request, registry), registry):
        if isinstance(spec, LanguageSpec):
            for name in fetch_nltk(spec, request.store / "nltk"):
                console.print(f"NLTK's {name} for {spec.name}: in {request.store / 'nltk'}", soft_wrap=True)
    if not found:
        console.print("nothing to fetch: all of it ships with the package", highlight=False)
        return
    fetch_needs(found, registry, console, request.pins if pin else None)


def fetch_needs(found: Sequence[Need], registry: Registry, console: Console, pins: Path | None) -> None:
    """Fetch what is not at hand; with `pins`, look all of it up and note commits and digests there.

    Raises:
        RequestError: something cannot be had, or does not fit on the disk; what was fetched before it stays.
    """
    wanted = [need for need in found if pins is not None or not need.at_hand]
    for need in found:
        if need not in wanted:
            console.print(f"{need.what}: at hand", highlight=False, soft_wrap=True)
    with Show(console) as show:
        remotes = []
        for number, need in enumerate(wanted):
            show.progress(f"looking up {need.repository}", number, len(wanted))
            remotes.append(look_up(need.kind, need.repository, need.revision))
    _print_remotes(wanted, remotes, console)
    _refuse_too_much(wanted, remotes)
    for need, remote in zip(wanted, remotes, strict=True):
        pin = registry.pins.of(need.kind).get(need.repository)
        with Show(console) as show:
            names = download(remote, need.files, need.folder, pin, show.progress)
        console.print(
            f"{need.what}: {len(names)} files of {remote.repository} at {remote.revision[:12]} in {need.folder}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
        if pins is not None:
            _pin(need, remote, pins)
            console.print(f"  pinned in {pins}", markup=False, highlight=False, soft_wrap=True)


def needs_table(found: Sequence[Need]) -> RichTable:
    """What a run stands on: where it comes from, how large it is, under which terms."""
    table = RichTable(title="weights and data", title_justify="left")
    table.add_column("what, and where it is on the hub", overflow="fold", ratio=5)
    table.add_column("size, about", justify="right", no_wrap=True)
    table.add_column("terms", ratio=2)
    table.add_column("state", no_wrap=True)
    for need in found:
        state = "at hand" if need.at_hand else "to fetch"
        table.add_row(
            f"{escape(need.what)}\n  {escape(need.repository)}",
            "not known" if need.size_bytes is None else in_bytes(need.size_bytes),
            escape(need.licence) + (", gated" if need.gated else ""),
            state if need.verified else f"{state}\nnot pinned",
        )
    return table


def _print_remotes(wanted: Sequence[Need], remotes: Sequence[Remote], console: Console) -> None:
    if not wanted:
        return
    table = RichTable("what", "size", "commit", "licence on the hub", "gated", title="to fetch", title_justify="left")
    for need, remote in zip(wanted, remotes, strict=True):
        size = sum(file.size for file in remote.chosen(need.files))
        gated = "yes: its terms must be accepted" if remote.gated else "no"
        table.add_row(escape(need.what), in_bytes(size), remote.revision[:12], escape(remote.licence), gated)
    console.print(table)


def _refuse_too_much(wanted: Sequence[Need], remotes: Sequence[Remote]) -> None:
    by_folder: dict[Path, int] = {}
    for need, remote in zip(wanted, remotes, strict=True):
        place = next(folder for folder in (need.folder, *need.folder.parents) if folder.exists())
        whole = {file["name"] for file in (manifest(need.folder) or {"files": []})["files"]}
        missing = sum(file.size for file in remote.chosen(need.files) if file.name not in whole)
        by_folder[place] = by_folder.get(place, 0) + missing
    for place, size in by_folder.items():
        free = shutil.disk_usage(place).free
        if size > free:
            raise RequestError(
                f"{place}: {in_bytes(size)} are to be fetched and {in_bytes(free)} are free; name another folder with "
                "--store, --weights-dir or --data-dir"
            )


def _pin(need: Need, remote: Remote, pins: Path) -> None:
    files = {str(file["name"]): str(file["sha256"]) for file in (manifest(need.folder) or {"files": []})["files"]}
    pin = Pin(
        revision=remote.revision,
        files=files,
        size_bytes=sum(file.size for file in remote.chosen(need.files)),
        licence=remote.licence,
        gated=remote.gated,
        checked=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )
    write_pin(pins, need.kind, need.repository, pin)
