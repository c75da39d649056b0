"""Two witnesses of the same FLOPs: formulas from a configuration, and what torch counts on the meta device."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from fractions import Fraction
from pathlib import Path
from typing import Any

import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prt_bench.api import ModelCard, Network, OutputSpace, Places, Vocabulary, no_images
from prt_bench.families.causal_closed_form import text_price
from prt_bench.families.causal_lm import CausalFamily
from prt_bench.families.causal_network import ARCHITECTURES
from prt_bench.families.clip import ClipFamily
from prt_bench.families.clip_classifier import ClipClassifier
from prt_bench.families.clip_closed_form import CONVNEXT, image_price
from prt_bench.meters.flops import count_forward
from prt_bench.meters.pricing import forward_price
from prt_bench.registry import Registry
from prt_bench.work import Price, Work

META = torch.device("meta")
TEN = OutputSpace(tuple(f"class {index}" for index in range(10)))
REGISTRY = Registry()
ALLOWED = 0.01
EXACT = {"clip", "causal-lm"}
"""Families whose formulas leave nothing out that torch counts."""

READ = {
    "images": [Work(images=1)],
    "text": [Work(lengths=Counter({length: 1}), rows=rows) for length, rows in ((1, 1), (2048, 1), (2048, 2048))],
}
OTHERS = [
    *(f"convnext_{size}" for size in ("tiny", "small", "base_w_320", "large", "large_d", "xlarge", "xxlarge")),
    *("RN50x4", "RN50x64", "ViT-B-16-plus-240", "ViT-g-14", "ViT-H-14-CLIPA-336", "ViT-M-16-alt", "ViT-S-32"),
]
WITHOUT_A_FORMULA = [
    *("EVA02-B-16", "ViT-B-16-SigLIP", "ViTamin-S", "MobileCLIP-S1", "PE-Core-B-16", "swin_base_patch4_window7_224"),
    *("coca_ViT-B-32", "hf-hub:someone/something", "no-such-tower"),
]
LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 50,
}
GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 50}
TOWER = {"embed_dim": 16, "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8}}


def witnesses(card: ModelCard) -> tuple[Price | None, Price]:
    """A card's price by its formula and as counted."""
    family = REGISTRY.family(card)
    space = TEN if family.reads == "images" else Vocabulary()
    return family.closed_form(card, space, Places()), forward_price(family.build(card, space, "meta", Places()))


def tower(name: str) -> ModelCard:
    return ModelCard(alias="any", family="clip", architecture=name)


def decoder(architecture: str, config: dict[str, Any]) -> ModelCard:
    # Few positions, since GPT-2 has a row of weights for each.
    return ModelCard(
        alias="any",
        family="causal-lm",
        architecture=architecture,
        config={"n_positions": 32, "max_position_embeddings": 32, **config},
    )


# --- every card ---


@pytest.mark.parametrize("card", REGISTRY.cards.values(), ids=lambda card: card.alias)
def test_both_witnesses_of_a_card_agree(card: ModelCard) -> None:
    by_formula, counted = witnesses(card)
    assert by_formula is not None, "an analytic number belongs to every card"
    assert not counted.uncounted
    assert not by_formula.uncounted
    for work in READ[REGISTRY.family(card).reads]:
        expected, found = counted.of(work), by_formula.of(work)
        assert expected
        assert found is not None
        assert abs(found / expected - 1) <= ALLOWED
    if card.family in EXACT:
        assert by_formula == counted


@pytest.mark.parametrize("name", OTHERS)
def test_both_witnesses_agree_on_what_open_clip_has_besides(name: str) -> None:
    by_formula, counted = witnesses(tower(name))
    assert by_formula == counted


def test_each_convnext_of_the_table_is_held() -> None:
    held = {*OTHERS, *(card.architecture for card in REGISTRY.cards.values() if card.family == "clip")}
    configs = [open_clip.get_model_config(name) for name in held - {"local-dir"}]
    assert {config["vision_cfg"].get("timm_model_name") for config in configs} - {None} == set(CONVNEXT)


# --- published numbers ---


@pytest.mark.parametrize(
    ("alias", "giga"),
    [("vitb32-openai", 8.818), ("vitb16-laion", 35.127), ("vitl14-openai", 162.026), ("rn50-openai", 12.223)],
)
def test_an_image_costs_what_was_published(alias: str, giga: float) -> None:
    price = ClipFamily().closed_form(REGISTRY.card(alias), TEN, Places())
    assert price is not None
    assert round(float(price.image) / 1e9, 3) == giga


@pytest.mark.parametrize(("rows", "tera"), [(1, 30.79), (2048, 32.94)])
def test_llama_3_8b_reads_2048_tokens_at_its_published_price(rows: int, tera: float) -> None:
    price = CausalFamily().closed_form(REGISTRY.card("llama3-8b"), Vocabulary(), Places())
    assert price is not None
    flops = price.of(Work(lengths=Counter({2048: 1}), rows=rows))
    assert flops is not None
    assert round(flops / 1e12, 2) == tera


