"""The tuned source, kept: no upgrade at all."""

from prt_bench.api import Artifact, Composition, Data, Method, MethodCard, Model, Tools, WeightedSum


class SourceFinetune(Method):
    """z_S′."""

    card = MethodCard(
        name="source-finetune",
        title="Tuned source",
        role="floor",
        summary="The old model, tuned; what a user has who does not upgrade.",
        needs={"fit": ("train",)},
    )

    def fit(self, source: Model, data: Data, tools: Tools) -> Artifact:
        return tools.tune(source, data.train)

    def attach(self, artifact: Artifact | None, source: Model, target: Model) -> Composition:
        return Composition({"tuned": source.tuned(artifact)}, WeightedSum(tuned=1.0))
