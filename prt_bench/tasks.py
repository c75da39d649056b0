"""YAML → Task: a data set with roles, an output space, metrics and a tuning recipe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, field_validator, model_validator

from prt_bench.api import OutputSpace
from prt_bench.data.builtin import load_builtin, load_procedural
from prt_bench.data.examples import Examples, RawData
from prt_bench.data.folder import Progress, load_folder
from prt_bench.data.hub import load_hub
from prt_bench.data.splits import RoleCut, cut_roles
from prt_bench.errors import RequestError, did_you_mean
from prt_bench.files import digest
from prt_bench.records import Strict
from prt_bench.registry import Registry
from prt_bench.store import Store
from prt_bench.yaml_files import load_yaml

__all__ = ["Recipe", "Task", "TaskSource", "TaskSpec", "load_task", "recipe_for"]


class Recipe(Strict):
    """How an encoder is tuned: AdamW, linear warm-up, cosine to zero."""

    steps: int = Field(ge=0)
    batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    warmup_steps: int = Field(ge=0)
    weight_decay: float = Field(ge=0)
    clip_norm: float = Field(gt=0)
    """Gradients are scaled down to this norm."""
    augmentation: Literal["none"] = "none"


class RecipeChange(Strict):
    """Values of a named base recipe that a task sets otherwise."""

    steps: int | None = Field(default=None, ge=0)
    batch_size: int | None = Field(default=None, ge=1)
    learning_rate: float | None = Field(default=None, gt=0)
    warmup_steps: int | None = Field(default=None, ge=0)
    weight_decay: float | None = Field(default=None, ge=0)


class Recipes(Strict):
    """The base recipes by name."""

    recipes: dict[str, Recipe]


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


class HubSource(Strict):
    """A data set of the hub; `--data-dir` may hold it as an image folder or in the hub's own format."""

    kind: Literal["hub"]
    repository: str
    revision: str | None = None
    config: str | None = None
    image: str = "image"
    label: str = "label"


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
    """A part of one split: `per_class` examples of each class, a `fraction` of it, or what other roles leave."""

    split: str
    size: int | None = Field(default=None, ge=1)
    """The number of examples this role must have: pinned."""
    per_class: int | None = Field(default=None, ge=1)
    fraction: float | None = Field(default=None, gt=0, lt=1)

    @model_validator(mode="after")
    def _one_way(self) -> Role:
        if self.per_class is not None and self.fraction is not None:
            raise ValueError("give per_class or fraction, not both")
        return self


class Roles(Strict):
    """What the data set's splits are used as."""

    train: Role
    validation: Role
    test: Role


class MetricChoice(Strict):
    """Which metrics are reported and which is the headline."""

    primary: Literal["top1", "mean_per_class"] = "top1"


