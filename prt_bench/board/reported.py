"""Costs that others printed, held against arithmetic: could the device have done that much work in that time?

The printed values lie in `reported.yaml`. What a network takes per query is no value of theirs: it is an argument,
FLOPs of a forward pass (1 multiply-add = 2) or a number of parameters, so that our meter says it. A mark says what
arithmetic says and no more, and only where it holds at the slow end of what the printed ± allows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from prt_bench.records import Strict
from prt_bench.yaml_files import load_yaml

__all__ = [
    "Column",
    "Device",
    "Judged",
    "Line",
    "Reported",
    "Row",
    "Source",
    "Table",
    "Value",
    "implied_speed",
    "judged",
    "load_reported",
    "notes",
    "text_decoding_rows",
    "vision_inference_rows",
    "vision_training_rows",
]

BUILTIN = Path(__file__).with_name("reported.yaml")
TOO_FAST = "more than an {device} can do"
NOT_IN_TURN = "not one after another"
SPREAD = " ± "


class Source(Strict):
    """Where the values were printed."""

    title: str
    authors: str
    venue: str
    url: str


class Device(Strict):
    """The peak of a device by its maker's data sheet, per second."""

    name: str
    variant: str
    flops: float = Field(gt=0)
    bytes: float = Field(gt=0)
    source: str
    url: str


class Value(Strict):
    """One printed cell."""

    time: Annotated[str, Field(pattern=r"^\d+\.\d+ ± \d*\.\d+$")]
    """Milliseconds as printed."""
    memory: float | None = Field(default=None, gt=0)
    """GB."""
    relative_speed: float | None = Field(default=None, gt=0)
    """Printed beside the time: the speed relative to the first column's."""

    @property
    def milliseconds(self) -> float:
        """The mean."""
        return float(self.time.split(SPREAD)[0])

    @property
    def spread(self) -> float:
        """What is printed behind ±, in ms; the paper's own measure."""
        return float(self.time.split(SPREAD)[1])

    @property
    def decimals(self) -> int:
        """Digits after the point, as printed."""
        return len(self.time.split(SPREAD)[0].partition(".")[2])


class Column(Strict):
    """One printed column: a method, and how many forward passes of which network it takes per query."""

    method: str
    heading: str
    passes: dict[Literal["source", "target"], float] = Field(min_length=1)


class Row(Strict):
    """One printed row: the networks by their cards, and a value per column."""

    title: str
    source: str
    target: str | None = None
    values: dict[str, Value]


