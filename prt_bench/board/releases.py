"""Releases: records and sessions with a frozen list of their digests. A board that can be cited."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, ValidationError

from prt_bench.board.reading import Holdings, read_folder
from prt_bench.cards import Strict
from prt_bench.environment import now
from prt_bench.errors import RequestError
from prt_bench.files import digest, first_problem, write_atomically
from prt_bench.records import SCHEMA_VERSION, read_as

__all__ = [
    "LIST",
    "RELEASES",
    "Frozen",
    "FrozenList",
    "Release",
    "bibtex",
    "find_release",
    "freeze",
    "read_board",
    "read_release",
    "read_releases",
    "refuse_bare",
]

RELEASES, LIST = "releases", "release.json"
FOLDERS = ("results", "costs")
"""Of a release: everything in them is in its frozen list."""
PLAIN = r"[a-z0-9][a-z0-9._-]{0,63}"
PLAIN_NAME = re.compile(PLAIN)
RESTORE = "restore it as it was published (in a repository: git checkout -- FOLDER), or remove the whole folder"


def _day(text: str) -> str:
    if date.fromisoformat(text).isoformat() != text:
        raise ValueError("a day is written YYYY-MM-DD")
    return text


def _inside(path: str) -> str:
    parts = path.split("/")
    if len(parts) < 2 or parts[0] not in FOLDERS or {"", ".", ".."} & set(parts) or re.search(r"[\\\0]", path):
        raise ValueError(f"not a file of {' or '.join(f'{folder}/' for folder in FOLDERS)}")
    return path


class FrozenList(Strict):
    """`release.json`: what a release is called, and the digest of every file of its results and costs."""

    schema_version: int = SCHEMA_VERSION
    name: Annotated[str, StringConstraints(pattern=f"^{PLAIN}$")]
    title: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    date: Annotated[str, AfterValidator(_day)]
    notes: Annotated[str, StringConstraints(max_length=10_000)] = ""
    authors: list[Annotated[str, StringConstraints(min_length=1, max_length=200)]] = Field(default_factory=list)
    """A person as `Family, Given`; anything else is taken as the name of an organisation."""
    url: Annotated[str, StringConstraints(pattern=r'^(https?://[^\s<>"{}|\\^`]{1,500})?$')] = ""
    """Where it can be had."""
    files: Annotated[
        dict[
            Annotated[str, AfterValidator(_inside)], Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
        ],
        Field(min_length=1),
    ]  # fmt: skip
    """Path, relative to the release's folder and with slashes → SHA-256."""


@dataclass(frozen=True)
class Release:
    """A release whose files were found to be those of its frozen list."""

    root: Path
    """Its folder, laid out as a leaderboard folder."""
    facts: FrozenList

    @property
    def name(self) -> str:
        return self.facts.name

    @property
    def records(self) -> int:
        """How many records it holds."""
        return sum(path.startswith("results/") and path.endswith(".json") for path in self.facts.files)

    @property
    def sessions(self) -> int:
        """How many cost sessions it holds."""
        return sum(path.startswith("costs/") for path in self.facts.files)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the frozen list's files: two releases with the same one hold the same bytes."""
        return digest(self.facts.files)


@dataclass(frozen=True)
class Frozen:
    """What freezing made."""

    release: Release
    left_out: tuple[str, ...]
    """A line per record that is no part of it: which, and why."""


def read_board(out: Path) -> tuple[Holdings, list[Release]]:
    """What a board counts: the results and sessions of a leaderboard folder and of its releases, each once.

    Raises:
        RequestError: as `read_releases`.
    """
    releases = read_releases(out)
    return read_folder(out, [out, *(release.root for release in releases)]), releases


def refuse_bare(out: Path) -> None:
    """Raise RequestError where a leaderboard folder holds neither results nor releases."""
    if not _names(out) and not (out / "results").is_dir():
        raise RequestError(f"--out {out}: holds no results yet; `prt-bench run` makes some")


