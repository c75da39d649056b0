"""A method of a third party: the ensemble whose weight is learnt from the source's own outputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prt_bench.api import Artifact, Composition, Data, Method, MethodCard, Model, Rule, Setting, Tools

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Shifted(Rule):
    """Logits plus a bias per class, scaled."""

    bias: "torch.Tensor"
    scale: float

    def __call__(self, outputs: Mapping[str, "torch.Tensor"]) -> "torch.Tensor":
        return outputs["target"] + self.scale * self.bias

    def spec(self) -> Mapping[str, Any]:
        return {"bias": self.bias.tolist(), "scale": self.scale}


class ClassBias(Method):
    """z_T + s · (log share of each class in train − the source's mean log-probability of it)."""

    card = MethodCard(
        name="class-bias",
        title="Class bias",
        summary="Moves the target's outputs by what the source gets wrong on average.",
        needs={"fit": ("train",)},
        strengths={"scale": Setting(0.5, 0.0, 2.0, "how far to move")},
    )

    def fit(self, source: Model, data: Data, tools: Tools) -> Artifact:
        import torch

        outputs = tools.outputs(source, data.train).log_softmax(-1)
        labels = torch.from_numpy(data.train.labels)
        share = torch.bincount(labels, minlength=outputs.shape[1]) / len(labels)
        bias = share.clamp_min(1e-6).log() - outputs.mean(0)
        return tools.save({"bias": bias}, {"source": source.key, "view": data.train.key})

    def attach(self, artifact: Artifact | None, source: Model, target: Model) -> Composition:
        assert artifact is not None
        return Composition({"target": target}, Shifted(artifact.tensors()["bias"], self.number("scale")))
