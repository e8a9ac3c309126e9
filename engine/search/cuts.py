"""Rows that every whole solution meets and that a fractional point breaks.

A lifted cover: items of a knapsack row sum_j a_j z_j <= b (a > 0, z a column or 1 minus it) that do
not fit together, C of them, cannot all be taken; with mu_h the h largest weights of C in all, any
other item of weight >= mu_h takes the place of h of them:

    sum_{j in C} z_j + sum_{j not in C} max{h : mu_h <= a_j} z_j <= |C| - 1

Source: Balas and Zemel, "Facets of the knapsack polytope from minimal covers", SIAM Journal on
Applied Mathematics 1978.
"""

import numpy as np

from engine.decimals import Floats, Ints
from engine.search.halves import halves
from engine.search.program import OPEN, Program, Rows

BROKEN = 1e-3  # by so much, relative to its length, at least
MOST = 50  # rows told at once


def broken(program: Program, x: Floats) -> Rows | None:
    """Rows that every whole solution meets and x breaks; None where none is found. Only rows over
    columns of 0 and 1 tell some."""
    rows = program.rows
    if program.integers:
        rows = rows.some(np.bincount(rows.owner, program.top[rows.col] > 1, rows.count) == 0)
    found = [cuts for cuts in (covers(rows, x), halves(rows, x)) if cuts is not None]
    return Rows.joined(found) if found else None


def covers(rows: Rows, x: Floats) -> Rows | None:
    """Lifted covers of the rows that x breaks, the most broken first; None where there is none."""
    found: list[tuple[float, Ints, Ints, int]] = []
    for row in _knapsacks(rows):
        col = rows.col[rows.ptr[row] : rows.ptr[row + 1]]
        coef = rows.coef[rows.ptr[row] : rows.ptr[row + 1]]
        at = x[col]
        if ((at > 1e-6) & (at < 1 - 1e-6)).any():
            for sign, edge in ((1, rows.high[row]), (-1, -rows.low[row])):
                if abs(edge) != OPEN:
                    cut = _cover(col, sign * coef, int(edge), at)
                    if cut is not None:
                        found.append(cut)
    if not found:
        return None
    found.sort(key=lambda cut: -cut[0])
    found = found[:MOST]
    lengths = [len(col) for _, col, _, _ in found]
    return Rows(
        np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        np.concatenate([col for _, col, _, _ in found]).astype(np.int64),
        np.concatenate([coef for _, _, coef, _ in found]).astype(np.int64),
        np.full(len(found), -OPEN, dtype=np.int64),
        np.array([high for _, _, _, high in found], dtype=np.int64),
    )


def _knapsacks(rows: Rows) -> Ints:
    """The rows whose coefficients differ in size. -> (k,)"""
    if not rows.count or not len(rows.coef):
        return np.zeros(0, dtype=np.int64)
    size = np.abs(rows.coef)
    most, least = np.zeros(rows.count, np.int64), np.full(rows.count, OPEN)
    np.maximum.at(most, rows.owner, size)
    np.minimum.at(least, rows.owner, size)
    return np.flatnonzero((most > least) & (np.diff(rows.ptr) > 2))


def _cover(col: Ints, coef: Ints, high: int, at: Floats) -> tuple[float, Ints, Ints, int] | None:
    """A lifted cover of coef @ x[col] <= high: how far it is broken, and the row."""
    turned = coef < 0
    a = np.abs(coef)
    b = high + int(a[turned].sum())
    z = np.where(turned, 1 - at, at)
    if b < 0 or int(a.sum()) <= b:
        return None
    order = np.lexsort((-a, (1 - z) / a))
    reach = np.cumsum(a[order])
    members = order[: int(np.searchsorted(reach, b, side="right")) + 1]
    members = _minimal(members, a, z, b)
    weights = np.sort(a[members])[::-1]
    mu = np.concatenate([[0], np.cumsum(weights)])
    lifted = np.searchsorted(mu, a, side="right") - 1
    lifted[members] = 1
    limit = len(members) - 1
    broken = float((lifted * z).sum()) - limit
    if broken <= BROKEN * max(1.0, np.sqrt(float((lifted**2).sum()))):
        return None
    kept = lifted > 0
    out = np.where(turned, -lifted, lifted)[kept]
    return broken, col[kept], out, limit - int(lifted[turned].sum())


def _minimal(members: Ints, a: Ints, z: Floats, b: int) -> Ints:
    """The same without items that it does not need, the least taken first."""
    total = int(a[members].sum())
    kept = []
    for j in members[np.argsort(z[members], kind="stable")].tolist():
        if total - int(a[j]) > b:
            total -= int(a[j])
        else:
            kept.append(j)
    return np.array(kept, dtype=np.int64)
