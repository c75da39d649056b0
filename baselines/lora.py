"""Thin matrices beside the target's layers: the cheap way to tune again at every upgrade."""

from prt_bench.api import Artifact, Composition, Data, Method, MethodCard, Model, Setting, Tools, WeightedSum

BIBTEX = """@inproceedings{hu2022lora,
  title = {{LoRA}: Low-Rank Adaptation of Large Language Models},
  author = {Hu, Edward J. and Shen, Yelong and Wallis, Phillip and Allen-Zhu, Zeyuan and others},
  booktitle = {International Conference on Learning Representations},
  year = {2022},
  eprint = {2106.09685}, archivePrefix = {arXiv}
}"""


class LowRankTuning(Method):
    """z_T′ with T′ tuned by LoRA and merged: Hu et al., ICLR 2022."""

    card = MethodCard(
        name="lora",
        title="LoRA on the target",
        summary="The new model, tuned through low-rank matrices that are merged into its weights.",
        weights=("target",),
        source="Hu et al., ICLR 2022, arXiv 2106.09685",
        bibtex=BIBTEX,
        needs={"port": ("train",)},
        settings={
            "rank": Setting(8, 1, 1024, "rank of the matrices; alpha is twice as large"),
            # Proxy-tuning (COLM 2024) tunes whole models at 2e-5 and by LoRA at 1e-4.
            "learning_rate": Setting(5.0, 0.001, 1000.0, "factor on the recipe's learning rate"),
        },
    )

    def port(self, artifact: Artifact | None, source: Model, target: Model, data: Data, tools: Tools) -> Artifact:
        return tools.tune(target, data.train, rank=int(self.number("rank")), learning_rate=self.number("learning_rate"))

    def attach(self, artifact: Artifact | None, source: Model, target: Model) -> Composition:
        return Composition({"tuned": target.tuned(artifact)}, WeightedSum(tuned=1.0))
