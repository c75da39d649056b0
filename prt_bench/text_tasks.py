"""The data of a language task: dialogues to tune on, and the documents that its benchmark asks about."""

from __future__ import annotations

import logging
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from prt_bench.data.examples import AbsentExamples, Examples
from prt_bench.data.text import (
    FORMATS,
    Dialogues,
    Documents,
    dialogue_of,
    load_rows,
    refuse_unanswered,
    render_row,
    row_files,
)
from prt_bench.data.world_rows import world_rows
from prt_bench.errors import RequestError, did_you_mean
from prt_bench.files import digest
from prt_bench.language_spec import FileSource, LanguageSpec, TextSource, WorldSource
from prt_bench.places import FoundData, find_data
from prt_bench.store import Store
from prt_bench.task_spec import HubData

__all__ = ["TextPlaces", "TextRoles", "absent_roles", "find_texts", "load_roles", "shared_examples"]

log = logging.getLogger(__name__)
SPLIT_SEED = 0


@dataclass(frozen=True)
class TextRoles:
    """The examples of each role, and whether their sizes are those that the task pins."""

    roles: Mapping[str, Examples]
    pinned: bool
    left_out: int = 0
    """Training and validation examples that ask what the test asks, and so are in no role."""

    @property
    def data_sha256(self) -> str:
        return digest({name: examples.sha256 for name, examples in sorted(self.roles.items())})

    @property
    def split_sha256(self) -> str:
        return digest({name: examples.ids for name, examples in sorted(self.roles.items())})


@dataclass(frozen=True)
class TextPlaces:
    """Where a task's texts are looked for."""

    task: str
    base: Path
    """The folder of the task file."""
    data_dir: Path | None
    store: Store


def load_roles(spec: LanguageSpec, places: TextPlaces) -> TextRoles:
    """Read a task's texts.

    Raises:
        MissingError: data is not at hand.
        RequestError: a split, a column or a response is missing, or the sizes are not the pinned ones where they
            must be.
    """
    test, test_pinned = _documents(spec, places)
    train, validation, train_pinned = _dialogues(spec, places)
    parts, left_out = _without_tested(spec, {"train": train, "validation": validation}, test)
    return TextRoles({"test": test, **parts}, test_pinned and train_pinned, left_out)


def absent_roles(spec: LanguageSpec) -> TextRoles:
    """As many examples as the task pins, none of which is there: to plan with."""
    train = (spec.train.size or 0) - (0 if spec.train.validation_split else spec.train.validation)
    sizes = {"train": max(0, train), "validation": spec.train.validation, "test": spec.test.size or 0}
    return TextRoles({name: AbsentExamples(f"{spec.name}/{name}", size) for name, size in sizes.items()}, True)


def _documents(spec: LanguageSpec, places: TextPlaces) -> tuple[Documents, bool]:
    splits: dict[str, dict[str, Any]] = {}
    own = True
    for name, config in spec.benchmark.tasks.items():
        splits[name] = {}
        for split in (spec.test.split, *spec.test.also):
            part = _rows(spec, spec.test.source, config, split, places)
            splits[name][split], own = part.table, part.own
        kept = spec.benchmark.keeps.get(name, {})
        rows = splits[name][spec.test.split]
        for column, value in kept.items():
            if column not in rows.column_names:
                raise RequestError(
                    f"task {spec.name}: keeps: no column {column!r}{did_you_mean(column, rows.column_names)}"
                )
            rows = rows.select([index for index, found in enumerate(rows[column]) if found == value])
        splits[name][spec.test.split] = rows
    found = Documents.whole(splits, spec.test.split)
    pinned = spec.test.size in (None, len(found))
    if not pinned and not own:
        raise RequestError(
            f"task {spec.name}: role test has {len(found)} examples where the task pins {spec.test.size}; the data is "
            "another version than the task's"
        )
    return found, pinned


