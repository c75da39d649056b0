"""Small data sets and weights in the hub's own formats, so that a mirror can be rehearsed without one.

`reduced` and `register_reduced` are loaded by the plugin file too, which is why only they need no other module.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import torch

    from prt_bench.records import ModelCard
    from prt_bench.task_spec import HubSource, TaskSpec

__all__ = ["ARCHITECTURES", "reduced", "register_reduced", "write_dataset", "write_published", "write_weights"]

ARCHITECTURES = (
    "RN50-quickgelu",
    "RN101-quickgelu",
    "convnext_base",
    "convnext_base_w",
    "ViT-B-32",
    "ViT-B-32-quickgelu",
    "ViT-B-16",
    "ViT-B-16-quickgelu",
    "ViT-L-14",
    "ViT-L-14-quickgelu",
)
"""Those of the real models' cards."""
SMALLER = 16
"""Widths and embeddings are those of the real model by this; ResNets start from narrower ones."""
SHALLOWER = 6
TEXT_WIDTH, TEXT_HEADS, TEXT_LAYERS = 64, 2, 1
SMALLEST_CONVNEXT = "test_convnext"
"""timm's own for tests: the blocks of convnext_base (no conv_mlp), 0.2 M parameters."""
TOKEN_SPREAD = 0.5
"""Standard deviation of embeddings of tokens and their places: with open_clip's own, all prompts, and two that say
the same in another order (737-400, 747-300), give nearly the same head."""
ATTENTION_SPREAD = 2.0
"""Of a ResNet's pooling, over open_clip's own: else all pictures give nearly the same embedding."""
TINT, NOISE, FRAME_NOISE = 60.0, 60.0, 8.0
"""Grey levels: of a class's colour and of a picture's noise to either side, and between frames of a track."""
DECOY = "label"
"""A column of other labels, in tables whose labels are in a column of another name."""
PICTURES = {"jpg": "JPEG", "jpeg": "JPEG", "png": "PNG", "webp": "WEBP"}


# --- architectures ---


def reduced(architecture: str) -> dict[str, Any]:
    """open_clip's config of an architecture, small: same kind, picture and patch size, activation, tokens."""
    import open_clip

    # Its own file, and not its registry, in which the reduced one may stand by now.
    path = Path(open_clip.__file__).parent / "model_configs" / f"{architecture}.json"
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    config["embed_dim"] //= SMALLER
    config["text_cfg"] |= {"width": TEXT_WIDTH, "heads": TEXT_HEADS, "layers": TEXT_LAYERS}
    vision = config["vision_cfg"]
    if "timm_model_name" in vision:
        if not vision["timm_model_name"].startswith("convnext"):
            raise ValueError(f"{architecture}: no small {vision['timm_model_name']} is known")
        vision["timm_model_name"] = SMALLEST_CONVNEXT
    elif isinstance(vision["layers"], list):
        vision["layers"] = [max(1, count // SHALLOWER) for count in vision["layers"]]
        vision["width"] //= SMALLER // 2
    else:
        vision["layers"] //= SHALLOWER
        vision["width"] //= SMALLER
        vision["head_width"] = vision.get("head_width", 64) // 4
    return config


def register_reduced() -> None:
    """From now on, in this process, open_clip builds the reduced architectures under the real ones' names."""
    from open_clip import factory

    factory._MODEL_CONFIGS.update({name: reduced(name) for name in ARCHITECTURES})


# --- weights ---


def write_weights(root: Path, card: ModelCard, half: bool = False) -> Path:
    """`root/models/HUB/`: random weights of the architecture as open_clip has it now, and its config.

    They are the same at each call for the same alias. Returns the weight file.
    """
    from safetensors.torch import save_file

    folder = root / "models" / _hub_of(card)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (card.file or "open_clip_model.safetensors")
    model = _random_model(card)
    tensors = {
        name: (value.half() if half and value.is_floating_point() else value).contiguous()
        for name, value in model.state_dict().items()
    }
    save_file(tensors, path)
    _write_json(folder / "open_clip_config.json", _open_clip_config(card))
    front = {"tags": ["clip"], "library_name": "open_clip", "license": card.licence.lower()}
    _write_readme(folder, front, card.title or card.alias)
    return path


def write_published(root: Path, repository: str, card: ModelCard, shift: float = 0.02) -> Path:
    """`root/models/REPOSITORY/`: the image tower of a ViT card as a transformers CLIPVisionModel, as if tuned.

    Keys have the prefix `vision_model.`, which transformers 4 wrote and 5 does not. With `shift` 0 they are
    exactly the tensors that `write_weights` writes, in fp32. Returns the weight file.
    """
    import torch
    from safetensors.torch import save_file

    config = _open_clip_config(card)["model_cfg"]
    vision, layers = config["vision_cfg"], config["vision_cfg"]["layers"]
    if "patch_size" not in vision or vision["patch_size"] is None:
        raise ValueError(f"{card.alias}: a CLIPVisionModel is a ViT, {card.architecture} is none")
    generator = torch.Generator().manual_seed(_seed(repository))
    tensors = {
        f"vision_model.{name}": value + shift * (value.std() + shift) * torch.randn(value.shape, generator=generator)
        for name, value in _as_transformers(_random_model(card).visual.state_dict(), layers).items()
    }
    folder = root / "models" / repository
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})
    _write_json(
        folder / "config.json",
        {
            "architectures": ["CLIPVisionModel"],
            "attention_dropout": 0.0,
            "hidden_act": "quick_gelu" if config.get("quick_gelu") else "gelu",
            "hidden_size": vision["width"],
            "image_size": vision["image_size"],
            "intermediate_size": int(vision["width"] * vision.get("mlp_ratio", 4.0)),
            "layer_norm_eps": 1e-05,
            "model_type": "clip_vision_model",
            "num_attention_heads": vision["width"] // vision.get("head_width", 64),
            "num_channels": 3,
            "num_hidden_layers": layers,
            "patch_size": vision["patch_size"],
            "projection_dim": config["embed_dim"],
            "torch_dtype": "float32",
        },
    )
    front = {"base_model": [_hub_of(card)], "library_name": "transformers", "license": card.licence.lower()}
    _write_readme(folder, front, repository)
    return path


