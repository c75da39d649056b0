"""Texts: documents that a benchmark asks about, and dialogues to tune on; read from local files alone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from jinja2.sandbox import SandboxedEnvironment

from prt_bench.api import Example, Turn
from prt_bench.data.examples import Examples
from prt_bench.data.hub import read_table, split_files
from prt_bench.errors import RequestError, did_you_mean
from prt_bench.files import digest
from prt_bench.store import Store

__all__ = [
    "FORMATS",
    "Dialogues",
    "Documents",
    "dialogue_of",
    "load_rows",
    "refuse_unanswered",
    "render_row",
    "row_files",
]

FORMATS = {".jsonl": "json", ".json": "json", ".parquet": "parquet", ".csv": "csv"}
SPEAKERS = ("system", "user", "assistant")


class Dialogues(Examples):
    """Rows of a `datasets` table, each a dialogue whose answers are to be learned."""

    def __init__(self, table: Any, form: Callable[[Mapping[str, Any]], tuple[Turn, ...]], ids: Sequence[str]) -> None:
        self._table = table
        self._form = form
        self.ids = list(ids)
        self.labels = np.full(len(self.ids), -1, dtype=np.int64)

    def dialogue(self, index: int) -> tuple[Turn, ...]:
        """Who says what, in order."""
        return self._form(self._table[index])

    def example(self, index: int, labelled: bool) -> Example:
        turns = self.dialogue(index)
        return Example(
            self.ids[index], dialogue=turns if labelled else tuple(turn for turn in turns if turn[0] != "assistant")
        )

    def subset(self, indices: Sequence[int]) -> Dialogues:
        chosen = list(indices)
        return Dialogues(self._table.select(chosen), self._form, [self.ids[index] for index in chosen])

    @cached_property
    def digests(self) -> Sequence[str]:
        return [digest(self.dialogue(index)) for index in range(len(self))]


class Documents(Examples):
    """What a benchmark asks: by name of lm-eval's task, the splits of its data set and which rows of the test."""

    def __init__(self, splits: Mapping[str, Mapping[str, Any]], test: str, chosen: Mapping[str, Sequence[int]]) -> None:
        self.splits = dict(splits)
        self.test = test
        self.chosen = {name: list(indices) for name, indices in chosen.items()}
        self.ids = [f"{name}/{index}" for name, indices in self.chosen.items() for index in indices]
        self.labels = np.full(len(self.ids), -1, dtype=np.int64)

    @classmethod
    def whole(cls, splits: Mapping[str, Mapping[str, Any]], test: str) -> Documents:
        """All rows of the test split of every task."""
        return cls(splits, test, {name: range(len(parts[test])) for name, parts in splits.items()})

    def subset(self, indices: Sequence[int]) -> Documents:
        wanted = {self.ids[index] for index in indices}
        chosen = {name: [row for row in rows if f"{name}/{row}" in wanted] for name, rows in self.chosen.items()}
        return Documents(self.splits, self.test, {name: rows for name, rows in chosen.items() if rows})

    def rows(self) -> list[dict[str, Any]]:
        """The chosen rows, in the order of `ids`."""
        return [self.splits[name][self.test][row] for name, rows in self.chosen.items() for row in rows]

    @cached_property
    def digests(self) -> Sequence[str]:
        plain = (json.dumps(row, sort_keys=True, default=str) for row in self.rows())
        return [hashlib.sha256(text.encode()).hexdigest() for text in plain]


def row_files(folder: Path, config: str | None, split: str, plain: bool) -> list[Path]:
    """The files of one split of a data set in a folder, in order.

    `plain` folders hold `SPLIT.jsonl` (or `.json`, `.parquet`), below a folder of the configuration's name where
    there are several; others are copies of the hub's repository.

    Raises:
        RequestError: there is no such split.
    """
    if plain:
        places = [folder / config, folder] if config else [folder]
        found = [place / f"{split}{suffix}" for place in places for suffix in FORMATS]
        files = [path for path in found if path.is_file()][:1]
    else:
        files = split_files(folder, config, split, tuple(FORMATS)) or []
    if not files:
        shown = f"{config}, {split}" if config else split
        raise RequestError(f"data {folder}: no files of split {shown} (JSON lines, Parquet or CSV)")
    return files


def load_rows(folder: Path, config: str | None, split: str, store: Store, plain: bool) -> Any:
    """One split of a data set from a folder, as a `datasets` table; see `row_files`.

    Raises:
        RequestError: there is no such split, or its files cannot be read.
    """
    files = row_files(folder, config, split, plain)
    return read_table(FORMATS[files[0].suffix], files, split, store, folder)


def render_row(template: str, row: Mapping[str, Any], where: str) -> str:
    """A template over a row's columns. Raises RequestError where it asks for a column that is not there."""
    try:
        return _compiled(template).render(**row)
    except jinja2.UndefinedError as error:
        raise RequestError(f"{where}: {error}; it has {', '.join(row)}") from None
    except jinja2.TemplateError as error:
        raise RequestError(f"{where}: the template {template!r} cannot be used ({error})") from None


_ENVIRONMENT = SandboxedEnvironment(
    undefined=jinja2.StrictUndefined,
    keep_trailing_newline=True,
    autoescape=False,
    finalize=lambda value: "" if value is None else value,
)
_TEMPLATES: dict[str, jinja2.Template] = {}


def _compiled(template: str) -> jinja2.Template:
    if template not in _TEMPLATES:
        _TEMPLATES[template] = _ENVIRONMENT.from_string(template)
    return _TEMPLATES[template]


def dialogue_of(
    prompt: str | None, response: str | None, messages: str | None, where: str
) -> Callable[[Mapping[str, Any]], tuple[Turn, ...]]:
    """How a row becomes a dialogue: by two templates, or from a column of messages."""

    def by_templates(row: Mapping[str, Any]) -> tuple[Turn, ...]:
        assert prompt is not None
        assert response is not None
        return ("user", render_row(prompt, row, where)), ("assistant", render_row(response, row, where))

    def by_column(row: Mapping[str, Any]) -> tuple[Turn, ...]:
        assert messages is not None
        if messages not in row:
            raise RequestError(f"{where}: no column {messages!r}{did_you_mean(messages, row)}")
        turns: list[Turn] = []
        for entry in row[messages] or ():
            if not {"role", "content"} <= set(entry):
                raise RequestError(f"{where}: column {messages!r} needs role and content; it has {', '.join(entry)}")
            if entry["role"] not in SPEAKERS:
                raise RequestError(f"{where}: role {entry['role']!r}; one of {', '.join(SPEAKERS)}")
            turns.append((entry["role"], entry["content"] or ""))
        return tuple(turns)

    return by_templates if messages is None else by_column


def refuse_unanswered(dialogues: Dialogues, files: str) -> None:
    """Raise RequestError at the first row that has nothing to learn, by file and line."""
    for index in range(len(dialogues)):
        answers = [text for speaker, text in dialogues.dialogue(index) if speaker == "assistant"]
        if not any(text and text.strip() for text in answers):
            raise RequestError(f"{files}:{index + 1}: this row has no response; remove it or write one")
