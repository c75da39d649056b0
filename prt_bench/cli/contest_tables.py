"""Two methods side by side, for people on a terminal, and as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from prt_bench.board.contests import Contest, overall
from prt_bench.cli.tables import MARKS, points
from prt_bench.comparing import Across
from prt_bench.lifetime import counted
from prt_bench.records import USUAL_CHOICE

__all__ = ["contest_rows", "print_contests"]

LEGEND = (
    "▲ the first is better, ▼ the second, ≈ not distinguishable: after Holm's correction for the lines of a track. "
    "Queries: how many per upgrade make both cost as many FLOPs; with fewer, the one that pays less at an upgrade is "
    "cheaper."
)


def print_contests(found: Sequence[Contest], console: Console) -> None:
    """A line per pair and task, and a summary over tasks."""
    mine, theirs = found[0].mine.title, found[0].theirs.title
    console.print(f"{mine} − {theirs}, in points", highlight=False, markup=False)
    across = overall(found)
    for pair in dict.fromkeys(str(contest.table.pair) for contest in found):
        shown = RichTable(title=escape(pair), title_justify="left", box=SIMPLE, pad_edge=False)
        shown.add_column("task", overflow="fold")
        shown.add_column("track")
        for name in ("difference", "seeds", "queries"):
            shown.add_column(name, justify="right", no_wrap=True)
        for contest in found:
            if str(contest.table.pair) == pair:
                shown.add_row(*map(escape, _cells(contest)))
        console.print(shown)
        for (where, track, strengths), told in across.items():
            if where == pair:
                console.print(f"{_words(track, strengths)}: {_across(told)}", highlight=False, markup=False)
        console.print()
    console.print(LEGEND, highlight=False)


def _cells(contest: Contest) -> tuple[str, ...]:
    queries = contest.equal_cost
    return (
        "\n  ".join([contest.table.task, *_asides(contest)]),
        _track(contest),
        f"{MARKS[contest.standing]} {points(contest.found)}",
        str(contest.found.n_seeds),
        "–" if queries is None else counted(queries),
    )


def contest_rows(found: Sequence[Contest]) -> list[dict[str, Any]]:
    """A dictionary per line; differences are fractions, mine − theirs."""
    return [
        {
            "source": contest.table.pair.source,
            "target": contest.table.pair.target,
            "task": contest.table.task,
            "version": contest.table.version,
            "track": contest.table.track,
            "strengths": contest.chosen_on,
            "mine": contest.mine.label,
            "theirs": contest.theirs.label,
            "mine_note": contest.mine.note,
            "theirs_note": contest.theirs.note,
            "tuned_on": contest.table.tuned_on,
            "n": contest.found.n_items,
            "seeds": contest.found.n_seeds,
            "difference": contest.found.value,
            "low": contest.found.interval[0],
            "high": contest.found.interval[1],
            "p": contest.found.p,
            "p_holm": contest.adjusted,
            "standing": contest.standing,
            "detectable": contest.found.detectable,
            "equal_cost_queries": contest.equal_cost,
        }
        for contest in found
    ]


def _asides(contest: Contest) -> list[str]:
    """What a reader must know of a line: that it tells of forgetting, and which of several settings was taken."""
    told = [f"after {contest.table.tuned_on}"] if contest.table.tuned_on else []
    rows = [row for row in (contest.mine, contest.theirs) if row.note and row.strengths == "constants"]
    return told + [f"{row.label}: {row.note}" for row in rows]


def _words(track: str, strengths: str) -> str:
    return f"{track} track" + ("" if strengths == USUAL_CHOICE.get(track) else f", chosen on the {strengths}")


def _track(contest: Contest) -> str:
    track, strengths = contest.table.track, contest.chosen_on
    return track + ("" if strengths == USUAL_CHOICE.get(track) else f"\n  on {strengths}")


def _across(found: Across) -> str:
    mean = f"mean {100 * found.mean:+.1f}"
    if found.interval is not None:
        mean += f" [{', '.join(f'{100 * end:+.1f}' for end in found.interval)}]"
    return f"won {found.wins}, even {found.ties}, lost {found.losses}; {mean} ({found.note})"
