"""Family `causal-lm`: folders as transformers writes them load to transformers' own outputs, or are refused by name."""

from __future__ import annotations

import copy
import json
import re
import string
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoModelForCausalLM, MistralConfig

from prt_bench.api import Composition, Model, ModelCard, OutputSpace, Places, TextNetwork, TokenBatch, Vocabulary
from prt_bench.api import WeightedSum as Sum
from prt_bench.composing import compose, shared_outputs
from prt_bench.errors import CellError, MissingError, RequestError
from prt_bench.families.causal_lm import CausalFamily
from prt_bench.families.clip import ClipFamily
from prt_bench.generation import Decoding, generate
from prt_bench.models import model_for
from prt_bench.networks import tunable
from prt_bench.registry import Registry
from tests.tiny_language import CONTEXT, END, KINDS, decoder, size, tokenizer

ARCHITECTURES = {
    "llama": "LlamaForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "gpt2": "GPT2LMHeadModel",
    "mistral": "MistralForCausalLM",
}
TOLERANCE = 2e-5


def made(kind: str, seed: int = 1) -> Any:
    """A tiny random decoder, of one architecture more than the others' tests need."""
    if kind != "mistral":
        return decoder(kind, seed)
    shape = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
    of_kind: Any = MistralConfig
    config = of_kind(
        vocab_size=size(), num_key_value_heads=2, max_position_embeddings=CONTEXT, sliding_window=5, **shape
    )
    config.eos_token_id = tokenizer().eos_token_id
    config.initializer_range = 0.4
    auto: Any = AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return auto.from_config(config, attn_implementation="sdpa", dtype=torch.float32).eval()


def written(root: Path, kind: str = "llama", sharded: bool = False, seed: int = 1) -> tuple[ModelCard, Places, Any]:
    """A folder that transformers wrote, the card for it, and the decoder that is in it."""
    model = made(kind, seed)
    folder = root / f"tiny-{kind}"
    folder.mkdir(parents=True)
    model.save_pretrained(folder, **({"max_shard_size": "15KB"} if sharded else {}))
    tokenizer().save_pretrained(folder)
    card = ModelCard(alias=folder.name, family="causal-lm", architecture=ARCHITECTURES[kind])
    return card, Places(weights_dir=root), model


def built(card: ModelCard, places: Places) -> TextNetwork:
    family = CausalFamily()
    return family.build(card, family.space(card, Vocabulary(), places), "real", places)


def sequences(*lengths: int, seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(size() - 2, (length,), generator=generator).tolist() for length in lengths]


def plainly(model: Any, tokens: Sequence[int]) -> torch.Tensor:
    """Logits (T, K) of one sequence by transformers alone."""
    with torch.no_grad():
        logits: torch.Tensor = model(torch.tensor([list(tokens)]), use_cache=False).logits[0]
    return logits


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.shape == other.shape and bool(
        (one - other).abs().max() <= TOLERANCE * max(1.0, float(other.abs().max()))
    )


def change(path: Path, **values: Any) -> None:
    found = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**found, **values}), encoding="utf-8")


