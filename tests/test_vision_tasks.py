"""The shipped vision tasks: official sizes, whole class lists, and every name joined to the right label."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import yaml
from pydantic import ValidationError

from prt_bench.files import digest
from prt_bench.registry import Registry
from prt_bench.task_spec import Anchors, HubSource, LabelFile, PublishedEncoders, TaskSpec, spoken_key
from prt_bench.yaml_files import load_yaml

REGISTRY = Registry()


class Facts(NamedTuple):
    """What a data set officially has, and the digest of its pairs (first label, name) in the order of the outputs."""

    classes: int
    train: int
    validation: int | None
    """None where there is no official part, so that one is carved out of train."""
    test: int
    joined: str


# Train of caltech101 is the part of it that the VTAB copy has; by calculation, as its task file says.
FACTS = {
    "aircraft": Facts(100, 3_334, 3_333, 3_333, "c262a202c07625d1"),
    "caltech101": Facts(102, 2_753, None, 6_085, "7d22b5c7bf17429a"),
    "cars": Facts(196, 8_144, None, 8_041, "c5c3caf2fe040266"),
    "cifar100": Facts(100, 50_000, None, 10_000, "a2a0b268fd0ce5ff"),
    "country211": Facts(211, 31_650, None, 21_100, "433e3f9501f41947"),
    "cub": Facts(200, 5_994, None, 5_794, "f79035686977dd73"),
    "flowers102": Facts(102, 1_020, 1_020, 6_149, "b46597b8c00efc48"),
    "resisc45": Facts(45, 18_900, 6_300, 6_300, "13a8f2f0b19ebd9e"),
    "eurosat": Facts(10, 16_200, 5_400, 5_400, "4b2d88f835aff3d7"),
    "gtsrb": Facts(43, 26_640, None, 12_630, "20cd4144d045aca1"),
    "svhn": Facts(10, 73_257, None, 26_032, "7fc373632373fc7c"),
    "dtd": Facts(47, 1_880, 1_880, 1_880, "a62d00e4533d1f75"),
    "mnist": Facts(10, 60_000, None, 10_000, "dba04af2838b57da"),
    "fashion-mnist": Facts(10, 60_000, None, 10_000, "f4394d21eaa9a3b1"),
    "pets": Facts(37, 3_680, None, 3_669, "413d75d3705ced29"),
    "food101": Facts(101, 75_750, None, 25_250, "80b6e470d7b88733"),
    "sun397": Facts(397, 19_850, None, 19_850, "8b7d9504c4f194de"),
}
CARVED = sorted(name for name, facts in FACTS.items() if facts.validation is None)
MEAN_PER_CLASS = {"aircraft", "caltech101", "flowers102", "pets"}
# The digit that copies of these data sets use as a label, and what it shows.
DIGITS = {
    "gtsrb": {"0": "red and white circle 20 kph speed limit", "14": "stop", "17": "no entry", "42": "trucks has ended"},
    "svhn": {"0": "zero", "1": "one", "9": "nine"},
    "mnist": {"0": "0", "9": "9"},
    "fashion-mnist": {"0": "t-shirt", "6": "shirt", "9": "ankle boot"},
}
COUNTRIES = {
    "AD": "Andorra",
    "AT": "Austria",
    "AU": "Australia",
    "CD": "DR Congo",
    "KP": "North Korea",
    "KR": "South Korea",
    "NO": "Norway",
    "VG": "British Virgin Islands",
    "XK": "Kosovo",
    "ZW": "Zimbabwe",
}
SCENES = {
    "/a/abbey": "abbey",
    "/j/jail/indoor": "jail indoor",
    "/j/jail_cell": "jail cell",
    "/t/theater/indoor_procenium": "theater indoor procenium",
    "/y/youth_hostel": "youth hostel",
}


@cache
def spec_of(name: str) -> TaskSpec:
    return load_yaml(REGISTRY.task_files()[name], TaskSpec)


def name_of(task: str, label: str) -> str:
    """The name that prompts use for what a data set calls `label`."""
    found = [entry.name for entry in spec_of(task).classes if label in entry.labels]
    assert len(found) == 1, (task, label, found)
    return found[0]


def anchors_of(task: str) -> Anchors:
    anchors = spec_of(task).anchors
    assert anchors is not None
    return anchors


@pytest.mark.parametrize("name", FACTS)
def test_a_task_file_has_the_official_classes_and_sizes(name: str) -> None:
    spec, facts = spec_of(name), FACTS[name]
    roles = spec.roles
    assert spec.name == name
    assert len(spec.classes) == facts.classes
    assert roles.test.size == facts.test
    assert roles.train.size is not None
    assert roles.validation.size is not None
    if facts.validation is None:
        assert roles.train.size + roles.validation.size == facts.train
    else:
        assert (roles.train.size, roles.validation.size) == (facts.train, facts.validation)
    assert len({roles.train.split, roles.test.split}) == 2


@pytest.mark.parametrize("name", CARVED)
def test_a_carved_validation_is_a_tenth_of_train_and_at_most_5000(name: str) -> None:
    validation = spec_of(name).roles.validation
    unit = validation.tracks_of or 1
    assert validation.random
    assert validation.split == spec_of(name).roles.train.split
    tenth = min(FACTS[name].train // 10, 5000)
    assert validation.size is not None
    assert abs(validation.size - tenth) < unit
    assert validation.size % unit == 0


@pytest.mark.parametrize("name", sorted(set(FACTS) - set(CARVED)))
def test_an_official_validation_is_used_whole(name: str) -> None:
    roles = spec_of(name).roles
    assert not roles.validation.random
    assert len({roles.train.split, roles.validation.split, roles.test.split}) == 3


@pytest.mark.parametrize("name", FACTS)
def test_names_are_distinct_and_their_own_labels(name: str) -> None:
    classes = spec_of(name).classes
    assert len({spoken_key(entry.name) for entry in classes}) == len(classes)
    owners: dict[str, str] = {}
    for entry in classes:
        assert entry.labels
        for label in (entry.name, *entry.labels):
            assert owners.setdefault(spoken_key(label), entry.name) == entry.name, label


@pytest.mark.parametrize("name", FACTS)
def test_no_label_is_joined_to_another_name_than_it_was(name: str) -> None:
    pairs = [[entry.labels[0], entry.name] for entry in spec_of(name).classes]
    assert digest(pairs)[:16] == FACTS[name].joined


@pytest.mark.parametrize("name", FACTS)
def test_the_headline_metric_is_that_of_the_published_scores(name: str) -> None:
    spec = spec_of(name)
    assert spec.metrics.primary == ("mean_per_class" if name in MEAN_PER_CLASS else "top1")
    if spec.anchors:
        assert spec.anchors.metric == spec.metrics.primary
        assert all(0.1 < score < 1 for score in spec.anchors.scores.values())


@pytest.mark.parametrize("name", sorted(set(FACTS) - {"cub", "fashion-mnist"}))
def test_published_scores_are_there_for_all_sixteen_models(name: str) -> None:
    assert len(anchors_of(name).scores) == 16


def test_a_task_without_published_scores_has_no_anchors() -> None:
    assert spec_of("cub").anchors is None
    assert len(anchors_of("fashion-mnist").scores) == 3


@pytest.mark.parametrize("name", FACTS)
def test_a_download_says_how_large_it_is_and_leaves_out_corrupted_tests(name: str) -> None:
    source = spec_of(name).source
    assert isinstance(source, HubSource)
    assert source.size_bytes is not None
    assert 10_000_000 < source.size_bytes < 20_000_000_000
    assert source.revision is None or len(source.revision) == 40
    if name in {"cars", "gtsrb", "svhn"}:
        assert {pattern.rsplit("/", 1)[-1] for pattern in source.files} == {"train-*", "test-*"}


@pytest.mark.parametrize("name", ["caltech101", "country211"])
def test_labels_that_are_numbers_get_their_names_from_the_copy(name: str) -> None:
    source = spec_of(name).source
    assert isinstance(source, HubSource)
    assert source.label == "cls"
    assert source.label_names == LabelFile(file="classnames.txt")


def test_aircraft_are_labelled_by_variant_and_not_by_family() -> None:
    source = spec_of("aircraft").source
    assert isinstance(source, HubSource)
    assert source.label == "variation"
    assert {"707-320", "F-16A/B", "737-800"} <= {entry.name for entry in spec_of("aircraft").classes}
    assert "Boeing 707" not in {label for entry in spec_of("aircraft").classes for label in entry.labels}


def test_land_is_joined_by_name_though_clip_lists_it_in_another_order() -> None:
    assert name_of("eurosat", "AnnualCrop") == "annual crop land"
    assert name_of("eurosat", "PermanentCrop") == "permanent crop land"
    assert name_of("eurosat", "HerbaceousVegetation") == "brushland or shrubland"
    assert name_of("eurosat", "SeaLake") == "lake or sea"


def test_easy_faces_are_the_centred_ones() -> None:
    for spelling in ("Faces_easy", "faces_easy"):
        assert name_of("caltech101", spelling) == "centered face"
    for spelling in ("Faces", "faces"):
        assert name_of("caltech101", spelling) == "off-center face"
    assert name_of("caltech101", "BACKGROUND_Google") == "background"
    assert name_of("caltech101", "crocodile_head") == "head of a  crocodile"
    assert name_of("caltech101", "crocodile") == "crocodile"
    assert name_of("caltech101", "cougar_face") == "face of a cougar cat"


def test_pets_are_known_by_the_spelling_of_every_copy() -> None:
    for entry in spec_of("pets").classes:
        folder = entry.name.replace(" ", "_")
        assert {folder, folder.lower(), entry.name, folder.replace("_", " ").title()} <= set(entry.labels)
    assert name_of("pets", "british_shorthair") == "British Shorthair"
    assert name_of("pets", "american_bulldog") == "american bulldog"


@pytest.mark.parametrize("name", DIGITS)
def test_a_number_as_a_label_is_joined_in_the_order_of_the_data_set(name: str) -> None:
    for label, spoken in DIGITS[name].items():
        assert spoken in name_of(name, label)
    assert [entry.name for entry in spec_of(name).classes if "10" in entry.labels] == (
        ["red and white circle red truck and black car no passing"] if name == "gtsrb" else []
    )


def test_gtsrb_holds_out_whole_tracks() -> None:
    validation = spec_of("gtsrb").roles.validation
    assert (validation.tracks_of, validation.size) == (30, 2670)
    assert name_of("gtsrb", "00014") == "stop"


@pytest.mark.parametrize("code", COUNTRIES)
def test_a_country_is_known_by_its_code_and_its_name(code: str) -> None:
    country = COUNTRIES[code]
    assert name_of("country211", code) == name_of("country211", country) == country


@pytest.mark.parametrize("path", SCENES)
def test_a_scene_is_known_by_its_path_its_folder_and_its_name(path: str) -> None:
    scene = SCENES[path]
    assert name_of("sun397", path) == name_of("sun397", path[3:]) == name_of("sun397", scene) == scene


def test_spellings_of_copies_that_differ_from_the_archive_are_known() -> None:
    assert name_of("cifar100", "cra") == name_of("cifar100", "crab") == "crab"
    assert name_of("flowers102", "ball moss") == "air plant"
    assert name_of("flowers102", "pink-yellow dahlia?") == "pink and yellow dahlia"
    assert name_of("cub", "001.Black_footed_Albatross") == "Black footed Albatross"
    assert name_of("cub", "200.Common_Yellowthroat") == "Common Yellowthroat"
    assert name_of("cars", "Ram C-V Cargo Van Minivan 2012") == "Ram C/V Cargo Van Minivan 2012"
    assert name_of("food101", "cheese_plate") == "cheese plate"
    assert name_of("resisc45", "railway_station") == "railway station"


def test_food_is_tested_on_what_its_copy_calls_validation() -> None:
    roles = spec_of("food101").roles
    assert (roles.train.split, roles.validation.split, roles.test.split) == ("train", "train", "validation")


def test_the_published_scores_of_resisc45_are_of_other_prompts_than_the_task() -> None:
    spec = spec_of("resisc45")
    assert (len(spec.templates), len(spec.anchor_space.templates)) == (18, 4)
    assert "baseball_diamond" in spec.anchor_space.labels


def test_every_published_encoder_is_of_a_shipped_task_and_was_worth_tuning() -> None:
    published = load_yaml(Path(REGISTRY.task_files()["mnist"]).parent.parent / "published.yaml", PublishedEncoders)
    assert len({(encoder.model, encoder.task) for encoder in published.encoders}) == len(published.encoders) == 39
    for encoder in published.encoders:
        assert encoder.task in FACTS
        assert encoder.untuned is not None
        assert encoder.untuned < encoder.tuned < 1


@pytest.mark.parametrize("name", sorted(FACTS))
def test_two_names_that_are_swapped_are_refused(name: str) -> None:
    """Names lie among their own labels, so a name under another class's labels shows, whichever two it is."""
    path = REGISTRY.task_files()[name]
    whole = yaml.safe_load(path.read_text())
    count = len(whole["classes"])
    generator = np.random.default_rng(0)
    for _ in range(3):
        swapped = copy.deepcopy(whole)
        first, second = generator.choice(count, 2, replace=False).tolist()
        one, other = swapped["classes"][first], swapped["classes"][second]
        one["name"], other["name"] = other["name"], one["name"]
        with pytest.raises(ValidationError, match="are the two swapped"):
            TaskSpec.model_validate(swapped)
