"""Task files and the data behind them: pinned where it is ours, told apart where it is the user's."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prt_bench.errors import RequestError
from prt_bench.language_spec import LanguageSpec
from prt_bench.recipes import recipe_for
from prt_bench.registry import Registry
from prt_bench.store import Store
from prt_bench.task_spec import DerivedSpec, TaskSpec
from prt_bench.tasks import Task, TaskSource, load_own, load_task, task_spec

TASKS = sorted(Registry().task_files())
SPECS = {name: spec for name in TASKS if not isinstance(spec := task_spec(name, Registry()), DerivedSpec)}
PICTURES = {name: spec for name, spec in SPECS.items() if isinstance(spec, TaskSpec)}
TEXTS = {name: spec for name, spec in SPECS.items() if isinstance(spec, LanguageSpec)}
AT_HAND = [name for name, spec in PICTURES.items() if spec.source.kind != "hub"]
TEXTS_AT_HAND = [name for name, spec in TEXTS.items() if not spec.hub_data]
CLASSES = ("cat", "dog")

OWN = """\
name: pets
version: 3
title: Pets
kind: image-classification
source: {kind: hub, repository: org/pets}
roles:
  train: {split: train, size: TRAIN}
  validation: {split: train, per_class: 2}
  test: {split: test, size: 6}
