"""Published scores against what is measured here: a wrong class list, order, prompt or activation shows in them."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prt_bench.api import Model
from prt_bench.errors import CellError
from prt_bench.meters import quality
from prt_bench.networks import Networks
from prt_bench.records import Metric
from prt_bench.task_spec import BuiltinSource, ProceduralSource, TaskSpec
from prt_bench.tasks import Task

__all__ = ["TOLERANCE", "Anchor", "Comparison", "anchor_of", "compare", "refuse", "swapped_classes"]

log = logging.getLogger(__name__)
TOLERANCE = 0.03
"""How far, as a fraction, a score may be from the published one."""
SWAPPED = 0.5
"""Part of a class's examples that must be taken for the other class before two names count as swapped."""


@dataclass(frozen=True)
class Anchor:
    """A published score, whose it is, and the model that must reach it."""

    model: Model
    what: str
    metric: str
    score: float | None
    """None where nothing is published."""
    source: str | None


@dataclass(frozen=True)
class Comparison:
    """A published score beside the measured one."""

    anchor: Anchor
    measured: Metric
    pinned: bool
    """Whether the data is what the task pins; where not, sampling alone moves the score within its interval."""
    swapped: tuple[tuple[str, str], ...]

    @property
    def holds(self) -> bool | None:
        """Whether the two are no more than three points apart; None where nothing is published."""
        if self.anchor.score is None:
            return None
        slack = 0.0
        if not self.pinned and self.measured.ci95 is not None:
            low, high = self.measured.ci95
            slack = max(self.measured.value - low, high - self.measured.value)
        return abs(self.measured.value - self.anchor.score) <= TOLERANCE + slack

    def __str__(self) -> str:
        anchor, measured = self.anchor, self.measured.value
        text = f"{anchor.what}: {anchor.metric} {100 * measured:.1f} %"
        if anchor.score is not None:
            apart = 100 * (measured - anchor.score)
            text += f" where {anchor.source} has {100 * anchor.score:.1f} % ({apart:+.1f} points)"
        return text + "".join(f"; {first!r} and {second!r} look swapped" for first, second in self.swapped)

    def row(self) -> dict[str, Any]:
        """Plain values, so that they can cross from the worker's process."""
        anchor = self.anchor
        return {
            "what": anchor.what,
            "model": anchor.model.card.alias,
            "metric": anchor.metric,
            "measured": self.measured.value,
            "published": anchor.score,
            "source": anchor.source,
            "holds": self.holds,
            "swapped": [list(names) for names in self.swapped],
            "text": str(self),
        }


def anchor_of(task: Task, model: Model) -> Anchor:
    """The published zero-shot score of a model on a task; an embedded model's own card states one."""
    what = f"zero-shot {model.card.alias} on {task.name}"
    spec = task.spec
    if not isinstance(spec, TaskSpec):
        return Anchor(model, what, task.primary, None, None)
    anchors = spec.anchors
    if anchors is not None and model.card.alias in anchors.scores:
        as_published = Model(model.card, spec.anchor_space, model.identity)
        return Anchor(as_published, what, anchors.metric, anchors.scores[model.card.alias], anchors.source)
    ours = isinstance(spec.source, BuiltinSource | ProceduralSource)
    if ours and task.name in model.card.zero_shot:
        return Anchor(model, what, "top1", model.card.zero_shot[task.name], "the model's card")
    return Anchor(model, what, task.primary, None, None)


def compare(anchor: Anchor, task: Task, networks: Networks) -> Comparison:
    """Run the anchor's model over the whole test split."""
    test = task.roles["test"]
    logits = networks.outputs(anchor.model, test).logits.double().numpy()
    measured = quality.metrics(logits, test.labels, "test")[anchor.metric]
    swapped = swapped_classes(logits.argmax(axis=-1), test.labels, task.space.labels)
    return Comparison(anchor, measured, task.pinned, swapped)


def refuse(comparison: Comparison) -> None:
    """Raise CellError where a score on the pinned data is more than three points off; on other data, warn."""
    if comparison.holds is not False:
        return
    apart = f"{comparison}; more than {100 * TOLERANCE:g} points apart"
    if not comparison.pinned:
        log.warning("%s, on data of your own", apart)
        return
    raise CellError(
        f"{apart}: a wrong class list, order, prompt, activation or preprocessing. Look at `prt-bench check --task`, "
        "mend the task file or the card, and run again"
    )


def swapped_classes(
    predictions: NDArray[np.int64], labels: NDArray[np.int64], names: tuple[str, ...]
) -> tuple[tuple[str, str], ...]:
    """Pairs of classes most of whose examples are taken for each other."""
    count = len(names)
    confusion = np.zeros((count, count))
    np.add.at(confusion, (labels, predictions), 1)
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    mutual = np.triu((share > SWAPPED) & (share.T > SWAPPED), k=1)
    return tuple((names[first], names[second]) for first, second in np.argwhere(mutual).tolist())
