"""What one query is: an image, or a request of stated prompt and output length; and what it costs a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from prt_bench.work import Price, Work

__all__ = ["RAW_SIZE", "ImageQuery", "MemberFlops", "Query", "TextQuery"]

RAW_SIZE = (500, 375)
"""Width and height of the pictures that a second preprocessing is timed on: about the mean of ImageNet's."""


@dataclass(frozen=True)
class MemberFlops:
    """FLOPs of one query through one network; None where an operation has no formula, or for images no such part."""

    total: int | None
    prefill: int | None = None
    per_token: int | None = None
    causal: int | None = None
    """The total with the half of attention that a decoder needs."""


class Query(Protocol):
    """The unit that costs per query are stated for."""

    @property
    def unit(self) -> str:
        """What one query is called."""

    @property
    def rows(self) -> int:
        """How often the rule combines the members' outputs."""

    @property
    def kept_tokens(self) -> int:
        """Tokens whose keys and values are kept at the end; none for images."""

    @property
    def excludes(self) -> tuple[str, ...]:
        """What is no part of its time."""

    def shape(self) -> dict[str, Any]:
        """What the query is like, for records."""

    def flops(self, price: Price) -> MemberFlops:
        """What it costs one network."""


@dataclass(frozen=True)
class ImageQuery:
    """One image."""

    input: tuple[int, ...]
    classes: int
    unit: str = "image"
    rows: int = 1
    kept_tokens: int = 0

    @property
    def excludes(self) -> tuple[str, ...]:
        return (
            "decoding of images, and the preprocessing of the first member, which every method has; a second kind of "
            f"preprocessing is in the time, of pictures of {RAW_SIZE[0]} × {RAW_SIZE[1]}",
            "building of text heads: once per class set",
        )

    def shape(self) -> dict[str, Any]:
        return {"input": list(self.input), "classes": self.classes}

    def flops(self, price: Price) -> MemberFlops:
        return MemberFlops(price.of(Work(images=1)))


@dataclass(frozen=True)
class TextQuery:
    """One request: a prompt, with what a method puts before it, and an answer; keys and values are kept."""

    prompt_tokens: int
    output_tokens: int
    unit: str = "request"

    @property
    def excludes(self) -> tuple[str, ...]:
        return ("turning text into tokens and back",)

    @property
    def rows(self) -> int:
        return self.output_tokens

    @property
    def kept_tokens(self) -> int:
        # The last token is answered and not read.
        return self.prompt_tokens + self.output_tokens - 1

    def shape(self) -> dict[str, Any]:
        return {"prompt_tokens": self.prompt_tokens, "output_tokens": self.output_tokens}

    def flops(self, price: Price) -> MemberFlops:
        if price.uncounted:
            return MemberFlops(None)
        prefill, per_token = price.request(self.prompt_tokens, self.output_tokens)
        steps = (self.output_tokens - 1) * per_token
        causal = price.causal_prefill(self.prompt_tokens) + steps
        return MemberFlops(prefill + steps, prefill, per_token, causal)
