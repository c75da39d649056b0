"""What a table says of its rows: differences, verdicts, gains, the gap and agreement. Scores are fractions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, pairwise
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from prt_bench.comparing import (
    LEVEL,
    Comparison,
    Estimate,
    Floats,
    compare_all,
    gap_closed,
    holm,
    largest_difference,
    score,
    standard_errors,
    two_sided_p,
)

__all__ = ["GAINS", "Measured", "Verdicts", "paired", "standing_of", "the_best", "unbeaten", "verdicts"]

Standing = Literal["above", "below", "same"]
"""Of a row beside another one, after Holm's correction."""
Gains = Mapping[str, Comparison]
Others = Mapping[str, "Measured | None"]
"""By `STEPS` and \"tuned target\": the row that stands for it, if there is one."""
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
    given: Mapping[int, NDArray[Any]] | None
    """Per seed, what was answered to each item; None where it was not kept."""
    stands_for: str
    """What others are compared with, where the row is that."""
    strengths: str
    """Where its parameters were chosen."""
    is_floor: bool = False
    is_superseded: bool = False
    """There is a newer row of the same: nothing is compared with this one, and it is in no family of tests."""

    @cached_property
    def cells(self) -> Floats:
        """(K, N): what each item adds to the score, by rising seed."""
        return np.stack([self.by_seed[seed] for seed in sorted(self.by_seed)])

    def on(self, seeds: Sequence[int]) -> Floats:
        """`cells` of some of its seeds, given in rising order."""
        if len(seeds) == len(self.by_seed):
            return self.cells
        return np.stack([self.by_seed[seed] for seed in seeds])


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
    """Whether no other row is told above it: not among all pairs of rows, adjusted by Holm for these, and not by
    `standing`."""
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
    """What can be said of every row of a table; those that are superseded are beside the others, not among them."""
    current = {key: row for key, row in rows.items() if not row.is_superseded}
    best = None if best_floor is None else rows[best_floor]
    others = {
        key: {name: _stand_in(current, mine, name) for name in (*STEPS, "tuned target")} for key, mine in rows.items()
    }
    compared = _Compared(pair for key, mine in rows.items() for pair in _wanted(mine, best, others[key]))
    to_floor = {key: _to_floor(mine, best, compared) for key, mine in rows.items()}
    tested = {key: found for key in current if isinstance(found := to_floor[key], Comparison)}
    p_floor = dict(zip(tested, holm([found.p for found in tested.values()]), strict=True))
    standings = {key: standing_of(found.value, p_floor[key]) for key, found in tested.items()}
    among_best = the_best(current, standings)
    told = {}
    for key, mine in rows.items():
        floor, adjusted, other = to_floor[key], p_floor.get(key), others[key]
        told[key] = Verdicts(
            score=score(mine.cells),
            to_floor=floor,
            p_floor=adjusted,
            standing=standings.get(key),
            among_best=key in among_best,
            to_ensemble=_to(mine, other["plain ensemble"], "plain ensemble", compared),
            to_target=_to(mine, other["untuned target"], "untuned target", compared),
            to_reference=_to(mine, other["tuned target"], "tuned target", compared),
            gains=_gains(mine, other, compared),
            gap=_gap(mine, other["untuned target"], other["tuned target"]),
            agreement=_agreement(mine, other["tuned target"]),
        )
    return told


Seeds = tuple[int, ...]
Pair = tuple[Measured, Measured, Seeds]
"""Two rows, and the seeds on which they are compared."""


class _Compared:
    """Comparisons of rows: each is made once, and all that are wanted together, which is faster."""

    def __init__(self, wanted: Iterable[Pair]) -> None:
        asked = {self._key(*pair): pair for pair in wanted}
        made = compare_all([(one.on(seeds), other.on(seeds)) for one, other, seeds in asked.values()])
        self._found = dict(zip(asked, made, strict=True))

    def of(self, *pair: *Pair) -> Comparison:
        """The first − the second."""
        return self._found[self._key(*pair)]

    @staticmethod
    def _key(one: Measured, other: Measured, seeds: Seeds) -> tuple[int, int, Seeds]:
        return id(one), id(other), seeds


