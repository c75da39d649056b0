"""A loaded model, as families give it: a module, what goes into it, and what of it learns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from prt_bench.errors import CellError

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

__all__ = ["Box", "KeyValues", "LinearHead", "Network", "TextNetwork", "TokenBatch", "no_images"]

Box = tuple[int, int, int, int]
"""Left, top, width and height of a part of an image, in pixels."""


def no_images(images: Sequence[Image]) -> torch.Tensor:
    """The preprocessing of a network that reads no images."""
    raise CellError("a language model reads no images")


def _no_past() -> KeyValues:
    raise CellError("this network keeps no memory of what it has read")


@dataclass(frozen=True)
class LinearHead:
    """The last part of a network: logits = scale · features · weightᵀ."""

    name: str
    """Of the weight (K, E) among the parameters and buffers of `Network.module`."""
    features: Callable[[torch.Tensor], torch.Tensor]
    """(B, *input shape) → (B, E)."""
    scale: float = 1.0


@dataclass
class Network:
    """A loaded model bound to an output space."""

    module: torch.nn.Module
    """(B, *input shape) → logits (B, K); of text, a `TokenBatch` → logits of its R rows (R, K)."""
    preprocess: Callable[[Sequence[Image]], torch.Tensor]
    """Raw images → (B, *input shape), fp32, on the CPU."""
    frozen: tuple[str, ...] = ()
    """Prefixes of the parameters that tuning leaves alone, such as a zero-shot head."""
    preprocessing: Mapping[str, Any] = field(default_factory=dict)
    """What `preprocess` does, as plain JSON values: equal values mean equal inputs."""
    head_sha256: str | None = None
    head: LinearHead | None = None
    """Where the last part is linear: what a linear probe tunes."""
    crop: Callable[[Sequence[Image], Sequence[Box]], torch.Tensor] | None = None
    """As `preprocess`, of a box of each image, resized to the input: for recipes that train on random crops."""
    spread: bool = False
    """Lies on several devices already and is not to be moved."""


class KeyValues(Protocol):
    """What a language network keeps of the tokens it has read."""

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept now."""

    def keep(self, sequences: torch.Tensor) -> None:
        """Drop all sequences of the batch but these, by index."""


@dataclass(frozen=True)
class TokenBatch:
    """What a language network reads at once: B sequences, padded on the left or on the right."""

    ids: torch.Tensor
    """(B, T) int64, the tokens that are new."""
    mask: torch.Tensor | None = None
    """(B, P + T), 1 for a token and 0 for padding; P tokens are in `past` already. Positions follow from it. None:
    all are tokens, and none is in `past`."""
    rows: torch.Tensor | None = None
    """(R,) int64: places in the flattened (B × T) whose outputs are wanted. None: the last of each sequence."""
    past: KeyValues | None = None
    """Grows by the T new tokens."""


@dataclass
class TextNetwork(Network):
    """A loaded language model: a network of tokens."""

    tokenizer: Any = None
    """A fast tokenizer of transformers."""
    context_length: int = 0
    """The most tokens it can read, prompt and output together."""
    stop_ids: tuple[int, ...] = ()
    """Tokens that end an output."""
    new_past: Callable[[], KeyValues] = field(default=_no_past)
    """An empty memory, for `TokenBatch.past`."""