def test_gpt_2_costs_two_flops_per_weight_and_token() -> None:
    price = text_price(
        {**GPT2, "architectures": ["GPT2LMHeadModel"], "n_embd": 768, "n_layer": 12, "vocab_size": 50257}
    )
    # 12 layers of 12 × 768² weights; with embeddings, positions, biases and norms the published 124 million.
    assert price == Price(token=Fraction(2 * 84_934_656), pair=Fraction(4 * 12 * 768), row=Fraction(2 * 768 * 50257))


# --- any configuration ---


def counted_tower(config: dict[str, Any], classes: int) -> Price:
    """open_clip's own tower of a configuration, under a head, as counted."""
    vision, width = config["vision_cfg"], config["embed_dim"]
    with META:
        text = open_clip.CLIPTextCfg(context_length=4, vocab_size=8, width=8, heads=1, layers=1)
        clip = open_clip.CLIP(width, open_clip.CLIPVisionCfg(**vision), text)
        module = ClipClassifier(clip.visual, torch.empty(classes, width), torch.ones(())).eval()
        pixels = torch.empty(1, 3, vision["image_size"], vision["image_size"])
    count = count_forward(Network(module, no_images), pixels)
    assert not count.uncounted
    return Price(image=Fraction(count.flops))


@given(
    stages=st.lists(st.integers(1, 3), min_size=4, max_size=4),
    width=st.integers(2, 20),
    size=st.sampled_from([32, 64, 96]),
    embedding=st.integers(1, 40),
    classes=st.integers(1, 40),
)
@settings(deadline=None, max_examples=25)
def test_any_resnet(stages: list[int], width: int, size: int, embedding: int, classes: int) -> None:
    vision = {"image_size": size, "layers": stages, "width": width, "head_width": 32, "patch_size": None}
    config = {"embed_dim": embedding, "vision_cfg": vision}
    assert image_price(config, classes) == counted_tower(config, classes)


@given(
    layers=st.integers(1, 3),
    heads=st.integers(1, 3),
    each=st.integers(1, 12),
    patch=st.integers(1, 9),
    size=st.integers(9, 40),
    ratio=st.floats(1, 5),
    pool=st.sampled_from(["tok", "avg"]),
    embedding=st.integers(1, 40),
    classes=st.integers(1, 40),
)
@settings(deadline=None, max_examples=25)
def test_any_vision_transformer(
    layers: int,
    heads: int,
    each: int,
    patch: int,
    size: int,
    ratio: float,
    pool: str,
    embedding: int,
    classes: int,
) -> None:
    vision = {"image_size": size, "layers": layers, "width": heads * each, "head_width": each, "patch_size": patch}
    config = {"embed_dim": embedding, "vision_cfg": {**vision, "mlp_ratio": ratio, "pool_type": pool}}
    assert image_price(config, classes) == counted_tower(config, classes)


@pytest.mark.parametrize("size", [32, 57, 100])
@pytest.mark.parametrize("projection", ["linear", "mlp"])
def test_a_convnext_at_any_size(size: int, projection: str) -> None:
    vision = {"timm_model_name": "convnext_tiny", "image_size": size, "timm_proj": projection, "timm_pool": ""}
    config = {"embed_dim": 12, "vision_cfg": vision}
    assert image_price(config, 3) == counted_tower(config, 3)


@given(
    architecture=st.sampled_from(sorted(set(ARCHITECTURES) - {"GPT2LMHeadModel"})),
    layers=st.integers(1, 3),
    heads=st.sampled_from([(2, 1), (4, 2), (3, 3), (6, 2)]),
    each=st.sampled_from([4, 6, 10]),
    other=st.sampled_from([None, 8, 12]),
    hidden=st.integers(5, 60),
    vocabulary=st.integers(3, 90),
)
@settings(deadline=None, max_examples=25)
def test_any_decoder_like_llama(
    architecture: str,
    layers: int,
    heads: tuple[int, int],
    each: int,
    other: int | None,
    hidden: int,
    vocabulary: int,
) -> None:
    config = {
        "hidden_size": heads[0] * each,
        "intermediate_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads[0],
        "num_key_value_heads": heads[1],
        "vocab_size": vocabulary,
        # Width over heads where it is not said.
        **({} if other is None else {"head_dim": other}),
    }
    by_formula, counted = witnesses(decoder(architecture, config))
    assert by_formula == counted


def test_a_llama_that_tells_no_groups_has_keys_of_all_heads() -> None:
    for told in ({}, {"num_key_value_heads": None}):
        config = {name: value for name, value in LLAMA.items() if name != "num_key_value_heads"}
        by_formula, counted = witnesses(decoder("LlamaForCausalLM", {**config, **told}))
        assert by_formula == counted


@given(
    layers=st.integers(1, 3),
    heads=st.integers(1, 4),
    each=st.integers(1, 12),
    hidden=st.one_of(st.none(), st.integers(5, 60)),
    vocabulary=st.integers(3, 90),
)
@settings(deadline=None, max_examples=20)
def test_any_gpt_2(layers: int, heads: int, each: int, hidden: int | None, vocabulary: int) -> None:
    config = {"n_embd": heads * each, "n_layer": layers, "n_head": heads, "n_inner": hidden, "vocab_size": vocabulary}
    by_formula, counted = witnesses(decoder("GPT2LMHeadModel", config))
    assert by_formula == counted


