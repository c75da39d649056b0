"""lm-eval asks a composition: for one plain model its own HFLM is the measure, for a sum a brute force is."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from lm_eval import evaluator
from lm_eval.api.instance import Instance
from lm_eval.tasks import TaskManager

from prt_bench import lm_eval_bridge
from prt_bench.api import Composition, WeightedSum
from prt_bench.errors import CellError, RequestError
from prt_bench.lm_eval_bridge import CompositionLM
from tests.tiny_language import BEGIN, CONTEXT, END, KINDS, Cast, Speaker, size, speaker, tokenizer

CONTEXTS = ("the cat sat. ", "in the box", "Q: 1 + 1 =\nA:", "", f"{BEGIN}a hat", "x", " the end  ")
CONTINUATIONS = ("a", " b", "the", " in the rain", ".\n", "Zz9")
SETTINGS: tuple[dict[str, Any], ...] = (
    {"until": ["a", "the"], "max_gen_toks": 12},
    {"until": "e", "max_gen_toks": 9, "do_sample": False},
    {"until": [], "max_gen_toks": 15, "temperature": 0.0},
    {"max_new_tokens": 7},
)


def one_of(speakers: Mapping[str, Speaker], **options: Any) -> CompositionLM:
    weights = options.pop("weights", dict.fromkeys(speakers, 1.0))
    models = {name: speaker.model for name, speaker in speakers.items()}
    return CompositionLM(Composition(models, WeightedSum(**weights)), Cast(*speakers.values()), **options)


def hflm(one: Speaker, **options: Any) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=one.decoder, tokenizer=one.network.tokenizer, **{"batch_size": 3, **options})


def pairs(texts: Sequence[tuple[str, str]]) -> list[Instance]:
    return [Instance("loglikelihood", {}, text, 0, metadata=("pairs", number, 1)) for number, text in enumerate(texts)]


def every_pair() -> list[Instance]:
    texts = [(context, continuation) for context in CONTEXTS for continuation in CONTINUATIONS]
    random.Random(0).shuffle(texts)
    return pairs(texts)


def passages(texts: Sequence[str]) -> list[Instance]:
    return [
        Instance("loglikelihood_rolling", {}, (text,), 0, metadata=("passages", number, 1))
        for number, text in enumerate(texts)
    ]


def prompts(settings: Sequence[Mapping[str, Any]], contexts: Sequence[str] = CONTEXTS) -> list[Instance]:
    return [
        Instance("generate_until", {}, (context, dict(one)), 0, metadata=("prompts", number, 1))
        for one in settings
        for number, context in enumerate(contexts)
        if context
    ]


def assert_scored_alike(mine: Sequence[tuple[float, bool]], theirs: Sequence[tuple[float, bool]]) -> None:
    assert [one for one, _ in mine] == pytest.approx([one for one, _ in theirs], abs=2e-4)
    assert [greedy for _, greedy in mine] == [greedy for _, greedy in theirs]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("begins", [False, True])
def test_log_likelihoods_are_those_of_hflm(kind: str, begins: bool) -> None:
    one = speaker(kind, 3, begins=begins)
    found = one_of({"target": one}, batch_size=5).loglikelihood(every_pair())
    assert_scored_alike(found, hflm(one).loglikelihood(every_pair(), disable_tqdm=True))


def test_whether_texts_get_a_first_token_can_be_said() -> None:
    one = speaker("llama", 3, begins=True)
    plain, without = one_of({"target": one}), one_of({"target": one}, add_bos=False)
    theirs = hflm(one, add_bos_token=False).loglikelihood(every_pair(), disable_tqdm=True)
    assert_scored_alike(without.loglikelihood(every_pair()), theirs)
    assert plain.tok_encode("the") == [tokenizer().bos_token_id, *without.tok_encode("the")]
    assert plain.tok_encode(f"{BEGIN}the") == plain.tok_encode("the"), "never twice"
    assert plain.tok_encode("the", add_special_tokens=False) == without.tok_encode("the")


def test_greedy_continuations_are_known_as_hflm_knows_them() -> None:
    one = speaker("gpt2", 4)
    mine, theirs = one_of({"target": one}), hflm(one)
    answers = mine.generate_until(prompts([{"max_gen_toks": 5}]))
    contexts = [context for context in CONTEXTS if context]
    asked = [(context.rstrip(), answer) for context, answer in zip(contexts, answers, strict=True) if answer.strip()]
    found = mine.loglikelihood(pairs([*asked, ("the", " not this")]))
    assert_scored_alike(found, theirs.loglikelihood(pairs([*asked, ("the", " not this")]), disable_tqdm=True))
    assert any(greedy for _, greedy in found)
    assert not found[-1][1]


@pytest.mark.parametrize("kind", KINDS)
def test_rolling_log_likelihoods_are_those_of_hflm(kind: str) -> None:
    one = speaker(kind, 3)
    texts = ["", "a", "the rain in Spain", "in the beginning there was a box. " * 8, "x" * CONTEXT, "y" * (CONTEXT + 1)]
    found = one_of({"target": one}, batch_size=4).loglikelihood_rolling(passages(texts))
    assert found == pytest.approx(hflm(one).loglikelihood_rolling(passages(texts), disable_tqdm=True), abs=1e-3)
    assert max(len(tokenizer().encode(text)) for text in texts) > 2 * CONTEXT, "several windows"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("begins", [False, True])
def test_generated_texts_are_those_of_hflm(kind: str, begins: bool) -> None:
    one = speaker(kind, 6, begins=begins)
    mine = one_of({"target": one}, batch_size=3).generate_until(prompts(SETTINGS))
    # In batches HFLM asks the first text alone whether it starts with the first token.
    assert mine == hflm(one, batch_size=1).generate_until(prompts(SETTINGS), disable_tqdm=True)
    if not begins:
        assert mine == hflm(one).generate_until(prompts(SETTINGS), disable_tqdm=True)
    assert len(set(mine)) > len(mine) // 3


def test_a_text_that_spells_the_end_token_ends_there_though_the_network_does_not_stop() -> None:
    one = speaker("llama", 6)
    one.network.stop_ids = ()
    mine = one_of({"target": one}).generate_until(prompts(SETTINGS[2:]))
    assert mine == hflm(one).generate_until(prompts(SETTINGS[2:]), disable_tqdm=True)


TASKS = {
    "choices": """
