"""Peak memory of this process while something runs, from the kernel's or the GPU allocator's own high-water mark.

Nothing is sampled, so no peak is too short to be seen. Both marks belong to the whole process: what other threads
hold at that time is in them, and what child processes hold is not. The kernel counts pages per processor and adds them
up in lots, so its mark may be short by a fraction of a MiB per processor.
"""

from __future__ import annotations

import ctypes
import gc
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import psutil

__all__ = ["Peak", "held_on", "peak_of", "resident"]

PROC = Path("/proc/self")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Peak:
    """The highest mark of a run, in bytes; both are None where `reason` says why it cannot be measured."""

    total: int | None
    """All that was held at that moment: resident memory of the process, or what is allocated on the GPU."""
    added: int | None
    """`total` without what was held when the run began."""
    reason: str = ""


def resident() -> int:
    """Bytes of this process that are in main memory now (VmRSS)."""
    return int(psutil.Process().memory_info().rss)


def held_on(device: str) -> int:
    """Bytes that are held now: by this process on a CPU, by its tensors on a GPU."""
    if not device.startswith("cuda"):
        return resident()
    import torch

    return int(torch.cuda.memory_allocated(device))


def peak_of(run: Callable[[], Result], device: str, proc: Path = PROC) -> tuple[Result, Peak]:
    """What `run` returns, and how much memory was held at most while it ran.

    A run inside of another is measured as well as the outer one. `device` is named as torch names it; `proc` is
    where the kernel tells of this process.
    """
    gauge = _gauge(device, proc)
    span = _Span()
    try:
        held = _begin(gauge, span)
    except LookupError as error:
        return run(), Peak(None, None, str(error))
    try:
        result = run()
    finally:
        total = _end(gauge, span)
    return result, Peak(total, total - held)


class _Gauge(Protocol):
    """A high-water mark that can be set back."""

    def trim(self) -> None:
        """Give back what is no longer used."""

    def mark(self) -> int:
        """Bytes held at most since the last reset; LookupError where it is not told."""

    def reset(self) -> None:
        """Set the mark to what is held now; LookupError where that is not allowed."""


@dataclass(frozen=True)
class _Kernel:
    """Of resident memory, as Linux keeps it (man 5 proc: VmHWM, and clear_refs since Linux 4.0)."""

    proc: Path

    def trim(self) -> None:
        # glibc keeps freed memory for later; without it, what an earlier run freed would count as held.
        gc.collect()
        if os.name == "posix":
            give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)
            if give_back is not None:
                give_back(0)

    def mark(self) -> int:
        path = self.proc / "status"
        try:
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError as error:
            raise LookupError(f"no peak memory: {path} cannot be read ({error.strerror}); it needs Linux") from None
        for line in lines:
            words = line.split()
            if words[:1] == ["VmHWM:"] and len(words) == 3 and words[2] == "kB":
                return int(words[1]) * 1024
        raise LookupError(f"no peak memory: {path} has no VmHWM; it needs a Linux kernel that keeps it")

    def reset(self) -> None:
        path = self.proc / "clear_refs"
        try:
            # Opened as it is: a file of that name must not come to be where the kernel has none.
            handle = os.open(path, os.O_WRONLY)
            try:
                os.write(handle, b"5")
            finally:
                os.close(handle)
        except OSError as error:
            raise LookupError(
                f"no peak memory: {path} cannot be written ({error.strerror}), so the high-water mark of what ran "
                "before stays; run outside of the sandbox, on Linux 4.0 or later"
            ) from None


@dataclass(frozen=True)
class _Cuda:
    """Of what torch's allocator gave out on one GPU: no context, no kernels, no other process."""

    device: str

    def trim(self) -> None:
        gc.collect()

    def mark(self) -> int:
        import torch

        return torch.cuda.max_memory_allocated(self.device)

    def reset(self) -> None:
        import torch

        torch.cuda.reset_peak_memory_stats(self.device)


@dataclass(frozen=True)
class _Nothing:
    """Of a device whose memory nobody tells."""

    device: str

    def trim(self) -> None:
        """There is nothing to give back."""

    def mark(self) -> int:
        raise LookupError(f"no peak memory: it is measured on cpu and cuda, and not on {self.device}")

    def reset(self) -> None:
        self.mark()


@dataclass(eq=False)
class _Span:
    """A run under way, and the highest mark of it that a later run has set back."""

    gauge: _Gauge | None = None
    highest: int = 0


LOCK = threading.Lock()
UNDER_WAY: list[_Span] = []


def _gauge(device: str, proc: Path) -> _Gauge:
    kind = device.partition(":")[0]
    if kind == "cuda":
        return _Cuda(device)
    return _Kernel(proc) if kind == "cpu" else _Nothing(device)


def _begin(gauge: _Gauge, span: _Span) -> int:
    """Set the mark back, but not for those that are under way; bytes held now."""
    with LOCK:
        highest = gauge.mark()
        gauge.trim()
        gauge.reset()
        for other in UNDER_WAY:
            if other.gauge == gauge:
                other.highest = max(other.highest, highest)
        held = gauge.mark()
        span.gauge = gauge
        UNDER_WAY.append(span)
        return held


def _end(gauge: _Gauge, span: _Span) -> int:
    with LOCK:
        UNDER_WAY.remove(span)
        return max(span.highest, gauge.mark())
