"""Tours of many nodes: held against all orders, sets of nodes and CP-SAT, in both forms."""

import math
from fractions import Fraction
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from ortools.sat.python import cp_model

from engine import Finite, Problem, Variable, answers, required
from engine.decimals import decimal
from engine.errors import BadQuery
from engine.kernels.tours import FAR, tour
from engine.minimizers.portfolio import Portfolio
from engine.minimizers.subtours import Subtours
from engine.search import trips
from engine.search.trips import Trips, Ways
from engine.solve import Budget
from modules.discrete.all_different import AllDifferent
from modules.discrete.at_most_one import AtMostOne
from modules.discrete.circuit import Circuit
from modules.discrete.table import Table


def by_successors(costs):
    """The rule and the costs of steps; None forbids one."""
    n = len(costs)
    x = Variable("x", Finite(tuple(range(n)), (n,)))
    energy = required(Circuit(x))
    for k, row in enumerate(costs):
        energy = energy + 1.0 * Table(x, sites=[k], costs=list(row))
    return Problem(energy)


def by_stops(costs):
    n = len(costs)
    x = Variable("x", Finite(tuple(range(n)), (n,)))
    legs = [[k, (k + 1) % n] for k in range(n)]
    return Problem(
        required(AllDifferent(x, lines=[list(range(n))])) + 1.0 * Table(x, sites=legs, costs=costs)
    )


def least_of(costs, allowed=lambda a, b: True):
    """The least of all orders, of the decimals that costs stand for; None: there is no tour."""
    n, best = len(costs), None
    exact = [[None if c is None else decimal(c) for c in row] for row in costs]
    for order in permutations(range(1, n)):
        steps = list(pairwise((0, *order, 0)))
        if all(exact[a][b] is not None and allowed(a, b) for a, b in steps):
            total = sum((exact[a][b] for a, b in steps), Fraction(0))
            best = total if best is None else min(best, total)
    return best


@st.composite
def costs_of(draw):
    """Whole, negative, equal, of few and of all digits, some forbidden; there and back alike or
    not."""
    n = draw(st.integers(3, 7))
    number = draw(
        st.sampled_from(
            [
                st.integers(-5, 20),
                st.integers(0, 1),
                st.sampled_from([0.1, 0.25, 7.5, -3.1]),
                st.floats(-1, 1).map(lambda x: x if abs(x) > 1e-12 else 0.0),
                st.sampled_from([1e12, 1.0, 1e-3, 0.123456789012345678]),
            ]
        )
    )
    often = draw(st.sampled_from([0, 0, 3, 8]))  # of ten, that is shut
    cost = st.tuples(st.integers(0, 9), number).map(lambda x: None if x[0] < often else x[1])
    costs = draw(st.lists(st.lists(cost, min_size=n, max_size=n), min_size=n, max_size=n))
    if draw(st.booleans()):
        costs = [[costs[min(a, b)][max(a, b)] for b in range(n)] for a in range(n)]
    for a in range(n):  # every table has to allow something
        costs[a][a] = 0 if costs[a][a] is None else costs[a][a]
    return costs


def _agree(answer, wanted):
    if wanted is None:
        assert answer.status == "INFEASIBLE"
        return
    assert answer.status == "OPTIMAL" and answer.holds is True
    assert answer.energy == float(wanted) and answer.bound == answer.energy


@given(costs_of(), st.data())
@settings(max_examples=60, deadline=None)
def test_successors_are_the_least_of_all_orders(costs, data) -> None:
    n = len(costs)
    told = st.lists(st.one_of(st.none(), st.integers(0, n - 1)), min_size=n, max_size=n)
    given_ = data.draw(st.one_of(st.just([None] * n), told))
    assume(any(c for row in costs for c in row))  # something costs
    problem = by_successors(costs).given(x=given_)
    (answer,) = answers(problem, Subtours())
    _agree(answer, least_of(costs, lambda a, b: given_[a] in (None, b)))


@given(costs_of(), st.data())
@settings(max_examples=40, deadline=None)
def test_stops_are_the_least_of_all_orders(costs, data) -> None:
    n = len(costs)
    assume(any(c for row in costs for c in row))
    at, place = data.draw(st.integers(0, n - 1)), data.draw(st.integers(0, n - 1))
    given_ = [place if k == at else None for k in range(n)]
    (answer,) = answers(by_stops(costs).given(x=given_), Subtours())
    _agree(answer, least_of(costs))
    assert answer.values is None or answer.values["x"][at] == place


