"""Emulated fine-tuning: what tuning changed in the source is added to the target."""

from prt_bench.api import Artifact, Composition, Data, Method, MethodCard, Model, Setting, Tools, WeightedSum

BIBTEX = """@inproceedings{mitchell2024emulator,
  title = {An Emulator for Fine-Tuning Large Language Models using Small Language Models},
  author = {Mitchell, Eric and Rafailov, Rafael and Sharma, Archit and Finn, Chelsea and Manning, Christopher D.},
  booktitle = {International Conference on Learning Representations},
  year = {2024},
  eprint = {2310.12962}, archivePrefix = {arXiv}
}"""


class EmulatedFinetuning(Method):
    """log p_T + α (log p_S′ − log p_S): Mitchell et al., ICLR 2024; proxy-tuning, Liu et al., COLM 2024."""

    card = MethodCard(
        name="eft",
        title="EFT",
        summary="Emulated fine-tuning: the difference of the tuned and the untuned source, added to the target.",
        source="Mitchell et al., ICLR 2024, arXiv 2310.12962",
        bibtex=BIBTEX,
        needs={"fit": ("train",)},
        strengths={"alpha": Setting(1.0, 0.0, 10.0, "multiplier of the difference")},
    )

    def fit(self, source: Model, data: Data, tools: Tools) -> Artifact:
        return tools.tune(source, data.train)

    def attach(self, artifact: Artifact | None, source: Model, target: Model) -> Composition:
        alpha = self.number("alpha")
        members = {"target": target, "tuned": source.tuned(artifact), "source": source}
        return Composition(members, WeightedSum(target=1.0, tuned=alpha, source=-alpha))
