"""FLOPs of open_clip's image towers by formula, from their configuration alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from prt_bench.api import Price

__all__ = ["image_price"]

CONVNEXT = {
    "convnext_tiny": ((3, 3, 9, 3), 96),
    "convnext_small": ((3, 3, 27, 3), 96),
    "convnext_base": ((3, 3, 27, 3), 128),
    "convnext_large": ((3, 3, 27, 3), 192),
    "convnext_xlarge": ((3, 3, 27, 3), 256),
    "convnext_xxlarge": ((3, 4, 30, 3), 384),
}
"""timm's name → blocks of each stage and channels of the first, doubled from stage to stage: Liu et al. 2022,
section 3, and timm for the largest, which is later than the paper."""

COUNTED = {"image_size", "layers", "width", "head_width", "patch_size", "mlp_ratio", "pool_type"}
COUNTED_OF_TIMM = {"timm_model_name", "timm_pool", "timm_proj"}
"""Options that the formulas read. Heads share the width, so their number changes nothing."""

FREE = {
    "ls_init_value",
    "no_ln_pre",
    "final_ln_after_pool",
    "pos_embed_type",
    "act_kwargs",
    "norm_kwargs",
    "patch_dropout",
}
FREE_OF_TIMM = {"timm_drop", "timm_drop_path", "timm_model_pretrained", "timm_proj_bias"}
"""Options that leave the products of a pass at inference as they are: norms, biases, scales, dropout."""


def image_price(config: Mapping[str, Any], classes: int) -> Price | None:
    """FLOPs of one image through a tower of open_clip and a zero-shot head of so many classes.

    `config` is what open_clip keeps of an architecture: `embed_dim` and `vision_cfg`. None where it is of a kind, or
    sets an option, that has no formula here.
    """
    vision, told = config.get("vision_cfg"), _whole(config.get("embed_dim"))
    if not isinstance(vision, Mapping) or told is None:
        return None
    (embedding,) = told
    if {name for name, value in vision.items() if value} - COUNTED - COUNTED_OF_TIMM - FREE - FREE_OF_TIMM:
        return None
    if vision.get("timm_model_name"):
        tower = _convnext(vision, embedding)
    elif isinstance(vision.get("layers"), Sequence):
        tower = _resnet(vision, embedding)
    else:
        tower = _transformer(vision, embedding)
    return None if tower is None else Price(image=Fraction(2 * (tower + embedding * classes)))


def _transformer(vision: Mapping[str, Any], embedding: int) -> int | None:
    """Multiply-adds of a vision transformer, Dosovitskiy et al. 2021: patches, layers over them and the class token
    (attention whole), and the projection of one token."""
    told = _whole(*(vision.get(name) for name in ("image_size", "layers", "width", "patch_size")))
    if told is None or vision.get("pool_type", "tok") not in {"tok", "avg"}:
        return None
    size, layers, width, patch = told
    patches = (size // patch) ** 2
    tokens = patches + 1
    # Rounded down as open_clip does: the ratios of the largest models are no whole numbers.
    hidden = int(width * vision.get("mlp_ratio", 4.0))
    layer = tokens * (4 * width**2 + 2 * width * hidden) + 2 * tokens**2 * width
    return patches * 3 * patch**2 * width + layers * layer + width * embedding


def _resnet(vision: Mapping[str, Any], embedding: int) -> int | None:
    """Multiply-adds of CLIP's ResNet, Radford et al. 2021, section 2.4: a stem of three convolutions, bottlenecks that
    pool after their second convolution, and attention in place of the last pooling."""
    told = _whole(vision.get("image_size"), vision.get("width"), *vision["layers"])
    if told is None or len(vision["layers"]) != 4:
        return None
    size, width, *stages = told
    # With other sizes the last map may not be the one that the pooling has positions for.
    if size % 32:
        return None
    stem = width // 2
    total = (size // 2) ** 2 * 9 * (3 * stem + stem * stem + stem * width)
    side, entering = size // 4, width
    for stage, blocks in enumerate(stages):
        inner = width * 2**stage
        wide = 4 * inner
        pooled = side if stage == 0 else side // 2
        total += side**2 * (entering * inner + 9 * inner**2) + pooled**2 * (inner * wide + entering * wide)
        total += (blocks - 1) * pooled**2 * (2 * inner * wide + 9 * inner**2)
        side, entering = pooled, wide
    # open_clip asks for all tokens and keeps the first.
    tokens = side**2 + 1
    total += tokens * (3 * entering**2 + entering * embedding) + 2 * tokens**2 * entering
    return total


def _convnext(vision: Mapping[str, Any], embedding: int) -> int | None:
    """Multiply-adds of a ConvNeXt, Liu et al. 2022: convolutions of 4 × 4 into the first stage and of 2 × 2 into the
    others, blocks of a depthwise 7 × 7 and two layers of four times the width, and the projection."""
    name, told = vision["timm_model_name"], _whole(vision.get("image_size"))
    if name not in CONVNEXT or told is None or vision.get("timm_pool", "avg") not in {"", "avg"}:
        return None
    (size,), (stages, width) = told, CONVNEXT[name]
    side = size // 4
    total = side**2 * 3 * 4**2 * width
    for stage, blocks in enumerate(stages):
        if stage:
            side, width = side // 2, 2 * width
            total += side**2 * 2**2 * (width // 2) * width
        total += blocks * side**2 * (7**2 * width + 2 * width * 4 * width)
    projections = {"linear": width * embedding, "mlp": width * 2 * embedding + 2 * embedding * embedding}
    projection = projections.get(vision.get("timm_proj", "linear"))
    return None if projection is None else total + projection


def _whole(*values: Any) -> tuple[int, ...] | None:
    """The values, where all are positive whole numbers: an option may also be a pair, or nothing."""
    return values if all(isinstance(value, int) and value > 0 for value in values) else None
