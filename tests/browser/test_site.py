"""A whole site in a real browser: every page holds up, agrees with the others, and runs nothing that it was told."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import pytest

from prt_bench.board.releases import freeze
from prt_bench.board.site import build_site
from prt_bench.cards import Cards, MethodFacts, ModelCard, ParameterFacts, TaskFacts
from prt_bench.records import Record
from prt_bench.requests import Suite
from prt_bench.session_records import CostSession
from tests.board.filing import filer, record_of, term
from tests.browser.conftest import Visit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

REAL, EMBEDDED = ("vit-old", "vit-new"), ("nano-old", "nano-new")
ATTACK = "\"'><img src=x onerror=window.hacked=1></script><script>window.hacked=1</script>{{7*7}}"
FORMULA = "=HYPERLINK(1)' + (window.hacked = 1) + '"
ENDLESS = "long" * 2500
LINK = "javascript:window.hacked=1"
OTHER_HARDWARE = "slide-rule-2-threads"
WIDTHS = (360, 768, 1280)

# What is wrong with a page, in words.
FAULTS = """() => {
  const faults = [];
  const wrong = (what, found) => found.forEach((one) => faults.push(`${what}: ${one.outerHTML.slice(0, 90)}`));
  const all = (selector) => Array.from(document.querySelectorAll(selector));
  if (!document.title.endsWith(" · prt-bench") || document.title.length < 15) faults.push(`title ${document.title}`);
  if (all("h1").length !== 1 || !all("h1")[0].innerText.trim()) faults.push(`${all("h1").length} h1`);
  wrong("no caption", all("table").filter((table) => !table.caption?.textContent.trim()));
  wrong("no scope", all("th:not([scope])"));
  wrong("no heading of the row", all("tbody:not(.notice-row) > tr").filter((row) => row.cells[0].tagName !== "TH"));
  wrong("same id twice", all("[id]").filter((one) => document.getElementById(one.id) !== one));
  wrong("scrolls without a name", all(".scroll:not([aria-label]):not([aria-labelledby])"));
  wrong("made of a record's text", all("img, iframe, a:not([href]), a[href*='javascript:'], b, input[onfocus]"));
  if ("hacked" in window) faults.push("ran what a record said");
  return faults;
}"""
# A reader of a phone moves a table to the side, never the page.
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
SEEN = """table => Array.from(table.querySelectorAll("tbody tr")).filter(row => row.checkVisibility()).map(row =>
  Array.from(row.cells).filter(cell => cell.checkVisibility()).map(cell => cell.innerText.split("\\n")[0].trim()))"""


class Folder:
    """A leaderboard folder that is filled by hand."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self._file = filer(out)

    def put(
        self, method: str, right: int, role: str = "method", *, track: str = "paper", upgrade: int = 0,
        cards: bool = True, **facts: Any,
    ) -> Path:  # fmt: skip
        """A record with its predictions, and what only newer records hold."""
        path = self._file(method, right, role, **facts)
        record = json.loads(path.read_text(encoding="utf-8"))
        cell = record["cell"]
        cell |= {"track": track, "id": f"{path.parent.name}-{cell['id']}"}
        if record["cost"]:
            record["cost"]["per_upgrade"] = term(upgrade, upgrade / 1e12, 300 if upgrade else 0)
        if cards:
            pair = cell["pair"]
            aliases = (pair["source"], pair["target"])
            record["cards"] = cards_of(method, cell["title"], role, aliases, facts.get("embedded", True)).model_dump()
        path.write_text(Record.model_validate(record).model_dump_json(), encoding="utf-8")
        return path

    def table(self, best: int = 340, **facts: Any) -> None:
        """Floors, two methods and a reference: the more is asked, the cheaper is the reference."""
        self.put("untuned", 200, "floor", title="Untuned target", stands_for="untuned target", **facts)
        self.put("both", 240, "floor", title="Untuned both", stands_for="untuned ensemble", flops=3 * 10**9, **facts)
        once = term(400 * 10**12, 3.0, 300)
        self.put("plain", 300, title="Plain", stands_for="plain ensemble", once=once, flops=3 * 10**9, **facts)
        more: dict[str, Any] = {"once": once, "flops": 3 * 10**9, "members": ("target", "tuned")}
        self.put("ported", best, title="Ported", **more, **facts)
        self.put("tuned", 344, "reference", title="Tuned target", stands_for="tuned target", upgrade=10**15, **facts)


