"""Rows and tables made by hand, with no files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from prt_bench.board.table import BEYOND, Row, Table
from prt_bench.board.verdicts import Measured, verdicts
from prt_bench.records import CostTerm, Flops, LatencyRow, Memory, PairNames, ParameterCount, PerQuery

N = 200
Right = int | Sequence[float] | np.ndarray[Any, Any]


def scores(right: Right, n: int = N) -> np.ndarray[Any, Any]:
    """(n,): the first `right` items are answered rightly; or the scores themselves."""
    return (np.arange(n) < right).astype(float) if isinstance(right, int) else np.asarray(right, dtype=float)


def measured(*by_seed: Right, stands_for: str = "", strengths: str = "constants", **facts: Any) -> Measured:
    """A row's answers, one argument per seed, from seed `first` on."""
    first, items = facts.pop("first", 0), facts.pop("items", None)
    made = {seed: scores(right) for seed, right in enumerate(by_seed, start=first)}
    names = items or [f"test/{index}" for index in range(len(made[first]))]
    return Measured(names, made, facts.pop("given", None), stands_for, strengths, **facts)


def query(total: int | None = 4_000, latency: bool = True) -> PerQuery:
    """What a query costs."""
    timed = LatencyRow(session="s", batch_size=1, p50_ms=3.25, p90_ms=None, ratio_to_target=(1.4, 1.5, 1.6), valid=True)
    return PerQuery(
        unit="image",
        shape={},
        flops=Flops(total=total, by_member={}, calls={}, rule=0, rule_elementwise=0),
        params=ParameterCount(total=1, by_member={}),
        memory=Memory(weights=1),
        latency=[timed] if latency else None,
    )


def table(
    rows: Mapping[str, Measured], best_floor: str | None = None, *, pair: str = "old:new", task: str = "digits",
    version: str = "1", track: str = "paper", tuned_on: str = "", embedded: bool = True, **by_row: dict[str, Any],
) -> Table:  # fmt: skip
    """A table of these rows; a key is `label` or `label/anything`. `by_row` changes facts of rows, by label."""
    told = verdicts(rows, best_floor)
    made = []
    for key, mine in rows.items():
        label = key.split("/")[0]
        values: dict[str, Any] = {
            "label": label, "title": label.title(), "role": "floor" if mine.is_floor else "method", "note": "",
            "seeds": sorted(mine.by_seed), "strengths": mine.strengths, "measured": mine, "verdicts": told[key],
            "quality": dict.fromkeys(BEYOND), "per_query": query(), "once": paid(), "per_upgrade": paid(),
            "finished": "2026-01-01T00:00:00Z", "is_best_floor": key == best_floor, "paths": [Path("x.json")],
        }  # fmt: skip
        made.append(Row(**{**values, **by_row.get(label, {}), **by_row.get(key, {})}))
    source, target = pair.split(":")
    n = len(next(iter(rows.values())).items)
    return Table(
        PairNames(source=source, target=target), task, version, "top1", n, "d" * 64, track, "embedded", embedded,
        ["h"], made, best_floor, None, tuned_on,
    )  # fmt: skip


def paid(flops: int | None = 0, seconds: float | None = 0.0) -> CostTerm:
    """One verb's cost."""
    return CostTerm(train_flops=flops, seconds=seconds, examples=9 if flops is None else 0)
