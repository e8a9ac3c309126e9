"""Branch and bound on a linear relaxation: proves least by bounds that are whole numbers.

A node narrows some columns. The linear solver tells where to look; `safe_bound` says what is proved
there, narrows columns by their reduced costs, and ends a node where nothing below it costs less
than the best solution. Nodes are taken by their bounds; from each the search goes down first, to
the side that the relaxation leans to.

Source: Land and Doig, Econometrica 1960; Achterberg, Koch, Martin, "Branching rules revisited",
Operations Research Letters 2005 (pseudo-costs).
"""

import heapq
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from engine.decimals import Floats, Ints
from engine.kernels.clauses import NEVER, Formula
from engine.search.cuts import broken
from engine.search.dive import WHOLE, Dive
from engine.search.exhaustive import POINT, Credit, Exhaustive
from engine.search.linear import Linear
from engine.search.products import Reading, read
from engine.search.program import FAR, Program, Rows, program_of
from engine.search.relaxation import EMPTY, LOST, SOLVED, STOPPED, Point, Relaxation
from engine.search.rowwise import RowSearch
from engine.search.safe import SMALL, Bound, exact_bound, refuted, safe_bound
from engine.search.short import rounded

ROUNDS = 20  # of cuts at the root
RISEN = 1e-3  # of the bound, that counts as a rise
IDLE = 2  # rounds of cuts without a rise, after which no more are asked for
MOST = 1 << 21  # entries of the rows
STEP, SPARSE = 4000, 5  # what a step of the simplex method takes: so much, and of all entries
LOST_AT = 16  # nodes without a solution, after which the relaxation dives
NEAR = 20  # bits by which a bound lies nearer to the best solution than that to 0, from which on
# floats may not tell them apart
NODE = 10  # steps of the simplex method that a node takes beside them
PRESSED = 200  # times that a node is solved again, under rows that its points broke
_NONE = np.zeros(0, dtype=np.int64)


class Node(NamedTuple):
    """A part of the tree that is left to search."""

    bound: int  # nothing in it costs less
    serial: int
    sides: Ints  # columns narrowed beyond the root: 2 * column, + 1 where from above ...
    edges: Ints  # ... to these values
    branched: int = -1  # the last of the sides, for pseudo-costs; -1 at the root
    moved: float = 0.0  # how far the relaxation stood from its value, of the way between two


class Solution(NamedTuple):
    """A whole solution of the rows."""

    x: Ints  # (n,)
    units: int


