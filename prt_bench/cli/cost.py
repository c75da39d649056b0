"""`prt-bench cost`: a pair's compositions, counted and timed against each other."""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from typing import Annotated

import typer
from rich.console import Console

from prt_bench.cli.cost_tables import print_reported, print_session, reported_models
from prt_bench.cli.progress import Show
from prt_bench.cli.selection import request_of
from prt_bench.cli.settings import Settings
from prt_bench.errors import CellError, RequestError
from prt_bench.executors.local import LocalExecutor, WorkerDied, WorkFailed
from prt_bench.models import parse_pair
from prt_bench.plan import make_plan
from prt_bench.registry import Registry
from prt_bench.runner import open_worker
from prt_bench.session_plan import SessionPlan
from prt_bench.session_records import read_session
from prt_bench.session_runner import take_session

__all__ = ["cost"]

SHAPE_TASKS = {"images": "digits", "text": "nano-formats"}
"""What models read → the task whose queries are timed."""
LENGTHS = {"prompt_tokens": 16, "output_tokens": 4}
"""Of a request of text that nobody stated: short, so that models of a billion parameters are timed on a CPU."""

PLAIN_WIDTH = 120
"""Columns where the tables go into a file."""


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
    prompt_tokens: Annotated[
        int | None, typer.Option(min=1, help="Of text: length of a request. [default: 16]")
    ] = None,
    output_tokens: Annotated[int | None, typer.Option(min=1, help="Of text: length of an answer. [default: 4]")] = None,
    max_seconds: Annotated[float, typer.Option(min=1, help="How long to measure; loading comes on top.")] = 300.0,
    as_json: Annotated[bool, typer.Option("--json", help="The session as JSON.")] = False,
) -> None:
    """Measure FLOPs, latency, memory, energy and training of all methods of a pair: on images, or short requests.

    What the paper printed for such pairs stands beside it, held against arithmetic.
    """
    settings: Settings = context.obj
    registry = Registry(settings.plugins)
    card = registry.card(parse_pair(pair, registry).target)
    kind = registry.family(card).reads
    lengths = _lengths(kind, prompt_tokens, output_tokens)
    request = request_of(
        settings, [pair], None, [SHAPE_TASKS[kind]], method, None, seeds=1, weights=weights.value, lengths=lengths
    )
    stderr = Console(stderr=True)
    executor = LocalExecutor(partial(open_worker, request))
    batch_sizes = tuple(dict.fromkeys(sorted(batch_size or (1, 32))))
    try:
        with Show(stderr) as show:
            plan = make_plan(request, show.progress)
            path, problem = take_session(
                executor,
                lambda: LocalExecutor(partial(open_worker, request)),
                plan.cells,
                SessionPlan(batch_sizes, max_seconds, whole=True, anew=True),
                settings.store,
                show,
            )
            if path is None:
                raise CellError(f"the session failed: {problem}")
        session = read_session(path)
        stderr.print(f"session: {path}", markup=False, highlight=False, soft_wrap=True)
        if as_json:
            typer.echo(json.dumps(session.model_dump(mode="json"), indent=1))
            return
        console = Console()
        if not console.is_terminal:
            console.width = PLAIN_WIDTH
        print_session(session, console)
        with Show(stderr) as show:
            sizes = _sizes(executor, str(plan.cells[0].path), reported_models(kind), show.progress)
        print_reported(kind, sizes, console)
    finally:
        executor.close()


def _lengths(kind: str, prompt: int | None, output: int | None) -> dict[str, int] | None:
    if kind != "text":
        if prompt is None and output is None:
            return None
        raise RequestError("--prompt-tokens and --output-tokens are of text; this pair reads images")
    if prompt is None and output is None:
        return LENGTHS
    if prompt is None or output is None:
        raise RequestError("--prompt-tokens and --output-tokens belong together; give both")
    return {"prompt_tokens": prompt, "output_tokens": output}


def _sizes(
    executor: LocalExecutor, path: str, aliases: tuple[str, ...], report: Callable[[str, int, int], None]
) -> dict[str, tuple[int, int]]:
    """FLOPs of a pass and parameters of the models of the printed tables."""
    try:
        found: dict[str, tuple[int, int]] = executor.call("sizes", path, aliases, report=report)
    except (WorkFailed, WorkerDied) as error:
        raise CellError(f"the models of the printed tables cannot be counted: {error}") from None
    return found
