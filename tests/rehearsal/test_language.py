"""The mirror rehearsal of text: every language model and every language task, fetched, run offline and shown."""

from __future__ import annotations

import csv
import hashlib
import html
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import close_session, constants
from tokenizers import Tokenizer

from prt_bench.cli.main import invoke
from prt_bench.errors import RequestError
from prt_bench.executors.local import WorkFailed
from prt_bench.language_spec import LanguageSpec
from prt_bench.pins import Pins, load_pins
from prt_bench.places import MANIFEST
from prt_bench.records import Record, read_record
from prt_bench.registry import Registry
from prt_bench.runner import RunOptions
from prt_bench.store import Store
from prt_bench.tasks import TaskSource, load_task, task_spec
from tests.conftest import quiet
from tests.language import stand_ins as data_stand_ins
from tests.rehearsal import hub as hub_module
from tests.rehearsal.commands import Done, fetch, run
from tests.rehearsal.hub import HubStandIn
from tests.rehearsal.language_stand_ins import (
    NEW_TOKENS,
    control,
    family_of,
    is_sharded,
    ordinary,
    reduce_all,
    reduced,
    rows_of,
    write_model,
    write_punkt,
)

pytest.importorskip("lm_eval")

REGISTRY = Registry()
PLUGIN = Path(__file__).with_name("language_plugin.py")
SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
TASK_FILES = {
    name: path for name, path in REGISTRY.task_files().items() if path.parent.name == "language" and "nano" not in name
}
CARDS = {alias: card for alias, card in REGISTRY.cards.items() if card.family == "causal-lm" and not card.embedded}
SPECS = {name: spec for name in TASK_FILES if isinstance(spec := task_spec(name, REGISTRY), LanguageSpec)}
PAIRS = (
    "llama2-7b:llama2-13b",
    "llama3.2-1b:llama3-8b",
    "llama3.2-3b:llama3.1-8b",
    "qwen2-0.5b:qwen2.5-7b",
    "qwen2.5-0.5b:qwen2.5-1.5b",
    "qwen2.5-3b:qwen2.5-14b",
    "falcon3-1b:falcon3-7b",
    "falcon3-3b:falcon3-10b",
)
TASK_PAIR = "qwen2.5-0.5b:qwen2.5-1.5b"
TASK_METHODS = ("zero-shot", "eft")
MODEL_METHODS = ("zero-shot", "source-zero-shot", "eft")
MODEL_TASK = "gsm8k"
CODE = ("humaneval", "mbpp")
EMBEDDED = "nano-llama-s-a:nano-llama-m-b"
TULU = "allenai/tulu-v2-sft-mixture"
MMLU = "cais/mmlu"
RECIPE = {"epochs": None, "steps": 2, "batch_size": 2, "micro_batch_size": 2, "warmup_ratio": None, "warmup_steps": 1}
SENTENCES = {
    "key": 2000,
    "prompt": "Say in two sentences or more, and in English, what a hill is.",
    "instruction_id_list": ["length_constraints:number_sentences", "language:response_language"],
    "kwargs": [{"relation": "at least", "num_sentences": 2}, {"language": "en"}],
}
"""An instruction whose scorer reads NLTK's sentence data, and one that detects languages."""
MMLU_ROWS = 1


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

    def run(self, out: str, *words: str) -> Board:
        """`prt-bench run --offline` from them, and what it left."""
        asked = ["--plugin", str(PLUGIN), *self.places, "--out", str(self.root / out), *words]
        done = run(self.unasked, self.home, *asked, recipe=RECIPE, reduced=False, threads=1)  # type: ignore[arg-type]
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


def repositories() -> set[str]:
    """Data sets that the tasks stand on."""
    return {source.repository for spec in SPECS.values() for source in spec.hub_data}