def cards_of(method: str, title: str, role: Any, aliases: Iterable[str], embedded: bool) -> Cards:
    port: tuple[str, ...] = ("train",) if method == "tuned" else ()
    return Cards(
        methods={
            method: MethodFacts(
                name=method, title=title, role=role, summary=f"About {title}.", source=f"{title}, {LINK}",
                bibtex=f"@misc{{{method},\n  title = {{{title}}},\n  url = {{{LINK}}}\n}}", reads="anything",
                needs={"fit": ("train",), "port": port}, weights=("target",) if port else ("source",),
                parameters={"alpha": ParameterFacts(default=1.0, low=0.0, help=title, strength=True)},
            )
        },
        models={
            alias: ModelCard(alias=alias, family="clip", architecture="ViT", hub=LINK, embedded=embedded)
            for alias in aliases
        },
        task=TaskFacts(title="Things seen", summary="About things.", licence="CC0", citation=LINK, reads="images"),
    )  # fmt: skip


def fill(out: Path) -> None:
    folder = Folder(out)
    for seed in range(3):
        folder.table(pair=REAL, embedded=False, seed=seed)
    folder.table(pair=REAL, embedded=False, task="letters", best=180, hardware=OTHER_HARDWARE)
    folder.table(pair=REAL, embedded=False, track="equal")
    folder.table(pair=EMBEDDED)
    folder.table(pair=EMBEDDED, task="letters", seed=1, hardware=OTHER_HARDWARE, cards=False)
    folder.put("ported", 345, title="Ported", pair=EMBEDDED, hardware=OTHER_HARDWARE, seed=1)
    folder.put("late", 320, title="Timed badly", pair=EMBEDDED, valid=False)
    folder.put("grown", 310, title="Grown", pair=EMBEDDED, finished="2026-01-01T00:00:00+00:00")
    folder.put("grown", 330, title="Grown", pair=EMBEDDED, finished="2026-03-04T00:00:00+00:00")
    folder.put("part", 320, title="In part", pair=EMBEDDED, limit=16)
    folder.put("broken", 0, title="Broken", pair=EMBEDDED, error=f"the loss is not a number {ATTACK}")
    hostile: dict[str, Any] = {"pair": (ATTACK, f"new {LINK}"), "task": ATTACK, "version": ATTACK, "cards": False}
    folder.table(**hostile)
    for title in (ATTACK, FORMULA, ENDLESS, f"b\u202ei\u0007di {LINK}", r"\input{x}%&_#$^~"):
        folder.put(title, 330, title=title, latency=False, absent={"cost.per_query.latency": title}, **hostile)
    session = out / "costs" / "abacus" / "s1.json"
    session.parent.mkdir(parents=True)
    session.write_text(cost_session().model_dump_json(), encoding="utf-8")
    freeze(out, "first", title=f"The first {ATTACK}", day="2026-11-22", authors=["A. Lovelace"], notes=ATTACK)
    (out / "results" / "bad.json").write_text(f'{{"schema_version": 99, "x": "{LINK}"}}', encoding="utf-8")


