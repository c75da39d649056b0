"""Pins: the commit and the digests of what was once looked at online, so that nothing else is ever taken for it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from prt_bench.files import write_atomically
from prt_bench.records import Strict
from prt_bench.yaml_files import load_yaml

__all__ = ["PINS_FILE", "Pin", "Pins", "load_pins", "write_pin"]

PINS_FILE = "pins.yaml"
"""Its name in the store."""


class Pin(Strict):
    """One repository at one commit."""

    revision: str = Field(pattern=r"^[0-9a-f]{40}$")
    files: dict[str, str]
    """File → SHA-256."""
    size_bytes: int
    licence: str
    gated: bool
    checked: str
    """The day on which this was looked up."""


class Pins(Strict):
    """A file of pins, by repository."""

    models: dict[str, Pin] = Field(default_factory=dict)
    datasets: dict[str, Pin] = Field(default_factory=dict)

    def of(self, kind: str) -> Mapping[str, Pin]:
        """The pins of `model` or `dataset` repositories."""
        return self.models if kind == "model" else self.datasets


def load_pins(path: Path) -> Pins:
    """The pins of a file; none where there is no file."""
    return load_yaml(path, Pins) if path.is_file() else Pins()


def write_pin(path: Path, kind: str, repository: str, pin: Pin) -> None:
    """Add a pin to a file."""
    known: dict[str, Any] = load_pins(path).model_dump()
    known["models" if kind == "model" else "datasets"][repository] = pin.model_dump()
    text = yaml.safe_dump(known, sort_keys=True)
    write_atomically(path, f"# Written by `prt-bench fetch --pin`.\n{text}")
