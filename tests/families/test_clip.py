"""Family `clip`: the same loading code for embedded models and for real ones, tried on a small copy of the format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from safetensors.torch import save_file

from prt_bench.api import ModelCard, OutputSpace, Places, Vocabulary
from prt_bench.errors import RequestError
from prt_bench.families.clip import ClipFamily
from prt_bench.registry import Registry

SPACE = OutputSpace(("cat", "dog", "bird"), ("a photo of a {}.", "a {}"))
REAL = [card for card in ClipFamily().cards() if not card.embedded]
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def real_format(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModelCard, Places, dict[str, Any]]:
    """A card of a tiny architecture of open_clip's own kind, and its weights as a real one's lie on disk."""
    folder = tmp_path_factory.mktemp("architectures")
    for name, config in {"tiny-test": TINY, "tiny-test-quickgelu": {**TINY, "quick_gelu": True}}.items():
        (folder / f"{name}.json").write_text(json.dumps(config))
        open_clip.add_model_config(folder / f"{name}.json")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        clip = open_clip.create_model("tiny-test")
    weights = tmp_path_factory.mktemp("weights")
    (weights / "tiny").mkdir()
    state = {name: value.clone() for name, value in clip.state_dict().items()}
    save_file(state, weights / "tiny" / "open_clip_model.safetensors")
    card = ModelCard(alias="tiny", family="clip", architecture="tiny-test", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    return card, Places(weights_dir=weights), state


@pytest.mark.parametrize("card", REAL, ids=lambda card: card.alias)
def test_a_real_card_agrees_with_open_clips_registry(card: ModelCard) -> None:
    assert card.pretrained is not None
    known = open_clip.get_pretrained_cfg(card.architecture, card.pretrained)
    assert known, f"open_clip has no weights {card.pretrained} for {card.architecture}"
    config = open_clip.get_model_config(card.architecture)
    quick = config.get("quick_gelu", False)
    assert quick == known.get("quick_gelu", False), "the activation belongs to the architecture's name"
    assert card.activation == ("quick_gelu" if quick else "gelu")
    assert known["hf_hub"].rstrip("/") == card.hub
    assert card.mean == pytest.approx(known["mean"])
    assert card.std == pytest.approx(known["std"])
    assert not card.verified or (card.revision and card.sha256)


def test_the_head_is_the_normalised_mean_over_templates(real_format: tuple[ModelCard, Places, dict[str, Any]]) -> None:
    card, places, _ = real_format
    network = ClipFamily().build(card, SPACE, "real", places)
    (path,) = ClipFamily().weight_files(card, places)
    clip = open_clip.create_model(card.architecture, pretrained=str(path)).eval()
    tokenizer = open_clip.get_tokenizer(card.architecture)
    expected = open_clip.build_zero_shot_classifier(clip, tokenizer, SPACE.labels, SPACE.templates).T
    assert torch.allclose(network.module.head, expected, atol=1e-6)  # type: ignore[arg-type]
    pixels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        image = clip.encode_image(pixels, normalize=True)
        assert torch.allclose(network.module(pixels), clip.logit_scale.exp() * image @ expected.T, atol=1e-4)


def test_preprocessing_is_the_cards_own(real_format: tuple[ModelCard, Places, dict[str, Any]]) -> None:
    from PIL import Image

    card, places, _ = real_format
    network = ClipFamily().build(card, SPACE, "real", places)
    white = network.preprocess([Image.new("RGB", (50, 40), (255, 255, 255))])
    assert white.shape == (1, 3, 32, 32)
    assert torch.allclose(white, torch.ones_like(white)), "mean and std of 0.5 take white to 1"
    assert network.preprocessing["mean"] == [0.5, 0.5, 0.5]


def test_a_missing_file_names_the_model_what_was_tried_and_three_ways_out(tmp_path: Path, registry: Registry) -> None:
    card = registry.card("vitb16-laion")
    with pytest.raises(RequestError) as error:
        ClipFamily().weight_files(card, Places(tmp_path / "mine", tmp_path / "store"))
    text = str(error.value)
    for part in ("vitb16-laion", str(tmp_path / "mine"), str(tmp_path / "store"), "prt-bench fetch", "--weights-dir"):
        assert part in text
    assert "nano-rn16-a:nano-rn24-b" in text
    assert "\n" not in text


def test_a_file_with_another_digest_than_the_card_is_refused(
    real_format: tuple[ModelCard, Places, dict[str, Any]],
) -> None:
    card, places, _ = real_format
    pinned = card.model_copy(update={"sha256": "0" * 64})
    with pytest.raises(RequestError, match="the card pins 000000000000"):
        ClipFamily().build(pinned, SPACE, "real", places)


def test_pickled_weights_beside_it_are_never_read(
    real_format: tuple[ModelCard, Places, dict[str, Any]], tmp_path: Path
) -> None:
    card, _, state = real_format
    (tmp_path / "tiny").mkdir()
    torch.save(state, tmp_path / "tiny" / "open_clip_pytorch_model.bin")
    with pytest.raises(RequestError, match="no weights"):
        ClipFamily().build(card, SPACE, "real", Places(tmp_path))


def test_a_wrong_architecture_is_an_error_and_no_guess(real_format: tuple[ModelCard, Places, dict[str, Any]]) -> None:
    card, places, _ = real_format
    other = card.model_copy(update={"architecture": "ViT-B-32"})
    with pytest.raises(RequestError, match="does not hold a ViT-B-32"):
        ClipFamily().build(other, SPACE, "real", places)


def test_two_classes_with_equal_heads_are_refused_by_name(registry: Registry) -> None:
    long = "a very long name that goes on " * 20
    space = OutputSpace((f"{long} cat", f"{long} dog"), ("{}",))
    card = registry.card("nano-rn16-a")
    with pytest.raises(RequestError, match="equal heads") as error:
        ClipFamily().build(card, space, "real", Places())
    assert "cat" in str(error.value)
    assert "dog" in str(error.value)


def test_any_class_name_gets_a_head_of_its_own(registry: Registry) -> None:
    space = OutputSpace(("Übergröße", "北京", "naïve café", "🙂", "a", "b"), ("a photo of {}.",))
    card = registry.card("nano-rn16-a")
    network = ClipFamily().build(card, space, "real", Places())
    assert network.module(torch.zeros(1, 3, 32, 32)).shape == (1, 6)


def test_shipped_weights_hold_to_their_cards_and_their_size(registry: Registry) -> None:
    embedded = [card for card in registry.cards.values() if card.embedded]
    assert {card.alias for card in embedded} >= {"nano-rn16-a", "nano-rn24-a", "nano-rn24-b", "nano-llama-s-a"}
    total = 0
    for card in embedded:
        family = registry.family(card)
        paths = family.weight_files(card, Places())
        total += sum(path.stat().st_size for path in paths)
        assert card.sha256, f"{card.alias} pins no digest"
        # No score of a task of text is held against a card: `LanguageSpec.anchors`.
        assert card.zero_shot or family.reads == "text", f"{card.alias} states no measured zero-shot score"
        assert card.provenance
        space = SPACE if family.reads == "images" else family.space(card, Vocabulary(), Places())
        family.build(card, space, "real", Places())
    assert total <= 20e6


@pytest.mark.parametrize(
    ("alias", "change", "message"),
    [
        ("vitb32-laion", {"architecture": "ViT-B-32"}, "trained with quick_gelu, which architecture ViT-B-32 does not"),
        (
            "vitb16-openai",
            {"architecture": "ViT-B-16"},
            "trained with quick_gelu, which architecture ViT-B-16 does not",
        ),
        ("vitb16-laion", {"activation": "quick_gelu"}, "activation is quick_gelu on the card and gelu in open_clip"),
        (
            "vitl14-laion2b",
            {"mean": (0.48145466, 0.4578275, 0.40821073)},
            r"mean is .0\.48.* and .0\.5, 0\.5, 0\.5. in",
        ),
        ("vitb16-laion", {"std": (0.5, 0.5, 0.5)}, r"std is .0\.5, 0\.5, 0\.5. on the card and .0\.26"),
        ("convnextbw-laion2b", {"image_size": 224}, "image_size is 224 on the card and 256"),
        ("vitb16-laion", {"hub": "timm/other"}, "hub is timm/other on the card and timm/vit_base_patch16"),
        ("vitb16-laion", {"pretrained": "laion9b"}, "open_clip has no weights 'laion9b'"),
    ],
)
def test_a_card_that_is_wrong_is_refused_by_name(
    registry: Registry, alias: str, change: dict[str, Any], message: str
) -> None:
    card = registry.card(alias).model_copy(update=change)
    for weights in ("random", "meta"):
        with pytest.raises(RequestError, match=f"model {alias}: .*{message}"):
            ClipFamily().build(card, SPACE, weights, Places())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"preprocess_cfg": {"mean": [0.4, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}, "mean is"),
        ({"model_cfg": {"quick_gelu": True}}, "activation is gelu on the card and quick_gelu"),
    ],
)
def test_weights_whose_own_configuration_says_otherwise_are_refused(
    real_format: tuple[ModelCard, Places, dict[str, Any]], tmp_path: Path, config: dict[str, Any], message: str
) -> None:
    card, _, state = real_format
    (tmp_path / "tiny").mkdir()
    save_file(state, tmp_path / "tiny" / "open_clip_model.safetensors")
    (tmp_path / "tiny" / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(RequestError, match=f"model tiny: {message}.*open_clip_config.json"):
        ClipFamily().build(card.model_copy(update={"activation": "gelu"}), SPACE, "real", Places(tmp_path))


@pytest.mark.parametrize("card", REAL, ids=lambda card: card.alias)
def test_the_size_of_a_download_is_that_of_the_architecture(card: ModelCard) -> None:
    with torch.device("meta"):
        clip = open_clip.create_model(card.architecture, load_weights=False, device="meta")
    assert card.size_bytes == sum(value.numel() * value.element_size() for value in clip.state_dict().values())


def test_every_model_of_the_paper_and_its_neighbours_has_a_card() -> None:
    vits = {
        f"vit{size}-{data}" for size in ("b32", "b16", "l14") for data in ("openai", "laion", "laion2b", "datacomp")
    }
    assert {card.alias for card in REAL} == vits | {
        "rn50-openai",
        "rn101-openai",
        "convnextb-laion",
        "convnextbw-laion2b",
    }
