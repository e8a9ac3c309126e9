"""One tour through nodes, each step at its own cost, as an integer program whose rows are made when
a point breaks them.

    least sum over ways of cost * x,  x in {0, 1}
    where two ways are taken at each node (one in and one out, where a way back costs otherwise),
    and at most |S| - 1 of those within any set S of nodes

There are too many sets for all of them to stand there: least cuts of a point tell those that it
breaks. First trips come from `engine/kernels/orders.py`; where ways cost the same there and back,
trees with one circle leave out most ways before any linear program is solved.

Source: Dantzig, Fulkerson, Johnson, "Solution of a large-scale traveling-salesman problem", Journal
of the Operations Research Society of America 1954; Padberg and Rinaldi, "A branch-and-cut
algorithm", SIAM Review 1991.
"""

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from engine.decimals import Floats, Ints
from engine.kernels.assignment import assign
from engine.kernels.clauses import NEVER
from engine.kernels.min_cuts import small_cuts
from engine.kernels.one_trees import FAR, raise_prices, with_each
from engine.kernels.orders import shorten
from engine.search.branching import Tree, steps_of
from engine.search.program import FAR as ENDLESS
from engine.search.program import OPEN, Program, Rows

BROKEN = 1e-3  # by so much a set is broken, at least
NODES = 400  # at most
BITS = 34  # of costs, beyond which first trips and trees round them down
FINE = 10  # binary digits of prices
KICKED = 1 << 22  # triples of ways that first trips look at, about
KICKS, APART = 200, 30  # at most, and nodes between two cuts of one
REACH = 1 << 13  # pairs of nodes, for which parts of any length are moved
GROWN, PASSES = 1 << 23, 400  # pairs of nodes that trees look at, about, and trees at most


class Ways(NamedTuple):
    """What the steps of a tour cost: from each node to each other one."""

    cost: Ints  # (n, n) in units, whole numbers of Python where 64 bits have no room for them
    open: np.ndarray  # (n, n) bool: whether there is a way
    beside: int = 0  # what any tour pays beside its steps

    @property
    def alike(self) -> bool:
        """There and back."""
        return bool((self.open == self.open.T).all() and (self.cost == self.cost.T).all())

    def total(self, after: Ints) -> int | None:
        """What a tour costs; None where some way is shut. after (n,): what follows each node"""
        at = np.arange(len(after)), after
        return self.beside + int(self.cost[at].sum()) if self.open[at].all() else None


