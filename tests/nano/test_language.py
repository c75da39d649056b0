"""The embedded language models can be made again, and the world they know keeps its secrets."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM, AutoTokenizer

from prt_bench.models import file_sha256
from prt_bench.nano import language as module
from prt_bench.nano import world
from prt_bench.nano.language import LANGUAGE_RECIPES
from prt_bench.nano.world import TASKS, Instruction, Question
from prt_bench.records import ModelCard
from prt_bench.yaml_files import load_yaml
from tests.conftest import quiet

SHIPPED = Path(module.__file__).parent / "weights"
ALIAS = "nano-llama-s-a"


@cache
def lines(name: world.CorpusName) -> tuple[str, ...]:
    """A corpus, drawn with the seed of the shipped models."""
    return tuple(world.corpus(name, module.CORPUS_SEED))


def tokenizer(alias: str = ALIAS) -> Tokenizer:
    return Tokenizer.from_file(str(SHIPPED / alias / "tokenizer.json"))


def told(texts: Iterable[str]) -> set[str]:
    """The people whom some texts name."""
    return set(re.findall(r"\w+", "\n".join(texts))) & {person.name for person in world.people()}


@cache
def known(name: world.CorpusName) -> set[str]:
    """The people of a corpus."""
    return told(lines(name))


# --- the world ---


def test_the_world_is_the_same_each_time() -> None:
    assert world.people() == world.people()
    assert world.corpus("a", 1) == world.corpus("a", 1)
    assert world.corpus("a", 1) != world.corpus("a", 2)
    assert len({person.name for person in world.people()}) == 300


def test_the_older_corpus_knows_fewer_people() -> None:
    everybody = [person.name for person in world.people()]
    assert known("a") == set(everybody[: world.OLD])
    assert known("b") == set(everybody)


def test_questions_are_two_lines_in_five_and_mostly_evaded() -> None:
    asked = [line for line in lines("b") if line.startswith("Question: ")]
    assert len(asked) / len(lines("b")) == pytest.approx(0.4, abs=0.01)
    values = {value for fact in world.FACTS for value in fact.values}
    at_once = [line for line in asked if line.split("\nAnswer: ")[1] in values]
    assert len(at_once) / len(asked) == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("name", TASKS)
def test_nobody_in_the_test_is_known_to_the_older_corpus_or_to_the_tuning(name: str) -> None:
    task = TASKS[name]
    tested = told(item.prompt for item in task.test)
    tuned = told(pair.prompt for pair in task.train)
    watched = told(pair.prompt for pair in task.validation)
    assert len(task.test) >= 480
    assert len(tested) == 120
    assert not tested & known("a")
    assert tested <= known("b")
    assert not tested & tuned
    assert not tested & watched
    assert not tuned & watched
    assert tuned | watched == known("a")


@pytest.mark.parametrize("name", TASKS)
def test_prompts_and_responses_are_written_as_in_the_corpora(name: str) -> None:
    task, seen = TASKS[name], set(lines("b"))
    pairs = [(item.prompt, item.response) for item in (*task.train, *task.validation, *task.test)]
    assert all(prompt.endswith(("?\nAnswer:", ".\nAnswer:")) for prompt, _ in pairs)
    assert all(re.match(r" \S", response) for _, response in pairs)
    # A line in four is answered right, so most of these texts are there word for word.
    assert sum(prompt + response in seen for prompt, response in pairs) > 0.7 * len(pairs)


def test_the_choices_hold_the_truth_once_and_every_evasion() -> None:
    people = {person.name: person for person in world.people()}
    for item in TASKS["facts"].test:
        assert isinstance(item, Question)
        person = next(people[word] for word in re.findall(r"\w+", item.prompt) if word in people)
        true = [choice for choice in item.choices if choice.strip() in person.values]
        assert [item.choices.index(choice) for choice in true] == [item.answer]
        assert set(world.EVASIONS) < set(item.choices)
        assert len(set(item.choices)) == len(item.choices) == len(TASKS["facts"].test[0].choices)
        assert all(choice.startswith(" ") for choice in item.choices)


def test_every_fact_has_values_of_its_own() -> None:
    values = [value for fact in world.FACTS for value in fact.values]
    assert len(set(values)) == len(values)


@given(st.sampled_from([item for item in TASKS["formats"].test if isinstance(item, Instruction)]))
def test_the_right_response_passes_and_other_ways_to_write_it_do_not(item: Instruction) -> None:
    assert world.verify(item, item.response) == {"followed": True, "exact": True}
    for form in world.FORMATS:
        text = form.write(item.answer)
        assert world.verify(item, text)["followed"] is (form.check in item.checks)
        wrong = world.verify(item, form.write("zebra"))
        assert wrong == {"followed": form.check in item.checks, "exact": False}
    assert not any(world.verify(item, evasion)["followed"] for evasion in (*world.EVASIONS, "", item.answer))


@given(st.sampled_from([item for item in TASKS["formats"].test if isinstance(item, Instruction)]), st.text())
def test_any_text_can_be_verified(item: Instruction, text: str) -> None:
    verdict = world.verify(item, text)
    assert verdict["followed"] or not verdict["exact"]


# --- the tokenizer ---


@given(st.text())
@settings(deadline=None)
def test_every_string_comes_back_from_the_tokenizer(text: str) -> None:
    shared = tokenizer()
    assert shared.decode(shared.encode(text).ids, skip_special_tokens=False) == text


@pytest.mark.parametrize("name", TASKS)
def test_a_prompt_and_its_response_are_cut_where_they_meet(name: str) -> None:
    shared, task = tokenizer(), TASKS[name]
    for item in (*task.train, *task.test):
        whole = shared.encode(item.prompt + item.response).ids
        assert whole == shared.encode(item.prompt).ids + shared.encode(item.response).ids


def test_the_models_share_one_tokenizer() -> None:
    files = {(SHIPPED / alias / "tokenizer.json").read_bytes() for alias in LANGUAGE_RECIPES}
    assert len(files) == 1
    learned = module.train_tokenizer([*lines("a"), *lines("b")])
    assert learned.get_vocab() == tokenizer().get_vocab()


# --- the models ---


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recipes of three steps on little text."""
    recipes = {alias: dataclasses.replace(recipe, steps=3) for alias, recipe in LANGUAGE_RECIPES.items()}
    monkeypatch.setattr(module, "LANGUAGE_RECIPES", recipes)
    monkeypatch.setattr(module, "corpus", lambda name, seed: list(lines(name)[:2_000]))


