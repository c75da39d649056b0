"""Language models in the hub's own layout and of a few thousand parameters, and what makes runs on them short.

Vocabularies are shaped as their families': ordinary tokens shared within one, control tokens of each member under their
real names, padding rows. Loaded by the plugin file too, which is why nothing here needs another module of the tests.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from prt_bench.records import ModelCard

__all__ = ["control", "is_sharded", "ordinary", "reduce_all", "reduced", "rows_of", "write_model", "write_punkt"]

LLAMA_3 = {0: "begin_of_text", 1: "end_of_text", 6: "start_header_id", 7: "end_header_id", 9: "eot_id"}
LLAMA_3_1 = {**LLAMA_3, 4: "finetune_right_pad_id", 8: "eom_id", 10: "python_tag"}
LLAMA_CONTROL = 16
"""256 in the real ones, all but these named as reserved, and counted on from the last one that was."""
QWEN_2 = ("endoftext", "im_start", "im_end")
QWEN_2_5_MARKS = (
    *("object_ref_start", "object_ref_end", "box_start", "box_end", "quad_start", "quad_end", "vision_start"),
    *("vision_end", "vision_pad", "image_pad", "video_pad"),
)
QWEN_2_5 = (
    *(f"<|{name}|>" for name in (*QWEN_2, *QWEN_2_5_MARKS)),
    *("<tool_call>", "</tool_call>"),
    *(f"<|{name}|>" for name in ("fim_prefix", "fim_middle", "fim_suffix", "fim_pad", "repo_name", "file_sep")),
)
FALCON_CONTROL = (*(f">>{name}<<" for name in ("TITLE", "ABSTRACT", "INTRODUCTION", "SUMMARY")), "<|endoftext|>")
WORDS = {
    "llama2": "▁the ▁of ▁a ▁box ▁is ▁Answer ▁Question ing er 12",
    "llama3": "Ġthe Ġof Ġa Ġbox Ġis Answer Question ing er 12",
    "qwen2": "Ġis Ġa Ġthe Ġpens Ġmany How Answer Question in ed",
    "falcon3": "Ġa Ġan Ġthe Ġhow Ġwhich Answer Question es ly",
}
"""What each family's merges spell."""
PADDING = {"llama2": 0, "llama3": 0, "falcon3": 0, "qwen2": 10}
MORE_PADDING = 8
"""The larger of Qwen2.5 have more rows."""
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
"""Of Llama 3; Qwen's takes digits one by one."""
SPREAD = 0.3
"""Standard deviation of weights: with transformers' own every token would be as likely as any other."""
NEW_TOKENS, VALIDATION = 4, 3
QUERY = {"prompt_tokens": 12, "output_tokens": 3}


# --- cards ---


def family_of(card: ModelCard) -> str:
    """Which vocabulary it has."""
    if card.vocabulary is None:
        raise ValueError(f"{card.alias}: its card names no vocabulary")
    return card.vocabulary.name


def rows_of(card: ModelCard) -> int:
    """Rows of its output matrix here: more than tokens where the real one has more."""
    family = family_of(card)
    if family != "qwen2":
        return len(_inner(family, card.alias).get_vocab())
    more = MORE_PADDING if card.config["vocab_size"] > 152_000 else 0
    return len(ordinary(family)) + len(QWEN_2_5) + PADDING[family] + more


def reduced(card: ModelCard) -> ModelCard:
    """The card of the stand-in: the same but for sizes, and for ids of tokens that moved with them."""
    words, config = _inner(family_of(card), card.alias).get_vocab(), dict(card.config)
    tied = config["num_attention_heads"] == config["num_key_value_heads"]
    config |= {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4}
    config |= {"num_key_value_heads": 4 if tied else 2, "vocab_size": rows_of(card)}
    # The larger of a pair is deeper too.
    config["num_hidden_layers"] = 1 if card.config["num_hidden_layers"] < 28 else 2
    if "head_dim" in config:
        config["head_dim"] = 4
    for name, token in zip(("bos_token_id", "eos_token_id"), _ends(card.alias), strict=True):
        if name in config:
            config[name] = words[token]
    assert card.vocabulary is not None
    vocabulary = card.vocabulary.model_copy(update={"rows": rows_of(card), "tokens": len(words)})
    return card.model_copy(update={"config": config, "vocabulary": vocabulary})


def is_sharded(card: ModelCard) -> bool:
    """Whether the weights are in more files than one, with an index: as of the larger real ones."""
    return (card.size_bytes or 0) > 5_000_000_000


def _ends(alias: str) -> tuple[str, str]:
    """The tokens that begin and that end a text by the config of the real ones."""
    if alias.startswith("llama2"):
        return "<s>", "</s>"
    if alias.startswith("llama3"):
        return "<|begin_of_text|>", "<|end_of_text|>"
    return "<|endoftext|>", "<|endoftext|>"


# --- vocabularies ---


