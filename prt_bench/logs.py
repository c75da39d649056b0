"""The log: what goes to the terminal, and what only shows when a user asks for more."""

from __future__ import annotations

import logging

__all__ = ["start_log"]


def start_log(level: str) -> None:
    """Write log messages of this level (debug, info, warning or error) and above to stderr.

    What libraries warn of is for those who write code, not for those who run it: it shows at info and debug only.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=number, format="%(levelname)s: %(message)s")
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").setLevel(logging.WARNING if number <= logging.INFO else logging.CRITICAL)
