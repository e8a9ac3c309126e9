"""Assignments, exactly: sites that take different values, each value at its own cost."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from engine.answer import Proof
from engine.decimals import Ints
from engine.factors import Factors
from engine.kernels.assignment import assign
from engine.problem import Problem
from engine.rows import NOT_UNIQUE, UNIQUE, UNKNOWN
from engine.search.closed import Closed, Closing
from engine.search.prices import Prices

LARGEST = 1 << 60  # of what duals come to
MOST = 1 << 24  # pairs of a site and a value


@dataclass(frozen=True)
class Assignment(Closed):
    """Settles lists of sites that share none and take different values, by shortest ways; the bound
    is added up again from the prices of values. Refuses any other rule.

    unique: decide uniqueness.
    """

    proof: ClassVar[Proof] = Proof.ASSIGNMENT

    unique: bool = False

    def asked(self, unique: bool, alternatives: int) -> "Assignment":
        del alternatives
        return Assignment(unique)

    def unlike(self, factors: Factors) -> str | None:
        own = factors.different
        others = (factors.counted, factors.clauses, factors.sums)
        if not own.count or any(family.count for family in others):
            return "Assignment needs sites that take different values, and no other rule"
        if len(np.unique(own.site)) < len(own.site):
            return "Assignment needs lists that share no site"
        if len(own.site) * int(factors.sizes.max()) > MOST:
            return f"Assignment has no room for {len(own.site)} sites of so many values"
        if factors.scale.total * 2 * (len(factors.sizes) + 1) > LARGEST:
            return "Assignment needs smaller costs"
        return None

    def closing(
        self, problem: Problem, factors: Factors, prices: Prices, open_: np.ndarray
    ) -> Closing | None:
        del problem
        sizes, n = factors.sizes, len(factors.sizes)
        columns = int(sizes.max())
        site = np.repeat(np.arange(n), sizes)
        place = np.arange(len(site)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        cost, possible = np.zeros((n, columns), np.int64), np.zeros((n, columns), dtype=bool)
        cost[site, place], possible[site, place] = prices.price, open_
        lone = np.setdiff1d(np.arange(n), factors.different.site)
        chosen, least = np.zeros(n, dtype=np.int64), 0
        single = True  # nothing costs as much
        lines: list[Ints] = [*lone[:, None], *factors.different.lines()]
        for line in lines:
            at, v = assign(cost[line], possible[line])
            if at[0] < 0:
                return None
            chosen[line] = at
            least += _bound(cost[line], possible[line], v)
            if self.unique:
                single = single and _alone(cost[line], possible[line], at, v)
        known = (UNIQUE if single else NOT_UNIQUE) if self.unique else UNKNOWN
        return Closing(chosen, least, known)


def _bound(cost: Ints, possible: np.ndarray, v: Ints) -> int:
    """For any v <= 0, each row costs at least its cheapest pair less what that column earns."""
    v = np.minimum(v, 0)
    left = np.where(possible, cost - v, np.iinfo(np.int64).max)
    return int(left.min(1).sum()) + int(v.sum())


def _alone(cost: Ints, possible: np.ndarray, at: Ints, v: Ints) -> bool:
    """No other assignment costs as little: rows cannot change places in a ring along pairs that
    are tight. All free columns are one place, the last, which can take the place of columns that
    earn nothing."""
    rows, k = np.arange(len(at)), len(at)
    left = cost - v
    tight = possible & (left == left[rows, at][:, None])
    free = np.ones(len(v), dtype=bool)
    free[at] = False
    moves = np.zeros((k + 1, k + 1), dtype=bool)  # from the place of one row to that of another
    moves[:k, :k], moves[:k, k] = tight[:, at], tight[:, free].any(1)
    moves[k, :k] = (v[at] == 0) & free.any()
    np.fill_diagonal(moves, False)
    out = moves.sum(1)
    ended = np.flatnonzero(out == 0).tolist()
    gone = len(ended)
    while ended:
        back = np.flatnonzero(moves[:, ended.pop()])
        out[back] -= 1
        more = back[out[back] == 0].tolist()
        ended += more
        gone += len(more)
    return gone == k + 1
