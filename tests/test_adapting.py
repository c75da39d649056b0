"""Low-rank tuning: adapters alone learn, and what is kept is the whole network's weights with them merged in."""

from __future__ import annotations

import copy
import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prt_bench.adapting import adapted, adapted_layers
from prt_bench.api import ModelCard, Network, OutputSpace, Places, TextNetwork, TokenBatch, WeightedSum
from prt_bench.composing import shared_outputs
from prt_bench.costs import CompositionMeter
from prt_bench.errors import CellError
from prt_bench.families.clip import ClipFamily
from prt_bench.feeds import FixedFeed, Work
from prt_bench.meters.pricing import training_price
from prt_bench.networks import Inputs, Networks, tunable
from prt_bench.rendering import Encoded
from prt_bench.store import Store
from prt_bench.task_spec import LowRank, Recipe
from prt_bench.tasks import TaskSource, load_task
from prt_bench.text_feed import TextFeed
from prt_bench.training import Tuned, batch_order, tune
from tests.conftest import SOURCE, Bench, quiet
from tests.tiny_language import KINDS, Speaker, size, speaker

LORA = LowRank(rank=3, alpha=6)
TEXT = Recipe(steps=3, batch_size=4, learning_rate=1e-2, warmup_steps=0, weight_decay=0.0, clip_norm=1.0, low_rank=LORA)
IMAGES = Recipe(
    steps=4, batch_size=16, learning_rate=1e-2, warmup_steps=0, weight_decay=0.0, clip_norm=1.0, low_rank=LORA
)
PARTS = (
    *(f"self_attn.{part}_proj" for part in "qkvo"),
    *(f"mlp.{part}_proj" for part in ("gate", "up", "down")),
)


def entries(seed: int = 0) -> list[Encoded]:
    generator = torch.Generator().manual_seed(seed)
    rows = [torch.randint(size() - 2, (length,), generator=generator).tolist() for length in (5, 8, 6, 7)]
    return [Encoded(tuple(ids), tuple(range(1, len(ids) - 1))) for ids in rows]


def speaking(kind: str) -> tuple[Speaker, TextNetwork]:
    """A tiny model, and its network as the family builds it."""
    one = speaker(kind, 1)
    return one, replace(one.network, module=one.counting.inner)


def tuned(one: Speaker, recipe: Recipe = TEXT, seed: int = 0) -> tuple[Tuned, Network]:
    """What a few steps leave, and the network that they changed."""
    network = replace(one.network, module=copy.deepcopy(one.counting.inner))
    order = batch_order(4, recipe, seed)
    feed = TextFeed(entries(), {}, recipe)
    done = tune(network, feed, order, recipe, seed, None, shared_outputs([one.model]), lambda done, total: None)
    return done, network


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool((one - other).abs().max() <= 1e-5 * max(1.0, float(other.abs().max())))


# --- what learns ---


def test_every_linear_layer_but_the_output_matrix_gets_an_adapter() -> None:
    _, network = speaking("llama")
    inner = [f"model.model.layers.{layer}.{part}" for layer in range(2) for part in PARTS]
    assert sorted(adapted_layers(network, LORA)) == sorted(inner)
    chosen = adapted_layers(network, LowRank(rank=1, alpha=1, layers=("q_proj", "v_proj")))
    assert {name.rsplit(".", 1)[-1] for name in chosen} == {"q_proj", "v_proj"}
    assert len(chosen) == 4


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_only_adapters_learn(kind: str) -> None:
    one, untuned = speaking(kind)
    before = {name: value.clone() for name, value in untuned.module.state_dict().items()}
    done, network = tuned(one)
    names = dict(network.module.named_parameters())
    adapters = {name for name in names if "lora_" in name}
    assert len(adapters) == 2 * 2 * len(PARTS)
    for name in set(names) - adapters:
        assert torch.equal(names[name], before[name.replace(".base_layer", "")]), name
    assert {name.replace(".base_layer", "") for name in set(names) - adapters} == set(before)
    assert all(bool((names[name] != 0).any()) for name in adapters), "both thin matrices of each have learned"
    with adapted(copy.deepcopy(untuned), list(tunable(untuned)), LORA) as learning:
        assert len(learning.parameters) == len(adapters)
        assert sum(value.numel() for value in learning.parameters) == sum(names[name].numel() for name in adapters)
        assert all(value.requires_grad for value in learning.parameters)
    assert done.log[-1]["loss"] < done.log[0]["loss"]


def test_without_low_rank_all_that_may_learn_does() -> None:
    one, untuned = speaking("llama")
    done, network = tuned(one, TEXT.model_copy(update={"low_rank": None}))
    assert set(done.tensors) == set(tunable(network))
    before = untuned.module.state_dict()
    assert all(not torch.equal(value, before[name]) for name, value in done.tensors.items())


