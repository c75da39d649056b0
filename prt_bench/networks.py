"""Loaded networks, kept warm, and their outputs, cached by content: each network sees each example once."""

from __future__ import annotations

import copy
import gc
import logging
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from prt_bench.api import Model, Network, Places, TextNetwork
from prt_bench.data.examples import Examples
from prt_bench.errors import CellError, RequestError, SkipError
from prt_bench.files import digest
from prt_bench.prefetch import prefetched
from prt_bench.registry import Registry
from prt_bench.store import Store

__all__ = ["Inputs", "Networks", "Outputs"]

log = logging.getLogger(__name__)
BATCH_SIZE = 64
KEPT_NETWORKS = 6
KEPT_INPUT_BYTES = 2 * 1024**3
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Outputs:
    """Logits (N, K), fp32, on the CPU, and the seconds that computing them took when it was done."""

    logits: torch.Tensor
    seconds: float
    reused: bool


class Inputs:
    """Preprocessed images of a set of examples: kept where they are small, made batch by batch where not."""

    def __init__(self, network: Network, examples: Examples) -> None:
        self._network = network
        self._examples = examples
        self._kept: torch.Tensor | None = None
        if len(examples) * network.preprocess([examples.image(0)]).nbytes <= KEPT_INPUT_BYTES:
            chunks = [range(at, min(at + BATCH_SIZE, len(examples))) for at in range(0, len(examples), BATCH_SIZE)]
            self._kept = torch.cat(list(prefetched(self._make, chunks)))

    def __len__(self) -> int:
        return len(self._examples)

    @property
    def nbytes(self) -> int:
        return 0 if self._kept is None else self._kept.nbytes

    def batches(self, order: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
        """(len(indices), *input shape), fp32, on the CPU, for each index tensor."""
        if self._kept is None:
            yield from prefetched(self._make, [indices.tolist() for indices in order])
        else:
            yield from (self._kept[indices] for indices in order)

    def _make(self, indices: range | list[int]) -> torch.Tensor:
        return self._network.preprocess([self._examples.image(index) for index in indices])


class Networks:
    """Loads models through their families, lays artifacts over them, and runs them."""

    def __init__(
        self,
        registry: Registry,
        places: Places,
        store: Store,
        device: str,
        report: Progress,
        weights: Literal["real", "random"] = "real",
    ) -> None:
        self.registry = registry
        self.places = places
        self.store = store
        self.device = _device(device)
        self.report = report
        self.weights = weights
        self._networks: OrderedDict[str, Network] = OrderedDict()
        self._inputs: OrderedDict[str, Inputs] = OrderedDict()

    def fresh(self, model: Model) -> Network:
        """A network of its own, to be changed by its caller."""
        return copy.deepcopy(self.get(model))

    def get(self, model: Model) -> Network:
        """The network of a model on the device; shared, so nobody may change it.

        Raises:
            CellError: the artifact does not fit the network.
        """
        if model.key in self._networks:
            self._networks.move_to_end(model.key)
            return self._networks[model.key]
        if model.artifact is None:
            network = self.registry.family(model.card).build(model.card, model.space, self.weights, self.places)
            if not network.spread:
                network.module.to(self.device)
        else:
            network = self.fresh(Model(model.card, model.space, model.identity))
            _lay_over(network, model)
        network.module.eval().requires_grad_(False)
        self._networks[model.key] = network
        while len(self._networks) > KEPT_NETWORKS:
            dropped = weakref.ref(self._networks.popitem(last=False)[1].module)
            # Networks with hooks hold themselves in circles; to look for these takes long, and most have none.
            if dropped() is not None:
                gc.collect()
        return network

    def loaded(self, model: Model) -> Network | None:
        """The network of a model where it is at hand."""
        return self._networks.get(model.key)

    def forget(self) -> None:
        """Drop all networks, to make room."""
        self._networks.clear()
        gc.collect()

    def text(self, model: Model) -> TextNetwork:
        """The same, of a model that must read text. Raises CellError where it does not."""
        network = self.get(model)
        if not isinstance(network, TextNetwork):
            raise CellError(f"{model.name} reads no text")
        return network

    def shape_only(self, model: Model) -> Network:
        """A network of the model's architecture on the meta device, for counting."""
        return self.registry.family(model.card).build(model.card, model.space, "meta", self.places)

    def inputs(self, model: Model, examples: Examples) -> Inputs:
        """What a model sees of these examples."""
        network = self.get(model)
        key = digest([dict(network.preprocessing) or model.identity, examples.sha256])
        if key not in self._inputs:
            self._inputs[key] = Inputs(network, examples)
            while sum(kept.nbytes for kept in self._inputs.values()) > KEPT_INPUT_BYTES and len(self._inputs) > 1:
                self._inputs.popitem(last=False)
        self._inputs.move_to_end(key)
        return self._inputs[key]

    def outputs(self, model: Model, examples: Examples) -> Outputs:
        """Logits of a model on examples, from the store where they are known."""
        key = digest(["outputs", model.key, examples.sha256, BATCH_SIZE, self.device.type, torch.__version__])
        try:
            known = self.store.get("outputs", key)
        except CellError as error:
            log.warning("%s: it is made again", error)
            known = None
        if known is not None:
            return Outputs(known["logits"], float(known["seconds"]), reused=True)
        inputs = self.inputs(model, examples)
        started = time.perf_counter()
        logits = self._run(model, inputs)
        seconds = time.perf_counter() - started
        if not bool(torch.isfinite(logits).all()):
            hint = "; was the learning rate too high?" if model.artifact else ""
            raise CellError(f"{model.name}: outputs hold values that are no numbers{hint}")
        self.store.put("outputs", key, {"logits": logits, "seconds": torch.tensor(seconds)}, {"model": model.name})
        return Outputs(logits, seconds, reused=False)

    @torch.inference_mode()
    def _run(self, model: Model, inputs: Inputs) -> torch.Tensor:
        module = self.get(model).module
        parts = []
        for batch in inputs.batches(torch.split(torch.arange(len(inputs)), BATCH_SIZE)):
            parts.append(module(batch.to(self.device)).float().cpu())
            self.report(f"{model.name} reads", min(len(parts) * BATCH_SIZE, len(inputs)), len(inputs))
        return torch.cat(parts)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise RequestError(f"--device {name}: cannot be used here ({reason}); use --device cpu") from None
    return device


def tunable(network: Network) -> dict[str, torch.nn.Parameter]:
    """The parameters that tuning may change, by name."""
    return {
        name: parameter
        for name, parameter in network.module.named_parameters()
        if not name.startswith(network.frozen or ("\0",))
    }


def _lay_over(network: Network, model: Model) -> None:
    assert model.artifact is not None
    if not model.artifact.path.is_file():
        raise CellError(f"{model.name}: the artifact {model.artifact.path} is gone; run again to make it")
    tensors = model.artifact.tensors()
    places = {**dict(network.module.named_buffers()), **dict(network.module.named_parameters())}
    if network.head and network.head.name in tensors and model.artifact.manifest()["labels"] != [*model.space.labels]:
        raise SkipError(f"{model.name}: a tuned head answers only for the classes that it was tuned on")
    for name, tensor in tensors.items():
        if name not in places or places[name].shape != tensor.shape:
            raise CellError(f"{model.name}: artifact {model.artifact.key[:12]} does not fit at {name!r}")
        with torch.no_grad():
            places[name].copy_(tensor)
