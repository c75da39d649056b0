"""`prt-bench cost`: a pair's compositions, counted and timed against each other."""

from __future__ import annotations

import json
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from prt_bench.cli.progress import Show
from prt_bench.cli.settings import Settings
from prt_bench.environment import now
from prt_bench.errors import CellError
from prt_bench.executors.local import LocalExecutor, WorkerDied, WorkFailed
from prt_bench.models import parse_pair
from prt_bench.plan import make_plan
from prt_bench.records import CostSession, read_session
from prt_bench.registry import Registry
from prt_bench.requests import RunRequest
from prt_bench.runner import open_worker

__all__ = ["cost"]

SHAPE_TASKS = {"images": "digits", "text": "nano-formats"}
"""What models read → the task whose queries are timed."""


class Weights(StrEnum):
    """What the networks hold while they are timed."""

    real = "real"
    random = "random"


def cost(
    context: typer.Context,
    pair: Annotated[str, typer.Option(help="SOURCE:TARGET.")],
    method: Annotated[list[str] | None, typer.Option(help="NAME[:key=value]; several times.")] = None,
    weights: Annotated[Weights, typer.Option(help="random needs no download: architectures alone.")] = Weights.real,
    batch_size: Annotated[list[int] | None, typer.Option(min=1, help="Queries at once; several times.")] = None,
    max_seconds: Annotated[float, typer.Option(min=1, help="How long to time.")] = 300.0,
    as_json: Annotated[bool, typer.Option("--json", help="The session as JSON.")] = False,
) -> None:
    """Count FLOPs and time all methods of a pair, interleaved: images of ten classes, or short requests."""
    settings: Settings = context.obj
    registry = Registry(settings.plugins)
    card = registry.card(parse_pair(pair, registry).target)
    request = RunRequest(
        pairs=(pair,),
        tasks=(SHAPE_TASKS[registry.family(card).reads],),
        methods=tuple(method or ()),
        seeds=1,
        out=settings.out,
        store=settings.store,
        offline=settings.offline,
        plugins=settings.plugins,
        weights_dir=settings.weights_dir,
        device=settings.device,
        weights=weights.value,
        words=settings.words,
    )
    stderr = Console(stderr=True)
    executor = LocalExecutor(partial(open_worker, request))
    try:
        with Show(stderr) as show:
            plan = make_plan(request, show.progress)
            paths = []
            for planned in plan.cells:
                try:
                    executor.call("can_be_timed", str(planned.path), report=show.progress)
                    paths.append(str(planned.path))
                except (WorkFailed, WorkerDied) as error:
                    show.warn(f"{planned.method.label} is not timed: {_said(error)}")
            arguments = (paths, tuple(batch_size or (1, 32)), max_seconds, now())
            path = executor.call("session", *arguments, report=show.progress)
    except (WorkFailed, WorkerDied) as error:
        raise CellError(f"the session failed: {_said(error)}") from None
    finally:
        executor.close()
    session = read_session(Path(path))
    if as_json:
        typer.echo(json.dumps(session.model_dump(mode="json"), indent=1))
    else:
        _print(session, Console())
    stderr.print(f"session: {path}", markup=False, highlight=False, soft_wrap=True)


def _said(error: WorkFailed | WorkerDied) -> str:
    return error.message if isinstance(error, WorkFailed) else str(error)


def _unit(session: CostSession) -> str:
    shape = session.shape
    lengths = f" of {shape['prompt_tokens']} + {shape['output_tokens']} tokens" if "prompt_tokens" in shape else ""
    return session.unit + lengths


def _print(session: CostSession, console: Console) -> None:
    table = RichTable(
        title=escape(f"{session.pair}, {session.weights} weights, per {_unit(session)}"), title_justify="left"
    )
    table.add_column("method", overflow="fold", min_width=16)
    for name in ("GFLOPs", "params, M", "batch", "ms", "× target"):
        table.add_column(name, justify="right", no_wrap=True)
    for label, entry in session.compositions.items():
        for row in entry.latency:
            total = entry.flops.total
            low, middle, high = row.ratio_to_target or (0, 0, 0)
            table.add_row(
                escape(label),
                "–" if total is None else f"{total / 1e9:.6g}",
                f"{entry.params_count.total / 1e6:.3g}",
                str(row.batch_size),
                f"{row.p50_ms:.2f}",
                f"{middle:.2f} [{low:.2f}, {high:.2f}]",
            )
    console.print(table)
    floor = ", ".join(f"batch {size}: {abs(1 - ratio):.1%}" for size, ratio in session.noise_floor.items())
    console.print(f"noise floor (the target against itself): {floor}", highlight=False)
    console.print(f"convention: {session.flop_convention}", highlight=False)
    for reason in session.reasons:
        console.print(f"not valid: {reason}", markup=False, highlight=False)
