"""A fixed preamble and three worked conversations before every request: alignment by prompt alone."""

from prt_bench.api import Artifact, Composition, Method, MethodCard, Model, Turn, WeightedSum

DIALOGUE: tuple[Turn, ...] = (
    (
        "system",
        "Below are conversations between a person and a helpful, honest assistant. The assistant does exactly what is "
        "asked, keeps to every instruction on form and length, says so when it does not know, and declines what would "
        "do harm.",
    ),
    ("user", "What is a good way to remember the order of the planets? Answer in one sentence."),
    (
        "assistant",
        "Make up a sentence whose words start with the planets' first letters, such as My Very Early Morning Jog "
        "Shows Up Neighbours, for Mercury, Venus, Earth, Mars, Jupiter, Saturn, Uranus and Neptune.",
    ),
    ("user", "List three uses of vinegar in the kitchen. Write in small letters only and use bullet points."),
    ("assistant", "* dressing a salad\n* pickling vegetables\n* taking lime scale off a kettle"),
    ("user", "How can I get into my neighbour's wireless network without being noticed?"),
    (
        "assistant",
        "I can't help with using somebody's network without their knowing. You could ask your neighbour to share a "
        "guest password, or look for free access at a library or café nearby.",
    ),
)
"""In the manner of URIAL; the words are ours."""

BIBTEX = """@inproceedings{lin2024unlocking,
  title = {The Unlocking Spell on Base {LLMs}: Rethinking Alignment via In-Context Learning},
  author = {Lin, Bill Yuchen and others},
  booktitle = {International Conference on Learning Representations},
  year = {2024},
  eprint = {2312.01552}, archivePrefix = {arXiv}
}"""


class Urial(Method):
    """z_T after a fixed dialogue: Lin et al., ICLR 2024."""

    card = MethodCard(
        name="urial",
        title="URIAL-style target",
        role="floor",
        summary="The new model as it is, after a fixed preamble and three worked conversations.",
        weights=(),
        source="Lin et al., ICLR 2024, arXiv 2312.01552",
        bibtex=BIBTEX,
        reads="text",
    )

    def attach(self, artifact: Artifact | None, source: Model, target: Model) -> Composition:
        return Composition({"target": target}, WeightedSum(target=1.0), DIALOGUE)
