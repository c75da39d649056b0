"""All that a plugin author imports. Importing this loads no torch.

A method is `fit` (paid once) → `port` (paid per upgrade) → `attach` (free) → a composition: named member
networks and a rule that combines their outputs. A family is how one kind of model is loaded and called.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from prt_bench.cards import MethodFacts, ParameterFacts
from prt_bench.errors import CellError, RequestError, did_you_mean
from prt_bench.files import digest
from prt_bench.network import Box, KeyValues, LinearHead, Network, TextNetwork, TokenBatch, no_images
from prt_bench.parameters import Setting, checked_setting
from prt_bench.records import ModelCard, Params
from prt_bench.work import Price

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

__all__ = [
    "VIEWS",
    "Artifact",
    "Box",
    "CellError",
    "Composition",
    "Data",
    "Example",
    "Family",
    "KeyValues",
    "LinearHead",
    "Method",
    "MethodCard",
    "Model",
    "ModelCard",
    "Network",
    "OutputSpace",
    "Params",
    "Places",
    "Price",
    "RequestError",
    "Rule",
    "Setting",
    "TextNetwork",
    "TokenBatch",
    "Tools",
    "Turn",
    "View",
    "Vocabulary",
    "WeightedSum",
    "no_images",
]

TRAINED = "trained"
"""Name under which a rule meets the network that `Tools.tune` trains."""


@dataclass(frozen=True)
class OutputSpace:
    """What the K outputs mean. Outputs of two models may be added only where their labels agree, in order."""

    labels: tuple[str, ...]
    """Class names, in the order of the outputs."""
    templates: tuple[str, ...] = ("{}",)
    """Prompts for models that build their head from text; `{}` stands for the class name."""

    def __hash__(self) -> int:
        return hash(self.key)

    @property
    def size(self) -> int:
        """K."""
        return len(self.labels)

    @cached_property
    def key(self) -> str:
        """Digest of the labels, their order and the prompts."""
        return digest([self.labels, self.templates])

    def difference(self, other: OutputSpace) -> str | None:
        """The first place where two spaces differ, in words; None where their outputs may be added."""
        if isinstance(other, Vocabulary):
            return "class labels against tokens"
        if len(self.labels) != len(other.labels):
            return f"{len(self.labels)} labels against {len(other.labels)}"
        for index, (mine, theirs) in enumerate(zip(self.labels, other.labels, strict=True)):
            if mine != theirs:
                return f"label {index} is {mine!r} against {theirs!r}"
        return None


@dataclass(frozen=True)
class Vocabulary(OutputSpace):
    """The K outputs of a language model are tokens: `labels` holds the token of each id, empty for padding.

    Outputs may be added where ordinary tokens agree. Control tokens agree by id and name. An id that is padding,
    or that means something else on the two sides, is masked in what both say; never cut in silence.
    """

    labels: tuple[str, ...] = ()
    """By id. None at all: any vocabulary, which is what a task of text asks for."""
    control: frozenset[int] = frozenset()
    """Ids of tokens that steer a model and stand for no text."""

    def __hash__(self) -> int:
        return hash(self.key)

    @cached_property
    def key(self) -> str:
        """Digest of the tokens and of which are control tokens."""
        return digest([self.labels, sorted(self.control)])

    def difference(self, other: OutputSpace) -> str | None:
        """The first ordinary token in which two vocabularies differ, in words; None where they agree in all."""
        if not isinstance(other, Vocabulary):
            return "tokens against class labels"
        if self.key == other.key:
            return None
        for index, (mine, theirs) in enumerate(zip(self.labels, other.labels, strict=False)):
            if mine != theirs and mine and theirs and not (index in self.control and index in other.control):
                return f"token {index} is {mine!r} against {theirs!r}"
        return None

    def one_sided(self, other: Vocabulary) -> list[int]:
        """Ids that are no token of both: padding, and tokens that one side lacks or calls otherwise."""
        common = min(self.size, other.size)
        mine, theirs = self.labels, other.labels
        apart = [index for index in range(common) if mine[index] != theirs[index] or not mine[index]]
        return [*apart, *range(common, max(self.size, other.size))]

    def sharing(self, other: Vocabulary) -> dict[str, int]:
        """How many ids are tokens of both, how many are tokens of one side or differ, and how many are padding."""
        apart = self.one_sided(other)
        padding = sum(not (self._label(index) or other._label(index)) for index in apart)
        shared = max(self.size, other.size) - len(apart)
        return {"shared": shared, "one_sided": len(apart) - padding, "padding": padding}

    def _label(self, index: int) -> str:
        return self.labels[index] if index < self.size else ""


@dataclass(frozen=True)
class Artifact:
    """What `fit` or `port` leaves behind: tensors and a manifest, in one safetensors file named by its key."""

    key: str
    path: Path

    def tensors(self) -> dict[str, torch.Tensor]:
        """All tensors, on the CPU."""
        from safetensors.torch import load_file

        return load_file(self.path)

    def manifest(self) -> dict[str, Any]:
        """What it was made from, what that cost, and the training log."""
        from safetensors import safe_open

        with safe_open(self.path, framework="numpy") as file:
            value: dict[str, Any] = json.loads(file.metadata()["manifest"])
        return value


@dataclass(frozen=True)
class Model:
    """A network as methods see it: a card, an output space, and tuned weights laid over the pretrained ones."""

    card: ModelCard
    space: OutputSpace
    identity: str
    """Digest of the pretrained weights and of everything else that makes the outputs what they are."""
    artifact: Artifact | None = None

    @property
    def name(self) -> str:
        return self.card.alias + ("+tuned" if self.artifact else "")

    @property
    def key(self) -> str:
        """Digest by which outputs of this very network are cached."""
        tuned = None if self.artifact is None else self.artifact.key
        return digest([self.identity, self.space.key, tuned])

    def tuned(self, artifact: Artifact | None) -> Model:
        """The same network with the artifact's weights.

        Raises:
            CellError: there is no artifact.
        """
        if artifact is None:
            raise CellError(f"{self.card.alias}: no artifact to load; did the method's `fit` or `port` return one?")
        return Model(self.card, self.space, self.identity, artifact)


class Rule(ABC):
    """Combines members' outputs, each (B, K) in fp32, into the composition's logits (B, K)."""

    @abstractmethod
    def __call__(self, outputs: Mapping[str, torch.Tensor]) -> torch.Tensor: ...

    @abstractmethod
    def spec(self) -> Mapping[str, Any]:
        """The rule as plain JSON values: what is trained through a rule is keyed by this."""

    def flops(self, columns: int) -> int:
        """FLOPs of combining one row of so many columns, by the convention: a sum has none. What is counted while
        the rule runs must be this: a rule that does more than it says is refused."""
        return 0


@dataclass(frozen=True, init=False)
class WeightedSum(Rule):
    """Σ over members of weight × logits.

    A constant added to all K outputs of an example changes nothing after the softmax, so the sum of weighted
    log-probabilities (EFT, Mitchell et al. 2024; PRT, Chijiwa et al. 2025, eq. 10) is the same distribution
    as this sum of weighted logits, at less work.
    """

    weights: Mapping[str, float]

    def __init__(self, **weights: float) -> None:
        object.__setattr__(self, "weights", dict(weights))

    def __call__(self, outputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
        (first, weight), *rest = self.weights.items()
        total = outputs[first] if weight == 1.0 else weight * outputs[first]
        for member, weight in rest:
            total = total + (outputs[member] if weight == 1.0 else weight * outputs[member])
        return total

    def spec(self) -> Mapping[str, Any]:
        return {"weighted_sum": self.weights}


Turn = tuple[Literal["system", "user", "assistant"], str]
"""Who speaks in a dialogue, and what."""


@dataclass(frozen=True)
class Composition:
    """What runs at inference: members by name, and the rule that combines their outputs."""

    members: Mapping[str, Model]
    rule: Callable[[Mapping[str, torch.Tensor]], torch.Tensor]
    dialogue: tuple[Turn, ...] = ()
    """Text only: turns that stand before every request, such as worked examples. Their tokens are paid per query."""


@dataclass(frozen=True)
class Example:
    """One raw example, before any model's preprocessing: an image with its label, or a dialogue."""

    id: str
    image: Image | None = None
    label: int | None = None
    dialogue: tuple[Turn, ...] = ()
    """Text: what the user says and what is to be answered; the answers are not there in an unlabelled view."""


