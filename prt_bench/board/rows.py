"""Tables as flat rows, and as CSV, LaTeX and Markdown text that is safe to open."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

from prt_bench.board.drawing import printable
from prt_bench.board.table import BEYOND, Table
from prt_bench.board.verdicts import GAINS
from prt_bench.comparing import Estimate

__all__ = ["COLUMNS", "csv_text", "flat_rows", "guarded", "latex", "markdown"]

COLUMNS = (
    "source", "target", "task", "version", "data_sha256", "track", "recipe", "embedded", "method", "title", "note",
    "role", "seeds", "n", "metric", "score", "score_low", "score_high", "difference", "difference_low",
    "difference_high", "difference_absent", "flops", "ms", "ratio_to_target", "ratio_low", "ratio_high",
    "latency_valid", "once_flops", "once_seconds", "once_reused", "upgrade_flops", "upgrade_seconds",
    "upgrade_reused", "tuned_on", "strengths", "once_trials", "upgrade_trials", "score_items_low", "score_items_high",
    "score_seeds_low", "score_seeds_high", "difference_items_low", "difference_items_high", "difference_seeds_low",
    "difference_seeds_high", "difference_p", "difference_p_holm", "difference_detectable", "standing", "among_best",
    "to_ensemble", "to_ensemble_low", "to_ensemble_high", "to_target", "to_target_low", "to_target_high",
    "to_reference", "to_reference_low", "to_reference_high", "gain_ensembling", "gain_ensembling_low",
    "gain_ensembling_high", "gain_tuned_source", "gain_tuned_source_low", "gain_tuned_source_high",
    "gain_beyond_ensemble", "gain_beyond_ensemble_low", "gain_beyond_ensemble_high", "gap_closed", "gap_closed_low",
    "gap_closed_high", "gap_closed_absent", "agreement", "agreement_low", "agreement_high", *BEYOND, "expected_best",
    "finished", "hardware", "superseded",
)  # fmt: skip
SHOWN = (
    "source",
    "target",
    "task",
    "track",
    "method",
    "note",
    "n",
    "score",
    "score_low",
    "score_high",
    "difference",
    "difference_low",
    "difference_high",
    "standing",
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
            told = row.verdicts
            found = row.difference
            gains = {} if isinstance(told.gains, str) else told.gains
            gap = (None, None, None) if isinstance(told.gap, str) else told.gap
            values = (
                table.pair.source, table.pair.target, table.task, table.version, table.data_sha256, table.track,
                table.recipe, table.embedded, row.label, row.title, row.note, row.role, len(row.seeds), table.n,
                table.primary, *_estimate(told.score), *_estimate(told.to_floor), _reason(told.to_floor),
                row.per_query.flops.total, latency.p50_ms if latency else None, ratio[1], ratio[0], ratio[2],
                latency.valid if latency else None, row.once.train_flops, row.once.seconds, row.once.reused,
                row.per_upgrade.train_flops, row.per_upgrade.seconds, row.per_upgrade.reused, table.tuned_on,
                row.strengths, row.once.trials, row.per_upgrade.trials, *told.score.items, *_ends(told.score.seeds),
                *_ends(found.items if found else None), *_ends(found.seeds if found else None),
                found.p if found else None, told.p_floor, found.detectable if found else None, told.standing,
                told.among_best, *_estimate(told.to_ensemble), *_estimate(told.to_target),
                *_estimate(told.to_reference), *(end for name in GAINS for end in _estimate(gains.get(name, ""))),
                gap[1], gap[0], gap[2], _reason(told.gap), *_estimate(told.agreement), *row.quality.values(),
                " ".join(f"{best:.6g}" for best in row.curve),
                row.finished, row.hardware, row.superseded,
            )  # fmt: skip
            rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


Numbers = tuple[float | None, ...]


def _estimate(found: Estimate | str) -> Numbers:
    """Value, low and high end."""
    return (None, None, None) if isinstance(found, str) else (found.value, *found.interval)


def _ends(interval: tuple[float, float] | None) -> Numbers:
    return interval or (None, None)


def _reason(found: object) -> str | None:
    return found if isinstance(found, str) else None


def guarded(value: Any) -> Any:
    """Text that a spreadsheet would take for a formula gets a quote before it."""
    return "'" + value if isinstance(value, str) and re.match(r"[=+\-@\t\r]", value) else value


def _written(value: Any) -> Any:
    return printable(guarded(value)) if isinstance(value, str) else value


def csv_text(rows: Sequence[dict[str, Any]]) -> str:
    """CSV of all columns, one line a row."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _written(value) for name, value in row.items()} for row in rows)
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
