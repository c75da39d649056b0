"""The page of a table: true to its records."""

from __future__ import annotations

import re

from prt_bench.board.numerals import duration, points
from prt_bench.board.table_view import Axis
from tests.board.filing import Build, File, Reader, floors, term, whole


def test_verdicts_say_what_the_intervals_say(file: File, build: Build) -> None:
    floors(file)
    file("good", 320, once=term(3_400_000_000_000, 90.0, 64, reused=True), members=("target", "tuned"))
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


def test_an_interval_beside_0_is_no_verdict_before_the_correction(file: File, build: Build) -> None:
    """8 items more of 400: alone a difference, among many rows none."""
    floors(file)
    file("more", 288)
    assert re.search(r"\+2\.0 \[\+0\.\d, \+3\.\d\] ▲ above every floor", Reader(build()).row("more"))
    for number in range(30):
        file(f"crowd-{number}", 280)
    assert re.search(r"\+2\.0 \[\+0\.\d, \+3\.\d\] ◇ not distinguishable", Reader(build()).row("more"))


def test_rows_that_may_be_the_best_are_marked(file: File, build: Build) -> None:
    floors(file)
    file("first", 320)
    assert "80.0 [75.8, 83.6] best" in Reader(build()).row("first")
    file("second", 318)
    seen = Reader(build())
    assert "80.0 [75.8, 83.6] ≈ best" in seen.row("first")
    assert "≈ best" in seen.row("second")
    assert not re.search(r"\] (≈ )?best", seen.row("Untuned target"))


def test_where_a_score_comes_from_is_told_below_the_table(file: File, build: Build) -> None:
    whole(file)
    page = build()
    seen = Reader(page)
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
        assert reason in page.split("<summary>Where it comes from")[1]
        assert reason not in page.split("<summary>Where it comes from")[0]


def test_calibration_is_shown_where_it_was_measured(file: File, build: Build) -> None:
    floors(file)
    file("fits", 320, quality={"nll": 1.0, "nll_calibrated": 0.9})
    assert re.search(r" – \d 1\.000 0\.900 – \d$", Reader(build()).row("fits", more=True))


def test_trials_are_shown_as_the_expected_best_of_as_many(file: File, build: Build) -> None:
    floors(file)
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


def test_the_caption_says_what_the_table_could_have_seen(file: File, build: Build) -> None:
    floors(file)
    file("eft", 320)
    text = " ".join(Reader(build()).text.split())
    (told,) = re.findall(
        r"best floor: Tuned source · a true difference to it of (\d+\.\d) points would be seen 4 ", text
    )
    assert 3 < float(told) < 6


def test_forgetting_says_what_was_tuned_on(file: File, build: Build) -> None:
    floors(file)
    assert "Forgetting." not in build()
    floors(file, task="other", tuned_on="digits")
    text = Reader(build("pairs/old__new__other.html")).text
    assert "Forgetting. Tuned on digits, tested on another task" in " ".join(text.split())


def test_harm_is_flagged_where_it_is_beyond_chance(file: File, build: Build) -> None:
    """Of 400 items the untuned target has 200 right."""
    whole(file, right=100)
    file("chance", 195, title="Chance")
    file("after", 60, title="After", task="other", tuned_on="digits")
    whole(file, task="other", tuned_on="digits")
    file("forgetful", 50, "reference", title="Forgetful", task="other", tuned_on="digits")
    file("weak", 50, "reference", title="Weak")
    seen = Reader(build())
    assert "⚠ negative transfer below the untuned target" in seen.row("Mine")
    assert not [row for row in seen.rows if "negative transfer" in row and "Mine" not in row]
    after = Reader(build("pairs/old__new__other.html"))
    assert "⚠ forgets below the untuned target" in after.row("After")
    assert "⚠ forgets below the untuned target" in after.row("Forgetful")


def test_times_of_different_hardware_share_no_column(file: File, build: Build) -> None:
    floors(file)
    file("eft", 320)
    file("prt", 330, hardware="loom")
    seen = Reader(build())
    heads = [text for text in seen.rows if "median, batch 1" in text]
    assert "abacus-1-thread" in heads[0]
    assert "loom" in heads[0]
    assert re.search(r"4\.5 1\.50 × target \[1\.40, 1\.60\] – \d none none", seen.row("eft"))
    assert re.search(r"– \d 4\.5 1\.50 × target \[1\.40, 1\.60\] none none", seen.row("prt"))
    assert "not run on loom" in seen.text


def test_flops_stand_beside_those_of_the_target_alone(file: File, build: Build) -> None:
    floors(file)
    file("source-zero-shot", 100, "floor", members=("source",), flops=10**9)
    file("pair", 300, members=("target", "tuned"), flops=3 * 10**9)
    seen = Reader(build())
    assert "3 1.50 × target 4.5 1.50 × target [1.40, 1.60]" in seen.row("pair")


def test_missing_numbers_give_their_reasons(file: File, build: Build) -> None:
    floors(file)
    file("eft", 320, latency=False, absent={"cost.per_query.latency": "the cost session was switched off"}, flops=None)
    file("prt", 310, valid=False, once=term(None, 8.0, 64))
    seen = Reader(build())
    for reason in (
        "the cost session was switched off",
        "no FLOP count is known for aten.mystery",
        "not a valid timing: the warm-up did not settle",
        "training FLOPs: the record gives no reason",
    ):
        assert reason in seen.text
    assert re.search(r"above every floor – \d – \d none none 0 2026-01-02$", seen.row("eft"))


def test_without_a_floor_there_is_no_difference(file: File, build: Build) -> None:
    file("eft", 320)
    seen = Reader(build())
    assert "no floor was run on this pair and task" in seen.text
    assert "above every floor" not in "".join(seen.rows)


def test_local_variants_are_marked(file: File, build: Build) -> None:
    floors(file)
    assert "Local variant" not in build()
    floors(file, version="1+local.0a1b2c3d")
    assert build().count("Local variant, not comparable with the pinned set") == 1


def test_tables_of_one_name_show_what_tells_them_apart(file: File, build: Build) -> None:
    floors(file, data="first-data")
    assert "first-da" not in build()
    floors(file, data="other-data")
    text = " ".join(build().split())
    assert "data first-da, split s, templates t, models abababab and abababab" in text
    assert "data other-da, split s" in text


def test_seeds_are_counted(file: File, build: Build) -> None:
    for seed in range(3):
        floors(file, seed=seed)
    page = build()
    assert len(re.findall(r">0</a>, <a [^>]*>1</a>, <a [^>]*>2</a>", page)) == 2
    assert "3 seeds · best floor" in " ".join(Reader(page).text.split())
    assert "the intervals are over items only" not in page
    file("eft", 320)
    assert "up to 3 seeds · best floor" in " ".join(Reader(build()).text.split())


def test_small_numbers_read_well() -> None:
    assert [points(value) for value in (0.0, -0.0002, 0.0123, -0.5)] == ["0.0", "−0.02", "+1.2", "−50.0"]
    assert [duration(value) for value in (0.5, 90, 600, 9000)] == ["0.5 s", "90 s", "10 min", "2.5 h"]
    for low, high in ((-47.4, 5.0), (-0.3, 0.2), (-1.0, 1.0), (0.0, 99.0)):
        labels = [label for _, label in Axis(low, high).ticks]
        assert "0" in labels
        assert 2 <= len(labels) <= 5
