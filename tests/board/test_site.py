"""The site: a pure function of its records, closed to what they smuggle in, and needing nothing from outside."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from prt_bench.board.releases import freeze
from prt_bench.board.rows import COLUMNS
from prt_bench.board.site import build_site
from prt_bench.errors import RequestError
from tests.board.filing import Build, File, Reader, floors, whole


def text_of(page: str) -> str:
    return " ".join(Reader(page).text.split())


def everything(site: Path) -> dict[str, str]:
    """Page → text, of all pages."""
    return {path.relative_to(site).as_posix(): path.read_text(encoding="utf-8") for path in site.rglob("*.html")}


def test_pages_need_nothing_from_outside(file: File, build: Build, tmp_path: Path) -> None:
    floors(file)
    file("eft", 320, latency=False)
    file("prt", 0, error="diverged")
    build()
    site = tmp_path / "site"
    pages = everything(site)
    assert len(pages) > 12
    for name, page in pages.items():
        seen = Reader(page)
        assert {tag for tag, _ in seen.tags}.isdisjoint({"style", "img", "iframe", "object", "base", "form"}), name
        for tag, attributes in seen.tags:
            assert not any(key.startswith("on") or key in ("style", "srcset") for key in attributes), (name, tag)
            link = attributes.get("href") or attributes.get("src")
            if link is None:
                assert tag != "script" or attributes["type"] == "application/json"
                continue
            path, _, anchor = link.partition("#")
            target = (site / name).parent / path if path else site / name
            assert target.is_file(), (name, link)
            assert site in target.resolve().parents
            if anchor and target.suffix == ".html":
                assert f'id="{anchor}"' in target.read_text(encoding="utf-8"), (name, link)
        (policy,) = [a["content"] for _, a in seen.tags if a.get("http-equiv") == "Content-Security-Policy"]
        assert policy == (
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data: blob:; base-uri 'none'; "
            "form-action 'none'"
        )
    assert "url(" not in (site / "assets" / "board.css").read_text(encoding="utf-8")


def test_every_row_leads_to_its_records(file: File, build: Build, tmp_path: Path) -> None:
    floors(file)
    path = file("eft", 320, seed=7)
    seen = Reader(build())
    links = [a["href"] or "" for tag, a in seen.tags if tag == "a" and "/records/" in (a.get("href") or "")]
    assert len(links) == 3
    copies = [(tmp_path / "site" / "pairs" / link).resolve().read_bytes() for link in links]
    assert path.read_bytes() in copies


@pytest.mark.parametrize("attack", ["<img src=x onerror=alert(1)>", '"><script>alert(1)</script>', "</style><b>x"])
def test_what_records_smuggle_in_is_text(file: File, build: Build, tmp_path: Path, attack: str) -> None:
    facts: dict[str, Any] = {"task": attack, "version": attack, "pair": (attack, "new" + attack)}
    whole(file, **facts)
    whole(file, **{**facts, "task": "digits"})
    whole(file, **{**facts, "task": "after", "tuned_on": attack})
    file("eft", 320, title=attack, latency=False, absent={"cost.per_query.latency": attack}, **facts)
    file("prt", 320, title=attack, absent={"quality.nll": attack}, hardware=attack, **facts)
    file(attack, 0, error=attack, title=attack, **facts)
    build("index.html")
    pages = everything(tmp_path / "site")
    for page in pages.values():
        seen = Reader(page)
        assert {tag for tag, _ in seen.tags}.isdisjoint({"img", "b", "style"})
        assert not [
            a for tag, a in seen.tags if tag == "script" and not ("src" in a or a.get("type") == "application/json")
        ]
        assert not any(name.startswith("on") for _, attributes in seen.tags for name in attributes)
    assert sum(Reader(page).text.count(attack) for page in pages.values()) > 20


def test_control_and_bidirectional_signs_are_replaced(file: File, build: Build) -> None:
    floors(file)
    file("eft", 320, title="E\u202eF\u0007T\u200b")
    page = build()
    assert "E\ufffdF\ufffdT\ufffd" in page
    assert not re.search("[\u202e\u0007\u200b]", page)


def test_same_records_same_bytes(file: File, build: Build, tmp_path: Path) -> None:
    floors(file)
    file("eft", 320)
    for seed in (0, 1):
        file("prt", 0, error="diverged", seed=seed)

    def content() -> dict[str, bytes]:
        site = tmp_path / "site"
        return {path.relative_to(site).as_posix(): path.read_bytes() for path in site.rglob("*") if path.is_file()}

    build()
    before = content()
    assert {"index.html", "results.csv", "results.json", "site.json", "assets/board.css", "absent.html"} <= set(before)
    shutil.rmtree(tmp_path / "site")
    build()
    assert content() == before


def test_pages_of_what_is_gone_go_too_and_nothing_else(file: File, build: Build, tmp_path: Path) -> None:
    floors(file)
    path = file("eft", 320, task="letters")
    build()
    gone = tmp_path / "site" / "pairs" / "old__new__letters.html"
    assert gone.is_file()
    mine = tmp_path / "site" / "notes.txt"
    mine.write_text("mine", encoding="utf-8")
    shutil.rmtree(path.parent)
    build()
    assert not gone.exists()
    assert mine.read_text(encoding="utf-8") == "mine"


def test_a_folder_of_somebody_else_is_left_alone(file: File, build: Build, tmp_path: Path) -> None:
    floors(file)
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "thesis.tex").write_text("years of work", encoding="utf-8")
    with pytest.raises(RequestError, match="holds files that are no site of prt-bench"):
        build()
    assert [path.name for path in (tmp_path / "site").iterdir()] == ["thesis.tex"]


def test_a_site_of_one_page_as_it_once_was_is_built_over(file: File, build: Build, tmp_path: Path) -> None:
    floors(file)
    (tmp_path / "site").mkdir()
    for name in ("index.html", "results.csv", "results.json"):
        (tmp_path / "site" / name).write_text("old", encoding="utf-8")
    assert "Portable fine-tuning" in build("index.html")


def test_what_cannot_be_read_is_named_and_takes_nothing_down(file: File, build: Build, tmp_path: Path) -> None:
    floors(file)
    whole_page = build()
    folder = tmp_path / "board" / "results" / "broken"
    folder.mkdir()
    (folder / "x.json").write_text("{", encoding="utf-8")
    (folder / "newer.json").write_text('{"schema_version": 99}', encoding="utf-8")
    assert build().replace(">2 that are not", ">0 that are not") == whole_page
    text = Reader(build("absent.html")).text
    assert "results/broken/x.json: not a readable JSON file" in text
    assert "results/broken/newer.json: schema version 99 is newer than this prt-bench reads" in text


def test_failed_partial_and_missing_cells_are_named(file: File, build: Build) -> None:
    floors(file)
    floors(file, task="letters")
    file("prt", 0, error="the loss is not a number", seed=3)
    file("eft", 320, limit=16)
    file("mine", 320, title="Mine", valid=False)
    seen = Reader(build("absent.html"))
    assert seen.row("failed") == "failed old → new digits paper prt 3 CellError: the loss is not a number (fit)"
    assert seen.row("partial") == "partial old → new digits paper eft 0 made with --limit: a part of the test"
    assert seen.row("missing") == "missing old → new letters paper Mine 0 not run here, though on digits"
    assert seen.row("invalid timing") == "invalid timing old → new digits paper Mine 0 the warm-up did not settle"
    assert "4 that are not, or not validly timed" in text_of(build())


def test_real_models_come_first_and_embedded_ones_say_so(file: File, build: Build) -> None:
    floors(file, pair=("a-nano", "b-nano"))
    assert "no records of real models here yet" in build("index.html")
    floors(file, pair=("x", "y"), embedded=False)
    page = build("index.html")
    assert "no records of real models" not in page
    places = [page.index(text) for text in ("pairs/x__y.html", "Small embedded models", "pairs/a-nano__b-nano.html")]
    assert places == sorted(places)


def test_newest_record_dates_the_page(file: File, build: Build) -> None:
    floors(file)
    file("eft", 320, finished="2027-05-06T07:08:09+00:00")
    page = build()
    assert "newest of 2027-05-06T07:08:09+00:00" in page
    assert "2026-01-02 to 2027-05-06" in page


def test_twins_hold_the_same_rows(file: File, build: Build, tmp_path: Path) -> None:
    floors(file)
    file("=eft()", 320)
    build()
    lines = (tmp_path / "site" / "results.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert any(",'=eft()," in line for line in lines)
    rows = json.loads((tmp_path / "site" / "results.json").read_text(encoding="utf-8"))
    assert [row["method"] for row in rows] == ["zero-shot", "source-finetune", "=eft()"]


def test_no_records_make_a_page_too(build: Build) -> None:
    assert "There are no whole records yet" in build("index.html")


def test_tables_of_one_page_stay_together_whatever_else_there_is(file: File, build: Build) -> None:
    floors(file)
    floors(file, pair=("old", "aaa"))
    floors(file, version="2", embedded=False)
    assert text_of(build("pairs/old__new__digits.html")).count("best floor: ") == 2


@pytest.mark.parametrize("folder", ["results", "costs/x", "releases", "releases/site"])
def test_pages_do_not_lie_among_what_they_are_made_of(file: File, tmp_path: Path, folder: str) -> None:
    floors(file)
    with pytest.raises(RequestError, match="which the pages are made of"):
        build_site(tmp_path / "board", tmp_path / "board" / folder, {}, tmp_path / "pictures")


def test_notes_of_a_release_are_shown_whole(file: File, build: Build, tmp_path: Path) -> None:
    floors(file)
    freeze(tmp_path / "board", "first", notes="word " * 200 + "the end.")
    assert "the end." in build("releases/first.html")


def test_the_same_answers_on_another_task_are_another_record(file: File, build: Build, tmp_path: Path) -> None:
    floors(file)
    floors(file, task="letters")
    floors(file, version="1+local.0a1b2c3d")
    build()
    assert len(json.loads((tmp_path / "site" / "results.json").read_text(encoding="utf-8"))) == 6


def test_the_seeds_of_a_summary_are_those_of_what_it_sums_up(file: File, build: Build) -> None:
    floors(file)
    file("eft", 320)
    for seed in range(3):
        floors(file, task="after", tuned_on="digits", seed=seed, finished="2027-01-02T03:04:05+00:00")
    assert "(1 seed, 2026-01-02)" in text_of(build("index.html"))


def test_one_best_row_is_called_the_same_everywhere(file: File, build: Build) -> None:
    floors(file)
    file("eft", 320)
    assert "≈ best" not in "".join(Reader(build("results.html")).rows)


def test_a_time_that_is_not_valid_is_marked_wherever_it_stands(file: File, build: Build) -> None:
    floors(file)
    file("eft", 320, valid=False)
    (row,) = [row for row in Reader(build("results.html")).rows if "eft" in row]
    assert "[1.40, 1.60], not valid" in row


def test_a_forged_list_of_files_removes_nothing_outside(file: File, build: Build, tmp_path: Path) -> None:
    floors(file)
    build()
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    forged = {"made_by": "prt-bench", "files": ["../mine.txt", str(tmp_path / "mine.txt"), "gone.html"]}
    (tmp_path / "site" / "site.json").write_text(json.dumps(forged), encoding="utf-8")
    build()
    assert (tmp_path / "mine.txt").read_text(encoding="utf-8") == "mine"


def test_what_a_number_must_not_be_read_without_stands_beside_it(file: File, build: Build) -> None:
    floors(file, version="1+local.0a1b2c3d", contamination="seen before")
    floors(file, task="other", tuned_on="digits")
    rows = Reader(build("results.html")).rows
    assert sum("local variant, not comparable" in row and "in-domain test" in row for row in rows) == 2
    assert sum("after tuning on digits" in row for row in rows) == 2
    assert "In-domain test. seen before" in text_of(build())


def test_long_lists_come_in_parts(file: File, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prt_bench.board.pages.MOST_LINES", 2)
    floors(file)
    file("eft", 320)
    first, second = build("results.html"), build("results-2.html")
    assert "Part 1 of 2" in text_of(first)
    assert 'href="results-2.html"' in first
    seen = [" ".join(row.split()) for page in (first, second) for row in Reader(page).rows if "old → new" in row]
    assert len(seen) == len(set(seen)) == 3
