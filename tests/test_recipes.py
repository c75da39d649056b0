"""Which recipe tunes a model on a task, which encoders others have published, and the equal-budget search."""

from __future__ import annotations

from pathlib import Path

import pytest

from prt_bench.errors import RequestError
from prt_bench.recipes import (
    PUBLISHED,
    equal_budget,
    published_encoder,
    published_facts,
    recipe_for,
    recipe_names,
)
from prt_bench.registry import Registry
from prt_bench.task_spec import PublishedEncoder, RecipeChange, TaskSpec
from prt_bench.tasks import plain_specs, task_spec

ENCODERS = [encoder for file in published_facts(Registry()) for encoder in file.encoders]
RECIPES = "recipes:\n  plain: {steps: 1, batch_size: 1, learning_rate: 1.0, warmup_steps: 0, weight_decay: 0, CLIP}\n"


@pytest.fixture
def elsewhere(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of task files that is the only one installed."""
    monkeypatch.setattr(Registry, "task_folders", lambda self: iter([tmp_path]))
    return tmp_path


@pytest.mark.parametrize("encoder", ENCODERS, ids=lambda encoder: encoder.repository)
def test_a_published_encoder_is_of_a_known_model_and_task_and_was_worth_its_tuning(
    encoder: PublishedEncoder, registry: Registry
) -> None:
    assert registry.card(encoder.model).hub
    spec = task_spec(encoder.task, registry)
    assert isinstance(spec, TaskSpec)
    assert encoder.untuned is not None
    assert 1 / len(spec.classes) < encoder.untuned < encoder.tuned <= 1
    assert encoder.file.endswith(".safetensors")
    assert encoder.size_bytes


def test_no_two_published_encoders_are_of_one_model_and_task_or_one_repository() -> None:
    assert len(ENCODERS) == 39
    assert len({(encoder.model, encoder.task) for encoder in ENCODERS}) == len(ENCODERS)
    assert len({encoder.repository for encoder in ENCODERS}) == len(ENCODERS)


def test_a_published_encoder_knows_how_long_it_was_tuned(registry: Registry) -> None:
    found = published_encoder("vitb16-openai", "mnist", registry)
    assert found is not None
    assert found.repository == "tanganke/clip-vit-base-patch16_mnist"
    assert (found.steps, found.batch_size, found.tuned) == (4000, 32, 0.997)


@pytest.mark.parametrize(("model", "task"), [("vitb16-laion", "mnist"), ("vitb16-openai", "aircraft"), ("no", "no")])
def test_what_nobody_has_published_is_nobodys(model: str, task: str, registry: Registry) -> None:
    assert published_encoder(model, task, registry) is None


def test_every_card_names_a_recipe_that_there_is(registry: Registry) -> None:
    names = recipe_names(registry)
    assert names[-1] == PUBLISHED
    assert {card.recipe for card in registry.cards.values()} <= set(names) - {PUBLISHED}
    embedded = {(card.family, card.recipe) for card in registry.cards.values() if card.embedded}
    assert embedded == {("clip", "embedded"), ("causal-lm", "embedded-language")}


@pytest.mark.parametrize("name", sorted(Registry().task_files()))
def test_a_shipped_task_changes_only_recipes_that_there_are(name: str, registry: Registry) -> None:
    for spec in plain_specs(task_spec(name, registry), registry):
        assert recipe_for(spec, "paper", registry).steps > 0


def test_the_recipe_without_crops_is_the_papers_without_crops(registry: Registry) -> None:
    spec = task_spec("dtd", registry)
    paper, plain = recipe_for(spec, "paper", registry), recipe_for(spec, "paper-no-augmentation", registry)
    assert paper.random_resized_crop == (0.9, 1.0)
    assert plain == paper.model_copy(update={"random_resized_crop": None})


def test_a_task_may_set_a_value_to_nought(registry: Registry) -> None:
    spec = task_spec("digits", registry).model_copy(update={"recipe": {"paper": RecipeChange(warmup_steps=0)}})
    assert recipe_for(spec, "paper", registry).warmup_steps == 0


@pytest.mark.parametrize("name", ["published", "papr"])
def test_a_recipe_that_trains_is_asked_for_by_its_name(name: str, registry: Registry) -> None:
    with pytest.raises(RequestError, match=f"unknown recipe '{name}'; did you mean"):
        recipe_for(task_spec("digits", registry), name, registry)


def test_a_task_that_changes_a_recipe_that_is_not_there_is_named(registry: Registry) -> None:
    spec = task_spec("digits", registry).model_copy(update={"recipe": {"papper": RecipeChange(steps=1)}})
    with pytest.raises(RequestError, match="task digits: recipe: unknown recipe 'papper'; did you mean paper"):
        recipe_for(spec, "embedded", registry)


def test_the_equal_budget_is_six_trials(registry: Registry) -> None:
    search = equal_budget(registry)
    assert search.trials == 6
    assert search.learning_rate == (0.1, 10.0)


def test_without_a_declared_search_there_is_no_equal_track(registry: Registry, elsewhere: Path) -> None:
    (elsewhere / "recipes.yaml").write_text(RECIPES.replace("CLIP", "clip_norm: 1"), encoding="utf-8")
    assert recipe_names(registry) == ["plain", PUBLISHED]
    with pytest.raises(RequestError, match=r"--track equal: no recipes\.yaml declares a search"):
        equal_budget(registry)


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("{trials: 0, learning_rate: [1, 2], steps: [1, 2], strength: [1, 2]}", "search.trials"),
        ("{trials: 2, learning_rate: [2, 1], steps: [1, 2], strength: [1, 2]}", "search.learning_rate: two positive"),
        ("{trials: 2, learning_rate: [1, 2], steps: [0, 2], strength: [1, 2]}", "search.steps: two positive"),
        ("{trials: 2, learning_rate: [1, 2], steps: [1, 2], strength: [-1, 2]}", "search.strength: two positive"),
    ],
)
def test_a_search_that_cannot_be_is_named_with_its_line(
    search: str, message: str, registry: Registry, elsewhere: Path
) -> None:
    text = RECIPES.replace("CLIP", "clip_norm: 1") + f"search: {search}\n"
    (elsewhere / "recipes.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(RequestError, match=rf"recipes\.yaml:3: {message}"):
        equal_budget(registry)
