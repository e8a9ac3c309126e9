"""A box of a program searched to its end, value by value, under what a bound leaves to spend.

No solution that costs less than the best one spends more than lies between that and a bound, on
reduced costs and on rows off their edge (`engine.kernels.spent`). Where columns are many but this
is little, few points are left, and all of them are visited without the linear solver.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from engine.decimals import Floats, Ints
from engine.kernels.spent import LEAF, Columns, Stand, begun, go
from engine.search.program import Program
from engine.search.safe import Bound

ROOM = 60  # bits of what is spent, and of what rows add up to
# values and entries looked at in a box: in the first, at least and at most in any; and what a point
# takes that is judged
FIRST, LEAST, MOST, POINT = 1 << 16, 1 << 14, 1 << 20, 1 << 12
SHARE, LOW, HIGH = 0.25, 1 / 16, 4.0  # of what the linear solver looks at: at first, and ever
GAINED, FAILED = 2.0, 0.7  # what becomes of it after a box that was searched to its end, or was not


class Credit(NamedTuple):
    """How long boxes are searched for: a share of what the linear solver takes, which grows where
    that pays. What does not end a box is lost."""

    work: float = FIRST  # values and entries that may be looked at in the next box
    share: float = SHARE
    done: int = 0  # looked at since credit was earned last

    def earned(self, looked: int) -> "Credit":
        """After so many entries that the linear solver looked at."""
        return Credit(min(MOST, self.work + self.share * looked), self.share)

    @property
    def enough(self) -> bool:
        """It is worth to try."""
        return self.work >= LEAST

    def after(self, ended: bool, done: int) -> "Credit":
        """After a box in which so many were looked at."""
        if ended:
            return Credit(self.work, min(HIGH, self.share * GAINED), self.done + done)
        return Credit(0.0, max(LOW, self.share * FAILED), self.done + done)


@dataclass
class Exhaustive:
    """The search of one box."""

    columns: Columns
    stand: Stand
    bound: Bound
    constant: int
    coarser: int  # bits by which what is spent is rounded down

    @staticmethod
    def of(program: Program, bound: Bound, lo: Ints, hi: Ints, x: Floats) -> "Exhaustive | None":
        """The search of a box that is not empty, from where a bound was least; None where rows are
        too large."""
        if program.sizes.max(initial=0.0) >= 1 << ROOM:
            return None
        start, row, coef = program.entries
        edges = program.rows.low, program.rows.high
        low, high = (np.clip(edge, -(1 << ROOM), 1 << ROOM) for edge in edges)
        paid, dual = np.where(lo < hi, bound.reduced, 0), bound.duals
        edge = np.abs(np.where(dual > 0, low, np.where(dual < 0, high, 0)))
        most = float(np.abs(paid.astype(np.float64)) @ (hi - lo))
        most += float(np.abs(dual.astype(np.float64)) @ (program.sizes + edge))
        coarser = max(0, math.ceil(math.log2(most + 1)) - ROOM)
        reduced, dual = _coarse(paid, coarser), _coarse(dual, coarser)
        open_ = np.flatnonzero(lo < hi)
        order = open_[np.argsort(-np.abs(reduced[open_]), kind="stable")]
        down = np.where(reduced == 0, 2 * x > lo + hi, reduced < 0)
        columns = Columns(start, row, coef, low, high, dual, reduced, lo, hi, order, down)
        return Exhaustive(columns, begun(columns), bound, program.constant, coarser)

    def go(self, upper: int, work: int) -> tuple[Ints | None, int]:
        """The next point of the rows that may cost less than `upper`, None where so much work finds
        none. -> it, and the work done"""
        room = self.bound.room(upper, self.constant) >> self.coarser
        status, done = go(self.columns, self.stand, max(-1, min(room, 1 << ROOM + 1)), work)
        return (self.stand.x.copy() if status == LEAF else None), done

    @property
    def ended(self) -> bool:
        return int(self.stand.depth[0]) < 0


def _coarse(numbers: Ints, bits: int) -> Ints:
    """Multiples of 2^bits nearest to 0. -> int64"""
    return (np.sign(numbers) * (np.abs(numbers) >> bits)).astype(np.int64)