class TaskSpec(Strict):
    """A task file."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    version: str
    title: str
    summary: str = ""
    kind: Literal["image-classification"]
    source: Annotated[BuiltinSource | ProceduralSource | HubSource | FolderSource, Field(discriminator="kind")]
    roles: Roles
    classes: tuple[ClassName, ...] = Field(min_length=2)
    """In the order of the outputs."""
    templates: tuple[str, ...] = Field(min_length=1)
    templates_source: str
    metrics: MetricChoice = MetricChoice()
    licence: str
    citation: str = ""
    recipe: dict[str, RecipeChange] = Field(default_factory=dict)
    """Base recipe → what this task changes in it."""
    anchors: dict[str, float] = Field(default_factory=dict)
    """Model alias → published zero-shot score, a fraction."""

    @field_validator("version", mode="before")
    @classmethod
    def _version_text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) else value

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
        return classes

    @property
    def space(self) -> OutputSpace:
        return OutputSpace(tuple(entry.name for entry in self.classes), self.templates)


@dataclass(frozen=True)
class Task:
    """A task with its data at hand."""

    name: str
    version: str
    """The task file's, or that with `+local.<digest>` where the user's own data has other sizes than pinned."""
    spec: TaskSpec
    roles: Mapping[str, Examples]
    data_sha256: str
    split_sha256: str

    @property
    def space(self) -> OutputSpace:
        return self.spec.space

    @property
    def template_sha256(self) -> str:
        return digest([self.space.labels, self.space.templates])

    @property
    def identity(self) -> str:
        """Digest of everything of the task that can change a score, except the tuning recipe."""
        facts = [self.name, self.version, self.data_sha256, self.split_sha256, self.template_sha256]
        return digest([*facts, self.spec.metrics.primary])


@dataclass(frozen=True)
class TaskSource:
    """Where tasks and their data are looked for."""

    registry: Registry
    store: Store
    data_dir: Path | None
    offline: bool
    report: Progress


def task_spec(name: str, registry: Registry) -> TaskSpec:
    """The task file of a name. Raises RequestError with near names."""
    files = registry.task_files()
    if name not in files:
        raise RequestError(f"unknown task {name!r}{did_you_mean(name, files)}")
    spec = load_yaml(files[name], TaskSpec)
    if spec.name != name:
        raise RequestError(f"{files[name]}:1: name: {spec.name!r} is not the file's name {name!r}")
    return spec


def load_task(name: str, source: TaskSource) -> Task:
    """A registered task with its data."""
    return _with_data(task_spec(name, source.registry), source, Path())


def load_own(path: Path, source: TaskSource) -> Task:
    """A task of the user's: a task file, or an image folder that needs none."""
    if path.is_file():
        return _with_data(load_yaml(path, TaskSpec), source, path.parent)
    raw = load_folder(path, source.store, source.report)
    spec = _spec_of_folder(path, raw)
    return _cut(spec, raw, f"0+local.{_raw_digest(raw)[:8]}")


def recipe_for(task: TaskSpec, name: str, registry: Registry) -> Recipe:
    """The recipe of that name as the task changes it. Raises RequestError where there is none of the name."""
    known: dict[str, Recipe] = {}
    for folder in registry.task_folders():
        if (folder / "recipes.yaml").is_file():
            known |= load_yaml(folder / "recipes.yaml", Recipes).recipes
    if name not in known:
        raise RequestError(f"unknown recipe {name!r}{did_you_mean(name, known)}")
    for other in task.recipe:
        if other not in known:
            raise RequestError(f"task {task.name}: recipe: unknown recipe {other!r}{did_you_mean(other, known)}")
    change = task.recipe.get(name, RecipeChange())
    return known[name].model_copy(update=change.model_dump(exclude_none=True))


def _with_data(spec: TaskSpec, source: TaskSource, base: Path) -> Task:
    raw = _relabelled(spec, _raw(spec, source, base))
    if raw.local and isinstance(spec.source, HubSource) and not _sizes_hold(spec, raw):
        return _cut(_local_variant(spec, raw), raw, f"{spec.version}+local.{_raw_digest(raw)[:8]}")
    return _cut(spec, raw, spec.version)


def _raw(spec: TaskSpec, source: TaskSource, base: Path) -> RawData:
    match spec.source:
        case BuiltinSource(name=name):
            return load_builtin(name)
        case ProceduralSource(name=name, seed=seed, counts=counts):
            return load_procedural(name, counts, seed)
        case FolderSource(path=path):
            return load_folder(base / path, source.store, source.report)
        case HubSource() as hub:
            mirror = None
            if source.data_dir:
                if (source.data_dir / spec.name).is_dir():
                    return load_folder(source.data_dir / spec.name, source.store, source.report)
                mirror = source.data_dir / hub.repository
                if not source.data_dir.is_dir():
                    raise RequestError(f"--data-dir {source.data_dir}: no such folder")
            splits = sorted({role.split for role in _roles(spec).values()})
            found = mirror if mirror and mirror.is_dir() else None
            if found or not source.offline:
                source.report(f"reading {found or hub.repository}", 0, 1)
            return load_hub(
                hub.repository, hub.revision, hub.config, splits, hub.image, hub.label, found, source.offline
            )


def _roles(spec: TaskSpec) -> dict[str, Role]:
    return {"train": spec.roles.train, "validation": spec.roles.validation, "test": spec.roles.test}


