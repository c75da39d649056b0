"""The page of a pair: its tasks at a glance, and summed up."""

from __future__ import annotations

import re

from tests.board.filing import Build, File, Reader, floors, whole


def test_methods_are_summed_up_over_tasks(file: File, build: Build) -> None:
    whole(file)
    assert "Over the tasks of this pair" not in build("pairs/old__new.html")
    whole(file, task="letters", right=100)
    whole(file, task="digits-after", tuned_on="digits", right=10)
    file("alone", 390, title="Alone")
    page = build("pairs/old__new.html")
    text = " ".join(Reader(page).text.split())
    assert "against each task's best floor. 2 tasks: the interval is wide, and another task may differ" in text
    start = page.index("Over the tasks of this pair, recipes as published")
    seen = Reader(page[start : page.index("</table>", start)])
    # 340 and 100 right of 400 against the floor's 240: +25 and −35 points.
    assert re.fullmatch(r"Mine 1 / 0 / 1 −5\.0 \[−\d+\.\d, \+\d+\.\d\]", seen.row("Mine"))
    assert seen.row("Alone") == "Alone 1 / 0 / 0 not over the same tasks: without letters"
    assert not any(row.strip().startswith("Untuned") for row in seen.rows)


def test_several_tasks_have_an_overview(file: File, build: Build) -> None:
    for task in ("digits", "letters"):
        floors(file, task=task)
    file("eft", 320)
    overview = Reader(build("pairs/old__new.html").split("</table>")[0])
    assert "+10.0 ▲ above every floor not run" in overview.row("eft")


def test_a_cell_that_was_tried_says_why_it_has_no_row(file: File, build: Build) -> None:
    for task in ("digits", "letters"):
        floors(file, task=task)
    file("eft", 320)
    file("eft", 0, task="letters", error="diverged")
    overview = Reader(build("pairs/old__new.html").split("</table>")[0])
    assert "+10.0 ▲ above every floor failed: CellError: diverged (fit)" in overview.row("eft")
    told = " ".join(Reader(build("pairs/old__new__letters.html")).text.split())
    assert "eft, seed 0: failed, CellError: diverged (fit)" in told
    assert "failed" not in Reader(build()).text.split("How to read this")[0]


def test_methods_of_one_title_keep_a_line_each(file: File, build: Build) -> None:
    for task in ("digits", "letters"):
        floors(file, task=task)
    file("mine", 320, title="Best method")
    file("theirs", 120, title="Best method")
    overview = Reader(build("pairs/old__new.html").split("</table>")[0])
    assert "+10.0" in overview.row("Best method mine")
    assert "−40.0" in overview.row("Best method theirs")


def test_costs_are_claimed_only_where_there_are_some(file: File, build: Build) -> None:
    file("eft", 0, error="diverged")
    assert "its costs were" not in build("pairs/old__new.html")
