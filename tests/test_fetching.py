"""Files of a hub, from a local stand-in of it: chosen by pattern, resumed, checked by digest, noted when whole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from huggingface_hub import close_session, constants

from prt_bench.errors import MissingError, RequestError
from prt_bench.fetching import Kind, Remote, RemoteFile, download, look_up
from prt_bench.pins import Pin
from prt_bench.places import MANIFEST, find_data, manifest
from prt_bench.store import Store
from prt_bench.task_spec import HubSource
from tests.conftest import quiet
from tests.rehearsal.hub import HubStandIn

MODEL, DATA = "org/net", "org/pets"
WEIGHTS, OTHER = "open_clip_model.safetensors", "pytorch_model.bin"
SHARDS = ["data/test-00000-of-00001.parquet", "data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"]
SIZE = 1 << 16
CHUNK = 1 << 12


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A model and a data set as the hub has them."""
    generator = np.random.default_rng(0)
    model, data = tmp_path / "root" / "models" / MODEL, tmp_path / "root" / "datasets" / DATA
    (data / "data").mkdir(parents=True)
    model.mkdir(parents=True)
    for path in (model / WEIGHTS, model / OTHER, *(data / name for name in SHARDS)):
        path.write_bytes(b"\0" + generator.bytes(SIZE))
    (model / "open_clip_config.json").write_text('{"model_cfg": {}}', encoding="utf-8")
    (model / "README.md").write_text("---\nlicense: mit\n---\n# Net\n", encoding="utf-8")
    (data / "README.md").write_text("---\nlicense: [cc-by-4.0, mit]\n---\n# Pets\n", encoding="utf-8")
    (data / "labels.txt").write_text("cat\ndog\n", encoding="utf-8")
    (data / ".gitattributes").write_text("*.parquet filter=lfs\n", encoding="utf-8")
    return tmp_path / "root"


@pytest.fixture
def hub(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubStandIn]:
    """The hub that huggingface_hub asks for the length of a test; elsewhere the suite is offline."""
    with HubStandIn(root) as found:
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_IMPLICIT_TOKEN", True)
        monkeypatch.setattr(constants, "ENDPOINT", found.url)
        template = found.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", CHUNK)
        # It sleeps before each new attempt.
        monkeypatch.setattr("huggingface_hub.file_download.time", SimpleNamespace(sleep=lambda seconds: None))
        close_session()
        yield found
        close_session()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "store" / MODEL


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def at_hand(store: Path) -> bool:
    """Whether a run would read the data set from this store."""
    try:
        find_data("pets", HubSource(kind="hub", repository=DATA), None, Store(store))
    except MissingError:
        return False
    return True


def pin(remote: Remote, **files: str) -> Pin:
    facts: dict[str, Any] = {"size_bytes": 1, "licence": "mit", "gated": False, "checked": "2026-01-31"}
    return Pin(revision=remote.revision, files=files, **facts)


def remote_of(*files: str, kind: Kind = "model") -> Remote:
    listed = tuple(RemoteFile(name, 1, None, "") for name in files)
    return Remote(kind, MODEL, "a" * 40, listed, "mit", False)


def test_the_hub_tells_what_a_repository_holds_and_under_which_terms(hub: HubStandIn, root: Path) -> None:
    found = look_up("dataset", DATA, None)
    assert (found.kind, found.repository, found.revision) == ("dataset", DATA, hub.commit("datasets", DATA))
    assert (found.licence, found.gated) == ("cc-by-4.0, mit", False)
    files = {file.name: file for file in found.files}
    assert set(files) == {*SHARDS, "README.md", "labels.txt", ".gitattributes"}
    assert files[SHARDS[0]].size == SIZE + 1
    assert files[SHARDS[0]].sha256 == sha256(root / "datasets" / DATA / SHARDS[0])
    assert files["labels.txt"].sha256 is None
    assert look_up("dataset", DATA, found.revision) == found
    assert look_up("model", MODEL, None).licence == "mit"


@pytest.mark.parametrize(
    ("repository", "revision", "reason"),
    [("org/none", None, "RepositoryNotFoundError"), (MODEL, "0" * 40, "RevisionNotFoundError")],
)
def test_what_the_hub_does_not_have_is_said_in_one_line(
    hub: HubStandIn, repository: str, revision: str | None, reason: str
) -> None:
    with pytest.raises(
        RequestError, match=rf"model {repository}: cannot be fetched \({reason}.*not there under"
    ) as why:
        look_up("model", repository, revision)
    assert "\n" not in str(why.value)


