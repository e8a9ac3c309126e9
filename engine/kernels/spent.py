"""Depth-first search over the whole points of linear rows, under a budget of reduced costs.

For any y, with d = cost - A^T y and e_i the edge of row i that the sign of y_i asks for,

    cost @ x = y @ e + sum_j d_j x_j + sum_i |y_i| |A_i x - e_i|

so what a point costs beyond the least of the first two is what it pays for columns off their
cheaper end and for rows off their edge. Columns are decided in a given order; of those that are
open only what they pay at least is counted, and a branch ends where more is spent than there is or
where a row can no longer hold. All is counted in whole numbers.

Source: Vimont, Boussier, Vasquez, "Reduced costs propagation in an efficient implicit enumeration
for the 01 multidimensional knapsack problem", Journal of Combinatorial Optimization 2008 (columns;
rows off their edge are ours).
"""

from typing import NamedTuple

import numpy as np

from engine.kernels.fused import fused

ALL, LEAF, LIMIT = range(3)  # all was searched; a point was found; so much work was done


class Columns(NamedTuple):
    """What is searched."""

    start: np.ndarray  # (n + 1,) int64 first entry of each column, entries by columns
    row: np.ndarray  # (N,) int64
    coef: np.ndarray  # (N,) int64
    low: np.ndarray  # (m,) int64 edges of the rows
    high: np.ndarray
    dual: np.ndarray  # (m,) int64 y
    reduced: np.ndarray  # (n,) int64 d
    lo: np.ndarray  # (n,) int64 the box
    hi: np.ndarray
    order: np.ndarray  # (F,) int64 the open columns, the first to be decided first
    down: np.ndarray  # (n,) bool which are tried from their upper end on


class Stand(NamedTuple):
    """How far the search has come: it is changed by `go`."""

    depth: np.ndarray  # (1,) int64 columns decided; -1 at the end
    x: np.ndarray  # (n,) int64 where they stand
    tried: np.ndarray  # (F + 1,) int64 values tried of each
    spent: np.ndarray  # (F + 1,) int64
    least: np.ndarray  # (m,) int64 what the rows add up to at least
    most: np.ndarray


def begun(columns: Columns) -> Stand:
    """Before the first visit."""
    n, m, free = len(columns.lo), len(columns.low), len(columns.order)
    zero = np.zeros(free + 1, dtype=np.int64)
    depth, rows = np.zeros(1, dtype=np.int64), np.zeros(m, dtype=np.int64)
    stand = Stand(depth, columns.lo.copy(), zero, zero.copy(), rows, rows.copy())
    _begin(columns, stand)
    return stand


def go(columns: Columns, stand: Stand, room: int, work: int) -> tuple[int, int]:
    """Goes on to the next point of the rows that spends at most `room`: it is `stand.x` then.
    work: values tried and entries looked at. -> ALL, LEAF or LIMIT, and the work done"""
    return _go(columns, stand, room, work)


@fused()
def _begin(columns, stand):
    start, row, coef, low, high, dual, _, lo, hi, _, _ = columns
    depth, _, _, spent, least, most = stand
    for j in range(len(lo)):
        for e in range(start[j], start[j + 1]):
            a, b = coef[e] * lo[j], coef[e] * hi[j]
            least[row[e]] += min(a, b)
            most[row[e]] += max(a, b)
    for i in range(len(low)):
        if least[i] > high[i] or most[i] < low[i]:
            depth[0] = -1
        if dual[i] > 0:
            spent[0] += dual[i] * max(0, least[i] - low[i])
        elif dual[i] < 0:
            spent[0] -= dual[i] * max(0, high[i] - most[i])


@fused()
def _go(columns, stand, room, work):
    start, row, coef, low, high, dual, reduced, lo, hi, order, down = columns
    depth, x, tried, spent, least, most = stand
    free, t, done = len(order), depth[0], 0
    if t < 0 or spent[0] > room:
        depth[0] = -1
        return ALL, done
    back = free > 0 and t == free  # a point was found here
    while True:
        if back:  # the last column is open again
            t -= 1
            if t < 0:
                depth[0] = -1
                return ALL, done
            j = order[t]
            for e in range(start[j], start[j + 1]):
                i, a, b, c = row[e], coef[e] * lo[j], coef[e] * hi[j], coef[e] * x[j]
                least[i] -= c - min(a, b)
                most[i] -= c - max(a, b)
            back = False
        if t == free:
            if free == 0 and tried[0] > 0:
                depth[0] = -1
                return ALL, done
            tried[t] += 1
            depth[0] = t
            return LEAF, done
        j = order[t]
        if tried[t] > hi[j] - lo[j]:
            tried[t] = 0
            back = True
            continue
        if done >= work:
            depth[0] = t
            return LIMIT, done
        done += 1
        x[j] = hi[j] - tried[t] if down[j] else lo[j] + tried[t]
        tried[t] += 1
        d = reduced[j]
        paid = spent[t] + d * (x[j] - (lo[j] if d > 0 else hi[j]))
        if paid > room:
            continue
        holds, done = True, done + start[j + 1] - start[j]
        for e in range(start[j], start[j + 1]):
            i, a, b, c = row[e], coef[e] * lo[j], coef[e] * hi[j], coef[e] * x[j]
            if dual[i] > 0:
                before = max(low[i], least[i])
                paid += dual[i] * (max(low[i], least[i] + c - min(a, b)) - before)
            elif dual[i] < 0:
                before = min(high[i], most[i])
                paid += dual[i] * (min(high[i], most[i] + c - max(a, b)) - before)
            least[i] += c - min(a, b)
            most[i] += c - max(a, b)
            if least[i] > high[i] or most[i] < low[i]:
                holds = False
        t += 1
        spent[t] = paid
        back = not holds or paid > room
        if not back and t < free:
            tried[t] = 0
