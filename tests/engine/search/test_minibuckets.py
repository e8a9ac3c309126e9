"""Mini-buckets: bounds lie at or below the least energy, and meet it where nothing is split."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Budget, Factors, Finite, Input, Problem, Real, Term, Variable, answers
from engine.search.minibuckets import minibucket_bounds
from modules.discrete.table import Table
from tests.support.networks import case, grid


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), cells=st.sampled_from([1, 4, 16, 1 << 12]))
def test_bounds_are_bounds(seed: int, cells: int) -> None:
    made = case(seed)
    bounds = minibucket_bounds(made.problem, cells)
    assert bounds is not None
    for row, bound in enumerate(bounds.tolist()):
        states = made.states(row)
        least = float(min(states.values())) if states else math.inf
        assert bound <= least
        if cells == 1 << 12:  # nothing is split
            assert bound == least


def test_more_cells_bring_better_bounds() -> None:
    rng = np.random.default_rng(0)
    x = Variable("x", Finite(range(4), (15, 15)))
    energy = 1.0 * Table(x, sites=grid(15, 15), costs=(1 - np.eye(4)).tolist())
    for site in range(225):
        energy = energy + 1.0 * Table(x, sites=[site], costs=rng.random(4).round(2).tolist())
    problem = Problem(energy)
    bounds = [minibucket_bounds(problem, 4**k) for k in (1, 3, 6, 9)]
    told = [float(bound) for bound in bounds if bound is not None]
    assert told == sorted(told) and told[0] < told[-1]


class Told(Term):
    """What is told of each site is paid where it is 1."""

    partial = True
    fixed_structure = True

    def energy(self, *tensors):
        given, x = tensors
        return (given.values * given.present * x[..., 1]).sum(1)

    def factors(self, *domains):
        told = (domains[0].tensor.double() * domains[0].present).numpy()
        return Factors.unary(np.stack([0 * told, told], -1))


def test_wide_soft_problems_beside_what_is_told() -> None:
    rng, n = np.random.default_rng(0), 40
    x, z = Variable("x", Finite((0, 1), (n,))), Input("z", Real((n,)))
    pairs = [[i, j] for i in range(n) for j in range(i) if rng.random() < 0.5]
    wide = Table(x, sites=pairs, costs=[[0, 1], [1, 0.5]])
    problem = Problem(1.0 * wide + 1.0 * Told(z, x), (x, z)).given(z=[0.5] * n)
    (answer,) = answers(problem, budget=Budget(steps=3))
    assert answer.energy is not None and answer.bound <= answer.energy