task: choices
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/questions.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "Q: {{question}}\\nA:"
doc_to_choice: "{{options}}"
doc_to_target: "{{answer}}"
metric_list: [{metric: acc}, {metric: acc_norm}]
""",
    "answers": """
task: answers
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/questions.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "Q: {{question}}\\nA:"
doc_to_target: "{{options[answer]}}"
generation_kwargs: {until: ["e", "\\n"], max_gen_toks: 10, do_sample: false}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
""",
}


@pytest.fixture
def evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], dict[str, list[dict[str, Any]]]]:
    """Asks two tasks that are written as users write them, and gives what was answered."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    words = ["the hat", "a box", "in", "rain"]
    questions = [
        {"question": f"{first} + {second}?", "options": [" the hat", " in", " a"][: 2 + first % 2], "answer": 1}
        for first in range(4)
        for second in words
    ]
    lines = "".join(json.dumps(question) + "\n" for question in questions)
    (tmp_path / "questions.jsonl").write_text(lines, encoding="utf-8")
    for name, text in TASKS.items():
        (tmp_path / f"{name}.yaml").write_text(text.replace("FOLDER", str(tmp_path)), encoding="utf-8")
    manager = TaskManager(include_defaults=False, include_path=str(tmp_path))

    def ask(lm: Any) -> dict[str, list[dict[str, Any]]]:
        found = evaluator.evaluate(lm, manager.load(list(TASKS)), bootstrap_iters=0)
        samples: dict[str, list[dict[str, Any]]] = found["samples"]
        return samples

    return ask


def test_hand_written_tasks_give_what_they_give_with_hflm(
    evaluated: Callable[[Any], dict[str, list[dict[str, Any]]]],
) -> None:
    one = speaker("llama", 8)
    mine, theirs = evaluated(one_of({"target": one})), evaluated(hflm(one))
    assert [sample["resps"] for sample in mine["answers"]] == [sample["resps"] for sample in theirs["answers"]]
    assert {sample["acc"] for sample in mine["choices"]} == {0.0, 1.0}
    for ours, other in zip(mine["choices"], theirs["choices"], strict=True):
        assert (ours["acc"], ours["acc_norm"]) == (other["acc"], other["acc_norm"])
        assert_scored_alike([resp[0] for resp in ours["resps"]], [resp[0] for resp in other["resps"]])


def brute_force(
    speakers: Mapping[str, Speaker], weights: Mapping[str, float], text: tuple[str, str]
) -> tuple[float, bool]:
    """Log-probability and greediness of a continuation under the sum, in fp64, one sequence at a time."""
    context, whole = tokenizer().encode(text[0]), tokenizer().encode("".join(text))
    total: Any = sum(weights[name] * one.plainly(whole).double() for name, one in speakers.items())
    chances, wanted = total.log_softmax(-1)[len(context) - 1 : -1], torch.tensor(whole[len(context) :])
    return float(chances.gather(1, wanted[:, None]).sum()), bool((chances.argmax(-1) == wanted).all())


