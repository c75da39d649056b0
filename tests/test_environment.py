"""What a record says of the machine and of the command."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from prt_bench import environment
from prt_bench.environment import describe, impersonal, packages

NAMES = st.text("abcXYZ019-_.", min_size=1).filter(lambda name: set(name) != {"."})


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("run --out /home/joe/board --pair a:b", "run --out board --pair a:b"),
        ("run --data=/root/my --data-dir ../shared/data", "run --data=my --data-dir data"),
        ("~/pictures/cat.png: cannot be decoded", "cat.png: cannot be decoded"),
        ("leaderboard/results stays, and a/b", "leaderboard/results stays, and a/b"),
        ("https://example.org/a/b", "https://example.org/a/b"),
    ],
)
def test_of_a_path_only_the_last_part_is_kept(text: str, kept: str) -> None:
    assert impersonal(text) == kept


@given(st.lists(NAMES, min_size=2, max_size=5), NAMES)
def test_no_folder_above_survives(folders: list[str], name: str) -> None:
    assert impersonal(f"--out /{'/'.join(folders)}/{name} end") == f"--out {name} end"


def test_the_machine_is_described_without_its_names() -> None:
    text = describe("cpu").model_dump_json()
    assert socket.gethostname() not in text
    assert str(Path.home()) not in text
    assert {"torch", "open_clip_torch", "prt-bench"} <= packages().keys()


class NVMLError(Exception):
    """As pynvml's."""


class Nvml:
    """NVML of two GPUs that differ, of which torch sees the second alone."""

    NVMLError = NVMLError
    NVML_CLOCK_MEM = 2

    def __init__(self, dumb: frozenset[str] = frozenset()) -> None:
        self.dumb = dumb

    def nvmlInit(self) -> None:  # noqa: N802
        self._answer("init")

    def nvmlDeviceGetHandleByUUID(self, uuid: str) -> int:  # noqa: N802
        return {"GPU-aaaa": 0, "GPU-bbbb": 1}[uuid]

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return self._answer("driver") or "580.65"

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: int) -> int:  # noqa: N802
        self._answer("power_limit")
        return [300_000, 412_500][handle]

    def nvmlDeviceGetMaxClockInfo(self, handle: int, clock: int) -> int:  # noqa: N802
        self._answer("memory_clock")
        return [1215, 1593][handle] if clock == self.NVML_CLOCK_MEM else 0

    def _answer(self, name: str) -> str:
        if name in self.dumb:
            raise NVMLError("Not Supported")
        return ""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Callable[[Nvml | None], None]:
    def install(nvml: Nvml | None) -> None:
        monkeypatch.setitem(sys.modules, "pynvml", nvml)
        properties = SimpleNamespace(uuid="bbbb", major=8, minor=0)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA A100-SXM4-80GB")

    return install


DETAILS = {"compute_capability": "8.0", "driver": "580.65", "power_limit": "412.5 W", "memory_clock": "1593 MHz"}


def test_a_gpu_says_what_its_times_depend_on(gpu: Callable[[Nvml | None], None]) -> None:
    gpu(Nvml())
    found = describe("cuda:0")
    assert found.details == DETAILS
    assert found.hardware == "nvidia-a100-sxm4-80gb"
    assert "bbbb" not in found.model_dump_json()


@pytest.mark.parametrize("dumb", ["driver", "power_limit", "memory_clock"])
def test_what_a_gpu_does_not_tell_is_left_out(gpu: Callable[[Nvml | None], None], dumb: str) -> None:
    gpu(Nvml(frozenset({dumb})))
    assert describe("cuda:0").details == {name: value for name, value in DETAILS.items() if name != dumb}


@pytest.mark.parametrize("nvml", [None, Nvml(frozenset({"init"}))])
def test_without_nvml_a_gpu_is_described_all_the_same(gpu: Callable[[Nvml | None], None], nvml: Nvml | None) -> None:
    gpu(nvml)
    assert describe("cuda").details == {"compute_capability": "8.0"}


def test_a_cpu_says_what_its_times_depend_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environment, "CPUS", tmp_path)
    capability = {"cpu_capability": torch.backends.cpu.get_cpu_capability()}
    alone = describe("cpu")
    assert alone.details == capability
    for number, governor in enumerate(["powersave", "performance", "powersave"]):
        folder = tmp_path / f"cpu{number}" / "cpufreq"
        folder.mkdir(parents=True)
        folder.joinpath("scaling_governor").write_text(f"{governor}\n")
    told = describe("cpu")
    assert told.details == {**capability, "scaling_governor": "performance, powersave"}
    assert told.hardware == alone.hardware
