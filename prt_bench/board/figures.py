"""The charts of the site, drawn all at once and found by what they show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from markupsafe import Markup

from prt_bench.board.field_chart import FieldPoint, field_chart
from prt_bench.board.pictures import Pictures
from prt_bench.board.scatter import Chart
from prt_bench.board.summaries import Group
from prt_bench.board.table import Row
from prt_bench.board.table_chart import accuracy_flops_chart, accuracy_latency_chart
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
        asked = [(id(group), "field", _field(group, order)) for group in groups]
        asked += [(id(view), f"{view.id}-{name}", chart) for view in views for name, chart in _of_table(view, order)]
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
    count = sum(not table.tuned_on for table in group.tables)
    return field_chart(points, group.title, [f"mean over {count} table{'s' if count != 1 else ''}"], order)


def _of_table(view: TableView, order: Sequence[str]) -> Iterator[tuple[str, Chart | None]]:
    yield "flops", accuracy_flops_chart(view.table, order)
    for number, hardware in enumerate(view.table.hardware, start=1):
        latency = partial(_latency, view, hardware)
        yield f"time-{number}", accuracy_latency_chart(view.table, order, hardware, latency)


def _latency(view: TableView, hardware: str, row: Row) -> LatencyRow | None:
    shown = next(shown for shown in view.rows if shown.row is row)
    return shown.latencies.get(hardware)
