"""Wrong things planted on the hub, in weights, data and task files: each is caught, and named."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import open_clip
import pyarrow.parquet as pq
import pytest
import yaml

from prt_bench.cli.main import invoke
from prt_bench.errors import RequestError
from prt_bench.pins import load_pins
from prt_bench.records import ModelCard
from prt_bench.registry import Registry
from prt_bench.requests import RunRequest
from prt_bench.task_spec import HubSource, TaskSpec
from prt_bench.tasks import task_spec
from prt_bench.worker import Worker
from prt_bench.yaml_files import load_yaml
from tests.conftest import quiet
from tests.rehearsal.commands import Done, fetch
from tests.rehearsal.hub import HubStandIn
from tests.rehearsal.stand_ins import register_reduced, write_dataset, write_weights

REGISTRY = Registry()
ALIAS = "vitb32-openai"
CARD = REGISTRY.card(ALIAS)
HUB, FILE = str(CARD.hub), str(CARD.file)
PAIR = ("--pair", f"{ALIAS}:{ALIAS}")
TASK = "mnist"
SPECS = {name: spec for name in REGISTRY.task_files() if isinstance(spec := task_spec(name, REGISTRY), TaskSpec)}
SPEC = SPECS[TASK]
COMMIT = "c" * 40
HUB_TASKS = [name for name, spec in SPECS.items() if isinstance(spec.source, HubSource)]
PIECE = 1 << 16
MEBI = 1 << 20
Fetch = Callable[..., Done]


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubStandIn]:
    """A hub with one model, whose weights nobody reads here, and one data set."""
    folder = tmp_path / "served" / "models" / HUB
    folder.mkdir(parents=True)
    (folder / FILE).write_bytes(b"\0" + np.random.default_rng(0).bytes(MEBI))
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Weights\n", encoding="utf-8")
    write_dataset(tmp_path / "served", SPEC, {"train": 2, "test": 1})
    with HubStandIn(tmp_path / "served", commits={f"models/{HUB}": COMMIT}) as found:
        yield found


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """Where the weights are fetched to."""
    return tmp_path / "weights" / HUB


@pytest.fixture
def fetching(hub: HubStandIn, tmp_path: Path, home: Path) -> Fetch:
    """`prt-bench fetch` into folders of the test's own; by default one model alone."""
    (tmp_path / "data").mkdir()
    places = ["--weights-dir", str(tmp_path / "weights"), "--data-dir", str(tmp_path / "data")]

    def call(*words: str, task: str = "digits", impatient: bool = False) -> Done:
        named = [*PAIR, "--task", task, *places, "--store", str(tmp_path / "store"), *words]
        return fetch(hub, home, *named, impatient=impatient)

    return call


def refusal(done: Done) -> str:
    """The one line that a refused command ends with."""
    assert done.returncode == 2, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("prt-bench: ")]
    assert len(said) == 1, done.stderr
    assert done.stderr.splitlines()[-1] == said[0]
    assert "Traceback" not in done.stderr
    return said[0]


