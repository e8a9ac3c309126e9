"""Bounds that are proved in whole numbers, from duals that another solver says are good.

For any y, with d = cost - A^T y, every x within its box and rows has

    cost @ x = y @ A x + d @ x
             >= sum_i min(y_i low_i, y_i high_i) + sum_j min(d_j lo_j, d_j hi_j)

so whatever y is, the right side is a bound: no number of the other solver is believed, only used.
y is rounded to multiples of 2^-k, and all is counted in integers; a y on an edge that is none is 0.

Source: Neumaier and Shcherbina, "Safe bounds in linear and mixed-integer linear programming",
Mathematical Programming 2004 (the idea, there in directed floats).
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from engine.decimals import Floats, Ints
from engine.search.program import OPEN, Program

ROOM = 62  # bits of a whole number that sums may take
FINEST = 30  # binary digits of duals, at most
ENOUGH = 16  # of them, with which rounding costs next to nothing
COARSE = (0, 1)  # digits that are tried beside fewer: duals are often whole or half


class Bound(NamedTuple):
    """A proved bound and the reduced costs that prove it."""

    units: int  # no solution costs less
    digits: int  # of the numbers below: multiples of 2^-digits
    least: int  # the bound before it is rounded up, without the constant
    reduced: Ints  # (n,)

    def narrowed(self, upper: int, constant: int, lo: Ints, hi: Ints) -> tuple[Ints, Ints]:
        """What is left of the box in which this was proved for solutions that cost less than
        `upper`; the bound itself is less. (n,), (n,) -> (n,), (n,)"""
        room = ((upper - 1 - constant) << self.digits) - self.least
        lo, hi = lo.copy(), hi.copy()
        at = np.flatnonzero(np.abs(self.reduced) * (hi - lo) > room)
        if not len(at):
            return lo, hi
        step = room // np.abs(self.reduced[at])
        up = self.reduced[at] > 0
        hi[at[up]] = (lo[at] + step)[up]
        lo[at[~up]] = (hi[at] - step)[~up]
        return lo, hi


def safe_bound(program: Program, y: Floats, lo: Ints, hi: Ints) -> Bound:
    """The best of a few roundings of duals y (m,) over a box lo, hi (n,)."""
    rows = program.rows
    y = np.where(np.isfinite(y), y, 0.0)
    y = np.where((y > 0) & (rows.low == -OPEN), 0.0, y)
    y = np.where((y < 0) & (rows.high == OPEN), 0.0, y)
    edge = np.where(y > 0, rows.low, np.where(y < 0, rows.high, 0))
    size = _magnitude(program, y, edge)
    finest = min(FINEST, ROOM - size)
    best: Bound | None = None
    coarse = COARSE if finest < ENOUGH else ()
    for digits in sorted({finest, *(k for k in coarse if k < finest)}, reverse=True):
        if digits < 0:
            y, digits = y * 0.0, 0  # too large for any: the box alone
        own = _rounded(program, y, edge, lo, hi, digits)
        if best is None or own.units > best.units:
            best = own
    assert best is not None
    return best


def _magnitude(program: Program, y: Floats, edge: Ints) -> int:
    """Bits that all sums take at no digits, rounded up."""
    paid = float(np.abs(y * edge).sum())
    moved = float((np.abs(y) * program.sizes).sum())
    slack = float(np.abs(edge).sum()) + float(program.sizes.sum())  # of rounding
    own = float((np.abs(program.cost.astype(np.float64)) * program.top).sum())
    return max(1, int(np.ceil(np.log2(paid + moved + slack + own + 2.0)))) + 1


def _rounded(program: Program, y: Floats, edge: Ints, lo: Ints, hi: Ints, digits: int) -> Bound:
    whole = np.rint(np.ldexp(y, digits)).astype(np.int64)
    reduced = (program.cost << digits) - program.weighed(whole)
    box = np.where(reduced > 0, reduced * lo, reduced * hi)
    least = int((whole * np.where(whole != 0, edge, 0)).sum()) + int(box.sum())
    units = program.constant - ((-least) >> digits)
    return Bound(units, digits, least, reduced)


def refuted(program: Program, ray: Floats, lo: Ints, hi: Ints) -> bool:
    """Whether a direction y proves that no x within the box meets all rows: the same bound with
    no costs is above 0."""
    free = replace(program, cost=np.zeros_like(program.cost), constant=0)
    kept = ("turned", "sizes", "top")  # of the rows and columns alone
    vars(free).update({k: v for k, v in vars(program).items() if k in kept})
    largest = float(np.abs(ray[np.isfinite(ray)]).max(initial=0.0))
    if largest == 0:
        return False
    ray = ray / largest
    return safe_bound(free, ray, lo, hi).least > 0 or safe_bound(free, -ray, lo, hi).least > 0
