"""What charts share: colours, shapes, places of labels, axes; and charts in Vega-Lite → files."""

from __future__ import annotations

import html
import io
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prt_bench.errors import RequestError

__all__ = [
    "COLOURS",
    "DASHES",
    "FONT",
    "GREY",
    "GRID",
    "INK",
    "MUTED",
    "PAPER",
    "SHAPES",
    "cut",
    "dressed",
    "plain",
    "powers",
    "prefixed",
    "printable",
    "refuse_unwritable",
    "spread",
    "write_chart",
]

INK, MUTED, GREY, GRID, PAPER = "#222222", "#555555", "#767676", "#e8e8e8", "#ffffff"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b03a8b", "#8c6d00", "#3a9bd9", "#5b3a9e", "#c98500")
"""Told apart with the common colour blindnesses (after Okabe and Ito, darker where they were pale)."""
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right", "triangle-left")
DASHES = ([1, 0], [8, 3], [2, 2], [9, 3, 2, 3], [14, 4], [4, 4], [1, 4], [9, 3, 2, 3, 2, 3])
FONT = "Liberation Sans, Arial, Helvetica, sans-serif"
SCALE = 2
KINDS = (".svg", ".png", ".html")
APART = 16.0
"""Pixels between two labels."""
PREFIXES = ("", "k", "M", "G", "T", "P", "E", "Z", "Y", "R", "Q")


def refuse_unwritable(path: Path | None) -> None:
    """Raise RequestError where a chart that is asked for cannot be written, before any work for it."""
    if path is not None and path.suffix.lower() not in KINDS:
        raise RequestError(f"--chart {path}: a chart ends in {', '.join(KINDS)}")
    if path is not None and not path.absolute().parent.is_dir():
        raise RequestError(f"--chart {path}: there is no such folder")


def dressed(chart: Any, title: str, subtitle: Sequence[str], offset: int, padding: int) -> dict[str, Any]:
    """A chart of altair in Vega-Lite, in the dress that all of ours wear; `offset` and `padding` in pixels."""
    import altair

    made: dict[str, Any] = (
        chart.properties(
            title=altair.Title(title, subtitle=list(subtitle), anchor="start", offset=offset),
            padding=padding,
            background=PAPER,
        )
        .configure(font=FONT)
        .configure_view(stroke=None)
        .configure_title(fontSize=17, subtitleFontSize=12, subtitleColor=MUTED, color=INK, subtitlePadding=6)
        .configure_axis(
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
            gridColor=GRID,
            labelColor=INK,
            titleColor=INK,
            domainColor=GREY,
            tickColor=GREY,
        )
        .to_dict()
    )
    return made


def write_chart(chart: Mapping[str, Any], path: Path, title: str) -> None:
    """Write a chart as SVG, PNG or HTML, by the file's suffix. The page holds the picture and no script.

    Raises:
        RequestError: the file cannot be written.
    """
    # Slow to load, and needed nowhere else.
    import vl_convert

    if path.suffix.lower() == ".png":
        content = _smaller(vl_convert.vegalite_to_png(dict(chart), scale=SCALE))
    else:
        picture: str = vl_convert.vegalite_to_svg(dict(chart))
        content = (_page(picture, title) if path.suffix.lower() == ".html" else picture).encode()
    try:
        path.write_bytes(content)
    except OSError as error:
        raise RequestError(f"--chart {path}: cannot be written ({error.strerror})") from None


def printable(text: str) -> str:
    """Text with U+FFFD for each sign that steers a terminal, cannot be seen or turns reading directions."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def plain(text: str) -> str:
    """Text in one line, without control and bidirectional characters."""
    shown = (
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(sign)[0] == "C" else sign
        for sign in re.sub(r"\s+", " ", text)
    )
    return "".join(shown)


def cut(text: str, longest: int) -> str:
    """Text of at most so many signs."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def prefixed(value: float) -> str:
    """A number with the prefix of its unit."""
    place = min(max(math.floor(math.log10(value) / 3 + 1e-9), 0), len(PREFIXES) - 1)
    return f"{value / 1000**place:.3g} {PREFIXES[place]}".strip()


def powers(low: float, high: float) -> list[float]:
    """Ticks of a log axis: powers of ten, and between them where there are few."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    digits = (1, 2, 5) if last - first <= 3 and math.log10(high / low) < 2.5 else (1,)
    values = [digit * 10.0**power for power in range(first, last + 1) for digit in digits]
    values = [value for value in values if low * 0.999 <= value <= high * 1.001]
    return values[:: 3 if len(values) > 9 else 1]


def spread(
    pixels: Mapping[str, float], apart: float = APART, within: tuple[float, float] = (-math.inf, math.inf)
) -> dict[str, float]:
    """Places of labels: in order, so far apart that none covers another, and else as near to their lines as can be.

    Isotonic regression by pooling neighbours, of the places less the room that each needs; cut at the bounds, which
    is the best within them. Where they hold too little room, the last labels stand below.
    """
    order = sorted(pixels, key=lambda label: pixels[label])
    pools: list[tuple[float, int]] = []
    for place, label in enumerate(order):
        mean, size = pixels[label] - place * apart, 1
        while pools and pools[-1][0] > mean:
            before, count = pools.pop()
            mean, size = (before * count + mean * size) / (count + size), count + size
        pools.append((mean, size))
    low, high = within[0], max(within[0], within[1] - (len(order) - 1) * apart)
    means = [min(max(mean, low), high) for mean, size in pools for _ in range(size)]
    return {label: mean + place * apart for place, (label, mean) in enumerate(zip(order, means, strict=True))}


def _smaller(picture: bytes) -> bytes:
    """The same pixels, packed better."""
    from PIL import Image

    packed = io.BytesIO()
    Image.open(io.BytesIO(picture)).convert("RGB").save(packed, "PNG", optimize=True)
    return packed.getvalue()


def _page(picture: str, title: str) -> str:
    told = html.escape(title)
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{told}</title>\n<body style="margin:0">'
        f'<figure role="img" aria-label="{told}" style="margin:0">{picture}</figure></body></html>\n'
    )
