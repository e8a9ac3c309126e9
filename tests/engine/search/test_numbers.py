"""Sites as numbers of a linear program: held against all values of small integer programs."""

from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine import Energy, Finite, Problem, Variable, answers, required
from engine.kernels import clauses as learning
from engine.kernels.clauses import objective
from engine.minimizers.cp_sat import CpSat
from engine.minimizers.neighbourhoods import LargeNeighbourhoods
from engine.minimizers.portfolio import Portfolio
from engine.minimizers.relaxation import LinearRelaxation
from engine.search.boolean import Boolean
from engine.search.branching import tree_of
from engine.search.numbers import numbered
from engine.search.prepared import prepared_of
from engine.search.program import OPEN, Program, Rows, program_of
from engine.search.relaxation import Relaxation
from engine.search.safe import refuted, safe_bound
from engine.search.simplify import Simplified, simplify
from modules.discrete.all_different import AllDifferent
from modules.discrete.clause import Clause
from modules.discrete.linear import Linear
from modules.discrete.table import Table

MINIMIZERS = [LinearRelaxation(), LargeNeighbourhoods(), Portfolio(narrow=0)]


class Drawn:
    """A small integer program: its terms, and the same in plain Python."""

    def __init__(self, rng: np.random.Generator, mixed: bool, magnitude: int):
        self.n, k = int(rng.integers(2, 5)), int(rng.integers(8, 11))
        low = int(rng.integers(-9, 3))
        gaps = rng.random() < 0.4
        every = np.sort(rng.choice(3 * k, k, replace=False)) if gaps else np.arange(k)
        if rng.random() < 0.3:
            every = rng.permutation(every)
        self.values = (low + every).tolist()
        self.x = x = Variable("x", Finite(tuple(self.values), (self.n,)))
        self.rows: list[tuple[list[int], str, int]] = []
        terms: list[Energy] = []
        some = rng.choice(self.values, self.n)
        for _ in range(int(rng.integers(1, 4))):
            own = (rng.integers(-9, 10, self.n) * 10 ** int(rng.integers(0, magnitude))).tolist()
            compare = str(rng.choice(["<=", ">=", "=="], p=[0.45, 0.45, 0.1]))
            edge = int(np.dot(own, some)) + int(rng.integers(-2, 3)) * (compare != "==")
            if rng.random() < 0.1:
                edge += int(rng.integers(-40, 40))
            self.rows.append((own, compare, edge))
            if rng.random() < 0.7:
                said = {"values": list(map(list, enumerate(own)))}
            else:
                said = {"terms": [[s, v, c * v] for s, c in enumerate(own) for v in self.values]}
            terms.append(required(Linear(x, **said, compare=compare, constant=edge)))
        scale = 10 ** int(rng.integers(0, magnitude))
        self.costs = [
            [int(c) * scale * v for v in self.values] for c in rng.integers(-9, 10, self.n)
        ]
        self.different = self.shut = None
        if mixed:
            kind = int(rng.integers(3))
            if kind == 0:
                self.costs[0] = rng.integers(-30, 30, k).tolist()
            elif kind == 1:
                self.different = True
                terms.append(required(AllDifferent(x, lines=[list(range(self.n))])))
            else:
                self.shut = [(s, int(rng.choice(self.values))) for s in (0, 1)]
                terms.append(required(Clause(x, clauses=[[[s, v, False] for s, v in self.shut]])))
        terms += [1.0 * Table(x, sites=[s], costs=own) for s, own in enumerate(self.costs)]
        self.energy = sum(terms[1:], terms[0])
        self.evidence: list[int | None] = [None] * self.n
        if rng.random() < 0.3:
            self.evidence[0] = int(rng.choice(self.values))

    @property
    def problem(self) -> Problem:
        given_ = any(v is not None for v in self.evidence)
        return Problem(self.energy).given(x=self.evidence) if given_ else Problem(self.energy)

    def solutions(self) -> np.ndarray:
        """The values that keep all rules. -> (S, n)"""
        at = np.array(list(product(self.values, repeat=self.n)))
        kept = np.ones(len(at), dtype=bool)
        for own, compare, edge in self.rows:
            total = at @ np.array(own)
            kept &= {"<=": total <= edge, ">=": total >= edge, "==": total == edge}[compare]
        if self.different:
            kept &= np.array([len(set(point)) == self.n for point in at.tolist()])
        if self.shut:
            kept &= ~np.logical_and.reduce([at[:, s] == v for s, v in self.shut])
        for s, v in enumerate(self.evidence):
            kept &= True if v is None else at[:, s] == v
        return at[kept]

    def cost(self, points: np.ndarray) -> np.ndarray:
        """(S, n) -> (S,)"""
        paid = [dict(zip(self.values, own, strict=True)) for own in self.costs]
        return np.array(
            [sum(paid[s][v] for s, v in enumerate(point)) for point in points.tolist()],
            dtype=np.int64,
        )


