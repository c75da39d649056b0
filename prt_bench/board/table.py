"""Records → tables: one per pair × task, one row per method, with paired differences. A pure function."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import numpy as np

from prt_bench.board.answers import Answers, read_answers
from prt_bench.board.verdicts import Measured, Verdicts, verdicts
from prt_bench.cards import MethodFacts, ModelCard, TaskFacts
from prt_bench.comparing import Comparison, expected_best
from prt_bench.errors import RequestError
from prt_bench.files import digest
from prt_bench.records import USUAL_CHOICE, Cost, CostTerm, LatencyRow, PairNames, PerQuery, Record

__all__ = ["BEYOND", "ROLE_ORDER", "Filed", "Row", "Table", "numbered", "tables"]

ROLE_ORDER = {"floor": 0, "method": 1, "reference": 2}
BEYOND = ("mean_per_class", "nll", "nll_calibrated", "ece")
"""Numbers of a record's quality that are shown beside the score."""
NEWER = "there is a newer record of the same cell"
HEADLINE_BATCH, HEADLINE_PLACEMENT = 1, "one after another"


@dataclass(frozen=True)
class Filed:
    """A record and the file that holds it."""

    record: Record
    path: Path
    answers: Answers | None = None
    """That it stands on, where they were read already."""

    @property
    def holds(self) -> bool:
        """Whether it is in a table: records made with --limit and failed ones are in none."""
        return self.record.status == "ok" and not self.record.partial

    @cached_property
    def table_key(self) -> str:
        """The same for records that may be compared."""
        assert self.record.quality is not None
        cell, made = self.record.cell, self.record.provenance
        models = [made.models[name].sha256 for name in (cell.pair.source, cell.pair.target)]
        where = [str(cell.pair), cell.task, cell.track, cell.recipe]
        return digest([*where, made.task.model_dump(), self.record.quality.primary, models])

    @cached_property
    def setting(self) -> str:
        """The same for what was asked of one method in one way, whatever its source was then."""
        cell = self.record.cell
        return digest([cell.method, cell.params, cell.strengths])

    @property
    def row_key(self) -> tuple[str, str]:
        """The same for the seeds of one row."""
        return self.setting, self.record.provenance.method_source_sha256

    @cached_property
    def finished(self) -> datetime:
        """When its cell was."""
        time = datetime.fromisoformat(self.record.provenance.finished)
        return time if time.tzinfo else time.replace(tzinfo=UTC)


@dataclass
class Row:
    """One method on one pair and task, over its seeds. Scores and differences are fractions."""

    label: str
    title: str
    role: str
    note: str
    """Why a row of the same label stands beside this one; empty where there is none."""
    seeds: list[int]
    strengths: str
    """Where its parameters were chosen."""
    measured: Measured
    verdicts: Verdicts
    quality: Mapping[str, float | None]
    """Beyond the score, by name: means over seeds."""
    per_query: PerQuery
    once: CostTerm
    per_upgrade: CostTerm
    finished: str
    """When the newest of its records was."""
    hardware: str = field(default="", kw_only=True)
    """Of that record: what its time was taken on."""
    curve: tuple[float, ...] = ()
    """Expected best of 1, 2, … trials, on the data that they were chosen by; mean over seeds. Empty: nothing chosen."""
    is_best_floor: bool = False
    settings: str = ""
    """What was asked of the method: rows of several tables with the same are one method's."""
    paths: list[Path] = field(default_factory=list)
    superseded: str = ""
    """Why it no longer counts; empty where it does. It stays in the table, last, and in nothing that is compared."""
    facts: MethodFacts | None = None
    """The method on paper, by its newest record; None where that was made before cards were kept."""

    @property
    def score(self) -> float:
        return self.verdicts.score.value

    @property
    def score_ci95(self) -> tuple[float, float]:
        """Over items and, where there are several, seeds."""
        return self.verdicts.score.interval

    @property
    def difference(self) -> Comparison | None:
        """To the best floor, on the same items and seeds."""
        found = self.verdicts.to_floor
        return None if isinstance(found, str) else found

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
    """By role and rising score; those that are superseded last."""
    best_floor: str | None = None
    detectable: float | None = None
    """The median of what the comparisons with the best floor could have seen, 4 times of 5."""
    tuned_on: str = ""
    """Another task, where this one tells what tuning on that makes a model forget."""
    contamination: str = ""
    """Why the test is in-domain for what was trained on, where it is."""
    models: Mapping[str, ModelCard] = field(default_factory=dict)
    """Alias → source and target on paper; empty where no record has cards."""
    facts: TaskFacts | None = None
    """The task on paper."""


