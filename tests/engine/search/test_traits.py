"""What a structure is said to be like, held against what the linear relaxation says of it."""

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Finite, Problem, Variable, required
from engine.energy import Energy
from engine.search.prepared import prepared_of
from engine.search.program import program_of
from engine.search.relaxation import SOLVED, Relaxation
from engine.search.traits import free_at_halves
from modules.discrete.clause import Clause
from modules.discrete.table import Table


def drawn(rng: random.Random) -> Problem:
    """Clauses, rules and at prices, and costs of single sites."""
    x = Variable("x", Finite((0, 1), (5,)))
    terms = []
    for _ in range(rng.randint(1, 8)):
        sites = rng.sample(range(5), rng.randint(1, 3))
        rule = Clause(x, clauses=[[[s, rng.randrange(2), rng.random() < 0.5] for s in sites]])
        terms.append(rng.randint(1, 9) * rule if rng.random() < 0.7 else required(rule))
    for _ in range(rng.randint(0, 3)):
        costs = [rng.randint(0, 5), rng.randint(0, 5)]
        terms.append(1.0 * Table(x, sites=[rng.randrange(5)], costs=costs))
    return Problem(sum(terms[1:], terms[0]) + 1.0 * Table(x, sites=[0], costs=[0, 1]))


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 10**9))
def test_free_at_halves_is_free_in_the_linear_relaxation(seed: int) -> None:
    problem = drawn(random.Random(seed))
    if not free_at_halves(problem.form.factors):
        return
    program = program_of(prepared_of(problem).formula)
    none = np.zeros(program.columns, np.int64)
    point = Relaxation(program).solve(none, none + 1, 10_000)
    assert point.state == SOLVED
    least = sum(min(c) for c in _each(problem))
    total = float(program.cost @ point.x) + program.constant
    assert total / float(problem.form.factors.scale.unit) <= least + 1e-6


def _each(problem: Problem) -> list[list[float]]:
    """What each site pays at its values."""
    cost = np.zeros((len(problem.form.factors.sizes), 2))
    for table in problem.form.factors.tables:
        for one in table.each():
            for scope in one.scopes:
                cost[scope[0]] += one.dense((2,))
    return cost.tolist()


def test_random_clauses_and_cuts_are_free_at_halves_and_covers_are_not() -> None:
    x = Variable("x", Finite((0, 1), (4,)))

    def clause(*literals: tuple[int, int]) -> Clause:
        return Clause(x, clauses=[[[s, 1, bool(sign)] for s, sign in literals]])

    def free(*terms: Energy) -> bool:
        return free_at_halves(Problem(sum(terms[1:], terms[0])).form.factors)

    three = 2.0 * clause((0, 1), (1, 0), (2, 1))
    cut = [3.0 * clause((0, 1), (1, 1)), 3.0 * clause((0, 0), (1, 0))]
    edge = required(clause((0, 1), (1, 1)))
    paid, other = (1.0 * Table(x, sites=[k], costs=[0, 2]) for k in range(2))
    assert free(three) and free(*cut) and free(three, edge)
    assert not free(three, edge, paid)  # 0 is at nought, and 1 alone cannot be half
    assert free(three, paid, required(clause((0, 0), (1, 1))))  # 0 is at nought
    assert not free(paid, edge, other)
    assert not free(three, 1.0 * clause((0, 0)))  # alone in its clause
