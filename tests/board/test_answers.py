"""The predictions file beside a record: read in full, and the record follows from it or is refused."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sklearn.metrics import recall_score

from prt_bench.board.answers import Answers, read_answers
from prt_bench.errors import RequestError
from prt_bench.meters import quality
from prt_bench.records import Record
from tests.test_records import RECORD

Rows = Sequence[Sequence[Any]]
HEAD = ["id", "label", "prediction", "log_prob_label"]
# Class 0: 2 of 3 right; class 2: 1 of 1; class 1 is not asked.
IMAGES = [["a", 0, 0, -0.1], ["b", 0, 0, -0.5], ["c", 0, 1, -2.25], ["d", 2, 2, -1.15]]
SCORES = {"top1": 3 / 4, "mean_per_class": (2 / 3 + 1) / 2}
TEXTS = [["t/0", 1, 1, 0.5, '"yes"'], ["t/1", 0, 0, 0.333333, '"no"'], ["t/2", 0, 0, 1, '"a\\nb"']]
TEXT_HEAD = ["id", "score", "exact", "parts", "answer"]
PARTS = (0.5 + 1 / 3 + 1) / 3


def metric(value: float, n: int) -> dict[str, Any]:
    return {"value": value, "ci95": None, "n": n, "split": "test"}


def images(**changes: Any) -> dict[str, Any]:
    return {
        **RECORD["quality"],
        "metrics": {name: metric(value, 4) for name, value in SCORES.items()},
        "nll": 1.0,
        "per_class": {"zero": [2, 3], "two": [1, 1]},
        **changes,
    }


def texts(**changes: Any) -> dict[str, Any]:
    metrics = {"exact": metric(1 / 3, 3), "parts": metric(PARTS, 3)}
    return {**RECORD["quality"], "primary": "exact", "metrics": metrics, "nll": None, **changes}


Read = Callable[..., Answers]


def file_and_read(folder: Path, found: dict[str, Any], rows: Rows, head: Sequence[str] = HEAD) -> Answers:
    record = Record.model_validate(deepcopy(RECORD) | {"quality": found})
    with (folder / "c1.predictions.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([head, *rows])
    return read_answers(record, folder / "c1.json")


@pytest.fixture
def read(tmp_path: Path) -> Read:
    return lambda *words: file_and_read(tmp_path, *words)


def refusal(call: Callable[[], Answers]) -> str:
    with pytest.raises(RequestError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_answers_of_images(read: Read, tmp_path: Path) -> None:
    found = read(images(), IMAGES)
    assert found.file == tmp_path / "c1.predictions.csv"
    assert found.items == ["a", "b", "c", "d"]
    assert found.values.tolist() == [1, 1, 0, 1]
    assert found.given is not None
    assert found.given.tolist() == [0, 0, 1, 2]


def test_where_classes_weigh_the_same_an_item_of_a_small_one_adds_more(read: Read) -> None:
    found = read(images(primary="mean_per_class"), IMAGES)
    assert found.values == pytest.approx([2 / 3, 2 / 3, 0, 2])
    assert found.values.mean() == pytest.approx(SCORES["mean_per_class"])


def test_answers_of_text_in_six_digits(read: Read) -> None:
    found = read(texts(), TEXTS, TEXT_HEAD)
    assert found.items == ["t/0", "t/1", "t/2"]
    assert found.values.tolist() == [1, 0, 0]
    assert found.given is not None
    assert len(set(found.given)) == 3
    again = read(texts(), [[*TEXTS[0][:4], '"no"'], *TEXTS[1:]], TEXT_HEAD).given
    assert again is not None
    assert (again == found.given).tolist() == [False, True, True]
    assert again[0] == again[1]


def test_of_options_the_likeliest_one_was_given(read: Read) -> None:
    said = ("[-3.0, -1.5]", "[-0.1, -7]", "[0]")
    rows = [[*values, answer] for (*values, _), answer in zip(TEXTS, said, strict=True)]
    likeliest = [[*values, index] for (*values, _), index in zip(TEXTS, (1, 0, 0), strict=True)]
    given = [read(texts(), each, TEXT_HEAD).given for each in (rows, likeliest)]
    assert given[0] is not None
    assert np.array_equal(*given)


def test_of_a_metric_that_counts_parts_of_items_nothing_follows(read: Read) -> None:
    metrics = {"exact": metric(1 / 3, 3), "parts": metric(0.9, 5)}
    assert read(texts(metrics=metrics), TEXTS, TEXT_HEAD).values.tolist() == [1, 0, 0]


def test_what_a_record_does_not_say_is_not_asked_of_the_file(read: Read) -> None:
    bare = images(nll=None, per_class=None, metrics={"top1": metric(0.75, 4)})
    assert read(bare, [row[:3] for row in IMAGES], HEAD[:3]).values.tolist() == [1, 1, 0, 1]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("a,0", '"a",0'),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.removesuffix("\n"),
        lambda text: text.replace("id,label", '"id",label'),
    ],
    ids=["quoted", "two signs at an end", "no end", "quoted head"],
)
def test_however_a_table_is_written_it_is_read_the_same(
    read: Read, tmp_path: Path, spoil: Callable[[str], str]
) -> None:
    plain, file = read(images(), IMAGES), tmp_path / "c1.predictions.csv"
    text = file.read_text()
    assert spoil(text) != text
    file.write_bytes(spoil(text).encode())
    found = read_answers(Record.model_validate(deepcopy(RECORD) | {"quality": images()}), tmp_path / "c1.json")
    assert found.items == plain.items
    assert found.values.tolist() == plain.values.tolist()
    assert found.given is not None
    assert np.array_equal(found.given, plain.given)


def test_cells_of_one_line_do_not_make_up_for_those_of_another(read: Read, tmp_path: Path) -> None:
    """As many cells in all as there must be."""
    with pytest.raises(RequestError, match="not a predictions file"):
        read(images(), [*IMAGES[:2], IMAGES[2][:3], [IMAGES[2][3], *IMAGES[3]]])


def test_long_answers_are_read(read: Read) -> None:
    rows = [[*row[:-1], json.dumps("x" * 300_000)] for row in TEXTS]
    assert read(texts(), rows, TEXT_HEAD).items == ["t/0", "t/1", "t/2"]


def metrics_of(base: dict[str, Any], name: str, value: float) -> dict[str, Any]:
    return {**base["metrics"], name: metric(value, base["metrics"][name]["n"])}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"metrics": metrics_of(images(), "top1", 1.0)}, "quality.metrics.top1.value: 1.0 is not the 0.75"),
        ({"metrics": metrics_of(images(), "mean_per_class", 0.8)}, "quality.metrics.mean_per_class.value: 0.8 is not"),
        ({"nll": 1.0001}, "quality.nll: 1.0001 is not the 1 of"),
        ({"nll": 0.9999}, "quality.nll: 0.9999"),
        ({"per_class": {"zero": [3, 3], "two": [0, 1]}}, "quality.per_class: "),
        ({"per_class": {"zero": [2, 3]}}, "quality.per_class: "),
        ({"primary": "top5", "metrics": {"top5": metric(0.8, 4)}}, "quality.metrics.top5.value: 0.8 is not the 0.75"),
    ],
)
def test_a_record_of_images_that_does_not_follow_is_refused(
    read: Read, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    message = refusal(lambda: read(images(**changes), IMAGES))
    assert message.startswith(f"{tmp_path / 'c1.json'}: {told}")
    assert message.endswith(f" in {tmp_path / 'c1.predictions.csv'}; one of them was changed")


@pytest.mark.parametrize(
    ("place", "value", "told"),
    [
        ((2, 2), 0, "quality.metrics.top1.value: 0.75 is not the 1.0"),
        ((0, 1), 1, "quality.metrics.top1.value: 0.75 is not the 0.5"),
        ((2, 1), 2, "quality.metrics.mean_per_class.value: "),
        ((3, 3), -1.16, "quality.nll: 1.0 is not the 1.0025"),
        # More likely than not, and another class was given.
        ((2, 3), -0.6, "quality.nll: answers are not the likeliest classes"),
        ((0, 3), 0.1, "quality.nll: answers are not the likeliest classes"),
    ],
)
def test_answers_of_images_that_were_changed_are_told(
    read: Read, place: tuple[int, int], value: float, told: str
) -> None:
    rows = [list(row) for row in IMAGES]
    rows[place[0]][place[1]] = value
    assert told in refusal(lambda: read(images(), rows))


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"metrics": metrics_of(texts(), "exact", 1 / 3 + 1e-4)}, "quality.metrics.exact.value: 0.3334"),
        ({"metrics": metrics_of(texts(), "parts", 0.5)}, "quality.metrics.parts.value: 0.5 is not the 0.611111"),
        ({"primary": "parts"}, "quality.metrics.parts.value: "),
    ],
)
def test_a_record_of_text_that_does_not_follow_is_refused(read: Read, changes: dict[str, Any], told: str) -> None:
    assert f"c1.json: {told}" in refusal(lambda: read(texts(**changes), TEXTS, TEXT_HEAD))


def test_another_score_than_the_primary_is_refused(read: Read) -> None:
    """The same mean, of other items."""
    rows = [list(row) for row in TEXTS]
    rows[0][1], rows[1][1] = 0, 1
    assert "quality.primary: 'exact' is not the score" in refusal(lambda: read(texts(), rows, TEXT_HEAD))


@pytest.mark.parametrize(
    ("head", "rows", "told"),
    [
        (HEAD, IMAGES[:3], "holds 3 answers, its record .* says 4"),
        (HEAD, [*IMAGES, ["e", 0, 0, -0.1]], "holds 5 answers, its record .* says 4"),
        (HEAD, [], "holds 0 answers, its record .* says 4"),
        ([], [], "holds 0 answers, its record .* says 4"),
        (HEAD, [*IMAGES[:3], ["a", 2, 2, -1.15]], "holds the item 'a' more than once; its record is"),
        (HEAD, [*IMAGES[:3], ["d", 2, 2]], "not a predictions file"),
        (HEAD, [*IMAGES[:3], ["d", "two", 2, -1.15]], "not a predictions file"),
        (HEAD, [*IMAGES[:3], ["d", 2.5, 2, -1.15]], "not a predictions file"),
        (HEAD, [*IMAGES[:3], ["d", 10**30, 2, -1.15]], "not a predictions file"),
        (HEAD, [*IMAGES[:3], ["d", 2, 2, "nan"]], "not a predictions file .a value is no finite number"),
        (HEAD, [*IMAGES[:3], ["d", 2, 2, ""]], "not a predictions file"),
        (["id", "label", "prediction", "other"], IMAGES, "not a predictions file .'log_prob_label'"),
        (["name", "label", "prediction", "log_prob_label"], IMAGES, "not a predictions file .'id'"),
    ],
)
def test_a_file_that_holds_no_such_answers_is_named(read: Read, head: Sequence[str], rows: Rows, told: str) -> None:
    with pytest.raises(RequestError, match=rf"c1\.predictions\.csv: {told}"):
        read(images(), rows, head)


def test_a_file_that_is_not_there_or_no_text_is_named(read: Read, tmp_path: Path) -> None:
    read(images(), IMAGES)
    record = Record.model_validate(deepcopy(RECORD) | {"quality": images()})
    for spoil in (lambda path: path.write_bytes(b"id\xff\n"), Path.unlink):
        spoil(tmp_path / "c1.predictions.csv")
        with pytest.raises(RequestError, match=r"c1\.predictions\.csv: not a predictions file .*c1\.json"):
            read_answers(record, tmp_path / "c1.json")


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 9999),
    classes=st.integers(2, 6),
    count=st.integers(1, 60),
    scale=st.sampled_from([0.0, 1.0, 40.0]),
    primary=st.sampled_from(["top1", "mean_per_class"]),
    data=st.data(),
)
def test_what_is_measured_of_any_logits_follows_and_no_answer_can_be_changed(
    tmp_path: Path, seed: int, classes: int, count: int, scale: float, primary: str, data: Any
) -> None:
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, classes, count)
    logits = scale * (generator.normal(size=(count, classes)) + np.eye(classes)[labels])
    guesses, log_probs = logits.argmax(1), quality.log_probabilities(logits)
    metrics = quality.metrics(logits, labels, "test")
    found = images(
        primary=primary,
        metrics={name: one.model_dump() for name, one in metrics.items()},
        nll=quality.negative_log_likelihood(logits, labels),
        per_class={str(label): counts for label, counts in quality.per_class(logits, labels).items()},
    )
    rows = [
        [index, label, guess, f"{log_probs[index, label]:.6g}"]
        for index, (label, guess) in enumerate(zip(labels.tolist(), guesses.tolist(), strict=True))
    ]
    answers = file_and_read(tmp_path, found, rows)
    assert answers.values.mean() == pytest.approx(metrics[primary].value)
    assert np.array_equal(answers.given, guesses)
    macro = recall_score(labels, guesses, labels=np.unique(labels), average="macro", zero_division=0)
    assert metrics["mean_per_class"].value == pytest.approx(macro)
    changed = data.draw(st.integers(0, count - 1))
    rows[changed][2] = (labels[changed] + int(guesses[changed] == labels[changed])) % classes
    with pytest.raises(RequestError, match=r"quality\.metrics\.top1\.value"):
        file_and_read(tmp_path, found, rows)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), error=st.sampled_from([0.0, 2e-5, -2e-5]))
def test_six_digits_are_enough_and_no_more_is_forgiven(tmp_path: Path, values: list[float], error: float) -> None:
    """Whatever the scale of a metric of text: an error is a share of its size."""
    size = float(np.abs(values).mean())
    found = texts(metrics={"exact": metric(float(np.mean(values)) + error * (size + 1), len(values))})
    rows = [[index, f"{value:.6g}", f"{value:.6g}", ""] for index, value in enumerate(values)]
    if not error:
        assert file_and_read(tmp_path, found, rows, [*TEXT_HEAD[:3], "answer"]).values == pytest.approx(
            values, rel=1e-5
        )
    else:
        with pytest.raises(RequestError, match=r"quality\.metrics\.exact\.value"):
            file_and_read(tmp_path, found, rows, [*TEXT_HEAD[:3], "answer"])


def test_a_likelihood_of_one_half_need_not_win(read: Read) -> None:
    """Two classes in a tie: the first is given."""
    found = images(metrics={"top1": metric(0.0, 1)}, nll=math.log(2), per_class=None)
    assert read(found, [["a", 1, 0, f"{math.log(0.5):.6g}"]]).values.tolist() == [0]
