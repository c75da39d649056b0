"""What there is to do: a request becomes cells, each with the digest of everything that can change its value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prt_bench.api import VIEWS, Data, Model
from prt_bench.benchmarks import refuse_unmet
from prt_bench.data.folder import Progress
from prt_bench.errors import RequestError
from prt_bench.files import digest
from prt_bench.language_spec import LanguageSpec
from prt_bench.models import model_for, parse_pair
from prt_bench.recipes import PUBLISHED, equal_budget, in_steps, published_encoder, recipe_for
from prt_bench.records import Cell, PairNames, read_record
from prt_bench.registry import MethodRequest, Registry
from prt_bench.requests import RunRequest, Suite, choice
from prt_bench.store import Store, writable
from prt_bench.task_spec import Search, Tuning
from prt_bench.tasks import Task, TaskSource, load_own, load_task
from prt_bench.toolbox import training_source
from prt_bench.trials import Trial, equal_trials, strength_trials
from prt_bench.views import TaskView

__all__ = ["Learning", "Plan", "PlannedCell", "cell_path", "make_plan", "verb_data"]


@dataclass(frozen=True)
class Learning:
    """A pair in the output space of the task that is tuned on."""

    source: Model
    target: Model


@dataclass(frozen=True)
class PlannedCell:
    """One cell with what is needed to do it."""

    cell: Cell
    task: Task
    method: MethodRequest
    source: Model
    target: Model
    """Both as they are tested."""
    learning: Learning
    """Both as the verbs meet them."""
    trials: tuple[Trial, ...]
    """The recipe as it is, first; the equal-budget track has more."""
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


def verb_data(planned: PlannedCell, verb: str) -> Data:
    """The views that a verb declared. The test split is in none."""
    views = {}
    for role in planned.method.method.card.needs.get(verb, ()):
        views[role] = TaskView(role, planned.task.roles[VIEWS[role]])
    return Data(views)


def cell_path(out: Path, cell: Cell) -> Path:
    """Where a cell's record is, or would be."""
    pair = f"{cell.pair.source}__{cell.pair.target}"
    return out / "results" / pair / cell.task / cell.method / f"{cell.id}.json"


