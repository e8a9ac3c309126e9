"""What the explicit summands of an energy cost at decided states, exactly, in whole units."""

import math
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from engine.decimals import LARGEST, Floats, Ints, Products, Scale, added, added_floats, decimal
from engine.factors.factors import Factors
from engine.factors.families import Table
from engine.factors.priced import Switches, switches_of

POOLED = 1 << 20  # combinations up to which a table is looked up by place
CHUNK = 4_000_000  # entries looked up in one go
NEAR = 0.25  # of a unit
SNAPPED = 2**48  # units up to which float64 arithmetic surely comes near the right one
FORBIDDEN = np.iinfo(np.int64).min  # in place of units


@dataclass(frozen=True, eq=False)
class Explicit:
    """The costs of an energy whose summands have this structure.

    A summand whose costs hang on visible sites alone is looked up (`direct`), and so are clauses at
    a price; another that pays for hidden sites, such as a sum at a price, is `hidden`: its term
    says what it costs: a whole number of units, and of units of its own (`amounts`).
    """

    factors: Factors
    direct: frozenset[int]  # places of summands
    hidden: frozenset[int]
    reach: dict[int, float]  # the largest magnitude of the cost of each of them
    weighed: Container[int] | None = None

    @staticmethod
    def of(factors: Factors, weighed: Container[int] | None = None) -> "Explicit":
        """The costs of a merged structure; weighed: places of the summands that have a weight, all
        if left out. Others that forbid by hidden sites cost nothing."""
        direct: set[int] = set()
        hidden: set[int] = set()
        reach: dict[int, float] = {}
        known = np.arange(len(factors.sizes)) < factors.visible
        switches = switches_of(factors)
        if switches is not None:
            known[switches.switch] = True
        for table in factors.tables:
            if not table.soft and not table.forbids:
                continue
            seen = known[table.scopes].all(1)
            seen &= not table.by_row and table.when is None
            terms, owner = np.unique(table.term, return_inverse=True)
            every, most = np.ones(len(terms), dtype=bool), np.zeros(len(terms))
            np.logical_and.at(every, owner, seen)
            with np.errstate(over="ignore"):  # `scale` tells it
                np.add.at(most, owner, table.most)
            for term, own, cost in zip(terms.tolist(), every.tolist(), most.tolist(), strict=True):
                if own or weighed is None or term in weighed:
                    (direct if own else hidden).add(term)
                    reach[term] = reach.get(term, 0.0) + cost
        return Explicit(factors, frozenset(direct - hidden), frozenset(hidden), reach, weighed)

    def filled(self, costs: Floats) -> "Explicit":
        """The costs of one row, whose tables that vary cost so much. (F,)"""
        return Explicit.of(self.factors.filled(costs), self.weighed)

    @property
    def scale(self) -> Scale:
        return self.factors.scale

    @cached_property
    def computed(self) -> bool:
        """Some costs were computed as floats, and are no decimals."""
        return any(t.computed and t.soft for t in self.factors.tables)

    def snaps(self, summand: int) -> bool:
        """Float64 arithmetic surely tells the whole number of units that a hidden summand costs."""
        return not self.scale.error and Fraction(self.reach[summand]) * self.scale.unit < SNAPPED

    def amounts(self, summand: int, weight: float) -> int | None:
        """So many units make an energy of 1 of a hidden summand, without its weight, so that all
        its energies are whole, and float64 arithmetic surely tells which; None: it does not."""
        key = summand, weight
        if key not in self._amounts:
            self._amounts[key] = self._amount(summand, weight)
        return self._amounts[key]

    def _amount(self, summand: int, weight: float) -> int | None:
        unit, price = 1, decimal(weight)
        for table in self._paying[summand]:
            own = table.picked(table.term == summand) if table.apart else table
            for cost in np.unique(own.finite_costs).tolist():
                unit = math.lcm(unit, (own.read(cost) / price).denominator)
                if unit >= SNAPPED:
                    return None
        return unit if Fraction(self.reach[summand]) / price * unit < SNAPPED else None

    @cached_property
    def _paying(self) -> dict[int, list[Table]]:
        """The tables by which each hidden summand costs something."""
        out: dict[int, list[Table]] = {k: [] for k in self.hidden}
        for table in self.factors.tables:
            for k in set(table.term.tolist()) & self.hidden if table.soft else ():
                out[k].append(table)
        return out

    @cached_property
    def _amounts(self) -> dict[tuple[int, float], int | None]:
        return {}

    def told(self, summand: int, weight: float, energy: float) -> Fraction:
        """What a hidden summand costs that says this energy: exactly where `amounts` tells it, else
        as the decimal that was said."""
        unit = self.amounts(summand, weight)
        if unit is not None and abs(energy * unit - round(energy * unit)) <= NEAR:
            return decimal(weight) * Fraction(round(energy * unit), unit)
        return decimal(weight) * decimal(energy)

    def counted(self, summand: int, weight: float, energy: np.ndarray) -> tuple[Ints, np.ndarray]:
        """What a hidden summand costs in units, as its term says, (B,) energies without the weight;
        and where that is a whole number of them."""
        sound = np.where(np.isfinite(energy), energy, 0.0)
        unit = self.scale.unit
        if self.snaps(summand):
            share = weight * sound * float(unit)
            units = np.rint(share)
            near = np.abs(share - units) <= NEAR
            return units.astype(np.int64), near & np.isfinite(energy)
        distinct, place = np.unique(sound, return_inverse=True)
        exact = [self.told(summand, weight, e) * unit for e in distinct.tolist()]
        whole = np.array([x.denominator == 1 and abs(x) < LARGEST for x in exact])
        units = np.array([int(x) if w else 0 for x, w in zip(exact, whole)], dtype=np.int64)
        return units[place], whole[place] & np.isfinite(energy)

    @cached_property
    def resolves(self) -> bool:
        """Costs that no unit makes whole can still be summed one by one, exactly."""
        return self.factors.resolves

    def looked_up(self, places: Ints) -> Fraction:
        """What the direct summands cost at the visible places of one state, nothing of it
        forbidden, exactly. (n,) -> the sum"""
        total = Fraction(0)
        if self._switches is not None:
            own = self._switches
            fails = own.fails(places[None])[0]
            paid, each = own.price[fails], own.computed[fails]
            total += added_floats(paid[each]) + added(paid[~each])
        if self._pool is not None:
            pool = self._pool
            at = pool.base + (places[pool.site] * pool.stride).sum(-1)
            plain = pool.products < 0
            total += added_floats(pool.written[at[plain & pool.computed]])
            total += added(pool.written[at[plain & ~pool.computed]])
            for k, products in enumerate(pool.read):
                own = pool.written[at[pool.products == k]].tolist()
                total += sum(map(products.read, own), Fraction(0))
        for table, lookup in self._lookups:
            total += sum(map(table.read, lookup.cost(places[None])[0].tolist()), Fraction(0))
        return total

    def energy(self, places: Ints, hidden: Mapping[int, tuple[float, Tensor]]) -> Tensor:
        """The cost of all explicit summands; infinite where one forbids. (B, n) -> (B,) float64

        hidden: the weight of each hidden one, and its energy (B,) by its own arithmetic.
        """
        units = self.units(places)
        shut = (units == FORBIDDEN).any(1)
        total = np.where(shut[:, None], 0, units).sum(1)
        loose = np.where(shut, np.inf, 0.0)
        for summand, (weight, tensor) in hidden.items():
            energy = tensor.detach().cpu().numpy()
            own, whole = self.counted(summand, weight, energy)
            total = total + np.where(whole, own, 0)
            loose = loose + np.where(whole, 0.0, weight * energy)
        return torch.from_numpy(self.scale.values(total) + loose)

    def units(self, places: Ints) -> Ints:
        """The cost of each direct summand in order; FORBIDDEN where it forbids. (B, n) -> (B, D)"""
        order = sorted(self.direct)
        out = np.zeros((len(places), len(order)), dtype=np.int64)
        closed = np.zeros(out.shape, dtype=bool)
        pool, large = self._pool, self._large
        if pool is not None:
            step = max(1, CHUNK // max(1, pool.site.size))
            for first in range(0, len(places), step):
                rows = slice(first, first + step)
                at = pool.base + (places[rows][:, pool.site] * pool.stride).sum(-1)  # (b, scopes)
                cost = pool.cost[at]
                shut = cost == FORBIDDEN
                cost = np.where(shut, 0, cost)
                np.add.at(out[rows].T, pool.place, cost.T)
                np.logical_or.at(closed[rows].T, pool.place, shut.T)
        for place, lookup in large:
            cost = lookup.cost(places)
            shut = cost == FORBIDDEN
            np.add.at(out.T, place, np.where(shut, 0, cost).T)
            np.logical_or.at(closed.T, place, shut.T)
        if self._switches is not None:
            place, price = self._switch_prices
            np.add.at(out.T, place, (self._switches.fails(places) * price).T)
        out[closed] = FORBIDDEN
        return out

    @cached_property
    def _switches(self) -> Switches | None:
        """The clauses at a price of direct summands."""
        every = switches_of(self.factors)
        if every is None:
            return None
        return every.of_terms(np.array(sorted(self.direct), dtype=np.int64))

    @cached_property
    def _switch_prices(self) -> tuple[Ints, Ints]:
        """Of each switch, the place of its summand among the direct ones, and its price in units.
        -> (S,), (S,)"""
        own = self._switches
        assert own is not None
        price = np.zeros(own.count, dtype=np.int64)
        for computed in (False, True):
            mine = own.computed == computed
            read = Fraction if computed else decimal
            price[mine] = self.scale.units(own.price[mine], read)
        return np.searchsorted(np.array(sorted(self.direct)), own.term), price

    @property
    def prepared(self) -> bool:
        """Whether `prepare` has nothing left to do."""
        return {"_pool", "_large"} <= vars(self).keys()

    def prepare(self) -> Iterator[None]:
        """Makes what lookups need, in pieces."""
        _ = self.scale
        yield
        _ = self._pool
        yield
        _ = self._large

    @cached_property
    def _tables(self) -> "list[tuple[Ints, Table, _Shape]]":
        """The tables of direct summands by the shapes of their scopes, with the place of the
        summand of each scope among those."""
        order, out = np.array(sorted(self.direct), dtype=np.int64), []
        for table in self.factors.tables:
            mine = np.isin(table.term, order) & (table.scopes < self.factors.visible).all(1)
            if mine.any() and (table.soft or table.forbids):
                own = table if mine.all() else table.picked(mine)
                for one in own.each() if _beyond(own, self.factors.sizes) else (own,):
                    shaped = _shapes(one, self.factors.sizes)
                    out += [(np.searchsorted(order, t.term), t, shape) for t, shape in shaped]
        return out

    @cached_property
    def _pool(self) -> "_Pool | None":
        """All small tables as one."""
        small = [(k, t, s) for k, t, s in self._tables if s.total <= POOLED]
        if not small:
            return None
        arity = max(t.arity for _, t, _ in small)
        base, site, stride, place, cost, filled = [], [], [], [], [], 0
        written, computed, products = [], [], []
        read: list[Products] = []
        for k, t, s in small:
            m = len(s.scopes)
            written.append(t.dense(s.shape).reshape(-1))
            computed.append(np.full(m, t.computed))
            products.append(np.full(m, -1 if t.products is None else len(read)))
            read += [] if t.products is None else [t.products]
            cost.append(self._counted(t, written[-1]))
            base.append(filled + s.total * np.arange(m) * t.apart)
            filled += len(written[-1])
            pad = np.zeros((m, arity - t.arity), np.int64)
            site.append(np.concatenate([s.scopes, pad], 1))
            stride.append(np.concatenate([np.tile(s.strides, (m, 1)), pad], 1))
            place.append(k)
        columns = (base, site, stride, place, cost, written, computed, products)
        return _Pool(tuple(read), *(np.concatenate(x) for x in columns))

    @cached_property
    def _large(self) -> "list[tuple[Ints, _Listed]]":
        """Every other table, by its listed combinations."""
        return [
            (k, _Listed.of(t, s, self._counted(t, np.append(t.costs, t.default))))
            for k, t, s in self._tables
            if s.total > POOLED
        ]

    def _counted(self, table: Table, costs: Floats) -> Ints:
        """Costs of a table in units; FORBIDDEN where they are infinite."""
        shut = ~np.isfinite(costs)
        return np.where(shut, FORBIDDEN, self.scale.units(np.where(shut, 0.0, costs), table.read))

    @cached_property
    def _lookups(self) -> "list[tuple[Table, _Listed]]":
        """Every other table, by its listed combinations and what they cost as floats."""
        large = ((t, s) for _, t, s in self._tables if s.total > POOLED)
        return [(t, _Listed.of(t, s, np.append(t.costs, t.default))) for t, s in large]


@dataclass(frozen=True, eq=False)
class _Shape:
    """Scopes of one table whose sites have as many values."""

    scopes: Ints  # (m, arity)
    shape: list[int]

    @property
    def total(self) -> int:
        return math.prod(self.shape)

    @property
    def strides(self) -> list[int]:
        return [math.prod(self.shape[k + 1 :]) for k in range(len(self.shape))]


@dataclass(frozen=True, eq=False)
class _Pool:
    """Small tables, written out one after the other."""

    read: tuple[Products, ...]
    base: Ints  # (M,) for each scope
    site: Ints  # (M, arity), padded
    stride: Ints  # (M, arity), 0 where padded
    place: Ints  # (M,) of the summand
    cost: Ints
    written: Floats  # the same costs as they are written
    computed: np.ndarray  # (M,) bool: the costs of a scope are floats, no decimals
    products: Ints  # (M,) -1, or the place among `read` of what they stand for


@dataclass(frozen=True, eq=False)
class _Listed:
    """A table too large to be written out."""

    scopes: Ints
    strides: list[int]
    keys: np.ndarray  # sorted; whole numbers of any size
    costs: np.ndarray  # in the order of the keys
    default: Any

    @staticmethod
    def of(table: Table, shape: _Shape, every: np.ndarray) -> "_Listed":
        """every: what each listed combination counts, and last the default."""
        strides = shape.strides
        kind = object if shape.total > 2**62 else np.int64
        keys = (table.tuples.astype(kind) * np.array(strides, dtype=kind)).sum(1)
        order = np.argsort(keys, kind="stable")
        return _Listed(shape.scopes, strides, keys[order], every[:-1][order], every[-1])

    def cost(self, places: Ints) -> np.ndarray:
        """(B, n) -> (B, m)"""
        kind = self.keys.dtype
        at = (places[:, self.scopes].astype(kind) * np.array(self.strides, dtype=kind)).sum(-1)
        if not len(self.keys):
            return np.full(at.shape, self.default)
        found = np.searchsorted(self.keys, at).clip(max=len(self.keys) - 1)
        return np.where(self.keys[found] == at, self.costs[found], self.default)


def combinations(sizes: Ints) -> Floats:
    """How many combinations sites of so many values have; infinite beyond all floats. (m, n) ->
    (m,)"""
    with np.errstate(over="ignore"):
        return sizes.astype(np.float64).prod(1)


def _beyond(table: Table, sizes: Ints) -> bool:
    """Whether a table is too large to be written out."""
    return bool((combinations(sizes[table.scopes]) > POOLED).any())


def _shapes(table: Table, sizes: Ints) -> Sequence[tuple[Table, _Shape]]:
    """A table over scopes whose sites have as many values, for each such shape."""
    every = sizes[table.scopes]
    if bool((every == every[0]).all()):
        return [(table, _Shape(table.scopes, every[0].tolist()))]
    mine = ((every == shape).all(1) for shape in np.unique(every, axis=0))
    own = (table.picked(which) for which in mine)
    return [(one, _Shape(one.scopes, sizes[one.scopes[0]].tolist())) for one in own]
