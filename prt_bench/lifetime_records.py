"""Records of a pair or a chain → the ledger of every method that was measured on all of it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from prt_bench.board.drawing import printable
from prt_bench.board.reading import Holdings
from prt_bench.board.releases import read_board
from prt_bench.board.table import ROLE_ORDER, Row, Table, tables
from prt_bench.errors import RequestError, did_you_mean
from prt_bench.lifetime import (
    Amount,
    Costs,
    Gap,
    Ledger,
    LedgerLine,
    Term,
    combined,
    exact,
    measured,
    product,
    student_t,
)
from prt_bench.records import CostTerm, LatencyRow, PairNames, Record

__all__ = ["read_ledger"]

SEED = 0
Key = tuple[str, str]
"""A method and its parameters."""


def read_ledger(
    out: Path, pairs: Sequence[PairNames], task: str, track: str, recipe: str | None, batch_size: int,
    held: Holdings | None = None,
) -> Ledger:  # fmt: skip
    """The ledger from what the board counts of a leaderboard folder: `held`, where that was read already.

    Raises:
        RequestError: task, pair, track or recipe without whole records, pairs measured on different data, no
            reference on all of them, or a release that is not as it was frozen.
    """
    found = (held or read_board(out)[0]).filed
    whole = [entry for entry in found if entry.record.status == "ok" and not entry.record.partial]
    known = {entry.record.cell.task for entry in whole}
    if task not in known:
        broken = any(entry.record.cell.task == task for entry in found)
        hint = "; its records are partial or failed" if broken else did_you_mean(task, known)
        raise RequestError(f"--task {task}: no records in {out}{hint}")
    of_task = [entry for entry in whole if entry.record.cell.task == task]
    here = {str(entry.record.cell.pair) for entry in of_task}
    for pair in pairs:
        if str(pair) not in here:
            raise RequestError(
                f"--pair {pair}: no records of task {task} in {out}{did_you_mean(str(pair), here)} "
                f"(`prt-bench run --pair {pair} --task {task}` makes some)"
            )
    chosen = [entry for entry in of_task if entry.record.cell.pair in pairs and entry.record.cell.track == track]
    records = {entry.path: entry.record for entry in chosen}
    notes: list[str] = []
    shown = _one_table_each(tables(chosen), pairs, records, track, recipe, notes)
    return _Reader(shown, records, batch_size, notes).ledger()


def _one_table_each(
    found: Sequence[Table],
    pairs: Sequence[PairNames],
    records: Mapping[Path, Record],
    track: str,
    recipe: str | None,
    notes: list[str],
) -> list[Table]:
    """One table per pair, of the same recipe, task version and data: the newest where there are several."""
    for pair in pairs:
        mine = [table for table in found if table.pair == pair]
        if not mine:
            raise RequestError(f"--pair {pair}: no records on track {track}")
        recipes = {table.recipe for table in mine}
        if recipe is not None and recipe not in recipes:
            raise RequestError(f"--recipe {recipe}: no records of {pair}{did_you_mean(recipe, recipes)}")
    usable = [table for table in found if recipe in (None, table.recipe)]
    facts = [{_facts(table) for table in usable if table.pair == pair} for pair in pairs]
    common = set.intersection(*facts)
    if not common:
        told = "; ".join(
            f"{pair}: " + ", ".join(f"version {one[1]}, data {one[2][:8]}, recipe {one[0]}" for one in sorted(mine))
            for pair, mine in zip(pairs, facts, strict=True)
        )
        raise RequestError(f"--pair: the pairs have no task version, data and recipe in common ({told})")
    recipes = {one[0] for one in common}
    if len(recipes) > 1:
        raise RequestError(f"records of several recipes: choose --recipe {' or --recipe '.join(sorted(recipes))}")
    shared = (table for table in usable if _facts(table) in common)
    usable = sorted(shared, key=lambda table: _finished(records, *table.rows))
    best = _facts(usable[-1])
    shown = [[table for table in usable if table.pair == pair and _facts(table) == best][-1] for pair in pairs]
    if len(usable) > len(shown):
        notes.append(
            f"there are records of another version or data of the task, or of other weights: left out; shown are the "
            f"newest (version {shown[0].version}, data {shown[0].data_sha256[:8]})"
        )
    return shown


def _finished(records: Mapping[Path, Record], *rows: Row) -> str:
    return max(records[path].provenance.finished for row in rows for path in row.paths)


def _facts(table: Table) -> tuple[str, str, str, str]:
    return table.recipe, table.version, table.data_sha256, table.primary


@dataclass
class _Reader:
    """Rows of one table per pair → lines."""

    shown: Sequence[Table]
    records: Mapping[Path, Record]
    batch_size: int
    notes: list[str]
    generator: np.random.Generator = field(default_factory=lambda: np.random.default_rng(SEED))
    ratios: dict[str, Term] = field(default_factory=dict)
    """What several methods share was measured once: it is drawn once."""

    def ledger(self) -> Ledger:
        rows = [self._newest(table) for table in self.shown]
        labels = _labels(key for table in rows for key in table)
        left_out: dict[str, str] = {}
        cells: dict[Key, list[list[Record]]] = {}
        for key in labels:
            found = self._comparable(key, rows)
            if isinstance(found, str):
                left_out[labels[key]] = found
            else:
                cells[key] = found
        every = [record for matrix in cells.values() for mine in matrix for record in mine]
        references = {key: matrix for key, matrix in cells.items() if matrix[0][0].cell.role == "reference"}
        if not references:
            known = [key for mine in rows for key, row in mine.items() if row.role == "reference"]
            why = "; ".join(f"{labels[key]}: {left_out[labels[key]]}" for key in dict.fromkeys(known))
            raise RequestError(
                "no reference (a tuned target) to compare with on every pair of the chain"
                + (f": {why}" if why else "; `prt-bench run` with all methods makes one")
            )
        hardware = tuple(sorted({record.environment.hardware for record in every}))
        used = [self._timed(matrix) for matrix in cells.values()]
        placements = tuple(sorted({row.placement for mine in used for rows_of in mine for row in rows_of}))
        targets = [self._target_seconds([mine[place] for mine in used]) for place in range(len(self.shown))]
        lines = {
            key: self._line(labels[key], matrix, self._seconds(matrix, targets, hardware, placements))
            for key, matrix in cells.items()
        }
        first = self.shown[0]
        models = {name: model for record in every for name, model in record.provenance.models.items()}
        asked = next(iter(references.values()))[0][0].cost
        assert asked is not None
        return Ledger(
            pairs=tuple(table.pair for table in self.shown),
            task=first.task,
            version=first.version,
            data_sha256=first.data_sha256,
            primary=first.primary,
            n=first.n,
            track=first.track,
            recipe=first.recipe,
            embedded=tuple(sorted(name for name, model in models.items() if model.embedded)),
            contamination=first.contamination,
            unit=asked.per_query.unit,
            shape=asked.per_query.shape,
            batch_size=self.batch_size,
            hardware=hardware,
            placements=placements,
            lines=tuple(sorted(lines.values(), key=lambda line: (ROLE_ORDER[line.role], line.score, line.label))),
            reference=max((lines[key] for key in references), key=lambda line: line.score),
            left_out=left_out,
            notes=tuple(self.notes),
        )

    def _newest(self, table: Table) -> dict[Key, Row]:
        """One row per method and parameters."""
        found: dict[Key, Row] = {}
        for row in sorted(table.rows, key=lambda row: _finished(self.records, row)):
            cell = self.records[row.paths[0]].cell
            key = (cell.method, json.dumps(cell.params, sort_keys=True))
            if key in found:
                self.notes.append(
                    f"{printable(cell.method)} on {table.pair}: measured more than once, shown is the newest"
                )
            found[key] = row
        return found

    def _comparable(self, key: Key, rows: Sequence[Mapping[Key, Row]]) -> list[list[Record]] | str:
        """Per pair, the records of the seeds that all pairs have, in one order; or why there are none."""
        missing = [str(table.pair) for table, mine in zip(self.shown, rows, strict=True) if key not in mine]
        if missing:
            return f"no records on {', '.join(missing)}"
        found = [{(one := self.records[path]).cell.seed: one for path in mine[key].paths} for mine in rows]
        seeds = sorted(set.intersection(*(set(mine) for mine in found)))
        if not seeds:
            return "no seed in common to all pairs"
        matrix = [[mine[seed] for seed in seeds] for mine in found]
        return _differing(matrix, seeds) or matrix

    def _line(self, label: str, matrix: Sequence[Sequence[Record]], seconds: Costs) -> LedgerLine:
        first = matrix[0][0].cell
        flops = Costs(
            self._mean([[_spent(record, "once", "train_flops") for record in mine] for mine in matrix[:1]]),
            self._mean([[_spent(record, "per_upgrade", "train_flops") for record in mine] for mine in matrix]),
            self._mean([[_query_flops(record) for record in mine] for mine in matrix]),
        )
        terms = [_paid(record, verb) for mine in matrix for record in mine for verb in ("once", "per_upgrade")]
        return LedgerLine(
            label=label,
            method=printable(first.method),
            title=printable(first.title or first.method),
            role=first.role,
            params=first.params,
            seeds=tuple(record.cell.seed for record in matrix[0]),
            score=float(np.mean([[record.score for record in mine] for mine in matrix])),
            trials=max(term.trials for term in terms),
            costs={"flops": flops, "seconds": seconds},
        )

    def _seconds(
        self,
        matrix: Sequence[Sequence[Record]],
        targets: Sequence[Term],
        hardware: Sequence[str],
        placements: Sequence[str],
    ) -> Costs:
        """Of different machines nothing is compared; of different placements nothing per query."""
        if len(hardware) > 1:
            gap = Gap(f"times of different machines are not compared: {', '.join(hardware)}")
            return Costs(gap, gap, gap)
        once, per_upgrade = (
            self._mean([[_spent(record, verb, "seconds") for record in mine] for mine in matrix], clock=True)
            for verb in ("once", "per_upgrade")
        )
        if len(placements) > 1:
            return Costs(
                once, per_upgrade, Gap(f"times of different placements are not compared: {', '.join(placements)}")
            )
        per_pair = [self._query_seconds(mine, target) for mine, target in zip(matrix, targets, strict=True)]
        return Costs(once, per_upgrade, combined([(1 / len(per_pair), term) for term in per_pair]))

    def _mean(self, values: Sequence[Sequence[float | Gap]], clock: bool = False) -> Term:
        """Over pairs, then over seeds, of values (pairs × seeds), with a t-interval over seeds.

        What was counted needs no second seed to be sure of; what was timed does.
        """
        reasons = dict.fromkeys(value.reason for mine in values for value in mine if isinstance(value, Gap))
        if reasons:
            return Gap("; ".join(reasons))
        per_seed = [math.fsum(column) / len(column) for column in zip(*values, strict=True)]
        return self._over(per_seed, "one seed" if clock else "")

    def _over(self, values: Sequence[float], alone: str) -> Term:
        """The mean with its t-interval. `alone` says why a single value has no interval; empty where it is exact."""
        mean = math.fsum(values) / len(values)
        if len(values) == 1:
            return Amount(mean, None, None, f"{alone}: no interval") if alone else exact(mean)
        error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
        return measured(mean, student_t(len(values) - 1) * error, self.generator)

    def _timed(self, matrix: Sequence[Sequence[Record]]) -> list[list[LatencyRow]]:
        """Per pair, one usable latency row per session."""
        return [list({row.session: row for record in mine for row in self._rows(record)}.values()) for mine in matrix]

    def _rows(self, record: Record) -> list[LatencyRow]:
        assert record.cost is not None
        rows = record.cost.per_query.latency or []
        return [row for row in rows if row.valid and row.batch_size == self.batch_size]

    def _target_seconds(self, used: Sequence[Sequence[LatencyRow]]) -> Term:
        """Seconds of one query through the target alone, on one pair: the scale of all its methods' ratios.

        One session's target time is taken as it is, since only ratios are compared; of several, a t-interval.
        """
        found: dict[str, float] = {}
        for row in (row for mine in used for row in mine):
            if row.ratio_to_target is not None:
                found.setdefault(row.session, row.p50_ms / 1000 / row.batch_size / row.ratio_to_target[1])
        return self._over(list(found.values()), "") if found else Gap("the target alone was not timed")

    def _query_seconds(self, mine: Sequence[Record], target: Term) -> Term:
        """Seconds per query on one pair: the ratio to the target alone, times what the target takes."""
        (rows,) = self._timed([mine])
        if not rows:
            return Gap(self._why_untimed(mine[0]))
        if isinstance(target, Gap) or any(row.ratio_to_target is None for row in rows):
            return Gap(f"its session on {mine[0].cell.pair} has no ratio to the target alone, by which times compare")
        ratio = combined([(1 / len(rows), self._ratio(row)) for row in rows])
        assert isinstance(ratio, Amount)
        return product(ratio, target)

    def _ratio(self, row: LatencyRow) -> Term:
        assert row.ratio_to_target is not None
        low, middle, high = row.ratio_to_target
        key = f"{row.session} {row.batch_size} {row.p50_ms} {row.ratio_to_target}"
        if key not in self.ratios:
            self.ratios[key] = measured(middle, (high - low) / 2, self.generator)
        return self.ratios[key]

    def _why_untimed(self, record: Record) -> str:
        assert record.cost is not None
        rows = record.cost.per_query.latency
        if not rows:
            return record.absent.get("cost.per_query.latency", "its latency was not measured")
        mine = [row for row in rows if row.batch_size == self.batch_size]
        if not mine:
            sizes = ", ".join(str(size) for size in sorted({row.batch_size for row in rows}))
            return f"no latency at batch size {self.batch_size}; there is {sizes}"
        reasons = dict.fromkeys(reason for row in mine for reason in row.reasons)
        return f"its latency on {record.cell.pair} is not valid: {'; '.join(reasons) or 'no reason given'}"


def _differing(matrix: Sequence[Sequence[Record]], seeds: Sequence[int]) -> str:
    """Why what is paid once is not one thing on all pairs; empty where it is."""
    for place, seed in enumerate(seeds):
        first, *others = (mine[place] for mine in matrix)
        for other in others:
            pair = f"{first.cell.pair} and {other.cell.pair}, seed {seed}"
            one, two = _paid(first, "once").train_flops, _paid(other, "once").train_flops
            if one != two:
                return f"what is paid once is not the same on {pair}: {one} and {two} FLOPs"
            # Trials are judged on a target, so which one is kept may differ by pair; all are paid, once.
            mine, theirs = _fitted(first), _fitted(other)
            if first.cell.track == "paper" and mine and theirs and mine != theirs:
                return f"what is made once is not the same artifact on {pair}: {mine[:8]} and {theirs[:8]}"
    return ""


def _fitted(record: Record) -> str:
    return next((artifact.key for artifact in record.artifacts if artifact.verb == "fit"), "")


def _paid(record: Record, verb: str) -> CostTerm:
    assert record.cost is not None
    term: CostTerm = getattr(record.cost, verb)
    return term


def _spent(record: Record, verb: str, what: str) -> float | Gap:
    return _known(record, f"cost.{verb}.{what}", getattr(_paid(record, verb), what))


def _query_flops(record: Record) -> float | Gap:
    assert record.cost is not None
    return _known(record, "cost.per_query.flops.total", record.cost.per_query.flops.total)


def _known(record: Record, path: str, value: float | None) -> float | Gap:
    return Gap(record.absent.get(path, "not measured")) if value is None else value


def _labels(keys: Iterable[Key]) -> dict[Key, str]:
    """A method's name; with its parameters where it is there with several."""
    found = dict.fromkeys(keys)
    names = [name for name, _ in found]
    labels = {}
    for name, params in found:
        told = ",".join(f"{key}={value}" for key, value in json.loads(params).items()) or "no parameters"
        labels[name, params] = printable(name if names.count(name) == 1 else f"{name} ({told})")
    return labels
