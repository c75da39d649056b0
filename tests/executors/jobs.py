"""Work that the tests give to a worker process: in a module of its own, so that a fresh process can import it."""

from __future__ import annotations

import os
import signal
import sys
import time
import warnings
from collections.abc import Callable

from prt_bench.errors import CellError, RequestError

Report = Callable[[str, int, int], None]


class Unsendable:
    """Cannot be pickled."""

    def __reduce__(self) -> str:
        raise TypeError("not to be sent")


class Job:
    """One method for everything that work may do to its worker."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.calls = 0

    def add(self, one: int, other: int) -> int:
        self.calls += 1
        return one + other

    def called(self) -> int:
        return self.calls

    def pid(self) -> int:
        return os.getpid()

    def steps(self, count: int) -> str:
        for done in range(1, count + 1):
            self.report("counting", done, count)
        return "counted"

    def refuse(self) -> None:
        raise RequestError("this cannot be asked")

    def explain(self) -> None:
        raise CellError("cannot be finished, for a reason")

    def stumble(self) -> None:
        raise ZeroDivisionError

    def unsendable(self) -> Unsendable:
        return Unsendable()

    def warn(self) -> str | None:
        warnings.warn("an argument was renamed", FutureWarning, stacklevel=1)
        return os.environ.get("GOMP_SPINCOUNT")

    def variable(self, name: str) -> str | None:
        return os.environ.get(name)

    def kill(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def leave(self, code: int) -> None:
        sys.exit(code)

    def interrupt(self) -> str:
        os.kill(os.getpid(), signal.SIGINT)
        return "went on"

    def sleep(self, seconds: float) -> str:
        time.sleep(seconds)
        return "slept"

    def chatter(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.report("talking", 1, 1)

    def hoard(self, size: int, seconds: float) -> int:
        held = bytearray(b"x" * size)
        time.sleep(seconds)
        return len(held)


def refusing_job(report: Report) -> Job:
    raise RequestError("no such model")
