"""How pages are written: templates in which everything of a record is escaped."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import prt_bench
from prt_bench.board import addresses
from prt_bench.board.drawing import cut, plain
from prt_bench.board.numerals import number
from prt_bench.records import FLOP_CONVENTION, SCHEMA_VERSION

__all__ = ["POLICY", "templates"]

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data: blob:; base-uri 'none'; "
    "form-action 'none'"
)
LONGEST, LONGEST_ENTRY = 400, 20_000
"""Signs of a text, and of one that is there to be copied or lists many things."""
MENU = (
    ("Board", "index.html"),
    ("All results", "results.html"),
    ("Ledger", "ledger.html"),
    ("Costs", "costs.html"),
    ("Methods, models, tasks", "catalogue.html"),
    ("Not in the tables", "absent.html"),
)


@cache
def templates() -> Environment:
    """Templates of the pages, with what all of them say."""
    # Not select_autoescape: it goes by the file's name and is off for *.html.j2.
    environment = Environment(
        loader=PackageLoader("prt_bench.board"), autoescape=True, undefined=StrictUndefined, finalize=_safe,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"number": number, "entry": _entry}
    environment.globals |= {name: getattr(addresses, name) for name in addresses.__all__ if name.endswith("_page")}
    environment.globals |= {
        "policy": POLICY,
        "version": prt_bench.__version__,
        "menu": MENU,
        "flop_convention": FLOP_CONVENTION,
        "schema_version": SCHEMA_VERSION,
    }
    return environment


def _safe(value: Any) -> Any:
    """What a template prints: no control or bidirectional characters, no endless text. It is escaped after this."""
    return cut(plain(value), LONGEST) if isinstance(value, str) and not isinstance(value, Markup) else value


def _entry(text: str) -> Markup:
    """A text that is there to be copied, line by line."""
    return Markup("\n").join(cut(plain(line), LONGEST_ENTRY) for line in text.splitlines())
