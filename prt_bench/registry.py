"""Finds methods, families and tasks: entry points and plugin files, ours by the same door as anyone's."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

from prt_bench.api import VIEWS, Family, Method, ModelCard, Params
from prt_bench.errors import RequestError, did_you_mean
from prt_bench.pins import Pin, Pins, load_pins

__all__ = ["MethodRequest", "Registry"]


@dataclass(frozen=True)
class Registered:
    """A method class, where it comes from, and the digest of its source file."""

    cls: type[Method]
    origin: str
    source_sha256: str


@dataclass(frozen=True)
class MethodRequest:
    """One method with its parameters, as a run asks for it."""

    method: Method
    source_sha256: str

    @property
    def name(self) -> str:
        return self.method.card.name

    def for_verbs(self) -> Method:
        """The method as `fit` and `port` meet it: default strengths, so that a sweep of them trains nothing."""
        chosen = self.method
        return type(chosen)(**{name: chosen.params[name] for name in chosen.card.settings})

    @property
    def label(self) -> str:
        """Name and the parameters that differ from their defaults, as the command line would write them."""
        known = {**self.method.card.settings, **self.method.card.strengths}
        changed = [f"{name}={value}" for name, value in self.method.params.items() if value != known[name].default]
        return self.name + (":" + ",".join(changed) if changed else "")


class Registry:
    """Everything that is installed or named by `--plugin FILE`."""

    def __init__(self, plugins: Sequence[Path] = (), pins: Path | None = None) -> None:
        self.pins = load_pins(pins) if pins else Pins()
        self._methods: dict[str, Registered] = {}
        self._families: dict[str, tuple[Family, str]] = {}
        for point in _points("prt_bench.families"):
            self._add(_loaded(point), _origin(point))
        for point in _points("prt_bench.methods"):
            self._add(_loaded(point), _origin(point))
        for plugin in plugins:
            self._add(_load_file(plugin), str(plugin))
        self._cards: dict[str, ModelCard] = {}
        for name, (family, origin) in self._families.items():
            for card in family.cards():
                if card.family != name:
                    raise RequestError(f"{origin}: card {card.alias} names family {card.family!r}, not {name!r}")
                if card.alias in self._cards:
                    raise RequestError(f"model {card.alias} is registered twice, lastly by {origin}; rename one")
                self._cards[card.alias] = _pinned(card, self.pins.models)

    @property
    def methods(self) -> Mapping[str, Registered]:
        """Name → method class."""
        return self._methods

    @property
    def families(self) -> Mapping[str, Family]:
        """Name → family."""
        return {name: family for name, (family, _) in self._families.items()}

    @property
    def cards(self) -> Mapping[str, ModelCard]:
        """Alias → model card."""
        return self._cards

    def card(self, alias: str) -> ModelCard:
        """The card of a model. Raises RequestError with near names."""
        try:
            return self._cards[alias]
        except KeyError:
            raise RequestError(f"unknown model {alias!r}{did_you_mean(alias, self._cards)}") from None

    def family(self, card: ModelCard) -> Family:
        """The family that loads a card's model."""
        return self._families[card.family][0]

    def method(self, text: str) -> MethodRequest:
        """A method from `NAME[:key=value[,key=value]]`. Raises RequestError with near names."""
        name, _, settings = text.partition(":")
        registered = self._methods.get(name)
        if registered is None:
            raise RequestError(f"unknown method {name!r}{did_you_mean(name, self._methods)}")
        params: Params = {}
        for pair in filter(None, settings.split(",")):
            key, equals, value = pair.partition("=")
            if not equals:
                raise RequestError(f"method {name}: {pair!r} is not key=value")
            if key in params:
                raise RequestError(f"method {name}: {key} is given twice")
            params[key] = value
        return MethodRequest(registered.cls(**params), registered.source_sha256)

    def task_files(self) -> Mapping[str, Path]:
        """Task name (file name without its ending) → YAML file, of all installed packages."""
        found: dict[str, Path] = {}
        for folder in self.task_folders():
            for path in sorted(folder.rglob("*.yaml")):
                if path.parent == folder:
                    continue
                if path.stem in found:
                    raise RequestError(f"task {path.stem} is registered twice: {found[path.stem]} and {path}")
                found[path.stem] = path
        return found

    def task_folders(self) -> Iterator[Path]:
        """Folders of task files, one per installed package that has any."""
        for point in _points("prt_bench.tasks"):
            yield Path(str(files(point.value)))

    def _add(self, found: Any, origin: str) -> None:
        classes = list(_plugin_classes(found))
        if not classes:
            raise RequestError(f"{origin}: holds no Method with a card and no Family; see `prt_bench.api`")
        for cls in classes:
            _check_names(cls, origin)
            if issubclass(cls, Family):
                if cls.name in self._families:
                    raise RequestError(
                        f"family {cls.name} is registered twice: {self._families[cls.name][1]} and {origin}; rename one"
                    )
                self._families[cls.name] = (cls(), origin)
            else:
                name = cls.card.name
                if name in self._methods:
                    raise RequestError(
                        f"method {name} is registered twice: {self._methods[name].origin} and {origin}; rename one"
                    )
                self._methods[name] = Registered(cls, origin, _source_sha256(cls))