def test_without_the_network_the_way_out_is_to_connect() -> None:
    with pytest.raises(RequestError, match=r"dataset org/pets: cannot be fetched .*connect to the network"):
        look_up("dataset", DATA, None)


def test_a_gated_repository_asks_for_its_terms_to_be_accepted(hub: HubStandIn, folder: Path) -> None:
    hub.gated.add(MODEL)
    found = look_up("model", MODEL, None)
    assert found.gated
    with pytest.raises(RequestError, match="accept its terms on its page at the hub, log in with `hf auth login`"):
        download(found, (WEIGHTS,), folder, None, quiet)
    assert manifest(folder) is None


def test_the_named_file_comes_with_what_describes_it_and_nothing_else(
    hub: HubStandIn, root: Path, folder: Path
) -> None:
    found = look_up("model", MODEL, None)
    told: list[tuple[str, int, int]] = []
    brought = download(found, (WEIGHTS,), folder, None, lambda *words: told.append(words))
    assert set(brought) == {WEIGHTS, "open_clip_config.json"}
    assert names(folder) == {WEIGHTS, "open_clip_config.json", MANIFEST}
    assert sha256(folder / WEIGHTS) == sha256(root / "models" / MODEL / WEIGHTS)
    note = manifest(folder)
    assert note is not None
    assert (note["repository"], note["revision"]) == (MODEL, found.revision)
    assert {file["name"]: (file["size"], file["sha256"]) for file in note["files"]} == {
        name: ((folder / name).stat().st_size, sha256(folder / name)) for name in brought
    }
    assert (f"fetching {MODEL}/{WEIGHTS}", SIZE + 1, SIZE + 1) in told


def test_patterns_choose_among_folders_and_take_the_card_along(hub: HubStandIn, tmp_path: Path) -> None:
    download(look_up("dataset", DATA, None), ("data/train-*",), tmp_path / "pets", None, quiet)
    assert names(tmp_path / "pets") == {*SHARDS[1:], "README.md", MANIFEST}


def test_without_patterns_all_but_hidden_files_come(hub: HubStandIn, tmp_path: Path) -> None:
    download(look_up("dataset", DATA, None), (), tmp_path / "pets", None, quiet)
    assert names(tmp_path / "pets") == {*SHARDS, "README.md", "labels.txt", MANIFEST}


def test_a_pattern_that_matches_nothing_is_refused_with_near_names(hub: HubStandIn, folder: Path) -> None:
    with pytest.raises(RequestError, match=rf"{MODEL}: no file open_clip_modle\S+ at a{{12}}; did you mean {WEIGHTS}"):
        remote_of(WEIGHTS, "README.md").chosen(("open_clip_modle.safetensors",))
    found = look_up("model", MODEL, None)
    with pytest.raises(RequestError, match="no file missing-"):
        download(found, (WEIGHTS, "missing-*"), folder, None, quiet)
    assert hub.gets() == [], "said before anything is fetched"


def test_what_describes_the_files_may_be_lacking() -> None:
    assert [file.name for file in remote_of(WEIGHTS, "notes.txt").chosen((WEIGHTS,))] == [WEIGHTS]
    found = remote_of("README.md", "config.json", "a.parquet", kind="dataset").chosen(("*.parquet",))
    assert [file.name for file in found] == ["README.md", "a.parquet"]


def test_whole_files_are_not_fetched_again(hub: HubStandIn, folder: Path) -> None:
    found = look_up("model", MODEL, None)
    brought = download(found, (WEIGHTS,), folder, None, quiet)
    asked, note = hub.gets(), manifest(folder)
    assert len(asked) == 2
    assert download(found, (WEIGHTS,), folder, None, quiet) == brought
    assert hub.gets() == asked
    assert manifest(folder) == note


