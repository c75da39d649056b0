"""What a request becomes: suites fill up what is not named, and what cannot be is refused in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prt_bench.errors import RequestError
from prt_bench.models import parse_pair
from prt_bench.recipes import PUBLISHED, published_encoder, recipe_names
from prt_bench.registry import Registry
from prt_bench.requests import RunRequest, Suite, choice, suites

NANO, REAL = "nano-rn16-a:nano-rn24-b", "vitb16-laion:vitl14-openai"
EIGHT = {"aircraft", "caltech101", "cars", "cifar100", "country211", "cub", "flowers102", "resisc45"}
NINE_MORE = {"eurosat", "gtsrb", "svhn", "dtd", "mnist", "fashion-mnist", "pets", "food101", "sun397"}
SUITES = suites(Registry()).suites
FAMILY = """
from prt_bench.api import Family, ModelCard

class Toy(Family):
    name = "toy"
    def cards(self):
        return [ModelCard(alias="toy", family="toy", architecture="t")]
    def build(self, card, space, weights, places):
        raise NotImplementedError
"""


def chosen(registry: Registry, **words: Any) -> Suite:
    return choice(RunRequest(store=Path("store"), **words), registry)


@pytest.mark.parametrize("name", sorted(SUITES))
def test_a_suite_names_only_what_there_is(name: str, registry: Registry) -> None:
    suite = SUITES[name]
    assert suite.title
    for text in suite.pairs:
        parse_pair(text, registry)
    assert set(suite.tasks) <= set(registry.task_files())
    assert {registry.method(text).label for text in suite.methods} == set(suite.methods)
    assert suite.recipe is None or suite.recipe in recipe_names(registry)
    for named in (suite.pairs, suite.tasks, suite.methods):
        assert len(set(named)) == len(named) > 0


@pytest.mark.parametrize(("name", "tasks"), [("vision-8", EIGHT), ("vision-17", EIGHT | NINE_MORE)])
def test_the_papers_suites_hold_the_papers_tasks(name: str, tasks: set[str]) -> None:
    suite = SUITES[name]
    assert set(suite.tasks) == tasks
    assert len(suite.tasks) == int(name.removeprefix("vision-"))
    assert suite.seeds == 3


def test_the_published_suite_has_an_encoder_of_every_model_on_every_task(registry: Registry) -> None:
    suite = SUITES["published"]
    assert suite.recipe == PUBLISHED
    assert suite.seeds == 1
    aliases = {alias for text in suite.pairs for alias in text.split(":")}
    lacking = [(a, t) for a in aliases for t in suite.tasks if published_encoder(a, t, registry) is None]
    assert lacking == []


def test_every_suite_can_be_asked_for_by_its_name(registry: Registry) -> None:
    for name, suite in SUITES.items():
        assert chosen(registry, suite=name) == suite


@pytest.mark.parametrize(
    ("pairs", "suite"),
    [((), "demo"), ((NANO,), "demo"), ((REAL,), "vision-8"), (("nano-rn16-a:vitb32-laion",), "vision-8")],
)
def test_what_is_not_named_comes_from_the_suite_of_the_targets_kind(
    pairs: tuple[str, ...], suite: str, registry: Registry
) -> None:
    found = chosen(registry, pairs=pairs)
    assert found == SUITES[suite].model_copy(update={"pairs": pairs or SUITES[suite].pairs})


def test_what_is_named_stands_and_the_rest_is_filled_up(registry: Registry) -> None:
    found = chosen(registry, pairs=(NANO,), tasks=("letters",), seeds=2)
    assert (found.tasks, found.methods, found.seeds) == (("letters",), SUITES["demo"].methods, 2)
    found = chosen(registry, pairs=(REAL,), methods=("prt",))
    assert (found.tasks, found.methods, found.seeds) == (SUITES["vision-8"].tasks, ("prt",), 3)


def test_a_request_that_names_all_needs_no_suite(registry: Registry) -> None:
    found = chosen(registry, pairs=(REAL,), tasks=("dtd",), methods=("prt",))
    assert (found.seeds, found.recipe, found.title) == (1, None, "")


def test_own_data_takes_the_place_of_a_suites_tasks(registry: Registry) -> None:
    found = chosen(registry, pairs=(NANO,), data=(Path("pictures"),))
    assert found.tasks == ()
    assert found.methods == SUITES["demo"].methods


def test_a_recipe_that_is_named_stands_before_the_suites(registry: Registry) -> None:
    assert chosen(registry, suite="published", recipe="paper").recipe == "paper"
    assert chosen(registry, suite="published").recipe == PUBLISHED
    assert chosen(registry, suite="demo", recipe="embedded").recipe == "embedded"


def test_a_family_without_a_default_suite_asks_for_tasks(tmp_path: Path) -> None:
    plugin = tmp_path / "toy.py"
    plugin.write_text(FAMILY, encoding="utf-8")
    registry = Registry((plugin,))
    with pytest.raises(RequestError, match="family toy has no default suite; name tasks with --task"):
        chosen(registry, pairs=("toy:toy",))
    found = chosen(registry, pairs=("toy:toy",), tasks=("digits",))
    assert (found.tasks, found.methods) == (("digits",), SUITES["demo"].methods)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"suite": "visoin-8"}, "unknown suite 'visoin-8'; did you mean vision-8"),
        ({"recipe": "papre"}, "unknown recipe 'papre'; did you mean paper"),
        ({"recipe": "publish"}, "unknown recipe 'publish'; did you mean published"),
        ({"recipe": PUBLISHED, "seeds": 3}, "--seeds 3: every published encoder was tuned once; use --seeds 1"),
        ({"suite": "published", "seeds": 2}, "--seeds 2: every published encoder"),
        ({"recipe": PUBLISHED, "track": "equal"}, "--track equal: published encoders leave nothing to search"),
        ({"suite": "published", "track": "equal"}, "--track equal: published encoders leave nothing to search"),
        ({"pairs": (REAL,), "device": "cuda:x"}, "--device cuda:x: one of cpu"),
        ({"seeds": 0}, "--seeds 0: at least one seed"),
        ({"pairs": ("vitb16-laoin:vitl14-openai",)}, "did you mean vitb16-laion"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(words: dict[str, Any], message: str, registry: Registry) -> None:
    with pytest.raises(RequestError) as caught:
        chosen(registry, **words)
    assert message in str(caught.value)


def test_the_published_recipe_goes_with_one_seed_and_the_papers_track(registry: Registry) -> None:
    for seeds in (None, 1):
        found = chosen(registry, pairs=(REAL,), recipe=PUBLISHED, seeds=seeds)
        assert (found.recipe, found.seeds) == (PUBLISHED, 1), "the suite's three seeds are for recipes that train"


def test_weights_and_pins_are_kept_in_the_store(tmp_path: Path) -> None:
    request = RunRequest(store=tmp_path, weights_dir=tmp_path / "mine")
    assert request.places.cache == tmp_path / "weights"
    assert request.places.weights_dir == tmp_path / "mine"
    assert request.pins == tmp_path / "pins.yaml"
