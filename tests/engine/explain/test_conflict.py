"""Why there is no answer, and why this one: conflicts and runners-up against enumeration."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.answer import Status
from engine.explain.conflict import conflict, smallest_hitting_set
from engine.solve import Budget
from modules.catalogue import Catalogue
from services.query import Options, query_of
from services.reasoner.compile import Compiler
from services.reasoner.reason import Reasoner
from services.settings import DEFAULT
from tests.support.oracle import entries, feasible, flat_entry, minimal, restricted, term_names
from tests.support.small import flat, small_query, solutions

REASONER = Reasoner(Catalogue(entry_points=False))


def ask(query, **options):
    return REASONER.reason(query_of(query), Options(**options))[0]


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), soft=st.booleans())
def test_conflicts_are_minimal_and_repairs_smallest(seed: int, soft: bool) -> None:
    query = small_query(seed, soft=soft, given=0.8)
    answer = ask(query, explain=True)
    assert (answer.status is Status.INFEASIBLE) == (not solutions(query))
    if answer.status is not Status.INFEASIBLE:
        return
    why = answer.conflict
    given = [flat_entry(query, place) for place in why.evidence]
    assert minimal(given, lambda some: feasible(query, some))
    parts = [(term_names(query).index(p.term), p.part) for p in why.rules]
    assert minimal(parts, lambda some: feasible(restricted(query, some), given))
    repair = [flat_entry(query, place) for place in why.repair]
    every = entries(query["evidence"])
    if not given:
        assert not repair  # rules alone clash: no evidence to give up
        return
    least = next(
        k
        for k in range(len(every) + 1)
        if any(
            feasible(query, [e for e in every if e not in gone])
            for gone in itertools.combinations(every, k)
        )
    )
    assert len(repair) == least and feasible(query, [e for e in every if e not in repair])
    assert "cannot hold together" in why.text and "gives up" in why.text


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), names=st.sampled_from([(), ("y",), ("x",), ("x", "y")]))
def test_the_runner_up_is_the_best_that_differs(seed: int, names: tuple[str, ...]) -> None:
    query = small_query(seed)
    answer = ask(query, explain=True, differ=names)
    every = solutions(query)
    if not every:
        assert answer.runner_up is None
        return
    assert answer.values is not None and answer.energy == pytest.approx(min(every.values()))
    best = flat(answer.values)
    x, y = best[:4], best[4]
    differs = {"x": lambda v: v[:4] != x, "y": lambda v: v[4] != y}
    others = [e for v, e in every.items() if v != best and all(differs[name](v) for name in names)]
    other = answer.runner_up
    assert (other is None) == (not others)
    if other is not None:
        assert (
            other.energy == pytest.approx(min(others)) == pytest.approx(every[flat(other.values)])
        )
        assert sum(s.energy or 0 for s in other.terms) == pytest.approx(other.energy)
        assert [s.term for s in other.terms] == [s.term for s in answer.terms]
        more = other.energy - answer.energy
        assert (f"costs {more:.6g} more" if more > 1e-6 else "as good as") in other.text


def test_reasons_are_told_in_words() -> None:
    query = {
        "variables": {"grid": {"values": [1, 2], "shape": [1, 2]}},
        "terms": [
            {"kind": "discrete.all_different", "scope": ["grid"], "name": "row",
             "params": {"lines": [[0, 1]]}}
        ],
        "evidence": {"grid": [[2, 2]]},
    }  # fmt: skip
    said = ask(query, explain=True).conflict.text
    assert "given grid[0, " in said and "row: line 0: [0, 0] and [0, 1] all differ" in said


def test_an_explanation_ends_with_its_time() -> None:
    """Time that is over gives no conflict, rather than one that is not minimal."""
    holes = 9
    pigeons = [[[p * holes + h, 1, True] for h in range(holes)] for p in range(holes + 1)]
    pairs = [
        [[p * holes + h, 1, False], [q * holes + h, 1, False]]
        for h in range(holes)
        for p in range(holes + 1)
        for q in range(p)
    ]
    query = {
        "variables": {"x": {"values": [0, 1], "shape": [(holes + 1) * holes]}},
        "terms": [
            {"kind": "discrete.clause", "scope": ["x"], "params": {"clauses": pigeons + pairs}}
        ],
    }
    problem = Compiler(Catalogue(entry_points=False), DEFAULT).problem(query_of(query))
    assert conflict(problem, 0, Budget(stop=lambda: True)) is None


@given(st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=3), min_size=1, max_size=6))
def test_hitting_sets_are_smallest(clashes: list[list[int]]) -> None:
    hit = smallest_hitting_set(clashes)
    assert all(hit & set(clash) for clash in clashes)
    smaller = itertools.combinations(range(7), len(hit) - 1)
    assert not any(all(set(few) & set(clash) for clash in clashes) for few in smaller)
