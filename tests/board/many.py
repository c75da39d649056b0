"""Folders of many records, made fast: what a board of years looks like."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

ROLES = {"zero-shot": "floor", "both": "floor", "tuned": "reference"}
STANDS_FOR = {
    "zero-shot": "untuned target", "both": "untuned ensemble", "plain": "plain ensemble", "tuned": "tuned target",
}  # fmt: skip
METHODS = (*STANDS_FOR, *(f"method-{number}" for number in range(9)))
CLASSES = 10
TERM = {"train_flops": 7, "seconds": 1.0, "examples": 3}
FLOPS = 2_000_000_000


def write_many(
    out: Path, records: int, items: int = 1000, *, methods: int = len(METHODS), seeds: int = 5, tasks: int = 14
) -> int:
    """Fill `out`/results with at least so many records, whole tables of methods × seeds; how many they are."""
    random = np.random.default_rng(0)
    per_table = methods * seeds
    number = -(-records // per_table)
    for table in range(number):
        pair, task = (f"old-{table // tasks}", f"new-{table // tasks}"), f"task-{table % tasks}"
        labels = np.random.default_rng(table % tasks).integers(0, CLASSES, items)
        for method in METHODS[:methods]:
            folder = out / "results" / "__".join(pair) / task / method
            folder.mkdir(parents=True, exist_ok=True)
            for seed in range(seeds):
                write_one(
                    folder, f"{table:04d}{METHODS.index(method):02d}{seed}", pair, task, method, seed, labels, random
                )
    return number * per_table


def write_one(
    folder: Path, name: str, pair: tuple[str, str], task: str, method: str, seed: int, labels: Any,
    random: np.random.Generator, **facts: Any,
) -> Path:  # fmt: skip
    """One record with its predictions: about half of the answers are right."""
    sure = random.random((len(labels), 2))
    given = np.where(sure[:, 0] < 0.4 + 0.03 * METHODS.index(method), labels, random.integers(0, CLASSES, len(labels)))
    log_probs = np.where(given == labels, -0.1, -3.0) - sure[:, 1].round(6)
    lines = [
        f"{task}/{item},{label},{said},{log_prob:.6g}"
        for item, (label, said, log_prob) in enumerate(
            zip(labels.tolist(), given.tolist(), log_probs.tolist(), strict=True)
        )
    ]
    written = np.array([float(line.rpartition(",")[2]) for line in lines])
    right = given == labels
    counts = {
        str(label): [int(right[labels == label].sum()), int((labels == label).sum())] for label in np.unique(labels)
    }
    recalls = [hits / of for hits, of in counts.values()]
    record = deepcopy(record_of(name, pair, task, method, seed))
    metric = {"ci95": None, "n": len(labels), "split": "test"}
    record["quality"] |= {
        "metrics": {
            "top1": {"value": float(right.mean()), **metric},
            "mean_per_class": {"value": float(np.mean(recalls)), **metric},
        },
        "nll": float(-written.mean()),
        "per_class": counts,
    }
    record |= facts
    path = folder / f"{name}.json"
    path.write_text(json.dumps(record, indent=1), encoding="utf-8")
    path.with_name(f"{name}.predictions.csv").write_text(
        "\n".join(["id,label,prediction,log_prob_label", *lines, ""]), encoding="utf-8"
    )
    return path


def record_of(name: str, pair: tuple[str, str], task: str, method: str, seed: int) -> dict[str, Any]:
    """A record as it is written, without its scores."""
    tuning = {
        "steps": 100, "batch_size": 64, "learning_rate": 0.002, "warmup_steps": 10, "decay": "cosine",
        "weight_decay": 0.01, "clip_norm": 1.0, "precision": "fp32", "checkpointing": False, "learns": "encoder",
    }  # fmt: skip
    latency = {
        "session": "s", "batch_size": 1, "p50_ms": 8.5, "p90_ms": 12.5, "ratio_to_target": [1.5, 1.6, 1.7],
        "rounds": 130, "valid": True,
    }  # fmt: skip
    absent = {
        f"cost.per_query.latency.*.{number}": f"why this number is not there, at length: {number}"
        for number in range(20)
    }
    return {
        "schema_version": 1,
        "cell": {
            "id": name, "pair": {"source": pair[0], "target": pair[1]}, "task": task, "method": method,
            "role": ROLES.get(method, "method"), "title": method.title(), "seed": seed, "params": {"alpha": 1.0},
            "track": "paper", "recipe": dict.fromkeys(pair, tuning), "recipe_name": "paper",
            "stands_for": STANDS_FOR.get(method, ""),
        },
        "status": "ok",
        "error": None,
        "quality": {
            "primary": "top1", "nll_calibrated": None, "ece": None, "predictions": f"{name}.predictions.csv",
            "tuning": [
                {"params": {"alpha": float(trial)}, "value": trial / 20, "view": "validation", "chosen": trial == 9}
                for trial in range(10)
            ],
        },
        "cost": {
            "once": TERM,
            "per_upgrade": TERM,
            "per_query": {
                "unit": "image",
                "shape": {"input": [3, 224, 224], "classes": CLASSES},
                "flops": {
                    "total": FLOPS, "by_member": {"target": FLOPS}, "calls": {"target": 1.0}, "rule": 0,
                    "rule_elementwise": 0, "analytic": FLOPS, "counted": FLOPS,
                },
                "params": {"total": 5, "by_member": {"target": 5}},
                "memory": {"weights": 20},
                "latency": [latency, {**latency, "batch_size": 32}],
            },
        },
        "environment": {
            "hardware": "h", "device": "cpu", "processor": "p", "threads": 1, "memory_bytes": 1, "system": "s",
            "python": "3",
        },
        "provenance": {
            "models": {
                alias: {"revision": None, "sha256": alias, "head_sha256": None, "preprocessing_sha256": None}
                for alias in pair
            },
            "task": {"version": "1", "data_sha256": task, "split_sha256": "s", "template_sha256": "t"},
            "method_source_sha256": "m", "git": None,
            "packages": {f"package-{number}": "1.0" for number in range(9)},
            "request": "prt-bench run", "started": "2026-01-01T00:00:00+00:00",
            "finished": "2026-01-01T00:00:01+00:00",
        },
        "absent": absent,
    }  # fmt: skip