@pytest.mark.parametrize("harm", ["gone", "cut short"])
def test_only_what_is_missing_is_fetched_again(hub: HubStandIn, root: Path, folder: Path, harm: str) -> None:
    found = look_up("model", MODEL, None)
    download(found, (WEIGHTS,), folder, None, quiet)
    hub.requests.clear()
    if harm == "gone":
        (folder / WEIGHTS).unlink()
    else:
        (folder / WEIGHTS).write_bytes(b"half")
    download(found, (WEIGHTS,), folder, None, quiet)
    assert [asked.path.rsplit("/", 1)[1] for asked in hub.gets()] == [WEIGHTS]
    assert sha256(folder / WEIGHTS) == sha256(root / "models" / MODEL / WEIGHTS)


def test_a_file_that_was_damaged_on_disk_is_not_taken_for_whole(hub: HubStandIn, root: Path, folder: Path) -> None:
    """Same size, other bytes: the hub's digest tells."""
    found = look_up("model", MODEL, None)
    download(found, (WEIGHTS,), folder, None, quiet)
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[7] ^= 0xFF
    (folder / WEIGHTS).write_bytes(content)
    download(found, (WEIGHTS,), folder, None, quiet)
    assert sha256(folder / WEIGHTS) == sha256(root / "models" / MODEL / WEIGHTS)


def stop_after(size: int) -> Callable[[str, int, int], None]:
    """Progress at which somebody presses Ctrl-C once so many bytes have come."""

    def report(title: str, done: int, total: int) -> None:
        if WEIGHTS in title and done >= size:
            raise KeyboardInterrupt

    return report


def test_a_download_that_was_stopped_goes_on_where_it_was(hub: HubStandIn, root: Path, folder: Path) -> None:
    found = look_up("model", MODEL, None)
    with pytest.raises(KeyboardInterrupt):
        download(found, (WEIGHTS,), folder, None, stop_after(4 * CHUNK))
    assert manifest(folder) is None
    assert not (folder / WEIGHTS).exists()
    (partial,) = (path for path in folder.iterdir() if WEIGHTS in path.name)
    had = partial.stat().st_size
    assert 0 < had < SIZE
    told: list[tuple[int, int]] = []
    download(found, (WEIGHTS,), folder, None, lambda title, done, total: told.append((done, total)))
    asked = hub.gets(WEIGHTS)
    assert [(one.range, one.status) for one in asked] == [(None, 200), (f"bytes={had}-", 206)]
    assert sha256(folder / WEIGHTS) == sha256(root / "models" / MODEL / WEIGHTS)
    assert not partial.exists()
    assert min(done for done, total in told if total == SIZE + 1) > had, "progress counts what was there"


def test_a_connection_that_breaks_is_taken_up_in_the_same_call(hub: HubStandIn, root: Path, folder: Path) -> None:
    hub.cut_after_bytes = 3 * CHUNK
    download(look_up("model", MODEL, None), (WEIGHTS,), folder, None, quiet)
    ranges = [asked.range for asked in hub.gets(WEIGHTS)]
    assert ranges[0] is None
    assert len(ranges) == 2
    assert ranges[1]
    assert sha256(folder / WEIGHTS) == sha256(root / "models" / MODEL / WEIGHTS)


