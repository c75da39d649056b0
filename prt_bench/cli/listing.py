"""`prt-bench list` and `show`: what there is, and one thing of it whole."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from prt_bench.cli.counted import read_counted
from prt_bench.cli.settings import Settings
from prt_bench.errors import RequestError, did_you_mean
from prt_bench.pins import PINS_FILE
from prt_bench.records import ModelCard
from prt_bench.registry import Registry
from prt_bench.requests import suites
from prt_bench.task_spec import DerivedSpec
from prt_bench.tasks import Spec, plain_specs, task_spec

__all__ = ["list_things", "show"]

Rows = list[dict[str, Any]]
WHOLE = {"alias", "name", "pair"}
SHORT = 20
"""Longer entries of a list are shown a line each."""


class Kind(StrEnum):
    """What can be listed."""

    models = "models"
    pairs = "pairs"
    tasks = "tasks"
    suites = "suites"
    methods = "methods"
    families = "families"


class One(StrEnum):
    """What can be shown whole."""

    model = "model"
    task = "task"
    method = "method"
    cell = "cell"


def list_things(
    context: typer.Context,
    kind: Kind,
    as_json: Annotated[bool, typer.Option("--json", help="A JSON array.")] = False,
) -> None:
    """List models, pairs, tasks, suites, methods or families."""
    settings: Settings = context.obj
    rows = LISTS[kind](Registry(settings.plugins, settings.store / PINS_FILE))
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    table = RichTable()
    for name in rows[0] if rows else ["nothing"]:
        # Names are what one has to type: never cut.
        table.add_column(name, overflow="fold", no_wrap=name in WHOLE)
    for row in rows:
        table.add_row(*(escape(_text(value)) for value in row.values()))
    Console().print(table)


def show(
    context: typer.Context,
    kind: One,
    name: str,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show one model, task, method or cell."""
    settings: Settings = context.obj
    facts = _facts(kind, name, settings)
    if as_json:
        typer.echo(json.dumps(facts, indent=1, default=str))
        return
    table = RichTable(show_header=False)
    for key, value in facts.items():
        table.add_row(escape(key), escape(_text(value)))
    Console().print(table)


def _facts(kind: One, name: str, settings: Settings) -> dict[str, Any]:
    registry = Registry(settings.plugins, settings.store / PINS_FILE)
    if kind is One.model:
        return registry.card(name).model_dump(mode="json")
    if kind is One.task:
        return task_spec(name, registry).model_dump(mode="json")
    if kind is One.method:
        request = registry.method(name)
        registered = registry.methods[request.name]
        return {**asdict(request.method.card), "params": request.method.params, "origin": registered.origin}
    found = {entry.record.cell.id: entry.record for entry in read_counted(settings.out).filed}
    matches = [cell_id for cell_id in found if cell_id.startswith(name)]
    if len(matches) != 1:
        raise RequestError(f"no one cell {name!r} in {settings.out}{did_you_mean(name, found)}")
    return found[matches[0]].model_dump(mode="json")


def _models(registry: Registry) -> Rows:
    def row(card: ModelCard) -> dict[str, Any]:
        facts = card.model_dump(mode="json", include={"alias", "family", "architecture", "pretrained", "licence"})
        return {**facts, "embedded": card.embedded, "verified": card.verified}

    return [row(card) for card in registry.cards.values()]


def _pairs(registry: Registry) -> Rows:
    known = suites(registry).suites
    return [{"pair": pair, "suite": name} for name, suite in known.items() for pair in suite.pairs]


def _tasks(registry: Registry) -> Rows:
    def row(spec: Spec | DerivedSpec) -> dict[str, Any]:
        tested = plain_specs(spec, registry)[-1]
        listed = tested.listed | ({"source": "derived"} if isinstance(spec, DerivedSpec) else {})
        facts = {"name": spec.name, "version": spec.version, "title": spec.title}
        return {**facts, **listed, "licence": tested.licence}

    return [row(task_spec(name, registry)) for name in registry.task_files()]


def _suites(registry: Registry) -> Rows:
    return [{"name": name, **suite.model_dump(mode="json")} for name, suite in suites(registry).suites.items()]


def _methods(registry: Registry) -> Rows:
    return [
        {
            "name": name,
            "title": registered.cls.card.title,
            "role": registered.cls.card.role,
            "params": {
                key: setting.default
                for key, setting in {**registered.cls.card.settings, **registered.cls.card.strengths}.items()
            },
            "origin": registered.origin,
        }
        for name, registered in sorted(registry.methods.items())
    ]


def _families(registry: Registry) -> Rows:
    return [{"name": name, "models": len(family.cards())} for name, family in registry.families.items()]


LISTS: dict[Kind, Callable[[Registry], Rows]] = {
    Kind.models: _models,
    Kind.pairs: _pairs,
    Kind.tasks: _tasks,
    Kind.suites: _suites,
    Kind.methods: _methods,
    Kind.families: _families,
}


def _text(value: Any) -> str:
    """A value for people: lists and tables as lines, what is not there as a dash."""
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_line(entry)}" for key, entry in value.items() if entry is not None) or "–"
    if isinstance(value, list | tuple):
        texts = [_line(entry) for entry in value]
        return ("\n" if max(map(len, texts), default=0) > SHORT else ", ").join(texts) or "–"
    return "–" if value in (None, "") else str(value)


def _line(value: Any) -> str:
    if isinstance(value, dict) and {"name", "labels"} == set(value):
        return f"{value['name']}  ← {', '.join(value['labels'])}" if value["labels"] else str(value["name"])
    if isinstance(value, dict):
        return ", ".join(f"{key} {_line(entry)}" for key, entry in value.items() if entry not in (None, False, [], {}))
    return ", ".join(map(_line, value)) if isinstance(value, list | tuple) else str(value)