def sha256(path: Path) -> str:
    """Digest of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def files_of(folder: Path) -> dict[str, Path]:
    """Every file below a folder, by its name from there."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Iterator[Mirror]:
    """The hub with a stand-in for every language model and the data of every language task."""
    root = tmp_path_factory.mktemp("language-mirror")
    served = root / "served"
    for card in CARDS.values():
        write_model(served, card)
    with pytest.MonkeyPatch.context() as patch:
        # Else every small answer waits 40 ms for the one before it to be acknowledged.
        patch.setattr(hub_module._Handler, "disable_nagle_algorithm", True)
        for repository in repositories() - {MMLU}:
            data_stand_ins.write(served / "datasets" / repository, repository)
        patch.setattr(data_stand_ins, "ROWS", MMLU_ROWS)
        data_stand_ins.write(served / "datasets" / MMLU, MMLU)
        # No task reads these: 57 files less to fetch.
        for path in (served / "datasets" / MMLU).rglob("validation-*"):
            path.unlink()
        with (served / "datasets" / "google/IFEval" / "ifeval_input_data.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(SENTENCES) + "\n")
        revision = {source.revision for spec in SPECS.values() for source in spec.hub_data if source.repository == TULU}
        commits = {f"datasets/{TULU}": str(*revision)}
        with HubStandIn(served, commits=commits) as hub, HubStandIn(served, commits=commits) as unasked:
            found = Mirror(root, hub, unasked, home)
            found.data.mkdir()
            # As `fetch --task ifeval` leaves it.
            write_punkt(found.store / "nltk")
            yield found


@pytest.fixture(scope="module")
def fetched(mirror: Mirror) -> Done:
    """One `fetch --pin` of all models and tasks."""
    words = [*mirror.places, "--pin", *options("--pair", PAIRS), *options("--task", SPECS)]
    return fetch(mirror.hub, mirror.home, *words)


@pytest.fixture(scope="module")
def pins(mirror: Mirror, fetched: Done) -> Pins:
    """What was noted of it."""
    return load_pins(mirror.store / "pins.yaml")


@pytest.fixture(scope="module")
def boards(mirror: Mirror, fetched: Done) -> Iterator[dict[str, Future[Board]]]:
    """One pair on all tasks, and beside it all models in pairs on one task."""
    asked = {
        "tasks": [
            *("--pair", TASK_PAIR, "--allow-code-execution"),
            *options("--task", SPECS),
            *options("--method", TASK_METHODS),
        ],
        "models": [*options("--pair", PAIRS), "--task", MODEL_TASK, *options("--method", MODEL_METHODS)],
    }
    with ThreadPoolExecutor(len(asked)) as pool:
        yield {name: pool.submit(mirror.run, name, *words, "--seeds", "1") for name, words in asked.items()}


@pytest.fixture(scope="module")
def tasks(boards: dict[str, Future[Board]]) -> Board:
    """The run of all tasks, when it has ended."""
    return boards["tasks"].result()


@pytest.fixture(scope="module")
def models(boards: dict[str, Future[Board]]) -> Board:
    """The run of all models, when it has ended."""
    return boards["models"].result()


# --- what is rehearsed ---


def test_no_language_model_and_no_language_task_is_left_out() -> None:
    assert (len(CARDS), len(SPECS), len(PAIRS)) == (16, 13, 8)
    assert {alias for pair in PAIRS for alias in pair.split(":")} == set(CARDS)
    on_the_hub = {name for name in REGISTRY.task_files() if getattr(task_spec(name, REGISTRY), "hub_data", ())}
    of_text = {name for name in on_the_hub if isinstance(task_spec(name, REGISTRY), LanguageSpec)}
    assert of_text == set(SPECS)
    assert repositories() == set(data_stand_ins.REPOSITORIES)


def test_stand_ins_of_models_are_of_both_forms() -> None:
    assert {is_sharded(card) for card in CARDS.values()} == {True, False}
    assert {card.config["tie_word_embeddings"] for card in CARDS.values()} == {True, False}
    assert {rows_of(card) > len(control(alias)) + len(ordinary(family_of(card))) for alias, card in CARDS.items()} == {
        True,
        False,
    }


# --- fetch ---


def test_all_of_it_is_fetched_in_one_command(fetched: Done) -> None:
    assert fetched.returncode == 0, fetched.stderr


@pytest.mark.parametrize("alias", CARDS)
def test_a_model_comes_as_it_is_served_and_is_pinned(alias: str, mirror: Mirror, fetched: Done, pins: Pins) -> None:
    card = CARDS[alias]
    assert card.hub is not None
    here, served = mirror.weights / card.hub, files_of(mirror.root / "served" / "models" / card.hub)
    del served["README.md"]
    assert ("model.safetensors.index.json" in served) == is_sharded(card)
    assert files_of(here).keys() == served.keys() | {MANIFEST}
    assert all((here / name).read_bytes() == path.read_bytes() for name, path in served.items())
    pin = pins.models[card.hub]
    assert pin.revision == mirror.hub.commit("models", card.hub)
    assert pin.files == {name: sha256(path) for name, path in served.items()}
    assert re.search(rf"weights of {re.escape(alias)} .*{pin.revision[:12]} .*{pin.licence}.* no ", fetched.stderr)


@pytest.mark.parametrize("repository", sorted(repositories()))
def test_data_comes_as_it_is_served_and_is_pinned(repository: str, mirror: Mirror, fetched: Done, pins: Pins) -> None:
    here, served = mirror.data / repository, files_of(mirror.root / "served" / "datasets" / repository)
    assert files_of(here).keys() == served.keys() | {MANIFEST}
    assert all((here / name).read_bytes() == path.read_bytes() for name, path in served.items())
    pin = pins.datasets[repository]
    assert pin.revision == mirror.hub.commit("datasets", repository)
    assert pin.files == {name: sha256(path) for name, path in served.items()}
    told = {source.revision for spec in SPECS.values() for source in spec.hub_data if source.repository == repository}
    assert told <= {None, pin.revision}


def test_pinned_models_are_listed_as_verified(
    mirror: Mirror, fetched: Done, capsys: pytest.CaptureFixture[str]
) -> None:
    assert invoke(["list", "models", "--json", "--store", str(mirror.store)]) == 0
    rows = {row["alias"]: row for row in json.loads(capsys.readouterr().out)}
    assert {alias: rows[alias]["verified"] for alias in CARDS} == dict.fromkeys(CARDS, True)


# --- every task ---


def predictions(record: Record, path: Path) -> list[dict[str, str]]:
    """The rows of a record's predictions."""
    assert record.quality is not None
    with (path.parent / record.quality.predictions).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def documents(task: str) -> int:
    """How many the stand-in of a task's test asks about."""
    return {"mmlu": 57 * MMLU_ROWS, "mmlu-pro": 28, "ifeval": 7, "ifeval-tulu": 7}.get(task, 6)


def test_the_run_of_all_tasks_holds(tasks: Board) -> None:
    assert tasks.done.returncode == 0, tasks.done.stderr


@pytest.mark.parametrize("task", SPECS)
def test_a_task_goes_from_the_hub_to_the_page(task: str, tasks: Board) -> None:
    spec, found = SPECS[task], tasks.records(TASK_PAIR, task)
    assert {method: record.status for method, (record, _) in found.items()} == dict.fromkeys(TASK_METHODS, "ok")
    for record, path in found.values():
        assert re.fullmatch(rf"{spec.version}\+local\.[0-9a-f]{{8}}", record.provenance.task.version)
        assert record.quality is not None
        assert record.quality.primary == spec.primary
        assert record.quality.metrics[spec.primary].n == documents(task)
        assert record.quality.counts["too_long"] == 0
        assert record.quality.counts["requests"] >= documents(task)
        rows = predictions(record, path)
        assert {row["id"].rpartition("/")[0] for row in rows} == set(spec.benchmark.tasks)
        assert len({row["id"] for row in rows}) == len(rows) == documents(task)
        assert record.cost is not None
        assert record.cost.per_query.latency
        assert record.cost.per_query.flops.total
    eft = found["eft"][0]
    assert eft.cost is not None
    assert eft.cost.once.examples == RECIPE["steps"] * RECIPE["batch_size"]  # type: ignore[operator]
    assert eft.cell.recipe["qwen2.5-0.5b"]["steps"] == RECIPE["steps"]
    assert eft.quality is not None
    assert eft.quality.validation.keys() == {"token_likelihood", "token_accuracy"}
    assert eft.quality.validation != found["zero-shot"][0].quality.validation  # type: ignore[union-attr]
    assert re.search(rf"\b{re.escape(task)}\b", tasks.page)
    assert TASK_PAIR.replace(":", " → ") in tasks.page


@pytest.mark.parametrize("task", ["gsm8k", "gsm8k-tulu"])
def test_both_filters_of_gsm8k_are_in_the_record(task: str, tasks: Board) -> None:
    for record, _ in tasks.records(TASK_PAIR, task).values():
        assert record.quality is not None
        assert record.quality.metrics.keys() == {"exact_match,strict-match", "exact_match,flexible-extract"}


# --- every model ---


def test_the_run_of_all_models_holds(models: Board) -> None:
    assert models.done.returncode == 0, models.done.stderr


def asked_of_gsm8k(mirror: Mirror) -> list[str]:
    """The prompts of the stand-in's test, read without this package."""
    import pyarrow.parquet as pq

    (path,) = (mirror.root / "served/datasets/openai/gsm8k/main").glob("test-*.parquet")
    questions = pq.read_table(path)["question"].to_pylist()
    return [f"Question: {question}\nAnswer:" for question in questions]


def answer_of(folder: Path, prompt: str, usable: int) -> str:
    """Greedy text by transformers alone, of the tokens that there are."""
    from transformers import AutoModelForCausalLM

    loader: Any = AutoModelForCausalLM
    model = loader.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    words = Tokenizer.from_file(str(folder / "tokenizer.json"))
    told = words.encode(prompt).ids
    ends = json.loads((folder / "generation_config.json").read_text(encoding="utf-8"))["eos_token_id"]
    new: list[int] = []
    for _ in range(NEW_TOKENS):
        with torch.no_grad():
            logits = model(torch.tensor([[*told, *new]])).logits[0, -1, :usable]
        if int(logits.argmax()) == ends:
            break
        new.append(int(logits.argmax()))
    return str(words.decode(new))


@pytest.mark.parametrize("alias", CARDS)
def test_a_model_goes_from_the_hub_to_the_page(alias: str, mirror: Mirror, models: Board) -> None:
    pair = next(pair for pair in PAIRS if alias in pair.split(":"))
    found = models.records(pair, MODEL_TASK)
    assert {method: record.status for method, (record, _) in found.items()} == dict.fromkeys(MODEL_METHODS, "ok")
    folder = mirror.weights / str(CARDS[alias].hub)
    weights = sorted(folder.glob("*.safetensors"))
    assert len(weights) == (2 if is_sharded(CARDS[alias]) else 1)
    for record, _ in found.values():
        assert record.provenance.models[alias].sha256 == sha256(weights[0])
        assert not record.provenance.models[alias].embedded
    # Answers are those of transformers on the very files: all shards, no padding, and the token that begins a text.
    record, path = found["zero-shot" if alias == pair.split(":")[1] else "source-zero-shot"]
    assert record.quality is not None
    prompts, small = asked_of_gsm8k(mirror), reduced(CARDS[alias])
    assert small.vocabulary is not None
    answers = {row["id"]: json.loads(row["answer"]) for row in predictions(record, path)}
    assert answers["gsm8k/2"] == answer_of(folder, prompts[2], small.vocabulary.tokens).partition("Question:")[0]
    words = Tokenizer.from_file(str(folder / "tokenizer.json"))
    told = [words.encode(prompt).ids for prompt in prompts]
    assert record.quality.counts["prompt_tokens"] == sum(map(len, told))
    begins = words.id_to_token(told[0][0]) in control(alias)
    assert begins == alias.startswith("llama")
    assert pair.replace(":", " → ") in models.page


def test_models_that_differ_answer_differently(models: Board) -> None:
    said = []
    for pair in PAIRS:
        found = models.records(pair, MODEL_TASK)
        for method in ("zero-shot", "source-zero-shot"):
            record = found[method][0]
            assert record.quality is not None
            said.append(record.quality.validation["token_likelihood"].value)
    assert len(set(said)) == len(said) == len(CARDS)


# --- the network ---


def test_no_run_asks_the_hub_for_anything(mirror: Mirror, tasks: Board, models: Board) -> None:
    assert [board.done.returncode for board in (tasks, models)] == [0, 0]
    assert mirror.unasked.requests == []


# --- vocabularies ---


def met(pair: str) -> dict[str, int]:
    """What two vocabularies share, counted id by id."""
    sides = []
    for alias in pair.split(":"):
        own, family = control(alias), family_of(CARDS[alias])
        parts = (own, ordinary(family)) if family in ("llama2", "falcon3") else (ordinary(family), own)
        tokens = [*parts[0], *parts[1]]
        sides.append([*tokens, *[None] * (rows_of(CARDS[alias]) - len(tokens))])
    longest = max(map(len, sides))
    both = list(zip(*([*side, *[None] * (longest - len(side))] for side in sides), strict=True))
    return {
        "shared": sum(one == other is not None for one, other in both),
        "one_sided": sum(one != other for one, other in both),
        "padding": sum(one is other is None for one, other in both),
    }


@pytest.mark.parametrize("pair", PAIRS)
def test_what_a_pair_masks_is_printed_and_in_the_record(pair: str, models: Board) -> None:
    wanted = met(pair)
    for record, _ in models.records(pair, MODEL_TASK).values():
        assert record.provenance.vocabulary == wanted
    lines = [line for line in models.done.stderr.splitlines() if line.startswith(f"{pair}: ")]
    if not wanted["one_sided"] + wanted["padding"]:
        assert lines == []
        return
    assert lines == [
        f"{pair}: {wanted['shared']} tokens shared; masked: {wanted['one_sided']} that one side lacks or calls "
        f"otherwise, {wanted['padding']} rows of padding"
    ]


def test_the_papers_pairs_mask_what_their_families_added() -> None:
    # Of Llama 3's: four names, and all after the tenth, which are one reserved number on.
    assert met("llama3.2-1b:llama3-8b") | {"shared": 0} == {"shared": 0, "one_sided": 3 + 6, "padding": 0}
    assert met("qwen2-0.5b:qwen2.5-7b")["one_sided"] == 22 - 3


# --- in this process ---


class Here:
    """An executor without a worker; errors come as a worker's would."""

    def __init__(self, open_job: Callable[[Callable[..., None]], Any]) -> None:
        self._open_job, self._job = open_job, None

    def call(self, name: str, *args: Any, report: Callable[..., None], **_: Any) -> Any:
        self._job = self._job or self._open_job(quiet)
        try:
            return getattr(self._job, name)(*args)
        except RequestError:
            raise
        except Exception as error:
            raise WorkFailed(type(error).__name__, " ".join(str(error).split()), "here", False) from error

    def close(self) -> None:
        """Nothing to end."""


class Nowhere:
    """An executor that must not be needed."""

    def __init__(self, open_job: Any) -> None:
        raise AssertionError("work was begun")


@dataclass(frozen=True)
class Said:
    """What a command said."""

    code: int
    out: str
    err: str

    @property
    def refusal(self) -> str:
        """The one line that a refused request says."""
        assert self.code == 2, self.err
        (line,) = self.err.splitlines()
        assert line.startswith("prt-bench: ")
        return line


@dataclass(frozen=True)
class Local:
    """Commands in this process, offline, with short cost sessions, into folders of their own."""

    root: Path
    capsys: pytest.CaptureFixture[str]
    patch: pytest.MonkeyPatch

    @property
    def out(self) -> Path:
        return self.root / "board"

    def run(self, *words: str, begins: bool = False) -> Said:
        """`run`, zero-shot; unless it `begins`, no worker may be asked for."""
        self.patch.setattr("prt_bench.runner.LocalExecutor", Here if begins else Nowhere)
        where = ["--store", str(self.root / "store"), "--out", str(self.out)]
        self.capsys.readouterr()
        code = invoke(["run", "--offline", *where, "--method", "zero-shot", "--seeds", "1", *words])
        said = self.capsys.readouterr()
        return Said(code, said.out, said.err)

    def records(self) -> list[Record]:
        return [read_record(path) for path in sorted((self.out / "results").rglob("*.json"))]


@pytest.fixture
def local(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Local:
    short = partial(RunOptions, batch_sizes=(1,), session_seconds=0.02)
    monkeypatch.setattr("prt_bench.cli.run.RunOptions", short)
    monkeypatch.setenv("COLUMNS", "240")
    monkeypatch.setenv("TQDM_DISABLE", "1")
    return Local(tmp_path, capsys, monkeypatch)


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cards and tasks are the stand-ins'."""
    reduce_all(monkeypatch.setattr)


@pytest.fixture
def no_nltk(monkeypatch: pytest.MonkeyPatch) -> None:
    """NLTK's data is nowhere but where the test puts it."""
    import nltk

    monkeypatch.setattr(nltk.data, "path", [])


# --- what is refused ---


@pytest.mark.usefixtures("small", "fetched")
def test_another_familys_tokenizer_is_refused_by_its_first_token(mirror: Mirror, local: Local) -> None:
    said = local.run(*mirror.places[:4], "--pair", "llama2-7b:qwen2.5-7b", "--task", "gsm8k")
    assert "pair llama2-7b:qwen2.5-7b" in said.refusal
    assert "token 0 is '<unk>' against '!'" in said.refusal


@pytest.mark.parametrize("task", CODE)
@pytest.mark.usefixtures("small", "fetched")
def test_without_leave_code_is_not_run_and_its_cells_are_skipped(task: str, mirror: Mirror, local: Local) -> None:
    said = local.run(*mirror.places[:4], "--pair", TASK_PAIR, "--task", task, begins=True)
    assert said.code == 0, said.err
    (record,) = local.records()
    assert record.status == "skipped"
    assert record.error is not None
    assert f"scoring {task} runs code that the model wrote: pass --allow-code-execution" in record.error.message
    assert record.absent["quality"] == "the cell was skipped"
    assert "skipped: " in said.err


@pytest.mark.parametrize("task", ["ifeval", "ifeval-tulu"])
@pytest.mark.usefixtures("small", "fetched", "no_nltk")
def test_without_sentence_data_ifeval_is_refused_before_a_model_is_loaded(
    task: str, mirror: Mirror, local: Local
) -> None:
    said = local.run(*mirror.places[:4], "--pair", TASK_PAIR, "--task", task)
    for part in (f"task {task}", "punkt_tab", f"`prt-bench fetch --task {task}`", "store/nltk/tokenizers/punkt_tab"):
        assert part in said.refusal


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[HubStandIn], None]]:
    """Makes this process ask a hub for the length of a test; elsewhere the suite is offline."""

    def ask(hub: HubStandIn) -> None:
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("HF_HUB_OFFLINE", "0")
        for name, value in {
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_TELEMETRY": True,
            "HF_HUB_DISABLE_IMPLICIT_TOKEN": True,
            "ENDPOINT": hub.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
        }.items():
            monkeypatch.setattr(constants, name, value)
        close_session()

    yield ask
    close_session()


