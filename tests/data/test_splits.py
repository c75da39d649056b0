"""Roles are cut from splits: disjoint, by class, the same on every machine."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prt_bench.data.examples import ArrayExamples
from prt_bench.data.splits import RoleCut, cut_roles, held_out
from prt_bench.errors import RequestError


def examples(labels: Sequence[int], name: str = "train") -> ArrayExamples:
    pixels = np.zeros((len(labels), 1, 1), dtype=np.uint8)
    return ArrayExamples(pixels, np.asarray(labels, dtype=np.int64), [f"{name}/{i}" for i in range(len(labels))])


@settings(deadline=None, max_examples=60)
@given(
    counts=st.lists(st.integers(6, 30), min_size=2, max_size=5),
    per_class=st.integers(1, 3),
    fraction=st.floats(0.01, 0.5),
    seed=st.integers(0, 99),
)
def test_roles_are_disjoint_by_class_and_leave_nothing_out(
    counts: list[int], per_class: int, fraction: float, seed: int
) -> None:
    labels = np.repeat(np.arange(len(counts)), counts)
    whole = examples(np.random.default_rng(seed).permutation(labels).tolist())
    cuts = {
        "train": RoleCut("train"),
        "few": RoleCut("train", per_class=per_class),
        "validation": RoleCut("train", fraction=fraction),
    }
    roles = cut_roles({"train": whole}, cuts).roles
    ids = [name for role in roles.values() for name in role.ids]
    assert sorted(ids) == sorted(whole.ids)
    assert np.bincount(roles["few"].labels).tolist() == [per_class] * len(counts)
    left = [count - per_class for count in counts]
    assert np.bincount(roles["validation"].labels).tolist() == [max(1, round(fraction * count)) for count in left]
    for role in roles.values():
        places = [whole.ids.index(name) for name in role.ids]
        assert places == sorted(places)
        assert role.labels.tolist() == whole.labels[places].tolist()


GOLDEN = [f"train/{index}" for index in (8, 16, 20, 27, 34, 42)]


def test_a_cut_is_the_same_each_time_and_on_every_machine() -> None:
    whole = examples([0, 1, 2] * 20)
    cuts = {"train": RoleCut("train"), "validation": RoleCut("train", per_class=2)}
    first, again = (cut_roles({"train": whole}, cuts) for _ in range(2))
    assert first.sha256 == again.sha256
    assert first.roles["validation"].ids == again.roles["validation"].ids == GOLDEN


def test_the_digest_of_a_cut_tells_cuts_apart() -> None:
    whole = {"train": examples([0, 1] * 20)}
    digests = {
        cut_roles(whole, {"train": RoleCut("train"), "validation": cut}).sha256
        for cut in (RoleCut("train", per_class=2), RoleCut("train", per_class=3), RoleCut("train", fraction=0.4))
    }
    assert len(digests) == 3


def test_a_cut_holds_no_way_to_the_other_examples() -> None:
    roles = cut_roles({"train": examples([0, 1] * 10)}, {"few": RoleCut("train", per_class=1)}).roles
    assert len(roles["few"]) == 2
    with pytest.raises(IndexError):
        roles["few"].image(2)


def test_a_class_with_too_few_examples_is_refused_with_its_count() -> None:
    with pytest.raises(RequestError, match="role few: class 1 of split train has 2 examples left of 3 asked"):
        cut_roles({"train": examples([0, 0, 0, 0, 1, 1])}, {"few": RoleCut("train", per_class=3)})


def test_two_roles_share_what_a_class_has() -> None:
    cuts = {"one": RoleCut("train", per_class=2), "two": RoleCut("train", per_class=2)}
    with pytest.raises(RequestError, match="role two: class 0 of split train has 1 examples left of 2 asked"):
        cut_roles({"train": examples([0, 0, 0, 1, 1, 1, 1])}, cuts)


def test_a_role_for_which_nothing_is_left_is_refused() -> None:
    with pytest.raises(RequestError, match="role two: no example of split train is left"):
        cut_roles({"train": examples([0, 1])}, {"one": RoleCut("train"), "two": RoleCut("train")})


def test_a_split_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(RequestError, match=r"role test: the data has no split 'test'; it has train, val"):
        cut_roles({"train": examples([0, 1]), "val": examples([0, 1])}, {"test": RoleCut("test")})


def test_unlabelled_examples_are_in_no_role() -> None:
    roles = cut_roles({"train": examples([0, -1, 1, -1, 0])}, {"train": RoleCut("train")}).roles
    assert roles["train"].ids == ["train/0", "train/2", "train/4"]
    with pytest.raises(RequestError, match="no example of split train is left"):
        cut_roles({"train": examples([-1, -1])}, {"train": RoleCut("train")})


def test_a_class_with_one_example_keeps_it_for_training() -> None:
    labels = np.array([0] * 8 + [1])
    examples = ArrayExamples(np.zeros((9, 2, 2), np.uint8), labels, [str(index) for index in range(9)])
    cuts = {"train": RoleCut("train"), "validation": RoleCut("train", fraction=0.1)}
    roles = cut_roles({"train": examples}, cuts).roles
    assert sorted(roles["train"].labels.tolist()) == [0] * 7 + [1]
    assert roles["validation"].labels.tolist() == [0]


@settings(deadline=None, max_examples=30)
@given(count=st.integers(10, 3000), tenths=st.integers(1, 9))
def test_what_is_held_out_is_what_pytorchs_random_split_leaves_last(count: int, tenths: int) -> None:
    size = count * tenths // 10
    generator = torch.Generator().manual_seed(0)
    _, last = torch.utils.data.random_split(range(count), [count - size, size], generator=generator)
    assert held_out(count, size).tolist() == sorted(last.indices)


def test_the_reference_codes_split_of_mnist_is_met() -> None:
    """task_vectors asserts that the first training index of its MNIST split is 36044."""
    kept = torch.randperm(60000, generator=torch.Generator().manual_seed(0))
    assert int(kept[0]) == 36044
    held = held_out(60000)
    assert len(held) == 5000
    assert sorted(set(range(60000)) - set(held.tolist())) == sorted(kept[:55000].tolist())


TRACKS = {"train": RoleCut("train"), "validation": RoleCut("train", random=True, size=6, tracks_of=3)}


def test_a_track_is_never_torn_apart() -> None:
    whole = examples([label for label in (0, 1, 0, 1, 1, 0, 1, 0) for _ in range(3)])
    cut = cut_roles({"train": whole}, TRACKS)
    tracks = {role: {index // 3 for index in indices} for role, indices in cut.indices.items()}
    assert not tracks["train"] & tracks["validation"]
    assert {role: len(part) for role, part in cut.roles.items()} == {"train": 18, "validation": 6}


def test_rows_in_another_order_than_tracks_are_refused() -> None:
    with pytest.raises(RequestError, match="rows 3 to 5 of split train hold two classes where a track of 3 holds one"):
        cut_roles({"train": examples([0, 0, 0, 1, 0, 1, 1, 1, 1])}, TRACKS)


def test_tracks_are_told_by_file_names_where_those_have_them() -> None:
    whole = examples([0] * 5 + [1] * 5)
    whole.ids = [f"train/{label}/{track:05}_{frame:05}.png" for label in (0, 1) for track in (0, 1) for frame in (0, 1)]
    whole.ids[4:4] = ["train/0/00000_00002.png"]
    whole.ids.append("train/1/00001_00002.png")
    cut = cut_roles({"train": whole}, {**TRACKS, "validation": RoleCut("train", random=True, size=3, tracks_of=3)})
    names = {role: {name.rpartition("_")[0] for name in part.ids} for role, part in cut.roles.items()}
    assert not names["train"] & names["validation"]
    assert names["validation"]
