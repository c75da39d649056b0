"""The page: true to its records, closed to what they smuggle in, and needing nothing from outside."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from prt_bench.board.numerals import duration, points
from prt_bench.board.rows import COLUMNS
from prt_bench.board.site import Axis, build_site
from prt_bench.board.table import Filed, find_records
from prt_bench.records import Record

N = 400
File = Callable[..., Path]


def _term(flops: int | None = 0, seconds: float = 0.0, examples: int = 0, reused: bool = False) -> dict[str, Any]:
    return {"train_flops": flops, "seconds": seconds, "examples": examples, "reused": reused}


def _record(
    method: str,
    right: int,
    role: str = "method",
    *,
    title: str = "",
    task: str = "digits",
    version: str = "1",
    pair: tuple[str, str] = ("old", "new"),
    seed: int = 0,
    embedded: bool = True,
    limit: int | None = None,
    members: Sequence[str] = ("target",),
    flops: int | None = 2_000_000_000,
    once: dict[str, Any] | None = None,
    latency: bool = True,
    valid: bool = True,
    absent: dict[str, str] | None = None,
    data: str = "d",
    error: str | None = None,
    stands_for: str = "",
    tuned_on: str = "",
    quality: dict[str, float] | None = None,
    finished: str = "2026-01-02T03:04:05+00:00",
) -> dict[str, Any]:
    share = right / N
    name = f"{method}-{seed}"
    row = {
        "session": "s1", "batch_size": 1, "p50_ms": 4.5, "p90_ms": None, "ratio_to_target": [1.4, 1.5, 1.6],
        "valid": valid, "reasons": [] if valid else ["the warm-up did not settle"],
    }  # fmt: skip
    beyond = quality or {}
    quality = {
        "primary": "top1",
        "metrics": {"top1": {"value": share, "ci95": [share - 0.03, share + 0.03], "n": N, "split": "test"}},
        "nll": None, "nll_calibrated": None, "ece": None, "predictions": "record.predictions.csv", **beyond,
    }  # fmt: skip
    by_member = dict.fromkeys(members, None if flops is None else flops // len(members))
    cost = {
        "once": once or _term(),
        "per_upgrade": _term(),
        "per_query": {
            "unit": "image", "shape": {"input": [3, 32, 32], "classes": 10},
            "flops": {
                "total": flops, "by_member": by_member, "calls": dict.fromkeys(members, 1.0), "rule": 0,
                "rule_elementwise": 0, "uncounted_ops": [] if flops is not None else ["aten.mystery"],
            },
            "params": {"total": len(members), "by_member": dict.fromkeys(members, 1)},
            "memory": {"weights": 4},
            "latency": [row] if latency else None,
        },
    }  # fmt: skip
    model = {"revision": None, "sha256": "ab" * 32, "head_sha256": None, "preprocessing_sha256": None}
    return {
        "cell": {
            "id": name, "pair": {"source": pair[0], "target": pair[1]}, "task": task, "method": method, "role": role,
            "title": title or method, "seed": seed, "params": {}, "recipe": {}, "limit": limit,
            "stands_for": stands_for, "tuned_on": tuned_on,
        },
        "status": "failed" if error else "ok",
        "error": {"type": "CellError", "message": error, "where": "fit"} if error else None,
        "quality": None if error else quality,
        "cost": None if error else cost,
        "environment": {
            "hardware": "abacus-1-thread", "device": "cpu", "processor": "abacus", "threads": 1, "memory_bytes": 1,
            "system": "Linux", "python": "3.11",
        },
        "provenance": {
            "models": {alias: {**model, "embedded": embedded} for alias in pair},
            "task": {"version": version, "data_sha256": data, "split_sha256": "s", "template_sha256": "t"},
            "method_source_sha256": "m", "git": None,
            "packages": {"prt-bench": "0.1.0", "torch": "2.15.0"}, "request": "prt-bench run",
            "started": finished, "finished": finished,
        },
        "partial": limit is not None,
        "absent": absent or {},
    }  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> File:
    """Files a record with its predictions: the first `right` of the N items are answered rightly."""

    def write(method: str, right: int, *args: Any, **facts: Any) -> Path:
        record = _record(method, right, *args, **facts)
        folder = tmp_path / "board" / "results" / f"{len(list(tmp_path.rglob('*.json'))):03}"
        folder.mkdir(parents=True)
        path = folder / "record.json"
        path.write_text(Record.model_validate(record).model_dump_json(), encoding="utf-8")
        lines = [f"test/{item},1,{int(item < right)},-1.0" for item in range(N)]
        text = "\n".join(["id,label,prediction,log_prob_label", *lines]) + "\n"
        path.with_suffix(".predictions.csv").write_text(text, encoding="utf-8")
        return path

    return write


@pytest.fixture
def build(tmp_path: Path) -> Callable[[], str]:
    """Builds the page and returns its text."""
    return lambda: build_site(find_records(tmp_path / "board"), tmp_path / "site").read_text(encoding="utf-8")


def _floors(file: File, **facts: Any) -> None:
    file("zero-shot", 200, "floor", title="Untuned target", **facts)
    file("source-finetune", 280, "floor", title="Tuned source", members=("tuned",), flops=10**9, **facts)


class Reader(HTMLParser):
    """Tags with their attributes, and the text of each table row: in `rows`, or in `more` where it is folded away."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[str] = []
        self.more: list[str] = []
        self.shown = self.rows
        self.text = ""
        self.in_row = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.shown = self.more if tag == "details" else self.shown
        self.in_row = tag == "tr" or self.in_row
        if tag == "tr":
            self.shown.append("")
        self.handle_data(" ")

    def handle_endtag(self, tag: str) -> None:
        self.in_row = self.in_row and tag != "tr"
        self.shown = self.rows if tag == "details" else self.shown

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.in_row:
            self.shown[-1] += data

    def row(self, title: str, more: bool = False) -> str:
        """The one row that starts with this title, its spaces squeezed."""
        rows = self.more if more else self.rows
        (found,) = [text for text in map(" ".join, map(str.split, rows)) if text.startswith(title)]
        return found


