"""Worked examples before every request, and nothing tuned: the floor that zero-shot hides."""

from prt_bench.api import Artifact, Composition, Data, Method, MethodCard, Model, Setting, Tools, Turn, WeightedSum

BIBTEX = """@inproceedings{brown2020language,
  title = {Language Models are Few-Shot Learners},
  author = {Brown, Tom B. and others},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2020},
  eprint = {2005.14165}, archivePrefix = {arXiv}
}"""


class FewShot(Method):
    """z_T after k examples of the training set: Brown et al., NeurIPS 2020."""

    card = MethodCard(
        name="few-shot",
        title="Few-shot target",
        role="floor",
        summary="The new model as it is, shown a few training examples before every request.",
        weights=(),
        source="Brown et al., NeurIPS 2020, arXiv 2005.14165",
        bibtex=BIBTEX,
        reads="text",
        tunes=False,
        needs={"fit": ("train",)},
        settings={"shots": Setting(4, 1, 64, "how many examples stand before a request")},
    )

    def fit(self, source: Model, data: Data, tools: Tools) -> Artifact:
        total = len(data.train)
        count = min(int(self.params["shots"]), total)
        # Spread over the whole set, and others for each seed.
        chosen = {(place * (total // count) + tools.seed) % total for place in range(count)}
        turns = [turn for place, example in enumerate(data.train) if place in chosen for turn in example.dialogue]
        return tools.save({}, {"dialogue": turns})

    def attach(self, artifact: Artifact | None, source: Model, target: Model) -> Composition:
        assert artifact is not None
        dialogue: tuple[Turn, ...] = tuple((who, words) for who, words in artifact.manifest()["made_from"]["dialogue"])
        return Composition({"target": target}, WeightedSum(target=1.0), dialogue)
