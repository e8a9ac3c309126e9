"""A warning where learned terms in units of their own stand side by side, and nowhere else."""

import logging

import pytest
import torch
from torch import nn

from engine import Finite, Variable
from engine.energy import Sum, Summand, Term
from modules.discrete.table import Table
from services.reasoner.compile import _warn_of_units

X = Variable("x", Finite((0, 1)))


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


def told(caplog, *terms: Term, weight: float = 1.0) -> str:
    summands = Sum(*(Summand(t, weight, f"t{k}") for k, t in enumerate(terms))).summands()
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
    assert told(caplog, Learned(X), InNats(X), weight=0.5) == ""