def test_a_part_of_another_commit_is_not_gone_on_with(hub: HubStandIn, root: Path, folder: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        download(look_up("model", MODEL, None), (WEIGHTS,), folder, None, stop_after(4 * CHUNK))
    original = root / "models" / MODEL / WEIGHTS
    original.write_bytes(b"\0" + np.random.default_rng(1).bytes(SIZE))
    download(look_up("model", MODEL, None), (WEIGHTS,), folder, None, quiet)
    assert [asked.range for asked in hub.gets(WEIGHTS)] == [None, None]
    assert sha256(folder / WEIGHTS) == sha256(original)


def test_a_part_that_is_not_the_files_is_refused_and_not_met_again(hub: HubStandIn, root: Path, folder: Path) -> None:
    found = look_up("model", MODEL, None)
    with pytest.raises(KeyboardInterrupt):
        download(found, (WEIGHTS,), folder, None, stop_after(4 * CHUNK))
    (partial,) = (path for path in folder.iterdir() if WEIGHTS in path.name)
    partial.write_bytes(b"other bytes")
    with pytest.raises(RequestError, match="its digest differs"):
        download(found, (WEIGHTS,), folder, None, quiet)
    download(found, (WEIGHTS,), folder, None, quiet)
    assert sha256(folder / WEIGHTS) == sha256(root / "models" / MODEL / WEIGHTS)


@pytest.mark.parametrize("name", [WEIGHTS, "open_clip_config.json"])
def test_a_file_with_a_wrong_digest_is_refused_and_removed(
    hub: HubStandIn, root: Path, folder: Path, name: str
) -> None:
    """Large files are known by SHA-256, small ones by git's digest."""
    hub.corrupt.add(f"{MODEL}/{name}")
    found = look_up("model", MODEL, None)
    with pytest.raises(RequestError, match=rf"{MODEL}/{name}: what came is not what the hub describes .*removed"):
        download(found, (WEIGHTS,), folder, None, quiet)
    assert not [path for path in folder.rglob("*") if name in path.name]
    assert manifest(folder) is None, "the manifest is written last"
    hub.corrupt.clear()
    download(found, (WEIGHTS,), folder, None, quiet)
    assert sha256(folder / name) == sha256(root / "models" / MODEL / name)
    assert manifest(folder) is not None


def test_a_file_that_came_whole_before_another_failed_is_not_fetched_again(hub: HubStandIn, tmp_path: Path) -> None:
    """Of twenty shards of half a gigabyte, nineteen are not paid for twice."""
    hub.corrupt.add(f"{DATA}/{SHARDS[2]}")
    found = look_up("dataset", DATA, None)
    with pytest.raises(RequestError, match="its digest differs"):
        download(found, (), tmp_path / "pets", None, quiet)
    hub.corrupt.clear()
    download(found, (), tmp_path / "pets", None, quiet)
    asked = [one.path.partition(f"/{found.revision}/")[2] for one in hub.gets()]
    assert sorted(asked) == sorted([*SHARDS, SHARDS[2], "README.md", "labels.txt"])


def test_a_folder_half_way_to_another_commit_is_not_taken_for_whole(
    hub: HubStandIn, root: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "data" / DATA
    assert not at_hand(tmp_path)
    download(look_up("dataset", DATA, None), (), folder, None, quiet)
    assert at_hand(tmp_path)
    for number, name in enumerate(SHARDS):
        (root / "datasets" / DATA / name).write_bytes(b"\0" + np.random.default_rng(9 + number).bytes(SIZE))
    hub.corrupt.add(f"{DATA}/{SHARDS[2]}")
    with pytest.raises(RequestError, match="its digest differs"):
        download(look_up("dataset", DATA, None), (), folder, None, quiet)
    assert not at_hand(tmp_path)
    hub.corrupt.clear()
    download(look_up("dataset", DATA, None), (), folder, None, quiet)
    assert at_hand(tmp_path)


def test_only_the_pinned_file_is_taken(hub: HubStandIn, root: Path, folder: Path) -> None:
    found = look_up("model", MODEL, None)
    with pytest.raises(RequestError, match=rf"{WEIGHTS}: digest {sha256(root / 'models' / MODEL / WEIGHTS)[:12]}…"):
        download(found, (WEIGHTS,), folder, pin(found, **{WEIGHTS: "f" * 64}), quiet)
    assert not (folder / WEIGHTS).exists()
    assert manifest(folder) is None
    right = pin(found, **{WEIGHTS: sha256(root / "models" / MODEL / WEIGHTS), OTHER: "f" * 64})
    assert WEIGHTS in download(found, (WEIGHTS,), folder, right, quiet)


def test_a_folder_whose_file_was_refused_by_a_pin_is_not_taken_for_whole(hub: HubStandIn, tmp_path: Path) -> None:
    """Fetched without a pin, then pinned elsewhere: the file goes, and with it the word that all is there."""
    folder = tmp_path / "data" / DATA
    found = look_up("dataset", DATA, None)
    download(found, (), folder, None, quiet)
    with pytest.raises(RequestError, match="is pinned; removed"):
        download(found, (), folder, pin(found, **{SHARDS[0]: "f" * 64}), quiet)
    assert not (folder / SHARDS[0]).exists()
    assert not at_hand(tmp_path)


def test_what_was_fetched_for_one_task_stays_noted_when_another_takes_more(hub: HubStandIn, tmp_path: Path) -> None:
    folder = tmp_path / "pets"
    found = look_up("dataset", DATA, None)
    download(found, ("data/test-*",), folder, None, quiet)
    download(found, ("data/train-*",), folder, None, quiet)
    note = manifest(folder)
    assert note is not None
    assert {file["name"] for file in note["files"]} == {*SHARDS, "README.md"}
