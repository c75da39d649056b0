"""Reads what the board counts, for whoever asked, and names what is not used."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from prt_bench.board.reading import Holdings
from prt_bench.board.releases import read_board, refuse_bare

__all__ = ["read_counted"]


def read_counted(out: Path) -> Holdings:
    """The results of a leaderboard folder and of its releases; files that are not used are named on stderr.

    Raises:
        RequestError: there are none, or a release is not as it was frozen.
    """
    refuse_bare(out)
    held, _ = read_board(out)
    stderr = Console(stderr=True)
    for one in held.refused:
        stderr.print(f"not used: {one.path}: {one.reason}", markup=False, highlight=False, soft_wrap=True)
    return held
