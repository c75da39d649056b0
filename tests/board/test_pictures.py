"""Charts as SVG inside a page: safe, small, drawn once."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from prt_bench.board import pictures
from prt_bench.board.drawing import COLOURS, GREY, GRID, INK, MUTED, PAPER
from prt_bench.board.pictures import ATTRIBUTES, SVG, TAGS, Pictures, inline_svg, vega_bundle
from prt_bench.board.scatter import Chart, Level, Point, Side, chart, looks

HOSTILE = [
    "</svg><script>alert(1)</script>", "javascript:alert(1)", "<img src=x onerror=alert(2)>", "\u202egnp.exe\u2066",
    "]]><!-- & &lt; \"'", "a\x00b\x1bc\ud800", "{{ 7 * 7 }} ${x}", "x" * 10_000, "url(http://example.org)",
]  # fmt: skip


def made(names: list[str], title: str = "Title") -> Chart:
    points = [
        Point(name, name, 1.0 + at, 50.0 + at, (49.0, 52.0 + at), facts={"A": name}) for at, name in enumerate(names)
    ]
    levels = [Level(names[0], 50.0, strong=True)]
    side = Side("cost", "datum.label")
    return chart(points, levels, looks(names), title, [title], side, side, f"About {title}")


def drawn(one: Chart) -> ElementTree.Element:
    return ElementTree.fromstring(inline_svg(one.spec, one.title, one.summary))


def tag(element: ElementTree.Element) -> str:
    return element.tag.removeprefix(SVG)


def texts(root: ElementTree.Element) -> list[str]:
    return ["".join(element.itertext()) for element in root.iter(SVG + "text")]


def test_a_picture_has_a_name_and_a_description_and_no_paper() -> None:
    root = drawn(made(["one", "two"]))
    assert root.get("role") == "img"
    assert [(tag(child), child.text) for child in root[:2]] == [("title", "Title"), ("desc", "About Title")]
    assert not list(root.iter(SVG + "rect"))
    assert {"one", "two", "Title", "cost"} <= set(texts(root))
    width, height = root.get("width", ""), root.get("height", "")
    assert root.get("viewBox") == f"0 0 {width} {height}"


def test_names_are_text_whatever_they_hold() -> None:
    one = made(HOSTILE, title="</title><script>alert(3)</script>")
    picture = inline_svg(one.spec, one.title, one.summary)
    root = ElementTree.fromstring(picture)
    assert {tag(element) for element in root.iter()} <= TAGS | {"title", "desc"}
    for element in root.iter():
        assert set(element.attrib) <= ATTRIBUTES | {"role", "font-family"}
    assert "<script" not in picture
    assert not re.search(r"[\x00-\x08\u202a-\u202e\u2066-\u2069]", picture)
    shown = texts(root)
    assert "javascript:alert(1)" in shown
    assert "</svg><script>alert(1)</s…" in shown
    assert root[0].text == "</title><script>alert(3)</script>"
    assert max(map(len, shown)) < 100


def test_what_a_page_must_not_hold_is_left_out() -> None:
    spec = made(["one"]).spec
    layer: dict[str, Any] = {
        "data": {"values": [{"link": "https://example.org"}]},
        "mark": {"type": "rect", "clip": True, "cursor": "pointer", "color": {
            "gradient": "linear", "stops": [{"offset": 0, "color": "#222222"}, {"offset": 1, "color": "#ffffff"}]}},
        "encoding": {"href": {"field": "link"}, "x": {"value": 1}, "y": {"value": 1}},
    }  # fmt: skip
    picture = inline_svg({**spec, "layer": [*spec["layer"], layer]}, "Title", "")
    assert "example.org" not in picture
    assert "style=" not in picture
    assert "linearGradient" not in picture


def test_ids_of_two_pictures_differ() -> None:
    found = []
    for name in ("one", "two"):
        spec = made([name]).spec
        clipped = [{**layer, "mark": {**layer["mark"], "clip": True}} for layer in spec["layer"]]
        root = ElementTree.fromstring(inline_svg({**spec, "layer": clipped}, name, ""))
        ids = {element.get("id") for element in root.iter() if element.get("id")}
        used = {element.get("clip-path") for element in root.iter() if element.get("clip-path")}
        assert used == {f"url(#{one})" for one in ids}
        found.append(ids)
    assert found[0]
    assert not found[0] & found[1]


def test_pictures_are_small_and_in_colours_that_a_page_can_map() -> None:
    picture = inline_svg(made([f"method {n}" for n in range(14)]).spec, "Title", "")
    assert len(picture) <= 25_000
    colours = set(re.findall(r'(?:fill|stroke)="([^"]+)"', picture))
    assert colours <= {*COLOURS, INK, MUTED, GREY, GRID, PAPER, "none"}
    # Numbers of a path, a place or a length; not those of a colour.
    assert not re.search(r"\d\.\d{3}", picture)


def test_a_picture_is_drawn_once_and_anew_when_anything_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def draw(spec: Any, title: str, summary: str) -> str:
        asked.append(title)
        return f"<svg>{title}</svg>"

    monkeypatch.setattr(pictures, "inline_svg", draw)
    kept, one = Pictures(tmp_path), made(["one"])
    other = replace(one, title="Other")
    assert kept.all_svg([one, other, one]) == ["<svg>Title</svg>", "<svg>Other</svg>", "<svg>Title</svg>"]
    assert asked == ["Title", "Other"]
    assert Pictures(tmp_path).svg(one) == "<svg>Title</svg>"
    assert asked == ["Title", "Other"]
    kept.svg(replace(one, summary="said otherwise"))
    kept.svg(made(["two"]))
    assert len(asked) == 4
    monkeypatch.setattr(pictures, "_maker", lambda: ["another version"])
    kept.svg(one)
    assert len(asked) == 5


def test_processes_draw_the_same_in_the_same_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    charts = [made([name], title=f"{name} \ud800 ü") for name in ("one", "two", "three")]
    monkeypatch.setattr(pictures, "GROUP", 1)
    monkeypatch.setattr(pictures.os, "cpu_count", lambda: 2)
    found = Pictures(tmp_path).all_svg(charts)
    assert found == [inline_svg(one.spec, one.title, one.summary) for one in charts]


def test_the_bundle_is_one_classic_script() -> None:
    bundle = vega_bundle()
    assert "window.vegaEmbed" in bundle
    assert not re.search(r"^(import|export)\b|[;}]export\s*\{", bundle, re.MULTILINE)
    assert "import.meta" not in bundle
    assert 500_000 < len(bundle) < 1_200_000
