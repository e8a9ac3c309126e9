"""At-most-ones found in sums and pairs: the same solutions, and pigeonholes refuted by counting."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import Finite, Problem, Variable, answers, required
from engine.factors import Clauses, Counted, Factors, Sums, floats, ints
from engine.factors.exclusions import exclusive
from engine.factors.families import starts
from engine.testing import evaluate_factors
from modules.discrete.at_most_one import AtMostOne
from modules.discrete.clause import Clause
from modules.discrete.linear import Linear

SIZES = (3, 2, 3)
LITERALS = [(s, v) for s, k in enumerate(SIZES) for v in range(k)]
literal = st.sampled_from(LITERALS)


def columns(lists):
    flat = [pair for one in lists for pair in one]
    return starts(ints(map(len, lists))), ints([s for s, _ in flat]), ints([v for _, v in flat])


@st.composite
def structures(draw):
    pairs = draw(st.lists(st.lists(literal, min_size=2, max_size=2), max_size=8))
    bars = draw(st.lists(st.lists(literal, min_size=2, max_size=2), max_size=6))
    sums = draw(st.lists(st.lists(literal, min_size=1, max_size=5), max_size=4))
    m, k, n = len(pairs), len(bars), len(sums)
    zero = np.zeros
    counted = Counted(*columns(pairs), zero(m, int), ints(range(m)), zero(m, int), zero(m, int) + 1)
    signs = np.zeros(2 * k, dtype=bool)
    clauses = Clauses(*columns(bars), zero(k, int), ints(range(k)), signs)
    entries = sum(map(len, sums))
    coefficient = draw(
        st.lists(st.sampled_from([1.0, 2.0, 1.5, -1.0]), min_size=entries, max_size=entries)
    )
    low = draw(st.lists(st.sampled_from([-np.inf, 0.0, 1.0]), min_size=n, max_size=n))
    high = draw(st.lists(st.sampled_from([1.0, 2.0, np.inf]), min_size=n, max_size=n))
    own = Sums(
        *columns(sums), zero(n, int), ints(range(n)), floats(coefficient), floats(low), floats(high)
    )
    return Factors(ints(SIZES), 3, counted=counted, clauses=clauses, sums=own)


@given(structures())
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_the_solutions_are_the_same(factors):
    own = exclusive(factors)
    for places in np.ndindex(*SIZES):
        assert evaluate_factors(own, places) == evaluate_factors(factors, places)


def said(x, holes, way):
    """Each hole holds at most one pigeon, said in one of several ways."""
    pigeons, every = range(holes + 1), []
    for v in range(holes):
        pairs = list(combinations(pigeons, 2))
        if way == "sums":
            terms = [[p, v, 3] for p in pigeons]
            every.append(Linear(x, terms=terms, compare="<=", constant=5))
        elif way == "pairs":
            every.append(AtMostOne(x, groups=[[(a, v), (b, v)] for a, b in pairs]))
        else:
            clauses = [[(a, v, False), (b, v, False)] for a, b in pairs]
            every.append(Clause(x, clauses=clauses))
    energy = required(every[0])
    for rule in every[1:]:
        energy = energy + required(rule)
    return energy


@pytest.mark.parametrize("way", ["sums", "pairs", "clauses"])
def test_pigeonholes_of_twelve_are_refuted(way):
    x = Variable("x", Finite(tuple(range(12)), (13,)))
    (answer,) = answers(Problem(said(x, 12, way)))
    assert answer.status == "INFEASIBLE"
    y = Variable("x", Finite(tuple(range(12)), (12,)))
    fits = said(y, 11, way) + required(Clause(y, clauses=[[(k, 11, False)] for k in range(11)]))
    (answer,) = answers(Problem(fits))
    assert answer.status == "OPTIMAL"