# --- what is kept ---


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_kept_weights_are_the_base_and_what_the_adapters_add(kind: str) -> None:
    one, untuned = speaking(kind)
    done, network = tuned(one)
    base = untuned.module.state_dict()
    adapters = dict(network.module.named_parameters())
    assert set(done.tensors) == {f"{name}.weight" for name in adapted_layers(untuned, LORA)}
    for name, value in done.tensors.items():
        assert not value.requires_grad
        assert value.shape == base[name].shape
        stem = name.removesuffix(".weight")
        down, up = (adapters[f"{stem}.lora_{part}.tuned.weight"] for part in "AB")
        assert (down.shape[0], up.shape[1]) == (LORA.rank, LORA.rank)
        assert torch.allclose(value, base[name] + LORA.alpha / LORA.rank * (up @ down), atol=1e-6)
        assert not torch.equal(value, base[name])


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_kept_weights_laid_over_the_base_give_the_adapted_outputs(kind: str) -> None:
    one, untuned = speaking(kind)
    done, network = tuned(one)
    plain = copy.deepcopy(untuned)
    places = dict(plain.module.named_parameters())
    with torch.no_grad():
        for name, value in done.tensors.items():
            places[name].copy_(value)
        for entry in entries(5):
            batch = TokenBatch(torch.tensor([entry.ids]), rows=torch.arange(len(entry.ids)))
            found, expected, before = (net.module(batch) for net in (plain, network, untuned))
            assert close(found, expected)
            assert not close(found, before)


def test_embeddings_norms_and_output_matrix_are_in_no_artifact() -> None:
    done, _ = tuned(speaker("llama", 1))
    for part in ("embed", "norm", "lm_head", "lora_"):
        assert not [name for name in done.tensors if part in name]


