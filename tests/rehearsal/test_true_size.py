"""One pair at its true size, with random weights: what is counted there is what is published of it."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from prt_bench.api import OutputSpace, Places
from prt_bench.meters.flops import count_forward, count_training, input_shape
from prt_bench.records import Record, read_record
from prt_bench.registry import Registry
from tests.rehearsal.commands import Done, run
from tests.rehearsal.hub import HubStandIn

SOURCE, TARGET = "vitb16-laion", "vitl14-openai"
SOURCE_FLOPS, TARGET_FLOPS = 35.127e9, 162.026e9
FORWARD = {
    "rn50-openai": 12.223e9,
    "rn101-openai": 19.543e9,
    "convnextb-laion": 30.708e9,
    "convnextbw-laion2b": 40.109e9,
    "vitb32-laion": 8.818e9,
    "vitb16-laion": SOURCE_FLOPS,
    "vitl14-openai": TARGET_FLOPS,
}
"""One of each shape of image tower, as open_clip's profile has it."""
LARGEST_BYTES = 8 * 1000**3
REPOSITORY_ROOT = Path(__file__).resolve().parent.parent.parent
WRITE = """
import sys
from pathlib import Path

sys.path.insert(0, sys.argv[1])
from prt_bench.registry import Registry
from tests.rehearsal.stand_ins import write_weights

for alias in sys.argv[3:]:
    write_weights(Path(sys.argv[2]), Registry().card(alias), half=True)
"""


@dataclass(frozen=True)
class TrueSize:
    """What the run left."""

    done: Done
    record: Record


@pytest.fixture(scope="module")
def true_size(tmp_path_factory: pytest.TempPathFactory, home: Path) -> TrueSize:
    """EFT, one step of two pictures, on a few pictures of two classes; weights are removed afterwards."""
    root = tmp_path_factory.mktemp("true-size")
    words = [sys.executable, "-c", WRITE, str(REPOSITORY_ROOT), str(root), SOURCE, TARGET]
    subprocess.run(words, check=True, capture_output=True)
    generator = np.random.default_rng(0)
    for split, count in (("train", 3), ("test", 2)):
        for label in ("cat", "dog"):
            folder = root / "pictures" / split / label
            folder.mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 256, (40, 32, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{index}.png")
    places = ["--weights-dir", str(root / "models"), "--store", str(root / "store"), "--out", str(root / "board")]
    asked = ["--pair", f"{SOURCE}:{TARGET}", "--data", str(root / "pictures"), "--method", "eft", "--seeds", "1"]
    recipe = {"steps": 1, "batch_size": 2, "warmup_steps": 0}
    with HubStandIn(root) as hub:
        done = run(hub, home, *places, *asked, recipe=recipe, reduced=False)
        assert hub.requests == []
    assert done.returncode == 0, done.stderr
    (path,) = (root / "board" / "results").rglob("*.json")
    for alias in (SOURCE, TARGET):
        card = Registry().card(alias)
        (root / "models" / str(card.hub) / str(card.file)).unlink()
    for artifact in (root / "store").rglob("*.safetensors"):
        artifact.unlink()
    return TrueSize(done, read_record(path))


def test_the_run_holds(true_size: TrueSize) -> None:
    assert true_size.record.status == "ok"
    assert true_size.record.quality is not None
    assert true_size.record.quality.metrics["top1"].n == 4


def test_operations_are_those_of_the_published_architectures(true_size: TrueSize) -> None:
    assert true_size.record.cost is not None
    flops = true_size.record.cost.per_query.flops
    found = sorted(value for value in flops.by_member.values() if value is not None)
    assert found == pytest.approx([SOURCE_FLOPS, SOURCE_FLOPS, TARGET_FLOPS], rel=1e-3)
    assert flops.total == pytest.approx(TARGET_FLOPS + 2 * SOURCE_FLOPS, rel=1e-3)
    assert flops.uncounted_ops == []
    assert true_size.record.cost.once.train_flops == pytest.approx(2 * 3 * SOURCE_FLOPS, rel=2e-2)


@pytest.mark.parametrize("alias", FORWARD)
def test_a_training_pass_counts_three_times_a_published_forward_pass(alias: str) -> None:
    registry, space = Registry(), OutputSpace(("cat", "dog"), ("a photo of a {}.",))
    card = registry.card(alias)
    network = registry.family(card).build(card, space, "meta", Places())
    pixels = torch.empty(1, *input_shape(network), device="meta")
    forward, both = (count(network, pixels) for count in (count_forward, count_training))
    assert forward.flops == pytest.approx(FORWARD[alias], rel=1e-3)
    assert both.flops == pytest.approx(3 * FORWARD[alias], rel=3e-2)
    assert (forward.uncounted, both.uncounted) == ((), ())


def test_it_fits_into_the_memory_of_a_small_machine(true_size: TrueSize) -> None:
    told = re.search(r"^largest process: (\d+)$", true_size.done.stderr, re.MULTILINE)
    assert told is not None
    assert int(told[1]) < LARGEST_BYTES
