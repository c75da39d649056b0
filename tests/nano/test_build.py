"""The embedded models can be made again, and what ships is what was measured."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from prt_bench.api import ModelCard, Places
from prt_bench.families.clip import ClipFamily
from prt_bench.nano import build as module
from prt_bench.nano.recipes import RECIPES
from prt_bench.yaml_files import load_yaml
from tests.conftest import Bench, quiet


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipes of three steps, measured on one task."""
    short_recipes = {
        name: dataclasses.replace(recipe, steps=3, images=200, batch_size=32) for name, recipe in RECIPES.items()
    }
    monkeypatch.setattr(module, "RECIPES", short_recipes)
    monkeypatch.setattr(module, "TASKS", ("digits",))


@pytest.mark.usefixtures("short")
def test_the_same_recipe_makes_the_same_bytes(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    for attempt in ("first", "second"):
        module.build(["nano-rn16-a"], tmp_path / attempt, quiet)
    assert torch.equal(torch.get_rng_state(), before), "the global generator is left as it was"
    files = sorted(path.name for path in (tmp_path / "first" / "nano-rn16-a").iterdir())
    assert {"open_clip_model.safetensors", "open_clip_config.json", "tokenizer.json", "card.yaml"} <= set(files)
    for name in files:
        first, second = ((tmp_path / attempt / "nano-rn16-a" / name).read_bytes() for attempt in ("first", "second"))
        assert first == second, name


@pytest.mark.usefixtures("short")
def test_what_was_built_loads_as_a_model_of_ones_own(tmp_path: Path, bench: Bench) -> None:
    module.build(["nano-rn24-b"], tmp_path, quiet)
    card = load_yaml(tmp_path / "nano-rn24-b" / "card.yaml", ModelCard).model_copy(update={"embedded": False})
    network = ClipFamily().build(card, bench.task.space, "real", Places(weights_dir=tmp_path))
    assert network.module(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("alias", RECIPES)
def test_a_shipped_card_states_the_score_that_is_measured(alias: str, bench: Bench) -> None:
    logits = bench.networks.outputs(bench.model(alias), bench.task.roles["test"]).logits
    score = float((logits.argmax(1).numpy() == bench.task.roles["test"].labels).mean())
    assert bench.registry.card(alias).zero_shot["digits"] == pytest.approx(score, abs=5e-5)
    assert bench.registry.card(alias).provenance["steps"] == RECIPES[alias].steps
