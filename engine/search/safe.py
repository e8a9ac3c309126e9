"""Bounds that are proved in whole numbers, from duals that another solver says are good.

For any y, with d = cost - A^T y, every x within its box and rows has

    cost @ x = y @ A x + d @ x
             >= sum_i min(y_i low_i, y_i high_i) + sum_j min(d_j lo_j, d_j hi_j)

so whatever y is, the right side is a bound: no number of the other solver is believed, only used.
y is rounded to multiples of 2^-k, and all is counted in integers; a y on an edge that is none is 0.
Where what costs need is more than 62 bits have room for, the integers are Python's.

Source: Neumaier and Shcherbina, "Safe bounds in linear and mixed-integer linear programming",
Mathematical Programming 2004 (the idea, there in directed floats).
"""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from engine.decimals import Floats, Ints
from engine.search.program import OPEN, Program

ROOM = 62  # bits of a whole number
FINEST = 30  # binary digits of duals, at most, and bits that a bound keeps of its size
ENOUGH = 16  # digits with which rounding costs next to nothing
COARSE = (0, 1)  # digits that are tried beside fewer: duals are often whole or half
SMALL = 1 << 16  # entries of a program, up to which whole numbers of any size take milliseconds
HALF = 32  # bits
HUGE = 1e30  # duals of this size are none
MENDED = 5  # times that duals are made more precise, at most

Mend = Callable[[Floats], Floats]  # reduced costs (n,) -> (m,)


class Bound(NamedTuple):
    """A proved bound and the reduced costs that prove it."""

    units: int  # no solution costs less
    digits: int  # of the numbers below: multiples of 2^-digits
    least: int  # the bound before it is rounded up, without the constant
    reduced: Ints  # (n,)
    duals: Ints  # (m,)
    shift: int = 0  # the last three count in units of 2^shift, in which costs are rounded down

    def room(self, upper: int, constant: int) -> int:
        """How much more than the bound a solution may cost that costs less than `upper`, in what
        reduced costs count; none where that is below 0."""
        most = -((constant - upper) >> self.shift) - 1
        return (most << self.digits) - self.least

    def narrowed(self, upper: int, constant: int, lo: Ints, hi: Ints) -> tuple[Ints, Ints]:
        """What is left of the box in which this was proved for solutions that cost less than
        `upper`; the bound itself is less. (n,), (n,) -> (n,), (n,)"""
        room = self.room(upper, constant)
        lo, hi = lo.copy(), hi.copy()
        at = np.flatnonzero(np.abs(self.reduced) * (hi - lo) > room)
        if not len(at):
            return lo, hi
        step = room // np.abs(self.reduced[at])
        up = self.reduced[at] > 0
        hi[at[up]] = (lo[at] + step)[up]
        lo[at[~up]] = (hi[at] - step)[~up]
        return lo, hi

    @property
    def value(self) -> float:
        """About the bound before it is rounded up, without the constant."""
        return float(self.least << self.shift) / (1 << self.digits)


def safe_bound(program: Program, y: Floats, lo: Ints, hi: Ints) -> Bound:
    """The best of a few roundings of duals y (m,) over a box lo, hi (n,)."""
    if program.long:
        floored, shift = program.coarse
        own = safe_bound(floored, np.ldexp(y, -shift), lo, hi)
        return own._replace(units=program.constant + (own.units << shift), shift=shift)
    rows = program.rows
    said = (
        (program.sizes > 0) | (rows.low > 0) | (rows.high < 0)
    )  # a row of nothing may say nothing
    y = np.where(said & (np.abs(y) < HUGE), y, 0.0)
    y = np.where((y > 0) & (rows.low == -OPEN), 0.0, y)
    y = np.where((y < 0) & (rows.high == OPEN), 0.0, y)
    edge = np.where(y > 0, rows.low, np.where(y < 0, rows.high, 0))
    finest, whole, together = _digits(program, y, edge)
    best: Bound | None = None
    coarse = COARSE if finest < ENOUGH else ()
    for digits in sorted({finest, *(k for k in coarse if k < finest)}, reverse=True):
        if digits < 0:
            y, digits = y * 0.0, 0  # too large for any: the box alone
        own = _rounded(program, y, edge, lo, hi, digits, whole, together)
        if best is None or own.units > best.units:
            best = own
    assert best is not None
    return best


