"""What verbs are charged, and what several of them cost together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prt_bench.ledger import Charge, Ledger, total
from prt_bench.records import CostTerm

TERMS = st.builds(
    CostTerm,
    train_flops=st.none() | st.integers(0, 10**18),
    seconds=st.none() | st.floats(0, 1e6),
    examples=st.integers(0, 10**6),
    reused=st.booleans(),
    read=st.dictionaries(st.sampled_from(("train", "validation")), st.integers(0, 1000)),
)


def test_a_verb_pays_its_own_time_and_every_charge_at_full_price() -> None:
    ledger = Ledger([Charge(10, 2.0, 3, reused=True), Charge(5, 0.5, 4, reused=False)], seconds_inside=1.5)
    term = ledger.term(4.0, {"train": 7})
    assert (term.train_flops, term.seconds, term.examples, term.read) == (15, 2.5 + 2.5, 7, {"train": 7})
    assert not term.reused, "a part of it was paid now"


def test_a_verb_that_asked_for_nothing_costs_its_own_time() -> None:
    term = Ledger().term(0.25, {})
    assert (term.train_flops, term.seconds, term.examples, term.reused) == (0, 0.25, 0, False)


def test_a_verb_reuses_where_all_it_asked_for_was_paid_before() -> None:
    assert Ledger([Charge(1, 1.0, 1, reused=True), Charge(1, 1.0, 1, reused=True)]).term(1.0, {}).reused


@pytest.mark.parametrize(("flops", "seconds"), [(None, 1.0), (1, None), (None, None)])
def test_what_nobody_knows_of_one_charge_nobody_knows_of_the_verb(flops: int | None, seconds: float | None) -> None:
    """A published encoder has no seconds; an operation without a formula has no FLOPs."""
    term = Ledger([Charge(2, 2.0, 1, reused=False), Charge(flops, seconds, 1, reused=False)]).term(3.0, {})
    assert term.train_flops == (None if flops is None else 3)
    assert term.seconds == (None if seconds is None else 3.0 + 3.0)
    assert term.examples == 2


def test_time_inside_a_tool_is_counted_even_where_the_tool_fails() -> None:
    ledger = Ledger()
    with pytest.raises(ValueError, match="broken"), ledger.inside():
        raise ValueError("broken")
    assert ledger.seconds_inside > 0
    before = ledger.seconds_inside
    with ledger.inside():
        pass
    assert ledger.seconds_inside > before


@given(st.lists(TERMS, min_size=1, max_size=6))
def test_several_pieces_cost_their_sum_and_an_unknown_one_makes_it_unknown(terms: list[CostTerm]) -> None:
    found = total(terms)
    flops, seconds = [term.train_flops for term in terms], [term.seconds for term in terms]
    assert found.examples == sum(term.examples for term in terms)
    if None in flops:
        assert found.train_flops is None
    else:
        assert found.train_flops == sum(value for value in flops if value is not None)
    if None in seconds:
        assert found.seconds is None
    else:
        assert found.seconds == pytest.approx(sum(value for value in seconds if value is not None))
    roles = {role for term in terms for role in term.read}
    assert found.read == {role: max(term.read.get(role, 0) for term in terms) for role in roles}


@given(st.lists(TERMS, min_size=1, max_size=6))
def test_several_pieces_are_reused_only_where_each_that_cost_something_is(terms: list[CostTerm]) -> None:
    paid = [term.reused for term in terms if term.examples]
    assert total(terms).reused == (bool(paid) and False not in paid)


def test_one_piece_costs_what_it_costs() -> None:
    term = CostTerm(train_flops=3, seconds=1.5, examples=2, reused=True, read={"train": 2})
    assert total([term]) == term
