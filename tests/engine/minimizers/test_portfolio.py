"""Annealing begins a row beside complete search only where a first step has not decided it."""

import pytest

from engine import Finite, Problem, Variable, answers, required
from engine.minimizers import branch_and_bound
from engine.minimizers.annealing import Annealing
from engine.minimizers.portfolio import Portfolio
from engine.testing import check_minimizer
from modules.discrete.all_different import AllDifferent
from modules.discrete.table import Table


def assignment() -> Problem:
    """Five sites of five values that differ and cost; rows of evidence, one without values."""
    x = Variable("x", Finite(tuple(range(5)), (5,)))
    energy = required(AllDifferent(x, lines=[list(range(5))]))
    for site in range(5):
        costs = [(7 * site + 3 * v * v) % 11 / 10 for v in range(5)]
        energy = energy + 1.0 * Table(x, sites=[site], costs=costs)
    given = [{}, {"x": [2, None, None, None, None]}, {"x": [1, 1, None, None, None]}]
    return Problem(energy).given_rows(given)


@pytest.fixture
def begun(monkeypatch) -> list[int]:
    """How many rows annealing has begun, call by call."""
    real, calls = Annealing.init, []

    def init(self, problem, x, rng):
        calls.append(problem.rows)
        return real(self, problem, x, rng)

    monkeypatch.setattr(Annealing, "init", init)
    return calls


def test_a_row_that_is_decided_at_once_is_not_annealed(begun) -> None:
    told = answers(assignment())
    assert [answer.status for answer in told] == ["OPTIMAL", "OPTIMAL", "INFEASIBLE"]
    assert begun == []


def test_a_row_that_is_not_is_annealed_from_its_own_start(begun, monkeypatch) -> None:
    sure = answers(assignment())
    monkeypatch.setattr(branch_and_bound, "COVER_ROUNDS", ((0, 64), (0, 2)))
    told = answers(assignment())
    assert begun and set(begun) == {1}
    for a, b in zip(sure, told, strict=True):
        assert (a.status, a.energy, a.bound) == (b.status, b.energy, b.bound)


@pytest.mark.parametrize("nodes", [2_000, 1, 0])
def test_its_laws_hold_while_some_rows_are_annealed(monkeypatch, nodes: int) -> None:
    monkeypatch.setattr(branch_and_bound, "COVER_ROUNDS", ((nodes, 64), (nodes, 2)))
    check_minimizer(Portfolio(), assignment())
