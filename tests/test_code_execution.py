"""Programs that models write: what passes, what does not, and what they cannot do to the machine."""

from __future__ import annotations

import os
import random
import sys
import time
from pathlib import Path

import psutil
import pytest

from prt_bench.code_execution import Outcome, run_program

CHECK = "def add(a, b):\n    {body}\nassert add(2, 3) == 5\n"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_a_right_program_passes() -> None:
    assert run_program(CHECK.format(body="return a + b")) == Outcome(True, "passed")


@pytest.mark.parametrize(
    ("body", "reason"),
    [("return a - b", "AssertionError"), ("return a +", "SyntaxError"), ("return c", "NameError")],
)
def test_a_wrong_program_fails_with_its_reason(body: str, reason: str) -> None:
    assert run_program(CHECK.format(body=body)) == Outcome(False, reason)


@pytest.mark.parametrize(
    "early",
    [
        "import sys; sys.exit(0)",
        "raise SystemExit",
        "import os; os._exit(0)",
        "print('passed'); import os; os._exit(0)",
        # Whatever is written to every open file before the end is not what success looks like.
        "import os\nfor n in range(3, 64):\n    try: os.write(n, b'passed')\n    except OSError: pass\nos._exit(0)",
        "import atexit, os; atexit.register(os._exit, 0); raise ValueError",
        "import signal, os; signal.raise_signal(signal.SIGKILL)",
    ],
)
def test_ending_before_the_tests_is_wrong(early: str) -> None:
    assert not run_program(f"{early}\nassert False").passed


def test_an_exit_code_of_zero_is_told() -> None:
    assert run_program("import os; os._exit(0)").reason == "ended before its last line (exit code 0)"


@pytest.mark.parametrize(
    "endless",
    [
        "while True: pass",
        "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
        "import time; time.sleep(60)",
        "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nwhile True: pass",
        "import sys\nwhile True: sys.stdout.write('x' * 65536)",
    ],
)
def test_an_endless_program_is_ended(endless: str) -> None:
    started = time.monotonic()
    assert run_program(endless, seconds=0.3) == Outcome(False, "took longer than 0.3 s")
    assert time.monotonic() - started < 2


def test_memory_is_bounded() -> None:
    assert run_program("x = bytearray(1 << 30)", memory_bytes=1 << 28) == Outcome(False, "MemoryError")
    assert run_program("x = bytearray(1 << 26)", memory_bytes=1 << 28).passed


def test_output_is_not_kept() -> None:
    assert run_program("import sys\nfor _ in range(200): sys.stdout.write('x' * 100000)\nprint('', flush=True)").passed


def test_a_file_cannot_grow_without_end() -> None:
    program = "with open('x', 'wb') as file:\n    for _ in range(64): file.write(bytes(1 << 20))"
    assert run_program(program) == Outcome(False, "OSError")


def test_open_files_are_bounded() -> None:
    assert run_program("files = [open('x', 'w') for _ in range(100)]") == Outcome(False, "OSError")
    assert run_program("files = [open('x', 'w') for _ in range(20)]").passed


@pytest.mark.parametrize(
    "start",
    [
        "import os; os.fork()",
        "import os; os.system('true')",
        "import subprocess; subprocess.run(['true'])",
        "import os; os.posix_spawn('/bin/true', ['true'], {})",
        "import multiprocessing; multiprocessing.get_context('fork').Process(target=print).start()",
    ],
)
def test_it_starts_no_process(start: str) -> None:
    assert run_program(start) == Outcome(False, "PermissionError")


@pytest.mark.skipif(sys.platform != "linux", reason="finds processes by /proc")
def test_processes_started_past_the_interpreter_end_with_it() -> None:
    mark = (1 << 30) + random.SystemRandom().randrange(1 << 20)
    program = "import ctypes, time\nlibrary = ctypes.CDLL(None)\nfor _ in range(4): library.fork()\ntime.sleep(60)"
    assert not run_program(program, seconds=0.5, memory_bytes=mark).passed
    deadline = time.monotonic() + 2
    while left := [p for p in psutil.process_iter(["cmdline"]) if str(mark) in (p.info["cmdline"] or [])]:
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def test_it_reaches_no_network() -> None:
    program = "import socket\nsocket.create_connection(('127.0.0.1', 9), timeout=1)"
    assert run_program(program) == Outcome(False, "PermissionError")


def test_it_works_in_an_empty_folder_that_is_gone_afterwards(tmp_path: Path) -> None:
    program = (
        "import os, pathlib, tempfile\n"
        "assert os.listdir() == []\n"
        "pathlib.Path('inside').mkdir()\n"
        "pathlib.Path('inside/x').write_text('here')\n"
        "os.rename('inside/x', 'y')\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    pathlib.Path(folder, 'z').write_text('here')\n"
        "assert not os.path.exists(folder)\n"
        f"assert not os.getcwd().startswith({str(tmp_path)!r})\n"
    )
    assert run_program(program) == Outcome(True, "passed")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "harm",
    [
        "open({there!r}, 'w')",
        "open({there!r}, 'a')",
        "import os; os.open({there!r}, os.O_WRONLY | os.O_TRUNC)",
        "import os; os.remove({there!r})",
        "import os; os.rename({there!r}, 'mine')",
        "import os; os.symlink({there!r}, 'link'); open('link', 'w')",
        "import os, shutil; shutil.rmtree(os.path.dirname({there!r}))",
        "import os; os.chmod({there!r}, 0)",
        "import os; os.mkdir({there!r} + '-new')",
    ],
)
def test_files_elsewhere_stay_as_they_are(harm: str, tmp_path: Path) -> None:
    file = tmp_path / "precious"
    file.write_text("kept")
    file.chmod(0o600)
    assert run_program(harm.format(there=str(file))) == Outcome(False, "PermissionError")
    assert file.read_text() == "kept"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_it_sees_no_environment_and_no_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PRT_BENCH_SECRET", "x")
    program = (
        "import os, sys\nassert 'PRT_BENCH_SECRET' not in os.environ\nassert sys.stdin.read() == ''\n"
        "assert os.pread(0, 99, 0) == b''\n"
        "assert sys.argv == ['']\nassert not any('site-packages' in path for path in sys.path)\n"
    )
    assert run_program(program) == Outcome(True, "passed")


def test_the_standard_library_is_there() -> None:
    program = (
        "import collections, dataclasses, heapq, itertools, math, re, typing\n"
        "@dataclasses.dataclass\nclass Point:\n    x: 'int'\nassert Point(1).x == 1\n"
        "assert __name__ != '__main__'\n"
    )
    assert run_program(program) == Outcome(True, "passed")


@pytest.mark.parametrize(
    "program", ["\x00", "\ud800", "x = '" + "a" * 300_000 + "'", "", "def f(): f()\nf(" + "(" * 500]
)
def test_no_text_raises_here(program: str) -> None:
    assert isinstance(run_program(program), Outcome)


def test_nothing_is_left_open() -> None:
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    for program in ("x = 1", "import os; os._exit(0)"):
        run_program(program)
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert after == before
