"""Records → tables: what is compared, with whom, and what is left out."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from prt_bench.board.contests import contests, standings
from prt_bench.board.releases import refuse_bare
from prt_bench.board.rows import flat_rows
from prt_bench.board.table import Filed, Row, Table, tables
from prt_bench.errors import RequestError
from prt_bench.records import read_record
from prt_bench.stats import wilson_interval

N = 200
File = Callable[..., Path]
TERM = {"train_flops": 7, "seconds": 1.0, "examples": 3}
PER_QUERY = {
    "unit": "image",
    "shape": {},
    "flops": {
        "total": 2_000_000_000, "by_member": {"target": 2_000_000_000}, "calls": {"target": 1.0}, "rule": 0,
        "rule_elementwise": 0,
    },
    "params": {"total": 5, "by_member": {"target": 5}},
    "memory": {"weights": 20},
    "latency": None,
}  # fmt: skip
ENVIRONMENT = {
    "hardware": "h", "device": "cpu", "processor": "p", "threads": 1, "memory_bytes": 1, "system": "s", "python": "3",
}  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> File:
    """Files a record with its predictions: `right` says which of the items the method got right."""
    count = 0

    def filed(
        method: str,
        right: Sequence[bool] | np.ndarray[Any, Any] | int,
        role: str = "method",
        *,
        seed: int = 0,
        params: dict[str, Any] | None = None,
        recipe: dict[str, Any] | None = None,
        status: str = "ok",
        partial: bool = False,
        primary: str = "top1",
        pair: tuple[str, str] = ("old", "new"),
        task: dict[str, str] | None = None,
        models: dict[str, str] | None = None,
        source: str = "m",
        strengths: str = "constants",
        stands_for: str = "",
        ids: Sequence[str] | None = None,
        labels: Sequence[int] | None = None,
        latency: list[dict[str, Any]] | None = None,
        finished: str = "2026-01-01T00:00:01Z",
    ) -> Path:
        nonlocal count
        count += 1
        hits = np.arange(N) < right if isinstance(right, int) else np.asarray(right)
        told = list(labels) if labels is not None else [index % 2 for index in range(len(hits))]
        name = f"{count:03d}-{method}"
        path = tmp_path / "results" / "+".join(pair) / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        by_class = [float(hits[np.equal(told, label)].mean()) for label in sorted(set(told))]
        value = float(np.mean(by_class)) if primary == "mean_per_class" else float(hits.mean())
        low, high = wilson_interval(int(hits.sum()), len(hits))
        metric = {"value": value, "ci95": [min(low, value), max(high, value)]}
        quality = {
            "primary": primary,
            "metrics": {primary: {**metric, "n": len(hits), "split": "test"}},
            "nll": None,
            "nll_calibrated": None,
            "ece": None,
            "predictions": f"{name}.predictions.csv",
        }
        sha = {"version": "1", "data_sha256": "d", "split_sha256": "s", "template_sha256": "t", **(task or {})}
        record = {
            "cell": {
                "id": name, "pair": {"source": pair[0], "target": pair[1]}, "task": "digits", "method": method,
                "role": role, "seed": seed, "params": params or {}, "recipe": recipe or {},
                "limit": len(hits) if partial else None, "strengths": strengths, "stands_for": stands_for,
            },
            "status": status,
            "error": None if status == "ok" else {"type": "CellError", "message": "no", "where": "fit"},
            "quality": quality if status == "ok" else None,
            "cost": {"once": TERM, "per_upgrade": TERM, "per_query": {**PER_QUERY, "latency": latency}},
            "environment": ENVIRONMENT,
            "provenance": {
                "models": {
                    alias: {
                        "revision": None, "sha256": (models or {}).get(alias, alias), "head_sha256": None,
                        "preprocessing_sha256": None,
                    }
                    for alias in pair
                },
                "task": sha, "method_source_sha256": source, "git": None, "packages": {}, "request": "",
                "started": "2026-01-01T00:00:00Z", "finished": finished,
            },
            "partial": partial,
        }  # fmt: skip
        path.write_text(json.dumps(record), encoding="utf-8")
        with path.with_name(quality["predictions"]).open("w", encoding="utf-8", newline="") as out:
            writer = csv.writer(out)
            writer.writerow(["id", "label", "prediction", "log_prob_label"])
            for index, (hit, label) in enumerate(zip(hits, told, strict=True)):
                writer.writerow([ids[index] if ids else f"test/{index}", label, label if hit else label + 1, "-1.0"])
        return path

    return filed


def records(out: Path) -> list[Filed]:
    return [Filed(read_record(path), path) for path in sorted((out / "results").rglob("*.json"))]


@pytest.fixture
def made(tmp_path: Path) -> Callable[[], list[Table]]:
    return lambda: tables(records(tmp_path))


@pytest.fixture
def one(made: Callable[[], list[Table]]) -> Callable[[], tuple[Table, dict[str, Row]]]:
    """The only table, and its rows by label."""

    def table() -> tuple[Table, dict[str, Row]]:
        (only,) = made()
        return only, {row.label: row for row in only.rows}

    return table


def test_methods_are_set_against_the_best_floor(file: File, one: Any) -> None:
    file("zero_shot", 100, "floor")
    file("untuned", 120, "floor")
    file("prt", 150)
    file("worse", 90)
    file("full", 180, "reference")
    table, rows = one()
    assert table.best_floor == "untuned"
    assert [row.label for row in table.rows] == ["zero_shot", "untuned", "worse", "prt", "full"]
    assert [row.label for row in table.rows if row.is_best_floor] == ["untuned"]
    low, high = rows["prt"].difference.interval
    assert rows["prt"].difference.value == pytest.approx(30 / N)
    assert 0 < low < 30 / N < high
    low, high = rows["worse"].difference.interval
    assert rows["worse"].difference.value == pytest.approx(-30 / N)
    assert low < -30 / N < high < 0
    assert rows["zero_shot"].difference.value == pytest.approx(-20 / N)
    assert rows["untuned"].difference is None
    assert rows["untuned"].verdicts.to_floor == "this is the best floor"


def test_a_difference_is_paired_by_item(file: File, one: Any) -> None:
    """Five more items right and none lost is surer than fifty won and forty-five lost."""
    base = np.arange(N) < 100
    file("floor", base, "floor")
    file("adds", np.arange(N) < 105)
    file("trades", (np.arange(N) >= 45) & (np.arange(N) < 150))
    _, rows = one()
    widths = {name: np.ptp(rows[name].difference.interval) for name in ("adds", "trades")}
    assert rows["adds"].difference.value == pytest.approx(rows["trades"].difference.value)
    assert widths["trades"] > 3 * widths["adds"]


def test_seeds_of_one_method_are_one_row(file: File, one: Any) -> None:
    for seed, floor, prt in ((0, 100, 140), (1, 102, 150), (2, 98, 160)):
        file("floor", floor, "floor", seed=seed)
        file("prt", prt, seed=seed)
    _, rows = one()
    assert rows["prt"].seeds == [0, 1, 2]
    assert rows["prt"].score == pytest.approx(0.75)
    low, high = rows["prt"].score_ci95
    assert low < 0.75 < high
    assert rows["prt"].difference.value == pytest.approx(0.25)
    assert rows["prt"].difference.n_seeds == 3
    assert len(rows["prt"].paths) == 3


def test_only_seeds_in_common_are_compared(file: File, one: Any) -> None:
    file("floor", 100, "floor", seed=0)
    file("prt", 120, seed=0)
    file("prt", 200, seed=1)
    file("late", 150, seed=5)
    _, rows = one()
    assert rows["prt"].difference.value == pytest.approx(20 / N)
    assert rows["prt"].difference.n_seeds == 1
    assert rows["late"].difference is None
    assert rows["late"].verdicts.to_floor == "no seed in common with the best floor"


def test_partial_and_failed_records_are_in_no_table(file: File, made: Any) -> None:
    file("floor", 100, "floor", partial=True)
    file("prt", 120, status="failed")
    file("other", 120, status="skipped")
    assert made() == []


@pytest.mark.parametrize(
    "change",
    [
        {"task": {"version": "2"}},
        {"task": {"version": "1+local.01234567"}},
        {"task": {"data_sha256": "other"}},
        {"task": {"split_sha256": "other"}},
        {"task": {"template_sha256": "other"}},
        {"models": {"old": "other weights"}},
        {"pair": ("old", "newer")},
        {"primary": "mean_per_class"},
    ],
    ids=str,
)
def test_what_may_not_be_compared_is_in_another_table(file: File, made: Any, change: dict[str, Any]) -> None:
    file("floor", 100, "floor")
    file("prt", 120, **change)
    found = made()
    assert [[row.label for row in table.rows] for table in found].count(["prt"]) == 1
    assert len(found) == 2
    (row,) = next(table for table in found if table.rows[0].label == "prt").rows
    assert row.difference is None
    assert row.verdicts.to_floor == "no floor was run on this pair and task"


def test_differing_test_items_give_no_difference_but_a_reason(file: File, one: Any) -> None:
    file("floor", 100, "floor")
    file("prt", 120, ids=[f"other/{index}" for index in range(N)])
    _, rows = one()
    assert rows["prt"].difference is None
    assert rows["prt"].verdicts.to_floor == "test items not shared with the best floor"
    assert rows["prt"].score == pytest.approx(0.6)


def test_two_settings_of_a_method_both_stay_and_are_told_apart(file: File, made: Any) -> None:
    file("floor", 100, "floor")
    file("eft", 120, params={"alpha": 0.5})
    file("eft", 130, params={"alpha": 1.0})
    (table,) = made()
    assert [(row.label, row.note) for row in table.rows] == [("floor", ""), ("eft", "alpha=0.5"), ("eft", "alpha=1.0")]
    assert [row["note"] for row in flat_rows([table])] == ["", "alpha=0.5", "alpha=1.0"]


def test_recipes_are_never_compared_in_one_table(file: File, made: Any) -> None:
    for number in range(2):
        file("prt", 120 + number, recipe={"new": {"steps": number}})
    assert [len(table.rows) for table in made()] == [1, 1]


def test_rows_that_no_setting_tells_apart_are_named_by_their_records(file: File, made: Any) -> None:
    for number in range(3):
        file("prt", 120 + number, params={"alpha": 1.0}, source=f"code {number}")
    (table,) = made()
    assert [row.note for row in table.rows] == [f"alpha=1.0, record 00{number}-prt" for number in (1, 2, 3)]


def test_the_same_seed_measured_again_supersedes_the_row_that_was(file: File, made: Any) -> None:
    file("prt", 120, finished="2026-01-01T00:00:00Z")
    file("prt", 130, finished="2026-02-01T00:00:00Z")
    (table,) = made()
    assert [(row.score, row.seeds, row.note, row.superseded) for row in table.rows] == [
        (0.65, [0], "", ""),
        (0.6, [0], "record 001-prt", "there is a newer record of the same cell"),
    ]


def test_time_is_told_by_the_clock_and_not_by_its_spelling(file: File, made: Any) -> None:
    file("prt", 120, finished="2026-02-01T00:30:00+02:00")
    file("prt", 130, finished="2026-01-31T23:00:00Z")
    (table,) = made()
    assert [(row.score, bool(row.superseded)) for row in table.rows] == [(0.65, False), (0.6, True)]


@pytest.mark.parametrize(
    "change",
    [{"params": {"alpha": 0.5}}, {"strengths": "source"}, {"finished": "2026-01-01T00:00:01Z"}],
    ids=str,
)
def test_another_setting_or_as_old_a_record_supersedes_nothing(file: File, made: Any, change: dict[str, Any]) -> None:
    """Of two that are as old, from another source, none is the newer one."""
    file("prt", 120)
    file("prt", 130, **{"source": "changed", "finished": "2026-02-01T00:00:00Z", **change})
    (table,) = made()
    assert [row.superseded for row in table.rows] == ["", ""]


def test_superseded_rows_come_last_and_take_part_in_nothing(file: File, made: Any) -> None:
    """The page with them says of all others what it says without."""
    new = {"finished": "2026-03-01T00:00:00Z", "source": "new"}
    for seed in range(2):
        file("floor", 100, "floor", seed=seed, **new)
        file("prt", 125, seed=seed, **new)
        file("eft", 118, seed=seed, **new)
        file("full", 180, "reference", seed=seed, stands_for="tuned target", **new)
    (before,) = made()
    for seed in range(3):
        # Better than all others, had they counted.
        file("floor", 190, "floor", seed=seed)
        file("prt", 195, seed=seed)
        file("eft", 90, seed=seed, source="of yet another source")
        file("full", 20, "reference", seed=seed, stands_for="tuned target")
    (after,) = made()
    current, old = after.rows[:4], after.rows[4:]
    assert [row.superseded for row in current] == [""] * 4
    assert [(row.label, row.seeds) for row in old] == [
        ("floor", [0, 1, 2]), ("eft", [0, 1, 2]), ("prt", [0, 1, 2]), ("full", [0, 1, 2]),
    ]  # fmt: skip
    assert all(row.superseded for row in old)
    assert [(row.label, row.note, row.verdicts) for row in current] == [
        (row.label, row.note, row.verdicts) for row in before.rows
    ]
    assert (after.best_floor, after.detectable) == (before.best_floor, before.detectable)
    for row in old:
        told = row.verdicts
        assert (told.p_floor, told.standing, told.among_best, row.is_best_floor) == (None, None, False, False)
        assert row.difference is not None
    assert [(one.found, one.adjusted) for one in contests([after], "prt", "eft")] == [
        (one.found, one.adjusted) for one in contests([before], "prt", "eft")
    ]
    assert standings([after]) == standings([before])


def test_a_method_that_stands_alone_needs_no_note(file: File, one: Any) -> None:
    file("prt", 120, params={"alpha": 1.0})
    assert one()[1]["prt"].note == ""


def test_classes_weigh_the_same_where_the_task_says_so(file: File, one: Any) -> None:
    """150 of 160 right in one class, 10 of 40 in the other."""
    labels = [0] * 160 + [1] * 40
    file("floor", [True] * 160 + [False] * 40, "floor", labels=labels, primary="mean_per_class")
    right = [True] * 150 + [False] * 10 + [True] * 10 + [False] * 30
    file("prt", right, labels=labels, primary="mean_per_class", seed=0)
    file("prt", right, labels=labels, primary="mean_per_class", seed=1)
    table, rows = one()
    assert table.primary == "mean_per_class"
    assert rows["floor"].score == pytest.approx(0.5)
    assert rows["prt"].score == pytest.approx((150 / 160 + 10 / 40) / 2)
    assert rows["prt"].difference.value == pytest.approx((150 / 160 + 10 / 40) / 2 - 0.5)


def test_a_row_shows_its_latest_record_and_the_headline_batch(file: File, one: Any) -> None:
    def rows_of(first_ms: float) -> list[dict[str, Any]]:
        row = {"session": "s", "p90_ms": None, "ratio_to_target": [1.9, 2.0, 2.1], "valid": True}
        return [{**row, "batch_size": 32, "p50_ms": 99.0}, {**row, "batch_size": 1, "p50_ms": first_ms}]

    file("prt", 100, seed=0, latency=rows_of(5.0), finished="2026-01-02T00:00:00Z")
    file("prt", 100, seed=1, latency=rows_of(7.0), finished="2026-01-01T00:00:00Z")
    table, rows = one()
    assert rows["prt"].latency.p50_ms == 5.0
    assert rows["prt"].gflops == 2.0
    (flat,) = flat_rows([table])
    assert (flat["ms"], flat["ratio_to_target"], flat["seeds"], flat["n"]) == (5.0, 2.0, 2, N)


def test_times_of_members_placed_otherwise_are_not_in_the_column(file: File, one: Any) -> None:
    row = {"session": "s", "batch_size": 1, "p90_ms": None, "ratio_to_target": [1.0, 1.0, 1.0], "valid": True}
    streams = {**row, "p50_ms": 1.0, "placement": "concurrent streams"}
    file("prt", 100, latency=[streams, {**row, "p50_ms": 5.0}])
    file("eft", 100, latency=[streams])
    _, rows = one()
    assert rows["prt"].latency.p50_ms == 5.0
    assert rows["eft"].latency is None


def test_tables_do_not_depend_on_the_order_of_the_files(file: File, tmp_path: Path) -> None:
    for seed in range(2):
        file("floor", 100, "floor", seed=seed)
        file("prt", 120 + seed, seed=seed)
        file("eft", 110, params={"alpha": 1.0}, seed=seed, pair=("old", "newer"))
    filed = records(tmp_path)
    assert flat_rows(tables(filed)) == flat_rows(tables(filed[::-1]))


def predictions(path: Path) -> Path:
    return path.with_name(path.stem + ".predictions.csv")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "not a predictions file"),
        ("id,label\n1,2\n", "not a predictions file"),
        ("id,label,prediction\nx,cat,dog\n", "not a predictions file"),
        ("id,label,prediction\nx\n", "not a predictions file"),
        ("id,label,prediction\n", "holds 0 answers, its record .* says 200"),
        ("", "holds 0 answers, its record .* says 200"),
        ("id,label,prediction\nx,1,1\n", "holds 1 answers, its record .* says 200"),
    ],
)
def test_damaged_predictions_are_named(file: File, made: Any, content: str | None, message: str) -> None:
    path = predictions(file("prt", 120))
    if content is None:
        path.unlink()
    else:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(RequestError, match=message) as caught:
        made()
    assert str(path) in str(caught.value)


def test_seeds_that_answered_different_tests_are_refused(file: File, made: Any) -> None:
    file("prt", 120, seed=0)
    other = file("prt", 120, seed=1, ids=[f"other/{index}" for index in range(N)])
    with pytest.raises(RequestError, match="other test items than the same method's other seeds") as caught:
        made()
    assert str(predictions(other)) in str(caught.value)


def test_a_folder_without_results_says_what_makes_some(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="holds no results yet; `prt-bench run` makes some"):
        refuse_bare(tmp_path / "nothing")
