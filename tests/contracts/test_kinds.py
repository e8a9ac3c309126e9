"""Every kind of the catalogue keeps the contract, also at random parameters, priced and chosen."""

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.domain import Finite, Real, Variable
from engine.energy import AnyOf, plain_scope, required
from engine.errors import BadQuery
from engine.problem import Problem
from engine.testing import check_term, evaluate_factors
from modules.catalogue import Catalogue
from modules.shared.examples import scope_of

CATALOGUE = Catalogue(entry_points=False)
FEW = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


RANDOM = [kind.name for kind in CATALOGUE if "examples" in vars(kind.term)]
OVER_SCOPES = [
    name
    for name in RANDOM
    if next(CATALOGUE.kind(name).term.examples(random.Random(0), scope_of(random.Random(0))), None)
]
RULES = [name for name in OVER_SCOPES if CATALOGUE.kind(name).required_by_default]
DRAWS = st.randoms(use_true_random=False)


def build(rng, name, scope=()):
    """An instance of a kind at random parameters."""
    return next(CATALOGUE.kind(name).term.examples(rng, scope))


def states(problem):
    """All states of a small finite problem, as places."""
    sizes = [len(v.domain.values) for v in problem.finite for _ in range(v.domain.sites)]
    return np.array(list(np.ndindex(*sizes)), dtype=np.int64)


def assert_factored(energy, places=None):
    """The structure of an energy costs what the energy costs, at every state."""
    problem = Problem(energy)
    factors, rest = problem.factored()
    places = states(problem) if places is None else places
    every = problem.state(places)
    wanted = problem.energy(every).numpy().copy()
    wanted[problem.energy.total_violation(every).numpy() > 1e-6] = math.inf
    if rest is not None:
        return False
    for row, cost in zip(places, wanted, strict=True):
        told = evaluate_factors(factors, row)
        assert told == pytest.approx(cost, rel=1e-5, abs=1e-5), (row, told, cost)
    return True


# --- the contract ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", CATALOGUE.kinds(), ids=lambda kind: kind.name)
def test_example_keeps_the_contract(kind):
    example = kind.term.example()
    assert example is not None, "every kind has an example"
    check_term(example)


@pytest.mark.parametrize("kind", CATALOGUE.kinds(), ids=lambda kind: kind.name)
def test_parameters_are_described(kind):
    model = kind.Parameters
    assert model.model_config["frozen"] and model.model_config["extra"] == "forbid"
    assert all(field.description for field in model.model_fields.values())
    assert kind.schema["type"] == "object" and kind.about.endswith((".", ").", ")"))


@pytest.mark.parametrize("kind", CATALOGUE.kinds(), ids=lambda kind: kind.name)
def test_a_kind_gives_its_own_random_examples(kind):
    """All but those whose only instances are of shipped weights: a new kind cannot be left out."""
    if kind.schema["properties"].get("weights") and "weights" in kind.schema.get("required", ()):
        pytest.skip("its parameters are a file of weights")
    every = kind.term.examples(random.Random(0))
    several = [next(every, None) for _ in range(20)]
    assert None not in several, (
        f"{kind.name}: examples(rng) ends after {several.index(None)}; it must go on, at random "
        "parameters, as long as it is asked"
    )
    assert len({type(term) for term in several}) == 1
    assert len({repr(problem_of(term)) for term in several}) > 5


def problem_of(term):
    """The energies of an instance at states of a few of its sites; beside inputs, its numbers."""
    if any(view.told for view in term.scope):
        numbers = [
            x for x in vars(term).values() if isinstance(x, (float, np.ndarray, torch.Tensor))
        ]
        return [(view.variable.name, view.shape) for view in term.scope], numbers
    problem = Problem(required(term) if term.required_by_default else 1.0 * term)
    every = problem.state(states(problem)[:64])
    return [(v.name, v.domain) for v in problem.finite], term(every).tolist()


@pytest.mark.parametrize("name", RANDOM)
@FEW
@given(rng=DRAWS)
def test_random_parameters_keep_the_contract(name, rng):
    check_term(build(rng, name), samples=6)


@pytest.mark.parametrize("name", OVER_SCOPES)
@FEW
@given(rng=DRAWS)
def test_structure_at_a_price_is_the_weighted_energy(name, rng):
    explicit = assert_factored(2.0 * build(rng, name))
    assert explicit or name == "discrete.linear"  # a fractional sum has no explicit price


@pytest.mark.parametrize("name", RULES)
@FEW
@given(rng=DRAWS)
def test_a_choice_of_rules_has_structure(name, rng):
    scope = scope_of(rng)
    a, b = build(rng, name, scope), build(rng, rng.choice(RULES), scope)
    assert (a | b).required_by_default
    assert assert_factored(a | b)
    every = states(Problem(a | b))
    some = np.random.default_rng(0).permutation(every)[:8]
    assert assert_factored(3.0 * (a | b), some) or "discrete.linear" in (name, type(b).__name__)


