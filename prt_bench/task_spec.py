"""What a task file says: data, roles, classes, prompts, published scores, and how an encoder is tuned."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from prt_bench.api import OutputSpace
from prt_bench.records import Strict

__all__ = [
    "Anchors",
    "BuiltinSource",
    "ClassName",
    "DerivedSpec",
    "FolderSource",
    "HubData",
    "HubSource",
    "LabelFile",
    "LowRank",
    "MetricChoice",
    "ProceduralSource",
    "PublishedEncoder",
    "PublishedEncoders",
    "Recipe",
    "RecipeChange",
    "Recipes",
    "Role",
    "Roles",
    "Search",
    "SpecHead",
    "TaskSpec",
    "Tuning",
    "spoken_key",
]

MetricName = Literal["top1", "mean_per_class"]


class LowRank(Strict):
    """LoRA (Hu et al., ICLR 2022): what is learned is a product of two thin matrices beside each linear layer."""

    rank: int = Field(ge=1)
    alpha: int = Field(ge=1)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    layers: tuple[str, ...] = ()
    """Last parts of the names of the layers that learn; empty for all linear ones but the output matrix."""


class Recipe(Strict):
    """How a network is tuned: AdamW, linear warm-up, then a decay to zero."""

    steps: int = Field(ge=0)
    epochs: float | None = Field(default=None, gt=0)
    """Passes over the examples, in place of steps, which then follow from it."""
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    warmup_steps: int = Field(ge=0)
    warmup_ratio: float | None = Field(default=None, ge=0, lt=1)
    """Part of the steps that warms up, in place of `warmup_steps`, which then follow from it."""
    decay: Literal["cosine", "linear"] = "cosine"
    weight_decay: float = Field(ge=0)
    clip_norm: float = Field(gt=0)
    """Gradients are scaled down to this norm."""
    micro_batch_size: int | None = Field(default=None, ge=1)
    """How many examples of a batch go through the network together. None: all."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Of activations on a GPU; weights that learn are always fp32, and so is all on a CPU."""
    checkpointing: bool = False
    """Whether activations are computed again in the backward pass, to hold fewer."""
    max_tokens: int | None = Field(default=None, ge=2)
    """Of one training text; longer ones lose their end, which is counted. None: what the model can read."""
    low_rank: LowRank | None = None
    learns: Literal["encoder", "head"] = "encoder"
    """Everything but the head, or the head alone: a linear probe, on features that are computed once."""
    random_resized_crop: tuple[float, float] | None = None
    """Smallest and largest part of the picture's area that a training crop keeps. None: inputs are the same at
    every step, so that what a frozen network says of them is computed once."""


class RecipeChange(Strict):
    """Values of a named base recipe that a task sets otherwise."""

    steps: int | None = Field(default=None, ge=0)
    epochs: float | None = Field(default=None, gt=0)
    batch_size: int | None = Field(default=None, ge=1)
    learning_rate: float | None = Field(default=None, gt=0)
    warmup_steps: int | None = Field(default=None, ge=0)
    weight_decay: float | None = Field(default=None, ge=0)


class DerivedSpec(Strict):
    """A task made of two others: tuned on one, tested on the other, which tuning leaves untouched."""

    kind: Literal["derived"]
    name: str
    version: str
    title: str
    summary: str = ""
    tuned_on: str
    """Whose training and validation examples there are."""
    tested_on: str
    """Whose test and output space."""

    @field_validator("version", mode="before")
    @classmethod
    def _version_text(cls, value: Any) -> Any:
        return str(value)


class Search(Strict):
    """How strengths and recipes are searched: the same for every method."""

    trials: int = Field(ge=1)
    """Of every method on the equal-budget track."""
    learning_rate: tuple[float, float]
    """Smallest and largest factor on the recipe's learning rate, drawn log-uniformly."""
    steps: tuple[float, float]
    """Smallest and largest factor on the recipe's steps, drawn log-uniformly."""
    strength: tuple[float, float]
    """Smallest and largest factor on the default of each strength of a method, drawn log-uniformly."""
    strength_grid: tuple[float, ...] = (1.0,)
    """Factors on the default of each strength where recipes are as published: all combinations are tried."""

    @field_validator("learning_rate", "steps", "strength")
    @classmethod
    def _ordered(cls, bounds: tuple[float, float]) -> tuple[float, float]:
        if not 0 < bounds[0] <= bounds[1]:
            raise ValueError("two positive factors, the smaller first")
        return bounds


class Recipes(Strict):
    """The base recipes by name, and the search of the equal-budget track."""

    recipes: dict[str, Recipe]
    search: Search | None = None