@dataclass
class Tree(RowSearch):
    """The search of one program."""

    program: Program
    columns: Reading
    relaxation: Relaxation
    lo: Ints
    hi: Ints
    upper: int
    work: int  # steps of the simplex method of one advance, about
    never: int = NEVER  # an upper that any solution beats
    best: Solution | None = None
    heap: list[Node] = field(default_factory=list)
    current: Node | None = None
    basis: Any = None  # of the linear solver
    rounds: int = ROUNDS
    risen: float = -np.inf  # the bound at the root when it last rose
    idle: int = 0  # rounds of cuts since
    serial: int = 0
    nodes: int = 0
    first: int = 0  # the bound before anything was solved
    point: Floats | None = None  # where the root was least, when it was last solved
    formula: Formula | None = None  # what the program says, where it may be searched beside
    dive: Dive | None = None  # from the root
    lazy: Callable[[Floats], Rows | None] | None = None  # rows that must hold, and are too many to
    # stand in the program: those that a point breaks, at a whole point all of them or some
    pressed: tuple[int, int] = (0, 0)  # the last node that such rows were found at, and how often
    deep: int = 0  # nodes when the root was left
    left: int = NEVER  # what solutions had to beat then
    bottom: int | None = None  # that of the root, once all cuts are there
    step: int = 1  # entries that a step of the simplex method looks at
    credit: Credit = Credit()  # for boxes that are searched to their end
    gains: Floats = field(default_factory=lambda: np.zeros((2, 0)))  # by side
    tries: Floats = field(default_factory=lambda: np.zeros((2, 0)))

    @staticmethod
    def of(program: Program, upper: int, work: int, columns: Reading | None = None) -> "Tree":
        n = program.columns
        columns = columns or Reading.plain(n)
        box = np.zeros(n, np.int64), program.top.copy()
        tree = Tree(program, columns, Relaxation(program), *box, upper, work)
        tree.step = step_of(program)
        tree.never = tree.left = FAR if program.long else NEVER
        tree.gains, tree.tries = np.zeros((2, n)), np.zeros((2, n))
        least = safe_bound(program, np.zeros(program.rows.count), *box).units
        tree.current, tree.first = Node(least, 0, _NONE, _NONE), least
        return tree

    def copy(self) -> "Tree":
        own = replace(self, heap=list(self.heap))
        own.lo, own.hi = self.lo.copy(), self.hi.copy()
        own.gains, own.tries = self.gains.copy(), self.tries.copy()
        own.dive = self.dive.copy() if self.dive else None
        return own

    @property
    def done(self) -> bool:
        return self.current is None and not self.heap

    @property
    def bound(self) -> int:
        left = [node.bound for node in (*self.heap[:1], *([self.current] if self.current else []))]
        return min([*left, self.upper])

    @property
    def flat(self) -> bool:
        low = self.bottom is not None and self.bottom <= self.first
        return low and not self.dives and (self.dive is None or self.dive.ended)

    @property
    def dives(self) -> bool:
        """It looks for a first solution, and has not come to an end of that."""
        return self.upper == self.never and not (self.dive is not None and self.dive.ended)

    @property
    def model(self) -> np.ndarray | None:
        return None if self.best is None else self.columns.model(self.best.x)

    @property
    def leaning(self) -> Floats | None:
        """Where the root was least, over the variables of the formula. -> (V,)"""
        return None if self.point is None else self.columns.spread(self.point)

    def told(self, upper: int, literals: np.ndarray) -> None:
        del literals
        if upper < self.upper:
            self.upper, self.best = upper, None

    def advance(self) -> None:
        self.relaxation.resume(self.program, self.basis)
        self.spend(self.work)
        self.basis = self.relaxation.basis

    def within(self, literals: Ints, upper: int) -> "Tree":
        """The search of what is left where these hold, as far as the root has not shut them out;
        it asks for no cuts."""
        first = Node(self.first, 0, _NONE, _NONE)
        own = replace(self, heap=[], current=first, best=None, upper=upper, rounds=0)
        own.lo, own.hi = self.columns.box(literals, self.lo, self.hi)
        return own

    def spend(self, work: int) -> int:
        """Goes on for so many steps of the simplex method. -> those left, where it is done"""
        while work > 0 and not self.done:
            if self.dive is not None and not self.dive.ended:
                work = self._dived(work)
                continue
            node = self._next()
            if node is None:
                return work
            lo, hi = self._box(node)
            if (lo > hi).any():
                continue
            self.nodes += 1
            upper = float(self.upper - self.program.constant)
            point = self.relaxation.solve(lo, hi, work, upper)
            spent = point.iterations + NODE
            self.credit = self.credit.earned(spent * self.step)
            self._treat(node, lo, hi, point)
            work -= spent + self.credit.done // self.step
        return work

    def _dived(self, work: int) -> int:
        """A piece of the dive; its end is judged. -> work left"""
        dive = self.dive
        assert dive is not None
        work = dive.go(self.program, self.relaxation, self.upper, work)
        if dive.ended:
            self._whole(dive.x, dive.lo, dive.hi)
        return work

    def _rounded(self, formula: Formula, x: Floats) -> None:
        """Takes in what clause learning finds beside the values that the root has decided."""
        upper = NEVER if self.program.long else self.upper
        model = rounded(formula, self.columns.spread(x), upper)
        if model is not None:
            own = self.columns.point(model)
            self._whole(own.astype(float), np.zeros_like(own), self.program.top)

    @property
    def _lost(self) -> bool:
        """Where to go down is not told by bounds, or has led nowhere."""
        if self.flat:
            return self.upper == self.left
        return self.upper == self.never and self.nodes >= self.deep + LOST_AT

    def _next(self) -> Node | None:
        """The node to look at; it is taken from the tree."""
        node, self.current = self.current, None
        while node is None or node.bound >= self.upper:
            if not self.heap:
                return None
            node = heapq.heappop(self.heap)
        return node

    def _box(self, node: Node) -> tuple[Ints, Ints]:
        lo, hi = self.lo.copy(), self.hi.copy()
        above = (node.sides & 1).astype(bool)
        np.minimum.at(hi, node.sides[above] >> 1, node.edges[above])
        np.maximum.at(lo, node.sides[~above] >> 1, node.edges[~above])
        return lo, hi

    def _treat(self, node: Node, lo: Ints, hi: Ints, point: Point) -> None:
        if point.state == EMPTY:
            if refuted(self.program, point.duals, lo, hi):
                return
            self._split(node, lo, hi)
            return
        bound = safe_bound(self.program, point.duals, lo, hi)
        if node.branched >= 0 and point.state != STOPPED:
            self._learn(node, bound)
        node = node._replace(bound=max(node.bound, bound.units))
        node, bound = self._exact(node, point, bound, lo, hi)
        if node.bound >= self.upper:
            return
        if point.state == STOPPED:
            self.current = node
            return
        node, lo, hi = self._narrowed(node, lo, hi, bound)
        if (lo > hi).any():
            return
        if point.state == LOST:
            self._split(node, lo, hi)
            return
        if self._unsaid(point.x, node):
            return
        loose = self._loose(point.x, lo, hi)
        if not len(node.sides):
            self.point = point.x
        if not len(loose):
            self._whole(point.x, lo, hi)
            node, bound = self._exact(node, point, bound, lo, hi)
            if node.bound < self.upper:
                self._split(node, lo, hi)
            return
        if not len(node.sides):
            if self._cut(point.x, node, bound):
                return
            if self.bottom is None and self.formula is not None:
                self._rounded(self.formula, point.x)
                if node.bound >= self.upper:
                    return
            self.bottom, self.deep, self.left = node.bound, self.nodes, self.upper
        if self._exhausted(bound, lo, hi, point.x):
            return
        self._branch(node, loose, point.x, lo, hi)
        if self.dive is None and self.point is not None and self._lost:
            self.dive = Dive.of(self.lo, self.hi, self.point)

    def _exact(
        self, node: Node, point: Point, bound: Bound, lo: Ints, hi: Ints
    ) -> tuple[Node, Bound]:
        """Where costs are long and the best solution costs hardly more than a bound that floats
        tell: the bound by duals as precise as it takes."""
        left = self.upper - node.bound
        near = 0 < left <= abs(self.upper) >> NEAR
        if not self.program.long or not near or point.state != SOLVED:
            return node, bound
        own = exact_bound(self.program, point.duals, lo, hi, self.upper, self.relaxation.mended)
        if own.units > node.bound:
            node, bound = node._replace(bound=own.units), own
        return node, bound

    def _narrowed(self, node: Node, lo: Ints, hi: Ints, bound: Bound) -> tuple[Node, Ints, Ints]:
        """The box that reduced costs leave below this node; at the root, for good."""
        least, most = bound.narrowed(self.upper, self.program.constant, lo, hi)
        least, most = self.program.snapped(least, most)
        if not len(node.sides):
            self.lo, self.hi = least.copy(), most.copy()
            return node, least, most
        up, down = np.flatnonzero(least > lo), np.flatnonzero(most < hi)
        if len(up) + len(down):
            node = node._replace(
                sides=np.concatenate([node.sides, 2 * up, 2 * down + 1]),
                edges=np.concatenate([node.edges, least[up], most[down]]),
            )
        return node, least, most

    def _loose(self, x: Floats, lo: Ints, hi: Ints) -> Ints:
        """The open columns that stand at no value of theirs."""
        open_ = np.flatnonzero(lo < hi)
        off = np.abs(x[open_] - np.rint(x[open_])) > WHOLE
        for column, own in self.program.sparse.items():
            off |= (open_ == column) & (int(np.rint(x[column])) not in own)
        return open_[off]

    def _whole(self, x: Floats, lo: Ints, hi: Ints) -> None:
        """Takes in a point whose open columns are whole, where it meets all rows."""
        own = np.clip(np.rint(x).astype(np.int64), lo, hi)
        if self.program.takes(own) and self.program.rows.hold(own):
            own = self.columns.point(self.columns.model(own))
            units = self.program.total(own)
            if units < self.upper and (self.lazy is None or self.lazy(own.astype(float)) is None):
                self.best, self.upper = Solution(own, units), units

    def _unsaid(self, x: Floats, node: Node) -> bool:
        """The node again, under rows that must hold and that this point breaks."""
        serial, times = self.pressed
        times = times + 1 if serial == node.serial else 1
        rows = self.lazy(x) if self.lazy is not None and times <= PRESSED else None
        if rows is None:
            return False
        self.pressed = node.serial, times
        self._extended(rows, node)
        return True

    def _extended(self, rows: Rows, node: Node) -> None:
        """The node again, under more rows."""
        self.program = self.program.with_rows(rows)
        self.relaxation.extend(self.program, rows)
        self.current = node

    def _cut(self, x: Floats, node: Node, bound: Bound) -> bool:
        """The root again, under rows that this point breaks; not where those of the last rounds
        hardly raised the bound."""
        value = bound.value
        if value > self.risen + RISEN * abs(value):
            self.risen, self.idle = value, 0
        else:
            self.idle += 1
        if self.rounds <= 0 or self.idle >= IDLE:
            return False
        self.rounds -= 1
        rows = broken(self.program, x)
        if rows is None:
            self.rounds = 0
            return False
        self._extended(rows, node)
        return True

    def _learn(self, node: Node, bound: Bound) -> None:
        side = node.branched & 1
        gain = max(0, min(bound.units, self.upper) - node.bound) / max(node.moved, WHOLE)
        self.gains[side, node.branched >> 1] += gain
        self.tries[side, node.branched >> 1] += 1

    def _split(self, node: Node, lo: Ints, hi: Ints) -> None:
        """What no point tells how to search: two nodes, where it is too large to be searched to
        its end; nothing is open: all is fixed and is judged."""
        open_ = np.flatnonzero(lo < hi)
        middle = (lo + hi) / 2
        if not len(open_):
            self._whole(lo.astype(float), lo, hi)
            return
        bound = safe_bound(self.program, np.zeros(self.program.rows.count), lo, hi)
        if not self._exhausted(bound, lo, hi, middle):
            self._branch(node, open_, middle, lo, hi)

    def _exhausted(self, bound: Bound, lo: Ints, hi: Ints, x: Floats) -> bool:
        """Whether nothing is left of a box in which this bound is proved, after a search as long as
        there is credit for."""
        box = Exhaustive.of(self.program, bound, lo, hi, x) if self.credit.enough else None
        if box is None:
            return False
        done = 0
        while done < self.credit.work and not box.ended:
            own, looked = box.go(self.upper, int(self.credit.work) - done)
            done += looked + POINT
            if own is not None:
                self._whole(own.astype(float), own, own)
        self.credit = self.credit.after(box.ended, done)
        return box.ended

    def _branch(self, node: Node, columns: Ints, x: Floats, lo: Ints, hi: Ints) -> None:
        """Two nodes by one of these columns, which are open."""
        below = np.floor(x[columns]).astype(np.int64)
        below = np.minimum(np.maximum(below, lo[columns]), hi[columns] - 1)
        above = below + 1
        for column, own in self.program.sparse.items():
            for k in np.flatnonzero(columns == column).tolist():
                behind = int(np.searchsorted(own, below[k], side="right"))
                below[k], above[k] = own[behind - 1], own[behind]
        at = np.minimum(np.maximum((x[columns] - below) / (above - below), 0.0), 1.0)
        k = int(self._score(columns, at).argmax())
        column, value = int(columns[k]), float(at[k])
        up = value >= 0.5
        for side, edge, moved in (
            (2 * column, int(above[k]), 1 - value),
            (2 * column + 1, int(below[k]), value),
        ):
            self.serial += 1
            child = Node(
                node.bound,
                self.serial,
                np.concatenate([node.sides, [side]]),
                np.concatenate([node.edges, [edge]]),
                side,
                moved,
            )
            if (side & 1 == 0) == up:
                self.current = child
            else:
                heapq.heappush(self.heap, child)

    def _score(self, columns: Ints, at: Floats) -> Floats:
        """How much the bound should gain on both sides, by what was seen before."""
        tried = self.tries > 0
        mean = np.where(tried, self.gains / np.maximum(self.tries, 1), 0.0)
        usual = [
            float(mean[side][tried[side]].mean()) if tried[side].any() else 1.0 for side in (0, 1)
        ]
        own = [np.where(tried[side, columns], mean[side, columns], usual[side]) for side in (0, 1)]
        gain_up, gain_down = own[0] * (1 - at), own[1] * at
        return np.maximum(gain_up, 1e-6) * np.maximum(gain_down, 1e-6)


def tree_of(
    formula: Formula, upper: int | None, work: int, linear: Linear | None = None
) -> Tree | None:
    """The search of a formula; None where its program is too large. work: entries of the program
    times steps of the simplex method in one advance; linear: what it costs exactly."""
    program, columns = read(program_of(formula, linear))
    entries = len(program.rows.col)
    if entries > (SMALL if program.long else MOST):
        return None
    if upper is None:
        upper = FAR if program.long else NEVER
    tree = Tree.of(program, upper, steps_of(program, work), columns)
    tree.formula = formula
    return tree


def step_of(program: Program) -> int:
    """Entries that a step of the simplex method looks at."""
    return STEP + (len(program.rows.col) + 4 * program.columns) // SPARSE


def steps_of(program: Program, work: int) -> int:
    """Steps of the simplex method in one advance. work: entries of the program times these"""
    return max(20, work // step_of(program))
