"""The invented world of the embedded language models as rows of a data set."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

from prt_bench.errors import RequestError, did_you_mean
from prt_bench.nano.world import TASKS, Check, Instruction, Pair, Question

__all__ = ["world_rows"]


@cache
def world_rows(name: str, split: str) -> Any:
    """One split of a task of the world, as a `datasets` table.

    Raises:
        RequestError: there is no such task or split.
    """
    import datasets

    if name not in TASKS:
        raise RequestError(f"the world has no task {name!r}{did_you_mean(name, TASKS)}")
    splits = {"train": TASKS[name].train, "validation": TASKS[name].validation, "test": TASKS[name].test}
    if split not in splits:
        raise RequestError(f"the world has no split {split!r} of {name}{did_you_mean(split, splits)}")
    return datasets.Dataset.from_list([_row(item) for item in splits[split]])


def _row(item: Pair | Question | Instruction) -> dict[str, Any]:
    match item:
        case Pair(prompt, response):
            return {"prompt": prompt, "response": response}
        case Question(prompt, choices, answer):
            return {"prompt": prompt, "choices": list(choices), "answer": answer}
        case Instruction():
            followed = "".join(f"(?={_pattern(check)}$)" for check in item.checks)
            word = re.escape(item.answer)
            exact = rf"(?i:\W*{word}(\W+{word})*\W*)"
            return {"prompt": item.prompt, "followed": f"{followed}.*", "exact": followed + exact}


def _pattern(check: Check) -> str:
    """A regular expression of the texts that hold to a check."""
    match check:
        case Check("case", "upper"):
            return r"[^a-z]*[A-Z][^a-z]*"
        case Check("count", int(times)):
            return rf"(\S+)(\s+\1){{{times - 1}}}"
        case Check("format", "brackets"):
            return r"\(\s*\w+\s*\)"
    raise RequestError(f"the world has a check {check} that no pattern is known for")
