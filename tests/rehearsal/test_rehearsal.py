"""The mirror rehearsal: every real model and every hub task, fetched, run offline and shown by the very same code."""

from __future__ import annotations

import csv
import hashlib
import html
import json
import re
import tarfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from prt_bench.api import OutputSpace, Places
from prt_bench.cli.main import invoke
from prt_bench.errors import MissingError
from prt_bench.language_spec import LanguageSpec
from prt_bench.meters.flops import count_training, input_shape
from prt_bench.pins import Pins, load_pins
from prt_bench.places import MANIFEST, find_encoder
from prt_bench.recipes import published_encoder
from prt_bench.records import ModelCard, Record, read_record
from prt_bench.registry import Registry
from prt_bench.store import Store
from prt_bench.task_spec import HubSource, LabelFile, TaskSpec
from prt_bench.tasks import TaskSource, load_task, task_spec
from tests.conftest import quiet
from tests.rehearsal.commands import Done, fetch, run
from tests.rehearsal.hub import HubStandIn
from tests.rehearsal.stand_ins import register_reduced, write_dataset, write_published, write_weights

REGISTRY = Registry()
CARDS = {alias: card for alias, card in REGISTRY.cards.items() if card.family == "clip" and not card.embedded}
SPECS = {
    name: spec
    for name in REGISTRY.task_files()
    if isinstance(spec := task_spec(name, REGISTRY), TaskSpec) and isinstance(spec.source, HubSource)
}
PAIRS = [f"{source}:{target}" for source, target in zip(list(CARDS)[::2], list(CARDS)[1::2], strict=True)]
PAPER_PAIR = "vitb16-laion:vitl14-openai"
PAPER_METHODS = ("zero-shot", "untuned-ensemble", "eft", "prt")
MODEL_METHODS = ("zero-shot", "source-zero-shot", "full-finetune")
MODEL_TASK = "eurosat"
PUBLISHED_PAIR = "vitb32-openai:vitb16-openai"
PUBLISHED_TASKS = ("mnist", "eurosat")
PUBLISHED_METHODS = ("zero-shot", "source-finetune", "full-finetune", "eft", "ensemble", "prt")
TRACK = 30
SHARDS = 12
"""More than nine: read in the order of their numbers, not of their names."""


@dataclass(frozen=True)
class Mirror:
    """A hub of stand-ins, and the folders that they are fetched into."""

    root: Path
    hub: HubStandIn
    unasked: HubStandIn
    """The same, for runs: offline, they ask it for nothing."""
    home: Path

    @property
    def weights(self) -> Path:
        return self.root / "weights"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def places(self) -> list[str]:
        """Options that name the folders."""
        named = {"--weights-dir": self.weights, "--data-dir": self.data, "--store": self.store}
        return [word for name, path in named.items() for word in (name, str(path))]

    def fetch(self, *words: str) -> Done:
        """`prt-bench fetch` into them."""
        return fetch(self.hub, self.home, *self.places, *words)

    def run(self, out: str, *words: str) -> Board:
        """`prt-bench run --offline` from them, and what it left."""
        done = run(self.unasked, self.home, *self.places, "--out", str(self.root / out), *words, threads=1)
        return Board(done, self.root / out)


@dataclass(frozen=True)
class Board:
    """What a run left."""

    done: Done
    out: Path

    def records(self, pair: str, task: str) -> dict[str, tuple[Record, Path]]:
        """Method → record and its path."""
        folder = self.out / "results" / pair.replace(":", "__") / task
        found = [(read_record(path), path) for path in sorted(folder.rglob("*.json"))]
        return {record.cell.method: (record, path) for record, path in found}

    @property
    def page(self) -> str:
        """The page's text."""
        marked = (self.out / "site" / "index.html").read_text(encoding="utf-8")
        return html.unescape(re.sub(r"<[^>]+>", "", marked))


def options(name: str, values: Any) -> list[str]:
    """The same option once per value."""
    return [word for value in values for word in (name, value)]


def hub_source(task: str) -> HubSource:
    """Where a task's data is on the hub."""
    source = SPECS[task].source
    assert isinstance(source, HubSource)
    return source


