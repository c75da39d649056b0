"""What is measured of text: lm-eval's tasks on embedded models against a brute force that shares no code with them."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

from prt_bench.api import Artifact, Composition, Model, Places, Turn, WeightedSum
from prt_bench.costs import CompositionMeter
from prt_bench.data.text import Dialogues, Documents
from prt_bench.errors import CellError, RequestError
from prt_bench.feeds import Work
from prt_bench.generation import Lockstep
from prt_bench.language_spec import LanguageSpec
from prt_bench.nano import world
from prt_bench.networks import Networks
from prt_bench.registry import Registry
from prt_bench.rendering import rendering
from prt_bench.store import Store
from prt_bench.task_spec import Recipe
from prt_bench.tasks import TaskSource, load_task
from prt_bench.text_evaluator import TextEvaluator
from tests.conftest import Bench, quiet

SOURCE, TARGET = "nano-llama-s-a", "nano-llama-m-b"
WEIGHTS = Path(str(files("prt_bench.nano"))) / "weights"
FACTS, FORMATS, WATCHED = 12, 9, 7
"""Documents that are asked, and dialogues of the validation."""
TOLERANCE = 1e-5


def bench_of(name: str, registry: Registry, root: Path) -> Bench:
    store = Store(root)
    task = load_task(name, TaskSource(registry, store, None, quiet))
    recipe = Recipe(steps=5, batch_size=8, learning_rate=1e-3, warmup_steps=1, weight_decay=0.01, clip_norm=1.0)
    networks = Networks(registry, Places(), store, "cpu", quiet)
    return Bench(registry, store, task, networks, CompositionMeter(networks), recipe)


@pytest.fixture(scope="module")
def facts(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return bench_of("nano-facts", registry, tmp_path_factory.mktemp("facts"))


@pytest.fixture(scope="module")
def formats(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return bench_of("nano-formats", registry, tmp_path_factory.mktemp("formats"))


def documents(bench: Bench, chosen: Sequence[int]) -> Documents:
    found = bench.task.roles["test"].subset(chosen)
    assert isinstance(found, Documents)
    return found


def dialogues(bench: Bench) -> Dialogues:
    found = bench.task.roles["validation"].subset(range(WATCHED))
    assert isinstance(found, Dialogues)
    return found


def asking(
    bench: Bench, chosen: Sequence[int], networks: Networks | None = None, spec: LanguageSpec | None = None
) -> TextEvaluator:
    assert isinstance(bench.task.spec, LanguageSpec)
    asked = documents(bench, chosen)
    return TextEvaluator(
        spec or bench.task.spec, dialogues(bench), asked, networks or bench.networks, bench.meter, quiet, False
    )


def narrow(bench: Bench, context: int) -> Networks:
    """The same models, as if they could read no more than this."""
    networks = Networks(bench.registry, Places(), bench.store, "cpu", quiet)
    for alias in (SOURCE, TARGET):
        networks.text(bench.model(alias)).context_length = context
    return networks


# --- a brute force ---


@cache
def tokens_of() -> Tokenizer:
    return Tokenizer.from_file(str(WEIGHTS / TARGET / "tokenizer.json"))


@cache
def alone(alias: str) -> Any:
    auto: Any = AutoModelForCausalLM
    return auto.from_pretrained(WEIGHTS / alias, dtype=torch.float64)


def chances(weights: dict[str, float], ids: Sequence[int]) -> torch.Tensor:
    """Log-probabilities (T, K) of a weighted sum of shipped models, in fp64, one sequence at a time."""
    with torch.no_grad():
        whole = sum(
            w * alone(alias)(torch.tensor([list(ids)]), use_cache=False).logits[0] for alias, w in weights.items()
        )
    assert isinstance(whole, torch.Tensor)
    assert whole.dtype == torch.float64
    return whole.log_softmax(-1)


def log_likelihood(weights: dict[str, float], prompt: str, answer: str) -> float:
    start, ids = len(tokens_of().encode(prompt).ids), tokens_of().encode(prompt + answer).ids
    found = chances(weights, ids)[start - 1 : -1]
    return float(found.gather(1, torch.tensor(ids[start:])[:, None]).sum())


def written(weights: dict[str, float], prompt: str, most: int) -> str:
    """The likeliest continuation up to the end token or a line's end, without a cache."""
    ids, end = list(tokens_of().encode(prompt).ids), tokens_of().token_to_id("<|endoftext|>")
    out: list[int] = []
    while len(out) < most:
        token = int(chances(weights, [*ids, *out])[-1].argmax())
        if token == end:
            break
        out.append(token)
        if "\n" in tokens_of().decode(out):
            break
    return tokens_of().decode(out).split("\n")[0]


