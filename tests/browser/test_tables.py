"""Tables of the board in a real browser: sorting, filters, columns, links, copies, and nothing that goes wrong."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.browser import example
from tests.browser.conftest import Visit

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

NO_CLIPBOARD = 'Object.defineProperty(navigator, "clipboard", { value: undefined });'
NO_COMMAND = "document.execCommand = () => false;"
# What a reader sees of a table, line by line.
SEEN = """table => Array.from(table.rows).filter(row => row.checkVisibility()).map(row =>
  Array.from(row.cells).filter(cell => cell.checkVisibility()).map(cell => cell.innerText.split("\\n")[0].trim()))"""


def tools(page: Page, name: str = "All results") -> Locator:
    return page.get_by_role("group", name=f"Tools of the table: {name}")


def filter_box(page: Page) -> Locator:
    return tools(page).get_by_role("searchbox", name="Filter")


def status(page: Page, name: str = "All results") -> str:
    return tools(page, name).get_by_role("status").inner_text()


def seen(page: Page, table: str = "results") -> list[list[str]]:
    found: list[list[str]] = page.locator(f"#{table}").evaluate(SEEN)
    return found


def lines(page: Page) -> list[tuple[str, ...]]:
    """Method and task of the lines that are seen, with the headings of groups."""
    return [tuple(row[:2]) for row in seen(page)[1:]]


def values(page: Page, column: int) -> list[str]:
    """A column of the second group."""
    rows = seen(page)
    return [row[column] for row in rows[[row[0][:7] for row in rows].index("Methods") + 1 :]]


def sort(page: Page, name: str) -> Locator:
    """Sort by a column; its header."""
    header = page.locator("#results thead th").filter(has_text=name)
    header.get_by_role("button", name=name, exact=True).click()
    return header


def show_columns(page: Page, *, without: tuple[str, ...]) -> None:
    tools(page).locator("summary").click()
    for name in without:
        tools(page).get_by_role("checkbox", name=name).uncheck()


def copied(page: Page, button: str, table: str = "All results") -> str:
    tools(page, table).get_by_role("button", name=button, exact=True).click()
    tools(page, table).get_by_role("status").filter(has_text="Copied").wait_for()
    text: str = page.evaluate("navigator.clipboard.readText()")
    return text


def settled_hash(page: Page, pattern: str) -> str:
    """The location's hash, as soon as it is like this."""
    page.wait_for_url(re.compile(pattern))
    found: str = page.evaluate("location.hash")
    return found


def test_without_scripts_every_row_is_there_and_no_dead_control(visit: Visit, board: Path) -> None:
    page = visit(board, "#results?q=nothing", javascript=False)
    assert page.locator("#results tbody tr:visible").count() == 8
    assert page.locator("button, input, select, summary").count() == 0


def test_only_tables_that_ask_for_it_are_touched(visit: Visit, board: Path) -> None:
    page = visit(board)
    assert page.locator(".table-tools").count() == 2
    assert page.locator("#plain button, #plain [hidden]").count() == 0


def test_numbers_sort_by_their_value_down_up_and_back(visit: Visit, board: Path) -> None:
    page = visit(board)
    before = lines(page)
    header = sort(page, "ms per image")
    assert header.get_attribute("aria-sort") == "descending"
    assert values(page, 6) == ["1,250", "12.5", "9.1", ""]
    sort(page, "ms per image")
    assert header.get_attribute("aria-sort") == "ascending"
    assert values(page, 6) == ["9.1", "12.5", "1,250", ""]
    assert page.locator("#results [aria-sort]").count() == 1
    sort(page, "ms per image")
    assert header.get_attribute("aria-sort") is None
    assert lines(page) == before


def test_headings_stay_above_their_own_rows(visit: Visit, board: Path) -> None:
    page = visit(board)
    sort(page, "Score, %")
    sort(page, "Score, %")
    assert [line[0].removesuffix("as told") for line in lines(page)] == [
        "Floors", "Zero-shot", "Zero-shot", "Methods", "Reward", "Reward", "Emulated", "Emulated",
    ]  # fmt: skip
    assert values(page, 3) == ["9.5", "87.31", "87.3", "failed"]


