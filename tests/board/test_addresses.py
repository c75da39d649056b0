"""Every thing has a page of its own, on any file system."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prt_bench.board import addresses
from prt_bench.board.addresses import pair_page, plain_name, table_page
from prt_bench.records import PairNames

NAMES = st.one_of(
    st.text(max_size=12), st.text("aAbB._- /", max_size=6), st.text("ab", min_size=55, max_size=70), st.just("é")
)
PAGES: list[Callable[[str], str]] = [
    addresses.task_page,
    addresses.method_page,
    addresses.model_page,
    addresses.session_page,
    addresses.release_page,
]


@given(st.lists(NAMES, min_size=2, max_size=30, unique=True))
def test_names_that_differ_have_pages_that_differ_even_without_case(names: list[str]) -> None:
    assert len({plain_name(name).lower() for name in names}) == len(names)


@given(NAMES)
def test_a_name_is_safe_in_a_link_and_on_a_disk(name: str) -> None:
    plain = plain_name(name)
    assert re.fullmatch(r"[a-z0-9][a-z0-9._-]*", plain)
    assert len(plain) < 80, "three of them are one file name"


@pytest.mark.parametrize("page", PAGES)
def test_plain_names_are_kept_whatever_it_is_of(page: Callable[[str], str]) -> None:
    folder, _, name = page("gsm8k-tulu").partition("/")
    assert name == "gsm8k-tulu.html"
    assert folder.endswith("s")


def test_each_kind_has_a_folder_of_its_own() -> None:
    assert len({page("x") for page in PAGES}) == len(PAGES)


def test_a_table_lies_beside_its_pair() -> None:
    pair = PairNames(source="rn50", target="ViT")
    assert pair_page(pair).startswith("pairs/rn50__vit-")
    assert table_page(pair, "digits") == pair_page(pair).replace(".html", "__digits.html")


def test_the_direction_of_a_pair_counts() -> None:
    there, back = PairNames(source="a", target="b"), PairNames(source="b", target="a")
    assert pair_page(there) != pair_page(back)


def test_two_underscores_in_a_name_share_no_page() -> None:
    names = [("a__b", "c"), ("a", "b__c"), ("a", "b"), ("a_", "b"), ("a", "_b"), ("a__b__c", "d")]
    pairs = [PairNames(source=source, target=target) for source, target in names]
    pages = [pair_page(pair) for pair in pairs] + [
        table_page(pair, task) for pair in pairs for task in ("c", "c__d", "d")
    ]
    assert len(set(pages)) == len(pages)


def test_a_name_that_looks_like_one_with_a_digest_is_not_its_page() -> None:
    assert plain_name(plain_name("Foo")) != plain_name("Foo")
