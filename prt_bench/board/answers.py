"""The predictions file beside a record: what each item adds to the score. The record must follow from it."""

from __future__ import annotations

import csv
import io
import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from prt_bench.errors import RequestError
from prt_bench.plausible import EXACT, LARGEST
from prt_bench.records import Quality, Record

__all__ = ["Answers", "read_answers"]

SIX_DIGITS = 6e-6
"""How far a number may be, relatively, from what the file holds of it."""
LONGEST_FIELD = 2**31 - 1
COMMA, NEWLINE = b",\n"
KEPT = 64
"""Lists of test items that are kept at hand: many files hold the same."""
Columns = Mapping[str, Sequence[str]]
Floats = NDArray[np.float64]
Problem = tuple[str, str]
"""Dotted path in the record, and why its value does not follow."""


@dataclass(frozen=True)
class Answers:
    """A method's answers to the N test items."""

    file: Path
    """That holds them."""
    items: list[str]
    """Files that hold the same items mostly share one list of them."""
    values: Floats
    """(N,): what each item adds to the score, which is their mean."""
    given: NDArray[np.int64] | None
    """The class that each image was given, the likeliest option of a choice, or a number that stands for a text, the
    same one in one process; None where it is not kept."""


def read_answers(record: Record, path: Path) -> Answers:
    """The answers that a record with scores stands on; `path` is the record's own.

    Raises:
        RequestError: the file beside it holds no predictions, or the record's numbers do not follow from them.
    """
    quality = record.quality
    assert quality is not None
    file = path.parent / quality.predictions
    try:
        if _is_elsewhere(file, path.parent):
            where = f"{path}: quality.predictions"
            raise RequestError(f"{where}: {quality.predictions!r} is outside of the record's own folder")
        columns = _columns(file)
        items, twice = _items(tuple(columns["id"]))
        if "score" in columns:
            values, problems = _floats(columns["score"]), _text(columns, quality)
            given = _numbers([_said(answer) for answer in columns["answer"]]) if "answer" in columns else None
        else:
            values, problems, given = _images(columns, quality)
        n = quality.metrics[quality.primary].n
        if len(items) != n:
            raise RequestError(f"{file}: holds {len(items)} answers, its record {path} says {n}")
        if twice is not None:
            raise RequestError(f"{file}: holds the item {twice!r} more than once; its record is {path}")
        for where, what in problems:
            raise RequestError(f"{path}: {where}: {what} in {file}; one of them was changed")
    except (OSError, KeyError, ValueError, OverflowError, csv.Error) as error:
        raise RequestError(f"{file}: not a predictions file ({error}); its record is {path}") from None
    return Answers(file, items, values, given)


def _is_elsewhere(file: Path, folder: Path) -> bool:
    """Whether a file is outside of a folder, also by a link."""
    beside = file.parent == folder and not file.is_symlink()
    return not beside and not file.resolve().is_relative_to(folder.resolve())


def _columns(file: Path) -> Columns:
    if not file.is_file():
        raise FileNotFoundError("there is no such file")
    content = file.read_bytes()
    text = content.decode("utf-8")
    head, _, body = text.partition("\n")
    names = head.split(",")
    if body and _is_plain(content, len(names)):
        cells = body.replace("\n", ",").split(",")
        return {name: cells[place : -1 : len(names)] for place, name in enumerate(names)}
    # Many samples of one program are long.
    csv.field_size_limit(LONGEST_FIELD)
    found, *rows = list(csv.reader(io.StringIO(text, newline=""))) or [[]]
    if not rows:
        # No answers of either kind: how many there must be, the record says.
        return {"id": (), "score": ()}
    return dict(zip(found, zip(*rows, strict=True), strict=True))


def _is_plain(content: bytes, width: int) -> bool:
    """Whether all lines are of `width` cells and none is quoted, so that a file is parted by its signs alone."""
    if not content.endswith(b"\n") or b'"' in content or b"\r" in content:
        return False
    signs = np.frombuffer(content, np.uint8)
    ends = signs[(signs == COMMA) | (signs == NEWLINE)] == NEWLINE
    return len(ends) % width == 0 and bool((ends.reshape(-1, width) == ([False] * (width - 1) + [True])).all())


