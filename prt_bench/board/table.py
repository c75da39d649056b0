"""Records → tables: one per pair × task, one row per method, with paired differences. A pure function."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prt_bench.errors import RequestError
from prt_bench.files import digest
from prt_bench.records import CostTerm, LatencyRow, PairNames, PerQuery, Record, read_record
from prt_bench.stats import Difference, bootstrap_interval, paired_difference

__all__ = ["ROLE_ORDER", "Filed", "Row", "Table", "find_records", "tables"]

ROLE_ORDER = {"floor": 0, "method": 1, "reference": 2}
HEADLINE_BATCH, HEADLINE_PLACEMENT = 1, "one after another"


@dataclass(frozen=True)
class Filed:
    """A record and the file that holds it."""

    record: Record
    path: Path


@dataclass
class Row:
    """One method on one pair and task, over its seeds. Scores and differences are fractions."""

    label: str
    title: str
    role: str
    note: str
    """Why a row of the same label stands beside this one; empty where there is none."""
    seeds: list[int]
    score: float
    score_ci95: tuple[float, float]
    per_query: PerQuery
    once: CostTerm
    per_upgrade: CostTerm
    difference: Difference | None = None
    """To the best floor, on the same items and seeds: (low, difference, high)."""
    difference_absent: str | None = None
    is_best_floor: bool = False
    paths: list[Path] = field(default_factory=list)

    @property
    def gflops(self) -> float | None:
        """GFLOPs per query."""
        total = self.per_query.flops.total
        return None if total is None else total / 1e9

    @property
    def latency(self) -> LatencyRow | None:
        """The row of the headline batch size, 1, of members run one after another: placements share no column."""
        for row in self.per_query.latency or ():
            if (row.batch_size, row.placement) == (HEADLINE_BATCH, HEADLINE_PLACEMENT):
                return row
        return None


@dataclass
class Table:
    """All rows that may be compared: the same pair, task version, data, split, track and recipe."""

    pair: PairNames
    task: str
    version: str
    primary: str
    n: int
    data_sha256: str
    track: str
    recipe: str
    embedded: bool
    hardware: list[str]
    rows: list[Row]
    best_floor: str | None = None
    contamination: str = ""
    """Why the test is in-domain for what was trained on, where it is."""


def find_records(out: Path) -> list[Filed]:
    """All records of a leaderboard folder, ordered by path. RequestError names a file that is none."""
    results = out / "results"
    if not results.is_dir():
        raise RequestError(f"--out {out}: holds no results yet; `prt-bench run` makes some")
    return [Filed(read_record(path), path) for path in sorted(results.rglob("*.json"))]


def tables(filed: Iterable[Filed]) -> list[Table]:
    """Tables of all records that hold and are whole: records made with --limit and failed ones are in none."""
    groups: dict[str, list[Filed]] = {}
    for entry in filed:
        if entry.record.status == "ok" and not entry.record.partial:
            groups.setdefault(_table_key(entry.record), []).append(entry)
    made = [_table(group) for group in groups.values()]
    return sorted(made, key=lambda table: (str(table.pair), table.task, table.version, table.track, table.recipe))


def _table_key(record: Record) -> str:
    assert record.quality is not None
    models = [record.provenance.models[name].sha256 for name in (record.cell.pair.source, record.cell.pair.target)]
    where = [str(record.cell.pair), record.cell.task, record.cell.track, record.cell.recipe]
    return digest([*where, record.provenance.task.model_dump(), record.quality.primary, models])


def _table(group: Sequence[Filed]) -> Table:
    first = group[0].record
    assert first.quality is not None
    by_row: dict[str, list[Filed]] = {}
    seen: Counter[str] = Counter()
    for entry in sorted(group, key=lambda entry: entry.record.provenance.finished, reverse=True):
        record = entry.record
        facts = [record.cell.method, record.cell.params, record.cell.recipe, record.provenance.method_source_sha256]
        # The same seed twice is an older state of the harness: a row of its own, so that nothing vanishes.
        seen[digest([*facts, record.cell.seed])] += 1
        by_row.setdefault(digest([*facts, seen[digest([*facts, record.cell.seed])]]), []).append(entry)
    answers = {key: _answers(entries) for key, entries in by_row.items()}
    rows = {key: _row(entries, answers[key]) for key, entries in by_row.items()}
    _tell_apart(list(rows.items()))
    floors = {key: row for key, row in rows.items() if row.role == "floor"}
    best = max(floors, key=lambda key: floors[key].score) if floors else None
    for key, row in rows.items():
        row.is_best_floor = key == best
        row.difference, row.difference_absent = _difference(answers, key, best)
    return Table(
        pair=first.cell.pair,
        task=first.cell.task,
        version=first.provenance.task.version,
        primary=first.quality.primary,
        n=first.quality.metrics[first.quality.primary].n,
        data_sha256=first.provenance.task.data_sha256,
        track=first.cell.track,
        recipe=first.cell.recipe_name,
        embedded=any(model.embedded for model in first.provenance.models.values()),
        contamination=first.provenance.task.contamination,
        hardware=sorted({entry.record.environment.hardware for entry in group}),
        rows=sorted(rows.values(), key=lambda row: (ROLE_ORDER[row.role], row.score)),
        best_floor=floors[best].title if best else None,
    )


@dataclass(frozen=True)
class _Answers:
    """Per seed, what each item adds to the score: its mean is the score."""

    items: list[str]
    by_seed: dict[int, NDArray[np.float64]]


def _answers(entries: Sequence[Filed]) -> _Answers:
    items: list[str] = []
    by_seed: dict[int, NDArray[np.float64]] = {}
    for entry in entries:
        quality = entry.record.quality
        assert quality is not None
        path = entry.path.parent / quality.predictions
        try:
            with path.open(encoding="utf-8", newline="") as file:
                read = list(csv.DictReader(file))
            ids = [row["id"] for row in read]
            # Texts have a score of their own; of images it follows from the label.
            labels = np.array([int(row.get("label", 0)) for row in read])
            correct = np.array([_score(row) for row in read], dtype=np.float64)
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise RequestError(f"{path}: not a predictions file ({error}); its record is {entry.path}") from None
        n = quality.metrics[quality.primary].n
        if len(read) != n:
            raise RequestError(f"{path}: holds {len(read)} answers, its record {entry.path} says {n}")
        if by_seed and ids != items:
            raise RequestError(f"{path}: holds other test items than the same method's other seeds")
        items = ids
        if quality.primary == "mean_per_class":
            counts = np.bincount(labels)
            correct = correct * len(labels) / (np.count_nonzero(counts) * counts[labels])
        by_seed[entry.record.cell.seed] = correct
    return _Answers(items, by_seed)


def _score(row: Mapping[str, str]) -> float:
    return float(row["score"]) if "score" in row else float(row["prediction"] == row["label"])


def _row(entries: Sequence[Filed], answers: _Answers) -> Row:
    newest = max(entries, key=lambda entry: entry.record.provenance.finished).record
    assert newest.cost is not None
    assert newest.quality is not None
    scores = np.stack(list(answers.by_seed.values()))
    interval = newest.quality.metrics[newest.quality.primary].ci95
    if len(scores) > 1 or interval is None:
        interval = bootstrap_interval(scores.mean(axis=0))
    value = float(scores.mean())
    changed = ",".join(f"{name}={setting}" for name, setting in newest.cell.params.items())
    return Row(
        label=newest.cell.method,
        title=newest.cell.title or newest.cell.method,
        role=newest.cell.role,
        note=changed,
        seeds=sorted(answers.by_seed),
        score=value,
        score_ci95=(min(interval[0], value), max(interval[1], value)),
        per_query=newest.cost.per_query,
        once=_paid(entries, "once"),
        per_upgrade=_paid(entries, "per_upgrade"),
        paths=[entry.path for entry in entries],
    )


def _paid(entries: Sequence[Filed], verb: str) -> CostTerm:
    """The term of the first seed: what one tuning costs."""
    cost = min(entries, key=lambda entry: entry.record.cell.seed).record.cost
    assert cost is not None
    term: CostTerm = getattr(cost, verb)
    return term


def _tell_apart(rows: Sequence[tuple[str, Row]]) -> None:
    """Rows of one method keep a note on what tells them apart; a row that stands alone needs none."""
    notes = Counter((row.label, row.note) for _, row in rows)
    labels = Counter(row.label for _, row in rows)
    for _, row in rows:
        if labels[row.label] == 1:
            row.note = ""
        elif notes[row.label, row.note] > 1:
            row.note = ", ".join(filter(None, [row.note, f"record {row.paths[0].stem[:8]}"]))


def _difference(answers: dict[str, _Answers], key: str, best: str | None) -> tuple[Difference | None, str | None]:
    if best is None:
        return None, "no floor was run on this pair and task"
    if key == best:
        return None, "this is the best floor"
    mine, floor = answers[key], answers[best]
    seeds = sorted(set(mine.by_seed) & set(floor.by_seed))
    if not seeds:
        return None, "no seed in common with the best floor"
    if mine.items != floor.items:
        return None, "the test items differ from the best floor's"
    return paired_difference([mine.by_seed[s] for s in seeds], [floor.by_seed[s] for s in seeds]), None
