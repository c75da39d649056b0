"""What the numbers of a cost session say of each other: one that cannot be true is refused when a board is read."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prt_bench.plausible import (
    Problem,
    flop_problems,
    latency_problems,
    parameter_problems,
    ratio_problems,
    refusal,
    sign_problems,
    size_problems,
    time_problems,
    zero_problems,
)
from prt_bench.session_records import CostSession, TrainingRow

__all__ = ["refuse_impossible_session"]


def refuse_impossible_session(session: CostSession, path: Path) -> None:
    """Raise RequestError, with the file and the dotted path, where a session contradicts itself."""
    for where, what in _problems(session):
        raise refusal(path, where, what)


def _problems(session: CostSession) -> Iterator[Problem]:
    yield from size_problems(session)
    yield from time_problems(session.started, session.finished)
    for name, entry in session.compositions.items():
        where = f"compositions.{name}"
        yield from sign_problems(entry.model_dump(include={"flops", "params_count", "memory", "latency"}), where)
        yield from flop_problems(entry.flops, session.shape, f"{where}.flops")
        yield from parameter_problems(entry.params_count, entry.flops, f"{where}.params_count")
        for index, row in enumerate(entry.latency):
            yield from latency_problems(row, f"{where}.latency.{index}")
    for size, ratio in session.noise_floor.items():
        yield from zero_problems(ratio, f"noise_floor.{size}")
    for size, interval in session.noise_interval.items():
        yield from ratio_problems(interval, f"noise_interval.{size}")
    yield from zero_problems(session.max_seconds, "max_seconds")
    yield from zero_problems(session.target_flops, "target_flops")
    yield from zero_problems(session.flops_per_second, "flops_per_second")
    for index, training in enumerate(session.training):
        yield from _training(training, f"training.{index}")


def _training(row: TrainingRow, where: str) -> Iterator[Problem]:
    yield from sign_problems(row.model_dump(), where)
    for name in ("batch_size", "step_ms"):
        yield from zero_problems(getattr(row, name), f"{where}.{name}")
    if row.ratio is not None:
        yield from ratio_problems(row.ratio, f"{where}.ratio")
