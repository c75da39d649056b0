"""Where warnings of libraries go: to the log, not to the terminal of a user who cannot act on them."""

from __future__ import annotations

import logging

__all__ = ["log_warnings"]


def log_warnings(level: str) -> None:
    """Send what Python code warns of to the log `py.warnings`; it is shown where the log's `level` is info or debug."""
    logging.captureWarnings(True)
    shown = logging.getLevelNamesMapping()[level.upper()] <= logging.INFO
    logging.getLogger("py.warnings").setLevel(logging.WARNING if shown else logging.CRITICAL)
