"""Strict YAML: what is wrong is said in one line with file, line and key."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import Field

from prt_bench.errors import RequestError
from prt_bench.records import Strict
from prt_bench.task_spec import TaskSpec
from prt_bench.yaml_files import LARGEST_BYTES, load_yaml


class Cat(Strict):
    kind: Literal["cat"]
    lives: int = 9


class Dog(Strict):
    kind: Literal["dog"]
    tricks: tuple[str, ...] = ()


class Household(Strict):
    address: str
    rooms: int = Field(ge=1)
    pets: tuple[Cat | Dog, ...] = ()
    favourite: Cat | Dog | None = Field(default=None, discriminator="kind")
    weights: dict[str, float] = Field(default_factory=dict)


GOOD = """\
address: here
rooms: 3
favourite:
  kind: dog
  tricks:
    - sit
    - roll
weights:
  one: 1.5
  two: 2
"""


def wrong(tmp_path: Path, text: str, schema: type[Strict] = Household) -> str:
    """The message, less the file's path."""
    path = tmp_path / "file.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(RequestError) as caught:
        load_yaml(path, schema)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message.removeprefix(str(path))


def test_a_file_is_read_into_its_schema(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(GOOD, encoding="utf-8")
    found = load_yaml(path, Household)
    assert found.favourite == Dog(kind="dog", tricks=("sit", "roll"))
    assert found.weights == {"one": 1.5, "two": 2.0}


@pytest.mark.parametrize(
    ("old", "new", "start"),
    [
        ("rooms: 3", "rooms: 3\nroms: 4", ":3: roms: unknown key; did you mean rooms?"),
        ("  kind: dog\n", "  kind: dog\n  lives: 2\n", ":5: favourite.lives: unknown key"),
        ("address: here\n", "", ":1: address: this key is missing"),
        ("  kind: dog\n", "", ":3: favourite: Unable to extract tag"),
        ("rooms: 3", "rooms: 3\naddress: there", ":3: address: this key stands twice"),
        ("  two: 2", "  one: 2", ":10: one: this key stands twice"),
        ("rooms: 3", "rooms: many", ":2: rooms: Input should be a valid integer"),
        ("rooms: 3", "rooms: 0", ":2: rooms: Input should be greater than or equal to 1"),
        ("rooms: 3", "rooms:", ":2: rooms: Input should be a valid integer"),
        ("    - roll", "    - [roll]", ":7: favourite.tricks.1: Input should be a valid string"),
        ("  two: 2", "  two: .nan", ":10: weights.two: Input should be a finite number"),
        ("  two: 2", "  two: {}", ":10: weights.two: Input should be a valid number"),
        ("here\nrooms: 3", "&a here\nrooms: *a", ":2: *a: YAML aliases are not allowed"),
        ("  two: 2", "  two: *missing", ":10: *missing: YAML aliases are not allowed"),
        ("rooms: 3", "rooms: [3", ":3: not valid YAML"),
        ("rooms: 3", "rooms: !!python/object/apply:os.system [ls]", ":2: not valid YAML (could not determine a constr"),
        ("rooms: 3", "rooms: 3\n\tfavourite: 1", ":3: not valid YAML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_line_and_key(tmp_path: Path, old: str, new: str, start: str) -> None:
    assert GOOD.count(old) == 1
    assert wrong(tmp_path, GOOD.replace(old, new)).startswith(start)


@pytest.mark.parametrize("text", ["", "# nothing\n", "- 1\n- 2\n", "word"])
def test_a_file_without_keys_is_refused(tmp_path: Path, text: str) -> None:
    assert wrong(tmp_path, text) == ":1: a mapping of keys is expected"


@pytest.mark.parametrize(
    "value",
    [
        "2024-13-45",
        "!!int x",
        "!!bool x",
        "!!float ''",
        "!!timestamp x",
        "[" * 1200 + "]" * 1200,
        "[" * 900_000,
        "\x00",
        "=",
        "!!binary é",
    ],
)
def test_a_value_on_which_the_parser_trips_is_refused_all_the_same(tmp_path: Path, value: str) -> None:
    assert "not valid YAML" in wrong(tmp_path, f"address: {value}\n")


def test_aliases_do_not_blow_up(tmp_path: Path) -> None:
    bomb = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30))
    assert wrong(tmp_path, bomb).startswith(":2: *a0: YAML aliases")


def test_a_file_that_is_too_large_absent_or_not_text_is_named(tmp_path: Path) -> None:
    assert f"more than a task file may have ({LARGEST_BYTES})" in wrong(tmp_path, "#" * (LARGEST_BYTES + 1))
    with pytest.raises(RequestError, match=r"gone\.yaml: cannot be read"):
        load_yaml(tmp_path / "gone.yaml", Household)
    (tmp_path / "latin.yaml").write_bytes("address: caf\xe9".encode("latin-1"))
    with pytest.raises(RequestError, match=r"latin\.yaml: cannot be read"):
        load_yaml(tmp_path / "latin.yaml", Household)


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    text=st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.text("ab:-[]{}&*!|>#'\"\n ?,.0", max_size=40))
)
def test_any_text_is_read_or_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        load_yaml(path, Household)
        said = ""
    except RequestError as error:
        said = str(error)
    assert not said or (said.startswith(f"{path}:") and "\n" not in said)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text("a:é -\n#'")
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inside, max_size=3),
)


