"""Linear probes: the head of a network learns alone, on features that are computed once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch

from prt_bench.api import LinearHead, Network
from prt_bench.errors import SkipError
from prt_bench.networks import Inputs, tunable
from prt_bench.task_spec import Recipe

__all__ = ["Features", "features_of", "learnable", "linear_head", "probe_of"]


class Features:
    """What a head reads of every example, (N, E), fp32, on the CPU."""

    def __init__(self, values: torch.Tensor) -> None:
        self._values = values

    def __len__(self) -> int:
        return len(self._values)

    def batches(self, order: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        """(len(indices), E) for each index tensor."""
        return (self._values[indices] for indices in order)


class Probe(torch.nn.Module):
    """Logits (B, K) = scale · features (B, E) · weightᵀ."""

    def __init__(self, weight: torch.Tensor, scale: float) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight.detach().clone())
        self.scale = scale

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.scale * (features @ self.weight.T)


def linear_head(network: Network) -> LinearHead:
    """The linear head of a network. Raises SkipError where its family names none."""
    if network.head is None:
        raise SkipError("the model's family names no linear head that could be tuned alone")
    return network.head


def head_weight(network: Network) -> torch.Tensor:
    """Weight (K, E) of a network's linear head."""
    name = linear_head(network).name
    return {**dict(network.module.named_buffers()), **dict(network.module.named_parameters())}[name]


def probe_of(network: Network) -> Network:
    """The head as a network of its own, which reads features and starts as it is; the network stays as it is."""
    weight = head_weight(network)
    width = weight.shape[1]
    probe = Probe(weight, linear_head(network).scale)
    return Network(probe, lambda images: torch.zeros(len(images), width))


@torch.no_grad()
def features_of(network: Network, inputs: Inputs, batch_size: int, device: torch.device) -> Features:
    """What the head reads of all inputs."""
    order = torch.split(torch.arange(len(inputs)), batch_size)
    head = linear_head(network)
    return Features(torch.cat([head.features(batch.to(device)).float().cpu() for batch in inputs.batches(order)]))


def learnable(network: Network, recipe: Recipe) -> Mapping[str, torch.Tensor]:
    """What a recipe tunes of a network, by name."""
    if recipe.learns == "head":
        return {linear_head(network).name: head_weight(network)}
    return tunable(network)
