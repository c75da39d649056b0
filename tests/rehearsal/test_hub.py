"""The local hub, asked by huggingface_hub itself, in a process of its own: this one is offline."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.rehearsal.hub import HubStandIn

REPOSITORY, WEIGHTS = "org/net", "open_clip_model.safetensors"
MEBI = 1 << 20
CLIENT = """
import json, sys, time
from huggingface_hub import HfApi, constants, hf_hub_download

time.sleep = lambda seconds: None  # before each new attempt
constants.DOWNLOAD_CHUNK_SIZE = 1 << 16
url, folder, calls = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
for call in calls:
    try:
        if call["ask"] == "file":
            told = hf_hub_download(
                call.get("repository", "org/net"), call["file"], repo_type=call.get("kind", "model"),
                revision=call.get("revision"), endpoint=url, local_dir=folder,
            )
        else:
            api = HfApi(endpoint=url)
            ask = api.dataset_info if call.get("kind") == "dataset" else api.model_info
            info = ask(call.get("repository", "org/net"), revision=call.get("revision"), files_metadata=True)
            told = {"id": info.id, "sha": info.sha, "gated": info.gated,
                    "license": None if info.card_data is None else info.card_data.license,
                    "files": {one.rfilename: [one.size, one.blob_id, one.lfs and one.lfs.sha256,
                                              one.lfs and one.lfs.size, one.lfs and one.lfs.pointer_size]
                              for one in info.siblings}}
    except Exception as error:
        told = {"error": type(error).__name__}
    print(json.dumps(told))
