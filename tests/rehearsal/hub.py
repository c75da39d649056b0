"""A hub in one folder: the part of the hub's HTTP interface that downloads use, with faults on request."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

__all__ = ["BlobFacts", "HubStandIn", "Request"]

LFS_BYTES = 10 << 20
"""Text files of this size and more are kept as LFS blobs; binary files always are."""
CHUNK = 1 << 16


@dataclass(frozen=True)
class Request:
    """One request as it came in."""

    method: str
    path: str
    """Without the query, unquoted."""
    range: str | None
    status: int


@dataclass(frozen=True)
class BlobFacts:
    """What the hub says about a file."""

    size: int
    oid: str
    """Git's object id: of the file, or of its pointer."""
    sha256: str | None
    """Of an LFS blob; None for a file that git holds itself."""
    pointer_size: int

    @property
    def etag(self) -> str:
        return self.sha256 or self.oid


class HubStandIn(AbstractContextManager["HubStandIn"]):
    """Serves `root/{models,datasets}/ORG/NAME/...` on 127.0.0.1 for as long as the context lasts.

    `gated`, `corrupt` and the cuts may be changed while it serves; files under `root` may be, too.
    """

    def __init__(
        self,
        root: Path,
        *,
        gated: Collection[str] = (),
        corrupt: Collection[str] = (),
        cut_after_bytes: int | None = None,
        cuts: int = 1,
        commits: Mapping[str, str] | None = None,
    ) -> None:
        self.root = root
        self.gated = set(gated)
        """Repositories `ORG/NAME` whose files nobody may have; what they hold is told all the same."""
        self.corrupt = set(corrupt)
        """Files `ORG/NAME/PATH` that are sent with their middle byte flipped, under the digest of the whole ones."""
        self.cut_after_bytes = cut_after_bytes
        """The connection is closed after so many bytes of a body, the first `cuts` times that a file is asked for."""
        self.cuts = cuts
        self.commits = dict(commits or {})
        """Repositories `{models,datasets}/ORG/NAME` whose commit is this, whatever they hold: as task files pin."""
        self.requests: list[Request] = []
        self._cut: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.hub = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> HubStandIn:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """The endpoint, without a slash at its end."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def environment(self, home: Path) -> dict[str, str]:
        """Variables under which huggingface_hub, in another process, asks this hub and keeps its cache in `home`."""
        return {
            "HF_ENDPOINT": self.url,
            "HF_HUB_OFFLINE": "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": "1",
            "HF_HOME": str(home),
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def commit(self, kind: str, repository: str) -> str:
        """The commit of a repository, from names and contents of its files; `kind` is `models` or `datasets`."""
        return self.commits.get(f"{kind}/{repository}") or self._commit(self._files(self.root / kind / repository))

    def gets(self, ending: str = "") -> list[Request]:
        """The requests for bodies of files whose path ends so."""
        return [
            asked
            for asked in self.requests
            if asked.method == "GET" and "/resolve/" in asked.path and asked.path.endswith(ending)
        ]

    def record(self, request: Request) -> None:
        """Note a request, from the thread that answers it."""
        with self._lock:
            self.requests.append(request)

    def may_cut(self, path: str) -> bool:
        """Whether this answer is one of those to break off."""
        with self._lock:
            self._cut[path] += 1
            return self._cut[path] <= self.cuts

    def folder(self, kind: str, repository: str) -> Path | None:
        """Where a repository is; None where there is none of the name."""
        if repository.count("/") != 1 or ".." in repository:
            return None
        folder = self.root / kind / repository
        return folder if folder.is_dir() else None

    def info(self, kind: str, repository: str, blobs: bool) -> dict[str, Any]:
        """What `model_info` and `dataset_info` are told."""
        folder = self.root / kind / repository
        files = self._files(folder)
        changed = time.gmtime(max((path.stat().st_mtime for path in files.values()), default=0))
        when = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", changed)
        commit = self.commit(kind, repository)
        card = _card_data(folder / "README.md")
        found: dict[str, Any] = {
            "_id": commit[:24],
            "id": repository,
            "author": repository.split("/")[0],
            "sha": commit,
            "createdAt": when,
            "lastModified": when,
            "private": False,
            "gated": "manual" if repository in self.gated else False,
            "disabled": False,
            "downloads": 0,
            "likes": 0,
            "tags": [f"license:{card['license']}"] if isinstance(card.get("license"), str) else [],
            "siblings": [_sibling(name, facts_of(path), blobs) for name, path in files.items()],
        }
        if card:
            found["cardData"] = card
        if kind == "models":
            found["modelId"] = repository
        return found

    @staticmethod
    def _files(folder: Path) -> dict[str, Path]:
        found = (path for path in folder.rglob("*") if path.is_file())
        return {path.relative_to(folder).as_posix(): path for path in sorted(found)}

    @staticmethod
    def _commit(files: Mapping[str, Path]) -> str:
        told = json.dumps({name: facts_of(path).etag for name, path in files.items()}, sort_keys=True)
        return hashlib.sha1(told.encode(), usedforsecurity=False).hexdigest()


def facts_of(path: Path) -> BlobFacts:
    """What is told of a file; each state of a file is read once."""
    status = path.stat()
    return _facts(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4096)
def _facts(path: Path, size: int, modified: int) -> BlobFacts:
    with path.open("rb") as file:
        binary = b"\0" in file.read(1 << 13)
    if not binary and size < LFS_BYTES:
        return BlobFacts(size, _git_oid(path.read_bytes()), None, 0)
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n".encode()
    return BlobFacts(size, _git_oid(pointer), sha256, len(pointer))


def _git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _sibling(name: str, facts: BlobFacts, blobs: bool) -> dict[str, Any]:
    if not blobs:
        return {"rfilename": name}
    found: dict[str, Any] = {"rfilename": name, "blobId": facts.oid, "size": facts.size}
    if facts.sha256 is not None:
        found["lfs"] = {"sha256": facts.sha256, "size": facts.size, "pointerSize": facts.pointer_size}
    return found


def _card_data(readme: Path) -> dict[str, Any]:
    """The YAML at the head of a README."""
    if not readme.is_file():
        return {}
    _, _, rest = readme.read_text(encoding="utf-8").partition("---\n")
    found = yaml.safe_load(rest.partition("\n---")[0])
    return found if isinstance(found, dict) else {}


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    hub: HubStandIn

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is none of the tests' business."""