@pytest.fixture(params=[(kind, sharded) for kind in ARCHITECTURES for sharded in (False, True)], ids=str)
def loaded(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[TextNetwork, Any]:
    kind, sharded = request.param
    card, places, model = written(tmp_path, kind, sharded)
    folder = tmp_path / card.alias
    assert (folder / "model.safetensors.index.json").is_file() == sharded
    assert len(list(folder.glob("*.safetensors"))) > 1 or not sharded
    return built(card, places), model


# --- what is loaded ---


def test_a_loaded_network_gives_transformers_own_logits(loaded: tuple[TextNetwork, Any]) -> None:
    network, model = loaded
    texts = sequences(9, 4, 6)
    alone = [plainly(model, text) for text in texts]
    assert max(float(logits.std()) for logits in alone) > 0.1, "far from uniform"
    with torch.no_grad():
        for text, logits in zip(texts, alone, strict=True):
            assert close(network.module(TokenBatch(torch.tensor([text]))), logits[-1:])
        # Padded on the left: the last token of each.
        left = torch.tensor([[7] * (9 - len(text)) + text for text in texts])
        mask = torch.tensor([[0] * (9 - len(text)) + [1] * len(text) for text in texts])
        assert close(network.module(TokenBatch(left, mask)), torch.stack([logits[-1] for logits in alone]))
        # Padded on the right: chosen rows, in the order asked for, one of them twice.
        right = torch.tensor([text + [7] * (9 - len(text)) for text in texts])
        wanted = [(2, 5), (0, 0), (1, 3), (0, 8), (2, 0), (0, 8)]
        rows = torch.tensor([row * 9 + column for row, column in wanted])
        chosen = torch.stack([alone[row][column] for row, column in wanted])
        assert close(network.module(TokenBatch(right, mask.flip(1), rows)), chosen)
        assert close(network.module(TokenBatch(right, None, rows)), chosen), "no token looks at what follows it"
        last = network.module(TokenBatch(torch.tensor(texts[:1])))
        assert close(last, alone[0][-1:]), "rows that were asked for once are not asked for again"


def test_reading_on_with_memory_gives_the_logits_of_reading_at_once(loaded: tuple[TextNetwork, Any]) -> None:
    network, model = loaded
    texts = sequences(11, 7, seed=3)
    left = torch.tensor([[0] * (11 - len(text)) + text for text in texts])
    mask = torch.tensor([[0] * (11 - len(text)) + [1] * len(text) for text in texts])
    past = network.new_past()
    assert past.nbytes == 0
    with torch.no_grad():
        for start, end in ((0, 6), (6, 7), (7, 9)):
            logits = network.module(TokenBatch(left[:, start:end], mask[:, :end], past=past))
        assert close(logits, torch.stack([plainly(model, texts[0][:9])[-1], plainly(model, texts[1][:5])[-1]]))
        past.keep(torch.tensor([1]))
        last = network.module(TokenBatch(left[1:, 9:], mask[1:], torch.tensor([1, 0]), past))
        assert close(last, plainly(model, texts[1])[[-1, -2]])


def test_weights_are_fp32_and_what_describes_the_network_is_the_folders(tmp_path: Path) -> None:
    card, places, _ = written(tmp_path)
    change(tmp_path / card.alias / "generation_config.json", eos_token_id=[3, 101])
    change(tmp_path / card.alias / "tokenizer_config.json", model_max_length=16)
    network = built(card, places)
    assert {parameter.dtype for parameter in network.module.parameters()} == {torch.float32}
    assert network.context_length == CONTEXT
    assert network.stop_ids == tuple(sorted({3, 101, tokenizer().eos_token_id}))
    text = "the rain " * 200
    assert network.tokenizer(text, truncation=True)["input_ids"] == tokenizer()(text)["input_ids"], "never cut"
    shorter = card.model_copy(update={"context_length": 8})
    assert built(shorter, places).context_length == 8


def test_half_precision_on_disk_is_single_in_memory(tmp_path: Path) -> None:
    card, places, _ = written(tmp_path)
    path = tmp_path / card.alias / "model.safetensors"
    halved = {name: value.bfloat16() for name, value in load_file(path).items()}
    save_file(halved, path, {"format": "pt"})
    found = dict(built(card, places).module.named_parameters())
    assert {value.dtype for value in found.values()} == {torch.float32}
    assert all(torch.equal(found[f"model.{name}"], value.float()) for name, value in halved.items())


def test_random_and_shapeless_networks_need_no_weights_and_draw_nothing_from_outside(registry: Registry) -> None:
    card = registry.card("qwen2.5-0.5b")
    small = {"hidden_size": 16, "num_hidden_layers": 1, "vocab_size": 40, "intermediate_size": 16}
    tiny = card.model_copy(update={"config": {**card.config, **small}})
    before = torch.get_rng_state()
    space = Vocabulary(("",) * 40)
    first, second = (CausalFamily().build(tiny, space, "random", Places()) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    for one, other in zip(first.module.parameters(), second.module.parameters(), strict=True):
        assert torch.equal(one, other)
    shapes = CausalFamily().build(tiny, space, "meta", Places())
    assert all(parameter.is_meta for parameter in shapes.module.parameters())
    assert shapes.module(TokenBatch(torch.zeros(2, 3, dtype=torch.long, device="meta"))).shape == (2, 40)


def test_weights_names_and_tokenizer_are_what_identifies_a_model(tmp_path: Path) -> None:
    card, places, _ = written(tmp_path, sharded=True)
    names = [path.name for path in CausalFamily().weight_files(card, places)]
    shards = sorted(path.name for path in (tmp_path / card.alias).glob("*.safetensors"))
    assert names == [*shards, "config.json", "tokenizer.json", "tokenizer_config.json"]


# --- deep copies, as training makes them ---


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_learns_by_itself_and_leaves_the_original_as_it_was(kind: str, tmp_path: Path) -> None:
    card, places, model = written(tmp_path, kind)
    network = built(card, places)
    network.module.requires_grad_(False)
    twin = copy.deepcopy(network)
    twin.module.requires_grad_(True)
    (text,) = sequences(6)
    batch = TokenBatch(torch.tensor([text]), rows=torch.tensor([1, 4]))
    logits = twin.module(batch)
    assert close(logits.detach(), plainly(model, text)[[1, 4]])
    logits.square().sum().backward()
    learned = {name for name, parameter in twin.module.named_parameters() if parameter.grad is not None}
    assert learned == set(tunable(twin))
    assert all(parameter.grad is None for parameter in network.module.parameters())
    with torch.no_grad():
        for parameter in twin.module.parameters():
            parameter.add_(0.1)
        assert close(network.module(TokenBatch(torch.tensor([text]))), plainly(model, text)[-1:]), "its own last token"
        assert not close(twin.module(batch), plainly(model, text)[[1, 4]])


@pytest.mark.filterwarnings("ignore:.*checkpointing_enable:FutureWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_chosen_rows_is_transformers_own(kind: str, tmp_path: Path) -> None:
    card, places, model = written(tmp_path, kind)
    for checkpointed in (False, True):
        network = built(card, places)
        network.module.train()
        for part in network.module.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
        if checkpointed:
            network.module.checkpoint()  # type: ignore[operator]
        (text,) = sequences(6)
        rows = torch.tensor([0, 3, 5])
        network.module(TokenBatch(torch.tensor([text]), rows=rows)).square().sum().backward()
        model.zero_grad()
        model(torch.tensor([text])).logits[0][rows].square().sum().backward()
        expected = dict(model.named_parameters())
        for name, parameter in network.module.named_parameters():
            assert parameter.grad is not None, name
            assert close(parameter.grad, expected[name.removeprefix("model.")].grad), name


# --- what is refused ---


def refusal(card: ModelCard, places: Places) -> str:
    with pytest.raises(RequestError) as error:
        built(card, places)
    text = str(error.value)
    assert "\n" not in text
    assert text.startswith(f"model {card.alias}")
    return text


def planted(folder: Path) -> Path:
    """Code in every place from which some version of some library has run it; it leaves a mark."""
    mark = folder.parent / "mark"
    code = f"open({str(mark)!r}, 'w').close()\n"
    (folder / "custom_generate").mkdir()
    for name in ("modeling_evil.py", "tokenization_evil.py", "custom_generate/generate.py", "__init__.py"):
        (folder / name).write_text(code, encoding="utf-8")
    change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["tokenization_evil.Evil", None]})
    change(folder / "generation_config.json", custom_generate="./custom_generate")
    return mark


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("auto_map", {"AutoModelForCausalLM": "modeling_evil.Evil", "AutoConfig": "modeling_evil.Config"}),
        ("custom_generate", "custom_generate"),
        ("_attn_implementation_internal", "somebody/kernels"),
        ("_experts_implementation_internal", "somebody/kernels"),
    ],
)
def test_a_configuration_that_names_code_is_refused_and_none_is_run(key: str, value: Any, tmp_path: Path) -> None:
    card, places, _ = written(tmp_path)
    mark = planted(tmp_path / card.alias)
    change(tmp_path / card.alias / "config.json", **{key: value})
    assert f"'{key}'" in refusal(card, places)
    assert not mark.exists()


