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

from prt_bench.data.examples import RawData
from prt_bench.data.hub import load_hub
from prt_bench.errors import RequestError
from prt_bench.places import write_manifest
from prt_bench.registry import Registry
from prt_bench.store import Store
from prt_bench.task_spec import HubSource, LabelFile
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


def png(colour: tuple[int, int, int], number: int = 0) -> bytes:
    """A picture of one colour whose last pixel tells its number, so that no two are the same."""
    out = BytesIO()
    image = Image.new("RGB", (4, 4), colour)
    image.putpixel((3, 3), (number % 256, number // 256, 0))
    image.save(out, "PNG")
    return out.getvalue()


@pytest.fixture
def mirror(tmp_path: Path) -> Mirror:
    """Writes DIR/org/pets/data/SPLIT-00000-of-00001.parquet with the class names in the order given."""

    def write(
        names: Sequence[str] = ("cat", "dog", "hen"),
        labels: dict[str, Sequence[str | None]] | None = None,
        image: str = "image",
        broken: bool = False,
        own: bool = False,
    ) -> Path:
        folder = tmp_path / ("mirror" if own else "store/data") / "org" / "pets"
        (folder / "data").mkdir(parents=True)
        kinds = datasets.Features({image: datasets.Image(), "label": datasets.ClassLabel(names=list(names))})
        for split, told in (
            labels or {"train": ["dog", "cat", "hen"] * 3, "test": ["hen", "cat", "dog", "dog"]}
        ).items():
            colours = [COLOURS.get(name or "?", (9, 9, 9)) for name in told]
            first = 0 if split == "train" else 500
            pictures = [b"\x89PNG" if broken else png(colour, first + at) for at, colour in enumerate(colours)]
            rows = {
                image: [{"bytes": picture, "path": None} for picture in pictures],
                "label": [None if name is None else -1 if name == "?" else list(names).index(name) for name in told],
            }
            table = datasets.Dataset.from_dict(rows, features=kinds)
            table.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
        write_manifest(folder, "org/pets", "0" * 40, [])
        return folder

    return write


def raw(folder: Path, tmp_path: Path, split: str = "train", image: str = "image", label: str = "label") -> RawData:
    source = HubSource(kind="hub", repository="org/pets", image=(image,), label=label)
    return load_hub(folder, source, [split], Store(tmp_path / "store"), quiet, local=False)


def task(tmp_path: Path, train: int = 6, test: int = 4) -> Task:
    path = tmp_path / "pets.yaml"
    path.write_text(TASK.replace("TRAIN", str(train)).replace("TEST", str(test)), encoding="utf-8")
    own = tmp_path / "mirror"
    return load_own(path, TaskSource(Registry(), Store(tmp_path / "store"), own if own.is_dir() else None, quiet))


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
    shutil.rmtree(tmp_path / "store")
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
                (folder / f"{index}.png").write_bytes(png(colour, index + 9 * (split == "test")))
    found = task(tmp_path, 6, 3)
    assert [found.space.labels[label] for label in found.roles["test"].labels] == shown(found, "test")
    assert len(found.roles["train"].sha256) == 64


def test_an_image_folder_of_the_tasks_name_comes_before_the_copy(tmp_path: Path, mirror: Mirror) -> None:
    mirror(own=True)
    for split in ("train", "test"):
        for name, colour in COLOURS.items():
            folder = tmp_path / "mirror" / "pets" / split / name
            folder.mkdir(parents=True)
            for index in range(2):
                (folder / f"{index}.png").write_bytes(png(colour, index + 9 * (split == "test")))
    assert task(tmp_path).version.startswith("1+local.")


def test_a_copy_of_the_users_own_may_have_other_sizes_and_says_so(tmp_path: Path, mirror: Mirror) -> None:
    mirror(own=True)
    found = task(tmp_path, 99, 98)
    assert found.version.startswith("1+local.")
    assert not found.pinned
    assert {name: len(part) for name, part in found.roles.items()} == {"train": 6, "validation": 3, "test": 4}


@pytest.mark.parametrize(
    ("image", "split", "message"),
    [
        ("picture", "train", "no column 'image'.*; it has picture, label"),
        ("image", "validation", r"split validation: cannot be read .*validation.*; is it a whole copy of org/pets"),
    ],
)
def test_what_the_data_lacks_is_named(tmp_path: Path, mirror: Mirror, image: str, split: str, message: str) -> None:
    folder = mirror(image=image)
    with pytest.raises(RequestError, match=message):
        raw(folder, tmp_path, split)


def test_a_label_column_without_names_is_refused(tmp_path: Path, mirror: Mirror) -> None:
    with pytest.raises(RequestError, match="column 'image' holds no class labels with names"):
        raw(mirror(), tmp_path, label="image")


def test_a_row_that_cannot_be_decoded_is_named(tmp_path: Path, mirror: Mirror) -> None:
    found = raw(mirror(broken=True), tmp_path, "test")
    with pytest.raises(RequestError, match=r"org/pets/test/2: cannot be decoded"):
        found.splits["test"].image(2)


def test_plain_numbers_get_their_names_from_the_repositorys_list(tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    folder.mkdir()
    kinds = datasets.Features({"image": datasets.Image(), "cls": datasets.Value("int64")})
    rows = {"image": [{"bytes": png((9, 9, 9), at), "path": None} for at in range(3)], "cls": [1, 0, 1]}
    datasets.Dataset.from_dict(rows, features=kinds).to_parquet(folder / "train-00000-of-00001.parquet")
    (folder / "names.txt").write_text("hen\ncat\n")
    source = HubSource(kind="hub", repository="org/pets", label="cls", label_names=LabelFile(file="names.txt"))
    store = Store(tmp_path / "store")
    found = load_hub(folder, source, ["train"], store, quiet, local=False)
    assert [found.label_names[label] for label in found.splits["train"].labels] == ["cat", "hen", "cat"]
    (folder / "names.txt").write_text("hen\n")
    with pytest.raises(RequestError, match="label 1 in split train, but only 1 names"):
        load_hub(folder, source, ["train"], store, quiet, local=False)


def test_splits_that_were_not_fetched_are_not_missed(tmp_path: Path, mirror: Mirror) -> None:
    """A repository may hold corrupted copies of the test, which its card names and nobody here needs."""
    folder = mirror()
    files = "".join(f"  - split: {name}\n    path: data/{name}-*\n" for name in ("train", "test", "contrast"))
    card = f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n"
    (folder / "README.md").write_text(card)
    assert len(task(tmp_path).roles["test"]) == 4


def test_test_images_in_train_are_refused_by_name(tmp_path: Path, mirror: Mirror) -> None:
    folder = mirror()
    splits = {name: folder / "data" / f"{name}-00000-of-00001.parquet" for name in ("train", "test")}
    parts = [datasets.Dataset.from_parquet(str(path), cache_dir=str(tmp_path / "c")) for path in splits.values()]
    datasets.concatenate_datasets([parts[0], parts[1].select([1])]).to_parquet(splits["train"])
    with pytest.raises(RequestError, match=r"1 test images are in train or validation too, the first as org/pets/tr"):
        task(tmp_path, 7)


def test_a_few_known_duplicates_are_left_out_of_training(
    tmp_path: Path, mirror: Mirror, caplog: pytest.LogCaptureFixture
) -> None:
    mirror(labels={"train": ["dog", "cat", "hen"] * 3, "test": ["hen", "cat", "dog", "dog"]})
    clean = task(tmp_path)
    folder = tmp_path / "store/data/org/pets/data"
    parts = [
        datasets.Dataset.from_parquet(str(folder / f"{name}-00000-of-00001.parquet"), cache_dir=str(tmp_path / "c"))
        for name in ("train", "test")
    ]
    grown = datasets.concatenate_datasets([parts[0], parts[1].select([1])])
    grown.to_parquet(folder / "train-00000-of-00001.parquet")
    path = tmp_path / "pets.yaml"
    text = TASK.replace("TRAIN", "7").replace("TEST", "4") + "known_duplicates: 0.25\n"
    path.write_text(text)
    found = load_own(path, TaskSource(Registry(), Store(tmp_path / "store"), None, quiet))
    assert found.left_out == 1
    assert "1 test images are in train or validation too" in caplog.text
    assert len(found.roles["train"]) + len(found.roles["validation"]) == 9
    assert not {*found.roles["train"].digests, *found.roles["validation"].digests} & {*found.roles["test"].digests}
    assert clean.left_out == 0


def test_the_ways_out_are_told_where_there_is_no_data(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"task pets: no data \(tried .*org/pets.*fetch --task pets.*DIR/org/pets"):
        task(tmp_path)


def test_a_data_dir_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "pets.yaml").write_text(TASK.replace("TRAIN", "6").replace("TEST", "4"))
    with pytest.raises(RequestError, match=r"--data-dir .*mirror: no such folder"):
        load_own(tmp_path / "pets.yaml", TaskSource(Registry(), Store(tmp_path / "store"), tmp_path / "mirror", quiet))
