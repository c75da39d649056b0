"""Data sets in the hub's own format, read from a folder; nothing here asks the network."""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from prt_bench.data.examples import Examples, RawData, to_rgb
from prt_bench.data.folder import Progress
from prt_bench.errors import RequestError, did_you_mean
from prt_bench.files import digest, first_line
from prt_bench.store import Store
from prt_bench.task_spec import HubSource, LabelFile

__all__ = ["load_hub", "read_table", "split_files"]

log = logging.getLogger(__name__)


class HubExamples(Examples):
    """Rows of a `datasets` table whose images stay encoded until they are needed."""

    def __init__(self, table: Any, column: str, labels: NDArray[np.int64], ids: list[str], digests: list[str]) -> None:
        self._table = table
        self._column = column
        self._digests = digests
        self.labels = labels
        self.ids = ids

    def image(self, index: int) -> Image.Image:
        try:
            with Image.open(io.BytesIO(_encoded(self._table[index][self._column]))) as image:
                return to_rgb(image)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise RequestError(f"{self.ids[index]}: cannot be decoded ({error})") from None

    def subset(self, indices: Sequence[int]) -> HubExamples:
        chosen = list(indices)
        return HubExamples(
            self._table.select(chosen),
            self._column,
            self.labels[np.asarray(chosen, np.int64)],
            [self.ids[index] for index in chosen],
            [self._digests[index] for index in chosen],
        )

    def relabelled(self, labels: NDArray[np.int64]) -> HubExamples:
        return HubExamples(self._table, self._column, labels, self.ids, self._digests)

    @property
    def digests(self) -> Sequence[str]:
        return self._digests


def load_hub(
    folder: Path, source: HubSource, splits: Sequence[str], store: Store, report: Progress, local: bool
) -> RawData:
    """Load splits of a data set from a folder that holds its repository; `local` where that is the user's own.

    Raises:
        RequestError: it cannot be read, or lacks a split, a column or the names of its labels.
    """
    found: dict[str, Examples] = {}
    names: tuple[str, ...] = ()
    for split in splits:
        table = _table(folder, source, split, store)
        column = next((name for name in source.image if name in table.column_names), None)
        if column is None:
            raise _no_column(folder, " or ".join(map(repr, source.image)), table.column_names)
        if source.label not in table.column_names:
            raise _no_column(folder, repr(source.label), table.column_names)
        names = _label_names(folder, source, table)
        labels = np.asarray([-1 if label is None else label for label in table[source.label]], dtype=np.int64)
        if len(labels) and labels.max() >= len(names):
            raise RequestError(f"data {folder}: label {labels.max()} in split {split}, but only {len(names)} names")
        encoded = _undecoded(table.select_columns([column]), column)
        ids = [f"{source.repository}/{split}/{index}" for index in range(len(labels))]
        digests = _digests(folder, encoded, column, split, store, report)
        found[split] = HubExamples(encoded, column, labels, ids, digests)
    return RawData(found, names, local)


def _table(folder: Path, source: HubSource, split: str, store: Store) -> Any:
    files = split_files(folder, source.config, split, (".tar", ".parquet"), source.repository)
    if files is None:
        # A repository of image files: only the library can tell which are the split's.
        return read_table(str(folder.resolve()), None, split, store, folder, source.repository)
    kind = "webdataset" if files[0].suffix == ".tar" else "parquet"
    features = _features(folder, files[0], source.config) if kind == "parquet" else None
    return read_table(kind, files, split, store, folder, source.repository, features)


