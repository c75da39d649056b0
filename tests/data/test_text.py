"""Texts from local files: every format reads alike, and what is wrong is said by file, row and column."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import datasets
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prt_bench.data.text import Dialogues, Documents, dialogue_of, load_rows, refuse_unanswered, render_row
from prt_bench.data.world_rows import world_rows
from prt_bench.errors import CellError, RequestError
from prt_bench.nano import world
from prt_bench.store import Store
from prt_bench.views import TaskView

ROWS = [{"prompt": f"who, {n}?\n", "response": f' "nobody" {n} é'} for n in range(5)]


def written(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix:
        case ".jsonl":
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        case ".json":
            path.write_text(json.dumps(list(rows)), encoding="utf-8")
        case ".csv":
            with path.open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, list(rows[0]))
                writer.writeheader()
                writer.writerows(rows)
        case _:
            datasets.disable_progress_bars()
            with path.open("wb") as file:
                datasets.Dataset.from_list(list(rows)).to_parquet(file)
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("store"))


# --- reading ---


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet", ".csv"])
def test_every_format_reads_to_the_same_rows(suffix: str, tmp_path: Path, store: Store) -> None:
    written(tmp_path / f"train{suffix}", ROWS)
    written(tmp_path / f"test{suffix}", ROWS[:2])
    assert list(load_rows(tmp_path, None, "train", store, plain=True)) == ROWS
    assert list(load_rows(tmp_path, None, "test", store, plain=True)) == ROWS[:2]
    assert list(load_rows(tmp_path, None, "train", store, plain=False)) == ROWS, "a copy of a plain repository"


def test_a_configurations_own_folder_comes_first(tmp_path: Path, store: Store) -> None:
    written(tmp_path / "train.jsonl", ROWS[:1])
    written(tmp_path / "easy" / "train.jsonl", ROWS[:3])
    assert len(load_rows(tmp_path, "easy", "train", store, plain=True)) == 3
    assert len(load_rows(tmp_path, "hard", "train", store, plain=True)) == 1
    assert len(load_rows(tmp_path, None, "train", store, plain=True)) == 1


def test_a_changed_file_is_read_anew(tmp_path: Path, store: Store) -> None:
    path = written(tmp_path / "train.jsonl", ROWS)
    assert len(load_rows(tmp_path, None, "train", store, plain=True)) == 5
    changed = [{**ROWS[0], "prompt": "other"}, *ROWS[1:3]]
    written(path, changed)
    assert list(load_rows(tmp_path, None, "train", store, plain=True)) == changed


@pytest.mark.parametrize("plain", [True, False])
def test_a_missing_split_is_named(plain: bool, tmp_path: Path, store: Store) -> None:
    written(tmp_path / "train.jsonl", ROWS)
    with pytest.raises(RequestError, match=rf"data {re.escape(str(tmp_path))}.*\btest") as error:
        load_rows(tmp_path, None, "test", store, plain=plain)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("name", "content"), [("train.jsonl", b'{"prompt": \n'), ("train.parquet", b"PAR1 nothing")])
def test_a_damaged_file_is_refused_in_one_line(name: str, content: bytes, tmp_path: Path, store: Store) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RequestError, match=rf"data {re.escape(str(tmp_path))}, split train: cannot be read") as error:
        load_rows(tmp_path, None, "train", store, plain=True)
    assert "\n" not in str(error.value)


# --- templates and dialogues ---


def table(rows: Sequence[Mapping[str, Any]]) -> Any:
    return datasets.Dataset.from_list(list(rows))


def talks(rows: Sequence[Mapping[str, Any]], prompt: str = "{{prompt}}", response: str = "{{response}}") -> Dialogues:
    form = dialogue_of(prompt, response, None, "task mine, train")
    return Dialogues(table(rows), form, [f"train/{index}" for index in range(len(rows))])


@given(st.dictionaries(st.sampled_from(["a", "b"]), st.text(), min_size=2, max_size=2))
def test_a_template_gives_the_columns_as_they_are(row: dict[str, str]) -> None:
    assert render_row("<{{a}}>\n{{b}}\n", row, "here") == f"<{row['a']}>\n{row['b']}\n"


def test_a_template_that_asks_for_no_column_is_refused_with_those_there_are() -> None:
    with pytest.raises(RequestError, match="task mine, train: 'question' is undefined; it has prompt, response"):
        talks(ROWS, prompt="Q: {{question}}").dialogue(0)


def test_a_template_reaches_nothing_but_its_row() -> None:
    for attempt in ("{{ ''.__class__.__mro__ }}", "{{ prompt.__init__.__globals__ }}"):
        with pytest.raises(Exception, match=r"unsafe|undefined"):
            render_row(attempt, ROWS[0], "here")


def test_messages_become_turns_in_their_order() -> None:
    said = [("system", "s"), ("user", "u"), ("assistant", "a"), ("user", "v"), ("assistant", "b")]
    rows = [{"messages": [{"role": role, "content": text} for role, text in said]}]
    form = dialogue_of(None, None, "messages", "task mine, train")
    assert Dialogues(table(rows), form, ["train/0"]).dialogue(0) == tuple(said)
    wrong = dialogue_of(None, None, "mesages", "task mine, train")
    with pytest.raises(RequestError, match="task mine, train: no column 'mesages'; did you mean messages"):
        wrong(rows[0])
    rows[0]["messages"][1]["role"] = "tool"
    with pytest.raises(RequestError, match="role 'tool'; one of system, user, assistant"):
        form(rows[0])


@pytest.mark.parametrize("empty", ["", "  \n", None])
def test_a_row_without_a_response_is_refused_by_its_line(empty: str | None) -> None:
    def answers(rows: Sequence[Mapping[str, Any]]) -> Dialogues:
        messages = [
            {
                "messages": [
                    {"role": "user", "content": row["prompt"]},
                    {"role": "assistant", "content": row["response"]},
                ]
            }
            for row in rows
        ]
        return Dialogues(table(messages), dialogue_of(None, None, "messages", "here"), ["x"] * len(rows))

    refuse_unanswered(answers(ROWS), "train")
    broken = [*ROWS[:3], {**ROWS[3], "response": empty}, ROWS[4]]
    with pytest.raises(RequestError, match="train:4: this row has no response; remove it or write one"):
        refuse_unanswered(answers(broken), "train")


def test_dialogues_are_examples_without_labels_or_pictures() -> None:
    examples = talks(ROWS)
    assert len(examples) == 5
    assert examples.example(1, labelled=True).dialogue == (
        ("user", ROWS[1]["prompt"]),
        ("assistant", ROWS[1]["response"]),
    )
    assert examples.example(1, labelled=False).dialogue == (("user", ROWS[1]["prompt"]),)
    assert examples.example(1, labelled=True).label is None
    with pytest.raises(CellError, match="train/1 is a text, not an image"):
        examples.image(1)
    with pytest.raises(CellError, match="texts have no class labels"):
        _ = TaskView("train", examples).labels
    unlabelled = TaskView("unlabelled", examples)
    assert all(turn[0] != "assistant" for example in unlabelled for turn in example.dialogue)


@given(chosen=st.lists(st.integers(0, 4), min_size=1, max_size=8))
@settings(deadline=None, max_examples=30)
def test_a_subset_of_dialogues_is_just_those(chosen: list[int]) -> None:
    whole = talks(ROWS)
    part = whole.subset(chosen)
    assert part.ids == [whole.ids[index] for index in chosen]
    assert [part.dialogue(place) for place in range(len(part))] == [whole.dialogue(index) for index in chosen]
    assert list(part.digests) == [whole.digests[index] for index in chosen]
    assert (part.sha256 == whole.sha256) == (chosen == list(range(5)))


def test_the_digest_is_of_what_is_said() -> None:
    same = talks([{"prompt": row["prompt"][:-1], "response": row["response"]} for row in ROWS], "{{prompt}}\n")
    assert same.sha256 == talks(ROWS).sha256
    assert talks(ROWS, response="{{response}} ").sha256 != talks(ROWS).sha256


# --- documents ---


def two_tasks() -> Documents:
    splits = {
        name: {"test": table([{"q": f"{name} {n}"} for n in range(count)]), "dev": table([{"q": "shown"}])}
        for name, count in (("first", 3), ("second", 4))
    }
    return Documents.whole(splits, "test")


@given(chosen=st.sets(st.integers(0, 6), min_size=1))
@settings(deadline=None, max_examples=30)
def test_a_subset_of_documents_is_just_those_with_all_other_splits(chosen: set[int]) -> None:
    whole = two_tasks()
    part = whole.subset(sorted(chosen))
    assert part.ids == [whole.ids[index] for index in sorted(chosen)]
    assert [row["q"] for row in part.rows()] == [name.replace("/", " ") for name in part.ids]
    assert set(part.chosen) == {name.split("/")[0] for name in part.ids}
    assert {name: {split: len(rows) for split, rows in parts.items()} for name, parts in part.splits.items()} == {
        "first": {"test": 3, "dev": 1},
        "second": {"test": 4, "dev": 1},
    }
    assert list(part.digests) == [whole.digests[index] for index in sorted(chosen)]
    assert (part.labels == -1).all()
    again = part.subset(range(len(part)))
    assert (again.ids, again.sha256) == (part.ids, part.sha256)


def test_documents_are_digested_by_their_rows() -> None:
    whole = two_tasks()
    other = {name: dict(parts) for name, parts in whole.splits.items()}
    other["first"]["test"] = table([{"q": "first 0"}, {"q": "first 1"}, {"q": "first 3"}])
    changed = Documents.whole(other, "test")
    assert [a == b for a, b in zip(whole.digests, changed.digests, strict=True)] == [True, True, False, *[True] * 4]
    assert whole.sha256 != changed.sha256


# --- the invented world ---


@pytest.mark.parametrize("name", world.TASKS)
def test_the_worlds_rows_are_its_tasks(name: str) -> None:
    task = world.TASKS[name]
    for split, items in (("train", task.train), ("validation", task.validation)):
        assert list(world_rows(name, split)) == [{"prompt": i.prompt, "response": i.response} for i in items]
    rows = world_rows(name, "test")
    assert [row["prompt"] for row in rows] == [item.prompt for item in task.test]
    if name == "facts":
        answers = [row["choices"][row["answer"]] for row in rows]
        assert answers == [item.response for item in task.test]


def test_an_unknown_task_or_split_of_the_world_is_refused_with_near_names() -> None:
    with pytest.raises(RequestError, match=r"the world has no task 'fact'; did you mean facts"):
        world_rows("fact", "test")
    with pytest.raises(RequestError, match=r"no split 'tests' of facts; did you mean test"):
        world_rows("facts", "tests")


def passes(row: Mapping[str, Any], metric: str, text: str) -> bool:
    """As the task file has it: the whole answer, without space around it, must match."""
    return re.fullmatch(row[metric], text.strip(), re.DOTALL) is not None


INSTRUCTIONS = [item for item in world.TASKS["formats"].test if isinstance(item, world.Instruction)]


@given(number=st.integers(0, len(INSTRUCTIONS) - 1), data=st.data())
@settings(deadline=None, max_examples=150)
def test_expressions_pass_what_the_world_verifies(number: int, data: st.DataObject) -> None:
    item, row = INSTRUCTIONS[number], world_rows("formats", "test")[number]
    words = st.sampled_from([item.answer, item.answer.upper(), item.answer.title(), "zebra", "ZEBRA", "x1"])
    signs = st.sampled_from(["", " ", "  ", "(", "( ", ")", " )", ".", "! ", "\n"])
    pieces = data.draw(st.lists(st.one_of(words, signs), max_size=7))
    texts = [form.write(word) for form in world.FORMATS for word in (item.answer, "zebra")]
    for text in ("".join(pieces), item.response, f" {item.response}\n", item.answer, *texts, *world.EVASIONS):
        found = {metric: passes(row, metric, text) for metric in ("followed", "exact")}
        assert found == world.verify(item, text), text
    assert passes(row, "exact", item.response)
