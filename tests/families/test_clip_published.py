"""Published image encoders: open_clip's tower with their weights computes what transformers computes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from open_clip import CLIP, CLIPTextCfg, CLIPVisionCfg
from open_clip.transformer import VisionTransformer
from safetensors.torch import load_file, save_file
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModel, CLIPVisionModelWithProjection

from prt_bench.errors import RequestError
from prt_bench.families.clip_published import visual_tensors

WIDTH, LAYERS, EMBED, TOLERANCE = 32, 3, 16, 1e-5
VISION: dict[str, Any] = {
    "hidden_size": WIDTH,
    "intermediate_size": 4 * WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
    "projection_dim": EMBED,
}
TEXT: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "vocab_size": 20,
    "bos_token_id": 1,
    "eos_token_id": 2,
}

State = dict[str, torch.Tensor]


def tower(quick_gelu: bool = True, **changed: Any) -> VisionTransformer:
    """open_clip's tower of the shape of VISION, with weights of its own."""
    options = {"image_size": 32, "patch_size": 8, "width": WIDTH, "layers": LAYERS, "head_width": 16, **changed}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return image_tower(CLIPVisionCfg(**options), quick_gelu).eval()


def image_tower(config: CLIPVisionCfg, quick_gelu: bool = False) -> Any:
    """open_clip's image tower of a configuration, taken from a model whose text tower is as small as can be."""
    text = CLIPTextCfg(context_length=4, vocab_size=8, width=8, heads=1, layers=1)
    return CLIP(EMBED, config, text, quick_gelu=quick_gelu).visual