def _wanted(mine: Measured, best: Measured | None, others: Others) -> Iterator[Pair]:
    """All that a row is compared with, and the steps to it."""
    for other in (best, *others.values()):
        if other is not None and other is not mine and not isinstance(seeds := _common(mine, other), str):
            yield mine, other, seeds
    steps = _steps(mine, others)
    if not isinstance(steps, str):
        rows, seeds = steps
        yield from ((after, before, seeds) for before, after in pairwise(rows))


def standing_of(difference: float, adjusted: float) -> Standing:
    """What a difference with an adjusted p allows to say."""
    if adjusted >= LEVEL:
        return "same"
    return "above" if difference > 0 else "below"


def paired(*rows: Measured) -> list[Floats] | str:
    """Scores (K, N) of the seeds that all rows have, per row; or why they cannot be paired."""
    seeds = _common(*rows)
    return seeds if isinstance(seeds, str) else [row.on(seeds) for row in rows]


def _common(*rows: Measured) -> Seeds | str:
    seeds = tuple(sorted(set.intersection(*(set(row.by_seed) for row in rows))))
    if not seeds:
        return "no seed in common"
    if any(row.items is not rows[0].items and row.items != rows[0].items for row in rows):
        return "test items not shared"
    return seeds


def _to_floor(mine: Measured, best: Measured | None, compared: _Compared) -> Comparison | str:
    if best is None:
        return NO_FLOOR
    return BEST_FLOOR if mine is best else _to(mine, best, "best floor", compared)


def _stand_in(rows: Mapping[str, Measured], mine: Measured, name: str) -> Measured | None:
    """The row that stands for something: one whose parameters were chosen where mine were, if there is one."""
    found = [row for row in rows.values() if row.stands_for == name]
    alike = [row for row in found if row.strengths == mine.strengths]
    return next(iter(alike or found), None)


def _to(mine: Measured, other: Measured | None, name: str, compared: _Compared) -> Comparison | str:
    if other is None:
        return f"no {name} was run on this pair and task"
    if other is mine:
        return f"this is the {name}"
    seeds = _common(mine, other)
    return f"{seeds} with the {name}" if isinstance(seeds, str) else compared.of(mine, other, seeds)


def _steps(mine: Measured, others: Others) -> tuple[list[Measured], Seeds] | str:
    """What leads to a row, with itself at the end, and the seeds of all; or why there is no such way."""
    steps = [row for name in STEPS if (row := others[name]) is not None]
    if mine.is_floor:
        return "a floor ports nothing"
    if len(steps) < len(STEPS):
        return f"not run on this pair and task: {', '.join(name for name in STEPS if others[name] is None)}"
    if any(row is mine for row in steps):
        return "this is one of the steps"
    seeds = _common(*steps, mine)
    return f"{seeds} with all steps" if isinstance(seeds, str) else ([*steps, mine], seeds)


def _gains(mine: Measured, others: Others, compared: _Compared) -> Gains | str:
    steps = _steps(mine, others)
    if isinstance(steps, str):
        return steps
    rows, seeds = steps
    return {
        name: compared.of(after, before, seeds) for name, (before, after) in zip(GAINS, pairwise(rows), strict=True)
    }


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
    if not seeds:
        return "the answers themselves were not kept on a seed of both"
    return score([(mine.given[seed] == tuned.given[seed]).astype(np.float64) for seed in seeds])


def the_best(rows: Mapping[str, Measured], standings: Mapping[str, Standing | None]) -> set[str]:
    """The rows that no other one is told above, by the tests of all pairs or by those against the best floor."""
    below = {key for key in rows if standings.get(key) == "below"}
    above = any(standings.get(key) == "above" for key in rows)
    return unbeaten(rows) - below - {key for key, row in rows.items() if row.is_floor and above}


def unbeaten(rows: Mapping[str, Measured]) -> set[str]:
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
            mine, theirs = both
            errors[one, other] = standard_errors(mine - theirs, largest_difference(mine, theirs))
            shapes[len(mine), len(mine[0])].append((one, other))
    for (seeds, n), pairs in shapes.items():
        values, items, over_seeds = (np.array(column) for column in zip(*(errors[pair] for pair in pairs), strict=True))
        p_values = two_sided_p(values, items, over_seeds, n, seeds)
        found |= {pair: (float(v), float(p)) for pair, v, p in zip(pairs, values, p_values, strict=True)}
    return found
