"""`prt-bench lifetime` from end to end, on records made by hand."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prt_bench.board.numerals import in_flops
from prt_bench.board.releases import freeze
from prt_bench.cli.lifetime_text import in_seconds
from prt_bench.cli.main import invoke
from tests.test_lifetime import latency, put_record

Run = Callable[..., int]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A port of a constant cost against a tuned target, over three seeds, and two floors."""
    for seed in range(3):
        rows = [latency(15.0, (1.4, 1.5, 1.6))]
        put_record(tmp_path, "ported", seed=seed, right=17, once=500, once_seconds=5.0 + seed, query=150, rows=rows)
        tuned = {"upgrade": 1000, "upgrade_seconds": 10.0 + seed, "query": 100}
        put_record(tmp_path, "tuned", "reference", seed=seed, right=18, **tuned)
        put_record(tmp_path, "free", "floor", seed=seed, right=17, query=100)
        put_record(
            tmp_path,
            "[red]odd[/red]",
            seed=seed,
            right=3,
            query=400,
            rows=[],
            absent={"cost.per_query.latency": "no clock"},
        )
    return tmp_path


@pytest.fixture
def run(out: Path) -> Run:
    def call(*words: str) -> int:
        asked = ["--out", str(out), "--pair", "a:b", "--task", "digits", "--upgrades", "10", "--queries", "100"]
        return invoke(["lifetime", *asked, *words])

    return call


