"""One table as pictures: scores against what a query costs, in FLOPs and in time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from prt_bench.board.drawing import prefixed
from prt_bench.board.numerals import number
from prt_bench.board.scatter import Chart, Interval, Level, Look, Point, Side, chart, looks, pareto, with_room
from prt_bench.board.table import Row, Table
from prt_bench.records import LatencyRow

__all__ = ["accuracy_flops_chart", "accuracy_latency_chart", "made_from"]

TRACKS = {"paper": "recipes as published", "equal": "equal budget"}

FLOPS = "replace(format(datum.value, '~s'), /([a-zA-Z])$/, ' $1')"
RATIO = "'×' + format(datum.value, '~g')"
PERCENT = "format(datum.value, '~g')"
FAR_BELOW = 1.5
"""A floor this many times as far below all methods as they span would press them together."""


def made_from(tables: Sequence[Table]) -> list[str]:
    """The track of these tables; and their test items, seeds, and the day of their newest record."""
    rows = [row for table in tables for row in _shown(table)]
    newest = max((row.finished[:10] for row in rows), default="")
    counts = [_counted([table.n for table in tables], "test item"), _counted([len(row.seeds) for row in rows], "seed")]
    return [
        ", ".join(dict.fromkeys(TRACKS.get(table.track, table.track) for table in tables)),
        ", ".join([*counts, *([f"newest record of {newest}"] if newest else [])]),
    ]


def _counted(numbers: Sequence[int], unit: str) -> str:
    ends = dict.fromkeys((min(numbers), max(numbers)))
    return f"{' to '.join(f'{end:,}' for end in ends)} {unit}{'' if max(numbers) == 1 else 's'}"


def accuracy_flops_chart(table: Table, order: Sequence[str] = (), apart: str = "") -> Chart | None:
    """Scores against FLOPs per query; None where no method has both.

    `order`: labels of the whole site, for looks; `apart`: what tells the table from others of its pair and task.
    """
    points, left_out = [], []
    for row, key, name in _methods(table):
        total = row.per_query.flops.total
        if total is None:
            left_out.append(f"{name}: FLOPs not counted")
        else:
            points.append(_point(row, key, name, table, float(total), {"FLOPs per query": prefixed(total or 1)}))
    across = Side("FLOPs per query", FLOPS)
    return _drawn(table, points, left_out, order, "Score against FLOPs", across, [], apart)


def accuracy_latency_chart(
    table: Table, order: Sequence[str] = (), hardware: str = "",
    latency: Callable[[Row], LatencyRow | None] | None = None, apart: str = "",
) -> Chart | None:  # fmt: skip
    """Scores against time per query, as a ratio to the target alone; None where no method has both.

    A chart is of one hardware: where the table has several, name it, with what finds a row's latency on it.
    """
    points, left_out = [], []
    hollow: dict[str, list[str]] = {}
    for row, key, name in _methods(table):
        found = latency(row) if latency else row.latency
        if found is None:
            left_out.append(f"{name}: not timed")
        elif found.ratio_to_target is None:
            left_out.append(f"{name}: timed without the target alone")
        else:
            low, ratio, high = found.ratio_to_target
            facts = {"Time": f"×{number(ratio)} [{number(low)}, {number(high)}] of the target alone"}
            if not found.valid:
                reason = "; ".join(found.reasons) or "no reason is given"
                facts["Time"] += f"; not valid: {reason}"
                hollow.setdefault(reason, []).append(name)
            point = _point(row, key, name, table, ratio, facts)
            points.append(replace(point, x_interval=(low, high), hollow=not found.valid))
    notes = [f"Hollow, timing not valid ({reason}): {', '.join(names)}." for reason, names in hollow.items()]
    where = hardware or ", ".join(table.hardware)
    across = Side("time per query, target alone = ×1", RATIO)
    return _drawn(table, points, left_out, order, f"Score against time on {where}", across, notes, apart)


def _shown(table: Table) -> list[Row]:
    return [row for row in table.rows if not row.superseded]


def _names(table: Table) -> list[tuple[Row, str]]:
    """Rows with their names, which a note tells apart where titles do not."""
    rows = _shown(table)
    titles = Counter(row.title for row in rows)
    return [(row, row.title if titles[row.title] == 1 else f"{row.title} · {row.note or row.label}") for row in rows]


def _methods(table: Table) -> list[tuple[Row, str, str]]:
    """Rows of methods with their keys and names; a label's second row has a key of its own."""
    seen: Counter[str] = Counter()
    found = []
    for row, name in _names(table):
        if row.role == "method":
            seen[row.label] += 1
            found.append((row, row.label if seen[row.label] == 1 else f"{row.label}/{seen[row.label]}", name))
    return found


def _point(row: Row, key: str, name: str, table: Table, x: float, facts: dict[str, str]) -> Point:
    low, high = (100 * end for end in row.score_ci95)
    told = {"Score": f"{100 * row.score:.1f} % [{low:.1f}, {high:.1f}]", **facts}
    told["Of"] = f"{table.n:,} items, {len(row.seeds)} seed{'' if len(row.seeds) == 1 else 's'}"
    return Point(key, name, x, 100 * row.score, (low, high), facts=told)


def _scores(table: Table) -> tuple[Interval, list[Level], list[str]]:
    """The axis of scores that all charts of a table share, the levels on it, and the floors too far below it."""
    methods = [100 * end for row in _shown(table) if row.role == "method" for end in row.score_ci95]
    levels = [
        (Level(_told(name, row), 100 * row.score, row.role == "reference" or row.is_best_floor), row)
        for row, name in _names(table)
        if row.role != "method"
    ]
    kept = [*methods, *(level.y for level, row in levels if level.strong)]
    lowest = min(kept) - FAR_BELOW * (max(kept) - min(kept))
    far = [f"{level.name} is below the picture, at {level.y:.1f} %." for level, _ in levels if level.y < lowest]
    near = [level for level, _ in levels if level.y >= lowest]
    return with_room([*kept, *(level.y for level in near)]), near, far


def _told(name: str, row: Row) -> str:
    if row.role == "reference":
        return f"{name}, reference"
    return f"{name}, best floor" if row.is_best_floor else name


def _drawn(
    table: Table, points: list[Point], left_out: list[str], order: Sequence[str], title: str, across: Side,
    notes: list[str], apart: str,
) -> Chart | None:  # fmt: skip
    if not points:
        return None
    ends, levels, far = _scores(table)
    labels = list(dict.fromkeys([*order, *sorted(row.label for row in _shown(table) if row.role == "method")]))
    look = _looks(labels, points)
    task = f"{table.task} after tuning on {table.tuned_on}" if table.tuned_on else table.task
    track, counts = made_from([table])
    subtitle = [
        "; ".join(filter(None, [f"{task}, {table.pair.source} → {table.pair.target}", track, apart])),
        counts,
        "95 % intervals; stepped line: none cheaper is better",
    ]
    front = ", ".join(point.name for point in pareto(points))
    summary = (
        f"{title}: {len(points)} method{'' if len(points) == 1 else 's'} of {table.pair} on {table.task}, with 95 % "
        f"intervals. Pareto front, from cheap to dear: {front}. The table holds the same numbers."
    )
    made = chart(points, levels, look, title, subtitle, across, Side("score, %", PERCENT, ends), summary)
    return replace(made, notes=[*far, *notes], left_out=left_out)


def _looks(labels: Sequence[str], points: Sequence[Point]) -> dict[str, Look]:
    """By label, so that a method looks the same in all charts; a label's further rows come after all."""
    return looks([*labels, *(point.key for point in points if point.key not in labels)])