def leftovers(folder: Path) -> list[str]:
    """Names of all files in a folder."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


# --- downloads ---


def test_a_connection_that_breaks_is_taken_up_within_the_command(
    hub: HubStandIn, fetching: Fetch, here: Path, tmp_path: Path
) -> None:
    served = tmp_path / "served" / "models" / HUB / FILE
    served.write_bytes(b"\0" + np.random.default_rng(1).bytes(23 * MEBI))
    hub.cut_after_bytes = 12 * MEBI
    done = fetching()
    assert done.returncode == 0, done.stderr
    assert [(asked.range, asked.status) for asked in hub.gets(FILE)] == [(None, 200), (f"bytes={10 * MEBI}-", 206)]
    assert (here / FILE).read_bytes() == served.read_bytes()


def test_an_interrupted_download_is_gone_on_with_by_the_next_command(
    hub: HubStandIn, fetching: Fetch, here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.cut_after_bytes, hub.cuts = 100_000, 100

    def cut_and_then_give_nothing(path: str) -> bool:
        hub.cut_after_bytes = 0
        return True

    monkeypatch.setattr(hub, "may_cut", cut_and_then_give_nothing)
    assert f"model {HUB}/{FILE}: cannot be fetched" in (said := refusal(fetching(impatient=True)))
    assert "fetch again; what was had of it is kept" in said
    (partial,) = [path for path in here.iterdir() if path.is_file()]
    assert partial.name == f".{FILE}.{COMMIT[:12]}.partial"
    had = partial.stat().st_size
    assert had == PIECE
    hub.cut_after_bytes = None
    before = len(hub.gets(FILE))
    done = fetching(impatient=True)
    assert done.returncode == 0, done.stderr
    assert [(asked.range, asked.status) for asked in hub.gets(FILE)[before:]] == [(f"bytes={had}-", 206)]
    assert (here / FILE).read_bytes() == (tmp_path / "served" / "models" / HUB / FILE).read_bytes()
    assert not partial.exists()


def test_data_that_came_in_part_is_not_taken_for_whole(hub: HubStandIn, fetching: Fetch, tmp_path: Path) -> None:
    repository = SPEC.source.repository if isinstance(SPEC.source, HubSource) else ""
    hub.gated.add(repository)
    refusal(fetching(task=TASK))
    hub.gated.clear()
    done = fetching(task=TASK)
    assert done.returncode == 0, done.stderr
    served = tmp_path / "served" / "datasets" / repository
    assert {*leftovers(tmp_path / "data" / repository)} >= {*leftovers(served)}


def test_corrupt_bytes_are_refused_and_removed(hub: HubStandIn, fetching: Fetch, here: Path) -> None:
    hub.corrupt.add(f"{HUB}/{FILE}")
    said = refusal(fetching())
    assert f"{HUB}/{FILE}: what came is not what the hub describes (its digest differs); removed" in said
    assert leftovers(here) == []
    hub.corrupt.clear()
    assert fetching().returncode == 0


def test_a_gated_repository_is_one_line_with_the_way_out(hub: HubStandIn, fetching: Fetch, here: Path) -> None:
    hub.gated.add(HUB)
    done = fetching()
    said = refusal(done)
    assert f"model {HUB}/{FILE}: cannot be fetched (GatedRepoError" in said
    assert "accept its terms on its page at the hub, log in with `hf auth login`, and fetch again" in said
    assert "yes: its terms must be accepted" in done.stderr
    assert not (here / FILE).exists()


def test_a_repository_that_is_missing_is_named(hub: HubStandIn, fetching: Fetch, tmp_path: Path) -> None:
    (tmp_path / "served" / "models" / HUB).rename(tmp_path / "away")
    said = refusal(fetching())
    assert f"model {HUB}: cannot be fetched (RepositoryNotFoundError" in said
    assert "it is not there under this name and commit" in said


def test_a_file_that_is_missing_is_named(fetching: Fetch, tmp_path: Path) -> None:
    (tmp_path / "served" / "models" / HUB / FILE).rename(tmp_path / "away")
    assert f"{HUB}: no file {FILE} at {COMMIT[:12]}" in refusal(fetching())


def test_other_bytes_at_a_pinned_commit_are_refused_and_removed(fetching: Fetch, here: Path, tmp_path: Path) -> None:
    assert fetching("--pin").returncode == 0
    pin = load_pins(tmp_path / "store" / "pins.yaml").models[HUB]
    assert pin.revision == COMMIT
    for path in (here / FILE, here / ".prt-bench.json"):
        path.unlink()
    (tmp_path / "served" / "models" / HUB / FILE).write_bytes(b"\0other")
    said = refusal(fetching())
    assert re.search(rf"{HUB}/{FILE}: digest [0-9a-f]{{12}}… where {pin.files[FILE][:12]}… is pinned; removed", said)
    assert not (here / FILE).exists()


def test_a_pinned_commit_that_is_gone_is_named(hub: HubStandIn, fetching: Fetch, here: Path) -> None:
    assert fetching("--pin").returncode == 0
    (here / FILE).unlink()
    hub.commits[f"models/{HUB}"] = "d" * 40
    assert f"model {HUB}: cannot be fetched (RevisionNotFoundError" in refusal(fetching())


# --- weights ---


@pytest.fixture
def small_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights of a small architecture under the real one's name; their own configuration is returned."""
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", dict(open_clip.factory._MODEL_CONFIGS))
    register_reduced()
    path = write_weights(tmp_path, CARD)
    return path.with_name("open_clip_config.json")


