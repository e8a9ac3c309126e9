"""Search under stand-ins, against enumeration."""

import itertools

import pytest
import torch

from engine.domain import Finite, Variable
from engine.energy import Term, required
from engine.minimizers.annealing import Annealing
from engine.minimizers.portfolio import Portfolio
from engine.minimizers.stand_in import StandIn, neighbours
from engine.problem import Problem
from engine.settle import answers
from engine.testing import check_minimizer, check_term
from modules.discrete.all_different import AllDifferent
from modules.discrete.table import Table


class Tour(Term):
    """What neighbours in a chain cost, and 0.05 where the first site has value 0: opaque."""

    def __init__(self, x: Variable, cost: list[list[float]]):
        super().__init__(x)
        self.register_buffer("own", torch.tensor(cost))
        self.costs_told = cost

    def energy(self, x):  # (B, n, k) -> (B,)
        own = self.own.to(x.dtype)
        return torch.einsum("bti,btj,ij->b", x[:, :-1], x[:, 1:], own) + 0.05 * x[:, 0, 0]

    def factors(self, *domains):
        return None

    def stand_in(self):
        n = self.scope[0].places.size
        pairs = [[t, t + 1] for t in range(n - 1)]
        return Table(*self.scope, sites=pairs, costs=self.costs_told)


def tour(count: int, values: int, seed: int = 0) -> Tour:
    rng = torch.Generator().manual_seed(seed)
    cost = torch.rand(values, values, generator=rng).tolist()
    return Tour(Variable("x", Finite(tuple(range(values)), (count,))), cost)


def test_the_term_keeps_its_laws():
    check_term(tour(4, 4))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("values", [6, 7])
def test_it_finds_the_least_order(values, seed):
    term = tour(6, values, seed)
    rule = AllDifferent(term.scope[0].variable, lines=[[*range(6)]])
    problem = Problem(required(rule) + 1.0 * term)
    assert StandIn().refuses(problem) is None
    (answer,) = answers(problem, StandIn(Annealing(sweeps=50, patience=2)), particles=8)
    every = torch.tensor(list(itertools.permutations(range(values), 6)))
    least = float(term.energy(torch.nn.functional.one_hot(every, values).double()).min())
    assert answer.status == "SATISFIED"
    assert answer.energy == pytest.approx(least, abs=1e-5)


def test_it_keeps_the_laws_of_a_minimizer():
    term = tour(5, 6)
    x = term.scope[0].variable
    rule = AllDifferent(x, lines=[[0, 1, 2, 3]])
    problem = Problem(required(rule) + 0.5 * term)
    given = problem.given_rows([{}, {"x": [1, None, None, None, 2]}, {"x": [0, 0, *[None] * 3]}])
    check_minimizer(StandIn(Annealing(sweeps=20, patience=1)), given, steps=30)


def test_rules_that_leave_nothing_are_no_answer():
    term = tour(4, 5)
    rule = AllDifferent(term.scope[0].variable, lines=[[0, 1, 2, 3]])
    problem = Problem(required(rule) + 1.0 * term).given(x=[3, 3, None, None])
    (answer,) = answers(problem, StandIn(Annealing(sweeps=20, patience=1)))
    assert answer.status in ("INFEASIBLE", "UNSATISFIED")


def test_neighbours_are_all_states_one_move_away():
    term = tour(5, 6)
    rule = AllDifferent(term.scope[0].variable, lines=[[0, 1, 2, 3]])
    problem = Problem(required(rule) + 1.0 * term)
    at = torch.tensor([0, 1, 2, 3, 0]).numpy()
    every = {tuple(row) for row in neighbours(problem, 0, at).tolist()}
    exchanged = {tuple(row) for row in every if sorted(row[:4]) == [0, 1, 2, 3]}
    assert len(every) == 6 + 4 * 2 + 5 and len(exchanged) == 6 + 5
    given = problem.given(x=[0, *[None] * 4])
    assert all(row[0] == 0 for row in neighbours(given, 0, at).tolist())
    assert len(neighbours(given, 0, at)) == 3 + 3 * 2 + 5


def test_the_portfolio_takes_it_where_a_stand_in_is_named():
    term = tour(20, 20)
    rule = AllDifferent(term.scope[0].variable, lines=[[*range(20)]])
    assert Portfolio()._of(Problem(required(rule) + 1.0 * term)) == (StandIn(),)
    assert StandIn().refuses(Problem(required(rule) + 1.0 * Silent(term))) is not None


class Silent(Tour):
    """The same without a stand-in."""

    def __init__(self, other: Tour):
        super().__init__(other.scope[0].variable, other.costs_told)

    def stand_in(self):
        return None
