"""Energy from counters of the tests' own: a tree as the kernel shows it, and a module as NVML's."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from prt_bench.errors import CellError
from prt_bench.meters.energy import POWERCAP, find_counter, measure

HIGHEST = 1_000_000


def domain(root: Path, folder: str, name: str, microjoules: int) -> Path:
    """One domain of a powercap tree; the file that counts."""
    place = root / folder
    place.mkdir(parents=True)
    place.joinpath("name").write_text(f"{name}\n")
    place.joinpath("max_energy_range_uj").write_text(f"{HIGHEST}\n")
    place.joinpath("energy_uj").write_text(f"{microjoules}\n")
    return place / "energy_uj"


@pytest.fixture
def packages(tmp_path: Path) -> tuple[Path, Path]:
    """Two packages, among all that a tree has beside them."""
    first = domain(tmp_path, "intel-rapl:0", "package-0", 100_000)
    second = domain(tmp_path, "intel-rapl:1", "package-1", 900_000)
    domain(tmp_path, "intel-rapl:2", "psys", 5)
    domain(tmp_path, "intel-rapl:0:0", "core", 5)
    domain(tmp_path, "intel-rapl:0/intel-rapl:0:0", "core", 5)
    domain(tmp_path, "intel-rapl-mmio:0", "package-0", 5)
    tmp_path.joinpath("intel-rapl").mkdir()
    return first, second


def test_packages_are_summed_and_nothing_twice(tmp_path: Path, packages: tuple[Path, Path]) -> None:
    counter, reason = find_counter("cpu", tmp_path)
    assert counter is not None
    assert reason == ""
    assert "package-0 + package-1" in counter.source
    assert counter.joules() == 0
    packages[0].write_text("150000\n")
    assert counter.joules() == pytest.approx(0.05)
    packages[1].write_text("950000\n")
    assert counter.joules() == pytest.approx(0.10)
    for path in tmp_path.rglob("energy_uj"):
        if path not in packages:
            path.write_text("999999\n")
    assert counter.joules() == pytest.approx(0.10)


def test_a_counter_that_begins_anew_goes_on_rising(tmp_path: Path, packages: tuple[Path, Path]) -> None:
    counter, _ = find_counter("cpu", tmp_path)
    assert counter is not None
    seen = []
    for value in (990_000, 40_000, 900_000, 30_000):
        packages[1].write_text(f"{value}\n")
        seen.append(counter.joules())
    assert seen == pytest.approx([0.09, 0.14, 1.0, 1.13])


def test_without_a_tree_there_is_no_counter(tmp_path: Path) -> None:
    assert find_counter("cpu", tmp_path / "powercap") == (
        None,
        f"no energy counter: {tmp_path}/powercap is not there (a virtual machine, or no Linux); "
        "measure on the machine itself",
    )
    assert find_counter("cpu", tmp_path)[0] is None
    domain(tmp_path, "intel-rapl:0", "psys", 5)
    counter, reason = find_counter("cpu", tmp_path)
    assert counter is None
    assert "no processor package" in reason


def test_packages_that_may_not_be_read_are_no_counter(
    tmp_path: Path, packages: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # One of two is enough: half of a sum would be an estimate.
    read_text = Path.read_text

    def closed(path: Path, *words: str, **more: str) -> str:
        if path == packages[1]:
            raise PermissionError(13, "Permission denied", str(path))
        return read_text(path, *words, **more)

    monkeypatch.setattr(Path, "read_text", closed)
    counter, reason = find_counter("cpu", tmp_path)
    assert counter is None
    assert reason.startswith(f"no energy counter: {packages[1]} is readable by root only")


@pytest.mark.parametrize("content", ["", "-3\n", "unknown\n"])
def test_what_is_no_number_is_no_counter(tmp_path: Path, packages: tuple[Path, Path], content: str) -> None:
    packages[0].write_text(content)
    counter, reason = find_counter("cpu", tmp_path)
    assert counter is None
    assert "no number of microjoules" in reason


def test_other_devices_have_none() -> None:
    counter, reason = find_counter("mps")
    assert counter is None
    assert reason.startswith("no energy counter: mps")


def test_on_this_machine_there_is_a_counter_or_a_reason() -> None:
    counter, reason = find_counter("cpu")
    assert (counter is None) == bool(reason)
    assert "\n" not in reason
    assert POWERCAP.is_dir() or counter is None


class NVMLError(Exception):
    """As pynvml's."""


