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
    cost: Ints  # (L,) in units of the scale
    constant: int  # cost that no choice can change, likewise
    visible: int
    scale: Scale

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
        self.scale = self.factors.scale
        self.site_costs: dict[int, Ints] = {}
        self.extra_costs: list[tuple[np.ndarray, Ints]] = []
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
        for table in self.factors.plain().tables:
            yield from self._table(table)
        costs, rows = _Gather(), list[Ints]()
        for site, cost in self.site_costs.items():
            costs.add([self.literal[self.offset[site] : self.offset[site + 1]]])
            rows.append(cost)
        for literals, cost in self.extra_costs:
            costs.add([literals])
            rows.append(cost)
        cost = np.concatenate([np.zeros(0, np.int64), *rows])
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
            np.ascontiguousarray(cost, dtype=np.int64),
            self.constant,
            self.factors.visible,
            self.scale,
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
        sizes = [[self.sizes[s] for s in scope] for scope in table.scopes]
        if table.arity == 1:
            for scope, (k,) in zip(table.scopes, sizes, strict=True):
                self._unary(int(scope[0]), table.dense([k]), table)
            return
        if not table.soft and table.default == 0:
            self._forbidden(table)
            return
        for scope, shape in zip(table.scopes, sizes, strict=True):
            yield
            self._selected(table, scope, shape)

    def _unary(self, site: int, costs: Floats, table: Table) -> None:
        closed = ~np.isfinite(costs)
        off = self.literal[self.offset[site] + np.flatnonzero(closed)] ^ 1
        self.clauses.add([[x] for x in off])
        self._add_cost(site, self.scale.units(np.where(closed, 0.0, costs), table.read))

    def _add_cost(self, site: int, costs: Ints) -> None:
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
        """A selector for each combination that is not forbidden, exactly one true; where few are
        listed beside a default that can be paid, a selector for each of those alone."""
        tuples, costs = table.tuples, table.costs
        if math.isfinite(table.default):
            every = math.prod(shape)
            if 2 * len(tuples) < every:
                self._priced(table, scope)
                return
            if every > TUPLES:
                raise NotEncodable(f"a table over {every} combinations")
            tuples = np.indices(shape).reshape(len(shape), -1).T
            costs = table.dense(shape).reshape(-1)
        open_ = np.isfinite(costs)
        tuples, units = tuples[open_], self.scale.units(costs[open_], table.read)
        soft = bool((units != units[:1]).any())
        if len(shape) == 2 and not soft:
            self.constant += int(units[0]) if units.size else 0
            self._supports(scope, shape, tuples)
            return
        selector = self._selectors(len(tuples))
        self.clauses.add([selector])
        self.groups.add([selector])
        for column, site in enumerate(scope):
            chosen = self._of(np.full(len(tuples), site), tuples[:, column])
            pairs = np.stack([selector ^ 1, chosen], 1).reshape(-1)
            self.clauses.add_block(np.full(len(tuples), 2), pairs)
            for value in range(shape[column]):
                mine = selector[tuples[:, column] == value]
                self.clauses.add([np.append(mine, self.literal[self.offset[site] + value] ^ 1)])
        if soft or (units != 0).any():
            self.extra_costs.append((selector, units))

    def _priced(self, table: Table, scope: Ints) -> None:
        """The default paid always, and a selector for each listed combination that pays the
        difference: true exactly where the sites have its values."""
        costs, closed = table.costs, ~np.isfinite(table.costs)
        default = int(self.scale.units(floats([table.default]), table.read)[0])
        more = self.scale.units(np.where(closed, table.default, costs), table.read) - default
        literals = self._of(np.broadcast_to(scope, table.tuples.shape), table.tuples)  # (T, arity)
        if closed.any():
            self.clauses.add_block(
                np.full(int(closed.sum()), table.arity), (literals[closed] ^ 1).reshape(-1)
            )
        self.constant += default
        paid = more != 0
        literals, more = literals[paid], more[paid]
        selector = self._selectors(len(literals))
        chosen = np.stack([np.repeat(selector ^ 1, table.arity), literals.reshape(-1)], 1).reshape(
            -1
        )
        self.clauses.add_block(np.full(literals.size, 2), chosen)
        whole_ = np.concatenate([literals ^ 1, selector[:, None]], 1).astype(np.int32)
        self.clauses.add_block(np.full(len(whole_), table.arity + 1), whole_.reshape(-1))
        for k, own in enumerate(selector.tolist()):
            pair = np.array([own, own ^ 1], dtype=np.int32)
            self.extra_costs.append((pair, np.array([more[k], 0], dtype=np.int64)))

    def _selectors(self, count: int) -> np.ndarray:
        """New variables, as literals. -> (count,) int32"""
        if self.variables + count > TUPLES * 4:
            raise NotEncodable("too many combinations")
        selector = (2 * (self.variables + np.arange(count))).astype(np.int32)
        self.variables += count
        return selector

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
