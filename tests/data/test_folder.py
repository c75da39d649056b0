"""Image folders as people have them: read where it can be, refused by name where it cannot."""

from __future__ import annotations

import logging
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from prt_bench.data import folder as folder_module
from prt_bench.data.examples import open_rgb
from prt_bench.data.folder import load_folder
from prt_bench.errors import RequestError
from prt_bench.registry import Registry
from prt_bench.store import Store
from prt_bench.task_spec import TaskSpec
from prt_bench.tasks import Task, TaskSource, load_own, load_task

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
Make = Callable[..., Path]


def quiet(title: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


def picture(path: Path, value: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(value).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes a folder with three pictures per class and split."""

    def made(
        classes: Sequence[str] = ("cat", "dog"), splits: Sequence[str] = ("train", "test"), count: int = 3
    ) -> Path:
        root = tmp_path / "pictures"
        names = [(split, name, index) for split in splits for name in classes for index in range(count)]
        for value, (split, name, index) in enumerate(names):
            picture(root / split / name / f"{index}.png", value)
        return root

    return made


def own(root: Path, store: Store) -> Task:
    return load_own(root, TaskSource(Registry(), store, None, quiet))


def test_a_folder_gives_its_splits_with_labels_by_name(make: Make, store: Store) -> None:
    raw = load_folder(make(("dog", "cat")), store, quiet)
    assert raw.label_names == ("cat", "dog")
    assert raw.local
    assert {name: len(split) for name, split in raw.splits.items()} == {"train": 6, "test": 6}
    for name, label in zip(raw.splits["train"].ids, raw.splits["train"].labels, strict=True):
        assert name.startswith(f"train/{raw.label_names[label]}/")


def test_images_are_those_of_the_files(make: Make, store: Store) -> None:
    root = make()
    test = load_folder(root, store, quiet).splits["test"]
    for index, name in enumerate(test.ids):
        assert np.array_equal(np.asarray(test.image(index)), np.asarray(Image.open(root / name)))


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n"])
def test_a_corrupt_image_is_named_by_its_path(make: Make, store: Store, content: bytes) -> None:
    root = make()
    (root / "test" / "dog" / "1.png").write_bytes(content)
    with pytest.raises(RequestError, match=r"test/dog/1\.png: cannot be decoded"):
        load_folder(root, store, quiet)


def test_a_jpeg_that_was_cut_short_is_named_by_its_path(make: Make, store: Store) -> None:
    root = make()
    path = root / "train" / "cat" / "photo.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(RequestError, match=r"train/cat/photo\.jpg: cannot be decoded: .*cut short; mend or remove"):
        load_folder(root, store, quiet)


def test_a_missing_class_folder_is_named(make: Make, store: Store) -> None:
    root = make(("cat", "dog", "hen"))
    shutil.rmtree(root / "test" / "dog")
    with pytest.raises(RequestError, match=r"test: the class folder 'dog' of train/ is missing here"):
        load_folder(root, store, quiet)


def test_a_class_folder_under_another_name_is_guessed(make: Make, store: Store) -> None:
    root = make(("cat", "dog"))
    (root / "test" / "dog").rename(root / "test" / "Dogs")
    with pytest.raises(RequestError, match=r"'dog' of train/ is missing here; did you mean Dogs\?"):
        load_folder(root, store, quiet)


def test_a_class_that_train_lacks_is_named(make: Make, store: Store) -> None:
    root = make()
    picture(root / "test" / "hen" / "0.png")
    with pytest.raises(RequestError, match=r"train: the class folder 'hen' of test/ is missing here"):
        load_folder(root, store, quiet)


@pytest.mark.parametrize("missing", ["train", "test"])
def test_a_missing_split_is_named_with_what_is_there(make: Make, store: Store, missing: str) -> None:
    root = make()
    (root / missing).rename(root / "pictures")
    with pytest.raises(RequestError, match=rf"has no folder {missing}/ \(found: .*pictures"):
        load_folder(root, store, quiet)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path, store: Store) -> None:
    with pytest.raises(RequestError, match="gone: no such folder; an image folder holds train/CLASS"):
        load_folder(tmp_path / "gone", store, quiet)


def test_hidden_files_and_folders_are_left_out(make: Make, store: Store, caplog: pytest.LogCaptureFixture) -> None:
    root = make()
    (root / "train" / "cat" / ".DS_Store").write_bytes(b"x")
    (root / "train" / "cat" / "._0.png").write_bytes(b"x")
    picture(root / "train" / "cat" / ".ipynb_checkpoints" / "0.png")
    picture(root / "train" / ".hidden" / "0.png")
    (root / "train" / "__MACOSX").mkdir()
    raw = load_folder(root, store, quiet)
    assert raw.label_names == ("cat", "dog")
    assert len(raw.splits["train"]) == 6
    assert caplog.text == ""


def test_files_that_are_no_images_are_left_out_with_a_warning(
    make: Make, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    root = make()
    (root / "test" / "dog" / "notes.txt").write_text("x")
    (root / "test" / "dog" / "data.csv").write_text("x")
    with caplog.at_level(logging.WARNING):
        assert len(load_folder(root, store, quiet).splits["test"]) == 6
    assert "2 files are no images and are left out, the first is" in caplog.text
    assert "data.csv" in caplog.text


def test_endings_in_capitals_and_folders_within_folders_are_read(make: Make, store: Store) -> None:
    root = make()
    (root / "train" / "cat" / "0.png").rename(root / "train" / "cat" / "0.PNG")
    picture(root / "train" / "dog" / "2024" / "may" / "x.JPG")
    assert len(load_folder(root, store, quiet).splits["train"]) == 7


@pytest.mark.parametrize("name", ["validation", "val", "valid", "dev", "Val"])
def test_validation_goes_by_several_names(make: Make, store: Store, name: str) -> None:
    root = make(splits=("train", name, "test"))
    task = own(root, store)
    assert {role: len(part) for role, part in task.roles.items()} == {"train": 6, "validation": 6, "test": 6}
    assert all(part.startswith(f"{name}/") for part in task.roles["validation"].ids)


def test_two_folders_for_one_split_are_refused(make: Make, store: Store) -> None:
    with pytest.raises(RequestError, match="both val/ and validation/ name the same split; keep one"):
        load_folder(make(splits=("train", "val", "validation", "test")), store, quiet)


def test_without_a_validation_folder_a_part_of_train_is_it(make: Make, store: Store) -> None:
    task = own(make(count=20), store)
    assert {role: len(part) for role, part in task.roles.items()} == {"train": 36, "validation": 4, "test": 40}
    assert not set(task.roles["train"].ids) & set(task.roles["validation"].ids)


def test_class_names_may_have_spaces_accents_and_underscores(make: Make, store: Store) -> None:
    task = own(make(("Golden_retriever", "chat égyptien", "猫", "a  b")), store)
    assert set(task.space.labels) == {"Golden retriever", "chat égyptien", "猫", "a b"}
    assert len(task.roles["test"]) == 12


def test_class_folders_that_read_the_same_are_refused(make: Make, store: Store) -> None:
    with pytest.raises(RequestError, match="the class folders 'big cat' and 'big_cat' read the same; rename one"):
        own(make(("big_cat", "big cat")), store)


def test_one_class_is_not_enough(make: Make, store: Store) -> None:
    with pytest.raises(RequestError, match="train: a task needs at least two class folders, found 1"):
        load_folder(make(("cat",)), store, quiet)


def test_a_class_folder_without_images_is_named(make: Make, store: Store) -> None:
    root = make()
    for path in (root / "test" / "dog").iterdir():
        path.unlink()
    with pytest.raises(RequestError, match="test/dog: has no images"):
        load_folder(root, store, quiet)


def test_images_without_class_folders_are_refused(tmp_path: Path, store: Store) -> None:
    for split in ("train", "test"):
        picture(tmp_path / "flat" / split / "0.png")
    with pytest.raises(RequestError, match="train: has no class folders; put images under train/CLASS/"):
        load_folder(tmp_path / "flat", store, quiet)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep file names as Unicode")
def test_a_file_name_that_is_not_unicode_is_refused(make: Make, store: Store) -> None:
    root = make()
    os.rename(root / "train" / "cat" / "0.png", os.fsencode(root / "train" / "cat") + b"/caf\xe9.png")
    with pytest.raises(RequestError, match="the file's name is not valid Unicode; rename it"):
        load_folder(root, store, quiet)


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that get decoded."""
    names: list[str] = []

    def counting(path: Path) -> Image.Image:
        names.append(path.name)
        return open_rgb(path)

    monkeypatch.setattr(folder_module, "open_rgb", counting)
    return names


def test_a_folder_is_decoded_once_while_it_stays_as_it_is(make: Make, store: Store, decoded: list[str]) -> None:
    root = make()
    first = load_folder(root, store, quiet)
    assert len(decoded) == 12
    again = load_folder(root, Store(store.root), quiet)
    assert len(decoded) == 12
    assert again.splits["test"].sha256 == first.splits["test"].sha256


@pytest.mark.parametrize("change", ["contents", "new file", "name"])
def test_a_changed_folder_is_decoded_again(make: Make, store: Store, decoded: list[str], change: str) -> None:
    root = make()
    first = load_folder(root, store, quiet)
    path = root / "train" / "cat" / "0.png"
    if change == "contents":
        picture(path, 99)
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1_000_000))
    elif change == "new file":
        picture(path.with_name("9.png"), 99)
    else:
        path.rename(path.with_name("z.png"))
    decoded.clear()
    again = load_folder(root, store, quiet)
    assert len(decoded) == (7 if change == "new file" else 6)
    assert again.splits["test"].sha256 == first.splits["test"].sha256
    assert again.splits["train"].sha256 != first.splits["train"].sha256


