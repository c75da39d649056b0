"""Live progress on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from prt_bench.plan import PlannedCell
from prt_bench.records import Record

__all__ = ["Show"]

LONG_SECONDS = 2.0


class Show:
    """Shows a run on stderr: a bar for the work in hand, one for all cells, and a line per finished cell."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = console.is_terminal
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
            transient=True,
            disable=not self._live,
        )
        self._cells: TaskID | None = None
        self._work: TaskID | None = None
        self._number = ""
        self._last = self._said = ""
        self._since = 0.0

    def __enter__(self) -> Show:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def progress(self, title: str, done: int, total: int) -> None:
        """The work in hand."""
        if not self._live:
            self._plain(title)
            return
        if self._work is None:
            self._work = self._bars.add_task(escape(title), total=total)
        self._bars.update(self._work, description=escape(title), completed=done, total=total)

    def _plain(self, title: str) -> None:
        """Without a terminal, a stage is named once, when it has lasted a while."""
        now = time.monotonic()
        if title != self._last:
            self._last, self._since = title, now
        elif now - self._since > LONG_SECONDS and self._said != title:
            self._said = title
            self._console.print(f"  {title}", markup=False, highlight=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        """Something that does not stop the run."""
        self._console.print(f"warning: {text}", style="yellow", markup=False, highlight=False, soft_wrap=True)

    def started(self, planned: PlannedCell, number: int, count: int) -> None:
        """A cell begins."""
        self._number = f"[{number}/{count}]"
        if self._live:
            if self._cells is None:
                self._cells = self._bars.add_task("cells", total=count)
            self._bars.update(self._cells, description=escape(planned.title), completed=number - 1, total=count)

    def finished(self, planned: PlannedCell, record: Record) -> None:
        """A cell has its record."""
        if record.error is not None:
            text, style = f"{record.status}: {record.error.message}", "red" if record.status == "failed" else "yellow"
        else:
            text, style = f"{100 * (record.score or 0):.1f} %", "none"
        line = f"{self._number} {planned.title}  {text}"
        self._console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
        if self._live and self._cells is not None:
            self._bars.advance(self._cells)