def drawn(seed: int, mixed: bool = False, magnitude: int = 1) -> Drawn:
    return Drawn(np.random.default_rng(seed), mixed, magnitude)


def seen(problem: Problem) -> Simplified | None:
    """What a search of a problem without evidence sees; None where nothing is possible."""
    formula = prepared_of(problem).formula
    status, state = learning.search(learning.load(formula), (), 0)
    return None if status == learning.REFUTED else simplify(formula, state.value)


def opened(seed: int) -> tuple[Drawn, Simplified, Boolean]:
    """An integer program without evidence, what a search of it sees, and its form."""
    one = drawn(seed)
    one.evidence = [None] * one.n
    small = seen(one.problem)
    assume(small is not None)
    return one, small, prepared_of(one.problem).boolean


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("minimizer", MINIMIZERS, ids=lambda m: type(m).__name__)
@settings(max_examples=60)
@given(st.integers(0, 10**9), st.sampled_from([1, 4, 8]))
def test_what_is_found_is_least_and_what_is_proved_is_so(minimizer, mixed, seed, magnitude):
    one = drawn(seed, mixed, magnitude)
    assume(any(map(any, one.costs)))  # else there is nothing to pay for
    points = one.solutions()
    (answer,) = answers(one.problem, minimizer)
    if not len(points):
        assert answer.status in ("INFEASIBLE", "UNSATISFIED")
        assert answer.status == "INFEASIBLE" or isinstance(minimizer, LargeNeighbourhoods)
        return
    true = int(one.cost(points).min())
    if isinstance(minimizer, LargeNeighbourhoods) and answer.status == "UNSATISFIED":
        return
    assert answer.values["x"] in points.tolist() and answer.bound <= true <= answer.energy
    assert answer.energy == one.cost(np.array([answer.values["x"]]))[0]
    if answer.status == "OPTIMAL":
        assert answer.energy == true
    else:
        assert answer.status == "SATISFIED" and isinstance(minimizer, LargeNeighbourhoods)


