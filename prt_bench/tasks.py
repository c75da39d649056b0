"""A task file and its data → Task: roles that are disjoint, labels joined by name, nothing of the test in training."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from prt_bench.api import OutputSpace
from prt_bench.data.builtin import load_builtin, load_procedural
from prt_bench.data.examples import AbsentExamples, Examples, RawData
from prt_bench.data.folder import Progress, load_folder
from prt_bench.data.hub import load_hub
from prt_bench.data.splits import Cut, RoleCut, cut_roles
from prt_bench.errors import MissingError, RequestError, did_you_mean
from prt_bench.files import digest
from prt_bench.language_spec import LanguageSpec
from prt_bench.places import find_data
from prt_bench.registry import Registry
from prt_bench.store import Store
from prt_bench.task_spec import (
    BuiltinSource,
    ClassName,
    DerivedSpec,
    FolderSource,
    HubSource,
    ProceduralSource,
    Role,
    Roles,
    TaskSpec,
    spoken_key,
)
from prt_bench.text_tasks import TextPlaces, absent_roles, load_roles, shared_examples
from prt_bench.yaml_files import load_yaml

__all__ = ["Spec", "Task", "TaskSource", "load_own", "load_task", "plain_specs", "spec_at", "task_spec"]

log = logging.getLogger(__name__)
Spec = TaskSpec | LanguageSpec


@dataclass(frozen=True)
class Task:
    """A task with its data at hand."""

    name: str
    version: str
    """The task file's, or that with `+local.<digest>` where the user's own data has other sizes than pinned."""
    spec: Spec
    roles: Mapping[str, Examples]
    data_sha256: str
    split_sha256: str
    left_out: int = 0
    """Training and validation examples that the test has too, and so in no role."""
    tuned_on: Task | None = None
    """Of a derived task, the one whose training and validation examples these are."""

    @property
    def tuning(self) -> Task:
        """The task that is tuned on: itself, but of a derived one."""
        return self.tuned_on or self

    @property
    def space(self) -> OutputSpace:
        return self.spec.space

    @property
    def primary(self) -> str:
        """The headline metric."""
        return self.spec.primary

    def permissions(self, allow_code: bool) -> dict[str, bool]:
        """What a user may allow or not that decides whether there is a score at all."""
        runs_code = isinstance(self.spec, LanguageSpec) and self.spec.benchmark.program is not None
        return {"allow_code": allow_code} if runs_code else {}

    @property
    def pinned(self) -> bool:
        """Whether the data is what the task file pins, and not the user's own of other sizes."""
        return self.version == self.spec.version

    @property
    def template_sha256(self) -> str:
        return digest([self.space.key, *self.spec.prompting])

    @property
    def identity(self) -> str:
        """Digest of everything of the task that can change a score, except the tuning recipe."""
        facts = [self.name, self.version, self.data_sha256, self.split_sha256, self.template_sha256]
        return digest([*facts, self.primary])


@dataclass(frozen=True)
class TaskSource:
    """Where tasks and their data are looked for."""

    registry: Registry
    store: Store
    data_dir: Path | None
    report: Progress
    assume: bool = False
    """Where data is missing, plan with as many examples as the task pins."""


def task_spec(name: str, registry: Registry) -> Spec | DerivedSpec:
    """The task file of a name. Raises RequestError with near names."""
    files = registry.task_files()
    if name not in files:
        raise RequestError(f"unknown task {name!r}{did_you_mean(name, files)}")
    spec = spec_at(files[name])
    if spec.name != name:
        raise RequestError(f"{files[name]}:1: name: {spec.name!r} is not the file's name {name!r}")
    return spec


def spec_at(path: Path) -> Spec | DerivedSpec:
    """A task file: of pictures, of text, or one that is derived of two others."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    kind = re.search(r"^kind:\s*['\"]?(language|derived)\b", text, re.M)
    if kind is None:
        return load_yaml(path, TaskSpec)
    return load_yaml(path, LanguageSpec) if kind[1] == "language" else load_yaml(path, DerivedSpec)


def plain_specs(spec: Spec | DerivedSpec, registry: Registry) -> list[Spec]:
    """The task files that have data of their own: those that a derived one is made of, or itself.

    Raises:
        RequestError: a derived task is made of another derived one, or of one that does not exist.
    """
    if not isinstance(spec, DerivedSpec):
        return [spec]
    found = []
    for name in (spec.tuned_on, spec.tested_on):
        part = task_spec(name, registry)
        if isinstance(part, DerivedSpec):
            raise RequestError(f"task {spec.name}: {name} is derived itself; name the task that it is made of")
        found.append(part)
    return found


def load_task(name: str, source: TaskSource) -> Task:
    """A registered task with its data."""
    return _loaded(task_spec(name, source.registry), source, Path())


def load_own(path: Path, source: TaskSource) -> Task:
    """A task of the user's: a task file, or an image folder that needs none."""
    if path.is_file():
        return _loaded(spec_at(path), source, path.parent)
    raw = load_folder(path, source.store, source.report)
    spec = _spec_of_folder(path, raw)
    return _cut(spec, raw, f"0+local.{_raw_digest(raw)[:8]}")


