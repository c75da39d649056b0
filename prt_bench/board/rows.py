"""Tables as flat rows, and as CSV, LaTeX and Markdown text that is safe to open."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

from prt_bench.board.table import Table

__all__ = ["COLUMNS", "csv_text", "flat_rows", "guarded", "latex", "markdown"]

COLUMNS = (
    "source", "target", "task", "version", "data_sha256", "track", "recipe", "embedded", "method", "title", "note",
    "role", "seeds", "n", "metric", "score", "score_low", "score_high", "difference", "difference_low",
    "difference_high", "difference_absent", "flops", "ms", "ratio_to_target", "ratio_low", "ratio_high",
    "latency_valid", "once_flops", "once_seconds", "once_reused", "upgrade_flops", "upgrade_seconds",
    "upgrade_reused",
)  # fmt: skip
SHOWN = (
    "source",
    "target",
    "task",
    "method",
    "note",
    "score",
    "difference",
    "difference_low",
    "difference_high",
    "flops",
    "ms",
)


def flat_rows(tables: Iterable[Table]) -> list[dict[str, Any]]:
    """One dictionary per method and table, with COLUMNS as keys; fractions, FLOPs, milliseconds, seconds."""
    rows = []
    for table in tables:
        for row in table.rows:
            latency = row.latency
            ratio = (latency.ratio_to_target if latency else None) or (None, None, None)
            low, middle, high = row.difference or (None, None, None)
            values = (
                table.pair.source, table.pair.target, table.task, table.version, table.data_sha256, table.track,
                table.recipe, table.embedded, row.label, row.title, row.note, row.role, len(row.seeds), table.n,
                table.primary, row.score, *row.score_ci95, middle, low, high, row.difference_absent,
                row.per_query.flops.total, latency.p50_ms if latency else None, ratio[1], ratio[0], ratio[2],
                latency.valid if latency else None, row.once.train_flops, row.once.seconds, row.once.reused,
                row.per_upgrade.train_flops, row.per_upgrade.seconds, row.per_upgrade.reused,
            )  # fmt: skip
            rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def guarded(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula gets a quote before it."""
    return "'" + value if isinstance(value, str) and re.match(r"[=+\-@\t\r]", value) else value


def csv_text(rows: Sequence[dict[str, Any]]) -> str:
    """CSV of all columns."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: guarded(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """A Markdown table of the main columns."""
    lines = ["| " + " | ".join(SHOWN) + " |", "|" + " --- |" * len(SHOWN)]
    for row in rows:
        cells = [re.sub(r"([\\|`*_<>\[\]])", r"\\\1", _text(row[name])) for name in SHOWN]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {
    sign: "\\" + sign for sign in "&%$#_{}"
}


def latex(rows: Sequence[dict[str, Any]]) -> str:
    """A LaTeX tabular of the main columns."""
    lines = [r"\begin{tabular}{" + "l" * 5 + "r" * (len(SHOWN) - 5) + "}"]
    lines.append(" & ".join(_latex(name) for name in SHOWN) + r" \\")
    lines += [" & ".join(_latex(_text(row[name])) for name in SHOWN) + r" \\" for row in rows]
    return "\n".join([*lines, r"\end{tabular}"]) + "\n"


def _latex(text: str) -> str:
    return "".join(LATEX.get(sign, sign) for sign in text)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())
