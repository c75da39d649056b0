"""The stand-ins, read by the libraries that read the real things."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from prt_bench.api import OutputSpace
from prt_bench.families.clip_classifier import zero_shot_head
from prt_bench.records import ModelCard
from prt_bench.task_spec import TaskSpec
from tests.rehearsal.stand_ins import (
    ARCHITECTURES,
    reduced,
    register_reduced,
    write_dataset,
    write_published,
    write_weights,
)

PLUGIN = Path(__file__).with_name("reduced_plugin.py")
LABELS = ("ant", "bee", "cat", "dog")
VIT = "ViT-B-16-quickgelu"
Table = Any


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reduced architectures under the real names, for one test."""
    monkeypatch.setattr(open_clip.factory, "_MODEL_CONFIGS", dict(open_clip.factory._MODEL_CONFIGS))
    register_reduced()


def spec(source: dict[str, Any], **validation: Any) -> TaskSpec:
    """A task on four animals."""
    return TaskSpec.model_validate(
        {
            "name": "pets",
            "version": "1",
            "title": "Pets",
            "kind": "image-classification",
            "source": {"kind": "hub", "repository": "org/pets", **source},
            "roles": {
                "train": {"split": "train"},
                "validation": {"split": "train", **(validation or {"per_class": 1})},
                "test": {"split": "test"},
            },
            "classes": [{"name": f"the {label}", "labels": [label, label.upper()]} for label in LABELS],
            "templates": ["a {}."],
            "templates_source": "ours",
            "licence": "MIT",
        }
    )


def card(architecture: str = VIT, alias: str = "small") -> ModelCard:
    """A model card of an architecture."""
    return ModelCard(alias=alias, family="clip", architecture=architecture, hub=f"org/{alias}", licence="MIT")


# --- data sets ---


def test_a_table_knows_its_labels_in_an_order_of_its_own(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path, spec({}), {"train": 6, "test": 2, "fog": 1})
    assert folder == tmp_path / "datasets" / "org" / "pets"
    found = {split: datasets.load_dataset(str(folder), split=split) for split in ("train", "test", "fog")}
    for split, count in (("train", 6), ("test", 2), ("fog", 1)):
        assert found[split].column_names == ["image", "label"]
        assert sorted(found[split].features["label"].names) == sorted(LABELS)
        assert found[split].features["label"].names != list(LABELS)
        assert np.bincount(found[split]["label"][:]).tolist() == [count] * 4
    assert all(24 <= side <= 40 for row in found["train"] for side in row["image"].size)
    assert found["train"]["label"][:] != sorted(found["train"]["label"][:])
    encoded = [row["bytes"] for split in found for row in raw(found[split], "image")]
    assert len(set(encoded)) == len(encoded) == 36
    assert {Image.open(io.BytesIO(content)).format for content in encoded} == {"JPEG", "PNG"}


def raw(table: Table, column: str) -> list[dict[str, Any]]:
    """The cells of a column of pictures, not decoded."""
    cells: list[dict[str, Any]] = table.cast_column(column, datasets.Image(decode=False))[column][:]
    return cells


def test_a_table_is_the_same_again_and_another_with_another_seed(tmp_path: Path) -> None:
    counts = {"train": 2, "test": 1}
    made = {
        name: (write_dataset(tmp_path / name, spec({}), counts, seed) / "data/train-00000-of-00001.parquet")
        for name, seed in (("a", 0), ("b", 0), ("c", 1))
    }
    tables = {
        name: datasets.Dataset.from_parquet(str(path), cache_dir=str(tmp_path / "x" / name))
        for name, path in made.items()
    }
    cells = {name: raw(table, "image") for name, table in tables.items()}
    assert cells["a"] == cells["b"] != cells["c"]


