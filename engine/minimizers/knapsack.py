"""Knapsacks, exactly: one sum that must lie between edges, each value of a site at its own cost.

    best(k, w) = min over the values v of site k of best(k - 1, w - weight_v) + price_v

over all totals w that count, in whole numbers. Source: Bellman, "Dynamic programming", 1957; with
several values a site, Dudzinski and Walukiewicz, "Exact methods for the knapsack problem and its
generalizations", European Journal of Operational Research 1987.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from engine.answer import Proof
from engine.decimals import Floats, Ints
from engine.factors import Factors, ints
from engine.factors.amounts import whole_sum
from engine.kernels.cover import FAR
from engine.problem import Problem
from engine.rows import NOT_UNIQUE, UNIQUE, UNKNOWN
from engine.search.closed import Closed, Closing
from engine.search.prices import Prices

MOST = 1 << 24  # totals that are looked at, site by site and value by value


class _Weights(NamedTuple):
    """A sum as weights of at least 0, the least of each site 0."""

    weight: Ints  # (C,)
    low: int
    high: int  # no total lies beyond


@dataclass(frozen=True)
class Knapsack(Closed):
    """Settles one linear sum, or one count, by dynamic programming over its totals. Refuses any
    other rule, and sums of too many totals.

    unique: decide uniqueness.
    """

    proof: ClassVar[Proof] = Proof.PROGRAM

    unique: bool = False

    def asked(self, unique: bool, alternatives: int) -> "Knapsack":
        del alternatives
        return Knapsack(unique)

    def unlike(self, factors: Factors) -> str | None:
        if factors.clauses.count or factors.different.count:
            return "Knapsack takes one sum, and no other rule"
        if factors.sums.count + factors.counted.count != 1:
            return "Knapsack takes one sum, and no other rule"
        weights = _weights(factors, np.ones(int(factors.sizes.sum()), dtype=bool))
        if weights is None:
            return "Knapsack needs a sum of fewer digits"
        work = int(factors.sizes.sum()) * (max(0, weights.high) + 1)
        return f"Knapsack has no room for {work} totals" if work > MOST else None

    def closing(
        self, problem: Problem, factors: Factors, prices: Prices, open_: np.ndarray
    ) -> Closing | None:
        del problem
        weights = _weights(factors, open_)
        assert weights is not None
        weight, low, high = weights
        if low > high or high < 0:
            return None
        offset = np.concatenate([[0], np.cumsum(factors.sizes)])
        options = [a + np.flatnonzero(open_[a:b]) for a, b in zip(offset, offset[1:])]
        best = np.full(high + 1, FAR)
        best[0], ways, picked = 0, np.zeros(high + 1, dtype=np.int64), []
        ways[0] = 1
        for own in options:
            w, price = weight[own].tolist(), prices.price[own].tolist()
            after, pick, count = _site(best, ways, w, price, self.unique)
            best, ways = after, count
            picked.append(pick)
        best[:low] = FAR
        at = int(best.argmin())
        if best[at] >= FAR:
            return None
        least, chosen = int(best[at]), np.zeros(len(options), dtype=np.int64)
        level = int(ways[best == least].sum())
        for k in range(len(options) - 1, -1, -1):
            literal = int(options[k][picked[k][at]])
            chosen[k] = literal - offset[k]
            at -= int(weight[literal])
        known = (UNIQUE if level == 1 else NOT_UNIQUE) if self.unique else UNKNOWN
        return Closing(chosen, least, known)


def _site(
    best: Ints, ways: Ints, weight: list[int], price: list[int], counts: bool
) -> tuple[Ints, np.ndarray, Ints]:
    """The least price of each total after one site more, which of its values makes it, and, where
    they are counted, how many states cost as little, up to 2. (W,) each"""
    after = np.full_like(best, FAR)
    pick = np.zeros(len(best), dtype=np.int32 if len(weight) > 255 else np.uint8)
    count = np.zeros_like(ways) if counts else ways
    for k, (w, p) in enumerate(zip(weight, price, strict=True)):
        if w >= len(best):
            continue
        own, target = best[: len(best) - w] + p, after[w:]
        cheaper = own < target
        if counts:
            before, level = ways[: len(best) - w], (own == target) & (own < FAR)
            count[w:] = np.where(cheaper, before, count[w:] + np.where(level, before, 0))
        np.copyto(target, own, where=cheaper)
        np.copyto(pick[w:], k, where=cheaper)
    return np.minimum(after, FAR), pick, np.minimum(count, 2) if counts else ways


def _weights(factors: Factors, open_: np.ndarray) -> _Weights | None:
    """The one sum over what is open; None where its numbers are too large."""
    told = _whole(factors)
    if told is None:
        return None
    site, value, coefficient, low, high = told
    sizes = factors.sizes
    offset = np.concatenate([[0], np.cumsum(sizes)])
    weight = np.zeros(int(offset[-1]), dtype=np.int64)
    np.add.at(weight, offset[site] + value, coefficient.astype(np.int64))
    far = np.iinfo(np.int64).max
    least = np.minimum.reduceat(np.where(open_, weight, far), offset[:-1])
    weight = np.where(open_, weight - np.repeat(least, sizes), 0)
    base, most = int(least.sum()), int(np.maximum.reduceat(weight, offset[:-1]).sum())
    step = max(1, int(np.gcd.reduce(weight)))
    below = 0 if low == -np.inf else max(0, -((base - int(low)) // step))
    above = most // step if high == np.inf else min(most, int(high) - base) // step
    return _Weights(weight // step, below, above)


def _whole(factors: Factors) -> tuple[Ints, Ints, Floats, float, float] | None:
    """The sum in whole numbers."""
    if factors.counted.count:
        c = factors.counted
        return c.site, c.value, np.ones(len(c.site)), float(c.low[0]), float(c.high[0])
    whole = whole_sum(factors.sums, 0)
    return None if whole is None else (ints(factors.sums.site), factors.sums.value, *whole)
