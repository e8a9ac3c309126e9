"""Factors as a Boolean formula: literals, clauses, at-most-one groups, linear sums, site costs.

A site of two values is one Boolean variable; a site of k > 2 values is k of them, exactly one true.
A Boolean literal is 2 * variable, plus 1 when negated.
"""

import math
from collections.abc import Generator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from engine.decimals import LARGEST, Floats, Ints, Scale, denominator, whole
from engine.factors import Counted, Factors, Table, floats, ints, per_site
from engine.factors.tightened import tighten
from engine.search.linear import Linear, rounded_to

TUPLES = 2_000_000  # combinations of soft or sparse tables that are given a selector each
PIECE = 1 << 14  # of them at once


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
    cost: Ints  # (L,) in units of the scale
    constant: int  # cost that no choice can change, likewise
    visible: int
    scale: Scale
    linear: Linear | None = None  # what it costs in units of any size, where the scale rounds

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
    pieces = encode_in_pieces(factors, merge)
    while True:
        try:
            next(pieces)
        except StopIteration as end:
            return end.value


def encode_in_pieces(factors: Factors, merge: bool = True) -> Generator[None, None, Boolean]:
    """`encode` in pieces, for whoever looks at the clock between them."""
    encoder = _Encoder(tighten(factors) if merge else factors)
    yield
    return (yield from encoder.boolean())


