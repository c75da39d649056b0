"""`prt-bench cost`: the whole command on embedded models, and what it prints of a session."""

from __future__ import annotations

import io
import json
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from prt_bench.cli.cost_tables import print_reported, print_session, reported_models
from prt_bench.cli.main import invoke
from prt_bench.records import Memory
from prt_bench.session_plan import SessionPlan
from prt_bench.session_records import CostSession, TrainingRow, read_session
from prt_bench.session_runner import _with_training

PAIR = "nano-rn16-a:nano-rn24-b"
WORDS = ("cost", "--pair", PAIR, "--method", "zero-shot", "--method", "eft", "--method", "prt", "--batch-size", "1")


def _briefly(session: CostSession, paths: Any, fresh: Any, plan: Any, end: float, watcher: Any) -> CostSession:
    """Times training as ever, and no longer than it takes to have times at all."""
    return _with_training(session, paths, fresh, plan, min(end, time.monotonic() + 8.0), watcher)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[CostSession, str]:
    """A session of three methods, and all that was printed of it."""
    folder = tmp_path_factory.mktemp("cost")
    with pytest.MonkeyPatch.context() as patch:
        # Peaks have processes of their own, which take longer to start than the rest takes to measure.
        patch.setattr("prt_bench.session_plan.TIMING_SHARE", 0.02)
        patch.setattr("prt_bench.session_runner._with_training", _briefly)
        where = ("--out", str(folder / "out"), "--store", str(folder / "store"))
        assert invoke([*WORDS, *where, "--max-seconds", "60"]) == 0
    (path,) = (folder / "out" / "costs").rglob("*.json")
    session = read_session(path)
    assert not [left for left in (folder / "store").iterdir() if left.name.startswith("tmp")], "nothing is left over"
    return session, printed(session)


def printed(session: CostSession, width: int = 120) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    print_session(session, console)
    return console.export_text()


def test_all_of_it_is_measured(measured: tuple[CostSession, str]) -> None:
    session, _ = measured
    assert session.compositions.keys() == {"zero-shot", "eft", "prt"}
    for entry in session.compositions.values():
        assert entry.flops.total == entry.flops.counted == entry.flops.analytic
        assert [row.batch_size for row in entry.latency] == [1]
        memory = entry.memory
        assert memory.before is not None
        if Path("/proc/self/clear_refs").exists():
            assert memory.peak is not None
            assert memory.peak > memory.before > memory.weights
    eft, prt, alone = (session.compositions[name] for name in ("eft", "prt", "zero-shot"))
    assert eft.memory.weights > prt.memory.weights > alone.memory.weights
    trained = {(row.model, row.frozen_outputs): row for row in session.training}
    assert trained.keys() == {(PAIR.split(":")[0], kept) for kept in ("none", "live", "computed once")}
    assert all(row.step_ms for row in trained.values())
    assert session.max_seconds is not None


def test_people_can_read_it(measured: tuple[CostSession, str]) -> None:
    _, text = measured
    for said in (
        "one image", "GFLOPs", "× target", "peak at 1", "p90 ms", "noise at batch 1: the target against itself",
        "training, a step", "through frozen nano-rn16-a, live", "closed form and count are equal", "1 multiply-add",
        "members run one after another; random ABBA rounds", "energy: ", "timed once, as target alone: zero-shot",
    ):  # fmt: skip
        assert said in text, said


def test_what_is_missing_is_said_and_what_is_strange_is_shown_as_it_is(measured: tuple[CostSession, str]) -> None:
    session, _ = measured
    eft = session.compositions["eft"]
    strange = eft.model_copy(update={"memory": Memory(weights=1), "timed_as": ""})
    row = TrainingRow(
        model="[red]m[/red]", frozen=[], frozen_outputs="none", methods=["x"], batch_size=None, flops=None,
        step_ms=None, ratio=None, peak_memory_bytes=None, reasons=["no room"],
    )  # fmt: skip
    changed = session.model_copy(
        update={
            "compositions": {"[bold]odd": strange},
            "training": [row],
            "absent": {"compositions.[bold]odd.memory.peak": "it broke"},
            "valid": False,
            "reasons": ["too few rounds"],
        }
    )
    text = printed(changed)
    for said in (
        "[bold]odd",
        "[red]m[/red]",
        "no room",
        "no peak memory of [bold]odd: it broke",
        "not valid (!): too few",
    ):
        assert said in text, said


def test_printed_numbers_stand_beside_it_with_the_arithmetic() -> None:
    golden = {"rn50": 12_222_000_000, "vitb16": 35_127_000_000, "vitl14": 162_026_000_000}
    sizes = {alias: (golden[alias.partition("-")[0]], 1) for alias in reported_models("images")}
    console = Console(width=140, record=True, file=io.StringIO())
    print_reported("images", sizes, console)
    text = console.export_text()
    assert "table 1" in text
    assert "table 2" in text
    assert "128 images × 35.13 GFLOPs in 3.52 ms would be 1,277 TFLOP/s; an A100's bf16 peak is 312" in text
    assert "✗" not in text.partition("table 2")[0], "nothing is wrong with training"
    assert "arXiv" in text or "arxiv.org/abs/2502.12776" in text


def test_a_request_that_makes_no_sense_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    run = partial(invoke, ["cost", "--pair", PAIR, "--store", str(tmp_path), "--prompt-tokens", "4"])
    assert run() == 2
    assert "are of text; this pair reads images" in capsys.readouterr().err
    text = ["cost", "--pair", "nano-llama-s-a:nano-llama-m-b", "--store", str(tmp_path), "--prompt-tokens", "4"]
    assert invoke(text) == 2
    assert "belong together; give both" in capsys.readouterr().err


def test_text_of_stated_lengths(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["cost", "--pair", "nano-llama-s-a:nano-llama-m-b", "--weights", "random", "--method", "prt", "--json"]
    where = ["--store", str(tmp_path / "store"), "--out", str(tmp_path / "out"), "--max-seconds", "1"]
    lengths = ["--prompt-tokens", "9", "--output-tokens", "3", "--batch-size", "2"]
    assert invoke([*words, *where, *lengths]) == 0
    found = CostSession.model_validate(json.loads(capsys.readouterr().out))
    assert found.shape == {"prompt_tokens": 9, "output_tokens": 3}
    entry = found.compositions["prt"]
    assert entry.flops.causal is not None
    assert entry.flops.total is not None
    assert entry.flops.causal < entry.flops.total
    (row,) = entry.latency
    assert row.ttft_ms is not None
    assert row.tpot_ms is not None
    assert row.ttft_ms + 2 * row.tpot_ms == pytest.approx(row.p50_ms, rel=0.5)
    assert [row.frozen_outputs for row in found.training] == ["live"], "answers of texts are not kept"
    assert entry.memory.peak or found.absent["compositions.prt.memory.peak"]


def test_time_is_shared_out() -> None:
    whole, short = SessionPlan((1,), 100.0, whole=True), SessionPlan((1,), 100.0)
    assert whole.timing_seconds == 60.0
    assert short.timing_seconds == 100.0