class Anything(Strict):
    value: Any


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUES)
def test_plain_values_are_read_as_yaml_means_them(tmp_path: Path, value: Any) -> None:
    class Plain(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:
            return True

    path = tmp_path / "file.yaml"
    path.write_text(yaml.dump({"value": value}, Dumper=Plain, allow_unicode=True), encoding="utf-8")
    assert load_yaml(path, Anything).value == value


TASK = textwrap.dedent("""\
    name: mine
    version: 1
    title: Mine
    kind: image-classification
    source:
      kind: procedural
      name: shapes
      counts: {train: 20}
    roles:
      train: {split: train}
      validation: {split: train}
      test: {split: test}
    classes:
      - {name: cat}
      - {name: dog}
    templates: ["a {}"]
    templates_source: ours
    licence: MIT
    """)


@pytest.mark.parametrize(
    ("old", "new", "start"),
    [
        ("  name: shapes\n", "  name: shapes\n  seeds: 3\n", ":8: source.seeds: unknown key"),
        ("  counts: {train: 20}\n", "", ":5: source.counts: this key is missing"),
        ("counts: {train: 20}", "counts: {train: x}", ":8: source.counts.train: Input should be a valid integer"),
        ("{name: dog}", "{name: cat}", ":13: classes: 'cat' stands twice"),
        ("{name: dog}", "{name: dog, labels: [cat]}", ":13: classes: 'cat' stands twice"),
        ("  - {name: dog}\n", "", ":13: classes: Tuple should have at least 2 items"),
        ("{name: dog}", "{nam: dog}", ":15: classes.1.nam: unknown key"),
        ('"a {}"', '"a cat"', ":16: templates: a template has exactly one {}"),
        ('"a {}"', '"{} and {}"', ":16: templates: a template has exactly one {}"),
        ('"a {}"', '"a {} {name}"', ":16: templates: a template has exactly one {}"),
        ("test: {split: test}", "test: {split: test, per_class: 2, fraction: 0.1}", ":12: roles.test: give one of"),
        ("test: {split: test}", "test: {split: test, fraction: 1.5}", ":12: roles.test.fraction: Input should be less"),
        ("kind: procedural", "kind: magic", ":5: source: Input tag 'magic'"),
        ("name: mine", "name: My task", ":1: name: String should match pattern"),
    ],
)  # fmt: skip
def test_a_wrong_task_file_is_refused_with_line_and_key(tmp_path: Path, old: str, new: str, start: str) -> None:
    assert TASK.count(old) == 1
    assert wrong(tmp_path, TASK.replace(old, new), TaskSpec).startswith(start)


def test_a_version_may_be_written_as_a_number(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(TASK, encoding="utf-8")
    assert load_yaml(path, TaskSpec).version == "1"