def test_code_beside_a_plain_configuration_is_not_run(tmp_path: Path) -> None:
    card, places, model = written(tmp_path)
    mark = planted(tmp_path / card.alias)
    (text,) = sequences(5)
    network = built(card, places)
    with torch.no_grad():
        assert close(network.module(TokenBatch(torch.tensor([text]))), plainly(model, text)[-1:])
    assert not mark.exists()


def test_pickled_weights_are_never_read(tmp_path: Path) -> None:
    card, places, model = written(tmp_path)
    folder = tmp_path / card.alias
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(MissingError, match=r"no weights .*model\.safetensors"):
        CausalFamily().weight_files(card, places)
    assert "tiny-llama" in refusal(card, places)


def test_an_unknown_architecture_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    card, places, _ = written(tmp_path)
    change(tmp_path / card.alias / "config.json", architectures=["FalconForCausalLM"])
    text = refusal(card.model_copy(update={"architecture": "FalconForCausalLM"}), places)
    assert "FalconForCausalLM is not known here" in text
    assert "LlamaForCausalLM" in text


@pytest.mark.parametrize(
    ("on_card", "message"),
    [
        ({"architecture": "Qwen2ForCausalLM"}, "architectures is ['LlamaForCausalLM']"),
        ({"config": {"hidden_size": 64}}, "hidden_size is 64 on the card and 32 in"),
        ({"config": {"hidden_size": 32, "num_key_value_heads": 4}}, "num_key_value_heads is 4 on the card and 2 in"),
        ({"config": {"vocab_size": 104}}, "vocab_size is 104 on the card and 103 in"),
    ],
)
def test_a_card_that_says_otherwise_than_the_folder_is_refused_by_key(
    on_card: dict[str, Any], message: str, tmp_path: Path
) -> None:
    card, places, _ = written(tmp_path)
    built(card.model_copy(update={"config": {"hidden_size": 32, "num_key_value_heads": 2}}), places)
    assert message in refusal(card.model_copy(update=on_card), places)


