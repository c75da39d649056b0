"""Published scores against what is measured here: what is wrong with a class list shows, and is named."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from prt_bench.anchors import TOLERANCE, Anchor, Comparison, anchor_of, compare, refuse, swapped_classes
from prt_bench.api import OutputSpace, Places
from prt_bench.errors import CellError, RequestError
from prt_bench.models import model_for
from prt_bench.records import Metric
from prt_bench.registry import Registry
from prt_bench.tasks import Task, TaskSource, load_own
from tests.conftest import TARGET, Bench, quiet

DIGITS = yaml.safe_load(Registry().task_files()["digits"].read_text(encoding="utf-8"))
MakeTask = Callable[..., Task]
BACK = {"three": "five", "five": "three"}


@pytest.fixture
def own_task(bench: Bench, tmp_path: Path) -> MakeTask:
    """The shipped digits task with other keys; `swap` gives three and five each other's labels."""

    def make(swap: bool = False, data_dir: Path | None = None, **changed: Any) -> Task:
        text = DIGITS | changed
        if swap:
            labels = {"three": ["5"], "five": ["3"]}
            text["classes"] = [
                {**entry, "labels": labels.get(entry["name"], entry.get("labels", []))} for entry in text["classes"]
            ]
        path = tmp_path / "task.yaml"
        path.write_text(yaml.safe_dump(text, sort_keys=False), encoding="utf-8")
        return load_own(path, TaskSource(bench.registry, bench.store, data_dir, quiet))

    return make


def compared(bench: Bench, task: Task, alias: str = TARGET) -> Comparison:
    model = model_for(alias, task.space, bench.registry, Places())
    return compare(anchor_of(task, model), task, bench.networks)


def comparison(bench: Bench, measured: float, published: float | None, pinned: bool = True) -> Comparison:
    anchor = Anchor(bench.model(TARGET), "zero-shot it on pets", "top1", published, "their table")
    ci95 = (measured - 0.05, measured + 0.02)
    return Comparison(anchor, Metric(value=measured, ci95=ci95, n=100, split="test"), pinned, ())


def test_the_embedded_models_reach_what_their_cards_say(bench: Bench) -> None:
    for alias in ("nano-rn16-a", TARGET):
        found = compared(bench, bench.task, alias)
        assert found.holds
        assert found.anchor.source == "the model's card"
        assert found.measured.value == pytest.approx(bench.registry.card(alias).zero_shot["digits"], abs=1e-3)
        assert found.swapped == ()
        refuse(found)


def test_two_swapped_names_are_found_by_name_and_refused(bench: Bench, own_task: MakeTask) -> None:
    found = compared(bench, own_task(swap=True))
    assert found.holds is False
    assert set(map(frozenset, found.swapped)) == {frozenset({"three", "five"})}
    with pytest.raises(CellError) as caught:
        refuse(found)
    said = str(caught.value)
    assert re.search("'(three|five)' and '(three|five)' look swapped", said)
    for text in (f"zero-shot {TARGET} on digits", "where the model's card has 77.4 %", "prt-bench check --task"):
        assert text in said


def test_other_prompts_than_the_published_ones_are_noticed(bench: Bench, own_task: MakeTask) -> None:
    found = compared(bench, own_task(templates=["a blurry picture of many {} things on a shelf, far away"]))
    assert found.holds is False
    assert found.swapped == ()


@pytest.mark.parametrize("apart", [TOLERANCE - 1e-4, 0.0, 1e-4 - TOLERANCE])
def test_three_points_are_near_enough_on_either_side(bench: Bench, apart: float) -> None:
    found = comparison(bench, 0.6 + apart, 0.6)
    assert found.holds
    assert f"({100 * apart:+.1f} points)" in str(found)
    refuse(found)


@pytest.mark.parametrize("apart", [TOLERANCE + 1e-4, -TOLERANCE - 1e-4])
def test_more_than_three_points_are_refused_on_either_side(bench: Bench, apart: float) -> None:
    found = comparison(bench, 0.6 + apart, 0.6)
    assert found.holds is False
    with pytest.raises(CellError, match="more than 3 points apart: a wrong class list, order, prompt, activation"):
        refuse(found)


def test_where_nothing_is_published_nothing_is_held_against_it(bench: Bench, own_task: MakeTask) -> None:
    found = comparison(bench, 0.01, None)
    assert found.holds is None
    assert found.row()["holds"] is None
    assert str(found) == "zero-shot it on pets: top1 1.0 %"
    refuse(found)
    assert compared(bench, own_task(name="other-digits")).anchor.score is None, "a card speaks of the shipped task"


@pytest.mark.parametrize(("apart", "holds"), [(0.0799, True), (0.0801, False), (-0.0799, True), (-0.0801, False)])
def test_on_data_of_ones_own_sampling_moves_the_score_within_its_interval(
    bench: Bench, apart: float, holds: bool
) -> None:
    """Three points and the longer half of the interval, which is five."""
    assert comparison(bench, 0.5 + apart, 0.5, pinned=False).holds is holds
    assert comparison(bench, 0.5 + apart, 0.5).holds is False


def test_on_data_of_ones_own_a_score_far_off_is_warned_of(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="prt_bench"):
        refuse(comparison(bench, 0.5, 0.5, pinned=False))
        assert caplog.text == ""
        refuse(comparison(bench, 0.3, 0.5, pinned=False))
    assert "50.0 % (-20.0 points); more than 3 points apart, on data of your own" in caplog.text


