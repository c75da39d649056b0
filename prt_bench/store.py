"""The store: content-addressed artifacts and member outputs, outside the leaderboard folder.

Every entry is one safetensors file, named by the digest of all that it was made from and put in place
atomically, so a reader never sees half of one.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from prt_bench.errors import CellError, RequestError
from prt_bench.files import write_atomically

if TYPE_CHECKING:
    import torch

__all__ = ["Store"]


class Store:
    """A folder of artifacts (`artifacts/`), member outputs (`outputs/`) and notes (`notes/`)."""

    def __init__(self, root: Path) -> None:
        self.root = root
        writable(root, "--store")

    def path(self, kind: str, key: str) -> Path:
        """Where the entry of this kind and key is, or would be."""
        return self.root / kind / key[:2] / f"{key}.safetensors"

    def put(self, kind: str, key: str, tensors: Mapping[str, torch.Tensor], manifest: Mapping[str, Any]) -> Path:
        """Write an entry; a second writer of the same key writes the same contents."""
        from safetensors.torch import save_file

        path = self.path(kind, key)
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
        os.close(handle)
        try:
            contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
            save_file(contiguous, temporary, metadata={"manifest": json.dumps(manifest, sort_keys=True)})
            with open(temporary, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        return path

    def get(self, kind: str, key: str) -> dict[str, torch.Tensor] | None:
        """The tensors of an entry, or None where there is none.

        Raises:
            CellError: the file is damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = self.path(kind, key)
        if not path.is_file():
            return None
        try:
            return load_file(path)
        except SafetensorError as error:
            raise CellError(f"{path}: damaged ({error}); delete it and run again") from error

    @contextmanager
    def lock(self, key: str) -> Iterator[None]:
        """Hold the right to make one entry, so that two runs do not pay for it twice."""
        folder = self.root / "locks"
        folder.mkdir(exist_ok=True)
        with FileLock(folder / f"{key}.lock"):
            yield

    def note(self, key: str) -> dict[str, Any] | None:
        """A JSON note kept under a key, or None.

        Raises:
            CellError: the file is damaged.
        """
        path = self.root / "notes" / key[:2] / f"{key}.json"
        if not path.is_file():
            return None
        try:
            value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise CellError(f"{path}: damaged ({error}); delete it and run again") from None
        return value

    def put_note(self, key: str, value: Mapping[str, Any]) -> None:
        """Keep a JSON note under a key."""
        write_atomically(self.root / "notes" / key[:2] / f"{key}.json", json.dumps(value, sort_keys=True))


def writable(folder: Path, option: str) -> None:
    """Make a folder and prove that files can be written there; RequestError names the option otherwise."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise RequestError(
            f"{option} {folder}: cannot be written ({error.strerror or error}); name another folder with {option} DIR"
        ) from None
