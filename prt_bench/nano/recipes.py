"""The recipes of the embedded vision models and the tasks that they are measured on when built."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

CONTEXT_LENGTH = 48
EMBED_DIM = 64


@dataclass(frozen=True)
class Recipe:
    """How one model is made: its image tower, its corpus and its contrastive training."""

    title: str
    corpus: str
    layers: tuple[int, int, int, int]
    width: int
    images: int
    steps: int
    seed: int
    batch_size: int = 128
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warmup_steps: int = 50
    label_smoothing: float = 0.1
    text_width: int = 64
    text_layers: int = 2


CORPUS_SEED = 20

RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "nano-rn16-a": Recipe(
            "narrow, older data", corpus="a", layers=(1, 1, 1, 1), width=16, images=30_000, steps=800, seed=1
        ),
        "nano-rn24-a": Recipe(
            "wider, the same data", corpus="a", layers=(2, 2, 2, 1), width=24, images=30_000, steps=900, seed=2
        ),
        "nano-rn24-b": Recipe(
            "wider, newer data", corpus="b", layers=(2, 2, 2, 1), width=24, images=30_000, steps=900, seed=3
        ),
    }
)

TASKS = ("digits", "shapes", "letters", "textures", "outlines")
"""Tasks whose zero-shot score a card states."""


def model_config(recipe: Recipe, vocabulary: int) -> dict[str, object]:
    """The `model_cfg` of open_clip for a recipe and a tokenizer of `vocabulary` tokens."""
    return {
        "embed_dim": EMBED_DIM,
        "vision_cfg": {"image_size": 32, "layers": list(recipe.layers), "width": recipe.width},
        "text_cfg": {
            "context_length": CONTEXT_LENGTH,
            "vocab_size": vocabulary,
            "hf_tokenizer_name": "local",
            "width": recipe.text_width,
            "heads": 4,
            "layers": recipe.text_layers,
        },
    }


PREPROCESS = MappingProxyType(
    {
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "resize_mode": "shortest",
    }
)
