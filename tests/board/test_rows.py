"""Tables as text that is safe to open and that other programs read back."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prt_bench.board.rows import COLUMNS, SHOWN, csv_text, flat_rows, guarded, latex, markdown
from prt_bench.board.table import Row, Table
from prt_bench.records import CostTerm, Flops, LatencyRow, Memory, PairNames, ParameterCount, PerQuery

FREE = CostTerm(train_flops=0, seconds=0.0, examples=0)
PAID = CostTerm(train_flops=None, seconds=12.5, examples=9)


def row(label: str = "prt", note: str = "", total: int | None = 4_000, **changes: Any) -> Row:
    latency = LatencyRow(
        session="s", batch_size=1, p50_ms=3.25, p90_ms=None, ratio_to_target=(1.4, 1.5, 1.6), valid=True
    )
    query = PerQuery(
        unit="image",
        shape={},
        flops=Flops(total=total, by_member={}, calls={}, rule=0, rule_elementwise=0),
        params=ParameterCount(total=1, by_member={}),
        memory=Memory(weights=1),
        latency=[latency],
    )
    values: dict[str, Any] = {
        "label": label, "title": label, "role": "method", "note": note, "seeds": [0, 1], "score": 0.75,
        "score_ci95": (0.7, 0.8), "per_query": query, "once": PAID, "per_upgrade": FREE,
        "difference": (0.01, 0.05, 0.09), "paths": [Path("x.json")],
    }  # fmt: skip
    return Row(**{**values, **changes})


def table(*rows: Row) -> Table:
    pair = PairNames(source="old", target="new")
    return Table(pair, "digits", "1", "top1", 400, "d" * 64, "paper", "embedded", True, ["h"], list(rows))


def test_a_row_has_every_column_with_its_value() -> None:
    (flat,) = flat_rows([table(row(note="alpha=1.0"))])
    assert tuple(flat) == COLUMNS
    assert flat == {
        "source": "old", "target": "new", "task": "digits", "version": "1", "data_sha256": "d" * 64, "track": "paper",
        "recipe": "embedded", "embedded": True, "method": "prt", "title": "prt", "note": "alpha=1.0",
        "role": "method", "seeds": 2, "n": 400,
        "metric": "top1", "score": 0.75, "score_low": 0.7, "score_high": 0.8, "difference": 0.05,
        "difference_low": 0.01, "difference_high": 0.09, "difference_absent": None, "flops": 4_000, "ms": 3.25,
        "ratio_to_target": 1.5, "ratio_low": 1.4, "ratio_high": 1.6, "latency_valid": True, "once_flops": None,
        "once_seconds": 12.5, "once_reused": False, "upgrade_flops": 0, "upgrade_seconds": 0.0, "upgrade_reused": False,
    }  # fmt: skip


def test_what_was_not_measured_is_empty_and_not_zero() -> None:
    bare = row(total=None, difference=None, difference_absent="no floor")
    bare.per_query = bare.per_query.model_copy(update={"latency": None})
    (flat,) = flat_rows([table(bare)])
    for name in ("difference", "difference_low", "difference_high", "flops", "ms", "ratio_to_target", "latency_valid"):
        assert flat[name] is None
    assert flat["difference_absent"] == "no floor"
    assert "None" not in markdown([flat]) + latex([flat])


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
    assert head == r"\begin{tabular}{" + "l" * 5 + "r" * 6 + "}"
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
    text = markdown(flat_rows([table(row(score=2 / 3))]))
    assert "| 0.6667 | 0.05 | 0.01 | 0.09 | 4000 | 3.25 |" in text


def test_csv_is_read_back_with_its_formulas_disarmed() -> None:
    (read,) = csv.DictReader(io.StringIO(csv_text(flat_rows([table(row("=prt", 'a "quoted", note'))]))))
    assert tuple(read) == COLUMNS
    assert read["method"] == "'=prt"
    assert read["note"] == 'a "quoted", note'
    assert float(read["score"]) == 0.75
    assert read["once_flops"] == ""