@pytest.mark.parametrize("status", [401, 403])
def test_a_gated_model_without_access_is_refused_with_the_way_to_it(
    status: int,
    mirror: Mirror,
    online: Callable[[HubStandIn], None],
    local: Local,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Refusal(hub_module._RefusalError):
        """Nobody is known without a token: 401. With one that has no access it is 403."""

        def __init__(self, said: int, *words: Any) -> None:
            super().__init__(status if said == 403 else said, *words)

    monkeypatch.setattr(hub_module, "_RefusalError", Refusal)
    with HubStandIn(mirror.root / "served", gated=["meta-llama/Llama-3.2-1B"]) as hub:
        online(hub)
        words = ["--pair", "llama3.2-1b:llama3.2-1b", "--task", "nano-facts", "--store", str(local.root / "store")]
        assert invoke(["fetch", *words]) == 2
        lines = local.capsys.readouterr().err.splitlines()
        assert {asked.status for asked in hub.gets()} == {status}
    assert lines[-1].startswith("prt-bench: model meta-llama/Llama-3.2-1B")
    assert "accept its terms on its page at the hub, log in with `hf auth login`" in lines[-1]
    assert [line for line in lines if line.startswith("prt-bench: ")] == lines[-1:]
    assert any("gated" in line for line in lines[:-1])
    assert not list((local.root / "store").rglob("*.safetensors"))


@pytest.mark.parametrize("key", ["auto_map", "custom_generate"])
@pytest.mark.usefixtures("small", "fetched")
def test_a_config_that_names_code_is_refused(key: str, mirror: Mirror, local: Local) -> None:
    hub = str(CARDS["falcon3-7b"].hub)
    shutil.copytree(mirror.weights / hub, local.root / "weights" / hub)
    path = local.root / "weights" / hub / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**config, key: {"AutoModelForCausalLM": "modeling_own.Own"}}), encoding="utf-8")
    places = ["--weights-dir", str(local.root / "weights"), "--data-dir", str(mirror.data)]
    said = local.run(*places, "--pair", "falcon3-7b:falcon3-7b", "--task", "gsm8k")
    for part in ("model falcon3-7b", str(path), key, "code would be run"):
        assert part in said.refusal