class _Encoder:
    def __init__(self, factors: Factors):
        self.factors = factors.expanded()
        self.sizes = list(map(int, self.factors.sizes))
        self.clauses, self.groups = _Gather(), _Gather()
        self.sum_lists: list[tuple[np.ndarray, np.ndarray, int]] = []
        self.scale = self.factors.long or self.factors.scale
        self.site_costs: dict[int, Ints] = {}
        self.extra_costs: list[tuple[np.ndarray, Ints]] = []  # (m, k) literals and their costs
        self.constant = 0
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
        costs, rows = _Gather(), list[Ints]()
        for site, cost in self.site_costs.items():
            costs.add([self.literal[self.offset[site] : self.offset[site + 1]]])
            rows.append(cost)
        for literals, cost in self.extra_costs:
            costs.add_block(np.full(len(literals), literals.shape[1]), literals.reshape(-1))
            rows.append(cost.reshape(-1))
        cost, constant, linear = np.concatenate([np.zeros(0, np.int64), *rows]), self.constant, None
        lists = costs.lists()
        if self.scale.long:
            linear = Linear.of(self.scale, self.variables, lists.literal, cost, constant)
            every = rounded_to(self.factors.scale, self.scale, np.append(cost, constant))
            cost, constant = every[:-1], int(every[-1])
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
            lists,
            np.ascontiguousarray(cost, dtype=np.int64),
            constant,
            self.factors.visible,
            self.factors.scale,
            linear,
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
            edges = floats([x for x in (s.low[k], s.high[k]) if math.isfinite(x)])
            unit, loose = _sum_unit(s.coefficient[a:b], edges)
            factors = np.array(
                whole(s.coefficient[a:b], unit)
                if not loose
                else np.rint(s.coefficient[a:b] * unit),
                dtype=np.int64,
            )
            if math.isfinite(s.high[k]):
                high = _edge(s.high[k], unit, loose, b - a)
                self._site_sum(s.site[a:b], s.value[a:b], factors, high)
            if math.isfinite(s.low[k]):
                low = _edge(-s.low[k], unit, loose, b - a)
                self._site_sum(s.site[a:b], s.value[a:b], -factors, low)

    def _site_sum(self, site: Ints, value: Ints, factors: Ints, bound: int) -> None:
        """sum <= bound with every site's least coefficient taken out: the site takes some value."""
        sites, start, sums = per_site(self.factors.sizes, site, value, factors)
        if not len(sites):
            self._at_most(np.zeros(0, np.int32), ints(), bound)
            return
        least = np.minimum.reduceat(sums, start[:-1])
        owner = np.repeat(np.arange(len(sites)), np.diff(start))
        above = sums - least[owner]
        kept = np.flatnonzero(above > 0)
        places = kept - start[owner[kept]]
        literals = self.literal[self.offset[sites[owner[kept]]] + places]
        self._at_most(literals, above[kept], bound - int(least.sum()))

    def _at_most(self, literals: np.ndarray, coefficients: Ints, bound: int) -> None:
        if bound < 0:
            self.clauses.add_block(np.zeros(1, np.int64), np.zeros(0, np.int32))
        elif int(coefficients.sum()) > bound:
            self.sum_lists.append((literals, coefficients, bound))

    def _table(self, table: Table) -> Generator[None, None, None]:
        if table.arity == 1 and table.when is None:
            self._unaries(table)
            return
        if not table.soft and table.default == 0:
            self._forbidden(table)
            return
        shapes = self.factors.sizes[table.scopes]
        for shape in np.unique(shapes, axis=0):
            own = table.picked((shapes == shape).all(1))
            each = max(1, PIECE // max(1, len(own.tuples)))
            for first in range(0, own.count, each):
                yield
                self._weighed(own.picked(slice(first, first + each)), shape.tolist())

    def _unaries(self, table: Table) -> None:
        site = table.scopes[:, 0]
        dense = {k: table.dense([k]) for k in set(self.factors.sizes[site].tolist())}
        closed = {k: ~np.isfinite(costs) for k, costs in dense.items()}
        units = {
            k: self.scale.units(np.where(closed[k], 0.0, costs), table.read)
            for k, costs in dense.items()
        }
        forbids = any(shut.any() for shut in closed.values())
        for j, s in enumerate(site.tolist()):
            k, own = self.sizes[s], j if table.apart else ...
            if forbids:
                off = self.literal[self.offset[s] + np.flatnonzero(closed[k][own])] ^ 1
                self.clauses.add([[x] for x in off])
            self._add_cost(s, units[k][own])

    def _add_cost(self, site: int, costs: Ints) -> None:
        if (costs != 0).any():
            old = self.site_costs.get(site)
            self.site_costs[site] = costs if old is None else old + costs

    def _off(self, table: Table) -> np.ndarray:
        """What says of each scope that its conditions do not hold. -> (m, 0 or 1) int32"""
        if table.when is None:
            return np.zeros((table.count, 0), dtype=np.int32)
        off = self._of(table.when[:, :, 0], table.when[:, :, 1]) ^ 1  # (m, c)
        if off.shape[1] == 1:
            return off
        both = self._selectors(len(off))  # all of them hold
        pairs = np.stack([np.repeat(both ^ 1, off.shape[1]), (off ^ 1).reshape(-1)], 1)
        self._rows(pairs)
        self._rows(np.concatenate([both[:, None], off], 1))
        return (both ^ 1)[:, None]

    def _rows(self, clauses: np.ndarray) -> None:
        """Clauses of one length. (m, k)"""
        self.clauses.add_block(np.full(len(clauses), clauses.shape[1]), clauses.reshape(-1))

    def _forbidden(self, table: Table) -> None:
        """One clause for each forbidden combination, all scopes at once."""
        scope, which = _listed(np.isinf(table.costs), table)
        if len(scope):
            literals = self._of(table.scopes[scope], table.tuples[which]) ^ 1
            self._rows(np.concatenate([literals, self._off(table)[scope]], 1))

    def _weighed(self, table: Table, shape: list[int]) -> None:
        """Scopes of one shape. A selector for each combination that is not forbidden, exactly one
        true; where few are listed beside a default that can be paid, one for each of those."""
        off, every = self._off(table), math.prod(shape)
        if math.isfinite(table.default) and 2 * len(table.tuples) < every:
            self._priced(table, off)
            return
        tuples, costs = table.tuples, table.costs
        if math.isfinite(table.default):
            if every > TUPLES:
                raise NotEncodable(f"a table over {every} combinations")
            tuples = np.indices(shape).reshape(len(shape), -1).T
            costs = table.bound.dense(shape).reshape(*costs.shape[:-1], -1)
        costs = np.broadcast_to(costs, (table.count, len(tuples)))
        patterns, owner = _patterns(np.isfinite(costs), table.apart)
        for k, open_ in enumerate(patterns):
            mine = np.flatnonzero(owner == k)
            units = self.scale.units(costs[mine][:, open_], table.read)
            self._selected(table.scopes[mine], shape, tuples[open_], units, off[mine])

    def _selected(
        self, scopes: Ints, shape: list[int], tuples: Ints, units: Ints, off: np.ndarray
    ) -> None:
        """Scopes (m, arity) that take one of these combinations (T, arity) at a cost (m, T), unless
        `off` is true, (m, 0 or 1)."""
        soft = bool((units != units[:, :1]).any())
        if len(shape) == 2 and not soft:
            if units.size:
                self._paid(units[:, 0], off)
            for scope, own in zip(scopes, off, strict=True):
                self._supports(scope, shape, tuples, own)
            return
        m, count = units.shape
        selector = self._selectors(m * count).reshape(m, count)
        one = np.concatenate([selector, off], 1)
        self._rows(one)
        self.groups.add_block(np.full(m, one.shape[1]), one.reshape(-1))
        for column, k in enumerate(shape):
            values = self.literal[self.offset[scopes[:, column]][:, None] + np.arange(k)]  # (m, k)
            chosen = values[:, tuples[:, column]]
            self._rows(np.stack([selector ^ 1, chosen], 2).reshape(-1, 2))
            for value in range(k):
                mine = selector[:, tuples[:, column] == value]
                self._rows(np.concatenate([mine, off, values[:, value, None] ^ 1], 1))
        if soft or (units != 0).any():
            more = np.zeros(off.shape, dtype=np.int64)
            self.extra_costs.append((one, np.concatenate([units, more], 1)))

    def _paid(self, units: Ints, off: np.ndarray) -> None:
        """A cost that each scope pays unless `off` is true. (m,), (m, 0 or 1)"""
        if not off.shape[1]:
            self.constant += int(units.sum())
            return
        paid = units != 0
        pairs = np.concatenate([off[paid] ^ 1, off[paid]], 1)
        self.extra_costs.append((pairs, np.stack([units[paid], 0 * units[paid]], 1)))

    def _priced(self, table: Table, off: np.ndarray) -> None:
        """The default paid always, and a selector for each listed combination that pays the
        difference: true exactly where the sites have its values, and `off` is not."""
        costs = np.broadcast_to(table.costs, (table.count, len(table.tuples)))
        closed = ~np.isfinite(costs)
        default = int(self.scale.units(floats([table.default]), table.read)[0])
        more = self.scale.units(np.where(closed, table.default, costs), table.read) - default
        self._paid(np.full(table.count, default), off)
        for shut in (True, False):
            scope, which = np.nonzero(closed if shut else more != 0)
            literals = self._of(table.scopes[scope], table.tuples[which])
            literals = np.concatenate([literals, off[scope] ^ 1], 1)  # (K, arity, and a condition)
            if shut:
                self._rows(literals ^ 1)
                continue
            selector = self._selectors(len(literals))
            pairs = [np.repeat(selector ^ 1, literals.shape[1]), literals.reshape(-1)]
            self._rows(np.stack(pairs, 1))
            self._rows(np.concatenate([literals ^ 1, selector[:, None]], 1))
            cost = np.stack([more[scope, which], np.zeros(len(scope), np.int64)], 1)
            self.extra_costs.append((np.stack([selector, selector ^ 1], 1), cost))

    def _selectors(self, count: int) -> np.ndarray:
        """New variables, as literals. -> (count,) int32"""
        if self.variables + count > TUPLES * 4:
            raise NotEncodable("too many combinations")
        selector = (2 * (self.variables + np.arange(count))).astype(np.int32)
        self.variables += count
        return selector

    def _supports(self, scope: Ints, shape: list[int], tuples: Ints, off: np.ndarray) -> None:
        """Each value of a site needs a partner among the allowed pairs, unless `off` is true."""
        a, b = int(scope[0]), int(scope[1])
        allowed = np.zeros(shape, dtype=bool)
        allowed[tuples[:, 0], tuples[:, 1]] = True
        for first, second, matrix in ((a, b, allowed), (b, a, allowed.T)):
            for value in range(matrix.shape[0]):
                if matrix[value].all():
                    continue
                partners = self.literal[self.offset[second] + np.flatnonzero(matrix[value])]
                own = self.literal[self.offset[first] + value] ^ 1
                self.clauses.add([np.concatenate([partners, off, [own]])])


def _listed(which: np.ndarray, table: Table) -> tuple[Ints, Ints]:
    """Some of the listed combinations in each scope: the scope, and the combination. which: (T,),
    or (m, T) where the table is apart."""
    scope, place = np.nonzero(np.broadcast_to(which, (table.count, len(table.tuples))))
    return scope, place


def _patterns(open_: np.ndarray, apart: bool) -> tuple[np.ndarray, Ints]:
    """The rows that differ, and which of them each row is. (m, T) -> (p, T), (m,)"""
    if not apart or open_.all():
        return open_[:1], np.zeros(len(open_), dtype=np.int64)
    patterns, owner = np.unique(open_, axis=0, return_inverse=True)
    return patterns, owner.reshape(-1)


def _sum_unit(coefficients: Floats, edges: Floats) -> tuple[int, bool]:
    """What makes the numbers of a sum whole, and whether that rounds them."""
    unit = denominator(np.unique(np.concatenate([coefficients, edges])))
    size = float(np.abs(coefficients).sum() + np.abs(edges).max(initial=0.0))
    if unit is not None and unit < LARGEST and size * unit < LARGEST / 2:
        return unit, False
    total = sum(map(Fraction, np.abs(coefficients).tolist()), Fraction(0))
    total += Fraction(float(np.abs(edges).max(initial=0.0)))
    if unit is not None and total * unit < LARGEST:
        return unit, False
    if total >= LARGEST / 4:
        raise NotEncodable("a linear sum with coefficients that are too large")
    return 1 << max(0, math.floor(Fraction(LARGEST, 4) / total).bit_length() - 1), True


def _edge(edge: float, unit: int, loose: bool, literals: int) -> int:
    """An upper edge of a sum in units; where the sum is rounded, above all that it allows."""
    if loose:
        return math.ceil(Fraction(edge) * unit) + literals
    return whole(floats([edge]), unit)[0]


__all__ = ["Boolean", "Lists", "NotEncodable", "encode", "floats"]
