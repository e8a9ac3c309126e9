"""Clause learning equals enumeration: models, least costs, cores, and what may be forgotten."""

import random

import numpy as np
import pytest
import torch

from engine.answer import Answer, Status
from engine.kernels import clauses as learning
from engine.search.simplify import simplify
from modules.catalogue import Catalogue
from services.query import Options, query_of
from services.reasoner.reason import Reasoner
from tests.support.formulas import VARIABLES, drawn, models, pigeons


@pytest.mark.parametrize("hard", [False, True])
def test_finds_a_model_exactly_where_there_is_one(hard: bool) -> None:
    refuted = 0
    for seed in range(300):
        formula = drawn(seed, hard)
        expected = models(formula)
        status, state = learning.search(learning.load(formula, seed))
        assert status == (learning.SATISFIED if expected else learning.REFUTED), seed
        refuted += not expected
        if expected:
            assert learning.model(state).tobytes() in expected, seed
    assert 5 < refuted < 295  # both answers were asked for


def test_a_damaged_model_is_seen() -> None:
    """The oracle itself: a model with one literal of a unit clause turned is no model."""
    formula = learning.formula(3, [[0], [2, 4]])
    status, state = learning.search(learning.load(formula))
    model = learning.model(state)
    assert status == learning.SATISFIED and model.tobytes() in models(formula)
    model[0] ^= 1
    assert model.tobytes() not in models(formula)


def test_every_model_is_found_once() -> None:
    for seed in range(60):
        formula = drawn(seed)
        expected, found = models(formula), set()
        status, state = learning.search(learning.load(formula))
        while status == learning.SATISFIED:
            model = learning.model(state)
            assert model.tobytes() not in found
            found.add(model.tobytes())
            block = [2 * v + int(model[v]) for v in range(VARIABLES)]
            status, state = learning.search(learning.add_clause(state, block))
        assert found == expected, seed


def chained(seed: int) -> learning.Formula:
    """Numbers from 0 to 3 as literals "at least k", in sums, in clauses, and one of them at a cost;
    that each literal implies the one before it is said by a clause, or by a group."""
    rng = random.Random(f"chains {seed}")
    numbers = [[2 * (3 * n + k) for k in range(3)] for n in range(3)]
    clauses = [
        [rng.choice(number) ^ rng.randrange(2) for number in rng.sample(numbers, 2)]
        for _ in range(rng.randint(0, 8))
    ]
    groups, sums = [], []
    for number in numbers:
        for low, high in zip(number[:-1], number[1:], strict=True):
            if rng.random() < 0.5:
                clauses.append([high ^ 1, low])
            else:
                groups.append([high, low ^ 1])
    for _ in range(rng.randint(1, 4)):
        row = [
            o ^ turned
            for number in rng.sample(numbers, rng.randint(1, 3))
            for turned in (rng.randrange(2),)
            for o in sorted(rng.sample(number, rng.randint(1, 3)))
        ]
        coefficients = [rng.randint(1, 4) for _ in row]
        sums.append((row, coefficients, rng.randint(1, sum(coefficients))))
    top = numbers[0]
    costs = [([top[2], top[2] ^ 1], [rng.randint(1, 9), 0]), ([top[0], top[0] ^ 1], [0, 3])]
    return learning.formula(VARIABLES, clauses, groups, sums, costs)


def test_sums_of_chains_have_the_models_and_the_least_costs_of_plain_ones() -> None:
    refuted = 0
    for seed in range(200):
        formula = chained(seed)
        expected, found = models(formula), set()
        costs = {m: learning.objective(formula, np.frombuffer(m, np.uint8)) for m in expected}
        below, upper = learning.load(formula, seed), learning.NEVER
        status, below = learning.search(below, (), upper=upper)
        while status == learning.SATISFIED:
            upper = learning.objective(formula, learning.model(below))
            status, below = learning.search(below, (), upper=upper)
        assert upper == min(costs.values(), default=learning.NEVER), seed
        status, state = learning.search(learning.load(formula, seed))
        while status == learning.SATISFIED:
            model = learning.model(state)
            found.add(model.tobytes())
            block = [2 * v + int(model[v]) for v in range(VARIABLES)]
            status, state = learning.search(learning.add_clause(state, block))
        assert found == expected, seed
        refuted += not expected
    assert 2 < refuted < 198


@pytest.mark.parametrize("turned", [False, True])
def test_a_sum_of_numbers_bounds_each_by_the_others(turned: bool) -> None:
    """x + y <= 6 of numbers to 5: x >= 4 leaves y < 3, by propagation alone; so it does where y is
    said by "less than"."""
    x, y = np.arange(0, 10, 2), np.arange(10, 20, 2)  # at least 1, 2, ...
    steps = [pair for own in (x, y) for pair in zip(own[1:] ^ 1, own[:-1], strict=True)]
    row = [*x, *(y[::-1] ^ 1 if turned else y)]  # turned: x + (5 - y) <= 6, y > 2
    formula = learning.formula(10, steps, sums=[(row, [1] * 10, 6)])
    state = learning.add_clause(learning.load(formula), [int(x[3])])
    status, state = learning.search(state, (), 0)
    assert status in (learning.LIMIT, learning.SATISFIED)
    told = state.value[y].tolist()
    assert told == ([1, 1, 1, 0, 0] if turned else [0, 0, -1, -1, -1])


