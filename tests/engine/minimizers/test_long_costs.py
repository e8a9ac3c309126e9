"""Costs of all digits of a float beside rules: what is called OPTIMAL is least as enumeration in
fractions says, and a linear relaxation calls all of it so."""

import random

import pytest

from engine import Finite, Problem, Variable, answers, required
from engine.answer import Proof, Status
from engine.energy import Sum
from engine.minimizers.portfolio import Portfolio
from engine.minimizers.relaxation import LinearRelaxation
from modules.discrete.linear import Linear
from modules.discrete.table import Table
from tests.support.long_costs import drawn

RELAXATION = LinearRelaxation(patience=None)


@pytest.mark.parametrize("minimizer", [RELAXATION, Portfolio(narrow=0)])
@pytest.mark.parametrize("seed", range(60))
def test_what_is_called_optimal_is_least_in_fractions(minimizer, seed: int) -> None:
    case = drawn(random.Random(f"long {seed}"), most=200)
    problem = case.problem()
    if minimizer.refuses(problem) is not None:
        pytest.skip("nothing to pay for")
    long = problem.form.factors.long is not None
    for row, answer in enumerate(answers(problem, minimizer)):
        least = case.least(row)
        if least is None:
            assert answer.status is Status.INFEASIBLE
            continue
        values = tuple(answer.values["x"])
        assert answer.status is Status.OPTIMAL and case.allows(values, row)
        assert answer.energy == answer.bound == float(case.cost(values)) == float(least)
        if long and minimizer is RELAXATION:
            assert case.cost(values) == least


def test_a_knapsack_of_many_long_costs_is_proved_by_the_relaxation() -> None:
    """Too many totals for tables, and no unit of 64 bits."""
    rng = random.Random(7)
    x, n = Variable("x", Finite((0, 1), (60,))), 60
    weights = [rng.randint(10, 60) for _ in range(n)]
    room = Linear(x, terms=[(k, 1, w) for k, w in enumerate(weights)], compare="<=", constant=900)
    paid = [
        one
        for k, w in enumerate(weights)
        for one in Table(x, sites=[[k]], costs=[0, -w * rng.uniform(0.5, 5.5)]).summands()
    ]
    problem = Problem(Sum(*required(room).summands(), *paid))
    assert problem.form.factors.scale.error and problem.form.factors.long is not None
    (answer,) = answers(problem)
    assert answer.status is Status.OPTIMAL and answer.proved_by is Proof.RELAXATION
    assert answer.energy == answer.bound
