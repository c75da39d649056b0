"""An image tower under a frozen zero-shot head."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from prt_bench.api import OutputSpace

__all__ = ["ClipClassifier", "zero_shot_head"]

PROMPTS_PER_BATCH = 256


class ClipClassifier(torch.nn.Module):
    """Logits (B, K) = scale × normalised image embedding · head of unit rows (K, E)."""

    head: torch.Tensor
    scale: torch.Tensor

    def __init__(self, visual: torch.nn.Module, head: torch.Tensor, scale: torch.Tensor) -> None:
        super().__init__()
        self.visual = visual
        self.register_buffer("head", head)
        self.register_buffer("scale", scale)

    def features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalised image embeddings (B, E)."""
        return torch.nn.functional.normalize(self.visual(pixels), dim=-1)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.scale * (self.features(pixels) @ self.head.T)


@torch.no_grad()
def zero_shot_head(clip: Any, tokenize: Callable[[list[str]], torch.Tensor], space: OutputSpace) -> torch.Tensor:
    """Unit rows (K, E): the mean over templates of normalised text embeddings, normalised again.

    As in the reference code that the PRT paper follows (task_vectors), without the logit scale. All prompts
    go through the text tower together.
    """
    prompts = [template.format(label) for label in space.labels for template in space.templates]
    tokens = tokenize(prompts)
    embeddings = torch.cat([clip.encode_text(part, normalize=True) for part in torch.split(tokens, PROMPTS_PER_BATCH)])
    by_class = embeddings.reshape(len(space.labels), len(space.templates), -1).mean(dim=1)
    return torch.nn.functional.normalize(by_class, dim=-1)