def test_equal_rows_keep_the_order_of_the_page_in_both_directions(visit: Visit, board: Path) -> None:
    page = visit(board)
    for _ in range(2):
        sort(page, "Difference")
        tied = [line[0] for line in lines(page) if line[1:] == ("digits",)]
        assert tied == ["Zero-shot", "Reward", "Emulated"]


def test_text_sorts_up_first_and_reads_numbers_in_names(visit: Visit, board: Path) -> None:
    page = visit(board)
    header = sort(page, "Task")
    assert header.get_attribute("aria-sort") == "ascending"
    assert values(page, 1) == ["digits", "digits", "task 9", "task 10"]
    assert status(page) == "6 rows, by Task, ascending"
    sort(page, "Task")
    assert values(page, 1) == ["task 10", "task 9", "digits", "digits"]


def test_every_word_of_a_filter_must_be_in_the_row(visit: Visit, board: Path) -> None:
    page = visit(board)
    filter_box(page).fill("  PRT\tdigits ")
    assert [line[0] for line in lines(page)[1:]] == ["Reward"]
    assert lines(page)[0][0].startswith("Methods")
    assert status(page) == "1 of 6 rows"
    filter_box(page).fill("-3.2")
    assert [line for line in lines(page) if len(line) > 1] == [("Zero-shot", "task 10")]


def test_where_no_row_matches_it_is_said(visit: Visit, board: Path) -> None:
    page = visit(board)
    filter_box(page).fill("no such thing")
    assert lines(page) == [("No row matches.",)]
    assert status(page) == "0 of 6 rows"
    tools(page).get_by_role("button", name="Reset").click()
    assert len(lines(page)) == 8
    assert status(page) == "6 rows"


def test_facets_offer_what_there_is_and_narrow_together(visit: Visit, board: Path) -> None:
    page = visit(board)
    task, family = (tools(page).get_by_role("combobox", name=name, exact=True) for name in ("Task", "Family"))
    assert task.locator("option").all_inner_texts() == ["All", "digits", "task 9", "task 10"]
    family.select_option("text")
    assert status(page) == "3 of 6 rows"
    task.select_option("task 10")
    assert [line for line in lines(page) if len(line) > 1] == [("Zero-shot", "task 10"), ("Emulated", "task 10")]
    task.select_option("digits")
    assert lines(page) == [("No row matches.",)]


def test_columns_go_and_come_back_but_for_the_row_header(visit: Visit, board: Path) -> None:
    page = visit(board)
    before = seen(page)
    show_columns(page, without=("Task", "Difference"))
    assert seen(page)[0] == ["Method", "Family", "Score, %", "ms per image", "Remark"]
    assert {len(row) for row in seen(page)} == {1, 5}
    assert page.locator("#results .group th").first.get_attribute("colspan") == "5"
    assert tools(page).locator("summary").inner_text() == "Columns (2 hidden)"
    assert tools(page).get_by_role("checkbox", name="Method").count() == 0
    for name in ("Task", "Difference"):
        tools(page).get_by_role("checkbox", name=name).check()
    assert seen(page) == before
    assert page.locator("#results .group th").first.get_attribute("colspan") == "8"


def test_a_view_is_in_the_location_and_opens_again(visit: Visit, board: Path) -> None:
    page = visit(board)
    sort(page, "Score, %")
    filter_box(page).fill("e & 5%")
    filter_box(page).fill("reward 1")
    tools(page).get_by_role("combobox", name="Family", exact=True).select_option("text")
    show_columns(page, without=("ms per image", "Remark"))
    hash = settled_hash(page, "remark")
    assert hash == "#results?q=reward%201&sort=score.desc&hide=ms,remark&family=text"
    again = visit(board, hash)
    assert seen(again) == seen(page)
    assert status(again) == status(page) == "1 of 6 rows, by Score, %, descending"
    assert again.locator("#results [aria-sort]").inner_text().startswith("Score")
    assert filter_box(again).input_value() == "reward 1"
    tools(again).get_by_role("button", name="Reset").click()
    assert settled_hash(again, r"html$") == ""


def test_any_text_survives_the_way_through_a_link(visit: Visit, board: Path) -> None:
    page, again = visit(board), visit(board)
    for text in ("50 % & $5 #1", "a|b; c=d?", "[e](javascript: +1"):
        filter_box(page).fill(text)
        again.goto(copied(page, "Copy link"))
        again.wait_for_function("text => document.querySelector('[type=search]').value === text", arg=text)
        assert seen(again) == seen(page)