def tables(filed: Iterable[Filed]) -> list[Table]:
    """Tables of all records that hold and are whole: records made with --limit and failed ones are in none.

    Raises:
        RequestError: answers that were not read yet cannot be; those of `read_folder` are.
    """
    groups: dict[str, list[Filed]] = defaultdict(list)
    for entry in filed:
        if entry.holds:
            groups[entry.table_key].append(entry)
    made = [_table(group) for group in groups.values()]
    return sorted(made, key=lambda table: (str(table.pair), table.task, table.version, table.track, table.recipe))


def _table(group: Sequence[Filed]) -> Table:
    first = group[0].record
    assert first.quality is not None
    cards = next((entry.record.cards for entry in group if entry.record.cards), None)
    by_row = _by_row(group)
    old = _superseded(by_row)
    measured: dict[str, Measured] = {}
    for key, entries in by_row.items():
        known = next(iter(measured.values())).items if measured else []
        measured[key] = _measured(entries, known, key in old)
    best = _best_floor({key: row for key, row in measured.items() if row.is_floor and not row.is_superseded})
    told = verdicts(measured, best)
    rows = {key: _row(entries, measured[key], told[key], key == best) for key, entries in by_row.items()}
    for key in old:
        rows[key].superseded = NEWER
        rows[key].note = _by_record(rows[key])
    _tell_apart([row for key, row in rows.items() if key not in old])
    compared = [row.difference.detectable for key, row in rows.items() if row.difference and key not in old]
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
        rows=sorted(rows.values(), key=lambda row: (bool(row.superseded), ROLE_ORDER[row.role], row.score)),
        best_floor=rows[best].title if best else None,
        detectable=float(np.median(compared)) if compared else None,
        tuned_on=first.cell.tuned_on,
        models=cards.models if cards else {},
        facts=cards.task if cards else None,
    )


def _by_row(group: Sequence[Filed]) -> dict[str, list[Filed]]:
    """Records of one row each. The same seed twice is an older state: a row of its own, so that nothing vanishes."""
    found: dict[str, list[Filed]] = defaultdict(list)
    seen: Counter[tuple[tuple[str, str], int]] = Counter()
    by_path = sorted(group, key=lambda entry: str(entry.path))
    for entry in sorted(by_path, key=lambda entry: entry.finished, reverse=True):
        seen[entry.row_key, entry.record.cell.seed] += 1
        found[f"{entry.row_key} {seen[entry.row_key, entry.record.cell.seed]}"].append(entry)
    return found


def _superseded(by_row: Mapping[str, Sequence[Filed]]) -> set[str]:
    """Rows of which there is one with newer records, of the same method, parameters and way to choose them."""
    newest = {key: max(entry.finished for entry in entries) for key, entries in by_row.items()}
    settings = {key: entries[0].setting for key, entries in by_row.items()}
    latest: dict[str, datetime] = {}
    for key, setting in settings.items():
        latest[setting] = max(newest[key], latest.get(setting, newest[key]))
    return {key for key, setting in settings.items() if newest[key] < latest[setting]}


def _best_floor(floors: Mapping[str, Measured]) -> str | None:
    means = {key: float(np.mean([*row.by_seed.values()])) for key, row in floors.items()}
    return max(means, key=lambda key: means[key], default=None)


def _measured(entries: Sequence[Filed], known: list[str], is_superseded: bool) -> Measured:
    """Answers of one row; items that are the `known` ones are kept once: there are many, and many comparisons."""
    found = {entry.record.cell.seed: entry.answers or read_answers(entry.record, entry.path) for entry in entries}
    first = next(iter(found.values()))
    for answers in found.values():
        if answers.items is not first.items and answers.items != first.items:
            raise RequestError(f"{answers.file}: holds other test items than the same method's other seeds")
    given = {seed: answers.given for seed, answers in found.items() if answers.given is not None}
    cell = entries[0].record.cell
    by_seed = {seed: answers.values for seed, answers in found.items()}
    items = known if known == first.items else first.items
    is_floor = cell.role == "floor"
    return Measured(items, by_seed, given or None, cell.stands_for, cell.strengths, is_floor, is_superseded)