def test_a_damaged_image_is_not_forgiven_the_second_time(make: Make, store: Store) -> None:
    root = make()
    (root / "train" / "cat" / "0.png").write_bytes(b"")
    for _ in range(2):
        with pytest.raises(RequestError, match="cannot be decoded"):
            load_folder(root, store, quiet)


def test_progress_ends_with_the_last_image(make: Make, store: Store) -> None:
    seen: list[tuple[str, int, int]] = []
    load_folder(make(), store, lambda *step: seen.append(step))
    assert ("reading train", 6, 6) in seen
    assert seen[-1] == ("reading test", 6, 6)


@pytest.mark.parametrize("name", ["eurosat", "fashion-mnist"])
def test_a_small_copy_of_a_real_task_is_a_local_variant(name: str, store: Store) -> None:
    if not (SHARED / name).is_dir():
        pytest.skip(f"{SHARED / name} is not here")
    task = load_task(name, TaskSource(Registry(), store, SHARED, quiet))
    base, _, local = task.version.partition("+local.")
    spec = task.spec
    assert isinstance(spec, TaskSpec)
    assert base == spec.version
    assert len(local) == 8
    assert len(task.space.labels) == 10
    test = task.roles["test"]
    assert np.bincount(test.labels).tolist() == [100] * 10
    for index in range(0, 1000, 50):
        folder = Path(test.ids[index]).parent.name
        assert folder in spec.classes[test.labels[index]].known_as