@given(st.integers(0, 10**6), st.booleans(), st.integers(4, 10), st.booleans(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_sets_of_nodes_say_the_same_whatever_the_first_tour(seed, alike, n, sparse, long) -> None:
    rng = np.random.default_rng(seed)
    cost = rng.integers(-9, 30, (n, n)) * int(rng.choice([1, 10**6, 10**11]))
    open_ = rng.random((n, n)) < (0.5 if sparse else 1.0)
    if alike:
        cost, open_ = np.triu(cost) + np.triu(cost, 1).T, np.triu(open_) | np.triu(open_).T
    after = tour(np.where(open_, cost, FAR))
    wanted = int(cost[np.arange(n), after].sum()) if after[0] >= 0 else None
    own = cost.astype(object) * 10**20 if long else cost
    scale = 10**20 if long else 1
    with pytest.MonkeyPatch.context() as patch:
        if seed % 2:  # the tour in which nodes stand is as long as it is
            patch.setattr(trips, "shorten", lambda cost, order, kicks, reach: order)
        search = Trips.of(Ways(own, open_, 7), None, 100_000)
    bounds = [search.bound]
    while not search.done:
        search = search.copy()
        search.advance()
        bounds.append(search.bound)
    assert bounds == sorted(bounds)
    if wanted is None:
        assert search.after is None and search.upper == search.tree.never
    else:
        assert search.upper == scale * wanted + 7 and bounds[0] <= search.upper
        assert Ways(own, open_, 7).total(search.after) == search.upper
        reached, at = {0}, 0
        while int(search.after[at]) not in reached:
            at = int(search.after[at])
            reached.add(at)
        assert len(reached) == n


def circuit_by_cp_sat(costs) -> float:
    model = cp_model.CpModel()
    arcs = [
        (a, b, model.new_bool_var(""))
        for a, row in enumerate(costs)
        for b, c in enumerate(row)
        if a != b and c is not None
    ]
    model.add_circuit(arcs)
    model.minimize(sum(costs[a][b] * v for a, b, v in arcs))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    assert solver.solve(model) == cp_model.OPTIMAL
    return solver.objective_value


@pytest.mark.parametrize("kind", ["plane", "matrix", "sparse"])
def test_larger_ones_as_cp_sat_says(kind: str) -> None:
    rng = np.random.default_rng(5)
    n = 24
    if kind == "plane":
        where = rng.random((n, 2))
        costs = [[round(100 * math.dist(a, b)) for b in where] for a in where]
    else:
        costs = rng.integers(1, 100, (n, n)).tolist()
    if kind == "sparse":
        costs = [
            [c if (b - a) % n < 5 else None for b, c in enumerate(r)] for a, r in enumerate(costs)
        ]
    wanted = circuit_by_cp_sat(costs)
    for problem in (by_successors(costs), by_stops(costs)):
        for unique in (False, True):
            assert Portfolio(unique=unique)._of(problem) == (Subtours(),)
        (answer,) = answers(problem)
        _agree(answer, wanted)
        assert answer.proved_by == "relaxation"


def test_no_tour_is_infeasible_only_where_that_is_proved() -> None:
    """Two halves that one node alone joins: assignments and trees exist, and no tour."""
    n = 21
    half = n // 2
    joined = lambda a, b: (a < half) == (b < half) or half in (a, b)  # noqa: E731
    costs = [
        [1 if joined(a, b) and not (a > half > b or a < half < b) else None for b in range(n)]
        for a in range(n)
    ]
    (answer,) = answers(by_successors(costs))
    assert answer.status == "INFEASIBLE"
    (early,) = answers(by_successors(costs), Subtours(), budget=Budget(steps=0))
    assert early.status != "INFEASIBLE"


def test_other_rules_are_refused() -> None:
    problem = by_successors([[1, 2, 3, 4]] * 4)
    (x,) = problem.variables
    beside = Problem(problem.energy + required(AtMostOne(x, groups=[[(0, 1), (1, 2)]])))
    assert "nothing else" in Subtours().refuses(beside)
    with pytest.raises(BadQuery):
        answers(beside, Subtours())
    with pytest.raises(BadQuery, match="work"):
        Subtours(work=0)
    two = by_stops([[1, 2, 3, 4]] * 4).given(x=[0, 1, None, None])
    assert "one stop" in Subtours().refuses(two)
    assert "3 to" in Subtours().refuses(by_successors([[0, 1], [1, 0]]))


@pytest.mark.parametrize("form", [by_successors, by_stops])
def test_alternatives_leave_it_to_whom_it_was(form):
    costs = np.random.default_rng(3).integers(1, 90, (20, 20)).tolist()
    problem = form(costs)
    members = Portfolio().kin(problem)
    assert Portfolio(alternatives=2).kin(problem) == members == [(Subtours(),)]
