"""Releases: what is frozen stays as it was, or is refused by name."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prt_bench.board.releases import (
    Frozen,
    FrozenList,
    Release,
    bibtex,
    find_release,
    freeze,
    read_release,
    read_releases,
)
from prt_bench.errors import RequestError
from tests.test_lifetime import put_record

DIGEST = "0" * 64
Freeze = Callable[..., Frozen]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Two records of a leaderboard folder."""
    folder = tmp_path / "board"
    for seed in range(2):
        put_record(folder, "ported", seed=seed, right=15)
    return folder


@pytest.fixture
def frozen(out: Path) -> Release:
    return freeze(out, "first", title="The first", day="2026-11-22").release


def files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


def rewritten(root: Path, **changes: Any) -> None:
    """`release.json` with other values."""
    path = root / "release.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def refusal(root: Path) -> str:
    with pytest.raises(RequestError) as told:
        read_release(root)
    assert "\n" not in str(told.value)
    return str(told.value)


def test_a_release_holds_the_same_bytes_as_the_board(out: Path, frozen: Release) -> None:
    assert frozen.root == out / "releases" / "first"
    inside = files(frozen.root)
    listed = inside.pop("release.json")
    assert inside == {name: data for name, data in files(out).items() if name.startswith("results/")}
    assert set(json.loads(listed)["files"]) == set(inside)
    assert (frozen.records, frozen.sessions, frozen.facts.title) == (2, 0, "The first")
    assert read_releases(out) == [frozen]
    # Nothing of the making is left.
    assert [path.name for path in frozen.root.parent.iterdir()] == ["first"]


def test_a_session_is_part_of_it(out: Path, session: Path) -> None:
    release = freeze(out, "first").release
    assert release.sessions == 1
    assert (release.root / session.relative_to(out)).read_bytes() == session.read_bytes()
    session.write_text("{}", encoding="utf-8")
    with pytest.raises(RequestError, match=re.escape(str(session))):
        freeze(out, "second")


@pytest.fixture
def session(out: Path) -> Path:
    """A cost session of nothing."""
    path = out / "costs" / "h" / "s.json"
    path.parent.mkdir(parents=True)
    environment = json.loads(next((out / "results").rglob("*.json")).read_text(encoding="utf-8"))["environment"]
    value = {
        "id": "s", "pair": {"source": "a", "target": "b"}, "unit": "image", "shape": {}, "weights": "random",
        "placement": "p", "order": "o", "excludes": [], "compositions": {}, "noise_floor": {}, "valid": True,
        "reasons": [], "environment": environment, "packages": {},
        "started": "2026-01-01T00:00:00Z", "finished": "2026-01-01T00:00:01Z",
    }  # fmt: skip
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def test_partial_records_are_left_out_by_name_and_failures_are_kept(out: Path) -> None:
    failed = put_record(out, "broken", status="failed")
    partial = put_record(out, "short", partial=True)
    made = freeze(out, "first")
    assert made.left_out == (f"{partial}: made with --limit, partial",)
    names = set(made.release.facts.files)
    assert str(failed.relative_to(out)) in names
    assert not any(partial.stem in name for name in names)


def test_what_lies_about_is_not_frozen(out: Path) -> None:
    for name in ("notes.txt", "099.predictions.csv", ".000.json.abc.tmp"):
        (out / "results" / "a__b" / name).write_text("x", encoding="utf-8")
    assert len(freeze(out, "first").release.facts.files) == 4


def test_another_folder_can_be_frozen(out: Path, tmp_path: Path) -> None:
    release = freeze(tmp_path / "elsewhere", "first", source=out).release
    assert release.root == tmp_path / "elsewhere" / "releases" / "first"
    assert release.records == 2


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "First", "-x", ".x", "a b", "é", "a\n", "x" * 65])
def test_only_plain_names(out: Path, name: str) -> None:
    with pytest.raises(RequestError, match="a name has small letters"):
        freeze(out, name)
    assert not (out / "releases").exists()


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ({"day": "2026-02-30"}, "date"), ({"day": "20260201"}, "date: Value error, a day is written YYYY-MM-DD"),
        ({"url": "javascript:alert(1)"}, "url"), ({"url": "https://a b"}, "url"), ({"title": "x" * 201}, "title"),
        ({"authors": [""]}, "authors"),
    ],
)  # fmt: skip
def test_facts_that_are_none_are_refused(out: Path, facts: dict[str, Any], told: str) -> None:
    with pytest.raises(RequestError, match=f"^release first: {told}"):
        freeze(out, "first", **facts)
    assert not (out / "releases").exists()


def test_a_release_is_never_written_over(out: Path, frozen: Release) -> None:
    before = files(frozen.root)
    put_record(out, "late")
    with pytest.raises(RequestError, match="is there already"):
        freeze(out, "first")
    assert files(frozen.root) == before


