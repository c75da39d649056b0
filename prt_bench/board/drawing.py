"""Charts in Vega-Lite → files."""

from __future__ import annotations

import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from prt_bench.errors import RequestError

__all__ = ["INK", "dressed", "refuse_unwritable", "write_chart"]

INK = "#222222"
SCALE = 2
KINDS = (".svg", ".png", ".html")


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
            background="white",
        )
        .configure(font="Liberation Sans, Arial, Helvetica, sans-serif")
        .configure_view(stroke=None)
        .configure_title(fontSize=17, subtitleFontSize=12, subtitleColor="#555555", color=INK, subtitlePadding=6)
        .configure_axis(labelFontSize=12, titleFontSize=12, titleFontWeight="normal", gridColor="#e8e8e8")
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
