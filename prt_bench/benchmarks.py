"""lm-eval's tasks, built from a task file and local data: never the network, never its whole index unless asked."""

from __future__ import annotations

import copy
import logging
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from prt_bench.code_execution import run_program
from prt_bench.data.text import Documents, render_row
from prt_bench.errors import MissingError, RequestError, SkipError, did_you_mean
from prt_bench.language_spec import Benchmark, LanguageSpec

__all__ = ["build_tasks", "fetch_nltk", "refuse_unmet", "seeded"]

NLTK_FOLDERS = ("tokenizers", "corpora", "taggers")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """lm-eval's tasks draw from Python's and NumPy's own generators: they start at the seed, and are put back."""
    before, array_before = random.getstate(), np.random.get_state()
    random.seed(seed)
    np.random.seed(seed)
    try:
        yield
    finally:
        random.setstate(before)
        np.random.set_state(array_before)


def refuse_unmet(spec: LanguageSpec, nltk_data: Path) -> None:
    """Raise MissingError where a package or data that scoring needs is not there."""
    _refuse_missing_packages(spec)
    for name in _nltk_data(spec):
        if not _has_nltk(name, nltk_data):
            raise MissingError(
                f"task {spec.name}: its scorer needs NLTK's data package {name}; connect and run `prt-bench fetch "
                f"--task {spec.name}`, or put it at {nltk_data}/tokenizers/{name}"
            )


def _refuse_missing_packages(spec: LanguageSpec) -> None:
    missing = [name for name in spec.benchmark.needs if ":" not in name and find_spec(name) is None]
    if missing:
        names = " ".join(missing)
        raise MissingError(f"task {spec.name}: its scorer needs what is not installed: pip install {names}")


def _nltk_data(spec: LanguageSpec) -> list[str]:
    """Names of the data packages of NLTK that scoring needs."""
    return [need.removeprefix("nltk:") for need in spec.benchmark.needs if need.startswith("nltk:")]


def fetch_nltk(spec: LanguageSpec, nltk_data: Path) -> list[str]:
    """Bring the data packages of NLTK that scoring needs; returns the names of those that came.

    Raises:
        MissingError: a package that scoring needs is not installed.
        RequestError: a data package cannot be had.
    """
    _refuse_missing_packages(spec)
    wanted = _nltk_data(spec)
    if not wanted:
        return []
    import nltk

    fetched = []
    for name in wanted:
        if _has_nltk(name, nltk_data):
            continue
        try:
            nltk.download(name, download_dir=str(nltk_data), quiet=True, raise_on_error=True)
        except (ValueError, OSError) as error:
            reason = " ".join(str(error).split())[:160]
            raise RequestError(
                f"NLTK's data package {name}: cannot be fetched ({reason}); connect and fetch again, or put it at "
                f"{nltk_data}/tokenizers/{name}"
            ) from None
        fetched.append(name)
    return fetched


def build_tasks(spec: LanguageSpec, documents: Documents, allow_code: bool) -> dict[str, Any]:
    """lm-eval's task objects by name, on this data.

    Raises:
        RequestError: lm-eval has no such task, or another version of it.
        SkipError: scoring runs what the model wrote, and that was not allowed.
    """
    benchmark = spec.benchmark
    if benchmark.program is not None and not allow_code:
        raise SkipError(
            f"scoring {spec.name} runs code that the model wrote: pass --allow-code-execution to run it in a process "
            "of its own with limits"
        )
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    with seeded(benchmark.seed):
        tasks = {name: _task(spec, name, documents.splits[name]) for name in documents.chosen}
    if "langdetect" in benchmark.needs:
        from langdetect import DetectorFactory

        DetectorFactory.seed = benchmark.seed
    return tasks


