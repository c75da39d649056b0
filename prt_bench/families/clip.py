"""Family `clip`: open_clip image towers under frozen zero-shot heads from their own text towers."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prt_bench.api import Box, Family, LinearHead, ModelCard, Network, OutputSpace, Places, Price
from prt_bench.errors import RequestError
from prt_bench.files import digest
from prt_bench.models import file_sha256
from prt_bench.places import find_weights
from prt_bench.records import Strict
from prt_bench.yaml_files import load_yaml

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

__all__ = ["ClipFamily"]

WEIGHTS_FILE = "open_clip_model.safetensors"
LOCAL_CONFIG = "open_clip_config.json"
LOCAL_DIR = "local-dir"
EQUAL_HEADS = 1e-6
QUICK_GELU = "quick_gelu"
KEPT_MODELS = 2


class Cards(Strict):
    """A file of model cards."""

    models: tuple[ModelCard, ...]


class ClipFamily(Family):
    """open_clip models: any architecture and weights that it can build."""

    name = "clip"

    def __init__(self) -> None:
        self._loaded: OrderedDict[str, Any] = OrderedDict()

    def cards(self) -> Sequence[ModelCard]:
        real = load_yaml(Path(str(files("prt_bench.families"))) / "clip.yaml", Cards).models
        embedded = [load_yaml(path, ModelCard) for path in sorted(_embedded_folder().glob("nano-rn*/card.yaml"))]
        return [*real, *embedded]

    def weight_files(self, card: ModelCard, places: Places) -> Sequence[Path]:
        weights = _weights_path(card, places)
        if card.architecture != LOCAL_DIR:
            return [weights]
        return [weights, *(weights.parent / name for name in (LOCAL_CONFIG, "tokenizer.json", "tokenizer_config.json"))]

    def published_weights(self, card: ModelCard, network: Network, path: Path) -> Mapping[str, torch.Tensor]:
        from prt_bench.families.clip_classifier import ClipClassifier
        from prt_bench.families.clip_published import visual_tensors

        assert isinstance(network.module, ClipClassifier)
        return visual_tensors(path, network.module.visual, card.alias)

    def closed_form(self, card: ModelCard, space: OutputSpace, places: Places) -> Price | None:
        import open_clip

        from prt_bench.families.clip_closed_form import image_price

        # Of a name that it does not know open_clip would ask the network.
        known = card.architecture == LOCAL_DIR or card.architecture in open_clip.list_models()
        return image_price(open_clip.get_model_config(_architecture(card, places)), space.size) if known else None

    def build(
        self, card: ModelCard, space: OutputSpace, weights: Literal["real", "random", "meta"], places: Places
    ) -> Network:
        import torch

        from prt_bench.families.clip_classifier import ClipClassifier, zero_shot_head

        clip = self._clip(card, places) if weights == "real" else _create(card, weights, places)
        if weights == "real":
            path = _head_path(card, space, places)
            head = _known_head(path)
            if head is None:
                head = zero_shot_head(clip, _tokenizer(card, places), space)
                _refuse_equal_heads(head, space, card.alias)
                _keep_head(path, head)
        else:
            device = "meta" if weights == "meta" else "cpu"
            generator = None if weights == "meta" else torch.Generator().manual_seed(0)
            shape = (len(space.labels), _embedding_width(clip))
            head = torch.nn.functional.normalize(torch.randn(shape, generator=generator, device=device), dim=-1)
        module = ClipClassifier(clip.visual, head, clip.logit_scale.detach().exp()).eval()
        preprocessing = _preprocessing(clip)
        return Network(
            module=module,
            preprocess=_preprocess(preprocessing),
            crop=_crop(preprocessing),
            frozen=("head", "scale"),
            head=LinearHead("head", module.features, 1.0 if weights == "meta" else float(module.scale)),
            preprocessing=preprocessing,
            head_sha256=None if weights == "meta" else hashlib.sha256(head.numpy().tobytes()).hexdigest(),
        )

    def _clip(self, card: ModelCard, places: Places) -> Any:
        """Both towers; the last two models stay loaded, since every task builds its head on the same ones."""
        key = digest([card.model_dump(), [file_sha256(path) for path in self.weight_files(card, places)]])
        if key not in self._loaded:
            self._loaded[key] = _create(card, "real", places)
        self._loaded.move_to_end(key)
        while len(self._loaded) > KEPT_MODELS:
            self._loaded.popitem(last=False)
        return self._loaded[key]


def _embedded_folder() -> Path:
    return Path(str(files("prt_bench.nano"))) / "weights"


def _weights_path(card: ModelCard, places: Places) -> Path:
    if card.embedded:
        return _embedded_folder() / card.alias / WEIGHTS_FILE
    return find_weights(card, card.file or WEIGHTS_FILE, places)


def _architecture(card: ModelCard, places: Places) -> str:
    """As open_clip calls it."""
    if card.architecture == LOCAL_DIR:
        return f"{LOCAL_DIR}:{_weights_path(card, places).parent}"
    return card.architecture


def _create(card: ModelCard, weights: Literal["real", "random", "meta"], places: Places) -> Any:
    """The open_clip model, with both towers."""
    import open_clip
    import torch
    from safetensors import SafetensorError

    check_card(card)
    name = _architecture(card, places)
    options: dict[str, Any] = {"pretrained_image": False, "pretrained_text": False}
    if card.mean is not None and card.std is not None:
        options["force_preprocess_cfg"] = {"mean": card.mean, "std": card.std}
    if weights == "real":
        path = _weights_path(card, places)
        _check_digest(card, path)
        _check_own_config(card, path.parent / LOCAL_CONFIG)
        # The file is named, never a tag: by tag open_clip neither pins a revision nor refuses pickled weights.
        file = None if card.architecture == LOCAL_DIR else str(path)
        try:
            # Initial weights that are overwritten at once would still move the caller's random numbers.
            with _quiet(), torch.random.fork_rng(devices=[]):
                model = open_clip.create_model(name, pretrained=file, require_pretrained=True, **options)
        except (AssertionError, RuntimeError, KeyError, SafetensorError) as error:
            reason = " ".join(str(error).split())[:160]
            raise RequestError(
                f"model {card.alias}: {path} does not hold a {card.architecture} ({type(error).__name__}: {reason}); "
                "fetch the file again"
            ) from error
        return model.float().eval()
    device = "meta" if weights == "meta" else "cpu"
    place = torch.device("meta") if weights == "meta" else nullcontext()
    with _quiet(), place, torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = open_clip.create_model(name, load_weights=False, device=device, **options)
    return model.eval()


def check_card(card: ModelCard) -> None:
    """Compare a card that names weights of open_clip's registry with what the registry says of them.

    Raises:
        RequestError: the registry lacks them, or activation, mean, std, size or repository are others.
    """
    import open_clip

    if card.pretrained is None:
        return
    # Copied: the functions hand out the registry's own dictionaries.
    config = dict(open_clip.get_model_config(card.architecture) or {})
    known = dict(open_clip.get_pretrained_cfg(card.architecture, card.pretrained) or {})
    if not config or not known:
        raise RequestError(
            f"model {card.alias}: open_clip has no weights {card.pretrained!r} for architecture {card.architecture!r}"
        )
    wanted = _activation(known)
    if _activation(config) != wanted:
        raise RequestError(
            f"model {card.alias}: the weights {card.pretrained!r} were trained with {wanted}, which architecture "
            f"{card.architecture} does not have; use its "
            f"{'-quickgelu' if wanted == QUICK_GELU else 'plain'} variant"
        )
    _compare(
        card,
        "open_clip's registry",
        {
            "activation": wanted,
            "mean": known.get("mean"),
            "std": known.get("std"),
            "image_size": config["vision_cfg"].get("image_size"),
            "hub": known.get("hf_hub", "").rstrip("/") or None,
        },
    )


def _check_own_config(card: ModelCard, path: Path) -> None:
    """Compare a card with the configuration that lies beside its weights, as the hub's repositories have it."""
    if card.architecture == LOCAL_DIR or not path.is_file():
        return
    config = json.loads(path.read_text(encoding="utf-8"))
    model, preprocess = config.get("model_cfg", {}), config.get("preprocess_cfg", {})
    own = {"mean": preprocess.get("mean"), "std": preprocess.get("std")}
    _compare(card, str(path), {**own, "activation": _activation(model) if model else None})