def test_a_link_holds_the_views_of_all_tables_and_leads_to_its_own(visit: Visit, board: Path) -> None:
    page = visit(board, viewport={"width": 800, "height": 300})
    filter_box(page).fill("reward")
    page.get_by_role("button", name="Size").click()
    assert settled_hash(page, "models") == "#models?sort=size.desc;results?q=reward"
    link = copied(page, "Copy link")
    assert link == board.resolve().as_uri() + "#results?q=reward;models?sort=size.desc"
    again = visit(board, "#models?sort=size.desc;results?q=reward", viewport={"width": 800, "height": 300})
    assert status(again) == "2 of 6 rows"
    assert [row[0] for row in seen(again, "models")] == ["Model", "large", "small"]
    assert tools(again, "Models").evaluate("tools => tools.getBoundingClientRect().top") < 300


def test_a_link_to_a_table_as_it_is_names_the_table_alone(visit: Visit, board: Path) -> None:
    assert copied(visit(board), "Copy link").endswith("page.html#results")


IN_VAIN = {
    "#results?sort=price.desc&hide=method,weight&task=go": "sort=price.desc, hide=method, hide=weight, task=go",
    "#results?sort=score.sideways": "sort=score.sideways",
    "#results?sort=constructor.desc&hide=__proto__": "sort=constructor.desc, hide=__proto__",
    "#results?task=<img src=x onerror=alert(1)>": "task=<img src=x onerror=alert(1)>",
    "#absent?q=1": "a table that is not here: absent",
    "#%E0%A4?q=%E0%A4": "a table that is not here: %E0%A4",
}


def test_what_a_link_asks_for_in_vain_is_ignored_and_told(visit: Visit, board: Path) -> None:
    page = visit(board)
    before = seen(page)
    for hash, told in IN_VAIN.items():
        page.goto(board.as_uri() + hash)
        tools(page).get_by_role("status").filter(has_text=told).wait_for()
        assert seen(page) == before
    page.reload()
    assert told in status(page)


def test_plain_anchors_are_left_alone(visit: Visit, board: Path) -> None:
    page = visit(board, "#note-1")
    assert page.evaluate("location.hash") == "#note-1"
    assert status(page) == "6 rows"
    filter_box(page).fill("reward")
    settled_hash(page, "reward")
    page.locator("#results sup a").first.click()
    assert settled_hash(page, "note-1") == "#note-1"
    assert status(page) == "2 of 6 rows"
    page.go_back()
    assert settled_hash(page, "reward") == "#results?q=reward"
    assert status(page) == "2 of 6 rows"


def test_a_link_within_the_page_changes_the_view_and_back_undoes_it(visit: Visit, board: Path) -> None:
    page = visit(board)
    page.evaluate("location.hash = '#results?task=digits'")
    page.wait_for_function("document.querySelector('[role=status]').textContent.startsWith('3 of 6')")
    page.go_back()
    page.wait_for_function("document.querySelector('[role=status]').textContent === '6 rows'")


def test_csv_is_what_is_seen_and_no_spreadsheet_runs_it(visit: Visit, board: Path) -> None:
    page = visit(board)
    sort(page, "ms per image")
    show_columns(page, without=("Family",))
    assert copied(page, "Copy CSV") == (
        'Group,Method,Task,"Score, % (95 % interval)","Score, % (95 % interval), more",Difference,"Difference, more",'
        "ms per image,Remark\r\n"
        "Floors,Zero-shot zero-shot,digits,61.2,,0.0,,3.5,\r\n"
        "Floors,Zero-shot zero-shot,task 10,48.0,,-3.2,,,'=1+1\r\n"
        'Methods,Reward prt,task 9,9.5,,-41.7,,"1,250",a|b *c* `d` [e](javascript:alert(3)) \\g\r\n'
        'Methods,Reward prt,digits,87.3,"[85.0, 89.1]",+26.1,"[+24.0, +28.2]; ▲ above every floor",12.5,'
        "<img src=x onerror=alert(1)><script>alert(2)</script>\r\n"
        'Methods,Emulated eft,digits,87.3,,+26.1,"[+24.0, +28.2]",9.1,50 % & $5 #1 a_b {c} ~d ^e \\f\r\n'
        "Methods,Emulated eft,task 10,failed,,,,,'=cmd x\r\n"
    )
    assert status(page) == "6 rows, by ms per image, descending. Copied 6 rows as CSV."


