"""Branch and bound where some rules know their own cheapest states, and all others have a price.

    least of c(x)  where x lies in X and low <= A x <= high
        >= least over X of c(x) + p A x - sum of p_i (high_i if p_i > 0 else low_i)

for any prices p. X is what the rules that know their cheapest states leave, each over sites of its
own, so that the least over X is told exactly; every bound is in whole numbers, whatever p is.

Source: Held and Karp, "The traveling-salesman problem and minimum spanning trees", Operations
Research 1970 (trees under degrees); Guignard, "Lagrangean relaxation", TOP 11, 2003.
"""

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np

from engine.decimals import Ints
from engine.search.messages import NEVER, Coupled, Rows, moved

PASSES, FIRST = 30, 150  # prices that a node tries, and the root
IDLE = 12  # of them without a rise, after which it branches
PROBED = 1 << 14  # sites squared, up to which single sites are tried at other values

Cheapest = Callable[[Ints, np.ndarray], Ints | None]  # `Term.cheapest`


class Node(NamedTuple):
    """What is left to search below one choice."""

    bound: int  # nothing in it costs less, in units of the scale
    serial: int
    allowed: np.ndarray  # (n, k) bool
    price: Ints  # (r,) with which to begin


class Work(NamedTuple):
    """How far the prices of a node have come."""

    node: Node
    price: Ints
    best: tuple[int, Ints]  # the highest bound, and its prices
    passes: int
    idle: int
    step: float
    taken: Ints  # (n, k) how often each value was the cheapest
    last: Ints  # (n,) the last state