OWN_TASK = """
name: own
version: 1
title: Own
kind: language
benchmark:
  tasks: {own: null}
  definition:
    output_type: generate_until
    test_split: test
    doc_to_text: "{{prompt}}"
    doc_to_target: ""
    generation_kwargs: {until: ["\\n"], do_sample: false}
    metadata: {version: 1}
  version: 1
  patterns: {exact: "{{response}}"}
  metric: exact
  max_new_tokens: 2
test: {source: {kind: files, path: .}, split: test}
train: {source: {kind: files, path: .}, split: train, validation: 1, prompt: "{{prompt}}", response: "{{response}}"}
query: {prompt_tokens: 8, output_tokens: 2}
licence: none
"""


def own_task(folder: Path, prompts: Sequence[str], train: Sequence[Mapping[str, str]] | None = None) -> Path:
    """A task file of a user's, with its texts beside it."""
    rows = train or [{"prompt": f"Say {n}. ", "response": f"{n}"} for n in range(4)]
    asked = [{"prompt": prompt, "response": "1"} for prompt in prompts]
    for split, entries in (("train", rows), ("test", asked)):
        text = "".join(json.dumps(entry) + "\n" for entry in entries)
        (folder / f"{split}.jsonl").write_text(text, encoding="utf-8")
    (folder / "own.yaml").write_text(OWN_TASK, encoding="utf-8")
    return folder / "own.yaml"