def test_the_last_model_below_an_ever_lower_limit_costs_least() -> None:
    asked = 0
    for seed in range(300):
        formula = drawn(seed)
        every = learning.reference_models(formula)
        if not len(formula.cost) or not len(every):
            continue
        asked += 1
        least = min(learning.objective(formula, model) for model in every)
        state, best, status = learning.load(formula), learning.NEVER, learning.SATISFIED
        while True:
            status, state = learning.search(state, upper=best)
            if status != learning.SATISFIED:
                break
            cost = learning.objective(formula, learning.model(state))
            assert cost < best
            assert learning.lower_bound(state) <= least + 1e-9
            best = cost
        assert status == learning.REFUTED
        assert best == pytest.approx(least), seed
    assert asked > 50


def test_cores_are_assumptions_that_cannot_hold_together() -> None:
    refuted = 0
    for seed in range(200):
        formula, rng = drawn(seed), random.Random(seed)
        assumed = [2 * v + rng.randrange(2) for v in rng.sample(range(VARIABLES), 4)]
        every = learning.reference_models(formula)

        def holding(literals: list[int], every: np.ndarray = every) -> int:
            keep = np.ones(len(every), bool)
            for o in literals:
                keep &= every[:, o >> 1] != (o & 1)
            return int(keep.sum())

        status, state = learning.search(learning.load(formula), assumed)
        assert (status == learning.SATISFIED) == (holding(assumed) > 0), seed
        if status == learning.REFUTED:
            core = learning.core(state).tolist()
            assert set(core) <= set(assumed) and holding(core) == 0, seed
            refuted += 1
            again, state = learning.search(state)  # what was learned holds without them
            assert (again == learning.SATISFIED) == (len(every) > 0), seed
    assert refuted > 20


def test_a_smaller_formula_has_the_same_models() -> None:
    for seed in range(100):
        formula, rng = drawn(seed), random.Random(seed)
        given = [2 * v + rng.randrange(2) for v in rng.sample(range(VARIABLES), 2)]
        state = learning.load(formula)
        for o in given:
            state = learning.add_clause(state, [o])
        status, state = learning.search(state, (), 0)
        if status == learning.REFUTED:
            continue
        small = simplify(formula, state.value)
        mine = {small.model(model).tobytes() for model in learning.reference_models(small.formula)}
        keep = [m for m in learning.reference_models(formula)
                if all(m[o >> 1] != (o & 1) for o in given)]  # fmt: skip
        assert mine == {model.tobytes() for model in keep}, seed


def test_a_limit_of_looks_ends_a_search_at_a_conflict_and_changes_no_answer() -> None:
    every = [(drawn(seed, True), 1) for seed in range(40)]
    cut = 0
    for formula, most in [*every, (pigeons(6), 5_000), (pigeons(7), 100_000)]:
        expected, _ = learning.search(learning.load(formula))
        state, status = learning.load(formula), learning.LIMIT
        while status == learning.LIMIT:
            met, seen = learning.conflicts(state), learning.looks(state)
            status, state = learning.search(state, looks=most)
            assert learning.conflicts(state) > met or status != learning.LIMIT  # it gets on
            assert learning.looks(state) - seen <= most + 1000 * formula.variables  # a descent
            cut += status == learning.LIMIT
        assert status == expected
    assert cut > 50


def test_interrupted_as_often_as_one_likes_and_forgetting_meanwhile() -> None:
    formula = pigeons(7)
    state, status = learning.load(formula), learning.LIMIT
    while status == learning.LIMIT:
        status, state = learning.search(learning.copy(state), (), 300)
    assert status == learning.REFUTED
    assert state.ints[learning.REDUCTIONS] > 0


def test_a_fork_goes_its_own_way_and_equals_the_original() -> None:
    state = learning.load(pigeons(7))
    _, state = learning.search(state, (), 200)
    fork = learning.copy(state)
    ends = []
    for one in (state, fork):
        status, one = learning.search(one)
        assert status == learning.REFUTED
        ends.append((learning.conflicts(one), int(one.ints[learning.PROPAGATIONS])))
    assert ends[0] == ends[1]


def rows_answered(threads: int) -> list[Answer]:
    """Random 3-SAT under eight kinds of evidence, as the rows of one query."""
    rng, count = random.Random("rows"), 40
    clauses = [
        [[s, 1, rng.random() < 0.5] for s in rng.sample(range(count), 3)] for _ in range(165)
    ]
    given = [[k >> 2 & 1, k >> 1 & 1, k & 1, *[None] * (count - 3)] for k in range(8)]
    query = query_of(
        {
            "variables": {"x": {"values": [0, 1], "shape": [count]}},
            "terms": [{"kind": "discrete.clause", "scope": ["x"], "params": {"clauses": clauses}}],
            "evidence": [{"x": row} for row in given],
        }
    )
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return Reasoner(Catalogue(entry_points=False)).reason(query, Options(prove=True))
    finally:
        torch.set_num_threads(before)


def test_threads_change_no_answer() -> None:
    one, three = rows_answered(1), rows_answered(3)
    assert {a.status for a in one} == {Status.OPTIMAL, Status.INFEASIBLE}
    for a, b in zip(one, three, strict=True):
        assert (a.status, a.unique, a.values) == (b.status, b.unique, b.values)