Edit = Callable[[dict[str, torch.Tensor]], None]
NORM = "model.layers.1.input_layernorm.weight"


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda tensors: tensors.pop(NORM), f"missing keys, the first {NORM}"),
        (lambda tensors: tensors.update({"model.layers.2.mlp.bias": torch.zeros(3)}), "model.layers.2.mlp.bias"),
        (lambda tensors: tensors.update({NORM: torch.zeros(31)}), f"mismatched keys, the first {NORM}"),
    ],
    ids=["missing", "unexpected", "misshapen"],
)
@pytest.mark.parametrize("sharded", [False, True])
def test_weights_that_are_not_the_configurations_are_refused_by_tensor(
    edit: Edit, message: str, sharded: bool, tmp_path: Path
) -> None:
    card, places, _ = written(tmp_path, sharded=sharded)
    folder = tmp_path / card.alias
    files = sorted(folder.glob("*.safetensors"))
    (path,) = [path for path in files if NORM in load_file(path)]
    tensors = load_file(path)
    edit(tensors)
    save_file(tensors, path, {"format": "pt"})
    if sharded:
        index = json.loads((folder / "model.safetensors.index.json").read_text(encoding="utf-8"))
        places_of = {name: file for name, file in index["weight_map"].items() if file != path.name or name in tensors}
        places_of |= dict.fromkeys(tensors, path.name)
        change(folder / "model.safetensors.index.json", weight_map=places_of)
    assert message in refusal(card, places)


def test_weights_cut_short_are_refused_in_one_line(tmp_path: Path) -> None:
    card, places, _ = written(tmp_path)
    path = tmp_path / card.alias / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    assert "fetch the model again" in refusal(card, places)


