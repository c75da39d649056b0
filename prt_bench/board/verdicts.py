"""What a table says of its rows: differences, verdicts, gains, the gap and agreement. Scores are fractions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from prt_bench.comparing import (
    LEVEL,
    Comparison,
    Estimate,
    Floats,
    compare,
    gap_closed,
    holm,
    largest_difference,
    score,
    standard_errors,
    two_sided_p,
)

__all__ = ["GAINS", "Measured", "Verdicts", "paired", "standing_of", "verdicts"]

Standing = Literal["above", "below", "same"]
"""Of a row beside another one, after Holm's correction."""
Gains = Mapping[str, Comparison]
GAINS = ("ensembling", "tuned source", "beyond the ensemble")
"""Untuned target → untuned ensemble → plain ensemble → the method: for a reward, the last is what learning it adds."""
STEPS = ("untuned target", "untuned ensemble", "plain ensemble")
NO_FLOOR = "no floor was run on this pair and task"
BEST_FLOOR = "this is the best floor"


@dataclass(frozen=True)
class Measured:
    """A row's answers to the N test items."""

    items: list[str]
    by_seed: Mapping[int, Floats]
    """Per seed, what each item adds to the score (N,): its mean is the score."""
    given: Mapping[int, list[str]] | None
    """Per seed, the answers themselves; None where they were not kept."""
    stands_for: str
    """What others are compared with, where the row is that."""
    strengths: str
    """Where its parameters were chosen."""
    is_floor: bool = False


@dataclass(frozen=True)
class Verdicts:
    """What can be said of a row; in place of a comparison that there is not, the reason."""

    score: Estimate
    to_floor: Comparison | str
    p_floor: float | None
    """Of no difference to the best floor, adjusted by Holm for the rows of the table."""
    standing: Standing | None
    """Beside the best floor: only as good as `p_floor` says."""
    among_best: bool
    """Whether no other row is told above it, adjusted by Holm for all pairs of rows."""
    to_ensemble: Comparison | str
    to_target: Comparison | str
    """To the untuned target: where another task was tuned on, what was forgotten."""
    to_reference: Comparison | str
    """To the fully tuned target."""
    gains: Gains | str
    """By `GAINS`, on the seeds that all steps have; on the same seeds they add up to `to_target`."""
    gap: tuple[float, float, float] | str
    """(low, share, high) of the gap between untuned and tuned target that is closed."""
    agreement: Estimate | str
    """How many items get the same answer as from the fully tuned target."""


def verdicts(rows: Mapping[str, Measured], best_floor: str | None) -> dict[str, Verdicts]:
    """What can be said of every row of a table."""
    to_floor = {key: _to_floor(rows, key, best_floor) for key in rows}
    tested = {key: found for key, found in to_floor.items() if isinstance(found, Comparison)}
    p_floor = dict(zip(tested, holm([found.p for found in tested.values()]), strict=True))
    among_best = _among_best(rows)
    found = {}
    for key, mine in rows.items():
        others = {name: _stand_in(rows, mine, name) for name in (*STEPS, "tuned target")}
        floor, adjusted = to_floor[key], p_floor.get(key)
        found[key] = Verdicts(
            score=score(list(mine.by_seed.values())),
            to_floor=floor,
            p_floor=adjusted,
            standing=None if isinstance(floor, str) or adjusted is None else standing_of(floor.value, adjusted),
            among_best=key in among_best,
            to_ensemble=_to(mine, others["plain ensemble"], "plain ensemble"),
            to_target=_to(mine, others["untuned target"], "untuned target"),
            to_reference=_to(mine, others["tuned target"], "tuned target"),
            gains=_gains(mine, [others[name] for name in STEPS]),
            gap=_gap(mine, others["untuned target"], others["tuned target"]),
            agreement=_agreement(mine, others["tuned target"]),
        )
    return found


def standing_of(difference: float, adjusted: float) -> Standing:
    """What a difference with an adjusted p allows to say."""
    if adjusted >= LEVEL:
        return "same"
    return "above" if difference > 0 else "below"


def paired(*rows: Measured) -> list[list[Floats]] | str:
    """Scores of the seeds that all rows have, per row; or why they cannot be paired."""
    seeds = sorted(set.intersection(*(set(row.by_seed) for row in rows)))
    if not seeds:
        return "no seed in common"
    if any(row.items is not rows[0].items and row.items != rows[0].items for row in rows):
        return "test items not shared"
    return [[row.by_seed[seed] for seed in seeds] for row in rows]


