"""How often the rules of `prt_bench.comparing` are right, on simulated methods whose truth is known.

`python -m tests.simulations.statistics` prints the tables of docs/statistics.md, in less than a minute on one core.

An answer is right where a latent number is below the method's threshold for that seed. The latent number is how hard
the item is for all methods (half of its variance), how hard it is for this one (0.2), and what each training draws
anew (0.3). Thresholds vary between seeds as much as the scenario says. The truth is the mean over all items and seeds
there could be; scores are fractions, tables are in points or per cent.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, product

import numpy as np
from scipy.special import ndtri, stdtrit

from prt_bench.comparing import (
    LEVEL,
    Floats,
    detectable_difference,
    half_width,
    holm,
    score,
    standard_errors,
    two_sided_p,
)
from prt_bench.stats import Z95, bootstrap_interval

__all__ = [
    "Drawn",
    "Scenario",
    "answers",
    "coverage_of_differences",
    "coverage_of_scores",
    "draw",
    "false_positives",
    "families",
    "item_rules",
    "power",
    "row_of",
]

SHARED, OWN, REDRAWN = (math.sqrt(share) for share in (0.5, 0.2, 0.3))
AT_ONCE = 2_000_000
METHODS = 8


@dataclass(frozen=True)
class Scenario:
    """Sizes of a comparison, and how much a score varies between training seeds."""

    items: int
    seeds: int
    spread: float
    """Standard deviation of a method's score between seeds, in points."""
    failing: float = 0.0
    """Share of the first method's seeds that lose 20 points."""

    def generator(self) -> np.random.Generator:
        """Its own one, so that each row of a table can be drawn alone."""
        return np.random.default_rng([self.items, self.seeds, round(10 * self.spread), round(100 * self.failing)])


GRID = [Scenario(*sizes) for sizes in product((200, 1000), (3, 5, 10), (0.0, 1.0, 2.0, 5.0))]


@dataclass(frozen=True)
class Drawn:
    """Repetitions (R,) of one comparison: the differences' value, its errors, and what other rules would say."""

    scenario: Scenario
    truth: float
    value: Floats
    items: Floats
    seeds: Floats
    pooled: Floats
    """Standard error with seeds × items taken as that many independent answers."""
    redrawn: Floats
    """Variance of the mean from what is neither the item's nor the seed's: it is in both errors."""

    def half(self) -> Floats:
        """Of the interval of `compare`."""
        return half_width(self.items, self.seeds, self.scenario.items, self.scenario.seeds)

    def p(self) -> Floats:
        """That of `compare`."""
        return two_sided_p(self.value, self.items, self.seeds, self.scenario.items, self.scenario.seeds)

    def halves(self) -> dict[str, Floats]:
        """Half widths (R,) by rule: ours, and those it was chosen from or stands against."""
        n, k = self.scenario.items, self.scenario.seeds
        once = np.sqrt(np.maximum(self.items**2 - self.redrawn, 0))
        parts = self.items**2, self.seeds**2, -self.redrawn
        variance = np.maximum(sum(parts), 1e-12)
        degrees = variance**2 / (parts[0] ** 2 / (n - 1) + parts[1] ** 2 / (k - 1) + parts[2] ** 2 / (n - 1) / (k - 1))
        return {
            "ours": self.half(),
            "redraws once": half_width(once, self.seeds, n, k),
            "ANOVA": stdtrit(degrees, 1 - LEVEL / 2) * np.sqrt(variance),
            "items only": half_width(self.items, 0.0, n, 1),
            "seeds only": half_width(0.0, self.seeds, n, k),
            "pooled": Z95 * self.pooled,
        }