class PublishedEncoder(Strict):
    """A tuning that others have done and published: weights in place of training."""

    repository: str
    model: str
    """Alias of the model that was tuned."""
    task: str
    tuned: float
    """Published top-1 after tuning, and before it."""
    untuned: float | None = None
    file: str = "model.safetensors"
    size_bytes: int | None = None
    """About how much a download is."""
    steps: int | None = None
    """Steps and batch size of the tuning; filled in from what a file's encoders have in common."""
    batch_size: int | None = None


class PublishedEncoders(Strict):
    """A file of published encoders, with what they have in common."""

    source: str
    licence: str
    steps: int
    batch_size: int
    learning_rate: float
    optimiser: str
    encoders: tuple[PublishedEncoder, ...]


Tuning = Recipe | PublishedEncoder
"""Where tuned weights come from: the training loop, or somebody who has published them."""


class BuiltinSource(Strict):
    """Data that comes with a dependency of the package."""

    kind: Literal["builtin"]
    name: str


class ProceduralSource(Strict):
    """Pictures drawn by the package, the same bytes for the same seed."""

    kind: Literal["procedural"]
    name: str
    seed: int = 0
    counts: dict[str, int]
    """Split → how many pictures."""


class LabelFile(Strict):
    """A file of the repository with one label name per line, in label order."""

    file: str


class HubData(Strict):
    """A data set of the hub; `--data-dir` may hold it in the hub's own format, or plainly under the task's name."""

    kind: Literal["hub"] = "hub"
    repository: str
    revision: str | None = None
    config: str | None = None
    files: tuple[str, ...] = ()
    """Patterns of the files that are needed; empty for all."""
    size_bytes: int | None = None
    """About how much a download is."""
    gated: bool = False


class HubSource(HubData):
    """Labelled pictures of the hub; `--data-dir` may hold them as an image folder."""

    image: tuple[str, ...] = ("image",)
    """Names that the column of pictures may have; the first that is there is read."""
    label: str = "label"
    label_names: tuple[str, ...] | LabelFile | None = None
    """Names of a column of plain integers. None: the column knows its own."""


class FolderSource(Strict):
    """An image folder, relative to the task file."""

    kind: Literal["folder"]
    path: str


class ClassName(Strict):
    """One output: the name that prompts use, and the names that data sets give it."""

    name: str = Field(min_length=1)
    labels: tuple[str, ...] = ()

    @property
    def known_as(self) -> tuple[str, ...]:
        return self.labels or (self.name,)


class Role(Strict):
    """A part of one split: `per_class` of each class, a `fraction`, `size` at random, or what other roles leave."""

    split: str
    size: int | None = Field(default=None, ge=1)
    """The number of examples this role must have: pinned."""
    per_class: int | None = Field(default=None, ge=1)
    fraction: float | None = Field(default=None, gt=0, lt=1)
    random: bool = False
    """Drawn from the number of examples alone, as PyTorch's `random_split` with seed 0 leaves its last part (the
    validation of the reference code): the same indices on every machine."""
    tracks_of: int | None = Field(default=None, ge=2)
    """Rows come in tracks of this many, which are never torn apart."""
    indices_sha256: str | None = None
    """Digest of the sorted indices of a random draw: pinned."""

    @model_validator(mode="after")
    def _one_way(self) -> Role:
        if sum((self.per_class is not None, self.fraction is not None, self.random)) > 1:
            raise ValueError("give one of per_class, fraction and random")
        if not self.random and (self.tracks_of or self.indices_sha256):
            raise ValueError("tracks_of and indices_sha256 belong to a random role")
        return self


class Roles(Strict):
    """What the data set's splits are used as."""

    train: Role
    validation: Role
    test: Role

    def by_name(self) -> dict[str, Role]:
        """Role → what it is, in the order in which they are cut."""
        return {"train": self.train, "validation": self.validation, "test": self.test}

    def unpinned(self) -> Roles:
        """The same cuts for data of any size."""
        free = {"size": None, "indices_sha256": None}
        return Roles(**{name: role.model_copy(update=free) for name, role in self.by_name().items()})


class MetricChoice(Strict):
    """Which metrics are reported and which is the headline."""

    primary: MetricName = "top1"


class Anchors(Strict):
    """Published zero-shot scores: what a right class list, order, prompt and activation must reproduce."""

    source: str
    metric: MetricName = "top1"
    scores: dict[str, float] = Field(min_length=1)
    """Model alias → score, a fraction."""
    templates: tuple[str, ...] = ()
    """Prompts of the published number; empty where they are the task's."""
    names: dict[str, str] = Field(default_factory=dict)
    """The task's class name → that of the published number, where they differ."""


