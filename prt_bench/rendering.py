"""How a dialogue becomes text and tokens: what a model reads, and which tokens it is to learn."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prt_bench.api import Turn
from prt_bench.errors import CellError, did_you_mean

__all__ = ["Encoded", "Rendering", "rendering"]


@dataclass(frozen=True)
class Encoded:
    """The T tokens of a dialogue, and the places whose next token is an answer's; none where no answer fits."""

    ids: tuple[int, ...]
    rows: tuple[int, ...]
    """Place t is here where token t + 1 belongs to an answer or ends one."""
    cut: int = 0
    """Tokens that were more than could be read."""


@dataclass(frozen=True)
class Rendering:
    """Marks around what is said. `after` an answer stands the end token, and where the dialogue goes on, `between`."""

    name: str
    before: dict[str, str]
    """Speaker → what stands before the words."""
    behind: dict[str, str]
    """Speaker → what stands behind them; after an answer's end token."""
    between: str
    """Between an answer and what is asked next."""
    ends_examples: bool
    """Whether a worked example in a prompt has the end token, as in training."""

    def request(self, turns: Sequence[Turn]) -> str:
        """The text up to where the next answer begins."""
        return "".join(self._said(speaker, words, "") for speaker, words in turns) + self.before["assistant"]

    def worked(self, turns: Sequence[Turn], end: str) -> str:
        """What stands before a request when these turns were said before it."""
        text = ""
        for speaker, words in turns:
            text += self._said(speaker, words, end if self.ends_examples else "")
            text += self.between if speaker == "assistant" else ""
        return text

    def encode(self, turns: Sequence[Turn], tokenizer: Any, longest: int, before: str = "") -> Encoded:
        """Tokens of a whole dialogue with its answers, after a text that is read and not learned.

        Raises:
            CellError: the tokenizer has no end token.
        """
        end = tokenizer.eos_token
        if end is None:
            raise CellError("the tokenizer has no end token, so answers could not end; mend its tokenizer_config.json")
        text, learned = before, []
        for number, (speaker, words) in enumerate(turns):
            start = len(text) + len(self.before[speaker])
            text += self._said(speaker, words, end)
            if speaker == "assistant":
                learned.append((start, start + len(words) + len(end)))
                text += self.between if number + 1 < len(turns) else ""
        found = tokenizer(text, return_offsets_mapping=True)
        ids, offsets = found["input_ids"], found["offset_mapping"]
        places = [
            place
            for place, (first, last) in enumerate(offsets)
            if place and last > first and any(last > start and first < stop for start, stop in learned)
        ]
        rows = tuple(place - 1 for place in places if place < longest)
        return Encoded(tuple(ids[:longest]), rows, max(0, len(ids) - longest))

    def _said(self, speaker: str, words: str, end: str) -> str:
        return self.before[speaker] + words + (end if speaker == "assistant" else "") + self.behind[speaker]


_RENDERINGS = {
    "plain": Rendering(
        "plain",
        before={"system": "", "user": "", "assistant": ""},
        behind={"system": "\n\n", "user": "", "assistant": ""},
        between="\n\n",
        ends_examples=False,
    ),
    # As open-instruct renders Tulu v2 (allenai/open-instruct).
    "tulu": Rendering(
        "tulu",
        before={"system": "<|system|>\n", "user": "<|user|>\n", "assistant": "<|assistant|>\n"},
        behind={"system": "\n", "user": "\n", "assistant": "\n"},
        between="",
        ends_examples=True,
    ),
}


def rendering(name: str) -> Rendering:
    """A way to render dialogues, by name. Raises CellError with near names."""
    if name not in _RENDERINGS:
        raise CellError(f"unknown template {name!r}{did_you_mean(name, _RENDERINGS)}")
    return _RENDERINGS[name]
