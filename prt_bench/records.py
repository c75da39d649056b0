"""The record, session and model-card schemas: what is written to disk and what others' scripts read.

Field names are fixed; they are extended, never renamed. A value that was not measured is null, and
`absent` says why under its dotted path. Scores are fractions between 0 and 1, times milliseconds or
seconds as the name says, FLOPs count 2 per multiply-add.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, ValidationError

from prt_bench.cards import Cards, ModelCard, Strict, VocabularyCard
from prt_bench.errors import RequestError
from prt_bench.files import first_problem
from prt_bench.plausible import refuse_impossible

__all__ = [
    "FLOP_CONVENTION",
    "SCHEMA_VERSION",
    "USUAL_CHOICE",
    "Artifacts",
    "Cell",
    "Cost",
    "CostTerm",
    "Environment",
    "Failure",
    "Flops",
    "LatencyRow",
    "Memory",
    "Metric",
    "ModelCard",
    "ModelProvenance",
    "PairNames",
    "ParameterCount",
    "Params",
    "PerQuery",
    "Provenance",
    "Quality",
    "Record",
    "ReliabilityBin",
    "Strict",
    "TaskProvenance",
    "TuningTrial",
    "VocabularyCard",
    "read_as",
    "read_record",
]

SCHEMA_VERSION = 1
FLOP_CONVENTION = (
    "1 multiply-add = 2 FLOPs; matrix products and convolutions of each member's encoder and head, attention "
    "counted whole; element-wise operations, norms and softmax are not counted; text heads are computed once "
    "per class set, not per image; of text, a request of stated prompt and output length, with keys and values kept"
)


class PairNames(Strict):
    """Tuned on the source, used on the target."""

    source: str
    target: str

    def __str__(self) -> str:
        return f"{self.source}:{self.target}"


Params = dict[str, float | int | str | bool]
ChosenOn = Literal["constants", "source", "target"]
"""Where parameters are chosen: not at all, on the source's validation data, or on the target's."""
USUAL_CHOICE: dict[str, ChosenOn] = {"paper": "constants", "equal": "target"}
"""Track → where parameters are chosen unless something else is asked for."""


class Cell(Strict):
    """The unit of accuracy work and of resumption: pair × task × method × seed."""

    id: str
    pair: PairNames
    task: str
    method: str
    role: Literal["floor", "reference", "method"] = "method"
    title: str = ""
    """The method's name for people."""
    seed: int
    params: Params
    track: Literal["paper", "equal"] = "paper"
    recipe: dict[str, dict[str, Any]]
    """The tuning recipe in force, per model alias."""
    recipe_name: str = ""
    """What that recipe is called."""
    limit: int | None = None
    stands_for: Literal["", "untuned target", "untuned ensemble", "plain ensemble", "tuned target"] = ""
    """What others are compared with, where the cell is that and nothing of it was changed."""
    strengths: ChosenOn = "constants"
    """Where parameters were chosen: not at all, on the source's validation data, or on the target's."""
    tuned_on: str = ""
    """The task that was tuned on, where another one is tested: what tuning makes a model forget."""


class Metric(Strict):
    """One score with its 95 % interval over the test items."""

    value: float
    ci95: tuple[float, float] | None
    n: int
    split: str


class TuningTrial(Strict):
    """One way to do a cell, and what validation says of it."""

    params: Params
    """Of the method, and the factors that were drawn on the recipe."""
    value: float | None
    """The primary metric on `view`, or what stands for it there; None where the trial failed, and `error` says why."""
    view: str
    """Whose validation data: `validation` is the target's, `source validation` the source's."""
    chosen: bool = False
    train_flops: int | None = None
    """Of this trial alone, the reading of validation data included; where it failed, as far as it came."""
    error: str = ""


class ReliabilityBin(Strict):
    """Test answers of about the same confidence."""

    n: int = Field(ge=1)
    confidence: float
    """Mean probability of the answers given."""
    accuracy: float
    """How many of them are right."""


class Quality(Strict):
    """How good the composition is; `metrics[primary].value` is the score."""

    primary: str
    metrics: dict[str, Metric]
    nll: float | None
    nll_calibrated: float | None
    ece: float | None
    predictions: str
    """File with one row per test example, relative to the record's own folder."""
    counts: dict[str, int] = Field(default_factory=dict)
    """Of text: requests, those that did not fit the context, and tokens read and written over all of them."""
    validation: dict[str, Metric] | None = None
    tuning: list[TuningTrial] = Field(default_factory=list)
    temperature: float | None = None
    """By which logits are divided for `nll_calibrated`: the best on validation data."""
    reliability: list[ReliabilityBin] | None = None
    """What `ece` is computed from: bins of equal width that hold answers, by rising confidence."""
    per_class: dict[str, tuple[int, int]] | None = None
    """Class → right answers and items: its recall."""
    components: dict[str, float] | None = None


class CostTerm(Strict):
    """What one verb costs when nothing is shared; `reused` says that this run did not pay it."""

    train_flops: int | None
    seconds: float | None
    examples: int
    peak_memory_bytes: int | None = None
    energy_joules: float | None = None
    reused: bool = False
    trials: int = 1
    """How often the work was done to find its hyper-parameters; all of it is in the other values."""
    read: dict[str, int] = Field(default_factory=dict)
    """View → how many of its examples the verb read."""


class Flops(Strict):
    """Per query. `total` = `counted` = Σ by_member × calls + rule, attention counted whole."""

    total: int | None
    by_member: dict[str, int | None]
    """Per call of each member."""
    calls: dict[str, float]
    """Measured calls of each member per query."""
    rule: int
    rule_elementwise: int
    """Element-wise operations of the rule: outside the convention, given beside it."""
    analytic: int | None = None
    """Declared: a closed form of every member's configuration, each called once, and what the rule says of itself."""
    counted: int | None = None
    """What ran: on the meta device, operation by operation."""
    causal: int | None = None
    """Of text: `total` with the half of attention that a decoder needs."""
    uncounted_ops: list[str] = Field(default_factory=list)
    prefill: int | None = None
    per_token: int | None = None