def test_same_seed_same_adapters_and_another_seed_others() -> None:
    def weights(seed: int) -> torch.Tensor:
        recipe = TEXT.model_copy(update={"low_rank": LowRank(rank=3, alpha=6, dropout=0.3)})
        state = torch.get_rng_state()
        done, _ = tuned(speaker("llama", 1), recipe, seed)
        assert torch.equal(torch.get_rng_state(), state), "the caller's numbers stay"
        return torch.cat([value.flatten() for value in done.tensors.values()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_adapters_of_no_steps_change_nothing() -> None:
    one, untuned = speaking("llama")
    done, _ = tuned(one, TEXT.model_copy(update={"steps": 0}))
    base = untuned.module.state_dict()
    assert done.tensors
    assert all(torch.equal(value, base[name]) for name, value in done.tensors.items())


@given(rank=st.integers(1, 40), alpha=st.integers(1, 64))
@settings(deadline=None, max_examples=10)
def test_any_rank_merges(rank: int, alpha: int) -> None:
    one, untuned = speaking("llama")
    low_rank = LowRank(rank=rank, alpha=alpha, layers=("q_proj",))
    done, network = tuned(one, TEXT.model_copy(update={"steps": 1, "low_rank": low_rank}))
    adapters = dict(network.module.named_parameters())
    for name, value in done.tensors.items():
        stem = name.removesuffix(".weight")
        down, up = (adapters[f"{stem}.lora_{part}.tuned.weight"] for part in "AB")
        added = alpha / rank * (up @ down)
        assert torch.allclose(value - untuned.module.state_dict()[name], added, atol=1e-5)


# --- what is refused ---


@pytest.mark.parametrize("kind", KINDS)
def test_a_recipe_that_fits_no_layer_is_refused(kind: str) -> None:
    one, untuned = speaking(kind)
    low_rank = LowRank(rank=1, alpha=1, layers=("no_such_layer",))
    with pytest.raises(CellError, match="low_rank fits no linear layer and no convolution of this network"):
        tuned(one, TEXT.model_copy(update={"low_rank": low_rank}))
    with pytest.raises(CellError, match="low_rank fits no linear layer"):
        adapted_layers(untuned, LowRank(rank=1, alpha=1, layers=("lm_head",)))


def test_layers_that_are_read_past_are_no_place_for_adapters(bench: Bench) -> None:
    network = bench.networks.fresh(bench.model(SOURCE))
    found = adapted_layers(network, LowRank(rank=1, alpha=1))
    assert found
    assert not [name for name in found if "attnpool" in name], "its linear layers are read past"
    assert {type(network.module.get_submodule(name)) for name in found} == {torch.nn.Conv2d}


def test_convolutions_learn_where_there_is_no_linear_layer_and_come_back_merged(bench: Bench) -> None:
    model, data, tools = (
        bench.model(SOURCE),
        bench.data(),
        bench.tools(recipe=IMAGES.model_copy(update={"low_rank": None})),
    )
    artifact = tools.tune(model, data.train, rank=2)
    network, base = bench.networks.get(model.tuned(artifact)), bench.networks.get(model)
    changed = {
        name
        for name, value in network.module.state_dict().items()
        if not torch.equal(value, base.module.state_dict()[name])
    }
    assert changed == set(artifact.tensors())
    assert {base.module.get_parameter(name).ndim for name in changed} == {4}
    assert artifact.manifest()["recipe"]["low_rank"] == {"rank": 2, "alpha": 4, "dropout": 0.0, "layers": []}


# --- what it costs ---


def test_training_adapters_costs_less_than_training_all() -> None:
    def price(low_rank: LowRank | None) -> int:
        network = speaking("llama")[1]
        network.module = network.module.to("meta")
        found = training_price(network, low_rank)
        assert not found.uncounted
        flops = found.of(Work(lengths=Counter({12: 4}), rows=40))
        assert flops is not None
        return flops

    full, few, fewer = price(None), price(LowRank(rank=2, alpha=8)), price(LowRank(rank=1, alpha=1))
    assert fewer < few < full
    assert fewer > full / 2, "the backward pass by inputs is still paid"


# --- through the tools ---


@pytest.fixture(scope="module")
def texts(registry: Any, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    store = Store(tmp_path_factory.mktemp("texts"))
    task = load_task("nano-facts", TaskSource(registry, store, None, quiet))
    networks = Networks(registry, Places(), store, "cpu", quiet)
    return Bench(registry, store, task, networks, CompositionMeter(networks), TEXT)


def test_an_embedded_language_model_is_tuned_by_adapters_and_loads_again(texts: Bench) -> None:
    model, data = texts.model("nano-llama-s-a"), texts.data()
    tools, full = texts.tools(), texts.tools(recipe=TEXT.model_copy(update={"low_rank": None}))
    artifact = tools.tune(model, data.train)
    network, base = texts.networks.get(model.tuned(artifact)), texts.networks.get(model)
    assert not [name for name, _ in network.module.named_parameters() if "lora_" in name], "merged"
    tensors, own = artifact.tensors(), base.module.state_dict()
    assert tensors
    assert not [name for name in tensors if "embed" in name or "lm_head" in name]
    for name, value in network.module.state_dict().items():
        assert torch.equal(value, tensors[name] if name in tensors else own[name])
    untouched = full.tune(model, data.train)
    costs = [one.ledger.term(0.0, {}).train_flops or 0 for one in (tools, full)]
    assert 0 < costs[0] < costs[1]
    assert artifact.key != untouched.key
    assert artifact.manifest()["recipe"]["low_rank"]["rank"] == LORA.rank
    rewarded = tools.tune(
        model, data.train, frozen={"source": model}, rule=WeightedSum(source=1.0, trained=1.0)
    ).tensors()
    assert rewarded.keys() == tensors.keys()


TINY_VIT = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 16},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}


@pytest.fixture(scope="module")
def vision(bench: Bench, tmp_path_factory: pytest.TempPathFactory) -> Network:
    """A tiny vision transformer of open_clip's, as the family builds it."""
    import open_clip

    path = tmp_path_factory.mktemp("architectures") / "tiny-adapted.json"
    path.write_text(json.dumps(TINY_VIT), encoding="utf-8")
    open_clip.add_model_config(path)
    half = (0.5, 0.5, 0.5)
    card = ModelCard(alias="tiny", family="clip", architecture="tiny-adapted", mean=half, std=half)
    return ClipFamily().build(card, OutputSpace(bench.task.space.labels), "random", Places())


def test_a_vision_transformer_learns_in_its_linear_layers_and_not_in_its_head(vision: Network, bench: Bench) -> None:
    examples = bench.task.roles["train"].subset(range(64))
    network = copy.deepcopy(vision)
    before = {name: value.clone() for name, value in network.module.state_dict().items()}
    order = batch_order(len(examples), IMAGES, 0)
    feed = FixedFeed(Inputs(network, examples), {}, torch.from_numpy(examples.labels))
    shared = shared_outputs([bench.model(SOURCE)])
    done = tune(network, feed, order, IMAGES, 0, None, shared, lambda done, total: None)
    assert {name.rsplit(".", 2)[-2] for name in done.tensors} == {"c_fc", "c_proj"}
    assert len(done.tensors) == 4
    assert not any(name.startswith(network.frozen) for name in done.tensors)
    for name, value in network.module.state_dict().items():
        if "lora_" not in name:
            assert torch.equal(value, before[name.replace(".base_layer", "")]), "the base stays"
    pixels = Inputs(network, examples)
    plain = copy.deepcopy(vision)
    places = dict(plain.module.named_parameters())
    with torch.no_grad():
        for name, value in done.tensors.items():
            places[name].copy_(value)
        batch = next(pixels.batches([torch.arange(8)]))
        assert close(plain.module(batch), network.module(batch))
        assert not close(plain.module(batch), vision.module(batch))


def test_layers_that_attention_reads_past_get_no_adapter(vision: Network) -> None:
    """nn.MultiheadAttention takes the weights of its output layer: an adapter there would learn nothing."""
    found = adapted_layers(vision, LORA)
    assert found
    assert not [name for name in found if "attn" in name]