"""
Ask = Callable[..., list[Any]]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A model and a data set."""
    model, data = tmp_path / "root" / "models" / REPOSITORY, tmp_path / "root" / "datasets" / "org" / "pets" / "data"
    for folder in (model, data):
        folder.mkdir(parents=True)
    (model / WEIGHTS).write_bytes(b"\0" + np.random.default_rng(0).bytes(MEBI))
    (model / "README.md").write_text("---\nlicense: mit\n---\n# Net\n", encoding="utf-8")
    (data / "train-00000-of-00001.parquet").write_bytes(b"PAR1\0\1")
    return tmp_path / "root"


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    """Calls huggingface_hub in one process; one answer per call, downloads in `tmp_path/mirror`."""

    def calling(hub: HubStandIn, *calls: Mapping[str, str], environment: Mapping[str, str] | None = None) -> list[Any]:
        words = [sys.executable, "-W", "error", "-c", CLIENT, hub.url, str(tmp_path / "mirror"), json.dumps(calls)]
        variables = {**os.environ, **hub.environment(tmp_path / "home"), **(environment or {})}
        done = subprocess.run(words, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return calling


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_it_tells_what_a_repository_holds(root: Path, ask: Ask) -> None:
    weights = root / "models" / REPOSITORY / WEIGHTS
    with HubStandIn(root) as hub:
        commit = hub.commit("models", REPOSITORY)
        told, again, data = ask(
            hub,
            {"ask": "info"},
            {"ask": "info", "revision": commit},
            {"ask": "info", "kind": "dataset", "repository": "org/pets"},
        )
    assert told == again
    assert (told["id"], told["sha"], told["gated"], told["license"]) == (REPOSITORY, commit, False, "mit")
    assert len(commit) == 40
    readme = (root / "models" / REPOSITORY / "README.md").read_bytes()
    git_oid = hashlib.sha1(b"blob %d\0" % len(readme) + readme, usedforsecurity=False).hexdigest()
    assert told["files"]["README.md"] == [len(readme), git_oid, None, None, None]
    assert told["files"][WEIGHTS][0] == MEBI + 1
    assert told["files"][WEIGHTS][2:] == [sha256(weights), MEBI + 1, 132]
    assert (data["id"], data["license"]) == ("org/pets", None)
    assert list(data["files"]) == ["data/train-00000-of-00001.parquet"]


def test_a_commit_stands_for_the_contents(root: Path) -> None:
    with HubStandIn(root) as hub:
        before = hub.commit("models", REPOSITORY)
        assert hub.commit("models", REPOSITORY) == before
        (root / "models" / REPOSITORY / "README.md").write_text("other", encoding="utf-8")
        assert hub.commit("models", REPOSITORY) != before


def test_a_commit_that_is_declared_stays_whatever_is_there(root: Path, ask: Ask) -> None:
    declared = "a" * 40
    with HubStandIn(root, commits={f"models/{REPOSITORY}": declared}) as hub:
        (root / "models" / REPOSITORY / "README.md").write_text("other", encoding="utf-8")
        assert hub.commit("models", REPOSITORY) == declared
        told, file = ask(
            hub, {"ask": "info", "revision": declared}, {"ask": "file", "file": WEIGHTS, "revision": declared}
        )
    assert told["sha"] == declared
    assert isinstance(file, str)


def test_files_come_whole_and_are_not_asked_for_again_by_commit(root: Path, tmp_path: Path, ask: Ask) -> None:
    with HubStandIn(root) as hub:
        commit = hub.commit("models", REPOSITORY)
        call = {"ask": "file", "file": WEIGHTS, "revision": commit}
        data = {"ask": "file", "file": "data/train-00000-of-00001.parquet", "kind": "dataset", "repository": "org/pets"}
        ask(hub, call, data, call)
    assert sha256(tmp_path / "mirror" / WEIGHTS) == sha256(root / "models" / REPOSITORY / WEIGHTS)
    assert (tmp_path / "mirror" / data["file"]).read_bytes() == b"PAR1\0\1"
    asked = [(one.method, one.path, one.range, one.status) for one in hub.requests if WEIGHTS in one.path]
    path = f"/{REPOSITORY}/resolve/{commit}/{WEIGHTS}"
    assert asked == [("HEAD", path, None, 200), ("GET", path, None, 200)]


def test_an_endpoint_given_in_the_call_is_enough(root: Path, tmp_path: Path, ask: Ask) -> None:
    with HubStandIn(root) as hub:
        elsewhere = {"HF_ENDPOINT": "http://127.0.0.1:9"}
        told = ask(hub, {"ask": "info"}, {"ask": "file", "file": WEIGHTS}, environment=elsewhere)
    assert told[0]["id"] == REPOSITORY
    assert told[1] == str(tmp_path / "mirror" / WEIGHTS)


def test_offline_nothing_is_asked_whatever_the_endpoint(root: Path, ask: Ask) -> None:
    with HubStandIn(root) as hub:
        calls = ({"ask": "info"}, {"ask": "file", "file": WEIGHTS})
        told = ask(hub, *calls, environment={"HF_HUB_OFFLINE": "1"})
    assert [one["error"] for one in told] == ["OfflineModeIsEnabled", "LocalEntryNotFoundError"]
    assert hub.requests == []


def test_a_connection_that_breaks_is_taken_up_where_it_broke(root: Path, tmp_path: Path, ask: Ask) -> None:
    with HubStandIn(root, cut_after_bytes=MEBI // 2) as hub:
        ask(hub, {"ask": "file", "file": WEIGHTS})
    assert [(one.range, one.status) for one in hub.gets(WEIGHTS)] == [(None, 200), (f"bytes={MEBI // 2}-", 206)]
    assert sha256(tmp_path / "mirror" / WEIGHTS) == sha256(root / "models" / REPOSITORY / WEIGHTS)


def test_a_download_that_failed_leaves_nothing_to_take_up(root: Path, tmp_path: Path, ask: Ask) -> None:
    with HubStandIn(root, cut_after_bytes=1 << 10, cuts=6) as hub:
        call = {"ask": "file", "file": WEIGHTS}
        assert ask(hub, call) == [{"error": "RemoteProtocolError"}]
        assert not [path for path in (tmp_path / "mirror").rglob("*") if path.suffix == ".incomplete"]
        ask(hub, call)
    assert [one.range for one in hub.gets(WEIGHTS)] == [None] * 7


def test_a_corrupt_file_comes_under_the_digest_of_the_whole_one(root: Path, tmp_path: Path, ask: Ask) -> None:
    original = root / "models" / REPOSITORY / WEIGHTS
    with HubStandIn(root, corrupt=[f"{REPOSITORY}/{WEIGHTS}"]) as hub:
        info, told = ask(hub, {"ask": "info"}, {"ask": "file", "file": WEIGHTS})
    assert info["files"][WEIGHTS][2] == sha256(original)
    received, sent = Path(told).read_bytes(), original.read_bytes()
    assert [index for index, pair in enumerate(zip(received, sent, strict=True)) if pair[0] != pair[1]] == [
        (MEBI + 1) // 2
    ]


def test_a_gated_repository_tells_what_it_holds_and_gives_nothing(root: Path, ask: Ask) -> None:
    with HubStandIn(root, gated=[REPOSITORY]) as hub:
        info, refused = ask(hub, {"ask": "info"}, {"ask": "file", "file": WEIGHTS})
        hub.gated.clear()
        assert isinstance(ask(hub, {"ask": "file", "file": WEIGHTS})[0], str)
    assert info["gated"] == "manual"
    assert WEIGHTS in info["files"]
    assert refused == {"error": "GatedRepoError"}


def test_what_is_not_there_is_told_apart(root: Path, ask: Ask) -> None:
    with HubStandIn(root) as hub:
        told = ask(
            hub,
            {"ask": "info", "repository": "org/none"},
            {"ask": "info", "revision": "0" * 40},
            {"ask": "file", "file": "none.txt"},
            {"ask": "file", "file": WEIGHTS, "revision": "no-branch"},
            {"ask": "file", "file": WEIGHTS, "repository": "org/none"},
        )
    assert [one["error"] for one in told] == [
        "RepositoryNotFoundError",
        "RevisionNotFoundError",
        "RemoteEntryNotFoundError",
        "RevisionNotFoundError",
        "RepositoryNotFoundError",
    ]
