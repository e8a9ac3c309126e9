"""A box of a program searched to its end, value by value, under what a bound leaves to spend.

No solution that costs less than the best one spends more than lies between that and a bound, on
reduced costs and on rows off their edge (`engine.kernels.spent`). Where columns are many but this
is little, few points are left, and all of them are visited without the linear solver.
"""

import math
from dataclasses import dataclass

import numpy as np

from engine.decimals import Floats, Ints
from engine.kernels.spent import LEAF, Columns, Stand, begun, go
from engine.search.program import Program
from engine.search.safe import Bound

ROOM = 60  # bits of what is spent, and of what rows add up to


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
        low, high = (np.clip(e, -(1 << ROOM), 1 << ROOM) for e in (program.rows.low, program.rows.high))
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