classes: [{name: dog}, {name: cat}]
templates: ["a {}"]
templates_source: ours
licence: MIT
"""


def quiet(title: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


@pytest.fixture
def source(tmp_path: Path, registry: Registry) -> TaskSource:
    return TaskSource(registry, Store(tmp_path / "store"), tmp_path / "data", quiet)


def pictures(root: Path, train: int = 5, test: int = 3) -> Path:
    for split, count in (("train", train), ("test", test)):
        for name in CLASSES:
            (root / split / name).mkdir(parents=True)
            for index in range(count):
                colour = (index, train, 100 * CLASSES.index(name) + len(split))
                Image.new("RGB", (4, 4), colour).save(root / split / name / f"{index}.png")
    return root


def own_task(source: TaskSource, tmp_path: Path, train: int = 6, text: str = OWN) -> Task:
    path = tmp_path / "pets.yaml"
    path.write_text(text.replace("TRAIN", str(train)), encoding="utf-8")
    return load_own(path, source)


@pytest.mark.parametrize("name", sorted(SPECS))
def test_a_shipped_task_file_is_sane(name: str) -> None:
    spec = SPECS[name]
    assert (name in PICTURES) != (name in TEXTS)
    assert spec.name == name
    assert spec.title
    assert spec.licence not in {"", "unknown"}
    assert spec.primary


@pytest.mark.parametrize("name", PICTURES)
def test_a_shipped_task_of_pictures_is_sane(name: str, registry: Registry) -> None:
    spec = PICTURES[name]
    assert len(set(spec.space.labels)) == len(spec.classes) >= 2
    assert all("_" not in entry.name and entry.name == entry.name.strip() for entry in spec.classes)
    assert len(set(spec.templates)) == len(spec.templates)
    assert all(template == template.strip() for template in spec.templates)
    assert all(role.size for role in (spec.roles.train, spec.roles.validation, spec.roles.test))
    if spec.anchors is not None:
        assert set(spec.anchors.scores) <= set(registry.cards)
        assert all(0 < value < 1 for value in spec.anchors.scores.values())


@pytest.mark.parametrize("name", AT_HAND)
def test_a_shipped_task_without_download_has_its_pinned_sizes(name: str, source: TaskSource) -> None:
    task = load_task(name, source)
    spec = PICTURES[name]
    for role, pinned in (("train", spec.roles.train), ("validation", spec.roles.validation), ("test", spec.roles.test)):
        assert len(task.roles[role]) == pinned.size
        assert set(np.unique(task.roles[role].labels)) == set(range(len(spec.classes)))
    assert task.version == spec.version
    assert task.pinned
    ids = [item for role in task.roles.values() for item in role.ids]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", TEXTS_AT_HAND)
def test_a_shipped_task_of_texts_without_download_has_its_roles(name: str, source: TaskSource) -> None:
    task = load_task(name, source)
    assert set(task.roles) == {"train", "validation", "test"}
    assert len(task.roles["validation"]) == TEXTS[name].train.validation
    assert min(map(len, task.roles.values())) > 0
    assert task.version == TEXTS[name].version
    assert task.pinned
    ids = [item for role in task.roles.values() for item in role.ids]
    assert len(set(ids)) == len(ids)


def test_digits_test_on_other_writers_than_they_train_on(source: TaskSource) -> None:
    roles = load_task("digits-full", source).roles
    place = {role: [int(name.split("/")[1]) for name in roles[role].ids] for role in roles}
    assert max(place["train"] + place["validation"]) == 999
    assert place["test"] == list(range(1000, 1797))


def test_a_task_is_the_same_each_time(source: TaskSource) -> None:
    first, again = (load_task("letters", source) for _ in range(2))
    assert first.identity == again.identity
    assert first.identity != load_task("textures", source).identity


def test_an_unknown_task_is_answered_with_near_names(registry: Registry) -> None:
    with pytest.raises(RequestError, match=r"unknown task 'didgits'; did you mean digits"):
        task_spec("didgits", registry)


def test_a_folder_of_other_sizes_than_pinned_is_a_local_variant(source: TaskSource, tmp_path: Path) -> None:
    pictures(tmp_path / "data" / "pets")
    task = own_task(source, tmp_path, train=54000)
    assert re.fullmatch(r"3\+local\.[0-9a-f]{8}", task.version)
    assert len(task.roles["test"]) == 6


def test_a_folder_of_the_pinned_sizes_is_the_task_itself(source: TaskSource, tmp_path: Path) -> None:
    pictures(tmp_path / "data" / "pets")
    task = own_task(source, tmp_path)
    assert task.version == "3"
    assert {role: len(part) for role, part in task.roles.items()} == {"train": 6, "validation": 4, "test": 6}


def test_a_folder_too_small_for_the_tasks_cut_is_a_local_variant(source: TaskSource, tmp_path: Path) -> None:
    """`per_class: 20` cannot be met by five images of a class."""
    pictures(tmp_path / "data" / "pets")
    task = own_task(source, tmp_path, text=OWN.replace("per_class: 2", "per_class: 20"))
    assert task.version.startswith("3+local.")


def test_other_pictures_of_the_same_sizes_give_another_variant(source: TaskSource, tmp_path: Path) -> None:
    versions = set()
    for round_number in range(2):
        root = pictures(tmp_path / "data" / "pets") if round_number == 0 else tmp_path / "data" / "pets"
        if round_number:
            Image.new("RGB", (4, 4), (77, 77, 77)).save(root / "test" / "cat" / "0.png")
        versions.add(own_task(source, tmp_path, train=100).version)
    assert len(versions) == 2


def test_labels_of_a_folder_follow_the_task_files_order(source: TaskSource, tmp_path: Path) -> None:
    pictures(tmp_path / "data" / "pets")
    task = own_task(source, tmp_path)
    for role in task.roles.values():
        assert [CLASSES[1 - label] for label in role.labels] == [Path(name).parent.name for name in role.ids]


def test_a_task_file_beside_its_folder_is_read(source: TaskSource, tmp_path: Path) -> None:
    pictures(tmp_path / "nearby")
    text = OWN.replace("{kind: hub, repository: org/pets}", "{kind: folder, path: nearby}")
    assert own_task(source, tmp_path, text=text).version == "3"


def test_a_bare_folder_is_a_task_of_its_own(source: TaskSource, tmp_path: Path) -> None:
    task = load_own(pictures(tmp_path / "My Pets (2024)", train=20), source)
    assert task.name == "my-pets-2024"
    assert re.fullmatch(r"0\+local\.[0-9a-f]{8}", task.version)
    assert task.space.labels == CLASSES
    assert {role: len(part) for role, part in task.roles.items()} == {"train": 36, "validation": 4, "test": 6}


def test_a_folder_with_one_picture_per_class_cannot_be_cut(source: TaskSource, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="task few: role validation: no example of split train is left"):
        load_own(pictures(tmp_path / "few", train=1), source)


def test_the_identity_follows_everything_that_can_change_a_score(source: TaskSource, tmp_path: Path) -> None:
    pictures(tmp_path / "data" / "pets")
    texts = [
        OWN,
        OWN.replace("version: 3", "version: 4"),
        OWN.replace('"a {}"', '"the {}"'),
        OWN.replace("name: dog", "name: a hound, labels: [dog]"),
        OWN.replace("[{name: dog}, {name: cat}]", "[{name: cat}, {name: dog}]"),
        OWN.replace("licence: MIT", "licence: MIT\nmetrics: {primary: mean_per_class}"),
    ]
    assert len({own_task(source, tmp_path, text=text).identity for text in texts}) == len(texts)
    same = OWN.replace("title: Pets", "title: Animals") + "recipe: {paper: {steps: 7}}\n"
    assert own_task(source, tmp_path, text=same).identity == own_task(source, tmp_path).identity


def test_a_task_changes_single_values_of_a_recipe(source: TaskSource, tmp_path: Path, registry: Registry) -> None:
    pictures(tmp_path / "data" / "pets")
    plain = own_task(source, tmp_path).spec
    changed = own_task(source, tmp_path, text=OWN + "recipe: {paper: {steps: 7, learning_rate: 0.5}}\n").spec
    base = recipe_for(plain, "paper", registry)
    assert recipe_for(changed, "paper", registry) == base.model_copy(update={"steps": 7, "learning_rate": 0.5})
    assert recipe_for(changed, "embedded", registry) == recipe_for(plain, "embedded", registry) != base


def test_the_papers_recipe_is_the_papers(registry: Registry) -> None:
    """PRT (ICML 2025), section 5: 2,000 steps of batches of 128 at 1e-5, 500 of them warm-up."""
    recipe = recipe_for(task_spec("eurosat", registry), "paper", registry)
    assert (recipe.steps, recipe.batch_size, recipe.learning_rate, recipe.warmup_steps) == (2000, 128, 1e-5, 500)


def test_an_unknown_recipe_is_answered_with_near_names(registry: Registry) -> None:
    with pytest.raises(RequestError, match="unknown recipe 'papre'; did you mean paper"):
        recipe_for(task_spec("digits", registry), "papre", registry)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("{kind: builtin, name: digit}", "unknown built-in data set 'digit'; did you mean digits"),
        ("{kind: procedural, name: shape, counts: {train: 9}}", "unknown procedural domain 'shape'; did you mean"),
        ("{kind: procedural, name: shapes, counts: {tests: 9}}", "procedural domain shapes: unknown split 'tests'"),
        ("{kind: folder, path: gone}", "gone: no such folder"),
    ],
)
def test_a_source_that_is_not_there_is_named(source: TaskSource, tmp_path: Path, kind: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        own_task(source, tmp_path, text=OWN.replace("{kind: hub, repository: org/pets}", kind))


def test_a_task_file_of_ones_own_keeps_its_word_about_sizes(tmp_path: Path, registry: Registry) -> None:
    for split, count in (("train", 6), ("test", 2)):
        for number, name in enumerate(("cat", "dog")):
            folder = tmp_path / "pets" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                Image.new("RGB", (8, 8), (number, index, count)).save(folder / f"{index}.png")
    text = """
name: pets
version: 1
title: Pets
kind: image-classification
source: {kind: folder, path: pets}
roles:
  train: {split: train}
  validation: {split: train, per_class: 2}
  test: {split: test, size: 99}
classes: [{name: cat}, {name: dog}]
templates: ["a photo of a {}."]
templates_source: mine
licence: mine
"""
    (tmp_path / "pets.yaml").write_text(text)
    source = TaskSource(registry, Store(tmp_path / "store"), None, lambda title, done, total: None)
    with pytest.raises(RequestError, match="role test has 4 examples where the task pins 99"):
        load_own(tmp_path / "pets.yaml", source)
    (tmp_path / "pets.yaml").write_text(text.replace("size: 99", "size: 4"))
    task = load_own(tmp_path / "pets.yaml", source)
    assert (task.version, len(task.roles["train"]), len(task.roles["validation"])) == ("1", 8, 4)
    (tmp_path / "pets.yaml").write_text(text.replace("size: 99", "size: 4") + "recipe: {embeded: {steps: 3}}\n")
    with pytest.raises(RequestError, match="embedded"):
        recipe_for(load_own(tmp_path / "pets.yaml", source).spec, "embedded", registry)
