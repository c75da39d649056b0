"""`prt-bench`: the command line."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from pydantic_core import PydanticSerializationError

from prt_bench import __version__
from prt_bench.cli import board, check, cost, doctor, fetch, lifetime, listing, nano, results, run
from prt_bench.cli.settings import Settings, default_store, hoist
from prt_bench.errors import CellError, RequestError
from prt_bench.executors.local import LOG_LEVEL
from prt_bench.logs import start_log

__all__ = ["app", "main"]

INTERRUPTED = 130

app = typer.Typer(
    name="prt-bench",
    help="The benchmark of portable fine-tuning. Global options may stand anywhere on the command line.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("run")(run.run)
app.command("cost")(cost.cost)
app.command("list")(listing.list_things)
app.command("show")(listing.show)
app.command("results")(results.results)
app.command("lifetime")(lifetime.lifetime)
app.add_typer(board.app, name="board")
app.command("check")(check.check)
app.command("fetch")(fetch.fetch)
app.command("doctor")(doctor.doctor)
app.add_typer(nano.app, name="nano")


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"prt-bench {__version__}")
        raise typer.Exit


@app.callback()
def global_options(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="The leaderboard folder, read or written.")] = Path("leaderboard"),
    store: Annotated[
        Path | None, typer.Option(help="Artifacts and cached outputs. [default: PRT_BENCH_STORE or the user's cache]")
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Touch no network.")] = False,
    plugin: Annotated[list[Path] | None, typer.Option(help="A Python file with methods or families.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder with data: DIR/TASK/{train,test}/CLASS/… or DIR/OWNER/REPOSITORY/….")
    ] = None,
    weights_dir: Annotated[
        Path | None, typer.Option(help="Folder with weights: DIR/MODEL/FILE or DIR/OWNER/REPOSITORY/FILE.")
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "warning",
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options of all commands."""
    if log_level.upper() not in logging.getLevelNamesMapping():
        raise RequestError(f"--log-level {log_level}: one of debug, info, warning, error")
    start_log(log_level)
    os.environ[LOG_LEVEL] = log_level.lower()
    if offline:
        # Read by the hub's libraries when they are loaded, here and in the worker.
        os.environ["HF_HUB_OFFLINE"] = "1"
    context.obj = Settings(
        out=out,
        store=store or default_store(),
        offline=offline or os.environ.get("HF_HUB_OFFLINE") == "1",
        plugins=tuple(plugin or ()),
        data_dir=data_dir,
        weights_dir=weights_dir,
        device=device,
        words=" ".join(["prt-bench", *sys.argv[1:]]),
    )


def main() -> None:
    """Entry point: one line and exit code 2 for a wrong request, 1 for failed work, 130 for Ctrl-C."""
    sys.exit(invoke(sys.argv[1:]))


def invoke(words: list[str]) -> int:
    """Run a command line and return its exit code."""
    try:
        code = app(args=hoist(words), prog_name="prt-bench", standalone_mode=False)
    except RequestError as error:
        return _say(str(error), 2)
    except CellError as error:
        return _say(str(error), 1)
    except (typer.Abort, KeyboardInterrupt):
        return _stopped()
    except PydanticSerializationError as error:
        # Ctrl-C while a value is written out comes wrapped.
        if "KeyboardInterrupt" not in str(error):
            raise
        return _stopped()
    except typer.TyperException as error:
        return _say(f"{_message(error)} (see prt-bench --help)", 2)
    return _stopped() if code == INTERRUPTED else code if isinstance(code, int) else 0


def _message(error: typer.TyperException) -> str:
    return " ".join(error.format_message().split()) or "no command was given"


def _stopped() -> int:
    return _say("stopped; what is done is kept, the same command goes on from there", INTERRUPTED)


def _say(message: str, code: int) -> int:
    print(f"prt-bench: {' '.join(message.split())}", file=sys.stderr)
    return code
