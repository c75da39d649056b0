"""What to work on, said in the same words by `run` and `fetch`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from prt_bench.cli.settings import Settings
from prt_bench.errors import RequestError
from prt_bench.requests import RunRequest

__all__ = [
    "Data",
    "Method",
    "Pair",
    "Recipe",
    "Seeds",
    "Strengths",
    "StrengthsOption",
    "Suite",
    "Task",
    "Track",
    "TrackOption",
    "request_of",
]


class Strengths(StrEnum):
    """Where parameters are chosen."""

    constants = "constants"
    source = "source"
    target = "target"


class Track(StrEnum):
    """Whose hyper-parameters."""

    paper = "paper"
    equal = "equal"


Pair = Annotated[list[str] | None, typer.Option(help="SOURCE:TARGET; may be given several times.")]
Suite = Annotated[str | None, typer.Option(help="A named list of what to run.")]
Task = Annotated[list[str] | None, typer.Option(help="A task's name; may be given several times.")]
Method = Annotated[list[str] | None, typer.Option(help="NAME[:key=value[,key=value]]; several times.")]
Data = Annotated[list[Path] | None, typer.Option(help="Own image folder with train/ and test/, or task file.")]
Seeds = Annotated[int | None, typer.Option(min=1, help="Training seeds 0 … N−1.")]
TrackOption = Annotated[
    Track, typer.Option(help="The published hyper-parameters as they are, or the same search for every method.")
]
StrengthsOption = Annotated[
    Strengths | None,
    typer.Option(
        help="Where strengths (and on the equal track recipes) are chosen: constants, or by validation data of the "
        "source (paid once) or the target (paid at every upgrade)."
    ),
]
Recipe = Annotated[
    str | None,
    typer.Option(help="How models are tuned: paper, paper-no-augmentation, embedded, or published (not trained here)."),
]


def request_of(
    settings: Settings,
    pair: list[str] | None,
    suite: str | None,
    task: list[str] | None,
    method: list[str] | None,
    data: list[Path] | None,
    **others: Any,
) -> RunRequest:
    """The request that the options of a command make.

    Raises:
        RequestError: the folder of weights is not there, so that all of them would be taken for missing.
    """
    if settings.weights_dir is not None and not settings.weights_dir.is_dir():
        raise RequestError(f"--weights-dir {settings.weights_dir}: no such folder")
    return RunRequest(
        pairs=tuple(pair or ()),
        suite=suite,
        tasks=tuple(task or ()),
        methods=tuple(method or ()),
        data=tuple(data or ()),
        out=settings.out,
        store=settings.store,
        offline=settings.offline,
        plugins=settings.plugins,
        data_dir=settings.data_dir,
        weights_dir=settings.weights_dir,
        device=settings.device,
        words=settings.words,
        **others,
    )