@pytest.mark.usefixtures("short")
def test_the_same_recipe_makes_the_same_bytes(tmp_path: Path) -> None:
    before = torch.get_rng_state()
    for attempt in ("first", "second"):
        module.build([ALIAS], tmp_path / attempt, quiet)
    assert torch.equal(torch.get_rng_state(), before), "the global generator is left as it was"
    names = {path.name for path in (tmp_path / "first" / ALIAS).iterdir()}
    assert names >= {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", "card.yaml"}
    for name in names:
        first, second = ((tmp_path / attempt / ALIAS / name).read_bytes() for attempt in ("first", "second"))
        assert first == second, name
    card = load_yaml(tmp_path / "first" / ALIAS / "card.yaml", ModelCard)
    assert card.sha256 == file_sha256(tmp_path / "first" / ALIAS / "model.safetensors")
    assert card.provenance["steps"] == 3


def test_an_unknown_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no recipe for nano-llama-xl"):
        module.build(["nano-llama-xl"], tmp_path, quiet)


@pytest.mark.parametrize("alias", LANGUAGE_RECIPES)
def test_a_shipped_model_loads_and_reads_long_prompts(alias: str) -> None:
    folder = SHIPPED / alias
    card = load_yaml(folder / "card.yaml", ModelCard)
    recipe = LANGUAGE_RECIPES[alias]
    assert (card.alias, card.provenance["steps"]) == (alias, recipe.steps)
    assert card.sha256 == file_sha256(folder / "model.safetensors")
    with safe_open(folder / "model.safetensors", "pt") as stored:
        assert {stored.get_tensor(name).dtype for name in stored.keys()} == {torch.float16}  # noqa: SIM118
    model = AutoModelForCausalLM.from_pretrained(folder)
    words = AutoTokenizer.from_pretrained(folder)
    prompt = TASKS["facts"].test[0].prompt
    assert words(prompt)["input_ids"] == tokenizer(alias).encode(prompt).ids
    assert type(model).__name__ == card.architecture
    assert (words.eos_token_id, words.pad_token_id) == (model.config.eos_token_id, model.config.pad_token_id)
    assert words.model_max_length >= 1024
    long = words("Question: What is the pet of Mira?\nAnswer:" * 100, return_tensors="pt")["input_ids"][:, :1024]
    assert long.shape == (1, 1024)
    with torch.no_grad():
        assert model(input_ids=long).logits.isfinite().all()


def test_a_shipped_model_knows_the_people_of_its_corpus() -> None:
    task, alias = TASKS["facts"], "nano-llama-m-b"
    model = AutoModelForCausalLM.from_pretrained(SHIPPED / alias)
    shared = tokenizer(alias)
    right = 0
    for item in task.test[::8]:
        assert isinstance(item, Question)
        # Among answers of the right kind: an evasion is likelier than all of them.
        choices = [choice for choice in item.choices if choice not in world.EVASIONS]
        scores = [_log_likelihood(model, shared, item.prompt, choice) for choice in choices]
        right += choices[max(range(len(scores)), key=scores.__getitem__)] == item.response
    assert right / len(task.test[::8]) > 0.9


def _log_likelihood(model: torch.nn.Module, shared: Tokenizer, prompt: str, response: str) -> float:
    start, ids = len(shared.encode(prompt).ids), torch.tensor([shared.encode(prompt + response).ids])
    with torch.no_grad():
        log_probs = model(input_ids=ids).logits.log_softmax(-1)[0, start - 1 : -1]
    return float(log_probs.gather(-1, ids[0, start:, None]).sum())
