"""What a user asks for, filled up from a suite: pairs, tasks, methods, seeds, recipe."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from prt_bench.api import Places
from prt_bench.errors import RequestError, did_you_mean
from prt_bench.models import parse_pair
from prt_bench.pins import PINS_FILE
from prt_bench.recipes import PUBLISHED, recipe_names
from prt_bench.records import USUAL_CHOICE, ChosenOn, Strict
from prt_bench.registry import Registry
from prt_bench.yaml_files import load_yaml

__all__ = ["RunRequest", "Suite", "Suites", "choice", "suites"]


class RunRequest(Strict):
    """What a user asks for, as the command line has it."""

    pairs: tuple[str, ...] = ()
    suite: str | None = None
    tasks: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    data: tuple[Path, ...] = ()
    track: Literal["paper", "equal"] = "paper"
    strengths: ChosenOn | None = None
    """Where parameters are chosen; None: where the track usually does."""
    recipe: str | None = None
    """A base recipe for all models; None: the suite's, or what each model's card names."""
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
    allow_code: bool = False
    """Whether scoring may run what a model wrote, in a process of its own with limits."""
    weights: Literal["real", "random"] = "real"
    """Random weights are for cost sessions: architectures alone, no download."""
    lengths: dict[str, int] | None = None
    """`prompt_tokens` and `output_tokens` of a request of text, in place of the task's."""
    assume: bool = False
    """Plan as if the weights and data that are missing were there: to say what a run would do."""
    words: str = ""
    """The command as it was given, for the record."""

    @property
    def chosen_on(self) -> ChosenOn:
        """Where parameters are chosen."""
        return self.strengths or USUAL_CHOICE[self.track]

    @property
    def places(self) -> Places:
        return Places(self.weights_dir, self.store / "weights", self.device)

    @property
    def pins(self) -> Path:
        """Where `prt-bench fetch --pin` notes what it found online."""
        return self.store / PINS_FILE


class Suite(Strict):
    """A named list of what to run; an empty list leaves that choice to the request."""

    title: str
    pairs: tuple[str, ...] = ()
    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    seeds: int = 1
    recipe: str | None = None


class Suites(Strict):
    """All suites, and the one that a pair of each kind runs when no task is named."""

    suites: dict[str, Suite]
    default: dict[str, str]


def suites(registry: Registry) -> Suites:
    """The suites of all installed packages."""
    found: dict[str, Any] = {"suites": {}, "default": {}}
    for folder in registry.task_folders():
        if (folder / "suites.yaml").is_file():
            loaded = load_yaml(folder / "suites.yaml", Suites)
            found["suites"] |= loaded.suites
            found["default"] |= loaded.default
    return Suites(**found)


def choice(request: RunRequest, registry: Registry) -> Suite:
    """The request filled up from a suite: the one named, or the default for these pairs.

    Raises:
        RequestError: something asked for does not exist or cannot be combined.
    """
    known = suites(registry)
    name = request.suite
    if name is None and (not request.pairs or not (request.tasks or request.data) or not request.methods):
        name = _default_suite(request, registry, known)
    if name is not None and name not in known.suites:
        raise RequestError(f"unknown suite {name!r}{did_you_mean(name, known.suites)}")
    suite = known.suites[name] if name else Suite(title="", tasks=(), methods=())
    own_tasks = request.tasks or request.data
    recipe = request.recipe or suite.recipe
    # Every published encoder was tuned once.
    seeds = 1 if recipe == PUBLISHED else suite.seeds
    chosen = Suite(
        title=suite.title,
        pairs=request.pairs or suite.pairs,
        tasks=request.tasks if own_tasks else suite.tasks,
        methods=request.methods or suite.methods,
        seeds=seeds if request.seeds is None else request.seeds,
        recipe=recipe,
    )
    if not chosen.pairs:
        raise RequestError(f"suite {name} names no pair; add --pair SOURCE:TARGET")
    if not re.fullmatch(r"cpu|mps|cuda(:[0-9]+)?", request.device):
        raise RequestError(f"--device {request.device}: one of cpu, cuda, cuda:N, mps")
    if chosen.seeds < 1:
        raise RequestError(f"--seeds {chosen.seeds}: at least one seed is needed")
    recipes = recipe_names(registry)
    if chosen.recipe is not None and chosen.recipe not in recipes:
        raise RequestError(f"unknown recipe {chosen.recipe!r}{did_you_mean(chosen.recipe, recipes)}")
    if chosen.recipe == PUBLISHED and chosen.seeds > 1:
        raise RequestError(f"--seeds {chosen.seeds}: every published encoder was tuned once; use --seeds 1")
    if chosen.recipe == PUBLISHED and request.track == "equal":
        raise RequestError("--track equal: published encoders leave nothing to search; use --track paper")
    if request.track == "equal" and request.strengths == "constants":
        raise RequestError("--strengths constants: the equal-budget track chooses on validation: source or target")
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
