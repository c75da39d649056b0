"""Where weights and data are looked for, in which order, and what is said where they are nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from prt_bench.api import Places
from prt_bench.errors import MissingError, RequestError
from prt_bench.places import (
    MANIFEST,
    UNFINISHED,
    find_data,
    find_encoder,
    find_weights,
    manifest,
    weight_places,
    write_manifest,
)
from prt_bench.registry import Registry
from prt_bench.store import Store
from prt_bench.task_spec import HubSource, PublishedEncoder

ALIAS, HUB, FILE = "vitb32-laion", "timm/vit_base_patch32_clip_224.laion400m_e32", "open_clip_model.safetensors"
SOURCE = HubSource(kind="hub", repository="org/pets")
ENCODER = PublishedEncoder(repository="org/tuned", model="vitb32-openai", task="pets", tuned=0.9)


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(tmp_path / "mine", tmp_path / "store" / "weights")


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"weights")
    return path


def test_weights_are_taken_from_the_first_place_that_has_them(
    places: Places, tmp_path: Path, registry: Registry
) -> None:
    """The user's folder before the store; in each, the alias before the repository."""
    mine, store = tmp_path / "mine", tmp_path / "store" / "weights"
    in_order = [mine / ALIAS / FILE, mine / HUB / FILE, store / ALIAS / FILE, store / HUB / FILE]
    card = registry.card(ALIAS)
    assert weight_places(HUB, FILE, ALIAS, places) == in_order
    for path in reversed(in_order):
        put(path)
        assert find_weights(card, FILE, places) == path


def test_without_a_folder_of_ones_own_only_the_store_is_looked_in(tmp_path: Path, registry: Registry) -> None:
    store = tmp_path / "weights"
    put(tmp_path / "mine" / ALIAS / FILE)
    with pytest.raises(MissingError):
        find_weights(registry.card(ALIAS), FILE, Places(None, store))
    put(store / HUB / FILE)
    assert find_weights(registry.card(ALIAS), FILE, Places(None, store)) == store / HUB / FILE


def test_a_folder_where_the_file_should_be_is_no_weights(places: Places, tmp_path: Path, registry: Registry) -> None:
    (tmp_path / "mine" / ALIAS / FILE).mkdir(parents=True)
    with pytest.raises(MissingError):
        find_weights(registry.card(ALIAS), FILE, places)


def test_missing_weights_are_named_with_all_places_and_the_ways_out(
    places: Places, tmp_path: Path, registry: Registry
) -> None:
    with pytest.raises(MissingError) as caught:
        find_weights(registry.card(ALIAS), FILE, places)
    said = str(caught.value)
    for path in weight_places(HUB, FILE, ALIAS, places):
        assert str(path) in said
    for way in (f"prt-bench fetch --pair {ALIAS}:{ALIAS}", "--weights-dir DIR", f"DIR/{ALIAS}/{FILE}", "--pair nano-"):
        assert way in said


def test_a_published_encoder_is_looked_for_by_its_repository_alone(places: Places, tmp_path: Path) -> None:
    put(tmp_path / "mine" / "vitb32-openai" / "model.safetensors")
    with pytest.raises(MissingError) as caught:
        find_encoder(ENCODER, places)
    mine, store = (tmp_path / folder / "org" / "tuned" / "model.safetensors" for folder in ("mine", "store/weights"))
    for text in (str(mine), str(store), "--recipe published --pair vitb32-openai:vitb32-openai --task pets"):
        assert text in str(caught.value)
    put(store)
    assert find_encoder(ENCODER, places) == store
    put(mine)
    assert find_encoder(ENCODER, places) == mine


def test_data_is_an_image_folder_before_a_mirror_before_what_was_fetched(tmp_path: Path) -> None:
    store, mine = Store(tmp_path / "store"), tmp_path / "data"
    mine.mkdir()
    fetched = store.root / "data" / "org" / "pets"
    write_manifest(fetched, "org/pets", "a" * 40, [])
    found = find_data("pets", SOURCE, mine, store)
    assert (found.folder, found.plain, found.own) == (fetched, False, False)
    (mine / "org" / "pets").mkdir(parents=True)
    found = find_data("pets", SOURCE, mine, store)
    assert (found.folder, found.plain, found.own) == (mine / "org" / "pets", False, True)
    (mine / "pets").mkdir()
    found = find_data("pets", SOURCE, mine, store)
    assert (found.folder, found.plain, found.own) == (mine / "pets", True, True)
    found = find_data("pets", SOURCE, None, store)
    assert found.folder == fetched, "without --data-dir the store is all there is"


def test_what_was_fetched_in_part_is_not_at_hand(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    fetched = store.root / "data" / "org" / "pets"
    put(fetched / "data" / "train-00000.parquet")
    with pytest.raises(MissingError):
        find_data("pets", SOURCE, None, store)
    write_manifest(fetched, "org/pets", "a" * 40, [])
    assert find_data("pets", SOURCE, None, store).folder == fetched


def test_a_copy_of_ones_own_that_is_still_being_fetched_is_not_at_hand(tmp_path: Path) -> None:
    mine, store = tmp_path / "data", Store(tmp_path / "store")
    put(mine / "org" / "pets" / UNFINISHED)
    with pytest.raises(MissingError):
        find_data("pets", SOURCE, mine, store)
    write_manifest(mine / "org" / "pets", "org/pets", "a" * 40, [])
    assert find_data("pets", SOURCE, mine, store).folder == mine / "org" / "pets"


def test_missing_data_is_named_with_all_places_and_the_ways_out(tmp_path: Path) -> None:
    mine = tmp_path / "data"
    mine.mkdir()
    with pytest.raises(MissingError) as caught:
        find_data("pets", SOURCE, mine, Store(tmp_path / "store"))
    tried = (mine / "pets", mine / "org" / "pets", tmp_path / "store" / "data" / "org" / "pets")
    ways = ("prt-bench fetch --task pets", "--data-dir DIR", "DIR/pets/{train,test}/CLASS/", "DIR/org/pets/")
    for text in (*map(str, tried), *ways):
        assert text in str(caught.value)


def test_a_data_folder_that_is_not_there_is_a_mistake_and_not_missing_data(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"--data-dir .*no such folder") as caught:
        find_data("pets", SOURCE, tmp_path / "nowhere", Store(tmp_path / "store"))
    assert not isinstance(caught.value, MissingError), "a plan must not go on as if it could be fetched"


def test_a_manifest_says_what_was_fetched(tmp_path: Path) -> None:
    assert manifest(tmp_path) is None
    files = [{"name": "data/é.parquet", "size": 3, "sha256": "ab"}]
    write_manifest(tmp_path, "org/pets", "a" * 40, files)
    assert manifest(tmp_path) == {"repository": "org/pets", "revision": "a" * 40, "files": files}


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text("{", encoding="utf-8")
    with pytest.raises(RequestError, match=rf"{MANIFEST}: damaged .*delete the folder and fetch again"):
        manifest(tmp_path)
