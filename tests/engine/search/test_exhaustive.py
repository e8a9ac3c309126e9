"""Boxes searched to their end: held against all whole points of small programs."""

import itertools
from typing import NamedTuple
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.kernels import spent
from engine.search.branching import Tree
from engine.search.exhaustive import Exhaustive
from engine.search.program import FAR, OPEN, Program, Rows
from engine.search.safe import safe_bound


class Drawn(NamedTuple):
    """A small program, a box of it, and duals that may be any."""

    program: Program
    lo: np.ndarray
    hi: np.ndarray
    y: np.ndarray

    def points(self) -> list[np.ndarray]:
        """All whole points of the box at which the rows hold."""
        ranges = [range(a, b + 1) for a, b in zip(self.lo.tolist(), self.hi.tolist(), strict=True)]
        every = (np.array(x, np.int64) for x in itertools.product(*ranges))
        return [x for x in every if self.program.takes(x) and self.program.rows.hold(x)]


def drawn(seed: int) -> Drawn:
    """Rows of either sign, equalities among them, coefficients from units to 1e15; wide columns, or
    costs of any size."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 7))
    long, wide = rng.random() < 0.3, {}
    for column in range(n if not long else 0):
        if rng.random() < 0.2:
            k = int(rng.integers(2, 5))
            gaps = np.sort(rng.choice(np.arange(1, 7), k - 1, replace=False))
            wide[column] = np.concatenate([[0], gaps]).astype(np.int64)
    top = np.array([wide[c][-1] if c in wide else 1 for c in range(n)])
    inside = np.array([rng.integers(0, t + 1) for t in top])
    parts = []
    for _ in range(int(rng.integers(0, 5))):
        size = 10 ** int(rng.choice([0, 0, 0, 1, 4, 9, 15]))
        col = np.sort(rng.permutation(n)[: int(rng.integers(1, n + 1))])
        coef = rng.integers(-5, 6, len(col)) * size + rng.integers(-1, 2, len(col))
        col, coef = col[coef != 0], coef[coef != 0]
        own = int(coef @ inside[col])
        low, high = own + np.sort(rng.integers(-3, 4, 2) * size)
        side = int(rng.integers(4))
        low, high = (own, own) if side == 3 else (low, high)
        edges = -OPEN if side == 0 else low, OPEN if side == 1 else high
        parts.append(Rows(np.array([0, len(col)]), col, coef, *(np.array([e]) for e in edges)))
    none = np.zeros(0, np.int64)
    rows = Rows.joined(parts) if parts else Rows(np.zeros(1, np.int64), *(none,) * 4)
    cost = rng.integers(-9, 10, n) * 10 ** int(rng.choice([0, 0, 3, 12]))
    if long:
        cost = np.array([c * 10**20 + int(rng.integers(-2, 3)) for c in cost.tolist()], object)
    program = Program(rows, cost, int(rng.integers(-5, 6)), wide)
    lo = np.array([rng.integers(0, t + 1) for t in top]) * (rng.random(n) < 0.2)
    hi = np.where(rng.random(n) < 0.8, top, np.maximum(lo, inside))
    scale = float(np.abs(cost.astype(float)).max(initial=1.0))
    y = rng.choice([0.0, 1.0, -0.5, 0.3, 7.7], rows.count) * scale
    return Drawn(program, lo.astype(np.int64), hi.astype(np.int64), y)


def found(one: Drawn, upper: int, work: int) -> tuple[list[np.ndarray], Exhaustive]:
    """All points that are told below `upper`, the search in pieces of so much work."""
    bound = safe_bound(one.program, one.y, one.lo, one.hi)
    box = Exhaustive.of(one.program, bound, one.lo, one.hi, (one.lo + one.hi) / 2)
    assert box is not None
    out = []
    while not box.ended:
        x, done = box.go(upper, work)
        assert done <= work + len(one.program.rows.col)
        if x is not None:
            out.append(x)
    assert box.go(upper, work) == (None, 0)
    return out, box


@settings(max_examples=400, deadline=None)
@given(st.integers(0, 10**9), st.integers(-3, 3), st.sampled_from([1, 7, 10**6]))
def test_it_tells_every_point_that_costs_less_once_whatever_the_duals(
    seed: int, off: int, work: int
) -> None:
    one = drawn(seed)
    costs = sorted(one.program.total(x) for x in one.points())
    most = FAR if one.program.long else 1 << 61
    for upper in [most, *(cost + off for cost in {*costs[len(costs) // 2 :][:1], *costs[-1:]})]:
        told, box = found(one, upper, work)
        assert len({tuple(x.tolist()) for x in told}) == len(told)
        every = {tuple(x.tolist()) for x in one.points() if one.program.total(x) < upper}
        assert every <= {tuple(x.tolist()) for x in told}
        for x in told:
            assert one.program.rows.hold(x) and (one.lo <= x).all() and (x <= one.hi).all()
            if not one.program.long and not box.coarser:
                assert one.program.total(x) < upper


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 10**9))
def test_the_compiled_loop_is_the_plain_one(seed: int) -> None:
    one = drawn(seed)
    upper = FAR if one.program.long else 1 << 61
    compiled, _ = found(one, upper, 50)
    begin, go = spent._begin.plain, spent._go.plain
    with patch.object(spent, "_begin", begin), patch.object(spent, "_go", go):
        plain, _ = found(one, upper, 50)
    assert [x.tolist() for x in plain] == [x.tolist() for x in compiled]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**9))
def test_the_relaxation_beside_it_proves_the_least(seed: int) -> None:
    """Of the whole program; equalities of large coefficients, at which floats tell nothing, end."""
    one = drawn(seed)
    one = one._replace(lo=np.zeros_like(one.lo), hi=one.program.top)
    tree = Tree.of(one.program, FAR if one.program.long else 1 << 61, 10**5)
    for _ in range(20):
        tree.advance()
    costs = [one.program.total(x) for x in one.points()]
    assert tree.done
    assert tree.upper == min(costs, default=FAR if one.program.long else 1 << 61)
    if costs:
        assert tree.best is not None and one.program.total(tree.best.x) == tree.upper


def test_a_search_that_shuts_out_a_point_is_caught() -> None:
    """What the law above would see: a budget that is a unit too small."""
    program = Program(
        Rows(np.array([0, 2]), np.array([0, 1]), np.array([1, 1]), np.array([1]), np.array([OPEN])),
        np.array([3, 5]), 0,
    )  # fmt: skip
    one = Drawn(program, np.zeros(2, np.int64), np.ones(2, np.int64), np.array([3.0]))
    assert [x.tolist() for x in found(one, 4, 10)[0]] == [[1, 0]]
    assert not found(one, 3, 10)[0]


@pytest.mark.parametrize("rows", [1, 5])
def test_knapsacks_end_in_a_few_nodes(rows: int) -> None:
    """As many nodes as weights took hundreds before; the least is what all points say."""
    rng = np.random.default_rng(rows)
    n = 18
    weight = rng.integers(10, 60, (rows, n))
    value = weight.sum(0) // rows + rng.integers(-8, 9, n)
    program = Program(
        Rows(
            n * np.arange(rows + 1), np.tile(np.arange(n), rows), weight.reshape(-1),
            np.full(rows, -OPEN), weight.sum(1) // 2,
        ),
        -value, 0,
    )  # fmt: skip
    tree = Tree.of(program, 1 << 61, 10**5)
    tree.advance()
    every = (np.arange(1 << n)[:, None] >> np.arange(n)) & 1
    kept = ((every @ weight.T) <= weight.sum(1) // 2).all(1)
    assert tree.done and tree.upper == int((every[kept] @ -value).min())
    assert tree.nodes <= 20
