"""Sweeps count in whole units: the least costs are not lost beside the largest."""

import random
from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from engine import Budget, Finite, Problem, Variable, answers
from engine.decimals import decimal
from engine.minimizers.annealing import Annealing
from engine.minimizers.tabu import Tabu
from engine.sweeps.run import in_units, layout_of, unit_of
from modules.discrete.linear import Linear
from modules.discrete.table import Table

N, K = 24, 3


def drawn(rng: random.Random) -> float:
    """A cost of some tenths, beside a trillion or not."""
    return rng.randint(0, 3) * rng.choice([0, 0, 10**12]) + rng.randint(0, 9) / 10


@pytest.mark.parametrize("minimizer", [Annealing(), Tabu()])
@pytest.mark.parametrize("seed", [0, 1, 3])
def test_tenths_beside_trillions_come_to_the_least_along_a_chain(seed: int, minimizer) -> None:
    rng, x = random.Random(seed), Variable("x", Finite(tuple(range(K)), (N,)))
    own = [[drawn(rng) for _ in range(K)] for _ in range(N)]
    both = [[[drawn(rng) for _ in range(K)] for _ in range(K)] for _ in range(N - 1)]
    counts = Linear(x, terms=[[k, 0, 1] for k in range(N)], compare="<=", constant=N)
    energy = 1.0 * Table(x, sites=[0], costs=own[0]) + counts  # tabu takes no pairs alone
    for k, (i, j) in enumerate(pairwise(range(N))):
        energy = energy + 1.0 * Table(x, sites=[j], costs=own[j])
        energy = energy + 1.0 * Table(x, sites=[i, j], costs=both[k])
    least = [decimal(c) for c in own[0]]
    for k in range(N - 1):
        least = [
            min(least[a] + decimal(both[k][a][b]) for a in range(K)) + decimal(own[k + 1][b])
            for b in range(K)
        ]
    (answer,) = answers(Problem(energy), minimizer, budget=Budget(steps=200), particles=16)
    assert answer.energy == float(min(least))


def test_costs_are_told_in_units_and_what_is_forbidden_stays_so() -> None:
    x = Variable("x", Finite((0, 1), (2,)))
    table = Table(x, sites=[0, 1], costs=[[0.1, None], [0.25, -3]])
    problem = Problem(1.0 * table)
    scale = unit_of(problem)
    assert scale is not None and scale.unit == Fraction(20)
    (own,) = in_units(problem.form.factors, scale).tables
    assert own.dense([2, 2]).tolist() == [[2.0, np.inf], [5.0, -60.0]]
    assert layout_of(problem).floor.tolist() == [-60.0]


def test_costs_whose_sums_float64_does_not_hold_are_not_counted() -> None:
    x = Variable("x", Finite((0, 1), (2,)))
    energy = 1.0 * Table(x, sites=[0], costs=[0.1, 1e17])
    assert unit_of(Problem(energy)) is None
