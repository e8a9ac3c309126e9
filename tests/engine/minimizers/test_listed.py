"""The search of lists against enumeration: solutions, refutations, rows; what it takes."""

import itertools

import numpy as np
import pytest

from engine import Budget, Finite, Problem, Status, Variable, answers
from engine.kernels import listed as kernel
from engine.minimizers.branch_and_bound import BranchAndBound
from engine.minimizers.listed import Listed
from engine.search import lists
from engine.search.lists import lists_of, open_bits
from modules.discrete.all_different import AllDifferent
from modules.discrete.table import Table


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Small lists are taken, too."""
    monkeypatch.setattr(lists, "LONG", 1)


def drawn(rng, n, k, scopes, share):
    """Tables that allow some combinations of three sites, or forbid some of two."""
    x = Variable("x", Finite(tuple(range(k)), (n,)))
    terms = []
    for j in range(scopes):
        arity = 3 if j % 3 else 2
        sites = rng.choice(n, arity, replace=False).tolist()
        every = list(itertools.product(range(k), repeat=arity))
        some = [every[i] for i in np.flatnonzero(rng.random(len(every)) < share)]
        costs = None if arity == 3 else 0.0  # what is not listed
        cost = 0.0 if arity == 3 else None
        terms.append(Table(x, sites=sites, tuples=[[*t, cost] for t in some], default=costs))
    return x, terms


def required_sum(terms):
    from engine import required

    total = required(terms[0])
    for term in terms[1:]:
        total = total + required(term)
    return total


@pytest.mark.parametrize("seed", range(40))
def test_it_finds_or_refutes_what_enumeration_does(seed):
    rng = np.random.default_rng(seed)
    k = 3 + seed % 2
    x, terms = drawn(rng, 6, k, 7, 0.32)
    problem = Problem(required_sum(terms))
    rows = [{}, {"x": [int(rng.integers(k)), *[None] * 5]}]
    fits = [
        s for s in itertools.product(range(k), repeat=6) if all(t.holds(list(s)) for t in terms)
    ]
    for visit in (1, 50):
        every = answers(problem.given_rows(rows), Listed(first=3, visit=visit))
        for row, answer in zip(rows, every, strict=True):
            asked = row.get("x", [None] * 6)
            mine = [s for s in fits if all(a in (None, b) for a, b in zip(asked, s, strict=True))]
            assert answer.status is (Status.OPTIMAL if mine else Status.INFEASIBLE)
            if mine:
                assert tuple(answer.values["x"]) in mine


def test_both_outcomes_are_among_those_tried():
    found = set()
    for seed in range(40):
        _, terms = drawn(np.random.default_rng(seed), 6, 3 + seed % 2, 7, 0.32)
        (answer,) = answers(Problem(required_sum(terms)), BranchAndBound())
        found.add(answer.status)
    assert found == {Status.OPTIMAL, Status.INFEASIBLE}


def test_a_path_is_taken_up_again():
    """One failure a call comes to the same solution count of nodes as all at once."""
    x, terms = drawn(np.random.default_rng(7), 9, 4, 14, 0.25)
    problem = Problem(required_sum(terms))
    made = lists_of(problem)
    (allowed,) = open_bits(problem)
    key = np.zeros(2, dtype=np.uint64)
    weight, path, calls = np.ones(len(made.words)), np.zeros((0, 3), np.int64), 0
    status = kernel.LIMIT
    while status == kernel.LIMIT:
        status, path, _, _ = kernel.search(made, allowed, path, weight, key, 0, 1)
        calls += 1
    once, _, _, failed = kernel.search(
        made, allowed, path[:0], np.ones(len(made.words)), key, 0, 10**6
    )
    assert status == once and calls <= failed + 1


def test_the_portfolio_takes_it_where_it_fits(monkeypatch):
    monkeypatch.setattr(lists, "LONG", 20)
    x, terms = drawn(np.random.default_rng(1), 6, 4, 4, 0.6)
    problem = Problem(required_sum(terms))
    assert Listed().refuses(problem) is None
    (answer,) = answers(problem)
    assert answer.status is Status.OPTIMAL and ("members" in str(list(problem.memo)))
    beside = Problem(required_sum(terms) + AllDifferent(x, lines=[[0, 1]]))
    assert "no list" in (Listed().refuses(beside) or "")
    soft = Problem(required_sum(terms) + 1.0 * Table(x, sites=[0], costs=[1, 2, 3, 4]))
    assert Listed().refuses(soft) is not None
    wide = Variable("w", Finite(tuple(range(65)), (2,)))
    table = Table(wide, sites=[0, 1], tuples=[[a, a, 0] for a in range(65)], default=None)
    assert "more than 64 values" in (Listed().refuses(Problem(required_sum([table]))) or "")
    (both,) = answers(problem, Listed(), budget=Budget(steps=50))
    assert both.status is Status.OPTIMAL


def test_a_lie_about_supports_is_caught(monkeypatch):
    """Planted: a value that lost its bits is refuted, and the judge or enumeration tells."""
    x, terms = drawn(np.random.default_rng(3), 5, 3, 2, 0.5)
    problem = Problem(required_sum(terms))
    made = lists_of(problem)
    problem.memo["lists"] = made._replace(bits=np.zeros_like(made.bits))
    (answer,) = answers(problem, Listed())
    (right,) = answers(Problem(required_sum(terms)), BranchAndBound())
    assert answer.status is Status.INFEASIBLE and right.status is Status.OPTIMAL
