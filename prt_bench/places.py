"""Where weights and data lie on disk: the user's own folders first, then what was fetched into the store.

Both have the hub's layout, `<owner>/<repository>/<file>`; weights may also lie under the model's alias, and data
as an image folder under the task's name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from prt_bench.api import ModelCard, Places
from prt_bench.errors import MissingError, RequestError
from prt_bench.files import write_atomically
from prt_bench.store import Store
from prt_bench.task_spec import HubData, HubSource, PublishedEncoder

__all__ = [
    "MANIFEST",
    "UNFINISHED",
    "FoundData",
    "find_data",
    "find_encoder",
    "find_weights",
    "manifest",
    "weight_places",
    "write_manifest",
]

MANIFEST = ".prt-bench.json"
"""Beside fetched files: revision, and size and digest of each. Written last, so it says that all of them are there."""

UNFINISHED = ".prt-bench.unfinished"
"""There from the first file of a fetch until the manifest is written."""


@dataclass(frozen=True)
class FoundData:
    """A folder that holds a data set."""

    folder: Path
    plain: bool
    """Under the task's name, as an image folder or as one file of texts per split; not a copy of a repository."""
    own: bool
    """The user's own, whose sizes may differ from those a task pins."""


def find_data(
    task: str, source: HubData, data_dir: Path | None, store: Store, is_plain: Callable[[Path], bool] = Path.is_dir
) -> FoundData:
    """Where the data of a hub task is; `is_plain` tells whether a folder of the task's name holds it plainly.

    Raises:
        MissingError: nowhere; says what was tried and the ways out.
    """
    tried = []
    if data_dir is not None:
        if not data_dir.is_dir():
            raise RequestError(f"--data-dir {data_dir}: no such folder")
        for folder, plain in ((data_dir / task, True), (data_dir / source.repository, False)):
            there = is_plain(folder) if plain else folder.is_dir()
            if there and not (folder / UNFINISHED).exists():
                return FoundData(folder, plain, own=True)
            tried.append(str(folder))
    fetched = store.root / "data" / source.repository
    if _whole(fetched, source):
        return FoundData(fetched, plain=False, own=False)
    tried.append(str(fetched))
    if isinstance(source, HubSource):
        plainly = f"an image folder at DIR/{task}/{{train,test}}/CLASS/"
    else:
        plainly = f"a file of JSON lines per split at DIR/{task}/{{train,test}}.jsonl"
    raise MissingError(
        f"task {task}: no data (tried {', '.join(tried)}); connect and run `prt-bench fetch --task {task}`, or put "
        f"{plainly} or a copy of {source.repository} at DIR/{source.repository}/ and pass --data-dir DIR"
    )


def _whole(folder: Path, source: HubData) -> bool:
    """Whether a fetch into the folder was finished, of the commit that the task names, with all files it needs."""
    known = None if (folder / UNFINISHED).exists() else manifest(folder)
    if known is None or source.revision not in (None, known["revision"]):
        return False
    names = [file["name"] for file in known["files"]]
    return all(any(fnmatch(name, wanted) for name in names) for wanted in source.files)


def weight_places(repository: str | None, file: str, alias: str | None, places: Places) -> list[Path]:
    """Where a weight file may be, in the order in which it is looked for."""
    folders = [folder for folder in (places.weights_dir, places.cache) if folder is not None]
    return [folder / name / file for folder in folders for name in (alias, repository) if name]


def find_weights(card: ModelCard, file: str, places: Places, task: str = "digits") -> Path:
    """The weight file of a card; `task` is one that the model can do, for the hint.

    Raises:
        MissingError: nowhere; says what was tried and the ways out.
    """
    tried = weight_places(card.hub, file, card.alias, places)
    for path in tried:
        if path.is_file():
            return path
    raise MissingError(
        f"model {card.alias}: no weights (tried {', '.join(map(str, tried))}); connect and run `prt-bench fetch --pair "
        f"{card.alias}:{card.alias} --task {task}`, or put the file of {card.hub or 'the model'} at "
        f"DIR/{card.alias}/{file} and pass --weights-dir DIR, or try an embedded pair: --pair nano-rn16-a:nano-rn24-b"
    )


def find_encoder(encoder: PublishedEncoder, places: Places) -> Path:
    """The file of a published encoder.

    Raises:
        MissingError: nowhere; says what was tried and the ways out.
    """
    tried = weight_places(encoder.repository, encoder.file, None, places)
    for path in tried:
        if path.is_file():
            return path
    raise MissingError(
        f"published encoder {encoder.repository}: no file (tried {', '.join(map(str, tried))}); connect and run "
        f"`prt-bench fetch --recipe published --pair {encoder.model}:{encoder.model} --task {encoder.task}`, or put it "
        f"at DIR/{encoder.repository}/{encoder.file} and pass --weights-dir DIR"
    )


def manifest(folder: Path) -> dict[str, Any] | None:
    """What was fetched into a folder, or None where nothing was."""
    path = folder / MANIFEST
    if not path.is_file():
        return None
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RequestError(f"{path}: damaged ({error}); delete the folder and fetch again") from None
    return value


def write_manifest(folder: Path, repository: str, revision: str, files: Sequence[dict[str, Any]]) -> None:
    """Say that a folder holds these files, whole, of this commit."""
    value = {"repository": repository, "revision": revision, "files": list(files)}
    write_atomically(folder / MANIFEST, json.dumps(value, indent=1) + "\n")
    (folder / UNFINISHED).unlink(missing_ok=True)