@FEW
@given(rng=DRAWS)
def test_a_choice_of_costs_has_structure(rng):
    scope = scope_of(rng)
    a, b = build(rng, "graph.cut", scope), build(rng, rng.choice(OVER_SCOPES), scope)
    assert assert_factored(AnyOf(a, 2.0 * b) + 0.5 * a) or type(b).__name__ == "Linear"


PARTED = [name for name in RULES if name != "discrete.linear"]  # which is one part


@pytest.mark.parametrize("name", PARTED)
@FEW
@given(rng=DRAWS)
def test_the_parts_that_are_violated_are_those_that_words_name(name, rng):
    term = build(rng, name)
    problem = Problem(term)
    every = problem.state(np.random.default_rng(0).permutation(states(problem))[:40])
    parts = problem.violations(every)
    for row, plain in zip(parts, problem.plain(every), strict=True):
        said = term.explain(*plain_scope(term, plain))
        named = {int(text.split(":")[0].split()[-1]) for text in said}
        assert set(row.nonzero().reshape(-1).tolist()) == named


# --- single kinds ---------------------------------------------------------------------------------


def grid(n=9):
    return Variable("grid", Finite(tuple(range(1, n + 1)), (n, n)))


def test_explanations_name_places_and_values():
    x = grid(3)
    term = CATALOGUE.kind("discrete.all_different").build([x], {"lines": [[0, 1, 2], [3, 4, 5]]})
    said = term.explain([[1, 2, 3], [3, 1, 3], [1, 1, 1]])
    assert said == ["line 1: value 3 stands at [1, 0] and [1, 2]"]
    row = CATALOGUE.kind("discrete.not_equal").build([x[1, :], x[2, :]], {"pairs": [[2, 3]]})
    assert row.explain([1, 2, 3], [3, 1, 1]) == ["pair 0: [1, 2] and [2, 0] both have value 3"]


def test_sites_run_on_through_the_scope():
    a, b = Variable("a", Finite((1, 2), (2,))), Variable("b", Finite((2, 3)))
    term = CATALOGUE.kind("discrete.equal").build([a, b], {"pairs": [[1, 2]]})
    assert term.holds([1, 2], 2) and not term.holds([2, 1], 2)
    assert term.explain([2, 1], 2) == ["pair 0: a[1] is 1, but b is 2"]


def test_values_of_other_types_are_other_values():
    a, b = Variable("a", Finite((0, 1))), Variable("b", Finite((False, True)))
    check_term(CATALOGUE.kind("discrete.equal").build([a, b], {"pairs": [[0, 1]]}))
    assert CATALOGUE.kind("discrete.not_equal").build([a, b], {"pairs": [[0, 1]]}).holds(1, True)


def test_a_relaxed_clause_is_the_expected_number_of_failures():
    x = Variable("x", Finite((0, 1, 2), (2,)))
    params = {"clauses": [[[0, 1, True], [0, 2, True], [1, 0, False]]]}
    term = CATALOGUE.kind("discrete.clause").build([x], params)
    p = torch.tensor([[[0.5, 0.25, 0.25], [0.2, 0.3, 0.5]]])
    assert term.energy(p).item() == pytest.approx(0.5 * 0.2)


def test_a_relaxed_group_counts_sites_as_independent():
    x = Variable("x", Finite((0, 1, 2), (2,)))
    params = {"groups": [[[0, 1], [0, 2], [1, 0]]]}
    p = torch.tensor([[[0.5, 0.25, 0.25], [0.2, 0.3, 0.5]]])
    chances = {
        "exactly_one": 1 - (0.5 * 0.8 + 0.5 * 0.2),
        "at_most_one": 0.5 * 0.2,
        "at_least_one": 0.5 * 0.8,
    }
    for kind, chance in chances.items():
        term = CATALOGUE.kind(f"discrete.{kind}").build([x], params)
        assert term.energy(p).item() == pytest.approx(chance)


def test_tautologies_and_repeated_literals_of_clauses():
    x = Variable("x", Finite((0, 1, 2), (2,)))
    always = [[[0, 1, True], [0, 1, False]], [[0, 1, False], [0, 2, False]]]
    twice = [[[1, 2, True], [1, 2, True]]]
    term = CATALOGUE.kind("discrete.clause").build([x], {"clauses": [*always, *twice]})
    check_term(term)
    clauses_ = term.factors(x.domain).clauses
    assert clauses_.part.tolist() == [2] and clauses_.lengths().tolist() == [1]