def test_the_table_says_who_is_cheapest_and_where_it_ends(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    assert run("--price", "3600", "--within", "5") == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert max(map(len, shown.out.splitlines())) <= 100
    words = " ".join(shown.out.split())
    assert (
        "Cheapest within 5 points of tuned at 10 upgrades and 100 queries in all: in FLOPs ported (15.5 kFLOPs; tuned"
        in words
    )
    assert "in time ported (7.5 s ± 2.48 s, money 7.50 ± 2.48; tuned 1.85 min" in words
    assert "over 10 upgrades, in FLOPs up to 190 queries, in time up to 20.8 thousand" in words
    assert "at 100 queries, in FLOPs from 5.5 upgrades on" in words
    assert "Also within 5 points of tuned, and a floor: free." in words
    assert "[red]odd[/red]: no time per query: no clock." in words
    assert "85.0 % (-5.0)" in words
    # In the table, not only in the sentences below it.
    assert "[red]odd[/red] FLOPs" in words
    assert "not within 5" in words
    assert "1 multiply-add = 2 FLOPs" in words
    assert "Embedded models (a, b)" in words


def test_the_table_is_whole_on_a_narrow_terminal(
    run: Run, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run("--price", "3600") == 0
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    for word in ("per upgrade", "total", "costs less: queries", "up to 190", "from 5.5", "[red]odd[/red]"):
        assert word in shown
    assert "cheapest within so many points of tuned: 1: tuned; 2: tuned; 5: ported; 10: ported." in " ".join(
        shown.split()
    )


def leaves(value: Any, path: str = "") -> dict[str, Any]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if inside is None:
        return {path.lstrip("."): value}
    return {name: leaf for key, part in inside for name, leaf in leaves(part, f"{path}.{key}").items()}


def test_json_holds_all_of_it_and_says_why_what_is_null(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json", "--price", "7200") == 0
    found = json.loads(capsys.readouterr().out)
    absent = found.pop("absent")
    nulls = {path for path, leaf in leaves(found).items() if leaf is None}
    endless = {path for path in nulls if path.endswith(".to_queries")}
    assert nulls - endless <= set(absent)
    assert {path for path in absent if "*" not in path} <= nulls
    methods = {entry["label"]: entry for entry in found["methods"]}
    ported = methods["ported"]
    assert ported["flops"]["total"] == {"low": 15500.0, "value": 15500.0, "high": 15500.0}
    assert ported["flops"]["break_even_queries"] == {
        "cheaper": "below", "low": 190.0, "value": 190.0, "high": 190.0, "shares_of_draws": {"below": 1.0},
        "meaning": "costs less up to 190 queries",
    }  # fmt: skip
    assert ported["money"]["total"]["value"] == pytest.approx(2 * ported["seconds"]["total"]["value"])
    assert ported["money"]["break_even_queries"] == ported["seconds"]["break_even_queries"]
    assert methods["tuned"]["flops"]["break_even_queries"] is None
    assert (ported["eligible"], methods["free"]["eligible"]) == (True, None)
    assert ported["score_minus_reference"] == pytest.approx(-0.05)
    assert found["cheapest"]["flops"] == ["ported"]
    assert [entry["flops"] for entry in found["cheapest_within"]] == [["tuned"], ["tuned"], ["ported"], ["ported"]]
    boundary = next(one for one in found["map"]["flops"]["boundaries"] if one["cheapest_above"] == "tuned")
    assert boundary["cheapest_below"] == "ported"
    assert boundary["queries"] == {"at_no_upgrade": -10.0, "per_upgrade": 20.0}
    strip = next(strip for strip in found["map"]["flops"]["strips"] if strip["upgrades"] == 10)
    assert [segment["to_queries"] for segment in strip["segments"]] == [2.0, 190.0, None]
    assert len(found["between_methods"]) == 3
    assert found["units"]["flops"] == "FLOP"
    assert found["hardware"] == ["h"]


def test_a_second_look_is_the_same(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("--json")
    first = capsys.readouterr().out
    run("--json")
    assert capsys.readouterr().out == first


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--upgrades", "0"], "--upgrades 0: a number above 0"),
        (["--queries", "-1"], "--queries -1: a number above 0"),
        (["--queries", "nan"], "--queries nan: a number above 0"),
        (["--price", "inf"], "--price inf: a number above 0"),
        (["--price", "nan"], "--price nan: a number above 0"),
        (["--within", "nan"], "--within nan: points between 0 and 100"),
        (["--task", "digit"], "did you mean digits"),
        (["--chart", "ledger.pdf"], "--chart ledger.pdf: a chart ends in .svg, .png, .html"),
        (["--chart", "no/where.svg"], "--chart no/where.svg: there is no such folder"),
        (["--pair", "x:b"], "the pairs of a chain have one source"),
        (["--track", "equal"], "no records on track equal"),
        (["--upgrades", "many"], "Invalid value for '--upgrades': "),
    ],
)  # fmt: skip
def test_a_wrong_request_is_one_line(
    run: Run, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert run(*words) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert message in shown.err


def test_a_chart_is_written_and_named(run: Run, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--chart", str(out / "ledger.svg"), "--json") == 0
    shown = capsys.readouterr()
    json.loads(shown.out)
    assert f"chart: {out / 'ledger.svg'}" in shown.err
    assert "[red]odd[/red]" in (out / "ledger.svg").read_text(encoding="utf-8")


def test_releases_count_with_the_results_and_alone(run: Run, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--json") == 0
    before = capsys.readouterr()
    freeze(out, "first")
    for paths in ([], sorted((out / "results").rglob("*.json"))[::2]):
        for path in paths:
            path.unlink()
        assert run("--json") == 0
        assert capsys.readouterr() == before, "what is in both counts once"
    shutil.rmtree(out / "results")
    assert run("--json") == 0
    assert capsys.readouterr() == before


def test_a_track_that_only_a_release_has(run: Run, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the board's own commands ask for."""
    elsewhere = out / "elsewhere"
    put_record(elsewhere, "tuned", "reference", right=18, upgrade=1000, track="equal")
    freeze(out, "first", source=elsewhere)
    assert run("--track", "equal", "--json") == 0
    assert json.loads(capsys.readouterr().out)["track"] == "equal"


def test_a_damaged_release_is_refused_as_by_a_build(run: Run, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    freeze(out, "first")
    next((out / "releases").rglob("*.csv")).write_text("id\n", encoding="utf-8")
    assert run() == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert len(shown.err.splitlines()) == 1
    assert ".predictions.csv is altered" in shown.err
    assert invoke(["--out", str(out), "board", "build"]) == 2
    assert capsys.readouterr().err == shown.err


def test_a_file_that_does_not_hold_is_told_and_the_rest_counts(
    run: Run, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--json") == 0
    before = capsys.readouterr().out
    (out / "results" / "bad.json").write_text("{}", encoding="utf-8")
    assert run("--json") == 1
    assert capsys.readouterr() == (before, "not used: results/bad.json: cell: Field required\n")


def test_it_loads_neither_torch_nor_what_draws(out: Path) -> None:
    words = ["lifetime", "--out", str(out), "--pair", "a:b", "--task", "digits", "--upgrades", "1", "--queries", "1"]
    code = (
        "import sys; from prt_bench.cli.main import invoke; "
        f"code = invoke({words!r}); loaded = {{'torch', 'altair', 'vl_convert'}} & set(sys.modules); "
        "print(sorted(loaded), code, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip().endswith("[] 0")


def test_units_are_those_of_people() -> None:
    assert [in_flops(value) for value in (0, 999.9, 1.244e17)] == ["0 FLOPs", "1 kFLOPs", "124 PFLOPs"]
    assert [in_seconds(value) for value in (0, 0.0032, 59.99, 90, 7200, 2e5, 4e7)] == [
        "0 s", "3.2 ms", "1 min", "1.5 min", "2 h", "2.31 days", "1.27 years",
    ]  # fmt: skip