def drawn(build: Callable[[], Any]) -> Any:
    """A model whose every parameter is drawn: fresh ones have zero biases, which would hide a swapped pair."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build().eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(std=0.3)
    return model


def vision_model() -> CLIPVisionModel:
    model: CLIPVisionModel = drawn(lambda: CLIPVisionModel(CLIPVisionConfig(**VISION, hidden_act="quick_gelu")))
    return model


def filled(visual: VisionTransformer, tensors: State) -> VisionTransformer:
    missing, unexpected = visual.load_state_dict(
        {name.removeprefix("visual."): value for name, value in tensors.items()}, strict=False
    )
    assert set(missing) <= {"proj"}
    assert not unexpected
    return visual


def images() -> torch.Tensor:
    return torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def gap(visual: VisionTransformer, expected: torch.Tensor) -> float:
    return float((visual(images()) - expected).abs().max())


@pytest.fixture
def published(tmp_path: Path) -> tuple[Path, CLIPVisionModel]:
    """A file as the installed transformers saves it, and the model it came from."""
    model = vision_model()
    model.save_pretrained(tmp_path)
    return tmp_path / "model.safetensors", model


@torch.no_grad()
def test_the_tower_computes_what_transformers_computes(published: tuple[Path, CLIPVisionModel]) -> None:
    path, model = published
    visual = tower()
    kept = visual.proj.clone()
    tensors = visual_tensors(path, visual, "tiny")
    assert set(tensors) == {f"visual.{name}" for name, _ in visual.named_parameters()} - {"visual.proj"}
    expected = model(images()).pooler_output @ kept
    assert expected.std() > 0.1, "the scale that the tolerance is measured on"
    assert gap(visual, expected) > 0.1, "its own weights do something else"
    assert gap(filled(visual, tensors), expected) < TOLERANCE
    assert torch.equal(visual.proj, kept)
    bare = filled(tower(), tensors)
    bare.proj = None
    assert gap(bare, model(images()).pooler_output) < TOLERANCE


@torch.no_grad()
def test_another_activation_computes_something_else(published: tuple[Path, CLIPVisionModel]) -> None:
    path, model = published
    visual = tower(quick_gelu=False)
    expected = model(images()).pooler_output @ visual.proj
    assert gap(filled(visual, visual_tensors(path, visual, "tiny")), expected) > 100 * TOLERANCE


@pytest.mark.parametrize("prefix", ["", "vision_model.", "clip.vision_model."])
def test_each_spelling_of_the_keys_is_read(prefix: str, published: tuple[Path, CLIPVisionModel]) -> None:
    path, _ = published
    state = {key.removeprefix("vision_model."): value for key, value in load_file(path).items()}
    state["embeddings.position_ids"] = torch.arange(17).expand(1, -1).clone()
    expected = visual_tensors(path, tower(), "tiny")
    save_file({prefix + key: value for key, value in state.items()}, path.with_name("other.safetensors"))
    found = visual_tensors(path.with_name("other.safetensors"), tower(), "tiny")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@torch.no_grad()
@pytest.mark.parametrize("whole", [False, True], ids=["CLIPVisionModelWithProjection", "CLIPModel"])
def test_a_projection_in_the_file_is_taken_and_a_text_tower_is_not(whole: bool, tmp_path: Path) -> None:
    model = drawn(
        lambda: (
            CLIPModel(CLIPConfig(vision_config=VISION, text_config=TEXT, projection_dim=EMBED))
            if whole
            else CLIPVisionModelWithProjection(CLIPVisionConfig(**VISION))
        )
    )
    model.save_pretrained(tmp_path)
    visual = tower()
    tensors = visual_tensors(tmp_path / "model.safetensors", visual, "tiny")
    assert set(tensors) == {f"visual.{name}" for name, _ in visual.named_parameters()}
    expected = model.visual_projection(model.vision_model(images()).pooler_output)
    assert gap(filled(visual, tensors), expected) < TOLERANCE


def test_half_precision_files_are_read_as_fp32(published: tuple[Path, CLIPVisionModel]) -> None:
    path, _ = published
    full = visual_tensors(path, tower(), "tiny")
    save_file({key: value.half() for key, value in load_file(path).items()}, path)
    half = visual_tensors(path, tower(), "tiny")
    assert {value.dtype for value in half.values()} == {torch.float32}
    assert all(torch.equal(half[name], full[name].half().float()) for name in full)


def layer_missing(state: State) -> State:
    return {key: value for key, value in state.items() if "layers.2." not in key}


def layer_extra(state: State) -> State:
    again = {key.replace("layers.2.", "layers.3."): value for key, value in state.items() if "layers.2." in key}
    return {**state, **again}


def one_key_wide(state: State) -> State:
    return {**state, "encoder.layers.1.self_attn.k_proj.weight": torch.zeros(WIDTH + 1, WIDTH)}


def class_token_missing(state: State) -> State:
    return {key: value for key, value in state.items() if not key.endswith("class_embedding")}


def two_spellings(state: State) -> State:
    return {**state, **{f"vision_model.{key}": value.clone() for key, value in state.items()}}


def with_a_classifier(state: State) -> State:
    return {**{f"vision_model.{key}": value for key, value in state.items()}, "classifier.bias": torch.zeros(3)}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (layer_missing, "lacks 'encoder.layers.2.layer_norm1.weight'"),
        (layer_extra, "has 'encoder.layers.3.layer_norm1.bias', which tiny has no place for"),
        (one_key_wide, "has 'encoder.layers.1.self_attn.k_proj.weight' of shape (33, 32), not (32, 32)"),
        (class_token_missing, "lacks 'embeddings.class_embedding'"),
        (two_spellings, "has 'vision_model.embeddings.class_embedding', which tiny has no place for"),
        (with_a_classifier, "has 'classifier.bias', which tiny has no place for"),
    ],
)
def test_a_file_of_another_shape_is_refused_by_name(
    change: Callable[[State], State], words: str, published: tuple[Path, CLIPVisionModel]
) -> None:
    path, _ = published
    state = {key.removeprefix("vision_model."): value for key, value in load_file(path).items()}
    other = path.with_name("other.safetensors")
    save_file({key: value.clone() for key, value in change(state).items()}, other)
    refused(other, tower(), words, "exactly the architecture of tiny")


def test_a_tower_of_another_width_is_refused(published: tuple[Path, CLIPVisionModel]) -> None:
    refused(published[0], tower(width=64), "embeddings.class_embedding' of shape (32,), not (64,)")
    refused(published[0], tower(patch_size=16), "position_embedding.weight' of shape (17, 32), not (5, 32)")


def test_a_tower_that_is_not_clips_own_is_refused(published: tuple[Path, CLIPVisionModel]) -> None:
    refused(published[0], tower(ls_init_value=0.1), "image tower has 'transformer.resblocks.0.ls_1.gamma'")
    with torch.random.fork_rng(devices=[]):
        resnet = image_tower(CLIPVisionCfg(layers=(1, 1, 1, 1), width=8, head_width=64, image_size=32))
    refused(published[0], resnet, "image tower has 'bn1.weight'", "plain ViT towers only")


def test_what_is_no_safetensors_file_is_refused(tmp_path: Path) -> None:
    refused(tmp_path / "absent.safetensors", tower(), "is no safetensors file")
    refused(tmp_path, tower(), "is no safetensors file")
    torch.save({"embeddings.class_embedding": torch.zeros(WIDTH)}, tmp_path / "pickled.safetensors")
    refused(tmp_path / "pickled.safetensors", tower(), "is no safetensors file")


def refused(path: Path, visual: torch.nn.Module, *words: str) -> None:
    with pytest.raises(RequestError) as error:
        visual_tensors(path, visual, "tiny")
    text = str(error.value)
    for part in (str(path), "model tiny", *words):
        assert part in text
    assert "\n" not in text
