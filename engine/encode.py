"""Factors as a Boolean formula: literals, clauses, at-most-one groups, linear sums, site costs.

A site of two values is one Boolean variable; a site of k > 2 values is k of them, exactly one true.
A Boolean literal is 2 * variable, plus 1 when negated.
"""

import math
from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from engine.deduction import deduced
from engine.factors import Counted, Factors, Floats, Ints, Table, floats, ints

TUPLES = 2_000_000  # combinations of soft or sparse tables that are given a selector each


class NotEncodable(Exception):
    """The structure has no Boolean form of a reasonable size; the message says which part."""


@dataclass(frozen=True, eq=False)
class Lists:
    """Lists of Boolean literals in compressed rows."""

    start: Ints  # (m + 1,)
    literal: np.ndarray  # (L,) int32


@dataclass(frozen=True, eq=False)
class Boolean:
    """The formula of a problem, the same for all rows but for evidence and costs."""

    variables: int
    literal: np.ndarray  # (C,) int32: the Boolean literal of each (site, value), sites in order
    offset: Ints  # (n + 1,) first (site, value) of each site
    clauses: Lists
    groups: Lists  # at most one true
    sums: Lists  # sum of coefficient * [literal] <= bound, coefficients above 0
    coefficient: Ints  # (L,)
    bound: Ints  # (S,)
    costs: Lists  # exactly one true in each list (Boolean literals)
    cost: Floats  # (1 or R, L)
    constant: float  # cost that no choice can change
    visible: int

    def places(self, model: np.ndarray) -> Ints:
        """The place of the value of each visible site. (variables,) uint8 -> (visible,)"""
        true = model[self.literal >> 1] ^ (self.literal & 1)  # (C,)
        ends = self.offset[self.visible]
        first = np.flatnonzero(true[:ends])
        owner = np.searchsorted(self.offset, first, side="right") - 1
        out = np.zeros(self.visible, dtype=np.int64)
        out[owner] = first - self.offset[owner]
        return out

    def model_literals(self, places: Ints) -> np.ndarray:
        """The true Boolean literals that say these visible sites have these values."""
        return self.literal[self.offset[: self.visible] + places]


class _Gather:
    """Lists collected in chunks, joined once."""

    def __init__(self):
        self.lengths: list[np.ndarray] = []
        self.literals: list[np.ndarray] = []

    def add(self, lists: list) -> None:
        for one in lists:
            self.lengths.append(np.array([len(one)]))
            self.literals.append(np.asarray(one, dtype=np.int32))

    def add_block(self, lengths: np.ndarray, literals: np.ndarray) -> None:
        self.lengths.append(lengths)
        self.literals.append(literals.astype(np.int32))

    def lists(self) -> Lists:
        lengths = np.concatenate([np.zeros(1, np.int64), *self.lengths]).astype(np.int64)
        literals = np.concatenate([np.zeros(0, np.int32), *self.literals]).astype(np.int32)
        return Lists(np.cumsum(lengths), np.ascontiguousarray(literals))


def encode(factors: Factors, merge: bool = True) -> Boolean:
    """The Boolean form of a structure. `merge` off keeps one factor a part, for explanations."""
    pieces = encoding(factors, merge)
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            return end.value


def encoding(factors: Factors, merge: bool = True) -> Generator[None, None, Boolean]:
    """`encode` in pieces, for whoever looks at the clock between them."""
    encoder = _Encoder(deduced(factors) if merge else factors)
    yield
    return (yield from encoder.boolean())


