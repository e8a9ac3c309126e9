"""Expansion moves: near the least of all states, and what is refused."""

import itertools

import numpy as np
import pytest
import torch

from engine import Budget, Finite, Problem, Variable, answers
from engine.minimizers.expansion import Expansion
from engine.minimizers.portfolio import Portfolio
from engine.testing import check_minimizer
from modules.discrete.table import Table
from modules.image.smoothness import Smoothness


def picture(seed: int, high: int, wide: int):
    rng = np.random.default_rng(seed)
    x = Variable("x", Finite((0, 1, 2), (high, wide)))
    energy = 0.6 * Smoothness(x)
    for k in range(high * wide):
        energy = energy + 0.1 * Table(x, sites=[k], costs=rng.integers(0, 15, 3).tolist())
    return Problem(energy)


@pytest.mark.parametrize("seed", range(6))
def test_small_pictures_end_near_the_least_of_all(seed):
    problem = picture(seed, 2, 3)
    states = torch.tensor(list(itertools.product(range(3), repeat=6))).reshape(-1, 2, 3)
    costs = problem.energy({"x": states}).numpy()
    (answer,) = answers(problem, Expansion())
    assert answer.status == "SATISFIED" or answer.status == "SCORED"
    assert costs.min() - 1e-9 <= answer.energy <= 2 * costs.min() + 1e-9
    (held,) = answers(problem.given(x=[[2, None, None], [None, 0, None]]), Expansion())
    assert held.values["x"][0][0] == 2 and held.values["x"][1][1] == 0


def test_the_contract_is_kept():
    check_minimizer(Expansion(), picture(0, 2, 3), steps=12)


def test_pairs_that_would_rather_differ_are_refused():
    x = Variable("x", Finite((0, 1, 2), (2,)))
    differ = Table(x, sites=[0, 1], costs=[[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert "agree" in Expansion().refuses(Problem(1.0 * differ))


def test_wide_pictures_of_three_labels_have_it_beside():
    problem = picture(1, 16, 16)
    members = Portfolio(opening=False)._of(problem)
    assert any(isinstance(member, Expansion) for member in members)
    (answer,), (alone,) = answers(problem, budget=Budget(steps=40)), answers(problem, Expansion())
    assert answer.energy <= alone.energy + 1e-9 and answer.bound <= answer.energy


def test_pairs_of_costs_of_their_own_are_taken_as_others_are():
    """As many pairs as a site has values, each with costs of its own: a stack of tables."""
    x = Variable("x", Finite((0, 1, 2), (4,)))
    energy = 1.0 * Table(x, sites=[0], costs=[0.0, 1.0, 2.0])
    for k, cost in enumerate((1.0, 2.0, 3.0)):
        costs = [[cost * (a != b) for b in range(3)] for a in range(3)]
        energy = energy + 1.0 * Table(x, sites=[k, k + 1], costs=costs)
    assert Expansion().refuses(Problem(energy)) is None