def _task(spec: LanguageSpec, name: str, splits: Mapping[str, Any]) -> Any:
    import datasets

    benchmark = spec.benchmark
    manager = _manager(benchmark.folder, benchmark.definition is not None)
    if benchmark.definition is None and name not in manager.all_tasks:
        place = f" in its folder {benchmark.folder}" if benchmark.folder else ""
        raise RequestError(
            f"task {spec.name}: lm-eval has no task {name!r}{place}{did_you_mean(name, manager.all_tasks)}"
        )
    data = datasets.DatasetDict(splits)
    given = {
        # Copied: lm-eval writes into nested values, and a task is keyed by them.
        **copy.deepcopy(benchmark.definition or {}),
        "task": name,
        "custom_dataset": lambda **_: data,
        "num_fewshot": benchmark.shots,
        **_scoring(benchmark),
    }
    # Only as a member of a group does a task that lm-eval knows take settings from outside.
    asked = given if benchmark.definition is not None else {"group": spec.name, "task": [given]}
    try:
        task = next(iter(manager.load([asked])["tasks"].values()))
    except (AttributeError, KeyError, TypeError, ValueError, jinja2.TemplateError) as error:
        reason = " ".join(str(error).split())[:200]
        raise RequestError(f"task {spec.name}: lm-eval cannot use {name} as it is defined ({reason})") from error
    version = (task.config.metadata or {}).get("version")
    if str(version) != benchmark.version and (
        _number(version) is None or _number(version) != _number(benchmark.version)
    ):
        raise RequestError(
            f"task {spec.name}: lm-eval's {name} is version {version}, the task file was written for "
            f"{benchmark.version}; install that lm-eval, or look at what changed and raise both versions"
        )
    if benchmark.max_new_tokens is not None:
        task.set_config("generation_kwargs", {"max_gen_toks": benchmark.max_new_tokens}, update=True)
    task.set_fewshot_seed(seed=benchmark.seed)
    _process_once(task, spec.test.split)
    return task


def _process_once(task: Any, split: str) -> None:
    """lm-eval processes documents anew at every look, and a task that shuffles options would be scored by others."""
    import datasets

    process = task.config.process_docs
    if process is None:
        return
    caching = datasets.is_caching_enabled()
    # A cached result would be that of another seed.
    datasets.disable_caching()
    try:
        task.dataset[split] = process(task.dataset[split])
    finally:
        if caching:
            datasets.enable_caching()
    task.config.process_docs = None


def _number(version: Any) -> float | None:
    try:
        return float(version)
    except (TypeError, ValueError):
        return None


@cache
def _manager(folder: str | None, own: bool) -> Any:
    from lm_eval.tasks import TaskManager

    if own:
        return TaskManager(include_defaults=False)
    if folder is None:
        return TaskManager()
    path = Path(str(files("lm_eval"))) / "tasks" / folder
    if not path.is_dir():
        raise RequestError(f"lm-eval has no folder of tasks {folder!r}")
    return TaskManager(include_defaults=False, include_path=str(path))


def _scoring(benchmark: Benchmark) -> dict[str, Any]:
    """How answers are scored where the task file says it itself."""
    scorers: dict[str, Callable[[Mapping[str, Any], str], bool]] = {}
    for metric, pattern in benchmark.patterns.items():
        scorers[metric] = _pattern_scorer(pattern)
    if benchmark.program is not None:
        scorers[benchmark.metric] = _program_scorer(benchmark.program)
    if not scorers:
        return {}

    def process_results(doc: Mapping[str, Any], results: Sequence[Any]) -> dict[str, float]:
        # A filter leaves a list of answers where it takes none of them first.
        answer = results[0][0] if isinstance(results[0], list) else results[0]
        return {metric: float(scorer(doc, answer)) for metric, scorer in scorers.items()}

    metrics = [{"metric": metric, "aggregation": "mean", "higher_is_better": True} for metric in scorers]
    return {"process_results": process_results, "metric_list": metrics}


def _pattern_scorer(pattern: str) -> Callable[[Mapping[str, Any], str], bool]:
    def matches(doc: Mapping[str, Any], answer: str) -> bool:
        return re.fullmatch(render_row(pattern, doc, "pattern"), answer.strip(), re.DOTALL) is not None

    return matches


def _program_scorer(program: str) -> Callable[[Mapping[str, Any], str], bool]:
    def runs(doc: Mapping[str, Any], answer: str) -> bool:
        return run_program(render_row(program, {**doc, "response": answer}, "program")).passed

    return runs


def _has_nltk(name: str, nltk_data: Path) -> bool:
    import nltk

    if str(nltk_data) not in nltk.data.path:
        nltk.data.path.insert(0, str(nltk_data))
    for folder in NLTK_FOLDERS:
        try:
            nltk.data.find(f"{folder}/{name}")
        except LookupError:
            continue
        return True
    return False