@settings(max_examples=60)
@given(st.integers(0, 10**9))
def test_a_program_of_numbers_says_what_its_formula_says(seed):
    """Every solution is a point of the same cost; where all sites are numbers, every point that
    keeps the rows is a solution."""
    one, small, boolean = opened(seed)
    formula = small.formula
    before = program_of(formula)
    after, columns = numbered(before)
    for point in one.solutions()[:20]:
        places = np.array([one.values.index(v) for v in point.tolist()])
        own = small.literals(boolean.model_literals(places) ^ 1) ^ 1
        status, state = learning.search(learning.load(formula), own)
        assert status == learning.SATISFIED
        model = learning.model(state)
        x = columns.point(model)
        assert after.rows.hold(x) and after.takes(x)
        assert after.total(x) == before.total(model.astype(np.int64)) == objective(formula, model)
        back = columns.model(x)
        assert before.rows.hold(back.astype(np.int64))
        assert objective(formula, back) == objective(formula, model)
        spread = columns.spread(x.astype(float))
        assert np.isclose(spread @ before.cost, back @ before.cost)
        lo, hi = columns.box(own, 0 * x, after.top)
        assert (lo <= x).all() and (x <= hi).all()
    if not len(columns.kept):
        every = np.array(list(product(*(after.integers[c] for c in range(after.columns)))))
        for x in every[:: max(1, len(every) // 200)]:
            if after.rows.hold(x):
                assert before.rows.hold(columns.model(x).astype(np.int64))


@settings(max_examples=60)
@given(st.integers(0, 10**9), st.integers(0, 12))
def test_any_duals_give_a_bound_and_narrow_to_what_better_solutions_share(seed, size):
    one, small, _ = opened(seed)
    program, _ = numbered(program_of(small.formula))
    tree = tree_of(small.formula, learning.NEVER, 10**9)
    while not tree.done:
        tree.advance()
    solutions = one.solutions()
    assert (tree.upper < learning.NEVER) == (len(solutions) > 0)
    box = np.zeros(program.columns, np.int64), program.top
    rng = np.random.default_rng(seed)
    for y in (
        Relaxation(program).solve(*box, 1000).duals,
        rng.normal(size=program.rows.count) * 10.0**size,
        np.full(program.rows.count, np.nan),
    ):
        if len(y) != program.rows.count or not len(solutions):
            continue
        bound = safe_bound(program, y, *box)
        assert bound.units <= tree.upper and not refuted(program, y, *box)
        lo, hi = bound.narrowed(tree.upper + 1, program.constant, *box)
        x = tree.best.x
        assert (lo <= x).all() and (x <= hi).all()


def test_a_row_of_nothing_may_have_any_dual():
    none, one = np.zeros(0, np.int64), np.ones(1, np.int64)
    for low, empty in ((-OPEN, False), (1, True)):
        rows = Rows(np.zeros(2, np.int64), none, none, low * one, 0 * one + max(low, 0))
        program = Program(rows, one, 0)
        for dual in (-1e25, -1.0, 1.0, 1e25):
            assert safe_bound(program, np.array([dual]), 0 * one, one).units <= (
                9e25 if empty else 0
            )
            assert refuted(program, np.array([dual]), 0 * one, one) == empty


def program_of_numbers(different: bool, top: int = 60) -> Energy:
    """Six numbers in four sums, each of them at a price; two may have to differ."""
    rng = np.random.default_rng(top)
    x = Variable("x", Finite(tuple(range(top + 1)), (6,)))
    rows, prices = rng.integers(1, 20, (4, 6)).tolist(), rng.integers(5, 30, 6).tolist()
    terms: list[Energy] = [
        required(Linear(x, values=list(enumerate(own)), compare="<=", constant=sum(own) * top // 8))
        for own in rows
    ]
    if different:
        terms.append(required(AllDifferent(x, lines=[[0, 1]])))
    for s, price in enumerate(prices):
        terms.append(1.0 * Table(x, sites=[s], costs=[-price * v for v in range(top + 1)]))
    return sum(terms[1:], terms[0])


@pytest.mark.parametrize("different", [False, True])
def test_numbers_in_sums_alone_are_a_column_each_and_few_nodes_prove(different):
    problem = Problem(program_of_numbers(different))
    small = seen(problem)
    tree = tree_of(small.formula, learning.NEVER, 10**6)
    assert len(tree.program.integers) == (4 if different else 6)
    if not different:
        assert tree.program.columns == 6 and tree.program.rows.count == 4
    for _ in range(100):
        tree.advance()
    assert tree.done and (different or tree.nodes < 300)
    (answer,) = answers(problem, CpSat())
    plan = prepared_of(problem)
    units = tree.upper + small.constant + plan.boolean.constant
    assert answer.status == "OPTIMAL" and plan.factors.scale.value(units) == answer.energy
