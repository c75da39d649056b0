"""Files of hub repositories, by commit: resumed where a download broke off, and checked by digest."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Literal

from prt_bench.errors import RequestError, did_you_mean
from prt_bench.files import first_line
from prt_bench.models import file_sha256
from prt_bench.pins import Pin
from prt_bench.places import UNFINISHED, manifest, write_manifest

__all__ = ["Remote", "RemoteFile", "download", "look_up"]

Kind = Literal["model", "dataset"]
Progress = Callable[[str, int, int], None]
BESIDE = {
    "dataset": ("README.md",),
    "model": ("open_clip_config.json", "config.json", "generation_config.json", "model.safetensors.index.json"),
}
"""Small files that say what the others hold: taken along where they are there."""


@dataclass(frozen=True)
class RemoteFile:
    """A file as the hub describes it."""

    name: str
    size: int
    sha256: str | None
    """Of large files; the hub knows small ones by git's digest."""
    git_sha1: str


@dataclass(frozen=True)
class Remote:
    """A repository at a commit."""

    kind: Kind
    repository: str
    revision: str
    files: tuple[RemoteFile, ...]
    licence: str
    gated: bool

    def chosen(self, patterns: Sequence[str]) -> list[RemoteFile]:
        """The files that match a pattern, and those that describe them; all but hidden ones without patterns.

        Raises:
            RequestError: a pattern matches nothing.
        """
        names = [file.name for file in self.files]
        for pattern in patterns:
            if not any(fnmatch(name, pattern) for name in names):
                raise RequestError(
                    f"{self.repository}: no file {pattern} at {self.revision[:12]}{did_you_mean(pattern, names)}"
                )
        wanted = [*patterns, *BESIDE[self.kind]] if patterns else ["[!.]*"]
        return [file for file in self.files if any(fnmatch(file.name, pattern) for pattern in wanted)]


def look_up(kind: Kind, repository: str, revision: str | None) -> Remote:
    """Ask the hub what a repository holds at a commit, or at its head.

    Raises:
        RequestError: it cannot be asked, or has no such repository or commit.
    """
    from huggingface_hub import HfApi

    # The library tells of every retry; what could not be had is said once.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        info: Any = HfApi().repo_info(repository, repo_type=kind, revision=revision, files_metadata=True)
    except Exception as error:  # noqa: BLE001 - the hub's, http's and the system's errors; each is one line for a user
        raise _refused(kind, repository, error) from None
    card = info.card_data or {}
    files = tuple(
        RemoteFile(part.rfilename, part.size or 0, part.lfs.sha256 if part.lfs else None, part.blob_id)
        for part in info.siblings or ()
    )
    licence = card.get("license") or "not stated"
    shown = ", ".join(licence) if isinstance(licence, list) else str(licence)
    return Remote(kind, repository, info.sha, files, shown, bool(info.gated))


def download(remote: Remote, patterns: Sequence[str], folder: Path, pin: Pin | None, report: Progress) -> list[str]:
    """Bring files of a repository into a folder, whole and checked; returns their names.

    What is there already and whole is left alone; a part of a file is gone on with. The manifest is written last.

    Raises:
        RequestError: a file cannot be had, or its digest is not the hub's or not the pinned one.
    """
    known = manifest(folder)
    kept = {file["name"]: file for file in known["files"]} if known and known["revision"] == remote.revision else {}
    if remote.kind == "dataset":
        folder.mkdir(parents=True, exist_ok=True)
        (folder / UNFINISHED).touch()
    described = []
    for file in remote.chosen(patterns):
        path = folder / file.name
        if not (path.is_file() and _as_described(path, file)):
            _bring(remote, file, path, report)
        sha256 = file_sha256(path)
        pinned = pin.files.get(file.name) if pin else None
        if pinned not in (None, sha256):
            path.unlink()
            raise RequestError(
                f"{remote.repository}/{file.name}: digest {sha256[:12]}… where {str(pinned)[:12]}… is pinned; removed"
            )
        described.append({"name": file.name, "size": file.size, "sha256": sha256})
    also = [file for name, file in kept.items() if name not in {one["name"] for one in described}]
    write_manifest(folder, remote.repository, remote.revision, [*described, *also])
    return [str(file["name"]) for file in described]


def _bring(remote: Remote, file: RemoteFile, path: Path, report: Progress) -> None:
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    path.parent.mkdir(parents=True, exist_ok=True)
    # Named by the commit: a part of another version is not gone on with.
    partial = path.with_name(f".{path.name}.{remote.revision[:12]}.partial")
    url = hf_hub_url(remote.repository, file.name, repo_type=remote.kind, revision=remote.revision)
    title = f"{remote.repository}/{file.name}"
    try:
        with partial.open("ab") as out:
            http_get(
                url,
                out,
                resume_size=out.tell(),
                headers=build_hf_headers(),
                expected_size=file.size,
                tqdm_class=_bar(title, report),
            )
    except Exception as error:  # noqa: BLE001 - as above; what was had stays for the next time
        raise _refused(remote.kind, title, error) from None
    if not _as_described(partial, file):
        partial.unlink()
        raise RequestError(f"{title}: what came is not what the hub describes (its digest differs); removed, try again")
    partial.replace(path)


def _as_described(path: Path, file: RemoteFile) -> bool:
    if path.stat().st_size != file.size:
        return False
    if file.sha256 is not None:
        return file_sha256(path) == file.sha256
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest() == file.git_sha1


def _bar(title: str, report: Progress) -> Any:
    """The library's progress bar, shown by ours."""
    from huggingface_hub.utils import tqdm

    class Reported(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **{**options, "disable": True})  # type: ignore[no-untyped-call]
            self._done = int(options.get("initial") or 0)
            self._goal = int(options.get("total") or 0)

        def update(self, n: float | None = 1) -> bool | None:
            self._done += int(n or 0)
            report(f"fetching {title}", self._done, max(self._goal, self._done))
            return None

    return Reported


def _refused(kind: str, what: str, error: Exception) -> RequestError:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    reason = first_line(error)
    match error:
        case GatedRepoError():
            way = "accept its terms on its page at the hub, log in with `hf auth login`, and fetch again"
        case RepositoryNotFoundError() | RevisionNotFoundError():
            way = "it is not there under this name and commit"
        case _:
            way = "connect to the network and fetch again; what was had of it is kept"
    return RequestError(f"{kind} {what}: cannot be fetched ({type(error).__name__}: {reason}); {way}")
