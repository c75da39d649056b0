"""Make the next things while the last one is used."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["prefetched"]

Item = TypeVar("Item")
Made = TypeVar("Made")
AHEAD = max(2, min(8, os.cpu_count() or 1))


def prefetched(make: Callable[[Item], Made], items: Iterable[Item]) -> Iterator[Made]:
    """`make` of each item, in order, a few at a time in threads of their own."""
    with ThreadPoolExecutor(AHEAD) as pool:
        waiting: deque[Future[Made]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(make, item))
                if len(waiting) > AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            # Whoever stops early, or fails, does not wait for what nobody will use.
            for future in waiting:
                future.cancel()