def _loaded(spec: Spec | DerivedSpec, source: TaskSource, base: Path) -> Task:
    if not isinstance(spec, DerivedSpec):
        return _with_data(spec, source, base)
    tuned, tested = (_with_data(part, source, Path()) for part in plain_specs(spec, source.registry))
    if tuned.spec.reads != tested.spec.reads:
        raise RequestError(
            f"task {spec.name}: {tuned.name} is made of {tuned.spec.reads}, {tested.name} of {tested.spec.reads}"
        )
    if not source.assume:
        test, tuned_on = tested.roles["test"], [tuned.roles[role] for role in ("train", "validation")]
        shared = sum(shared_examples(examples, test) for examples in tuned_on)
        if shared:
            raise RequestError(f"task {spec.name}: {shared} examples of {tuned.name} are tests of {tested.name}")
    named = {"name": spec.name, "version": spec.version, "title": spec.title, "summary": spec.summary}
    data = digest([tuned.data_sha256, tested.data_sha256])
    whole = tuned.pinned and tested.pinned
    return Task(
        spec.name,
        spec.version if whole else f"{spec.version}+local.{data[:8]}",
        tested.spec.model_copy(update=named),
        {**tuned.roles, "test": tested.roles["test"]},
        data,
        digest([tuned.split_sha256, tested.split_sha256]),
        tuned.left_out,
        tuned,
    )


def _with_data(spec: Spec, source: TaskSource, base: Path) -> Task:
    return _with_texts(spec, source, base) if isinstance(spec, LanguageSpec) else _with_images(spec, source, base)


def _with_texts(spec: LanguageSpec, source: TaskSource, base: Path) -> Task:
    try:
        found = load_roles(spec, TextPlaces(spec.name, base, source.data_dir, source.store))
    except MissingError:
        if not source.assume:
            raise
        return Task(spec.name, spec.version, spec, absent_roles(spec).roles, "missing", "missing")
    version = spec.version if found.pinned else f"{spec.version}+local.{found.data_sha256[:8]}"
    return Task(spec.name, version, spec, found.roles, found.data_sha256, found.split_sha256, found.left_out)


def _with_images(spec: TaskSpec, source: TaskSource, base: Path) -> Task:
    try:
        raw, in_folder = _raw(spec, source, base)
    except MissingError:
        if not source.assume:
            raise
        return _without_data(spec)
    raw = _relabelled(spec, raw)
    if in_folder:
        spec = spec.model_copy(update={"roles": _roles_in_folder(spec.roles, raw)})
    if raw.local and isinstance(spec.source, HubSource) and not _pins_hold(spec, raw):
        return _cut(_local_variant(spec, raw), raw, f"{spec.version}+local.{_raw_digest(raw)[:8]}")
    return _cut(spec, raw, spec.version)


def _without_data(spec: TaskSpec) -> Task:
    """The task as it would be, to plan with: examples that cannot be looked at."""
    roles = {name: AbsentExamples(f"{spec.name}/{name}", role.size or 0) for name, role in spec.roles.by_name().items()}
    return Task(spec.name, spec.version, spec, roles, "missing", "missing")


def _raw(spec: TaskSpec, source: TaskSource, base: Path) -> tuple[RawData, bool]:
    """The data, and whether it is an image folder in place of the hub's repository."""
    match spec.source:
        case BuiltinSource(name=name):
            return load_builtin(name), False
        case ProceduralSource(name=name, seed=seed, counts=counts):
            return load_procedural(name, counts, seed), False
        case FolderSource(path=path):
            return load_folder(base / path, source.store, source.report), False
        case HubSource() as hub:
            found = find_data(spec.name, hub, source.data_dir, source.store)
            if found.plain:
                return load_folder(found.folder, source.store, source.report), True
            splits = sorted({role.split for role in spec.roles.by_name().values()})
            return load_hub(found.folder, hub, splits, source.store, source.report, found.own), False


def _roles_in_folder(roles: Roles, raw: RawData) -> Roles:
    """The same roles over an image folder, whose splits are called train, validation and test."""
    own = "validation" in raw.splits
    carved = roles.validation.split == roles.train.split
    return Roles(
        train=roles.train.model_copy(update={"split": "train"}),
        validation=Role(split="validation", size=roles.validation.size)
        if own or not carved
        else roles.validation.model_copy(update={"split": "train"}),
        test=roles.test.model_copy(update={"split": "test"}),
    )


