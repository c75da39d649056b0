"""A cost session as tables for people, and what the paper printed beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from prt_bench.board.reported import (
    Line,
    Table,
    load_reported,
    notes,
    text_decoding_rows,
    vision_inference_rows,
    vision_training_rows,
)
from prt_bench.cli.tables import in_bytes
from prt_bench.records import LatencyRow
from prt_bench.session_records import CostSession, TrainingRow

__all__ = ["print_reported", "print_session", "reported_models"]

NONE = "–"
Sizes = Mapping[str, tuple[int, int]]
"""Alias → FLOPs of a pass, and parameters."""


def print_session(session: CostSession, console: Console) -> None:
    """What a query costs, how long it takes, what training takes, and how far all that can be trusted."""
    say = _sayer(console)
    console.print(_per_query(session))
    console.print(_times(session))
    same = {label: entry.timed_as for label, entry in session.compositions.items() if entry.timed_as}
    for stands_for in dict.fromkeys(same.values()):
        say(f"timed once, as {stands_for}: {', '.join(label for label in same if same[label] == stands_for)}")
    for size, (low, middle, high) in session.noise_interval.items():
        say(f"noise at batch {size}: the target against itself {middle:.3f} [{low:.3f}, {high:.3f}]; less is a tie")
    if session.training:
        console.print(_training(session))
        for row in session.training:
            say(f"{_trained(row)}: for {', '.join(row.methods)}")
        for reason in dict.fromkeys(why for row in session.training for why in row.reasons):
            concerned = [_trained(row) for row in session.training if reason in row.reasons]
            said = "all" if len(concerned) == len(session.training) else "; ".join(concerned)
            say(f"training, {said}: {reason}")
    if "training" in session.absent:
        say(f"training was not timed: {session.absent['training']}")
    say(f"FLOPs: {_agreement(session)}")
    say(f"convention: {session.flop_convention}")
    for text in session.excludes:
        say(f"not in the times: {text}")
    machine = session.environment
    facts = ", ".join(f"{name} {value}" for name, value in machine.details.items())
    say(
        f"measured on {machine.processor}, {machine.device}, {machine.threads} threads, {', '.join(session.dtypes)}"
        f"{', ' + facts if facts else ''}; members run {session.placement}; {session.order}"
    )
    say(f"energy: {session.energy_source}")
    peaks = {path.split(".")[1]: why for path, why in session.absent.items() if path.endswith("memory.peak")}
    for reason in dict.fromkeys(peaks.values()):
        say(f"no peak memory of {', '.join(label for label in peaks if peaks[label] == reason)}: {reason}")
    for text in session.skipped:
        say(text)
    for reason in session.reasons:
        say(f"not valid (!): {reason}")


def _sayer(console: Console) -> Callable[[str], None]:
    return lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True)


def _per_query(session: CostSession) -> RichTable:
    shape = session.shape
    lengths = f" of {shape['prompt_tokens']} + {shape['output_tokens']} tokens" if "prompt_tokens" in shape else ""
    text = bool(lengths)
    table = _table(
        f"{session.pair}, {session.weights} weights: one {session.unit}{lengths}",
        ("GFLOPs", *(("causal",) if text else ()), "× target", "params"),
        ("weights", *(("keys, values",) if text else ()), f"peak at {_peak_batch(session)}"),
    )
    alone = session.target_flops
    for label, entry in session.compositions.items():
        flops, memory = entry.flops, entry.memory
        table.add_row(
            escape(label),
            _giga(flops.total),
            *((_giga(flops.causal),) if text else ()),
            NONE if not alone or flops.total is None else f"{flops.total / alone:.2f}",
            f"{entry.params_count.total / 1e6:.4g} M",
            in_bytes(memory.weights),
            *((NONE if memory.kv is None else in_bytes(memory.kv),) if text else ()),
            NONE if memory.peak is None else in_bytes(memory.peak),
        )
    befores = [entry.memory.before for entry in session.compositions.values() if entry.memory.before]
    if befores:
        table.caption = (
            "peak: of a process of its own while it answers so many at once; before it loads a network it holds "
            f"{in_bytes(min(befores))}"
        )
        table.caption_justify = "left"
    return table


def _peak_batch(session: CostSession) -> str:
    sizes = {str(entry.memory.peak_batch_size) for entry in session.compositions.values() if entry.memory.peak}
    return ", ".join(sorted(sizes)) or NONE


def _agreement(session: CostSession) -> str:
    """How far closed forms and counts are apart."""
    apart = []
    for label, entry in session.compositions.items():
        if entry.flops.uncounted_ops:
            return f"no number for {label}: no formula for {', '.join(entry.flops.uncounted_ops)}"
        if entry.flops.analytic is None or not entry.flops.counted:
            return f"no closed form of {label}"
        apart.append(abs(entry.flops.analytic / entry.flops.counted - 1))
    most = max(apart, default=0.0)
    return "closed form and count are equal" if not most else f"closed form and count differ by {most:.2g} at most"


def _times(session: CostSession) -> RichTable:
    text = any(row.ttft_ms is not None for entry in session.compositions.values() for row in entry.latency)
    energy = any(row.energy_joules is not None for entry in session.compositions.values() for row in entry.latency)
    table = _table(
        "time",
        ("batch", "p50 ms", "p90 ms", "× target", "[95 %]", "by FLOPs", "rounds"),
        (*(("first token ms", "per token ms", "tokens/s") if text else ()), *(("J",) if energy else ())),
    )
    alone = session.target_flops
    for label, entry in session.compositions.items():
        for row in entry.latency:
            ratio = entry.flops.total / alone if entry.flops.total and alone else None
            table.add_row(escape(label), *_time_cells(row, ratio, text, energy))
    return table


def _time_cells(row: LatencyRow, by_flops: float | None, text: bool, energy: bool) -> list[str]:
    low, middle, high = row.ratio_to_target or (0.0, 0.0, 0.0)
    cells = [
        str(row.batch_size),
        _milliseconds(row.p50_ms),
        _milliseconds(row.p90_ms),
        f"{middle:.2f}" + ("" if row.valid else " !"),
        f"{low:.2f}–{high:.2f}",
        NONE if by_flops is None else f"{by_flops:.2f}",
        str(row.rounds or NONE),
    ]
    if text:
        rate = NONE if row.tokens_per_s is None else f"{row.tokens_per_s:.3g}"
        cells += [_milliseconds(row.ttft_ms), _milliseconds(row.tpot_ms), rate]
    if energy:
        cells.append(NONE if row.energy_joules is None else f"{row.energy_joules:.3g}")
    return cells


def _training(session: CostSession) -> RichTable:
    table = _table(
        "training, a step", ("batch", "GFLOPs each", "ms", "× source alone", "[95 %]", "rounds", "memory added"), ()
    )
    for row in session.training:
        low, middle, high = row.ratio or (0.0, 0.0, 0.0)
        table.add_row(
            escape(_trained(row)),
            NONE if row.batch_size is None else str(row.batch_size),
            _giga(row.flops),
            _milliseconds(row.step_ms),
            NONE if row.ratio is None else f"{middle:.2f}",
            NONE if row.ratio is None else f"{low:.2f}–{high:.2f}",
            str(row.rounds or NONE),
            NONE if row.peak_memory_bytes is None else in_bytes(row.peak_memory_bytes),
        )
    return table


def _trained(row: TrainingRow) -> str:
    through = f" through frozen {', '.join(row.frozen)}, {row.frozen_outputs}" if row.frozen else ""
    return f"{row.model}{through}"


def _table(title: str, numbers: Sequence[str], more: Sequence[str]) -> RichTable:
    table = RichTable(title=escape(title), title_justify="left")
    table.add_column("method", overflow="fold", min_width=16)
    for name in (*numbers, *more):
        table.add_column(name, justify="right", overflow="fold")
    return table


def _giga(value: int | None) -> str:
    return NONE if value is None else f"{value / 1e9:.6g}"


def _milliseconds(value: float | None) -> str:
    return NONE if value is None else f"{value:.4g}"


def reported_models(kind: str) -> tuple[str, ...]:
    """Aliases of the models that the printed tables of this kind are about."""
    found: dict[str, None] = {}

    def ask(alias: str) -> float:
        found[alias] = None
        return 1.0

    for _, rows in _printed(kind, ask):
        list(rows)
    return tuple(found)


def print_reported(kind: str, sizes: Sizes, console: Console) -> None:
    """The paper's tables, each value held against what its device can do."""
    say = _sayer(console)
    found = load_reported()
    for table, rows in _printed(kind, lambda alias: sizes[alias][0 if kind == "images" else 1]):
        shown = _table(
            f"printed: {found.source.venue}, table {table.number}, {table.title}",
            ("system", "printed", "× time", "× FLOPs" if kind == "images" else "× bytes", "implies", "memory"),
            (),
        )
        shown.columns[0].header = "models"
        before = ""
        for line in rows:
            models = "" if line.models == before else line.models
            before = line.models
            speed = line.speed + (" ✗" if line.mark else "")
            cells = (models, line.method, line.time, line.time_ratio, line.work_ratio, speed, line.memory or NONE)
            shown.add_row(*map(escape, cells), style="yellow" if line.mark else None)
        console.print(shown)
        for line in rows:
            if line.mark:
                say(f"✗ {line.models}, {line.method}: {line.mark}: {line.arithmetic}")
        for text in notes(table, found):
            say(text)


def _printed(kind: str, amount_of: Callable[[str], float]) -> list[tuple[Table, list[Line]]]:
    found = load_reported()
    if kind == "images":
        return [
            (found.vision_training, vision_training_rows(amount_of, found)),
            (found.vision_inference, vision_inference_rows(amount_of, found)),
        ]
    return [(found.text_decoding, text_decoding_rows(amount_of, found))]
