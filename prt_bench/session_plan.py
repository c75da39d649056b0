"""How a cost session spends its time."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SessionPlan"]

TIMING_SHARE, TRAINING_SHARE = 0.5, 0.25


@dataclass(frozen=True)
class SessionPlan:
    """What a session measures, and in how many seconds."""

    batch_sizes: tuple[int, ...]
    seconds: float
    """In all; loading comes on top."""
    whole: bool = False
    """With training and peak memory, not latency alone."""
    again: str = ""
    """Tells a session apart from others of the very same things, which are not measured twice."""

    @property
    def timing_seconds(self) -> float:
        """For latency."""
        return self.seconds * TIMING_SHARE if self.whole else self.seconds

    @property
    def training_seconds(self) -> float:
        """For steps of training."""
        return self.seconds * TRAINING_SHARE if self.whole else 0.0

    @property
    def peaks(self) -> bool:
        """Whether peak memory is measured, in the time that is left."""
        return self.whole
