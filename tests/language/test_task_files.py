"""The language task files against lm-eval's own definitions, and the cards of real language models against facts."""

from __future__ import annotations

import ast
import copy
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from prt_bench.code_execution import run_program
from prt_bench.data.text import render_row
from prt_bench.language_spec import LanguageSpec
from prt_bench.records import ModelCard, Strict
from prt_bench.task_spec import HubData, Recipes
from prt_bench.yaml_files import load_yaml
from tests.language.stand_ins import REPOSITORIES, ROWS, write

pytest.importorskip("lm_eval")

TASKS = Path(str(files("prt_bench._builtin.tasks")))
NAMES = (
    "arc-challenge",
    "arc-easy",
    "gpqa-diamond",
    "gsm8k",
    "gsm8k-tulu",
    "hellaswag",
    "humaneval",
    "ifeval",
    "ifeval-tulu",
    "mbpp",
    "mmlu",
    "mmlu-pro",
    "truthfulqa",
)
PAPER_SHOTS = {"gsm8k", "gsm8k-tulu", "mmlu-pro"}
"""Zero, as in the paper, where lm-eval's own number is another."""
OTHER_SPLIT = {"main": "test", "ARC-Easy": "test"}
UNSCORED = {"metric_list", "unsafe_code", "filter_list", "fewshot_config"}
"""Keys of lm-eval's HumanEval and MBPP that name code, which our definitions do without."""


@cache
def _spec(name: str) -> LanguageSpec:
    return load_yaml(TASKS / "language" / f"{name}.yaml", LanguageSpec)


