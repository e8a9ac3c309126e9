"""Branches of a structure of sites and pairs, each with messages and prices of its own: bounds
beyond what the local polytope leaves open.

Where rules count, the best bound by messages is that of a mixture of states: large groups of sites
that want one value together, shared out by the prices of the rules. A site that many others of such
a group hang on gets a value in one branch, and loses it in the other; the bound is the least of all
branches. Each begins with the messages and prices of the branch that it came from.

Source: Land and Doig, "An automatic method of solving discrete programming problems", Econometrica
28, 1960; with bounds as in `engine.search.messages`.
"""

import math
from typing import NamedTuple

import numpy as np

from engine.decimals import Floats, Ints
from engine.search.messages import NEVER, Coupled, Passing

LOOK = 8  # passes from one look at a branch to the next
SLOW = 0.02  # of what is left to the best state: if a branch rose by less since, it is split
STEP = 0.5  # of prices where a branch begins, as a share of the gap
BYTES = 1 << 28  # of the messages of all branches


class Branch(NamedTuple):
    """One branch, and where it stood when it was last looked at."""

    passing: Passing
    bound: int
    passes: int

    def slow(self, upper: int) -> bool:
        """It was looked at long ago, and rose by little since."""
        now = self.passing
        return now.bound - self.bound < SLOW * (upper - now.bound)


class Branched(NamedTuple):
    """The branches of one row that may hold a better state."""

    open: tuple[Branch, ...]
    cut: int  # units: what is not below it was left out; NEVER: nothing was
    stuck: bool  # nothing can be split any more

    @staticmethod
    def begun(coupled: Coupled) -> "Branched":
        return Branched((Branch(Passing.begun(coupled), -NEVER, 0),), NEVER, False)

    @property
    def bound(self) -> int:
        """In units of the scale; NEVER: nothing is possible, -NEVER: nothing is known."""
        return min([self.cut, *(one.passing.bound for one in self.open)])

    def advanced(self, count: int, upper: int) -> tuple["Branched", Ints | None]:
        """So many passes of the branch of least bound, or a split of it; only states below `upper`
        are looked for. -> and the last state read off"""
        if not self.open or self.stuck:
            return self, None
        at = min(range(len(self.open)), key=lambda k: self.open[k].passing.bound)
        others, one = self.open[:at] + self.open[at + 1 :], self.open[at]
        now = one.passing
        if now.passes - one.passes >= LOOK:
            if one.slow(upper):
                made = split(now, upper)
                if made is None or now.message.nbytes * (len(others) + len(made)) > BYTES:
                    return self._replace(stuck=True), None
                return Branched((*others, *made), min(self.cut, upper), False), None
            one = Branch(now, now.bound, now.passes)
        now, x = now.passed(count, float(upper) if upper < NEVER else math.inf)
        if now.refuted:
            return self._replace(open=others), None
        if now.bound >= upper:
            return Branched(others, min(self.cut, upper), False), x
        return self._replace(open=(*others[:at], one._replace(passing=now), *others[at:])), x


def split(one: Passing, upper: int) -> tuple[Branch, ...] | None:
    """What is left of a branch below `upper`: with a value of some site, and without it. None: no
    site has two values left."""
    c = one.coupled
    told = c.bounds(one.message, one.price, one.possible)
    if told is None:
        return ()
    possible = (one.possible > 0) & (told < upper)
    if not possible.any(1).all():
        return ()
    told = np.where(possible, told, NEVER)
    site = _site(c, told)
    if site is None:
        return None
    value = int(told[site].argmin())
    out = []
    for kept in (True, False):
        own = possible.copy()
        own[site] &= (np.arange(len(told[site])) == value) == kept
        now = one._replace(possible=own.astype(np.uint8), idle=0, step=STEP)
        out.append(Branch(now, now.bound, now.passes))
    return tuple(out)


def _site(c: Coupled, told: Ints) -> int | None:
    """The site that most hangs on, by what its pairs may cost of those that are undecided."""
    two = np.partition(told, 1, axis=1)[:, :2].astype(np.float64) if told.shape[1] > 1 else None
    if two is None:
        return None
    ahead: Floats = np.where(two[:, 1] >= NEVER, np.inf, (two[:, 1] - two[:, 0]) * c.fine)
    if not np.isfinite(ahead).any():
        return None
    reach = c.spread[c.table]
    weigh = np.zeros(len(told))
    for side in (0, 1):
        other = ahead[c.ends[:, 1 - side]]
        np.add.at(weigh, c.ends[:, side], np.maximum(0.0, reach - other))
    weigh = np.where(np.isfinite(ahead), weigh - ahead, -np.inf)
    return int(weigh.argmax())
