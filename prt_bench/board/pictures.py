"""Charts in Vega-Lite → SVG that stands inside a page; drawn once and kept by content. And Vega's own script."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from prt_bench.board.drawing import FONT, plain
from prt_bench.board.scatter import Chart
from prt_bench.files import digest, write_atomically

__all__ = ["Pictures", "inline_svg", "vega_bundle"]

SVG = "{http://www.w3.org/2000/svg}"
TAGS = {"svg", "g", "path", "line", "rect", "circle", "text", "tspan", "clipPath", "defs"}
ATTRIBUTES = {
    "d", "transform", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "dx", "dy", "width", "height", "viewBox",
    "fill", "fill-opacity", "stroke", "stroke-width", "stroke-opacity", "stroke-dasharray", "stroke-dashoffset",
    "stroke-linecap", "stroke-linejoin", "stroke-miterlimit", "opacity", "font-size", "font-weight", "font-style",
    "text-anchor", "id", "clip-path",
}  # fmt: skip
"""What a picture may hold: no style, no script, no link."""
USUAL = {
    "opacity": "1", "fill-opacity": "1", "stroke-width": "1", "font-weight": "normal", "text-anchor": "start",
    "transform": "translate(0,0)", "stroke-dasharray": "1,0",
}  # fmt: skip
PLACES = {"d", "transform", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy", "r", "dx", "dy"}
NUMBER = re.compile(r"-?\d+\.\d{2,}(?:e-?\d+)?|-?\d+(?:\.\d+)?e-?\d+")
GROUP = 20
"""Charts from which on another process pays."""
SNIPPET = "window.vegaEmbed = vegaEmbed;"
Asked = tuple[Mapping[str, Any], str, str]
"""Vega-Lite, title, description."""


@dataclass(frozen=True)
class Pictures:
    """Charts as inline SVG, kept in a folder by all that they are made from."""

    folder: Path

    def svg(self, chart: Chart) -> str:
        """One chart."""
        return self.all_svg([chart])[0]

    def all_svg(self, charts: Sequence[Chart]) -> list[str]:
        """Many charts; what is not kept yet is drawn by as many processes as there are cores."""
        asked: list[Asked] = [(chart.spec, chart.title, chart.summary) for chart in charts]
        paths = [self._path(one) for one in asked]
        missing = {path: one for path, one in zip(paths, asked, strict=True) if not path.is_file()}
        for path, picture in zip(missing, _drawn(list(missing.values())), strict=True):
            write_atomically(path, picture)
        return [path.read_text(encoding="utf-8") for path in paths]

    def vega(self) -> str:
        """Vega's own script: see `vega_bundle`, which takes seconds."""
        path = self.folder / f"vega-{digest([*_maker(), SNIPPET])[:16]}.js"
        if not path.is_file():
            write_atomically(path, vega_bundle())
        return path.read_text(encoding="utf-8")

    def _path(self, asked: Asked) -> Path:
        key = digest([*asked, _maker()])
        return self.folder / key[:2] / f"{key}.svg"


def inline_svg(spec: Mapping[str, Any], title: str, summary: str) -> str:
    """A chart as SVG to stand inside a page: without styles, scripts and links, in colours that a page can map.

    Ids, where there are any, are those of no other chart.
    """
    # Slow to load, and needed nowhere else.
    import vl_convert

    drawn: str = vl_convert.vegalite_to_svg({**_plain(spec), "background": None})
    root = ElementTree.fromstring(drawn)
    prefix = digest([_plain(spec), title])[:8]
    root[:] = [kept for child in root for kept in _kept(child, prefix)]
    told = {name: root.get(name, "") for name in ("width", "height", "viewBox")}
    root.attrib.clear()
    root.attrib.update(told, role="img", **{"font-family": FONT})
    for place, (tag, text) in enumerate((("title", title), ("desc", summary))):
        element = ElementTree.Element(SVG + tag)
        element.text = plain(text)
        root.insert(place, element)
    ElementTree.register_namespace("", SVG[1:-1])
    return ElementTree.tostring(root, encoding="unicode")


def vega_bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one classic script that sets `window.vegaEmbed`; calls nothing outside."""
    import vl_convert

    # Its names are its own: a classic script would share them with all others.
    return f'(() => {{"use strict";{vl_convert.javascript_bundle(SNIPPET)}\n}})();\n'


@cache
def _maker() -> list[str]:
    """What draws: another version may draw otherwise."""
    return [version("vl-convert-python"), hashlib.sha256(Path(__file__).read_bytes()).hexdigest()]


def _drawn(asked: Sequence[Asked]) -> list[str]:
    many = min(os.cpu_count() or 1, len(asked) // GROUP)
    if many < 2:
        return [inline_svg(*one) for one in asked]
    # Converters of one process wait for each other, so each has a process; the threads only wait for them.
    with ThreadPoolExecutor(many) as pool:
        parts = list(pool.map(_elsewhere, (asked[place::many] for place in range(many))))
    return [parts[place % many][place // many] for place in range(len(asked))]


def _elsewhere(asked: Sequence[Asked]) -> list[str]:
    """The same in a process of its own."""
    # Not from the current folder: it may hold modules of any name.
    places = {"PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-P", "-m", __name__], input=json.dumps(asked), env={**os.environ, **places},
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    found: list[str] = json.loads(done.stdout)
    return found


def _plain(value: Any) -> Any:
    """The same with harmless texts only."""
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return plain(value) if isinstance(value, str) else value


def _kept(element: ElementTree.Element, prefix: str) -> list[ElementTree.Element]:
    """An element as it stands in a page, what it holds in place of it, or nothing."""
    tag = element.tag.removeprefix(SVG)
    inside = [kept for child in element for kept in _kept(child, prefix)]
    told = {name: value for name, value in element.attrib.items() if name in ATTRIBUTES and USUAL.get(name) != value}
    told |= {name: _short(told[name]) for name in PLACES & set(told)}
    if element.get("display") == "none" or (tag == "path" and not {"fill", "stroke"} & set(told)):
        return []
    if tag not in TAGS or (tag == "g" and not told):
        return inside
    if tag == "g" and not inside:
        return []
    if "id" in told:
        told["id"] = f"{prefix}-{told['id']}"
    if "clip-path" in told:
        told["clip-path"] = told["clip-path"].replace("url(#", f"url(#{prefix}-")
    made = ElementTree.Element(element.tag, told)
    made.text = plain(element.text) if element.text else None
    made.extend(inside)
    return [made]


def _short(value: str) -> str:
    """A value with numbers of two digits after the point."""
    return NUMBER.sub(lambda found: f"{round(float(found[0]), 2):g}", value)


if __name__ == "__main__":
    json.dump([inline_svg(*one) for one in json.load(sys.stdin)], sys.stdout)
