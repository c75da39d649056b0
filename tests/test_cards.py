"""What methods are on paper: whole, the same as they are in code, and kept to."""

from __future__ import annotations

import re

import pytest
import torch

from prt_bench.api import Artifact, Data, Method, MethodCard, Model, Setting, Tools
from prt_bench.cards import Cards, MethodFacts
from prt_bench.errors import CellError
from prt_bench.registry import Registry
from prt_bench.toolbox import opened
from tests.conftest import SOURCE, TARGET, Bench

METHODS = sorted(Registry().methods)


def facts(name: str) -> MethodFacts:
    return Registry().method(name).method.card.facts()


@pytest.mark.parametrize("name", METHODS)
def test_a_method_that_ships_says_what_it_is_and_how_to_cite_it(name: str) -> None:
    told = facts(name)
    assert told.name == name
    assert re.fullmatch(r"[A-Z].{15,}\.", told.summary), "a sentence"
    assert all(setting.help for setting in told.parameters.values())
    assert bool(told.source) == bool(told.bibtex)
    if told.bibtex:
        assert re.match(r"@\w+\{[\w-]+,\s", told.bibtex)
        depth = 0
        for place, sign in enumerate(told.bibtex.strip(), start=1):
            depth += {"{": 1, "}": -1}.get(sign, 0)
            assert depth >= 0
            assert depth > 0 or place == len(told.bibtex.strip()) or "{" not in told.bibtex[:place]
        assert depth == 0
        fields = dict(re.findall(r"^\s*(\w+)\s*=\s*[{\"](.*?)[}\"],?\s*$", told.bibtex, re.M))
        assert {"author", "title", "year"} <= {field.lower() for field in fields}
        year = re.search(r"\d{4}", fields["year"])
        assert year is not None
        assert year[0] in told.source, "the entry is of what is named"


def test_facts_are_the_card_and_survive_a_record() -> None:
    card = MethodCard(
        name="mine", title="Mine", role="reference", summary="S.", source="Here, 2026", bibtex="@misc{a}",
        reads="text", needs={"fit": ("train",), "port": ("unlabelled",)}, weights=("source", "target"),
        settings={"rank": Setting(4, low=1, high=64, help="how many")}, strengths={"alpha": Setting(1.0)},
    )  # fmt: skip
    told = card.facts()
    assert told.model_dump(exclude={"parameters"}) == {
        "name": "mine", "title": "Mine", "role": "reference", "summary": "S.", "source": "Here, 2026",
        "bibtex": "@misc{a}", "reads": "text", "needs": {"fit": ("train",), "port": ("unlabelled",)},
        "weights": ("source", "target"),
    }  # fmt: skip
    rank, alpha = told.parameters["rank"], told.parameters["alpha"]
    assert (rank.default, rank.low, rank.high, rank.help, rank.strength) == (4, 1, 64, "how many", False)
    assert (alpha.default, alpha.strength) == (1.0, True)
    cards = Cards(methods={"mine": told}, models={}, task=None)
    assert Cards.model_validate_json(cards.model_dump_json()) == cards


class Nosy(Method):
    """Asks for nothing on paper, and for weights in deed."""

    card = MethodCard(name="nosy", title="Nosy", needs={"port": ("train",)}, weights=("source",))

    def port(
        self, artifact: Artifact | None, source: Model, target: Model, data: Data, tools: Tools
    ) -> Artifact | None:
        return tools.tune(target, data.train)

    def attach(self, artifact: Artifact | None, source: Model, target: Model) -> None:  # type: ignore[override]
        raise NotImplementedError


def test_tools_give_no_weights_that_the_card_does_not_ask_for(bench: Bench) -> None:
    source, target = bench.model(SOURCE), bench.model(TARGET)
    tools = bench.tools(steps=1)
    tools.opened = opened(Nosy(), {"source": source, "target": target})
    refused = f"the card does not ask for the weights of {TARGET}: name `source` or `target` in `weights`"
    with pytest.raises(CellError, match=refused):
        tools.weights(target)
    with pytest.raises(CellError, match=refused):
        Nosy().port(None, source, target, bench.data(), tools)
    assert all(isinstance(tensor, torch.Tensor) for tensor in tools.weights(source).values())
    assert tools.tune(source, bench.data().train).key
    assert len(tools.outputs(target, bench.data().train)), "outputs of it are not its weights"


@pytest.mark.parametrize(
    ("weights", "names"), [((), set()), (("target",), {TARGET}), (("source", "target"), {SOURCE, TARGET})]
)
def test_what_is_open_is_what_the_card_names(weights: tuple[str, ...], names: set[str], bench: Bench) -> None:
    class Asking(Nosy):
        card = MethodCard(name="asking", title="Asking", weights=weights)  # type: ignore[arg-type]

    assert opened(Asking(), {"source": bench.model(SOURCE), "target": bench.model(TARGET)}) == names
    assert opened(Asking(), {"source": bench.model(SOURCE)}) == names & {SOURCE}, "before an upgrade there is no target"