def read_table(
    kind: str,
    files: Sequence[Path] | None,
    split: str,
    store: Store,
    folder: Path,
    repository: str = "the repository",
    features: Any = None,
) -> Any:
    """One split as a `datasets` table, from files of one format, or from a folder that the library reads as a whole.

    Raises:
        RequestError: it cannot be read.
    """
    import datasets

    # The library writes to these what is said once, below.
    for name in ("huggingface_hub", "datasets"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    datasets.disable_progress_bars()
    options: dict[str, Any] = {"split": split, "cache_dir": str((store.root / "datasets").resolve())}
    if files is not None:
        options["data_files"] = {split: [str(path.resolve()) for path in files]}
    if features is not None:
        options["features"] = features
    try:
        return datasets.load_dataset(kind, **options)
    except Exception as error:  # noqa: BLE001 - the library raises its own, the formats' and the system's errors
        reason = first_line(error)
        raise RequestError(
            f"data {folder}, split {split}: cannot be read ({reason}); is it a whole copy of {repository}?"
        ) from None


def split_files(
    folder: Path, config: str | None, split: str, suffixes: tuple[str, ...], repository: str = "the repository"
) -> list[Path] | None:
    """The split's own files in a copy of a hub repository, in order; None where none has one of these suffixes.

    Other splits may not have been fetched, which the hub's library would miss.

    Raises:
        RequestError: there are such files, but none of this split.
    """
    patterns = _card_patterns(folder, config, split) or [
        f"{split}/*.tar",
        *(f"{config or '**'}/{split}-*{suffix}" for suffix in suffixes),
        *(f"**/{split}[-_.]*{suffix}" for suffix in suffixes),
        *(f"{split}{suffix}" for suffix in suffixes),
    ]
    for pattern in patterns:
        found = [path for path in folder.glob(pattern) if path.suffix in suffixes]
        if found:
            return sorted(found, key=_by_number)
    # One file that no card speaks of is the split `train`, as the hub's library has it.
    single = [path for path in folder.glob("[!.]*") if path.suffix in suffixes]
    if split == "train" and len(single) == 1 and not _card(folder).get("configs"):
        return single
    if any(path.suffix in suffixes for path in folder.rglob("*")):
        raise RequestError(
            f"data {folder}, split {split}: cannot be read (no files of split {split!r}); is it a whole copy of "
            f"{repository}?"
        )
    return None


def _by_number(path: Path) -> list[tuple[int, str]]:
    """Shards 0, 1, … 10 in this order: the order of rows follows from that of files."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", path.name)]


def _card_patterns(folder: Path, config: str | None, split: str) -> list[str]:
    """Patterns of a split's files, by the repository's card; none where it does not say."""
    for entry in _card(folder).get("configs") or []:
        parts = entry.get("data_files")
        if config not in (None, entry.get("config_name")):
            continue
        if isinstance(parts, str) and split == "train":
            return [parts]
        if isinstance(parts, list):
            for part in parts:
                if isinstance(part, dict) and part.get("split") == split:
                    paths = part["path"]
                    return [paths] if isinstance(paths, str) else list(paths)
    return []


def _features(folder: Path, file: Path, config: str | None) -> Any:
    """Columns and label names that the card states, where the file itself does not; None where it does."""
    import pyarrow.parquet
    from datasets.info import DatasetInfosDict
    from huggingface_hub import DatasetCardData

    card = _card(folder)
    if b"huggingface" in (pyarrow.parquet.read_schema(file).metadata or {}) or "dataset_info" not in card:
        return None
    known = DatasetInfosDict.from_dataset_card_data(DatasetCardData(**card))
    chosen = known.get(config) if config in known else next(iter(known.values()), None)
    return chosen.features if chosen else None


def _card(folder: Path) -> dict[str, Any]:
    path = folder / "README.md"
    if not path.is_file():
        return {}
    status = path.stat()
    return _parsed(path, status.st_size, status.st_mtime_ns)


@cache
def _parsed(path: Path, size: int, modified: int) -> dict[str, Any]:
    from huggingface_hub import DatasetCard

    value: dict[str, Any] = DatasetCard.load(path).data.to_dict()
    return value


def _undecoded(table: Any, column: str) -> Any:
    import datasets

    if not isinstance(table.features[column], datasets.Image):
        kind = table.features[column]
        raise RequestError(f"column {column!r} holds {kind} where pictures are wanted")
    return table.cast_column(column, datasets.Image(decode=False))


def _encoded(cell: Mapping[str, Any]) -> bytes:
    """A picture's bytes, which a repository of image files leaves in their files."""
    content: bytes | None = cell["bytes"]
    return Path(cell["path"]).read_bytes() if content is None else content


def _digests(folder: Path, table: Any, column: str, split: str, store: Store, report: Progress) -> list[str]:
    """Digest of each picture's bytes; read once, and not again while the folder's files stay as they are."""
    import hashlib

    files = sorted(path for path in folder.rglob("*") if path.is_file() and ".cache" not in path.parts)
    states = [(str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    key = digest(["hub", str(folder.resolve()), states, split, column])
    note = store.note(key)
    if note is None:
        found = []
        for row in table:
            found.append(hashlib.sha256(_encoded(row[column])).hexdigest())
            report(f"reading {folder.name}, {split}", len(found), len(table))
        note = {"sha256": found}
        store.put_note(key, note)
    digests: list[str] = note["sha256"]
    return digests


def _label_names(folder: Path, source: HubSource, table: Any) -> tuple[str, ...]:
    own = getattr(table.features[source.label], "names", None)
    if own is not None:
        return tuple(own)
    match source.label_names:
        case LabelFile(file=file):
            if not (folder / file).is_file():
                raise RequestError(f"data {folder}: the file of label names, {file}, is missing")
            return tuple(line.strip() for line in (folder / file).read_text(encoding="utf-8").splitlines())
        case None:
            raise RequestError(f"data {folder}: column {source.label!r} holds no class labels with names")
        case names:
            return names


def _no_column(folder: Path, wanted: str, columns: list[str]) -> RequestError:
    return RequestError(
        f"data {folder}: no column {wanted}{did_you_mean(wanted, columns)}; it has {', '.join(columns)}"
    )
