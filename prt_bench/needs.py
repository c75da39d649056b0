"""What a run stands on that has to be fetched: weights, data and published encoders, at hand or not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from prt_bench.errors import MissingError
from prt_bench.fetching import Kind
from prt_bench.language_spec import LanguageSpec
from prt_bench.models import parse_pair
from prt_bench.places import find_data, find_encoder
from prt_bench.recipes import PUBLISHED, published_encoder, published_facts
from prt_bench.records import ModelCard
from prt_bench.registry import Registry
from prt_bench.requests import RunRequest, Suite
from prt_bench.store import Store
from prt_bench.task_spec import HubData, HubSource, LabelFile, PublishedEncoder
from prt_bench.tasks import Spec, plain_specs, spec_at, task_spec
from prt_bench.text_tasks import find_texts

__all__ = ["Need", "needs", "specs"]


@dataclass(frozen=True)
class Need:
    """One repository that a run stands on."""

    kind: Kind
    what: str
    repository: str
    revision: str | None
    files: tuple[str, ...]
    """Patterns of the files that are needed; empty for all."""
    folder: Path
    """Where a fetch puts it."""
    size_bytes: int | None
    """About; None where nobody has written it down."""
    licence: str
    gated: bool
    verified: bool
    """Whether commit and digests were looked up online."""
    at_hand: bool


@dataclass(frozen=True)
class Into:
    """Where a fetch puts things."""

    weights: Path
    data: Path


def needs(request: RunRequest, chosen: Suite, registry: Registry, own_folders: bool = False) -> list[Need]:
    """Everything of a request that lives on the hub, at hand or not; a repository is named once.

    A fetch puts it into the store, or with `own_folders` into `--weights-dir` and `--data-dir`.
    """
    into = Into(request.places.cache, request.store / "data")
    if own_folders:
        into = Into(request.weights_dir or into.weights, request.data_dir or into.data)
    found: dict[tuple[str, str], Need] = {}
    for need in _all(request, chosen, registry, into):
        known = found.get((need.kind, need.repository), need)
        files = tuple(dict.fromkeys((*known.files, *need.files))) if known.files and need.files else ()
        found[need.kind, need.repository] = replace(known, files=files, at_hand=known.at_hand and need.at_hand)
    return list(found.values())


def specs(request: RunRequest, chosen: Suite, registry: Registry) -> list[Spec]:
    """The task files of a request."""
    own = [spec_at(path) for path in request.data if path.is_file()]
    named = [task_spec(name, registry) for name in chosen.tasks]
    found = [part for spec in (*named, *own) for part in plain_specs(spec, registry)]
    return list({spec.name: spec for spec in found}.values())


def _all(request: RunRequest, chosen: Suite, registry: Registry, into: Into) -> Iterator[Need]:
    pairs = [parse_pair(text, registry) for text in chosen.pairs]
    aliases = list(dict.fromkeys(name for pair in pairs for name in (pair.source, pair.target)))
    asked = specs(request, chosen, registry)
    for alias in aliases:
        card = registry.card(alias)
        if card.hub is not None:
            yield _weights(card, card.hub, request, registry, into)
    for spec in asked:
        for source in spec.hub_data:
            yield _data(spec, source, request, registry, into)
    if chosen.recipe == PUBLISHED:
        for alias in aliases:
            for spec in asked:
                encoder = published_encoder(alias, spec.name, registry)
                if encoder is not None:
                    yield _encoder(encoder, request, registry, into)


def _weights(card: ModelCard, hub: str, request: RunRequest, registry: Registry, into: Into) -> Need:
    try:
        registry.family(card).weight_files(card, request.places)
        at_hand = True
    except MissingError:
        at_hand = False
    return Need(
        "model",
        f"weights of {card.alias}",
        hub,
        card.revision,
        registry.family(card).hub_files(card),
        into.weights / hub,
        card.size_bytes,
        card.licence,
        card.gated,
        card.verified,
        at_hand,
    )


def _data(spec: Spec, source: HubData, request: RunRequest, registry: Registry, into: Into) -> Need:
    try:
        store = Store(request.store)
        if isinstance(spec, LanguageSpec):
            find_texts(spec, source, request.data_dir, store)
        else:
            find_data(spec.name, source, request.data_dir, store)
        at_hand = True
    except MissingError:
        at_hand = False
    pin = registry.pins.datasets.get(source.repository)
    names = source.label_names if isinstance(source, HubSource) else None
    label_files = (names.file,) if isinstance(names, LabelFile) else ()
    return Need(
        "dataset",
        f"data of {spec.name}",
        source.repository,
        source.revision or (pin.revision if pin else None),
        (*source.files, *label_files) if source.files else (),
        into.data / source.repository,
        source.size_bytes,
        spec.licence,
        source.gated,
        pin is not None,
        at_hand,
    )


def _encoder(encoder: PublishedEncoder, request: RunRequest, registry: Registry, into: Into) -> Need:
    try:
        find_encoder(encoder, request.places)
        at_hand = True
    except MissingError:
        at_hand = False
    pin = registry.pins.models.get(encoder.repository)
    licence = next(file.licence for file in published_facts(registry) if encoder.repository in _names(file.encoders))
    return Need(
        "model",
        f"{encoder.model} tuned on {encoder.task}",
        encoder.repository,
        pin.revision if pin else None,
        (encoder.file,),
        into.weights / encoder.repository,
        encoder.size_bytes,
        licence,
        False,
        pin is not None,
        at_hand,
    )


def _names(encoders: tuple[PublishedEncoder, ...]) -> set[str]:
    return {encoder.repository for encoder in encoders}
