"""Both models as they are, added."""

from prt_bench.api import Artifact, Composition, Method, MethodCard, Model, Setting, WeightedSum


class UntunedEnsemble(Method):
    """log p_T + w log p_S."""

    card = MethodCard(
        name="untuned-ensemble",
        title="Untuned ensemble",
        role="floor",
        stands_for="untuned ensemble",
        summary="What adding two models gives before anything is tuned.",
        weights=(),
        strengths={"weight": Setting(1.0, 0.0, 10.0, "weight of the source")},
    )

    def attach(self, artifact: Artifact | None, source: Model, target: Model) -> Composition:
        rule = WeightedSum(target=1.0, source=self.number("weight"))
        return Composition({"target": target, "source": source}, rule)
