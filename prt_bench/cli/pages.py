"""Builds the pages for whoever asked, and names what they stand without."""

from __future__ import annotations

from pathlib import Path

import typer

from prt_bench.board.site import build_site
from prt_bench.registry import Registry
from prt_bench.requests import suites

__all__ = ["build_pages"]


def build_pages(out: Path, site: Path, registry: Registry, store: Path) -> int:
    """The pages of a leaderboard folder; what was refused is named on stderr. Returns how many files that are."""
    refused = build_site(out, site, suites(registry).suites, store / "pictures")
    for found in refused:
        typer.echo(f"refused: {out / found.path}: {found.reason}", err=True)
    return len(refused)