def read_releases(out: Path) -> list[Release]:
    """All releases of a leaderboard folder, the oldest first, every file of each checked.

    Raises:
        RequestError: a file is missing, altered or not in the frozen list, or a folder holds no release.
    """
    return sorted((find_release(out, name) for name in _names(out)), key=lambda found: (found.facts.date, found.name))


def _names(out: Path) -> list[str]:
    folder = out / RELEASES
    if not folder.is_dir():
        return []
    # Hidden: what a freeze that was killed left behind.
    return sorted(path.name for path in folder.iterdir() if path.name[0] != "." and _is_folder(path))


def _is_folder(path: Path) -> bool:
    return path.is_dir() or path.is_symlink()


def find_release(out: Path, name: str) -> Release:
    """The release of a leaderboard folder with this name.

    Raises:
        RequestError: as `read_release`; or the folder is a link, or goes by another name than its release.
    """
    root = out / RELEASES / name
    if root.is_symlink():
        raise RequestError(f"release {name}: {root} is a symbolic link; put the folder itself there, or remove it")
    found = read_release(root)
    if found.name != name:
        raise RequestError(f"release {name}: {root / LIST} calls it {found.name!r}; the folder has the release's name")
    return found


def read_release(root: Path) -> Release:
    """The release in a folder, every file of it checked.

    Raises:
        RequestError: names the release and the file that is missing, altered or not in the frozen list.
    """
    if not (root / LIST).is_file() or (root / LIST).is_symlink():
        raise RequestError(f"release {root.name}: {root / LIST} is missing; {RESTORE}")
    facts = read_as(root / LIST, FrozenList)
    try:
        problems = list(_problems(root, facts.files))
    except OSError as error:
        raise RequestError(f"release {facts.name}: {error.filename}: cannot be read ({error.strerror})") from None
    if problems:
        others = f" (and {len(problems) - 1} more files are not as frozen)" if len(problems) > 1 else ""
        raise RequestError(f"release {facts.name}: {root}: {problems[0]}{others}")
    return Release(root, facts)


def _problems(root: Path, listed: dict[str, str]) -> Iterator[str]:
    """Only what was met on a walk through the folder is opened: the list's paths are never followed."""
    found = {path.relative_to(root).as_posix(): path for path in _met(root)}
    for name in sorted({*listed, *found}):
        path = found.get(name)
        if path is None:
            yield f"{name} is missing; {RESTORE}"
        elif name not in listed:
            yield f"{name} is not in the frozen list; move it away: more records need a release of another name"
        elif path.is_symlink() or not path.is_file():
            yield f"{name} is altered: no plain file; {RESTORE}"
        elif _sha256(path) != listed[name]:
            yield f"{name} is altered: its bytes are not those of the frozen list; {RESTORE}"


def _met(root: Path) -> Iterator[Path]:
    """Everything below results/ and costs/ that is no folder. Links are met and not followed."""
    waiting = [root / name for name in FOLDERS if os.path.lexists(root / name)]
    while waiting:
        path = waiting.pop()
        if path.is_dir() and not path.is_symlink():
            waiting += path.iterdir()
        else:
            yield path


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def freeze(
    out: Path, name: str, *, source: Path | None = None, title: str = "", notes: str = "", day: str = "",
    authors: Sequence[str] = (), url: str = "",
) -> Frozen:  # fmt: skip
    """Copy the records, predictions and sessions of a leaderboard folder, `source` or else `out`, into a release.

    Partial records, which are on no board, are left out by name. Failed and skipped ones are part of it: a release
    hides no failure.

    Raises:
        RequestError: the name is taken or not plain, no record holds, or a record or session is damaged.
    """
    if not PLAIN_NAME.fullmatch(name):
        raise RequestError(
            f"release {name!r}: a name has small letters, digits, '.', '_' and '-', begins with a letter or digit and "
            "is at most 64 long"
        )
    root, source = out / RELEASES / name, Path(os.path.normpath(source or out))
    if os.path.lexists(root):
        raise RequestError(f"release {name}: {root} is there already, and a release is never changed; give it a name "
                           "of its own")  # fmt: skip
    chosen, left_out = _chosen(source)
    listed = dict.fromkeys((path.relative_to(source).as_posix() for path in chosen), "0" * 64)
    try:
        facts = FrozenList(
            name=name, title=title or name, date=day or now()[:10], notes=notes, authors=list(authors), url=url,
            files=listed,
        )  # fmt: skip
    except ValidationError as error:
        where, what = first_problem(error)
        raise RequestError(f"release {name}: {'.'.join(map(str, where))}: {what}") from None
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        _put(source, facts, root)
    except OSError as error:
        raise RequestError(f"release {name}: {root}: cannot be written ({error.strerror})") from None
    return Frozen(read_release(root), tuple(left_out))


