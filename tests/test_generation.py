"""Decoding in lockstep gives what every network gives alone, combined: padding, memory and batches change nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
import torch

from prt_bench.api import Composition, Vocabulary, WeightedSum
from prt_bench.errors import CellError
from prt_bench.generation import Decoding, Lockstep, decode, generate
from tests.tiny_language import CONTEXT, KINDS, Cast, Speaker, size, speaker, spelled, tokenizer

TEXTS = (
    "the cat",
    "a",
    "What is in the box? I think it is a hat.",
    "1 + 1 = ",
    "in the beginning",
    "Zz",
    "the rain in Spain",
    "no",
)
RULES = {
    "target": {"target": 1.0},
    "prt": {"target": 1.0, "reward": 0.7},
    "eft": {"target": 1.0, "tuned": 0.5, "source": -0.5},
}


def prompts(count: int = len(TEXTS)) -> list[list[int]]:
    return [tokenizer().encode(text) for text in TEXTS[:count]]


def cast_of(kind: str, names: Sequence[str]) -> dict[str, Speaker]:
    """Members of different sizes and weights; sources are of another architecture than the target."""
    others = KINDS[(KINDS.index(kind) + 1) % len(KINDS)]
    return {name: speaker(kind if place == 0 else others, seed=place + 1) for place, name in enumerate(names)}


def composed(speakers: Mapping[str, Speaker], **weights: float) -> Composition:
    return Composition({name: one.model for name, one in speakers.items()}, WeightedSum(**weights))


def one_by_one(
    speakers: Mapping[str, Speaker], weights: Mapping[str, float], prompt: Sequence[int], most: int
) -> list[int]:
    """Greedy decoding as it is defined: one sequence, everything read again at every step, summed in fp64."""
    tokens: list[int] = []
    while len(tokens) < most:
        total = sum(weights[name] * one.plainly([*prompt, *tokens])[-1].double() for name, one in speakers.items())
        assert isinstance(total, torch.Tensor)
        token = int(total.argmax())
        if token == tokenizer().eos_token_id:
            break
        tokens.append(token)
    return tokens


@pytest.mark.parametrize("batch", [1, 8])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", KINDS)
def test_tokens_are_those_of_single_sequences_without_memory(kind: str, rule: str, batch: int) -> None:
    speakers = cast_of(kind, list(RULES[rule]))
    asked = prompts() if batch > 1 else prompts()[2:3]
    found = generate(composed(speakers, **RULES[rule]), Cast(*speakers.values()), asked, Decoding(12))
    assert found == [one_by_one(speakers, RULES[rule], prompt, 12) for prompt in asked]
    assert len({tuple(tokens) for tokens in found}) == len(asked), "prompts must matter"


@pytest.mark.parametrize("kind", KINDS)
def test_one_member_decodes_as_transformers_generate(kind: str) -> None:
    alone = speaker(kind, 5)
    found = generate(composed({"target": alone}, target=1.0), Cast(alone), prompts(), Decoding(16))
    for prompt, tokens in zip(prompts(), found, strict=True):
        ids = torch.tensor([prompt])
        theirs = alone.decoder.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=16,
            do_sample=False,
            pad_token_id=tokenizer().pad_token_id,
        )
        assert tokens == [token for token in theirs[0, len(prompt) :].tolist() if token != tokenizer().eos_token_id]


@pytest.mark.parametrize("kind", KINDS)
def test_nobody_elses_prompt_matters(kind: str) -> None:
    speakers = cast_of(kind, ["target", "reward"])
    mix, cast = composed(speakers, target=1.0, reward=1.0), Cast(*speakers.values())
    together = generate(mix, cast, prompts(), Decoding(10))
    assert together == [tokens for prompt in prompts() for tokens in generate(mix, cast, [prompt], Decoding(10))]
    assert together[::-1] == generate(mix, cast, prompts()[::-1], Decoding(10))


def test_eft_on_its_own_source_speaks_as_the_tuned_source() -> None:
    source, tuned = speaker("llama", 1), speaker("llama", 2)
    models = {"target": source.model, "tuned": tuned.model, "source": source.model}
    for alpha, same in ((1.0, tuned), (0.0, source)):
        mix = Composition(models, WeightedSum(target=1.0, tuned=alpha, source=-alpha))
        alone = generate(composed({"one": same}, one=1.0), Cast(same), prompts(), Decoding(12))
        assert generate(mix, Cast(source, tuned), prompts(), Decoding(12)) == alone


def test_a_model_that_is_two_members_is_run_once() -> None:
    source, tuned = speaker("llama", 1), speaker("llama", 2)
    models = {"target": source.model, "tuned": tuned.model, "source": source.model}
    mix, cast = Composition(models, WeightedSum(target=1.0, tuned=1.0, source=-1.0)), Cast(source, tuned)
    generate(mix, cast, prompts(2), Decoding(4))
    assert len(cast.asked) == 2
    assert len(source.counting.read) == len(tuned.counting.read)


def test_each_member_reads_a_prompt_once_and_then_one_token_a_step() -> None:
    speakers = cast_of("qwen2", ["target", "reward"])
    steps: list[int] = []
    mix = composed(speakers, target=1.0, reward=1.0)
    tokens = generate(mix, Cast(*speakers.values()), prompts(1), Decoding(6), on_token=lambda: steps.append(1))
    assert [len(output) for output in tokens] == [6]
    assert len(steps) == 6
    for one in speakers.values():
        assert one.counting.read == [(1, len(prompts(1)[0]))] + 5 * [(1, 1)]


def test_nothing_is_computed_for_an_output_that_has_ended() -> None:
    speakers = cast_of("llama", ["target", "reward"])
    mix, cast = composed(speakers, target=1.0, reward=1.0), Cast(*speakers.values())
    free = generate(mix, cast, prompts(), Decoding(10))
    stop = spelled(free[2][3:4])
    lengths = [
        next((place + 1 for place, token in enumerate(output) if stop in spelled([token])), len(output))
        for output in free
    ]
    assert len(set(lengths)) > 1, "outputs must end at different steps"
    for one in speakers.values():
        one.counting.read.clear()
    stopped = generate(mix, cast, prompts(), Decoding(10, stops=(stop,)))
    assert stopped == [output[:length] for output, length in zip(free, lengths, strict=True)]
    steps = [length + (length == len(output) < 10) for length, output in zip(lengths, free, strict=True)]
    going = [sum(last > step for last in steps) for step in range(max(steps))]
    for one in speakers.values():
        assert [rows for rows, _ in one.counting.read] == going


def test_an_output_ends_at_a_stop_token_of_the_first_member_and_does_not_hold_it() -> None:
    one = speaker("llama", 7)
    mix, cast = composed({"target": one}, target=1.0), Cast(one)
    (free,) = generate(mix, cast, prompts(1), Decoding(10))
    one.network.stop_ids = (free[4],)
    assert generate(mix, cast, prompts(1), Decoding(10)) == [free[: free.index(free[4])]]


def test_a_stop_may_span_several_tokens() -> None:
    one = speaker("qwen2", 3)
    mix, cast = composed({"target": one}, target=1.0), Cast(one)
    free = generate(mix, cast, prompts(), Decoding(14))
    for output, prompt in zip(free, prompts(), strict=True):
        stop = spelled(output[5:8])
        ends = next(end for end in range(1, 15) if stop in spelled(output[:end]))
        found = generate(mix, cast, [prompt], Decoding(14, stops=("not this one", stop)))
        assert found == [output[:ends]]


def test_a_stop_in_the_prompt_ends_nothing() -> None:
    one = speaker("llama", 3)
    mix = composed({"target": one}, target=1.0)
    free = generate(mix, Cast(one), prompts(), Decoding(8))
    assert generate(mix, Cast(one), prompts(), Decoding(8, stops=("the cat", "a hat."))) == free


def test_an_output_ends_where_the_context_is_full() -> None:
    wide, narrow = speaker("gpt2", 1), speaker("gpt2", 2, context=24)
    mix = composed({"target": wide, "reward": narrow}, target=1.0, reward=1.0)
    asked = [prompts()[0], [5] * 20]
    found = generate(mix, Cast(wide, narrow), asked, Decoding(100))
    assert [len(prompt) + len(tokens) for prompt, tokens in zip(asked, found, strict=True)] == [24, 24]
    with pytest.raises(CellError, match="a prompt of 24 tokens fills the context of 24"):
        generate(mix, Cast(wide, narrow), [[5] * 24], Decoding(1))
    with pytest.raises(CellError, match="no tokens"):
        generate(mix, Cast(wide, narrow), [[]], Decoding(1))


def test_one_seed_draws_one_text_in_whatever_batch() -> None:
    speakers = cast_of("llama", ["target", "reward"])
    mix, cast = composed(speakers, target=0.3, reward=0.3), Cast(*speakers.values())
    drawn = Decoding(10, temperature=1.0, top_p=0.95, seed=3)
    together = generate(mix, cast, prompts(), drawn)
    assert together == generate(mix, cast, prompts(), drawn)
    assert together[:3] == generate(mix, cast, prompts(3), drawn)
    assert together != generate(mix, cast, prompts(), Decoding(10, temperature=1.0, top_p=0.95, seed=4))
    alike = generate(mix, cast, [prompts()[0]] * 4, drawn)
    assert len({tuple(tokens) for tokens in alike}) == 4, "requests draw for themselves"


def test_draws_stay_with_their_request_when_others_end() -> None:
    one = speaker("llama", 1)
    mix, cast = composed({"target": one}, target=1.0), Cast(one)
    drawn = Decoding(12, temperature=3.0, stops=tuple("aeiou0123"), seed=5)
    together = generate(mix, cast, prompts(), drawn)
    alone = [decode(Lockstep(mix, cast), [p], drawn, numbers=[n])[0] for n, p in enumerate(prompts())]
    assert together == alone
    assert len({len(tokens) for tokens in together}) > 2, "outputs must end at different steps"


def test_the_smallest_top_p_and_no_temperature_are_greedy() -> None:
    speakers = cast_of("gpt2", ["target", "reward"])
    mix, cast = composed(speakers, target=1.0, reward=1.0), Cast(*speakers.values())
    greedy = generate(mix, cast, prompts(), Decoding(8))
    assert generate(mix, cast, prompts(), Decoding(8, temperature=1.5, top_p=0.0)) == greedy
    assert generate(mix, cast, prompts(), Decoding(8, temperature=1e-4)) == greedy


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (2.0, 1.0), (1.5, 0.6)])
def test_draws_follow_the_sum_and_not_one_member(temperature: float, top_p: float) -> None:
    speakers = cast_of("llama", ["target", "reward"])
    weights, count = {"target": 0.5, "reward": 0.5}, 20_000
    mix, prompt = composed(speakers, **weights), prompts(1)[0]
    decoding = Decoding(1, temperature=temperature, top_p=top_p)
    found = Counter(
        tokens[0] if tokens else tokenizer().eos_token_id
        for tokens in generate(mix, Cast(*speakers.values()), [prompt] * count, decoding)
    )
    alone = {name: one.plainly(prompt)[-1].double() for name, one in speakers.items()}

    def far(logits: torch.Tensor) -> float:
        chances = (logits / temperature).softmax(-1)
        ordered, order = chances.sort(descending=True)
        ordered[ordered.cumsum(-1) - ordered >= top_p] = 0
        expected = torch.zeros_like(chances).scatter(0, order, ordered / ordered.sum())
        drawn = torch.tensor([found[token] / count for token in range(size())])
        return float((drawn - expected).abs().sum() / 2)

    assert far(weights["target"] * alone["target"] + weights["reward"] * alone["reward"]) < 0.04
    assert all(far(logits) > 0.15 for logits in alone.values())


def test_tokens_that_members_do_not_share_are_never_written() -> None:
    """One member's rows are padded, the others' end token has another name: neither may be answered."""
    target, reward = speaker("llama", 1, rows=size() + 20), speaker("llama", 2, end="<over>")
    mix, cast = composed({"target": target, "reward": reward}, target=1.0, reward=1.0), Cast(target, reward)
    end = tokenizer().eos_token_id
    for decoding in (Decoding(40), Decoding(40, temperature=30.0), Decoding(40, temperature=5.0, top_p=0.99)):
        found = generate(mix, cast, prompts(), decoding)
        assert [len(tokens) for tokens in found] == [min(40, CONTEXT - len(prompt)) for prompt in prompts()]
        assert all(token < size() and token != end for tokens in found for token in tokens)


def test_a_control_token_of_one_member_in_the_midst_of_the_vocabulary_is_never_written() -> None:
    target, reward = speaker("llama", 1), speaker("llama", 2)
    target.network.stop_ids, begin = (), tokenizer().bos_token_id
    assert begin == size() - 2
    labels = [*reward.model.space.labels]
    labels[begin] = "<system>"
    space = Vocabulary(tuple(labels), control=frozenset((begin, begin + 1)))
    reward = replace(reward, model=replace(reward.model, space=space))
    hot = Decoding(40, temperature=50.0)
    alone = generate(composed({"target": target}, target=1.0), Cast(target), prompts(), hot)
    assert begin in {token for tokens in alone for token in tokens}
    mix = composed({"target": target, "reward": reward}, target=1.0, reward=1.0)
    written = {token for tokens in generate(mix, Cast(target, reward), prompts(), hot) for token in tokens}
    assert begin not in written
    assert begin + 1 in written, "what both have may be written"


def test_padding_rows_are_never_written() -> None:
    """A vocabulary far larger than its tokenizer: at a high temperature most draws would be padding."""
    one = speaker("llama", 1, rows=4 * size())
    found = generate(composed({"target": one}, target=1.0), Cast(one), prompts(), Decoding(30, temperature=50.0))
    assert all(token < size() for tokens in found for token in tokens)


def test_a_prompt_with_a_token_that_is_not_shared_is_refused_by_its_name() -> None:
    target, reward = speaker("llama", 1), speaker("llama", 2, end="<over>")
    mix, cast = composed({"target": target, "reward": reward}, target=1.0, reward=1.0), Cast(target, reward)
    end = tokenizer().eos_token_id
    with pytest.raises(
        CellError, match=f"token {end} \\('<end>'\\) of a prompt is not the same token for all of target"
    ):
        generate(mix, cast, [prompts()[0], [3, end, 4]], Decoding(2))
    with pytest.raises(CellError, match=f"token {size()} \\(no token of the first\\)"):
        generate(composed({"target": target}, target=1.0), cast, [[size()]], Decoding(2))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"max_new_tokens": 1, "temperature": -1.0}, "temperature is -1.0"),
        ({"max_new_tokens": 1, "top_p": 1.5}, "top_p is 1.5"),
    ],
)
def test_settings_that_mean_nothing_are_refused(settings: Mapping[str, float], said: str) -> None:
    with pytest.raises(CellError, match=said):
        Decoding(**settings)  # type: ignore[arg-type]


def test_no_prompts_are_no_work() -> None:
    one = speaker("llama", 1)
    assert generate(composed({"target": one}, target=1.0), Cast(one), [], Decoding(4)) == []