def control(alias: str) -> tuple[str, ...]:
    """Control tokens of a model, in the order of their ids."""
    if alias.startswith("llama2"):
        return ("<unk>", "<s>", "</s>")
    if alias.startswith("llama3"):
        return _llama_3(LLAMA_3 if alias == "llama3-8b" else LLAMA_3_1)
    if alias.startswith("qwen2-"):
        return tuple(f"<|{name}|>" for name in QWEN_2)
    if alias.startswith("qwen2.5-"):
        return QWEN_2_5
    return FALCON_CONTROL


def _llama_3(named: Mapping[int, str]) -> tuple[str, ...]:
    names: list[str] = []
    for place in range(LLAMA_CONTROL):
        reserved = sum("reserved" in name for name in names)
        names.append(f"<|{named.get(place, f'reserved_special_token_{reserved}')}|>")
    return tuple(names)


@cache
def ordinary(family: str) -> tuple[str, ...]:
    """The family's tokens that stand for text, in the order of their ids."""
    return (*_characters(family), *("".join(pair) for pair in _merges(family)))


@cache
def _characters(family: str) -> tuple[str, ...]:
    """What is spelled with: all bytes, in the order of GPT-2; for Llama 2 bytes by name, and what is printed."""
    if family == "llama2":
        return (*(f"<0x{byte:02X}>" for byte in range(256)), "▁", *map(chr, range(33, 127)))
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return (*map(chr, printed), *(chr(256 + index) for index in range(256 - len(printed))))


@cache
def _merges(family: str) -> tuple[tuple[str, str], ...]:
    """Each word is spelled from its left."""
    found: dict[tuple[str, str], None] = {}
    for word in WORDS[family].split():
        for stop in range(1, len(word)):
            found[word[:stop], word[stop]] = None
    return tuple(found)


@cache
def _inner(family: str, alias: str) -> Tokenizer:
    """The tokenizer as its family's tokenizer.json describes it."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    own = control(alias)
    first = family in ("llama2", "falcon3")
    tokens = (*own, *ordinary(family)) if first else ordinary(family)
    ids = {token: index for index, token in enumerate(tokens)}
    if family == "llama2":
        model = models.BPE(ids, list(_merges(family)), unk_token="<unk>", fuse_unk=True, byte_fallback=True)
        made = Tokenizer(model)
        made.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        joined = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        made.decoder = decoders.Sequence(joined)
    else:
        made = Tokenizer(models.BPE(ids, list(_merges(family)), ignore_merges=family == "llama3"))
        if family == "qwen2":
            made.normalizer = normalizers.NFC()
        if family == "falcon3":
            parts: list[Any] = [pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        else:
            split = SPLIT if family == "llama3" else SPLIT.replace("{1,3}", "")
            parts = [
                pre_tokenizers.Split(Regex(split), "isolated"),
                pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
            ]
        made.pre_tokenizer = pre_tokenizers.Sequence(parts)
        made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in own[:14]])
    made.add_tokens([AddedToken(token, special=family != "qwen2", normalized=False) for token in own[14:]])
    begin = _ends(alias)[0]
    if family.startswith("llama"):
        opened = processors.TemplateProcessing(
            single=f"{begin} $A", pair=f"{begin} $A {begin}:1 $B:1", special_tokens=[(begin, made.token_to_id(begin))]
        )
        trims = processors.ByteLevel(trim_offsets=True)
        made.post_processor = opened if family == "llama2" else processors.Sequence([trims, opened])
    else:
        made.post_processor = processors.ByteLevel(trim_offsets=False)
    return made


# --- repositories ---


def write_model(root: Path, card: ModelCard) -> Path:
    """`root/models/HUB/`: configuration, tokenizer and random weights of a real card's stand-in; returns the folder."""
    if card.hub is None:
        raise ValueError(f"{card.alias}: its card names no repository")
    folder = root / "models" / card.hub
    folder.mkdir(parents=True, exist_ok=True)
    small, family = reduced(card), family_of(card)
    inner = _inner(family, card.alias)
    inner.save(str(folder / "tokenizer.json"))
    _json(folder / "tokenizer_config.json", _tokenizer_config(small, family, inner))
    config = _config(small, family)
    _json(folder / "config.json", config)
    begin, end = (inner.token_to_id(token) for token in _ends(card.alias))
    generation: dict[str, Any] = {"bos_token_id": begin, "eos_token_id": end, "transformers_version": "4.45.0"}
    if family.startswith("llama"):
        generation |= {"do_sample": True, "temperature": 0.6, "top_p": 0.9}
    if family == "qwen2":
        generation |= {"do_sample": False, "max_new_tokens": 2048}
    _json(folder / "generation_config.json", generation)
    _write_weights(folder, small, config)
    front = f"---\nlicense: {re.sub('[^a-z0-9.]+', '-', card.licence.lower())}\nlibrary_name: transformers\n---\n"
    (folder / "README.md").write_text(f"{front}# {card.title}\n", encoding="utf-8")
    return folder


