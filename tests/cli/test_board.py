"""`prt-bench board` from end to end, on records made by hand."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from prt_bench.cli.main import invoke
from tests.test_lifetime import put_record

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A floor and two methods on two tasks."""
    folder = tmp_path / "board"
    for task in ("digits", "letters"):
        for seed in range(3):
            put_record(folder, "free", "floor", seed=seed, task=task, right=2)
            put_record(folder, "ported", seed=seed, task=task, right=10, title="[red]Ported[/red]")
            put_record(folder, "other", seed=seed, task=task, right=10, params={"alpha": 0.5})
    return folder


@pytest.fixture
def run(out: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Exit code, what was printed, and what was said beside it."""

    def call(*words: str, width: int = 80) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", str(width))
        code = invoke(["--out", str(out), "board", *words])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return call


@pytest.fixture
def later(out: Path, tmp_path: Path) -> Path:
    """The same board with one method worse, one gone and one new."""
    folder = tmp_path / "later"
    for seed in range(3):
        for task in ("digits", "letters"):
            put_record(folder, "free", "floor", seed=seed, task=task, right=2)
            put_record(folder, "ported", seed=seed, task=task, right=0 if task == "digits" else 11, title="Ported")
            put_record(folder, "a-new-method-with-a-long-name", seed=seed, task=task, right=10)
    return folder


def test_freezing_and_building_again(run: Run, out: Path) -> None:
    put_record(out, "short", partial=True)
    code, shown, err = run("freeze", "first", "--title", "The first", "--author", "Doe, Jane", "--date", "2026-11-22")
    root = out / "releases" / "first"
    assert (code, shown) == (0, f"{root}\n")
    assert "left out: " in err
    assert "18 records and 0 sessions frozen" in err
    facts = json.loads((root / "release.json").read_text(encoding="utf-8"))
    assert (facts["title"], facts["authors"], facts["date"]) == ("The first", ["Doe, Jane"], "2026-11-22")
    code, shown, _ = run("build")
    assert (code, shown) == (0, f"{out / 'site' / 'index.html'}\n")
    assert run("freeze", "first")[0] == 2
    altered = next((root / "results").rglob("*.csv"))
    altered.write_text("id\n", encoding="utf-8")
    for words in (["build"], ["build", "--site", str(out / "elsewhere")], ["serve", "--port", "0"]):
        code, shown, err = run(*words)
        assert (code, shown) == (2, "")
        assert f"release first: {root}: {altered.relative_to(root)} is altered" in err
        assert len(err.splitlines()) == 1
    assert not (out / "elsewhere").exists()


def test_releases_alone_are_a_board(run: Run, out: Path, later: Path) -> None:
    assert run("freeze", "first")[0] == 0
    shutil.rmtree(out / "results")
    assert run("build")[0] == 0
    assert "ported" in (out / "site" / "results.csv").read_text(encoding="utf-8")
    counts = json.loads(run("diff", "first", str(later), "--json")[1])["counts"]
    assert (counts["worse"], counts["new"]) == (1, 2)


@pytest.mark.parametrize("command", ["build", "serve"])
def test_nothing_to_show_is_told_in_one_line(run: Run, out: Path, command: str) -> None:
    shutil.rmtree(out / "results")
    code, shown, err = run(command, *(["--port", "0"] if command == "serve" else []))
    assert (code, shown) == (2, "")
    assert err == f"prt-bench: --out {out}: holds no results yet; `prt-bench run` makes some\n"
    assert not (out / "site").exists()


def test_a_damaged_record_is_named_and_told_by_the_exit_code(run: Run, out: Path) -> None:
    damaged = next((out / "results").rglob("*.json"))
    damaged.write_text("{", encoding="utf-8")
    code, shown, err = run("build")
    assert code == 1
    assert shown == f"{out / 'site' / 'index.html'}\n"
    assert str(damaged) in err
    assert len(err.splitlines()) == 1
    assert (out / "site" / "index.html").is_file()


@pytest.mark.parametrize("width", [80, 100, 200])
def test_what_changed_is_readable_at_any_width(run: Run, out: Path, later: Path, width: int) -> None:
    code, shown, err = run("diff", str(out), str(later), width=width)
    assert (code, err) == (0, "")
    assert f"A: {out}\nB: {later}\n" in shown
    rest = shown.split("\n", 2)[2]
    assert max(map(len, rest.splitlines())) <= width
    assert "…" not in shown
    assert shown.count("[") == shown.count("]") == 2
    words = " ".join(shown.split())
    assert "1 worse, 0 better, 1 within noise, 0 not comparable, 2 gone, 2 new, 2 unchanged" in words
    assert words.index("worse: a:b") < words.index("within noise: a:b") < words.index("gone: a:b")
    assert "ported digits 50.0 0.0 ▼ -50.0 [" in words
    assert "ported letters 50.0 55.0 ≈ +5.0 [" in words
    assert "alpha=0.5" in words
    assert "after Holm's correction" in words


def test_what_changed_as_values(run: Run, out: Path, later: Path) -> None:
    code, shown, _ = run("diff", str(out), str(later), "--json")
    assert code == 0
    found = json.loads(shown)
    assert found["counts"] == {
        "worse": 1, "better": 0, "within noise": 1, "not comparable": 0, "gone": 2, "new": 2, "unchanged": 2,
    }  # fmt: skip
    (worse,) = (row for row in found["changes"] if row["kind"] == "worse")
    assert (worse["method"], worse["task"], worse["before"], worse["after"]) == ("ported", "digits", 0.5, 0.0)
    assert worse["difference"] == -0.5
    assert worse["low"] < -0.5 < worse["high"] < 0
    assert worse["p"] <= worse["p_holm"] < 0.05
    assert (worse["seeds"], worse["n"], worse["metric"]) == (3, 20, "top1")


def test_a_script_can_ask_whether_something_is_worse(run: Run, out: Path, later: Path) -> None:
    assert run("diff", str(out), str(later), "--fail-on-worse")[0] == 1
    assert run("diff", str(later), str(out), "--fail-on-worse")[0] == 0
    assert run("diff", str(out), str(out), "--fail-on-worse")[0] == 0


def test_a_damaged_record_is_not_told_as_gone(run: Run, out: Path, later: Path) -> None:
    damaged = next((later / "results").rglob("*.json"))
    damaged.write_text("{", encoding="utf-8")
    for words in ((str(out), str(later)), (str(later), str(out))):
        code, shown, err = run("diff", *words)
        assert (code, shown) == (2, "")
        assert f"board diff {later}: {damaged}: not a readable JSON file" in err


def test_a_board_beside_itself(run: Run, out: Path) -> None:
    _, shown, _ = run("diff", str(out), str(out))
    assert "0 new, 6 unchanged" in " ".join(shown.split())


def test_releases_are_named_or_are_folders(
    run: Run, out: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("freeze", "first")[0] == 0
    put_record(out, "late", right=5)
    counts = [
        json.loads(run("diff", before, str(out), "--json")[1])["counts"]
        for before in ("first", str(out / "releases" / "first"))
    ]
    assert counts[0] == counts[1]
    assert (counts[0]["new"], counts[0]["unchanged"]) == (1, 6)
    # The release goes before a folder of its name; ./NAME is the folder.
    monkeypatch.chdir(tmp_path)
    shutil.copytree(out / "results", tmp_path / "first" / "results")
    assert json.loads(run("diff", "first", "./first", "--json")[1])["counts"]["new"] == 1
    next((out / "releases" / "first" / "results").rglob("*.csv")).write_text("x", encoding="utf-8")
    for name in ("first", str(out / "releases" / "first")):
        code, shown, err = run("diff", name, str(out))
        assert (code, shown) == (2, "")
        assert "is altered" in err


@pytest.mark.parametrize("name", ["frist", "../board", ".", "nowhere/at/all"])
def test_a_board_that_is_none_is_told_in_one_line(run: Run, out: Path, name: str) -> None:
    assert run("freeze", "first")[0] == 0
    code, shown, err = run("diff", name, str(out))
    assert (code, shown) == (2, "")
    assert f"board diff {name}: " in err
    assert len(err.splitlines()) == 1
    assert ("did you mean first?" in err) == (name == "frist")


def test_a_port_in_use_is_told_before_any_work(run: Run, out: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, shown, err = run("serve", "--port", str(port))
    assert (code, shown) == (2, "")
    assert f"--port {port}: in use already" in err
    assert not (out / "site").exists()


def test_serving_until_ctrl_c(out: Path) -> None:
    """The address is on stdout, the page at the address, and Ctrl-C ends it as it ends every command."""
    words = [sys.executable, "-c", "from prt_bench.cli.main import main; main()", "--out", str(out), "board", "serve"]
    # A shell turns Ctrl-C off for what it runs in the background, and children inherit that.
    with subprocess.Popen(
        [*words, "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as serving:  # fmt: skip
        assert serving.stdout is not None
        assert serving.stderr is not None
        assert serving.stdout.readline() == f"{out / 'site' / 'index.html'}\n"
        address = serving.stdout.readline().strip()
        assert address.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(address, timeout=10) as page:
            assert page.read() == (out / "site" / "index.html").read_bytes()
            assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
        serving.send_signal(signal.SIGINT)
        assert serving.wait(timeout=20) == 130
        assert "Traceback" not in serving.stderr.read()


def test_no_torch_is_loaded(out: Path, tmp_path: Path) -> None:
    lines = [["board", "--help"], ["board", "diff", str(out), str(out)], ["board", "freeze", "first"]]
    lines += [["results"], ["results", "--compare", "ported", "other"], ["show", "cell", "000"]]
    code = (
        "import sys; from prt_bench.cli.main import invoke; "
        f"codes = [invoke(['--out', {str(out)!r}, *words]) for words in {lines!r}]; "
        "print('torch' in sys.modules, codes, file=sys.stderr)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stderr.strip().endswith("False [0, 0, 0, 0, 0, 0]")
