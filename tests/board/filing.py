"""Records written by hand, the site built of them, and a reader of its pages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from prt_bench.records import Record

__all__ = ["Build", "File", "N", "Reader", "filer", "floors", "record_of", "term", "whole"]

N = 400
File = Callable[..., Path]
Build = Callable[..., str]


def term(flops: int | None = 0, seconds: float = 0.0, examples: int = 0, reused: bool = False) -> dict[str, Any]:
    return {"train_flops": flops, "seconds": seconds, "examples": examples, "reused": reused}


def record_of(
    method: str,
    right: int,
    role: str = "method",
    *,
    title: str = "",
    task: str = "digits",
    version: str = "1",
    pair: tuple[str, str] = ("old", "new"),
    seed: int = 0,
    embedded: bool = True,
    limit: int | None = None,
    members: Sequence[str] = ("target",),
    flops: int | None = 2_000_000_000,
    once: dict[str, Any] | None = None,
    latency: bool = True,
    valid: bool = True,
    absent: dict[str, str] | None = None,
    data: str = "d",
    error: str | None = None,
    stands_for: str = "",
    tuned_on: str = "",
    quality: dict[str, float] | None = None,
    finished: str = "2026-01-02T03:04:05+00:00",
    hardware: str = "abacus-1-thread",
    contamination: str = "",
) -> dict[str, Any]:
    share = right / N
    name = f"{method}-{seed}"
    row = {
        "session": "s1", "batch_size": 1, "p50_ms": 4.5, "p90_ms": None, "ratio_to_target": [1.4, 1.5, 1.6],
        "valid": valid, "reasons": [] if valid else ["the warm-up did not settle"],
    }  # fmt: skip
    beyond = quality or {}
    quality = {
        "primary": "top1",
        "metrics": {"top1": {"value": share, "ci95": [share - 0.03, share + 0.03], "n": N, "split": "test"}},
        "nll": None, "nll_calibrated": None, "ece": None, "predictions": "record.predictions.csv", **beyond,
    }  # fmt: skip
    by_member = dict.fromkeys(members, None if flops is None else flops // len(members))
    cost = {
        "once": once or term(),
        "per_upgrade": term(),
        "per_query": {
            "unit": "image", "shape": {"input": [3, 32, 32], "classes": 10},
            "flops": {
                "total": flops, "by_member": by_member, "calls": dict.fromkeys(members, 1.0), "rule": 0,
                "rule_elementwise": 0, "uncounted_ops": [] if flops is not None else ["aten.mystery"],
            },
            "params": {"total": len(members), "by_member": dict.fromkeys(members, 1)},
            "memory": {"weights": 4},
            "latency": [row] if latency else None,
        },
    }  # fmt: skip
    model = {"revision": None, "sha256": "ab" * 32, "head_sha256": None, "preprocessing_sha256": None}
    return {
        "cell": {
            "id": name, "pair": {"source": pair[0], "target": pair[1]}, "task": task, "method": method, "role": role,
            "title": title or method, "seed": seed, "params": {}, "recipe": {}, "limit": limit,
            "stands_for": stands_for, "tuned_on": tuned_on,
        },
        "status": "failed" if error else "ok",
        "error": {"type": "CellError", "message": error, "where": "fit"} if error else None,
        "quality": None if error else quality,
        "cost": None if error else cost,
        "environment": {
            "hardware": hardware, "device": "cpu", "processor": "abacus", "threads": 1, "memory_bytes": 1,
            "system": "Linux", "python": "3.11",
        },
        "provenance": {
            "models": {alias: {**model, "embedded": embedded} for alias in pair},
            "task": {
                "version": version, "data_sha256": data, "split_sha256": "s", "template_sha256": "t",
                "contamination": contamination,
            },
            "method_source_sha256": "m", "git": None,
            "packages": {"prt-bench": "0.1.0", "torch": "2.15.0"}, "request": "prt-bench run",
            "started": finished, "finished": finished,
        },
        "partial": limit is not None,
        "absent": absent or {},
    }  # fmt: skip


def filer(folder: Path) -> File:
    """Files a record with its predictions in a folder: the first `right` of the N items are answered rightly."""

    def write(method: str, right: int, *args: Any, **facts: Any) -> Path:
        record = record_of(method, right, *args, **facts)
        place = folder / "results" / f"{len(list(folder.rglob('record.json'))):03}"
        place.mkdir(parents=True)
        path = place / "record.json"
        path.write_text(Record.model_validate(record).model_dump_json(), encoding="utf-8")
        lines = [f"test/{item},1,{int(item < right)},-1.0" for item in range(N)]
        text = "\n".join(["id,label,prediction,log_prob_label", *lines]) + "\n"
        path.with_suffix(".predictions.csv").write_text(text, encoding="utf-8")
        return path

    return write


def floors(file: File, **facts: Any) -> None:
    file("zero-shot", 200, "floor", title="Untuned target", **facts)
    file("source-finetune", 280, "floor", title="Tuned source", members=("tuned",), flops=10**9, **facts)


class Reader(HTMLParser):
    """Tags with their attributes, and the text of each table row: in `rows`, or in `more` where it is folded away."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[str] = []
        self.more: list[str] = []
        self.shown = self.rows
        self.text = ""
        self.in_row = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.shown = self.more if tag == "details" else self.shown
        self.in_row = tag == "tr" or self.in_row
        if tag == "tr":
            self.shown.append("")
        self.handle_data(" ")

    def handle_endtag(self, tag: str) -> None:
        self.in_row = self.in_row and tag != "tr"
        self.shown = self.rows if tag == "details" else self.shown

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.in_row:
            self.shown[-1] += data

    def row(self, title: str, more: bool = False) -> str:
        """The one row that starts with this title, its spaces squeezed."""
        rows = self.more if more else self.rows
        (found,) = [text for text in map(" ".join, map(str.split, rows)) if text.startswith(title)]
        return found


def whole(file: File, right: int = 340, **facts: Any) -> None:
    """All that gains and gaps are told from, a method, and a reference."""
    file("zero-shot", 200, "floor", title="Untuned target", stands_for="untuned target", **facts)
    file("untuned", 240, "floor", title="Untuned both", stands_for="untuned ensemble", **facts)
    file("plain", 300, title="Plain", stands_for="plain ensemble", **facts)
    file("mine", right, title="Mine", **facts)
    file("full", 360, "reference", title="Full", stands_for="tuned target", **facts)
