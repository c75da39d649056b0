"""The house keeps its shape: sizes, directions, names."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import prt_bench

ROOT = Path(__file__).resolve().parent.parent
CORE = ROOT / "prt_bench"
LARGEST_FILE = 300
LARGEST_BASELINE = 120
LARGEST_CORE = 10000
# From the bottom to the top: a module may import from its own row and from those before it.
LEVELS = (
    ("errors", "files", "logs", "prefetch", "work", "nano.world", "nano.drawing", "nano.pictures"),
    ("cards",),
    ("records", "network", "plausible", "session_records", "code_execution", "parameters", "session_plan"),
    ("api", "yaml_files", "stats", "task_spec", "language_spec"),
    ("comparing", "lifetime", "pins", "rendering"),
    ("registry",),
    ("store", "models", "environment", "composing", "recipes", "trials", "adapting"),
    ("places", "generation"),
    ("fetching", "requests", "lm_eval_bridge"),
    ("data", "families", "executors"),
    ("text_tasks", "benchmarks"),
    ("tasks",),
    ("needs",),
    ("networks",),
    ("feeds", "probing"),
    ("meters", "text_feed"),
    ("training",),
    ("views", "ledger"),
    ("costs",),
    ("toolbox",),
    ("tools", "session"),
    ("plan", "evaluating", "reasons", "training_session"),
    ("anchors", "estimate", "image_evaluator", "text_evaluator"),
    ("provenance", "verbs", "cells", "session_runner"),
    ("worker",),
    ("runner", "board", "nano"),
    ("lifetime_records",),
    ("cli",),
)


def sources() -> list[Path]:
    return sorted(path for path in CORE.rglob("*.py") if "_builtin" not in path.parts)


def imports(path: Path) -> Iterator[str]:
    """Modules that a file imports, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def lines_of_code(path: Path) -> int:
    """Lines without blank ones, comments and docstrings: to explain costs nothing."""
    text = path.read_text()
    told = {
        number
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    shown = enumerate(text.splitlines(), start=1)
    return sum(1 for number, line in shown if line.strip() and line.strip()[0] != "#" and number not in told)


def level(module: str) -> int:
    """Of a module by its name below prt_bench, or of the nearest package above it that has a level."""
    name = module
    while name:
        for number, row in enumerate(LEVELS):
            if name in row:
                return number
        name = name.rpartition(".")[0]
    raise AssertionError(f"{module} has no level in this test: give it one")


def test_no_file_is_larger_than_one_room() -> None:
    assert {path.name: lines_of_code(path) for path in sources() if lines_of_code(path) > LARGEST_FILE} == {}
    baselines = ROOT.joinpath("baselines").glob("*.py")
    assert {path.name: lines(path) for path in baselines if lines(path) > LARGEST_BASELINE} == {}


def test_the_core_stays_small() -> None:
    # Families come in by the door that strangers use.
    outside = {"cli", "board", "nano", "families"}
    core = [path for path in sources() if path.relative_to(CORE).parts[0] not in outside]
    assert sum(map(lines_of_code, core)) < LARGEST_CORE


def test_imports_point_one_way() -> None:
    wrong = [
        f"{path.relative_to(CORE)} imports {module}"
        for path in sources()
        if path != CORE / "__init__.py"
        for module in imports(path)
        if module.startswith("prt_bench.")
        and level(module.removeprefix("prt_bench.")) > level(".".join(path.relative_to(CORE).with_suffix("").parts))
    ]
    assert wrong == []


def test_nobody_reaches_the_baselines_but_through_the_registry() -> None:
    for path in [*sources(), *ROOT.joinpath("tests").rglob("*.py")]:
        assert not [name for name in imports(path) if re.match(r"(prt_bench\._builtin\.)?baselines", name)], path


def test_no_baseline_imports_more_than_the_api() -> None:
    for path in ROOT.joinpath("baselines").glob("*.py"):
        assert set(imports(path)) <= {"prt_bench.api"}, path


PRIVATE_ALLOWED = {"torch.utils._python_dispatch"}
"""PyTorch's notes on extending it name this module, and there is no other path to `TorchDispatchMode`."""


def test_nothing_private_of_another_library_is_imported() -> None:
    found = set()
    for path in [*sources(), *ROOT.joinpath("baselines").glob("*.py"), *ROOT.joinpath("tests").rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            else:
                continue
            private = {name for name in names if any(re.match(r"_[a-z]", part) for part in name.split("."))}
            found |= {name.rpartition(".")[0] for name in private if name.split(".")[0] not in {"prt_bench", "tests"}}
    # One that is no longer needed leaves the list.
    assert found == PRIVATE_ALLOWED


def test_no_module_knows_a_method_by_name() -> None:
    names = {"eft", "prt", "ensemble", "zero-shot", "source-finetune", "full-finetune", "untuned-ensemble"}
    for path in sources():
        literals = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}
        assert not names & {value for value in literals if isinstance(value, str)}, path


def test_nothing_is_pickled_and_no_remote_code_is_trusted() -> None:
    for path in [*sources(), *ROOT.joinpath("baselines").glob("*.py")]:
        text = path.read_text()
        assert "torch.load(" not in text, path
        assert "trust_remote_code=True" not in text, path
        assert not {"pickle", "dill", "joblib"} & set(imports(path)), path


@pytest.mark.parametrize(
    "name",
    [info.name for info in pkgutil.walk_packages(prt_bench.__path__, "prt_bench.") if "_builtin" not in info.name],
)
def test_public_names_are_listed_sorted_and_there(name: str) -> None:
    module = importlib.import_module(name)
    public = getattr(module, "__all__", None)
    if public is None:
        assert module.__file__ is not None
        assert Path(module.__file__).name == "__init__.py" or "nano" in name or "data" in name, f"{name} has no __all__"
        return
    assert public == sorted(public, key=lambda entry: (not entry.isupper(), not entry[0].isupper(), entry))
    assert [entry for entry in public if not hasattr(module, entry)] == []
    undocumented = [
        entry for entry in public if callable(getattr(module, entry)) and not getattr(module, entry).__doc__
    ]
    assert undocumented == []


@pytest.mark.parametrize(
    "words",
    [["--help"], ["list", "methods"], ["list", "models", "--json"], ["list", "tasks"], ["show", "task", "digits"]],
)
def test_looking_around_loads_no_torch(words: list[str]) -> None:
    code = (
        "import sys; from prt_bench.cli.main import invoke; "
        f"code = invoke({words!r}); print('torch' in sys.modules, 'open_clip' in sys.modules, code, file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr.strip().endswith("False False 0")


def test_the_api_loads_no_torch() -> None:
    code = "import sys, prt_bench.api; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