def test_an_empty_clause_never_holds():
    x = Variable("x", Finite((0, 1)))
    term = CATALOGUE.kind("discrete.clause").build([x], {"clauses": [[]]})
    check_term(term)
    assert not term.holds(0) and term.floor() == 1


def test_decimals_of_a_linear_rule_are_exact():
    x = Variable("x", Finite((0, 1), (2,)))
    params = {"terms": [[0, 1, 0.1], [1, 1, 0.2]], "compare": "==", "constant": 0.3}
    term = CATALOGUE.kind("discrete.linear").build([x], params)
    assert term.holds([1, 1]) and term({"x": x.domain.encode([1, 1])[None]}).item() == 0
    thirds = {"terms": [[0, 1, 1 / 3], [1, 1, 2 / 3]], "compare": "==", "constant": 1}
    check_term(CATALOGUE.kind("discrete.linear").build([x], thirds))


def test_a_required_table_may_only_forbid():
    x = Variable("x", Finite((0, 1), (2,)))
    table_kind = CATALOGUE.kind("discrete.table")
    forbids = table_kind.build([x], {"sites": [0, 1], "costs": [[0, None], [None, 0]]})
    assert required(forbids).summands()[0].required
    assert assert_factored(required(forbids))
    costs = table_kind.build([x], {"sites": [0, 1], "costs": [[0, None], [None, 2]]})
    assert costs.summands()[0].weight == 1.0
    with pytest.raises(BadQuery, match="finite cost 2"):
        required(costs)


def test_a_table_is_infinite_exactly_where_it_forbids_and_its_gradient_is_finite():
    x = Variable("x", Finite((0, 1), (2,)))
    term = CATALOGUE.kind("discrete.table").build(
        [x], {"sites": [0, 1], "tuples": [[0, 1, 2.0], [1, 0, -1.0]], "default": None}
    )
    states = torch.stack([x.domain.encode(v) for v in ([0, 0], [0, 1], [1, 0])])
    p = x.domain.hot(states).requires_grad_()
    energy = term.energy(p)
    assert energy.tolist() == [math.inf, 2.0, -1.0] and term.floor() == -1
    assert torch.autograd.grad(energy[1:].sum(), p)[0].isfinite().all()


def test_edges_of_one_weight_share_a_table():
    x = Variable("x", Finite((0, 1), (6,)))
    edges = [[0, 1, 1], [1, 2, 1], [2, 3, -1], [3, 3, 5], [4, 5, 0]]
    factors = CATALOGUE.kind("graph.cut").build([x], {"edges": edges}).factors(x.domain)
    assert sorted((len(t.scopes), t.part.tolist()) for t in factors.tables) == [
        (1, [2]),
        (2, [0, 1]),
    ]


LITERALS = [
    ("discrete.all_different", {"lines": [[0, 1], [2, 4]]}, "params.lines[1][1]"),
    ("discrete.all_different", {"lines": [[0, 1], []]}, "params.lines[1]"),
    ("discrete.all_different", {"lines": [[0, 0]]}, "params.lines[0]"),
    ("discrete.all_different", {"lines": 3}, "params.lines"),
    ("discrete.all_different", {"lines": [[0, True]]}, "params.lines[0][1]"),
    ("discrete.all_different", {"lines": [], "cells": 1}, "params.cells"),
    ("discrete.all_different", {}, "params.lines"),
    ("discrete.exactly_one", {"groups": [[[0, 1]], [[0, 1], [1, 9]]]}, "params.groups[1][1][1]"),
    ("discrete.exactly_one", {"groups": [[]]}, "params.groups[0]"),
    ("discrete.at_most_one", {"groups": [[[0, 1], [0, 1]]]}, "params.groups[0][1]"),
    ("discrete.at_least_one", {"groups": [[[0, 1, 2]]]}, "params.groups[0][0]"),
    ("discrete.clause", {"clauses": [[[0, 1, 1]]]}, "params.clauses[0][0][2]"),
    ("discrete.clause", {"clauses": [[[0, 1]]]}, "params.clauses[0][0]"),
    ("discrete.clause", {"clauses": [[[-1, 1, True]]]}, "params.clauses[0][0][0]"),
    ("discrete.equal", {"pairs": [[1, 1]]}, "params.pairs[0]"),
    ("discrete.not_equal", {"pairs": [[0, 1], [1, 7]]}, "params.pairs[1][1]"),
    ("discrete.linear", {"terms": [], "compare": "<=", "constant": 1}, "params.terms"),
    (
        "discrete.linear",
        {"terms": [[0, 1, math.nan]], "compare": "<=", "constant": 1},
        "params.terms[0][2]",
    ),
    ("discrete.linear", {"terms": [[0, 1, 1]], "compare": "<", "constant": 1}, "params.compare"),
    (
        "discrete.linear",
        {"terms": [[0, 1, 1]], "compare": "<=", "constant": math.inf},
        "params.constant",
    ),
    ("discrete.table", {"sites": [], "costs": []}, "params.sites"),
    ("discrete.table", {"sites": [0, 9], "costs": [[0]]}, "params.sites[1]"),
    ("discrete.table", {"sites": [0]}, "params.costs"),
    ("discrete.table", {"sites": [0], "costs": [0, 0, 0], "tuples": []}, "params.costs"),
    ("discrete.table", {"sites": [0], "costs": [0, 0]}, "params.costs"),
    ("discrete.table", {"sites": [0, 1], "costs": [[0] * 3, 1, 2]}, "params.costs[1]"),
    ("discrete.table", {"sites": [0], "costs": [0, math.inf, 0]}, "params.costs[1]"),
    ("discrete.table", {"sites": [0, 1], "tuples": [[1, 2]]}, "params.tuples[0]"),
    ("discrete.table", {"sites": [0], "tuples": [[1, 2], [1, 3]]}, "params.tuples[1]"),
    ("discrete.table", {"sites": [0], "tuples": [["a", 2]]}, "params.tuples[0][0]"),
    ("discrete.table", {"sites": [[0], [0, 1]], "costs": [0, 0, 0]}, "params.sites[1]"),
    ("graph.coloring", {"edges": [[2, 2]]}, "params.edges[0]"),
    ("graph.coloring", {"edges": [[0, 1, 2]]}, "params.edges[0]"),
    ("graph.cut", {"edges": [[0, 1]]}, "params.edges[0]"),
    ("graph.cut", {"edges": [[0, 1, math.inf]]}, "params.edges[0][2]"),
]


