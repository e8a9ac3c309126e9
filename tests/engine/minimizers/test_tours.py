"""Tours by sets of nodes: the least of all orders, under evidence; other rules are refused."""

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Finite, Problem, Variable, answers, required
from engine.errors import BadQuery
from engine.minimizers.branch_and_bound import BranchAndBound
from engine.minimizers.portfolio import Portfolio
from engine.minimizers.tours import Tours
from modules.discrete.all_different import AllDifferent
from modules.discrete.at_most_one import AtMostOne
from modules.discrete.circuit import Circuit
from modules.discrete.table import Table


def tour_of(costs):
    """The rule and the costs of steps; None forbids one."""
    n = len(costs)
    x = Variable("next", Finite(tuple(range(n)), (n,)))
    energy = required(Circuit(x))
    for k, row in enumerate(costs):
        energy = energy + 1.0 * Table(x, sites=[k], costs=list(row))
    return x, energy


def least(costs, given=None):
    """The least of all orders; None: there is no tour."""
    n, best = len(costs), None
    for order in permutations(range(1, n)):
        ring = (0, *order)
        steps = list(zip(ring, (*order, 0), strict=True))
        if given is not None and any(given[a] not in (None, b) for a, b in steps):
            continue
        if any(costs[a][b] is None for a, b in steps):
            continue
        total = sum(costs[a][b] for a, b in steps)
        best = total if best is None else min(best, total)
    return best


@st.composite
def cases(draw):
    n = draw(st.integers(1, 6))
    cost = st.one_of(st.none(), st.integers(-5, 20), st.sampled_from([0.1, 0.25, 7.5]))
    costs = draw(st.lists(st.lists(cost, min_size=n, max_size=n), min_size=n, max_size=n))
    costs = [
        [0 if c is None and a == b else c for b, c in enumerate(r)] for a, r in enumerate(costs)
    ]
    given = draw(st.lists(st.one_of(st.none(), st.integers(0, n - 1)), min_size=n, max_size=n))
    return costs, given if draw(st.booleans()) else [None] * n


@given(cases())
@settings(max_examples=60, deadline=None)
def test_it_is_the_least_of_all_orders(case):
    costs, given_ = case
    x, energy = tour_of(costs)
    problem = Problem(energy).given(next=given_)
    wanted = least(costs, given_)
    for minimizer in (None, BranchAndBound()):
        (answer,) = answers(problem, minimizer) if minimizer else answers(problem)
        if wanted is None:
            assert answer.status == "INFEASIBLE"
        else:
            assert answer.status == "OPTIMAL" and answer.energy == pytest.approx(wanted)
            assert Circuit(x).holds(answer.values["next"])


def test_tours_of_sixteen_are_proved():
    costs = np.random.default_rng(0).integers(1, 99, (16, 16)).tolist()
    _, energy = tour_of(costs)
    problem = Problem(energy)
    assert Portfolio()._of(problem) == (Tours(),)
    (answer,) = answers(problem)
    assert answer.status == "OPTIMAL" and answer.bound == answer.energy


def test_other_rules_are_refused_and_sites_that_differ_are_not():
    x, energy = tour_of([[1, 2, 3]] * 3)
    assert Tours().refuses(Problem(energy + required(AllDifferent(x, lines=[[0, 1, 2]])))) is None
    beside = Problem(energy + required(AtMostOne(x, groups=[[(0, 1), (1, 2)]])))
    assert "no other rule" in Tours().refuses(beside)
    with pytest.raises(BadQuery):
        answers(beside, Tours())
    (answer,) = answers(beside)
    assert answer.status == "OPTIMAL" and answer.values["next"] == [2, 0, 1]