def test_weights_of_another_digest_than_pinned_are_refused(tmp_path: Path) -> None:
    card, places, _ = written(tmp_path)
    pinned = card.model_copy(update={"sha256": "0" * 64})
    assert "where 000000000000… is pinned" in refusal(pinned, places)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    card, places, _ = written(tmp_path, sharded=True)
    shard = sorted((tmp_path / card.alias).glob("*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(MissingError, match=rf"model {card.alias}: .*{re.escape(shard.name)}"):
        CausalFamily().weight_files(card, places)


def test_a_tokenizer_with_more_tokens_than_rows_is_refused(tmp_path: Path) -> None:
    card, places, _ = written(tmp_path)
    larger = copy.deepcopy(tokenizer())
    larger.add_tokens(["one more"])
    larger.save_pretrained(tmp_path / card.alias)
    assert f"token {size()} of" in refusal(card, places)


def test_tasks_and_models_of_other_kinds_are_refused_both_ways(registry: Registry) -> None:
    classes = OutputSpace(("cat", "dog"))
    with pytest.raises(RequestError, match=r"nano-llama-s-a answers with text, .*class labels.*family clip"):
        CausalFamily().space(registry.card("nano-llama-s-a"), classes, Places())
    with pytest.raises(RequestError, match=r"nano-rn16-a answers with class labels, .*text.*family causal-lm"):
        ClipFamily().space(registry.card("nano-rn16-a"), Vocabulary(), Places())
    for alias, space in (("nano-llama-s-a", classes), ("nano-rn16-a", Vocabulary())):
        with pytest.raises(RequestError, match=alias):
            model_for(alias, space, registry, Places())


def test_a_card_without_files_names_what_was_tried_and_the_ways_out(registry: Registry, tmp_path: Path) -> None:
    places = Places(tmp_path / "mine", tmp_path / "store")
    for ask in (CausalFamily().weight_files, lambda card, places: CausalFamily().space(card, Vocabulary(), places)):
        with pytest.raises(MissingError) as error:
            ask(registry.card("qwen2.5-0.5b"), places)
        text = str(error.value)
        for part in (
            "qwen2.5-0.5b",
            str(tmp_path / "mine"),
            str(tmp_path / "store"),
            "prt-bench fetch",
            "--weights-dir",
        ):
            assert part in text
        assert "\n" not in text


# --- vocabularies ---


def described(root: Path, alias: str, tokens: Tokenizer, rows: int) -> Model:
    """A model of which only what its outputs mean is there."""
    folder = root / alias
    folder.mkdir()
    tokens.save(str(folder / "tokenizer.json"))
    config = {"architectures": ["LlamaForCausalLM"], "vocab_size": rows}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    card = ModelCard(alias=alias, family="causal-lm", architecture="LlamaForCausalLM")
    return Model(card, CausalFamily().space(card, Vocabulary(), Places(weights_dir=root)), alias)


ORDINARY = [*string.digits, *string.ascii_letters]
FIRST_CONTROL = len(ORDINARY)


def token_file(special: Sequence[str], plain: Sequence[str] = (), ordinary: Sequence[str] = ORDINARY) -> Tokenizer:
    """Ordinary tokens, then added ones, as real tokenizers have them; `plain` are not called special."""
    made = Tokenizer(models.BPE({token: index for index, token in enumerate(ordinary)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(list(special))
    made.add_tokens([AddedToken(token, special=False) for token in plain])
    return made


def reserved(*numbers: int) -> list[str]:
    return [f"<|reserved_special_token_{number}|>" for number in numbers]


EDGES = ["<|begin_of_text|>", "<|end_of_text|>"]
HEADER = ["<|start_header_id|>", "<|end_header_id|>"]
LLAMA_3 = [*EDGES, *reserved(0, 1, 2, 3), *HEADER, *reserved(4), "<|eot_id|>", *reserved(*range(5, 11))]
LLAMA_3_2 = [
    *(*EDGES, *reserved(0, 1), "<|finetune_right_pad_id|>", *reserved(2), *HEADER, "<|eom_id|>", "<|eot_id|>"),
    *("<|python_tag|>", *reserved(*range(3, 8))),
]
QWEN_2 = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
ONLY_2_5 = [f"<|vision_{number}|>" for number in range(11)]
TOOLS = ["<tool_call>", "</tool_call>", *(f"<|fim_{number}|>" for number in range(6))]


def test_llama_3_and_3_2_pair_and_control_tokens_that_moved_are_masked(tmp_path: Path) -> None:
    assert len(LLAMA_3) == len(LLAMA_3_2) == 16
    old, new = (
        described(tmp_path, alias, token_file(special), FIRST_CONTROL + 16)
        for alias, special in (("llama3", LLAMA_3), ("llama3.2", LLAMA_3_2))
    )
    for members in ([old, new], [new, old, new]):
        shared = shared_outputs(members)
        assert shared.size == FIRST_CONTROL + 10, "up to <|eot_id|>, which both have"
        assert shared.masked == tuple(FIRST_CONTROL + place for place in (4, 5, 8))
        assert shared.left_out == 6
        assert shared.has(FIRST_CONTROL + 9)
        assert not shared.has(FIRST_CONTROL + 4)
        assert not shared.has(FIRST_CONTROL + 10)
    alone = shared_outputs([old])
    assert (alone.size, alone.masked, alone.left_out) == (FIRST_CONTROL + 16, (), 0)


def test_qwen_2_and_2_5_pair_whatever_their_padding(tmp_path: Path) -> None:
    old = described(tmp_path, "qwen2", token_file(QWEN_2), 96)
    small, large = (
        described(tmp_path, f"qwen2.5-{rows}", token_file([*QWEN_2, *ONLY_2_5], TOOLS), rows) for rows in (96, 104)
    )
    used = FIRST_CONTROL + len(QWEN_2)
    for members, size_, left_out in (
        ([old, small], used, 96 - used),
        ([large, old], used, 104 - used),
        ([small, large], used + 19, 104 - used - 19),
        ([old, small, large], used, 104 - used),
        ([large], used + 19, 104 - used - 19),
        ([small, small], used + 19, 96 - used - 19),
    ):
        shared = shared_outputs(members)
        assert (shared.size, shared.masked, shared.left_out) == (size_, (), left_out)
    assert len(small.space.labels) == 96
    assert small.space.labels[used + 19 :] == ("",) * (96 - used - 19)


def test_a_foreign_tokenizer_is_refused_with_the_first_difference(tmp_path: Path) -> None:
    swapped = [*ORDINARY]
    swapped[3], swapped[40] = swapped[40], swapped[3]
    mine = described(tmp_path, "mine", token_file(QWEN_2), 80)
    other = described(tmp_path, "other", token_file(QWEN_2, ordinary=swapped), 80)
    longer = described(tmp_path, "longer", token_file(QWEN_2, ordinary=[*ORDINARY, "!"]), 80)
    expected = f"members mine and other have different output spaces: token 3 is '3' against {swapped[3]!r}"
    with pytest.raises(CellError, match=re.escape(expected)):
        shared_outputs([mine, mine, other])
    with pytest.raises(CellError, match=rf"token {FIRST_CONTROL} is '<\|endoftext\|>' against '!'"):
        shared_outputs([mine, longer])
    with pytest.raises(CellError, match="tokens against class labels"):
        shared_outputs([mine, Model(mine.card, OutputSpace(("a", "b")), "classes")])
    with pytest.raises(CellError, match="class labels against tokens"):
        shared_outputs([Model(mine.card, OutputSpace(("a", "b")), "classes"), mine])


@st.composite
def pairs_of_vocabularies(draw: st.DrawFn) -> tuple[list[Vocabulary], int]:
    """Two or three vocabularies of one kind, which differ in control tokens, gaps and padding alone."""
    ordinary = draw(st.integers(1, 6))
    found = []
    for _ in range(draw(st.integers(2, 3))):
        labels = [f"t{index}" for index in range(ordinary)]
        labels = [label if draw(st.booleans()) else "" for label in labels]
        labels[0] = "t0"
        controls = draw(st.lists(st.sampled_from(["<a>", "<b>", "<c>", ""]), max_size=5))
        control = frozenset(range(ordinary, ordinary + len(controls)))
        padding = [""] * draw(st.integers(0, 3))
        found.append(Vocabulary((*labels, *controls, *padding), control=control))
    return found, ordinary


@given(pairs_of_vocabularies(), st.integers(0, 2**31))
@settings(deadline=None)
def test_no_probability_falls_on_a_token_that_members_do_not_share(
    found: tuple[list[Vocabulary], int], seed: int
) -> None:
    spaces, _ = found
    card = ModelCard(alias="any", family="causal-lm", architecture="LlamaForCausalLM")
    members = {f"m{number}": Model(card, space, f"{number}") for number, space in enumerate(spaces)}
    generator = torch.Generator().manual_seed(seed)
    outputs = {name: 30 * torch.randn(4, model.space.size, generator=generator) for name, model in members.items()}
    weights = {name: (-1.0) ** number for number, name in enumerate(members)}
    combined = compose(Composition(members, Sum(**weights)), lambda name, _: outputs[name])
    chances = combined.softmax(-1)
    shared = shared_outputs(list(members.values()))
    total = max(space.size for space in spaces)
    for column in range(total):
        names = [space.labels[column] if column < space.size else "" for space in spaces]
        common = names[0] != "" and len(set(names)) == 1
        assert shared.has(column) is common
        if column < combined.shape[1] and not common:
            assert (chances[:, column] == 0).all()
    assert combined.shape[1] + shared.left_out == total
    assert torch.allclose(chances.sum(-1), torch.ones(4))


def test_a_masked_token_is_never_written(tmp_path: Path) -> None:
    """Two decoders whose likeliest next token is, for both, one that only means the same to each alone."""
    card, places, _ = written(tmp_path / "mine")
    folder = tmp_path / "theirs"
    other_card, other_places, _ = written(folder, seed=2)
    renamed = json.loads((folder / card.alias / "tokenizer.json").read_text(encoding="utf-8"))
    for token in renamed["added_tokens"]:
        token["content"] = token["content"].replace(END, "<over>")
    (folder / card.alias / "tokenizer.json").write_text(json.dumps(renamed), encoding="utf-8")
    networks: Mapping[str, TextNetwork] = {"mine": built(card, places), "theirs": built(other_card, other_places)}
    spaces = {
        "mine": CausalFamily().space(card, Vocabulary(), places),
        "theirs": CausalFamily().space(other_card, Vocabulary(), other_places),
    }
    models_ = {name: Model(card, space, name) for name, space in spaces.items()}
    end = size() - 1
    for network in networks.values():
        inner: Any = network.module
        with torch.no_grad():
            inner.model.get_output_embeddings().register_forward_hook(
                lambda _, __, out: out + 50 * torch.nn.functional.one_hot(torch.tensor(end), out.shape[-1])
            )
    prompts = sequences(4, 6)
    for decoding in (Decoding(5), Decoding(5, temperature=3.0, seed=4)):
        for network in networks.values():
            network.stop_ids = ()
        alone = generate(
            Composition({"mine": models_["mine"]}, Sum(mine=1.0)), lambda m: networks[m.identity], prompts, decoding
        )
        assert all(end in output for output in alone)
        both = Composition(models_, Sum(mine=1.0, theirs=1.0))
        out = generate(both, lambda model: networks[model.identity], prompts, decoding)
        assert all(len(output) == 5 and end not in output for output in out)


# --- vocabularies that nobody has looked at ---

QWENS = ("qwen2-0.5b", "qwen2.5-0.5b", "qwen2.5-7b", "qwen2.5-14b")
LLAMAS = ("llama3-8b", "llama3.1-8b", "llama3.2-1b")


def test_cards_of_one_vocabulary_pair_by_name_before_their_files_are_there(registry: Registry) -> None:
    def model(alias: str) -> Model:
        return model_for(alias, Vocabulary(), registry, Places(), "random")

    shared = shared_outputs([model(alias) for alias in QWENS])
    assert (shared.size, shared.masked, shared.left_out) == (151_646, (), 152_064 - 151_646)
    assert shared_outputs([model(alias) for alias in QWENS[1:]]).size == 151_665
    assert shared_outputs([model(alias) for alias in LLAMAS]).size == 128_256
    with pytest.raises(CellError, match=r"members qwen2-0\.5b and llama3-8b have different output spaces: token 0"):
        shared_outputs([model("qwen2-0.5b"), model("llama3-8b")])
    with pytest.raises(CellError, match=r"members nano-llama-s-a and qwen2-0\.5b"):
        shared_outputs([model("nano-llama-s-a"), model("qwen2-0.5b")])


def test_what_is_assumed_without_files_is_asked_for(registry: Registry) -> None:
    card = registry.card("qwen2.5-0.5b")
    assumed = CausalFamily().space(card, Vocabulary(), Places(), assume=True)
    assert assumed.size == 151_936
    with pytest.raises(MissingError):
        CausalFamily().space(card.model_copy(update={"vocabulary": None}), Vocabulary(), Places(), assume=True)
    with pytest.raises(MissingError, match=r"qwen2\.5-0\.5b"):
        model_for("qwen2.5-0.5b", Vocabulary(), registry, Places())
    assert model_for("qwen2.5-0.5b", Vocabulary(), registry, Places(), assume=True).space == assumed


def test_embedded_models_need_no_folder_and_share_all_tokens(registry: Registry) -> None:
    one, other = (model_for(name, Vocabulary(), registry, Places()) for name in ("nano-llama-s-a", "nano-llama-m-b"))
    shared = shared_outputs([one, other])
    assert (shared.masked, shared.left_out) == ((), 0)
    assert shared.size == one.space.size
