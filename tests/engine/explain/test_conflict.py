"""Why there is no answer, and why this one: conflicts and runners-up against enumeration."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.answer import Answer, Conflict, Flag, Status
from engine.explain.conflict import conflict, smallest_hitting_set
from engine.explain.tester import Undecided
from engine.search.boolean import NotEncodable
from engine.solve import Budget
from modules.catalogue import Catalogue
from services.query import Options, query_of
from services.reasoner.compile import Compiler
from services.reasoner.reason import Reasoner, extras_of_row
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
    assert "the rule row" in said and "cannot hold together; without any one" in said


def test_a_rule_that_nothing_keeps_stands_alone_in_words() -> None:
    sums = {"values": [[0, 1], [1, 1]], "compare": "==", "constant": 9}
    query = {
        "variables": {"grid": {"values": [1, 2], "shape": [2]}},
        "terms": [{"kind": "discrete.linear", "scope": ["grid"], "name": "sum", "params": sums}],
    }
    said = ask(query, explain=True).conflict.text
    assert said.startswith("the rule sum: ") and said.endswith(" cannot hold")


def pigeonhole(holes: int, given: bool = False) -> dict:
    """More pigeons than holes, as clauses, which nothing but search refutes; with evidence: a last
    hole is there, and is taken."""
    width = holes + given
    place = [[p * width + h for h in range(width)] for p in range(holes + 1)]
    pigeons = [[[x, 1, True] for x in row] for row in place]
    pairs = [
        [[place[p][h], 1, False], [place[q][h], 1, False]]
        for h in range(width)
        for p in range(holes + 1)
        for q in range(p)
    ]
    taken = [0 if given and k % width == holes else None for k in range((holes + 1) * width)]
    return {
        "variables": {"x": {"values": [0, 1], "shape": [(holes + 1) * width]}},
        "terms": [
            {"kind": "discrete.clause", "scope": ["x"], "params": {"clauses": pigeons + pairs}}
        ],
        "evidence": {"x": taken},
    }


def compiled(query: dict):
    return Compiler(Catalogue(entry_points=False), DEFAULT).problem(query_of(query))


def test_an_explanation_ends_with_its_time() -> None:
    """Time that is over gives no conflict, rather than one that is not minimal, and says so."""
    why = conflict(compiled(pigeonhole(9)), 0, Budget(stop=lambda: True))
    assert why == Conflict(text="what clashes was not found: the time was over")


@pytest.mark.parametrize("looks", [*range(0, 12, 2), 30])
def test_what_was_found_before_time_ended_is_minimal_and_the_rest_is_told(looks: int) -> None:
    """Whenever time ends: every piece is there, and minimal, or told as not found."""
    query = pigeonhole(6, given=True)
    counted = itertools.count()
    why = conflict(compiled(query), 0, Budget(stop=lambda: next(counted) >= looks))
    whole = conflict(compiled(query))
    assert why is not None and whole is not None and len(whole.evidence) == 7 and whole.rules
    if not why.evidence:
        assert why == Conflict(text="what clashes was not found: the time was over")
        return
    assert why.evidence == whole.evidence
    assert ("which rules clash was not found: the time was over" in why.text) == (not why.rules)
    assert ("repair was not found: the time was over" in why.text) == (not why.repair)
    assert not why.rules or len(why.rules) == len(whole.rules)
    assert not why.repair or len(why.repair) == len(whole.repair) == 1


def test_an_explanation_that_gives_up_says_so(monkeypatch) -> None:
    """Also where nothing limits its time."""
    monkeypatch.setattr("engine.explain.tester.CONFLICTS", 1000)
    said = ask(pigeonhole(8), explain=True)
    assert (
        said.conflict.text == "what clashes was not found: a search gave up after 1,000 conflicts"
    )
    assert said.flags == ()


def test_an_explanation_without_a_form_says_so(monkeypatch) -> None:
    def formless(*_, **__):
        raise NotEncodable("a table over 9 combinations")

    monkeypatch.setattr("engine.explain.conflict.encode", formless)
    said = ask(pigeonhole(2), explain=True).conflict.text
    assert said == "what clashes was not found: there is no form for a table over 9 combinations"


def test_what_time_left_out_of_an_explanation_is_flagged() -> None:
    """The answer is told all the same."""
    problem = compiled(pigeonhole(9))
    known = Answer(Status.INFEASIBLE, None, None, None, seconds=1.0)
    short = extras_of_row(problem, 0, known, Options(explain=True), Budget(seconds=1.2), 0)
    assert short.status is Status.INFEASIBLE and short.flags == (Flag.DEADLINE,)
    assert "was not found: the time was over" in short.conflict.text


@st.composite
def crowded(draw) -> dict:
    """Sites that must all differ, too many for their values, as lines, pairs or both; with others
    around them."""
    values = draw(st.integers(1, 4))
    sites = values + draw(st.integers(1, 2))
    every = list(itertools.combinations(range(sites), 2))
    lines = [list(p) for p in draw(st.permutations(every))]
    lines += draw(st.lists(st.sampled_from([[0, 1, 2], [1, 0], [*range(sites)]]), max_size=2))
    if draw(st.booleans()):
        lines = [line for line in lines if len(line) > 2] + [[*range(sites)]]
    lines = [line for line in lines if max(line) < sites]
    given = draw(st.lists(st.sampled_from([None, *range(values)]), min_size=sites, max_size=sites))
    term = {"kind": "discrete.all_different", "scope": ["x"]}
    cut = draw(st.integers(0, len(lines) - 1))
    return {
        "variables": {"x": {"values": [*range(values)], "shape": [sites]}},
        "terms": [
            {**term, "name": name, "params": {"lines": part}}
            for name, part in (("a", lines[:cut]), ("b", lines[cut:]))
            if part
        ],
        "evidence": {"x": given},
    }


@settings(max_examples=80, deadline=None)
@given(crowded())
def test_too_many_sites_for_their_values_are_explained_by_minimal_rules(query: dict) -> None:
    """Counting clashes without any evidence."""
    why = ask(query, explain=True).conflict
    assert why.evidence == () and why.repair == ()
    parts = [(term_names(query).index(p.term), p.part) for p in why.rules]
    assert minimal(parts, lambda some: feasible(restricted(query, some), []))


def test_one_site_more_than_values_is_told_at_once() -> None:
    """Without a search, that would take minutes: no conflict is needed to see it."""
    for lines in ([[*range(21)]], [list(p) for p in itertools.combinations(range(23), 2)]):
        query = {
            "variables": {"x": {"values": [*range(20)], "shape": [23]}},
            "terms": [
                {"kind": "discrete.all_different", "scope": ["x"], "params": {"lines": lines}}
            ],
        }
        why = conflict(compiled(query), 0, Budget(seconds=20))
        assert why is not None and len(why.rules) == (1 if len(lines) == 1 else 210)


PAIRS = [list(pair) for pair in itertools.combinations(range(24), 2)]  # bounds say half of 23


def test_a_search_for_the_smallest_repair_hears_the_clock() -> None:
    asked = itertools.count()
    with pytest.raises(Undecided, match="the time was over"):
        smallest_hitting_set(PAIRS, lambda: next(asked) > 100)


def test_a_search_for_the_smallest_repair_gives_up(monkeypatch) -> None:
    monkeypatch.setattr("engine.explain.conflict.BRANCHES", 50)
    with pytest.raises(Undecided, match="after 50 branches"):
        smallest_hitting_set(PAIRS)


@given(st.lists(st.lists(st.integers(0, 6), min_size=1, max_size=3), min_size=1, max_size=6))
def test_hitting_sets_are_smallest(clashes: list[list[int]]) -> None:
    hit = smallest_hitting_set(clashes)
    assert all(hit & set(clash) for clash in clashes)
    smaller = itertools.combinations(range(7), len(hit) - 1)
    assert not any(all(set(few) & set(clash) for clash in clashes) for few in smaller)
