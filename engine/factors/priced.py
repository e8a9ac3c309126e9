"""Clauses at a price: what is paid for those that fail, looked up without asking their terms.

A switch is a hidden site of two values that costs something at 1, and clauses hold unless it is 0:
it is 1 just where one of its clauses fails.
"""

from dataclasses import dataclass

import numpy as np

from engine.decimals import Floats, Ints
from engine.factors.factors import Factors
from engine.factors.families import Table

CHUNK = 4_000_000  # literals looked at in one go


@dataclass(frozen=True, eq=False)
class Switches:
    """The switches of a structure, and their clauses in the order of these."""

    switch: Ints  # (S,) their sites
    term: Ints  # (S,) the summand that pays
    price: Floats  # (S,) as it is written
    computed: np.ndarray  # (S,) bool: the price is a float, no decimal
    first: Ints  # (S,) of its clauses
    start: Ints  # (m,) first literal of each clause
    site: Ints  # (L,) visible
    value: Ints
    sign: np.ndarray

    @property
    def count(self) -> int:
        return len(self.switch)

    def of_terms(self, terms: Ints) -> "Switches | None":
        """Those of some summands; None where there is none."""
        if np.isin(self.term, terms).all():
            return self
        kept = np.flatnonzero(np.isin(self.term, terms))
        if not len(kept):
            return None
        ends = np.append(self.first, len(self.start)), np.append(self.start, len(self.site))
        clause = np.concatenate([np.arange(ends[0][k], ends[0][k + 1]) for k in kept])
        entry = np.concatenate([np.arange(ends[1][k], ends[1][k + 1]) for k in clause])
        clauses, lengths = np.diff(ends[0])[kept], np.diff(ends[1])[clause]
        return Switches(
            self.switch[kept],
            self.term[kept],
            self.price[kept],
            self.computed[kept],
            np.cumsum(clauses) - clauses,
            np.cumsum(lengths) - lengths,
            self.site[entry],
            self.value[entry],
            self.sign[entry],
        )

    def fails(self, places: Ints) -> np.ndarray:
        """Which switches are 1. (B, n) -> (B, S) bool"""
        step = max(1, CHUNK // max(1, len(self.site)))
        parts = []
        for k in range(0, len(places), step):
            true = (places[k : k + step, self.site] == self.value) == self.sign
            broken = ~np.logical_or.reduceat(true, self.start, axis=1)
            parts.append(np.logical_or.reduceat(broken, self.first, axis=1))
        return np.concatenate([np.zeros((0, self.count), dtype=bool), *parts])


def switches_of(factors: Factors) -> Switches | None:
    """The switches of a structure; None where it has none."""
    n, visible, c = len(factors.sizes), factors.visible, factors.clauses
    if n == visible or not c.count:
        return None
    price, term, computed, often = np.zeros(n), np.full(n, -1), np.zeros(n, bool), np.zeros(n, int)
    fits = factors.sizes == 2
    fits[:visible] = False
    for table in factors.tables:
        own = table.scopes if table.when is None else np.append(table.scopes, table.when[:, :, 0])
        np.add.at(often, own.reshape(-1), 1)
        told = _prices(table)
        if told is None:
            fits[own.reshape(-1)] = False
            continue
        site = table.scopes[:, 0]
        price[site], term[site], computed[site] = told, table.term, table.computed
    for family in (factors.counted, factors.sums, factors.different):
        fits[family.site] = False
    hidden, owner = c.site >= visible, c.owner()
    switch = hidden & ((c.value == 1) == c.sign)  # true where it is 1
    fits[c.site[hidden & ~switch]] = False
    number = np.bincount(owner[hidden], minlength=c.count)
    lone = (number == 1) & (c.lengths() > 1)
    fits[c.site[hidden & ~lone[owner]]] = False
    fits &= (often == 1) & (price > 0)
    at = np.full(c.count, -1)
    at[owner[switch]] = c.site[switch]
    mine = (at >= 0) & fits[at]
    if not mine.any():
        return None
    order = np.flatnonzero(mine)[np.argsort(at[mine], kind="stable")]
    sites, first = np.unique(at[order], return_index=True)
    entry = np.concatenate([np.arange(c.start[k], c.start[k + 1]) for k in order.tolist()])
    entry = entry[c.site[entry] < visible]
    lengths = c.lengths()[order] - 1
    return Switches(
        sites,
        term[sites],
        price[sites],
        computed[sites],
        first,
        np.cumsum(lengths) - lengths,
        c.site[entry],
        c.value[entry],
        c.sign[entry],
    )


def _prices(table: Table) -> Floats | None:
    """What each scope pays at 1, where it is a price of one site of two values; None: it is not."""
    if table.arity != 1 or table.by_row or table.varies or table.when is not None or table.default:
        return None
    if table.products is not None:
        return None
    listed = table.tuples[:, 0]
    if len(listed) > 2 or sorted(set(listed.tolist()) | {0, 1}) != [0, 1]:
        return None
    costs = table.costs if table.apart else np.tile(table.costs, (table.count, 1))
    at = np.zeros((table.count, 2))
    at[:, listed] = costs
    fine = (
        (at[:, 0] == 0).all() and np.isfinite(at).all() and len(set(listed.tolist())) == len(listed)
    )
    return at[:, 1] if fine else None