def test_a_local_variant_is_data_of_ones_own(
    bench: Bench, own_task: MakeTask, image_folder: Callable[..., Path]
) -> None:
    folder = image_folder("few")
    hub = {"kind": "hub", "repository": "org/few"}
    classes = [{"name": name} for name in ("zero", "one", "two", "three")]
    anchors = {"source": "their table", "scores": {TARGET: 0.2}}
    task = own_task(name="few", source=hub, classes=classes, anchors=anchors, data_dir=folder.parent)
    assert not task.pinned
    found = compared(bench, task)
    assert found.measured.n == 40
    assert (found.anchor.score, found.pinned, found.holds) == (0.2, False, False)
    refuse(found)


def test_an_anchor_with_its_own_prompts_and_names_is_measured_with_them(bench: Bench, own_task: MakeTask) -> None:
    """The published number used other words for the task's classes: they, too, are put in order."""
    templates = ["a scan of {}"]
    anchors = {"source": "their table", "metric": "mean_per_class", "scores": {TARGET: 0.5}}
    task = own_task(anchors=anchors | {"templates": templates, "names": {"three": "the digit 3"}})
    anchor = anchor_of(task, model_for(TARGET, task.space, bench.registry, Places()))
    labels = tuple("the digit 3" if name == "three" else name for name in bench.task.space.labels)
    assert anchor.model.space == OutputSpace(labels, tuple(templates))
    assert (anchor.metric, anchor.score, anchor.source) == ("mean_per_class", 0.5, "their table")
    own = own_task(anchors=anchors)
    assert anchor_of(own, model_for(TARGET, own.space, bench.registry, Places())).model.space == own.space


def test_a_score_is_held_to_the_published_metric(bench: Bench, own_task: MakeTask) -> None:
    task = own_task(anchors={"source": "their table", "metric": "mean_per_class", "scores": {TARGET: 0.5}})
    found = compared(bench, task)
    test = task.roles["test"]
    right = bench.networks.outputs(found.anchor.model, test).logits.argmax(-1).numpy() == test.labels
    by_hand = np.mean([right[test.labels == label].mean() for label in range(10)])
    assert found.measured.value == pytest.approx(by_hand)
    assert abs(found.measured.value - right.mean()) > 1e-6, "the two metrics differ here"


def test_an_anchors_names_decide_what_is_measured(bench: Bench, own_task: MakeTask) -> None:
    """Under names that undo a swap the published score is reached; nothing but the anchor is."""
    anchors = {"source": "their table", "scores": {TARGET: 0.7742}, "names": BACK}
    found = compared(bench, own_task(swap=True, anchors=anchors))
    assert found.holds
    assert found.swapped == ()
    assert compared(bench, own_task(anchors=anchors)).holds is False


def test_a_task_files_own_anchor_stands_before_the_card(bench: Bench, own_task: MakeTask) -> None:
    found = compared(bench, own_task(anchors={"source": "their table", "scores": {TARGET: 0.5}}))
    assert (found.anchor.score, found.anchor.source, found.holds) == (0.5, "their table", False)
    other = compared(bench, own_task(anchors={"source": "their table", "scores": {"vitb32-laion": 0.5}}))
    assert other.anchor.source == "the model's card"


def test_an_anchors_name_that_is_no_class_is_refused(own_task: MakeTask) -> None:
    anchors = {"source": "their table", "scores": {TARGET: 0.5}, "names": {"thre": "3"}}
    with pytest.raises(RequestError, match=r"anchors: names: 'thre' is no class of the task"):
        own_task(anchors=anchors)


def test_a_row_says_all_of_it_in_plain_values(bench: Bench) -> None:
    row = comparison(bench, 0.5, 0.6).row()
    assert row["text"] == "zero-shot it on pets: top1 50.0 % where their table has 60.0 % (-10.0 points)"
    assert (row["model"], row["measured"], row["published"], row["holds"]) == (TARGET, 0.5, 0.6, False)
    assert row["swapped"] == []


@given(st.integers(2, 5).flatmap(lambda k: st.lists(st.tuples(st.integers(0, k - 1), st.integers(0, k - 1)))))
def test_swapped_are_two_classes_most_of_whose_examples_are_taken_for_each_other(pairs: list[tuple[int, int]]) -> None:
    names = tuple("abcde")
    labels = np.asarray([label for label, _ in pairs], dtype=np.int64)
    predictions = np.asarray([prediction for _, prediction in pairs], dtype=np.int64)

    def most(of: int, taken_for: int) -> bool:
        answers = [prediction for label, prediction in pairs if label == of]
        return 2 * answers.count(taken_for) > len(answers)

    expected = {
        (names[one], names[two]) for one in range(5) for two in range(one + 1, 5) if most(one, two) and most(two, one)
    }
    assert set(swapped_classes(predictions, labels, names)) == expected


@given(st.permutations(range(6)), st.integers(0, 2))
def test_of_a_perfect_model_exactly_the_swapped_names_are_found(order: list[int], swaps: int) -> None:
    """Whole cycles of three are wrong too, but no two of their names are swapped."""
    names = tuple("abcdef")
    labels = np.tile(np.arange(6), 3)
    answer = np.arange(6)
    swapped = [sorted(order[2 * k : 2 * k + 2]) for k in range(swaps)]
    for one, two in swapped:
        answer[[one, two]] = answer[[two, one]]
    assert set(swapped_classes(answer[labels], labels, names)) == {(names[one], names[two]) for one, two in swapped}
    cycle = np.asarray([1, 2, 0, 3, 4, 5])
    assert swapped_classes(cycle[labels], labels, names) == ()
