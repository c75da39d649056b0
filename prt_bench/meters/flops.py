"""FLOPs, counted on the meta device: no weights, no kernels, no differences between machines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count, flop_registry

from prt_bench.api import Network

__all__ = ["Count", "count_forward", "count_training", "input_shape"]

# Operations that the convention does not count: data movement, norms, softmax, reductions. Any other
# operation without a formula makes a count invalid.
NEGLIGIBLE = frozenset(
    """
    _adaptive_avg_pool2d _adaptive_avg_pool2d_backward _log_softmax _log_softmax_backward_data
    _native_batch_norm_legit _native_batch_norm_legit_no_training _safe_softmax _softmax _softmax_backward_data
    _to_copy _unsafe_view add_ alias amax arange argmax as_strided as_strided_ avg_pool2d avg_pool2d_backward cat clone
    constant_pad_nd copy_ cudnn_batch_norm detach embedding embedding_dense_backward
    empty empty_like expand fill_ full full_like gather
    gelu_backward index index_put index_select lift_fresh linalg_vector_norm logsumexp masked_fill masked_fill_ max
    max_pool2d_with_indices max_pool2d_with_indices_backward mean native_batch_norm native_batch_norm_backward
    native_dropout native_group_norm native_group_norm_backward native_layer_norm native_layer_norm_backward
    new_empty new_empty_strided new_ones new_zeros nll_loss_backward nll_loss_forward ones ones_like permute repeat
    scalar_tensor scatter select select_backward slice slice_backward split split_with_sizes squeeze stack std sum t
    threshold_backward topk transpose unbind unsqueeze upsample_bicubic2d var var_mean view zero_ zeros
    zeros_like
    """.split()  # noqa: SIM905 - a list of words reads best as words
)


@dataclass(frozen=True)
class Count:
    """FLOPs of one pass of one example, element-wise operations beside them, and operations without a formula."""

    flops: int
    elementwise: int
    uncounted: tuple[str, ...]


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts element-wise operations and lists operations that nothing counts."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.elementwise = 0
        self.uncounted: set[str] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in flop_registry:
            return out
        if torch.Tag.pointwise in func.tags:
            if isinstance(out, torch.Tensor):
                self.elementwise += out.numel()
        elif not func.is_view and func.overloadpacket.__name__ not in NEGLIGIBLE:
            self.uncounted.add(str(func.overloadpacket))
        return out


Shape = Sequence[int]


def _convolution_backward(
    gradient: Shape,
    inputs: Shape,
    weight: Shape,
    bias: Shape | None,
    stride: Shape,
    padding: Shape,
    dilation: Shape,
    transposed: bool,
    output_padding: Shape,
    groups: int,
    wanted: Sequence[bool],
    **_: Any,
) -> int:
    """The gradients of inputs and of weights cost one forward pass each; PyTorch's own formula forgets groups."""
    return int(conv_flop_count(list(inputs), list(weight), list(gradient), transposed)) * sum(wanted[:2])


OWN_FORMULAS = {torch.ops.aten.convolution_backward: _convolution_backward}


def counted(run: Callable[[], object]) -> Count:
    """Count whatever `run` does."""
    counter = FlopCounterMode(display=False, custom_mapping=OWN_FORMULAS)
    watch = _Watch()
    with counter, watch:
        run()
    return Count(int(counter.get_total_flops()), watch.elementwise, tuple(sorted(watch.uncounted)))


def input_shape(network: Network) -> tuple[int, ...]:
    """Shape of one preprocessed image, without the batch."""
    from PIL import Image

    return tuple(network.preprocess([Image.new("RGB", (8, 8))]).shape[1:])


def count_forward(network: Network, inputs: Any) -> Count:
    """A pass of these inputs through a network on the meta device, as at inference."""

    def run() -> None:
        with torch.no_grad():
            network.module(inputs)

    network.module.eval()
    return counted(run)


def count_training(network: Network, inputs: Any) -> Count:
    """The same, forward and backward, as in training; what does not learn has its gradients off already."""
    return counted(lambda: network.module(inputs).sum().backward())