def _chosen(source: Path) -> tuple[list[Path], list[str]]:
    """Files of a release, and what is left out."""
    holdings = read_folder(source)
    if holdings.refused:
        first, *others = holdings.refused
        more = f" (and {len(others)} more)" if others else ""
        raise RequestError(f"{source / first.path}: {first.reason}{more}; a release holds nothing that a board refuses")
    if not any(entry.holds for entry in holdings.filed):
        raise RequestError(f"{source}: no record holds, so there is nothing to freeze; `prt-bench run` makes some")
    whole = [entry for entry in holdings.filed if not entry.record.partial]
    answers = [Path(os.path.normpath(entry.answers.file)) for entry in whole if entry.answers]
    left_out = [f"{entry.path}: made with --limit, partial" for entry in holdings.filed if entry.record.partial]
    return [*(entry.path for entry in whole), *answers, *(entry.path for entry in holdings.sessions)], left_out


def _put(source: Path, facts: FrozenList, root: Path) -> None:
    """All at once: whoever looks sees the whole release or none."""
    made = Path(tempfile.mkdtemp(dir=root.parent, prefix=f".{root.name}."))
    try:
        files = {}
        for name in sorted(facts.files):
            (made / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, made / name)
            files[name] = _sha256(made / name)
        whole = facts.model_copy(update={"files": files}).model_dump(mode="json")
        write_atomically(made / LIST, json.dumps(whole, indent=1, ensure_ascii=False) + "\n")
        made.chmod(0o755)
        made.rename(root)
    except BaseException:
        shutil.rmtree(made, ignore_errors=True)
        raise


# Braces count in BibTeX even where they are escaped.
BIBTEX = {"\\": r"\textbackslash{}", "{": r"\textbraceleft{}", "}": r"\textbraceright{}"}
BIBTEX |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", '"': r"\textquotedbl{}"}
BIBTEX |= {sign: "\\" + sign for sign in "&%$#_"}
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def bibtex(release: Release, version: str) -> str:
    """The entry to cite a release by; `version` is that of the prt-bench that shows it."""
    facts = release.facts
    day = date.fromisoformat(facts.date)
    fields = {
        "author": " and ".join(map(_author, facts.authors)),
        "title": f"{{{_bibtex(facts.title)}}}",
        "year": str(day.year),
        "howpublished": f"Release {_bibtex(facts.name)} of a prt-bench leaderboard",
        "note": f"Records: {release.records}; files: {release.fingerprint}; shown by prt-bench {_bibtex(version)}",
        "url": facts.url,
    }
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@misc{{prt-bench-{facts.name},", *lines, f"  month = {MONTHS[day.month - 1]}", "}"]) + "\n"


def _bibtex(text: str) -> str:
    """One line of printable text, escaped."""
    plain = "".join(sign for sign in " ".join(text.split()) if unicodedata.category(sign)[0] != "C")
    return "".join(BIBTEX.get(sign, sign) for sign in plain)


def _author(name: str) -> str:
    """Braces keep what is no `Family, Given` in one piece."""
    person = name.count(",") == 1 and "and" not in name.casefold().split()
    return _bibtex(name) if person else f"{{{_bibtex(name)}}}"