def sha256(path: Path) -> str:
    """Digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def rows_per_class(spec: TaskSpec) -> dict[str, int]:
    """As few as every role can be cut from."""
    roles = spec.roles.by_name().values()
    few = 1 if len(spec.classes) >= 40 else 2
    counts = {role.split: few if role.split == spec.roles.train.split else 1 for role in roles}
    counts |= {role.split: TRACK for role in roles if role.tracks_of}
    return counts


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Iterator[Mirror]:
    """The hub with a stand-in for every real model, every hub task, and four published encoders."""
    root = tmp_path_factory.mktemp("mirror")
    served = root / "served"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_clip.factory, "_MODEL_CONFIGS", dict(open_clip.factory._MODEL_CONFIGS))
        register_reduced()
        for card in CARDS.values():
            write_weights(served, card)
        for alias in PUBLISHED_PAIR.split(":"):
            for task in PUBLISHED_TASKS:
                encoder = published_encoder(alias, task, REGISTRY)
                assert encoder is not None
                write_published(served, encoder.repository, CARDS[alias])
    for spec in SPECS.values():
        write_dataset(served, spec, rows_per_class(spec), shards=SHARDS)
    commits = {f"models/{card.hub}": card.revision for card in CARDS.values() if card.revision}
    commits |= {f"datasets/{hub_source(name).repository}": hub_source(name).revision or "" for name in SPECS}
    with HubStandIn(served, commits=commits) as hub, HubStandIn(served, commits=commits) as unasked:
        found = Mirror(root, hub, unasked, home)
        found.data.mkdir()
        yield found


@pytest.fixture(scope="module")
def fetched(mirror: Mirror) -> Done:
    """One `fetch --pin` of all models and tasks."""
    return mirror.fetch("--pin", *options("--pair", PAIRS), *options("--task", SPECS))


@pytest.fixture(scope="module")
def pins(mirror: Mirror, fetched: Done) -> Pins:
    """What was noted of it."""
    return load_pins(mirror.store / "pins.yaml")


@pytest.fixture(scope="module")
def boards(mirror: Mirror, fetched: Done) -> Iterator[dict[str, Future[Board]]]:
    """Run A: the paper's pair on all hub tasks. Beside it run B, all models in pairs on one task, and then encoders
    that others have tuned, fetched before. Each has one thread."""
    tuned = ["--recipe", "published", "--pair", PUBLISHED_PAIR, *options("--task", PUBLISHED_TASKS)]
    tuned += options("--method", PUBLISHED_METHODS)
    done = mirror.fetch(*tuned)
    assert done.returncode == 0, done.stderr
    asked = {
        "paper": ["--pair", PAPER_PAIR, *options("--task", SPECS), *options("--method", PAPER_METHODS)],
        "models": [*options("--pair", PAIRS), "--task", MODEL_TASK, *options("--method", MODEL_METHODS)],
        "published": tuned,
    }
    with ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(mirror.run, name, *words) for name, words in asked.items()}


@pytest.fixture(scope="module")
def paper(boards: dict[str, Future[Board]]) -> Board:
    """Run A, when it has ended."""
    return boards["paper"].result()


@pytest.fixture(scope="module")
def models(boards: dict[str, Future[Board]]) -> Board:
    """Run B, when it has ended."""
    return boards["models"].result()


@pytest.fixture(scope="module")
def published(boards: dict[str, Future[Board]]) -> Board:
    """The run of published encoders, when it has ended."""
    return boards["published"].result()


# --- what is rehearsed ---


def test_no_real_model_and_no_hub_task_of_pictures_is_left_out() -> None:
    assert (len(CARDS), len(SPECS), len(PAIRS)) == (16, 17, 8)
    assert {alias for pair in PAIRS for alias in pair.split(":")} == set(CARDS)
    on_the_hub = {name for name in REGISTRY.task_files() if getattr(task_spec(name, REGISTRY), "hub_data", ())}
    of_text = {name for name in on_the_hub if isinstance(task_spec(name, REGISTRY), LanguageSpec)}
    assert on_the_hub - of_text == set(SPECS), "none of pictures is left out"


# --- fetch ---


def test_all_of_it_is_fetched_in_one_command(fetched: Done) -> None:
    assert fetched.returncode == 0, fetched.stderr


@pytest.mark.parametrize("alias", CARDS)
def test_weights_come_as_they_are_served_and_are_pinned(alias: str, mirror: Mirror, fetched: Done, pins: Pins) -> None:
    card = CARDS[alias]
    assert card.hub is not None
    assert card.file is not None
    here, served = mirror.weights / card.hub, mirror.root / "served" / "models" / card.hub
    assert (here / card.file).read_bytes() == (served / card.file).read_bytes()
    pin = pins.models[card.hub]
    assert re.fullmatch("[0-9a-f]{40}", pin.revision)
    assert pin.revision == mirror.hub.commit("models", card.hub)
    assert pin.files[card.file] == sha256(served / card.file)
    assert (pin.licence, pin.gated) == (card.licence.lower(), False)
    assert re.search(rf"weights of {re.escape(alias)} .*{pin.revision[:12]} .*{pin.licence}.* no ", fetched.stderr)


@pytest.mark.parametrize("task", SPECS)
def test_data_comes_as_it_is_served_and_is_pinned(task: str, mirror: Mirror, fetched: Done, pins: Pins) -> None:
    source = hub_source(task)
    here, served = mirror.data / source.repository, mirror.root / "served" / "datasets" / source.repository
    names = sorted(path.relative_to(served).as_posix() for path in served.rglob("*") if path.is_file())
    assert sorted(path.relative_to(here).as_posix() for path in here.rglob("*") if path.is_file()) == sorted(
        [*names, MANIFEST]
    )
    assert all((here / name).read_bytes() == (served / name).read_bytes() for name in names)
    pin = pins.datasets[source.repository]
    assert re.fullmatch("[0-9a-f]{40}", pin.revision)
    assert pin.revision == mirror.hub.commit("datasets", source.repository)
    assert source.revision in (None, pin.revision)
    assert pin.files == {name: sha256(served / name) for name in names}
    assert re.search(
        rf"data of {re.escape(task)} .*{pin.revision[:12]} .*{re.escape(pin.licence)}.* no ", fetched.stderr
    )


def test_what_is_at_hand_is_not_fetched_again(mirror: Mirror, fetched: Done) -> None:
    before = len(mirror.hub.requests)
    done = mirror.fetch(*options("--pair", PAIRS), *options("--task", SPECS))
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"^(?:weights|data) of .*: at hand$", done.stderr, re.MULTILINE)) == len(CARDS) + len(SPECS)
    assert len(mirror.hub.requests) == before


def test_pinned_models_are_listed_as_verified(
    mirror: Mirror, fetched: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["list", "models", "--json", "--store", str(mirror.store)]) == 0
    rows = {row["alias"]: row for row in json.loads(capsys.readouterr().out)}
    assert {alias: rows[alias]["verified"] for alias in CARDS} == dict.fromkeys(CARDS, True)


# --- every task ---


def served_labels(task: str, split: str, folder: Path) -> list[str]:
    """Name of the label of each row of a split, in the rows' order, read without this package."""
    source = hub_source(task)
    if isinstance(source.label_names, LabelFile):
        names = (folder / source.label_names.file).read_text(encoding="utf-8").splitlines()
        return [names[label] for shard in range(SHARDS) for label in tar_labels(folder / split / f"{shard}.tar")]
    (path,) = folder.rglob(f"{split}-*.parquet")
    labels = pq.read_table(path, columns=[source.label])[source.label].to_pylist()
    if source.label_names is not None:
        return [source.label_names[label] for label in labels]
    _, front, _ = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    info = yaml.safe_load(front)["dataset_info"]
    (feature,) = [entry for entry in info["features"] if entry["name"] == source.label]
    told = feature["dtype"]["class_label"]["names"]
    return [told[str(label)] for label in labels]


