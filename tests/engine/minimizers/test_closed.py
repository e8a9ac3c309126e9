"""Structures that one method closes, knapsacks and assignments: held against all states."""

import itertools

import numpy as np
import pytest
import torch

from engine import Finite, Problem, Variable, answers, required
from engine.errors import BadQuery
from engine.minimizers.assignment import Assignment, _bound
from engine.minimizers.knapsack import Knapsack
from engine.minimizers.portfolio import Portfolio
from modules.discrete.all_different import AllDifferent
from modules.discrete.clause import Clause
from modules.discrete.exactly_one import ExactlyOne
from modules.discrete.linear import Linear
from modules.discrete.table import Table


def priced(x, rng, unit=1.0, magnitude=1, holes=0.0):
    """Costs of all sites, some of them forbidden."""
    sites, values = x.domain.sites, len(x.domain.values)
    energy = None
    for k in range(sites):
        costs = (rng.integers(-9, 10, values) * 10 ** rng.integers(0, magnitude, values)).tolist()
        costs = [None if rng.random() < holes else c for c in costs]
        term = unit * Table(x, sites=[k], costs=costs)
        energy = term if energy is None else energy + term
    return energy


def held(problem, x, rule, given, minimizer):
    """Each row beside the least of all states; how many rows had one."""
    values, sites = len(x.domain.values), x.domain.sites
    found = answers(problem.given_rows([{"x": row} for row in given]), minimizer)
    states = [s for s in itertools.product(range(values), repeat=sites) if rule(s)]
    told = problem.energy({"x": torch.tensor(states)}).isfinite().tolist() if states else []
    costs = [
        float(problem.exactly(np.array(s))) if fine else np.inf
        for s, fine in zip(states, told, strict=True)
    ]
    kept = 0
    for row, answer in zip(given, found, strict=True):
        fits = [all(g is None or g == v for g, v in zip(row, s, strict=True)) for s in states]
        own = [c for c, fit in zip(costs, fits, strict=True) if fit and np.isfinite(c)]
        if not own:
            assert answer.status == "INFEASIBLE"
            continue
        kept += 1
        assert answer.status == "OPTIMAL" and answer.energy == answer.bound == min(own)
        assert answer.unique is (own.count(min(own)) == 1)
    return kept


def rows_of(rng, sites, values):
    row = [int(rng.integers(values)) if rng.random() < 0.3 else None for _ in range(sites)]
    return [row, [None] * sites]


@pytest.mark.parametrize("seed", range(40))
def test_a_knapsack_is_the_least_of_all_states(seed):
    rng = np.random.default_rng(seed)
    sites, values = int(rng.integers(2, 6)), int(rng.integers(2, 4))
    x = Variable("x", Finite(tuple(range(values)), (sites,)))
    unit = [1, 0.1, 7, 1000][seed % 4]
    sign = -3 if seed % 3 else 1
    pairs = [(k, v) for k in range(sites) for v in range(values) if rng.random() < 0.7]
    terms = [(k, v, round(unit * int(rng.integers(sign, 9)), 1)) for k, v in pairs] or [(0, 0, 1)]
    compare, edge = ["<=", ">=", "=="][seed % 3], round(unit * int(rng.integers(0, 12)), 1)
    rule = Linear(x, terms=terms, compare=compare, constant=edge)

    def holds(state):
        return rule.holds(list(state))

    problem = Problem(
        priced(x, rng, [1.0, 0.25, 0.1][seed % 3], 1 + 11 * (seed % 2)) + required(rule)
    )
    rows = rows_of(rng, sites, values)
    held(problem, x, holds, rows, Knapsack(unique=True))
    plain = answers(problem.given_rows([{"x": row} for row in rows]), Knapsack())
    told = answers(problem.given_rows([{"x": row} for row in rows]), Knapsack(unique=True))
    assert [a.energy for a in plain] == [a.energy for a in told]


