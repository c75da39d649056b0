"""Random crops: where they lie, that they are the same for all networks, and that nothing global is touched."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from prt_bench.api import CellError, WeightedSum
from prt_bench.feeds import Batch, CroppedFeed, Feed, FixedFeed, Work, random_box
from prt_bench.recipes import recipe_for
from prt_bench.tasks import task_spec
from tests.conftest import SOURCE, TARGET, Bench

AREA = (0.9, 1.0)
CPU = torch.device("cpu")


@given(width=st.integers(1, 400), height=st.integers(1, 400), seed=st.integers(0, 10**6))
def test_a_crop_lies_in_the_picture(width: int, height: int, seed: int) -> None:
    left, top, wide, high = random_box((width, height), AREA, np.random.default_rng(seed))
    assert 0 <= left <= left + wide <= width
    assert 0 <= top <= top + high <= height
    assert wide > 0
    assert high > 0


def test_a_crop_keeps_nine_tenths_of_a_square_picture_or_more() -> None:
    generator = np.random.default_rng(0)
    boxes = [random_box((224, 224), AREA, generator) for _ in range(300)]
    areas = [wide * high / 224**2 for _, _, wide, high in boxes]
    assert 0.89 <= min(areas) < 0.92
    assert 0.98 < max(areas) <= 1
    assert len(set(boxes)) > 200


def crops_of(bench: Bench, seed: int, together: int | None = None, *frozen: str) -> CroppedFeed:
    network, train = bench.networks.get(bench.model(SOURCE)), bench.task.roles["train"]
    held = {alias: bench.networks.get(bench.model(alias)) for alias in frozen}
    return CroppedFeed(network, train, held, torch.from_numpy(train.labels), AREA, seed, together)


def batches(feed: Feed, order: list[torch.Tensor]) -> list[Batch]:
    """The one part of each step."""
    return [batch for step in feed.steps(order, CPU) for (batch,) in [tuple(step.parts)]]


def cropped(bench: Bench, seed: int, steps: int = 3) -> list[torch.Tensor]:
    order = list(torch.arange(4 * steps).split(4))
    return [batch.inputs for batch in batches(crops_of(bench, seed), order)]


def test_crops_depend_on_the_seed_alone_and_move_nobody_elses_random_numbers(bench: Bench) -> None:
    before = torch.get_rng_state()
    first, again, other = cropped(bench, 0), cropped(bench, 0), cropped(bench, 1)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not any(torch.equal(one, two) for one, two in zip(first, other, strict=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_picture_is_cut_anew_at_every_step(bench: Bench) -> None:
    same = torch.zeros(8, dtype=torch.long)
    inputs, later = (batch.inputs for batch in batches(crops_of(bench, 0), [same, same]))
    assert not torch.equal(inputs[0], inputs[1])
    assert not torch.equal(inputs, later)


def test_a_crop_of_the_whole_picture_is_what_evaluation_sees(bench: Bench) -> None:
    network = bench.networks.get(bench.model(SOURCE))
    assert network.crop is not None
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    assert torch.allclose(network.crop([picture], [(0, 0, 40, 40)]), network.preprocess([picture]), atol=1e-6)
    assert not torch.allclose(network.crop([picture], [(4, 0, 36, 36)]), network.preprocess([picture]), atol=1e-1)


def test_frozen_networks_see_the_very_same_crops(bench: Bench) -> None:
    (batch,) = batches(crops_of(bench, 0, None, SOURCE, TARGET), [torch.arange(6)])
    with torch.no_grad():
        assert torch.equal(batch.held[SOURCE], bench.networks.get(bench.model(SOURCE)).module(batch.inputs))
    assert batch.held[TARGET].shape == batch.held[SOURCE].shape
    assert not batch.held[SOURCE].requires_grad


@pytest.mark.parametrize("together", [2, 4, 6, None])
def test_a_batch_in_parts_holds_what_the_whole_one_holds(bench: Bench, together: int | None) -> None:
    """Fixed inputs and crops alike: the same rows, in order, with their labels and what frozen networks say."""
    train, model = bench.task.roles["train"], bench.model(SOURCE)
    labels = torch.from_numpy(train.labels)
    held = {SOURCE: torch.randn(len(train), 10, generator=torch.Generator().manual_seed(0))}
    inputs = bench.networks.inputs(model, train)
    order = list(torch.randperm(len(train), generator=torch.Generator().manual_seed(1))[:15].split(6))
    kinds: list[tuple[Feed, Feed]] = [
        (FixedFeed(inputs, held, labels), FixedFeed(inputs, held, labels, together)),
        (crops_of(bench, 0, None, SOURCE), crops_of(bench, 0, together, SOURCE)),
    ]
    for whole, divided in kinds:
        for one, step, indices in zip(batches(whole, order), divided.steps(order, CPU), order, strict=True):
            parts = list(step.parts)
            assert step.rows == len(indices) == len(one.truth)
            assert [len(part.truth) for part in parts] == [len(part) for part in indices.split(together or 6)]
            assert torch.equal(one.truth, labels[indices])
            assert torch.equal(torch.cat([part.truth for part in parts]), one.truth)
            assert torch.equal(torch.cat([part.inputs for part in parts]), one.inputs)
            assert torch.allclose(torch.cat([part.held[SOURCE] for part in parts]), one.held[SOURCE], atol=1e-5)


def test_a_feed_knows_what_the_networks_read(bench: Bench) -> None:
    """The trained one every example of every step; a frozen one each example once, or every crop."""
    train, order = bench.task.roles["train"], list(torch.arange(10).split(4))
    fixed = FixedFeed(bench.networks.inputs(bench.model(SOURCE), train), {}, torch.from_numpy(train.labels))
    crops = crops_of(bench, 0)
    assert fixed.work(order) == crops.work(order) == crops.frozen_work(order) == Work(images=10)
    assert fixed.frozen_work(order) == Work(images=len(train))
    assert fixed.work([]) == fixed.frozen_work([]) == crops.work([]) == crops.frozen_work([]) == Work()


def test_a_family_without_crops_is_told_so(bench: Bench) -> None:
    network = bench.networks.fresh(bench.model(SOURCE))
    network.crop = None
    with pytest.raises(CellError, match="random crops, which the family of the trained network does not offer"):
        CroppedFeed(network, bench.task.roles["train"], {}, torch.zeros(1, dtype=torch.long), AREA, 0)


def test_the_papers_recipe_crops_and_the_declared_other_one_does_not(bench: Bench) -> None:
    spec = task_spec("digits", bench.registry)
    paper, fixed = (recipe_for(spec, name, bench.registry) for name in ("paper", "paper-no-augmentation"))
    assert paper.random_resized_crop == AREA
    assert fixed == paper.model_copy(update={"random_resized_crop": None})


def test_frozen_passes_are_charged_once_per_example_or_once_per_step(bench: Bench) -> None:
    source, data = bench.model(SOURCE), bench.data()
    rule = WeightedSum(source=1.0, trained=1.0)
    charged = []
    for crop in (None, AREA):
        recipe = bench.recipe.model_copy(update={"random_resized_crop": crop, "steps": 4})
        tools = bench.tools(seed=77, recipe=recipe)
        tools.tune(source, data.train, frozen={"source": source}, rule=rule)
        flops = tools.ledger.charges[0].train_flops
        assert flops is not None
        charged.append(flops)
    forward = bench.meter.price(source).of(Work(images=1))
    assert forward is not None
    assert charged[1] - charged[0] == forward * (4 * bench.recipe.batch_size - len(data.train))


def test_training_on_crops_learns(bench: Bench) -> None:
    recipe = bench.recipe.model_copy(update={"random_resized_crop": AREA, "steps": 60})
    source = bench.model(SOURCE)
    artifact = bench.tools(recipe=recipe).tune(source, bench.data().train)
    log = artifact.manifest()["log"]
    assert sum(entry["loss"] for entry in log[-5:]) < 0.5 * sum(entry["loss"] for entry in log[:5])
    assert artifact.key != bench.tools(recipe=bench.recipe).tune(source, bench.data().train).key