def _dialogues(whole_spec: LanguageSpec, places: TextPlaces) -> tuple[Dialogues, Dialogues, bool]:
    spec = whole_spec.train
    config = spec.source.config if isinstance(spec.source, HubData) else None
    found = _rows(whole_spec, spec.source, config, spec.split, places)
    table, own = found.table, found.own
    where = f"task {places.task}, {spec.split}"
    form = dialogue_of(spec.prompt, spec.response, spec.messages, where)
    whole = Dialogues(table, form, [f"{spec.split}/{index}" for index in range(len(table))])
    refuse_unanswered(whole, str(found.file or where))
    pinned = spec.size in (None, len(whole))
    if not pinned and not own:
        raise RequestError(
            f"task {places.task}: split {spec.split} has {len(whole)} rows where the task pins {spec.size}; the data "
            "is another version than the task's"
        )
    if spec.validation_split is not None:
        rows = _rows(whole_spec, spec.source, config, spec.validation_split, places).table
        ids = [f"{spec.validation_split}/{index}" for index in range(len(rows))]
        return whole, Dialogues(rows, form, ids).subset(range(min(spec.validation, len(rows)))), pinned
    if spec.validation >= len(whole):
        raise RequestError(
            f"task {places.task}: {len(whole)} rows to tune on, of which {spec.validation} are kept out for "
            "validation: none is left"
        )
    order = np.random.default_rng(SPLIT_SEED).permutation(len(whole)).tolist()
    kept_out = set(order[: spec.validation])
    train = [index for index in range(len(whole)) if index not in kept_out]
    return whole.subset(train), whole.subset(sorted(kept_out)), pinned


@dataclass(frozen=True)
class _Rows:
    """One split as a `datasets` table, whether it is the user's own data, and its file where it is one."""

    table: Any
    own: bool
    file: Path | None = None


def _rows(spec: LanguageSpec, source: TextSource, config: str | None, split: str, places: TextPlaces) -> _Rows:
    match source:
        case WorldSource(name=name):
            return _Rows(world_rows(name, split), own=False)
        case FileSource(path=path):
            folder, plain, own = places.base / path, True, True
        case hub:
            found = find_texts(spec, hub, places.data_dir, places.store)
            folder, plain, own = found.folder, found.plain, found.own
            config = config or hub.config
    files = row_files(folder, config, split, plain)
    table = load_rows(folder, config, split, places.store, plain)
    return _Rows(table, own, files[0] if len(files) == 1 else None)


def find_texts(spec: LanguageSpec, source: HubData, data_dir: Path | None, store: Store) -> FoundData:
    """Where a hub data set of a task is. Under the task's own name lies what its benchmark asks, as plain files.

    Raises:
        MissingError: nowhere; says what was tried and the ways out.
    """

    def is_plain(folder: Path) -> bool:
        places = [folder, *(folder / config for config in spec.benchmark.tasks.values() if config)]
        files = [path for place in places if place.is_dir() for path in place.iterdir()]
        return source == spec.test.source and any(path.suffix in FORMATS for path in files)

    return find_data(spec.name, source, data_dir, store, is_plain)


def asked_in(test: Documents) -> set[str]:
    """What the documents of a test say, word for word: every text of their columns."""
    return {value for row in test.rows() for value in row.values() if isinstance(value, str) and value}


def tested_among(dialogues: Dialogues, asked: Container[str]) -> list[bool]:
    """Of each dialogue, whether its user says something that is asked."""
    return [
        any(who == "user" and text in asked for who, text in dialogues.dialogue(index))
        for index in range(len(dialogues))
    ]


def shared_examples(examples: Examples, test: Examples) -> int:
    """How many examples are tested too: images byte for byte, texts by what is asked."""
    if isinstance(examples, Dialogues) and isinstance(test, Documents):
        return sum(tested_among(examples, asked_in(test)))
    known = set(test.digests)
    return sum(one in known for one in examples.digests)


def _without_tested(
    spec: LanguageSpec, roles: Mapping[str, Dialogues], test: Documents
) -> tuple[dict[str, Dialogues], int]:
    """The roles less the examples of whose prompts the test has one too, word for word.

    Training sets of another source hold hundreds of thousands of dialogues: of those, validation is looked through.
    """
    prompt, same_source, asked = spec.train.prompt, spec.train.source == spec.test.source, asked_in(test)
    if prompt is not None and same_source:
        asked |= {render_row(prompt, row, f"task {spec.name}, test") for row in test.rows()}
    kept: dict[str, Dialogues] = {}
    left_out: list[str] = []
    for name, dialogues in roles.items():
        if name != "validation" and not same_source:
            kept[name] = dialogues
            continue
        tested = tested_among(dialogues, asked)
        clean = [index for index, also in enumerate(tested) if not also]
        left_out += [dialogues.ids[index] for index, also in enumerate(tested) if also]
        kept[name] = dialogues if len(clean) == len(dialogues) else dialogues.subset(clean)
    if left_out:
        log.warning(
            "task %s: %d training prompts are in the test too, the first as %s; they are left out of training",
            spec.name,
            len(left_out),
            left_out[0],
        )
    return kept, len(left_out)
