"""Trials of a cell: one as published, strengths alone, or the equal-budget track's, as many for every method."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from prt_bench.api import MethodCard, Setting
from prt_bench.records import Params
from prt_bench.task_spec import Recipe, Search, Tuning

__all__ = ["Trial", "equal_trials", "strength_trials"]

RECIPE_STREAM, STRENGTH_STREAM = 0, 1


@dataclass(frozen=True)
class Trial:
    """One way to do a cell: recipes per model alias, and the method's parameters."""

    recipes: Mapping[str, Tuning]
    params: Params
    drawn: Mapping[str, float]
    """What was drawn, for the record; empty in the trial of the recipe itself."""


def equal_trials(search: Search, recipes: Mapping[str, Tuning], card: MethodCard, params: Params) -> list[Trial]:
    """The recipe itself first; then random draws (Bergstra and Bengio 2012), the same recipes for every method.

    So a tuned network that two methods ask for in the same trial is trained once. A method that has nothing to
    search is tried once.
    """
    trials = [Trial(dict(recipes), params, {})]
    numeric = _searched(card, params)
    tunes = card.tunes and any(card.needs.values())
    if not tunes and not numeric:
        return trials
    for number in range(1, search.trials):
        generator = np.random.default_rng([RECIPE_STREAM, number])
        rate, length = (_factor(bounds, generator) for bounds in (search.learning_rate, search.steps))
        own_generator = np.random.default_rng([STRENGTH_STREAM, number])
        drawn = {"learning_rate_factor": rate, "steps_factor": length} if tunes else {}
        chosen = dict(params)
        for name, setting in numeric.items():
            drawn[name] = chosen[name] = _strength(search, setting, own_generator)
        changed = {alias: _scaled(recipe, rate, length) for alias, recipe in recipes.items()}
        trials.append(Trial(changed if tunes else dict(recipes), chosen, drawn))
    return trials


def strength_trials(search: Search, recipes: Mapping[str, Tuning], card: MethodCard, params: Params) -> list[Trial]:
    """The published constants first; then every other combination of the grid's factors on the strengths' defaults.

    Strengths are read by `attach` alone, so all trials stand on the same tuned networks.
    """
    numeric = _searched(card, params)
    found = {}
    for factors in product(search.strength_grid, repeat=len(numeric)):
        drawn = {
            name: _within(setting, float(setting.default) * factor)
            for (name, setting), factor in zip(numeric.items(), factors, strict=True)
        }
        found[tuple(drawn.values())] = Trial(dict(recipes), {**params, **drawn}, {})
    constants = tuple(float(setting.default) for setting in numeric.values())
    return [Trial(dict(recipes), params, {}), *(trial for values, trial in found.items() if values != constants)]


def _searched(card: MethodCard, params: Params) -> dict[str, Setting]:
    """Strengths that can be scaled; one that its user has set stays as it is."""
    return {
        name: setting
        for name, setting in card.strengths.items()
        if isinstance(setting.default, float) and setting.default and params[name] == setting.default
    }


def _factor(bounds: tuple[float, float], generator: np.random.Generator) -> float:
    low, high = bounds
    return math.exp(generator.uniform(math.log(low), math.log(high)))


def _strength(search: Search, setting: Setting, generator: np.random.Generator) -> float:
    """A factor on the default, log-uniform, within the declared range."""
    return _within(setting, float(setting.default) * _factor(search.strength, generator))


def _within(setting: Setting, value: float) -> float:
    lowest = -math.inf if setting.low is None else setting.low
    highest = math.inf if setting.high is None else setting.high
    return min(max(float(f"{value:.4g}"), lowest), highest)


def _scaled(recipe: Tuning, rate: float, length: float) -> Tuning:
    if not isinstance(recipe, Recipe):
        return recipe
    steps = max(1, round(recipe.steps * length))
    return recipe.model_copy(
        update={
            "learning_rate": float(f"{recipe.learning_rate * rate:.4g}"),
            "steps": steps,
            "warmup_steps": round(recipe.warmup_steps * steps / max(1, recipe.steps)),
        }
    )
