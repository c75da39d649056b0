"""Global options may stand anywhere on the command line."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prt_bench.cli.settings import VALUE_OPTIONS, Settings, hoist
from prt_bench.errors import RequestError

PLAIN = st.sampled_from(["run", "--pair", "a:b", "--seeds=3", "-x", "", "x=--out", "--output", "--outer=3"])
GLOBAL = st.one_of(
    st.sampled_from([("--offline",), ("--version",)]),
    st.tuples(st.sampled_from(VALUE_OPTIONS), st.sampled_from(["here", "", "-", "a b", "--pair"])),
    st.builds(
        lambda option, value: (f"{option}={value}",), st.sampled_from(VALUE_OPTIONS), st.sampled_from(["", "x", "a=b"])
    ),
)
LINES = st.lists(st.one_of(st.tuples(PLAIN), GLOBAL), max_size=8)


def in_order(part: list[str], whole: list[str]) -> bool:
    remaining = iter(whole)
    return all(word in remaining for word in part)


@given(LINES)
def test_hoisting_keeps_every_word_and_both_orders(groups: list[tuple[str, ...]]) -> None:
    words = [word for group in groups for word in group]
    is_global = [group[0].partition("=")[0] in (*VALUE_OPTIONS, "--offline", "--version") for group in groups]
    first = [word for group, chosen in zip(groups, is_global, strict=True) if chosen for word in group]
    rest = [word for group, chosen in zip(groups, is_global, strict=True) if not chosen for word in group]
    hoisted = hoist(words)
    assert hoisted == first + rest
    assert Counter(hoisted) == Counter(words)
    assert in_order(first, words)
    assert in_order(rest, words)


@given(LINES)
def test_hoisting_twice_is_hoisting_once(groups: list[tuple[str, ...]]) -> None:
    once = hoist([word for group in groups for word in group])
    assert hoist(once) == once


@given(LINES)
def test_what_stands_behind_two_dashes_stays_there(groups: list[tuple[str, ...]]) -> None:
    tail = ["--", *(word for group in groups for word in group)]
    assert hoist(["run", *tail]) == ["run", *tail]


def test_options_move_before_the_command_with_their_values() -> None:
    line = ["run", "--pair", "a:b", "--out", "here", "--offline", "--store=x"]
    assert hoist(line) == ["--out", "here", "--offline", "--store=x", "run", "--pair", "a:b"]


def test_an_option_without_its_value_does_not_swallow_the_command() -> None:
    with pytest.raises(RequestError, match="--out: a value is missing"):
        hoist(["run", "--out"])


def test_the_store_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PRT_BENCH_STORE", str(tmp_path / "elsewhere"))
    assert Settings().store == tmp_path / "elsewhere"


@pytest.mark.parametrize("named", [None, ""])
def test_the_store_is_in_the_users_cache_where_nothing_is_named(
    monkeypatch: pytest.MonkeyPatch, named: str | None
) -> None:
    if named is None:
        monkeypatch.delenv("PRT_BENCH_STORE")
    else:
        monkeypatch.setenv("PRT_BENCH_STORE", named)
    assert Settings().store.name == "prt-bench"
