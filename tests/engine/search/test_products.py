"""Products of columns in place of combinations: held against all models of small formulas."""

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Energy, Finite, Problem, Variable, required
from engine.kernels.clauses import NEVER
from engine.search.branching import Tree
from engine.search.prepared import prepared_of
from engine.search.products import Reading, read
from engine.search.program import OPEN, Program, Rows, program_of
from engine.search.relaxation import Relaxation
from modules.discrete.linear import Linear
from modules.discrete.table import Table


def drawn(rng: np.random.Generator, n: int, pairs: int, long: bool = False) -> Program:
    """Sites of two values within a budget, some of which cost or pay together."""
    x = Variable("x", Finite((0, 1), (n,)))
    weights = rng.integers(1, 9, n).tolist()
    terms: list[Energy] = [
        required(
            Linear(
                x, terms=[[k, 1, w] for k, w in enumerate(weights)], compare="<=", constant=n * 3
            )
        )
    ]
    every = list(itertools.combinations(range(n), 2))
    for k in rng.permutation(len(every))[:pairs].tolist():
        costs = rng.integers(-4, 5, (2, 2)) * (rng.random((2, 2)) < 0.8)
        costs[1, 0] = costs[0, 1] + 1 + costs[0, 0]  # it pays for something
        terms.append(1.0 * Table(x, sites=[list(every[k])], costs=costs.tolist()))
    terms += [1.0 * Table(x, sites=[k], costs=[0, int(rng.integers(-5, 6))]) for k in range(n)]
    program = program_of(prepared_of(Problem(sum(terms[1:], terms[0]))).formula)
    if long:
        own = [c * 10**19 + int(rng.integers(-2, 3)) for c in program.cost.tolist()]
        program = Program(program.rows, np.array(own, dtype=object), program.constant)
    return program


def models(program: Program) -> list[np.ndarray]:
    """All that the rows allow: the four columns of a pair follow from the first ones."""
    rows, out = program.rows, []
    four = [rows.col[a : a + 4] for a in rows.ptr[:-1][np.diff(rows.ptr) == 4]]
    first = np.setdiff1d(np.arange(program.columns), np.concatenate([*four, []]))
    for bits in itertools.product((0, 1), repeat=len(first)):
        x = np.zeros(program.columns, np.int64)
        x[first] = bits
        for picks in itertools.product(range(4), repeat=len(four)):
            own = x.copy()
            own[[columns[k] for columns, k in zip(four, picks, strict=True)]] = 1
            if rows.hold(own):
                out.append(own)
    return out


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9), st.booleans())
def test_points_and_models_are_the_same_at_the_same_cost(seed: int, long: bool) -> None:
    rng = np.random.default_rng(seed)
    before = drawn(rng, 4, int(rng.integers(1, 5)), long)
    after, reading = read(before)
    assert len(reading.pairs) and after.columns < before.columns
    every = models(before)
    told = {reading.point(m.astype(np.uint8)).tobytes() for m in every}
    assert len(told) == len(every)
    for model in every:
        x = reading.point(model.astype(np.uint8))
        assert after.rows.hold(x) and after.total(x) == before.total(model)
        assert (reading.model(x) == model).all()
        assert np.allclose(reading.spread(x.astype(float)), model)
    for bits in itertools.product((0, 1), repeat=after.columns):
        x = np.array(bits, np.int64)
        if after.rows.hold(x):  # products may be off, where that costs more
            own = reading.model(x).astype(np.int64)
            assert before.rows.hold(own) and before.total(own) <= after.total(x)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**9))
def test_the_relaxation_is_as_low_and_the_tree_proves_the_least(seed: int) -> None:
    rng = np.random.default_rng(seed)
    before = drawn(rng, 6, int(rng.integers(1, 12)))
    after, reading = read(before)
    least = []
    for program in (before, after):
        point = Relaxation(program).solve(0 * program.top, program.top, 10**5)
        least.append(program.constant + float(program.cost @ point.x))
    assert abs(least[0] - least[1]) < 1e-6
    trees = [Tree.of(before, NEVER, 10**4), Tree.of(after, NEVER, 10**4, reading)]
    for tree in trees:
        while not tree.done:
            tree.advance()
    model = trees[1].model
    assert model is not None
    assert trees[0].upper == trees[1].upper == before.total(model.astype(np.int64))
    literals = 2 * np.arange(before.columns) + (1 - model.astype(np.int64))
    lo, hi = reading.box(literals, np.zeros(after.columns, np.int64), after.top)
    assert (lo == reading.point(model)).all() and (hi == lo).all()


def test_columns_that_other_rows_count_stay() -> None:
    """A row more over one of the combinations, or one row less."""
    before = drawn(np.random.default_rng(0), 4, 3)
    count = len(read(before)[1].pairs)
    assert count == 3
    for column in range(4, before.columns):
        more = Rows(
            np.array([0, 3]), np.array([0, 1, 2]), np.ones(3, np.int64), np.array([-OPEN]),
            np.array([2]),
        )  # fmt: skip
        more.col[2] = column
        if column not in read(before)[1].corners:
            continue
        left = read(before.with_rows(more))[1]
        assert column not in left.corners and len(left.pairs) < count
    of = read(before)[1].corners[0]
    which = np.isin(before.rows.col, of)
    touched = np.unique(before.rows.owner[which])
    for row in touched.tolist():
        kept = np.arange(before.rows.count) != row
        left = read(Program(before.rows.some(kept), before.cost, before.constant))[1]
        same = models(Program(before.rows.some(kept), before.cost, 0)) if len(left.pairs) else []
        if len(left.pairs) == count:  # it said nothing that others do not
            assert len(same) == len(models(before))
    assert Reading.plain(3).model(np.array([1, 0, 1])).tolist() == [1, 0, 1]
