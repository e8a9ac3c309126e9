"""Explicit structure as costs of sites and pairs beside linear rows, and bounds by messages of it.

What reaches over more than two sites is a row, low <= sum of coefficient * [literal] <= high, which
a multiplier prices: the least priced cost, less what the prices allow, is a bound whatever the
multipliers are. Tables over more sites count by their least cost. Messages and multipliers are
numbers of a float search; the bound is summed anew, in whole units, from what they round to.

Source: Guignard, "Lagrangean relaxation", TOP 11, 2003; Held, Wolfe, Crowder, "Validation of
subgradient optimization", Mathematical Programming 6, 1974 (steps by the gap).
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from engine.decimals import Floats, Ints, Scale, denominator, whole
from engine.factors import Factors, Table, floats, ints
from engine.kernels import messages as kernel

WIDE = 128  # values of a site
CELLS = 1 << 23  # of all tables of pairs
BITS = 50  # of the largest total, in the unit of the messages
NEVER = 1 << 62  # units of what is forbidden
MOVES = 400  # that mend a state
MENDED = 16  # passes from one state that is mended towards the rows to the next; it takes longer
SWEEPS = 20  # of single moves after a state is read off
PASSES = 100  # of one step, at most


class Rows(NamedTuple):
    """Linear rows over literals; row i is [start[i], start[i + 1])."""

    start: Ints  # (r + 1,)
    site: Ints  # (L,)
    value: Ints
    coefficient: Ints
    low: Floats  # (r,) whole, or -inf
    high: Floats  # (r,) whole, or inf

    @property
    def count(self) -> int:
        return len(self.start) - 1

    def owner(self) -> Ints:
        return np.repeat(np.arange(self.count), np.diff(self.start))

    def sums(self, x: Ints) -> Floats:
        """What each row comes to. (n,) -> (r,)"""
        true = np.where(x[self.site] == self.value, self.coefficient, 0)
        return floats(np.bincount(self.owner(), true, self.count))

    def missed(self, x: Ints) -> Floats:
        """By how much each row is above its high edge, or below its low one (negative). -> (r,)"""
        total = self.sums(x)
        return np.where(total > self.high, total - self.high, np.minimum(total - self.low, 0.0))


@dataclass(frozen=True, eq=False)
class Coupled:
    """The costs of one row of a problem, in units / `fine`."""

    cost: Ints  # (n, k)
    possible: np.ndarray  # (n, k) uint8
    ends: Ints  # (m, 2)
    table: Ints  # (m,)
    pool: Ints  # (t, k, k), NEVER where forbidden
    rows: Rows
    constant: int  # what is paid beside all that, at least
    fine: int  # so many of these units are one of the scale
    whole: bool  # nothing counts by its least cost, and no rule was left out

    @cached_property
    def near(self) -> tuple[Ints, Ints, Ints]:
        """The pairs of each site: where they begin, the pair, and which end of it."""
        flat = self.ends.reshape(-1)
        order = np.argsort(flat, kind="stable")
        start = np.searchsorted(flat[order], np.arange(len(self.cost) + 1))
        return start, order // 2, order % 2

    @cached_property
    def floats(self) -> Floats:
        """The costs of pairs, infinite where forbidden."""
        return np.where(self.pool == NEVER, np.inf, self.pool.astype(np.float64))

    @cached_property
    def spread(self) -> Floats:
        """The most that a table of pairs costs above its least, where it is allowed. -> (t,)"""
        allowed = np.where(self.pool == NEVER, self.pool.min((1, 2))[:, None, None], self.pool)
        return floats(allowed.max((1, 2)) - allowed.min((1, 2)))

    def priced(self, price: Ints) -> Ints:
        """The costs of sites, with rows at a price each. (r,) -> (n, k)"""
        if not self.rows.count:
            return self.cost
        out = self.cost.copy()
        worth = price[self.rows.owner()] * self.rows.coefficient
        np.add.at(out, (self.rows.site, self.rows.value), worth)
        return out

    def allowed_for(self, price: Ints) -> int:
        """What the prices of rows allow. (r,)"""
        paid = 0
        for p, low, high in zip(price.tolist(), self.rows.low, self.rows.high, strict=True):
            if p:
                paid += p * int(high if p > 0 else low)
        return paid

    def bound(self, message: Floats, price: Ints, possible: np.ndarray) -> int | None:
        """The bound, in units of the scale: summed exactly, whatever the messages are. None where
        nothing is left of a site or pair."""
        own = self._moved(message, price)
        site, pair = self._least(own, possible)
        if (site == NEVER).any() or (pair == NEVER).any():
            return None
        return self._units(self._fixed(price) + _total(site) + _total(pair))

    def bounds(self, message: Floats, price: Ints, possible: np.ndarray) -> Ints | None:
        """The same for each value of each site alone, if the site had it; NEVER where it cannot.
        None where nothing is left of a site or pair. -> (n, k)"""
        own = self._moved(message, price)
        site, pair = self._least(own, possible)
        if (site == NEVER).any() or (pair == NEVER).any():
            return None
        total = self._fixed(price) + _total(site) + _total(pair)
        out = np.full(self.cost.shape, NEVER, dtype=np.int64)
        arrays = (*self.near, self.ends, self.table, self.pool, self.priced(price))
        if not kernel.bound_values(*arrays, possible.copy(), own[1], site, pair, total, NEVER, out):
            return None
        return np.where(out == NEVER, NEVER, -((-out) // self.fine))

    def flips(self, x: Ints) -> Ints:
        """What a state costs more after one site takes a value, in units of the scale; NEVER where
        a rule breaks. (n,) -> (n, k)"""
        out, shut, own = self.cost.copy(), self.possible == 0, np.arange(len(x))
        for side in (0, 1):
            pool = self.pool if side == 0 else self.pool.swapaxes(1, 2)
            told = pool[self.table, :, x[self.ends[:, 1 - side]]]
            np.add.at(out, self.ends[:, side], np.where(told == NEVER, 0, told))
            np.logical_or.at(shut, self.ends[:, side], told == NEVER)
        out = (out - out[own, x][:, None]) // self.fine
        r = self.rows
        for k, total in enumerate(r.sums(x).tolist()):
            part = slice(r.start[k], r.start[k + 1])
            worth = np.zeros(out.shape)
            np.add.at(worth, (r.site[part], r.value[part]), r.coefficient[part])
            after = total + worth - worth[own, x][:, None]
            shut |= (after < r.low[k]) | (after > r.high[k])
        out[shut] = NEVER
        out[own, x] = 0
        return out

    def total(self, x: Ints) -> int:
        """What a state costs, in units of the scale; NEVER where a rule breaks. (n,)"""
        pairs = self.pool[self.table, x[self.ends[:, 0]], x[self.ends[:, 1]]]
        own = np.arange(len(x))
        if (pairs == NEVER).any() or not self.possible[own, x].all() or self.rows.missed(x).any():
            return NEVER
        return self._units(self.constant + _total(self.cost[own, x]) + _total(pairs))

    def mended(self, x: Ints) -> Ints:
        """A state after single moves towards keeping the rows, then towards less cost. (n,)"""
        x = x.copy()
        arrays = (*self.near, self.ends, self.table, self._walled, self.cost.astype(np.float64))
        literals = (*self.literals, self.rows.low, self.rows.high)
        kernel.mend(*arrays, self.possible, *literals, x, MOVES)
        return x

    @cached_property
    def _walled(self) -> Floats:
        """The costs of pairs, more than all else where forbidden, so that they add and take off."""
        return np.where(self.pool == NEVER, float(1 << BITS), self.pool.astype(np.float64))

    @cached_property
    def literals(self) -> tuple[Ints, Ints, Floats]:
        """The rows of each literal: where they begin, the row, and what it counts there."""
        r, width = self.rows, self.cost.shape[1]
        literal = r.site * width + r.value
        order = np.argsort(literal, kind="stable")
        at = np.searchsorted(literal[order], np.arange(self.cost.size + 1))
        return at, r.owner()[order], floats(r.coefficient[order])

    def _fixed(self, price: Ints) -> int:
        return self.constant - self.allowed_for(price)

    def _units(self, total: int) -> int:
        """A total as units of the scale; energies are whole ones: the next one above."""
        return -((-total) // self.fine)

    def _moved(self, message: Floats, price: Ints) -> tuple[Ints, Ints]:
        """The costs of sites with all messages, and the messages, as whole numbers."""
        most = NEVER // 4 // (1 + int(np.diff(self.near[0]).max(initial=0)))
        moved = np.rint(np.clip(message, -most, most)).astype(np.int64)  # (m, 2, k)
        site = self.priced(price).copy()
        np.add.at(site, self.ends.reshape(-1), moved.reshape(-1, moved.shape[2]))
        return site, moved

    def _pieces(self) -> list[slice]:
        each = max(1, (1 << 20) // self.cost.shape[1] ** 2)
        return [slice(k, k + each) for k in range(0, len(self.ends), each)]

    def _least(self, own: tuple[Ints, Ints], possible: np.ndarray) -> tuple[Ints, Ints]:
        """The least cost of each site and of each pair; NEVER where nothing is left."""
        site, moved = own
        open_ = possible > 0
        pairs = []
        for part in self._pieces():
            pair = self.pool[self.table[part]]
            a, b = self.ends[part, 0], self.ends[part, 1]
            shut = (pair == NEVER) | ~open_[a][:, :, None] | ~open_[b][:, None, :]
            pair = pair - moved[part, 0][:, :, None] - moved[part, 1][:, None, :]
            pairs.append(np.where(shut, NEVER, pair).reshape(len(pair), -1).min(1))
        return np.where(open_, site, NEVER).min(1), np.concatenate([ints(), *pairs])


class Passing(NamedTuple):
    """How far the messages of one row have come."""

    coupled: Coupled
    message: Floats  # (m, 2, k)
    possible: np.ndarray  # (n, k) uint8
    price: Ints  # (r,) of each row
    bound: int  # the best so far, in units of the scale; -NEVER: none
    passes: int
    idle: int  # passes since it last rose
    step: float  # of prices, as a share of the gap
    refuted: bool  # nothing is left: no more is said

    @staticmethod
    def begun(coupled: Coupled) -> "Passing":
        shape = (len(coupled.ends), 2, coupled.cost.shape[1])
        price = np.zeros(coupled.rows.count, dtype=np.int64)
        empty = not (coupled.possible > 0).any(1).all()
        return Passing(
            coupled, np.zeros(shape), coupled.possible.copy(), price, -NEVER, 0, 0, 1.0, empty
        )

    @property
    def work(self) -> int:
        """Table entries of one pass there and back."""
        return 2 * len(self.coupled.ends) * self.coupled.cost.shape[1] ** 2 + self.coupled.cost.size

    def passed(self, count: int, upper: float) -> tuple["Passing", Ints | None]:
        """So many passes further; multipliers move by the gap to `upper`, in units of the scale.
        -> and the last state read off"""
        c, message, possible = self.coupled, self.message.copy(), self.possible.copy()
        price, best, idle, step = self.price, self.bound, self.idle, self.step
        x = None
        for _ in range(count):
            cost = c.priced(price).astype(np.float64)
            arrays = (*c.near, c.ends, c.table, c.floats, cost, possible, message)
            if not (kernel.visit_sites(*arrays, True) and kernel.visit_sites(*arrays, False)):
                return self._replace(refuted=True, possible=possible), None
            x = kernel.read_off(*arrays, SWEEPS)
            told = c.bound(message, price, possible)
            if told is None:
                return self._replace(refuted=True), None
            rose = told > best
            best, idle = max(best, told), 0 if rose else idle + 1
            step = step if rose or idle % 5 else step / 2
            price = moved(c, price, x, told, upper, step)
        whole = (self.passes + count) // MENDED > self.passes // MENDED
        if x is not None and c.rows.count and (whole or self.passes == 0):
            x = c.mended(x)
        now = self._replace(message=message, possible=possible, price=price, bound=best)
        return now._replace(passes=self.passes + count, idle=idle, step=step), x


def moved(c: Coupled, price: Ints, x: Ints, told: int, upper: float, step: float) -> Ints:
    """The prices after one step along what a state misses. told, upper: in units of the scale."""
    if not c.rows.count:
        return price
    total = c.rows.sums(x)
    low, high = c.rows.low, c.rows.high
    slope = np.where(price > 0, total - high, np.where(price < 0, total - low, c.rows.missed(x)))
    size = float(slope @ slope)
    if size == 0:
        return price
    gap = upper - told if math.isfinite(upper) else max(1.0, 0.02 * abs(told))
    out = price + np.rint(step * max(gap, 0.0) * c.fine * slope / size)
    out = np.where(np.isinf(high), np.minimum(out, 0), out)
    out = np.where(np.isinf(low), np.maximum(out, 0), out)
    limit = NEVER >> 8
    most = limit // (1 + np.abs(c.rows.coefficient).max(initial=1) * len(price))
    return np.clip(out, -most, most).astype(np.int64)


def coupled_of(factors: Factors, scale: Scale, allowed: np.ndarray) -> Coupled:
    """One row of a structure that is not refused, its costs in place. allowed (C,): which literals
    are possible."""
    return _Reader(factors.expanded().distinct(), scale, allowed).coupled()


def refusal(factors: Factors) -> str | None:
    """Why messages have nothing to do with a structure; None: they have."""
    pairs = any(t.soft and t.arity == 2 and t.when is None for t in factors.tables)
    return unread(factors) or (None if pairs else "no costs of pairs")


def unread(factors: Factors) -> str | None:
    """Why a structure has no such form; None: it has."""
    if not factors.soft or factors.others:
        return "nothing that costs" if not factors.soft else "families of its own"
    if not len(factors.sizes) or int(factors.sizes.max()) > WIDE:
        return "sites of so many values"
    width = int(factors.sizes.max())
    pairs = [t for t in factors.tables if t.arity == 2 and t.when is None]
    cells = sum((t.count if t.apart or t.varies else 1) * width**2 for t in pairs)
    if cells > CELLS or sum(t.count for t in pairs) * width > CELLS:
        return "so many tables of pairs"
    return None


class _Reader:
    """Gathers sites, pairs and rows out of a structure."""

    def __init__(self, f: Factors, scale: Scale, allowed: np.ndarray):
        self.f, self.scale = f, scale
        n, width = len(f.sizes), int(f.sizes.max())
        self.fine = 1 << max(0, BITS - self.scale.total.bit_length())
        self.cost = np.zeros((n, width), dtype=np.int64)
        self.possible = np.arange(width)[None] < f.sizes[:, None]
        flat = np.ones(int(f.sizes.sum()), dtype=bool)
        flat[: len(allowed)] = np.asarray(allowed) > 0
        self.possible[self.possible] = flat
        self.width, self.constant, self.whole = width, 0, True
        self.ends: list[Ints] = []
        self.table: list[Ints] = []
        self.pool: list[Ints] = []
        self.filled = 0
        self.lists: list[tuple[Ints, Ints, Ints, float, float]] = []

    def coupled(self) -> Coupled:
        for table in self.f.tables:
            self._table(table)
        self._counted()
        self._clauses()
        self._sums()
        empty = np.zeros((0, 2), dtype=np.int64)
        pool = [np.zeros((0, self.width, self.width), dtype=np.int64), *self.pool]
        return Coupled(
            self.cost,
            self.possible.astype(np.uint8),
            np.concatenate([empty, *self.ends]),
            np.concatenate([ints(), *self.table]).astype(np.int64),
            np.concatenate(pool),
            self._rows(),
            self.constant,
            self.fine,
            self.whole,
        )

    def _units(self, costs: Floats, table: Table) -> Ints:
        """Finite costs, 0 elsewhere."""
        finite = np.where(np.isfinite(costs), costs, 0.0)
        return self.scale.units(finite, table.read) * self.fine

    def _table(self, table: Table) -> None:
        if not table.count:
            return
        if table.when is not None or table.arity > 2:
            self.whole = False
            least = floats([table.finite_costs.min(initial=math.inf)])
            if table.when is not None or not math.isfinite(least[0]):
                least = np.minimum(least, 0.0)
            self.constant += int(self._units(least, table)[0]) * table.count
            return
        shapes = self.f.sizes[table.scopes]
        for shape in np.unique(shapes, axis=0):
            own = table.picked((shapes == shape).all(1))
            dense = own.dense(shape.tolist())
            dense = dense if own.apart else dense[None]
            units = self._units(dense, own)
            if own.arity == 1:
                self._sites(own.scopes[:, 0], units, np.isfinite(dense))
            else:
                self._pairs(own.scopes, np.where(np.isfinite(dense), units, NEVER))

    def _sites(self, site: Ints, units: Ints, finite: np.ndarray) -> None:
        k = units.shape[1]
        np.add.at(self.cost[:, :k], site, np.broadcast_to(units, (len(site), k)))
        for s, open_ in zip(site.tolist(), np.broadcast_to(finite, (len(site), k)), strict=True):
            self.possible[s, :k] &= open_

    def _pairs(self, scopes: Ints, units: Ints) -> None:
        """Pairs of sites, and what they cost: one table for all, or one each."""
        full = np.full((len(units), self.width, self.width), NEVER, dtype=np.int64)
        full[:, : units.shape[1], : units.shape[2]] = units
        self.ends.append(scopes.astype(np.int64))
        self.pool.append(full)
        own = np.arange(len(units)) if len(units) == len(scopes) else np.zeros(len(scopes))
        self.table.append(self.filled + own.astype(np.int64))
        self.filled += len(units)

    def _counted(self) -> None:
        c = self.f.counted
        for k in range(c.count):
            own = slice(c.start[k], c.start[k + 1])
            ones = np.ones(c.start[k + 1] - c.start[k], dtype=np.int64)
            self._row(c.site[own], c.value[own], ones, float(c.low[k]), float(c.high[k]))

    def _clauses(self) -> None:
        c = self.f.clauses
        for k in range(c.count):
            own = slice(c.start[k], c.start[k + 1])
            sign = c.sign[own]
            factor = np.where(sign, 1, -1)
            self._row(c.site[own], c.value[own], factor, 1.0 - float((~sign).sum()), math.inf)

    def _sums(self) -> None:
        s = self.f.sums
        for k in range(s.count):
            own = slice(s.start[k], s.start[k + 1])
            edges = floats([x for x in (s.low[k], s.high[k]) if math.isfinite(x)])
            unit = denominator(np.unique(np.append(s.coefficient[own], edges)))
            if unit is None or np.abs(s.coefficient[own]).sum() * unit > 2.0**40:
                self.whole = False
                continue  # a rule left out leaves a bound a bound
            factor = ints(whole(s.coefficient[own], unit))
            low, high = (
                float(whole(floats([x]), unit)[0]) if math.isfinite(x) else float(x)
                for x in (s.low[k], s.high[k])
            )
            self._row(s.site[own], s.value[own], factor, low, high)

    def _row(self, site: Ints, value: Ints, factor: Ints, low: float, high: float) -> None:
        """A row; over two sites, what it forbids, and over one likewise."""
        sites = np.unique(site)
        if len(sites) > 2 or not len(sites):
            self.lists.append((site, value, factor, low, high))
            return
        reach = np.zeros((len(sites), self.width), dtype=np.int64)
        np.add.at(reach, (np.searchsorted(sites, site), value), factor)
        total = reach[0] if len(sites) == 1 else reach[0][:, None] + reach[1]
        fits = (total >= low) & (total <= high)
        if len(sites) == 1:
            self.possible[sites[0]] &= fits
        else:
            self._pairs(sites[None], np.where(fits, 0, NEVER)[None])

    def _rows(self) -> Rows:
        lists = self.lists
        return Rows(
            np.concatenate([[0], np.cumsum([len(one[0]) for one in lists])]).astype(np.int64),
            np.concatenate([ints(), *(one[0] for one in lists)]),
            np.concatenate([ints(), *(one[1] for one in lists)]),
            np.concatenate([ints(), *(one[2] for one in lists)]),
            floats([one[3] for one in lists]),
            floats([one[4] for one in lists]),
        )


def _total(values: Ints) -> int:
    """A sum of whole numbers that int64 may not hold."""
    return (int((values >> 32).sum()) << 32) + int((values & 0xFFFFFFFF).sum())


def pieces(passing: Passing, visit: int) -> int:
    """How many passes make a step of so many table entries; what a pass takes beside them bounds
    that, too."""
    return max(1, min(PASSES, visit // max(1, passing.work)))
