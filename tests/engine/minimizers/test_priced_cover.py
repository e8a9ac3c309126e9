"""Choices in groups whose sites have costs: found and proved least by the depth-first search, as
enumeration says, to the last digit."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Budget, Factors, Finite, Problem, Term, Variable, answers, required
from engine.energy import Sum
from engine.factors import Table as Costs
from engine.minimizers import branch_and_bound
from engine.minimizers.branch_and_bound import BranchAndBound
from engine.search.prepared import prepared_of
from engine.search.prices import Prices
from engine.testing import check_minimizer
from modules.discrete.all_different import AllDifferent
from modules.discrete.at_most_one import AtMostOne
from modules.discrete.table import Table
from tests.support.exact_costs import decimal

SIZES = {
    "whole": st.integers(-3, 3),
    "level": st.just(2),
    "huge": st.builds(lambda a, b: a * 10**8 + b / 100, st.integers(-3, 3), st.integers(-50, 50)),
    "computed": st.floats(-9, 9),
    "wide": st.sampled_from([3e9, -3e9, 0.0, 1e-9, 2e-9, 0.1]),
}


@st.composite
def asked(draw):
    """Lines that differ, costs of single sites (None: forbidden), and evidence of some rows."""
    n, k = draw(st.integers(1, 4)), draw(st.integers(2, 4))
    sites = st.lists(st.integers(0, n - 1), unique=True, min_size=1)
    lines = draw(st.lists(sites, max_size=3))
    costs = draw(st.sampled_from(sorted(SIZES)).map(SIZES.get))
    own = st.lists(st.none() | costs if draw(st.booleans()) else costs, min_size=k, max_size=k)
    tables = draw(st.lists(st.tuples(sites, own), min_size=1, max_size=4))
    pins = st.lists(st.none() | st.integers(0, k - 1), min_size=n, max_size=n)
    return n, k, lines, tables, draw(st.lists(pins, min_size=1, max_size=3))


def problem_of(n, k, lines, tables, evidence):
    x = Variable("x", Finite(tuple(range(k)), (n,)))
    rules = required(AllDifferent(x, lines=lines)).summands() if lines else ()
    paid = [
        summand
        for sites, costs in tables
        for summand in Table(x, sites=[[s] for s in sites], costs=costs).summands()
    ]
    return Problem(Sum(*rules, *paid)).given_rows([{"x": pins} for pins in evidence])


def cost_of(values, tables):
    """What values cost as the decimals that are written; None where a table forbids them."""
    paid = [costs[values[s]] for sites, costs in tables for s in sites]
    return None if None in paid else sum(map(decimal, paid), Fraction(0))


def least_of(n, k, lines, tables, pins):
    """The least cost of one row, and how many values have it."""
    fits = [
        values
        for values in itertools.product(range(k), repeat=n)
        if all(pin in (None, v) for pin, v in zip(pins, values, strict=True))
        and all(len({values[s] for s in line}) == len(line) for line in lines)
    ]
    every = [cost for cost in (cost_of(values, tables) for values in fits) if cost is not None]
    return (min(every), every.count(min(every))) if every else (None, 0)


def complaint(question, answer, pins):
    """What is wrong with the answer to one row; empty where nothing is."""
    least, several = least_of(*question[:4], pins)
    if least is None:
        return "" if answer.status == "INFEASIBLE" else f"{answer.status} of nothing"
    if answer.status != "OPTIMAL":
        return f"{answer.status}, not proved"
    scale = problem_of(*question).explicit.scale
    away = cost_of(answer.values["x"], question[3]) - least
    if away > scale.error / scale.unit:  # 0 but where costs have no unit in common
        return f"{away} above the least"
    if answer.energy != float(least + away):
        return f"{answer.energy}, the least is {float(least)}"
    return "" if answer.unique in (None, several == 1) else f"{several} are as good"


@settings(max_examples=150)
@given(asked())
def test_the_least_cost_is_found_and_proved_to_the_last_digit(question) -> None:
    problem = problem_of(*question)
    assert prepared_of(problem).cover is not None or question[2]
    together = answers(problem, BranchAndBound())
    for row, (answer, pins) in enumerate(zip(together, question[4], strict=True)):
        assert complaint(question, answer, pins) == ""
        (alone,) = answers(problem.select([row]), BranchAndBound())
        assert (alone.status, alone.values, alone.bound) == (
            answer.status,
            answer.values,
            answer.bound,
        )


@settings(max_examples=60)
@given(asked())
def test_uniqueness_is_told_where_it_is_asked_for(question) -> None:
    for answer, pins in zip(
        answers(problem_of(*question), BranchAndBound(unique=True)), question[4], strict=True
    ):
        assert complaint(question, answer, pins) == ""
        least, several = least_of(*question[:4], pins)
        exact = problem_of(*question).explicit.scale.error == 0
        if least is not None and exact and prepared_of(problem_of(*question)).cover is not None:
            assert answer.unique is (several == 1)


@settings(max_examples=60)
@given(asked())
def test_where_the_nodes_do_not_last_the_clause_learner_goes_on(question) -> None:
    rounds = branch_and_bound.COVER_ROUNDS
    try:
        branch_and_bound.COVER_ROUNDS = ((0, 64), (1, 2))
        for answer, pins in zip(
            answers(problem_of(*question), BranchAndBound()), question[4], strict=True
        ):
            assert complaint(question, answer, pins) == ""
    finally:
        branch_and_bound.COVER_ROUNDS = rounds


@settings(max_examples=40)
@given(asked())
def test_the_default_says_the_same(question) -> None:
    for answer, pins in zip(answers(problem_of(*question), particles=2), question[4], strict=True):
        assert complaint(question, answer, pins) == ""


@pytest.mark.parametrize("planted", ["free", "elsewhere", "dear"])
def test_a_search_that_errs_is_noticed(monkeypatch, planted) -> None:
    """Planted: nothing costs, a price is that of the next value, or cheap values are too dear."""
    real = branch_and_bound.covering.search_priced
    errs = {"free": lambda p: 0 * p, "elsewhere": lambda p: np.roll(p, 1), "dear": lambda p: p + 1}

    def searched(structure, allowed, price, nodes, **more):
        return real(structure, allowed, errs[planted](price), nodes, **more)

    monkeypatch.setattr(branch_and_bound.covering, "search_priced", searched)
    question = (2, 2, [[0, 1]], [([0], [0, 3]), ([1], [4, 0])], [[None, None], [1, None]])
    told = answers(problem_of(*question), BranchAndBound())
    assert any(
        complaint(question, answer, pins) for answer, pins in zip(told, question[4], strict=True)
    )


class RowCosts(Term):
    """E = costs[which][cell]: evidence says which, so that each row has costs of its own."""

    fixed_structure = False

    def __init__(self, cell, which, costs):
        super().__init__(cell, which)
        self.costs = torch.tensor(costs, dtype=torch.float64)  # (rows, k)

    def energy(self, cell, which):  # (B, 1, k), (B, 1, rows) -> (B,)
        return self.costs[which.argmax(-1)[:, 0], cell.argmax(-1)[:, 0]]

    def factors(self, cell, which):
        costs = self.costs[which.allowed.int().argmax(-1)[:, 0]].numpy()
        none, values = np.zeros(1, np.int64), np.arange(costs.shape[1])
        one = Costs(none[None], values[:, None], costs, 0.0, none, none)
        return Factors(Factors.sizes_of([cell, which]), 2, tables=(one,))


def rows_of(costs):
    """Three cells of three values that differ; costs (rows, cells, values)."""
    x = Variable("x", Finite((0, 1, 2), (3,)))
    which = Variable("which", Finite(tuple(range(3)), (1,)))
    energy = required(AllDifferent(x, lines=[[0, 1, 2]]))
    for k in range(3):
        energy = energy + 1.0 * RowCosts(x[k : k + 1], which, [row[k] for row in costs])
    return Problem(energy).given_rows([{"which": [row]} for row in range(len(costs))])


matrices = st.lists(
    st.lists(st.integers(-4, 4) | st.just(math.inf), min_size=3, max_size=3),
    min_size=3,
    max_size=3,
)


@settings(max_examples=100)
@given(st.lists(matrices, min_size=1, max_size=3), st.booleans())
def test_rows_have_costs_of_their_own(costs, learned) -> None:
    problem = rows_of(costs)
    assert prepared_of(problem).cover is not None
    rounds = branch_and_bound.COVER_ROUNDS
    try:
        branch_and_bound.COVER_ROUNDS = ((0, 64),) if learned else rounds
        told = answers(problem, BranchAndBound())
    finally:
        branch_and_bound.COVER_ROUNDS = rounds
    for row, answer in zip(costs, told, strict=True):
        every = itertools.permutations(range(3))
        least = min(sum(row[k][v] for k, v in enumerate(values)) for values in every)
        if least == math.inf:
            assert answer.status == "INFEASIBLE"
        else:
            assert (answer.status, answer.energy, answer.bound) == ("OPTIMAL", least, least)


def test_prices_are_what_a_value_costs_above_the_cheapest() -> None:
    x = Variable("x", Finite((0, 1, 2), (2,)))
    energy = 0.5 * Table(x, sites=[[0], [1]], costs=[2, None, -4]) + 1.0 * Table(
        x, sites=[0], tuples=[[1, 0.25], [2, 1]], default=3
    )
    factors, _ = Problem(energy).factored()
    opened, price, least = Prices.of(factors)
    assert factors.scale.unit == 4
    assert (price == [20, 0, 0, 12, 0, 0]).all() and least == -4 - 8
    assert (opened == [True, False, True, True, False, True]).all()


def test_the_laws_of_a_minimizer() -> None:
    x = Variable("x", Finite((0, 1, 2), (3,)))
    rules = AllDifferent(x, lines=[[0, 1, 2]]) + AtMostOne(x, groups=[[[0, 1], [1, 1]]])
    for costs in ([0, 1, 2], [0.1, 1 / 3, -7], [2, 2, 2]):
        energy = rules + 1.0 * Table(x, sites=[[0], [2]], costs=costs)
        problem = Problem(energy).given_rows([{}, {"x": [None, 2, None]}, {"x": [1, 1, 0]}])
        assert prepared_of(problem).cover is not None
        for minimizer in (BranchAndBound(), BranchAndBound(unique=True)):
            check_minimizer(minimizer, problem)


def test_a_thousand_ways_that_cost_the_same_are_not_looked_at_one_by_one() -> None:
    """Costs of 17 digits on one of eight sites, the others free: proved within few nodes."""
    x = Variable("x", Finite(tuple(range(8)), (8,)))
    energy = required(AllDifferent(x, lines=[list(range(8))]))
    energy = energy + 1.0 * Table(x, sites=[0], costs=[1 / (3 + v) for v in range(8)])
    (answer,) = answers(Problem(energy), BranchAndBound(), budget=Budget(steps=1))
    assert (answer.status, answer.energy, answer.values["x"][0]) == ("OPTIMAL", 0.1, 7)
