"""Strict YAML: safe loading, no duplicate keys, and errors that name file, line and key."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from prt_bench.errors import RequestError, did_you_mean
from prt_bench.files import first_problem
from prt_bench.records import Strict

__all__ = ["load_yaml"]

Schema = TypeVar("Schema", bound=Strict)
LARGEST_BYTES = 2_000_000
LOADER: type[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Ten times as fast where PyYAML was built with libyaml, which all of its wheels are."""


def load_yaml(path: Path, schema: type[Schema]) -> Schema:
    """Read a YAML file into a strict schema.

    Raises:
        RequestError: in one line `file:line: key: what is wrong`.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST_BYTES:
            raise RequestError(f"{path}: {size} bytes is more than a task file may have ({LARGEST_BYTES})")
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path}: cannot be read ({error})") from None
    value: Schema = _parsed(path, text, schema)
    return value


@lru_cache(maxsize=256)
def _parsed(path: Path, text: str, schema: type[Schema]) -> Schema:
    """The same text is parsed once: what a strict schema holds cannot be changed."""
    try:
        _refuse_aliases(path, text)
        loader = LOADER(text)
        node = loader.get_single_node()
        _refuse_duplicates(path, node)
        value = None if node is None else loader.construct_document(node)
    except RequestError:
        raise
    except Exception as error:  # noqa: BLE001 - the parser lets errors of int(), datetime() and others through
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}" if mark else ""
        reason = " ".join(str(getattr(error, "problem", None) or error).split())
        raise RequestError(f"{path}{place}: not valid YAML ({reason})") from None
    if not isinstance(value, dict):
        raise RequestError(f"{path}:1: a mapping of keys is expected")
    try:
        return schema.model_validate(value)
    except ValidationError as error:
        where, what = first_problem(error)
        line, key = _place(node, where)
        if what == "Extra inputs are not permitted":
            hint = did_you_mean(str(where[-1]), schema.model_fields) if len(where) == 1 else ""
            raise RequestError(f"{path}:{line}: {key}: unknown key{hint}") from None
        if what == "Field required":
            raise RequestError(f"{path}:{line}: {key}: this key is missing") from None
        raise RequestError(f"{path}:{line}: {key}: {what.removeprefix('Value error, ')}") from None


def _refuse_aliases(path: Path, text: str) -> None:
    """Refuse aliases, which can grow without bound."""
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.AliasEvent):
            line = event.start_mark.line + 1 if event.start_mark else 1
            raise RequestError(f"{path}:{line}: *{event.anchor}: YAML aliases are not allowed here; write it out")


def _refuse_duplicates(path: Path, node: yaml.Node | None) -> None:
    """Refuse duplicate keys, which YAML parsers resolve in silence."""
    waiting = [node] if node else []
    while waiting:
        current = waiting.pop()
        if isinstance(current, yaml.SequenceNode):
            waiting.extend(current.value)
        elif isinstance(current, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in current.value:
                name = str(getattr(key, "value", key))
                if name in keys:
                    raise RequestError(f"{path}:{key.start_mark.line + 1}: {name}: this key stands twice")
                keys.add(name)
                waiting.append(value)


def _place(node: Any, where: tuple[str | int, ...]) -> tuple[int, str]:
    """Line (from 1) of the deepest node on the way to `where` that the file has, and the key as the file has it.

    The name of a union's chosen member stands in `where` but not in the file: it is passed over.
    """
    line: int = node.start_mark.line + 1
    key: list[str] = []
    for depth, step in enumerate(where, start=1):
        found = None
        if isinstance(node, yaml.MappingNode):
            for name, value in node.value:
                if name.value == str(step):
                    line, found = name.start_mark.line + 1, value
        elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
            found = node.value[step]
            line = found.start_mark.line + 1
        if found is not None or depth == len(where):
            key.append(str(step))
        node = node if found is None else found
    return line, ".".join(key)
