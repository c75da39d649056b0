"""How good a composition is on a task, whatever the task asks for; and what one of its queries is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from prt_bench.api import Composition, Model
from prt_bench.feeds import Step
from prt_bench.meters.queries import Query
from prt_bench.records import Metric, ReliabilityBin
from prt_bench.session import System

__all__ = ["Evaluator", "Scores", "Validated"]


@dataclass(frozen=True)
class Validated:
    """What validation says of a composition."""

    value: float
    """The higher the better: what trials are chosen by."""
    metrics: dict[str, Metric]
    temperature: float | None = None
    """By which logits are divided so that validation's likelihood is best; None for text."""


@dataclass(frozen=True)
class Scores:
    """What the test says of a composition."""

    metrics: dict[str, Metric]
    predictions: str
    """The text of the predictions file: CSV, one row per example."""
    nll: float | None = None
    nll_calibrated: float | None = None
    ece: float | None = None
    temperature: float | None = None
    """Validation's, which `nll_calibrated` stands on."""
    reliability: list[ReliabilityBin] | None = None
    """What `ece` is computed from."""
    per_class: dict[str, tuple[int, int]] | None = None
    """Class label → right answers and items, of the classes that the test has."""
    absent: Mapping[str, str] = field(default_factory=dict)
    """Dotted path in a record → why there is no value."""
    notes: Mapping[str, int] = field(default_factory=dict)
    """What was counted on the way, such as requests that did not fit."""


class Evaluator(Protocol):
    """Asks compositions what one task asks."""

    def refuse_unfit(self, model: Model) -> None:
        """Raise RequestError where the model can answer nothing of the task."""

    def refuse_unscored(self) -> None:
        """Raise SkipError where answers may not be scored: before anything is tuned for them."""

    def query(self, composition: Composition) -> Query:
        """The unit of cost."""

    def system(self, composition: Composition, batch_size: int) -> System:
        """So many queries at once, ready to be timed."""

    def steps(self, model: Model, frozen: Mapping[str, Model], batch_size: int, live: bool) -> Callable[[], Step]:
        """Makes steps of training on so many queries; frozen networks answer live, or their answers are at hand."""

    def validate(self, composition: Composition) -> Validated:
        """How it does on the validation role."""

    def reading(self, compositions: Sequence[Composition]) -> tuple[int | None, float]:
        """FLOPs and seconds of validating all of these, what is known from one used for the next. FLOPs are None where
        an operation has no formula; seconds are those that `validate` took."""

    def test(self, composition: Composition, validated: Validated) -> Scores:
        """How it does on the test role."""
