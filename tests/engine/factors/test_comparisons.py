"""Comparisons of whole numbers: what they are lowered to allows what they allow, no more."""

import math

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.factors import Factors, ints
from engine.factors.comparisons import ALWAYS, OPEN, Comparison, Comparisons
from engine.testing.factors import count_completions, evaluate_factors

SIZES = ints([3, 2, 4, 3])
WIDTHS = SIZES.tolist()
SLOW = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def comparison(draw):
    sites = draw(st.lists(st.integers(0, 3), min_size=1, max_size=4, unique=True))
    number = st.integers(-4, 4)
    worths = tuple(
        ints(draw(st.lists(number, min_size=WIDTHS[s], max_size=WIDTHS[s]))) for s in sites
    )
    low, high = draw(st.sampled_from([(-OPEN, 3), (-1, OPEN), (-2, 2), (0, 0), (2, 1), (-1, 5)]))
    when = []
    for _ in range(draw(st.integers(0, 2))):
        site = draw(st.integers(0, 3))
        when.append((site, draw(st.integers(0, WIDTHS[site] - 1)), draw(st.booleans())))
    return Comparison(tuple(sites), worths, low, high, tuple(when))


def family(rules):
    return Comparisons(tuple(rules), ints([0] * len(rules)), ints(range(len(rules))))


@given(st.lists(comparison(), min_size=1, max_size=3))
@SLOW
def test_what_it_is_lowered_to_allows_the_same(rules):
    own = family(rules)
    lowered = own.lowered(SIZES)
    for places in np.ndindex(*SIZES):
        wanted = own.costs_at(ints(places)).sum()
        assert evaluate_factors(lowered, places) == wanted
        if wanted == 0 and len(lowered.sizes) - lowered.visible <= 8:
            assert count_completions(lowered, places) <= 1  # hidden sites are determined


def test_a_site_has_one_order_for_all_that_rises_or_falls_along_it():
    up, down = ints([0, 1, 2, 3]), ints([3, 2, 1, 0])
    rules = [
        Comparison((2, 0), (up, ints([0, 1, 2])), -OPEN, 3),
        Comparison((2, 0), (down, ints([0, 2, 2])), -OPEN, 4),
        Comparison((2,), (5 * up,), 4, OPEN),
    ]
    lowered = family(rules).lowered(SIZES)
    assert len(lowered.sizes) - len(SIZES) == 3 + 2
    assert set(lowered.counted.part.tolist()) == {ALWAYS}


def test_rules_keep_their_parts_through_picking_joining_and_renumbering():
    rules = [Comparison((0, 2), (ints([0, 1, 2]), ints([0, 1, 2, 3])), -OPEN, 2, ((1, 1, True),))]
    own = family(rules)
    moved = Comparisons.joined([own, own.marked(ints([3]), ints([5]))]).renumbered(ints([3, 1, 2]))
    assert moved.rules[1].sites == (3, 2) and moved.picked(slice(1, 2)).part.tolist() == [5]
    assert [s.tolist() for s in moved.scopes_of()] == [[1, 2, 3]] * 2
    sizes = ints([2, 2, 4, 3])
    whole = Factors(sizes, 4, others=(moved,)).expanded()
    assert set(whole.clauses.term.tolist()) == {0, 3}
    assert evaluate_factors(whole, [0, 1, 2, 2]) == math.inf
    assert evaluate_factors(whole, [0, 0, 2, 2]) == 0