def rows_of(predictions: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(predictions)))


def plain(bench: Bench, **weights: float) -> Composition:
    """Untuned models by weight; `s` and `t` name the two."""
    names = {"s": SOURCE, "t": TARGET}
    return Composition({name: bench.model(names[name]) for name in weights}, WeightedSum(**weights))


MIXES: tuple[dict[str, float], ...] = ({"t": 1.0}, {"t": 1.0, "s": -0.5})
BY_ALIAS = {"s": SOURCE, "t": TARGET}
CHOSEN = [3, 100, 101, 7, 250, 251, 252, 400, 30, 31, 479, 0][:FACTS]


@pytest.mark.parametrize("weights", MIXES, ids=["one", "two"])
def test_choices_are_scored_as_by_brute_force(weights: dict[str, float], facts: Bench) -> None:
    evaluator, composition = asking(facts, CHOSEN), plain(facts, **weights)
    scores = evaluator.test(composition, evaluator.validate(composition))
    mix = {BY_ALIAS[name]: weight for name, weight in weights.items()}
    expected: dict[str, float] = {}
    for index in sorted(CHOSEN):
        item = world.TASKS["facts"].test[index]
        assert isinstance(item, world.Question)
        sums = [log_likelihood(mix, item.prompt, choice) for choice in item.choices]
        expected[f"facts/{index}"] = float(int(np.argmax(sums)) == item.answer)
        (row,) = [row for row in rows_of(scores.predictions) if row["id"] == f"facts/{index}"]
        assert json.loads(row["answer"]) == pytest.approx(sums, abs=1e-4)
        assert float(row["score"]) == float(row["acc"]) == expected[f"facts/{index}"]
    assert set(scores.metrics) == {"acc"}
    metric = scores.metrics["acc"]
    assert (metric.value, metric.n, metric.split) == (sum(expected.values()) / FACTS, FACTS, "test")
    assert metric.ci95 is not None
    assert metric.ci95[0] <= metric.value <= metric.ci95[1]
    assert scores.notes["too_long"] == 0
    assert scores.notes["requests"] == sum(len(item.choices) for item in world.TASKS["facts"].test[:FACTS])  # type: ignore[union-attr]


@pytest.mark.parametrize("weights", MIXES, ids=["one", "two"])
def test_generated_answers_are_scored_as_by_brute_force(weights: dict[str, float], formats: Bench) -> None:
    chosen = range(0, 9 * FORMATS, 9)
    evaluator, composition = asking(formats, chosen), plain(formats, **weights)
    scores = evaluator.test(composition, evaluator.validate(composition))
    mix = {BY_ALIAS[name]: weight for name, weight in weights.items()}
    found = rows_of(scores.predictions)
    verdicts = []
    for row, index in zip(found, chosen, strict=True):
        item = world.TASKS["formats"].test[index]
        assert isinstance(item, world.Instruction)
        text = written(mix, item.prompt, 16)
        assert json.loads(row["answer"]) == text
        verdict = world.verify(item, text)
        verdicts.append(verdict)
        assert {name: float(row[name]) for name in verdict} == verdict
    for name in ("exact", "followed"):
        assert scores.metrics[name].value == pytest.approx(np.mean([verdict[name] for verdict in verdicts]))
        assert scores.metrics[name].n == FORMATS
    assert [row["score"] for row in found] == [row["exact"] for row in found], "the headline"
    assert scores.notes["requests"] == FORMATS


def test_a_tuned_model_passes_what_the_untuned_one_fails(formats: Bench) -> None:
    """So that zeros above are not all that could come out."""
    evaluator = asking(formats, range(0, 160, 16))
    untuned, _ = formats.ported("zero-shot", TARGET, TARGET)
    tuned, _ = formats.ported("full-finetune", TARGET, TARGET, steps=40)
    values = [evaluator.test(one, evaluator.validate(one)).metrics for one in (untuned, tuned)]
    assert values[1]["followed"].value > values[0]["followed"].value + 0.3
    likelihoods = [evaluator.validate(one).value for one in (untuned, tuned)]
    assert likelihoods[1] > 1.1 * likelihoods[0]