def test_pictures_that_stand_in_train_and_test_are_refused(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for name, colour in (("cat", 10), ("dog", 200)):
            folder = tmp_path / "pets" / split / name
            folder.mkdir(parents=True)
            Image.new("RGB", (8, 8), (colour, 0, 0 if name == "cat" else len(split))).save(folder / "one.png")
            Image.new("RGB", (8, 8), (colour, 7, len(split))).save(folder / "two.png")
    source = TaskSource(Registry(), Store(tmp_path / "store"), None, quiet)
    with pytest.raises(RequestError, match="1 test images are in train or validation too, the first as train/cat/one"):
        load_own(tmp_path / "pets", source)


def test_a_linked_folder_of_pictures_is_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Image.new("RGB", (8, 8), (1, 2, 3)).save(elsewhere / "linked.png")
    for split in ("train", "test"):
        for number, name in enumerate(("cat", "dog")):
            folder = tmp_path / "pets" / split / name
            folder.mkdir(parents=True)
            Image.new("RGB", (8, 8), (number, 0, len(split))).save(folder / "one.png")
    (tmp_path / "pets" / "train" / "cat" / "more").symlink_to(elsewhere)
    raw = load_folder(tmp_path / "pets", Store(tmp_path / "store"), lambda title, done, total: None)
    assert "train/cat/more/linked.png" in raw.splits["train"].ids


def test_another_spelling_of_the_class_folders_is_the_same_data(tmp_path: Path) -> None:
    digests = set()
    for name, labels in (("plain", ("annual crop", "Forest")), ("odd", ("Annual_Crop", "forest"))):
        for split in ("train", "test"):
            for number, label in enumerate(labels):
                folder = tmp_path / name / split / label
                folder.mkdir(parents=True)
                Image.new("RGB", (8, 8), (number, len(split), 7)).save(folder / "one.png")
        raw = load_folder(tmp_path / name, Store(tmp_path / "store"), quiet)
        digests.add(tuple(raw.splits[split].sha256 for split in ("train", "test")))
    assert len(digests) == 1
