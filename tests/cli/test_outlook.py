"""`prt-bench run --dry-run`: what a run would do, fetch, keep and take, whether or not anything is at hand."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from prt_bench.cli.main import invoke
from prt_bench.registry import Registry
from prt_bench.tasks import task_spec
from tests.test_trials import TASK, HereExecutor

NANO, REAL = "nano-rn16-a:nano-rn24-b", "vitb32-laion:vitb16-openai"
PLUGIN = """
from prt_bench.api import Composition, Method, MethodCard, WeightedSum
from prt_bench.errors import SkipError

class Base(Method):
    def attach(self, artifact, source, target):
        return Composition({"target": target}, WeightedSum(target=1.0))

class Broken(Base):
    card = MethodCard(name="broken", title="Broken", needs={"fit": ("train",)})
    def fit(self, source, data, tools):
        raise ValueError("this method cannot do it")

class Picky(Base):
    card = MethodCard(name="picky", title="Picky")
    def fit(self, source, data, tools):
        raise SkipError("not for such models")

class Reading(Base):
    card = MethodCard(name="reading", title="Reading", needs={"fit": ("train",)})
    def fit(self, source, data, tools):
        return tools.weights(source)
"""
DryRun = Callable[..., str]


@pytest.fixture
def dry_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> DryRun:
    monkeypatch.setattr("prt_bench.runner.LocalExecutor", HereExecutor)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "few-digits.yaml").write_text(TASK, encoding="utf-8")
    (tmp_path / "plugin.py").write_text(PLUGIN, encoding="utf-8")

    def call(*words: str) -> str:
        files = ["--store", str(tmp_path / "store"), "--out", str(tmp_path / "board")]
        plugin = ["--plugin", str(tmp_path / "plugin.py")]
        assert invoke(["run", "--dry-run", *words, *files, *plugin]) == 0
        assert not (tmp_path / "board" / "results").exists()
        return capfd.readouterr().out

    return call


def in_gigabytes(text: str) -> float:
    value, unit = text.split()
    return float(value) * {"MB": 1e-3, "GB": 1.0}[unit]


def test_with_nothing_at_hand_it_says_what_a_run_would_fetch_keep_and_take(dry_run: DryRun, registry: Registry) -> None:
    methods = ["--method", "prt", "--method", "full-finetune"]
    shown = dry_run("--pair", REAL, "--task", "dtd", "--task", "eurosat", *methods)
    assert "4 of 4 cells to do; 4 networks to train or take, 0 at hand" in shown
    assert "  2 × vitb32-laion through vitb32-laion, 2000 steps\n  2 × vitb16-openai, 2000 steps" in shown
    cards = [registry.card(alias) for alias in REAL.split(":")]
    sources = [source for name in ("dtd", "eurosat") for source in task_spec(name, registry).hub_data]
    assert len(sources) == 2
    weights = sum(card.size_bytes or 0 for card in cards) / 1e9
    data = sum(source.size_bytes or 0 for source in sources) / 1e9
    downloads = re.search(r"^downloads: about (\S+ [MG]B)$", shown, re.MULTILINE)
    disk = re.search(r"^disk: about (\S+ [MG]B): downloads, .* and (\S+ [MG]B) of tuned networks$", shown, re.MULTILINE)
    assert downloads
    assert disk
    assert in_gigabytes(downloads[1]) == pytest.approx(weights + data, rel=0.01)
    kept = in_gigabytes(disk[2])
    assert in_gigabytes(disk[1]) == pytest.approx(weights + 2 * data + kept, rel=0.01)
    # Two tuned ViT-B-32 and two ViT-B-16 image towers of about 87 million parameters, four bytes each.
    assert kept == pytest.approx(4 * 87e6 * 4 / 1e9, rel=0.05)
    flops = re.search(r"^time: ([\d.,]+) PFLOPs, .* TFLOP/s, if networks reach 20% to 70%", shown, re.MULTILINE)
    assert flops
    # Of the order of: 256,000 images through ViT-B-32 (8.7 GFLOPs) four times, and ViT-B-16 (35 GFLOPs) three times.
    by_hand = 2 * 256_000 * (4 * 8.7e9 + 3 * 35e9) / 1e15
    assert float(flops[1].replace(",", "")) == pytest.approx(by_hand, rel=0.15)
    for need in ("weights of vitb32-laion", "weights of vitb16-openai", "data of dtd", "data of eurosat"):
        at = next(number for number, line in enumerate(shown.splitlines()) if need in line)
        first, second = shown.splitlines()[at : at + 2]
        assert "to fetch" in first
        assert "not pinned" in second


def test_the_plan_shows_versions_methods_and_what_is_to_do(dry_run: DryRun, tmp_path: Path) -> None:
    data = str(tmp_path / "few-digits.yaml")
    shown = dry_run(
        "--pair", NANO, "--data", data, "--method", "eft:alpha=0.5", "--method", "zero-shot", "--seeds", "2"
    )
    (row,) = [line for line in shown.splitlines() if "few-digits" in line and NANO in line]
    assert [cell.strip() for cell in row.strip("│ ").split("│")] == [NANO, "few-digits", "1", "2", "2", "4", "4"]
    assert "methods: eft:alpha=0.5, zero-shot\n" in shown


def test_with_all_at_hand_nothing_is_fetched(dry_run: DryRun, tmp_path: Path) -> None:
    shown = dry_run("--pair", NANO, "--data", str(tmp_path / "few-digits.yaml"), "--method", "eft")
    assert "downloads: none" in shown
    assert "weights and data" not in shown
    assert "1 of 1 cells to do; 1 networks to train or take, 0 at hand\n  1 × nano-rn16-a, 3 steps" in shown


def test_what_is_at_hand_is_not_counted_among_the_downloads(
    dry_run: DryRun, tmp_path: Path, registry: Registry
) -> None:
    card, other = (registry.card(alias) for alias in REAL.split(":"))
    path = tmp_path / "store" / "weights" / str(card.hub) / str(card.file)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"weights")
    shown = dry_run("--pair", REAL, "--data", str(tmp_path / "few-digits.yaml"), "--method", "zero-shot")
    downloads = re.search(r"^downloads: about (\S+ [MG]B)$", shown, re.MULTILINE)
    assert downloads
    assert in_gigabytes(downloads[1]) == pytest.approx((other.size_bytes or 0) / 1e9, rel=0.01)
    rows = [line for line in shown.splitlines() if "weights of" in line]
    assert [("at hand" in row, "to fetch" in row) for row in rows] == [(True, False), (False, True)]


def test_cells_that_will_be_skipped_or_cannot_be_foreseen_are_named(dry_run: DryRun, tmp_path: Path) -> None:
    methods = [word for name in ("broken", "picky", "reading", "zero-shot") for word in ("--method", name)]
    shown = dry_run("--pair", NANO, "--data", str(tmp_path / "few-digits.yaml"), *methods)
    cell = f"{NANO}  few-digits"
    assert f"  will be skipped: {cell}  picky  seed 0 (not for such models)\n" in shown
    assert f"  known only while it runs: {cell}  broken  seed 0 (this method cannot do it)\n" in shown
    assert f"  known only while it runs: {cell}  reading  seed 0\n" in shown
    assert "zero-shot  seed 0" not in shown


def test_of_a_download_of_unknown_size_it_says_so(dry_run: DryRun, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    text = TASK.replace("{kind: builtin, name: digits}", "{kind: hub, repository: org/mine}")
    path.write_text(text, encoding="utf-8")
    shown = dry_run("--pair", NANO, "--data", str(path), "--method", "zero-shot")
    assert "downloads: about 0 B and 1 of unknown size\n" in shown
    (row,) = [line for line in shown.splitlines() if "data of few-digits" in line]
    assert "not known" in row
    assert "org/mine" in shown


def test_encoders_that_others_published_are_taken_and_not_trained(dry_run: DryRun) -> None:
    methods = ["--method", "eft", "--method", "prt"]
    pair = "vitb32-openai:vitb16-openai"
    shown = dry_run("--pair", pair, "--task", "dtd", "--recipe", "published", *methods)
    assert "1 networks to train or take, 0 at hand\n  1 × vitb32-openai, published\n" in shown
    assert f"will be skipped: {pair}  dtd  prt  seed 0 (published encoders were tuned alone" in shown
    assert "vitb32-openai tuned on dtd" in shown