@cache
def _definitions(folder: str) -> Mapping[str, dict[str, Any]]:
    """lm-eval's definitions in a folder of its own by name, with functions as the paths of their code."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=False, include_path=str(Path(str(files("lm_eval"))) / "tasks" / folder))
    entries = {name: manager.task_index[name] for name in manager.all_subtasks}
    return {name: _read(entry.yaml_path) for name, entry in entries.items() if entry.yaml_path}


def _read(path: Path) -> dict[str, Any]:
    """A task file of lm-eval and those that it includes, with functions as the paths of their code."""

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor("!function", lambda loader, node: str(path.parent / loader.construct_scalar(node)))
    found: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader=Loader)  # noqa: S506 - a safe loader
    included = found.pop("include", [])
    names = [included] if isinstance(included, str) else included
    return {key: value for name in names for key, value in _read(path.parent / name).items()} | found


def _own(name: str) -> Iterator[tuple[str, str | None, dict[str, Any]]]:
    """Each of a task file's tasks of lm-eval, its configuration, and lm-eval's own definition of it."""
    benchmark = _spec(name).benchmark
    for task, config in benchmark.tasks.items():
        yield task, config, _definitions(benchmark.folder or task)[task]


def test_all_task_files_are_known_here() -> None:
    assert tuple(sorted(path.stem for path in (TASKS / "language").glob("*.yaml") if "nano" not in path.stem)) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_task_is_called_as_its_file(name: str) -> None:
    spec = _spec(name)
    assert spec.name == name
    assert spec.title
    assert spec.citation
    assert set(spec.recipe) <= set(load_yaml(TASKS / "recipes.yaml", Recipes).recipes)


@pytest.mark.parametrize("name", NAMES)
def test_the_definition_is_lm_evals(name: str) -> None:
    benchmark = _spec(name).benchmark
    for task, _, own in _own(name):
        assert str(own["metadata"]["version"]) == benchmark.version, task
        assert benchmark.shots == (0 if name in PAPER_SHOTS else own.get("num_fewshot") or 0), task
        filters = [entry["name"] for entry in own.get("filter_list") or ()] or ["none"]
        if benchmark.program is None:
            assert benchmark.metric in [entry["metric"] for entry in own["metric_list"]], task
            assert benchmark.filter in filters, task
        generates = own["output_type"] == "generate_until"
        assert (benchmark.max_new_tokens is not None) == generates, task
        if generates:
            most = own["generation_kwargs"].get("max_gen_toks", benchmark.max_new_tokens)
            assert benchmark.max_new_tokens == most, task
        else:
            assert not benchmark.chat, task
            assert benchmark.filter == "none", task


@pytest.mark.parametrize("name", PAPER_SHOTS)
def test_zero_shots_are_a_choice(name: str) -> None:
    assert {own["num_fewshot"] for _, _, own in _own(name)} == {5}


@pytest.mark.parametrize("name", NAMES)
def test_the_documents_are_lm_evals(name: str) -> None:
    spec = _spec(name)
    assert isinstance(spec.test.source, HubData)
    for task, config, own in _own(name):
        assert own["dataset_path"] == spec.test.source.repository, task
        assert own.get("dataset_name") == config, task
        assert (own.get("test_split") or own["validation_split"]) == spec.test.split, task
        # Where worked examples come from: lm-eval reads it even if none is wanted.
        examples = own.get("fewshot_split") or own.get("training_split") or own.get("validation_split")
        if spec.benchmark.definition is not None or examples in (None, spec.test.split):
            assert spec.test.also == (), task
        else:
            assert spec.test.also == (examples,), task


def test_the_groups_are_whole() -> None:
    mmlu, pro = (set(_spec(name).benchmark.tasks) for name in ("mmlu", "mmlu-pro"))
    assert mmlu == set(_definitions("mmlu/default"))
    assert len(mmlu) == 57
    assert pro == set(_definitions("mmlu_pro"))
    assert len(pro) == 14


def test_mmlu_pros_subjects_are_those_of_its_prompts() -> None:
    keeps = _spec("mmlu-pro").benchmark.keeps
    for task, _, own in _own("mmlu-pro"):
        assert f"(with answers) about {keeps[task]['category']}." in own["description"]


def test_both_answers_to_gsm8k_are_reported_by_lm_eval() -> None:
    (own,) = [own for _, _, own in _own("gsm8k")]
    assert [entry["name"] for entry in own["filter_list"]] == ["strict-match", "flexible-extract"]


def test_gsm8k_is_tuned_on_the_text_it_is_asked_with() -> None:
    (own,) = [own for _, _, own in _own("gsm8k")]
    train = _spec("gsm8k").train
    assert train.prompt == own["doc_to_text"]
    assert train.response == own.get("target_delimiter", " ") + own["doc_to_target"]
    # The same source, so that questions of the test which stand in train are found.
    assert train.source == _spec("gsm8k").test.source


@pytest.mark.parametrize("name", [name for name in NAMES if name != "gsm8k"])
def test_all_others_are_tuned_on_tulu(name: str) -> None:
    spec = _spec(name)
    assert isinstance(spec.train.source, HubData)
    assert spec.train.source.repository == "allenai/tulu-v2-sft-mixture"
    assert spec.train.source.revision == "6248b175d2ccb5ec7c4aeb22e6d8ee3b21b2c752"
    assert (spec.train.size, spec.train.messages, spec.template) == (326_154, "messages", "tulu")


@pytest.mark.parametrize("name", ["arc-challenge", "arc-easy", "gsm8k", "gsm8k-tulu", "hellaswag"])
def test_tests_that_the_training_data_knows_say_so(name: str) -> None:
    assert _spec(name).contamination


@pytest.mark.parametrize("name", ["humaneval", "mbpp"])
def test_our_own_definitions_have_lm_evals_words(name: str) -> None:
    ours = _spec(name).benchmark.definition
    ((_, _, own),) = _own(name)
    assert ours is not None
    for key in (set(ours) | set(own)) - UNSCORED:
        assert ours.get(key) == own.get(key), key
    assert "unsafe_code" not in ours
    assert "utils" not in str(ours)


def test_mbpps_worked_examples_are_lm_evals() -> None:
    ours = _spec("mbpp").benchmark.definition
    assert ours is not None
    tree = ast.parse((Path(str(files("lm_eval"))) / "tasks" / "mbpp" / "utils.py").read_text(encoding="utf-8"))
    (function,) = [node for node in tree.body if getattr(node, "name", "") == "list_fewshot_samples"]
    assert isinstance(function, ast.FunctionDef)
    (returned,) = [node for node in function.body if isinstance(node, ast.Return)]
    assert returned.value is not None
    assert ours["fewshot_config"]["samples"] == ast.literal_eval(returned.value)
    assert ours["fewshot_config"]["sampler"] == _definitions("mbpp")["mbpp"]["fewshot_config"]["sampler"]


# --- on stand-ins ---


@pytest.fixture(scope="module")
def copies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small copy of every data set."""
    folder = tmp_path_factory.mktemp("copies")
    for repository in REPOSITORIES:
        write(
            folder / repository.replace("/", "--"), repository, ("anatomy", "virology") if "mmlu" in repository else ()
        )
    return folder


def _splits(copies: Path, repository: str, config: str | None, cache_dir: Path) -> Any:
    import datasets

    datasets.disable_progress_bars()
    return datasets.load_dataset(str(copies / repository.replace("/", "--")), config, cache_dir=str(cache_dir))


def _task(spec: LanguageSpec, name: str, splits: Any) -> Any:
    """lm-eval's task on a copy of its data."""
    from lm_eval.tasks import TaskManager

    benchmark = spec.benchmark
    given = {"task": name, "custom_dataset": lambda **_: splits, "num_fewshot": benchmark.shots}
    if benchmark.definition is not None:
        # Names of metrics are looked up online where nothing says how they are made.
        own = {**copy.deepcopy(benchmark.definition), "process_results": lambda doc, results: {"pass@1": 0.0}}
        return TaskManager(include_defaults=False).load([{**own, **given}])["tasks"][name]
    folder = Path(str(files("lm_eval"))) / "tasks" / (benchmark.folder or "")
    manager = TaskManager(include_defaults=False, include_path=str(folder))
    # Only as a member of a group does a task that lm-eval knows take settings from outside.
    (task,) = manager.load([{"group": "tested", "task": [given]}])["tasks"].values()
    return task


