"""A leaderboard folder of records written by hand, and the site built of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from prt_bench.board.pictures import Pictures
from prt_bench.board.site import build_site
from tests.board.filing import Build, File, filer


@pytest.fixture
def file(tmp_path: Path) -> File:
    """Files a record with its predictions: the first `right` of the N items are answered rightly."""
    return filer(tmp_path / "board")


@pytest.fixture
def build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Build:
    """Builds the site, without drawing its charts, and returns the text of a page."""
    monkeypatch.setattr(Pictures, "all_svg", lambda self, charts: ["<svg></svg>"] * len(charts))

    monkeypatch.setattr(Pictures, "vega", lambda self: "")

    def text(page: str = "pairs/old__new__digits.html") -> str:
        build_site(tmp_path / "board", tmp_path / "site", {}, tmp_path / "pictures")
        return (tmp_path / "site" / page).read_text(encoding="utf-8")

    return text
