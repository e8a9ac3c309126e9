"""Mini-buckets: bounds lie at or below the least energy, and meet it where nothing is split."""

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Finite, Problem, Variable
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
