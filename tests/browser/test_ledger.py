"""The guide and the ledger in a real browser: live they say what the page says without scripts, and answer again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from prt_bench.board.guide import guide
from prt_bench.board.ledger_view import ledger_view
from prt_bench.board.numerals import in_flops, number
from prt_bench.board.table import Table
from prt_bench.board.templating import templates
from prt_bench.cards import MethodFacts
from prt_bench.lifetime import cheapest, counted
from tests.board.by_hand import measured, paid, query, table
from tests.browser import example
from tests.browser.conftest import Visit

if TYPE_CHECKING:
    from playwright.sync_api import Page

HOSTILE = "<img src=x onerror=alert(1)></script>&"
PHONE = {"viewport": {"width": 360, "height": 740}}
# What a table says, without the heading over its columns.
SAID = """table => Array.from(table.querySelectorAll('tr')).slice(1).map(row =>
  Array.from(row.cells).map(cell => cell.textContent))"""


def facts(port: tuple[str, ...], weights: tuple[Any, ...]) -> MethodFacts:
    return MethodFacts(
        name="x", title="X", role="method", summary="", source="", bibtex="", reads="anything",
        needs={"port": port}, weights=weights, parameters={},
    )  # fmt: skip


def board(task: str = "digits", timed: bool = True, ported: int = 178, **more: Any) -> Table:
    """Four methods; with few queries the ported one is cheapest, with many the tuned target."""
    right = {"untuned": 60, "ported": ported, "light": 177, "tuned": 180}
    costs = {
        "untuned": (0, 0, 17_583_000_000), "ported": (512_345_678_901_234, 0, 26_123_456_789),
        "light": (0, 290_000_000_000_000, 17_600_000_000), "tuned": (0, 901_000_000_000_000, 17_583_000_000),
    }  # fmt: skip
    rows = {name: measured(number, number - 1, is_floor=name == "untuned") for name, number in right.items()}
    by_row: dict[str, dict[str, Any]] = {
        name: {
            "once": paid(once, 3.0), "per_upgrade": paid(upgrade, 90.5), "per_query": query(each, latency=timed),
            "facts": facts(("train",), ("target",)) if name in ("tuned", "light") else facts((), ("source",)),
        }
        for name, (once, upgrade, each) in costs.items()
    }  # fmt: skip
    by_row["tuned"]["role"] = "reference"
    by_row["light"]["title"] = HOSTILE
    return table(rows, "untuned", task=task, **more, **by_row)


def ledger_page(folder: Path, boards: Sequence[Table]) -> Path:
    made = templates()
    module = made.get_template("macros.html.j2").make_module({"root": ""})
    page = made.get_template("ledger.html.j2")
    context = page.new_context({"m": module, "root": "", **ledger_view(boards)})
    return example.write(folder, "".join(page.blocks["content"](context)), ("ledger.js",))


def guide_page(folder: Path, groups: Sequence[Sequence[Table]]) -> Path:
    text = "".join(
        f'{{% from "guide.html.j2" import guide %}}<h2>{at}</h2><h3>?</h3>{{{{ guide(made[{at}], "guide-{at}") }}}}'
        for at in range(len(groups))
    )
    body = templates().from_string(text).render(root="", made=[guide(group) for group in groups])
    return example.write(folder, body, ("ledger.js",))


def said(page: Page, selector: str) -> list[list[str]]:
    found: list[list[str]] = page.locator(selector).first.evaluate(SAID)
    return found


def visible(page: Page) -> list[str]:
    return page.locator(".situation:visible").all_inner_texts()


def test_live_the_ledger_says_what_stands_there_without_scripts(tmp_path: Path, visit: Visit) -> None:
    path = ledger_page(tmp_path, [board()])
    page = visit(path)
    assert page.locator("#ledger .answer").inner_text() == page.locator("details.ledger summary small").inner_text()
    assert said(page, "#ledger table") == said(page, "details.ledger table")
    assert page.locator("#ledger svg").count() == 2
    plain = visit(path, javascript=False)
    assert plain.locator("#ledger").inner_text() == ""
    assert said(plain, "details.ledger table") == said(page, "#ledger table")
    assert plain.locator("input, select, button").count() == 0


def test_the_ledger_answers_again(tmp_path: Path, visit: Visit) -> None:
    made = board()
    page = visit(ledger_page(tmp_path, [made]))
    view = ledger_view([made])
    ledger = view["parts"][0]["pairs"][0]["tables"][0].ledger
    for upgrades, queries, within in (
        (1, "2e3", 2),
        (12, "30 k", 2),
        (40, "1,234,567", 1),
        (3, "1e6", 0),
        (7, "1e9", 20),
    ):
        page.get_by_label("Upgrades").fill(str(upgrades))
        page.get_by_label("Queries in all").fill(queries)
        page.get_by_label("Points to give up").fill(str(within))
        value = {"2e3": 2e3, "30 k": 3e4, "1,234,567": 1234567.0, "1e6": 1e6, "1e9": 1e9}[queries]
        good = ledger.eligible(within)
        (best,) = cheapest(good, "flops", upgrades, value)
        total = best.costs["flops"].total(upgrades, value)
        told = page.locator("#ledger .answer").inner_text()
        assert best.label in told
        assert f": {in_flops(total.value)}" in told
        assert f"{counted(value, words=True)} queries" in told
        assert len(good) == 1 or f"of the {len(good)} that come within" in told


def test_a_view_of_the_ledger_has_an_address(tmp_path: Path, visit: Visit) -> None:
    boards = [board(), board("letters", pair="a:b", embedded=False), board("letters", pair="a:b", track="equal")]
    path = ledger_page(tmp_path, boards)
    page = visit(path)
    page.get_by_label("Pair").select_option("a:b")
    page.get_by_label("Task").select_option(label="letters, equal")
    page.get_by_label("Unit").select_option("seconds")
    page.get_by_label("Upgrades").fill("9")
    page.get_by_label("Points to give up").fill("")
    told = page.locator("#ledger .answer").inner_text()
    assert "of all 3" in told
    again = visit(path, page.evaluate("location.hash"))
    assert again.locator("#ledger .answer").inner_text() == told
    assert said(again, "#ledger table") == said(page, "#ledger table")
    assert again.get_by_label("Task").evaluate("one => one.selectedOptions[0].text") == "letters, equal"
    assert again.get_by_label("Points to give up").input_value() == ""
    # A link that asks for what is not there shows what is.
    lost = visit(path, "#ledger?pair=x:y&upgrades=-3&queries=<b>&within=900&unit=gold")
    assert lost.locator("#ledger .answer").inner_text().startswith("At 3 upgrades and 1 million queries")


def test_what_cannot_be_read_changes_nothing(tmp_path: Path, visit: Visit) -> None:
    page = visit(ledger_page(tmp_path, [board()]))
    told = page.locator("#ledger .answer").inner_text()
    for wrong in ("", "0", "-1", "many", "1e99", "Infinity"):
        page.get_by_label("Upgrades").fill(wrong)
        assert page.get_by_label("Upgrades").get_attribute("aria-invalid") == "true"
        assert page.locator("#ledger .answer").inner_text() == told
    page.get_by_label("Upgrades").fill("4")
    assert page.get_by_label("Upgrades").get_attribute("aria-invalid") is None
    assert page.locator("#ledger .answer").inner_text().startswith("At 4 upgrades")


def test_a_place_on_the_map_can_be_chosen(tmp_path: Path, visit: Visit) -> None:
    page = visit(ledger_page(tmp_path, [board()]))
    page.locator("#ledger svg.choose").click(position={"x": 70, "y": 300})
    few = float(page.get_by_label("Queries in all").input_value())
    assert few < 1000
    assert page.get_by_label("Upgrades").input_value() == "1"
    page.locator("#ledger svg.choose").click(position={"x": 300, "y": 30})
    assert float(page.get_by_label("Queries in all").input_value()) > 1e9
    assert float(page.get_by_label("Upgrades").input_value()) > 5


def test_times_that_are_not_added_up_are_not_offered(tmp_path: Path, visit: Visit) -> None:
    page = visit(ledger_page(tmp_path, [board(timed=False)]), "#ledger?unit=seconds")
    assert page.get_by_label("Unit").input_value() == "flops"
    assert page.get_by_label("Unit").locator("option").nth(1).is_disabled()
    assert "No time is added up: no valid times of" in page.locator("#ledger").inner_text()


def test_names_in_the_pictures_cover_nothing(tmp_path: Path, visit: Visit) -> None:
    for window in ({}, PHONE):
        # So many queries that the lines run over each other.
        page = visit(ledger_page(tmp_path, [board()]), "#ledger?queries=1e12", **window)
        boxes = [
            box for name in page.locator("#ledger svg").first.locator("text.name").all() if (box := name.bounding_box())
        ]
        assert len(boxes) == 4
        boxes.sort(key=lambda box: box["y"])
        assert all(one["y"] + one["height"] <= other["y"] + 2 for one, other in pairwise(boxes))
        width = page.evaluate("innerWidth")
        assert all(box["x"] + box["width"] <= width for box in boxes)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_live_the_guide_says_what_stands_there_without_scripts(tmp_path: Path, visit: Visit) -> None:
    path = guide_page(tmp_path, [[board(), board("letters", ported=60)], [board(track="equal")]])
    plain, page = visit(path, javascript=False), visit(path)
    assert visible(page) == visible(plain)
    assert len(visible(page)) == 4
    assert visible(page)[1].split("\n\n")[1].startswith("It depends on the table")
    assert said(page, ".situation table") == said(plain, ".situation table")
    assert plain.locator("input, select, button").count() == 0


def test_the_guide_answers_again_and_has_an_address(tmp_path: Path, visit: Visit) -> None:
    path = guide_page(tmp_path, [[board(), board("letters")], [board(track="equal")]])
    page = visit(path)
    form = page.get_by_role("form", name="What I have").first
    form.get_by_label("Labelled data for the target").select_option("no")
    assert [text.split("\n")[0] for text in visible(page)] == [
        "No labelled data for the target, or only its outputs"
    ] * 2
    form.get_by_label("Labelled data for the target").select_option("yes")
    form.get_by_label("Of the target I have").select_option("weights")
    assert [text.split("\n")[0] for text in visible(page)] == ["Labelled data for the target, and its weights"] * 2
    form.get_by_label("Queries in all").fill("10 bn")
    form.get_by_label("Points to give up").fill("1.4")
    leads = page.locator(".situation:not([hidden]) .lead-answer").all_inner_texts()
    assert leads == ["Tuned", "Tuned"]
    assert "1.4 points of the best score, at 3 upgrades and 10 billion queries" in visible(page)[1]
    assert page.get_by_label("Queries in all").nth(1).input_value() == "1e10"
    again = visit(path, page.evaluate("location.hash"))
    assert visible(again) == visible(page)
    form.get_by_label("Queries in all").fill("nothing")
    assert form.get_by_label("Queries in all").get_attribute("aria-invalid") == "true"
    assert page.locator(".situation:not([hidden]) .lead-answer").all_inner_texts() == leads


def test_numbers_are_written_as_python_writes_them(tmp_path: Path, visit: Visit) -> None:
    values = [0.0, 1e-7, 0.00012345, 0.5, 1.125, 1.135, 2.5, 99.95, 999.4, 999.5, 1000.5, 1001.5, 1234567.891, 12345.0]
    values += [17 * 1.37**power for power in range(60)]
    source = (example.BOARD_SOURCES / "assets" / "ledger.js").read_text()
    opened = source.replace("  guides();\n", "  window.written = { number, counted, inFlops };\n  guides();\n")
    folder = example.write(tmp_path, "", ())
    folder.with_name("opened.js").write_text(opened)
    folder.write_text(folder.read_text().replace("</head>", '<script src="opened.js"></script></head>'))
    page = visit(folder)
    found = page.evaluate("all => all.map(v => [written.number(v), written.counted(v), written.inFlops(v)])", values)
    assert found == [[number(value), counted(value), in_flops(value, "")] for value in values]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_serious_barrier(tmp_path: Path, visit: Visit, serious: Callable[[Page], list[str]], scheme: str) -> None:
    assert serious(visit(ledger_page(tmp_path, [board()]), color_scheme=scheme)) == []
    assert serious(visit(guide_page(tmp_path, [[board()]]), color_scheme=scheme)) == []
