"""A real browser that keeps account of what goes wrong in a page, and a page written by hand."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytest

from tests.browser import example

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# A violation would be told in the console anyway: so it says too what was violated, and where.
TELL_VIOLATIONS = """
addEventListener("securitypolicyviolation", (told) =>
  console.error(`policy violated: ${told.violatedDirective} by ${told.blockedURI} in ${told.sourceFile}`));
"""


class Visit(Protocol):
    """Open a file in a window of its own: `visit(path, "#results?q=prt", javascript=False)`."""

    troubles: list[str]

    def __call__(
        self, path: Path, hash: str = "", *, root: Path | None = None, script: str = "", **window: Any
    ) -> Page:
        """`root` holds all that the page may ask for (its own folder by default); `script` runs before the page's
        own; `window` is what playwright's new_context takes."""


# Not of the session: while it lives no other test in the process can run an event loop.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The system's chromium."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="no playwright: install prt-bench[test]")
    found = next((path for path in map(shutil.which, BROWSERS) if path), None)
    if found is None:
        pytest.skip(f"no browser: none of {', '.join(BROWSERS)} is on the path")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found)
        yield browser
        browser.close()


class Visits:
    """All windows of one test, and what went wrong in any of them."""

    def __init__(self, browser: Browser) -> None:
        self.browser = browser
        self.troubles: list[str] = []

    def __call__(
        self, path: Path, hash: str = "", *, root: Path | None = None, script: str = "", **window: Any
    ) -> Page:
        context = self.browser.new_context(**{"java_script_enabled": window.pop("javascript", True), **window})
        context.set_default_timeout(10_000)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        context.add_init_script(TELL_VIOLATIONS + script)
        page = context.new_page()
        self._watch(page, (root or path.parent).resolve().as_uri() + "/")
        page.goto(path.resolve().as_uri() + hash)
        return page

    def _watch(self, page: Page, folder: str) -> None:
        note = self.troubles.append

        def heard(message: Any) -> None:
            if message.type in {"error", "warning"}:
                note(f"{message.type} in the console: {message.text}")

        def asked(request: Any) -> None:
            if not request.url.startswith((folder, "data:", "blob:")):
                note(f"request outside the folder: {request.url}")

        def opened(dialog: Any) -> None:
            note(f"dialog: {dialog.message}")
            dialog.dismiss()

        page.on("console", heard)
        page.on("request", asked)
        page.on("dialog", opened)
        page.on("pageerror", lambda error: note(f"error in the page: {error}"))
        page.on("requestfailed", lambda request: note(f"not loaded: {request.url}"))
        page.on("crash", lambda page: note("the page crashed"))
        page.on("popup", lambda page: note("a window was opened"))


@pytest.fixture
def visit(browser: Browser) -> Iterator[Visit]:
    """Windows of this test; it fails when anything went wrong in one of them."""
    visits = Visits(browser)
    yield visits
    for context in browser.contexts:
        context.close()
    assert visits.troubles == []


@pytest.fixture
def serious() -> Callable[[Page], list[str]]:
    """Serious and critical findings of axe in a page."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="no axe: install prt-bench[test]").Axe()

    def findings(page: Page) -> list[str]:
        # It would load the page's styles a second time, which the policy forbids.
        options = {"resultTypes": ["violations"], "preload": False}
        return [
            f"{finding['id']}: {node['html']}"
            for finding in axe.run(page, options=options).response["violations"]
            if finding["impact"] in {"serious", "critical"}
            for node in finding["nodes"]
        ]

    return findings


@pytest.fixture
def board(tmp_path: Path) -> Path:
    """A page with two tables that can be sorted and one that can't."""
    return example.write(tmp_path, example.BOARD)
