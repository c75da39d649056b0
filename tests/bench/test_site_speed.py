"""How long the site of a board of years takes to build, and its largest pages to answer: `python -m pytest tests/bench
--benchmark-enable`.

No assertion depends on a clock.
"""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from prt_bench.board.site import build_site
from tests.board.many import write_many
from tests.browser.conftest import BROWSERS

RECORDS, ITEMS = 10_000, 1000
MOST_BYTES = 1_500_000
"""Of a page with all the assets that it may load."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A leaderboard folder, large where something is timed."""
    out = tmp_path_factory.mktemp("many")
    timed = request.config.getoption("benchmark_enable")
    write_many(out, RECORDS if timed else 65, ITEMS if timed else 40)
    return out


def test_a_site_of_ten_thousand_records_is_built(benchmark: BenchmarkFixture, folder: Path, tmp_path: Path) -> None:
    """Charts are drawn anew."""
    site = tmp_path / "site"
    benchmark.pedantic(lambda: build_site(folder, site, {}, tmp_path / "pictures"), rounds=1)
    assets = {path.name: path.stat().st_size for path in (site / "assets").iterdir()}
    pages = {path.relative_to(site).as_posix(): path for path in site.rglob("*.html")}
    sizes = {
        name: path.stat().st_size + sum(size for asset, size in assets.items() if _loads(path, asset))
        for name, path in pages.items()
    }
    benchmark.extra_info |= {"pages": len(pages), "largest": max(sizes.values())}
    assert {name: size for name, size in sizes.items() if size > MOST_BYTES} == {}


def _loads(page: Path, asset: str) -> bool:
    """Whether a page may come to load an asset: charts load Vega when they are asked to."""
    text = page.read_text(encoding="utf-8")
    return asset in text or (asset == "vega.js" and "charts.js" in text)


def test_the_page_of_all_results_answers(benchmark: BenchmarkFixture, folder: Path, tmp_path: Path) -> None:
    """From the click until tables sort and filter, in a browser that is running."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: install prt-bench[test]")
    found = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is on the path")
    build_site(folder, tmp_path / "site", {}, tmp_path / "pictures")
    address = (tmp_path / "site" / "results.html").as_uri()

    def measure() -> int:
        with sync_api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=found)
            page = browser.new_page()
            benchmark.pedantic(lambda: page.goto(address, wait_until="domcontentloaded"), rounds=5)
            buttons: int = page.locator("th button").count()
            browser.close()
            return buttons

    # In a thread of its own: another test's browser may hold this one's event loop.
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(measure).result() > 10