def test_prompts_that_do_not_fit_are_wrong_and_counted(local: Local, tmp_path: Path) -> None:
    file = own_task(tmp_path, ["One. ", "word " * 3000, "Two. "])
    said = local.run("--pair", EMBEDDED, "--data", str(file), begins=True)
    assert said.code == 0, said.err
    (record,) = local.records()
    assert record.quality is not None
    assert record.quality.counts["too_long"] == 1
    assert record.quality.counts["requests"] == record.quality.metrics["exact"].n == 3


def test_where_no_prompt_fits_the_run_is_refused_before_it_begins(local: Local, tmp_path: Path) -> None:
    file = own_task(tmp_path, ["word " * 3000, "word " * 4000])
    said = local.run("--pair", EMBEDDED, "--data", str(file), begins=True)
    assert said.code == 2
    line = said.err.splitlines()[-1]
    assert line.startswith("prt-bench: ")
    assert "nano-llama-m-b reads 1024 tokens; every request of task own is longer" in line
    assert local.records() == []


def test_a_row_without_an_answer_is_refused_by_its_place(local: Local, tmp_path: Path) -> None:
    rows = [{"prompt": f"Say {n}. ", "response": "" if n == 2 else "it"} for n in range(4)]
    said = local.run("--pair", EMBEDDED, "--data", str(own_task(tmp_path, ["One. "], rows)))
    assert "train.jsonl:3: this row has no response" in said.refusal


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (("{gsm8k: main}", "{gsm8kk: main}"), ("lm-eval has no task 'gsm8kk'", "gsm8k")),
        (("version: 3.0", "version: 2.0"), ("lm-eval's gsm8k is version 3.0", "written for 2.0")),
    ],
    ids=["no such task", "another version"],
)
@pytest.mark.usefixtures("small", "fetched")
def test_a_task_file_that_lm_eval_does_not_meet_is_refused(
    change: tuple[str, str], parts: tuple[str, ...], mirror: Mirror, local: Local, tmp_path: Path
) -> None:
    text = TASK_FILES["gsm8k"].read_text(encoding="utf-8")
    assert text.count(change[0]) == 1
    file = tmp_path / "mine.yaml"
    file.write_text(text.replace("name: gsm8k", "name: mine", 1).replace(*change), encoding="utf-8")
    said = local.run("--data-dir", str(mirror.data), "--pair", EMBEDDED, "--data", str(file), begins=True)
    assert said.code == 2, said.err
    line = said.err.splitlines()[-1]
    assert line.startswith("prt-bench: task mine: ")
    for part in parts:
        assert part in line
    assert local.records() == []


