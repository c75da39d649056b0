"""What there is to do: a request becomes cells, each with the digest of everything that can change its value."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from prt_bench.api import VIEWS, Data, Model, Places
from prt_bench.data.folder import Progress
from prt_bench.errors import RequestError, did_you_mean
from prt_bench.files import digest
from prt_bench.models import model_for, parse_pair
from prt_bench.recipes import recipe_for
from prt_bench.records import Cell, PairNames, Strict, read_record
from prt_bench.registry import MethodRequest, Registry
from prt_bench.store import Store, writable
from prt_bench.task_spec import Recipe
from prt_bench.tasks import Task, TaskSource, load_own, load_task
from prt_bench.tools import Planned, PlanTools, TaskView, training_source
from prt_bench.yaml_files import load_yaml

__all__ = ["Plan", "PlannedCell", "RunRequest", "cell_path", "make_plan", "verb_data"]


class RunRequest(Strict):
    """What a user asks for, as the command line has it."""

    pairs: tuple[str, ...] = ()
    suite: str | None = None
    tasks: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    data: tuple[Path, ...] = ()
    track: Literal["paper"] = "paper"
    seeds: int | None = None
    limit: int | None = None
    shard: tuple[int, int] | None = None
    out: Path = Path("leaderboard")
    store: Path
    offline: bool = False
    plugins: tuple[Path, ...] = ()
    data_dir: Path | None = None
    weights_dir: Path | None = None
    device: str = "cpu"
    weights: Literal["real", "random"] = "real"
    """Random weights are for cost sessions: architectures alone, no download."""
    words: str = ""
    """The command as it was given, for the record."""

    @property
    def places(self) -> Places:
        return Places(self.weights_dir, self.store / "weights")


class Suite(Strict):
    """A named list of what to run; an empty list leaves that choice to the request."""

    title: str
    pairs: tuple[str, ...] = ()
    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: int = 1


class Suites(Strict):
    """All suites, and the one that a pair of each kind runs when no task is named."""

    suites: dict[str, Suite]
    default: dict[str, str]


@dataclass(frozen=True)
class PlannedCell:
    """One cell with what is needed to do it."""

    cell: Cell
    task: Task
    method: MethodRequest
    source: Model
    target: Model
    recipes: dict[str, Recipe]
    path: Path

    @property
    def title(self) -> str:
        cell = self.cell
        return f"{cell.pair}  {cell.task}  {self.method.label}  seed {cell.seed}"

    @property
    def holds(self) -> bool:
        """Whether a record of this cell is there and is not one of a failure."""
        return self.path.is_file() and read_record(self.path).status != "failed"

    @property
    def group(self) -> tuple[str, str]:
        """Cells of one group need the same models."""
        return str(self.cell.pair), self.cell.task


@dataclass(frozen=True)
class Plan:
    """All cells of a request, those that are done, and what the others will train."""

    request: RunRequest
    registry: Registry
    store: Store
    cells: tuple[PlannedCell, ...]

    @property
    def missing(self) -> tuple[PlannedCell, ...]:
        """Cells without a record that holds; those that failed are tried again."""
        return tuple(planned for planned in self.cells if not planned.holds)

    def training(self, cells: Sequence[PlannedCell]) -> tuple[dict[str, str], int, list[str]]:
        """Artifact key → what will be trained; how many are at hand; verbs that only a run can tell of."""
        asked: dict[str, str] = {}
        unknown: list[str] = []
        for planned in cells:
            tools = PlanTools(self.store, planned.recipes, planned.cell.seed, self.request.device)
            method = planned.method.for_verbs()
            try:
                artifact = method.fit(planned.source, verb_data(planned, "fit"), tools)
                method.port(artifact, planned.source, planned.target, verb_data(planned, "port"), tools)
            except Planned:
                unknown.append(planned.title)
            except Exception as error:  # noqa: BLE001 - a plugin may raise anything; its own cell will say what
                unknown.append(f"{planned.title} ({type(error).__name__}: {error})")
            asked |= tools.asked
        missing = {key: text for key, text in asked.items() if not self.store.path("artifacts", key).is_file()}
        return missing, len(asked) - len(missing), unknown


def verb_data(planned: PlannedCell, verb: str) -> Data:
    """The views that a verb declared. The test split is in none."""
    views = {}
    for role in planned.method.method.card.needs.get(verb, ()):
        views[role] = TaskView(role, planned.task.roles[VIEWS[role]])
    return Data(views)


def suites(registry: Registry) -> Suites:
    """The suites of all installed packages."""
    found: dict[str, Any] = {"suites": {}, "default": {}}
    for folder in registry.task_folders():
        if (folder / "suites.yaml").is_file():
            loaded = load_yaml(folder / "suites.yaml", Suites)
            found["suites"] |= loaded.suites
            found["default"] |= loaded.default
    return Suites(**found)


def cell_path(out: Path, cell: Cell) -> Path:
    """Where a cell's record is, or would be."""
    pair = f"{cell.pair.source}__{cell.pair.target}"
    return out / "results" / pair / cell.task / cell.method / f"{cell.id}.json"