def answers(
    generator: np.random.Generator, scenario: Scenario, levels: Sequence[float], repetitions: int
) -> list[Floats]:
    """0s and 1s (R, K, N) of each method, whose true scores are `levels` less what failing seeds cost the first."""
    n, k = scenario.items, scenario.seeds

    def normal(*shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        return generator.standard_normal((repetitions, *shape), dtype=np.float32)

    shared = SHARED * normal(1, n)
    found = []
    for method, level in enumerate(levels):
        threshold = float(ndtri(level))
        shift = scenario.spread / 100 * math.sqrt(2 * math.pi) * math.exp(threshold**2 / 2)
        failed = (generator.random((repetitions, k, 1)) < scenario.failing) & (method == 0)
        # Wider by what the seeds add, so that the mean over seeds stays what it is.
        thresholds = np.where(failed, ndtri(level - 0.2), threshold) * math.hypot(1, shift) + shift * normal(k, 1)
        latent = shared + OWN * normal(1, n) + REDRAWN * normal(k, n)
        found.append((latent < thresholds).astype(np.float64))
    return found


def batches(repetitions: int, cells: int) -> Iterator[int]:
    """Sizes that add up to `repetitions` and fit into memory."""
    size = max(1, AT_ONCE // cells)
    for start in range(0, repetitions, size):
        yield min(size, repetitions - start)


def summarised(scenario: Scenario, truth: float, pairs: Iterable[tuple[Floats, Floats]]) -> Drawn:
    """Of batches of two methods' answers (R, K, N)."""
    parts = []
    for mine, theirs in pairs:
        cells = mine - theirs
        value, items, seeds = standard_errors(cells, 1.0)
        pooled = cells.std(axis=(1, 2)) / math.sqrt(scenario.items * scenario.seeds)
        rest = cells - cells.mean(axis=1, keepdims=True) - cells.mean(axis=2, keepdims=True) + value[:, None, None]
        degrees = max(1, (scenario.seeds - 1) * (scenario.items - 1))
        redrawn = (rest**2).sum(axis=(1, 2)) / degrees / (scenario.items * scenario.seeds)
        parts.append((value, items, seeds, pooled, redrawn))
    return Drawn(scenario, truth, *(np.concatenate(column) for column in zip(*parts, strict=True)))


def draw(scenario: Scenario, levels: tuple[float, float], repetitions: int) -> Drawn:
    """`repetitions` comparisons of two methods whose true scores are `levels`."""
    generator = scenario.generator()
    truth = levels[0] - levels[1] - 0.2 * scenario.failing
    sizes = batches(repetitions, scenario.items * scenario.seeds)
    pairs = (answers(generator, scenario, levels, size) for size in sizes)
    return summarised(scenario, truth, ((mine, theirs) for mine, theirs in pairs))


def coverage_of_differences(scenario: Scenario, repetitions: int = 2000) -> dict[str, float]:
    """Per cent of intervals that hold the true difference of 75 and 70 %, by rule; and half of ours, in points."""
    drawn = draw(scenario, (0.75, 0.70), repetitions)
    error = np.abs(drawn.value - drawn.truth)
    covered = {rule: 100 * float(np.mean(error <= half)) for rule, half in drawn.halves().items()}
    return {**covered, "± points": 100 * float(np.mean(drawn.half()))}


def coverage_of_scores(scenario: Scenario, level: float, repetitions: int = 1000) -> float:
    """Per cent of the intervals of `score` that hold the true score."""
    generator = scenario.generator()
    held = 0
    for size in batches(repetitions, scenario.items * scenario.seeds):
        for cells in answers(generator, scenario, [level], size)[0]:
            low, high = score(list(cells)).interval
            held += low <= level <= high
    return 100 * held / repetitions


def false_positives(scenario: Scenario, repetitions: int = 2000) -> dict[str, float]:
    """Per cent of comparisons of two equally good methods that each rule calls different."""
    drawn = draw(scenario, (0.7, 0.7), repetitions)
    others = {rule: drawn.halves()[rule] for rule in ("items only", "pooled")}
    return {
        "p < 0.05": 100 * float(np.mean(drawn.p() < LEVEL)),
        **{rule: 100 * float(np.mean(np.abs(drawn.value) > half)) for rule, half in others.items()},
    }


def families(scenario: Scenario, repetitions: int = 1000) -> dict[str, float]:
    """Per cent of tables of 8 equally good methods in which a difference is declared that is not there."""
    generator = scenario.generator()
    pairs = list(combinations(range(METHODS), 2))
    p_values, scores = [], []
    for size in batches(repetitions, METHODS * scenario.items * scenario.seeds):
        found = answers(generator, scenario, [0.7] * METHODS, size)
        scores.append(np.stack([each.mean(axis=(1, 2)) for each in found], axis=1))
        p_values.append(np.stack([summarised(scenario, 0.0, [(found[a], found[b])]).p() for a, b in pairs], axis=1))
    wrong = {"no adjustment": 0, "Holm, all pairs": 0, "best row, read off": 0, "best row, tested alone": 0}
    for row, totals in zip(np.concatenate(p_values), np.concatenate(scores), strict=True):
        of_best = [index for index, pair in enumerate(pairs) if int(np.argmax(totals)) in pair]
        adjusted = np.array(holm(list(row)))
        wrong["no adjustment"] += int(row.min() < LEVEL)
        wrong["Holm, all pairs"] += int(adjusted.min() < LEVEL)
        wrong["best row, read off"] += int(adjusted[of_best].min() < LEVEL)
        wrong["best row, tested alone"] += int(min(holm(list(row[of_best]))) < LEVEL)
    return {rule: 100 * count / repetitions for rule, count in wrong.items()}


def power(scenario: Scenario, repetitions: int = 2000) -> dict[str, float]:
    """Per cent of comparisons that find a difference as large as `detectable` says.

    Once by errors as they are on average; once as it is used: `detectable` of one experiment, tried on another one.
    """
    drawn = draw(scenario, (0.7, 0.7), repetitions)
    n, k = scenario.items, scenario.seeds
    known = detectable_difference(np.sqrt(np.mean(drawn.items**2)), np.sqrt(np.mean(drawn.seeds**2)), n, k)
    guessed = np.roll(detectable_difference(drawn.items, drawn.seeds, n, k), 1)
    return {
        "detectable, points": 100 * float(known),
        "found, errors known": 100 * float(np.mean(np.abs(drawn.value + known) > drawn.half())),
        "found, as used": 100 * float(np.mean(np.abs(drawn.value + guessed) > drawn.half())),
    }


def item_rules(scenario: Scenario, won: float, lost: float, repetitions: int = 1000) -> dict[str, float]:
    """One seed, items right or wrong, of which these shares are won and lost: `compare`'s item part and a bootstrap.

    The bootstrap is of the same items with the same two added. In per cent: coverage of either, and how often one of
    them holds 0 and the other does not.
    """
    generator, items = scenario.generator(), scenario.items
    held = np.zeros((repetitions, 2, 2))
    for row in held:
        differences = generator.choice([1.0, -1.0, 0.0], p=[won, lost, 1 - won - lost], size=items)
        value, error, _ = standard_errors(differences[None], 1.0)
        half = half_width(error, 0.0, items, 1)
        ends = (value - half, value + half), bootstrap_interval(np.append(differences, [1.0, -1.0]))
        row[:] = [[low <= truth <= high for truth in (won - lost, 0.0)] for low, high in ends]
    covered = 100 * held[:, :, 0].mean(axis=0)
    return {
        "adjusted Wald": covered[0],
        "bootstrap": covered[1],
        "not of one mind about 0": 100 * float(np.mean(held[:, 0, 1] != held[:, 1, 1])),
    }


def row_of(scenario: Scenario, numbers: dict[str, float]) -> str:
    """One line of a Markdown table."""
    sizes = f"| {scenario.items} | {scenario.seeds} | {scenario.spread:g} |"
    return sizes + "".join(f" {number:.1f} |" for number in numbers.values())


def show(title: str, scenarios: Sequence[Scenario], measure: Callable[[Scenario], dict[str, float]]) -> None:
    """Prints a Markdown table: a row per scenario."""
    rows = [(scenario, measure(scenario)) for scenario in scenarios]
    head = ["items", "seeds", "spread", *rows[0][1]]
    print(f"**{title}**\n")
    print("| " + " | ".join(head) + " |\n|" + "---:|" * len(head))
    print("\n".join(row_of(*row) for row in rows) + "\n")


def scores(scenario: Scenario) -> dict[str, float]:
    """Coverage of the interval of a score, by how good the method is."""
    return {f"score {100 * level:.0f}": coverage_of_scores(scenario, level) for level in (0.7, 0.95, 0.99)}


def main() -> None:
    """Prints all tables."""
    few = ((1, 0.0), (3, 0.0), (3, 0.5), (3, 2.0), (5, 2.0), (10, 2.0))
    print("Two standard errors of the simulation itself: 1.0 points near 95 % (2,000 repetitions; scores and families")
    print("1,000: 1.4), 2.2 near 50 %.\n")
    show("Coverage of the interval of a difference, %", GRID, coverage_of_differences)
    singles = [Scenario(n, 1, 0.0) for n in (50, 200, 1000)]
    for won, lost in ((0.05, 0.02), (0.2, 0.1), (0.15, 0.15)):
        title = f"One seed, {won:.0%} of items won and {lost:.0%} lost: coverage over items, %"
        show(title, singles, partial(item_rules, won=won, lost=lost))
    show("Coverage of the interval of a score, %", [Scenario(n, *rest) for n in (200, 1000) for rest in few], scores)
    show("Declared different where there is no difference, %", GRID, false_positives)
    several = [Scenario(1000, *rest) for rest in ((1, 0.0), (1, 2.0), (3, 0.0), (3, 2.0), (5, 2.0), (10, 2.0))]
    show("Tables of 8 equal methods with a difference declared, %", several, families)
    show("Found at the detectable difference, %", GRID, power)
    heavy = [Scenario(1000, k, 1.0, failing=0.1) for k in (3, 5, 10, 30)]
    show("One seed in ten of one method loses 20 points: coverage, %", heavy, coverage_of_differences)


if __name__ == "__main__":
    main()
