"""Image encoders that were tuned and published elsewhere, as weights of an open_clip image tower."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from prt_bench.errors import RequestError

__all__ = ["visual_tensors"]

CLASS_TOKEN = "embeddings.class_embedding"
TOWER = {
    "class_embedding": CLASS_TOKEN,
    "positional_embedding": "embeddings.position_embedding.weight",
    "conv1.weight": "embeddings.patch_embedding.weight",
    # transformers' own spelling, which its files keep.
    "ln_pre.weight": "pre_layrnorm.weight",
    "ln_pre.bias": "pre_layrnorm.bias",
    "ln_post.weight": "post_layernorm.weight",
    "ln_post.bias": "post_layernorm.bias",
}
BLOCK = {
    "ln_1": ("layer_norm1",),
    "ln_2": ("layer_norm2",),
    "attn.in_proj": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attn.out_proj": ("self_attn.out_proj",),
    "mlp.c_fc": ("mlp.fc1",),
    "mlp.c_proj": ("mlp.fc2",),
}
TEXT_SIDE = ("text_model.", "text_projection.", "logit_scale")


def visual_tensors(path: Path, visual: torch.nn.Module, alias: str) -> dict[str, torch.Tensor]:
    """The tuned parameters of an open_clip ViT image tower, by its own parameter names prefixed `visual.`.

    `path` is a safetensors file of a transformers CLIPVisionModel; files of CLIPModel and of
    CLIPVisionModelWithProjection are read too. Each tensor is fp32, has the shape of its parameter in `visual` (width
    W, patch P, N patches: conv1.weight (W, 3, P, P), positional_embedding (N + 1, W), in_proj_weight (3W, W) with q, k
    and v in this order), and all parameters are there; only `visual.proj` is left out where the file has no
    `visual_projection`: the encoder was then tuned under the pretrained projection, which stays. The file states
    neither the activation nor the number of heads: those of `visual` must be right.

    RequestError, naming the file and the first key that is wrong: no safetensors, a parameter without its key, a key
    of another shape, a key of the image side that no parameter takes, or a tower that is not CLIP's ViT.

    Source: transformers, `models/clip/modeling_clip.py` (CLIPVisionModel) and `conversion_mapping.py` (the
    prefix `vision_model.` of older files); open_clip, `transformer.py` (VisionTransformer).
    """
    way_out = f"give a published image encoder of exactly the architecture of {alias}, or fetch the file again"
    try:
        state: dict[str, torch.Tensor] = load_file(path)
    except (OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:160]
        raise RequestError(f"model {alias}: {path} is no safetensors file ({reason}); {way_out}") from error
    prefix = min((key.removesuffix(CLASS_TOKEN) for key in state if key.endswith(CLASS_TOKEN)), default="")
    root = prefix.removesuffix("vision_model.")
    projection = f"{root}visual_projection.weight"

    parameters = dict(visual.named_parameters())
    foreign = [name for name in parameters if name != "proj" and not _keys(name)]
    if foreign:
        raise RequestError(
            f"model {alias}: its image tower has {foreign[0]!r}, which no CLIPVisionModel such as {path} has; "
            "published encoders go into open_clip's plain ViT towers only: choose another model"
        )
    tensors = {}
    taken = {f"{prefix}embeddings.position_ids"}
    for name, parameter in parameters.items():
        if name == "proj" and projection not in state:
            continue
        keys = [projection] if name == "proj" else [prefix + key for key in _keys(name)]
        shape = (parameter.shape[0] // len(keys), *parameter.shape[1:])
        wanted = shape[::-1] if name == "proj" else shape
        for key in keys:
            if key not in state:
                raise RequestError(f"model {alias}: {path} lacks {key!r}; {way_out}")
            found = tuple(state[key].shape)
            if found != wanted:
                raise RequestError(f"model {alias}: {path} has {key!r} of shape {found}, not {wanted}; {way_out}")
        taken.update(keys)
        value = state[projection].T.contiguous() if name == "proj" else torch.cat([state[key] for key in keys])
        tensors[f"visual.{name}"] = value.float()

    ignored = tuple(root + part for part in TEXT_SIDE)
    extra = sorted(key for key in state.keys() - taken if not key.startswith(ignored))
    if extra:
        raise RequestError(f"model {alias}: {path} has {extra[0]!r}, which {alias} has no place for; {way_out}")
    return tensors


def _keys(name: str) -> list[str]:
    """The keys, without prefix, that a parameter of the tower is made of; none for a foreign parameter."""
    if name in TOWER:
        return [TOWER[name]]
    found = re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+)[._](weight|bias)", name)
    return [f"encoder.layers.{found[1]}.{part}.{found[3]}" for part in BLOCK.get(found[2], ())] if found else []