@dataclass(frozen=True, eq=False)
class Choice:
    """One row of a problem: what sites cost, who chooses which of them, and rows over all.

    coupled: its pairs forbid and cost nothing. choosers: rules over disjoint sites; the sites of
    none choose by themselves.
    """

    coupled: Coupled
    choosers: tuple[tuple[Cheapest, Ints], ...]

    @staticmethod
    def of(coupled: Coupled, choosers: tuple[tuple[Cheapest, Ints], ...]) -> "Choice":
        """With what pairs forbid as rows."""
        t = coupled.pool[coupled.table] == NEVER  # (m, k, k)
        pair, a, b = np.nonzero(t)
        i, j = coupled.ends[pair, 0], coupled.ends[pair, 1]
        both = coupled.possible[i, a].astype(bool) & coupled.possible[j, b].astype(bool)
        i, j, a, b = i[both], j[both], a[both], b[both]
        site, value = np.stack([i, j], 1).reshape(-1), np.stack([a, b], 1).reshape(-1)
        r, more = coupled.rows, len(i)
        rows = Rows(
            np.concatenate([r.start, r.start[-1] + 2 * np.arange(1, more + 1)]),
            np.concatenate([r.site, site]),
            np.concatenate([r.value, value]),
            np.concatenate([r.coefficient, np.ones(2 * more, dtype=np.int64)]),
            np.concatenate([r.low, np.full(more, -math.inf)]),
            np.concatenate([r.high, np.ones(more)]),
        )
        return Choice(replace(coupled, rows=rows), choosers)

    @cached_property
    def free(self) -> np.ndarray:
        """The sites that no rule chooses. -> (n,) bool"""
        out: np.ndarray = np.ones(len(self.coupled.cost), dtype=bool)
        for _, sites in self.choosers:
            out[sites] = False
        return out

    def least(self, price: Ints, allowed: np.ndarray) -> tuple[Ints, int] | None:
        """The cheapest state at some prices, and the bound in units of the scale; None: no state
        is left."""
        c = self.coupled
        cost = c.priced(price)
        x = np.where(allowed, cost, NEVER).argmin(1)
        for cheapest, sites in self.choosers:
            own = cheapest(cost[sites], allowed[sites])
            if own is None:
                return None
            x[sites] = own
        paid = sum(cost[np.arange(len(x)), x].tolist())
        return x, -(-(c.constant - c.allowed_for(price) + paid) // c.fine)

    def cost(self, x: Ints) -> int:
        """What a state costs, in units of the scale, which it is a whole number of."""
        c = self.coupled
        return (c.constant + sum(c.cost[np.arange(len(x)), x].tolist())) // c.fine

    @cached_property
    def _entries(self) -> tuple[Ints, Ints, np.ndarray]:
        """For each row and each site in it, what its values add up to there. -> (P,), (P,),
        (P, k)"""
        r, (n, k) = self.coupled.rows, self.coupled.cost.shape
        key, at = np.unique(r.owner() * n + r.site, return_inverse=True)
        worth = np.zeros((len(key), k))
        np.add.at(worth, (at, r.value), r.coefficient)
        return key // n, key % n, worth

    def narrowed(self, allowed: np.ndarray) -> np.ndarray | None:
        """Without the values that rows alone rule out; None where nothing is left."""
        r = self.coupled.rows
        if not r.count:
            return allowed if allowed.any(1).all() else None
        row, site, worth = self._entries
        while True:
            open_ = allowed[site]
            least = np.where(open_, worth, np.inf).min(1)
            most = np.where(open_, worth, -np.inf).max(1)
            if np.isinf(least).any():
                return None
            low, high = (np.bincount(row, x, r.count) for x in (least, most))
            over = (low[row] - least)[:, None] + worth > r.high[row][:, None]
            under = (high[row] - most)[:, None] + worth < r.low[row][:, None]
            shut = (over | under) & open_
            if not shut.any():
                return allowed
            allowed = allowed.copy()
            allowed[np.repeat(site, worth.shape[1])[shut.reshape(-1)], np.nonzero(shut)[1]] = False
            if not allowed.any(1).all():
                return None


@dataclass
class Search:
    """The search of one row: nodes by their bounds, prices of the one that is looked at."""

    choice: Choice
    upper: int  # solutions must cost less
    best: Ints | None = None  # the best solution that it found itself, and that costs `upper`
    heap: list[Node] = field(default_factory=list)
    now: Work | None = None
    serial: int = 0

    @staticmethod
    def of(choice: Choice, upper: int) -> "Search":
        """At its root."""
        own = Search(choice, upper)
        own._add(-NEVER, choice.coupled.possible.astype(bool), np.zeros(0, dtype=np.int64))
        return own

    def copy(self) -> "Search":
        return replace(self, heap=list(self.heap))

    @property
    def done(self) -> bool:
        """Nothing that costs less than `upper` is left."""
        return self.now is None and not self.heap

    @property
    def bound(self) -> int | None:
        """None: nothing is known."""
        left = [node.bound for node in self.heap[:1]]
        left += [] if self.now is None else [max(self.now.node.bound, self.now.best[0])]
        least = min([*left, self.upper])
        return least if least > -NEVER else None

    def told(self, upper: int) -> None:
        if upper < self.upper:
            self.upper, self.best = upper, None

    def advance(self, work: int) -> None:
        """So many visits of sites further, or some more."""
        n = len(self.choice.coupled.cost)
        while work > 0 and not self.done:
            if self.now is None:
                self._take()
                continue
            self._pass(self.now)
            now, work = self.now, work - n - 100
            if now is not None and (now.idle >= IDLE or now.passes >= self._most(now)):
                work -= self._branch(now)

    @staticmethod
    def _most(now: Work) -> int:
        return PASSES if now.node.serial else FIRST

    def _add(self, bound: int, allowed: np.ndarray, price: Ints) -> None:
        narrowed = self.choice.narrowed(allowed)
        if narrowed is not None:
            heapq.heappush(self.heap, Node(bound, -self.serial, narrowed, price))
            self.serial += 1

    def _take(self) -> None:
        node = heapq.heappop(self.heap)
        if node.bound >= self.upper:
            self.heap.clear()  # so have all others
            return
        c = self.choice.coupled
        price = node.price if len(node.price) else np.zeros(c.rows.count, dtype=np.int64)
        none = np.zeros(c.cost.shape, dtype=np.int64)
        self.now = Work(node, price, (-NEVER, price), 0, 0, 1.0, none, none[:, 0])

    def _pass(self, now: Work) -> None:
        """Asks at the present prices, and moves them."""
        choice, c = self.choice, self.choice.coupled
        told = choice.least(now.price, now.node.allowed)
        if told is None:
            self.now = None
            return
        x, bound = told
        if not c.rows.missed(x).any():
            cost = choice.cost(x)
            if cost < self.upper:
                self.upper, self.best = cost, x
        rose = bound > now.best[0]
        best = (bound, now.price) if rose else now.best
        if max(best[0], now.node.bound) >= self.upper:
            self.now = None
            return
        idle = 0 if rose else now.idle + 1
        step = now.step if rose or idle % 4 else now.step / 2
        taken = now.taken.copy()
        taken[np.arange(len(x)), x] += 1
        upper = float(self.upper) if self.upper < NEVER else math.inf
        price = moved(c, now.price, x, bound, upper, step)
        if not c.rows.count:
            idle = IDLE
        self.now = Work(now.node, price, best, now.passes + 1, idle, step, taken, x)

    def _branch(self, now: Work) -> int:
        """Two nodes in place of this one. -> visits of sites that it took beside"""
        self.now = None
        bound = max(now.best[0], now.node.bound)
        allowed, spent = self._probed(now) if len(now.last) ** 2 <= PROBED else (None, 0)
        if allowed is None and spent:
            return spent
        allowed = now.node.allowed if allowed is None else allowed
        open_ = allowed.sum(1) > 1
        if not open_.any():
            if (allowed != now.node.allowed).any():  # all is decided by trying, and looked at once
                self._add(bound, allowed, now.best[1])
            return spent
        site = self._site(now, open_)
        value = int(np.where(allowed[site], now.taken[site], -1).argmax())
        for keep in (True, False):
            own = allowed.copy()
            own[site] = np.arange(allowed.shape[1]) == value if keep else own[site]
            own[site, value] = keep
            self._add(bound, own, now.best[1])
        return spent

    def _site(self, now: Work, open_: np.ndarray) -> int:
        """The open site whose value the prices leave most in doubt, one of a missed row if any."""
        r = self.choice.coupled.rows
        missed = r.missed(now.last) != 0
        inside = np.zeros(len(open_), dtype=bool)
        inside[r.site[missed[r.owner()]]] = True
        among = open_ & inside if (open_ & inside).any() else open_
        share = now.taken.max(1) / max(1, now.passes)
        return int(np.where(among, share, 2.0).argmin())

    def _probed(self, now: Work) -> tuple[np.ndarray | None, int]:
        """What is left where each open site is tried without its cheapest value; None: nothing.
        -> and visits of sites"""
        allowed, price, spent = now.node.allowed.copy(), now.best[1], 0
        told = self.choice.least(price, allowed)
        spent += len(allowed)
        if told is None:
            return None, spent
        x = told[0]
        for site in np.flatnonzero(allowed.sum(1) > 1).tolist():
            other = allowed.copy()
            other[site, x[site]] = False
            own = self.choice.least(price, other)
            spent += len(allowed)
            if own is None or own[1] >= self.upper:
                allowed[site] = np.arange(allowed.shape[1]) == x[site]
        return self.choice.narrowed(allowed), spent
