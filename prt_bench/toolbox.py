"""What planning a training and doing it share: what is asked for, and the key of what it leaves."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal

from prt_bench.api import Artifact, Method, Model, Places, Rule, View
from prt_bench.errors import CellError, SkipError
from prt_bench.files import digest
from prt_bench.models import file_sha256
from prt_bench.places import find_encoder
from prt_bench.store import Store
from prt_bench.task_spec import LowRank, PublishedEncoder, Recipe, Tuning

__all__ = ["Toolbox", "Training", "opened", "training_source"]

TRAINING_FILES = (
    "training.py",
    "adapting.py",
    "probing.py",
    "composing.py",
    "feeds.py",
    "text_feed.py",
    "rendering.py",
)


@cache
def training_source() -> str:
    """Digest of the source of the training loop and what feeds it: what is tuned depends on it."""
    content = b"".join((Path(__file__).parent / name).read_bytes() for name in TRAINING_FILES)
    return hashlib.sha256(content).hexdigest()


def opened(method: Method, models: Mapping[str, Model]) -> frozenset[str]:
    """Aliases of those models, by `source` and `target`, whose weights a method's card asks for."""
    return frozenset(model.card.alias for name, model in models.items() if name in method.card.weights)


@dataclass(frozen=True)
class Training:
    """A network that will be trained, or taken from those who have published it."""

    model: Model
    frozen: Mapping[str, Model]
    rule: Rule | None
    tuning: Tuning
    examples: int
    """How many there are to train on."""

    def __str__(self) -> str:
        if isinstance(self.tuning, PublishedEncoder):
            return f"{self.model.name}, published"
        through = f" through {', '.join(model.name for model in self.frozen.values())}" if self.frozen else ""
        rank = self.tuning.low_rank
        what = " (its head)" if self.tuning.learns == "head" else f" (rank {rank.rank})" if rank else ""
        return f"{self.model.name}{what}{through}, {self.tuning.steps} steps"


class Toolbox(ABC):
    """What planning and doing share: what is asked for, and its key."""

    opened: frozenset[str] | None = None
    """Aliases of the models whose weights the method's card asks for; None: all."""

    def __init__(self, store: Store, tunings: Mapping[str, Tuning], seed: int, device: str, places: Places) -> None:
        self.seed = seed
        self.store = store
        self._tunings = tunings
        self._device = device
        self._places = places

    def tune(
        self,
        model: Model,
        view: View,
        *,
        frozen: Mapping[str, Model] | None = None,
        rule: Rule | None = None,
        learns: Literal["encoder", "head"] = "encoder",
        rank: int | None = None,
        learning_rate: float = 1.0,
    ) -> Artifact:
        if rule is not None and not isinstance(rule, Rule):
            raise CellError("tools.tune: a rule to train through is a `Rule` with a `spec`, so that it can be keyed")
        self.refuse_closed(model)
        tuning = self._changed(self._tuning(model), model, learns, rank, learning_rate)
        training = Training(model, frozen or {}, rule, tuning, len(view))
        return self._tuned(training, view, self._key(training, view))

    def refuse_closed(self, model: Model) -> None:
        """Raise CellError where the card does not ask for the weights of a model."""
        if self.opened is not None and model.card.alias not in self.opened:
            raise CellError(
                f"the card does not ask for the weights of {model.card.alias}: name `source` or `target` in `weights`"
            )

    @abstractmethod
    def _tuned(self, training: Training, view: View, key: str) -> Artifact: ...

    def _tuning(self, model: Model) -> Tuning:
        """Where tuned weights of a model come from. Raises SkipError where there are none to be had."""
        found = self._tunings.get(model.card.alias)
        if found is None:
            raise SkipError(
                f"nobody has published a tuned encoder of {model.card.alias} for this task; it has to be tuned"
            )
        return found

    def _changed(
        self, tuning: Tuning, model: Model, learns: Literal["encoder", "head"], rank: int | None, learning_rate: float
    ) -> Tuning:
        """The recipe as a method asks for it otherwise."""
        changes: dict[str, object] = {}
        if learns != "encoder":
            changes |= {"learns": learns}
        if rank is not None:
            changes |= {"low_rank": LowRank(rank=rank, alpha=2 * rank)}
        if learning_rate != 1.0 and isinstance(tuning, Recipe):
            changes |= {"learning_rate": tuning.learning_rate * learning_rate}
        if changes and isinstance(tuning, PublishedEncoder):
            raise SkipError(
                f"published encoders were tuned whole; {', '.join(changes)} of {model.card.alias} has to be trained: "
                "use a recipe that trains"
            )
        return tuning.model_copy(update=changes)

    def _key(self, training: Training, view: View) -> str:
        """Digest of all that a tuned network is made from."""
        model, frozen, rule = training.model, training.frozen, training.rule
        held = {name: other.key for name, other in frozen.items()}
        through = None if rule is None else dict(rule.spec())
        recipe = training.tuning.model_dump()
        if isinstance(training.tuning, PublishedEncoder):
            if frozen or rule is not None:
                raise SkipError(
                    f"published encoders were tuned alone; {model.card.alias} through "
                    f"{', '.join(frozen) or 'a rule'} has to be trained: use a recipe that trains"
                )
            return digest([model.key, recipe, self._published_sha256(training.tuning)])
        code = [training_source(), version("torch")]
        return digest([model.key, view.key, held, through, recipe, self.seed, self._device, code])

    def artifact(self, key: str) -> Artifact:
        return Artifact(key, self.store.path("artifacts", key))

    def _published_sha256(self, encoder: PublishedEncoder) -> str:
        return file_sha256(find_encoder(encoder, self._places))