@lru_cache(KEPT)
def _items(named: tuple[str, ...]) -> tuple[list[str], str | None]:
    """The items, and one that is there twice."""
    twice = (item for item, count in Counter(named).items() if count > 1)
    return list(named), next(twice, None)


@lru_cache(KEPT)
def _classes(named: tuple[str, ...]) -> tuple[NDArray[np.int64], NDArray[np.intp], NDArray[np.intp]]:
    """Labels; which of the classes each is, and how many there are of each."""
    labels = _integers(named)
    _, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return labels, place, counts


def _numbers(answers: Sequence[str]) -> NDArray[np.int64]:
    """A number for each text: the same for the same."""
    return np.fromiter(map(hash, answers), np.int64, len(answers))


def _integers(column: Sequence[str]) -> NDArray[np.int64]:
    # Few are different ones.
    known = {text: int(text) for text in set(column)}
    return np.array([known[text] for text in column], dtype=np.int64)


def _said(answer: str) -> str:
    """What a model answered: of options told by their log-likelihoods the likeliest one, else the text as it is."""
    if not answer.lstrip().startswith("["):
        return answer
    try:
        value = json.loads(answer)
    except (ValueError, RecursionError):
        return answer
    if isinstance(value, list) and value and all(isinstance(part, int | float) for part in value):
        return str(max(range(len(value)), key=value.__getitem__))
    return answer


def _floats(column: Sequence[str]) -> Floats:
    found = np.array(column, dtype=np.float64)
    if not (np.abs(found) < LARGEST).all():
        raise ValueError("a value is no finite number, or none that can be")
    return found


def _text(columns: Columns, quality: Quality) -> Iterator[Problem]:
    means = {f"quality.metrics.{quality.primary}.value": (columns["score"], quality.metrics[quality.primary])}
    # Where a metric counts several parts of an item, its mean over items is another number.
    means |= {
        f"quality.metrics.{name}.value": (columns[name], metric)
        for name, metric in quality.metrics.items()
        if metric.n == len(columns["id"]) and name != quality.primary
    }
    for where, (column, metric) in means.items():
        yield from _rounded(metric.value, _floats(column), where)
    if columns[quality.primary] != columns["score"]:
        yield "quality.primary", f"{quality.primary!r} is not the score"


def _images(columns: Columns, quality: Quality) -> tuple[Floats, Iterator[Problem], NDArray[np.int64]]:
    labels, place, counts = _classes(tuple(columns["label"]))
    given = _integers(columns["prediction"])
    right = given == labels
    shares = {"top1": right.astype(np.float64), "mean_per_class": right * len(labels) / (len(counts) * counts[place])}
    values = shares.get(quality.primary, shares["top1"])

    def problems() -> Iterator[Problem]:
        for name in {"top1": None, "mean_per_class": None, quality.primary: None}:
            metric, mean = quality.metrics.get(name), float(shares.get(name, values).mean())
            if metric is not None and abs(metric.value - mean) > EXACT:
                yield f"quality.metrics.{name}.value", f"{metric.value} is not the {mean} of the answers"
        if quality.per_class is not None:
            # The file knows classes by number alone.
            found = sorted(zip(np.bincount(place, weights=right).astype(int).tolist(), counts.tolist(), strict=True))
            if sorted(quality.per_class.values()) != found:
                yield "quality.per_class", "right answers and items of the classes are not those"
        if quality.nll is not None:
            likelihoods = _floats(columns["log_prob_label"])
            # More than one half is more than any other class has.
            if (likelihoods > 0).any() or (likelihoods[~right] > math.log(0.5) * (1 - SIX_DIGITS)).any():
                yield "quality.nll", "answers are not the likeliest classes"
            yield from _rounded(quality.nll, -likelihoods, "quality.nll")

    return values, problems(), given


def _rounded(value: float, column: Floats, where: str) -> Iterator[Problem]:
    mean = float(column.mean())
    if abs(value - mean) > SIX_DIGITS * float(np.abs(column).mean()) + EXACT:
        yield where, f"{value} is not the {mean:.6g} of the answers"