class _Encoder:
    def __init__(self, factors: Factors):
        self.factors = factors.expanded()
        self.sizes = list(map(int, self.factors.sizes))
        self.clauses, self.groups = _Gather(), _Gather()
        self.sum_lists: list[tuple[np.ndarray, np.ndarray, int]] = []
        self.site_costs: dict[int, np.ndarray] = {}
        self.extra_costs: list[tuple[np.ndarray, np.ndarray]] = []
        self.constant = 0.0
        self.variables = 0
        self._number()

    def _number(self) -> None:
        """Boolean variables for every site."""
        sizes = self.factors.sizes
        wide = np.where(sizes == 2, 1, sizes)
        first = np.concatenate([[0], np.cumsum(wide)])
        offset = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        owner = np.repeat(np.arange(len(sizes)), sizes)
        value = np.arange(offset[-1]) - offset[owner]
        pair = sizes[owner] == 2
        literal = np.where(pair, 2 * first[owner] + (1 - value), 2 * (first[owner] + value))
        self.offset, self.literal = offset, literal.astype(np.int32)
        self.variables = int(first[-1])
        for k in np.unique(sizes):
            if k == 2:
                continue
            sites = np.flatnonzero(sizes == k)
            block = self.literal[offset[sites][:, None] + np.arange(k)].reshape(-1)
            self.clauses.add_block(np.full(len(sites), k), block)
            if k > 2:
                self.groups.add_block(np.full(len(sites), k), block)

    def boolean(self) -> Generator[None, None, Boolean]:
        self._counted()
        self._clauses()
        yield
        yield from self._sums()
        for table in self.factors.tables:
            yield from self._table(table)
        costs, rows = _Gather(), []
        for site, cost in self.site_costs.items():
            costs.add([self.literal[self.offset[site] : self.offset[site + 1]]])
            rows.append(np.atleast_2d(cost))
        for literals, cost in self.extra_costs:
            costs.add([literals])
            rows.append(np.atleast_2d(cost))
        count = max((len(r) for r in rows), default=1)
        cost = (
            np.concatenate([np.broadcast_to(r, (count, r.shape[1])) for r in rows], 1)
            if rows
            else np.zeros((1, 0))
        )
        lengths = np.array([len(s[0]) for s in self.sum_lists], dtype=np.int64)
        sums = Lists(
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            np.concatenate([np.zeros(0, np.int32), *(s[0] for s in self.sum_lists)]).astype(
                np.int32
            ),
        )
        coefficient = np.concatenate([np.zeros(0, np.int64), *(s[1] for s in self.sum_lists)])
        return Boolean(
            self.variables,
            self.literal,
            self.offset,
            self.clauses.lists(),
            self.groups.lists(),
            sums,
            coefficient.astype(np.int64),
            ints([s[2] for s in self.sum_lists]),
            costs.lists(),
            np.ascontiguousarray(cost, dtype=np.float64),
            self.constant,
            self.factors.visible,
        )

    def _of(self, site: np.ndarray, value: np.ndarray) -> np.ndarray:
        return self.literal[self.offset[site] + value]

    def _counted(self) -> None:
        c: Counted = self.factors.counted
        if not c.count:
            return
        literals = self._of(c.site, c.value)
        lengths, owner = c.lengths(), c.owner()
        atmost = (c.high == 1) & (lengths > 1)
        self.groups.add_block(lengths[atmost], literals[atmost[owner]])
        atleast = c.low == 1
        self.clauses.add_block(lengths[atleast], literals[atleast[owner]])
        none = c.high <= 0
        if none.any():
            off = literals[none[owner]] ^ 1
            self.clauses.add_block(np.ones(len(off), np.int64), off)
        if ((c.low > lengths) | (c.high < 0) | (c.low > c.high)).any():
            self.clauses.add_block(np.zeros(1, np.int64), np.zeros(0, np.int32))
        for k in np.flatnonzero((c.high > 1) & (c.high < lengths)):
            mine = literals[c.start[k] : c.start[k + 1]]
            self._at_most(mine, np.ones(len(mine), np.int64), int(c.high[k]))
        for k in np.flatnonzero((c.low > 1) & (c.low <= lengths)):
            mine = literals[c.start[k] : c.start[k + 1]] ^ 1
            self._at_most(mine, np.ones(len(mine), np.int64), len(mine) - int(c.low[k]))

    def _clauses(self) -> None:
        c = self.factors.clauses
        if not c.count:
            return
        literals = self._of(c.site, c.value) ^ (~c.sign)
        self.clauses.add_block(c.lengths(), literals)

    def _sums(self) -> Generator[None, None, None]:
        s = self.factors.sums
        for k in range(s.count):
            yield
            a, b = s.start[k], s.start[k + 1]
            scale = scale_of([*s.coefficient[a:b], s.low[k], s.high[k]])
            factors = ints([_scaled(x, scale) for x in s.coefficient[a:b]])
            if math.isfinite(s.high[k]):
                self._site_sum(s.site[a:b], s.value[a:b], factors, _scaled(s.high[k], scale))
            if math.isfinite(s.low[k]):
                self._site_sum(s.site[a:b], s.value[a:b], -factors, -_scaled(s.low[k], scale))

    def _site_sum(self, site: Ints, value: Ints, factors: Ints, bound: int) -> None:
        """sum <= bound with every site's least coefficient taken out: the site takes some value."""
        literals, coefficients = [], []
        for place in np.unique(site):
            mine = site == place
            per_value = np.zeros(self.sizes[place], dtype=np.int64)
            np.add.at(per_value, value[mine], factors[mine])
            least = int(per_value.min())
            bound -= least
            above = np.flatnonzero(per_value > least)
            literals.append(self.literal[self.offset[place] + above])
            coefficients.append(per_value[above] - least)
        self._at_most(np.concatenate(literals), np.concatenate(coefficients), bound)

    def _at_most(self, literals: np.ndarray, coefficients: Ints, bound: int) -> None:
        if bound < 0:
            self.clauses.add_block(np.zeros(1, np.int64), np.zeros(0, np.int32))
        elif coefficients.sum() > bound:
            self.sum_lists.append((literals, coefficients, bound))

    def _table(self, table: Table) -> Generator[None, None, None]:
        sizes = [[self.sizes[s] for s in scope] for scope in table.scopes]
        if table.arity == 1:
            for scope, (k,) in zip(table.scopes, sizes, strict=True):
                self._unary(int(scope[0]), table.dense([k]))
            return
        if not table.soft and table.default == 0 and table.costs.ndim == 1:
            self._forbidden(table)
            return
        for scope, shape in zip(table.scopes, sizes, strict=True):
            yield
            self._selected(table, scope, shape)

    def _unary(self, site: int, costs: Floats) -> None:
        if costs.ndim > 1 and not np.isfinite(costs).all():
            raise NotEncodable("forbidden values that differ by row")
        closed = ~np.isfinite(costs)
        off = (
            self.literal[self.offset[site] + np.flatnonzero(closed)] ^ 1 if costs.ndim == 1 else []
        )
        self.clauses.add([[x] for x in off])
        self._add_cost(site, np.where(closed, 0.0, costs))

    def _add_cost(self, site: int, costs: Floats) -> None:
        if (costs != 0).any():
            old = self.site_costs.get(site)
            self.site_costs[site] = costs if old is None else old + costs

    def _forbidden(self, table: Table) -> None:
        """One clause for each forbidden combination, all scopes at once."""
        bad = table.tuples[np.isinf(table.costs)]
        if not len(bad):
            return
        sites = np.repeat(table.scopes, len(bad), axis=0)
        values = np.tile(bad, (len(table.scopes), 1))
        literals = self._of(sites, values) ^ 1
        self.clauses.add_block(np.full(len(literals), table.arity), literals.reshape(-1))

    def _selected(self, table: Table, scope: Ints, shape: list[int]) -> None:
        """A selector for each combination that is not forbidden, exactly one true."""
        tuples, costs = table.tuples, np.atleast_2d(table.costs)
        if math.isfinite(table.default):
            if math.prod(shape) > TUPLES:
                raise NotEncodable(f"a table over {math.prod(shape)} combinations")
            dense = table.dense(shape)
            tuples = np.indices(shape).reshape(len(shape), -1).T
            costs = dense.reshape(-1, len(tuples))
        open_ = np.isfinite(costs).any(0)
        if (np.isfinite(costs) != open_).any():
            raise NotEncodable("forbidden combinations that differ by row")
        tuples, costs = tuples[open_], costs[:, open_]
        if self.variables + len(tuples) > TUPLES * 4:
            raise NotEncodable("too many combinations")
        soft = bool((costs != costs[:, :1]).any())
        if len(shape) == 2 and not soft:
            self.constant += float(costs[0, 0]) if costs.size else 0.0
            self._supports(scope, shape, tuples)
            return
        selector = (2 * (self.variables + np.arange(len(tuples)))).astype(np.int32)
        self.variables += len(tuples)
        self.clauses.add([selector])
        self.groups.add([selector])
        for column, site in enumerate(scope):
            chosen = self._of(np.full(len(tuples), site), tuples[:, column])
            pairs = np.stack([selector ^ 1, chosen], 1).reshape(-1)
            self.clauses.add_block(np.full(len(tuples), 2), pairs)
            for value in range(shape[column]):
                mine = selector[tuples[:, column] == value]
                self.clauses.add([np.append(mine, self.literal[self.offset[site] + value] ^ 1)])
        if soft or (costs != 0).any():
            self.extra_costs.append((selector, costs))

    def _supports(self, scope: Ints, shape: list[int], tuples: Ints) -> None:
        """Each value of a site needs a partner among the allowed pairs."""
        a, b = int(scope[0]), int(scope[1])
        allowed = np.zeros(shape, dtype=bool)
        allowed[tuples[:, 0], tuples[:, 1]] = True
        for first, second, matrix in ((a, b, allowed), (b, a, allowed.T)):
            for value in range(matrix.shape[0]):
                if matrix[value].all():
                    continue
                partners = self.literal[self.offset[second] + np.flatnonzero(matrix[value])]
                own = self.literal[self.offset[first] + value] ^ 1
                self.clauses.add([np.append(partners, own)])


def scale_of(numbers: list[float]) -> int:
    """The least common denominator of decimal numbers; infinite ones do not count."""
    scale = 1
    for x in numbers:
        if math.isfinite(x):
            scale = math.lcm(scale, Fraction(repr(float(x))).denominator)
    if scale > 2**40:
        raise NotEncodable("a linear sum whose coefficients need more than 12 digits")
    return scale


def _scaled(x: float, scale: int) -> int:
    value = Fraction(repr(float(x))) * scale
    if abs(value) > 2**53:
        raise NotEncodable("a linear sum with coefficients that are too large")
    return int(value)


__all__ = ["Boolean", "Lists", "NotEncodable", "encode", "floats"]