def tar_labels(path: Path) -> list[int]:
    """The labels in a tar file, in its order."""
    with tarfile.open(path) as tar:
        members = [member for member in tar.getmembers() if member.name.endswith(".cls")]
        return [int((tar.extractfile(member) or pytest.fail("no file")).read()) for member in members]


def predictions(record: Record, path: Path) -> list[dict[str, str]]:
    """The rows of a record's predictions."""
    assert record.quality is not None
    with (path.parent / record.quality.predictions).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_paper_run_holds(paper: Board) -> None:
    assert paper.done.returncode == 0, paper.done.stderr


@pytest.mark.parametrize("task", SPECS)
def test_a_task_goes_from_the_hub_to_the_board(task: str, mirror: Mirror, paper: Board) -> None:
    spec, found = SPECS[task], paper.records(PAPER_PAIR, task)
    assert {method: record.status for method, (record, _) in found.items()} == dict.fromkeys(PAPER_METHODS, "ok")
    repository, split = hub_source(task).repository, spec.roles.test.split
    names = served_labels(task, split, mirror.root / "served" / "datasets" / repository)
    places = {label: index for index, entry in enumerate(spec.classes) for label in entry.known_as}
    wanted = {f"{repository}/{split}/{row}": places[name] for row, name in enumerate(names)}
    assert sorted(wanted.values()) == list(range(len(spec.classes)))
    for record, path in found.values():
        assert re.fullmatch(rf"{spec.version}\+local\.[0-9a-f]{{8}}", record.provenance.task.version)
        assert record.quality is not None
        assert record.quality.metrics.keys() == {"top1", "mean_per_class"}
        assert record.quality.primary == spec.metrics.primary
        assert {metric.n for metric in record.quality.metrics.values()} == {len(names)}
        rows = predictions(record, path)
        assert {row["id"]: int(row["label"]) for row in rows} == wanted
        assert record.cost is not None
        assert record.cost.per_query.latency
        for alias, model in record.provenance.models.items():
            assert model.sha256 == sha256(mirror.weights / str(CARDS[alias].hub) / str(CARDS[alias].file))
    for method in ("eft", "prt"):
        record = found[method][0]
        assert record.cost is not None
        assert record.cost.once.examples == 8
        assert record.cell.recipe["vitb16-laion"]["random_resized_crop"] == [0.9, 1.0]
    assert task in paper.page
    assert PAPER_PAIR.replace(":", " → ") in paper.page