CSV_CELLS = {
    "−3.2": "-3.2",
    "+1.5 %": "+1.5 %",
    "−3.2 [−4.0, −2.1]": '"-3.2 [-4.0, -2.1]"',
    "-2+3+cmd|' /C calc'!A0": "'-2+3+cmd|' /C calc'!A0",
    "+cmd": "'+cmd",
    "@SUM(A1)": "'@SUM(A1)",
    "\t=1": "'=1",
    "\u200e=1": "'=1",
    "a;=1": '"a;=1"',
    'say "=1"': '"say ""=1"""',
}


def test_a_cell_is_a_number_or_text_in_csv_never_a_formula(visit: Visit, tmp_path: Path) -> None:
    head = '<thead><tr><th scope="col">Name</th><th scope="col">Text</th></tr></thead>'
    rows = "".join(f'<tr><th scope="row">x</th>{example.cell(text)}</tr>' for text in CSV_CELLS)
    page = visit(
        example.write(
            tmp_path, f'<table class="sortable" id="t"><caption>T</caption>{head}<tbody>{rows}</tbody></table>'
        )
    )
    assert copied(page, "Copy CSV", "T").split("\r\n") == [
        "Name,Text",
        *(f"x,{cell}" for cell in CSV_CELLS.values()),
        "",
    ]


NUMBER_CELLS = {
    "<td data-v='-35.5'>−35.5<small>[−39.3, −31.7]</small><span>▼ below</span></td>": '-35.5,"[-39.3, -31.7]; ▼ below"',
    "<td data-v='-1'>−1.0<small>−2.0 to the target, −3.0 to it</small></td>": '-1.0,"−2.0 to the target, -3.0 to it"',
    "<td data-v='-1'>\n−1.0<sup><a href='#'>1</a></sup>\n</td>": "-1.0,",
    "<td data-v='0'><span>0: the best floor</span></td>": "0,the best floor",
    "<td data-v=''>–<small>=HYPERLINK(1)</small></td>": "–,'=HYPERLINK(1)",
    "<td data-v=''>=HYPERLINK(1)<small>@x</small></td>": "'=HYPERLINK(1),'@x",
    "<td data-v='2'>-2: -2+3+cmd|' /C calc'!A0</td>": "-2,'-2+3+cmd|' /C calc'!A0",
    "<td data-v='2'>−2+3+cmd<small>\t=1</small></td>": "'-2+3+cmd,'=1",
}


def test_numbers_stand_alone_in_csv_and_what_is_said_of_them_beside(visit: Visit, tmp_path: Path) -> None:
    head = '<thead><tr><th scope="col">Name</th><th scope="col">Points</th></tr></thead>'
    rows = "".join(f'<tr><th scope="row">x{n}</th>{cell}</tr>' for n, cell in enumerate(NUMBER_CELLS))
    body = f'<table class="sortable" id="t"><caption>T</caption>{head}<tbody>{rows}</tbody></table>'
    page = visit(example.write(tmp_path, body))
    lines = [f"x{n},{cells}" for n, cells in enumerate(NUMBER_CELLS.values())]
    assert copied(page, "Copy CSV", "T").split("\r\n") == ['Name,Points,"Points, more"', *lines, ""]
    # Without anything to say there, there is no such column.
    tools(page, "T").get_by_role("searchbox", name="Filter").fill("x2")
    assert copied(page, "Copy CSV", "T").split("\r\n") == ["Name,Points", "x2,-1.0", ""]


def test_latex_compiles_what_is_seen(visit: Visit, board: Path) -> None:
    page = visit(board)
    filter_box(page).fill("digits")
    show_columns(page, without=("Task", "Family"))
    assert copied(page, "Copy LaTeX") == (
        "\\begin{tabular}{llrrrl}\n"
        "\\hline\n"
        "Group & Method & Score, \\% (95 \\% interval) & Difference & ms per image & Remark \\\\\n"
        "\\hline\n"
        "Floors & Zero-shot zero-shot & 61.2 & 0.0 & 3.5 &  \\\\\n"
        "Methods & Reward prt & 87.3 [85.0, 89.1] & +26.1 $\\bigtriangleup$ above every floor [+24.0, +28.2] & 12.5 & "
        "$<$img src=x onerror=alert(1)$>$$<$script$>$alert(2)$<$/script$>$ \\\\\n"
        "Methods & Emulated eft & 87.3 & +26.1 [+24.0, +28.2] & 9.1 & 50 \\% \\& \\$5 \\#1 a\\_b \\{c\\} "
        "\\textasciitilde{}d \\textasciicircum{}e \\textbackslash{}f \\\\\n"
        "\\hline\n"
        "\\end{tabular}\n"
    )
    filter_box(page).fill("41.7")
    assert "& $-$41.7 &" in copied(page, "Copy LaTeX")


