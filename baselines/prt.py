"""Portable reward tuning: a reward trained once with the source frozen in the loss, added to any target."""

from prt_bench.api import Artifact, Composition, Data, Method, MethodCard, Model, Setting, Tools, WeightedSum

BIBTEX = """@inproceedings{chijiwa2025portable,
  title = {Portable Reward Tuning: Towards Reusable Fine-Tuning across Different Pretrained Models},
  author = {Chijiwa, Daiki and Hasegawa, Taku and Nishida, Kyosuke and Saito, Kuniko and Takeuchi, Susumu},
  booktitle = {International Conference on Machine Learning},
  year = {2025},
  eprint = {2502.12776}, archivePrefix = {arXiv}
}"""


class PortableRewardTuning(Method):
    """Train π ∝ p_S · exp(r / λ), use log p_T + (w / λ) · r: Chijiwa et al., ICML 2025, eqs. 6, 7 and 10.

    Published: λ = w = 1. Other values are an extension.
    """

    card = MethodCard(
        name="prt",
        title="PRT",
        summary="Portable reward tuning: a reward that starts at the source's weights and learns beside it.",
        source="Chijiwa et al., ICML 2025, arXiv 2502.12776",
        bibtex=BIBTEX,
        needs={"fit": ("train",)},
        settings={"lambda": Setting(1.0, 0.01, 100.0, "weight of the KL term in training")},
        strengths={"weight": Setting(1.0, 0.0, 10.0, "weight of the reward at inference")},
    )

    def fit(self, source: Model, data: Data, tools: Tools) -> Artifact:
        rule = WeightedSum(source=1.0, trained=1.0 / self.number("lambda"))
        return tools.tune(source, data.train, frozen={"source": source}, rule=rule)

    def attach(self, artifact: Artifact | None, source: Model, target: Model) -> Composition:
        rule = WeightedSum(target=1.0, reward=self.number("weight") / self.number("lambda"))
        return Composition({"target": target, "reward": source.tuned(artifact)}, rule)