def _row(entries: Sequence[Filed], measured: Measured, told: Verdicts, is_best_floor: bool) -> Row:
    newest = max(entries, key=lambda entry: entry.finished).record
    assert newest.cost is not None
    params = ",".join(f"{name}={setting}" for name, setting in newest.cell.params.items())
    chosen_on = newest.cell.strengths
    return Row(
        label=newest.cell.method,
        title=newest.cell.title or newest.cell.method,
        role=newest.cell.role,
        note=params if chosen_on == "constants" else f"chosen on the {chosen_on}'s validation data",
        seeds=sorted(measured.by_seed),
        strengths=chosen_on,
        settings=params + ("" if chosen_on in ("constants", USUAL_CHOICE[newest.cell.track]) else f" on {chosen_on}"),
        measured=measured,
        verdicts=told,
        quality={name: _mean(entries, name) for name in BEYOND},
        per_query=_queried(entries),
        once=_paid(entries, "once"),
        per_upgrade=_paid(entries, "per_upgrade"),
        finished=newest.provenance.finished,
        hardware=newest.environment.hardware,
        curve=_curve(entries),
        is_best_floor=is_best_floor,
        paths=[entry.path for entry in entries],
        facts=newest.cards.methods.get(newest.cell.method) if newest.cards else None,
    )


def _curve(entries: Sequence[Filed]) -> tuple[float, ...]:
    """A trial that failed is as good as one that gets nothing right."""
    values = []
    for entry in entries:
        assert entry.record.quality is not None
        values.append([trial.value or 0.0 for trial in entry.record.quality.tuning])
    if not values[0] or len({len(tried) for tried in values}) > 1:
        return ()
    return tuple(float(best) for best in np.mean([expected_best(tried) for tried in values], axis=0))


def _mean(entries: Sequence[Filed], name: str) -> float | None:
    """Of a number of the records' quality; None where a record has none."""
    values = []
    for entry in entries:
        quality = entry.record.quality
        assert quality is not None
        metric = quality.metrics.get(name)
        values.append(metric.value if metric else getattr(quality, name, None))
    known = [float(value) for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else None


def _paid(entries: Sequence[Filed], verb: str) -> CostTerm:
    """What one tuning costs: the term of the first seed, with FLOPs and seconds as means over all."""
    terms = [getattr(_cost(entry), verb) for entry in sorted(entries, key=lambda entry: entry.record.cell.seed)]
    flops, seconds = _over([term.train_flops for term in terms]), _over([term.seconds for term in terms])
    first: CostTerm = terms[0]
    return first.model_copy(update={"train_flops": None if flops is None else round(flops), "seconds": seconds})


def _queried(entries: Sequence[Filed]) -> PerQuery:
    """What a query costs: by the newest record, with FLOPs as the mean over seeds, whose prompts may differ."""
    newest = _cost(max(entries, key=lambda entry: entry.finished)).per_query
    total = _over([_cost(entry).per_query.flops.total for entry in entries])
    flops = newest.flops.model_copy(update={"total": None if total is None else round(total)})
    return newest.model_copy(update={"flops": flops})


def _cost(entry: Filed) -> Cost:
    assert entry.record.cost is not None
    return entry.record.cost


def _over(values: Sequence[float | None]) -> float | None:
    """The mean, where all are known."""
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if len(known) == len(values) else None


def numbered(names: Sequence[str]) -> list[str]:
    """Names, with a number where several are alike, so that nothing stands for another thing."""
    alike, met = Counter(names), Counter[str]()
    told = []
    for name in names:
        met[name] += 1
        told.append(name if alike[name] == 1 else f"{name} ({met[name]} of {alike[name]})")
    return told


def _tell_apart(rows: Sequence[Row]) -> None:
    """Rows of one method keep a note on what tells them apart; a row that stands alone needs none."""
    notes = Counter((row.label, row.note) for row in rows)
    labels = Counter(row.label for row in rows)
    for row in rows:
        if labels[row.label] == 1:
            row.note = ""
        elif notes[row.label, row.note] > 1:
            row.note = _by_record(row)


def _by_record(row: Row) -> str:
    return ", ".join(filter(None, [row.note, f"record {row.paths[0].stem[:8]}"]))