def test_markdown_shows_what_is_seen_and_makes_no_link(visit: Visit, board: Path) -> None:
    page = visit(board)
    tools(page).get_by_role("combobox", name="Task", exact=True).select_option("task 9")
    show_columns(page, without=("Family", "ms per image"))
    assert copied(page, "Copy Markdown") == (
        "| Group | Method | Task | Score, % (95 % interval) | Difference | Remark |\n"
        "| --- | --- | --- | ---: | ---: | --- |\n"
        "| Methods | Reward prt | task 9 | 9.5 | -41.7 | "
        "a\\|b \\*c\\* \\`d\\` \\[e\\](javascript:alert(3)) \\\\g |\n"
    )


def test_a_table_without_groups_is_copied_as_it_is(visit: Visit, board: Path) -> None:
    page = visit(board)
    tools(page, "Models").get_by_role("button", name="Copy Markdown").click()
    tools(page, "Models").get_by_role("status").filter(has_text="Copied 2 rows").wait_for()
    assert (
        page.evaluate("navigator.clipboard.readText()")
        == "| Model | Size |\n| --- | ---: |\n| small | 5 |\n| large | 40 |\n"
    )


def test_an_old_browser_copies_too(visit: Visit, board: Path) -> None:
    page = visit(board, script=NO_CLIPBOARD)
    tools(page, "Models").get_by_role("button", name="Copy CSV").click()
    tools(page, "Models").get_by_role("status").filter(has_text="Copied").wait_for()
    assert page.locator("textarea").count() == 0
    assert tools(page, "Models").get_by_role("button", name="Copy CSV").evaluate("it => it === document.activeElement")
    filter_box(page).press("Control+v")
    assert filter_box(page).input_value().startswith("Model,Size")


def test_what_cannot_be_copied_is_shown(visit: Visit, board: Path) -> None:
    page = visit(board, script=NO_CLIPBOARD + NO_COMMAND)
    tools(page, "Models").get_by_role("button", name="Copy CSV").click()
    dialog = page.get_by_role("dialog", name="Copy by hand")
    assert dialog.get_by_role("textbox").input_value() == "Model,Size\nsmall,5\nlarge,40\n"
    page.keyboard.press("Escape")
    page.locator("dialog").wait_for(state="detached")
    assert "Not copied" in status(page, "Models")


def test_everything_is_within_reach_of_the_keyboard(visit: Visit, board: Path) -> None:
    page = visit(board)
    reached: list[str] = []

    def tab_to(text: str) -> None:
        for _ in range(30):
            page.keyboard.press("Tab")
            focused = page.evaluate(
                "({ text: document.activeElement.labels?.[0]?.textContent || document.activeElement.textContent,"
                " outline: getComputedStyle(document.activeElement).outlineStyle })"
            )
            reached.append(focused["outline"])
            if focused["text"].startswith(text):
                return
        raise AssertionError(f"{text} cannot be reached")

    tab_to("Filter")
    page.keyboard.type("digits")
    tab_to("Family")
    page.keyboard.press("i")
    tab_to("Copy CSV")
    page.keyboard.press("Enter")
    tools(page).get_by_role("status").filter(has_text="Copied 3 rows").wait_for()
    tab_to("Columns")
    page.keyboard.press("Enter")
    tab_to("Remark")
    page.keyboard.press("Space")
    tab_to("ms per image")
    page.keyboard.press("Space")
    assert values(page, 6) == ["12.5", "9.1"]
    assert seen(page)[0][-1] == "ms per image"
    assert "none" not in reached


