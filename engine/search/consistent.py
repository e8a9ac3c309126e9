"""Costs of sites and pairs beside linear rules, searched completely under soft local consistency.

Sites, pairs and rows are those of messages (`engine.search.messages`): some passes of these price
the rows, and move cost to where bounds are better to begin with; the search counts in the units of
the scale, or parts of them where something was moved.
"""

from dataclasses import dataclass, replace

import numpy as np

from engine.decimals import Ints
from engine.factors import Factors, ints
from engine.kernels import consistency as kernel
from engine.problem import Problem
from engine.search.messages import (
    BITS,
    NEVER,
    Coupled,
    Passing,
    Rows,
    coupled_of,
    unread,
)

PARTS = 16  # of a unit, where messages moved cost
PASSES = 32  # of messages before a search,
VISIT = 2_000_000  # and table entries that they look at
BYTES = 1 << 26  # of all branches of a row
LARGEST = 1 << (BITS + 2)  # of what was moved
STACKED = 1 << 20  # entries of tables that are added pair by pair


@dataclass(frozen=True, eq=False)
class Consistent:
    """The search of one row. Whoever advances a copy keeps what it was."""

    net: kernel.Net
    here: kernel.Here
    path: kernel.Path
    order: Ints  # (n,) the site at each place
    parts: int  # of a unit of the scale
    cut: int  # units from which on nothing is looked for; NEVER: anything is
    ended: bool  # nothing below `cut` is left
    handed: int = 0  # states that were handed on

    @staticmethod
    def of(coupled: Coupled, upper: int, passes: int = PASSES) -> "Consistent":
        """A search for states below `upper` units of the scale, NEVER for any, after so many passes
        of messages, or as many as are quick."""
        c = stacked(coupled)
        order = _order(c)
        c = placed(c, order)
        one, upper, x = _prepared(c, upper, passes)
        if one.refuted:
            c = replace(c, possible=np.zeros_like(c.possible))
        return _begun(c, one, order, upper, x)

    def advanced(self, work: int) -> "tuple[Consistent, Ints | None]":
        """So much work further. -> and the last state found, all sites"""
        here, depth = _copied(self.here), int(self.here.number[kernel.DEPTH])
        path = kernel.Path(*(_grown(x, depth) for x in self.path))
        ended = self.ended or bool(kernel.search(self.net, here, path, work))
        found, x = int(here.number[kernel.FOUND]), None
        if found > self.handed:
            x = np.empty_like(here.best)
            x[self.order] = here.best
        cut = self.cut if x is None else (int(here.number[kernel.TOP]) - 1) // self.parts + 1
        return replace(self, here=here, path=path, cut=cut, ended=ended, handed=found), x

    def told(self, upper: int) -> "Consistent":
        """Looks for states below so many units alone."""
        if upper >= self.cut or self.ended:
            return self
        here = _copied(self.here)
        here.number[kernel.TOP] = (upper - 1) * self.parts + 1
        here.number[kernel.STALE] = 1
        return replace(self, here=here, cut=upper)

    @property
    def bound(self) -> int:
        """No state costs less than this many units; NEVER: there is none, `cut` where all of it was
        searched."""
        if self.ended:
            return self.cut
        number, d = self.here.number, int(self.here.number[kernel.DEPTH])
        floor = min([int(number[kernel.FLOOR]), *self.path.floor[:d].tolist()])
        return min(self.cut, -((-floor) // self.parts))


def row_of(problem: Problem, row: int, upper: int) -> Consistent | None:
    """The search of a row for states below `upper` units; None where units round its costs, or it
    turns out too large."""
    scale = problem.explicits[row].scale
    if scale.error or scale.total.bit_length() > BITS:
        return None
    c = coupled_of(problem.concrete(row), scale, problem.allowed[row])
    if not c.whole or _too_large(len(c.cost), c.cost.shape[1], len(c.ends)):
        return None
    return Consistent.of(c, upper)


def refusal(factors: Factors) -> str | None:
    """Why a structure has no such form; None: it has."""
    if any(t.arity > 2 or t.when is not None for t in factors.tables):
        return "tables over more than two sites"
    pairs = sum(t.count for t in factors.tables if t.arity == 2)
    why = unread(factors)
    if why is None and _too_large(len(factors.sizes), int(factors.sizes.max()), pairs):
        return "so many sites and pairs"
    return why


def _prepared(c: Coupled, upper: int, passes: int) -> tuple[Passing, int, Ints | None]:
    """After so many passes, prices moving by the gap to the best state. -> and what that costs, and
    it, where it was read off"""
    one, best = Passing.begun(c), None
    passes = min(passes if c.rows.count else passes // 4, VISIT // max(1, one.work))
    kept = one
    while not one.refuted and one.passes < passes:
        before = one
        one, x = one.passed(1, float(upper) if upper < NEVER else np.inf)
        if one.refuted or one.bound > before.bound:
            kept = one._replace(price=before.price)
        if x is not None and c.total(x) < upper:
            upper, best = c.total(x), x
            one = one._replace(step=1.0)
    return kept, upper, best


def _too_large(sites: int, width: int, pairs: int) -> bool:
    """All branches of a row would take too much room."""
    return depth(sites, width) * (sites + 2 * pairs) * width * 8 > BYTES


def depth(sites: int, width: int) -> int:
    """Branches open at once, at most: a site is halved until it has few values, then has one."""
    each = 1
    while width >= kernel.HALVED:
        width -= width // 2
        each += 1
    return sites * each + 1


def stacked(c: Coupled) -> Coupled:
    """The same with at most one table for two sites, where that is not too large."""
    low, high = c.ends.min(1), c.ends.max(1)
    every, owner = np.unique(np.stack([low, high], 1), axis=0, return_inverse=True)
    width = c.cost.shape[1]
    if len(every) == len(c.ends) or len(every) * width**2 > STACKED:
        return c
    pool = np.zeros((len(every), width, width), dtype=np.int64)
    shut = np.zeros(pool.shape, dtype=bool)
    for e, k in enumerate(owner.reshape(-1).tolist()):
        own = c.pool[c.table[e]] if c.ends[e, 0] == every[k, 0] else c.pool[c.table[e]].T
        pool[k] += np.where(own == NEVER, 0, own)
        shut[k] |= own == NEVER
    return replace(c, ends=every, table=np.arange(len(every)), pool=np.where(shut, NEVER, pool))


def _order(c: Coupled) -> Ints:
    """Sites in the order in which cost is moved: those of many partners first."""
    count = np.bincount(c.ends.reshape(-1), minlength=len(c.cost))
    return np.argsort(-count, kind="stable")


def placed(c: Coupled, order: Ints) -> Coupled:
    """The same with its sites in another order. (n,) the site at each place"""
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    rows = c.rows._replace(site=place[c.rows.site])
    return replace(c, cost=c.cost[order], possible=c.possible[order], ends=place[c.ends], rows=rows)


def _begun(c: Coupled, one: Passing, order: Ints, upper: int, x: Ints | None) -> Consistent:
    """The search from what messages and prices left, and a state that they read off."""
    parts = min(PARTS, c.fine) if one.passes else 1
    ratio = c.fine // parts
    n, width = c.cost.shape
    m = len(c.ends)
    price = np.rint(one.price / ratio).astype(np.int64)
    moved = np.rint(np.clip(one.message / ratio, -LARGEST, LARGEST)).astype(np.int64)
    pool = np.where(c.pool == NEVER, NEVER, c.pool // ratio)
    rows, owned = _at_most(c.rows, price, width)
    cost = c.cost // ratio
    np.add.at(cost, (c.rows.site, c.rows.value), price[c.rows.owner()] * c.rows.coefficient)
    np.add.at(cost, c.ends.reshape(-1), moved.reshape(-1, width))
    floor = c.constant // ratio - c.allowed_for(price)
    possible = one.possible > 0
    number = np.zeros(kernel.NUMBERS, dtype=np.int64)
    for e in range(m):  # what a pair costs is from nought on
        a, b = possible[c.ends[e, 0]], possible[c.ends[e, 1]]
        own = pool[c.table[e]][np.ix_(a, b)]
        left = own - moved[e, 0][a][:, None] - moved[e, 1][b]
        left = left[own != NEVER]
        if left.size:
            least = int(left.min())
            moved[e, 0] += least
            floor += least
    open_ = np.where(possible, cost, NEVER)
    lowest = np.where(possible.any(1), open_.min(1), 0)
    cost = np.where(possible, cost - lowest[:, None], 0)
    floor += int(lowest.sum())
    most = np.where(pool == NEVER, 0, pool).max((1, 2), initial=0)[c.table]
    spread = np.abs(moved).max((1, 2), initial=0) if width else most
    top = floor + int(cost.max(1, initial=0).sum()) + int(most.sum()) + 2 * int(spread.sum())
    top += int((owned * _slack(rows)).sum()) + parts
    if upper < NEVER:
        top = min(top, (upper - 1) * parts + 1)
    number[kernel.FLOOR], number[kernel.TOP], number[kernel.LAST] = floor, top, -1
    number[kernel.STALE], number[kernel.SHUT] = 1, 1
    start, pair, side = c.near
    net = kernel.Net(
        start, pair, side, c.ends.astype(np.int64), c.table.astype(np.int64),
        np.stack([pool, pool.swapaxes(1, 2)]), *rows, owned, parts,
    )  # fmt: skip
    flags = np.ones((3, n), dtype=np.uint8)
    here = kernel.Here(
        number, cost, possible.astype(np.uint8), np.argsort(~possible, axis=1, kind="stable"),
        possible.sum(1), np.zeros(n, dtype=np.uint8),
        moved, flags[0], flags[1], flags[2], cost.argmin(1), np.zeros(m, dtype=np.int64),
        np.zeros(n, dtype=np.int64), np.zeros(width, dtype=np.int64),
    )  # fmt: skip
    deep = depth(n, width)
    path = kernel.Path(
        np.zeros(deep, dtype=np.int64), np.zeros((deep, width), dtype=np.uint8),
        np.zeros(deep, dtype=np.int64),
        *(np.empty((deep, *x.shape), x.dtype) for x in
          (here.cost, here.open, here.left, here.fixed, here.moved, here.support)),
    )  # fmt: skip
    if x is not None:
        here.best[:], number[kernel.FOUND] = x, 1
    return Consistent(net, here, path, order, parts, upper, not possible.any(1).all())


def _at_most(rows: Rows, price: Ints, width: int) -> tuple[tuple[Ints, Ints, Ints, Ints], Ints]:
    """Each edge of each row as a sum that is at most something, each site once; and its price."""
    start, site, worth, high, owned = [0], [], [], [], []
    for r in range(rows.count):
        own = slice(rows.start[r], rows.start[r + 1])
        sites, at = np.unique(rows.site[own], return_inverse=True)
        each = np.zeros((len(sites), width), dtype=np.int64)
        np.add.at(each, (at.reshape(-1), rows.value[own]), rows.coefficient[own])
        for sign, edge in ((1, rows.high[r]), (-1, rows.low[r])):
            if np.isfinite(edge):
                site.append(sites)
                worth.append(sign * each)
                high.append(sign * int(edge))
                owned.append(max(0, sign * int(price[r])))
                start.append(start[-1] + len(sites))
    none = np.zeros((0, width), dtype=np.int64)
    told = (ints(start), np.concatenate([ints(), *site]), np.concatenate([none, *worth]))
    return (*told, ints(high)), ints(owned)


def _slack(rows: tuple[Ints, Ints, Ints, Ints]) -> Ints:
    """How far each row is below its edge at most. -> (r,)"""
    start, _, worth, high = rows
    least = worth.min(1, initial=0) if worth.shape[1] else worth.sum(1)
    total = [int(least[a:b].sum()) for a, b in zip(start[:-1], start[1:], strict=True)]
    return np.maximum(0, high - ints(total))


def _copied(here: kernel.Here) -> kernel.Here:
    return kernel.Here(*(x.copy() for x in here))


def _grown(x: Ints, depth: int) -> Ints:
    """A copy of the branches that are open; the rest is to be written."""
    out = np.empty_like(x)
    out[:depth] = x[:depth]
    return out
