"""What a run stands on that has to be fetched: named once, with its size and terms, at hand or not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from prt_bench.needs import Need, needs
from prt_bench.pins import Pin, write_pin
from prt_bench.places import write_manifest
from prt_bench.registry import Registry
from prt_bench.requests import RunRequest, choice
from prt_bench.tasks import task_spec

NANO, REAL = "nano-rn16-a:nano-rn24-b", "vitb32-laion:vitb16-openai"
LAION, OPENAI = "timm/vit_base_patch32_clip_224.laion400m_e32", "timm/vit_base_patch16_clip_224.openai"
FILE = "open_clip_model.safetensors"
OWN = """\
name: NAME
version: 1
title: Own
kind: image-classification
source: {kind: hub, repository: org/pets, files: [FILES], gated: true, size_bytes: 77}
roles: {train: {split: train}, validation: {split: train, per_class: 2}, test: {split: test}}
classes: [{name: dog}, {name: cat}]
templates: ["a {}"]
templates_source: ours
licence: MIT
"""


def asked(tmp_path: Path, own_folders: bool = False, pinned: bool = False, **words: Any) -> dict[str, Need]:
    """Repository → need."""
    request = RunRequest(**{"methods": ("zero-shot",), "store": tmp_path / "store", **words})
    registry = Registry((), request.pins if pinned else None)
    found = needs(request, choice(request, registry), registry, own_folders)
    assert len({(need.kind, need.repository) for need in found}) == len(found), "each is named once"
    return {need.repository: need for need in found}


def own(tmp_path: Path, name: str = "own", files: str = "") -> Path:
    path = tmp_path / f"{name}.yaml"
    path.write_text(OWN.replace("NAME", name).replace("FILES", files), encoding="utf-8")
    return path


def put(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")


def pin(tmp_path: Path, kind: str, repository: str, file: str) -> None:
    facts: dict[str, Any] = {"size_bytes": 1, "licence": "mit", "gated": False, "checked": "2026-01-31"}
    one = Pin(revision="c" * 40, files={file: "d" * 64}, **facts)
    write_pin(tmp_path / "store" / "pins.yaml", kind, repository, one)


def test_what_ships_with_the_package_is_not_needed(tmp_path: Path) -> None:
    assert asked(tmp_path, pairs=(NANO,), tasks=("digits", "letters")) == {}


def test_weights_and_data_are_named_with_their_size_and_terms(tmp_path: Path, registry: Registry) -> None:
    found = asked(tmp_path, pairs=(REAL,), tasks=("dtd", "digits"))
    assert list(found) == [LAION, OPENAI, "mcimpoi/dtd_split_1"]
    weights, data = found[LAION], found["mcimpoi/dtd_split_1"]
    card, spec = registry.card("vitb32-laion"), task_spec("dtd", registry)
    (source,) = spec.hub_data
    assert (weights.kind, weights.what, weights.files) == ("model", "weights of vitb32-laion", (FILE,))
    assert (weights.size_bytes, weights.licence, weights.gated) == (card.size_bytes, card.licence, False)
    assert (data.kind, data.what) == ("dataset", "data of dtd")
    assert (data.size_bytes, data.licence) == (source.size_bytes, spec.licence)
    assert all(need.size_bytes for need in found.values())
    assert weights.folder == tmp_path / "store" / "weights" / LAION
    assert data.folder == tmp_path / "store" / "data" / "mcimpoi" / "dtd_split_1"


def test_a_repository_is_named_once_however_often_it_is_used(tmp_path: Path) -> None:
    pairs = (REAL, "vitb16-openai:vitb32-laion", "vitb32-laion:vitl14-openai")
    data = (own(tmp_path, "one"), own(tmp_path, "two"))
    found = asked(tmp_path, pairs=pairs, data=data)
    assert list(found) == [LAION, OPENAI, "timm/vit_large_patch14_clip_224.openai", "org/pets"]


def test_a_repository_that_two_tasks_use_is_fetched_with_the_files_of_both(tmp_path: Path) -> None:
    data = (own(tmp_path, "one", '"one/*"'), own(tmp_path, "two", '"two/*"'))
    assert set(asked(tmp_path, pairs=(NANO,), data=data)["org/pets"].files) == {"one/*", "two/*"}


def test_a_task_whose_files_were_not_fetched_with_anothers_is_not_at_hand(tmp_path: Path) -> None:
    """Two tasks of one repository: the folder holds the files of the first alone."""
    folder = tmp_path / "store" / "data" / "org" / "pets"
    put(folder / "one" / "train.parquet")
    described = [{"name": "one/train.parquet", "size": 7, "sha256": "ab"}]
    write_manifest(folder, "org/pets", "a" * 40, described)
    first = asked(tmp_path, pairs=(NANO,), data=(own(tmp_path, "one", '"one/*"'),))["org/pets"]
    other = asked(tmp_path, pairs=(NANO,), data=(own(tmp_path, "two", '"two/*"'),))["org/pets"]
    assert first.at_hand
    assert not other.at_hand


def test_an_own_task_file_says_what_it_needs(tmp_path: Path) -> None:
    found = asked(tmp_path, pairs=(NANO,), data=(own(tmp_path, files='"a-*", "b-*"'),))["org/pets"]
    assert (found.files, found.size_bytes, found.licence, found.gated) == (("a-*", "b-*"), 77, "MIT", True)
    assert (found.what, found.at_hand, found.verified, found.revision) == ("data of own", False, False, None)


def test_a_file_of_label_names_comes_along_with_the_files_that_are_needed(tmp_path: Path) -> None:
    path = own(tmp_path, files='"a-*"')
    text = path.read_text(encoding="utf-8").replace("gated: true", "label_names: {file: names.txt}")
    path.write_text(text, encoding="utf-8")
    assert asked(tmp_path, pairs=(NANO,), data=(path,))["org/pets"].files == ("a-*", "names.txt")
    path.write_text(text.replace('files: ["a-*"], ', ""), encoding="utf-8")
    assert asked(tmp_path, pairs=(NANO,), data=(path,))["org/pets"].files == (), "all of them, then"


def test_an_own_image_folder_needs_nothing(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    assert asked(tmp_path, pairs=(NANO,), data=(tmp_path / "pictures",)) == {}


@pytest.mark.parametrize("place", ["store/weights/" + LAION, "mine/vitb32-laion", "mine/" + LAION])
def test_weights_are_at_hand_wherever_they_are_found(tmp_path: Path, place: str) -> None:
    words: dict[str, Any] = {"pairs": (REAL,), "tasks": ("digits",), "weights_dir": tmp_path / "mine"}
    assert not asked(tmp_path, **words)[LAION].at_hand
    put(tmp_path / place / FILE)
    found = asked(tmp_path, **words)
    assert (found[LAION].at_hand, found[OPENAI].at_hand) == (True, False)


def test_data_is_at_hand_once_it_is_whole(tmp_path: Path) -> None:
    words: dict[str, Any] = {"pairs": (NANO,), "data": (own(tmp_path),)}
    put(tmp_path / "store" / "data" / "org" / "pets" / "train.parquet")
    assert not asked(tmp_path, **words)["org/pets"].at_hand
    write_manifest(tmp_path / "store" / "data" / "org" / "pets", "org/pets", "a" * 40, [])
    assert asked(tmp_path, **words)["org/pets"].at_hand


def test_data_of_ones_own_is_at_hand(tmp_path: Path) -> None:
    (tmp_path / "mine" / "own").mkdir(parents=True)
    found = asked(tmp_path, pairs=(NANO,), data=(own(tmp_path),), data_dir=tmp_path / "mine")
    assert found["org/pets"].at_hand


def test_what_is_pinned_is_asked_for_at_its_commit(tmp_path: Path) -> None:
    words: dict[str, Any] = {"pairs": (REAL,), "data": (own(tmp_path),), "pinned": True}
    before = asked(tmp_path, **words)
    assert not any(need.verified or need.revision for need in before.values())
    pin(tmp_path, "model", LAION, FILE)
    pin(tmp_path, "dataset", "org/pets", "train.parquet")
    after = asked(tmp_path, **words)
    assert {name for name, need in after.items() if need.verified} == {LAION, "org/pets"}
    assert {need.revision for need in after.values()} == {"c" * 40, None}


def test_a_commit_that_a_task_file_names_stands_before_the_pin(tmp_path: Path) -> None:
    path = own(tmp_path)
    path.write_text(path.read_text().replace("gated: true", f"revision: {'b' * 40}"), encoding="utf-8")
    pin(tmp_path, "dataset", "org/pets", "train.parquet")
    assert asked(tmp_path, pairs=(NANO,), data=(path,), pinned=True)["org/pets"].revision == "b" * 40


def test_a_fetch_fills_ones_own_folders_where_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    words: dict[str, Any] = {"pairs": (REAL,), "data": (own(tmp_path),)}
    mine: dict[str, Any] = {"weights_dir": tmp_path / "mine", "data_dir": tmp_path / "data"}
    for own_folders in (False, True):
        found = asked(tmp_path, own_folders, **words, **mine)
        weights = tmp_path / "mine" if own_folders else tmp_path / "store" / "weights"
        data = tmp_path / "data" if own_folders else tmp_path / "store" / "data"
        assert (found[LAION].folder, found["org/pets"].folder) == (weights / LAION, data / "org" / "pets")
    found = asked(tmp_path, own_folders=True, **words)
    assert found[LAION].folder == tmp_path / "store" / "weights" / LAION
    assert found["org/pets"].folder == tmp_path / "store" / "data" / "org" / "pets"


def test_the_published_recipe_needs_an_encoder_of_both_models_on_each_task(tmp_path: Path) -> None:
    words: dict[str, Any] = {"pairs": ("vitb32-openai:vitb16-openai",), "tasks": ("dtd", "aircraft")}
    assert not any("tanganke/clip" in name for name in asked(tmp_path, **words))
    found = asked(tmp_path, recipe="published", **words)
    tuned = {name: need for name, need in found.items() if "tanganke/clip" in name}
    assert set(tuned) == {f"tanganke/clip-vit-base-patch{side}_dtd" for side in (16, 32)}
    suite = asked(tmp_path, suite="published", **words)
    assert {name for name in suite if "tanganke/clip" in name} == set(tuned), "whoever names the recipe"
    one = tuned["tanganke/clip-vit-base-patch32_dtd"]
    assert (one.what, one.files, one.licence) == ("vitb32-openai tuned on dtd", ("model.safetensors",), "not stated")
    assert (one.kind, one.at_hand, one.verified, one.size_bytes) == ("model", False, False, 349823000)
    put(tmp_path / "store" / "weights" / one.repository / "model.safetensors")
    pin(tmp_path, "model", one.repository, "model.safetensors")
    again = asked(tmp_path, recipe="published", pinned=True, **words)[one.repository]
    assert (again.at_hand, again.verified, again.revision) == (True, True, "c" * 40)
