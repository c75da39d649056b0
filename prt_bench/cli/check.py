"""`prt-bench check --task`: a task file, its data, and published scores against what a model reaches on it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from prt_bench.api import MethodCard
from prt_bench.cli import selection
from prt_bench.cli.progress import Show
from prt_bench.cli.settings import Settings
from prt_bench.errors import CellError, RequestError
from prt_bench.executors.local import LocalExecutor, WorkerDied, WorkFailed
from prt_bench.plan import Plan, make_plan
from prt_bench.registry import Registry
from prt_bench.runner import open_worker
from prt_bench.tasks import plain_specs, spec_at, task_spec

__all__ = ["check"]


TRIED = {
    "images": ["nano-rn16-a:nano-rn16-a", "nano-rn24-b:nano-rn24-b"],
    "text": ["nano-llama-s-a:nano-llama-s-a", "nano-llama-m-b:nano-llama-m-b"],
}
"""What a task is made of → embedded models to try it on."""


def check(
    context: typer.Context,
    task: Annotated[str, typer.Option(help="A task file, or a task's name.")],
    pair: Annotated[
        list[str] | None, typer.Option(help="A:A, the model to try it on; may be given several times.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The findings as JSON.")] = False,
) -> int:
    """Load a task's data as a run would, and hold each model's zero-shot score to the published one.

    Exit code 1 where a score is more than three points off, 2 where the file or its data is wrong.
    """
    settings: Settings = context.obj
    registry = Registry(settings.plugins)
    own = Path(task) if task.endswith((".yaml", ".yml")) or Path(task).is_file() else None
    if own is not None and not own.is_file():
        raise RequestError(f"--task {task}: no such file")
    floor = next(name for name, found in registry.methods.items() if _asks_nothing(found.cls.card))
    spec = plain_specs(spec_at(own) if own else task_spec(task, registry), registry)[-1]
    request = selection.request_of(
        settings,
        pair or TRIED[spec.reads],
        None,
        None if own else [task],
        [floor],
        [own] if own else None,
        seeds=1,
    )
    stderr = Console(stderr=True)
    executor = LocalExecutor(partial(open_worker, request))
    try:
        with Show(stderr) as show:
            plan = make_plan(request, show.progress)
            found = []
            for planned in plan.cells:
                found += executor.call("anchors", str(planned.path), report=show.progress)
    except (WorkFailed, WorkerDied) as error:
        raise CellError(error.message if isinstance(error, WorkFailed) else str(error)) from None
    finally:
        executor.close()
    rows = list({row["what"]: row for row in found}.values())
    if as_json:
        typer.echo(json.dumps({"task": _facts(plan), "models": rows}, indent=1))
    else:
        _print(plan, rows, Console())
    for row in rows:
        if row["holds"] is False or row["swapped"]:
            verdict = "off" if row["holds"] is False else "look at"
            stderr.print(f"{verdict}: {row['text']}", style="red", markup=False, highlight=False, soft_wrap=True)
    return 1 if any(row["holds"] is False for row in rows) else 0


def _asks_nothing(card: MethodCard) -> bool:
    """Whether a method reads whatever a task is made of, and no data."""
    return card.role == "floor" and card.reads == "anything" and not any(card.needs.values())


def _facts(plan: Plan) -> dict[str, Any]:
    task = plan.cells[0].task
    return {
        "name": task.name,
        "version": task.version,
        "pinned": task.pinned,
        "classes": len(task.space.labels),
        "roles": {name: len(examples) for name, examples in task.roles.items()},
        "left_out": task.left_out,
        "template_sha256": task.template_sha256,
        "split_sha256": task.split_sha256,
        "data_sha256": task.data_sha256,
    }


def _print(plan: Plan, rows: list[dict[str, Any]], console: Console) -> None:
    facts = _facts(plan)
    sizes = ", ".join(f"{name} {count:,}" for name, count in facts["roles"].items())
    made_of = f"{facts['classes']} classes" if facts["classes"] else "text"
    console.print(f"{facts['name']} version {facts['version']}: {made_of}; {sizes}", highlight=False)
    if facts["left_out"]:
        console.print(f"{facts['left_out']} examples are in the test too and left out of training", highlight=False)
    if not facts["pinned"]:
        console.print(
            "the data is your own, of other sizes than the task pins: scores move by sampling", highlight=False
        )
    if not rows:
        return
    table = RichTable(title="zero-shot against published", title_justify="left")
    for name in ("model", "metric", "source", "verdict"):
        table.add_column(name, overflow="fold")
    for name in ("here %", "published %", "points"):
        table.add_column(name, justify="right")
    for row in rows:
        published = row["published"]
        known = published is not None
        table.add_row(
            escape(row["model"]),
            row["metric"],
            escape(row["source"] or "–"),
            "holds" if row["holds"] else "off" if known else "nothing to compare",
            f"{100 * row['measured']:.1f}",
            f"{100 * published:.1f}" if known else "–",
            f"{100 * (row['measured'] - published):+.1f}" if known else "–",
        )
    console.print(table)
    anchors = plan.cells[0].task.spec.anchors
    if anchors is not None and all(row["published"] is None for row in rows):
        alias = next(iter(anchors.scores))
        console.print(
            f"nothing was compared: {anchors.source} has scores of {len(anchors.scores)} other models, for example "
            f"--pair {alias}:{alias}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