def test_predictions_have_one_row_per_document_in_the_tests_order(facts: Bench) -> None:
    evaluator, composition = asking(facts, CHOSEN), plain(facts, t=1.0)
    scores = evaluator.test(composition, evaluator.validate(composition))
    found = rows_of(scores.predictions)
    assert [row["id"] for row in found] == documents(facts, CHOSEN).ids
    assert scores.predictions.splitlines()[0] == "id,score,acc,answer"
    again = asking(facts, CHOSEN)
    assert again.test(composition, again.validate(composition)).predictions == scores.predictions


# --- what does not fit ---


def test_a_document_that_is_too_long_scores_nothing_and_is_counted(formats: Bench) -> None:
    chosen = range(0, 160, 16)
    lengths = [len(tokens_of().encode(world.TASKS["formats"].test[index].prompt).ids) for index in chosen]
    context = sorted(lengths)[len(lengths) // 2]
    tuned, _ = formats.ported("full-finetune", TARGET, TARGET, steps=40)
    wide = asking(formats, chosen)
    before = wide.test(tuned, wide.validate(tuned))
    evaluator = asking(formats, chosen, narrow(formats, context))
    evaluator.refuse_unfit(formats.model(TARGET))
    scores = evaluator.test(tuned, evaluator.validate(tuned))
    long = [length >= context for length in lengths]
    assert 0 < sum(long) < len(long)
    assert scores.notes["too_long"] == sum(long)
    assert scores.notes["requests"] == len(long)
    found = rows_of(scores.predictions)
    assert any(
        float(row["followed"]) for row, is_long in zip(rows_of(before.predictions), long, strict=True) if is_long
    )
    for row, is_long in zip(found, long, strict=True):
        if is_long:
            assert {float(row[name]) for name in ("score", "exact", "followed")} == {0.0}
            assert json.loads(row["answer"]) == ""
    for name, metric in scores.metrics.items():
        assert metric.n == len(long), "counted among all"
        assert metric.value == pytest.approx(np.mean([float(row[name]) for row in found]))


LIKELIHOODS = {
    "output_type": "multiple_choice",
    "test_split": "test",
    "doc_to_text": "{{prompt}}",
    "doc_to_choice": "choices",
    "doc_to_target": "answer",
    "target_delimiter": "",
    "metric_list": [
        {"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm", "brier_score")
    ],
    "metadata": {"version": 1},
}


def test_all_metrics_of_a_document_that_is_too_long_are_zero(facts: Bench) -> None:
    """With one option that does not fit, the others may not be compared among themselves."""
    assert isinstance(facts.task.spec, LanguageSpec)
    metrics = [{**one, "aggregation": "mean"} for one in LIKELIHOODS["metric_list"][:2]]  # type: ignore[index]
    definition = {**LIKELIHOODS, "metric_list": metrics}
    benchmark = facts.task.spec.benchmark.model_copy(update={"definition": definition})
    spec = facts.task.spec.model_copy(update={"benchmark": benchmark})
    chosen = range(40)
    # Up to what one of its options more than the right answer needs.
    items = [world.TASKS["facts"].test[index] for index in chosen]
    longest = [max(len(tokens_of().encode(item.prompt + c).ids) for c in item.choices) for item in items]  # type: ignore[union-attr]
    shortest = [len(tokens_of().encode(item.prompt + item.response).ids) for item in items]
    context = sorted(longest)[len(longest) // 3] - 1
    wide = asking(facts, chosen, spec=spec)
    tuned, _ = facts.ported("full-finetune", TARGET, TARGET, steps=40)
    before = rows_of(wide.test(tuned, wide.validate(tuned)).predictions)
    evaluator = asking(facts, chosen, narrow(facts, context), spec)
    scores = evaluator.test(tuned, evaluator.validate(tuned))
    long = [length > context + 1 for length in longest]
    assert scores.notes["too_long"] == sum(long)
    found = rows_of(scores.predictions)
    lost = 0
    for was, row, is_long, right in zip(before, found, long, shortest, strict=True):
        if is_long:
            assert {float(row[name]) for name in ("score", "acc", "acc_norm")} == {0.0}
            lost += float(was["acc"]) > 0 and right <= context
        else:
            assert (row["acc"], row["acc_norm"]) == (was["acc"], was["acc_norm"])
    assert lost, "some whose right answer alone would have fitted"
    assert set(scores.metrics) == {"acc", "acc_norm"}
    for name, metric in scores.metrics.items():
        assert metric.value == pytest.approx(np.mean([float(row[name]) for row in found]))


@pytest.mark.parametrize("name", ["facts", "formats"])
def test_a_model_that_can_read_no_request_is_refused_before_any_work(name: str, request: pytest.FixtureRequest) -> None:
    bench: Bench = request.getfixturevalue(name)
    lengths = [len(tokens_of().encode(world.TASKS[name].test[index].prompt).ids) for index in range(6)]
    evaluator = asking(bench, range(6), narrow(bench, min(lengths)))
    expected = rf"model {TARGET} reads {min(lengths)} tokens; every request of task nano-{name} is longer \(up to"
    with pytest.raises(RequestError, match=expected):
        evaluator.refuse_unfit(bench.model(TARGET))
    asking(bench, range(6), narrow(bench, min(lengths) + 1)).refuse_unfit(bench.model(TARGET))


# --- what stands before a request ---

SAID: tuple[Turn, ...] = (
    ("system", "Be short."),
    ("user", "Question: Where does Mira live?\nAnswer:"),
    ("assistant", " Oslo"),
    ("user", "Question: Where does Tolin live?\nAnswer:"),
    ("assistant", " Lima"),
)


def test_turns_before_a_request_lengthen_the_query_and_every_prompt(facts: Bench) -> None:
    evaluator = asking(facts, range(4))
    bare = plain(facts, t=1.0)
    led = Composition(bare.members, bare.rule, SAID)
    before = "Be short.\n\n" + "".join(f"{asked[1]}{said[1]}\n\n" for asked, said in (SAID[1:3], SAID[3:]))
    extra = len(tokens_of().encode(before).ids)
    assert evaluator.query(bare).prompt_tokens == 24
    assert evaluator.query(led).prompt_tokens == 24 + extra
    assert evaluator.query(led).output_tokens == evaluator.query(bare).output_tokens
    scores = {name: evaluator.test(one, evaluator.validate(one)) for name, one in (("bare", bare), ("led", led))}
    requests = scores["bare"].notes["requests"]
    assert scores["led"].notes["requests"] == requests
    assert scores["led"].notes["prompt_tokens"] == scores["bare"].notes["prompt_tokens"] + extra * requests
    item = world.TASKS["facts"].test[0]
    assert isinstance(item, world.Question)
    expected = [log_likelihood({TARGET: 1.0}, before + item.prompt, choice) for choice in item.choices]
    assert json.loads(rows_of(scores["led"].predictions)[0]["answer"]) == pytest.approx(expected, abs=1e-4)
    assert evaluator.validate(led).value != evaluator.validate(bare).value


def test_turns_before_a_request_are_rendered_as_the_task_says(facts: Bench) -> None:
    """In Tulu's marks a worked example has the end token; plainly it has none."""
    assert isinstance(facts.task.spec, LanguageSpec)
    tulu = facts.task.spec.model_copy(update={"template": "tulu"})
    led = Composition(plain(facts, t=1.0).members, WeightedSum(t=1.0), SAID[1:3])
    text = "<|user|>\nQuestion: Where does Mira live?\nAnswer:\n<|assistant|>\n Oslo<|endoftext|>\n"
    query = asking(facts, range(1), spec=tulu).query(led)
    assert query.prompt_tokens == 24 + len(tokens_of().encode(text).ids)


def test_few_shots_are_the_training_sets_and_tune_nothing(facts: Bench) -> None:
    evaluator = asking(facts, range(2))
    method, tools, data = facts.method("few-shot:shots=3"), facts.tools(seed=5), facts.data()
    models = facts.model(SOURCE), facts.model(TARGET)
    artifact = method.port(method.fit(models[0], data, tools), *models, data, tools)
    assert not tools.ledger.charges, "nothing was trained or run"
    assert artifact is not None
    assert artifact.tensors() == {}
    composition = method.attach(artifact, *models)
    assert list(composition.members.values()) == [models[1]], "the target as it is"
    train = facts.task.roles["train"]
    assert isinstance(train, Dialogues)
    told = {train.dialogue(index) for index in range(len(train))}
    shown = [composition.dialogue[at : at + 2] for at in range(0, len(composition.dialogue), 2)]
    assert len(shown) == len(set(shown)) == 3
    assert set(shown) <= told
    assert evaluator.query(composition).prompt_tokens > 24
    other, _ = facts.ported("few-shot:shots=3", SOURCE, TARGET, seed=6)
    assert other.dialogue != composition.dialogue
    assert facts.ported("few-shot:shots=3", SOURCE, TARGET, seed=5)[0].dialogue == composition.dialogue
    urial, none = facts.ported("urial", SOURCE, TARGET)
    assert none is None
    assert list(urial.members.values()) == [models[1]]
    assert evaluator.query(urial).prompt_tokens > 200


# --- validation ---


@pytest.mark.parametrize("said", [(), SAID], ids=["bare", "led"])
@pytest.mark.parametrize("weights", MIXES, ids=["one", "two"])
def test_the_likelihood_of_validation_is_that_of_a_brute_force(
    weights: dict[str, float], said: tuple[Turn, ...], facts: Bench
) -> None:
    members = plain(facts, **weights)
    composition = Composition(members.members, members.rule, said)
    evaluator = asking(facts, range(1))
    mix = {BY_ALIAS[name]: weight for name, weight in weights.items()}
    before = "Be short.\n\n" + "".join(f"{asked[1]}{answer[1]}\n\n" for asked, answer in (SAID[1:3], SAID[3:]))
    sums, right, lengths, rows = [], [], [], 0
    for (_, prompt), (_, answer) in map(dialogues(facts).dialogue, range(WATCHED)):
        prompt = (before if said else "") + prompt
        start = len(tokens_of().encode(prompt).ids)
        ids = tokens_of().encode(prompt + answer + "<|endoftext|>").ids
        found = chances(mix, ids)[start - 1 : -1]
        truth = torch.tensor(ids[start:])
        sums += found.gather(1, truth[:, None])[:, 0].tolist()
        right += (found.argmax(-1) == truth).tolist()
        lengths.append(len(ids))
        rows += len(truth)
    validated = evaluator.validate(composition)
    assert validated.value == pytest.approx(math.exp(np.mean(sums)), rel=1e-4)
    assert validated.metrics["token_likelihood"].value == validated.value
    assert validated.metrics["token_accuracy"].value == pytest.approx(np.mean(right))
    assert {metric.n for metric in validated.metrics.values()} == {len(sums)}
    prices = [facts.meter.price(model) for model in composition.members.values()]
    singly = [price.of(Work(lengths={length: 1})) or 0 for price in prices for length in lengths]  # type: ignore[arg-type]
    expected = sum(singly) + sum(price.of(Work(rows=rows)) or 0 for price in prices)
    flops, seconds = evaluator.reading([composition])
    assert flops == expected
    assert seconds > 0, "as validating took"
    assert evaluator.reading([composition, composition])[0] == 2 * expected


def test_where_no_validation_dialogue_fits_nothing_is_preferred_to_it(facts: Bench) -> None:
    evaluator = asking(facts, range(1), narrow(facts, 12))
    validated = evaluator.validate(plain(facts, t=1.0))
    assert (validated.value, validated.metrics) == (0.0, {})


def test_a_headline_that_lm_eval_does_not_measure_is_told(facts: Bench) -> None:
    assert isinstance(facts.task.spec, LanguageSpec)
    benchmark = facts.task.spec.benchmark.model_copy(update={"metric": "f1"})
    evaluator = asking(facts, range(1), spec=facts.task.spec.model_copy(update={"benchmark": benchmark}))
    composition = plain(facts, t=1.0)
    with pytest.raises(CellError, match="task nano-facts: lm-eval measured acc, not f1"):
        evaluator.test(composition, evaluator.validate(composition))


def test_the_global_random_state_is_as_it_was(facts: Bench) -> None:
    import random

    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # type: ignore[index, union-attr]
    evaluator, composition = asking(facts, range(2)), plain(facts, t=1.0)
    evaluator.refuse_unfit(facts.model(TARGET))
    evaluator.test(composition, evaluator.validate(composition))
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]  # type: ignore[index, union-attr]
    assert torch.equal(torch.get_rng_state(), states[2])


# --- what must hold for correct methods, on text ---


def log_probs(bench: Bench, composition: Composition, networks: Networks | None = None) -> torch.Tensor:
    """After every token of a few dialogues, in fp64."""
    lockstep = Lockstep(composition, (networks or bench.networks).text)
    how, out = rendering("plain"), []
    with torch.inference_mode():
        for index in range(3):
            entry = how.encode(dialogues(bench).dialogue(index), lockstep.first.tokenizer, 99)
            rows = torch.arange(len(entry.ids))
            out.append(lockstep.logits(torch.tensor([entry.ids]), None, rows).double().log_softmax(-1))
    return torch.cat(out)


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool((one - other).abs().max() <= TOLERANCE * max(1.0, float(other.abs().max())))


def test_eft_on_its_own_source_is_the_tuned_source(facts: Bench) -> None:
    eft, _ = facts.ported("eft", SOURCE, SOURCE)
    tuned, _ = facts.ported("source-finetune", SOURCE, SOURCE)
    zero_shot, _ = facts.ported("zero-shot", SOURCE, SOURCE)
    assert close(log_probs(facts, eft), log_probs(facts, tuned))
    assert not close(log_probs(facts, tuned), log_probs(facts, zero_shot)), "tuning must have changed something"
    part, _ = facts.ported("eft:alpha=0.3", SOURCE, SOURCE)
    mixed = 0.7 * log_probs(facts, zero_shot) + 0.3 * log_probs(facts, tuned)
    assert close(log_probs(facts, part), mixed.log_softmax(-1))


@pytest.mark.parametrize("alpha", [0.5, 3.0])
def test_eft_with_an_untuned_tuned_source_is_the_target(alpha: float, facts: Bench) -> None:
    eft, artifact = facts.ported(f"eft:alpha={alpha}", SOURCE, TARGET, steps=0)
    assert artifact is not None
    zero_shot, _ = facts.ported("zero-shot", SOURCE, TARGET)
    assert close(log_probs(facts, eft), log_probs(facts, zero_shot))


@pytest.mark.parametrize("lam", [1.0, 2.0])
def test_prt_on_its_own_source_is_its_training_model(lam: float, facts: Bench) -> None:
    prt, artifact = facts.ported(f"prt:lambda={lam}", SOURCE, SOURCE)
    source = facts.model(SOURCE)
    in_training = Composition(
        {"source": source, "trained": source.tuned(artifact)}, WeightedSum(source=1.0, trained=1.0 / lam)
    )
    assert close(log_probs(facts, prt), log_probs(facts, in_training))
    evaluator = asking(facts, range(1))
    assert evaluator.validate(prt).value == pytest.approx(evaluator.validate(in_training).value, rel=1e-5)


def test_prt_of_no_steps_on_its_own_source_doubles_the_logits(facts: Bench) -> None:
    prt, _ = facts.ported("prt", SOURCE, SOURCE, steps=0)
    zero_shot, _ = facts.ported("zero-shot", SOURCE, SOURCE)
    plain_ = log_probs(facts, zero_shot)
    assert close(log_probs(facts, prt), (2 * plain_).log_softmax(-1))


def test_a_reward_that_is_the_difference_of_two_models_gives_eft(facts: Bench) -> None:
    eft, artifact = facts.ported("eft", SOURCE, TARGET)
    members = {"target": facts.model(TARGET), "tuned": facts.model(SOURCE).tuned(artifact), "s": facts.model(SOURCE)}

    def through_the_reward(outputs: Any) -> torch.Tensor:
        reward = outputs["tuned"].log_softmax(-1) - outputs["s"].log_softmax(-1)
        found: torch.Tensor = outputs["target"] + reward
        return found

    assert close(log_probs(facts, eft), log_probs(facts, Composition(members, through_the_reward)))


def test_no_verb_changes_a_base_weight(facts: Bench) -> None:
    def weights() -> dict[str, torch.Tensor]:
        return {
            f"{alias}.{name}": value.clone()
            for alias in (SOURCE, TARGET)
            for name, value in facts.networks.get(facts.model(alias)).module.state_dict().items()
        }

    before, methods = weights(), ("prt", "eft", "full-finetune")
    artifacts = [facts.ported(method, SOURCE, TARGET, seed=9, steps=2)[1] for method in methods]
    after = weights()
    assert all(torch.equal(before[name], after[name]) for name in before)
    changed: Artifact | None = artifacts[0]
    assert changed is not None
    source = facts.networks.get(facts.model(SOURCE)).module.state_dict()
    assert any(not torch.equal(value, source[name]) for name, value in changed.tensors().items())


def test_what_prt_tunes_on_one_source_does_not_depend_on_the_target(facts: Bench) -> None:
    keys = {artifact.key for target in (SOURCE, TARGET) if (artifact := facts.ported("prt", SOURCE, target)[1])}
    assert len(keys) == 1


def test_models_of_either_size_can_be_source_and_target(facts: Bench) -> None:
    model: Model = facts.model(TARGET)
    back, _ = facts.ported("prt", TARGET, SOURCE, steps=1)
    assert [member.card.alias for member in back.members.values()] == [SOURCE, TARGET]
    assert back.members["reward"].identity == model.identity