@pytest.mark.parametrize("name, params, path", LITERALS)
def test_mistakes_say_where_they_stand(name, params, path):
    x = Variable("x", Finite((1, 2, 3), (4,)))
    with pytest.raises(BadQuery) as caught:
        CATALOGUE.kind(name).build([x], params)
    assert [m.path for m in caught.value.mistakes] == [path]
    assert all(m.problem and m.remedy for m in caught.value.mistakes)


@pytest.mark.parametrize("name", OVER_SCOPES)
def test_real_variables_are_refused(name):
    example = {
        "discrete.linear": {"terms": [[0, 1, 1]], "compare": "<=", "constant": 1},
        "discrete.table": {"sites": [0], "costs": [0]},
        "language.acrostic": {"spells": "a"},
        "language.length": {"low": 1},
        "language.letter_counts": {"counts": {"a": 1}},
        "language.pattern": {"regex": "a"},
    }
    field = next(iter(CATALOGUE.kind(name).Parameters.model_fields))
    with pytest.raises(BadQuery) as caught:
        CATALOGUE.kind(name).build([Variable("r", Real((2,)))], example.get(name, {field: []}))
    assert caught.value.mistakes[0].path == "scope[0]"


def test_all_different_judges_a_sudoku_fast_enough_to_judge_thousands():
    x, count = grid(), 27
    rows = [[9 * r + c for c in range(9)] for r in range(9)]
    columns = [list(line) for line in zip(*rows, strict=True)]
    boxes = [[9 * (b // 3 * 3 + k // 3) + b % 3 * 3 + k % 3 for k in range(9)] for b in range(9)]
    term = CATALOGUE.kind("discrete.all_different").build([x], {"lines": [*rows, *columns, *boxes]})
    board = [[(3 * (r % 3) + r // 3 + c) % 9 + 1 for c in range(9)] for r in range(9)]
    assert term.holds(board) and len(term.lines) == count
    board[0][0] = board[0][1]
    assert not term.holds(board) and len(term.explain(board)) == 3
    assert term({"grid": x.domain.encode(board)[None]}).item() == 3
    assert Problem(term).factored()[0].different.count == count


def test_many_literals_are_read_at_once():
    n, m = 1000, 30_000
    x = Variable("x", Finite((0, 1), (n,)))
    rng = np.random.default_rng(0)
    site, sign = rng.integers(0, n, (m, 4)).tolist(), rng.integers(0, 2, (m, 4)).tolist()
    clauses_ = [
        [(s, 1, g == 1) for s, g in zip(a, b, strict=True)] for a, b in zip(site, sign, strict=True)
    ]
    term = CATALOGUE.kind("discrete.clause").build([x], {"clauses": clauses_})
    y = torch.nn.functional.one_hot(torch.from_numpy(rng.integers(0, 2, (1, n))), 2).float()
    flat = y[0].argmax(-1).tolist()
    failing = sum(all((flat[s] == 1) != g for s, _, g in clause) for clause in clauses_)
    assert term.energy(y).item() == failing
    assert term.factors(x.domain).clauses.count <= m