def cost_session() -> CostSession:
    record = record_of("ported", 0, pair=REAL)
    query = record["cost"]["per_query"]
    entry = {
        "params": {}, "method_source_sha256": "m", "members": {"target": REAL[1]}, "flops": query["flops"],
        "params_count": query["params"], "memory": query["memory"], "latency": query["latency"],
    }  # fmt: skip
    training = {
        "model": REAL[1], "frozen": [ATTACK], "frozen_outputs": "live", "methods": ["tuned"], "batch_size": 8,
        "flops": 10**9, "step_ms": 12.5, "ratio": [1.0, 1.1, 1.2], "peak_memory_bytes": None, "reasons": [ATTACK],
    }  # fmt: skip
    return CostSession.model_validate({
        "id": "s1", "pair": record["cell"]["pair"], "unit": "image", "shape": {"input": ATTACK}, "weights": "random",
        "placement": "one after another", "order": "in turn", "excludes": [LINK], "noise_floor": {"1": 1.01},
        "compositions": {"ported": {**entry, "method": "ported"}, ATTACK: {**entry, "method": ATTACK}},
        "target_flops": 2 * 10**9, "training": [training], "valid": False, "reasons": [ATTACK], "packages": {},
        "environment": record["environment"], "started": "2026-01-01T00:00:00Z", "finished": "2026-01-01T00:01:00Z",
    })  # fmt: skip


