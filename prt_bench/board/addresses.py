"""Where the pages of the site lie: one name for each thing, safe on every file system."""

from __future__ import annotations

import re

from prt_bench.files import digest
from prt_bench.records import PairNames

__all__ = [
    "method_page",
    "model_page",
    "pair_page",
    "plain_name",
    "release_page",
    "session_page",
    "table_page",
    "task_page",
]

LONGEST_NAME = 60
PLAIN = re.compile(r"(?!.*__)(?!.*-[0-9a-f]{8}$)[a-z0-9][a-z0-9._-]*")
"""Two underscores stand between the names of a page, and eight signs of a digest after those that are not plain."""


def plain_name(text: str) -> str:
    """A file name for any text: itself where it is plain; else what is plain of it, told apart by a digest.

    Capitals are told apart too: some file systems hold them equal.
    """
    if PLAIN.fullmatch(text) and len(text) <= LONGEST_NAME:
        return text
    plain = re.sub(r"[^a-z0-9._-]+|__+", "-", text.lower())[:LONGEST_NAME].strip(".-_")
    return f"{plain or 'x'}-{digest(text)[:8]}"


def pair_page(pair: PairNames) -> str:
    """Of a pair, from the site's root; so are all."""
    return f"pairs/{plain_name(pair.source)}__{plain_name(pair.target)}.html"


def table_page(pair: PairNames, task: str) -> str:
    """Of one task on one pair."""
    return f"{pair_page(pair).removesuffix('.html')}__{plain_name(task)}.html"


def task_page(task: str) -> str:
    """Of a task, over all pairs."""
    return f"tasks/{plain_name(task)}.html"


def method_page(method: str) -> str:
    """Of a method."""
    return f"methods/{plain_name(method)}.html"


def model_page(alias: str) -> str:
    """Of a model."""
    return f"models/{plain_name(alias)}.html"


def session_page(session: str) -> str:
    """Of a cost session."""
    return f"sessions/{plain_name(session)}.html"


def release_page(name: str) -> str:
    """Of a release."""
    return f"releases/{plain_name(name)}.html"
