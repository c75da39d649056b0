"""A page written by hand, as the board writes its own, with the names that ill-meaning people would give."""

from __future__ import annotations

import shutil
from html import escape
from pathlib import Path

BOARD_SOURCES = Path(__file__).resolve().parents[2] / "prt_bench" / "board"
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data: blob:; base-uri 'none'; "
    "form-action 'none'"
)
PLOT = '<td class="plot"><svg viewBox="0 0 9 9" width="9" height="9" aria-hidden="true"><text>9</text></svg></td>'


def write(folder: Path, body: str, scripts: tuple[str, ...] = ("tables.js",)) -> Path:
    """A page with the styles of the board and these of its scripts, in a folder of its own."""
    sheets = sorted(BOARD_SOURCES.glob("*/*.css"))
    for source in [*sheets, *(BOARD_SOURCES / "assets" / name for name in scripts)]:
        shutil.copy(source, folder)
    links = "".join(f'<link rel="stylesheet" href="{sheet.name}">' for sheet in sheets)
    loaded = "".join(f'<script src="{name}" defer></script>' for name in scripts)
    page = folder / "page.html"
    page.write_text(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>Results</title>'
        f"{links}{loaded}</head>"
        f"<body><header><h1>Results</h1></header><main>{body}</main></body></html>",
        encoding="utf-8",
    )
    return page


def cell(text: str, value: str | None = None, small: str = "", verdict: str = "") -> str:
    """A cell; `value` is what it is sorted by."""
    told = "" if value is None else f' data-v="{value}"'
    more = f"<small>{escape(small)}</small>" if small else ""
    ending = f'<span class="verdict"><span aria-hidden="true">▲</span> {verdict}</span>' if verdict else ""
    return f"<td{told}>{escape(text)}{more}{ending}</td>"


def row(method: str, label: str, task: str, family: str, *cells: str) -> str:
    """A line of the results."""
    head = f'<th scope="row"><a href="#note-1">{escape(method)}</a><small>{escape(label)}</small></th>'
    return f"<tr>{head}{cell(task)}{cell(family)}{''.join(cells)}</tr>"


def group(title: str) -> str:
    """The heading of a tbody."""
    return f'<tr class="group"><th scope="rowgroup" colspan="8"><span>{title}<small>as told</small></span></th></tr>'


def score(text: str, value: str, interval: str = "") -> str:
    """A score and its interval, with a footnote."""
    note = '<sup><a href="#note-1" aria-label="footnote 1">1</a></sup>'
    return cell(text, value, interval).replace("<small>", f"{note}<small>") if interval else cell(text, value)


HOSTILE_HTML = "<img src=x onerror=alert(1)><script>alert(2)</script>"
HOSTILE_LATEX = r"50 % & $5 #1 a_b {c} ~d ^e \f"
HOSTILE_MARKDOWN = r"a|b *c* `d` [e](javascript:alert(3)) \g"
HOSTILE_BIDI = "\u202e=cmd\u202c\u200b \u0085x"

RESULTS = f"""
<div class="scroll" tabindex="0" role="region" aria-label="All results">
<table id="results" class="sortable" data-filters="task family"><caption><div>All results</div></caption>
<thead><tr><th scope="col" data-column="method">Method</th><th scope="col" data-column="task">Task</th>
<th scope="col" data-column="family">Family</th>
<th scope="col" data-column="score">Score, %<small>95 % interval</small></th>
<th scope="col" colspan="2" data-column="difference">Difference <svg class="axis" viewBox="0 0 9 9" width="9" height="9"
 aria-hidden="true"><text>0</text></svg></th><th scope="col" data-column="ms">ms per image</th>
<th scope="col" data-column="remark">Remark</th></tr></thead>
<tbody>{group("Floors")}
{
    row(
        "Zero-shot",
        "zero-shot",
        "digits",
        "image",
        score("61.2", "0.612"),
        cell("0.0", "0"),
        PLOT,
        cell("3.5", "3.5"),
        cell(""),
    )
}
{
    row(
        "Zero-shot",
        "zero-shot",
        "task 10",
        "text",
        score("48.0", "0.48"),
        cell("−3.2", "-0.032"),
        PLOT,
        cell("", ""),
        cell("=1+1"),
    )
}
</tbody><tbody>{group("Methods")}
{
    row(
        "Reward",
        "prt",
        "digits",
        "image",
        score("87.3", "0.873", "[85.0, 89.1]"),
        cell("+26.1", "0.261", "[+24.0, +28.2]", "above every floor"),
        PLOT,
        cell("12.5", "12.5"),
        cell(HOSTILE_HTML),
    )
}
{
    row(
        "Emulated",
        "eft",
        "digits",
        "image",
        score("87.3", "0.873"),
        cell("+26.1", "0.261", "[+24.0, +28.2]"),
        PLOT,
        cell("9.1", "9.1"),
        cell(HOSTILE_LATEX),
    )
}
{
    row(
        "Reward",
        "prt",
        "task 9",
        "text",
        score("9.5", "0.095"),
        cell("−41.7", "-0.417"),
        PLOT,
        cell("1,250", "1250"),
        cell(HOSTILE_MARKDOWN),
    )
}
{row("Emulated", "eft", "task 10", "text", score("failed", ""), cell("", ""), PLOT, cell("", ""), cell(HOSTILE_BIDI))}
</tbody></table></div>
"""

MODELS = """
<div class="scroll" tabindex="0" role="region" aria-label="Models">
<table id="models" class="sortable"><caption><div>Models</div></caption>
<thead><tr><th scope="col" data-column="model">Model</th><th scope="col" data-column="size">Size</th></tr></thead>
<tbody><tr><th scope="row">small</th><td data-v="5">5</td></tr>
<tr><th scope="row">large</th><td data-v="40">40</td></tr>
</tbody></table></div>
"""

PLAIN = """
<table id="plain"><caption>Untouched</caption><thead><tr><th scope="col">A</th></tr></thead>
<tbody><tr><td>1</td></tr></tbody></table>
"""

BOARD = f'{RESULTS}<ol class="notes"><li id="note-1">A footnote.</li></ol>{MODELS}{PLAIN}'


def large(rows: int, columns: int) -> str:
    """A table of many cells with small print."""
    head = "".join(f'<th scope="col" data-column="c{place}">Number {place}</th>' for place in range(columns - 3))
    lines = []
    for number in range(rows):
        values = ((number * (place + 7)) % 1009 for place in range(columns - 3))
        cells = "".join(cell(str(value), str(value), f"[{value}, {value + 1}]") for value in values)
        task, family = cell(f"task {number % 40}"), cell(("image", "text")[number % 2])
        lines.append(f'<tr><th scope="row">method {number}<small>label</small></th>{task}{family}{cells}</tr>')
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Large"><table id="large" class="sortable"'
        f' data-filters="task family"><caption>Large</caption><thead><tr>'
        f'<th scope="col" data-column="method">Method</th>'
        f'<th scope="col" data-column="task">Task</th><th scope="col" data-column="family">Family</th>'
        f"{head}</tr></thead>"
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )
