"""Rules that a first search left broken, against enumeration."""

import itertools

import pytest
import torch

from engine.energy import required
from engine.errors import BadQuery
from engine.minimizers.beam import Beam
from engine.minimizers.completed import Completed
from engine.minimizers.portfolio import Portfolio
from engine.problem import Problem
from engine.search import ahead
from engine.settle import answers
from engine.testing import check_minimizer
from modules.discrete.all_different import AllDifferent
from modules.discrete.linear import Linear
from tests.support.trails import trail


def contradiction(count: int, values: int):
    """Sites that differ, whose sum is one more than they can have."""
    term = trail(count, values)
    x = term.scope[0].variable
    apart = AllDifferent(x, lines=[[*range(count)]])
    most = sum(range(values - count, values))
    terms = [[s, v, v] for s in range(count) for v in range(values)]
    return term, apart, lambda more: Linear(x, terms=terms, compare=">=", constant=most + more)


def lanes_apart(monkeypatch):
    """As where all rules together are too wide."""
    whole = ahead._lane

    def lane(problem, *more):
        several = len(problem.summands) > 1
        return "too wide" if several else whole(problem, *more)

    monkeypatch.setattr(ahead, "_lane", lane)


@pytest.mark.parametrize("more", [0, 1])
def test_what_lanes_do_not_foresee_is_decided(monkeypatch, more):
    lanes_apart(monkeypatch)
    term, apart, linear = contradiction(4, 5)
    problem = Problem(1.0 * term + required(apart + linear(more)))
    (answer,) = answers(problem, Completed(Beam((1,))), particles=1)
    states = torch.tensor(list(itertools.permutations(range(5), 4)))
    assert bool((states.sum(1) >= 10 + more).any()) is (more == 0)
    assert answer.status == ("INFEASIBLE" if more else "SATISFIED")
    if not more:
        at = torch.tensor([answer.values["x"]])
        assert answer.energy == pytest.approx(float(term.cost(at)), abs=1e-5)
        assert len(set(answer.values["x"])) == 4 and sum(answer.values["x"]) == 10


def test_it_keeps_the_laws_of_a_minimizer(monkeypatch):
    lanes_apart(monkeypatch)
    term, apart, linear = contradiction(4, 5)
    problem = Problem(1.0 * term + required(apart + linear(0)))
    rows = problem.given_rows([{}, {"x": [0, None, None, None]}, {"x": [4, None, None, None]}])
    check_minimizer(Completed(Beam((1, 4))), rows, steps=30)


def test_the_portfolio_ends_what_beginnings_leave():
    term = trail(9, 6)
    two = [[k, 2, 1] for k in range(9)]
    rule = Linear(term.scope[0].variable, terms=two, compare="==", constant=3)
    assert Portfolio()._of(Problem(1.0 * term + required(rule))) == (Completed(Beam()),)
    assert Portfolio()._of(Problem(1.0 * term)) == (Beam(),)


def test_it_needs_rules():
    problem = Problem(1.0 * trail(4, 3))
    assert "no rules" in (Completed(Beam()).refuses(problem) or "")
    with pytest.raises(BadQuery, match="no rules"):
        answers(problem, Completed(Beam()))
