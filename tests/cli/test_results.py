"""`prt-bench results` from end to end, on records made by hand."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from prt_bench.board.releases import freeze
from prt_bench.board.rows import COLUMNS
from prt_bench.cli.main import invoke
from tests.test_lifetime import latency, put_record

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A floor, two methods and a reference on two tasks, three seeds each."""
    for task, ported in (("digits", 20), ("letters", 2)):
        for seed in range(3):
            put_record(tmp_path, "free", "floor", seed=seed, task=task, right=2, query=100)
            put_record(tmp_path, "ported", seed=seed, task=task, right=ported, query=150, title="Ported")
            put_record(
                tmp_path, "other", seed=seed, task=task, right=19, query=100, upgrade=1_000, title="[red]Other[/red]"
            )
    return tmp_path


@pytest.fixture
def run(out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit code, what was printed, and what was said beside it."""

    def call(*words: str, width: int = 80) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", str(width))
        code = invoke(["--out", str(out), "results", *words])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


def squeezed(text: str) -> str:
    return " ".join(text.split())


def test_the_table_says_what_may_be_said_of_each_row(run: Run) -> None:
    code, shown, err = run()
    assert (code, err) == (0, "")
    words = squeezed(shown)
    digits, letters = words.split("a:b letters")
    assert "a:b digits version 1, 20 test items, top1, 3 seeds, track paper, recipe embedded" in digits
    assert "free 10.0 [2.8, 30.1] best floor" in digits
    assert "ported 100.0 [83.9, 100.0] ▲ +90.0 [" in digits
    assert "≈ best (beaten by no other row): [red]Other[/red], Ported;" in digits
    assert "a true difference to the floor of" in digits
    assert "ported 10.0 [2.8, 30.1] ≈ +0.0 [" in letters
    assert "best: [red]Other[/red];" in letters
    assert "after Holm's correction over the table" in letters
    # Nothing to tell of gains: no legend of them either.
    assert "Ensembling" not in words


@pytest.mark.parametrize("width", [80, 100, 200])
def test_the_table_is_whole_at_any_width(run: Run, out: Path, width: int) -> None:
    """Long names and wide numbers fold; no interval is cut off."""
    put_record(out, "a-method-with-a-long-name", seed=0, right=20, query=123_456_789_012, params={"alpha": 0.125})
    put_record(out, "a-method-with-a-long-name", seed=0, right=1, query=123_456_789_012, params={"alpha": 0.25})
    code, shown, _ = run(width=width)
    assert code == 0
    assert max(map(len, shown.splitlines())) <= width
    assert shown.count("[") == shown.count("]")
    assert "…" not in shown
    assert shown.count("123") == 2
    assert "alpha=0.125" in shown.replace("\n", "").replace(" ", "") or "alpha=0.125" in squeezed(shown)


def test_json_csv_markdown_and_latex_hold_the_same_rows(run: Run) -> None:
    code, shown, err = run("--format", "json")
    assert (code, err) == (0, "")
    rows = json.loads(shown)
    assert [(row["task"], row["method"], row["standing"]) for row in rows] == [
        ("digits", "free", None), ("digits", "other", "above"), ("digits", "ported", "above"),
        ("letters", "free", None), ("letters", "ported", "same"), ("letters", "other", "above"),
    ]  # fmt: skip
    code, shown, err = run("--format", "csv")
    assert (code, err) == (0, "")
    read = list(csv.DictReader(io.StringIO(shown)))
    assert tuple(read[0]) == COLUMNS
    assert [float(row["score"]) for row in read] == [row["score"] for row in rows]
    code, shown, _ = run("--format", "markdown")
    assert code == 0
    assert len(shown.splitlines()) == len(rows) + 2
    assert all(line.startswith("| ") for line in (shown.splitlines()[0], *shown.splitlines()[2:]))
    code, shown, _ = run("--format", "latex")
    assert code == 0
    assert (shown.startswith(r"\begin{tabular}"), shown.count(r"\\")) == (True, len(rows) + 1)


def test_two_methods_side_by_side(run: Run) -> None:
    code, shown, err = run("--compare", "ported", "other")
    assert (code, err) == (0, "")
    assert max(map(len, shown.splitlines())) <= 80
    words = squeezed(shown)
    assert words.startswith("Ported − [red]Other[/red], in points")
    # 50 FLOPs more per query, 1,000 less per upgrade: 20 queries.
    assert "digits paper ≈ +5.0 [" in words
    assert "letters paper ▼ -85.0 [" in words
    assert words.count("] 3 20") == 2
    assert "in points a:b task" in words
    assert "paper track: won 0, even 1, lost 1; mean -40.0 [" in words
    assert "(2 tasks: the interval is wide, and another task may differ)" in words
    assert "with fewer, the one that pays less at an upgrade is cheaper" in words


def test_two_methods_side_by_side_for_programs(run: Run) -> None:
    code, shown, err = run("--compare", "ported", "other", "--format", "json")
    assert (code, err) == (0, "")
    digits, letters = json.loads(shown)
    assert {name: letters[name] for name in ("source", "target", "task", "track", "mine", "theirs", "seeds", "n")} == {
        "source": "a", "target": "b", "task": "letters", "track": "paper", "mine": "ported", "theirs": "other",
        "seeds": 3, "n": 20,
    }  # fmt: skip
    assert (letters["difference"], letters["standing"]) == (pytest.approx(-0.85), "below")
    assert letters["low"] < -0.85 < letters["high"] < 0
    assert (digits["difference"], digits["standing"]) == (pytest.approx(0.05), "same")
    assert letters["p_holm"] == pytest.approx(min(1.0, 2 * letters["p"]))
    assert digits["p_holm"] == digits["p"]
    assert digits["equal_cost_queries"] == 20
    assert digits["detectable"] > 0


def test_of_several_settings_the_one_that_was_taken_is_named(run: Run, out: Path) -> None:
    facts = {"right": 10, "params": {"alpha": 0.5}, "finished": "2027-01-01T00:00:01Z"}
    for seed in range(3):
        put_record(out, "ported", seed=seed, **facts)
    code, shown, _ = run("--compare", "ported", "other")
    assert code == 0
    assert "ported: alpha=0.5" in squeezed(shown)
    rows = json.loads(run("--compare", "ported", "other", "--format", "json")[1])
    assert [(row["task"], row["mine_note"]) for row in rows] == [("digits", "alpha=0.5"), ("letters", "")]


def test_the_difference_is_drawn(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "chart.svg"
    code, shown, err = run("--compare", "ported", "other", "--chart", str(path))
    assert (code, err) == (0, f"chart: {path}\n")
    assert "Ported or [red]Other[/red]?" in path.read_text(encoding="utf-8")
    assert "in points" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--compare", "porte", "other"], "--compare porte: no results of it; did you mean ported or other?"),
        (["--compare", "ported", "ported"], "--compare ported ported: a method beside itself says nothing; name two"),
        (["--compare", "ported"], "2 arguments"),
        (["--chart", "x.svg"], "--chart: say which two methods it shows, with --compare METHOD METHOD"),
        (["--compare", "ported", "other", "--chart", "x.pdf"], "--chart x.pdf: a chart ends in .svg, .png, .html"),
        (["--compare", "ported", "other", "--chart", "no/x.svg"], "--chart no/x.svg: there is no such folder"),
        (["--compare", "ported", "other", "--format", "csv"], "--compare: written as table or json, not csv"),
        (["--compare", "ported", "other", "--format", "latex"], "--compare: written as table or json, not latex"),
        (["--compare", "ported", "other", "--format", "markdown"], "--compare: written as table or json, not markdown"),
        (["--format", "pdf"], "'pdf' is not one of"),
    ],
    ids=str,
)
def test_wrong_requests_are_refused_in_one_line(run: Run, words: list[str], message: str) -> None:
    code, shown, err = run(*words)
    assert (code, shown) == (2, "")
    assert err.startswith("prt-bench: ")
    assert message in err
    assert len(err.splitlines()) == 1


def test_what_is_wrong_in_words_is_said_before_records_are_read(
    run: Run, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: Path) -> None:
        raise AssertionError("records were read")

    monkeypatch.setattr("prt_bench.cli.results.read_counted", read)
    for words in (
        ["--chart", "x.svg"],
        ["--compare", "a", "b", "--chart", "x.pdf"],
        ["--compare", "a", "b", "--format", "csv"],
    ):
        assert run(*words)[0] == 2


@pytest.mark.parametrize("words", [["--format", "json"], ["--compare", "ported", "other", "--format", "json"]])
def test_a_file_that_does_not_hold_is_told_and_the_rest_is_shown(run: Run, out: Path, words: list[str]) -> None:
    code, before, _ = run(*words)
    assert code == 0
    (out / "results" / "bad.json").write_text("{}", encoding="utf-8")
    code, shown, err = run(*words)
    assert (code, shown) == (1, before)
    assert err == "not used: results/bad.json: cell: Field required\n"


FORMS = [
    ["--format", "table"],
    ["--format", "json"],
    ["--format", "csv"],
    ["--format", "markdown"],
    ["--format", "latex"],
    ["--compare", "ported", "other"],
    ["--compare", "ported", "other", "--format", "json"],
]


@pytest.mark.parametrize("words", FORMS, ids=" ".join)
def test_releases_count_with_the_results_and_alone(run: Run, out: Path, words: list[str]) -> None:
    before = run(*words)
    assert before[0] == 0
    freeze(out, "first")
    assert run(*words) == before, "what is in both counts once"
    for path in sorted((out / "results").rglob("*.json"))[::2]:
        path.unlink()
    assert run(*words) == before
    shutil.rmtree(out / "results")
    assert run(*words) == before


def test_what_is_shown_is_what_the_board_shows(run: Run, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    freeze(out, "first")
    shutil.rmtree(out / "results")
    put_record(out, "new", right=12, seed=0)
    code, shown, err = run("--format", "json")
    assert (code, err) == (0, "")
    assert {row["method"] for row in json.loads(shown)} == {"free", "ported", "other", "new"}
    assert invoke(["--out", str(out), "--store", str(out / "store"), "board", "build"]) == 0
    capsys.readouterr()
    for format in ("json", "csv"):
        told = run("--format", format)[1]
        assert told.splitlines() == (out / "site" / f"results.{format}").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("words", FORMS, ids=" ".join)
def test_a_damaged_release_is_refused_as_by_a_build(
    run: Run, out: Path, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    freeze(out, "first")
    next((out / "releases").rglob("*.csv")).unlink()
    code, shown, err = run(*words)
    assert (code, shown) == (2, "")
    assert "prt-bench: release first: " in err
    assert ".predictions.csv is missing; restore it" in err
    assert len(err.splitlines()) == 1
    assert invoke(["--out", str(out), "board", "build"]) == 2
    assert capsys.readouterr().err == err


def test_times_that_are_not_valid_are_marked(run: Run, out: Path) -> None:
    assert "not a valid timing" not in run()[1]
    reasons = ["[b]noise[/b]", "drift"]
    put_record(out, "shaky", right=5, rows=[latency(12.1, valid=False, reasons=reasons)])
    put_record(out, "shakier", right=5, rows=[latency(12.2, valid=False, reasons=reasons[:1])])
    digits, letters = run()[1].split("a:b  letters")
    (mark,) = (line for line in digits.splitlines() if "not a valid timing" in line)
    assert mark == "!: not a valid timing: [b]noise[/b]; drift"
    marked = [line.split()[0] for line in digits.splitlines() if line.endswith("! ")]
    assert marked == ["shaky", "shakier"]
    assert "12.10 !" in digits
    assert "!" not in letters


def test_an_empty_folder_says_what_makes_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "none" / "releases" / ".killed").mkdir(parents=True)
    for words in (["results"], ["board", "build"], ["show", "cell", "0"]):
        assert invoke(["--out", str(tmp_path / "none"), *words]) == 2
        assert "holds no results yet; `prt-bench run` makes some" in capsys.readouterr().err