def test_edges_that_no_total_can_miss_leave_the_cheapest_values():
    x = Variable("x", Finite((0, 1), (3,)))
    costs = sum(
        (1.0 * Table(x, sites=[k], costs=[0, -1]) for k in range(1, 3)),
        1.0 * Table(x, sites=[0], costs=[0, -1]),
    )
    wide = required(Linear(x, terms=[(k, 1, 5) for k in range(3)], compare="<=", constant=99))
    (answer,) = answers(Problem(costs + wide), Knapsack())
    assert answer.energy == -3 and answer.status == "OPTIMAL"
    shut = required(Linear(x, terms=[(k, 1, 5) for k in range(3)], compare="==", constant=7))
    (answer,) = answers(Problem(costs + shut), Knapsack())
    assert answer.status == "INFEASIBLE"


@pytest.mark.parametrize("seed", range(40))
def test_an_assignment_is_the_least_of_all_states(seed):
    rng = np.random.default_rng(seed)
    sites, values = int(rng.integers(2, 6)), int(rng.integers(2, 6))
    x = Variable("x", Finite(tuple(range(values)), (sites,)))
    cut = int(rng.integers(1, sites + 1))
    lines = [list(range(cut)), list(range(cut, sites - seed % 2))]
    lines = [line for line in lines if len(line) > 1] or [[0, 1]]
    energy = priced(x, rng, [1.0, 0.25, 0.1][seed % 3], 1 + 11 * (seed % 2), 0.2 * (seed % 3 == 0))
    problem = Problem(energy + required(AllDifferent(x, lines=lines)))

    def holds(state):
        return all(len({state[k] for k in line}) == len(line) for line in lines)

    held(problem, x, holds, rows_of(rng, sites, values), Assignment(unique=True))


def test_the_bound_holds_whatever_the_columns_are_said_to_earn():
    rng = np.random.default_rng(0)
    cost, possible = rng.integers(0, 20, (4, 5)), rng.random((4, 5)) < 0.9
    possible[:, 0] = True
    least = min(
        sum(int(cost[k, v]) for k, v in enumerate(p))
        for p in itertools.permutations(range(5), 4)
        if all(possible[k, v] for k, v in enumerate(p))
    )
    for _ in range(200):
        assert _bound(cost, possible, rng.integers(-30, 10, 5)) <= least


def test_the_portfolio_hands_over():
    x = Variable("x", Finite((0, 1, 2), (3,)))
    costs = priced(x, np.random.default_rng(0))
    packs = required(Linear(x, terms=[(k, 1, 5) for k in range(3)], compare="<=", constant=9))
    differ = required(AllDifferent(x, lines=[[0, 1, 2]]))
    one = required(ExactlyOne(x, groups=[[[0, 1], [1, 1]]]))
    either = required(Clause(x, clauses=[[[0, 1, True], [1, 2, True]]]))
    assert Portfolio()._of(Problem(costs + packs)) == (Knapsack(),)
    assert Portfolio(unique=True)._of(Problem(costs + packs)) == (Knapsack(True),)
    assert Portfolio()._of(Problem(costs + one)) == (Knapsack(),)
    assert Portfolio()._of(Problem(costs + differ)) == (Assignment(),)
    for more in (packs + packs, packs + differ, differ + either, differ + differ):
        problem = Problem(costs + more)
        assert Knapsack().refuses(problem) and Assignment().refuses(problem)
    with pytest.raises(BadQuery, match="one sum"):
        answers(Problem(costs + differ), Knapsack())
    with pytest.raises(BadQuery, match="common unit"):
        odd = 1e-30 * Table(x, sites=[0], costs=[1, 2, 3]) + 1e30 * Table(
            x, sites=[1], costs=[1, 2, 3]
        )
        answers(Problem(odd + packs), Knapsack())


def test_rows_that_pay_apart_are_closed_each():
    """Each row of evidence has its own sites given, and its own least."""
    x = Variable("x", Finite(tuple(range(4)), (4,)))
    energy = priced(x, np.random.default_rng(3)) + required(AllDifferent(x, lines=[[0, 1, 2, 3]]))
    rows = [[v, None, None, None] for v in range(4)] + [[0, 0, None, None]]
    told = answers(Problem(energy).given_rows([{"x": row} for row in rows]), Portfolio())
    assert [a.status for a in told] == ["OPTIMAL"] * 4 + ["INFEASIBLE"]
    alone = [answers(Problem(energy).given(x=row), Portfolio())[0].energy for row in rows]
    assert [a.energy for a in told] == alone
