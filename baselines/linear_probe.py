"""A linear classifier on the target's features: the cheapest way to tune again at every upgrade."""

from prt_bench.api import Artifact, Composition, Data, Method, MethodCard, Model, Setting, Tools, WeightedSum

BIBTEX = """@inproceedings{radford2021learning,
  title = {Learning Transferable Visual Models From Natural Language Supervision},
  author = {Radford, Alec and others},
  booktitle = {International Conference on Machine Learning},
  year = {2021},
  eprint = {2103.00020}, archivePrefix = {arXiv}
}"""


class LinearProbe(Method):
    """z_T′ where the head alone is tuned; it starts as the zero-shot head, as in Kumar et al., ICLR 2022."""

    card = MethodCard(
        name="linear-probe",
        title="Linear probe on the target",
        summary="The new model with a tuned head: its features are computed once.",
        weights=("target",),
        source="Radford et al., ICML 2021; Kumar et al., ICLR 2022",
        bibtex=BIBTEX,
        reads="images",
        needs={"port": ("train",)},
        settings={"learning_rate": Setting(5.0, 0.001, 1000.0, "factor on the recipe's learning rate")},
    )

    def port(self, artifact: Artifact | None, source: Model, target: Model, data: Data, tools: Tools) -> Artifact:
        return tools.tune(target, data.train, learns="head", learning_rate=self.number("learning_rate"))

    def attach(self, artifact: Artifact | None, source: Model, target: Model) -> Composition:
        return Composition({"tuned": target.tuned(artifact)}, WeightedSum(tuned=1.0))