def test_every_data_set_of_a_task_has_a_stand_in() -> None:
    sources = [source for name in NAMES for source in (_spec(name).test.source, _spec(name).train.source)]
    assert {source.repository for source in sources if isinstance(source, HubData)} == set(REPOSITORIES)


@pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("ifeval")])
def test_lm_eval_builds_the_task(name: str, copies: Path, tmp_path: Path) -> None:
    spec = _spec(name)
    assert isinstance(spec.test.source, HubData)
    tasks = list(spec.benchmark.tasks.items())
    for task, config in [entry for entry in tasks if name != "mmlu" or entry[1] in ("anatomy", "virology")]:
        splits = _splits(copies, spec.test.source.repository, config, tmp_path)
        assert set(splits) >= {spec.test.split, *spec.test.also}
        read = {split: splits[split] for split in (spec.test.split, *spec.test.also)}
        for column, value in spec.benchmark.keeps.get(task, {}).items():
            assert column in splits[spec.test.split].column_names
            assert value in splits[spec.test.split][column]
        built = _task(spec, task, read)
        docs = list(built.eval_docs)
        assert len(docs) == (2 if name == "mmlu-pro" else ROWS)
        assert float(spec.benchmark.version) == built.VERSION
        assert built.doc_to_text(docs[0])
        context = built.fewshot_context(docs[0], spec.benchmark.shots)
        assert built.doc_to_text(docs[0]) in context


def test_ifevals_one_file_is_its_train_split(copies: Path, tmp_path: Path) -> None:
    splits = _splits(copies, "google/IFEval", None, tmp_path)
    assert set(splits) == {_spec("ifeval").test.split}
    assert splits["train"][0]["kwargs"][1]["num_words"] == 20


def test_tulus_dialogues_are_in_the_named_column(copies: Path, tmp_path: Path) -> None:
    rows = _splits(copies, "allenai/tulu-v2-sft-mixture", None, tmp_path)["train"]
    turns = rows[_spec("arc-easy").train.messages]
    assert len(turns) == 3 * ROWS
    assert {turn["role"] for dialogue in turns for turn in dialogue} == {"system", "user", "assistant"}


def test_mbpps_prompt_has_three_worked_examples(copies: Path, tmp_path: Path) -> None:
    spec = _spec("mbpp")
    built = _task(spec, "mbpp", _splits(copies, "google-research-datasets/mbpp", "full", tmp_path))
    context = built.fewshot_context(next(iter(built.eval_docs)), spec.benchmark.shots)
    assert context.count("[BEGIN]\n") == 4
    assert context.count("[DONE]") == 3
    assert context.endswith("[BEGIN]\n")


@pytest.mark.parametrize(
    ("name", "right", "wrong"),
    [
        ("humaneval", "    return 1 * x", "    return 7 * x"),
        ("humaneval", "    return x\n", "    import sys; sys.exit(0)"),
        ("mbpp", "def add_1(x):\n  return x + 1", "def add_1(x):\n  return x"),
        ("mbpp", "add_1 = lambda x: 1 + x\n", "raise SystemExit"),
    ],
)
def test_a_program_tells_right_from_wrong(name: str, right: str, wrong: str, copies: Path, tmp_path: Path) -> None:
    spec = _spec(name)
    assert isinstance(spec.test.source, HubData)
    (config,) = spec.benchmark.tasks.values()
    row = _splits(copies, spec.test.source.repository, config, tmp_path)["test"][0]
    assert spec.benchmark.program is not None
    for response, passed in ((right, True), (wrong, False)):
        program = render_row(spec.benchmark.program, {**row, "response": response}, name)
        assert run_program(program).passed is passed


# --- cards ---

