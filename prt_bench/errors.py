"""Errors that a user can act on: one line, naming the thing, what was wrong and the way out."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["CellError", "MissingError", "RequestError", "SkipError", "did_you_mean"]


class RequestError(Exception):
    """The request itself is wrong: said in one line before any work; exit code 2."""


class CellError(Exception):
    """A cell cannot be finished for a reason that the message explains; the other cells go on."""


class MissingError(RequestError):
    """Weights or data that can be fetched are not at hand."""


class SkipError(CellError):
    """A cell does not apply to what was asked for: it is skipped with this reason, which is no failure."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint with the names nearest to `name`, or with where to look them up; empty when nothing is known."""
    names = sorted(set(known))
    folded = {known_name.casefold(): known_name for known_name in names}
    near = [folded[hit] for hit in difflib.get_close_matches(name.casefold(), folded, n=3, cutoff=0.6)]
    if near:
        return f"; did you mean {' or '.join(near)}?"
    if not names:
        return ""
    shown = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    return f"; known: {shown}"
