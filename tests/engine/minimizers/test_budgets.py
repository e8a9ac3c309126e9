"""Costs beside rules of every sort: the learning search under budgets proves what enumeration
says, to the last digit."""

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Finite, Problem, Variable, answers, required
from engine.energy import Sum
from engine.minimizers import branch_and_bound
from engine.minimizers.branch_and_bound import BranchAndBound
from engine.search.prepared import prepared_of
from engine.testing import check_minimizer
from modules.discrete.at_least_one import AtLeastOne
from modules.discrete.linear import Linear
from modules.discrete.table import Table
from tests.support.exact_costs import decimal

N, K = 4, 3
COSTS = {
    "whole": st.integers(-9, 9),
    "decimal": st.integers(-99, 99).map(lambda x: x / 10),
    "computed": st.floats(-9, 9),
    "wide": st.sampled_from([3e9, -3e9, 0.0, 1e-9, 2e-9, 0.1]),
}


@st.composite
def asked(draw):
    """Clauses and a sum over four sites, costs of sites and of pairs of sites."""
    costs = draw(st.sampled_from(sorted(COSTS)).map(COSTS.get))
    literal = st.tuples(st.integers(0, N - 1), st.integers(0, K - 1))
    clauses = draw(st.lists(st.lists(literal, min_size=1, max_size=3, unique=True), max_size=4))
    most = draw(st.integers(0, N * (K - 1)))
    alone = draw(st.lists(st.lists(costs, min_size=K, max_size=K), min_size=1, max_size=N))
    pair = st.permutations(range(N)).map(lambda p: p[:2])
    square = st.lists(st.lists(costs | st.none(), min_size=K, max_size=K), min_size=K, max_size=K)
    return clauses, most, alone, draw(st.lists(st.tuples(pair, square), max_size=3))


def problem_of(clauses, most, alone, pairs):
    x = Variable("x", Finite(tuple(range(K)), (N,)))
    terms = [[s, v, v] for s in range(N) for v in range(1, K)]
    energy = required(Linear(x, terms=terms, compare="<=", constant=most))
    if clauses:
        energy = energy + required(AtLeastOne(x, groups=[list(map(list, c)) for c in clauses]))
    paid = [Table(x, sites=[s], costs=costs) for s, costs in enumerate(alone)]
    paid += [Table(x, sites=list(sites), costs=costs) for sites, costs in pairs]
    return Problem(Sum(*energy.summands(), *(s for table in paid for s in table.summands())))


def cost_of(values, alone, pairs):
    """What values cost as the decimals that are written; None where a table forbids them."""
    paid = [costs[values[s]] for s, costs in enumerate(alone)]
    paid += [costs[values[a]][values[b]] for (a, b), costs in pairs]
    return None if None in paid else sum(map(decimal, paid), Fraction(0))


def complaint(question, answer):
    """What is wrong with an answer; empty where nothing is."""
    clauses, most, alone, pairs = question
    every = [
        cost_of(values, alone, pairs)
        for values in itertools.product(range(K), repeat=N)
        if sum(values) <= most and all(any(values[s] == v for s, v in c) for c in clauses)
    ]
    least = min((cost for cost in every if cost is not None), default=None)
    if least is None:
        return "" if answer.status == "INFEASIBLE" else f"{answer.status} of nothing"
    if answer.status != "OPTIMAL":
        return f"{answer.status}, not proved"
    wrong = cost_of(answer.values["x"], alone, pairs) != least or answer.energy != float(least)
    return f"{answer.energy}, the least is {float(least)}" if wrong else ""


@settings(max_examples=200)
@given(asked())
def test_the_least_cost_is_found_and_proved_to_the_last_digit(question) -> None:
    (answer,) = answers(problem_of(*question), BranchAndBound())
    assert complaint(question, answer) == ""


@settings(max_examples=100)
@given(asked())
def test_it_is_where_a_budget_gets_one_conflict_a_step_and_few_steps(question) -> None:
    deep = branch_and_bound.DEEP
    try:
        branch_and_bound.DEEP = 2
        (answer,) = answers(problem_of(*question), BranchAndBound(conflicts=1))
    finally:
        branch_and_bound.DEEP = deep
    assert complaint(question, answer) == ""


def test_a_budget_that_is_taken_for_all_there_is_is_noticed(monkeypatch) -> None:
    """Planted: nothing is sought beyond the first budget."""
    real = branch_and_bound._Visit._deepened

    def only(visit, learner, above):
        return real(visit, learner, above)._replace(beyond=None)

    monkeypatch.setattr(branch_and_bound._Visit, "_deepened", only)
    question = [[(0, 0), (1, 0)]], 8, [[8, 0, 0], [8, 0, 0]], []
    (answer,) = answers(problem_of(*question), BranchAndBound())
    assert complaint(question, answer) != ""


@pytest.mark.parametrize("costs", [[5, 0, 1], [0.1, 1 / 3, -7], [1e9, 1e-9, 0]])
def test_the_laws_of_a_minimizer(costs) -> None:
    question = [[(0, 0), (1, 0)], [(2, 0), (3, 2)]], 5, [costs] * N, []
    problem = problem_of(*question).given_rows([{}, {"x": [None, 1, 1, None]}, {"x": [2, 2, 2, 2]}])
    assert prepared_of(problem).cover is None and math.isfinite(costs[0])
    for minimizer in (BranchAndBound(), BranchAndBound(conflicts=1)):
        check_minimizer(minimizer, problem)