@pytest.fixture(scope="module")
def site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With its pictures; `browser` is asked for so that nothing is built where there is none."""
    folder = tmp_path_factory.mktemp("site")
    fill(folder / "board")
    suites = {
        "things": Suite(title="Things", pairs=(":".join(REAL),), tasks=("digits", "letters"), methods=()),
        "small": Suite(title="Small things", pairs=(":".join(EMBEDDED),), tasks=("digits", "letters"), methods=()),
    }
    refused = build_site(folder / "board", folder / "site", suites, folder / "pictures")
    assert [entry.path for entry in refused] == ["results/bad.json"]
    return folder / "site"


TABLE = "pairs/vit-old__vit-new__digits.html"
KINDS = (
    "index.html", "results.html", "ledger.html", "absent.html", "costs.html", "catalogue.html",
    "pairs/vit-old__vit-new.html", TABLE, "tasks/digits.html", "methods/ported.html", "models/vit-new.html",
    "sessions/s1.html", "releases/first.html",
)  # fmt: skip
"""A page of each kind."""
ALL_PARTS = ("index.html", "ledger.html", TABLE)
"""What all the others are made of, too."""


def pages(site: Path) -> list[Path]:
    return sorted(site.rglob("*.html"))


def unfold(page: Page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")


def seen(page: Page, table: str = "results") -> list[list[str]]:
    found: list[list[str]] = page.locator(f"#{table}").evaluate(SEEN)
    return found


def tools(page: Page) -> Locator:
    return page.locator(".table-tools")


def facet(page: Page, name: str) -> Locator:
    return tools(page).get_by_role("combobox", name=name, exact=True)


def copied(page: Page, button: str) -> str:
    tools(page).get_by_role("button", name=button, exact=True).click()
    tools(page).get_by_role("status").filter(has_text="Copied").wait_for()
    text: str = page.evaluate("navigator.clipboard.readText()")
    return text


def file_of(url: str) -> Path:
    return Path(unquote(urlsplit(url).path))


def test_every_page_holds_up_at_every_width(visit: Visit, site: Path) -> None:
    page = visit(site / "index.html", root=site)
    wrong = {}
    for path in pages(site):
        page.goto(path.as_uri())
        faults = page.evaluate(FAULTS)
        unfold(page)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 800})
            over = page.evaluate(OVERFLOW)
            faults += [f"{over} px too wide at {width} px"] if over else []
        if faults:
            wrong[path.relative_to(site).as_posix()] = faults
    assert wrong == {}
    # One of each kind is among them, and so are the pages of what wants to do harm.
    assert {site / name for name in KINDS} <= set(pages(site))
    assert len(pages(site)) > len(KINDS) + 10


def test_nobody_is_shut_out_in_light_or_dark(visit: Visit, site: Path, serious: Callable[[Page], list[str]]) -> None:
    page = visit(site / "index.html", root=site)
    for name in KINDS:
        page.goto((site / name).as_uri())
        unfold(page)
        assert serious(page) == [], name
        if name in ALL_PARTS:
            page.emulate_media(color_scheme="dark")
            assert serious(page) == [], f"{name} in the dark"
            page.emulate_media(color_scheme="light")


def test_without_scripts_all_is_there_and_nothing_is_dead(visit: Visit, site: Path) -> None:
    page = visit(site / "index.html", root=site, javascript=False)
    pictures = dict.fromkeys(KINDS, 0)
    for name in KINDS:
        page.goto((site / name).as_uri())
        assert page.locator("button, input, select, textarea, form, canvas").count() == 0, name
        rows = page.locator("table tr")
        assert rows.count(), name
        folded = page.locator("details:not([open]) table tr")
        assert rows.locator("visible=false").count() == folded.count(), name
        pictures[name] = page.locator(".picture > svg").count()
        assert page.locator(".picture > svg:visible").count() == pictures[name], name
    assert {name for name, count in pictures.items() if count} == {"index.html", TABLE}


def test_results_are_sorted_filtered_and_linked_to(visit: Visit, site: Path) -> None:
    page = visit(site / "results.html", root=site)
    every = seen(page)
    rows = json.loads((site / "results.json").read_text(encoding="utf-8"))
    assert len(every) == sum(not row["superseded"] for row in rows)
    facet(page, "Pair").select_option("vit-old → vit-new")
    facet(page, "Track").select_option("paper")
    tools(page).get_by_role("searchbox", name="Filter").fill("digits")
    page.locator("#results thead").get_by_role("button", name="Score, %", exact=True).click()
    tools(page).locator("summary").click()
    tools(page).get_by_role("checkbox", name="Family").uncheck()
    here = seen(page)
    assert [row[2] for row in here] == ["Tuned target", "Ported", "Plain", "Untuned both", "Untuned target"]
    assert {(row[0], row[1], row[3]) for row in here} == {("digits", "vit-old → vit-new", "paper")}
    link = copied(page, "Copy link")
    assert file_of(link) == site / "results.html"
    other = visit(site / "results.html", f"#{urlsplit(link).fragment}", root=site)
    assert seen(other) == here
    assert tools(other).get_by_role("status").inner_text() == f"5 of {len(every)} rows, by Score, %, descending"
    head, *lines = csv.reader(io.StringIO(copied(other, "Copy CSV")))
    assert (head[:4], "Family" in head) == (["Task", "Pair", "Method", "Track"], False)
    assert "Score, % (95 % interval), more" in head or "Score, %, more" in head
    for line, cells in zip(lines, here, strict=True):
        seen_ones = [text for text, name in zip(line, head, strict=True) if not name.endswith(", more")]
        for text, cell in zip(seen_ones, cells, strict=True):
            assert text.startswith(cell.replace("\u2212", "-")), (line, cells)


def test_a_row_leads_to_its_table_and_on_to_its_record(visit: Visit, site: Path) -> None:
    page = visit(site / "results.html", root=site)
    row = page.locator("#results tr", has_text=re.compile(r"digits\s*vit-old.*Ported\s*paper", re.DOTALL))
    row.get_by_role("link").click()
    address = urlsplit(page.url)
    assert file_of(page.url) == site / TABLE
    section = page.locator("section.table", has=page.locator(f"#{address.fragment}"))
    assert "recipes as published" in section.inner_text().lower()
    row = page.locator(f"#{address.fragment} tr", has=page.get_by_role("link", name="Ported", exact=True))
    row.locator(".records a").first.click()
    record = json.loads(file_of(page.url).read_text(encoding="utf-8"))
    assert (record["cell"]["method"], record["cell"]["track"], record["cell"]["task"]) == ("ported", "paper", "digits")
    assert file_of(page.url).is_relative_to(site / "records")


def test_latex_of_every_table_has_only_signs_that_latex_knows(visit: Visit, site: Path) -> None:
    """Those that the format `latex` of 2018 and later sets without a package; what records say may hold others."""
    known = set("–—…†‘’“”°§")
    harm = "pairs/vit-old__vit-new__letters.html"
    assert "harm" in (site / harm).read_text(encoding="utf-8")
    for kind in (*KINDS, harm):
        page = visit(site / kind, root=site)
        for button in page.get_by_role("button", name="Copy LaTeX").all():
            if button.is_visible():
                button.click()
                page.get_by_role("status").filter(has_text="Copied").first.wait_for()
                text = page.evaluate("navigator.clipboard.readText()")
                assert text.startswith("\\begin{tabular}")
                assert {sign for sign in text if not sign.isascii()} <= known, (kind, text)


def test_what_is_in_no_table_stands_with_its_reason(visit: Visit, site: Path) -> None:
    page = visit(site / "absent.html", root=site)
    for state in ("refused", "failed", "partial", "missing", "superseded", "invalid timing"):
        facet(page, "State").select_option(state)
        rows = seen(page, "absent")
        assert rows, state
        assert all(row[0] == state and row[-1] for row in rows), rows


def test_times_of_two_machines_share_no_column(visit: Visit, site: Path) -> None:
    page = visit(site / "pairs" / "nano-old__nano-new__digits.html", root=site)
    heads = page.locator("#table-1 thead th").filter(has_text="ms per image").all_inner_texts()
    assert [re.findall(r"batch 1,\s+(\S+)", " ".join(head.split())) for head in heads] == [
        ["abacus-1-thread"], [OTHER_HARDWARE],
    ]  # fmt: skip


def test_the_tasks_of_a_pair_are_sorted_by_what_is_gained_on_one(visit: Visit, site: Path) -> None:
    page = visit(site / "pairs" / "vit-old__vit-new.html", root=site)
    page.locator("#glance thead").get_by_role("button", name="letters", exact=True).click()
    assert [row[0] for row in seen(page, "glance")] == ["Tuned target", "Plain", "Ported"]
    page.locator("#glance thead").get_by_role("link", name="letters: recipes as published").click()
    assert file_of(page.url).name == "vit-old__vit-new__letters.html"


def test_the_front_answers_by_what_one_has(visit: Visit, site: Path) -> None:
    page = visit(site / "index.html", root=site)
    headings = [text.split("\n")[0] for text in page.locator("main h2").all_inner_texts()]
    places = [headings.index(text) for text in ("Things", "Embedded models", "Small things")]
    assert places == sorted(places)
    assert page.locator("figure.chart").first.locator(".picture svg").is_visible()
    guide = page.locator(".guide").first
    before = guide.locator(".situation:visible .answer").all_inner_texts()
    guide.get_by_label("Queries in all").fill("1")
    guide.get_by_label("Upgrades").fill("1000")
    few = guide.locator(".situation:visible .answer").all_inner_texts()
    assert len(few) == len(before) == 2
    assert all("1 query" in text for text in few)
    assert few != before
    guide.get_by_role("combobox", name="Labelled data for the target").select_option("no")
    assert guide.locator(".situation:visible h4").all_inner_texts() == [
        "No labelled data for the target, or only its outputs"
    ]
    again = visit(site / "index.html", f"#{urlsplit(page.url).fragment}", root=site)
    assert again.locator(".guide").first.inner_text() == guide.inner_text()


def test_the_ledger_answers_and_can_be_linked_to(visit: Visit, site: Path) -> None:
    page = visit(site / "ledger.html", root=site)
    ledger = page.locator("#ledger")
    sentence, pictures = ledger.get_by_role("status"), ledger.locator(".panels")
    ledger.get_by_label("Pair").select_option("vit-old:vit-new")
    before = sentence.inner_text(), pictures.inner_html()
    assert "Ported is the cheapest" in before[0]
    ledger.get_by_label("Queries in all").fill("1 tn")
    assert sentence.inner_text().startswith("At 3 upgrades and 1 trillion queries Tuned target is the cheapest")
    assert pictures.inner_html() != before[1]
    now = sentence.inner_text(), pictures.inner_html()
    again = visit(site / "ledger.html", f"#{urlsplit(page.url).fragment}", root=site)
    other = again.locator("#ledger")
    assert (other.get_by_role("status").inner_text(), other.locator(".panels").inner_html()) == now
    assert other.get_by_label("Queries in all").input_value() == "1e12"


def test_a_chart_moves_stands_still_and_is_taken_away(visit: Visit, site: Path) -> None:
    page = visit(site / TABLE, root=site)
    figure = page.locator("figure.chart").first
    still = figure.locator(".picture > svg")
    figure.get_by_role("button", name="Interactive").click()
    figure.locator(".picture.live").wait_for()
    assert still.is_hidden()
    figure.get_by_role("button", name="Interactive").click()
    assert still.is_visible()
    taken = {}
    for name in ("SVG", "PNG"):
        with page.expect_download() as waited:
            figure.get_by_role("button", name=name, exact=True).click()
        assert waited.value.suggested_filename.endswith(f".{name.lower()}")
        taken[name] = waited.value.path().read_bytes()
    assert taken["SVG"].startswith(b"<svg")
    assert b"Ported" in taken["SVG"]
    assert taken["PNG"].startswith(b"\x89PNG")


def test_a_site_opens_wherever_it_is_put(visit: Visit, site: Path, tmp_path: Path) -> None:
    moved = tmp_path / "a lab's #1 copy, 100 % é" / "board"
    shutil.copytree(site, moved)
    page = visit(moved / "index.html", root=moved)
    for name in ("All results", "Ledger", "Costs", "Methods, models, tasks", "Not in the tables", "Board"):
        page.get_by_role("navigation").get_by_role("link", name=name, exact=True).click()
        assert page.locator("table").count(), name
    page.goto((moved / TABLE).as_uri())
    figure = page.locator("figure.chart").first
    figure.get_by_role("button", name="Interactive").click()
    figure.locator(".picture.live").wait_for()


def test_on_paper_there_are_no_controls_and_dark_is_light(visit: Visit, site: Path) -> None:
    page = visit(site / "index.html", root=site, color_scheme="dark")
    for name in ("index.html", "results.html", "ledger.html", TABLE):
        page.goto((site / name).as_uri())
        assert page.locator("button:visible").count() or name == "ledger.html"
        page.emulate_media(media="print", color_scheme="dark")
        assert page.locator(":is(button:not(.sort), select, input):visible").count() == 0, name
        ink = page.locator("h1").evaluate("(one) => getComputedStyle(one).color.match(/\\d+/g).map(Number)")
        assert max(ink) < 100, name
        page.emulate_media(media="screen")


def test_nothing_that_a_record_says_is_run(visit: Visit, site: Path) -> None:
    (table,) = [path for path in site.glob("pairs/*__*__*.html") if LINK.split(":")[0] in path.name]
    page = visit(table, root=site)
    assert page.get_by_role("link", name="window.hacked=1></script>").count()
    for figure in page.locator("figure.chart").all():
        figure.get_by_role("button", name="Interactive").click()
        figure.locator(".picture.live").wait_for()
        points = figure.locator(".picture.live .mark-symbol path").all()
        assert points
        for point in points:
            point.hover(force=True)
    page.goto((site / "results.html").as_uri())
    for label in ("Task", "Pair", "Method"):
        for option in facet(page, label).locator("option").all():
            facet(page, label).select_option(option.get_attribute("value"))
        facet(page, label).select_option("")
    cells = [cell for line in csv.reader(io.StringIO(copied(page, "Copy CSV"))) for cell in line]
    assert any(cell.startswith("'=HYPERLINK") for cell in cells)
    assert not any(cell.startswith(("=", "@")) for cell in cells)
    assert page.evaluate("'hacked' in window") is False