EFT = {"target": 1.0, "tuned": 0.6, "source": -0.6}
TEXTS = [("the cat", " sat in the rain"), ("the cat", " sat"), ("x", "y"), ("Q: a\nA:", "zzzz"), ("x", "q")]


def family() -> dict[str, Speaker]:
    return {name: speaker(kind, seed) for seed, (name, kind) in enumerate(zip(EFT, KINDS, strict=True), start=11)}


def test_a_composition_is_scored_by_the_probabilities_of_its_sum() -> None:
    speakers = family()
    found = one_of(speakers, weights=EFT, batch_size=2).loglikelihood(pairs(TEXTS))
    assert_scored_alike(found, [brute_force(speakers, EFT, text) for text in TEXTS])


def test_greediness_is_that_of_the_composition_and_not_of_its_members() -> None:
    speakers = family()
    mix = one_of(speakers, weights=EFT)
    contexts = ["the cat", "x", "Q: a\nA:", "in the box", "1 + 1"]
    answers = mix.generate_until(prompts([{"max_gen_toks": 3}], contexts))
    texts = [text for text in zip(contexts, answers, strict=True) if text[1]]
    found = mix.loglikelihood(pairs(texts))
    assert_scored_alike(found, [brute_force(speakers, EFT, text) for text in texts])
    assert sum(greedy for _, greedy in found) >= 2
    for name, one in speakers.items():
        alone = one_of({name: one}).loglikelihood(pairs(texts))
        assert [greedy for _, greedy in alone] != [greedy for _, greedy in found]


def test_scoring_in_pieces_changes_nothing_and_asks_for_few_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    speakers = family()
    long = passages(["the rain in Spain stays in the plain. " * 4, "a"])
    whole = one_of(speakers, weights=EFT)
    expected = whole.loglikelihood(pairs(TEXTS)), whole.loglikelihood_rolling(long)
    for one in speakers.values():
        one.counting.largest = 0
    monkeypatch.setattr(lm_eval_bridge, "MOST_LOGITS", 5 * size())
    monkeypatch.setattr(lm_eval_bridge, "MOST_SUMMED", 2 * size())
    pieces = one_of(speakers, weights=EFT)
    assert_scored_alike(pieces.loglikelihood(pairs(TEXTS)), expected[0])
    assert pieces.loglikelihood_rolling(long) == pytest.approx(expected[1], abs=1e-3)
    assert max(one.counting.largest for one in speakers.values()) <= 5 * size()


def test_options_of_one_token_are_read_together() -> None:
    one = speaker("llama", 1)
    one_of({"target": one}).loglikelihood(pairs([("the cat", end) for end in "abcdef"]))
    assert one.counting.read == [(1, len(tokenizer().encode("the cat")))]


def test_what_does_not_fit_is_wrong_and_counted_but_not_cut() -> None:
    one = speaker("llama", 1)
    mine = one_of({"target": one})
    long = "x" * CONTEXT
    fits = pairs([("a", "b"), ("x", "y" * CONTEXT), (long, "yy"), (long, "y")])
    found = mine.loglikelihood(fits)
    assert [score for score, _ in found].count(float("-inf")) == 1
    assert found[2] == (float("-inf"), False)
    assert mine.too_long == {("pairs", 2)}
    texts = mine.generate_until(prompts([{"max_gen_toks": 50}], ["the", long, long[1:]]))
    assert texts[1] == ""
    assert len(tokenizer().encode(texts[2])) <= 1
    assert mine.too_long == {("pairs", 2), ("prompts", 1)}
    assert mine.requests_seen == 7


def test_the_smallest_context_is_the_compositions() -> None:
    wide, narrow = speaker("gpt2", 1), speaker("llama", 2, context=16)
    mine = one_of({"target": wide, "reward": narrow})
    assert mine.max_length == 16
    (answer,) = mine.loglikelihood(pairs([("x" * 15, "yyy")]))
    assert answer == (float("-inf"), False)


def test_tokens_are_counted_over_what_was_answered() -> None:
    one = speaker("llama", 1)
    mine = one_of({"target": one})
    mine.loglikelihood(pairs([("abc", "de"), ("ab", "d"), ("x" * CONTEXT, "yy")]))
    assert (mine.requests_seen, mine.prompt_tokens, mine.output_tokens) == (3, 5, 3)
    mine.generate_until(prompts([{"max_gen_toks": 4}], ["abc"]))
    assert (mine.requests_seen, mine.prompt_tokens) == (4, 8)
    assert 3 <= mine.output_tokens <= 7


