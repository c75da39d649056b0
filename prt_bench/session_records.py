"""The schema of cost sessions: what is written to disk and what others' scripts read.

Field names are fixed; they are extended, never renamed. A value that was not measured is null, and `absent` or the
`reasons` beside it say why.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from prt_bench.cards import Cards
from prt_bench.records import (
    FLOP_CONVENTION,
    SCHEMA_VERSION,
    Environment,
    Flops,
    LatencyRow,
    Memory,
    PairNames,
    ParameterCount,
    Params,
    Strict,
    read_as,
)  # fmt: skip

__all__ = ["PEAK_FIELDS", "CostSession", "SessionEntry", "TrainingRow", "read_session"]


PEAK_FIELDS = ("peak", "peak_batch_size", "before")
"""Of `Memory`: what needs a process of its own per composition."""


class SessionEntry(Strict):
    """One composition of a session."""

    method: str
    params: Params
    method_source_sha256: str
    members: dict[str, str]
    """Member → model alias; a tuned member carries `+tuned`."""
    flops: Flops
    params_count: ParameterCount
    memory: Memory
    latency: list[LatencyRow]
    timed_as: str = ""
    """Whose times these are, where another composition does the same work."""
    preprocessings: int = 1
    """How many kinds of preprocessing its members need. The first, which every method has, is not in the times."""


class TrainingRow(Strict):
    """Steps of one training that methods ask for, timed against tuning the source alone."""

    model: str
    frozen: list[str]
    """Networks in the loss that do not learn."""
    frozen_outputs: Literal["none", "live", "computed once"]
    """Frozen networks answer at every step, or their answers to fixed inputs are at hand."""
    methods: list[str]
    batch_size: int | None
    flops: int | None
    """Of one query, forward and backward, with frozen networks where they are live."""
    step_ms: float | None
    ratio: tuple[float, float, float] | None
    """Time to that of tuning the source alone, where methods ask for that: (low, ratio, high)."""
    peak_memory_bytes: int | None
    """What training adds: a copy of the network, gradients, the optimiser's state and activations."""
    rounds: int = 0
    reasons: list[str] = Field(default_factory=list)
    """Why values are null, or the times not valid."""


class CostSession(Strict):
    """One interleaved cost measurement: a pair's compositions × shapes × this hardware. Belongs to no seed."""

    schema_version: int = SCHEMA_VERSION
    id: str
    pair: PairNames
    unit: str
    shape: dict[str, Any]
    weights: Literal["real", "random"]
    placement: str
    order: str
    excludes: list[str]
    flop_convention: str = FLOP_CONVENTION
    compositions: dict[str, SessionEntry]
    noise_floor: dict[str, float]
    """Batch size → ratio of the median of the target to that of the same target measured as another
    composition of the same session: differences below |1 − ratio| are ties."""
    noise_interval: dict[str, tuple[float, float, float]] = Field(default_factory=dict)
    """Batch size → that ratio with its interval; what lies between both ends of it may be noise."""
    dtypes: list[str] = Field(default_factory=list)
    """Number formats of the networks' weights."""
    max_seconds: float | None = None
    target_flops: int | None = None
    """Of a query of the target alone."""
    flops_per_second: float | None = None
    """Of the target alone at the largest batch size that was timed; of text in reading a prompt."""
    skipped: list[str] = Field(default_factory=list)
    """Batch sizes that there was no time for."""
    training: list[TrainingRow] = Field(default_factory=list)
    energy_source: str = ""
    """The hardware's counter that energy was read from, or why there is none."""
    valid: bool
    reasons: list[str]
    environment: Environment
    packages: dict[str, str]
    started: str
    finished: str
    absent: dict[str, str] = Field(default_factory=dict)
    cards: Cards | None = None
    """What methods and models are, on paper; None in sessions of before cards were kept."""


def read_session(path: Path) -> CostSession:
    """Read one cost session; RequestError names the file and the key where it does not hold to the schema."""
    return read_as(path, CostSession)
