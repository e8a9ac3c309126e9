"""Literals that are equal become one: the same values of the visible sites, fewer variables."""

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import Finite, Problem, Variable, answers, required
from engine.factors import Clauses, Counted, Factors, Table, floats, ints
from engine.factors.families import starts
from engine.kernels import clauses as learning
from engine.search.boolean import encode
from engine.search.equal import merged
from engine.search.prepared import prepared_of
from engine.testing import evaluate_factors
from modules.discrete.all_different import AllDifferent
from modules.discrete.linear import Linear

SIZES = (2, 3, 3, 2)
SITES = range(len(SIZES))
literals = st.sampled_from([(s, v) for s in SITES for v in range(SIZES[s])])
SLOW = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def structures(draw):
    """Clauses, many of them saying that two literals are equal or each other's negation, groups,
    and costs of single sites."""
    rows = []
    for a, b in draw(st.lists(st.tuples(literals, literals), max_size=4)):
        turned = draw(st.booleans())
        rows += [[(*a, True), (*b, turned)], [(*a, False), (*b, not turned)]]
    signed = st.tuples(literals, st.booleans()).map(lambda x: (*x[0], x[1]))
    rows += draw(st.lists(st.lists(signed, min_size=1, max_size=3), max_size=3))
    flat, m = [x for row in rows for x in row], len(rows)
    clauses = Clauses(
        starts(ints(map(len, rows))), ints([s for s, _, _ in flat]), ints([v for _, v, _ in flat]),
        ints([0] * m), ints(range(m)), np.array([sign for _, _, sign in flat], dtype=bool),
    )  # fmt: skip
    groups = draw(st.lists(st.lists(literals, min_size=2, max_size=4), max_size=3))
    own, k = [x for row in groups for x in row], len(groups)
    counted = Counted(
        starts(ints(map(len, groups))), ints([s for s, _ in own]), ints([v for _, v in own]),
        ints([0] * k), ints(range(k)), ints([0] * k), ints([1] * k),
    )  # fmt: skip
    tables = []
    for site in draw(st.lists(st.sampled_from(SITES), max_size=2, unique=True)):
        costs = draw(st.lists(st.integers(-3, 3), min_size=SIZES[site], max_size=SIZES[site]))
        tuples = np.arange(SIZES[site])[:, None]
        tables.append(Table(ints([[site]]), tuples, floats(costs), 0.0, ints([0]), ints([0])))
    return Factors(ints(SIZES), len(SIZES), counted, clauses, tables=tuple(tables))


@given(structures())
@SLOW
def test_the_values_and_what_they_cost_are_the_same(factors):
    b = merged(encode(factors, merge=False))
    formula = learning.Formula(
        b.variables, b.clauses.start, b.clauses.literal, b.groups.start, b.groups.literal,
        b.sums.start, b.sums.literal, b.coefficient, b.bound, b.costs.start, b.costs.literal,
        b.cost,
    )  # fmt: skip
    found = {}
    for model in learning.reference_models(formula):
        places = tuple(b.places(model).tolist())
        assert places not in found
        found[places] = b.scale.value(learning.objective(formula, model) + b.constant)
    every = {places: evaluate_factors(factors, places) for places in np.ndindex(*SIZES)}
    assert found == {places: cost for places, cost in every.items() if np.isfinite(cost)}


def test_numbers_that_equalities_tell_from_others_take_no_variables():
    """Queens: columns, and both diagonals as numbers of their own."""
    n = 8
    queens = Variable("queens", Finite(tuple(range(n)), (n,)))
    rising = Variable("rising", Finite(tuple(range(2 * n - 1)), (n,)))
    energy = required(AllDifferent(queens, lines=[list(range(n))]))
    energy = energy + required(AllDifferent(rising, lines=[list(range(n))]))
    for i in range(n):
        pair = [[i, 1], [n + i, -1]]
        energy = energy + required(Linear(queens, rising, values=pair, compare="==", constant=-i))
    problem = Problem(energy)
    beyond = n * (n - 1)  # values of the sums that no column has
    assert prepared_of(problem).boolean.variables == n * n + beyond
    (answer,) = answers(problem)
    columns = answer.values["queens"]
    assert answer.status == "OPTIMAL" and len({i + q for i, q in enumerate(columns)}) == n
    assert answer.values["rising"] == [i + q for i, q in enumerate(columns)]