@pytest.mark.parametrize("tied", [True, False])
def test_tying_and_padding_of_the_output_matrix_save_nothing(tied: bool) -> None:
    card = decoder("LlamaForCausalLM", {**LLAMA, "tie_word_embeddings": tied})
    few_tokens = Vocabulary(("a", "b", *("",) * 48))
    price = CausalFamily().closed_form(card, few_tokens, Places())
    assert price is not None
    assert price.row == 2 * 32 * 50
    assert price == forward_price(CausalFamily().build(card, few_tokens, "meta", Places()))


def test_the_head_costs_by_its_classes() -> None:
    card = REGISTRY.card("nano-rn16-a")
    prices = [
        ClipFamily().closed_form(card, OutputSpace(tuple(str(index) for index in range(classes))), Places())
        for classes in (10, 110)
    ]
    assert prices[0] is not None
    assert prices[1] is not None
    assert prices[1].image - prices[0].image == 2 * 100 * 64


# --- never a guess ---


@pytest.mark.parametrize("name", WITHOUT_A_FORMULA)
def test_a_tower_of_another_kind_has_no_closed_form(name: str) -> None:
    assert ClipFamily().closed_form(tower(name), TEN, Places()) is None


@pytest.mark.parametrize(
    "option",
    [
        {"attentional_pool": True},
        {"pool_type": "none"},
        {"image_size": [32, 48]},
        {"patch_size": [8, 4]},
        {"patch_size": None},
        {"layers": [1, 1, 1]},
        {"layers": [1, 1, 1, 0]},
        {"layers": [1, 1, 1, 1], "image_size": 48},
        {"an_option_of_tomorrow": 1},
        {"timm_model_name": "convnext_base.fb_in22k"},
        {"timm_model_name": "convnext_base", "timm_proj": "none"},
        {"timm_model_name": "convnext_base", "timm_pool": "abs_attn"},
    ],
    ids=str,
)
def test_an_option_that_is_not_counted_leaves_no_closed_form(option: dict[str, Any]) -> None:
    vision: dict[str, Any] = dict(TOWER["vision_cfg"])  # type: ignore[call-overload]
    assert image_price({**TOWER, "vision_cfg": vision}, 3) is not None
    assert image_price({**TOWER, "vision_cfg": {**vision, "an_option_of_tomorrow": None}}, 3) is not None
    assert image_price({**TOWER, "vision_cfg": {**vision, **option}}, 3) is None


def test_a_configuration_without_a_tower_has_no_closed_form() -> None:
    assert image_price({}, 3) is None
    assert image_price({"embed_dim": None, "vision_cfg": TOWER["vision_cfg"]}, 3) is None


def test_every_architecture_of_decoders_has_a_closed_form_and_others_have_none() -> None:
    for architecture in ARCHITECTURES:
        assert text_price({**LLAMA, **GPT2, "architectures": [architecture]}) is not None, architecture
    for architectures in (["Phi3ForCausalLM"], ["MixtralForCausalLM"], ["LlamaForCausalLM", "OtherModel"], [], None):
        assert text_price({**LLAMA, **GPT2, "architectures": architectures}) is None
    assert text_price(LLAMA) is None


@pytest.mark.parametrize(
    ("architecture", "config", "optional"),
    [
        ("LlamaForCausalLM", LLAMA, {"num_key_value_heads"}),
        ("MistralForCausalLM", LLAMA, set()),
        ("Qwen2ForCausalLM", LLAMA, set()),
        # The number of heads changes no product.
        ("GPT2LMHeadModel", GPT2, {"n_head"}),
    ],
)
def test_a_size_that_is_not_told_is_not_guessed(architecture: str, config: dict[str, int], optional: set[str]) -> None:
    for left_out in config:
        told = {name: value for name, value in config.items() if name != left_out}
        price = text_price({**told, "architectures": [architecture]})
        assert (price is not None) == (left_out in optional), left_out


def test_a_configuration_beside_the_weights_is_the_one_that_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "open_clip_model.safetensors").touch()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": TOWER, "preprocess_cfg": {}}))
    (folder / "config.json").write_text(json.dumps({**LLAMA, "architectures": ["LlamaForCausalLM"]}))
    places = Places(weights_dir=tmp_path)
    image = ModelCard(alias="mine", family="clip", architecture="local-dir")
    assert ClipFamily().closed_form(image, TEN, places) == image_price(TOWER, 10)
    text = ModelCard(alias="mine", family="causal-lm", architecture="LlamaForCausalLM")
    assert CausalFamily().closed_form(text, Vocabulary(), places) == text_price(
        {**LLAMA, "architectures": ["LlamaForCausalLM"]}
    )


def test_the_formulas_need_no_torch() -> None:
    modules = "prt_bench.families.causal_closed_form, prt_bench.families.clip_closed_form"
    subprocess.run([sys.executable, "-c", f"import sys, {modules}; sys.exit('torch' in sys.modules)"], check=True)
