"""`prt-bench fetch`: weights from the hub, by explicit file, ahead of a run."""

from __future__ import annotations

import shutil
from typing import Annotated

import typer
from rich.console import Console

from prt_bench.cli.settings import Settings
from prt_bench.errors import RequestError
from prt_bench.models import file_sha256, parse_pair
from prt_bench.records import ModelCard
from prt_bench.registry import Registry

__all__ = ["fetch"]


def fetch(
    context: typer.Context,
    pair: Annotated[list[str], typer.Option(help="SOURCE:TARGET; may be given several times.")],
) -> None:
    """Download the weight files of pairs into the store; what is there already is not fetched again."""
    settings: Settings = context.obj
    if settings.offline:
        raise RequestError("--offline: fetch needs the network")
    registry = Registry(settings.plugins)
    pairs = [parse_pair(text, registry) for text in pair]
    names = dict.fromkeys(name for found in pairs for name in (found.source, found.target))
    for name in names:
        _fetch(registry.card(name), settings, Console(stderr=True))


def _fetch(card: ModelCard, settings: Settings, console: Console) -> None:
    if card.embedded:
        console.print(f"{card.alias}: embedded, nothing to fetch", highlight=False)
        return
    if card.hub is None or card.file is None:
        raise RequestError(f"model {card.alias}: its card names no file on the hub")
    place = settings.store / "weights" / card.alias / card.file
    if place.is_file() and card.sha256 in (None, file_sha256(place)):
        console.print(f"{card.alias}: at hand, {place}", highlight=False, soft_wrap=True)
        return
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    console.print(f"{card.alias}: {card.hub}/{card.file}, licence {card.licence}", highlight=False, soft_wrap=True)
    try:
        cached = hf_hub_download(card.hub, card.file, revision=card.revision)
    except (HfHubHTTPError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise RequestError(
            f"model {card.alias}: {card.hub}/{card.file} cannot be fetched ({reason}); connect and try again, or put "
            f"the file at DIR/{card.alias}/{card.file} and pass --weights-dir DIR"
        ) from None
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_suffix(".partial")
    shutil.copyfile(cached, partial)
    partial.replace(place)
    found = file_sha256(place)
    if card.sha256 not in (None, found):
        place.unlink()
        raise RequestError(f"model {card.alias}: the file's digest {found} is not the card's {card.sha256}; removed")
    console.print(f"{card.alias}: sha256 {found}", highlight=False, soft_wrap=True)