@pytest.mark.parametrize(
    ("pair", "task", "parts"),
    [
        (EMBEDDED, "digits", (EMBEDDED, "text", "digits")),
        ("nano-rn16-a:nano-rn24-b", "nano-facts", ("nano-rn16-a:nano-rn24-b", "images", "nano-facts")),
    ],
)
def test_a_pair_and_a_task_that_do_not_meet_are_refused(
    pair: str, task: str, parts: tuple[str, ...], local: Local
) -> None:
    refusal = local.run("--pair", pair, "--task", task).refusal
    for part in parts:
        assert part in refusal


# --- real data ---


def real(name: str) -> Path:
    """A folder of real texts; skips by name where it is not there."""
    if not (SHARED / name).is_dir():
        pytest.skip(f"{SHARED / name} is not here")
    return SHARED / name


@pytest.mark.usefixtures("small")
def test_real_gsm8k_is_asked_of_the_embedded_models(local: Local) -> None:
    folder = real("gsm8k")
    asked = ["--data-dir", str(folder.parent), "--pair", EMBEDDED, "--task", "gsm8k", "--limit", "2"]
    said = local.run(*asked, begins=True)
    assert said.code == 0, said.err
    (record,) = local.records()
    assert record.status == "ok"
    assert record.partial
    # All of it is there, so this is the pinned set.
    assert record.provenance.task.version == "1"
    assert record.quality is not None
    assert {metric.n for metric in record.quality.metrics.values()} == {2}
    assert record.quality.counts["too_long"] == 0


@pytest.mark.usefixtures("small", "no_nltk")
def test_real_ifeval_is_asked_of_the_embedded_models(mirror: Mirror, local: Local, tmp_path: Path) -> None:
    folder = real("ifeval")
    data = tmp_path / "data"
    (data / "allenai").mkdir(parents=True)
    (data / "ifeval").symlink_to(folder)
    (data / TULU).symlink_to(mirror.root / "served" / "datasets" / TULU)
    write_punkt(tmp_path / "store" / "nltk")
    task = load_task("ifeval", TaskSource(REGISTRY, Store(tmp_path / "store"), data, quiet))
    assert len(task.roles["test"]) == 541
    said = local.run("--data-dir", str(data), "--pair", EMBEDDED, "--task", "ifeval", "--limit", "2", begins=True)
    assert said.code == 0, said.err
    (record,) = local.records()
    assert record.status == "ok"
    assert record.quality is not None
    assert record.quality.metrics["prompt_level_strict_acc"].n == 2
