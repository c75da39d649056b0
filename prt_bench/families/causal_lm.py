"""Family `causal-lm`: decoders of transformers, from local safetensors; code of a repository is never run."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import cache
from importlib.resources import files
from logging import getLogger
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prt_bench.api import Family, ModelCard, OutputSpace, Places, Price, TextNetwork, Vocabulary, no_images
from prt_bench.errors import MissingError, RequestError
from prt_bench.families.causal_closed_form import text_price
from prt_bench.models import file_sha256
from prt_bench.places import find_weights
from prt_bench.records import Strict, VocabularyCard
from prt_bench.yaml_files import load_yaml

if TYPE_CHECKING:
    import torch

__all__ = ["CausalFamily"]

RANDOM_BLOCK, RANDOM_SCALE = 1_000_003, 0.02
"""Numbers that are drawn, not a multiple of any width; and their deviation, as transformers draws them."""
CONFIG, INDEX, ONE_FILE = "config.json", "model.safetensors.index.json", "model.safetensors"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
TASK_OF_HINT = "nano-facts"


class Cards(Strict):
    """A file of model cards."""

    models: tuple[ModelCard, ...]


class CausalFamily(Family):
    """Language models that predict the next token; rewards are one number per token of the vocabulary."""

    name = "causal-lm"
    reads = "text"

    def cards(self) -> Sequence[ModelCard]:
        real = load_yaml(Path(str(files("prt_bench.families"))) / "causal_lm.yaml", Cards).models
        embedded = [load_yaml(path, ModelCard) for path in sorted(_embedded_folder().glob("nano-llama-*/card.yaml"))]
        return [*real, *embedded]

    def weight_files(self, card: ModelCard, places: Places) -> Sequence[Path]:
        folder = _folder(card, places)
        weights = folder / ONE_FILE
        if not (folder / INDEX).is_file():
            wanted = [weights]
        else:
            index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
            wanted = [folder / name for name in sorted(set(index["weight_map"].values()))]
        described = [folder / CONFIG, *(folder / name for name in TOKENIZER)]
        for path in (*wanted, *described):
            if not path.is_file():
                find_weights(card, path.name, places, TASK_OF_HINT)
                raise MissingError(f"model {card.alias}: {path} is missing; fetch the model again")
        return [*wanted, *described]

    def hub_files(self, card: ModelCard) -> tuple[str, ...]:
        return ("model*.safetensors", *TOKENIZER)

    def space(self, card: ModelCard, space: OutputSpace, places: Places, assume: bool = False) -> OutputSpace:
        if not isinstance(space, Vocabulary):
            raise RequestError(
                f"model {card.alias} answers with text, the task with class labels; use a model of family clip"
            )
        try:
            path = _folder(card, places) / TOKENIZER[0]
            rows = _config(card, places)["vocab_size"]
        except MissingError:
            if not assume or card.vocabulary is None:
                raise
            return _nominal(card.vocabulary)
        return _vocabulary(card.alias, path, file_sha256(path), rows)

    def closed_form(self, card: ModelCard, space: OutputSpace, places: Places) -> Price | None:
        return text_price(_config(card, places))

    def build(
        self, card: ModelCard, space: OutputSpace, weights: Literal["real", "random", "meta"], places: Places
    ) -> TextNetwork:
        import torch
        from transformers import AutoModelForCausalLM, DynamicCache, PreTrainedTokenizerFast
        from transformers.initialization import no_init_weights

        from prt_bench.families.causal_network import CausalNetwork, CausalPast, own_config

        config = own_config(card.alias, _config(card, places, needed=weights == "real"))
        if weights == "real":
            model = _load(card, config, _folder(card, places), places.device)
        else:
            place = torch.device("meta" if weights == "meta" else "cpu")
            # Drawn below: the library takes half a minute to draw a billion numbers.
            with place, no_init_weights() if weights == "random" else nullcontext():
                built: Any = AutoModelForCausalLM
                dtype = _dtype(card, places.device)
                model = built.from_config(config, attn_implementation="sdpa", dtype=dtype)
            if weights == "random":
                model.tie_weights()
                _fill(model)
        tokenizer, stops = None, set()
        if weights == "real":
            folder = _folder(card, places)
            tokenizer = PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)
            tokenizer.padding_side = "left"
            # What does not fit is counted and told by name; the library would only warn.
            tokenizer.model_max_length = sys.maxsize
            stops = _stop_ids(folder) | ({tokenizer.eos_token_id} - {None})
        length = card.context_length or int(config.max_position_embeddings)
        return TextNetwork(
            module=CausalNetwork(model).eval(),
            preprocess=no_images,
            preprocessing={"tokenizer": space.key, "context_length": length},
            tokenizer=tokenizer,
            context_length=length,
            stop_ids=tuple(sorted(stops)),
            new_past=lambda: CausalPast(DynamicCache(config=config)),
            spread=len(set(getattr(model, "hf_device_map", {}).values())) > 1,
        )


def _fill(model: torch.nn.Module) -> None:
    """Random matrices, from one block of numbers again and again; scales are one and biases nought."""
    import torch

    block = torch.randn(RANDOM_BLOCK, generator=torch.Generator().manual_seed(0)) * RANDOM_SCALE
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim < 2:
                parameter.fill_(float(name.endswith("weight")))
                continue
            for part in torch.split(parameter.view(-1), RANDOM_BLOCK):
                part.copy_(block[: len(part)])


def _embedded_folder() -> Path:
    return Path(str(files("prt_bench.nano"))) / "weights"


def _folder(card: ModelCard, places: Places) -> Path:
    """Where the model's repository is. Raises MissingError where it is nowhere."""
    if card.embedded:
        return _embedded_folder() / card.alias
    return find_weights(card, CONFIG, places, TASK_OF_HINT).parent