def _relabelled(spec: TaskSpec, raw: RawData) -> RawData:
    """Labels by position in the task's class list, joined by name; a data set's own order is never trusted."""
    exact = {label: index for index, entry in enumerate(spec.classes) for label in entry.known_as}
    spellings: dict[str, set[int]] = {}
    for label, index in exact.items():
        spellings.setdefault(spoken_key(label), set()).add(index)
    alike = {key: min(indices) for key, indices in spellings.items() if len(indices) == 1}
    places = [exact.get(label, alike.get(spoken_key(label), -1)) for label in raw.label_names]
    for label, place in zip(raw.label_names, places, strict=True):
        if place < 0:
            raise RequestError(
                f"task {spec.name}: the data's class {label!r} is not in the task file{did_you_mean(label, exact)}"
            )
    for index, entry in enumerate(spec.classes):
        if index not in places:
            raise RequestError(
                f"task {spec.name}: the data lacks the class {entry.known_as[0]!r}; is a class folder missing?"
            )
    to_place = np.asarray(places, dtype=np.int64)
    splits = {
        name: examples.relabelled(np.where(examples.labels < 0, -1, to_place[examples.labels]))
        for name, examples in raw.splits.items()
    }
    return RawData(splits, tuple(spec.space.labels), raw.local)


def _cuts(roles: Roles) -> dict[str, RoleCut]:
    return {
        name: RoleCut(
            role.split,
            role.per_class,
            role.fraction,
            role.random,
            role.size if role.random else None,
            role.tracks_of,
        )
        for name, role in roles.by_name().items()
    }


def _broken_pin(spec: TaskSpec, cut: Cut) -> str | None:
    """What a cut has other than the task pins, in words."""
    for name, role in spec.roles.by_name().items():
        if role.size not in (None, len(cut.roles[name])):
            return f"role {name} has {len(cut.roles[name])} examples where the task pins {role.size}"
        if role.indices_sha256 not in (None, digest(cut.indices[name])):
            return f"the indices of role {name} are not those that the task pins"
    return None


def _pins_hold(spec: TaskSpec, raw: RawData) -> bool:
    try:
        return _broken_pin(spec, cut_roles(raw.splits, _cuts(spec.roles))) is None
    except RequestError:
        return False


def _folder_roles(raw: RawData) -> Roles:
    """Roles of a folder: its own validation split, or a tenth of train, by class."""
    validation = Role(split="validation") if "validation" in raw.splits else Role(split="train", fraction=0.1)
    return Roles(train=Role(split="train"), validation=validation, test=Role(split="test"))


def _local_variant(spec: TaskSpec, raw: RawData) -> TaskSpec:
    """The task on data of other sizes: its own cuts without their pins, or a folder's where those cannot be made."""
    same_cuts = spec.model_copy(update={"roles": spec.roles.unpinned()})
    if _pins_hold(same_cuts, raw):
        return same_cuts
    if spec.roles.validation.tracks_of and "validation" not in raw.splits:
        log.warning(
            "task %s: this data does not tell its tracks (TRACK_FRAME.png), so validation may show objects of train",
            spec.name,
        )
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
    try:
        cut = cut_roles(raw.splits, _cuts(spec.roles))
    except RequestError as error:
        raise RequestError(f"task {spec.name}: {error}") from None
    problem = _broken_pin(spec, cut)
    if problem:
        raise RequestError(f"task {spec.name}: {problem}; the data is another version than the task's")
    roles, left_out = _without_test_images(spec, cut.roles)
    data_digest = digest({name: roles[name].sha256 for name in sorted(roles)})
    return Task(spec.name, version, spec, roles, data_digest, cut.sha256, left_out)


def _without_test_images(spec: TaskSpec, roles: Mapping[str, Examples]) -> tuple[dict[str, Examples], int]:
    """The roles less the training and validation examples that are, byte for byte, test images.

    Raises:
        RequestError: more test images are among them than the published data set is known to share.
    """
    test = set(roles["test"].digests)
    kept: dict[str, Examples] = {"test": roles["test"]}
    left_out: list[str] = []
    shared: set[str] = set()
    for name in ("train", "validation"):
        digests = roles[name].digests
        clean = [index for index, content in enumerate(digests) if content not in test]
        left_out += [roles[name].ids[index] for index in sorted(set(range(len(digests))) - set(clean))]
        shared |= test.intersection(digests)
        kept[name] = roles[name] if len(clean) == len(digests) else roles[name].subset(clean)
    if not left_out:
        return kept, 0
    found = f"{len(shared)} test images are in train or validation too, the first as {left_out[0]}"
    if len(shared) > spec.known_duplicates * len(roles["test"]):
        raise RequestError(
            f"task {spec.name}: {found}; no test image may be trained on, and more than {spec.known_duplicates:.0%} of "
            "them (known_duplicates in the task file) mean another split: remove them from one of the two"
        )
    log.warning("task %s: %s; those %d are left out of training", spec.name, found, len(left_out))
    return kept, len(left_out)
