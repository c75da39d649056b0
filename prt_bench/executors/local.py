"""One supervised worker process on this machine: it keeps what it loaded, and its death is survived."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any

import psutil
import tqdm

from prt_bench.errors import CellError, RequestError
from prt_bench.logs import start_log

__all__ = ["LocalExecutor", "WorkFailed", "WorkerDied"]

Report = Callable[[str, int, int], None]
Job = Callable[..., Any]
REPORTS_PER_SECOND = 10
LONGEST_MESSAGE = 500
LOG_LEVEL = "PRT_BENCH_LOG_LEVEL"
"""Environment variable with the level of the log; a worker shows tracebacks at `debug`."""
POLL_SECONDS = 0.2
SPINS = "10000"
ERRORS = 2
"""File descriptor of standard error."""
PRELOADED = ("torch", "torchvision", "transformers", "open_clip")
"""Modules that take seconds to import. None of them starts a thread or opens a device when it is imported."""


class WorkerDied(Exception):  # noqa: N818 - a state of the world, which the runner survives
    """The worker process ended, or was ended, before it answered."""


@dataclass
class WorkFailed(Exception):  # noqa: N818
    """The work raised an error; the worker lives on."""

    type: str
    message: str
    where: str
    expected: bool
    """The error explains itself: no traceback is needed."""


class LocalExecutor:
    """Calls methods of an object that lives in a process of its own.

    `open_job` is a picklable callable; the worker calls it once with a progress callback, and it returns
    the object. After a death the next call starts a new worker.
    """

    def __init__(self, open_job: Callable[[Report], Any]) -> None:
        self._open_job = open_job
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None

    def call(
        self,
        name: str,
        *args: Any,
        report: Report,
        timeout: float | None = None,
        memory_bytes: int | None = None,
    ) -> Any:
        """Call a method of the worker's object and wait for its answer.

        Raises:
            RequestError: the work says that the request is wrong.
            WorkFailed: the work raised any other error.
            WorkerDied: the worker ended, or was ended for taking more time or memory than allowed.
        """
        connection = self._connected()
        answered = False
        end = None if timeout is None else time.monotonic() + timeout
        try:
            connection.send((name, args))
            while True:
                if connection.poll(POLL_SECONDS):
                    kind, value = connection.recv()
                    answered = kind != "progress"
                    if kind == "progress":
                        report(*value)
                    elif kind == "done":
                        return value
                    elif kind == "refused":
                        raise RequestError(value)
                    else:
                        raise WorkFailed(*value)
                if end is not None and time.monotonic() > end:
                    raise WorkerDied(f"took longer than {timeout:g} s (--cell-timeout)")
                if memory_bytes is not None and self._resident() > memory_bytes:
                    raise WorkerDied(f"held more than {memory_bytes} bytes of memory (--cell-memory)")
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise WorkerDied(self._how_it_ended()) from None
        finally:
            if not answered:  # also when `report` raised: the next call must not read this one's answer
                self.close()

    def close(self) -> None:
        """End the worker."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None

    def _connected(self) -> Connection:
        if self._connection is None:
            _wait_briefly()
            # Libraries draw bars of their own; progress is reported to this process, which shows it.
            os.environ.setdefault("TQDM_DISABLE", "1")
            os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
            context = _context()
            ours, theirs = context.Pipe()
            with Connection(os.dup(ERRORS), readable=False) as errors:
                process = context.Process(
                    target=_serve, args=(theirs, self._open_job, dict(os.environ), errors), daemon=True
                )
                process.start()
            theirs.close()
            # Only now: Ctrl-C while it starts leaves nothing that could not be ended; it ends with this process.
            self._connection, self._process = ours, process
        return self._connection

    def _resident(self) -> int:
        assert self._process is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            return int(psutil.Process(self._process.pid).memory_info().rss)
        return 0

    def _how_it_ended(self) -> str:
        code = None
        if self._process is not None:
            self._process.join(timeout=5)
            code = self._process.exitcode
        self.close()
        if code is not None and code < 0:
            return f"the worker process was ended by signal {-code} ({signal.Signals(-code).name})"
        return f"the worker process ended with exit code {code}"


def _context() -> SpawnContext | ForkServerContext:
    """Return how workers are started.

    On Linux they are forked from a server that has imported the large libraries and done nothing else, so that only
    the first one waits for the imports. Elsewhere forking is unsafe once system libraries are loaded.
    """
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))
    return context


def _wait_briefly() -> None:
    """Let threads spin for about half a millisecond before they sleep, unless the user has said how they wait.

    Threads that sleep at once make small networks 1.7 times slower; threads that spin for long make two busy
    processes on two cores ten times slower.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
        os.environ["GOMP_SPINCOUNT"] = SPINS


def _serve(
    connection: Connection, open_job: Callable[[Report], Any], environ: dict[str, str], errors: Connection
) -> None:
    # The server that this process was forked from may have been started with others.
    os.environ.clear()
    os.environ.clear()
    os.environ.update(environ)
    os.dup2(errors.fileno(), ERRORS)
    errors.close()
    # Ctrl-C is the parent's to handle: it ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Its lock between processes would be left behind when this one is ended.
    tqdm.tqdm.set_lock(threading.RLock())
    # What the data are warned of, the parent has said when it made the same plan.
    logging.getLogger("prt_bench").setLevel(logging.ERROR)
    logging.getLogger("prt_bench.anchors").setLevel(logging.WARNING)
    start_log(os.environ.get(LOG_LEVEL, "warning"))
    last: dict[str, float] = {}

    def report(title: str, done: int, total: int) -> None:
        now = time.monotonic()
        if done >= total or now - last.get(title, 0.0) > 1 / REPORTS_PER_SECOND:
            last[title] = now
            connection.send(("progress", (title, done, total)))

    job: Any = None
    while True:
        try:
            name, args = connection.recv()
        except EOFError:
            return
        try:
            if job is None:
                job = open_job(report)
            connection.send(("done", getattr(job, name)(*args)))
        except RequestError as error:
            connection.send(("refused", str(error)))
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises becomes a failed cell, with its place
            connection.send(("failed", _failure(error)))


def _failure(error: Exception) -> tuple[str, str, str, bool]:
    expected = isinstance(error, CellError)
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{os.path.basename(frame.filename)}:{frame.lineno} in {frame.name}"
    if os.environ.get(LOG_LEVEL) == "debug":
        traceback.print_exception(error, file=sys.stderr)
    message = " ".join(str(error).split()) or type(error).__name__
    return type(error).__name__, message[:LONGEST_MESSAGE], where, expected


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
