"""Pages of methods, models, tasks, sessions and releases: what cards say, and what is said where there are none."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from prt_bench.board.releases import freeze
from tests.board.filing import Build, File, Reader, floors
from tests.board.test_reading import SESSION, write_session

METHOD: dict[str, Any] = {
    "name": "eft", "title": "Emulated", "role": "method", "summary": "Adds a difference.", "source": "A paper, 2024",
    "bibtex": "@misc{eft,\n  title = {A <b>paper},\n}", "reads": "anything",
    "needs": {"fit": ["train"], "port": ["unlabelled"]}, "weights": ["source"],
    "parameters": {
        "alpha": {"default": 1.0, "low": 0, "high": 4, "help": "how much", "strength": True},
        "rank": {"default": 8, "low": 1, "help": "how many", "strength": False},
    },
}  # fmt: skip
MODEL: dict[str, Any] = {
    "alias": "new", "family": "clip", "architecture": "ViT-B-16", "title": "The new one", "hub": "org/new",
    "image_size": 224, "licence": "mit", "embedded": True, "context_length": 77_000,
}  # fmt: skip
TASK: dict[str, Any] = {
    "title": "Handwritten digits", "summary": "Ten of them.", "licence": "cc0", "citation": "Somebody, 1998",
    "reads": "images",
}  # fmt: skip


def carded(path: Path, **changes: Any) -> None:
    """Give a record cards."""
    record = json.loads(path.read_text(encoding="utf-8"))
    record["cards"] = {"methods": {"eft": {**METHOD, **changes}}, "models": {"new": MODEL}, "task": TASK}
    path.write_text(json.dumps(record), encoding="utf-8")


def text_of(page: str) -> str:
    return " ".join(Reader(page).text.split())


@pytest.fixture
def filed(file: File) -> Path:
    """Floors, and a method with cards."""
    floors(file)
    path = file("eft", 320, title="EFT")
    carded(path)
    return path


def test_a_method_says_what_it_needs_and_how_to_cite_it(filed: Path, build: Build) -> None:
    page = build("methods/eft.html")
    seen, text = Reader(page), text_of(page)
    assert "Emulated eft Adds a difference. Role method Published A paper, 2024" in text
    assert "Weights at hand source Source code, SHA-256 m" in text
    assert seen.row("fit") == "fit once train"
    assert seen.row("port") == "port per upgrade unlabelled"
    assert seen.row("alpha") == "alpha 1.0 0.0 to 4.0 costs no training how much"
    assert seen.row("rank") == "rank 8 1.0 to … trains anew how many"
    assert re.search(r"@misc\{eft,\n +title = \{A &lt;b&gt;paper\},\n\}", page), "line by line, and escaped"
    assert "+10.0" in seen.row("digits")


def test_the_newest_card_counts_however_files_are_called(file: File, build: Build) -> None:
    floors(file)
    carded(file("eft", 320, finished="2027-01-01T00:00:00+00:00"), title="Newer")
    carded(file("eft", 310, seed=1), title="Older")
    assert "Newer eft" in text_of(build("methods/eft.html"))


def test_a_method_that_asks_for_no_weights_says_so(file: File, build: Build) -> None:
    carded(file("eft", 320), weights=[])
    assert "Weights at hand none: outputs are enough" in text_of(build("methods/eft.html"))


def test_a_session_is_enough_to_know_a_method_by(build: Build, tmp_path: Path) -> None:
    cards = {"methods": {"tuned": {**METHOD, "name": "tuned"}, "other": METHOD}, "models": {}}
    write_session(tmp_path / "board", {**SESSION, "cards": cards})
    text = text_of(build("methods/tuned.html"))
    assert "Emulated tuned Adds a difference." in text
    assert "Source code, SHA-256 m What it costs" in text
    assert not (tmp_path / "site" / "methods" / "other.html").exists(), "nothing is known of it but its card"


def test_without_cards_a_method_keeps_its_title_and_results(file: File, build: Build) -> None:
    floors(file)
    file("eft", 320, title="EFT")
    page = build("methods/eft.html")
    assert "EFT eft Its records were made before cards were kept" in text_of(page)
    assert "How to cite" not in page
    assert "+10.0" in Reader(page).row("digits")
    (line,) = [row for row in Reader(build("catalogue.html")).rows if "eft" in row]
    assert " ".join(line.split()) == "EFT eft method not known not known 1"


def test_a_method_that_only_failed_has_a_page_without_rows(file: File, build: Build) -> None:
    file("eft", 0, error="diverged")
    assert "It has no row in any table." in text_of(build("methods/eft.html"))


def test_a_model_says_what_it_is_and_where_it_is_the_target(filed: Path, file: File, build: Build) -> None:
    floors(file, pair=("new", "newest"))
    page = build("models/new.html")
    text = text_of(page)
    assert "new The new one" in text
    assert "Small embedded models." in text
    assert (
        "Family clip Architecture ViT-B-16 Weights org/new Revision none pinned Input 224 × 224 pixels "
        "Context 77,000 tokens Licence mit Weights, SHA-256 abababababab Pairs" in text
    )
    assert "new → newest source" in text
    assert "old → new target" in text
    assert "+10.0" in page
    assert "newest" not in "".join(Reader(page).rows), "rows are those where it is the target"
    without = text_of(build("models/old.html"))
    assert "Family" not in without
    assert "Where it is the target" not in without


def test_a_task_names_its_versions_and_what_it_is(filed: Path, file: File, build: Build) -> None:
    floors(file, version="2", data="other-data-of-it")
    floors(file, task="letters")
    text = text_of(build("tasks/digits.html"))
    assert "digits Handwritten digits Ten of them. Made of images Licence cc0 Cite Somebody, 1998" in text
    assert "Versions 1 (data d, 400 test items); 2 (data other-data-o, 400 test items)" in text
    assert "In-domain" not in text
    (line,) = [row for row in Reader(build("catalogue.html")).rows if "Handwritten" in row]
    assert " ".join(line.split()) == "digits Handwritten digits images 2"


def test_a_session_shows_costs_and_why_there_is_none(build: Build, tmp_path: Path) -> None:
    session = deepcopy(SESSION)
    (timed,) = session["compositions"]["tuned"]["latency"]
    other = deepcopy(session["compositions"]["tuned"])
    other["flops"] |= {"total": None, "uncounted_ops": ["aten.mystery"]}
    other["latency"] = [
        {
            **timed,
            "batch_size": 8,
            "p50_ms": 9.0,
            "p90_ms": None,
            "ratio_to_target": None,
            "valid": False,
            "reasons": ["too warm"],
        }
    ]
    session["compositions"]["other"] = other
    session["training"].append(
        {**session["training"][0], "model": "new-0", "frozen": ["old-0"], "step_ms": None, "reasons": ["no memory"]}
    )
    session |= {
        "valid": False,
        "reasons": ["the fan was on"],
        "skipped": ["batch 64"],
        "weights": "random",
        "target_flops": 20,
    }
    write_session(tmp_path / "board", session)
    page = build("sessions/s.html")
    text, seen = text_of(page), Reader(page)
    assert "Not a valid session. the fan was on" in text
    assert "Random weights at true sizes" in text
    assert "Target against itself batch 1: 1.010" in text
    assert "Left out batch 64" in text
    assert seen.row("tuned tuned") == (
        "tuned tuned target: new-0 1e-08 0.50 × target 5e-06 2e-05 – 1 2 1.20 × target [1.10, 1.30] – 2"
    )
    assert seen.row("tuned other") == "tuned other target: new-0 – 3 5e-06 2e-05 – 1 – 4 9 5 6"
    for reason in (
        "peak memory was not measured",
        "batch 8 was not timed",
        "no FLOP count is known for aten.mystery",
        "batch 1 was not timed",
        "ratio to the target: the target alone was not timed",
        "not a valid timing: too warm",
        "no memory",
    ):
        assert reason in text
    assert "new-0 through old-0" in seen.row("new-0")
    assert seen.row("old-0") == "old-0 tuned 8 5e-09 3 1.00 × tuning the source 7e-06"
    (link,) = [a["href"] or "" for tag, a in seen.tags if tag == "a" and "records/" in (a.get("href") or "")]
    copy = (tmp_path / "site" / "sessions" / link).read_bytes()
    assert copy == next((tmp_path / "board" / "costs").rglob("*.json")).read_bytes()


def test_sessions_are_found_from_their_list_their_pair_and_their_methods(
    file: File, build: Build, tmp_path: Path
) -> None:
    floors(file)
    write_session(tmp_path / "board", SESSION)
    write_session(tmp_path / "board", {**SESSION, "id": "t", "valid": False}, "t")
    for page in ("costs.html", "pairs/old-0__new-0.html", "methods/tuned.html"):
        links = {(a.get("href") or "").rpartition("/")[2] for tag, a in Reader(build(page)).tags if tag == "a"}
        assert {"s.html", "t.html"} <= links, page
    for page in ("pairs/old__new.html", "methods/zero-shot.html"):
        assert "Cost sessions" not in build(page), "it was timed in none"
    assert "No accuracy was measured on this pair; its costs were." in build("pairs/old-0__new-0.html")
    assert [row.split()[-2:] for row in Reader(build("costs.html")).rows][1:] == [
        ["valid", "2026-01-01"],
        ["valid", "2026-01-01"],
    ]
    assert [" ".join(row.split()).count("not valid") for row in Reader(build("costs.html")).rows][1:] == [0, 1]


def test_the_front_leads_to_pairs_of_which_there_are_costs_alone(file: File, build: Build, tmp_path: Path) -> None:
    floors(file)
    write_session(tmp_path / "board", SESSION)
    write_session(tmp_path / "board", {**SESSION, "id": "t", "pair": {"source": "old", "target": "new"}}, "t")
    assert "Costs at true sizes were measured: old-0 → new-0." in text_of(build("index.html"))


def test_a_release_can_be_cited_and_shows_the_rows_of_its_records_alone(
    filed: Path, file: File, build: Build, tmp_path: Path
) -> None:
    board = tmp_path / "board"
    freeze(board, "first", title="The first", notes="Read me.", day="2026-03-04")
    later = file("later", 330, title="Later")
    later.rename(later.with_name("later.json"))
    later.with_suffix(".predictions.csv").rename(later.with_name("record.predictions.csv"))
    page = build("releases/first.html")
    assert "The first release first, 2026-03-04 Read me." in text_of(page)
    assert "@misc{prt-bench-first," in page
    rows = [" ".join(row.split()) for row in Reader(page).rows][1:]
    assert [row.split(" paper ")[0] for row in rows] == [
        "digits old → new clip Untuned target",
        "digits old → new clip Tuned source",
        "digits old → new clip EFT",
    ]
    # The same answers anew, and a time of another machine.
    record = json.loads(filed.read_text(encoding="utf-8"))
    assert record["cost"]["per_query"]["latency"][0]["ratio_to_target"] == [1.4, 1.5, 1.6]
    record["cost"]["per_query"]["latency"][0]["ratio_to_target"] = [2.4, 2.5, 2.6]
    record["provenance"]["finished"] = "2027-01-02T03:04:05+00:00"
    filed.write_text(json.dumps(record), encoding="utf-8")
    assert "2.50 ×" in Reader(build("results.html")).row("digits old → new clip EFT")
    assert "1.50 ×" in Reader(build("releases/first.html")).row("digits old → new clip EFT")
    assert "counts once with records/results/" in Reader(build("absent.html")).row("repeated")
    assert "The first" in build("catalogue.html")
    assert "@misc{prt-bench-first," in build("index.html"), "the newest release is what the board is cited by"