def _config(small: ModelCard, family: str) -> dict[str, Any]:
    config: dict[str, Any] = {
        "architectures": [small.architecture],
        "attention_dropout": 0.0,
        "hidden_act": "silu",
        "initializer_range": 0.02,
        "model_type": "qwen2" if family == "qwen2" else "llama",
        "torch_dtype": small.dtype,
        "transformers_version": "4.45.0",
        "use_cache": True,
    }
    if family == "qwen2":
        config |= {"max_window_layers": small.config["num_hidden_layers"], "sliding_window": 32768}
    else:
        config |= {"attention_bias": False, "mlp_bias": False, "pretraining_tp": 1, "rope_scaling": None}
    # Of Falcon3 1B and 3B, which the card leaves open.
    return {**config, "max_position_embeddings": 8192, **small.config}


def _tokenizer_config(small: ModelCard, family: str, inner: Tokenizer) -> dict[str, Any]:
    begin, end = _ends(small.alias)
    whole = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
    added = {
        str(index): {"content": token.content, **whole, "special": token.special}
        for index, token in sorted(inner.get_added_tokens_decoder().items())
    }
    told: dict[str, Any] = {
        "added_tokens_decoder": added,
        "bos_token": begin,
        "clean_up_tokenization_spaces": False,
        "eos_token": end,
        "model_max_length": small.context_length,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    if family == "llama2":
        told |= {"add_bos_token": True, "add_eos_token": False, "legacy": False, "pad_token": None}
        told["unk_token"] = "<unk>"
        told |= {"tokenizer_class": "LlamaTokenizer", "model_max_length": 10**30, "sp_model_kwargs": {}}
        told |= {name: {"__type": "AddedToken", "content": told[name], **whole} for name in ("bos_token", "eos_token")}
    if family == "llama3":
        told["model_input_names"] = ["input_ids", "attention_mask"]
    if family == "qwen2":
        told |= {"add_bos_token": False, "add_prefix_space": False, "bos_token": None, "pad_token": end}
        told |= {"errors": "replace", "split_special_tokens": False, "tokenizer_class": "Qwen2Tokenizer"}
        told |= {"unk_token": None, "additional_special_tokens": ["<|im_start|>", "<|im_end|>"]}
    return told


def _write_weights(folder: Path, small: ModelCard, config: Mapping[str, Any]) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    given = {name: value for name, value in config.items() if name not in ("model_type", "initializer_range")}
    told: Any = CONFIG_MAPPING[config["model_type"]](**json.loads(json.dumps(given)), initializer_range=SPREAD)
    build: Any = AutoModelForCausalLM
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(hashlib.sha256(small.alias.encode()).digest()[:4]))
        model = build.from_config(told, dtype=torch.float32)
    half = getattr(torch, small.dtype or "bfloat16")
    tensors = {name: value.to(half).contiguous() for name, value in model.state_dict().items()}
    if small.config["tie_word_embeddings"]:
        del tensors["lm_head.weight"]
    told_of_format = {"format": "pt"}
    if not is_sharded(small):
        save_file(tensors, folder / "model.safetensors", told_of_format)
        return
    names = sorted(tensors)
    parts = [names[: len(names) // 2], names[len(names) // 2 :]]
    placed = {}
    for number, part in enumerate(parts, start=1):
        file = f"model-{number:05}-of-{len(parts):05}.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file, told_of_format)
        placed |= dict.fromkeys(part, file)
    size = sum(value.numel() * value.element_size() for value in tensors.values())
    _json(folder / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": placed})


def write_punkt(nltk_data: Path) -> Path:
    """English sentences as NLTK's punkt_tab has them, of very little text; returns the package's folder."""
    folder = nltk_data / "tokenizers" / "punkt_tab"
    english = folder / "english"
    english.mkdir(parents=True)
    files = {"abbrev_types.txt": "dr\nmr\n", "collocations.tab": "", "sent_starters.txt": "", "ortho_context.tab": ""}
    for name, text in files.items():
        (english / name).write_text(text, encoding="utf-8")
    return folder


def _json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


# --- short runs ---


def reduce_all(put: Callable[[Any, str, Any], None]) -> None:
    """Make cards those of the stand-ins, and tasks short; `put` sets an attribute of an object."""
    from prt_bench import tasks
    from prt_bench.families.causal_lm import CausalFamily
    from prt_bench.language_spec import LanguageSpec
    from prt_bench.yaml_files import load_yaml

    real_cards = CausalFamily.cards

    def cards(family: CausalFamily) -> Sequence[ModelCard]:
        return [card if card.embedded else reduced(card) for card in real_cards(family)]

    def short_task(path: Path, kind: Any) -> Any:
        spec = load_yaml(path, kind)
        if not isinstance(spec, LanguageSpec) or spec.train.source.kind != "hub":
            return spec
        benchmark, train = spec.benchmark, spec.train
        if benchmark.max_new_tokens is not None:
            benchmark = benchmark.model_copy(update={"max_new_tokens": NEW_TOKENS})
        train = train.model_copy(update={"validation": VALIDATION})
        query = spec.query.model_copy(update=QUERY)
        return spec.model_copy(update={"benchmark": benchmark, "train": train, "query": query})

    put(CausalFamily, "cards", cards)
    put(tasks, "load_yaml", short_task)
