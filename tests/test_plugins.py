"""Strangers' methods and families: from one file, and from an installed package."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from prt_bench.errors import RequestError
from prt_bench.records import read_record
from prt_bench.registry import Registry

EXAMPLE = Path(__file__).parent / "plugin_example"
METHOD = """
from prt_bench.api import Composition, Method, MethodCard, WeightedSum

class Mine(Method):
    card = MethodCard(name="{name}", title="Mine")
    def attach(self, artifact, source, target):
        return Composition({{"target": target}}, WeightedSum(target=1.0))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the example package is installed, as pip installs it."""
    folder = tmp_path_factory.mktemp("site")
    source = tmp_path_factory.mktemp("source") / "example"
    subprocess.run(["cp", "-r", str(EXAMPLE), str(source)], check=True)
    options = ["--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(source)], check=True)
    return {**os.environ, "PYTHONPATH": str(folder)}


def prt_bench(environment: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from prt_bench.cli.main import main; main()", *words]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_an_installed_package_brings_methods_families_and_tasks(installed: dict[str, str], tmp_path: Path) -> None:
    listed = prt_bench(installed, "list", "models", "--json")
    assert {"plain-8", "plain-16"} <= {row["alias"] for row in json.loads(listed.stdout)}
    words = ["run", "--pair", "plain-8:plain-16", "--task", "quarter-digits"]
    words += [
        word for name in ("zero-shot", "class-bias", "full-finetune", "eft", "prt") for word in ("--method", name)
    ]
    done = prt_bench(installed, *words, "--out", str(tmp_path / "out"), "--store", str(tmp_path / "store"))
    assert done.returncode == 0, done.stderr
    found = {record.cell.method: record for record in map(read_record, (tmp_path / "out").rglob("results/**/*.json"))}
    assert len(found) == 5
    costs = {name: record.cost.per_query.flops.total for name, record in found.items() if record.cost}
    assert costs["zero-shot"] == 2 * (64 * 16 + 16 * 10)
    assert costs["prt"] == costs["zero-shot"] + 2 * (64 * 8 + 8 * 10)
    bias = found["class-bias"].cost
    assert bias is not None
    assert bias.once.read == {"train": 50}
    assert bias.once.train_flops == 50 * 2 * (64 * 8 + 8 * 10)


def test_models_with_other_labels_than_the_task_are_refused(installed: dict[str, str], tmp_path: Path) -> None:
    words = ["run", "--pair", "plain-8:plain-16", "--task", "letters", "--store", str(tmp_path)]
    refused = prt_bench(installed, *words, "--out", str(tmp_path / "out"))
    assert refused.returncode == 2
    assert "plain-8 has another output space than the task" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1


def test_a_file_brings_a_method(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(METHOD.format(name="mine"))
    assert "mine" in Registry([tmp_path / "mine.py"]).methods


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (METHOD.format(name="eft"), "registered twice"),
        (METHOD.format(name="../../evil"), "may hold only small letters"),
        (
            METHOD.format(name="mine").replace('"Mine")', '"Mine", needs={"fit": ("test",)})'),
            "test split is in no view",
        ),
        ("1 / 0", "ZeroDivisionError"),
        ("x = 1", "no Method"),
        ("import no_such_package_at_all", "No module named"),
    ],
)
def test_a_bad_plugin_is_named_with_its_reason(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(RequestError, match=message) as error:
        Registry([path])
    assert str(path) in str(error.value)