VIEWS = {"train": "train", "validation": "validation", "unlabelled": "train"}
"""View that a verb may declare → the role of the task whose examples it shows."""


class View(Protocol):
    """A metered part of a task's data. What is read is counted."""

    role: str

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Example]: ...

    @property
    def labels(self) -> NDArray[np.int64]:
        """Label of each example, (N,). Raises CellError on an unlabelled view."""

    @property
    def key(self) -> str:
        """Digest of the contents."""


class Data:
    """The views that a verb declared. What is not declared is not there; the test split never is."""

    def __init__(self, views: Mapping[str, View]) -> None:
        self._views = dict(views)

    def __getattr__(self, role: str) -> View:
        if role.startswith("_"):
            raise AttributeError(role)
        try:
            return self._views[role]
        except KeyError:
            declared = ", ".join(sorted(self._views)) or "none"
            raise CellError(
                f"the view {role!r} was not declared for this verb (declared: {declared}); add it to `needs` on the "
                "method's card. The test split is in no view"
            ) from None

    def __dir__(self) -> list[str]:
        return sorted(self._views)


class Tools(Protocol):
    """What a plugin must not write itself: the one training loop, cached outputs, artifacts."""

    seed: int

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
        """Tune the model's encoder by cross-entropy of `rule` applied to the outputs.

        The rule meets the network in training as `trained` and each of `frozen` under its own name; without
        a rule the network's own logits are trained. Memoised by content: the same request is paid once.

        Args:
            learns: the encoder, or the linear head alone (a linear probe).
            rank: LoRA of that rank learns in place of the encoder's own weights, with alpha twice as large.
            learning_rate: factor on the recipe's.
        """

    def outputs(self, model: Model, view: View) -> torch.Tensor:
        """Logits (N, K) of a model on a view, fp32, on the CPU; each network sees each example once."""

    def weights(self, model: Model) -> dict[str, torch.Tensor]:
        """A copy of the weights that tuning may change, by parameter name."""

    def save(self, tensors: Mapping[str, torch.Tensor], made_from: Mapping[str, Any]) -> Artifact:
        """Keep tensors as an artifact; `made_from` is recorded in its manifest."""


