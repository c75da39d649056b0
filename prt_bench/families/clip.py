"""Family `clip`: open_clip image towers under frozen zero-shot heads from their own text towers."""

from __future__ import annotations

import hashlib
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from prt_bench.api import Family, ModelCard, Network, OutputSpace, Places
from prt_bench.errors import RequestError
from prt_bench.models import file_sha256
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


class Cards(Strict):
    """A file of model cards."""

    models: tuple[ModelCard, ...]


class ClipFamily(Family):
    """open_clip models: any architecture and weights that it can build."""

    name = "clip"

    def cards(self) -> Sequence[ModelCard]:
        real = load_yaml(Path(str(files("prt_bench.families"))) / "clip.yaml", Cards).models
        embedded = [load_yaml(path, ModelCard) for path in sorted(_embedded_folder().glob("*/card.yaml"))]
        return [*real, *embedded]

    def weight_files(self, card: ModelCard, places: Places) -> Sequence[Path]:
        weights = _weights_path(card, places)
        if card.architecture != LOCAL_DIR:
            return [weights]
        return [weights, *(weights.parent / name for name in (LOCAL_CONFIG, "tokenizer.json", "tokenizer_config.json"))]

    def build(
        self, card: ModelCard, space: OutputSpace, weights: Literal["real", "random", "meta"], places: Places
    ) -> Network:
        import torch

        from prt_bench.families.clip_classifier import ClipClassifier, zero_shot_head

        clip = _create(card, weights, places)
        if weights == "real":
            head = zero_shot_head(clip, _tokenizer(card, places), space, card.alias)
            _refuse_equal_heads(head, space, card.alias)
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
            frozen=("head", "scale"),
            preprocessing=preprocessing,
            head_sha256=None if weights == "meta" else hashlib.sha256(head.numpy().tobytes()).hexdigest(),
        )


def _embedded_folder() -> Path:
    return Path(str(files("prt_bench.nano"))) / "weights"


def _weights_path(card: ModelCard, places: Places) -> Path:
    """The weight file of a card; RequestError says what was tried and the three ways out."""
    if card.embedded:
        return _embedded_folder() / card.alias / WEIGHTS_FILE
    name = card.file or WEIGHTS_FILE
    tried = [folder / card.alias / name for folder in (places.weights_dir, places.cache) if folder is not None]
    for path in tried:
        if path.is_file():
            return path
    raise RequestError(
        f"model {card.alias}: no weights (tried {', '.join(map(str, tried))}); connect and run "
        f"`prt-bench fetch --pair {card.alias}:{card.alias}`, or put the file of {card.hub or 'the model'} at "
        f"DIR/{card.alias}/{name} and pass --weights-dir DIR, or try an embedded pair: --pair nano-rn16-a:nano-rn24-b"
    )


def _create(card: ModelCard, weights: Literal["real", "random", "meta"], places: Places) -> Any:
    """The open_clip model, with both towers."""
    import open_clip
    import torch
    from safetensors import SafetensorError

    name = f"{LOCAL_DIR}:{_weights_path(card, places).parent}" if card.architecture == LOCAL_DIR else card.architecture
    options: dict[str, Any] = {"pretrained_image": False, "pretrained_text": False}
    if card.mean is not None and card.std is not None:
        options["force_preprocess_cfg"] = {"mean": card.mean, "std": card.std}
    if weights == "real":
        path = _weights_path(card, places)
        _check_digest(card, path)
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
        if card.architecture == LOCAL_DIR:
            found = open_clip.get_tokenizer(f"{LOCAL_DIR}:{_weights_path(card, places).parent}")
        else:
            found = open_clip.get_tokenizer(card.architecture)
    tokenizer: Callable[[list[str]], torch.Tensor] = found
    return tokenizer


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