def _random_model(card: ModelCard) -> Any:
    import open_clip
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_seed(card.alias))
        # Not by `create_model`, which warns at the root logger of weights that are not loaded.
        model = open_clip.CLIP(**open_clip.get_model_config(card.architecture))
        for embedding in (model.token_embedding.weight, model.positional_embedding):
            torch.nn.init.normal_(embedding, std=TOKEN_SPREAD)
        for name, value in model.visual.named_parameters():
            if name.endswith("bn3.weight"):  # zero at first in open_clip: the block would do nothing
                torch.nn.init.ones_(value)
            elif name.startswith("attnpool.") and name.endswith("weight"):
                torch.nn.init.normal_(value, std=ATTENTION_SPREAD * value.shape[1] ** -0.5)
    return model.eval()


def _open_clip_config(card: ModelCard) -> dict[str, Any]:
    import open_clip
    from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD

    preprocess = {
        "mean": list(card.mean or OPENAI_DATASET_MEAN),
        "std": list(card.std or OPENAI_DATASET_STD),
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
    return {"model_cfg": open_clip.get_model_config(card.architecture), "preprocess_cfg": preprocess}


def _as_transformers(visual: Mapping[str, torch.Tensor], layers: int) -> dict[str, torch.Tensor]:
    """Tensors of an open_clip ViT under the names of transformers' CLIPVisionModel, which has no projection."""
    tensors = {
        "embeddings.class_embedding": visual["class_embedding"],
        "embeddings.patch_embedding.weight": visual["conv1.weight"],
        "embeddings.position_embedding.weight": visual["positional_embedding"],
    }
    pairs = {"pre_layrnorm": "ln_pre", "post_layernorm": "ln_post"}
    for index in range(layers):
        mine, theirs = f"transformer.resblocks.{index}", f"encoder.layers.{index}"
        parts = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj"}
        parts["self_attn.out_proj"] = "attn.out_proj"
        pairs |= {f"{theirs}.{new}": f"{mine}.{old}" for new, old in parts.items()}
        for kind in ("weight", "bias"):
            thirds = visual[f"{mine}.attn.in_proj_{kind}"].chunk(3)
            for part, value in zip(("q_proj", "k_proj", "v_proj"), thirds, strict=True):
                tensors[f"{theirs}.self_attn.{part}.{kind}"] = value
    for new, old in pairs.items():
        tensors |= {f"{new}.{kind}": visual[f"{old}.{kind}"] for kind in ("weight", "bias")}
    return {name: value.detach().clone().contiguous() for name, value in tensors.items()}


def _hub_of(card: ModelCard) -> str:
    if card.hub is None:
        raise ValueError(f"{card.alias}: its card names no repository")
    return card.hub


# --- data sets ---


def write_dataset(
    root: Path, spec: TaskSpec, rows_per_class: Mapping[str, int], seed: int = 0, shards: int = 1
) -> Path:
    """`root/datasets/REPOSITORY/` with pictures of noise, for a task whose data is on the hub; returns the folder.

    `rows_per_class` has a count for each split that the roles name, and may have more splits. Every picture has
    other bytes. Label order is not the task's. A split that a role cuts by tracks has its rows by class, in runs
    of like pictures; rows of other splits are shuffled. `shards` is the number of tar files of each split.
    """
    source = _hub_source(spec)
    roles = (spec.roles.train, spec.roles.validation, spec.roles.test)
    missing = sorted({role.split for role in roles} - rows_per_class.keys())
    if missing:
        raise ValueError(f"task {spec.name}: no count of rows for split {missing[0]}")
    folder = root / "datasets" / source.repository
    names = _label_order(spec)
    rows = {}
    for split, count in rows_per_class.items():
        track = next((role.tracks_of for role in roles if role.split == split and role.tracks_of), None)
        rows[split] = _rows(len(names), count, track, _suffixes(source), _seed(f"{seed}/{source.repository}/{split}"))
    if _is_label_file(source):
        _write_tars(folder, spec, names, rows, shards)
    else:
        _write_parquet(folder, spec, names, rows)
    return folder


def _hub_source(spec: TaskSpec) -> HubSource:
    source = spec.source
    if source.kind != "hub":
        raise ValueError(f"task {spec.name}: its data is {source.kind}, not on the hub")
    return source


def _is_label_file(source: HubSource) -> bool:
    return source.label_names is not None and not isinstance(source.label_names, tuple)


def _suffixes(source: HubSource) -> tuple[str, ...]:
    """Kinds of pictures: in tar files the one that the column is called after, in tables two."""
    return (source.image[0],) if _is_label_file(source) else ("jpg", "png")


def _label_order(spec: TaskSpec) -> list[str]:
    """The data set's labels in its own order: as the task file states it, or any but that of the task's classes."""
    stated = _hub_source(spec).label_names
    if isinstance(stated, tuple):
        return list(stated)
    labels = [entry.known_as[0] for entry in spec.classes]
    ordered = sorted(labels)
    return ordered if ordered != labels else ordered[::-1]


Row = tuple[bytes, str, int]
"""The encoded picture, its file's ending, and the label."""


def _rows(classes: int, count: int, track: int | None, suffixes: tuple[str, ...], seed: int) -> list[Row]:
    import numpy as np

    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), count)
    if track is None:
        labels = generator.permutation(labels)
    elif count % track:
        raise ValueError(f"{count} rows per class are not tracks of {track}")
    tints = np.random.default_rng(classes).uniform(-TINT, TINT, (classes, 3))
    rows = []
    scene = _noise(generator)
    for index, label in enumerate(labels.tolist()):
        if track is None or index % track == 0:
            scene = _noise(generator) + tints[label]
        picture = scene if track is None else scene + generator.normal(0, FRAME_NOISE, scene.shape)
        suffix = suffixes[index % len(suffixes)]
        rows.append((_encoded(picture, suffix), suffix, label))
    return rows


