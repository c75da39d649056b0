"""Data sets in the hub's own format, from a local copy: joined by name, pinned by size."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from prt_bench.data.hub import load_hub
from prt_bench.errors import RequestError
from prt_bench.registry import Registry
from prt_bench.store import Store
from prt_bench.tasks import Task, TaskSource, load_own

COLOURS = {"cat": (250, 0, 0), "dog": (0, 250, 0), "hen": (0, 0, 250)}
Mirror = Callable[..., Path]

TASK = """\
name: pets
version: 1
title: Pets
kind: image-classification
source: {kind: hub, repository: org/pets}
roles:
  train: {split: train, size: TRAIN}
  validation: {split: train, per_class: 1, size: 3}
  test: {split: test, size: TEST}
classes:
  - {name: a tabby, labels: [cat]}
  - {name: a hound, labels: [dog]}
  - {name: a fowl, labels: [hen, chicken]}
templates: ["a photo of {}."]
templates_source: ours
licence: MIT
"""


def quiet(title: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def png(colour: tuple[int, int, int]) -> bytes:
    out = BytesIO()
    Image.new("RGB", (4, 4), colour).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    """Writes DIR/org/pets/data/SPLIT-00000-of-00001.parquet with the class names in the order given."""

    def write(
        names: Sequence[str] = ("cat", "dog", "hen"),
        labels: dict[str, Sequence[str | None]] | None = None,
        image: str = "image",
        broken: bool = False,
    ) -> Path:
        folder = tmp_path / "mirror" / "org" / "pets"
        (folder / "data").mkdir(parents=True)
        kinds = datasets.Features({image: datasets.Image(), "label": datasets.ClassLabel(names=list(names))})
        for split, told in (
            labels or {"train": ["dog", "cat", "hen"] * 3, "test": ["hen", "cat", "dog", "dog"]}
        ).items():
            colours = [COLOURS.get(name or "?", (9, 9, 9)) for name in told]
            rows = {
                image: [{"bytes": b"\x89PNG" if broken else png(colour), "path": None} for colour in colours],
                "label": [None if name is None else -1 if name == "?" else list(names).index(name) for name in told],
            }
            table = datasets.Dataset.from_dict(rows, features=kinds)
            table.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
        return folder

    return write


def task(tmp_path: Path, train: int = 6, test: int = 4) -> Task:
    path = tmp_path / "pets.yaml"
    path.write_text(TASK.replace("TRAIN", str(train)).replace("TEST", str(test)), encoding="utf-8")
    return load_own(path, TaskSource(Registry(), Store(tmp_path / "store"), tmp_path / "mirror", True, quiet))


def shown(found: Task, role: str) -> list[str]:
    """The class of each image, told by its colour."""
    part = found.roles[role]
    by_colour = {colour: index for index, colour in enumerate(COLOURS.values())}
    colours = [tuple(np.asarray(part.image(index))[0, 0].tolist()) for index in range(len(part))]
    return [found.space.labels[by_colour[colour]] for colour in colours]


@pytest.mark.parametrize("names", [("cat", "dog", "hen"), ("hen", "dog", "cat"), ("dog", "hen", "cat")])
def test_labels_are_joined_by_name_whatever_their_order_in_the_data(
    tmp_path: Path, mirror: Mirror, names: Sequence[str]
) -> None:
    mirror(names)
    found = task(tmp_path)
    assert found.version == "1"
    assert found.space.labels == ("a tabby", "a hound", "a fowl")
    for role in ("train", "validation", "test"):
        told = [found.space.labels[label] for label in found.roles[role].labels]
        assert told == shown(found, role)
    assert [found.space.labels[label] for label in found.roles["test"].labels] == [
        "a fowl",
        "a tabby",
        "a hound",
        "a hound",
    ]


def test_the_order_of_the_datas_class_list_does_not_change_the_task(tmp_path: Path, mirror: Mirror) -> None:
    mirror(("cat", "dog", "hen"))
    first = task(tmp_path).identity
    shutil.rmtree(tmp_path / "mirror")
    mirror(("hen", "cat", "dog"))
    assert task(tmp_path).identity == first


def test_a_class_may_go_by_another_known_name(tmp_path: Path, mirror: Mirror) -> None:
    mirror(
        ("cat", "dog", "chicken"), {"train": ["dog", "cat", "chicken"] * 3, "test": ["chicken", "cat", "dog", "dog"]}
    )
    assert task(tmp_path).roles["test"].labels.tolist() == [2, 0, 1, 1]


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        (7, 4, "role train has 6 examples where the task pins 7"),
        (6, 5, "role test has 4 examples where the task pins 5"),
    ],
)
def test_data_of_other_sizes_than_pinned_is_refused(
    tmp_path: Path, mirror: Mirror, train: int, test: int, message: str
) -> None:
    mirror()
    with pytest.raises(RequestError, match=f"task pets: {message}"):
        task(tmp_path, train, test)


def test_a_class_that_the_task_does_not_know_is_named(tmp_path: Path, mirror: Mirror) -> None:
    mirror(("cat", "dog", "hens"), {"train": ["cat", "dog"], "test": ["cat"]})
    with pytest.raises(
        RequestError, match="task pets: the data's class 'hens' is not in the task file; did you mean hen"
    ):
        task(tmp_path)


def test_a_class_that_the_data_lacks_is_named(tmp_path: Path, mirror: Mirror) -> None:
    mirror(("cat", "dog"), {"train": ["cat", "dog"], "test": ["cat"]})
    with pytest.raises(RequestError, match="task pets: the data lacks the class 'hen'"):
        task(tmp_path)


@pytest.mark.parametrize("unlabelled", [None, "?"])
def test_unlabelled_rows_are_in_no_role(tmp_path: Path, mirror: Mirror, unlabelled: str | None) -> None:
    mirror(labels={"train": ["dog", "cat", "hen"] * 3, "test": ["hen", unlabelled, "cat", "dog", unlabelled, "dog"]})
    found = task(tmp_path)
    assert found.roles["test"].labels.tolist() == [2, 0, 1, 1]
    assert found.roles["test"].ids == [f"org/pets/test/{index}" for index in (0, 2, 3, 5)]


def test_a_repository_of_image_files_is_read_too(tmp_path: Path) -> None:
    for split, count in (("train", 3), ("test", 1)):
        for name, colour in COLOURS.items():
            folder = tmp_path / "mirror" / "org" / "pets" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                (folder / f"{index}.png").write_bytes(png(colour))
    found = task(tmp_path, 6, 3)
    assert [found.space.labels[label] for label in found.roles["test"].labels] == shown(found, "test")
    assert len(found.roles["train"].sha256) == 64


def test_an_image_folder_of_the_tasks_name_comes_before_the_copy(tmp_path: Path, mirror: Mirror) -> None:
    mirror()
    for split in ("train", "test"):
        for name, colour in COLOURS.items():
            folder = tmp_path / "mirror" / "pets" / split / name
            folder.mkdir(parents=True)
            for index in range(2):
                (folder / f"{index}.png").write_bytes(png(colour))
    assert task(tmp_path).version.startswith("1+local.")


@pytest.mark.parametrize(
    ("image", "split", "message"),
    [
        ("picture", "train", "no column 'image'; it has picture, label"),
        ("image", "validation", "split validation: cannot be loaded .*validation.*; connect to the network, or put"),
    ],
)
def test_what_the_data_lacks_is_named(mirror: Mirror, image: str, split: str, message: str) -> None:
    folder = mirror(image=image)
    with pytest.raises(RequestError, match=message):
        load_hub("org/pets", None, None, [split], "image", "label", folder, True)


def test_a_label_column_without_names_is_refused(mirror: Mirror) -> None:
    folder = mirror()
    with pytest.raises(RequestError, match="column 'image' holds no class labels with names"):
        load_hub("org/pets", None, None, ["train"], "image", "image", folder, True)


def test_a_row_that_cannot_be_decoded_is_named(mirror: Mirror) -> None:
    raw = load_hub("org/pets", None, None, ["test"], "image", "label", mirror(broken=True), True)
    with pytest.raises(RequestError, match=r"org/pets/test/2: cannot be decoded"):
        raw.splits["test"].image(2)


def test_offline_the_hub_is_not_asked_and_the_ways_out_are_told(tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    with pytest.raises(RequestError, match=r"org/pets: not in --data-dir and --offline forbids .*DIR/org/pets"):
        task(tmp_path)


def test_a_data_dir_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"--data-dir .*mirror: no such folder"):
        task(tmp_path)