class ParameterCount(Strict):
    """Parameters held at inference."""

    total: int
    by_member: dict[str, int]


class Memory(Strict):
    """Bytes held at inference: weights, and keys and values at the end of a query, exactly; the peak as measured."""

    weights: int
    kv: int | None = None
    peak: int | None = None
    """Of a process of its own while it answered `peak_batch_size` queries at once: all of it on a CPU, and what was
    allocated on a GPU."""
    peak_batch_size: int | None = None
    before: int | None = None
    """Of that process before it loaded a network: the interpreter and its libraries."""


class LatencyRow(Strict):
    """One batch size of one session, for one composition."""

    session: str
    batch_size: int
    p50_ms: float
    p90_ms: float | None
    ratio_to_target: tuple[float, float, float] | None
    ttft_ms: float | None = None
    tpot_ms: float | None = None
    tokens_per_s: float | None = None
    rounds: int | None = None
    """How often it was timed."""
    energy_joules: float | None = None
    """Per query, by a counter of the hardware."""
    placement: str = "one after another"
    """Where the members run; rows of different placements are not compared."""
    valid: bool
    reasons: list[str] = Field(default_factory=list)


class PerQuery(Strict):
    """What each query costs."""

    unit: str
    shape: dict[str, Any]
    flops: Flops
    params: ParameterCount
    memory: Memory
    latency: list[LatencyRow] | None


class Cost(Strict):
    """The ledger: once, per upgrade, per query."""

    once: CostTerm
    per_upgrade: CostTerm
    per_query: PerQuery


class ModelProvenance(Strict):
    """What makes a model's outputs what they are."""

    revision: str | None
    sha256: str | None
    head_sha256: str | None
    preprocessing_sha256: str | None
    embedded: bool = False
    """Ships with the package: for showing the mechanism."""


class TaskProvenance(Strict):
    """What makes a task's numbers comparable."""

    version: str
    data_sha256: str
    split_sha256: str
    template_sha256: str
    contamination: str = ""
    """Why the test is in-domain for what was trained on, where it is."""


class Provenance(Strict):
    """Everything a reader needs to know where a number comes from."""

    models: dict[str, ModelProvenance]
    task: TaskProvenance
    vocabulary: dict[str, int] = Field(default_factory=dict)
    """Of text: how many tokens source and target share, how many only one has, and how many rows are padding."""
    method_source_sha256: str
    git: str | None
    packages: dict[str, str]
    request: str
    started: str
    finished: str


class Environment(Strict):
    """The machine in words that identify no person: no host name, user name or home path."""

    hardware: str
    device: str
    processor: str
    threads: int
    memory_bytes: int
    system: str
    python: str
    details: dict[str, str] = Field(default_factory=dict)
    """What else a time depends on, such as a GPU's driver and power limit or a CPU's governor, where it is known."""


class Failure(Strict):
    """Why a cell did not hold."""

    type: str
    message: str
    where: str


class Artifacts(Strict):
    """One artifact that the cell stands on, with its training log."""

    verb: Literal["fit", "port"]
    key: str
    log: list[dict[str, float]]


class Record(Strict):
    """One cell's result, written once."""

    schema_version: int = SCHEMA_VERSION
    cell: Cell
    status: Literal["ok", "failed", "skipped"]
    error: Failure | None = None
    quality: Quality | None
    cost: Cost | None
    environment: Environment
    provenance: Provenance
    partial: bool = False
    """Made with `--limit`: never on the board."""
    artifacts: list[Artifacts] = Field(default_factory=list)
    absent: dict[str, str] = Field(default_factory=dict)
    """Dotted path of every value that is null → why."""
    cards: Cards | None = None
    """What the method, the models and the task are, on paper; None in records of before cards were kept."""

    @property
    def score(self) -> float | None:
        """The headline metric, as a fraction; None where the cell has no quality."""
        return None if self.quality is None else self.quality.metrics[self.quality.primary].value


def read_record(path: Path) -> Record:
    """Read one record; RequestError names the file and the key where it does not hold to the schema, or where its
    numbers cannot all be true."""
    record = read_as(path, Record)
    refuse_impossible(record, path)
    return record


Schema = TypeVar("Schema", bound=Strict)


def read_as(path: Path, schema: type[Schema]) -> Schema:
    """Read a JSON file of some schema; RequestError names the file and the key where it does not hold to it."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise RequestError(f"{path}: not a readable JSON file ({error}); move it away or write it again") from None
    if not isinstance(value, dict):
        raise RequestError(f"{path}: a record is a JSON object, this is a {type(value).__name__}")
    version = value.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise RequestError(
            f"{path}: schema version {version} is newer than this prt-bench reads ({SCHEMA_VERSION}); upgrade prt-bench"
        )
    try:
        found = schema.model_validate(value)
    except ValidationError as error:
        where, what = first_problem(error)
        raise RequestError(f"{path}: {'.'.join(map(str, where))}: {what}") from None
    endless = _not_finite(value)
    if endless is not None:
        raise RequestError(f"{path}: {'.'.join(endless)}: Input should be a finite number")
    return found


def _not_finite(value: Any) -> list[str] | None:
    """Path of keys to a number that is none or has no end: free-form parts of a schema let them through."""
    if isinstance(value, float):
        return None if math.isfinite(value) else []
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inside:
        rest = _not_finite(part)
        if rest is not None:
            return [str(key), *rest]
    return None
