"""A warning where learned terms in units of their own stand side by side, and nowhere else."""

import logging

import pytest
import torch
from torch import nn

from engine import Finite, Variable
from engine.energy import Sum, Summand, Term
from modules.discrete.table import Table
from services.query import Query, query_of
from services.reasoner.compile import _warn_of_units, _weightless
from services.v1 import query_pb2
from services.wire.query import term_to_proto

X = Variable("x", Finite((0, 1)))
TABLE = {"kind": "discrete.table", "scope": ["x"], "params": {"costs": [0, 1]}, "required": False}


def query(**more: float) -> Query:
    return query_of({"variables": {"x": {"values": [0, 1]}}, "terms": [TABLE | more]})


SAID, UNSAID = query(weight=1.0), query()


class Learned(Term):
    """A trained cost of each value."""

    def __init__(self, x: Variable):
        super().__init__(x)
        self.costs = nn.Parameter(torch.zeros(2))

    def energy(self, x):
        return x @ self.costs


class InNats(Learned):
    """The same as a log-density."""

    calibrated = True


def told(caplog, *terms: Term) -> str:
    summands = Sum(*(Summand(t, 1.0, f"t{k}") for k, t in enumerate(terms))).summands()
    with caplog.at_level(logging.WARNING):
        _warn_of_units(list(summands))
    return caplog.text


@pytest.mark.parametrize("other", [Learned, InNats])
def test_a_learned_term_beside_another_is_told(caplog, other: type[Learned]) -> None:
    assert "t0" in told(caplog, Learned(X), other(X))


def test_costs_that_people_wrote_are_not(caplog) -> None:
    table = Table(X, sites=[0], costs=[0.0, 1.0])
    assert told(caplog, table, table, Learned(X)) == ""


def test_nor_what_has_a_weight(caplog) -> None:
    assert _weightless(SAID, [Sum(Summand(Learned(X), 1.0, "t0"))]) == []
    assert len(_weightless(UNSAID, [Sum(Summand(Learned(X), 1.0, "t0"))])) == 1


@pytest.mark.parametrize("query", [SAID, UNSAID])
def test_the_wire_says_a_weight_only_where_it_was_given(query: Query) -> None:
    message = query_pb2.Term()
    term_to_proto(query.terms[0], message)
    assert message.HasField("weight") == (query is SAID)
