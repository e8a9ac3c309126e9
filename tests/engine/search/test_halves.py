"""Cuts with multipliers one half: held against all whole points of small rows."""

import numpy as np
import pytest

from engine.kernels import odd_cycles
from engine.search.branching import Tree
from engine.search.halves import halves
from engine.search.program import OPEN, Program, Rows


def drawn(rng: np.random.Generator, n: int) -> Rows:
    """Some rows over a few columns each, mostly of ones, with one edge or both."""
    parts = []
    for _ in range(int(rng.integers(3, 12))):
        col = np.sort(rng.permutation(n)[: int(rng.integers(1, min(n, 4) + 1))])
        coef = rng.choice([-3, -2, -1, 1, 1, 1, 1, 2, 3], len(col))
        low, high = sorted(rng.integers(-3, 4, 2).tolist())
        side = int(rng.integers(3))
        edges = -OPEN if side == 0 else low, OPEN if side == 1 else high
        parts.append(Rows(np.array([0, len(col)]), col, coef, *(np.array([e]) for e in edges)))
    return Rows.joined(parts)


def whole(n: int) -> np.ndarray:
    return (np.arange(1 << n)[:, None] >> np.arange(n) & 1).astype(np.int64)


def test_they_cut_off_no_whole_solution_and_every_one_is_broken() -> None:
    rng = np.random.default_rng(23)
    told = 0
    for _ in range(400):
        n = int(rng.integers(3, 9))
        rows = drawn(rng, n)
        x = rng.choice([0.0, 0.5, 0.5, 1.0], n) if rng.random() < 0.7 else rng.random(n)
        cuts = halves(rows, x)
        if cuts is None:
            continue
        told += cuts.count
        paid = np.zeros(cuts.count)
        np.add.at(paid, cuts.owner, cuts.coef * x[cuts.col])
        assert (paid > cuts.high).all()
        for point in whole(n):
            assert cuts.hold(point) or not rows.hold(point)
    assert told > 200


@pytest.mark.parametrize("n", [3, 5, 7, 11])
def test_they_find_odd_cycles_and_blossoms(n: int) -> None:
    """At most half of an odd ring, of its nodes or of its edges, rounded down."""
    near = np.stack([np.arange(n), (np.arange(n) + 1) % n], 1)
    rows = Rows(
        2 * np.arange(n + 1), np.sort(near, 1).reshape(-1), np.ones(2 * n, np.int64),
        np.full(n, -OPEN), np.ones(n, np.int64),
    )  # fmt: skip
    cuts = halves(rows, np.full(n, 0.5))
    assert cuts is not None and cuts.count == 1
    assert cuts.col.tolist() == list(range(n)) and (cuts.coef == 1).all()
    assert cuts.high.tolist() == [n // 2]
    tree = Tree.of(Program(rows, np.full(n, -1), 0), 1 << 40, 10**6)
    tree.advance()
    assert tree.done and tree.upper == -(n // 2) and tree.nodes == 2  # the root, twice


def test_walks_are_those_of_plain_python_and_of_odd_parity() -> None:
    rng = np.random.default_rng(29)
    for _ in range(60):
        n, m = int(rng.integers(2, 9)), int(rng.integers(1, 16))
        ends = rng.integers(0, n, (m, 2))
        odd, weight = rng.integers(0, 2, m), rng.integers(0, 5, m) / 8
        begin = np.concatenate([ends[:, 0], ends[:, 1]])
        order = np.argsort(begin, kind="stable")
        start = np.searchsorted(begin[order], np.arange(n + 1)).astype(np.int64)
        twice, to = np.tile(np.arange(m), 2)[order], np.concatenate([ends[:, 1], ends[:, 0]])
        graph = start, to[order], odd[twice], weight[twice]
        told = odd_cycles.odd_cycles(*graph, 1.0, 10**6)
        plain = odd_cycles._search.plain(*graph, 1.0, 10**6)
        assert all(np.array_equal(a, b) for a, b in zip(told, plain, strict=True))
        far = np.full((n, n, 2), np.inf)  # cheapest walks of either parity, by enumeration
        far[np.arange(n), np.arange(n), 0] = 0.0
        for _ in range(2 * n):
            for (a, b), parity, cost in zip(ends, odd, weight, strict=True):
                for u, v in ((a, b), (b, a)):
                    moved = far[:, u] + cost
                    far[:, v] = np.minimum(far[:, v], moved[:, ::-1] if parity else moved)
        cheapest = far[np.arange(n), np.arange(n), 1]
        walks = np.split(told[1], told[0][1:-1]) if len(told[0]) > 1 else []
        assert len(walks) == int((cheapest < 1.0).sum())
        costs = [float(weight[twice[walk]].sum()) for walk in walks]
        assert np.allclose(costs, cheapest[cheapest < 1.0])
        assert all(odd[twice[walk]].sum() % 2 == 1 for walk in walks)
