"""The machine and the packages, in words that identify no person."""

from __future__ import annotations

import platform
import re
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil

from prt_bench.records import Environment

__all__ = ["describe", "git_revision", "impersonal", "now", "nvml_device", "packages"]

PATHS = re.compile(r"(?<![\w:/.])(?:~|\.\.|[A-Za-z]:)?(?:[\\/][^\s\\/:;,'\"()=]+)*[\\/](?P<last>[^\s\\/:;,'\"()=]*)")
CPUS = Path("/sys/devices/system/cpu")
RECORDED = (
    "prt-bench",
    "torch",
    "torchvision",
    "open_clip_torch",
    "transformers",
    "timm",
    "datasets",
    "numpy",
    "pillow",
)


def describe(device: str) -> Environment:
    """What this process runs on; `hardware` is a name that can be a folder. Imports torch."""
    import torch

    processor = _processor()
    threads = torch.get_num_threads()
    where = torch.cuda.get_device_name(device) if device.startswith("cuda") else f"{processor}-{threads}-threads"
    return Environment(
        hardware=re.sub(r"[^a-z0-9]+", "-", where.lower()).strip("-"),
        device=device,
        processor=processor,
        threads=threads,
        memory_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.machine()}",
        python=platform.python_version(),
        details=_gpu_details(device) if device.startswith("cuda") else _cpu_details(),
    )


def nvml_device(device: str) -> tuple[Any, Any]:
    """NVML's module, started, and its handle of a torch device such as `cuda:1`.

    The two are matched by UUID: CUDA_VISIBLE_DEVICES renumbers torch's devices and not NVML's.

    Raises:
        LookupError: in one line, why NVML says nothing of this device.
    """
    import torch

    try:
        import pynvml
    except ImportError:
        raise LookupError("nvidia-ml-py, which reads NVML, is not installed: pip install nvidia-ml-py") from None
    try:
        uuid = str(torch.cuda.get_device_properties(device).uuid)
    except AttributeError:
        raise LookupError(f"torch {torch.__version__} does not say which GPU {device} is (it has no UUID)") from None
    try:
        pynvml.nvmlInit()
        return pynvml, pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")
    except pynvml.NVMLError as error:
        raise LookupError(f"NVML does not give {device}: {error} (a part of a GPU, or no NVIDIA driver?)") from None


def packages() -> dict[str, str]:
    """Versions of the packages that can change a number."""
    found = {}
    for name in RECORDED:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


@cache
def git_revision() -> str | None:
    """Commit of the checkout that prt-bench runs from, with `-dirty` where it differs; None outside of one."""
    here = Path(__file__).resolve().parent
    if not (here.parent / ".git").exists():
        return None
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
            cwd=here, capture_output=True, text=True, timeout=20, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return run.stdout.strip()


def impersonal(text: str) -> str:
    """Text for a record: of absolute paths and paths above this folder only the last part is kept."""
    return PATHS.sub(lambda found: found.group("last") or "…", text)


def now() -> str:
    """UTC time, ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _gpu_details(device: str) -> dict[str, str]:
    """What a GPU's times depend on beside its name; nothing that tells one GPU from another of its kind."""
    import torch

    properties = torch.cuda.get_device_properties(device)
    found = {"compute_capability": f"{properties.major}.{properties.minor}"}
    try:
        nvml, handle = nvml_device(device)
    except LookupError:
        return found
    # The clock is the highest there is: the one of the moment says how idle the GPU was.
    questions: dict[str, Callable[[], str]] = {
        "driver": lambda: str(nvml.nvmlSystemGetDriverVersion()),
        "power_limit": lambda: f"{nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1000:g} W",
        "memory_clock": lambda: f"{nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_MEM)} MHz",
    }
    for name, ask in questions.items():
        try:
            found[name] = ask()
        except nvml.NVMLError:
            continue
    return found


def _cpu_details() -> dict[str, str]:
    """What a CPU's times depend on beside its name: torch's instruction set and the frequency governors."""
    import torch

    found = {"cpu_capability": torch.backends.cpu.get_cpu_capability()}
    governors = set()
    for path in sorted(CPUS.glob("cpu[0-9]*/cpufreq/scaling_governor")):
        try:
            governors.add(path.read_text(encoding="ascii").strip())
        except (OSError, UnicodeDecodeError):
            continue
    if governors:
        found["scaling_governor"] = ", ".join(sorted(governors))
    return found
