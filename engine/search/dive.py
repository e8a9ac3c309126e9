"""A dive: what a linear relaxation leans to is taken, some columns at a time, until a whole
solution is left: a column is set to the next whole number above.

Where nothing is left below, the strongest of them alone is taken, then refused; after that the dive
ends. Every point is one of the linear solver's: what it comes to is judged as any other solution.
Source: Berthold, "Primal heuristics for mixed integer programs", 2006 (guided and fractional
diving).
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from engine.decimals import Floats, Ints
from engine.search.program import Program
from engine.search.relaxation import SOLVED, Relaxation

WHOLE = 1e-6  # so near to a whole number a value counts as one
SHARE = 0.2  # of the columns that are not whole, taken at once
SOLVE = 10  # steps of the simplex method that a call takes beside them


@dataclass
class Dive:
    """How far it has come."""

    lo: Ints  # (n,) the box of what is left
    hi: Ints
    x: Floats  # (n,) where the relaxation is least there
    taken: Ints  # columns that are tried now; empty: they held
    refuses: bool = False  # the first of them is tried at the whole number below
    ended: bool = False

    @staticmethod
    def of(lo: Ints, hi: Ints, x: Floats) -> "Dive":
        return Dive(lo.copy(), hi.copy(), x, np.zeros(0, np.int64))

    def copy(self) -> "Dive":
        return replace(self, lo=self.lo.copy(), hi=self.hi.copy())

    def go(self, program: Program, relaxation: Relaxation, upper: int, work: int) -> int:
        """Goes down for so many steps of the simplex method; ends at a whole point, or where
        nothing is left that costs less than `upper`. -> those left"""
        while work > 0 and not self.ended:
            if not len(self.taken):
                self._take()
                if self.ended:
                    return work
            lo, hi = self.lo.copy(), self.hi.copy()
            if self.refuses:
                first = self.taken[0]
                lo[first] = hi[first] = math.floor(self.x[first])
            else:
                lo[self.taken] = hi[self.taken] = np.ceil(self.x[self.taken])
            point = relaxation.solve(lo, hi, max(work, SOLVE))
            work -= point.iterations + SOLVE
            below = float(upper - program.constant)
            if point.state == SOLVED and float(program.cost @ point.x) < below:
                self.lo, self.hi, self.x = lo, hi, point.x
                self.taken, self.refuses = self.taken[:0], False
            else:
                self._turn()
        return work

    def _take(self) -> None:
        """The next columns to take, those nearest to a whole number above; the dive ends where all
        are whole."""
        x = self.x
        loose = np.flatnonzero(np.abs(x - np.rint(x)) > WHOLE)
        if not len(loose):
            self.ended = True
            return
        way = x[loose] - np.floor(x[loose])
        order = np.argsort(-way, kind="stable")[: max(1, int(SHARE * len(loose)))]
        many = loose[order]
        strong = many[way[order] >= 0.5]
        self.taken = strong if len(strong) else many[:1]

    def _turn(self) -> None:
        """What was tried leaves nothing: less of it, its opposite, or the end."""
        if self.refuses:
            self.ended = True
        elif len(self.taken) > 1:
            self.taken = self.taken[:1]
        else:
            self.refuses = True
