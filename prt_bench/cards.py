"""Models, methods and tasks on paper, as they travel in records and sessions: a page is built from those alone."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Cards", "MethodFacts", "ModelCard", "ParameterFacts", "Strict", "TaskFacts", "VocabularyCard"]


class Strict(BaseModel):
    """A schema that refuses unknown keys and cannot be changed after it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class VocabularyCard(Strict):
    """The tokens of a language model, on paper."""

    name: str
    """Cards of one name share their ordinary tokens."""
    rows: int = Field(ge=1)
    """Of the output matrix, padding included."""
    tokens: int = Field(ge=1)
    """In use: ids from here up are padding."""


class ModelCard(Strict):
    """A pretrained network on paper: what it is, where its weights are, and how it must be called."""

    alias: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    family: str
    architecture: str
    title: str = ""
    pretrained: str | None = None
    """The tag of the weights in the family's own registry."""
    hub: str | None = None
    """Hub repository that holds the weights."""
    file: str | None = None
    """Name of the one weight file, always safetensors."""
    revision: str | None = None
    sha256: str | None = None
    """Digest of the weight file, where it is known."""
    size_bytes: int | None = None
    """About how much a download is."""
    gated: bool = False
    """Whether the hub asks for consent first."""
    verified: bool = False
    """Whether revision and digest were checked online."""
    activation: str | None = None
    image_size: int | None = None
    """Side of the square input, in pixels."""
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    licence: str = "unknown"
    recipe: str = "paper"
    """Which of a task's tuning recipes fits this model: `paper` or `embedded`."""
    embedded: bool = False
    """Ships with the package: for trying, testing and showing the mechanism."""
    dtype: str | None = None
    """Of the published weights of a language model, such as `bfloat16`."""
    context_length: int | None = Field(default=None, ge=1)
    """The most tokens that a language model reads."""
    vocabulary: VocabularyCard | None = None
    config: dict[str, Any] = Field(default_factory=dict)
    """Shape of a language model in the keys of its own config.json, which is compared with it."""
    labels: tuple[str, ...] | None = None
    """The fixed output space of a plain classifier; null where outputs are built for any class list."""
    zero_shot: dict[str, float] = Field(default_factory=dict)
    """Measured zero-shot top-1 per task, as fractions."""
    provenance: dict[str, Any] = Field(default_factory=dict)


class ParameterFacts(Strict):
    """A number, word or flag that a method lets its user set."""

    default: float | int | str | bool
    low: float | None = None
    high: float | None = None
    help: str = ""
    strength: bool
    """Read when a composition is put together: changing it costs no training."""


class MethodFacts(Strict):
    """What a method is and what it asks for."""

    name: str
    title: str
    role: Literal["floor", "reference", "method"]
    summary: str
    source: str
    """Where it was published."""
    bibtex: str
    reads: str
    """What its tasks must be made of."""
    needs: dict[str, tuple[str, ...]]
    """Verb → the views of the data that it may read."""
    weights: tuple[Literal["source", "target"], ...]
    """Whose weights have to be at hand; of the other model outputs are enough."""
    parameters: dict[str, ParameterFacts]


class TaskFacts(Strict):
    """What a task is."""

    title: str
    summary: str
    licence: str
    citation: str
    reads: str
    """Images or text."""


class Cards(Strict):
    """What a record or a session speaks of, by name."""

    methods: dict[str, MethodFacts]
    models: dict[str, ModelCard]
    task: TaskFacts | None = None
    """Sessions belong to none."""
