"""Pages of what there is: methods, models, tasks, cost sessions and releases."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prt_bench.board import addresses
from prt_bench.board.content import Content, Line, lines_of
from prt_bench.board.numerals import number
from prt_bench.board.pages import Page, in_parts
from prt_bench.board.releases import bibtex
from prt_bench.board.table_view import Footnotes, Value, timed
from prt_bench.cards import MethodFacts, ModelCard, TaskFacts
from prt_bench.session_records import CostSession, SessionEntry, TrainingRow

__all__ = ["catalogue", "methods", "models", "releases", "sessions", "tasks"]

Facts = list[tuple[str, str]]
SHORT = 12
"""Signs of a digest that are shown."""


def catalogue(content: Content) -> Page:
    """Lists of them all."""
    facts = {
        "methods": [
            {
                "label": label,
                "facts": card,
                "title": _title(label, card, content),
                "role": card.role if card else next((line.row.role for line in _of(content, label)), ""),
                "tables": len({id(line.view) for line in _of(content, label)}),
            }
            for label, card in content.methods.items()
        ],
        "models": list(content.models.items()),
        "tasks": [
            (name, card, sum(view.table.task == name for view in content.views)) for name, card in content.tasks.items()
        ],
        "releases": [release.facts for release, _ in content.releases],
    }
    return Page("catalogue.html", "catalogue.html.j2", facts)


def methods(content: Content) -> Iterator[Page]:
    """A card per method, and its results everywhere."""
    for label, card in content.methods.items():
        facts = {
            "label": label,
            "title": _title(label, card, content),
            "facts": card,
            "about": _about_method(label, card, content),
            "sessions": [
                session
                for session in content.sessions.values()
                if any(entry.method == label for entry in session.compositions.values())
            ],
        }
        yield from in_parts(addresses.method_page(label), "method.html.j2", _of(content, label), facts)


def _of(content: Content, label: str) -> list[Line]:
    return [line for line in content.lines if line.row.label == label]


def _title(label: str, card: MethodFacts | None, content: Content) -> str:
    return card.title if card else next((line.row.title for line in _of(content, label)), label)


def _about_method(label: str, card: MethodFacts | None, content: Content) -> Facts:
    if card is None:
        return []
    digests = {
        record.provenance.method_source_sha256 for record in content.records.values() if record.cell.method == label
    }
    digests |= {
        entry.method_source_sha256
        for session in content.sessions.values()
        for entry in session.compositions.values()
        if entry.method == label
    }
    return [
        ("Role", card.role),
        ("Published", card.source or "not said"),
        ("Works on", card.reads),
        ("Weights at hand", " and ".join(card.weights) or "none: outputs are enough"),
        ("Source code, SHA-256", ", ".join(sorted(found[:SHORT] for found in digests))),
    ]


def models(content: Content) -> Iterator[Page]:
    """A card per model, and where it is the target."""
    for alias, card in content.models.items():
        facts = {
            "alias": alias,
            "card": card,
            "about": _about_model(alias, card, content),
            "pairs": [pair for pair in content.pairs if alias in (pair.source, pair.target)],
        }
        lines = [line for line in content.lines if line.table.pair.target == alias]
        yield from in_parts(addresses.model_page(alias), "model.html.j2", lines, facts)


def _about_model(alias: str, card: ModelCard | None, content: Content) -> Facts:
    digests = {
        made.sha256
        for record in content.records.values()
        if (made := record.provenance.models.get(alias)) is not None and made.sha256
    }
    known: Facts = []
    if card:
        known = [
            ("Family", card.family),
            ("Architecture", card.architecture),
            ("Weights", card.hub or card.pretrained or ("ship with prt-bench" if card.embedded else "not said")),
            ("Revision", card.revision or "none pinned"),
            ("Input", f"{card.image_size} × {card.image_size} pixels" if card.image_size else ""),
            ("Context", f"{card.context_length:,} tokens" if card.context_length else ""),
            ("Activation", card.activation or ""),
            ("Licence", card.licence),
        ]
    digest = ", ".join(sorted(found[:SHORT] for found in digests)) or "of none: no record loaded it"
    return [(name, text) for name, text in (*known, ("Weights, SHA-256", digest)) if text]


def tasks(content: Content) -> Iterator[Page]:
    """A card per task, and all results on it."""
    for name, card in content.tasks.items():
        facts = {
            "task": name,
            "facts": card,
            "about": _about_task(name, card, content),
        }
        lines = [line for line in content.lines if line.table.task == name]
        yield from in_parts(addresses.task_page(name), "task.html.j2", lines, facts)


def _about_task(name: str, card: TaskFacts | None, content: Content) -> Facts:
    tables = [view.table for view in content.views if view.table.task == name]
    versions = sorted({f"{table.version} (data {table.data_sha256[:SHORT]}, {table.n} test items)" for table in tables})
    known: Facts = []
    if card:
        known = [("Made of", card.reads), ("Licence", card.licence), ("Cite", card.citation)]
    marks = sorted({table.contamination for table in tables if table.contamination})
    found = [*known, ("Versions", "; ".join(versions)), ("In-domain test", "; ".join(marks))]
    return [(name, text) for name, text in found if text]


def sessions(content: Content) -> Iterator[Page]:
    """The list of sessions, and a page for each."""
    ordered = [session for _, session in sorted(content.sessions.items())]
    yield Page("costs.html", "costs.html.j2", {"sessions": ordered})
    for path, session in sorted(content.sessions.items()):
        yield _session(path, session, content)


def _session(path: Path, session: CostSession, content: Content) -> Page:
    notes, training_notes = Footnotes(), Footnotes()
    sizes = sorted({row.batch_size for entry in session.compositions.values() for row in entry.latency})
    facts = {
        "session": session,
        "about": _about_session(session),
        "batch_sizes": sizes,
        "compositions": [
            {
                "label": label,
                "method": entry.method,
                "title": _title(entry.method, content.methods.get(entry.method), content),
                "timed_as": entry.timed_as,
                "members": list(entry.members.items()),
                "cells": _costs(entry, session, sizes, notes),
            }
            for label, entry in session.compositions.items()
        ],
        "notes": notes,
        "training": [
            {
                "what": f"{row.model}{' through ' + ', '.join(row.frozen) if row.frozen else ''}",
                "methods": ", ".join(row.methods),
                "cells": _step(row, training_notes),
            }
            for row in session.training
        ],
        "training_notes": training_notes,
        "copy": content.copies[path],
    }
    return Page(addresses.session_page(session.id), "session.html.j2", facts)


def _about_session(session: CostSession) -> Facts:
    environment = session.environment
    noise = [f"batch {size}: {ratio:.3f}" for size, ratio in session.noise_floor.items()]
    found = [
        ("Hardware", f"{environment.hardware}: {environment.processor}, threads {environment.threads}"),
        ("Query", f"{session.unit}, " + ", ".join(f"{name} {value}" for name, value in session.shape.items())),
        ("Target against itself", ", ".join(noise)),
        ("Number formats", ", ".join(session.dtypes)),
        ("Not in the times", "; ".join(session.excludes)),
        ("Left out", "; ".join(session.skipped)),
        ("Energy", session.energy_source),
        ("Taken", f"{session.started} to {session.finished}"),
        ("Packages", ", ".join(f"{name} {version}" for name, version in session.packages.items())),
    ]
    return [(name, text) for name, text in found if text]


def _costs(entry: SessionEntry, session: CostSession, sizes: list[int], notes: Footnotes) -> list[Value]:
    rows = {row.batch_size: row for row in entry.latency}
    total, target, peak = entry.flops.total, session.target_flops, entry.memory.peak
    if total is None:
        flops = notes.missing(f"no FLOP count is known for {', '.join(entry.flops.uncounted_ops)}")
    else:
        flops = Value(number(total / 1e9), (f"{total / target:.2f} × target",) if target else (), sort=float(total))
    reason = session.absent.get("compositions.*.memory.peak", "peak memory was not measured")
    return [
        flops,
        Value(number(entry.params_count.total / 1e6), sort=float(entry.params_count.total)),
        Value(number(entry.memory.weights / 1e6), sort=float(entry.memory.weights)),
        notes.missing(reason) if peak is None else Value(number(peak / 1e6), sort=float(peak)),
        *(
            timed(rows[size], notes, "the target alone was not timed")
            if size in rows
            else notes.missing(f"batch {size} was not timed")
            for size in sizes
        ),
    ]


def _step(row: TrainingRow, notes: Footnotes) -> list[Value]:
    why = "; ".join(row.reasons) or "no reason given"
    ratio = () if row.ratio is None else (f"{row.ratio[1]:.2f} × tuning the source",)
    memory = row.peak_memory_bytes
    return [
        Value(str(row.batch_size), sort=row.batch_size) if row.batch_size else notes.missing(why),
        Value(number(row.flops / 1e9), sort=float(row.flops)) if row.flops else notes.missing(why),
        Value(number(row.step_ms), ratio, sort=row.step_ms) if row.step_ms else notes.missing(why),
        Value(number(memory / 1e6), sort=float(memory)) if memory else notes.missing(why),
    ]


def releases(content: Content, version: str) -> Iterator[Page]:
    """A page per release: how to cite it, and what stands on it."""
    for release, views in content.releases:
        lines = lines_of(views)
        facts: dict[str, Any] = {"release": release.facts, "cite": bibtex(release, version)}
        yield from in_parts(addresses.release_page(release.name), "release.html.j2", lines, facts)
