"""Pins: what was once looked up online is written down, read back, and laid over the cards."""

from __future__ import annotations

import re
import string
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from prt_bench.errors import RequestError
from prt_bench.pins import Pin, Pins, load_pins, write_pin
from prt_bench.registry import Registry

ALIAS, HUB, FILE = "vitb32-laion", "timm/vit_base_patch32_clip_224.laion400m_e32", "open_clip_model.safetensors"
COMMIT, DIGEST = "1234567890" * 4, "ab" * 32
FAMILY = """
from prt_bench.api import Family, ModelCard

class Toy(Family):
    name = "toy"
    def cards(self):
        common = {"family": "toy", "architecture": "t", "hub": "org/toy", "file": "toy.safetensors"}
        own = {"revision": "c" * 40, "sha256": "d" * 64, "verified": True}
        return [ModelCard(alias="toy-own", **common, **own), ModelCard(alias="toy-bare", **common)]
    def build(self, card, space, weights, places):
        raise NotImplementedError
"""
HEX = st.text("0123456789abcdef", min_size=40, max_size=40)
WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1, max_size=20)
NAMES = st.text(string.ascii_letters + string.digits + "-_./ ", min_size=1, max_size=200)
PINS = st.builds(
    Pin,
    revision=HEX,
    files=st.dictionaries(NAMES | WORDS, st.text("0123456789abcdef", min_size=64, max_size=64), max_size=4),
    size_bytes=st.integers(0, 10**13),
    licence=WORDS | st.sampled_from(("no", "null", "1.0", "MIT, Apache-2.0")),
    gated=st.booleans(),
    checked=st.dates().map(str),
)


def pin(revision: str = COMMIT, **files: str) -> Pin:
    return Pin(
        revision=revision,
        files={FILE: DIGEST} | files,
        size_bytes=7,
        licence="mit",
        gated=False,
        checked="2026-01-31",
    )


PINS_OF_ODD_NAME = pin().model_copy(update={"files": {"next\x85line.txt": DIGEST}})


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from(("model", "dataset")), NAMES, PINS), min_size=1, max_size=4))
@example([("dataset", "org/pets", PINS_OF_ODD_NAME)])
def test_pins_come_back_as_they_were_written(
    tmp_path_factory: pytest.TempPathFactory, written: list[tuple[str, str, Pin]]
) -> None:
    path = tmp_path_factory.mktemp("pins") / "pins.yaml"
    expected: dict[tuple[str, str], Pin] = {}
    for kind, repository, one in written:
        write_pin(path, kind, repository, one)
        expected[kind, repository] = one
    found = load_pins(path)
    assert {("model", name): one for name, one in found.models.items()} | {
        ("dataset", name): one for name, one in found.datasets.items()
    } == expected
    for (kind, repository), one in expected.items():
        assert found.of(kind)[repository] == one


def test_where_there_is_no_file_nothing_is_pinned(tmp_path: Path) -> None:
    assert load_pins(tmp_path / "pins.yaml") == Pins()


def test_a_pin_of_a_repository_replaces_its_older_one_and_leaves_the_others(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "pins.yaml"
    write_pin(path, "model", "org/one", pin("a" * 40))
    write_pin(path, "model", "org/two", pin("b" * 40))
    write_pin(path, "model", "org/one", pin("c" * 40))
    assert {name: one.revision[0] for name, one in load_pins(path).models.items()} == {"org/one": "c", "org/two": "b"}
    assert load_pins(path).datasets == {}
    assert path.read_text(encoding="utf-8").startswith("# Written by `prt-bench fetch --pin`.\n")


@pytest.mark.parametrize(
    ("was", "becomes", "message"),
    [
        ("models:", "model:", "2: model: unknown key; did you mean models?"),
        ("    gated: false\n", "    gated: false\n    gate: 1\n", "7: models.org/net.gate: unknown key"),
        ("    gated: false\n", "", "3: models.org/net.gated: this key is missing"),
        ("    revision: 'a", "    revision: 'g", "8: models.org/net.revision: "),
    ],
)
def test_a_mistake_in_a_file_of_pins_is_named_with_its_line(
    tmp_path: Path, was: str, becomes: str, message: str
) -> None:
    path = tmp_path / "pins.yaml"
    text = (
        "# ours\nmodels:\n  org/net:\n    checked: '2026-01-31'\n    files: {}\n    gated: false\n    licence: mit\n"
        f"    revision: '{'a' * 40}'\n    size_bytes: 1\n"
    )
    path.write_text(text, encoding="utf-8")
    assert load_pins(path).models["org/net"].size_bytes == 1
    assert was in text
    path.write_text(text.replace(was, becomes), encoding="utf-8")
    with pytest.raises(RequestError, match=re.escape(f"{path}:{message}")):
        load_pins(path)


def test_a_pinned_card_is_verified_at_the_pinned_commit_and_digest(tmp_path: Path, registry: Registry) -> None:
    bare = registry.card(ALIAS)
    assert (bare.hub, bare.file, bare.verified) == (HUB, FILE, False)
    path = tmp_path / "pins.yaml"
    write_pin(path, "model", HUB, pin())
    pinned = Registry((), path)
    card = pinned.card(ALIAS)
    assert (card.verified, card.revision, card.sha256) == (True, COMMIT, DIGEST)
    assert card == bare.model_copy(update={"verified": True, "revision": COMMIT, "sha256": DIGEST})
    others = {alias: one for alias, one in pinned.cards.items() if alias != ALIAS}
    assert others == {alias: one for alias, one in registry.cards.items() if alias != ALIAS}


def test_a_pin_without_the_cards_file_verifies_nothing(tmp_path: Path, registry: Registry) -> None:
    path = tmp_path / "pins.yaml"
    write_pin(path, "model", HUB, pin().model_copy(update={"files": {"README.md": DIGEST}}))
    assert Registry((), path).card(ALIAS) == registry.card(ALIAS)


def test_a_pin_of_a_data_set_pins_no_model_of_the_name(tmp_path: Path, registry: Registry) -> None:
    path = tmp_path / "pins.yaml"
    write_pin(path, "dataset", HUB, pin())
    assert Registry((), path).card(ALIAS) == registry.card(ALIAS)


def test_a_card_that_pins_itself_is_left_alone(tmp_path: Path) -> None:
    plugin, path = tmp_path / "toy.py", tmp_path / "pins.yaml"
    plugin.write_text(FAMILY, encoding="utf-8")
    write_pin(path, "model", "org/toy", pin(**{"toy.safetensors": DIGEST}))
    found = Registry((plugin,), path)
    own, bare = found.card("toy-own"), found.card("toy-bare")
    assert (own.revision, own.sha256) == ("c" * 40, "d" * 64)
    assert (bare.revision, bare.sha256, bare.verified) == (COMMIT, DIGEST, True)