def _relabelled(spec: TaskSpec, raw: RawData) -> RawData:
    """Labels by position in the task's class list, joined by name; a data set's own order is never trusted."""
    place = {label: index for index, entry in enumerate(spec.classes) for label in entry.known_as}
    for label in raw.label_names:
        if label not in place:
            raise RequestError(
                f"task {spec.name}: the data's class {label!r} is not in the task file{did_you_mean(label, place)}"
            )
    for index, entry in enumerate(spec.classes):
        if not any(place[label] == index for label in raw.label_names):
            raise RequestError(
                f"task {spec.name}: the data lacks the class {entry.known_as[0]!r}; is a class folder missing?"
            )
    to_place = np.asarray([place[label] for label in raw.label_names], dtype=np.int64)
    splits = {
        name: examples.relabelled(np.where(examples.labels < 0, -1, to_place[examples.labels]))
        for name, examples in raw.splits.items()
    }
    return RawData(splits, tuple(spec.space.labels), raw.local)


def _sizes_hold(spec: TaskSpec, raw: RawData) -> bool:
    if any(role.split not in raw.splits for role in _roles(spec).values()):
        return False
    cuts = {name: RoleCut(role.split, role.per_class, role.fraction) for name, role in _roles(spec).items()}
    try:
        roles, _ = cut_roles(raw.splits, cuts)
    except RequestError:
        return False
    return all(role.size in (None, len(roles[name])) for name, role in _roles(spec).items())


def _folder_roles(raw: RawData) -> Roles:
    """Roles of a folder: its own validation split, or a tenth of train, by class."""
    validation = Role(split="validation") if "validation" in raw.splits else Role(split="train", fraction=0.1)
    return Roles(train=Role(split="train"), validation=validation, test=Role(split="test"))


def _local_variant(spec: TaskSpec, raw: RawData) -> TaskSpec:
    """The task on data of other sizes: its own cuts without their sizes, or a folder's where those cannot be made."""
    unsized = {name: role.model_copy(update={"size": None}) for name, role in _roles(spec).items()}
    same_cuts = spec.model_copy(update={"roles": Roles(**unsized)})
    if _sizes_hold(same_cuts, raw):
        return same_cuts
    return spec.model_copy(update={"roles": _folder_roles(raw)})


def _spec_of_folder(path: Path, raw: RawData) -> TaskSpec:
    name = re.sub(r"[^a-z0-9._-]+", "-", path.resolve().name.lower()).strip("-._") or "folder"
    spoken: dict[str, str] = {}
    for label in raw.label_names:
        other = spoken.setdefault(_spoken(label), label)
        if other != label:
            raise RequestError(f"{path}: the class folders {other!r} and {label!r} read the same; rename one")
    return TaskSpec(
        name=name,
        version="0",
        title=f"Image folder {path.resolve().name}",
        kind="image-classification",
        source=FolderSource(kind="folder", path="."),
        roles=_folder_roles(raw),
        classes=tuple(ClassName(name=_spoken(label), labels=(label,)) for label in raw.label_names),
        templates=("a photo of a {}.",),
        templates_source="CLIP's default prompt",
        licence="the user's own",
    )


def _spoken(label: str) -> str:
    return re.sub(r"[_\s]+", " ", label).strip() or label


def _raw_digest(raw: RawData) -> str:
    return digest({name: examples.sha256 for name, examples in sorted(raw.splits.items())})


def _cut(spec: TaskSpec, raw: RawData, version: str) -> Task:
    cuts = {name: RoleCut(role.split, role.per_class, role.fraction) for name, role in _roles(spec).items()}
    try:
        roles, split_digest = cut_roles(raw.splits, cuts)
    except RequestError as error:
        raise RequestError(f"task {spec.name}: {error}") from None
    for name, role in _roles(spec).items():
        if role.size not in (None, len(roles[name])):
            raise RequestError(
                f"task {spec.name}: role {name} has {len(roles[name])} examples where the task pins {role.size}; "
                "the data is another version than the task's"
            )
    data_digest = digest({name: roles[name].sha256 for name in sorted(roles)})
    return Task(spec.name, version, spec, roles, data_digest, split_digest)
