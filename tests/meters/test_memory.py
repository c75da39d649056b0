"""Peak memory of this process: of what runs now, and not of what ran before."""

from __future__ import annotations

import ctypes
import os
import threading
from pathlib import Path

import pytest
import torch

from prt_bench.meters.memory import UNDER_WAY, Peak, peak_of, resident

MIB = 1024**2
# The kernel counts pages per processor and adds them up in lots.
SHORT = max(2, os.cpu_count() or 1)
LINUX = pytest.mark.skipif(
    peak_of(lambda: None, "cpu")[1].total is None, reason="the kernel's high-water mark cannot be set back here"
)


def touched(mebibytes: int) -> torch.Tensor:
    """Memory that is written to: what is only asked for is not held."""
    return torch.ones(mebibytes * MIB, dtype=torch.uint8)


def hold(mebibytes: int) -> int:
    return int(touched(mebibytes)[-1])


def added(peak: Peak) -> float:
    assert peak.added is not None, peak.reason
    assert peak.total is not None
    assert peak.reason == ""
    return peak.added / MIB


@LINUX
def test_what_a_run_holds_at_most_is_added_though_it_frees_it() -> None:
    before = resident()
    result, peak = peak_of(lambda: hold(200), "cpu")
    assert result == 1
    assert 200 - SHORT <= added(peak) < 300
    assert peak.total is not None
    assert peak.total >= (200 - SHORT) * MIB
    assert resident() < before + 100 * MIB


@LINUX
def test_a_run_is_not_charged_with_an_earlier_peak() -> None:
    first = peak_of(lambda: hold(200), "cpu")[1]
    second = peak_of(lambda: hold(20), "cpu")[1]
    assert 20 - SHORT <= added(second) < 100
    assert first.total is not None
    assert second.total is not None
    assert second.total < first.total


@LINUX
def test_what_is_held_before_is_in_the_total_and_not_added() -> None:
    weights = touched(150)
    peak = peak_of(lambda: hold(50), "cpu")[1]
    assert 50 - SHORT <= added(peak) < 120
    assert peak.total is not None
    assert peak.total >= weights.nbytes + (50 - SHORT) * MIB


@LINUX
@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="this C library cannot be asked to give back")
def test_what_the_c_library_keeps_after_it_was_freed_does_not_count_as_held() -> None:
    def blocks() -> list[bytearray]:
        return [bytearray(b"\1" * 60_000) for _ in range(2000)]

    first = blocks()
    kept = first[::20]
    del first
    # Without it the blocks would lie where the freed ones lay, between those kept, and little would be added.
    assert 100 <= added(peak_of(lambda: len(blocks()), "cpu")[1]) < 180
    assert len(kept) == 100


@LINUX
def test_a_run_inside_of_another_leaves_the_outer_peak_alone() -> None:
    def outer() -> Peak:
        hold(200)
        return peak_of(lambda: hold(20), "cpu")[1]

    inner, peak = peak_of(outer, "cpu")
    assert 200 - SHORT <= added(peak) < 300
    assert added(inner) < 100


@LINUX
def test_runs_of_several_threads_each_have_a_peak() -> None:
    peaks: list[Peak] = []
    threads = [threading.Thread(target=lambda: peaks.append(peak_of(lambda: hold(60), "cpu")[1])) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(peaks) == 3
    assert max(added(peak) for peak in peaks) >= 60 - SHORT


@LINUX
def test_a_run_that_fails_fails_and_the_next_one_is_measured() -> None:
    def fails() -> None:
        hold(100)
        raise ValueError("no luck")

    with pytest.raises(ValueError, match="no luck"):
        peak_of(fails, "cpu")
    assert UNDER_WAY == []
    assert added(peak_of(lambda: hold(20), "cpu")[1]) < 100


def test_of_runs_that_look_alike_the_one_that_ends_is_closed(tmp_path: Path) -> None:
    status = tmp_path / "status"
    tmp_path.joinpath("clear_refs").touch()

    def mark(kilobytes: int) -> None:
        status.write_text(f"VmHWM:\t {kilobytes} kB\n")

    def outer() -> None:
        peak_of(lambda: None, "cpu", tmp_path)
        mark(100)
        peak_of(lambda: mark(10), "cpu", tmp_path)

    mark(0)
    assert peak_of(outer, "cpu", tmp_path)[1].total == 100 * 1024


@pytest.mark.parametrize(
    ("status", "told"),
    [(None, "status cannot be read"), ("VmRSS:\t  10 kB\n", "has no VmHWM"), ("VmHWM:\t  10 kB\n", "clear_refs")],
)
def test_where_it_cannot_be_measured_the_run_runs_and_the_reason_is_given(
    tmp_path: Path, status: str | None, told: str
) -> None:
    if status is not None:
        tmp_path.joinpath("status").write_text(status)
    ran: list[int] = []
    result, peak = peak_of(lambda: ran.append(1) or "done", "cpu", tmp_path)
    assert result == "done"
    assert ran == [1]
    assert peak.total is peak.added is None
    assert peak.reason.startswith("no peak memory: ")
    assert told in peak.reason
    assert not tmp_path.joinpath("clear_refs").exists()


def test_the_kernel_is_asked_for_the_mark_of_residence(tmp_path: Path) -> None:
    status, clear = tmp_path / "status", tmp_path / "clear_refs"
    status.write_text("Name:\tpython\nVmPeak:\t 900 kB\nVmHWM:\t 100 kB\nVmRSS:\t 80 kB\n")
    clear.touch()
    _, peak = peak_of(lambda: status.write_text("VmHWM:\t 130 kB\n"), "cpu", tmp_path)
    assert clear.read_text() == "5"
    assert peak == Peak(total=130 * 1024, added=30 * 1024)


def test_other_devices_have_none() -> None:
    assert peak_of(lambda: 3, "mps") == (
        3,
        Peak(None, None, "no peak memory: it is measured on cpu and cuda, and not on mps"),
    )


def test_on_a_gpu_it_is_what_the_allocator_gave_out(monkeypatch: pytest.MonkeyPatch) -> None:
    held, most = {"cuda:1": 40}, {"cuda:1": 999}

    def run() -> str:
        most["cuda:1"] = max(most["cuda:1"], held["cuda:1"] + 25)
        return "done"

    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: most[device])
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: most.update({device: held[device]}))
    assert peak_of(run, "cuda:1") == ("done", Peak(total=65, added=25))
    assert peak_of(lambda: peak_of(run, "cuda:1"), "cuda:1")[1] == Peak(total=65, added=25)


def test_this_process_holds_something() -> None:
    assert 20 * MIB < resident() < 64 * 1024 * MIB