class _RefusalError(Exception):
    """An answer in the hub's words."""

    def __init__(self, status: int, code: str | None, message: str, commit: str | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.commit = status, code, message, commit


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on stderr: requests are kept on the hub."""

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        try:
            words = [unquote(word) for word in parts.path.strip("/").split("/")]
            if words[:1] == ["api"]:
                self._send_info(words[1:], "blobs" in parse_qs(parts.query))
            else:
                self._send_file(words)
        except _RefusalError as refusal:
            headers = {"X-Error-Message": refusal.message}
            if refusal.code:
                headers["X-Error-Code"] = refusal.code
            if refusal.commit:
                headers["X-Repo-Commit"] = refusal.commit
            self._send(refusal.status, json.dumps({"error": refusal.message}).encode(), headers)

    def _send_info(self, words: list[str], blobs: bool) -> None:
        """/api/{models,datasets}/ORG/NAME[/revision/REVISION]"""
        if len(words) not in (3, 5) or (len(words) == 5 and words[3] != "revision"):
            raise _RefusalError(404, None, f"the stand-in has no /api/{'/'.join(words)}")
        self._repository(words[0], "/".join(words[1:3]), words[4] if len(words) == 5 else "main")
        told = self.server.hub.info(words[0], "/".join(words[1:3]), blobs)
        self._send(200, json.dumps(told).encode(), {"Content-Type": "application/json; charset=utf-8"})

    def _send_file(self, words: list[str]) -> None:
        """[/datasets]/ORG/NAME/resolve/REVISION/PATH"""
        hub = self.server.hub
        kind = "datasets" if words[:1] == ["datasets"] else "models"
        words = words[1:] if kind == "datasets" else words
        if len(words) < 5 or words[2] != "resolve":
            raise _RefusalError(404, None, f"the stand-in has no /{'/'.join(words)}")
        repository, name = "/".join(words[:2]), "/".join(words[4:])
        folder, commit = self._repository(kind, repository, words[3])
        if repository in hub.gated:
            raise _RefusalError(403, "GatedRepo", f"Access to {repository} is restricted", commit)
        path = folder / name
        if ".." in words or not path.is_file():
            raise _RefusalError(404, "EntryNotFound", "Entry not found", commit)
        facts = facts_of(path)
        headers = {
            "ETag": f'"{facts.etag}"',
            "X-Repo-Commit": commit,
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream" if facts.sha256 else "text/plain; charset=utf-8",
            "Content-Disposition": f"inline; filename*=UTF-8''{path.name}; filename=\"{path.name}\";",
        }
        if facts.sha256 is not None:
            headers |= {"X-Linked-Etag": f'"{facts.sha256}"', "X-Linked-Size": str(facts.size)}
        start, stop = self._span(facts.size)
        whole = (start, stop) == (0, facts.size) and "Range" not in self.headers
        if not whole:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{facts.size}"
        full_name = f"{repository}/{name}"
        self._begin(200 if whole else 206, stop - start, headers)
        if self.command == "GET":
            flipped = facts.size // 2 if full_name in hub.corrupt else None
            limit = hub.cut_after_bytes
            if limit is not None and stop - start > limit and hub.may_cut(f"{kind}/{full_name}"):
                self.close_connection = True
                stop = start + limit
            for chunk in _content(path, start, stop, flipped):
                self.wfile.write(chunk)
            self.wfile.flush()

    def _repository(self, kind: str, repository: str, revision: str) -> tuple[Path, str]:
        hub = self.server.hub
        folder = hub.folder(kind, repository) if kind in ("models", "datasets") else None
        if folder is None:
            raise _RefusalError(404, "RepoNotFound", "Repository not found")
        commit = hub.commit(kind, repository)
        if revision not in ("main", commit):
            raise _RefusalError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return folder, commit

    def _span(self, size: int) -> tuple[int, int]:
        """The half-open span of bytes that is asked for."""
        asked = self.headers.get("Range")
        if asked is None:
            return 0, size
        unit, _, span = asked.partition("=")
        first, dash, last = span.partition("-")
        if unit.strip() != "bytes" or not dash or "," in span:
            return 0, size
        start, stop = (int(first), int(last) + 1 if last else size) if first else (max(0, size - int(last)), size)
        if start >= size:
            raise _RefusalError(416, None, f"Range {asked} is outside {size} bytes")
        return start, min(stop, size)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self._begin(status, len(body), headers)
        if self.command == "GET":
            self.wfile.write(body)

    def _begin(self, status: int, length: int, headers: Mapping[str, str]) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.hub.record(Request(self.command, path, self.headers.get("Range"), status))
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(length)}.items():
            self.send_header(name, value)
        self.end_headers()


def _content(path: Path, start: int, stop: int, flipped: int | None) -> Iterator[bytes]:
    """Bytes `start` to `stop` of a file, one of them turned over where that is asked."""
    with path.open("rb") as file:
        file.seek(start)
        while start < stop and (chunk := file.read(min(CHUNK, stop - start))):
            if flipped is not None and start <= flipped < start + len(chunk):
                place = flipped - start
                chunk = chunk[:place] + bytes([chunk[place] ^ 0xFF]) + chunk[place + 1 :]
            start += len(chunk)
            yield chunk
