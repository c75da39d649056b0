"""What is installed: the lock, and the package away from its checkout."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from prt_bench.cli.health import LOCKED_PYTHONS, locked_versions

ROOT = Path(__file__).resolve().parent.parent
LOCK = ROOT / "prt_bench" / "_builtin" / "requirements.lock"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
LEANED_ON = {"datasets", "huggingface-hub", "lm-eval", "open-clip-torch", "transformers"}
"""Packages whose internals matter here: held below their next major version."""


def entries() -> list[tuple[Requirement, int]]:
    """Each package of the lock, and how many digests it has."""
    blocks = re.split(r"^(?=[A-Za-z0-9])", LOCK.read_text(), flags=re.M)[1:]
    return [(Requirement(block.splitlines()[0].rstrip(" \\")), block.count("--hash=sha256:")) for block in blocks]


def test_the_lock_has_digests_and_no_address() -> None:
    assert re.findall(r"https?://|--(extra-)?index-url|--find-links", LOCK.read_text()) == []
    assert [str(one) for one, digests in entries() if not digests or len(one.specifier) != 1] == []


@pytest.mark.parametrize("python", LOCKED_PYTHONS)
def test_the_lock_meets_what_the_project_asks_for(python: str) -> None:
    locked = {
        canonicalize_name(one.name): next(iter(one.specifier)).version
        for one, _ in entries()
        if one.marker is None or one.marker.evaluate({"python_version": python, "python_full_version": f"{python}.0"})
    }
    asked = [Requirement(text) for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["test"]]]
    unmet = [str(one) for one in asked if not one.specifier.contains(locked.get(canonicalize_name(one.name), "0"))]
    assert unmet == []


def test_what_we_lean_on_is_held_below_the_next_major_version_and_everything_has_a_lower_bound() -> None:
    asked = [Requirement(text) for text in PROJECT["dependencies"]]
    assert [one.name for one in asked if ">=" not in str(one.specifier)] == []
    assert {canonicalize_name(one.name) for one in asked if "<" in re.sub("<=", "", str(one.specifier))} == LEANED_ON


def test_the_lock_is_read_for_this_python() -> None:
    assert locked_versions()["packaging"] == next(
        next(iter(one.specifier)).version for one, _ in entries() if one.name == "packaging"
    )


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist of the files that git tracks, or would."""
    source, out = tmp_path_factory.mktemp("source") / "project", tmp_path_factory.mktemp("built")
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file() and not name.startswith(("tests/", "leaderboard/", "docs/")):
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    words = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return out


def installed(archive: Path, folder: Path) -> Path:
    """`prt-bench` of an environment that holds this archive, and beside it only what the project depends on."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    words = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--offline", "--no-deps", "--python", str(python)]
    # An sdist is built with what the tests' environment has: there is no network to fetch it from.
    link = next(folder.glob("lib/python*/site-packages")) / "dependencies.pth"
    link.write_text(sysconfig.get_path("purelib"))
    words += ["--no-build-isolation", "--no-cache", str(archive)]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return folder / "bin" / "prt-bench"


def run(program: Path, folder: Path, *words: str) -> str:
    """What a program prints when it is started in a folder."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([str(program), *words], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("pattern", ["*.whl", "*.tar.gz"])
def test_an_archive_holds_all_that_is_looked_up(built: Path, pattern: str, tmp_path: Path) -> None:
    program = installed(next(built.glob(pattern)), tmp_path / "venv")
    where = run(program.parent / "python", tmp_path, "-c", "import prt_bench; print(prt_bench.__file__)")
    assert str(tmp_path / "venv") in where
    for kind, name in (("tasks", "digits"), ("methods", "eft"), ("families", "clip"), ("models", "nano-rn16-a")):
        rows = json.loads(run(program, tmp_path, "list", kind, "--json"))
        assert name in {row.get("name", row.get("alias")) for row in rows}


def test_the_wheel_runs_a_task_and_builds_its_page(built: Path, tmp_path: Path) -> None:
    program = installed(next(built.glob("*.whl")), tmp_path / "venv")
    words = ["--pair", "nano-rn16-a:nano-rn24-a", "--task", "digits", "--method", "zero-shot", "--limit", "40"]
    run(program, tmp_path, "--store", str(tmp_path / "store"), "run", *words)
    (record,) = (tmp_path / "leaderboard" / "results").rglob("*.json")
    assert json.loads(record.read_text())["status"] == "ok"
    (tmp_path / "leaderboard" / "site" / "index.html").unlink()
    run(program, tmp_path, "--store", str(tmp_path / "store"), "board", "build")
    assert (tmp_path / "leaderboard" / "site" / "index.html").is_file()
