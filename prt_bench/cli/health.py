"""What can be wrong with an installation or its machine, each with its way out."""

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, distribution, version
from importlib.resources import files
from pathlib import Path
from typing import Literal

import psutil
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from prt_bench.cli.settings import Settings
from prt_bench.cli.tables import in_bytes
from prt_bench.environment import RECORDED
from prt_bench.errors import CellError, RequestError
from prt_bench.files import first_line
from prt_bench.store import Store

__all__ = ["Check", "checks", "locked_versions"]

LOCKED_PYTHONS = ("3.11", "3.12", "3.13")
LEAST_DISK, LEAST_MEMORY = 2 * 1024**3, 2 * 1024**3
"""Bytes: the demo leaves 0.1 GB in the store and holds 1.5 GB of memory at most."""
PROBE_BYTES = 1024**2
HUB_SECONDS = 5.0
LARGEST_SKEW_SECONDS = 300.0
RENEW = "install again: `make demo` in a checkout, `pip install --upgrade prt-bench` elsewhere"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    state: Literal["ok", "note", "problem"]
    """A note is worth knowing and stops nothing."""
    detail: str
    way_out: str = ""
    """What to do about a problem; empty where nothing need be done."""


def checks(settings: Settings) -> list[Check]:
    """Look at everything; a check that fails is a finding like any other, and the rest is still looked at."""
    found = [*_versions(), _device(settings.device), _memory()]
    found += [_folder("store", settings.store, "--store"), _folder("leaderboard", settings.out, "--out")]
    hub, hub_time = _hub(settings.offline)
    return [*found, _store(settings.store), hub, _clock([settings.store, settings.out], hub_time)]


def locked_versions() -> dict[str, str]:
    """Package → the version that the lock names for this Python and this system."""
    text = files("prt_bench._builtin").joinpath("requirements.lock").read_text(encoding="utf-8")
    pinned = [Requirement(line.rstrip(" \\")) for line in text.splitlines() if line[:1].isalnum()]
    return {
        canonicalize_name(one.name): next(iter(one.specifier)).version
        for one in pinned
        if one.marker is None or one.marker.evaluate()
    }


def _versions() -> Iterator[Check]:
    python = platform.python_version()
    tried = python.rpartition(".")[0] in LOCKED_PYTHONS
    yield Check(
        "python",
        "ok" if tried else "note",
        python if tried else f"{python}; the lock is for {', '.join(LOCKED_PYTHONS)}",
    )
    recorded = [f"{name} {version(name)}" for name in RECORDED if _installed(name) is not None]
    yield Check("versions", "ok", ", ".join(recorded))
    wanted = [Requirement(text) for text in distribution("prt-bench").requires or ()]
    needed = [one for one in wanted if one.marker is None or one.marker.evaluate({"extra": ""})]
    broken = [problem for one in needed if (problem := _unmet(one))]
    yield Check("requirements", "problem" if broken else "ok", ", ".join(broken) or "all met", RENEW if broken else "")
    locked = locked_versions()
    here = {name: found for name in locked if (found := _installed(name)) is not None}
    other = [f"{name} {found} (lock: {locked[name]})" for name, found in here.items() if found != locked[name]]
    same = f"{len(here) - len(other)} packages as in the lock"
    yield Check("lock", "note" if other else "ok", f"{same}; not as tried: {', '.join(other)}" if other else same)


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _unmet(wanted: Requirement) -> str:
    found = _installed(wanted.name)
    if found is None:
        return f"{wanted.name} is not installed"
    return (
        "" if wanted.specifier.contains(found, prereleases=True) else f"{wanted.name} {found} is not {wanted.specifier}"
    )


def _device(wanted: str) -> Check:
    try:
        import torch
    except (ImportError, OSError) as error:
        return Check("device", "problem", f"torch cannot be loaded: {first_line(error)}", RENEW)
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    here = f"cpu with {torch.get_num_threads()} threads; {', '.join(names) or 'no GPU that torch can use'}"
    if wanted.startswith("cuda") and not names:
        return Check("device", "problem", f"--device {wanted}: {here}", "leave out --device, or install a GPU driver")
    return Check("device", "ok", here)


