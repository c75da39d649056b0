"""The global options: they may stand anywhere on the command line."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from platformdirs import user_cache_path

from prt_bench.errors import RequestError

__all__ = ["Settings", "default_store", "hoist"]

VALUE_OPTIONS = ("--out", "--store", "--plugin", "--data-dir", "--weights-dir", "--device", "--log-level")
FLAG_OPTIONS = ("--offline", "--version")


@dataclass
class Settings:
    """Values of the global options."""

    out: Path = Path("leaderboard")
    store: Path = field(default_factory=lambda: default_store())
    offline: bool = False
    plugins: tuple[Path, ...] = ()
    data_dir: Path | None = None
    weights_dir: Path | None = None
    device: str = "cpu"
    words: str = ""


def default_store() -> Path:
    """`PRT_BENCH_STORE`, or the user's cache folder."""
    named = os.environ.get("PRT_BENCH_STORE")
    return Path(named) if named else user_cache_path("prt-bench")


def hoist(words: Sequence[str]) -> list[str]:
    """The same command line with the global options before the command, in their order.

    Raises:
        RequestError: the last word is an option without its value, which would take the command for it.
    """
    first: list[str] = []
    rest: list[str] = []
    waiting = list(words)
    while waiting:
        word = waiting.pop(0)
        if word == "--":
            rest += [word, *waiting]
            break
        name, equals, _ = word.partition("=")
        if word in FLAG_OPTIONS or (equals and name in VALUE_OPTIONS):
            first.append(word)
        elif word in VALUE_OPTIONS:
            if not waiting:
                raise RequestError(f"{word}: a value is missing after it")
            first += [word, waiting.pop(0)]
        else:
            rest.append(word)
    return first + rest
