"""Energy from a counter of the hardware, or none: a rated power times a time is no measurement.

A counter covers all of a GPU or of a processor package: what else runs there, and what it draws when idle, is in it.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from prt_bench.environment import nvml_device
from prt_bench.errors import CellError

__all__ = ["Counter", "find_counter", "measure"]

POWERCAP = Path("/sys/class/powercap")
# Packages only: their subdomains (intel-rapl:0:0) are in them, and the same packages come again as intel-rapl-mmio.
DOMAIN = re.compile(r"intel-rapl:\d+")
LEAST_SECONDS = 5.0
READ_EVERY_SECONDS = 1.0


class Counter(Protocol):
    """A counter of the hardware that only rises."""

    @property
    def source(self) -> str:
        """Which counter it is and what it covers."""

    def joules(self) -> float:
        """Energy since some moment before."""


def find_counter(device: str, powercap: Path = POWERCAP) -> tuple[Counter | None, str]:
    """The energy counter of a device as torch names it, or None and why there is none, in one line.

    On a GPU it is NVML's, on a CPU it is RAPL's below `powercap`.
    """
    kind = str(device).partition(":")[0]
    try:
        if kind == "cuda":
            return _nvml(str(device)), ""
        if kind == "cpu":
            return _rapl(powercap), ""
        raise LookupError(f"{device} has none that is known here; cpu (RAPL) and cuda (NVML) may have one")
    except LookupError as error:
        return None, f"no energy counter: {error}"


def measure(
    run: Callable[[], object],
    counter: Counter,
    least_seconds: float = LEAST_SECONDS,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, int, float]:
    """Joules per run, how often it ran, and in how many seconds.

    Runs again and again for a window of at least `least_seconds`: counters are renewed every 20–100 ms, so a window
    of 5 s is right to about 2 % at each end. `run` must return only once its work is done, on a GPU too.

    Raises:
        CellError: the counter did not move.
    """
    before = counter.joules()
    started = read = now = clock()
    runs = 0
    while runs == 0 or now - started < least_seconds:
        run()
        runs += 1
        now = clock()
        if now - read >= READ_EVERY_SECONDS:
            # A counter that wraps around must be read before it does so twice.
            counter.joules()
            read = now
    used = counter.joules() - before
    if used <= 0:
        raise CellError(
            f"the energy counter ({counter.source}) did not move in {now - started:.3g} s: no energy is given; "
            "it may be a virtual machine's, which counts nothing"
        )
    return used / runs, runs, now - started


@dataclass(frozen=True)
class _Nvml:
    """NVML's total of a GPU: mJ since the driver was loaded, on Volta and later."""

    source: str
    nvml: Any
    handle: Any

    def joules(self) -> float:
        return float(self.nvml.nvmlDeviceGetTotalEnergyConsumption(self.handle)) / 1000


def _nvml(device: str) -> Counter:
    import torch

    nvml, handle = nvml_device(device)
    counter = _Nvml(f"NVML total energy, all of {torch.cuda.get_device_name(device)}", nvml, handle)
    try:
        counter.joules()
    except nvml.NVMLError as error:
        raise LookupError(
            f"NVML keeps no total energy for {device}: {error}; it needs a whole GPU, Volta or later"
        ) from None
    return counter


@dataclass
class _Domain:
    """One package: a counter in µJ that begins anew above `highest`."""

    path: Path
    highest: int
    last: int
    total: int = 0

    def read(self) -> int:
        """µJ since the first reading."""
        value = _number(self.path)
        rise = value - self.last
        self.total += rise if rise >= 0 else rise + self.highest
        self.last = value
        return self.total


@dataclass
class _Rapl:
    """RAPL's packages together."""

    source: str
    domains: list[_Domain] = field(default_factory=list)

    def joules(self) -> float:
        return sum(domain.read() for domain in self.domains) / 1e6


def _rapl(root: Path) -> Counter:
    if not root.is_dir():
        raise LookupError(f"{root} is not there (a virtual machine, or no Linux); measure on the machine itself")
    packages = {}
    for folder in sorted(path for path in root.iterdir() if DOMAIN.fullmatch(path.name)):
        name = _text(folder / "name")
        if name.startswith("package"):
            # `psys`, the whole board, holds the packages again.
            packages[name] = folder
    if not packages:
        raise LookupError(f"{root} has no processor package (intel-rapl:N); is the module intel_rapl_msr loaded?")
    domains = [
        _Domain(folder / "energy_uj", _number(folder / "max_energy_range_uj"), _number(folder / "energy_uj"))
        for folder in packages.values()
    ]
    return _Rapl(f"RAPL, all of {' + '.join(sorted(packages))}", domains)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except PermissionError:
        raise LookupError(f"{path} is readable by root only; let this user read it (chmod a+r)") from None
    except (OSError, UnicodeDecodeError) as error:
        raise LookupError(f"{path} cannot be read ({error})") from None


def _number(path: Path) -> int:
    text = _text(path)
    if not text.isdecimal():
        raise LookupError(f"{path} holds {text!r}, which is no number of microjoules")
    return int(text)
