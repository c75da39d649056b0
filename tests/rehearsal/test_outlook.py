"""What a large run would fetch, keep and take: told with nothing at hand and no network."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

from prt_bench.cli.main import invoke
from prt_bench.models import parse_pair
from prt_bench.recipes import PUBLISHED, published_encoder
from prt_bench.registry import Registry
from prt_bench.requests import suites
from prt_bench.task_spec import HubSource, TaskSpec
from prt_bench.tasks import task_spec

SUITES = ("quick", "vision-8", "vision-17", "published")
REGISTRY = Registry()


class InThisProcess:
    """An executor without a worker: what it calls is the same, and has no network here."""

    def __init__(self, open_job: Callable[[Callable[..., None]], Any]) -> None:
        self._open_job = open_job

    def call(self, name: str, *args: Any, report: Callable[..., None], timeout: float | None = None) -> Any:
        return getattr(self._open_job(report), name)(*args)

    def close(self) -> None:
        """Nothing to end."""


def repositories(suite: str) -> set[str]:
    """What the suite stands on, by its own lists."""
    chosen = suites(REGISTRY).suites[suite]
    pairs = [parse_pair(text, REGISTRY) for text in chosen.pairs]
    aliases = {name for pair in pairs for name in (pair.source, pair.target)}
    found = {str(REGISTRY.card(alias).hub) for alias in aliases}
    for task in chosen.tasks:
        spec = task_spec(task, REGISTRY)
        assert isinstance(spec, TaskSpec)
        source = spec.source
        assert isinstance(source, HubSource)
        found.add(source.repository)
        if chosen.recipe == PUBLISHED:
            encoders = [published_encoder(alias, task, REGISTRY) for alias in aliases]
            found |= {encoder.repository for encoder in encoders if encoder}
    return found


@pytest.mark.parametrize("suite", SUITES)
def test_a_dry_run_tells_downloads_disk_and_time_with_nothing_at_hand(
    suite: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any) -> NoReturn:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("prt_bench.runner.LocalExecutor", InThisProcess)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("COLUMNS", "240")
    places = ["--out", str(tmp_path / "board"), "--store", str(tmp_path / "store")]
    code = invoke(["run", "--dry-run", "--suite", suite, *places])
    said = capsys.readouterr()
    assert code == 0, said.err
    needed = repositories(suite)
    assert [repository for repository in sorted(needed) if repository not in said.out] == []
    assert said.out.count("to fetch") == said.out.count("not pinned") == len(needed)
    for word in ("downloads: about", "disk: about", "time: ", "networks to train or take"):
        assert word in said.out
    assert not list(tmp_path.rglob("*.json"))
    assert not list((tmp_path / "board").rglob("*.csv"))
