"""All that was read, by page: what comes first, which card counts, and that nothing vanishes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from prt_bench.board import pages, site
from prt_bench.board.content import Content
from prt_bench.board.pictures import Pictures
from tests.board.filing import File, Reader, floors
from tests.board.test_reading import SESSION, write_session


@pytest.fixture
def content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Reads the folder as a build does, and returns what its pages are made of."""
    monkeypatch.setattr(Pictures, "all_svg", lambda self, charts: ["<svg></svg>"] * len(charts))
    monkeypatch.setattr(Pictures, "vega", lambda self: "")
    met: list[Content] = []
    known = site._printer
    monkeypatch.setattr(site, "_printer", lambda content: met.append(content) or known(content))

    def read() -> Content:
        site.build_site(tmp_path / "board", tmp_path / "site", {}, tmp_path / "pictures")
        return met[-1]

    return read


def test_each_state_of_what_is_in_no_verdict_is_told_with_its_reason(file: File, content: Any, tmp_path: Path) -> None:
    floors(file)
    floors(file, task="letters")
    file("eft", 320, title="EFT", valid=False)
    file("eft", 300, title="EFT", finished="2025-01-01T00:00:00+00:00")
    file("prt", 0, error="diverged", seed=3)
    path = file("lora", 0, error="no weights")
    record = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**record, "status": "skipped"}), encoding="utf-8")
    file("part", 320, limit=16)
    (tmp_path / "board" / "results" / "x.json").write_text("{", encoding="utf-8")
    found = content()
    told = {(line.state, line.method, line.seed): line for line in found.absent}
    assert [state for state, _ in found.states] == [
        "refused", "failed", "skipped", "partial", "missing", "superseded", "invalid timing",
    ]  # fmt: skip
    assert sum(count for _, count in found.states) == len(found.absent) == len(told)
    assert told["failed", "prt", "3"].reason == "CellError: diverged (fit)"
    assert told["skipped", "lora", "0"].reason == "no weights"
    assert told["partial", "part", "0"].reason == "made with --limit: a part of the test"
    assert told["superseded", "EFT", "0"].reason.startswith("there is a newer record of the same cell")
    assert told["invalid timing", "EFT", "0"].reason == "the warm-up did not settle"
    assert told["missing", "EFT", "0"].task == "letters"
    assert told["refused", "", ""].reason.startswith("results/x.json: ")
    for line in found.absent:
        if line.state not in ("refused", "missing"):
            assert (line.pair, line.track) == ("old → new", "paper")
            assert (tmp_path / "site" / line.link.partition("#")[0]).is_file(), "it leads to its record or row"


def test_an_older_state_is_neither_missing_nor_an_invalid_timing(file: File, content: Any) -> None:
    floors(file)
    file("eft", 320, finished="2027-01-01T00:00:00+00:00")
    file("eft", 300, valid=False)
    assert [state for state, _ in content().states] == ["superseded"]


def test_rows_and_pairs_of_real_models_come_first(file: File, content: Any) -> None:
    floors(file, pair=("a", "b"))
    floors(file, pair=("c", "d"), task="letters", embedded=False)
    found = content()
    assert [str(pair) for pair in found.pairs] == ["c:d", "a:b"]
    assert list(dict.fromkeys(str(line.table.pair) for line in found.lines)) == ["c:d", "a:b"]


def test_a_pair_that_only_failed_or_was_only_timed_has_a_page(file: File, content: Any, tmp_path: Path) -> None:
    file("eft", 0, error="diverged", pair=("a", "b"))
    write_session(tmp_path / "board", SESSION)
    found = content()
    assert [str(pair) for pair in found.pairs] == ["a:b", "old-0:new-0"]
    assert list(found.methods) == ["eft", "tuned"]
    assert list(found.models) == ["a", "b", "new-0", "old-0"]
    assert list(found.tasks) == ["digits"]
    shown = {
        name: (tmp_path / "site" / "pairs" / name).read_text(encoding="utf-8")
        for name in ("a__b.html", "old-0__new-0.html")
    }
    assert "1 cell of this pair" in shown["a__b.html"]
    assert "of this pair: <a" not in shown["old-0__new-0.html"]


