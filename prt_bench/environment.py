"""The machine and the packages, in words that identify no person."""

from __future__ import annotations

import platform
import re
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import psutil

from prt_bench.records import Environment

__all__ = ["describe", "git_revision", "impersonal", "now", "packages"]

PATHS = re.compile(r"(?<![\w:/.])(?:~|\.\.|[A-Za-z]:)?(?:[\\/][^\s\\/:;,'\"()=]+)*[\\/](?P<last>[^\s\\/:;,'\"()=]*)")
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
    )


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