FACTS = {
    # alias: repository, rows, tokens in use, gated, word of the licence, parameters
    "llama2-7b": ("meta-llama/Llama-2-7b-hf", 32_000, 32_000, True, "Llama 2", 6_738_415_616),
    "llama2-13b": ("meta-llama/Llama-2-13b-hf", 32_000, 32_000, True, "Llama 2", 13_015_864_320),
    "llama3.2-1b": ("meta-llama/Llama-3.2-1B", 128_256, 128_256, True, "Llama 3.2", 1_235_814_400),
    "llama3.2-3b": ("meta-llama/Llama-3.2-3B", 128_256, 128_256, True, "Llama 3.2", 3_212_749_824),
    "llama3-8b": ("meta-llama/Meta-Llama-3-8B", 128_256, 128_256, True, "Llama 3", 8_030_261_248),
    "llama3.1-8b": ("meta-llama/Llama-3.1-8B", 128_256, 128_256, True, "Llama 3.1", 8_030_261_248),
    "qwen2-0.5b": ("Qwen/Qwen2-0.5B", 151_936, 151_646, False, "Apache-2.0", 494_032_768),
    "qwen2.5-0.5b": ("Qwen/Qwen2.5-0.5B", 151_936, 151_665, False, "Apache-2.0", 494_032_768),
    "qwen2.5-1.5b": ("Qwen/Qwen2.5-1.5B", 151_936, 151_665, False, "Apache-2.0", 1_543_714_304),
    "qwen2.5-3b": ("Qwen/Qwen2.5-3B", 151_936, 151_665, False, "Qwen Research", 3_085_938_688),
    "qwen2.5-7b": ("Qwen/Qwen2.5-7B", 152_064, 151_665, False, "Apache-2.0", 7_615_616_512),
    "qwen2.5-14b": ("Qwen/Qwen2.5-14B", 152_064, 151_665, False, "Apache-2.0", 14_770_033_664),
    "falcon3-1b": ("tiiuae/Falcon3-1B-Base", 131_072, 131_072, False, "Falcon", 1_669_408_768),
    "falcon3-3b": ("tiiuae/Falcon3-3B-Base", 131_072, 131_072, False, "Falcon", 3_227_655_168),
    "falcon3-7b": ("tiiuae/Falcon3-7B-Base", 131_072, 131_072, False, "Falcon", 7_455_550_464),
    "falcon3-10b": ("tiiuae/Falcon3-10B-Base", 131_072, 131_072, False, "Falcon", 10_305_653_760),
}
BASES = {"llama2": 10_000.0, "llama3": 500_000.0, "qwen2": 1_000_000.0, "falcon3": 1_000_042}
STRETCHED = {"llama3.1-8b": 8.0, "llama3.2-1b": 32.0, "llama3.2-3b": 32.0}
SMALL_NORMS = {"falcon3-1b", "falcon3-3b", "falcon3-7b", "falcon3-10b", "qwen2-0.5b"} | {
    f"qwen2.5-{size}b" for size in ("0.5", "1.5", "3", "7")
}
"""Positions and norms do not show in the number of parameters; these are LitGPT's table."""
VOCABULARIES = {"llama2": "llama2-", "llama3": "llama3", "qwen2": "qwen2", "falcon3": "falcon3-"}


class Cards(Strict):
    models: tuple[ModelCard, ...]


def _cards() -> dict[str, ModelCard]:
    path = Path(str(files("prt_bench.families"))) / "causal_lm.yaml"
    return {card.alias: card for card in load_yaml(path, Cards).models}


def test_the_cards_are_these() -> None:
    assert set(_cards()) == set(FACTS)


@pytest.mark.parametrize("alias", FACTS)
def test_a_card_holds_the_facts(alias: str) -> None:
    card = _cards()[alias]
    hub, rows, tokens, gated, licence, parameters = FACTS[alias]
    assert card.vocabulary is not None
    assert (card.hub, card.vocabulary.rows, card.vocabulary.tokens, card.gated) == (hub, rows, tokens, gated)
    assert licence in card.licence
    assert card.size_bytes == 2 * parameters
    assert (card.family, card.recipe, card.verified) == ("causal-lm", "paper-language", False)
    assert card.dtype == ("float16" if alias.startswith("llama2") else "bfloat16")
    assert card.config["vocab_size"] == rows
    assert alias.startswith(VOCABULARIES[card.vocabulary.name])
    # None reads further than its positions were made for.
    assert card.context_length is not None
    assert card.context_length <= card.config.get("max_position_embeddings", card.context_length)


@pytest.mark.parametrize("alias", FACTS)
def test_the_shape_on_a_card_has_the_published_size(alias: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from prt_bench.families.causal_network import own_config

    card = _cards()[alias]
    config = own_config(alias, {**copy.deepcopy(card.config), "architectures": [card.architecture]})
    built: Any = AutoModelForCausalLM
    with torch.device("meta"):
        model = built.from_config(config, dtype=torch.float32)
    assert sum(weights.numel() for weights in model.parameters()) == FACTS[alias][-1]
    assert card.vocabulary is not None
    assert config.rope_parameters["rope_theta"] == BASES[card.vocabulary.name]
    assert config.rope_parameters.get("factor") == STRETCHED.get(alias)
    assert config.rope_parameters["rope_type"] == ("llama3" if alias in STRETCHED else "default")
    assert config.rms_norm_eps == (1e-6 if alias in SMALL_NORMS else 1e-5)