def _memory() -> Check:
    memory = psutil.virtual_memory()
    detail = f"{in_bytes(memory.available)} of {in_bytes(memory.total)} free"
    if memory.available < LEAST_MEMORY:
        return Check("memory", "problem", detail, f"close other programs: the demo wants {in_bytes(LEAST_MEMORY)}")
    return Check("memory", "ok", detail)


def _folder(name: str, folder: Path, option: str) -> Check:
    """Whether a folder, or the nearest one above that exists, can be written, with room left."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    way_out = f"name another folder with {option} DIR"
    try:
        with tempfile.TemporaryFile(dir=there) as probe:
            probe.write(bytes(PROBE_BYTES))
            probe.flush()
            os.fsync(probe.fileno())
        free = shutil.disk_usage(there).free
    except OSError as error:
        return Check(
            name, "problem", f"{folder}: cannot be written ({error.strerror or error})", f"free it, or {way_out}"
        )
    detail = f"{folder}: {in_bytes(free)} free"
    if free < LEAST_DISK:
        return Check(name, "problem", detail, f"make room for {in_bytes(LEAST_DISK)}, or {way_out}")
    return Check(name, "ok", detail)


def _store(root: Path) -> Check:
    """Whether every entry of the store can be read."""
    if not root.is_dir():
        return Check("store entries", "ok", "none yet")
    entries = sorted(root.glob("*/*/*.safetensors"))
    try:
        store = Store(root)
    except RequestError as error:
        return Check("store entries", "problem", f"cannot be opened: {first_line(error)}", "name another --store DIR")
    damaged = []
    for path in entries:
        try:
            store.get(path.parent.parent.name, path.stem)
        except (CellError, OSError) as error:
            damaged.append(str(error))
    for path in sorted(root.glob("notes/*/*.json")):
        try:
            json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            damaged.append(f"{path}: damaged ({first_line(error)})")
    if damaged:
        return Check(
            "store entries", "problem", "; ".join(damaged), "delete the files named here; runs make them again"
        )
    return Check("store entries", "ok", f"{len(entries)} can be read")


def _hub(offline: bool) -> tuple[Check, datetime | None]:
    """Whether the hub answers, and what time it says it is."""
    if offline:
        return Check("hub", "note", "not asked (--offline, or HF_HUB_OFFLINE is set)"), None
    from huggingface_hub import constants, get_session

    try:
        answer = get_session().head(constants.ENDPOINT, timeout=HUB_SECONDS)
        stated = answer.headers.get("date")
        return Check("hub", "ok", f"{constants.ENDPOINT} answers"), parsedate_to_datetime(stated) if stated else None
    except Exception as error:  # noqa: BLE001 - http's, the system's and a proxy's errors; each is one line for a user
        way_out = "connect; without it, embedded models and files at hand still run: say --offline"
        detail = f"{constants.ENDPOINT} does not answer ({type(error).__name__}: {first_line(error)})"
        return Check("hub", "problem", detail, way_out), None


def _clock(folders: Sequence[Path], hub_time: datetime | None) -> Check:
    """Whether the clock agrees with the hub's, and is not behind what was written here before."""
    now = datetime.now(UTC)
    written = [path.stat().st_mtime for folder in folders if folder.is_dir() for path in _files(folder)]
    ahead = max(written, default=0.0) - time.time()
    if hub_time is not None and abs((now - hub_time).total_seconds()) > LARGEST_SKEW_SECONDS:
        problem = f"{now:%Y-%m-%d %H:%M} UTC here and {hub_time:%Y-%m-%d %H:%M} UTC at the hub"
    elif ahead > LARGEST_SKEW_SECONDS:
        problem = (
            f"{now:%Y-%m-%d %H:%M} UTC, and a file of the store or leaderboard was written {ahead / 60:.0f} min later"
        )
    else:
        return Check("clock", "ok", f"{now:%Y-%m-%d %H:%M} UTC")
    return Check("clock", "problem", problem, "set the clock: records and sessions carry its time")


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())