def _config(card: ModelCard, places: Places, needed: bool = False) -> dict[str, Any]:
    """The model's own config.json, held against the card; the card's, where the file is not at hand.

    Raises:
        MissingError: neither is there.
        RequestError: the file asks for code of its own, is of an architecture that is not known here, or is of
            another shape than the card says.
    """
    try:
        path = _folder(card, places) / CONFIG
    except MissingError:
        if needed or not card.config:
            raise
        return {**card.config, "architectures": [card.architecture]}
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    foreign = sorted(key for key in found if key in {"auto_map", "custom_generate"} or key.endswith("_internal"))
    if foreign:
        raise RequestError(f"model {card.alias}: {path} has {foreign[0]!r}, by which code would be run; it is refused")
    if found.get("architectures") != [card.architecture]:
        raise RequestError(
            f"model {card.alias}: architectures is {found.get('architectures')} in {path} and "
            f"{card.architecture} on the card; mend the card"
        )
    for name, value in card.config.items():
        if name in found and found[name] != value:
            raise RequestError(
                f"model {card.alias}: {name} is {value} on the card and {found[name]} in {path}; mend the card"
            )
    return found


def _nominal(card: VocabularyCard) -> Vocabulary:
    """A vocabulary that nobody has looked at: tokens by number, alike for cards of one name."""
    return _numbered(card.name, card.rows, card.tokens)


@cache
def _numbered(name: str, rows: int, tokens: int) -> Vocabulary:
    return Vocabulary(tuple(f"{name} {index}" if index < tokens else "" for index in range(rows)))


@cache
def _vocabulary(alias: str, path: Path, sha256: str, rows: int) -> Vocabulary:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    by_id = {index: token for token, index in tokenizer.get_vocab(with_added_tokens=True).items()}
    if by_id and max(by_id) >= rows:
        raise RequestError(
            f"model {alias}: token {max(by_id)} of {path} has no row in the output matrix of {rows}; "
            "tokenizer and weights are of two models"
        )
    labels = tuple(by_id.get(index, "") for index in range(rows))
    return Vocabulary(labels, control=frozenset(tokenizer.get_added_tokens_decoder()))


def _stop_ids(folder: Path) -> set[int]:
    """Tokens that end an output, by the repository's generation_config.json."""
    path = folder / "generation_config.json"
    if not path.is_file():
        return set()
    found = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id")
    return set() if found is None else {found} if isinstance(found, int) else set(found)


def _load(card: ModelCard, config: Any, folder: Path, device: str) -> torch.nn.Module:
    """The weights: in fp32 on the CPU; on a GPU as they were published, over all of them where one is too small."""
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    _refuse_other_bytes(card, folder)
    options: dict[str, Any] = {"dtype": _dtype(card, device)}
    if device.startswith("cuda"):
        options["device_map"] = _device_map(card, folder, device)
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    # Tells of what is missing in many lines, where one says it below, and of what concerns nobody here.
    getLogger("transformers").setLevel("ERROR")
    loader: Any = AutoModelForCausalLM
    try:
        model, info = loader.from_pretrained(
            folder,
            config=config,
            attn_implementation="sdpa",
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **options,
        )
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:160]
        raise RequestError(
            f"model {card.alias}: {folder} does not hold a {card.architecture} ({type(error).__name__}: {reason}); "
            "fetch the model again"
        ) from error
    _refuse_incomplete(card, folder, info)
    loaded: torch.nn.Module = model
    return loaded


def _dtype(card: ModelCard, device: str) -> torch.dtype:
    """Single precision, on a GPU that of the published weights."""
    import torch

    found: torch.dtype = getattr(torch, card.dtype or "bfloat16") if device.startswith("cuda") else torch.float32
    return found


def _refuse_other_bytes(card: ModelCard, folder: Path) -> None:
    """The first file of weights is what the card, or a pin, knows the digest of."""
    first = min(folder.glob("model*.safetensors"), default=None)
    if card.sha256 is not None and first is not None and file_sha256(first) != card.sha256:
        raise RequestError(
            f"model {card.alias}: {first} has digest {file_sha256(first)[:12]}… where {card.sha256[:12]}… is pinned; "
            "fetch the file again"
        )


def _device_map(card: ModelCard, folder: Path, device: str) -> str | dict[str, str]:
    """One device, or `auto` where the weights would fill more than nine tenths of what is free there."""
    import torch

    free, _ = torch.cuda.mem_get_info(torch.device(device))
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    return "auto" if size > 0.9 * free else {"": device}


def _refuse_incomplete(card: ModelCard, folder: Path, info: Mapping[str, Any]) -> None:
    for kind in ("missing_keys", "mismatched_keys", "unexpected_keys"):
        found = info.get(kind) or ()
        names = sorted(str(entry[0] if isinstance(entry, tuple) else entry) for entry in found)
        if names:
            raise RequestError(
                f"model {card.alias}: {folder} has {kind.replace('_', ' ')}, the first {names[0]}; "
                "are weights and config.json of one model?"
            )