@dataclass(frozen=True, eq=False)
class OnePiece:
    """The rows that keep a tour in one piece, over columns that are ways between nodes."""

    nodes: int
    tail: Ints  # (c,) of each column
    head: Ints
    alike: bool  # a column is both ways between two nodes

    def __call__(self, x: Floats) -> Rows | None:
        """Rows of sets of nodes that a point breaks; None where it breaks none."""
        n = self.nodes
        weight = np.zeros((n, n))
        np.add.at(weight, (self.tail, self.head), np.clip(x, 0.0, 1.0))
        sets = small_cuts(weight + weight.T, 2.0 - 2 * BROKEN)
        if not len(sets):
            return None
        sets = np.where(sets.sum(1, keepdims=True) > n // 2, ~sets, sets)
        within = sets[:, self.tail] & sets[:, self.head]  # (k, c)
        row, col = np.nonzero(within)
        ptr = np.concatenate([[0], np.cumsum(within.sum(1))]).astype(np.int64)
        low = np.full(len(sets), -OPEN, dtype=np.int64)
        return Rows(ptr, col, np.ones(len(row), np.int64), low, sets.sum(1) - 1)

    def after(self, x: Ints) -> Ints:
        """What follows each node of a tour. (c,) -> (n,)"""
        taken = np.flatnonzero(x)
        tail, head, n = self.tail[taken], self.head[taken], self.nodes
        if not self.alike:
            return head[np.argsort(tail)]
        near = np.concatenate([head, tail])[np.argsort(np.concatenate([tail, head]), kind="stable")]
        out, before, at = np.zeros(n, dtype=np.int64), -1, 0
        for _ in range(n):
            one, two = near[2 * at], near[2 * at + 1]
            out[at] = two if one == before else one
            before, at = at, int(out[at])
        return out


@dataclass
class Trips:
    """The search for the least tour: `Tree` over the ways that are left."""

    tree: Tree
    after: Ints | None  # (n,) what follows each node of the best tour that it found itself, and
    # that costs `upper`

    @staticmethod
    def of(ways: Ways, upper: int | None, work: int) -> "Trips":
        """At the root, beside a first tour; only tours that cost less than `upper` are looked for,
        None: all. ways: between at least 3 nodes; work: as of `steps_of`"""
        ways = ways._replace(open=ways.open & ~np.eye(len(ways.open), dtype=bool))
        cost, shift = coarse(ways)
        if shift:  # floats hardly tell such costs apart, whole numbers of any size do
            ways = ways._replace(cost=ways.cost.astype(object))
        never = ENDLESS if ways.cost.dtype == object else NEVER
        alike = ways.alike
        if alike:
            least, with_each_way, order = -FAR, cost, nearest(cost, ways.open)
        else:
            least, with_each_way, order = assigned(cost, ways.open)
        first, after = shortened(cost, ways.open, order), None
        total = ways.total(first)
        upper = never if upper is None else upper
        if total is not None and total < upper:
            upper, after = total, first
        if upper < never:
            # in coarse units: what reaches this costs no less
            most = -((ways.beside - upper) >> shift)
            if alike:
                least, with_each_way = grown(cost, ways.open, most)
            ways = ways._replace(open=ways.open & (with_each_way < most))
        program, pieces = program_of(ways)
        tree = Tree.of(program, upper, steps_of(program, work))
        tree.lazy = pieces
        if tree.current is not None:
            left = ways.open.any(0).all() and ways.open.any(1).all()  # ways in and out of all nodes
            bound = ways.beside + (least << shift) if left and least < FAR else upper
            tree.current = tree.current._replace(bound=min(upper, max(tree.first, bound)))
        return Trips(tree, after)

    def copy(self) -> "Trips":
        return replace(self, tree=self.tree.copy())

    @property
    def upper(self) -> int:
        return self.tree.upper

    @property
    def bound(self) -> int:
        return self.tree.bound

    @property
    def done(self) -> bool:
        return self.tree.done

    def told(self, upper: int) -> None:
        if upper < self.upper:
            self.tree.told(upper, np.zeros(0, dtype=np.int32))
            self.after = None

    def advance(self) -> None:
        """One step of at most about 20 ms."""
        before = self.upper
        self.tree.advance()
        best, lazy = self.tree.best, self.tree.lazy
        if best is not None and self.upper < before:
            assert isinstance(lazy, OnePiece)
            self.after = lazy.after(best.x)


def coarse(ways: Ways) -> tuple[Ints, int]:
    """Costs rounded down to multiples of 2^shift, of which sums have room in 64 bits; 0 where there
    is no way. -> (n, n), shift"""
    cost = np.where(ways.open, ways.cost, 0)
    shift = max(0, int(np.abs(cost).max()).bit_length() - BITS)
    return (cost >> shift).astype(np.int64), shift


def assigned(cost: Ints, open_: np.ndarray) -> tuple[int, Ints, Ints]:
    """What circuits through all nodes, one or more, cost at least: of all, and of those with each
    way; and the nodes in the order of a tour, made of the least circuits by joining two at a time.
    cost (n, n) int64"""
    n, low = len(cost), int(cost.min())
    after, v = assign(cost - low, open_)
    if after[0] < 0:
        return FAR, np.full_like(cost, FAR), np.arange(n)
    u = cost[np.arange(n), after] - v[after]
    least, above = int(u.sum() + v.sum()), cost - u[:, None] - v
    above = np.where(open_, above, int(above.max()) + 1)
    circuit, count = np.full(n, -1), 0
    for k in range(n):
        if circuit[k] < 0:
            circuit[_along(after, k)] = count
            count += 1
    for _ in range(count - 1):
        joined = above[:, after] + above[:, after].T
        apart = circuit[:, None] != circuit
        a, b = np.unravel_index(int(np.where(apart, joined, FAR).argmin()), joined.shape)
        after[[a, b]] = after[[b, a]]
        circuit[circuit == circuit[b]] = circuit[a]
    return least, np.where(open_, least + above, FAR), _along(after, 0)


def _along(after: Ints, first: int) -> Ints:
    """The nodes of a circuit, from its first one."""
    order = [first]
    while int(after[order[-1]]) != first:
        order.append(int(after[order[-1]]))
    return np.array(order, dtype=np.int64)


def grown(cost: Ints, open_: np.ndarray, upper: int) -> tuple[int, Ints]:
    """What trees with one circle cost at least, ways costing the same there and back: of all, and
    of those with each way; prices grow as far as it takes to reach `upper`. cost (n, n) int64"""
    n = len(cost)
    fine = np.where(open_, cost << FINE, FAR)
    passes = min(PASSES, max(1, GROWN // (n * n)))
    price, least = raise_prices(fine, np.zeros(n, np.int64), upper << FINE, passes)
    if least >= FAR:
        return FAR, fine
    return -(-least >> FINE), -(-with_each(fine, price) >> FINE)


def nearest(cost: Ints, open_: np.ndarray) -> Ints:
    """The nodes in an order in which each goes on to the nearest that is left. -> (n,)"""
    n = len(cost)
    order, left = np.zeros(n, dtype=np.int64), np.ones(n, dtype=bool)
    own = np.where(open_, cost, FAR // 2)
    for k in range(1, n):
        left[order[k - 1]] = False
        order[k] = int(np.where(left, own[order[k - 1]], FAR).argmin())
    return order


def shortened(cost: Ints, open_: np.ndarray, order: Ints) -> Ints:
    """A short tour, as far as there are ways for it. cost (n, n) int64; order (n,): to begin with
    -> (n,) what follows each node"""
    n = len(cost)
    own = np.where(open_, cost, 0)
    own -= int(own.min())
    own[~open_] = (int(own.max()) + 1) * n
    reach = max(3, min(n, REACH // n))
    count = min(KICKS, KICKED // (n * n * reach)) if n > 7 else 0
    rng = np.random.default_rng(n)  # that of this size: any kicks will do
    a = rng.integers(1, n - 1, count)
    b = a + 1 + rng.integers(0, np.minimum(APART, n - 1 - a))
    c = b + 1 + rng.integers(0, np.minimum(APART, n - b))
    order = shorten(own, order, np.stack([a, b, c], 1), reach)
    after = np.zeros(n, dtype=np.int64)
    after[order] = np.roll(order, -1)
    return after


def program_of(ways: Ways) -> tuple[Program, OnePiece]:
    """What a tour is, but for its being in one piece: a column for each way, or for both ways
    between two nodes where all cost the same there and back."""
    n, alike = len(ways.open), ways.alike
    tail, head = np.nonzero(np.triu(ways.open) if alike else ways.open)
    node = np.concatenate([tail, head + (0 if alike else n)])
    count, each = (n, 2) if alike else (2 * n, 1)
    order = np.argsort(node, kind="stable")
    ptr = np.concatenate([[0], np.cumsum(np.bincount(node, minlength=count))]).astype(np.int64)
    col = np.concatenate([np.arange(len(tail))] * 2)[order]
    edge = np.full(count, each, dtype=np.int64)
    rows = Rows(ptr, col, np.ones(len(col), np.int64), edge, edge)
    return Program(rows, ways.cost[tail, head], ways.beside), OnePiece(n, tail, head, alike)