class Table(Strict):
    """One printed table. Its first column is the reference of all ratios."""

    number: int
    title: str
    yardstick: Literal["flops", "bytes"]
    """What bounds the time: arithmetic, or the reading of weights."""
    queries: int = Field(default=1, ge=1)
    """Images per batch."""
    bytes_per_parameter: int | None = Field(default=None, ge=1)
    stated: tuple[str, ...] = ()
    not_stated: tuple[str, ...]
    assumptions: tuple[str, ...]
    columns: tuple[Column, ...] = Field(min_length=1)
    rows: tuple[Row, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _whole(self) -> Table:
        if (self.bytes_per_parameter is None) != (self.yardstick == "flops"):
            raise ValueError("bytes_per_parameter belongs to the yardstick `bytes`, and to no other")
        methods = {column.method for column in self.columns}
        roles = {role for column in self.columns for role in column.passes}
        for row in self.rows:
            if set(row.values) != methods:
                raise ValueError(f"row {row.title!r} needs a value for each of {', '.join(sorted(methods))}")
            if row.target is None and "target" in roles:
                raise ValueError(f"row {row.title!r} needs a target, which a column runs")
        return self


class ScoreRow(Strict):
    """Printed scores of one pair, by method, in per cent."""

    source: str
    target: str
    values: dict[str, Annotated[str, Field(pattern=r"^\d+\.\d+( ± \d*\.\d+)?$")]] = Field(min_length=1)


class ScoreTable(Strict):
    """One printed table of scores, on what is nearest to it among our tasks."""

    number: int
    task: str
    seeds: int | None = Field(default=None, ge=1)
    """Of training; None where the paper does not say."""
    rows: tuple[ScoreRow, ...] = Field(min_length=1)


class Reported(Strict):
    """The paper's tables of costs and scores, and the device that costs are held against."""

    source: Source
    device: Device
    vision_training: Table
    vision_inference: Table
    text_decoding: Table
    scores: tuple[ScoreTable, ...] = ()


@dataclass(frozen=True)
class Judged:
    """One printed value beside its yardstick. Speeds are FLOP/s or bytes/s, by the table's yardstick."""

    row: Row
    column: Column
    value: Value
    speed: float
    """That the time implies for all that runs."""
    added_milliseconds: float | None
    """More than the reference; None for the reference, as what follows."""
    added_speed: float | None
    """That `added_milliseconds` imply for what runs beside the reference, all one after another."""
    time_ratio: float
    """To the reference, as all ratios."""
    work_ratio: float
    memory_ratio: float | None
    mark: str
    """What arithmetic has against it; empty where nothing."""
    arithmetic: str
    """The same in one sentence, marked or not."""

    @property
    def plausible(self) -> bool:
        """Whether the device could have done it."""
        return not self.mark


@dataclass(frozen=True)
class Line:
    """A judged value, ready to print."""

    models: str
    method: str
    time: str
    memory: str
    time_ratio: str
    work_ratio: str
    memory_ratio: str
    more_time: str
    """Than the reference, in per cent."""
    more_memory: str
    speed: str
    mark: str
    arithmetic: str


def load_reported(path: Path = BUILTIN) -> Reported:
    """The tables; RequestError names file, line and key where they do not hold to the schema."""
    return load_yaml(path, Reported)


def implied_speed(per_query: float, queries: float, milliseconds: float) -> float:
    """FLOP/s from FLOPs per query and a batch's time; bytes/s from a number of parameters and the bytes of each.

    Infinite where work takes no time at all.
    """
    return per_query * queries / (milliseconds / 1000) if milliseconds > 0 else math.inf


def judged(table: Table, row: Row, device: Device, amount_of: Callable[[str], float]) -> tuple[Judged, ...]:
    """Every column of a row; `amount_of` is told an alias: FLOPs of a forward pass, or a number of parameters."""
    amounts = {"source": amount_of(row.source), "target": amount_of(row.target) if row.target else 0.0}
    reference = table.columns[0]
    base = row.values[reference.method]
    base_work = _work(reference, amounts)
    units = table.bytes_per_parameter or table.queries
    limit = device.flops if table.yardstick == "flops" else device.bytes
    found = []
    for column in table.columns:
        value = row.values[column.method]
        work = _work(column, amounts)
        added = None if column == reference else value.milliseconds - base.milliseconds
        added_work = work - base_work
        speed = implied_speed(work, units, value.milliseconds)
        taken = f"{value.milliseconds:.{value.decimals}f} ms"
        sentence = f"{_terms(table, work)} in {taken} would be {_speed(table, speed)}"
        slow = implied_speed(work, units, value.milliseconds + value.spread)
        mark = TOO_FAST.format(device=device.name) if slow > limit else ""
        added_speed = None
        if added is not None:
            added_speed = implied_speed(added_work, units, added)
            slow = implied_speed(added_work, units, added + value.spread + base.spread)
            if slow > limit and not mark:
                mark = NOT_IN_TURN
            sentence += (
                f", and {_terms(table, added_work)} in {added:.{value.decimals}f} ms more than {reference.heading} "
                + _speed(table, added_speed)
            )
        memory = value.memory / base.memory if value.memory and base.memory else None
        found.append(
            Judged(
                row, column, value, speed, added, added_speed, value.milliseconds / base.milliseconds,
                work / base_work, memory, mark, f"{sentence}; {_peak(table, device)}",
            )
        )  # fmt: skip
    return tuple(found)


def notes(table: Table, reported: Reported) -> tuple[str, ...]:
    """What stands below a table: its source, what it does not state, what is assumed and how it is marked."""
    source, device = reported.source, reported.device
    stated = f"stated: {', '.join(table.stated)}; " if table.stated else ""
    return (
        f"{source.authors}: {source.title}, {source.venue}, {source.url}, table {table.number}",
        f"{stated}not stated: {', '.join(table.not_stated)}",
        *table.assumptions,
        f"{_peak(table, device)} ({device.name} {device.variant}, {device.source}, {device.url})",
        f"marked only where it holds at the slow end of the printed ±: `{TOO_FAST.format(device=device.name)}`, or "
        f"`{NOT_IN_TURN}` where what runs beside {table.columns[0].heading} adds too little time",
    )


def vision_training_rows(flops_of: Callable[[str], float], reported: Reported | None = None) -> list[Line]:
    """The paper's training times; `flops_of` gives FLOPs of an alias' forward pass per image."""
    found = reported or load_reported()
    return _lines(found.vision_training, found.device, flops_of)


def vision_inference_rows(flops_of: Callable[[str], float], reported: Reported | None = None) -> list[Line]:
    """The paper's inference times; `flops_of` gives FLOPs of an alias' forward pass per image."""
    found = reported or load_reported()
    return _lines(found.vision_inference, found.device, flops_of)


def text_decoding_rows(parameters_of: Callable[[str], float], reported: Reported | None = None) -> list[Line]:
    """The paper's times per token; `parameters_of` gives how many parameters an alias has."""
    found = reported or load_reported()
    return _lines(found.text_decoding, found.device, parameters_of)


def _lines(table: Table, device: Device, amount_of: Callable[[str], float]) -> list[Line]:
    return [_line(table, entry) for row in table.rows for entry in judged(table, row, device, amount_of)]


def _line(table: Table, entry: Judged) -> Line:
    compared = entry.added_speed is not None
    return Line(
        models=entry.row.title,
        method=entry.column.heading,
        time=f"{entry.value.time} ms",
        memory="" if entry.value.memory is None else f"{entry.value.memory:.2f} GB",
        time_ratio=f"{entry.time_ratio:.2f}",
        work_ratio=f"{entry.work_ratio:.2f}",
        memory_ratio="" if entry.memory_ratio is None else f"{entry.memory_ratio:.2f}",
        more_time=_more(entry.time_ratio) if compared else "",
        more_memory=_more(entry.memory_ratio) if compared and entry.memory_ratio is not None else "",
        speed=_speed(table, entry.speed),
        mark=entry.mark,
        arithmetic=entry.arithmetic,
    )


def _work(column: Column, amounts: dict[str, float]) -> float:
    return sum(passes * amounts[role] for role, passes in column.passes.items())


def _more(ratio: float) -> str:
    return f"{(ratio - 1) * 100:+.0f} %"


def _terms(table: Table, work: float) -> str:
    if table.yardstick == "flops":
        return f"{table.queries} images × {work / 1e9:.2f} GFLOPs"
    return f"{work / 1e9:.2f} billion parameters × {table.bytes_per_parameter} bytes"


def _speed(table: Table, speed: float) -> str:
    return f"{speed / 1e12:,.0f} TFLOP/s" if table.yardstick == "flops" else f"{speed / 1e12:.2f} TB/s"


def _peak(table: Table, device: Device) -> str:
    if table.yardstick == "flops":
        return f"an {device.name}'s bf16 peak is {device.flops / 1e12:,.0f}"
    return f"an {device.name}'s memory gives {device.bytes / 1e12:.2f}"