def test_worked_examples_stand_before_every_context() -> None:
    one = speaker("llama", 9)
    prefixed, plain = one_of({"target": one}, prefix="1 + 1 = 2\n"), one_of({"target": one})
    contexts = ["2 + 2 =", "3 + 3 =", ""]
    asked = pairs([(context, " 4") for context in contexts])
    longer = pairs([("1 + 1 = 2\n" + context, " 4") for context in contexts])
    assert_scored_alike(prefixed.loglikelihood(asked), plain.loglikelihood(longer))
    assert asked[0].args == ("2 + 2 =", " 4"), "a request is left as it was"
    settings = [{"max_gen_toks": 8}]
    expected = plain.generate_until(prompts(settings, ["1 + 1 = 2\n" + context for context in contexts]))
    assert prefixed.generate_until(prompts(settings, contexts[:2])) == expected[:2]
    assert plain.generate_until(prompts(settings, contexts[:2])) != expected[:2]


def test_samples_of_a_request_do_not_depend_on_what_else_is_asked() -> None:
    one = speaker("llama", 9)
    drawn = {"max_gen_toks": 8, "do_sample": True, "temperature": 2.0, "top_p": 0.9}
    mine = one_of({"target": one}, batch_size=2, seed=1)
    asked = prompts([drawn])
    found = mine.generate_until([*asked, asked[0]])
    assert mine.generate_until(asked[::-1]) == found[:-1][::-1]
    assert mine.generate_until(asked[2:3]) == found[2:3]
    assert found[-1] != found[0], "a repeat is another draw"
    assert one_of({"target": one}, seed=2).generate_until(asked) != found[:-1]


@pytest.mark.parametrize("setting", [{"num_beams": 4}, {"top_k": 50}, {"unheard_of": 1}])
def test_settings_of_generation_that_are_not_done_are_refused(setting: dict[str, Any]) -> None:
    mine = one_of({"target": speaker("llama", 1)})
    name, value = next(iter(setting.items()))
    with pytest.raises(RequestError, match=f"{name}={value} of a task is not supported"):
        mine.generate_until(prompts([setting]))


def test_tokens_that_members_do_not_share_are_refused_wherever_they_stand() -> None:
    mine = one_of({"target": speaker("llama", 1), "reward": speaker("llama", 2, end="<over>")})
    for text in ((f"a{END}b", "c"), ("a", f"b{END}c"), ("a", f"b{END}")):
        with pytest.raises(CellError, match="'<end>'"):
            mine.loglikelihood(pairs([text]))
    with pytest.raises(CellError, match="'<end>'"):
        mine.generate_until(prompts([{}], [f"a{END}b"]))


def test_an_answer_without_tokens_is_refused() -> None:
    mine = one_of({"target": speaker("llama", 1)})
    with pytest.raises(CellError, match="an answer has no tokens of its own"):
        mine.loglikelihood(pairs([("a", "")]))


def test_chats_are_rendered_by_who_was_given_or_by_the_tokenizer_or_refused() -> None:
    history = [{"role": "user", "content": "hi"}]
    one = speaker("llama", 1)
    given = one_of({"target": one}, chat=lambda turns: "|".join(turn["content"] for turn in turns))
    assert given.apply_chat_template([*history, *history]) == "hi|hi"
    assert given.chat_template(True) is None
    plain = one_of({"target": one})
    with pytest.raises(RequestError, match="the tokenizer of llama-1 has no chat template"):
        plain.apply_chat_template(history)
    other = speaker("llama", 1)
    own = other.network.tokenizer = copy.deepcopy(tokenizer())
    own.chat_template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
        "[{{ m.role }}] {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    spoken = one_of({"target": other})
    assert spoken.apply_chat_template(history) == "[user] hi\n[assistant]"
    assert spoken.chat_template(True) == own.chat_template
    assert spoken.chat_template(False) is None
    with pytest.raises(RequestError, match="no system turn"):
        spoken.apply_chat_template([{"role": "system", "content": "be nice"}, *history])


def test_progress_is_reported_and_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    told: list[tuple[str, int, int]] = []
    one = speaker("llama", 1)
    mine = one_of({"target": one}, batch_size=2, report=lambda *step: told.append(step))
    mine.loglikelihood(pairs(TEXTS))
    mine.generate_until(prompts([{"max_gen_toks": 2}], ["a", "b", "c"]))
    assert told[-1] == ("generations", 3, 3)
    assert ("log-likelihoods", len(TEXTS), len(TEXTS)) in told
    assert capfd.readouterr() == ("", "")
