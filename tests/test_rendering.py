"""How dialogues become tokens: exactly the answers and their ends are learned, whatever the tokenizer."""

from __future__ import annotations

import re
import string
from functools import cache
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, processors
from transformers import PreTrainedTokenizerFast

from prt_bench.api import Turn
from prt_bench.errors import CellError
from prt_bench.rendering import Encoded, rendering
from tests.tiny_language import BEGIN, END, tokenizer

MANY = 10_000
STOP = "</s>"


@cache
def sentencepiece() -> PreTrainedTokenizerFast:
    """As Llama 2's: spaces are letters, a text starts with one, unknown characters are bytes, and a first token."""
    merges = [("▁", "t"), ("▁t", "h"), ("▁th", "e"), ("h", "e"), ("i", "n"), ("▁", "▁")]
    pieces = ["<unk>", "<s>", STOP, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *string.ascii_letters]
    pieces += ["".join(merge) for merge in merges]
    inner = Tokenizer(
        models.BPE(
            {piece: index for index, piece in enumerate(pieces)},
            merges,
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    inner.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    inner.add_special_tokens(["<unk>", "<s>", STOP])
    inner.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    fast: Any = PreTrainedTokenizerFast
    made: PreTrainedTokenizerFast = fast(tokenizer_object=inner, bos_token="<s>", eos_token=STOP, unk_token="<unk>")
    return made


TOKENIZERS = {
    "bytes": lambda: tokenizer(),
    "bytes-first": lambda: tokenizer(begins=True),
    "sentencepiece": lambda: sentencepiece(),
}


def learned(entry: Encoded, words: Any) -> list[str]:
    """The tokens that are learned, by name."""
    names: list[str] = words.convert_ids_to_tokens([entry.ids[row + 1] for row in entry.rows])
    return names


def pair(asked: str, said: str) -> tuple[Turn, ...]:
    return ("user", asked), ("assistant", said)


# --- exactly which tokens ---


def test_only_the_answer_and_its_end_are_learned() -> None:
    words = tokenizer()
    entry = rendering("plain").encode(pair("the cat", " a hat"), words, MANY)
    assert words.convert_ids_to_tokens(list(entry.ids)) == ["the", "Ġ", "c", "a", "t", "Ġa", "Ġ", "h", "a", "t", END]
    assert entry.rows == (4, 5, 6, 7, 8, 9)
    assert learned(entry, words) == ["Ġa", "Ġ", "h", "a", "t", END]
    assert entry.cut == 0


def test_a_first_token_is_read_and_not_learned() -> None:
    words = tokenizer(begins=True)
    entry = rendering("plain").encode(pair("x", "y"), words, MANY)
    assert words.convert_ids_to_tokens(list(entry.ids)) == [BEGIN, "x", "y", END]
    assert entry.rows == (1, 2)
    # With it, the first token of a text can be learned too; without, nothing says what comes first.
    assert learned(rendering("plain").encode(pair("", "y"), words, MANY), words) == ["y", END]
    assert learned(rendering("plain").encode(pair("", "y"), tokenizer(), MANY), words) == [END]


def test_tulus_marks_are_read_and_not_learned() -> None:
    words = tokenizer()
    entry = rendering("tulu").encode(pair("hi", "yo"), words, MANY)
    assert words.decode(list(entry.ids)) == f"<|user|>\nhi\n<|assistant|>\nyo{END}\n"
    assert learned(entry, words) == ["y", "o", END]
    assert entry.rows[-1] + 2 == len(entry.ids) - 1, "a line's end follows, which is not learned"


def test_every_answer_of_a_longer_dialogue_is_learned_and_nothing_between() -> None:
    words = tokenizer()
    turns: tuple[Turn, ...] = (("system", "sys"), *pair("q", "one"), *pair("r", "two"))
    plain = rendering("plain").encode(turns, words, MANY)
    assert words.decode(list(plain.ids)) == f"sys\n\nqone{END}\n\nrtwo{END}"
    assert learned(plain, words) == ["o", "n", "e", END, "t", "w", "o", END]
    tulu = rendering("tulu").encode(turns, words, MANY)
    expected = f"<|system|>\nsys\n<|user|>\nq\n<|assistant|>\none{END}\n<|user|>\nr\n<|assistant|>\ntwo{END}\n"
    assert words.decode(list(tulu.ids)) == expected
    assert learned(tulu, words) == learned(plain, words)


def test_a_sentencepiece_tokenizer_learns_the_same_words() -> None:
    words = sentencepiece()
    entry = rendering("tulu").encode((*pair("hi the", "in the é"), *pair("x", "the")), words, MANY)
    names = ["in", "▁the", "▁", "<0xC3>", "<0xA9>", STOP, "t", "he", STOP]
    assert learned(entry, words) == names
    assert words.convert_ids_to_tokens(entry.ids[0]) == "<s>"
    plain = rendering("plain").encode(pair("the", " in"), words, MANY)
    assert learned(plain, words) == ["▁", "in", STOP]


def test_a_token_that_belongs_to_prompt_and_answer_is_learned() -> None:
    words = tokenizer()
    entry = rendering("plain").encode(pair("x t", "he"), words, MANY)
    assert words.convert_ids_to_tokens(list(entry.ids)) == ["x", "Ġ", "the", END]
    assert learned(entry, words) == ["the", END]


LETTERS = st.text(alphabet="theina. \nZé{<", max_size=8)


@st.composite
def dialogues(draw: st.DrawFn) -> tuple[Turn, ...]:
    turns: list[Turn] = [("system", draw(LETTERS))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        turns += pair(draw(LETTERS), draw(LETTERS))
    return tuple(turns)


def spelled_out(name: str, turns: tuple[Turn, ...], end: str) -> tuple[str, set[int]]:
    """A dialogue's text and the places of its characters that are to be learned, without the code under test."""
    text, wanted = "", set[int]()
    for number, (who, said) in enumerate(turns):
        text += f"<|{who}|>\n" if name == "tulu" else ""
        if who == "assistant":
            wanted |= set(range(len(text), len(text + said + end)))
            text += said + end
            if name == "plain" and number + 1 < len(turns):
                text += "\n\n"
        else:
            text += said + ("\n\n" if who == "system" and name == "plain" else "")
        text += "\n" if name == "tulu" else ""
    return text, wanted


@pytest.mark.parametrize("kind", TOKENIZERS)
@pytest.mark.parametrize("name", ["plain", "tulu"])
@given(turns=dialogues(), longest=st.integers(2, 60))
@example(turns=(("user", ""), ("assistant", "")), longest=60)
@settings(deadline=None, max_examples=40)
def test_what_is_learned_are_the_tokens_of_the_answers_characters(
    kind: str, name: str, turns: tuple[Turn, ...], longest: int
) -> None:
    words = TOKENIZERS[kind]()
    text, wanted = spelled_out(name, turns, str(words.eos_token))
    encoding = words(text)
    ids = encoding["input_ids"]
    tokens = {token for place in wanted if (token := encoding.char_to_token(place)) is not None}
    whole, part = (rendering(name).encode(turns, words, most) for most in (MANY, longest))
    assert whole.ids == tuple(ids)
    # Bytes of one character are tokens of their own, of which the library names but one.
    spans = [encoding.token_to_chars(place) for place in range(len(ids))]
    tokens |= {place for place, span in enumerate(spans) if span and set(range(*span)) & wanted}
    assert {row + 1 for row in whole.rows} == tokens - {0}
    assert list(whole.rows) == sorted(set(whole.rows))
    assert whole.cut == 0
    assert part.ids == whole.ids[:longest]
    assert part.rows == tuple(row for row in whole.rows if row + 1 < longest)
    assert part.cut == max(0, len(ids) - longest)
    ends = sum(ids[row + 1] == words.eos_token_id for row in whole.rows)
    answers = sum(who == "assistant" for who, _ in turns)
    assert ends == answers - (ids[0] == words.eos_token_id), (
        "each answer's end is learned, where something is before it"
    )


# --- what stands before ---


@pytest.mark.parametrize("name", ["plain", "tulu"])
def test_a_request_is_the_training_text_up_to_its_answer(name: str) -> None:
    how, words = rendering(name), tokenizer()
    turns: tuple[Turn, ...] = (("system", "be nice"), ("user", "who?"))
    request = how.request(turns)
    entry = how.encode((*turns, ("assistant", "me")), words, MANY)
    assert words.decode(list(entry.ids)).startswith(f"{request}me{END}")
    assert words.decode(list(entry.ids[: entry.rows[0] + 1])) == request


@pytest.mark.parametrize(("name", "end", "gap"), [("plain", "", "\n\n"), ("tulu", END, "")])
def test_worked_examples_stand_before_a_request_as_in_training_or_without_ends(name: str, end: str, gap: str) -> None:
    how = rendering(name)
    turns = (*pair("q", "a"), *pair("r", "b"))
    marks = ("<|user|>\n", "\n<|assistant|>\n", "\n") if name == "tulu" else ("", "", "")
    one = marks[0] + "q" + marks[1] + f"a{end}" + marks[2] + gap
    assert how.worked(turns, END) == one + one.replace("q", "r").replace(f"a{end}{marks[2]}", f"b{end}{marks[2]}", 1)
    assert how.worked((), END) == ""
    led = how.worked(turns, END) + how.request((("user", "s"),))
    assert led.endswith(f"{marks[0]}s{marks[1]}")


@pytest.mark.parametrize("kind", TOKENIZERS)
def test_what_stands_before_a_dialogue_is_read_and_not_learned(kind: str) -> None:
    words, how = TOKENIZERS[kind](), rendering("tulu")
    before = how.worked(pair("the first", "the hat"), str(words.eos_token))
    alone, led = (how.encode(pair("who", "Zed"), words, MANY, text) for text in ("", before))
    assert learned(led, words) == learned(alone, words)
    assert len(led.ids) > len(alone.ids)
    assert led.ids[-4:] == alone.ids[-4:]
    assert min(led.rows) >= len(words(before)["input_ids"]) - 1


def test_a_tokenizer_without_an_end_token_is_refused() -> None:
    fast: Any = PreTrainedTokenizerFast
    endless = fast(tokenizer_object=tokenizer().backend_tokenizer)
    with pytest.raises(CellError, match=r"no end token, .*mend its tokenizer_config\.json"):
        rendering("plain").encode(pair("a", "b"), endless, MANY)


def test_an_unknown_template_is_refused_with_near_names() -> None:
    with pytest.raises(CellError, match=re.escape("unknown template 'tulip'; did you mean tulu?")):
        rendering("tulip")