def test_a_table_follows_the_source_of_the_task(tmp_path: Path) -> None:
    task = spec({"config": "plain", "image": ["img", "image"], "label": "fine", "label_names": list(LABELS[::-1])})
    folder = write_dataset(tmp_path, task, {"train": 2, "test": 1})
    found = datasets.load_dataset(str(folder), name="plain", split="train")
    assert (folder / "plain" / "train-00000-of-00001.parquet").is_file()
    assert found.column_names == ["img", "fine", "label"]
    assert found.features["fine"] == datasets.Value("int64")
    assert sorted(found["fine"][:]) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert set(found.features["label"].names).isdisjoint(LABELS)


def test_a_copy_of_some_splits_is_read_by_their_files_only(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path, spec({}), {"train": 2, "test": 1, "fog": 1})
    (folder / "data" / "fog-00000-of-00001.parquet").unlink()
    with pytest.raises(ValueError, match="Couldn't infer the same data file format for all splits"):
        datasets.load_dataset(str(folder), split="train")
    found = datasets.load_dataset(str(folder), data_files={"train": "data/train-*"}, split="train")
    assert sorted(found.features["label"].names) == sorted(LABELS)


def test_tracks_are_runs_of_one_class_and_of_like_pictures(tmp_path: Path) -> None:
    folder = write_dataset(tmp_path, spec({}, random=True, tracks_of=30), {"train": 60, "test": 2})
    found = datasets.load_dataset(str(folder), split="train")
    runs = np.asarray(found["label"][:]).reshape(-1, 30)
    assert (runs == runs[:, :1]).all()
    assert runs[:, 0].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    sizes = [row["image"].size for row in found]
    assert all(len(set(sizes[start : start + 30])) == 1 for start in range(0, 240, 30))
    with pytest.raises(ValueError, match="40 rows per class are not tracks of 30"):
        write_dataset(tmp_path, spec({}, random=True, tracks_of=30), {"train": 40, "test": 2})


def test_tar_files_are_read_in_the_order_of_the_list_of_them(tmp_path: Path) -> None:
    source = {"image": ["webp", "jpg"], "label": "cls", "label_names": {"file": "classnames.txt"}}
    folder = write_dataset(tmp_path, spec(source, random=True, tracks_of=30), {"train": 30, "test": 1}, shards=12)
    names = (folder / "classnames.txt").read_text(encoding="utf-8").split("\n")
    assert sorted(names) == sorted(LABELS)
    assert names != list(LABELS)
    assert (folder / "train" / "nshards.txt").read_text(encoding="utf-8") == "12"
    assert (folder / "zeroshot_classification_templates.txt").read_text(encoding="utf-8") == "a {c}."
    in_order = [str(folder / "train" / f"{shard}.tar") for shard in range(12)]
    found = datasets.load_dataset("webdataset", data_files={"train": in_order}, split="train")
    assert found["__key__"][:] == [f"s{index:07d}" for index in range(120)]
    assert found["cls"][:] == [label for label in range(4) for _ in range(30)]
    assert found.features["cls"] == datasets.Value("int64")
    assert found[0]["webp"].format == "WEBP"
    by_pattern = datasets.load_dataset("webdataset", data_files={"train": str(folder / "train/*.tar")}, split="train")
    assert by_pattern["__key__"][:] != found["__key__"][:]


def test_one_tar_beside_a_text_file_is_taken_for_text(tmp_path: Path) -> None:
    source = {"image": ["jpg"], "label": "cls", "label_names": {"file": "classnames.txt"}}
    folder = write_dataset(tmp_path, spec(source), {"train": 2, "test": 1})
    assert datasets.load_dataset(str(folder), split="train").column_names == ["text"]
    found = datasets.load_dataset(str(folder), data_files={"train": "train/*.tar"}, split="train")
    assert found.column_names == ["cls", "jpg", "__key__", "__url__"]


def test_what_cannot_be_made_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="task pets: no count of rows for split test"):
        write_dataset(tmp_path, spec({}), {"train": 2})


# --- models ---


