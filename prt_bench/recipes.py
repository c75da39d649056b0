"""Which recipe tunes a model on a task: a base recipe as the task changes it, or an encoder that others published."""

from __future__ import annotations

import math

from prt_bench.errors import RequestError, did_you_mean
from prt_bench.registry import Registry
from prt_bench.task_spec import PublishedEncoder, PublishedEncoders, Recipe, RecipeChange, Recipes, Search, SpecHead
from prt_bench.yaml_files import load_yaml

__all__ = [
    "PUBLISHED",
    "equal_budget",
    "in_steps",
    "published_encoder",
    "published_facts",
    "recipe_for",
    "recipe_names",
]

PUBLISHED = "published"
"""The recipe that trains nothing: tuned encoders are taken from those who published them."""


def recipe_names(registry: Registry) -> list[str]:
    """Every recipe that a run may name."""
    return [*_base_recipes(registry), PUBLISHED]


def recipe_for(task: SpecHead, name: str, registry: Registry) -> Recipe:
    """The recipe of that name as the task changes it. Raises RequestError where there is none of the name."""
    known = _base_recipes(registry)
    if name not in known:
        raise RequestError(f"unknown recipe {name!r}{did_you_mean(name, [*known, PUBLISHED])}")
    for other in task.recipe:
        if other not in known:
            raise RequestError(f"task {task.name}: recipe: unknown recipe {other!r}{did_you_mean(other, known)}")
    change = task.recipe.get(name, RecipeChange())
    return known[name].model_copy(update=change.model_dump(exclude_none=True))


def in_steps(recipe: Recipe, examples: int) -> Recipe:
    """The recipe with its steps and its warm-up counted out, where it gives passes over the examples."""
    steps = recipe.steps
    if recipe.epochs is not None:
        steps = max(1, math.ceil(recipe.epochs * examples / recipe.batch_size))
    warmup = recipe.warmup_steps if recipe.warmup_ratio is None else math.ceil(recipe.warmup_ratio * steps)
    return recipe.model_copy(update={"steps": steps, "warmup_steps": warmup})


def published_encoder(model: str, task: str, registry: Registry) -> PublishedEncoder | None:
    """The published encoder of a model on a task, or None."""
    for file in published_facts(registry):
        for encoder in file.encoders:
            if (encoder.model, encoder.task) == (model, task):
                return encoder.model_copy(update={"steps": file.steps, "batch_size": file.batch_size})
    return None


def published_facts(registry: Registry) -> list[PublishedEncoders]:
    """All installed lists of published encoders."""
    paths = [folder / "published.yaml" for folder in registry.task_folders()]
    return [load_yaml(path, PublishedEncoders) for path in paths if path.is_file()]


def equal_budget(registry: Registry) -> Search:
    """The search of the equal-budget track. Raises RequestError where no installed package declares one."""
    for file in _recipe_files(registry):
        if file.search is not None:
            return file.search
    raise RequestError("--track equal: no recipes.yaml declares a search")


def _recipe_files(registry: Registry) -> list[Recipes]:
    paths = [folder / "recipes.yaml" for folder in registry.task_folders()]
    return [load_yaml(path, Recipes) for path in paths if path.is_file()]


def _base_recipes(registry: Registry) -> dict[str, Recipe]:
    return {name: recipe for file in _recipe_files(registry) for name, recipe in file.recipes.items()}