def _digits(program: Program, y: Floats, edge: Ints) -> tuple[int, Any, bool]:
    """How finely duals are rounded, and the whole numbers that hold it all: of 64 bits where each
    number for itself has room with as many digits as a bound needs, else Python's. Whether all of
    them added up have room in these, too."""
    paid = np.abs(y * edge)
    moved = float((np.abs(y) * program.sizes).sum())
    slack = float(np.abs(edge).sum()) + float(program.sizes.sum())  # of rounding
    own = program.dearest
    total = float(paid.sum())
    room = ROOM - _bits(total + moved + slack + own)
    needed = max(0, _bits(slack) - max(0, _bits(total + own) - FINEST))
    together = room >= needed
    if not together:
        each = (program.moved(np.abs(y) + 1.0) + np.abs(program.cost)) * program.top
        most = (float(sizes.max(initial=0.0)) for sizes in (each, paid, np.abs(edge)))
        room = ROOM - _bits(max(most))
    if room < needed and len(program.rows.col) <= SMALL:
        return needed, object, True
    return min(max(FINEST, needed), room), np.int64, together


def _bits(size: float) -> int:
    return max(1, math.ceil(math.log2(size + 2.0))) + 1


def exact_bound(program: Program, y: Floats, lo: Ints, hi: Ints, upper: int, mended: Mend) -> Bound:
    """The bound by the duals of a basis, as precise as it takes to reach `upper`, or as far as that
    goes.

    mended: by how much duals have to grow for the reduced costs of the basis to be 0, about. Each
    time that tells what the last duals lacked, and all is added up in whole numbers; where these
    lack less than a unit in all, the bound of a basis is that of its point.

    Source: Gleixner, Steffy, Wolter, "Iterative refinement for linear programming", INFORMS Journal
    on Computing 2016.
    """
    rows = program.rows
    digits = _bits(
        float(np.abs(np.where(rows.low == -OPEN, 0, rows.low)).sum()) + float(program.sizes.sum())
    )
    duals = _wholes(np.where(np.abs(y) < HUGE, y, 0.0), digits)
    best: Bound | None = None
    for _ in range(MENDED):
        duals[(duals > 0) & (rows.low == -OPEN)] = 0
        duals[(duals < 0) & (rows.high == OPEN)] = 0
        edge = np.where(duals > 0, rows.low, np.where(duals < 0, rows.high, 0)).astype(object)
        own = _told(program, duals, edge, lo, hi, digits)
        if best is not None and own.units <= best.units:
            break
        best = own
        if own.units >= upper:
            break
        lacks = (own.reduced / (1 << digits)).astype(np.float64)
        duals = duals + _wholes(mended(lacks), digits)
    assert best is not None
    return best


def _wholes(y: Floats, digits: int) -> Ints:
    """Multiples of 2^-digits, as whole numbers of Python."""
    return np.array([*map(int, np.rint(np.ldexp(y, digits)).tolist())], dtype=object)


def _rounded(
    program: Program,
    y: Floats,
    edge: Ints,
    lo: Ints,
    hi: Ints,
    digits: int,
    whole: Any,
    together: bool,
) -> Bound:
    """The bound by duals of so many digits. whole: the type of the numbers; together: it holds
    their sums"""
    if whole is object:
        return _told(program, _wholes(y, digits), edge, lo, hi, digits)
    duals = np.rint(np.ldexp(y, digits)).astype(whole)
    return _told(program, duals, edge, lo, hi, digits, together)


def _told(
    program: Program,
    duals: Ints,
    edge: Ints,
    lo: Ints,
    hi: Ints,
    digits: int,
    together: bool = False,
) -> Bound:
    """The bound by duals that are multiples of 2^-digits."""
    reduced = (program.cost.astype(duals.dtype) << digits) - program.weighed(duals)
    box = np.where(reduced > 0, reduced * lo, reduced * hi)
    paid = duals * np.where(duals != 0, edge, 0)
    least = int(paid.sum()) + int(box.sum()) if together else _sum(paid) + _sum(box)
    units = program.constant - ((-least) >> digits)
    return Bound(units, digits, least, reduced, duals)


def _sum(values: Ints) -> int:
    """The sum of numbers of 64 bits, however large it is."""
    low = values & ((1 << HALF) - 1)
    return (int((values >> HALF).sum()) << HALF) + int(low.sum())


def refuted(program: Program, ray: Floats, lo: Ints, hi: Ints) -> bool:
    """Whether a direction y proves that no x within the box meets all rows: the same bound with
    no costs is above 0."""
    free = replace(program, cost=np.zeros(program.columns, np.int64), constant=0)
    kept = ("turned", "sizes", "top")  # of the rows and columns alone
    vars(free).update({k: v for k, v in vars(program).items() if k in kept})
    largest = float(np.abs(ray[np.isfinite(ray)]).max(initial=0.0))
    if largest == 0:
        return False
    ray = ray / largest
    return safe_bound(free, ray, lo, hi).least > 0 or safe_bound(free, -ray, lo, hi).least > 0
