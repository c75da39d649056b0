"""Prices as polynomials: equal to direct counts at any length, to published numbers, and to each other's sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prt_bench.api import Artifact, Composition, Network, Places, TextNetwork, TokenBatch, Vocabulary, WeightedSum
from prt_bench.costs import CompositionMeter
from prt_bench.families.causal_lm import CausalFamily
from prt_bench.feeds import Work
from prt_bench.meters.flops import count_forward, count_training, counted
from prt_bench.meters.pricing import forward_price, training_price
from prt_bench.meters.queries import TextQuery
from prt_bench.models import model_for
from prt_bench.networks import Networks
from prt_bench.records import ModelCard
from prt_bench.registry import Registry
from prt_bench.store import Store
from prt_bench.task_spec import LowRank
from prt_bench.work import Price
from tests.conftest import quiet

META = torch.device("meta")
LLAMA = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 50,
    "max_position_embeddings": 4096,
}


@cache
def _network(architecture: str, config: tuple[tuple[str, Any], ...]) -> TextNetwork:
    card = ModelCard(alias="any", family="causal-lm", architecture=architecture, config=dict(config))
    return CausalFamily().build(card, Vocabulary(("",) * dict(config)["vocab_size"]), "meta", Places())


def network(architecture: str = "LlamaForCausalLM", **changes: Any) -> TextNetwork:
    own: Mapping[str, Any] = {**LLAMA, **changes}
    if architecture == "GPT2LMHeadModel":
        own = {"vocab_size": 50, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 4096}
    return _network(architecture, tuple(own.items()))


def tokens(batch: int, length: int, rows: int | None = 1, past: Any = None) -> TokenBatch:
    ids = torch.zeros(batch, length, dtype=torch.long, device=META)
    return TokenBatch(ids, rows=None if rows is None else torch.arange(rows, device=META), past=past)


def closed_form(length: int, rows: int, config: Mapping[str, Any]) -> int:
    """Multiply-adds of a Llama, twice."""
    width, hidden, heads = config["hidden_size"], config["intermediate_size"], config["num_attention_heads"]
    each = config.get("head_dim", width // heads)
    keys = config["num_key_value_heads"] * each
    layer = length * (2 * width * heads * each + 2 * width * keys + 3 * width * hidden) + 2 * length**2 * heads * each
    return 2 * (config["num_hidden_layers"] * layer + rows * width * config["vocab_size"])


# --- polynomials against counts ---


@given(
    layers=st.integers(1, 3),
    heads=st.sampled_from([(2, 1), (4, 2), (4, 4)]),
    each=st.sampled_from([4, 8]),
    hidden=st.integers(5, 40),
    vocabulary=st.integers(3, 70),
    length=st.integers(1, 70),
    rows=st.integers(1, 5),
)
@settings(deadline=None, max_examples=12)
def test_a_price_is_the_count_at_any_length_and_the_closed_form(
    layers: int, heads: tuple[int, int], each: int, hidden: int, vocabulary: int, length: int, rows: int
) -> None:
    config = {
        **LLAMA,
        "num_hidden_layers": layers,
        "num_attention_heads": heads[0],
        "num_key_value_heads": heads[1],
        "hidden_size": heads[0] * each,
        "intermediate_size": hidden,
        "vocab_size": vocabulary,
    }
    made, rows = network(**config), min(rows, length)
    price = forward_price(made)
    found = price.of(Work(lengths=Counter({length: 1}), rows=rows))
    assert found == count_forward(made, tokens(1, length, rows)).flops == closed_form(length, rows, config)


@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "Qwen2ForCausalLM", "GPT2LMHeadModel"])
def test_a_price_of_many_texts_is_the_sum_of_counts(architecture: str) -> None:
    made = network(architecture)
    price = forward_price(made)
    work = Work(lengths=Counter({5: 3, 33: 2, 1: 1}), rows=3 * 2 + 2 * 7 + 1)
    parts = [
        count_forward(made, tokens(batch, length, rows)) for batch, length, rows in ((3, 5, 6), (2, 33, 14), (1, 1, 1))
    ]
    assert not any(part.uncounted for part in parts)
    assert price.of(work) == sum(part.flops for part in parts)
    assert price.of(Work()) == 0
    last = count_forward(made, tokens(2, 9, None))
    assert price.of(Work(lengths=Counter({9: 2}), rows=2)) == last.flops, "no rows named: the last of each text"


@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "Qwen2ForCausalLM", "GPT2LMHeadModel"])
@pytest.mark.parametrize(("prompt", "output"), [(1, 1), (7, 2), (12, 5), (40, 9)])
def test_a_request_is_the_count_of_decoding_with_kept_keys_and_values(
    architecture: str, prompt: int, output: int
) -> None:
    made = network(architecture)
    past = made.new_past()
    with torch.no_grad():
        first = counted(lambda: made.module(tokens(1, prompt, None, past)))
        steps = [counted(lambda: made.module(tokens(1, 1, None, past))).flops for _ in range(output - 1)]
    prefill, per_token = forward_price(made).request(prompt, output)
    assert prefill == first.flops
    assert not first.uncounted
    if steps:
        # A mean is rounded to a whole number.
        assert per_token == pytest.approx(sum(steps) / len(steps), abs=0.5)
        assert steps == sorted(set(steps)), "each further token attends to one more"
    flops = TextQuery(prompt, output).flops(forward_price(made))
    assert (flops.prefill, flops.per_token) == (prefill, per_token)
    assert flops.total == prefill + (output - 1) * per_token
    assert flops.total == pytest.approx(first.flops + sum(steps), abs=output / 2)


def test_a_query_says_what_it_is() -> None:
    query = TextQuery(24, 4)
    assert (query.unit, query.rows, query.kept_tokens) == ("request", 4, 27)
    assert query.shape() == {"prompt_tokens": 24, "output_tokens": 4}
    unknown = TextQuery(24, 4).flops(Price(uncounted=("aten.strange",)))
    assert (unknown.total, unknown.prefill, unknown.per_token) == (None, None, None)
    assert Price(uncounted=("aten.strange",)).of(Work(images=1)) is None


# --- published numbers ---


@pytest.mark.parametrize(("rows", "tera"), [(1, 30.79), (2048, 32.94)])
def test_llama_3_8b_reads_2048_tokens_at_its_published_price(rows: int, tera: float, registry: Registry) -> None:
    card = registry.card("llama3-8b")
    price = forward_price(CausalFamily().build(card, Vocabulary(("",) * 128_256), "meta", Places()))
    flops = price.of(Work(lengths=Counter({2048: 1}), rows=rows))
    assert flops is not None
    assert round(flops / 1e12, 2) == tera
    assert flops == closed_form(2048, rows, card.config)
    if rows == 1:
        assert flops == price.request(2048, 9)[0]


def test_qwen_2_5_reads_at_the_price_of_its_shape(registry: Registry) -> None:
    card = registry.card("qwen2.5-0.5b")
    made = CausalFamily().build(card, Vocabulary(("",) * 151_936), "meta", Places())
    price = forward_price(made)
    # 24 layers of 14.9 M weights and attention over 2,048 tokens, and a matrix of 151,936 rows.
    assert (price.token, price.pair, price.row) == (2 * 24 * 14_909_440, 2 * 24 * 2 * 896, 2 * 896 * 151_936)
    for rows, expected in ((1, 1_826_707_111_936), (2048, 2_384_042_393_600)):
        work = Work(lengths=Counter({2048: 1}), rows=rows)
        assert price.of(work) == closed_form(2048, rows, card.config) == expected


# --- training ---


@pytest.mark.parametrize("architecture", ["LlamaForCausalLM", "Qwen2ForCausalLM", "GPT2LMHeadModel"])
def test_training_costs_three_passes_less_what_embeddings_need_not(architecture: str) -> None:
    made = network(architecture)
    once, both = forward_price(made), training_price(network(architecture))
    assert not both.uncounted
    work = Work(lengths=Counter({40: 4}), rows=60)
    trained, read = both.of(work), once.of(work)
    assert trained is not None
    assert read is not None
    assert 2.95 < trained / read <= 3.1
    assert both.row == 3 * once.row, "the output matrix forward, and backward by inputs and by weights"
    direct = count_training(network(architecture), tokens(1, 40, 15))
    assert both.of(Work(lengths=Counter({40: 1}), rows=15)) == direct.flops


def test_checkpointing_adds_exactly_one_forward_pass() -> None:
    once, plain, again = (
        forward_price(network()),
        training_price(network()),
        training_price(network(), checkpointing=True),
    )
    for work in (Work(lengths=Counter({17: 3}), rows=5), Work(lengths=Counter({200: 1}), rows=200)):
        prices = [price.of(work) for price in (again, plain, once)]
        assert prices[0] == (prices[1] or 0) + (prices[2] or 0)


def test_training_few_costs_less_than_training_all() -> None:
    work = Work(lengths=Counter({40: 4}), rows=60)
    full = training_price(network()).of(work) or 0
    fresh = {"rms_norm_eps": 1e-6}
    few = training_price(network(**fresh), LowRank(rank=2, alpha=4)).of(work) or 0
    read = forward_price(network()).of(work) or 0
    assert read < few < full


# --- compositions ---


@pytest.fixture(scope="module")
def meter(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> CompositionMeter:
    store = Store(tmp_path_factory.mktemp("store"))
    return CompositionMeter(Networks(registry, Places(), store, "cpu", quiet))


def compositions(registry: Registry, source: str, target: str, weights: str = "real") -> dict[str, Composition]:
    """PRT, EFT and the source alone; what is tuned is another network than what is not."""
    tuned = Artifact("tuned", Path("tuned"))
    s, t = (model_for(name, Vocabulary(), registry, Places(), weights) for name in (source, target))  # type: ignore[arg-type]
    return {
        "prt": Composition({"target": t, "reward": s.tuned(tuned)}, WeightedSum(target=1.0, reward=1.0)),
        "eft": Composition(
            {"target": t, "tuned": s.tuned(tuned), "source": s}, WeightedSum(target=1.0, tuned=1.0, source=-1.0)
        ),
        "source": Composition({"source": s}, WeightedSum(source=1.0)),
        "target": Composition({"target": t}, WeightedSum(target=1.0)),
    }


@pytest.mark.parametrize("query", [TextQuery(24, 4), TextQuery(700, 1), TextQuery(1, 300)], ids=str)
def test_eft_costs_exactly_one_source_pass_more_than_prt(
    query: TextQuery, registry: Registry, meter: CompositionMeter
) -> None:
    found = {
        name: meter.measure(composition, query)[0]
        for name, composition in compositions(registry, "nano-llama-s-a", "nano-llama-m-b").items()
    }
    assert all(flops.total for flops in found.values())
    for part in ("total", "prefill", "per_token"):
        values = {name: getattr(flops, part) for name, flops in found.items()}
        assert values["eft"] - values["prt"] == values["source"], part
        assert values["prt"] == values["target"] + values["source"], part
    prt = found["prt"]
    assert prt.calls == {"target": 1.0, "reward": 1.0}
    assert prt.total == sum(value or 0 for value in prt.by_member.values()) + prt.rule
    columns = 640
    assert prt.rule_elementwise == columns * query.output_tokens, "one addition per token of the vocabulary and place"
    assert found["target"].rule_elementwise == 0


def test_the_price_of_a_request_is_that_of_its_members(registry: Registry, meter: CompositionMeter) -> None:
    composition = compositions(registry, "nano-llama-s-a", "nano-llama-m-b")["prt"]
    flops, parameters, _ = meter.measure(composition, TextQuery(24, 4))
    for name, model in composition.members.items():
        prefill, per_token = meter.price(model).request(24, 4)
        assert flops.by_member[name] == prefill + 3 * per_token
        network_: Network = CausalFamily().build(model.card, model.space, "meta", Places())
        assert parameters.by_member[name] == sum(value.numel() for value in network_.module.parameters())
        assert meter.parameters(model) == parameters.by_member[name]
    assert parameters.total == sum(parameters.by_member.values())


@pytest.mark.parametrize(
    ("source", "target", "weights"),
    [("nano-llama-s-a", "nano-llama-m-b", "real"), ("qwen2.5-0.5b", "llama3.2-1b", "random")],
)
def test_kept_bytes_are_two_numbers_per_layer_and_key_and_token(
    source: str, target: str, weights: str, registry: Registry, tmp_path: Any
) -> None:
    networks = Networks(registry, Places(), Store(tmp_path), "cpu", quiet, weights)  # type: ignore[arg-type]
    meter, query = CompositionMeter(networks), TextQuery(100, 28)
    expected = {}
    for name in (source, target):
        made: Any = CausalFamily().build(registry.card(name), Vocabulary(("",) * 640), "meta", Places())
        config = made.module.model.config
        each = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        expected[name] = 2 * config.num_hidden_layers * config.num_key_value_heads * each * 4 * query.kept_tokens
    for name, composition in compositions(registry, source, target, weights).items():
        if weights == "random" and name in ("prt", "eft"):
            continue  # two vocabularies
        memory = meter.measure(composition, query)[2]
        assert memory.kv == sum(expected[model.card.alias] for model in composition.members.values()), name


def test_a_network_that_is_two_members_runs_and_is_held_once(registry: Registry, meter: CompositionMeter) -> None:
    query = TextQuery(10, 10)
    found = compositions(registry, "nano-llama-s-a", "nano-llama-m-b")
    eft, prt = (meter.measure(found[name], query) for name in ("eft", "prt"))
    twice = dict(found["eft"].members) | {"tuned": found["eft"].members["source"]}
    flops, parameters, memory = meter.measure(Composition(twice, found["eft"].rule), query)
    assert (flops.total, parameters.total, memory) == (prt[0].total, prt[1].total, prt[2])
    assert flops.calls == {"target": 1.0, "tuned": 1.0, "source": 0.0}
    assert eft[2].weights > memory.weights
    assert (eft[2].kv or 0) > (memory.kv or 0)


def test_the_causal_half_is_what_a_decoder_needs(registry: Registry, meter: CompositionMeter) -> None:
    """Whole attention of T tokens is T² pairs, of which (T² + T) / 2 are not of later tokens."""
    composition = compositions(registry, "nano-llama-s-a", "nano-llama-m-b")["target"]
    (model,) = composition.members.values()
    price = meter.price(model)
    for prompt, output in ((40, 1), (7, 5)):
        flops = meter.measure(composition, TextQuery(prompt, output))[0]
        assert flops.total is not None
        assert flops.total - (flops.causal or 0) == price.pair * (prompt * (prompt - 1) // 2)