def _noise(generator: np.random.Generator) -> np.ndarray[Any, np.dtype[np.float64]]:
    height, width = generator.integers(24, 41, 2)
    return 128 + generator.uniform(-NOISE, NOISE, (height, width, 3))


def _encoded(picture: np.ndarray[Any, np.dtype[np.float64]], suffix: str) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(picture.clip(0, 255).astype("uint8")).save(out, PICTURES[suffix])
    return out.getvalue()


def _write_tars(folder: Path, spec: TaskSpec, names: list[str], rows: Mapping[str, list[Row]], shards: int) -> None:
    """As clip-benchmark writes: SPLIT/N.tar with KEY.cls and KEY.SUFFIX, numbers of shards, names, prompts."""
    stated = _hub_source(spec).label_names
    if stated is None or isinstance(stated, tuple):
        raise ValueError(f"task {spec.name}: its labels are in no file")
    for split, told in rows.items():
        (folder / split).mkdir(parents=True, exist_ok=True)
        (folder / split / "nshards.txt").write_text(str(shards), encoding="utf-8")
        bounds = [len(told) * shard // shards for shard in range(shards + 1)]
        for shard, (start, stop) in enumerate(pairwise(bounds)):
            with tarfile.open(folder / split / f"{shard}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
                for index, (content, suffix, label) in enumerate(told[start:stop], start):
                    _add(tar, f"s{index:07d}.cls", str(label).encode())
                    _add(tar, f"s{index:07d}.{suffix}", content)
    (folder / stated.file).write_text("\n".join(names), encoding="utf-8")
    prompts = "\n".join(template.replace("{}", "{c}") for template in spec.templates)
    (folder / "zeroshot_classification_templates.txt").write_text(prompts, encoding="utf-8")
    _write_readme(folder, {"license": spec.licence}, spec.title)


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))