@pytest.mark.parametrize("task", SPECS)
def test_a_data_set_has_another_order_of_classes_than_the_task(task: str, mirror: Mirror) -> None:
    spec, source = SPECS[task], hub_source(task)
    folder = mirror.root / "served" / "datasets" / source.repository
    labels = served_labels(task, spec.roles.test.split, folder)
    places = {label: index for index, entry in enumerate(spec.classes) for label in entry.known_as}
    assert len({places[label] for label in labels}) == len(spec.classes)
    if not isinstance(source.label_names, tuple):
        told = list(dict.fromkeys(sorted(labels)))
        assert told != [entry.known_as[0] for entry in spec.classes] or served_order(source, folder) != told


def served_order(source: HubSource, folder: Path) -> list[str]:
    """The data set's own names, in its order."""
    if isinstance(source.label_names, LabelFile):
        return (folder / source.label_names.file).read_text(encoding="utf-8").splitlines()
    _, front, _ = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    features = yaml.safe_load(front)["dataset_info"]["features"]
    (told,) = [entry["dtype"]["class_label"]["names"] for entry in features if entry["name"] == source.label]
    return list(told.values())


def test_no_track_of_gtsrb_is_in_both_train_and_validation(mirror: Mirror, fetched: Done) -> None:
    task = load_task("gtsrb", TaskSource(REGISTRY, Store(mirror.store), mirror.data, quiet))
    tracks = {
        role: {int(name.rpartition("/")[2]) // TRACK for name in task.roles[role].ids}
        for role in ("train", "validation")
    }
    assert tracks["train"].isdisjoint(tracks["validation"])
    assert tracks["train"] | tracks["validation"] == set(range(43))
    assert len(task.roles["validation"]) == TRACK * len(tracks["validation"])


# --- every model ---


def test_the_run_of_all_models_holds(models: Board) -> None:
    assert models.done.returncode == 0, models.done.stderr


@pytest.mark.parametrize("alias", CARDS)
def test_a_model_goes_from_the_hub_to_the_board(alias: str, mirror: Mirror, pins: Pins, models: Board) -> None:
    pair = next(pair for pair in PAIRS if alias in pair.split(":"))
    found = models.records(pair, MODEL_TASK)
    assert {method: record.status for method, (record, _) in found.items()} == dict.fromkeys(MODEL_METHODS, "ok")
    own = sha256(mirror.weights / str(CARDS[alias].hub) / str(CARDS[alias].file))
    pin = pins.models[str(CARDS[alias].hub)]
    for record, _ in found.values():
        origin = record.provenance.models[alias]
        assert (origin.sha256, origin.revision) == (own, pin.revision)
        assert not origin.embedded
        assert origin.head_sha256 is not None
        assert origin.preprocessing_sha256 is not None
    target = alias == pair.split(":")[1]
    record, path = found["zero-shot" if target else "source-zero-shot"]
    assert len(predictions(record, path)) == len(SPECS[MODEL_TASK].classes)
    assert record.cost is not None
    assert record.cost.per_query.flops.total
    shape = record.cost.per_query.shape["input"]
    if target:
        assert shape == [3, CARDS[alias].image_size, CARDS[alias].image_size]
    assert pair.replace(":", " → ") in models.page


def test_models_that_differ_give_different_heads(models: Board) -> None:
    heads = {
        alias: origin.head_sha256
        for pair in PAIRS
        for record, _ in models.records(pair, MODEL_TASK).values()
        for alias, origin in record.provenance.models.items()
    }
    assert len(set(heads.values())) == len(heads) == len(CARDS)


# --- the network ---


def test_no_run_asks_the_hub_for_anything(mirror: Mirror, paper: Board, models: Board, published: Board) -> None:
    assert [board.done.returncode for board in (paper, models, published)] == [0, 0, 0]
    assert mirror.unasked.requests == []


# --- published encoders ---


def test_the_way_out_that_a_missing_encoder_names_is_one(mirror: Mirror, fetched: Done) -> None:
    source = PUBLISHED_PAIR.split(":")[0]
    encoder = published_encoder(source, "mnist", REGISTRY)
    assert encoder is not None
    with pytest.raises(MissingError) as caught:
        find_encoder(encoder, Places())
    told = re.search("`prt-bench fetch ([^`]+)`", str(caught.value))
    assert told is not None
    done = mirror.fetch(*told[1].split())
    assert done.returncode == 0, done.stderr


def test_published_encoders_are_fetched_and_run_without_training(published: Board, mirror: Mirror) -> None:
    assert published.done.returncode == 0, published.done.stderr
    for task in PUBLISHED_TASKS:
        for alias in PUBLISHED_PAIR.split(":"):
            encoder = published_encoder(alias, task, REGISTRY)
            assert encoder is not None
            here = mirror.weights / encoder.repository / encoder.file
            assert here.read_bytes() == (mirror.root / "served/models" / encoder.repository / encoder.file).read_bytes()


@pytest.mark.parametrize("task", PUBLISHED_TASKS)
def test_only_what_nobody_has_published_is_skipped(task: str, published: Board) -> None:
    found = published.records(PUBLISHED_PAIR, task)
    assert {method: record.status for method, (record, _) in found.items()} == {
        **dict.fromkeys(PUBLISHED_METHODS, "ok"),
        "prt": "skipped",
    }
    skipped = found["prt"][0]
    assert skipped.error is not None
    assert "published encoders were tuned alone" in skipped.error.message
    assert skipped.absent["quality"] == "the cell was skipped"
    assert task in published.page


@pytest.mark.parametrize("task", PUBLISHED_TASKS)
def test_a_published_tuning_is_charged_as_its_card_says(
    task: str, published: Board, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", dict(open_clip.factory._MODEL_CONFIGS))
    register_reduced()
    found = published.records(PUBLISHED_PAIR, task)
    source, target = PUBLISHED_PAIR.split(":")
    paid = {"source-finetune": ("once", source), "eft": ("once", source), "full-finetune": ("per_upgrade", target)}
    for method, (name, alias) in paid.items():
        record = found[method][0]
        assert record.cost is not None
        term = getattr(record.cost, name)
        assert term.seconds is None
        assert "not published" in record.absent[f"cost.{name}.seconds"]
        assert term.train_flops == training_flops(CARDS[alias], SPECS[task].space) * 4000 * 32
        assert term.examples == 4000 * 32


def training_flops(card: ModelCard, space: OutputSpace) -> int:
    """Of one example, forward and backward, counted on the architecture as open_clip has it now."""
    network = REGISTRY.family(card).build(card, space, "meta", Places())
    return count_training(network, torch.empty(1, *input_shape(network), device="meta")).flops


@pytest.mark.parametrize("task", PUBLISHED_TASKS)
def test_a_published_encoder_answers_otherwise_than_the_untuned_one(task: str, published: Board) -> None:
    found = published.records(PUBLISHED_PAIR, task)
    told = {
        method: np.asarray([float(row["log_prob_label"]) for row in predictions(*found[method])])
        for method in PUBLISHED_METHODS
        if method != "prt"
    }
    for first in told:
        for second in told:
            assert first == second or np.abs(told[first] - told[second]).max() > 1e-4, (first, second)
