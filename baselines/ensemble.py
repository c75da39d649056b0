"""The tuned source and the new model, added: the plainest portable method."""

from prt_bench.api import Artifact, Composition, Data, Method, MethodCard, Model, Setting, Tools, WeightedSum


class Ensemble(Method):
    """log p_T + w log p_S′."""

    card = MethodCard(
        name="ensemble",
        title="Plain ensemble",
        stands_for="plain ensemble",
        summary="Product of the untuned target and the tuned source; PRT's cost without its training.",
        needs={"fit": ("train",)},
        strengths={"weight": Setting(1.0, 0.0, 10.0, "weight of the tuned source")},
    )

    def fit(self, source: Model, data: Data, tools: Tools) -> Artifact:
        return tools.tune(source, data.train)

    def attach(self, artifact: Artifact | None, source: Model, target: Model) -> Composition:
        rule = WeightedSum(target=1.0, tuned=self.number("weight"))
        return Composition({"target": target, "tuned": source.tuned(artifact)}, rule)
