"""The tuned target: fine-tuning done again at every upgrade."""

from prt_bench.api import Artifact, Composition, Data, Method, MethodCard, Model, Tools, WeightedSum


class FullFinetune(Method):
    """z_T′."""

    card = MethodCard(
        name="full-finetune",
        title="Tuned target",
        role="reference",
        stands_for="tuned target",
        summary="The new model, tuned: what portable methods are compared with, and not always a ceiling.",
        weights=("target",),
        needs={"port": ("train",)},
    )

    def port(self, artifact: Artifact | None, source: Model, target: Model, data: Data, tools: Tools) -> Artifact:
        return tools.tune(target, data.train)

    def attach(self, artifact: Artifact | None, source: Model, target: Model) -> Composition:
        return Composition({"tuned": target.tuned(artifact)}, WeightedSum(tuned=1.0))
