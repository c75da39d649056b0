"""What the file of a language task says: which lm-eval task, on which data, prompted how, and what trains for it."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from prt_bench.api import Vocabulary
from prt_bench.records import Strict
from prt_bench.task_spec import HubData, SpecHead

__all__ = [
    "Benchmark",
    "DocumentSet",
    "FileSource",
    "LanguageSpec",
    "QueryShape",
    "TextSource",
    "TrainingSet",
    "WorldSource",
    "metric_name",
]


class WorldSource(Strict):
    """Texts of the invented world that the embedded language models know."""

    kind: Literal["world"]
    name: str


class FileSource(Strict):
    """JSON lines in a folder, relative to the task file: one file per split."""

    kind: Literal["files"]
    path: str


TextSource = Annotated[HubData | WorldSource | FileSource, Field(discriminator="kind")]


class DocumentSet(Strict):
    """The documents that a benchmark asks about: the test role, whatever the data set calls that split."""

    source: TextSource
    split: str
    size: int | None = Field(default=None, ge=1)
    """How many there must be, over all of the benchmark's tasks: pinned."""
    also: tuple[str, ...] = ()
    """Other splits that lm-eval's definition reads, such as the one that worked examples come from."""


class Benchmark(Strict):
    """What lm-eval is asked to do."""

    tasks: dict[str, str | None] = Field(min_length=1)
    """Name of each task of lm-eval → the configuration of the data set that it asks about."""
    keeps: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Name of a task → column → value of the rows that it asks about, where several tasks share a data set."""
    folder: str | None = None
    """Where lm-eval keeps their definitions, below its own folder of tasks. None: it is searched, which takes long."""
    definition: dict[str, Any] | None = None
    """A definition of our own in lm-eval's keys, in place of one of lm-eval's."""
    version: str
    """Of the definition, as lm-eval states it; another one is refused."""
    shots: int = Field(default=0, ge=0)
    """Worked examples that are part of the task itself. A method may put others before every request."""
    metric: str
    """The headline among lm-eval's metrics."""
    filter: str = "none"
    """Which of lm-eval's filters the headline is taken after."""
    max_new_tokens: int | None = Field(default=None, ge=1)
    """The most tokens of an answer. None: for tasks that generate nothing."""
    chat: bool = False
    """Whether requests are rendered as a dialogue, by `template`."""
    program: str | None = None
    """Template (Jinja) over a document's columns and `response`: a Python program that ends without an error where
    the response is right. It is run only with `--allow-code-execution`, in a process of its own with limits."""
    patterns: dict[str, str] = Field(default_factory=dict)
    """Metric → template over a document's columns: a regular expression that the whole answer must match."""
    needs: tuple[str, ...] = ()
    """Python packages that scoring needs beside lm-eval, and `nltk:NAME` for a data package of NLTK."""
    seed: int = 0
    """Of whatever is drawn while the task is built, such as the order of options."""

    @field_validator("version", mode="before")
    @classmethod
    def _version_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) else value

    @model_validator(mode="after")
    def _one_definition(self) -> Benchmark:
        if self.definition is not None and (self.folder is not None or len(self.tasks) > 1):
            raise ValueError("a definition of its own is one task and lies in no folder")
        return self


class TrainingSet(Strict):
    """Dialogues to tune on, and those kept out of tuning for validation."""

    source: TextSource
    split: str = "train"
    size: int | None = Field(default=None, ge=1)
    """How many rows the split must have: pinned."""
    validation: int = Field(ge=1)
    """How many of them, drawn with seed 0, are validation's."""
    validation_split: str | None = None
    """A split of its own, of which the first `validation` rows are taken, in place of drawing them from train."""
    prompt: str | None = None
    """Template (Jinja) over a row's columns: what the user says."""
    response: str | None = None
    """Template over a row's columns: the answer, which alone is learned."""
    messages: str | None = None
    """A column of dialogues, each a list of role and content, in place of the two templates."""

    @model_validator(mode="after")
    def _one_form(self) -> TrainingSet:
        templates = (self.prompt is not None, self.response is not None)
        if self.messages is None and not all(templates):
            raise ValueError("give prompt and response, or messages")
        if self.messages is not None and any(templates):
            raise ValueError("give prompt and response, or messages, not both")
        return self


class QueryShape(Strict):
    """The request that costs are stated for; turns that a method puts before it come on top."""

    prompt_tokens: int = Field(ge=1)
    output_tokens: int = Field(ge=1)


class LanguageSpec(SpecHead):
    """A task file of text."""

    kind: Literal["language"]
    reads: ClassVar[str] = "text"
    benchmark: Benchmark
    test: DocumentSet
    train: TrainingSet
    template: Literal["plain", "tulu"] = "plain"
    """How a dialogue becomes text: prompt and answer as they are, or with Tulu's role marks."""
    query: QueryShape

    @property
    def space(self) -> Vocabulary:
        """Any vocabulary: each model answers with its own tokens."""
        return Vocabulary()

    @property
    def primary(self) -> str:
        """The headline's name in a record."""
        return metric_name(self.benchmark.metric, self.benchmark.filter)

    @property
    def anchors(self) -> None:
        """No published score is held against this task."""

    @property
    def hub_data(self) -> tuple[HubData, ...]:
        """The data sets of the hub that the task reads."""
        found = [source for source in (self.test.source, self.train.source) if isinstance(source, HubData)]
        return tuple(dict.fromkeys(found))

    @property
    def query_key(self) -> str:
        """Tasks whose queries cost the same have the same: examples that methods show are of the task's own length."""
        return f"{self.name} {self.version}: {self.query.prompt_tokens} + {self.query.output_tokens} tokens"

    @property
    def listed(self) -> dict[str, Any]:
        """What a list of tasks says of it."""
        return {"classes": None, "test": self.test.size, "source": self.test.source.kind}

    @property
    def prompting(self) -> tuple[str, ...]:
        """What beside the output space decides what a model is asked: lm-eval's task, its version, our template."""
        return (self.template, self.benchmark.model_dump_json())


def metric_name(metric: str, after: str) -> str:
    """How a metric after a filter of lm-eval is called in a record."""
    return metric if after == "none" else f"{metric},{after}"
