"""The charts of the site, drawn all at once and found by what they show."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from markupsafe import Markup

from prt_bench.board.field_chart import FieldPoint, field_chart
from prt_bench.board.pictures import Pictures
from prt_bench.board.scatter import Chart
from prt_bench.board.summaries import Group
from prt_bench.board.table import Row, Table
from prt_bench.board.table_chart import accuracy_flops_chart, accuracy_latency_chart, made_from
from prt_bench.board.table_view import TableView
from prt_bench.records import LatencyRow

__all__ = ["Figure", "Figures"]


@dataclass(frozen=True)
class Figure:
    """A chart that stands in a page."""

    id: str
    svg: Markup
    title: str
    notes: Sequence[str]
    left_out: Sequence[str]
    spec: dict[str, Any]


class Figures:
    """Pictures of groups and of tables. Methods look the same in all of them."""

    def __init__(self, groups: Sequence[Group], views: Sequence[TableView], pictures: Pictures) -> None:
        order = sorted({row.label for view in views for row in view.table.rows})
        apart = _apart([view.table for view in views])
        asked = [(id(group), "field", _field(group, order)) for group in groups]
        asked += [
            (id(view), f"{view.id}-{name}", chart)
            for view in views
            for name, chart in _of_table(view, order, apart[id(view.table)])
        ]
        drawn = [(key, name, chart) for key, name, chart in asked if chart is not None]
        self._found: dict[int, list[Figure]] = {}
        for (key, name, chart), picture in zip(drawn, pictures.all_svg([chart for *_, chart in drawn]), strict=True):
            # Made by our own drawing, which lets nothing through but shapes and escaped text.
            figure = Figure(name, Markup(picture), chart.title, chart.notes, chart.left_out, chart.spec)
            self._found.setdefault(key, []).append(figure)

    def of(self, shown: Group | TableView) -> list[Figure]:
        """The pictures of a group or of a table."""
        return self._found.get(id(shown), [])


def _field(group: Group, order: Sequence[str]) -> Chart | None:
    points = [
        FieldPoint(
            line.label,
            f"{line.title}{f' ({line.settings})' if line.settings else ''}",
            line.role,
            line.cost_ratio,
            line.across.mean,
            line.across.interval,
            len(line.across.tasks),
        )
        for line in group.lines
        # Means over other tables than the others' are no points of one picture.
        if not line.missing
    ]
    summed = [table for table in group.tables if not table.tuned_on]
    if not points:
        return None
    track, counts = made_from(summed)
    means = f"{track}; mean over {len(summed)} table{'s' if len(summed) != 1 else ''}"
    return field_chart(points, group.title, [means, counts], order)


def _apart(tables: Sequence[Table]) -> Mapping[int, str]:
    """What tells a table, by identity, from the others of its pair, task and track; empty where nothing need be."""
    alike: dict[tuple[str, ...], list[Table]] = {}
    for table in tables:
        alike.setdefault((str(table.pair), table.task, table.track), []).append(table)
    told = {}
    for group in alike.values():
        versions, recipes = {table.version for table in group}, {table.recipe for table in group}
        for table in group:
            facts = {f"version {table.version}": versions, f"recipe {table.recipe}": recipes}
            told[id(table)] = ", ".join(fact for fact, seen in facts.items() if len(seen) > 1)
    return told


def _of_table(view: TableView, order: Sequence[str], apart: str) -> Iterator[tuple[str, Chart | None]]:
    yield "flops", accuracy_flops_chart(view.table, order, apart)
    for number, hardware in enumerate(view.table.hardware, start=1):
        latency = partial(_latency, view, hardware)
        yield f"time-{number}", accuracy_latency_chart(view.table, order, hardware, latency, apart)


def _latency(view: TableView, hardware: str, row: Row) -> LatencyRow | None:
    shown = next(shown for shown in view.rows if shown.row is row)
    return shown.latencies.get(hardware)
