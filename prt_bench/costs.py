"""What a composition costs per query: declared and counted FLOPs, parameters, bytes of weights and of kept keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch

from prt_bench.api import Composition, Model, Network, Rule, TextNetwork, TokenBatch
from prt_bench.composing import compose, shared_outputs
from prt_bench.errors import CellError
from prt_bench.files import digest
from prt_bench.meters.flops import Count, counted
from prt_bench.meters.pricing import forward_price, training_price
from prt_bench.meters.queries import Query
from prt_bench.networks import Networks
from prt_bench.plausible import AGREEMENT
from prt_bench.probing import probe_of
from prt_bench.records import Flops, Memory, ParameterCount
from prt_bench.task_spec import Recipe
from prt_bench.work import Price

__all__ = ["CompositionMeter"]


@dataclass(frozen=True)
class _Member:
    """What is known of a network's shape."""

    price: Price
    closed_form: Price | None
    parameters: int
    weight_bytes: int
    bytes_per_token: int
    preprocessing: str


class CompositionMeter:
    """FLOPs, parameters and bytes of compositions, from networks without weights."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self._members: dict[str, _Member] = {}
        self._training: dict[str, Price] = {}

    def measure(self, composition: Composition, query: Query) -> tuple[Flops, ParameterCount, Memory]:
        """Per query. Calls are measured by running the composition; a network that is two members runs once.

        Raises:
            CellError: what ran is not, within 1 %, what members and rule declare.
        """
        found = {name: self._member(model) for name, model in composition.members.items()}
        once = {model.key: found[name] for name, model in composition.members.items()}
        flops = self._flops(composition, query, found)
        parameters = {name: member.parameters for name, member in found.items()}
        kept = sum(member.bytes_per_token for member in once.values()) * query.kept_tokens
        return (
            flops,
            ParameterCount(total=sum(member.parameters for member in once.values()), by_member=parameters),
            Memory(
                weights=sum(member.weight_bytes for member in once.values()),
                kv=kept if query.kept_tokens else None,
            ),
        )

    def price(self, model: Model) -> Price:
        """FLOPs of a pass at inference."""
        return self._member(model).price

    def training(self, model: Model, recipe: Recipe | None = None) -> Price:
        """FLOPs of a pass forward and backward, of what learns by a recipe; without one, of all that may learn.

        Of a head alone, a pass of the head: its features are there.
        """
        low_rank, checkpointing, head = None, False, False
        if recipe is not None:
            low_rank, checkpointing, head = recipe.low_rank, recipe.checkpointing, recipe.learns == "head"
        shown = low_rank.model_dump() if low_rank else None
        key = digest([model.identity, model.space.key, shown, checkpointing, head])
        if key not in self._training:
            network = self._networks.shape_only(model)
            self._training[key] = training_price(probe_of(network) if head else network, low_rank, checkpointing)
        return self._training[key]

    def parameters(self, model: Model) -> int:
        """How many parameters a model has."""
        return self._member(model).parameters

    def preprocessings(self, composition: Composition) -> int:
        """How many kinds of preprocessing the members need."""
        return len({self._member(model).preprocessing for model in composition.members.values()})

    def shape(self, model: Model) -> str:
        """Equal for networks that surely do the same work: one architecture, of the same counts."""
        card, member = model.card, self._member(model)
        # What a network without a public architecture is, its own weights and code say.
        name = model.identity if card.embedded else [card.family, card.architecture, card.activation, card.config]
        counts = [str(member.price), member.parameters, member.weight_bytes, model.space.size]
        return digest([name, card.image_size, card.dtype, *counts])

    def _flops(self, composition: Composition, query: Query, found: Mapping[str, _Member]) -> Flops:
        calls = _calls(composition)
        columns = shared_outputs(list(composition.members.values())).size
        rule = _rule_count(composition, columns)
        parts = {name: query.flops(member.price) for name, member in found.items()}
        uncounted = sorted({op for member in found.values() for op in member.price.uncounted} | set(rule.uncounted))
        own = rule.flops * query.rows
        total = None if uncounted else round(_sum(parts[name].total for name in calls.elements())) + own
        text = bool(query.kept_tokens) and total is not None
        forms = {name: member.closed_form for name, member in found.items()}
        declared_rule = composition.rule.flops(columns) * query.rows if isinstance(composition.rule, Rule) else 0
        declared = {
            name: query.flops(forms[name] or member.price).total for name, member in found.items() if name in calls
        }
        if total is not None:
            _refuse_hidden(declared, declared_rule, total)
        return Flops(
            total=total,
            by_member={name: part.total for name, part in parts.items()},
            calls={name: float(calls[name]) for name in found},
            rule=own,
            rule_elementwise=rule.elementwise * query.rows,
            analytic=None if None in forms.values() else _sum(declared.values()) + declared_rule,
            counted=total,
            causal=_sum(parts[name].causal for name in calls.elements()) + own if text else None,
            uncounted_ops=uncounted,
            prefill=_sum(parts[name].prefill for name in calls.elements()) if text else None,
            per_token=_sum(parts[name].per_token for name in calls.elements()) if text else None,
        )

    def _member(self, model: Model) -> _Member:
        key = digest([model.identity, model.space.key])
        if key not in self._members:
            network = self._networks.shape_only(model)
            tensors = [*network.module.parameters(), *network.module.buffers()]
            family = self._networks.registry.family(model.card)
            self._members[key] = _Member(
                forward_price(network),
                family.closed_form(model.card, model.space, self._networks.places),
                sum(parameter.numel() for parameter in network.module.parameters()),
                sum(tensor.numel() * tensor.element_size() for tensor in tensors),
                _bytes_per_token(network),
                digest(dict(network.preprocessing) or model.identity),
            )
        return self._members[key]


def _calls(composition: Composition) -> Counter[str]:
    """Member → how often it runs for one query, as measured on a batch of two."""
    calls: Counter[str] = Counter()
    answers: dict[str, torch.Tensor] = {}

    def forward(name: str, model: Model) -> torch.Tensor:
        if model.key not in answers:
            calls[name] += 1
            answers[model.key] = torch.zeros(2, model.space.size)
        return answers[model.key]

    compose(composition, forward)
    return calls


def _rule_count(composition: Composition, columns: int) -> Count:
    """What the rule does with one row. The outputs are drawn, so that a rule cannot tell that it is watched by them."""
    generator = torch.Generator().manual_seed(0)
    one = {name: torch.randn(1, columns, generator=generator) for name in composition.members}
    return counted(lambda: composition.rule(one))


def _refuse_hidden(declared: Mapping[str, int | None], rule: int, ran: int) -> None:
    expected = _sum(declared.values()) + rule
    if abs(ran - expected) > AGREEMENT * expected:
        members = ", ".join(f"{name} {(value or 0) / 1e9:.6g}" for name, value in declared.items())
        raise CellError(
            f"what ran is not what was declared: {ran / 1e9:.6g} GFLOPs per query were counted, members and rule "
            f"declare {expected / 1e9:.6g} ({members}, rule {rule / 1e9:.6g}). A network that a rule runs by itself "
            "has to be a member; products of the rule's own belong into `Rule.flops`"
        )


def _sum(values: Iterable[int | None]) -> int:
    return sum(value or 0 for value in values)


def _bytes_per_token(network: Network) -> int:
    """Keys and values of one token."""
    if not isinstance(network, TextNetwork):
        return 0
    past = network.new_past()
    with torch.no_grad():
        network.module(TokenBatch(torch.zeros(1, 1, dtype=torch.long, device="meta"), past=past))
    return past.nbytes
