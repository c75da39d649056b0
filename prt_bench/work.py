"""What a network reads, images or texts by their length, and what that costs it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from fractions import Fraction

__all__ = ["Price", "Work"]


@dataclass(frozen=True)
class Work:
    """What a network reads: so many images, or sequences by their length with so many rows to answer."""

    images: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    rows: int = 0


@dataclass(frozen=True)
class Price:
    """FLOPs of a network: of one image, or as a polynomial of a text's T tokens and R rows, a·T + b·T² + c·R.

    T² is attention counted whole; a step of decoding after L − 1 tokens costs a + b·L + c.
    """

    image: Fraction = Fraction(0)
    token: Fraction = Fraction(0)
    pair: Fraction = Fraction(0)
    row: Fraction = Fraction(0)
    uncounted: tuple[str, ...] = ()
    """Operations without a formula: no number is given then."""

    def of(self, work: Work) -> int | None:
        """FLOPs of reading this; None where an operation has no formula."""
        if self.uncounted:
            return None
        texts = sum(count * (self.token * length + self.pair * length**2) for length, count in work.lengths.items())
        return round(self.image * work.images + texts + self.row * work.rows)

    def request(self, prompt: int, output: int) -> tuple[int, int]:
        """FLOPs of reading a prompt up to the first token of the answer, and of one further token, on the mean of
        an answer of `output` tokens, with keys and values kept."""
        prefill = self.token * prompt + self.pair * prompt**2 + self.row
        middle = Fraction(prompt + 1 + prompt + output - 1, 2)
        return round(prefill), round(self.token + self.pair * middle + self.row)

    def causal_prefill(self, prompt: int) -> int:
        """The prefill of `request` with the half of attention that a decoder needs: every token attends to itself and
        to those before it."""
        return round(self.token * prompt + self.pair * Fraction(prompt * (prompt + 1), 2) + self.row)