def _write_parquet(folder: Path, spec: TaskSpec, names: list[str], rows: Mapping[str, list[Row]]) -> None:
    """As `push_to_hub` writes: one table per split, and a README that tells of features, splits and files."""
    import datasets
    import pyarrow.parquet as pq  # type: ignore[import-untyped]
    from datasets.info import DatasetInfosDict
    from datasets.utils.metadata import MetadataConfigs
    from huggingface_hub import DatasetCardData

    source = _hub_source(spec)
    config = source.config or "default"
    place = source.config or "data"
    (folder / place).mkdir(parents=True, exist_ok=True)
    plain = source.label_names is not None
    kind = datasets.Value("int64") if plain else datasets.ClassLabel(names=names)
    features = datasets.Features({source.image[0]: datasets.Image(), source.label: kind})
    if source.label != DECOY:
        features[DECOY] = datasets.ClassLabel(names=["neither", "nor"])
    splits = datasets.SplitDict()
    size = 0
    for split, told in rows.items():
        pictures = [
            {"bytes": content, "path": f"{split}-{index}.{suffix}"} for index, (content, suffix, _) in enumerate(told)
        ]
        values = {source.image[0]: pictures, source.label: [label for _, _, label in told]}
        if DECOY in features and DECOY not in values:
            values[DECOY] = [index % 2 for index in range(len(told))]
        table = datasets.Dataset.from_dict(values, features=features)
        path = folder / place / f"{split}-00000-of-00001.parquet"
        pq.write_table(table.data.table, path)  # as `to_parquet`, without its progress bar
        size += path.stat().st_size
        splits.add(datasets.SplitInfo(split, num_bytes=table.data.nbytes, num_examples=len(told)))
    info = datasets.DatasetInfo(features=features, splits=splits, download_size=size)
    info.dataset_size = sum(part.num_bytes for part in splits.values())
    card = DatasetCardData(license=spec.licence.lower())
    DatasetInfosDict({config: info}).to_dataset_card_data(card)
    files = [{"split": split, "path": f"{place}/{split}-*"} for split in rows]
    MetadataConfigs({config: {"data_files": files}}).to_dataset_card_data(card)
    (folder / "README.md").write_text(f"---\n{card}\n---\n# {spec.title}\n", encoding="utf-8")


# --- both ---


def _write_readme(folder: Path, front: Mapping[str, Any], title: str) -> None:
    import yaml

    text = yaml.safe_dump(dict(front), sort_keys=False)
    (folder / "README.md").write_text(f"---\n{text}---\n# {title}\n", encoding="utf-8")


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")


def _seed(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6], "big")
