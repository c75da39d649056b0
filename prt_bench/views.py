"""What verbs see of a task's data: views that count what is read."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from prt_bench.api import Example, View
from prt_bench.data.examples import Examples
from prt_bench.errors import CellError
from prt_bench.files import digest

__all__ = ["TaskView", "view_of"]


class TaskView:
    """A part of a task's data that counts what is read of it."""

    def __init__(self, role: str, examples: Examples) -> None:
        self.role = role
        self._examples = examples
        self.read: set[int] = set()

    def __len__(self) -> int:
        return len(self._examples)

    def __iter__(self) -> Iterator[Example]:
        for index in range(len(self)):
            self.read.add(index)
            yield self._examples.example(index, labelled=self.role != "unlabelled")

    @property
    def labels(self) -> NDArray[np.int64]:
        if self.role == "unlabelled":
            raise CellError("the view `unlabelled` has no labels")
        if len(self) and (self._examples.labels < 0).all():
            raise CellError("texts have no class labels: read the dialogues of the view's examples")
        self.read.update(range(len(self)))
        return self._examples.labels.copy()

    @property
    def key(self) -> str:
        return digest([self.role, self._examples.sha256])

    def examples(self) -> Examples:
        """The examples, all counted as read: for the tools."""
        self.read.update(range(len(self)))
        return self._examples


def view_of(view: View) -> TaskView:
    """The harness's own view behind the one a plugin holds. Raises CellError for one that a plugin made up."""
    if not isinstance(view, TaskView):
        raise CellError(f"the tools read the views of `data`, not a {type(view).__name__}")
    return view
