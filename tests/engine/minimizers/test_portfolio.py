"""A linear relaxation begins a row beside an exact cover only where a first step has not decided
it, and has the first step of a row elsewhere."""

import numpy as np
import pytest
import torch

from engine import Finite, Input, Problem, Real, Term, Variable, answers, required
from engine.factors import Factors
from engine.minimizers import branch_and_bound
from engine.minimizers.annealing import Annealing
from engine.minimizers.enumeration import Enumeration
from engine.minimizers.portfolio import Portfolio
from engine.minimizers.relaxation import LinearRelaxation
from engine.search import branching
from engine.testing import check_minimizer
from modules.discrete.all_different import AllDifferent
from modules.discrete.clause import Clause
from modules.discrete.linear import Linear
from modules.discrete.table import Table


def assignment() -> Problem:
    """Five sites of five values that differ and cost; rows of evidence, one without values."""
    x = Variable("x", Finite(tuple(range(5)), (5,)))
    energy = required(AllDifferent(x, lines=[list(range(5)), [0, 1]]))  # two lists that share sites
    for site in range(5):
        costs = [(7 * site + 3 * v * v) % 11 / 10 for v in range(5)]
        energy = energy + 1.0 * Table(x, sites=[site], costs=costs)
    given = [{}, {"x": [2, None, None, None, None]}, {"x": [1, 1, None, None, None]}]
    return Problem(energy).given_rows(given)


@pytest.fixture
def begun(monkeypatch) -> list[int]:
    """How many rows the relaxation has begun, call by call."""
    real, calls = LinearRelaxation.init, []

    def init(self, problem, x, rng):
        calls.append(problem.rows)
        return real(self, problem, x, rng)

    monkeypatch.setattr(LinearRelaxation, "init", init)
    return calls


def test_a_row_that_is_decided_at_once_is_not_relaxed(begun) -> None:
    told = answers(assignment())
    assert [answer.status for answer in told] == ["OPTIMAL", "OPTIMAL", "INFEASIBLE"]
    assert begun == []


def test_a_row_that_is_not_is_relaxed_from_its_own_start(begun, monkeypatch) -> None:
    sure = answers(assignment())
    monkeypatch.setattr(branch_and_bound, "COVER_ROUNDS", ((0, 64), (0, 2)))
    told = answers(assignment())
    assert begun and set(begun) == {1}
    for a, b in zip(sure, told, strict=True):
        assert (a.status, a.energy, a.bound) == (b.status, b.energy, b.bound)


@pytest.mark.parametrize("nodes", [2_000, 1, 0])
def test_its_laws_hold_while_some_rows_are_relaxed(monkeypatch, nodes: int) -> None:
    monkeypatch.setattr(branch_and_bound, "COVER_ROUNDS", ((nodes, 64), (nodes, 2)))
    check_minimizer(Portfolio(), assignment())


def knapsack(n: int) -> Problem:
    """Items of which half the weight may be taken, worth about what they weigh."""
    x = Variable("x", Finite((0, 1), (n,)))
    weights = [10 + (37 * k) % 50 for k in range(n)]
    terms = [[k, 1, w] for k, w in enumerate(weights)]
    energy = required(Linear(x, terms=terms, compare="<=", constant=sum(weights) // 2))
    for k, w in enumerate(weights):
        energy = energy + 1.0 * Table(x, sites=[k], costs=[0.0, -float(w + (13 * k) % 7)])
    return Problem(energy)


def test_a_knapsack_is_proved_by_its_relaxation_alone(monkeypatch) -> None:
    def never(self, problem, x, rng):
        raise AssertionError("began")

    monkeypatch.setattr(Annealing, "init", never)
    (answer,) = answers(knapsack(12), Portfolio(narrow=0))
    (exact,) = answers(knapsack(12), Enumeration())
    assert (answer.status, answer.energy) == ("OPTIMAL", exact.energy)


def test_others_go_on_where_the_relaxation_is_too_large(monkeypatch) -> None:
    monkeypatch.setattr(branching, "MOST", 1)
    (answer,) = answers(knapsack(12), Portfolio(narrow=0))
    (exact,) = answers(knapsack(12), Enumeration())
    assert (answer.status, answer.energy) == ("OPTIMAL", exact.energy)


def test_others_go_on_where_the_relaxation_gives_up(monkeypatch) -> None:
    monkeypatch.setattr(
        Portfolio, "_relaxation", property(lambda self: LinearRelaxation(work=1, patience=1))
    )
    (answer,) = answers(knapsack(12), Portfolio(narrow=0))
    (exact,) = answers(knapsack(12), Enumeration())
    assert (answer.status, answer.energy) == ("OPTIMAL", exact.energy)


def test_who_searches_depends_on_each_row_and_not_on_rows_before() -> None:
    """Costs that a row pays may forbid something, which a minimum cut does not take."""
    x, paid = Variable("x", Finite((0, 1), (3,))), Input("paid", Real((3, 2)))

    class Paid(Term):
        def energy(self, paid, x):
            return (torch.where(paid == 9, 1e3, paid) * x).sum((1, 2))

        def factors(self, paid, x):
            costs = paid.tensor.double().numpy()
            return Factors.unary(np.where(costs == 9, np.inf, costs))

    ring = Table(x, sites=[[0, 1], [1, 2], [0, 2]], costs=[[0.0, 1.0], [1.0, 0.0]])
    whole = Problem(1.0 * Paid(paid, x) + 1.0 * ring, (x,))
    plain, shut = [[0.0, 2.0]] * 3, [[0.0, 2.0], [9.0, 0.0], [0.0, 5.0]]
    both = Portfolio(narrow=0)
    for rows in ([plain], [shut], [plain, shut], [shut, plain]):
        told = answers(whole.given_rows([{"paid": row} for row in rows]), both)
        for row, answer in zip(rows, told, strict=True):
            assert answer.status == "OPTIMAL" and answer.energy == (0.0 if row is plain else 2.0)


def test_structure_is_made_in_pieces_from_the_first_one_on() -> None:
    """Whoever prepares may stop between any two terms; its memo would have made all of them."""
    x = Variable("x", Finite((0, 1), (40,)))
    rules = [Clause(x, clauses=[[[k, 1, True], [k + 1, 0, True]]]) for k in range(39)]
    problem = Problem(sum(rules[1:], start=1.0 * rules[0]))
    pieces = Portfolio().prepare(problem)
    for made in range(5):
        next(pieces)
        assert len(problem.structures.pieces) <= made
    assert 0 < len(problem.structures.pieces) < len(rules)
