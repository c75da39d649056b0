"""Digests of values, files that are whole at any moment, and what a schema found wrong."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from pydantic import ValidationError

__all__ = ["canonical_json", "digest", "first_line", "first_problem", "write_atomically"]


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest(value: Any) -> str:
    """SHA-256 (hex) of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def write_atomically(path: Path, content: str | bytes, durable: bool = True) -> None:
    """Write bytes, or text as UTF-8, so that a reader, or a kill at any moment, sees the whole old or new file.

    `durable`: nor does a power cut change that. What can be made again needs no such wait for the disk.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its type where it has none."""
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def first_problem(error: ValidationError) -> tuple[tuple[str | int, ...], str]:
    """The first problem of a validation error: where (a path of keys) and what, in one line.

    An unknown key comes before a missing one, which it may well be a misspelling of.
    """
    problems = error.errors(include_url=False)
    problem = next((entry for entry in problems if entry["type"] == "extra_forbidden"), problems[0])
    return problem["loc"], problem["msg"]
