"""A problem prepared for complete search: its Boolean form and its exact cover, made once."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from engine.energy import Energy
from engine.factors import Factors, Table
from engine.factors.explicit import combinations
from engine.factors.tightened import tighten
from engine.kernels import clauses as learning
from engine.kernels import cover as covering
from engine.problem import Problem
from engine.search.boolean import TUPLES, Boolean, NotEncodable, encode, encode_in_pieces
from engine.search.equal import merged
from engine.search.prices import Prices
from engine.search.simplify import simplify
from engine.search.subtrees import Learner

SHRUNK = 0.5  # a row whose open variables are fewer than this share gets a formula of its own
MOST = 1 << 26  # literals of a Boolean form that memory has room for
LISTED = 1 << 24  # of them for combinations that tables list, each with a selector


def exchangeable(factors: Factors) -> bool:
    """The values may be exchanged for each other, at all sites alike."""
    sizes = factors.sizes
    return factors.interchangeable and len(sizes) > 0 and bool((sizes == sizes[0]).all())


def cover_of(tight: Factors) -> covering.Cover | None:
    """Tightened structure as groups of which one is chosen, beside costs of single sites; None
    where rules are more than that."""
    f = tight.expanded()
    c = f.counted
    plain = not f.clauses.count and not f.sums.count
    plain = plain and len(f.sizes) == f.visible  # hidden sites would make one answer count as two
    if not plain or ((c.high != 1) | (c.low > 1)).any():
        return None
    offset = np.concatenate([[0], np.cumsum(f.sizes)])
    if covering.repeats(c.owner(), offset[c.site] + c.value, int(offset[-1])):
        return None  # a literal that counts twice
    label = classes = None
    if exchangeable(tight):
        label = np.arange(offset[-1]) - np.repeat(offset[:-1], f.sizes)
        classes = np.zeros(int(f.sizes[0]), dtype=np.int64)
    return covering.cover(f.sizes, c.start, offset[c.site] + c.value, c.low == 1, label, classes)


@dataclass(frozen=True, eq=False)
class Prepared:
    """What all rows share: the structure, prepared for both searches."""

    factors: Factors
    rest: Energy | None
    rest_floor: float

    @cached_property
    def cover(self) -> covering.Cover | None:
        """The structure as groups, where it is nothing but these and costs of single sites, beside
        which rules may stand that are not explicit."""
        if self.rest is not None and not (self.judges and self.factors.soft):
            return None
        if any(table.arity != 1 or table.when is not None for table in self.factors.tables):
            return None
        return cover_of(self.tightened)

    @cached_property
    def tightened(self) -> Factors:
        return tighten(self.factors)

    @property
    def judges(self) -> bool:
        """What is not explicit are rules alone: solutions cost what is explicit."""
        return self.rest is not None and all(part.required for part in self.rest.summands())

    def of_row(self, factors: Factors) -> "Prepared":
        """The same for one row, whose structure has its own costs in place."""
        own = replace(self, factors=factors)
        vars(own)["cover"] = self.cover
        return own

    @cached_property
    def prices(self) -> Prices | None:
        """The costs of single sites beside the cover; None where no table tells any."""
        return Prices.of(self.factors) if self.cover is not None and self.factors.tables else None

    @property
    def symmetric(self) -> bool:
        """The values may be exchanged for each other, at all sites alike."""
        return exchangeable(self.factors)

    @cached_property
    def boolean(self) -> Boolean:
        return merged(encode(self.tightened, merge=False))

    def prepare(self) -> Iterator[None]:
        """Makes what a first visit looks at, in pieces."""
        if self.cover is not None or self.factors.varying:
            return
        if "boolean" not in vars(self):  # kept where the cached property keeps it
            made = yield from encode_in_pieces(self.tightened, merge=False)
            yield
            vars(self)["boolean"] = merged(made)
        yield
        _ = self.loaded

    @cached_property
    def formula(self) -> learning.Formula:
        b = self.boolean
        return learning.Formula(
            b.variables,
            b.clauses.start,
            b.clauses.literal,
            b.groups.start,
            b.groups.literal,
            b.sums.start,
            b.sums.literal,
            b.coefficient,
            b.bound,
            b.costs.start,
            b.costs.literal,
            b.cost,
        )

    @cached_property
    def loaded(self) -> learning.State:
        return learning.load(self.formula)

    def learner(self, allowed: np.ndarray) -> Learner:
        """The learning search of one row, narrowed to its evidence. allowed (C,) uint8"""
        b, formula, state = self.boolean, self.formula, learning.copy(self.loaded)
        closed = b.literal[np.flatnonzero(allowed == 0)] ^ 1
        state = learning.add_clauses(state, np.arange(len(closed) + 1), closed)
        status, state = learning.search(state, (), 0)
        opened = int((state.value == 0).sum()) // 2
        if status == learning.LIMIT and opened < SHRUNK * b.variables:
            small = simplify(formula, state.value)
            constant = b.constant + small.constant
            begun = learning.load(small.formula)
            return Learner(small.formula, begun, learning.NEVER, constant, small)
        return Learner(formula, state, learning.NEVER, b.constant, None)

    @property
    def soft(self) -> bool:
        return len(self.boolean.cost) > 0 or self.rest is not None


def prepared_of(problem: Problem) -> Prepared:
    """The plan of a problem, kept for the next one of the same structure."""
    plan = problem.memo.get("plan")
    if plan is None:
        factors, rest = problem.factored()
        plan = problem.memo["plan"] = Prepared(factors, rest, rest.floor() if rest else 0.0)
    return plan


def prepared_rows(problem: Problem) -> tuple[Prepared, ...]:
    """The plan of each row: one for all; where rows pay differently, each beside the same cover."""
    plan = prepared_of(problem)
    if not plan.factors.varying:
        return (plan,) * problem.rows
    return tuple(plan.of_row(problem.concrete(row)) for row in range(problem.rows))


def selectors(factors: Factors) -> int:
    """How many literals the Boolean form would take for combinations that are weighed: a selector
    for each, in a clause, a group and a clause for each of its sites, and twice in supports."""
    return sum(_selected(factors, table) for table in factors.tables if table.soft)


def _selected(factors: Factors, table: Table) -> int:
    """The literals that a table takes, with a selector for each combination."""
    if table.arity == 1 and table.when is None:
        return 0
    return (3 * table.arity + 2) * int(_combinations(factors, table).sum())


def _combinations(factors: Factors, table: Table) -> np.ndarray:
    """How many combinations of each scope get a selector. -> (m,) float64"""
    if math.isinf(table.default):
        return np.full(len(table.scopes), float(len(table.tuples)))
    every = combinations(factors.sizes[table.scopes])
    return np.where(2 * len(table.tuples) < every, len(table.tuples), every)


def oversize(factors: Factors) -> str | None:
    """Why the Boolean form would be too large, counted before it is made."""
    widths = factors.sizes[factors.different.site]
    literals, listed = int(widths.sum()) + 3 * int(factors.sizes.sum()), 0
    for lists in (factors.counted, factors.clauses, factors.sums):
        literals += len(lists.site)
    for table in factors.tables:
        every = _combinations(factors, table)
        selected = table.arity > 1 and (table.soft or table.default != 0)
        if selected and math.isfinite(table.default) and every.max(initial=0) > TUPLES:
            return f"a table over {int(every.max())} combinations"
        if selected:
            listed += _selected(factors, table)
        else:
            literals += table.arity * len(table.tuples) * len(table.scopes)
    if literals + listed > MOST or listed > LISTED:
        return f"a form of {literals + listed} literals"
    return None


def refusal(problem: Problem) -> str | None:
    """What of the explicit structure has no Boolean form of a reasonable size; None: nothing. The
    form itself is made where only that can tell."""
    if "refusal" not in problem.memo:
        problem.memo["refusal"] = _refusal(problem)
    return problem.memo["refusal"]


def _refusal(problem: Problem) -> str | None:
    factors, _ = problem.factored()
    why = oversize(factors)
    if why is None and (factors.sums.count or factors.tables):
        plan = prepared_of(problem)
        try:
            if plan.cover is None:  # beside a cover there is a form, which is seldom needed
                _ = plan.boolean
        except NotEncodable as error:
            return str(error)
    return why


LARGE = 1 << 17  # literals of its form for what is weighed, from which on annealing is alone
