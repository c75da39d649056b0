"""The store: what is put comes back, and what is damaged is named."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open

from prt_bench.errors import CellError, RequestError
from prt_bench.files import digest
from prt_bench.store import Store

KEY = digest("a key")
TYPES = [torch.float32, torch.float16, torch.int64, torch.bool]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@settings(deadline=None, max_examples=20)
@given(
    shapes=st.dictionaries(
        st.text("abc.0", min_size=1, max_size=6), st.lists(st.integers(0, 4), max_size=3), max_size=4
    ),
    kind=st.sampled_from(TYPES),
    seed=st.integers(0, 99),
)
def test_tensors_come_back_as_they_were(
    tmp_path_factory: pytest.TempPathFactory, shapes: dict[str, list[int]], kind: torch.dtype, seed: int
) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: torch.randn(shape, generator=generator).to(kind) for name, shape in shapes.items()}
    store.put("artifacts", KEY, tensors, {})
    found = store.get("artifacts", KEY)
    assert found is not None
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == kind
        assert torch.equal(found[name], tensor)


def test_a_transposed_or_tracked_tensor_is_put_as_its_values(store: Store) -> None:
    weight = torch.arange(6.0, requires_grad=True).reshape(2, 3)
    store.put("outputs", KEY, {"weight": weight.T}, {})
    found = store.get("outputs", KEY)
    assert found is not None
    assert torch.equal(found["weight"], weight.T.detach())
    assert not found["weight"].requires_grad


def test_the_manifest_stands_in_the_file(store: Store) -> None:
    path = store.put("artifacts", KEY, {"x": torch.zeros(1)}, {"made_from": ["é", 1]})
    with safe_open(path, framework="numpy") as file:
        assert json.loads(file.metadata()["manifest"]) == {"made_from": ["é", 1]}


def test_what_was_never_put_is_not_there(store: Store) -> None:
    store.put("artifacts", KEY, {"x": torch.zeros(1)}, {})
    assert store.get("artifacts", digest("another")) is None
    assert store.get("outputs", KEY) is None
    assert store.note(KEY) is None


def test_a_second_writer_replaces_the_entry(store: Store) -> None:
    for value in (1.0, 2.0):
        store.put("artifacts", KEY, {"x": torch.tensor(value)}, {})
    found = store.get("artifacts", KEY)
    assert found is not None
    assert found["x"] == 2.0


@pytest.mark.parametrize("keep", [0, 4, 20, -1])
def test_a_damaged_entry_is_named_with_the_way_out(store: Store, keep: int) -> None:
    path = store.put("artifacts", KEY, {"x": torch.zeros(100)}, {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CellError, match=r"damaged.*delete it and run again") as caught:
        store.get("artifacts", KEY)
    assert str(path) in str(caught.value)


def test_a_damaged_note_is_named_with_the_way_out(store: Store) -> None:
    store.put_note(KEY, {"cost": 1})
    (path,) = (store.root / "notes").rglob("*.json")
    path.write_text("{")
    with pytest.raises(CellError, match=r"damaged.*delete it and run again") as caught:
        store.note(KEY)
    assert str(path) in str(caught.value)


def test_a_failed_put_leaves_neither_entry_nor_rest(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        store.put("artifacts", KEY, {"x": torch.zeros(3)}, {})
    assert store.get("artifacts", KEY) is None
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


@given(
    value=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=5), st.integers() | st.text("aé\n"), max_size=4
    )
)
@settings(deadline=None, max_examples=20)
def test_a_note_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, value: dict[str, int | str]) -> None:
    store = Store(tmp_path_factory.mktemp("store"))
    store.put_note(KEY, value)
    assert store.note(KEY) == value


def test_only_one_at_a_time_holds_the_lock_of_a_key(store: Store) -> None:
    order: list[str] = []
    entered = threading.Event()

    def second() -> None:
        entered.set()
        with store.lock("one"):
            order.append("second")

    with store.lock("one"):
        thread = threading.Thread(target=second)
        thread.start()
        entered.wait()
        with store.lock("other"):
            order.append("other key")
        thread.join(timeout=0.2)
        order.append("first")
    thread.join()
    assert order == ["other key", "first", "second"]


def test_a_store_that_cannot_be_written_is_named_with_its_option(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match=r"^--store .*file.*cannot be written \(.*--store DIR"):
        Store(tmp_path / "file" / "store")
