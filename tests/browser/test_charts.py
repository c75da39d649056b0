"""Charts in a real browser: still pictures, pictures that answer to the pointer, pictures to take away."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest

from prt_bench.board.pictures import inline_svg, vega_bundle
from prt_bench.board.scatter import Level, Point, Side, chart, looks
from tests.browser import example
from tests.browser.conftest import Visit

if TYPE_CHECKING:
    from playwright.sync_api import Page

NAMES = ["Plain", "<img src=x onerror=alert(1)>", "Far"]


@pytest.fixture(scope="package")
def vega(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bundle") / "vega.js"
    path.write_text(vega_bundle(), encoding="utf-8")
    return path


def figure(identity: str, title: str) -> str:
    points = [
        Point(name, name, 10.0**at, 50.0 + at, (48.0 + at, 53.0 + at), facts={"Score": f"{50 + at} %"})
        for at, name in enumerate(NAMES)
    ]
    cost, score = Side("cost", "format(datum.value, '~s')"), Side("score, %", "format(datum.value, '~g')")
    made = chart(points, [Level("Floor", 50.0)], looks(NAMES), title, ["a subtitle"], cost, score, f"About {title}.")
    spec = json.dumps(made.spec).replace("<", "\\u003c")
    return (
        f'<figure class="chart" id="{identity}"><div class="picture">{inline_svg(made.spec, made.title, made.summary)}'
        f"</div><figcaption>{escape(title)}</figcaption>"
        f'<script type="application/json" class="spec">{spec}</script></figure>'
    )


@pytest.fixture
def charts(tmp_path: Path, vega: Path) -> Path:
    """A page with two charts."""
    shutil.copy(vega, tmp_path)
    body = f'<div class="charts">{figure("chart-1", "Score against cost")}{figure("chart-2", "Another: one")}</div>'
    return example.write(tmp_path, body, ("charts.js",))


def button(page: Page, name: str, figure: str = "#chart-1") -> Any:
    return page.locator(figure).get_by_role("button", name=name)


def go_live(page: Page, figure: str = "#chart-1") -> None:
    button(page, "Interactive", figure).click()
    page.wait_for_selector(f"{figure} .picture.live")


def test_without_scripts_the_pictures_stand_alone(charts: Path, visit: Visit) -> None:
    page = visit(charts, javascript=False)
    assert page.get_by_role("img", name="Score against cost").is_visible()
    assert page.get_by_text("<img src=x onerror=alert(…").first.is_visible()
    assert page.get_by_role("button").count() == 0


def test_a_chart_answers_to_the_pointer_and_goes_back(charts: Path, visit: Visit) -> None:
    page = visit(charts)
    assert page.evaluate("typeof window.vegaEmbed") == "undefined"
    still = page.locator("#chart-1 .picture > svg")
    go_live(page)
    toggle = button(page, "Interactive")
    assert toggle.get_attribute("aria-pressed") == "true"
    assert toggle.evaluate("(made) => made === document.activeElement")
    assert still.is_hidden()
    assert page.locator("#chart-1 .chart-tools [role=status]").inner_text().startswith("Point at a mark")
    page.locator("#chart-1 .live div path[transform]").nth(1).hover()
    tip = page.locator("#vg-tooltip-element")
    tip.wait_for(state="visible")
    assert "51 %" in tip.inner_text()
    assert NAMES[1] in tip.inner_text()
    assert tip.locator("img").count() == 0
    # The names stand beside the moving picture as beside the still one.
    assert page.locator("#chart-1 .live div text", has_text="Floor").is_visible()
    toggle.click()
    assert still.is_visible()
    assert toggle.get_attribute("aria-pressed") == "false"
    assert page.locator("#chart-1 .picture div").count() == 0
    assert page.locator("#chart-2 .picture > svg").is_visible()


def places(page: Page) -> list[str | None]:
    return [mark.get_attribute("transform") for mark in page.locator("#chart-1 .live div path[transform]").all()]


def test_a_live_chart_can_be_moved_zoomed_and_set_back(charts: Path, visit: Visit) -> None:
    page = visit(charts)
    go_live(page)
    before = places(page)
    box = page.locator("#chart-1 .live div svg").bounding_box()
    assert box is not None
    x, y = box["x"] + 200, box["y"] + 200
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + 30, y + 20, steps=3)
    page.mouse.up()
    page.wait_for_timeout(100)
    moved = places(page)
    assert moved != before
    # A wheel alone scrolls the page.
    page.mouse.wheel(0, -50)
    page.wait_for_timeout(100)
    assert places(page) == moved
    page.keyboard.down("Control")
    page.mouse.wheel(0, -200)
    page.keyboard.up("Control")
    page.wait_for_timeout(100)
    assert places(page) != moved
    page.mouse.dblclick(x, y)
    page.wait_for_timeout(100)
    assert places(page) == before


def test_the_keyboard_is_enough(charts: Path, visit: Visit) -> None:
    page = visit(charts)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Interactive"
    page.keyboard.press("Enter")
    page.wait_for_selector("#chart-1 .picture.live")
    page.keyboard.press("Space")
    page.wait_for_selector("#chart-1 .picture:not(.live)")
    page.keyboard.press("Tab")
    with page.expect_download() as download:
        page.keyboard.press("Enter")
    assert download.value.suggested_filename == "page-chart-1.svg"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_picture_is_saved_for_white_paper(charts: Path, visit: Visit, tmp_path: Path, scheme: str) -> None:
    page = visit(charts, color_scheme=scheme)
    with page.expect_download() as download:
        button(page, "SVG", "#chart-2").click()
    assert download.value.suggested_filename == "page-chart-2.svg"
    root = ElementTree.fromstring(download.value.path().read_text(encoding="utf-8"))
    sheet = root[2]
    assert (sheet.tag.rpartition("}")[2], sheet.get("fill")) == ("rect", "#ffffff")
    assert (sheet.get("width"), sheet.get("height")) == (root.get("width"), root.get("height"))
    assert page.get_by_text("Saved as page-chart-2.svg.").is_visible()


def test_a_picture_is_saved_as_pixels_too(charts: Path, visit: Visit) -> None:
    from PIL import Image

    page = visit(charts, color_scheme="dark")
    with page.expect_download() as download:
        button(page, "PNG").click()
    assert download.value.suggested_filename == "page-chart-1.png"
    with Image.open(download.value.path()) as picture:
        width, height = page.locator("#chart-1 svg").evaluate(
            "(svg) => [svg.viewBox.baseVal.width, svg.viewBox.baseVal.height]"
        )
        assert picture.size == (2 * width, 2 * height)
        assert picture.convert("RGB").getpixel((1, 1)) == (255, 255, 255)
        assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 50


def test_a_file_is_named_by_its_page_and_picture(charts: Path, visit: Visit) -> None:
    names = []
    for page_name in ("a__b__digits.html", f"{'m' * 120}__one.html", f"{'n' * 120}__one.html", "Ä b.html"):
        page = visit(charts.rename(charts.with_name(page_name)))
        charts = charts.with_name(page_name)
        with page.expect_download() as download:
            button(page, "SVG").click()
        names.append(download.value.suggested_filename)
    assert names[0] == "a__b__digits-chart-1.svg"
    assert [len(name) for name in names[1:3]] == [120, 120]
    assert all(name.endswith("__one-chart-1.svg") for name in names[1:3])
    assert names[1][:8] != names[2][:8]
    assert re.fullmatch(r"[a-z0-9._-]+", names[3])


def test_without_vega_the_picture_stays_and_the_reason_is_told(charts: Path, visit: Visit) -> None:
    (charts.parent / "vega.js").unlink()
    page = visit(charts)
    button(page, "Interactive").click()
    page.get_by_text("That failed: assets/vega.js cannot be loaded.").wait_for()
    assert page.locator("#chart-1 .picture > svg").is_visible()
    assert button(page, "Interactive").get_attribute("aria-pressed") == "false"
    # The browser says so as well.
    assert visit.troubles
    visit.troubles.clear()


@pytest.mark.parametrize(("scheme", "ink"), [("light", "rgb(34, 34, 34)"), ("dark", "rgb(231, 229, 224)")])
def test_colours_are_those_of_the_page(charts: Path, visit: Visit, scheme: str, ink: str) -> None:
    page = visit(charts, color_scheme=scheme)
    title = page.locator("#chart-1 svg text", has_text="Score against cost")
    assert title.evaluate("(text) => getComputedStyle(text).fill") == ink
    go_live(page)
    live = page.locator("#chart-1 .live div text", has_text="Score against cost")
    assert live.evaluate("(text) => getComputedStyle(text).fill") == ink


@pytest.mark.parametrize("window", [{}, {"viewport": {"width": 360, "height": 740}}, {"color_scheme": "dark"}])
def test_nothing_stands_in_a_readers_way(
    charts: Path, visit: Visit, serious: Callable[[Page], list[str]], window: dict[str, Any]
) -> None:
    page = visit(charts, **window)
    assert serious(page) == []
    go_live(page)
    assert serious(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