def test_embedded_models_say_so_wherever_they_stand(file: File, content: Any, tmp_path: Path) -> None:
    floors(file)
    floors(file, pair=("c", "d"), embedded=False)
    content()
    other = Reader((tmp_path / "site" / "pairs" / "c__d.html").read_text(encoding="utf-8"))
    assert not [row for row in other.rows if "old" in row], "rows of its own alone"
    for page in ("pairs/{}.html", "pairs/{}__digits.html"):
        told = [
            "Small embedded models." in (tmp_path / "site" / page.format(pair)).read_text(encoding="utf-8")
            for pair in ("old__new", "c__d")
        ]
        assert told == [True, False], page


def test_many_rows_are_shown_in_parts_that_lead_to_each_other(
    file: File, content: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MOST_LINES", 3)
    for task in ("digits", "letters"):
        floors(file, task=task)
    content()
    first, second = (
        Reader((tmp_path / "site" / name).read_text(encoding="utf-8")) for name in ("results.html", "results-2.html")
    )
    assert [len(part.rows) - 1 for part in (first, second)] == [3, 1]
    assert "Part 2 of 2" in second.text
    assert ("a", {"href": "results-2.html"}) in first.tags
    assert ("a", {"href": "results.html"}) in second.tags
    monkeypatch.undo()
    monkeypatch.setattr(Pictures, "all_svg", lambda self, charts: ["<svg></svg>"] * len(charts))
    monkeypatch.setattr(Pictures, "vega", lambda self: "")
    site.build_site(tmp_path / "board", tmp_path / "site", {}, tmp_path / "pictures")
    assert not (tmp_path / "site" / "results-2.html").exists(), "a part that is no more"


def test_tables_of_a_page_stand_together_with_names_of_their_own(file: File, content: Any) -> None:
    for facts in ({}, {"version": "2"}, {"pair": ("old", "newer")}, {"task": "letters"}):
        floors(file, **facts)
    assert {page: [view.id for view in views] for page, views in content().by_page.items()} == {
        "pairs/old__new__digits.html": ["table-1", "table-2"],
        "pairs/old__new__letters.html": ["table-1"],
        "pairs/old__newer__digits.html": ["table-1"],
    }


def test_a_ratio_stands_under_its_own_hardware(file: File, content: Any) -> None:
    floors(file)
    file("eft", 320, hardware="loom")
    floors(file, task="letters", hardware="zx80")
    found = content()
    assert found.hardware == ["abacus-1-thread", "loom", "zx80"]
    ratios = {
        (line.table.task, line.row.label): [value.main for value in line.ratios(found.hardware)] for line in found.lines
    }
    assert ratios["digits", "eft"] == ["–", "1.50 ×", ""]
    assert ratios["digits", "zero-shot"] == ["1.50 ×", "–", ""]
    assert ratios["letters", "zero-shot"] == ["", "", "1.50 ×"]


def test_each_hardware_has_a_picture_of_its_own_times(file: File, content: Any, tmp_path: Path) -> None:
    floors(file)
    for name, right, hardware in (
        ("eft", 320, "loom"),
        ("prt", 330, "loom"),
        ("lora", 310, "zx80"),
        ("lwf", 300, "zx80"),
    ):
        file(name, right, title=name.upper(), hardware=hardware)
    content()
    page = (tmp_path / "site" / "pairs" / "old__new__digits.html").read_text(encoding="utf-8")
    specs = {
        name: {title for title in ("EFT", "PRT", "LORA", "LWF") if f'"{title}"' in spec}
        for name, spec in re.findall(r'<figure class="chart" id="([^"]+)".*?class="spec">(.*?)</script>', page, re.S)
    }
    assert specs == {
        "table-1-flops": {"EFT", "PRT", "LORA", "LWF"},
        "table-1-time-2": {"EFT", "PRT"},
        "table-1-time-3": {"LORA", "LWF"},
    }, "floors alone, as on the first, are no picture"


def test_what_a_row_is_beside_the_best_floor_is_said_in_words(file: File, content: Any) -> None:
    floors(file)
    for name, right in (("up", 340), ("down", 100), ("even", 281)):
        file(name, right)
    file("lone", 320, task="letters")
    assert {line.row.label: line.standing for line in content().lines if line.row.role == "method"} == {
        "up": "▲ above",
        "down": "▼ below",
        "even": "◇ same",
        "lone": "–",
    }
    assert [line.standing for line in content().lines if line.row.is_best_floor] == ["the best floor"]