def test_page_needs_nothing_from_outside(file: File, build: Callable[[], str], tmp_path: Path) -> None:
    _floors(file)
    file("eft", 320, latency=False)
    page = build()
    seen = Reader(page)
    assert "footnote 1" in page
    assert {tag for tag, _ in seen.tags}.isdisjoint({"script", "link", "img", "iframe", "object", "base", "form"})
    for tag, attributes in seen.tags:
        assert not any(name.startswith("on") or name in ("style", "src", "srcset") for name in attributes), tag
        href = attributes.get("href")
        assert href is None or href.startswith("#") or (tmp_path / "site" / href).is_file()
    targets = {attributes["id"] for _, attributes in seen.tags if "id" in attributes}
    anchors = {(attributes.get("href") or "") for _, attributes in seen.tags}
    assert {anchor[1:] for anchor in anchors if anchor.startswith("#")} <= targets
    assert "@import" not in page
    assert "url(" not in page


def test_policy_allows_this_style_alone(file: File, build: Callable[[], str]) -> None:
    _floors(file)
    page = build()
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = [a["content"] for tag, a in Reader(page).tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith(f"default-src 'none'; style-src 'sha256-{digest}'; ")


@pytest.mark.parametrize("attack", ["<img src=x onerror=alert(1)>", '"><script>alert(1)</script>', "</style><b>x"])
def test_what_records_smuggle_in_is_text(file: File, build: Callable[[], str], attack: str) -> None:
    facts: dict[str, Any] = {"task": attack, "version": attack, "pair": (attack, "new" + attack)}
    _floors(file, **facts)
    file("eft", 320, title=attack, latency=False, absent={"cost.per_query.latency": attack}, **facts)
    file(attack, 0, error=attack, title=attack, **facts)
    seen = Reader(build())
    assert {tag for tag, _ in seen.tags}.isdisjoint({"script", "img", "b"})
    assert not any(name.startswith("on") for _, attributes in seen.tags for name in attributes)
    assert seen.text.count(attack) > 5


def test_control_and_bidirectional_signs_are_replaced(file: File, build: Callable[[], str]) -> None:
    _floors(file)
    file("eft", 320, title="E\u202eF\u0007T\u200b")
    page = build()
    assert "E\ufffdF\ufffdT\ufffd" in page
    assert not re.search("[\u202e\u0007\u200b]", page)


def test_same_records_same_bytes(file: File, build: Callable[[], str], tmp_path: Path) -> None:
    _floors(file)
    file("eft", 320)
    file("prt", 0, error="diverged")
    file("prt", 0, error="diverged", seed=1)
    build()
    site = tmp_path / "site"
    before = {path.name: path.read_bytes() for path in site.iterdir()}
    assert set(before) == {"index.html", "results.csv", "results.json"}
    filed = find_records(tmp_path / "board")
    again = build_site(filed[::-1], tmp_path / "again").parent
    assert {path.name: path.read_bytes() for path in again.iterdir()} == before


def test_verdicts_say_what_the_intervals_say(file: File, build: Callable[[], str]) -> None:
    _floors(file)
    file("good", 320, once=_term(3_400_000_000_000, 90.0, 64, reused=True), members=("target", "tuned"))
    file("bad", 120)
    file("even", 281)
    seen = Reader(build())
    assert "+10.0 [+7.0, +13.0] ▲ above every floor" in seen.row("good")
    assert re.search(r"−40\.0 \[−4\d\.\d, −3\d\.\d\] ▼ below the best floor", seen.row("bad"))
    assert re.search(r"\+0\.2 \[−0\.\d, \+\d\.\d\] ◇ not distinguishable", seen.row("even"))
    assert "0: the best floor" in seen.row("Tuned source")
    assert "3.4 TFLOPs 90 s shared with other cells none" in seen.row("good")
    labels = [a.get("aria-label") or "" for tag, a in seen.tags if tag == "svg"]
    assert "+10.0 points, 95 % interval [+7.0, +13.0]" in labels


def test_an_interval_beside_0_is_no_verdict_before_the_correction(file: File, build: Callable[[], str]) -> None:
    """8 items more of 400: alone a difference, among many rows none."""
    _floors(file)
    file("more", 288)
    assert re.search(r"\+2\.0 \[\+0\.\d, \+3\.\d\] ▲ above every floor", Reader(build()).row("more"))
    for number in range(30):
        file(f"crowd-{number}", 280)
    assert re.search(r"\+2\.0 \[\+0\.\d, \+3\.\d\] ◇ not distinguishable", Reader(build()).row("more"))


def test_rows_that_may_be_the_best_are_marked(file: File, build: Callable[[], str]) -> None:
    _floors(file)
    file("first", 320)
    assert "80.0 [75.8, 83.6] best" in Reader(build()).row("first")
    file("second", 318)
    seen = Reader(build())
    assert "80.0 [75.8, 83.6] ≈ best" in seen.row("first")
    assert "≈ best" in seen.row("second")
    assert not re.search(r"\] (≈ )?best", seen.row("Untuned target"))


def _whole(file: File, right: int = 340, **facts: Any) -> None:
    """All that gains and gaps are told from, a method, and a reference."""
    file("zero-shot", 200, "floor", title="Untuned target", stands_for="untuned target", **facts)
    file("untuned", 240, "floor", title="Untuned both", stands_for="untuned ensemble", **facts)
    file("plain", 300, title="Plain", stands_for="plain ensemble", **facts)
    file("mine", right, title="Mine", **facts)
    file("full", 360, "reference", title="Full", stands_for="tuned target", **facts)


def test_where_a_score_comes_from_is_told_below_the_table(file: File, build: Callable[[], str]) -> None:
    _whole(file)
    page = build()
    seen = Reader(page)
    assert page.count("<details>") == page.count("<summary>") == 1
    assert seen.row("Mine", more=True) == (
        "Mine +10.0 [+7.0, +13.0] +15.0 [+11.4, +18.6] +10.0 [+7.0, +13.0] +35.0 [+30.3, +39.7] −5.0 [−7.2, −2.8] "
        "87 % [82, 93] 95.0 [92.4, 96.7] – 4 – 5 – 6 – 7"
    )
    for reason in (
        "a floor ports nothing",
        "this is one of the steps",
        "this is the tuned target",
        "has no mean per class",
    ):
        assert reason in page.split("<details>")[1]
        assert reason not in page.split("<details>")[0]


def test_calibration_is_shown_where_it_was_measured(file: File, build: Callable[[], str]) -> None:
    _floors(file)
    file("fits", 320, quality={"nll": 1.0, "nll_calibrated": 0.9})
    assert re.search(r" – \d 1\.000 0\.900 – \d$", Reader(build()).row("fits", more=True))


def test_trials_are_shown_as_the_expected_best_of_as_many(file: File, build: Callable[[], str]) -> None:
    _floors(file)
    assert "fewer trials" not in build()
    for seed, values in enumerate(((0.6, None, 0.9), (0.6, 0.6, 0.9))):
        tuning = [
            {
                "params": {},
                "value": value,
                "view": "validation",
                "chosen": value == 0.9,
                "error": "" if value else "nan",
            }
            for value in values
        ]
        file("searched", 320, seed=seed, quality={"tuning": tuning})
    page = build()
    table = page[page.index("What fewer trials would have found") :]
    # Of (0.6, 0, 0.9): 0.5, then (0.6 + 2 · 0.9) / 3, then 0.9; of (0.6, 0.6, 0.9): 0.7, 0.8, 0.9.
    assert re.findall(r"<td>(\d+\.\d)</td>", table) == ["60.0", "80.0", "90.0"]
    (points,) = re.findall(r'<polyline points="([^"]+)"', table)
    heights = [float(point.split(",")[1]) for point in points.split()]
    assert heights == sorted(heights, reverse=True), "a curve rises"


def test_the_caption_says_what_the_table_could_have_seen(file: File, build: Callable[[], str]) -> None:
    _floors(file)
    file("eft", 320)
    text = " ".join(Reader(build()).text.split())
    (told,) = re.findall(
        r"best floor: Tuned source · a true difference to it of (\d+\.\d) points would be seen 4 ", text
    )
    assert 3 < float(told) < 6


def test_methods_are_summed_up_over_tasks(file: File, build: Callable[[], str]) -> None:
    _whole(file)
    assert "Over the tasks of this pair" not in build()
    _whole(file, task="letters", right=100)
    _whole(file, task="digits-after", tuned_on="digits", right=10)
    file("alone", 390, title="Alone")
    page = build()
    text = " ".join(Reader(page).text.split())
    assert "against each task's best floor. 2 tasks: the interval is wide, and another task may differ" in text
    start = page.index("Over the tasks of this pair, recipes as published")
    seen = Reader(page[start : page.index("</table>", start)])
    # 340 and 100 right of 400 against the floor's 240: +25 and −35 points.
    assert re.fullmatch(r"Mine 1 / 0 / 1 −5\.0 \[−\d+\.\d, \+\d+\.\d\]", seen.row("Mine"))
    assert seen.row("Alone") == "Alone 1 / 0 / 0 not over the same tasks: without letters"
    assert not any(row.strip().startswith("Untuned") for row in seen.rows)


def test_forgetting_says_what_was_tuned_on(file: File, build: Callable[[], str]) -> None:
    _floors(file)
    assert "Forgetting." not in build()
    _floors(file, task="other", tuned_on="digits")
    assert "Forgetting. Tuned on digits, tested on another task" in " ".join(Reader(build()).text.split())


@pytest.mark.parametrize("attack", ["<img src=x onerror=alert(1)>", '"><script>alert(1)</script>', "</details><b>x"])
def test_what_records_smuggle_into_sums_and_gains_is_text(file: File, build: Callable[[], str], attack: str) -> None:
    for task in ("digits", attack):
        _whole(file, task=task, tuned_on="")
        file(attack, 320, title=attack, task=task, absent={"quality.nll": attack})
    file("alone", 320, title="alone" + attack)
    _whole(file, task="after", tuned_on=attack)
    page = build()
    seen = Reader(page)
    assert {tag for tag, _ in seen.tags}.isdisjoint({"script", "img", "b"})
    assert not any(name.startswith("on") for _, attributes in seen.tags for name in attributes)
    start = page.index("Over the tasks of this pair, recipes as published")
    over = Reader(page[start : page.index("</table>", start)])
    assert over.row(attack)
    assert over.row("alone").endswith(f"without {attack}")
    assert len([row for row in seen.more if row.strip().startswith(attack)]) == 2
    assert f"Tuned on {attack}" in seen.text


def test_flops_stand_beside_those_of_the_target_alone(file: File, build: Callable[[], str]) -> None:
    _floors(file)
    file("source-zero-shot", 100, "floor", members=("source",), flops=10**9)
    file("pair", 300, members=("target", "tuned"), flops=3 * 10**9)
    seen = Reader(build())
    assert "3 1.50 × target 4.5 1.50 × target [1.40, 1.60]" in seen.row("pair")


def test_missing_numbers_give_their_reasons(file: File, build: Callable[[], str]) -> None:
    _floors(file)
    file("eft", 320, latency=False, absent={"cost.per_query.latency": "the cost session was switched off"}, flops=None)
    file("prt", 310, valid=False, once=_term(None, 8.0, 64))
    seen = Reader(build())
    for reason in (
        "the cost session was switched off",
        "no FLOP count is known for aten.mystery",
        "not a valid timing: the warm-up did not settle",
        "training FLOPs: the record gives no reason",
    ):
        assert reason in seen.text
    assert re.search(r"above every floor – \d – \d none none$", seen.row("eft"))


def test_without_a_floor_there_is_no_difference(file: File, build: Callable[[], str]) -> None:
    file("eft", 320)
    seen = Reader(build())
    assert "no floor was run on this pair and task" in seen.text
    assert "above every floor" not in "".join(seen.rows)


def test_failed_and_partial_records_are_named(file: File, build: Callable[[], str]) -> None:
    _floors(file)
    file("prt", 0, error="the loss is not a number", seed=3)
    file("eft", 320, limit=16)
    seen = Reader(build())
    text = " ".join(seen.text.split())
    assert "1 partial record (made with --limit) is left out" in text
    assert "1 cell did not hold: prt on digits, old → new, seed 3: failed CellError: the loss is not a number" in text
    assert "4: 2 in the tables, 1 failed or skipped, 1 partial" in text
    assert not any(row.strip().startswith("eft") for row in seen.rows)


def test_real_models_come_first_and_embedded_ones_say_so(file: File, build: Callable[[], str]) -> None:
    _floors(file, pair=("a-nano", "b-nano"))
    assert "on this page ship with prt-bench" in " ".join(build().split())
    _floors(file, pair=("x", "y"), embedded=False)
    page = build()
    places = [page.index(text) for text in ('<h2 id="pair-1">x', "Small embedded models", '<h2 id="pair-2">a-nano')]
    assert places == sorted(places)


def test_local_variants_are_marked(file: File, build: Callable[[], str]) -> None:
    _floors(file)
    assert "Local variant" not in build()
    _floors(file, version="1+local.0a1b2c3d")
    assert build().count("Local variant, not comparable with the pinned set") == 1


def test_several_tasks_have_an_overview(file: File, build: Callable[[], str]) -> None:
    for task in ("digits", "letters"):
        _floors(file, task=task)
    file("eft", 320)
    overview = Reader(build().split("</table>")[0])
    assert "+10.0 ▲ above every floor not run" in overview.row("eft")


def test_tables_of_one_name_show_what_tells_them_apart(file: File, build: Callable[[], str]) -> None:
    _floors(file, data="first-data")
    assert "first-da" not in build()
    _floors(file, data="other-data")
    text = " ".join(build().split())
    assert "data first-da, split s, templates t, models abababab and abababab" in text
    assert "data other-da, split s" in text


def test_methods_of_one_title_keep_a_line_each(file: File, build: Callable[[], str]) -> None:
    for task in ("digits", "letters"):
        _floors(file, task=task)
    file("mine", 320, title="Best method")
    file("theirs", 120, title="Best method")
    overview = Reader(build().split("</table>")[0])
    assert "+10.0" in overview.row("Best method mine")
    assert "−40.0" in overview.row("Best method theirs")


def test_newest_record_dates_the_page(file: File, build: Callable[[], str]) -> None:
    _floors(file)
    file("eft", 320, finished="2027-05-06T07:08:09+00:00")
    page = build()
    assert "2027-05-06T07:08:09+00:00" in page
    assert "prt-bench 0.1.0, torch 2.15.0</dd>" in page


def test_seeds_are_counted(file: File, build: Callable[[], str]) -> None:
    for seed in range(3):
        _floors(file, seed=seed)
    page = build()
    assert page.count("· 3&nbsp;seeds</small>") == 2
    assert "3 seeds · best floor" in " ".join(Reader(page).text.split())
    assert "the intervals are over items only" not in page
    file("eft", 320)
    assert "up to 3 seeds · best floor" in " ".join(Reader(build()).text.split())


def test_twins_hold_the_same_rows(file: File, build: Callable[[], str], tmp_path: Path) -> None:
    _floors(file)
    file("=eft()", 320)
    build()
    lines = (tmp_path / "site" / "results.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert any(",'=eft()," in line for line in lines)
    rows = json.loads((tmp_path / "site" / "results.json").read_text(encoding="utf-8"))
    assert [row["method"] for row in rows] == ["zero-shot", "source-finetune", "=eft()"]


def test_no_records_make_a_page_too(tmp_path: Path) -> None:
    nothing: list[Filed] = []
    assert "There are no whole records yet" in build_site(nothing, tmp_path).read_text(encoding="utf-8")


def test_small_numbers_read_well() -> None:
    assert [points(value) for value in (0.0, -0.0002, 0.0123, -0.5)] == ["0.0", "−0.02", "+1.2", "−50.0"]
    assert [duration(value) for value in (0.5, 90, 600, 9000)] == ["0.5 s", "90 s", "10 min", "2.5 h"]
    for low, high in ((-47.4, 5.0), (-0.3, 0.2), (-1.0, 1.0), (0.0, 99.0)):
        labels = [label for _, label in Axis(low, high).ticks]
        assert "0" in labels
        assert 2 <= len(labels) <= 5