def test_nothing_to_freeze(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no record holds"):
        freeze(tmp_path, "first")
    put_record(tmp_path, "broken", status="failed")
    with pytest.raises(RequestError, match="no record holds"):
        freeze(tmp_path, "first")
    assert not (tmp_path / "releases").exists()


def test_a_damaged_record_stops_freezing_and_leaves_nothing(out: Path) -> None:
    path = put_record(out, "damaged")
    predictions = path.with_name(f"{path.stem}.predictions.csv")
    predictions.write_text(predictions.read_text(encoding="utf-8").replace("1,0,0", "1,0,1"), encoding="utf-8")
    with pytest.raises(RequestError, match=re.escape(str(path))):
        freeze(out, "first")
    assert not (out / "releases").exists()


def test_predictions_outside_the_results_are_refused(out: Path, tmp_path: Path) -> None:
    path = next((out / "results").rglob("*.json"))
    beside = path.with_name(f"{path.stem}.predictions.csv")
    shutil.copy(beside, tmp_path / "outside.csv")
    record = json.loads(path.read_text(encoding="utf-8"))
    record["quality"]["predictions"] = os.path.relpath(tmp_path / "outside.csv", path.parent)
    path.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(RequestError, match="outside of the record"):
        freeze(out, "first")


def test_a_freeze_that_breaks_off_leaves_nothing(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("prt_bench.board.releases.write_atomically", interrupted)
    with pytest.raises(KeyboardInterrupt):
        freeze(out, "first")
    assert list((out / "releases").iterdir()) == []
    # A kill cannot tidy up: what it leaves is hidden and no release.
    (out / "releases" / ".first.x").mkdir()
    assert read_releases(out) == []


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_any_change_of_any_byte_is_refused_by_name(frozen: Release, data: st.DataObject) -> None:
    """Flipped, cut, grown, taken away, or beside: the file is named, and what is put back holds again."""
    name = data.draw(st.sampled_from(sorted(frozen.facts.files)))
    path, content = frozen.root / name, (frozen.root / name).read_bytes()
    place = data.draw(st.integers(0, len(content) - 1))
    how = data.draw(st.sampled_from(["flip", "cut", "grow", "gone", "beside", "link"]))
    beside = path.with_name(data.draw(st.text("abc.é ", min_size=1, max_size=8)) + "_")
    try:
        if how == "flip":
            other = content[place] ^ data.draw(st.integers(1, 255))
            path.write_bytes(content[:place] + bytes([other]) + content[place + 1 :])
        elif how == "cut":
            path.write_bytes(content[:place])
        elif how == "grow":
            path.write_bytes(content + data.draw(st.binary(min_size=1, max_size=3)))
        elif how == "beside":
            beside.write_bytes(content)
        else:
            path.unlink()
        if how == "link":
            (frozen.root.parent.parent / "copy").write_bytes(content)
            path.symlink_to(frozen.root.parent.parent / "copy")
        told = refusal(frozen.root)
        expected = {"gone": "is missing", "beside": "is not in the frozen list"}.get(how, "is altered")
        named = beside.relative_to(frozen.root) if how == "beside" else name
        assert f"{named} {expected}" in told
        assert told.startswith("release first: ")
    finally:
        path.unlink(missing_ok=True)
        beside.unlink(missing_ok=True)
        path.write_bytes(content)
    assert read_release(frozen.root) == frozen


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(sign=st.sampled_from("0123456789abcdef"), place=st.integers(0, 63), index=st.integers(0, 3))
def test_any_change_of_any_digest_is_refused_by_name(frozen: Release, sign: str, place: int, index: int) -> None:
    listed = dict(frozen.facts.files)
    name = sorted(listed)[index]
    if listed[name][place] == sign:
        return
    listed[name] = listed[name][:place] + sign + listed[name][place + 1 :]
    kept = (frozen.root / "release.json").read_text(encoding="utf-8")
    try:
        rewritten(frozen.root, files=listed)
        assert f"{name} is altered" in refusal(frozen.root)
    finally:
        (frozen.root / "release.json").write_text(kept, encoding="utf-8")


@pytest.mark.parametrize(
    "path",
    ["../x", "/etc/passwd", "results/../../x", "results", "results/", "results//x", "other/x", "results/./x",
     "results/a\\b", "release.json", "", "results/a\0"],
)  # fmt: skip
def test_no_path_of_the_list_leaves_its_folders(frozen: Release, path: str) -> None:
    rewritten(frozen.root, files=frozen.facts.files | {path: DIGEST})
    assert "not a file of results/ or costs/" in refusal(frozen.root)


@pytest.mark.parametrize(
    "changes",
    [
        {"files": {}}, {"files": {"results/x": "0" * 63}}, {"files": {"results/x": "G" * 64}}, {"name": "../first"},
        {"schema_version": 99}, {"unknown": 1}, {"date": "yesterday"}, {"files": None}, {"title": ""},
        {"url": "file:///etc/passwd"},
    ],
)  # fmt: skip
def test_a_list_that_is_none_is_refused(frozen: Release, changes: dict[str, Any]) -> None:
    rewritten(frozen.root, **changes)
    told = refusal(frozen.root)
    assert str(frozen.root / "release.json") in told
    assert next(iter(changes)).replace("schema_", "schema ") in told


def test_a_folder_that_is_a_link_is_not_looked_into(frozen: Release) -> None:
    inside = frozen.root / "results" / "a__b"
    inside.rename(frozen.root.parent.parent / "moved")
    inside.symlink_to(frozen.root.parent.parent / "moved")
    assert "results/a__b is not in the frozen list" in refusal(frozen.root)
    assert "and 4 more files" in refusal(frozen.root)


def test_a_pipe_is_refused_and_not_read(frozen: Release) -> None:
    name = next(iter(frozen.facts.files))
    (frozen.root / name).unlink()
    os.mkfifo(frozen.root / name)
    assert f"{name} is altered: no plain file" in refusal(frozen.root)


def test_a_release_has_its_folders_name_and_no_other(out: Path, frozen: Release) -> None:
    shutil.copytree(frozen.root, out / "releases" / "second")
    with pytest.raises(RequestError, match="calls it 'first'"):
        read_releases(out)
    # Anywhere else a release may lie under any name.
    shutil.move(out / "releases" / "second", out / "moved")
    assert read_release(out / "moved").facts == frozen.facts


def test_a_release_that_is_a_link_is_refused(out: Path, frozen: Release) -> None:
    frozen.root.rename(out / "moved")
    frozen.root.symlink_to(out / "moved")
    with pytest.raises(RequestError, match="symbolic link"):
        read_releases(out)
    frozen.root.unlink()
    frozen.root.symlink_to(out / "nowhere")
    with pytest.raises(RequestError, match="symbolic link"):
        read_releases(out)


def test_a_folder_without_a_list_is_refused(out: Path, frozen: Release) -> None:
    (frozen.root / "release.json").unlink()
    with pytest.raises(RequestError, match=r"release first: .*release.json is missing"):
        read_releases(out)
    (out / "elsewhere.json").write_text(json.dumps(frozen.facts.model_dump()), encoding="utf-8")
    (frozen.root / "release.json").symlink_to(out / "elsewhere.json")
    with pytest.raises(RequestError, match=r"release.json is missing"):
        read_releases(out)


def test_releases_come_oldest_first_and_a_read_me_may_lie_beside_them(out: Path) -> None:
    for name, day in (("a", "2026-03-01"), ("c", "2025-01-01"), ("b", "2026-03-01")):
        freeze(out, name, day=day)
    (out / "releases" / "README.md").write_text("about them", encoding="utf-8")
    assert [release.name for release in read_releases(out)] == ["c", "a", "b"]
    assert find_release(out, "c").facts.date == "2025-01-01"
    assert read_releases(out / "nowhere") == []


def test_the_fingerprint_is_of_the_files_alone(out: Path) -> None:
    one, other = (freeze(out, name, title=name).release for name in ("a", "b"))
    assert one.fingerprint == other.fingerprint
    put_record(out, "late")
    assert freeze(out, "c").release.fingerprint != one.fingerprint


def cited(**facts: Any) -> str:
    made = FrozenList(
        **{"name": "first", "title": "T", "date": "2026-11-22", "files": {"results/x.json": DIGEST}, **facts}
    )
    return bibtex(Release(Path("nowhere"), made), "0.5.0")


def test_a_release_can_be_cited() -> None:
    text = cited(
        name="embedded-2026.1", title="The 1st & best_board {100 %}", url="https://example.org/a_b?c=1&d=%20#e",
        authors=["Doe, Jane", "The prt-bench authors", "Smith and Sons, Inc."],
    )  # fmt: skip
    fingerprint = Release(Path(), FrozenList(name="x", title="T", date="2026-11-22",
                                             files={"results/x.json": DIGEST})).fingerprint  # fmt: skip
    assert text == (
        "@misc{prt-bench-embedded-2026.1,\n"
        "  author = {Doe, Jane and {The prt-bench authors} and {Smith and Sons, Inc.}},\n"
        "  title = {{The 1st \\& best\\_board \\textbraceleft{}100 \\%\\textbraceright{}}},\n"
        "  year = {2026},\n"
        "  howpublished = {Release embedded-2026.1 of a prt-bench leaderboard},\n"
        f"  note = {{Records: 1; files: {fingerprint}; shown by prt-bench 0.5.0}},\n"
        "  url = {https://example.org/a_b?c=1&d=%20#e},\n"
        "  month = nov\n"
        "}\n"
    )


@given(text=st.text(min_size=1, max_size=40), author=st.text(min_size=1, max_size=40))
def test_no_text_breaks_out_of_its_field(text: str, author: str) -> None:
    """Braces are balanced, backslashes begin known commands only, and every field has its line."""
    entry = cited(title=text, authors=[author, "Doe, Jane"])
    depth = 0
    for sign in entry:
        depth += (sign == "{") - (sign == "}")
        assert depth >= 0
    assert depth == 0
    assert len(entry.splitlines()) == 8
    commands = r"\\(?:text(?:backslash|braceleft|braceright|asciitilde|asciicircum|quotedbl)\{\}|[&%$#_])"
    title = next(line for line in entry.splitlines() if line.startswith("  title"))
    assert not re.search(r"[\\&%$#_~^]", re.sub(commands, "", title).replace("title", ""))