class Nvml:
    """NVML with two GPUs, of which torch sees the second alone."""

    NVMLError = NVMLError

    def __init__(self, supported: bool = True) -> None:
        self.supported = supported
        self.started = False
        self.millijoules = {"GPU-aaaa": 7_000_000, "GPU-bbbb": 1_000}

    def nvmlInit(self) -> None:  # noqa: N802
        self.started = True

    def nvmlDeviceGetHandleByIndex(self, index: int) -> str:  # noqa: N802
        return sorted(self.millijoules)[index]

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> str:  # noqa: N802
        if uuid not in self.millijoules:
            raise NVMLError("Not Found")
        return uuid

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: str) -> int:  # noqa: N802
        if not (self.started and self.supported):
            raise NVMLError("Not Supported")
        return self.millijoules[handle]


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[Nvml | None, str], None]:
    def install(nvml: Nvml | None, uuid: str) -> None:
        monkeypatch.setitem(sys.modules, "pynvml", nvml)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: SimpleNamespace(uuid=uuid))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Great GPU")

    return install


@pytest.mark.parametrize("uuid", ["bbbb", "GPU-bbbb"])
def test_a_gpu_is_found_by_its_uuid(gpu: Callable[[Nvml | None, str], None], uuid: str) -> None:
    nvml = Nvml()
    gpu(nvml, uuid)
    counter, reason = find_counter("cuda:0")
    assert counter is not None
    assert reason == ""
    assert counter.source == "NVML total energy, all of Great GPU"
    before = counter.joules()
    nvml.millijoules["GPU-bbbb"] += 2_500
    assert counter.joules() - before == pytest.approx(2.5)


@pytest.mark.parametrize(
    ("nvml", "uuid", "told"),
    [
        (Nvml(supported=False), "bbbb", "NVML keeps no total energy for cuda:0: Not Supported"),
        (Nvml(), "cccc", "NVML does not give cuda:0: Not Found"),
        (None, "bbbb", "nvidia-ml-py, which reads NVML, is not installed"),
    ],
)
def test_a_gpu_without_a_counter_says_why(
    gpu: Callable[[Nvml | None, str], None], nvml: Nvml | None, uuid: str, told: str
) -> None:
    gpu(nvml, uuid)
    counter, reason = find_counter("cuda:0")
    assert counter is None
    assert told in reason
    assert "\n" not in reason


class Bench:
    """A run that moves a clock and a counter."""

    source = "the test's own"

    def __init__(self, seconds: float, watts: float) -> None:
        self.seconds, self.watts = seconds, watts
        self.now = 50.0
        self.read: list[float] = []

    def clock(self) -> float:
        return self.now

    def run(self) -> None:
        self.now += self.seconds

    def joules(self) -> float:
        self.read.append(self.now)
        return 1000 + self.watts * (self.now - 50)


def test_runs_fill_a_window_and_share_its_energy() -> None:
    bench = Bench(seconds=0.125, watts=80)
    assert measure(bench.run, bench, clock=bench.clock) == pytest.approx((10.0, 40, 5.0))
    # No reading is further than a second from the next, for counters that wrap around.
    assert max(later - sooner for sooner, later in zip(bench.read, bench.read[1:], strict=False)) <= 1
    assert len(bench.read) < 10


def test_a_long_run_is_run_once() -> None:
    bench = Bench(seconds=30, watts=2)
    assert measure(bench.run, bench, clock=bench.clock) == pytest.approx((60.0, 1, 30.0))
    assert measure(bench.run, bench, least_seconds=0, clock=bench.clock)[1] == 1


def test_a_counter_that_stands_still_is_no_energy() -> None:
    bench = Bench(seconds=0.5, watts=0)
    with pytest.raises(CellError, match=r"the test's own\) did not move in 5 s"):
        measure(bench.run, bench, clock=bench.clock)
