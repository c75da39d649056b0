"""What many tests stand on: embedded models on a small task, with tools that do real work."""

from __future__ import annotations

import os

# Before torch is loaded: threads that spin while they wait make two busy processes many times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Test workers share the cores: with more threads than cores they wait for each other.
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    threads = (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, threads)))

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from prt_bench.api import Artifact, Composition, Data, Method, Model, Places
from prt_bench.board.pictures import Pictures
from prt_bench.composing import compose
from prt_bench.costs import CompositionMeter
from prt_bench.data.examples import Examples
from prt_bench.models import model_for
from prt_bench.networks import Networks
from prt_bench.registry import Registry
from prt_bench.store import Store
from prt_bench.task_spec import Recipe
from prt_bench.tasks import Task, TaskSource, load_task
from prt_bench.tools import LiveTools
from prt_bench.views import TaskView

SOURCE, TARGET = "nano-rn16-a", "nano-rn24-b"
LONG = {"cli", "rehearsal"}
"""Folders whose files take longest."""


SLOW = {
    "bench", "browser", "nano", "rehearsal", "test_check.py", "test_closed_forms.py", "test_cost.py", "test_derived.py",
    "test_docs.py", "test_estimate.py", "test_installing.py", "test_memory.py", "test_new_facts.py", "test_outlook.py",
    "test_plugins.py", "test_pricing.py", "test_run.py", "test_strengths.py", "test_training.py",
    "test_training_session.py", "test_trials.py",
}  # fmt: skip
"""Folders and files that `make quick` leaves out: they hold nine tenths of the suite's time."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark what is slow, by where it lies."""
    if not SLOW.isdisjoint(item.path.relative_to(Path(__file__).parent).parts):
        item.add_marker("slow")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes longest goes first, so that no worker is left alone with it; else the order stays random."""
    items.sort(key=lambda item: LONG.isdisjoint(item.path.parts))


@pytest.fixture(scope="session", autouse=True)
def _no_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The suite is offline, and keeps its cache to itself, in this process and in those it starts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("PRT_BENCH_STORE", str(tmp_path_factory.mktemp("store")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _drawn_once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Charts and Vega's script are kept for all tests and workers: by content, so wherever they lie is the same."""
    shared = tmp_path_factory.getbasetemp().parent / "pictures"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("prt_bench.board.site.Pictures", lambda folder: Pictures(shared))
        yield


def quiet(title: str, done: int, total: int) -> None:
    """Progress that nobody looks at."""


@dataclass
class Bench:
    """Models, a task and tools, as a verb meets them."""

    registry: Registry
    store: Store
    task: Task
    networks: Networks
    meter: CompositionMeter
    recipe: Recipe

    def model(self, alias: str) -> Model:
        return model_for(alias, self.task.space, self.registry, Places())

    def tools(self, seed: int = 0, steps: int | None = None, recipe: Recipe | None = None) -> LiveTools:
        chosen = recipe or self.recipe
        chosen = chosen if steps is None else chosen.model_copy(update={"steps": steps})
        recipes = dict.fromkeys(self.registry.cards, chosen)
        return LiveTools(self.store, recipes, seed, self.networks, self.meter, self.task.spec.template, quiet)

    def data(self) -> Data:
        return Data({"train": TaskView("train", self.task.roles["train"])})

    def method(self, text: str) -> Method:
        return self.registry.method(text).method

    def ported(
        self, text: str, source: str = SOURCE, target: str = TARGET, seed: int = 0, steps: int | None = None
    ) -> tuple[Composition, Artifact | None]:
        """The composition of a method after both verbs, and what they left."""
        method, tools, data = self.method(text), self.tools(seed, steps), self.data()
        models = self.model(source), self.model(target)
        artifact = method.port(method.fit(models[0], data, tools), *models, data, tools)
        return method.attach(artifact, *models), artifact

    def logits(self, composition: Composition, examples: Examples | None = None) -> torch.Tensor:
        """(N, K) on the test split, or on other examples."""
        chosen = self.task.roles["test"] if examples is None else examples
        return compose(composition, lambda _, model: self.networks.outputs(model, chosen).logits)

    def log_probs(self, composition: Composition) -> torch.Tensor:
        return self.logits(composition).double().log_softmax(-1)


@pytest.fixture(scope="session")
def registry() -> Registry:
    return Registry()


@pytest.fixture(scope="session")
def bench(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """Real digits, a short recipe, and a store that lasts for the session."""
    store = Store(tmp_path_factory.mktemp("bench"))
    task = load_task("digits", TaskSource(registry, store, None, quiet))
    recipe = Recipe(steps=12, batch_size=32, learning_rate=1e-3, warmup_steps=2, weight_decay=0.1, clip_norm=1.0)
    networks = Networks(registry, Places(), store, "cpu", quiet)
    return Bench(registry, store, task, networks, CompositionMeter(networks), recipe)


@pytest.fixture
def image_folder(tmp_path: Path, bench: Bench) -> Callable[[str, int, int], Path]:
    """Makes an image folder of real digits: `name`, images per class in train, and in test."""

    def make(name: str, train: int = 8, test: int = 10) -> Path:
        root = tmp_path / name
        for split, role, count in (("train", "train", train), ("test", "test", test)):
            examples = bench.task.roles[role]
            for label in range(4):
                folder = root / split / ("zero", "one", "two", "three")[label]
                folder.mkdir(parents=True)
                for index in np.flatnonzero(examples.labels == label)[:count]:
                    examples.image(int(index)).save(folder / f"{index}.png")
        return root

    return make