def _to_floor(rows: Mapping[str, Measured], key: str, best: str | None) -> Comparison | str:
    if best is None:
        return NO_FLOOR
    return BEST_FLOOR if key == best else _to(rows[key], rows[best], "best floor")


def _stand_in(rows: Mapping[str, Measured], mine: Measured, name: str) -> Measured | None:
    """The row that stands for something: one whose parameters were chosen where mine were, if there is one."""
    found = [row for row in rows.values() if row.stands_for == name]
    alike = [row for row in found if row.strengths == mine.strengths]
    return next(iter(alike or found), None)


def _to(mine: Measured, other: Measured | None, name: str) -> Comparison | str:
    if other is None:
        return f"no {name} was run on this pair and task"
    if other is mine:
        return f"this is the {name}"
    both = paired(mine, other)
    return f"{both} with the {name}" if isinstance(both, str) else compare(*both)


def _gains(mine: Measured, steps: Sequence[Measured | None]) -> Gains | str:
    rows = [*steps, mine]
    missing = [name for name, row in zip(STEPS, steps, strict=True) if row is None]
    if mine.is_floor:
        return "a floor ports nothing"
    if missing:
        return f"not run on this pair and task: {', '.join(missing)}"
    if any(row is mine for row in steps):
        return "this is one of the steps"
    answers = paired(*(row for row in rows if row is not None))
    if isinstance(answers, str):
        return f"{answers} with all steps"
    return {name: compare(answers[place + 1], answers[place]) for place, name in enumerate(GAINS)}


def _gap(mine: Measured, untuned: Measured | None, tuned: Measured | None) -> tuple[float, float, float] | str:
    if untuned is None or tuned is None:
        return "an untuned and a tuned target are needed on this pair and task"
    if mine.is_floor or mine is tuned:
        return "this is a floor or an end of the gap"
    answers = paired(mine, untuned, tuned)
    return f"{answers} with both ends of the gap" if isinstance(answers, str) else gap_closed(*answers)


def _agreement(mine: Measured, tuned: Measured | None) -> Estimate | str:
    if tuned is None:
        return "no tuned target was run on this pair and task"
    if mine is tuned:
        return "this is the tuned target"
    scores = paired(mine, tuned)
    if isinstance(scores, str):
        return f"{scores} with the tuned target"
    if mine.given is None or tuned.given is None:
        return "the answers themselves were not kept"
    seeds = sorted(set(mine.given) & set(tuned.given))
    answers = [(np.array(mine.given[seed]), np.array(tuned.given[seed])) for seed in seeds]
    return score([(one == other).astype(np.float64) for one, other in answers])


def _among_best(rows: Mapping[str, Measured]) -> set[str]:
    """The rows that no other one is told above, by the tests of all pairs.

    Which one is best was seen in the same data: testing against it alone would find differences that are not there.
    """
    pairs = _pairwise(rows)
    adjusted = holm([p for _, p in pairs.values()])
    standings = {
        pair: standing_of(difference, p) for (pair, (difference, _)), p in zip(pairs.items(), adjusted, strict=True)
    }
    beaten = {one for (one, _), standing in standings.items() if standing == "below"}
    beaten |= {other for (_, other), standing in standings.items() if standing == "above"}
    return set(rows) - beaten


def _pairwise(rows: Mapping[str, Measured]) -> dict[tuple[str, str], tuple[float, float]]:
    """Difference and p of every pair of rows: those of `compare`, but all p of one shape at once, which is faster."""
    # What cannot be paired cannot be told apart.
    found = dict.fromkeys(combinations(rows, 2), (0.0, 1.0))
    shapes: dict[tuple[int, int], list[tuple[str, str]]] = defaultdict(list)
    errors: dict[tuple[str, str], tuple[Floats, Floats, Floats]] = {}
    for one, other in found:
        both = paired(rows[one], rows[other])
        if not isinstance(both, str):
            mine, theirs = np.array(both)
            errors[one, other] = standard_errors(mine - theirs, largest_difference(mine, theirs))
            shapes[mine.shape].append((one, other))
    for (seeds, n), pairs in shapes.items():
        values, items, over_seeds = (np.array(column) for column in zip(*(errors[pair] for pair in pairs), strict=True))
        p_values = two_sided_p(values, items, over_seeds, n, seeds)
        found |= {pair: (float(v), float(p)) for pair, v, p in zip(pairs, values, p_values, strict=True)}
    return found
