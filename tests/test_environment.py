"""What a record says of the machine and of the command."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prt_bench.environment import describe, impersonal, packages

NAMES = st.text("abcXYZ019-_.", min_size=1).filter(lambda name: set(name) != {"."})


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("run --out /home/joe/board --pair a:b", "run --out board --pair a:b"),
        ("run --data=/root/my --data-dir ../shared/data", "run --data=my --data-dir data"),
        ("~/pictures/cat.png: cannot be decoded", "cat.png: cannot be decoded"),
        ("leaderboard/results stays, and a/b", "leaderboard/results stays, and a/b"),
        ("https://example.org/a/b", "https://example.org/a/b"),
    ],
)
def test_of_a_path_only_the_last_part_is_kept(text: str, kept: str) -> None:
    assert impersonal(text) == kept


@given(st.lists(NAMES, min_size=2, max_size=5), NAMES)
def test_no_folder_above_survives(folders: list[str], name: str) -> None:
    assert impersonal(f"--out /{'/'.join(folders)}/{name} end") == f"--out {name} end"


def test_the_machine_is_described_without_its_names() -> None:
    text = describe("cpu").model_dump_json()
    assert socket.gethostname() not in text
    assert str(Path.home()) not in text
    assert {"torch", "open_clip_torch", "prt-bench"} <= packages().keys()