@pytest.mark.parametrize(
    "window",
    [{}, {"color_scheme": "dark"}, {"viewport": {"width": 360, "height": 740}}],
    ids=["light", "dark", "phone"],
)
def test_no_serious_finding_of_accessibility(
    visit: Visit, board: Path, serious: Callable[[Page], list[str]], window: dict[str, Any]
) -> None:
    page = visit(board, "#results?sort=score.asc&hide=task", **window)
    tools(page).locator("summary").click()
    assert serious(page) == []
    filter_box(page).fill("no such thing")
    assert serious(page) == []


def test_a_phone_shows_the_tools_within_its_width(visit: Visit, board: Path) -> None:
    page = visit(board, viewport={"width": 360, "height": 740})
    tools(page).locator("summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_paper_shows_the_view_without_the_tools(visit: Visit, board: Path) -> None:
    page = visit(board, "#results?q=digits")
    page.emulate_media(media="print")
    assert not tools(page).is_visible()
    assert len(lines(page)) == 5


def test_paper_shows_all_columns_of_all_results(visit: Visit, tmp_path: Path) -> None:
    names = ["Difference to it", *(f"Time, × target on machine {n}" for n in range(14))]
    head = "".join(f'<th scope="col" data-column="c{n}">{name}</th>' for n, name in enumerate(names))
    cells = example.cell("an-old-model → a-new-model") + "".join(
        example.cell("−35.5", "-35.5", "[−39.3, −31.7]") for _ in names[1:]
    )
    body = (
        '<div class="scroll"><table class="sortable lines" id="wide"><caption>Wide</caption><thead><tr>'
        f'<th scope="col">Task</th>{head}</tr></thead><tbody><tr><th scope="row">digits</th>{cells}</tr></tbody>'
        "</table></div>"
    )
    # As wide as paper that lies across, within its margins.
    page = visit(example.write(tmp_path, body), viewport={"width": 1040, "height": 700})
    box = page.locator(".scroll")
    wider = "(box) => box.scrollWidth - box.clientWidth"
    assert box.evaluate(wider) > 0
    page.emulate_media(media="print")
    assert box.evaluate(wider) <= 0
    assert box.evaluate("(box) => getComputedStyle(box).page") == "wide"


def test_hostile_cells_are_text_everywhere(visit: Visit, board: Path) -> None:
    hostile = example.RESULTS.replace("<td>digits</td>", example.cell(example.HOSTILE_HTML)).replace(
        ">Family</th>", f">{escape(example.HOSTILE_HTML)}</th>"
    )
    page = visit(example.write(board.parent, hostile))
    tools(page).get_by_role("combobox", name="Task", exact=True).select_option(example.HOSTILE_HTML)
    sort(page, "Task")
    assert status(page).startswith("3 of 6 rows")
    settled_hash(page, "img")
    page.reload()
    assert status(page).startswith("3 of 6 rows")
    assert page.locator("main img, main script").count() == 0


def test_a_large_table_shows_its_first_rows_but_copies_and_prints_all(visit: Visit, tmp_path: Path) -> None:
    page = visit(example.write(tmp_path, example.large(400, 5)), "#large?sort=c1.desc")
    rows = page.locator("#large tbody:not(.notice-row) tr:visible")
    assert rows.count() == 300
    assert seen(page, "large")[-1] == ["The first 300 of 400 rows are shown. Show all"]
    assert status(page, "Large").startswith("400 rows")
    tools(page, "Large").get_by_role("button", name="Copy CSV").click()
    tools(page, "Large").get_by_role("status").filter(has_text="Copied 400 rows").wait_for()
    page.get_by_role("button", name="Show all").click()
    assert rows.count() == 400
    assert not page.locator(".notice-row").is_visible()
    page.reload()
    assert rows.count() == 300
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert rows.count() == 400


def test_the_watch_sees_what_goes_wrong(visit: Visit, tmp_path: Path) -> None:
    images = '<img src="http://127.0.0.1:9/a.png" alt=""><img src="../b.png" alt="">'
    body = f'{images}<p style="color: red" onclick="a()">c</p>'
    page = visit(example.write(tmp_path, body))
    page.evaluate("console.warn('careful'); setTimeout(() => { alert('d'); throw new Error('e'); })")
    page.wait_for_timeout(200)
    told = "\n".join(visit.troubles)
    visit.troubles.clear()
    for expected in (
        "policy violated: img-src",
        "b.png",
        "policy violated: style-src-attr",
        "script-src-attr",
        "careful",
        "dialog: d",
        "in the page: e",
    ):
        assert expected in told
