"""What a network reads, so that it can be priced: images, or texts by their length."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["Work"]


@dataclass(frozen=True)
class Work:
    """What a network reads: so many images, or sequences by their length with so many rows to answer."""

    images: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    rows: int = 0
