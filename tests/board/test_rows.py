"""Tables as text that is safe to open and that other programs read back."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prt_bench.board.rows import COLUMNS, SHOWN, csv_text, flat_rows, guarded, latex, markdown
from prt_bench.board.table import BEYOND, Row, Table
from prt_bench.board.verdicts import GAINS, Verdicts
from prt_bench.comparing import Comparison, Estimate
from prt_bench.records import PairNames
from tests.board.by_hand import measured, paid, query

OLD_COLUMNS = (
    "source,target,task,version,data_sha256,track,recipe,embedded,method,title,note,role,seeds,n,metric,score,score_low,"
    "score_high,difference,difference_low,difference_high,difference_absent,flops,ms,ratio_to_target,ratio_low,"
    "ratio_high,latency_valid,once_flops,once_seconds,once_reused,upgrade_flops,upgrade_seconds,upgrade_reused"
)
"""Of the first versions: scripts of others read them by name, and some by place."""
PADDED = np.array([1.0, 0.0, 1.0])


def estimate(value: float, seeds: tuple[float, float] | None = None) -> Estimate:
    return Estimate(value, seeds, (value - 0.05, value + 0.05), 400, 2, PADDED)


def comparison(value: float, seeds: tuple[float, float] | None = None) -> Comparison:
    return Comparison(value, seeds, (value - 0.04, value + 0.04), 400, 2, PADDED, p=0.01, detectable=0.06)


def told(**changes: Any) -> Verdicts:
    values: dict[str, Any] = {
        "score": estimate(0.75, (0.72, 0.78)), "to_floor": comparison(0.05, (0.02, 0.08)), "p_floor": 0.03,
        "standing": "above", "among_best": True, "to_ensemble": comparison(0.1), "to_target": comparison(0.2),
        "to_reference": comparison(-0.1),
        "gains": {name: comparison(0.01 * place) for place, name in enumerate(GAINS, start=1)},
        "gap": (0.5, 0.6, 0.7), "agreement": estimate(0.9),
    }  # fmt: skip
    return Verdicts(**{**values, **changes})


def row(label: str = "prt", note: str = "", total: int | None = 4_000, **changes: Any) -> Row:
    values: dict[str, Any] = {
        "label": label, "title": label, "role": "method", "note": note, "seeds": [0, 1], "strengths": "source",
        "measured": measured(1), "verdicts": told(), "quality": dict(zip(BEYOND, (0.7, 0.4, 0.3, 0.02), strict=True)),
        "per_query": query(total), "once": paid(None, 12.5), "per_upgrade": paid(), "finished": "",
        "paths": [Path("x.json")], "curve": (0.5, 0.75),
    }  # fmt: skip
    return Row(**{**values, **changes})


def table(*rows: Row) -> Table:
    pair = PairNames(source="old", target="new")
    return Table(
        pair, "digits", "1", "top1", 400, "d" * 64, "paper", "embedded", True, ["h"], list(rows), tuned_on="other"
    )


def test_a_row_has_every_column_with_its_value() -> None:
    (flat,) = flat_rows([table(row(note="alpha=1.0"))])
    assert tuple(flat) == COLUMNS
    items = {name: pytest.approx(end) for name, end in (("low", 0.0), ("high", 1.0))}
    assert flat == {
        "source": "old", "target": "new", "task": "digits", "version": "1", "data_sha256": "d" * 64, "track": "paper",
        "recipe": "embedded", "embedded": True, "method": "prt", "title": "prt", "note": "alpha=1.0",
        "role": "method", "seeds": 2, "n": 400,
        "metric": "top1", "score": 0.75, "score_low": 0.7, "score_high": 0.8, "difference": 0.05,
        "difference_low": 0.05 - 0.04, "difference_high": 0.09, "difference_absent": None, "flops": 4_000, "ms": 3.25,
        "ratio_to_target": 1.5, "ratio_low": 1.4, "ratio_high": 1.6, "latency_valid": True, "once_flops": None,
        "once_seconds": 12.5, "once_reused": False, "upgrade_flops": 0, "upgrade_seconds": 0.0, "upgrade_reused": False,
        "tuned_on": "other", "strengths": "source", "once_trials": 1, "upgrade_trials": 1,
        "score_items_low": items["low"], "score_items_high": items["high"], "score_seeds_low": 0.72,
        "score_seeds_high": 0.78, "difference_items_low": items["low"], "difference_items_high": items["high"],
        "difference_seeds_low": 0.02, "difference_seeds_high": 0.08, "difference_p": 0.01, "difference_p_holm": 0.03,
        "difference_detectable": 0.06, "standing": "above", "among_best": True,
        **ends("to_ensemble", 0.1), **ends("to_target", 0.2), **ends("to_reference", -0.1),
        **ends("gain_ensembling", 0.01), **ends("gain_tuned_source", 0.02), **ends("gain_beyond_ensemble", 0.03),
        "gap_closed": 0.6, "gap_closed_low": 0.5, "gap_closed_high": 0.7, "gap_closed_absent": None,
        "agreement": 0.9, "agreement_low": 0.9 - 0.05, "agreement_high": 0.9 + 0.05,
        "mean_per_class": 0.7, "nll": 0.4, "nll_calibrated": 0.3, "ece": 0.02, "expected_best": "0.5 0.75",
        "finished": "", "hardware": "", "superseded": "",
    }  # fmt: skip


def ends(name: str, value: float) -> dict[str, float]:
    return {name: value, f"{name}_low": value - 0.04, f"{name}_high": value + 0.04}


def test_columns_of_old_stay_first_and_in_their_order() -> None:
    assert ",".join(COLUMNS).startswith(OLD_COLUMNS + ",")
    assert len(set(COLUMNS)) == len(COLUMNS)


def test_what_was_not_measured_is_empty_and_not_zero() -> None:
    reason = "no such row"
    nothing = dict.fromkeys(
        ("to_floor", "to_ensemble", "to_target", "to_reference", "gains", "gap", "agreement"), reason
    )
    verdicts = told(score=estimate(0.75), p_floor=None, standing=None, **nothing)
    bare = row(total=None, verdicts=verdicts, quality=dict.fromkeys(BEYOND), per_query=query(None, latency=False))
    (flat,) = flat_rows([table(bare)])
    measured_all = ("flops", "ms", "ratio_to_target", "latency_valid", "standing", "agreement", *BEYOND)
    for name in (*measured_all, "score_seeds_low", "difference_p", "difference_p_holm", "difference_detectable"):
        assert flat[name] is None, name
    for name in ("difference", "to_ensemble", "to_target", "to_reference", "gain_ensembling", "gap_closed"):
        assert [flat[name], flat[f"{name}_low"], flat[f"{name}_high"]] == [None] * 3
    assert flat["difference_absent"] == flat["gap_closed_absent"] == reason
    assert "None" not in markdown([flat]) + latex([flat]) + csv_text([flat])


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
def test_text_that_a_spreadsheet_would_run_is_quoted(text: str) -> None:
    assert guarded(text) == "'" + text


@pytest.mark.parametrize("value", ["prt", "", "a=b", " x", -1, -0.5, None, True])
def test_other_values_stay_as_they_are(value: Any) -> None:
    assert guarded(value) is value


TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\n|\\`*_<>[]&%$#{}~^"), max_size=30)


@given(method=TEXT, note=TEXT)
def test_markdown_keeps_one_line_per_row_and_one_cell_per_column(method: str, note: str) -> None:
    flat = flat_rows([table(row(method, note), row())])
    lines = markdown(flat).rstrip("\n").split("\n")
    assert len(lines) == 4
    for line in lines:
        assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == len(SHOWN) + 1
    assert "<" not in re.sub(r"\\<", "", lines[2])


def test_two_settings_of_a_method_are_told_apart_in_every_format() -> None:
    flat = flat_rows([table(row("eft", "alpha=0.5"), row("eft", "alpha=1.0"))])
    for text in (markdown(flat), latex(flat)):
        assert "alpha=0.5" in text
        assert "alpha=1.0" in text


@given(method=TEXT, note=TEXT)
def test_latex_keeps_its_columns_whatever_the_names(method: str, note: str) -> None:
    text = latex(flat_rows([table(row(method, note))]))
    head, columns, *body = text.rstrip("\n").split("\n")
    assert head == r"\begin{tabular}{" + "l" * 5 + "r" * 11 + "}"
    assert len(body) == 2
    for line in (columns, body[0]):
        assert line.endswith(r" \\")
        assert len(re.findall(r"(?<!\\)&", line)) == len(SHOWN) - 1
        assert not re.search(r"(?<!\\)[%$#]", line)
    assert body[1] == r"\end{tabular}"


def test_latex_escapes_what_it_would_take_for_a_command() -> None:
    text = latex(flat_rows([table(row(r"\input{x}_~^"))]))
    assert r"\textbackslash{}input\{x\}\_\textasciitilde{}\textasciicircum{}" in text


def test_numbers_are_short_and_exact_enough() -> None:
    text = markdown(flat_rows([table(row(verdicts=told(score=estimate(2 / 3))))]))
    assert re.search(r"\| 0\.6667 \| 0\.\d+ \| 0\.\d+ \| 0\.05 \| 0\.01 \| 0\.09 \| above \| 4000 \| 3\.25 \|", text)


@pytest.mark.parametrize("sign", ["\0", "\n", "\r", "\t", "\u202e", "\u200b", "\u2028", "\x1b"])
def test_csv_shows_what_cannot_be_seen(sign: str) -> None:
    flat = flat_rows([table(row(f"{sign}a", f"b{sign}=c"))])
    text = csv_text(flat)
    assert text.count("\n") == 2
    (read,) = csv.DictReader(io.StringIO(text))
    assert read["method"].lstrip("'") == "\ufffda"
    assert read["note"] == "b\ufffd=c"
    assert flat[0]["method"] == f"{sign}a", "what is told in JSON is what the record says"


def test_csv_is_read_back_with_its_formulas_disarmed() -> None:
    (read,) = csv.DictReader(io.StringIO(csv_text(flat_rows([table(row("=prt", 'a "quoted", note'))]))))
    assert tuple(read) == COLUMNS
    assert read["method"] == "'=prt"
    assert read["note"] == 'a "quoted", note'
    assert float(read["score"]) == 0.75
    assert read["once_flops"] == ""