@dataclass(frozen=True)
class MethodCard:
    """What a method is, what it needs, and what can be set."""

    name: str
    title: str
    role: Literal["floor", "reference", "method"] = "method"
    """A floor is what a user has for nothing; a reference is the fully tuned target."""
    summary: str = ""
    source: str = ""
    """Where it was published."""
    bibtex: str = ""
    """How to cite it: one BibTeX entry."""
    reads: Literal["anything", "images", "text"] = "anything"
    """What its tasks must be made of."""
    stands_for: Literal["", "untuned target", "untuned ensemble", "plain ensemble", "tuned target"] = ""
    """What others are compared with: the steps of the split into gains, and the end of the gap."""
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Verb → the views it may read: `train`, `validation`, `unlabelled`."""
    weights: tuple[Literal["source", "target"], ...] = ("source",)
    """Whose weights its verbs may read or tune; of the other model outputs are enough, and tools refuse more."""
    tunes: bool = True
    """Whether verbs that read data tune on it: what the equal-budget track searches."""
    strengths: Mapping[str, Setting] = field(default_factory=dict)
    """Read by `attach` alone: changing one costs no training."""
    settings: Mapping[str, Setting] = field(default_factory=dict)
    """Read by `fit` and `port` too, and part of what their artifacts are keyed by."""

    def facts(self) -> MethodFacts:
        """The card as records carry it."""
        kinds = (self.settings, False), (self.strengths, True)
        parameters = {
            name: ParameterFacts(strength=strength, **asdict(setting))
            for settings, strength in kinds
            for name, setting in settings.items()
        }
        told = {name: getattr(self, name) for name in MethodFacts.model_fields if name != "parameters"}
        return MethodFacts(**{**told, "needs": dict(self.needs)}, parameters=parameters)


class Method(ABC):
    """A way to carry a tuning from a source to a target. Subclass it, give it a card, write `attach`."""

    card: ClassVar[MethodCard]

    def __init__(self, **params: float | int | str | bool) -> None:
        known = {**self.card.settings, **self.card.strengths}
        for name in params:
            if name not in known:
                takes = did_you_mean(name, known) or "; it takes none"
                raise RequestError(f"method {self.card.name} has no parameter {name!r}{takes}")
        self.params: Params = {
            name: checked_setting(self.card.name, name, setting, params.get(name, setting.default))
            for name, setting in known.items()
        }

    def number(self, name: str) -> float:
        """A parameter as a float."""
        return float(self.params[name])

    def fit(self, source: Model, data: Data, tools: Tools) -> Artifact | None:
        """Paid once; never sees a target. Returns what `port` and `attach` need, or None."""
        return None

    def port(
        self, artifact: Artifact | None, source: Model, target: Model, data: Data, tools: Tools
    ) -> Artifact | None:
        """Paid per upgrade. By default the artifact is portable as it is, at no cost."""
        return artifact

    @abstractmethod
    def attach(self, artifact: Artifact | None, source: Model, target: Model) -> Composition:
        """Free: no data, no training. Says what runs at inference."""


@dataclass(frozen=True)
class Places:
    """Where weights may be. Loading never asks the network."""

    weights_dir: Path | None = None
    cache: Path = Path()
    device: str = "cpu"
    """Where the network will run; a family may load it there, spread where it is larger than one device."""


class Family(ABC):
    """How one kind of model is loaded and called. Subclass it, name it, give it cards."""

    name: ClassVar[str]
    reads: ClassVar[Literal["images", "text"]] = "images"
    """What its models read: pairs and tasks meet where both are of one kind."""

    @abstractmethod
    def cards(self) -> Sequence[ModelCard]:
        """The models this family knows."""

    def weight_files(self, card: ModelCard, places: Places) -> Sequence[Path]:
        """Files whose bytes are the model; a family that makes its weights in code has none.

        Raises:
            RequestError: they cannot be had; says what was tried and the ways out.
        """
        return ()

    def hub_files(self, card: ModelCard) -> tuple[str, ...]:
        """Patterns of the files of the card's hub repository that loading needs."""
        return (card.file,) if card.file else ()

    def space(self, card: ModelCard, space: OutputSpace, places: Places, assume: bool = False) -> OutputSpace:
        """The output space in which this model answers a task's.

        With `assume`, a model whose files are missing answers as its card says.

        Raises:
            MissingError: files that say what the outputs mean are missing.
            RequestError: the model has labels of its own and they are not the task's, or it answers with none.
        """
        if isinstance(space, Vocabulary):
            raise RequestError(
                f"model {card.alias} answers with class labels, the task with text; use a model of family causal-lm"
            )
        if card.labels is None:
            return space
        own = OutputSpace(card.labels, space.templates)
        difference = own.difference(space)
        if difference:
            raise RequestError(
                f"model {card.alias} has another output space than the task: {difference}; its labels are fixed, so "
                "use a task file that lists the same classes in the model's order"
            )
        return own

    def published_weights(self, card: ModelCard, network: Network, path: Path) -> Mapping[str, torch.Tensor]:
        """Weights that others tuned and published, by the names that `network.module` gives its parameters.

        Raises:
            RequestError: this family has no adapter for such files, or the file is of another network.
        """
        raise RequestError(f"family {self.name} has no adapter for published encoders; use a recipe that trains")

    def closed_form(self, card: ModelCard, space: OutputSpace, places: Places) -> Price | None:
        """FLOPs of a pass at inference from the architecture's configuration alone: the second witness beside what is
        counted. None where the family has no formula for this architecture."""
        return None

    @abstractmethod
    def build(
        self, card: ModelCard, space: OutputSpace, weights: Literal["real", "random", "meta"], places: Places
    ) -> Network:
        """The network on the CPU in fp32, in evaluation mode; on the meta device for `meta` (shapes only)."""
