"""How a cost session spends its time."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SessionPlan"]

TIMING_SHARE = 0.6
"""Of a whole session's time: the rest is for peak memory, then for training."""


@dataclass(frozen=True)
class SessionPlan:
    """What a session measures, and in how many seconds."""

    batch_sizes: tuple[int, ...]
    seconds: float
    """In all, from the first pass on; what comes before, and the end of what was begun in time, are on top."""
    whole: bool = False
    """With peak memory and training, not latency alone."""
    anew: bool = False
    """Also where there is a session of the very same things on this machine."""

    @property
    def timing_seconds(self) -> float:
        """For latency."""
        return self.seconds * TIMING_SHARE if self.whole else self.seconds