def test_reduced_architectures_are_of_the_same_kind() -> None:
    for name in ARCHITECTURES:
        real, small = open_clip.get_model_config(name), reduced(name)
        assert small.keys() == real.keys()
        assert small.get("quick_gelu") == real.get("quick_gelu")
        for part in ("image_size", "patch_size"):
            assert small["vision_cfg"].get(part) == real["vision_cfg"].get(part)
        for part in ("vocab_size", "context_length"):
            assert small["text_cfg"][part] == real["text_cfg"][part]
        visual = open_clip.CLIP(**small).visual
        assert sum(value.numel() for value in visual.parameters()) < 400_000


@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize("half", [False, True])
def test_weights_load_as_the_real_ones(tmp_path: Path, half: bool) -> None:
    tokenize = open_clip.get_tokenizer(VIT)
    names = ("Boeing 737-400", "Boeing 747-300", "annual crop land", "permanent crop land")
    for name in ARCHITECTURES:
        path = write_weights(tmp_path, card(name, name), half)
        assert path == tmp_path / "models" / "org" / name / "open_clip_model.safetensors"
        stored = load_file(path)
        kinds = {value.dtype for value in stored.values() if value.is_floating_point()}
        assert kinds == {torch.float16 if half else torch.float32}
        model = open_clip.create_model(name, pretrained=str(path), require_pretrained=True).float().eval()
        assert model.state_dict().keys() == stored.keys()
        assert all(torch.equal(value, stored[key].to(value.dtype)) for key, value in model.state_dict().items())
        head = zero_shot_head(model, tokenize, OutputSpace(names, ("a photo of a {}.",)))
        assert (head @ head.T - torch.eye(4)).max() < 1 - 1e-5
        by_folder = open_clip.create_model(f"local-dir:{path.parent}", require_pretrained=True)
        assert by_folder.visual.preprocess_cfg["size"] == model.visual.preprocess_cfg["size"]


@pytest.mark.usefixtures("_small")
def test_weights_are_the_same_again_and_others_for_another_model(tmp_path: Path) -> None:
    first = write_weights(tmp_path, card()).read_bytes()
    state = torch.random.get_rng_state()
    assert write_weights(tmp_path, card()).read_bytes() == first
    assert torch.equal(torch.random.get_rng_state(), state)
    assert write_weights(tmp_path, card(alias="other")).read_bytes() != first


@pytest.mark.usefixtures("_small")
def test_a_published_encoder_is_the_cards_tower_in_the_names_of_transformers(tmp_path: Path) -> None:
    from transformers import CLIPVisionModel

    weights = write_weights(tmp_path, card())
    path = write_published(tmp_path, "org/tuned", card(), shift=0.0)
    assert all(key.startswith("vision_model.") for key in load_file(path))
    visual = open_clip.create_model(VIT, pretrained=str(weights)).visual.eval()
    tower: Any = CLIPVisionModel.from_pretrained(path.parent)
    tower.eval()
    pixels = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(tower(pixels).pooler_output @ visual.proj, visual(pixels), atol=1e-5, rtol=1e-4)
    exact, shifted = load_file(path), load_file(write_published(tmp_path, "org/tuned", card()))
    assert exact.keys() == shifted.keys()
    assert not any(torch.equal(shifted[key], value) for key, value in exact.items())
    with pytest.raises(ValueError, match="is a ViT"):
        write_published(tmp_path, "org/tuned", card("RN50-quickgelu"))


def test_the_plugin_makes_the_architectures_small_wherever_it_is_loaded(tmp_path: Path) -> None:
    program = (
        "import json, sys; from pathlib import Path; from prt_bench.registry import Registry\n"
        "registry = Registry([Path(sys.argv[1])])\n"
        "import open_clip\n"
        "print(json.dumps([registry.method('rehearsal').name, "
        "[open_clip.get_model_config(name) for name in sys.argv[2:]]]))"
    )
    words = [sys.executable, "-W", "error", "-c", program, str(PLUGIN), *ARCHITECTURES]
    done = subprocess.run(words, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == ["rehearsal", [reduced(name) for name in ARCHITECTURES]]
