"""Cuts with multipliers one half: rows that a fractional point breaks and no whole one does.

Rows a_i x <= b_i whose sum has even coefficients and an odd right side say, halved and rounded
down, (sum a_i / 2) x <= (sum b_i - 1) / 2. The point breaks that where the rows' slacks make up
less than 1. Of each row only odd coefficients of columns between 0 and 1 count, as 0 <= x_j and
x_j <= 1 are rows too; where there are at most two of those, rows are edges of a graph, and the sums
that are wanted its odd cycles: cycles of exclusions, blossoms of a matching.

Source: Caprara and Fischetti, "{0, 1/2}-Chvatal-Gomory cuts", Mathematical Programming 1996.
"""

from typing import NamedTuple

import numpy as np

from engine.decimals import Floats, Ints
from engine.kernels.odd_cycles import odd_cycles
from engine.search.program import OPEN, Rows

BROKEN = 1e-3  # by so much, relative to its length, at least
MOST = 50  # rows told at once
BETWEEN = 1e-6  # so far from whole a value is fractional
STEP = 1e-4  # what an edge costs beside its slack: of cycles alike the shorter
WORK = 1 << 19  # edges that the search for cycles looks at
CELLS = 1 << 20  # coefficients of the sums that are looked at
LARGEST = 1 << 40  # coefficients and edges that are summed without a second thought


class _Edges(NamedTuple):
    """The rows that are edges, and the bounds of columns."""

    a: Ints  # (m,) column, or the node behind all columns
    b: Ints
    odd: Ints  # (m,) parity of the right side
    weight: Floats  # (m,) slack
    row: Ints  # (m,) the row, -1: a bound of a column
    upper: np.ndarray  # (m,) bool, by its upper edge


def halves(rows: Rows, x: Floats) -> Rows | None:
    """The rows of this kind that x breaks, the most broken first; None where none is found."""
    if not rows.count or not len(rows.coef) or int(np.abs(rows.coef).max()) > LARGEST:
        return None
    fractional = (x > BETWEEN) & (x < 1 - BETWEEN)
    edges = _edges(rows, x, fractional)
    own = np.flatnonzero(fractional)
    node = np.full(len(x) + 1, len(own))
    node[own] = np.arange(len(own))
    a, b = node[edges.a], node[edges.b]
    begin, end = np.concatenate([a, b]), np.concatenate([b, a])
    order = np.argsort(begin, kind="stable")
    start = np.searchsorted(begin[order], np.arange(len(own) + 2))
    twice = np.concatenate([np.arange(len(a))] * 2)[order]
    ends, walk = odd_cycles(
        start.astype(np.int64),
        end[order].astype(np.int64),
        edges.odd[twice],
        edges.weight[twice] + STEP,
        1.0,
        WORK,
    )
    sums = {
        frozenset(_left(edges.row[one], edges.upper[one]))
        for one in np.split(twice[walk], ends[1:-1])
        if len(one)
    }
    sums.discard(frozenset())
    return _halved(rows, x, sorted(map(sorted, sums))[: max(1, CELLS // len(x))]) if sums else None


def _left(row: Ints, upper: np.ndarray) -> set[int]:
    """The rows of a walk that count an odd number of times, each as 2 row + by its upper edge."""
    left: set[int] = set()
    for one in (2 * row + upper)[row >= 0].tolist():
        left ^= {one}
    return left


def _edges(rows: Rows, x: Floats, fractional: np.ndarray) -> _Edges:
    behind, parity = len(x), rows.coef & 1
    counts = (parity != 0) & fractional[rows.col]
    flips = np.zeros(rows.count, dtype=np.int64)
    np.add.at(flips, rows.owner, parity * (x[rows.col] >= 1 - BETWEEN))
    number = np.zeros(rows.count, dtype=np.int64)
    np.add.at(number, rows.owner, counts.astype(np.int64))
    few = np.flatnonzero((number == 1) | (number == 2))
    ends = np.full((rows.count, 2), behind)
    at = np.flatnonzero(counts & ((number == 1) | (number == 2))[rows.owner])
    owner = rows.owner[at]
    second = np.concatenate([[False], owner[1:] == owner[:-1]]) if len(at) else owner.astype(bool)
    ends[owner, second.astype(np.int64)] = rows.col[at]
    paid = np.zeros(rows.count)
    np.add.at(paid, rows.owner, rows.coef * x[rows.col])
    # x_j that is not between is moved to 0 or 1 at no price
    parts = []
    for upper, edge in ((True, rows.high), (False, rows.low)):
        own = few[np.abs(edge[few]) < LARGEST]
        slack = np.maximum(0.0, (edge[own] - paid[own]) if upper else (paid[own] - edge[own]))
        own, slack = own[slack < 1], slack[slack < 1]
        odd = (edge[own] + flips[own]) & 1
        parts.append((ends[own, 0], ends[own, 1], odd, slack, own, np.full(len(own), upper)))
    free = np.flatnonzero(fractional)
    for upper in (False, True):  # -x_j <= 0, x_j <= 1
        slack, same = (1 - x[free] if upper else x[free]), np.full(len(free), int(upper))
        away = np.full(len(free), behind)
        parts.append((free, away, same, slack, same * 0 - 1, same.astype(bool)))
    return _Edges(*(np.concatenate(one) for one in zip(*parts, strict=True)))


def _halved(rows: Rows, x: Floats, sums: list[list[int]]) -> Rows | None:
    """Sums of rows, made even by bounds of columns, halved and rounded down, as far as the point
    breaks them: the most broken first, relative to their length."""
    every = np.array([one for own in sums for one in own], dtype=np.int64)
    owner = np.repeat(np.arange(len(sums)), [len(own) for own in sums])
    row, upper = every >> 1, (every & 1).astype(bool)
    sign, edge = np.where(upper, 1, -1), np.where(upper, rows.high[row], -rows.low[row])
    total, high = np.zeros((len(sums), len(x)), np.int64), np.zeros(len(sums), np.int64)
    np.add.at(high, owner, edge)
    length = np.diff(rows.ptr)[row]
    entry = np.repeat(rows.ptr[row] - np.cumsum(length) + length, length) + np.arange(length.sum())
    here = np.repeat(owner, length), rows.col[entry]
    np.add.at(total, here, np.repeat(sign, length) * rows.coef[entry])
    odd = (total & 1) != 0
    up = odd & (x >= 0.5)
    total, high = (total + up - (odd & ~up)) >> 1, (high + up.sum(1)) >> 1
    size = np.sqrt((total.astype(np.float64) ** 2).sum(1))
    broken = (total * x).sum(1) - high
    told = np.flatnonzero((broken > BROKEN * np.maximum(1.0, size)) & (size > 0))
    if not len(told):
        return None
    told = told[np.argsort(-broken[told] / size[told], kind="stable")][:MOST]
    at, col = np.nonzero(total[told])
    ptr = np.searchsorted(at, np.arange(len(told) + 1)).astype(np.int64)
    return Rows(ptr, col, total[told][at, col], np.full(len(told), -OPEN), high[told])