def make_plan(request: RunRequest, report: Progress) -> Plan:
    """Resolve every name, load every task and work out every cell.

    Raises:
        RequestError: something asked for does not exist, cannot be had or cannot be combined.
    """
    registry = Registry(request.plugins)
    chosen = _choice(request, registry)
    pairs = [parse_pair(text, registry) for text in chosen.pairs]
    methods = [registry.method(text) for text in chosen.methods]
    if len(set(pairs)) < len(pairs):
        raise RequestError("--pair: the same pair is asked for twice")
    if not re.fullmatch(r"cpu|mps|cuda(:[0-9]+)?", request.device):
        raise RequestError(f"--device {request.device}: one of cpu, cuda, cuda:N, mps")
    if len({method.label for method in methods}) < len(methods):
        raise RequestError("--method: the same method with the same parameters is asked for twice")
    if chosen.seeds < 1:
        raise RequestError(f"--seeds {chosen.seeds}: at least one seed is needed")
    writable(request.out, "--out")
    if request.weights == "real":
        # Before any data is read or asked for: weights are what is most often missing.
        for alias in dict.fromkeys(name for pair in pairs for name in (pair.source, pair.target)):
            card = registry.card(alias)
            registry.family(card).weight_files(card, request.places)
    store = Store(request.store)
    source = TaskSource(registry, store, request.data_dir, report)
    tasks = [load_task(name, source) for name in chosen.tasks]
    tasks += [load_own(path, source) for path in request.data]
    names = [task.name for task in tasks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RequestError(f"two tasks of this run are called {twice[0]!r}; rename the folder or the file")
    cells = [
        planned
        for pair in pairs
        for task in tasks
        for planned in _cells(request, registry, pair, task, methods, chosen.seeds)
    ]
    if request.shard is not None:
        index, count = request.shard
        cells = cells[index - 1 :: count]
    return Plan(request, registry, store, tuple(cells))


def _choice(request: RunRequest, registry: Registry) -> Suite:
    """The request filled up from a suite: the one named, or the default for these pairs."""
    known = suites(registry)
    name = request.suite
    if name is None and (not request.pairs or not (request.tasks or request.data) or not request.methods):
        name = _default_suite(request, registry, known)
    if name is not None and name not in known.suites:
        raise RequestError(f"unknown suite {name!r}{did_you_mean(name, known.suites)}")
    suite = known.suites[name] if name else Suite(title="", tasks=(), methods=())
    own_tasks = request.tasks or request.data
    chosen = Suite(
        title=suite.title,
        pairs=request.pairs or suite.pairs,
        tasks=request.tasks if own_tasks else suite.tasks,
        methods=request.methods or suite.methods,
        seeds=suite.seeds if request.seeds is None else request.seeds,
    )
    if not chosen.pairs:
        raise RequestError(f"suite {name} names no pair; add --pair SOURCE:TARGET")
    return chosen


def _default_suite(request: RunRequest, registry: Registry, known: Suites) -> str:
    if not request.pairs:
        return known.default["nothing"]
    card = registry.card(parse_pair(request.pairs[0], registry).target)
    kind = "embedded" if card.embedded else card.family
    if kind in known.default:
        return known.default[kind]
    if not (request.tasks or request.data):
        raise RequestError(f"family {card.family} has no default suite; name tasks with --task or data with --data")
    return known.default["nothing"]


def _cells(
    request: RunRequest,
    registry: Registry,
    pair: PairNames,
    task: Task,
    methods: Sequence[MethodRequest],
    seeds: int,
) -> list[PlannedCell]:
    source = model_for(pair.source, task.space, registry, request.places, request.weights)
    target = model_for(pair.target, task.space, registry, request.places, request.weights)
    difference = source.space.difference(target.space)
    if difference:
        raise RequestError(f"pair {pair}: source and target have different output spaces: {difference}")
    recipes = {
        alias: recipe_for(task.spec, registry.card(alias).recipe, registry) for alias in {pair.source, pair.target}
    }
    shown = {alias: recipe.model_dump() for alias, recipe in sorted(recipes.items())}
    cells = []
    for method in methods:
        for seed in range(seeds):
            facts = {
                "pair": [pair.source, pair.target],
                "models": [source.key, target.key],
                "task": task.identity,
                "method": [method.name, method.source_sha256, method.method.params],
                "seed": seed,
                "track": request.track,
                "recipe": shown,
                "limit": request.limit,
                "training": training_source(),
            }
            cell = Cell(
                id=digest(facts)[:16],
                pair=pair,
                task=task.name,
                method=method.name,
                role=method.method.card.role,
                title=method.method.card.title,
                seed=seed,
                params=method.method.params,
                track=request.track,
                recipe=shown,
                limit=request.limit,
            )
            path = cell_path(request.out, cell)
            cells.append(PlannedCell(cell, task, method, source, target, recipes, path))
    return cells
