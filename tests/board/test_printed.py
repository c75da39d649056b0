"""What papers printed stands beside what was measured here, marked, and only of the very pair."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from prt_bench.board.reported import load_reported
from tests.board.filing import Build, File, Reader, floors
from tests.board.test_reading import SESSION, write_session

PAIR = ("rn50-openai", "rn101-openai")
TIMED = ("rn50-openai", "vitb16-openai")


def page_of(pair: tuple[str, str]) -> str:
    return f"pairs/{pair[0]}__{pair[1]}.html"


def reported(page: str) -> list[str]:
    """Rows of the table of printed numbers, their spaces squeezed."""
    start = page.find('<table class="reported">')
    if start < 0:
        return []
    return [" ".join(row.split()) for row in Reader(page[start : page.index("</table>", start)]).rows][1:]


@pytest.fixture
def session(tmp_path: Path) -> dict[str, Any]:
    """A session of a pair that papers timed; `write_session` files it."""
    made = deepcopy(SESSION)
    made["pair"] = dict(zip(("source", "target"), TIMED, strict=True))
    made["compositions"] = {"prt": {**made["compositions"]["tuned"], "method": "prt"}}
    return made


def test_a_printed_score_stands_beside_ours_with_its_source(file: File, build: Build) -> None:
    (table,) = (table for table in load_reported().scores if table.task == "cifar100")
    facts: dict[str, Any] = {"pair": PAIR, "task": "cifar100", "embedded": False}
    floors(file, **facts)
    where = f"ICML 2025, table {table.number}"
    unknown = "72.36 % (an unknown number of seeds) †"
    assert reported(build(page_of(PAIR))) == [f"cifar100 prt {unknown} not measured {where}"]
    file("prt", 320, **facts)
    assert reported(build(page_of(PAIR))) == [
        f"cifar100 prt {unknown} 80.0 % [75.8, 83.6] (track paper) {where}"
    ]  # fmt: skip


def test_scores_of_another_task_pair_or_older_state_are_not_ours(file: File, build: Build) -> None:
    facts: dict[str, Any] = {"pair": PAIR, "embedded": False}
    floors(file, **facts)
    file("prt", 320, task="other", **facts)
    file("prt", 300, task="cifar100", **facts)
    file("prt", 340, task="cifar100", finished="2027-01-02T03:04:05+00:00", **facts)
    (row,) = reported(build(page_of(PAIR)))
    assert "† 85.0 % [" in row
    assert "75.0 %" not in row, "the older state"
    assert "80.0 %" not in row, "another task"
    back = PAIR[::-1]
    floors(file, **{**facts, "pair": back})
    assert "Printed by papers" not in build(page_of(back))


def test_a_printed_time_is_a_ratio_beside_our_ratio(
    file: File, build: Build, session: dict[str, Any], tmp_path: Path
) -> None:
    write_session(tmp_path / "board", session)
    write_session(tmp_path / "board", {**session, "id": "t", "pair": {"source": TIMED[0], "target": PAIR[1]}}, "t")
    rows = reported(build(page_of(TIMED)))
    eft, prt = rows
    assert "eft 10.27 ± .22 ms, 2.92 × the target † not measured" in eft
    assert "prt 7.00 ± .12 ms, 1.99 × the target † 1.20 × at batch 1 on h ICML 2025, table 2; " in prt
    assert "not stated: device, precision, placement of the models, whether the device was waited for" in prt
    assert not any("full-finetune" in row for row in rows), "it is what the others are compared with"


def test_only_valid_times_of_the_headline_stand_unmarked(
    file: File, build: Build, session: dict[str, Any], tmp_path: Path
) -> None:
    (timed,) = session["compositions"]["prt"]["latency"]
    session["compositions"]["prt"]["latency"] = [
        {**timed, "valid": False, "reasons": ["warm"]},
        {**timed, "batch_size": 32, "ratio_to_target": [8.0, 9.0, 10.0]},
        {**timed, "placement": "at once", "ratio_to_target": [6.0, 7.0, 8.0]},
    ]
    write_session(tmp_path / "board", session)
    _, prt = reported(build(page_of(TIMED)))
    assert "† 1.20 × at batch 1 on h (not valid) ICML" in prt
    assert "9.00 ×" not in prt
    assert "7.00 ×" not in prt
