"""Nothing tuned: the target as it is, and the source as it is."""

from prt_bench.api import Artifact, Composition, Method, MethodCard, Model, WeightedSum

BIBTEX = """@inproceedings{radford2021learning,
  title = {Learning Transferable Visual Models From Natural Language Supervision},
  author = {Radford, Alec and others},
  booktitle = {International Conference on Machine Learning},
  year = {2021},
  eprint = {2103.00020}, archivePrefix = {arXiv}
}"""


class ZeroShot(Method):
    """z_T."""

    card = MethodCard(
        name="zero-shot",
        title="Untuned target",
        role="floor",
        stands_for="untuned target",
        summary="The new model as it is.",
        weights=(),
        source="Radford et al., ICML 2021",
        bibtex=BIBTEX,
    )

    def attach(self, artifact: Artifact | None, source: Model, target: Model) -> Composition:
        return Composition({"target": target}, WeightedSum(target=1.0))


class SourceZeroShot(Method):
    """z_S."""

    card = MethodCard(
        name="source-zero-shot",
        title="Untuned source",
        role="floor",
        summary="The old model as it is: no tuning and no upgrade.",
        weights=(),
        source="Radford et al., ICML 2021",
        bibtex=BIBTEX,
    )

    def attach(self, artifact: Artifact | None, source: Model, target: Model) -> Composition:
        return Composition({"source": source}, WeightedSum(source=1.0))
