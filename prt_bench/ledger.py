"""The ledger of a verb: every piece of paid work, at its full standalone price."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

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
        flops = [charge.train_flops for charge in self.charges]
        own = verb_seconds - self.seconds_inside
        seconds = [charge.seconds for charge in self.charges]
        return CostTerm(
            train_flops=None if any(value is None for value in flops) else sum(value or 0 for value in flops),
            seconds=None if any(value is None for value in seconds) else own + sum(value or 0 for value in seconds),
            examples=sum(charge.examples for charge in self.charges),
            reused=bool(self.charges) and all(charge.reused for charge in self.charges),
            read=dict(read),
        )


def total(terms: Sequence[CostTerm]) -> CostTerm:
    """The price of several pieces of work together."""
    flops = [term.train_flops for term in terms]
    seconds = [term.seconds for term in terms]
    paid = [term for term in terms if term.examples]
    return CostTerm(
        train_flops=None if any(value is None for value in flops) else sum(value or 0 for value in flops),
        seconds=None if any(value is None for value in seconds) else sum(value or 0 for value in seconds),
        examples=sum(term.examples for term in terms),
        reused=bool(paid) and all(term.reused for term in paid),
        read={role: max(term.read.get(role, 0) for term in terms) for term in terms for role in term.read},
    )