def make_plan(request: RunRequest, report: Progress) -> Plan:
    """Resolve every name, load every task and work out every cell.

    Raises:
        MissingError: weights or data are not at hand, and the request does not assume that they are.
        RequestError: something asked for does not exist, cannot be had or cannot be combined.
    """
    registry = Registry(request.plugins, request.pins)
    chosen = choice(request, registry)
    pairs = [parse_pair(text, registry) for text in chosen.pairs]
    methods = [registry.method(text) for text in chosen.methods]
    if len(set(pairs)) < len(pairs):
        raise RequestError("--pair: the same pair is asked for twice")
    if len({method.label for method in methods}) < len(methods):
        raise RequestError("--method: the same method with the same parameters is asked for twice")
    writable(request.out, "--out")
    if request.weights == "real" and not request.assume:
        # Before any data is read: weights are what is most often missing.
        for alias in dict.fromkeys(name for pair in pairs for name in (pair.source, pair.target)):
            card = registry.card(alias)
            registry.family(card).weight_files(card, request.places)
    store = Store(request.store)
    source = TaskSource(registry, store, request.data_dir, report, request.assume)
    tasks = [load_task(name, source) for name in chosen.tasks]
    tasks += [load_own(path, source) for path in request.data]
    names = [task.name for task in tasks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RequestError(f"two tasks of this run are called {twice[0]!r}; rename the folder or the file")
    for task in tasks:
        if isinstance(task.spec, LanguageSpec) and not request.assume:
            refuse_unmet(task.spec, request.store / "nltk")
    cells = [
        planned
        for pair, task in _met(request, pairs, tasks, registry)
        for planned in _cells(request, registry, pair, task, methods, chosen)
    ]
    for method in methods:
        if request.methods and method.label not in [planned.method.label for planned in cells]:
            reads = method.method.card.reads
            raise RequestError(f"method {method.label} is for {reads}, and none of the tasks is: {_names(tasks)}")
    if request.shard is not None:
        index, count = request.shard
        cells = cells[index - 1 :: count]
    return Plan(request, registry, store, tuple(cells))


def _met(
    request: RunRequest, pairs: Sequence[PairNames], tasks: Sequence[Task], registry: Registry
) -> list[tuple[PairNames, Task]]:
    """Pairs with the tasks that they can read: a suite may hold images and texts.

    Raises:
        RequestError: a pair that was asked for is left without a task, or a task without a pair.
    """
    kinds = {pair: registry.family(registry.card(pair.target)).reads for pair in pairs}
    found = [(pair, task) for pair in pairs for task in tasks if kinds[pair] == task.spec.reads]
    for pair, kind in kinds.items():
        if (request.pairs or not found) and pair not in [met for met, _ in found]:
            raise RequestError(f"pair {pair} reads {kind}, and none of the tasks is made of {kind}: {_names(tasks)}")
    for task in tasks:
        if (request.tasks or request.data) and task not in [met for _, met in found]:
            raise RequestError(
                f"task {task.name} is made of {task.spec.reads}, which none of the pairs reads: "
                f"{', '.join(map(str, pairs))}"
            )
    return found


def _names(tasks: Sequence[Task]) -> str:
    return ", ".join(task.name for task in tasks)


def _tuning(registry: Registry, task: Task, alias: str, recipe: str | None) -> Tuning | None:
    """Where tuned weights of a model come from; None where nobody has published any."""
    if recipe == PUBLISHED:
        return published_encoder(alias, task.name, registry)
    found = recipe_for(task.spec, recipe or _own_recipe(registry, task, alias), registry)
    return in_steps(found, len(task.roles["train"]))


def _own_recipe(registry: Registry, task: Task, alias: str) -> str:
    """The recipe that fits a model on a task."""
    name = registry.card(alias).recipe
    return task.spec.in_place_of.get(name, name)


def _cells(
    request: RunRequest,
    registry: Registry,
    pair: PairNames,
    task: Task,
    methods: Sequence[MethodRequest],
    chosen: Suite,
) -> list[PlannedCell]:
    (source, target), learning = (
        [
            model_for(alias, one.space, registry, request.places, request.weights, request.assume)
            for alias in (pair.source, pair.target)
        ]
        for one in (task, task.tuning)
    )
    difference = source.space.difference(target.space)
    if difference:
        raise RequestError(f"pair {pair}: source and target have different output spaces: {difference}")
    found = {alias: _tuning(registry, task.tuning, alias, chosen.recipe) for alias in (pair.source, pair.target)}
    tunings = {alias: tuning for alias, tuning in sorted(found.items()) if tuning is not None}
    shown = {alias: tuning.model_dump(exclude_none=True) for alias, tuning in tunings.items()}
    own = sorted({_own_recipe(registry, task.tuning, alias) for alias in (pair.source, pair.target)})
    search = equal_budget(registry)
    cells = []
    for method in methods:
        card, params = method.method.card, method.method.params
        if card.reads not in ("anything", task.spec.reads):
            continue
        trials = _trials(request, search, tunings, method)
        # Where there is nothing to choose among, nothing is chosen.
        chosen_on = request.chosen_on if len(trials) > 1 else "constants"
        changed = params != type(method.method)().params
        for seed in range(chosen.seeds):
            facts = {
                "pair": [pair.source, pair.target],
                "models": [source.key, target.key],
                "task": task.identity,
                "method": [method.name, method.source_sha256, params],
                "seed": seed,
                "track": request.track,
                "strengths": chosen_on,
                "recipe": shown,
                "search": search.model_dump() if len(trials) > 1 else None,
                "limit": request.limit,
                "training": training_source(),
                **task.permissions(request.allow_code),
            }
            cell = Cell(
                id=digest(facts)[:16],
                pair=pair,
                task=task.name,
                method=method.name,
                role=card.role,
                title=card.title,
                seed=seed,
                params=params,
                track=request.track,
                recipe=shown,
                recipe_name=chosen.recipe or ", ".join(own),
                limit=request.limit,
                stands_for="" if changed else card.stands_for,
                strengths=chosen_on,
                tuned_on=task.tuned_on.name if task.tuned_on else "",
            )
            path = cell_path(request.out, cell)
            cells.append(PlannedCell(cell, task, method, source, target, Learning(*learning), tuple(trials), path))
    return cells


def _trials(request: RunRequest, search: Search, tunings: Mapping[str, Tuning], method: MethodRequest) -> list[Trial]:
    card, params = method.method.card, method.method.params
    if request.track == "equal":
        return equal_trials(search, tunings, card, params)
    if request.chosen_on != "constants":
        return strength_trials(search, tunings, card, params)
    return [Trial(tunings, params, {})]
