"""The ledger of a verb: every piece of paid work, at its full standalone price."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

from prt_bench.records import CostTerm

__all__ = ["Charge", "Ledger", "total"]


@dataclass
class Charge:
    """One piece of paid work, at its full standalone price."""

    train_flops: int | None
    seconds: float | None
    """None where others did the work."""
    examples: int
    reused: bool
    peak_memory_bytes: int | None = None
    energy_joules: float | None = None


@dataclass
class Ledger:
    """What a verb has been charged so far, and the seconds it has spent inside the tools."""

    charges: list[Charge] = field(default_factory=list)
    seconds_inside: float = 0.0

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Counts the time of a tool at work, which is charged at its own price and not as the verb's time."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.seconds_inside += time.perf_counter() - started

    def term(self, verb_seconds: float, read: Mapping[str, int]) -> CostTerm:
        """What the verb costs alone: its own time and every charge; `reused` where all of it had been paid before."""
        seconds = _sum([charge.seconds for charge in self.charges])
        return CostTerm(
            train_flops=_sum([charge.train_flops for charge in self.charges]),
            seconds=None if seconds is None else verb_seconds - self.seconds_inside + seconds,
            examples=sum(charge.examples for charge in self.charges),
            peak_memory_bytes=_most([charge.peak_memory_bytes for charge in self.charges]),
            energy_joules=_sum([charge.energy_joules for charge in self.charges]) if self.charges else None,
            reused=bool(self.charges) and all(charge.reused for charge in self.charges),
            read=dict(read),
        )


def total(terms: Sequence[CostTerm]) -> CostTerm:
    """The price of several pieces of work together."""
    paid = [term for term in terms if term.examples]
    return CostTerm(
        train_flops=_sum([term.train_flops for term in terms]),
        seconds=_sum([term.seconds for term in terms]),
        examples=sum(term.examples for term in terms),
        peak_memory_bytes=_most([term.peak_memory_bytes for term in terms]),
        energy_joules=_sum([term.energy_joules for term in paid]) if paid else None,
        reused=bool(paid) and all(term.reused for term in paid),
        read={role: max(term.read.get(role, 0) for term in terms) for term in terms for role in term.read},
    )


Amount = TypeVar("Amount", int, float)


def _sum(values: Sequence[Amount | None]) -> Amount | None:
    """None where any is unknown."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _most(values: Sequence[int | None]) -> int | None:
    """The most that was measured: reading and passing on take less than training, and are not measured."""
    return max((value for value in values if value is not None), default=None)