def prepared(tmp_path: Path, card: ModelCard) -> None:
    """Load a model as a run's worker does before any cell."""
    request = RunRequest(
        pairs=(f"{card.alias}:{card.alias}",),
        tasks=("digits",),
        methods=("zero-shot",),
        seeds=1,
        out=tmp_path / "board",
        store=tmp_path / "store",
        weights_dir=tmp_path / "models",
    )
    worker = Worker(request, quiet)
    for path in worker._cells:
        worker.prepare(path)


def test_weights_beside_a_right_configuration_are_loaded(small_model: Path, tmp_path: Path) -> None:
    assert small_model.is_file()
    prepared(tmp_path, CARD)


@pytest.mark.parametrize(
    ("part", "key", "value", "said"),
    [
        ("preprocess_cfg", "mean", [0.5, 0.5, 0.5], "mean is (0.48145466, 0.4578275, 0.40821073) on the card and "),
        ("preprocess_cfg", "std", [0.5, 0.5, 0.5], "std is (0.26862954, 0.26130258, 0.27577711) on the card and "),
        ("model_cfg", "quick_gelu", False, "activation is quick_gelu on the card and gelu in "),
    ],
)
def test_weights_that_say_otherwise_than_their_card_are_refused(
    part: str, key: str, value: Any, said: str, small_model: Path, tmp_path: Path
) -> None:
    config = json.loads(small_model.read_text(encoding="utf-8"))
    config[part][key] = value
    small_model.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(RequestError, match=re.escape(f"model {ALIAS}: {said}")) as caught:
        prepared(tmp_path, CARD)
    assert str(small_model) in str(caught.value)


# --- data ---


def test_test_rows_among_the_training_rows_are_refused_by_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    folder = write_dataset(tmp_path, SPEC, {"train": 2, "test": 1})
    train, test = (folder / "data" / f"{split}-00000-of-00001.parquet" for split in ("train", "test"))
    rows, stolen = pq.read_table(train), pq.read_table(test)
    values = rows.to_pylist()
    values[7]["image"] = stolen.to_pylist()[3]["image"]
    pq.write_table(type(rows).from_pylist(values, schema=rows.schema), train)
    words = ["--task", TASK, "--pair", "nano-rn16-a:nano-rn24-b", "--method", "zero-shot"]
    places = ["--data-dir", str(tmp_path / "datasets"), "--store", str(tmp_path / "store")]
    code = invoke(["run", "--offline", *words, *places, "--out", str(tmp_path / "board")])
    said = capsys.readouterr().err
    assert code == 2, said
    assert "task mnist: 1 test images are in train or validation too, the first as ylecun/mnist/train/7;" in said
    assert not list((tmp_path / "board").rglob("*.json"))


# --- task files ---


def crossed(name: str) -> tuple[dict[str, Any], tuple[str, str]]:
    """A task file in which two classes have swapped their names, and the two names."""
    value = yaml.safe_load(REGISTRY.task_files()[name].read_text(encoding="utf-8"))
    first, second = value["classes"][1], value["classes"][-1]
    for entry in (first, second):
        entry.setdefault("labels", [entry["name"]])
    first["name"], second["name"] = second["name"], first["name"]
    return value, (first["name"], second["name"])


@pytest.mark.parametrize("name", HUB_TASKS)
def test_a_class_list_with_two_names_swapped_is_refused_by_name(name: str, tmp_path: Path) -> None:
    value, names = crossed(name)
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump(value, allow_unicode=True, width=100_000), encoding="utf-8")
    with pytest.raises(RequestError, match="are the two swapped") as caught:
        load_yaml(path, TaskSpec)
    assert all(repr(one) in str(caught.value) for one in names)


def test_a_run_with_such_a_class_list_ends_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value, names = crossed(TASK)
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(value), encoding="utf-8")
    words = ["--data", str(path), "--pair", "nano-rn16-a:nano-rn24-b", "--method", "zero-shot"]
    code = invoke(["run", "--offline", *words, "--store", str(tmp_path / "store"), "--out", str(tmp_path / "board")])
    said = capsys.readouterr().err
    assert code == 2
    assert all(repr(one) in said for one in names)
    assert "are the two swapped?" in said