def _pinned(card: ModelCard, pins: Mapping[str, Pin]) -> ModelCard:
    """A card with what was once looked up online; what the card itself pins stays."""
    pin = pins.get(card.hub or "")
    if pin is None or card.verified:
        return card
    weights = [card.file] if card.file else sorted(name for name in pin.files if name.endswith(".safetensors"))
    if not weights or weights[0] not in pin.files:
        return card
    return card.model_copy(update={"revision": pin.revision, "sha256": pin.files[weights[0]], "verified": True})


NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
"""Names become folders of the leaderboard."""


def _check_names(cls: type[Method] | type[Family], origin: str) -> None:
    name = cls.name if issubclass(cls, Family) else cls.card.name
    if not NAME.fullmatch(name):
        raise RequestError(f"{origin}: the name {name!r} may hold only small letters, digits, '.', '_' and '-'")
    if issubclass(cls, Method):
        for verb, views in cls.card.needs.items():
            for view in views:
                if verb not in ("fit", "port") or view not in VIEWS:
                    known = f"fit and port may read {', '.join(VIEWS)}; the test split is in no view"
                    raise RequestError(f"{origin}: method {name} needs {view!r} in {verb!r}: {known}")


@cache
def _points(group: str) -> list[EntryPoint]:
    """Return the entry points of a group, in a fixed order; the metadata of all installed packages is read once."""
    return sorted(entry_points(group=group), key=lambda point: (point.value, point.name))


def _origin(point: EntryPoint) -> str:
    return f"{point.dist.name} ({point.value})" if point.dist else point.value


def _loaded(point: EntryPoint) -> Any:
    try:
        return point.load()
    except Exception as error:
        raise RequestError(f"plugin {_origin(point)} cannot be loaded: {type(error).__name__}: {error}") from error


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise RequestError(f"--plugin {path}: no such file")
    content = hashlib.sha256(path.read_bytes()).hexdigest()
    name = f"prt_bench_plugin_{path.stem}_{content[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise RequestError(f"--plugin {path}: not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise RequestError(f"--plugin {path} cannot be loaded: {type(error).__name__}: {error}") from error
    return module


def _plugin_classes(found: Any) -> Iterable[type[Method] | type[Family]]:
    candidates = [found] if inspect.isclass(found) else vars(found).values()
    for value in candidates:
        if not inspect.isclass(value) or inspect.isabstract(value):
            continue
        if inspect.ismodule(found) and value.__module__ != found.__name__:
            continue
        if issubclass(value, Family) or (issubclass(value, Method) and hasattr(value, "card")):
            yield value


def _source_sha256(cls: type[Method]) -> str:
    return hashlib.sha256(Path(inspect.getfile(cls)).read_bytes()).hexdigest()