def spoken_key(text: str) -> str:
    """A name without case, spaces, underscores and other signs: by which two spellings are the same."""
    return re.sub(r"[\W_]+", "", text.casefold()) or text


class SpecHead(Strict):
    """What every task file begins with."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    version: str
    title: str
    summary: str = ""
    licence: str
    citation: str = ""
    recipe: dict[str, RecipeChange] = Field(default_factory=dict)
    """Base recipe → what this task changes in it."""
    contamination: str = ""
    """Why the test is in-domain for whatever is trained here, where it is."""
    in_place_of: dict[str, str] = Field(default_factory=dict)
    """Base recipe that a model's card names → the one that this task tunes it with."""

    @field_validator("version", mode="before")
    @classmethod
    def _version_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) else value


class TaskSpec(SpecHead):
    """A task file of labelled pictures."""

    kind: Literal["image-classification"]
    reads: ClassVar[str] = "images"
    source: Annotated[BuiltinSource | ProceduralSource | HubSource | FolderSource, Field(discriminator="kind")]
    roles: Roles
    classes: tuple[ClassName, ...] = Field(min_length=2)
    """In the order of the outputs."""
    class_names_source: str = ""
    templates: tuple[str, ...] = Field(min_length=1)
    templates_source: str
    metrics: MetricChoice = MetricChoice()
    anchors: Anchors | None = None
    known_duplicates: float = Field(default=0.01, ge=0, lt=1)
    """The part of the test images that the published data set is known to share, byte for byte, with train."""

    @field_validator("templates")
    @classmethod
    def _has_place(cls, templates: tuple[str, ...]) -> tuple[str, ...]:
        for template in templates:
            if template.count("{}") != 1 or re.search(r"[{}]", template.replace("{}", "")):
                raise ValueError(f"a template has exactly one {{}} for the class name: {template!r}")
        return templates

    @field_validator("classes")
    @classmethod
    def _distinct_names(cls, classes: tuple[ClassName, ...]) -> tuple[ClassName, ...]:
        for names in ([entry.name for entry in classes], [name for entry in classes for name in entry.known_as]):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{twice[0]!r} stands twice")
        _refuse_crossed(classes)
        return classes

    @model_validator(mode="after")
    def _anchors_fit(self) -> TaskSpec:
        for name in self.anchors.names if self.anchors else ():
            if name not in self.space.labels:
                raise ValueError(f"anchors: names: {name!r} is no class of the task")
        return self

    @property
    def primary(self) -> str:
        """The headline's name in a record."""
        return self.metrics.primary

    @property
    def prompting(self) -> tuple[str, ...]:
        """What beside the output space decides what a model is asked."""
        return ()

    @property
    def template(self) -> str:
        """How dialogues become text: there are none."""
        return ""

    @property
    def hub_data(self) -> tuple[HubData, ...]:
        """The data sets of the hub that the task reads."""
        return (self.source,) if isinstance(self.source, HubSource) else ()

    @property
    def query_key(self) -> str:
        """Tasks whose queries cost the same have the same."""
        return f"{len(self.classes)} classes"

    @property
    def listed(self) -> dict[str, Any]:
        """What a list of tasks says of it."""
        return {"classes": len(self.classes), "test": self.roles.test.size, "source": self.source.kind}

    @property
    def space(self) -> OutputSpace:
        return OutputSpace(tuple(entry.name for entry in self.classes), self.templates)

    @property
    def anchor_space(self) -> OutputSpace:
        """The classes under the names and prompts of the published scores."""
        if self.anchors is None:
            return self.space
        labels = tuple(self.anchors.names.get(name, name) for name in self.space.labels)
        return OutputSpace(labels, self.anchors.templates or self.templates)


def _refuse_crossed(classes: tuple[ClassName, ...]) -> None:
    """A class that is called what a data set calls another one: the sign of two names swapped."""
    owner: Mapping[str, str] = {spoken_key(label): entry.name for entry in classes for label in entry.known_as}
    for entry in classes:
        own = {spoken_key(label) for label in entry.known_as}
        other = owner.get(spoken_key(entry.name))
        if spoken_key(entry.name) not in own and other is not None:
            raise ValueError(
                f"the class named {entry.name!r} has the labels {', '.join(entry.labels)}, but {entry.name!r} is a "
                f"label of the class named {other!r}: are the two swapped?"
            )