def _compare(card: ModelCard, other: str, facts: Mapping[str, Any]) -> None:
    for name, value in facts.items():
        mine = getattr(card, name)
        theirs = tuple(value) if isinstance(value, list | tuple) else value
        if theirs is not None and mine is not None and mine != theirs:
            raise RequestError(
                f"model {card.alias}: {name} is {mine} on the card and {theirs} in {other}; mend the card"
            )


def _activation(config: Mapping[str, Any]) -> str:
    return QUICK_GELU if config.get("quick_gelu", False) else "gelu"


@contextmanager
def _quiet() -> Iterator[None]:
    """open_clip logs each step at the root logger; its activation-mismatch warning is an error here."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="QuickGELU mismatch")
            yield
    finally:
        root.setLevel(level)


def _check_digest(card: ModelCard, path: Path) -> None:
    if card.sha256 is None:
        return
    found = file_sha256(path)
    if found != card.sha256:
        raise RequestError(
            f"model {card.alias}: {path} has digest {found[:12]}… where the card pins {card.sha256[:12]}…; "
            "fetch the file again"
        )


def _tokenizer(card: ModelCard, places: Places) -> Callable[[list[str]], torch.Tensor]:
    import open_clip

    with _quiet():
        tokenizer: Callable[[list[str]], torch.Tensor] = open_clip.get_tokenizer(_architecture(card, places))
    return tokenizer


def _head_path(card: ModelCard, space: OutputSpace, places: Places) -> Path | None:
    """Where a head is kept: thousands of prompts through a text tower are paid once."""
    import open_clip
    import torch

    if places.cache == Path():
        return None
    files = [file_sha256(path) for path in ClipFamily().weight_files(card, places)]
    code = [open_clip.__version__, torch.__version__]
    key = digest([files, card.architecture, space.labels, space.templates, code])
    return places.cache / "heads" / f"{key}.safetensors"


def _known_head(path: Path | None) -> torch.Tensor | None:
    from safetensors.torch import load_file

    return None if path is None or not path.is_file() else load_file(path)["head"]


def _keep_head(path: Path | None, head: torch.Tensor) -> None:
    from safetensors.torch import save_file

    if path is None:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    save_file({"head": head}, partial)
    partial.replace(path)


def _refuse_equal_heads(head: torch.Tensor, space: OutputSpace, alias: str) -> None:
    """Two classes that the text tower cannot tell apart would share every score."""
    similarity = head @ head.T
    similarity.fill_diagonal_(-1)
    value, place = similarity.flatten().max(dim=0)
    if value > 1 - EQUAL_HEADS:
        first, second = divmod(int(place), len(space.labels))
        raise RequestError(
            f"model {alias}: classes {space.labels[first]!r} and {space.labels[second]!r} get equal heads from its "
            "text tower; give them names that differ within its context length"
        )


def _embedding_width(clip: Any) -> int:
    for owner in (clip.visual, clip):
        width = getattr(owner, "output_dim", None)
        if isinstance(width, int):
            return width
    projection = clip.text_projection if hasattr(clip, "text_projection") else clip.text.text_projection
    return int(projection.shape[-1])


def _preprocessing(clip: Any) -> dict[str, Any]:
    from open_clip.transform import PreprocessCfg

    config = asdict(PreprocessCfg(**clip.visual.preprocess_cfg))
    value: dict[str, Any] = json.loads(json.dumps(config))
    return value


def _preprocess(preprocessing: dict[str, Any]) -> Callable[[Sequence[Image]], torch.Tensor]:
    import torch
    from open_clip.transform import PreprocessCfg, image_transform_v2

    transform = image_transform_v2(PreprocessCfg(**preprocessing), is_train=False)

    def preprocess(images: Sequence[Image]) -> torch.Tensor:
        return torch.stack([transform(image) for image in images])

    return preprocess


def _crop(preprocessing: dict[str, Any]) -> Callable[[Sequence[Image], Sequence[Box]], torch.Tensor]:
    """open_clip's training transform on a given box: resize to the whole input, then normalise as for evaluation."""
    import torch
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms.functional import normalize, resized_crop, to_tensor

    size = preprocessing["size"]
    wanted = [size, size] if isinstance(size, int) else list(size)

    def crop(images: Sequence[Image], boxes: Sequence[Box]) -> torch.Tensor:
        parts = []
        for image, (left, top, width, height) in zip(images, boxes, strict=True):
            part = resized_crop(image, top, left, height, width, wanted, InterpolationMode.BICUBIC)
            parts.append(normalize(to_tensor(part), preprocessing["mean"], preprocessing["std"]))
        return torch.stack(parts)

    return crop
