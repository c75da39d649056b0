"""Image folders: `train/CLASS/*.jpg`, `test/CLASS/*.jpg`, and `validation/` where there is one."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image

from prt_bench.data.examples import FileExamples, RawData, open_rgb
from prt_bench.errors import RequestError, did_you_mean
from prt_bench.files import digest
from prt_bench.models import file_sha256
from prt_bench.store import Store
from prt_bench.task_spec import spoken_key

__all__ = ["load_folder"]

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how far it is, and how far it goes."""
SPLIT_NAMES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
log = logging.getLogger(__name__)


def load_folder(root: Path, store: Store, report: Progress) -> RawData:
    """Read an image folder; every image is decoded once, and not again while the folder stays as it is.

    Raises:
        RequestError: no train or test folder, a class that one split lacks, a folder without images, or an
            image that cannot be decoded; with its path.
    """
    if not root.is_dir():
        raise RequestError(f"{root}: no such folder; an image folder holds train/CLASS/… and test/CLASS/…")
    folders = {split: _split_folder(root, names) for split, names in SPLIT_NAMES.items()}
    for split in ("train", "test"):
        if folders[split] is None:
            inside = ", ".join(sorted(path.name for path in root.iterdir() if path.is_dir())[:8]) or "no folders"
            raise RequestError(f"{root}: has no folder {split}/ (found: {inside}); put images under {split}/CLASS/")
    present = {split: folder for split, folder in folders.items() if folder is not None}
    classes = {split: _class_names(folder) for split, folder in present.items()}
    label_names = classes["train"]
    for split, names in classes.items():
        for missing in sorted(set(label_names) - set(names)):
            hint = did_you_mean(missing, set(names) - set(label_names)) if set(names) - set(label_names) else ""
            raise RequestError(f"{present[split]}: the class folder {missing!r} of train/ is missing here{hint}")
        for extra in sorted(set(names) - set(label_names)):
            raise RequestError(f"{present['train']}: the class folder {extra!r} of {split}/ is missing here")
    if len(label_names) < 2:
        raise RequestError(f"{present['train']}: a task needs at least two class folders, found {len(label_names)}")
    splits = {split: _read_split(root, folder, label_names, store, report) for split, folder in present.items()}
    return RawData(dict(splits), tuple(label_names), local=True)


def _split_folder(root: Path, names: tuple[str, ...]) -> Path | None:
    found = [path for path in sorted(root.iterdir()) if path.is_dir() and path.name.lower() in names]
    if len(found) > 1:
        raise RequestError(f"{root}: both {found[0].name}/ and {found[1].name}/ name the same split; keep one")
    return found[0] if found else None


def _class_names(folder: Path) -> list[str]:
    names = [path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__"))]
    if not names:
        raise RequestError(f"{folder}: has no class folders; put images under {folder.name}/CLASS/")
    # The same order, and so the same data, under another spelling of the same names.
    return sorted(names, key=lambda name: (spoken_key(name), name))


def _read_split(root: Path, folder: Path, label_names: list[str], store: Store, report: Progress) -> FileExamples:
    endings = {ending for ending, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    paths: list[Path] = []
    labels: list[int] = []
    ignored: list[Path] = []
    for label, name in enumerate(label_names):
        inside = _files(folder / name)
        images = [path for path in inside if path.suffix.lower() in endings]
        ignored += [path for path in inside if path.suffix.lower() not in endings]
        if not images:
            raise RequestError(f"{folder / name}: has no images")
        paths += images
        labels += [label] * len(images)
    if ignored:
        log.warning("%s: %d files are no images and are left out, the first is %s", folder, len(ignored), ignored[0])
    ids = [path.relative_to(root).as_posix() for path in paths]
    for name in ids:
        if name.encode("utf-8", "replace").decode() != name:
            raise RequestError(f"{str(root / name)!a}: the file's name is not valid Unicode; rename it")
    states = [(path.stat().st_size, path.stat().st_mtime_ns) for path in paths]
    key = digest(["folder", str(folder.resolve()), ids, states])
    note = store.note(key)
    if note is None:
        note = {"sha256": _check_and_hash(folder, paths, report)}
        store.put_note(key, note)
    return FileExamples(paths, ids, note["sha256"], np.asarray(labels, dtype=np.int64))


def _files(folder: Path) -> list[Path]:
    """All files below a folder, by name; hidden files and folders are left out, linked folders are followed once."""
    found: list[Path] = []
    entered: set[str] = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        folders[:] = [] if real in entered else [name for name in folders if not name.startswith(".")]
        if real not in entered:
            found += [Path(place, name) for name in names if not name.startswith(".") and Path(place, name).is_file()]
        entered.add(real)
    return sorted(found)


def _check_and_hash(folder: Path, paths: list[Path], report: Progress) -> list[str]:
    def one(path: Path) -> str:
        open_rgb(path)
        return file_sha256(path)

    digests: list[str] = []
    with ThreadPoolExecutor() as pool:
        for done, content in enumerate(pool.map(one, paths), start=1):
            digests.append(content)
            report(f"reading {folder.name}", done, len(paths))
    return digests
