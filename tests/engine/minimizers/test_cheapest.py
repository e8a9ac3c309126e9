"""Rules that know their cheapest states beside prices for all others: by enumeration, and lies."""

import itertools
import math
import random

import numpy as np
import pytest

from engine import Budget, Problem, Status, answers, required
from engine.minimizers.cheapest import Cheapest
from engine.minimizers.portfolio import Portfolio
from engine.testing import check_term
from modules.discrete.clause import Clause
from modules.discrete.equal import Equal
from modules.discrete.linear import Linear
from modules.discrete.table import Table
from tests.support.terms import Fewest, Opaque, priced_problem, sites


def drawn(seed, n=5, k=3):
    """Costs under one or two rules that choose, and random rules beside; what they say by hand."""
    rng = random.Random(seed)
    x, y = sites(n, k, "x"), sites(3, 2, "y")
    price = [[rng.choice([-2, -0.5, 0, 1, 3.25]) for _ in range(k)] for _ in range(n)]
    other = [[rng.choice([-2, 0, 1.5]) for _ in range(2)] for _ in range(3)]
    count, less = rng.randint(0, n), rng.randint(0, 3)
    energy, rules = required(Fewest(x, count)), [lambda a, b: sum(v == k - 1 for v in a) == count]
    if rng.random() < 0.5:
        energy = energy + required(Fewest(y, less))
        rules.append(lambda a, b: sum(b) == less)
    for site, costs in enumerate(price):
        energy = energy + 1.0 * Table(x, sites=[[site]], costs=costs)
    for site, costs in enumerate(other):
        energy = energy + 2.0 * Table(y, sites=[[site]], costs=costs)
    terms = [[s, v, rng.randint(-2, 2)] for s in range(n) for v in range(k)]
    limit = rng.randint(-2, 3)
    energy = energy + required(Linear(x, terms=terms, compare="<=", constant=limit))
    rules.append(lambda a, b: sum(c for s, v, c in terms if a[s] == v) <= limit)
    if rng.random() < 0.5:
        energy = energy + required(Equal(x, pairs=[[0, 1]]))
        rules.append(lambda a, b: a[0] == a[1])
    clause = [[0, 0, True], [2, 1, False], [n, 1, True]]
    if rng.random() < 0.5:
        energy = energy + required(Clause(x, y, clauses=[clause]))
        rules.append(lambda a, b: a[0] == 0 or a[2] != 1 or b[0] == 1)
    given = {"x": [rng.choice([None, None, rng.randrange(k)]) for _ in range(n)]}
    least = math.inf
    for a in itertools.product(range(k), repeat=n):
        if any(g is not None and g != v for g, v in zip(given["x"], a, strict=True)):
            continue
        for b in itertools.product(range(2), repeat=3):
            if all(rule(a, b) for rule in rules):
                own = sum(price[s][v] for s, v in enumerate(a))
                least = min(least, own + 2 * sum(other[s][v] for s, v in enumerate(b)))
    return Problem(energy).given(**given), least


@pytest.mark.parametrize("seed", range(60))
def test_the_least_is_that_of_enumeration(seed):
    problem, least = drawn(seed)
    assert Cheapest().refuses(problem) is None
    for minimizer in (Cheapest(), Cheapest(visit=1)):
        (answer,) = answers(problem, minimizer, budget=Budget(steps=3000))
        if least == math.inf:
            assert answer.status is Status.INFEASIBLE
        else:
            assert (answer.status, answer.energy, answer.bound) == (Status.OPTIMAL, least, least)


def test_bounds_on_the_way_are_below_the_least():
    for seed in range(12):
        problem, least = drawn(seed, n=6)
        for steps in (1, 2, 5, 9):
            (answer,) = answers(problem, Cheapest(visit=1), budget=Budget(steps=steps))
            assert answer.bound is None or answer.bound <= least


def test_the_default_asks_the_rule():
    """Its structure is not explicit, and nothing else would decide it."""
    for answer in answers(priced_problem(), budget=Budget(steps=50)):
        assert answer.status in (Status.OPTIMAL, Status.INFEASIBLE)
    members = Portfolio()._of(priced_problem())
    assert isinstance(members[0], Cheapest)


def test_what_is_not_for_it_is_refused():
    x = sites(4, 2)
    rule, cost = required(Fewest(x, 2)), 1.0 * Table(x, sites=[[0]], costs=[0, 1])
    pair = 1.0 * Table(x, sites=[[0, 1]], costs=[[0, 1], [2, 0]])
    wide = required(Table(x, sites=[[0, 1, 2]], costs=[[[0, 0], [0, None]], [[0, 0], [0, 0]]]))
    assert Cheapest().refuses(Problem(rule + cost)) is None
    for energy in (rule, rule + cost + pair, rule + cost + wide, 1.0 * Fewest(x, 2) + cost, cost):
        assert Cheapest().refuses(Problem(energy)) is not None
    assert "structure" in Cheapest().refuses(Problem(rule + cost + required(Opaque(x))))


class Dear(Fewest):
    """Takes the sites whose last value costs most."""

    def cheapest(self, costs, allowed):
        return super().cheapest(-costs, allowed)


class Blind(Fewest):
    """Forgets what is ruled out."""

    def cheapest(self, costs, allowed):
        return super().cheapest(costs, np.ones_like(allowed))


@pytest.mark.parametrize("kind", [Dear, Blind])
def test_a_rule_that_chooses_badly_is_caught(kind):
    check_term(Fewest(sites(4, 3), 2))
    with pytest.raises(AssertionError, match="cheapest"):
        check_term(kind(sites(4, 3), 2))
