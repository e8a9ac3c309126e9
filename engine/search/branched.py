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

LOOK = 4  # passes from one look at a branch to the next
SLOW = 0.05  # of what is left to the best state: if a branch rose by less since, it is split
STEP = 0.25  # of prices where a branch begins, as a share of the gap
BYTES = 1 << 28  # of the messages of all branches


class Branch(NamedTuple):
    """One branch, and where it stood when it was last looked at."""

    passing: Passing
    bound: int
    passes: int

    def slow(self, upper: int, patience: int) -> bool:
        """It rose by little since, or not at all for long where no state is known."""
        now = self.passing
        if upper >= NEVER:
            return now.idle >= patience
        return now.bound - self.bound < SLOW * (upper - now.bound)


class Branched(NamedTuple):
    """The branches of one row that may hold a better state."""

    open: tuple[Branch, ...]
    cut: int  # units: what is not below it was left out; NEVER: nothing was
    splits: int
    ended: bool  # all is said: nothing is open, or nothing can be split any more

    @staticmethod
    def begun(coupled: Coupled) -> "Branched":
        one = Passing.begun(coupled)
        return Branched(() if one.refuted else (Branch(one, -NEVER, 0),), NEVER, 0, one.refuted)

    @property
    def bound(self) -> int:
        """In units of the scale; NEVER: nothing is possible, -NEVER: nothing is known."""
        return min([self.cut, *(one.passing.bound for one in self.open)])

    def least(self) -> int:
        """The place of the branch of least bound."""
        return min(range(len(self.open)), key=lambda k: self.open[k].passing.bound)

    def advanced(
        self, count: int, upper: int, patience: int, most: int
    ) -> tuple["Branched", Ints | None]:
        """So many passes of the branch of least bound, or a split of it where it is slow; only
        states below `upper` are looked for. patience: idle passes that end it where no rules count,
        or split it where no state is known; most: splits. -> and the last state read off"""
        at = self.least()
        others, one = self.open[:at] + self.open[at + 1 :], self.open[at]
        now = one.passing
        if now.passes - one.passes >= LOOK and now.coupled.rows.count:
            if one.slow(upper, patience):
                return self._split(others, now, upper, most), None
            one = Branch(now, now.bound, now.passes)
        now, x = now.passed(count, float(upper) if upper < NEVER else math.inf)
        if now.refuted:
            return self._left(others), None
        if now.bound >= upper:
            return self._replace(cut=min(self.cut, upper))._left(others), x
        idle = not now.coupled.rows.count and now.idle >= patience
        every = (*self.open[:at], one._replace(passing=now), *self.open[at + 1 :])
        return self._replace(open=every, ended=idle), x

    def _left(self, others: tuple[Branch, ...]) -> "Branched":
        return self._replace(open=others, ended=not others)

    def _split(self, others: tuple[Branch, ...], now: Passing, upper: int, most: int) -> "Branched":
        made = split(now, upper) if self.splits < most else None
        if made is None or now.message.nbytes * (len(others) + len(made)) > BYTES:
            return self._replace(ended=True)
        return self._replace(cut=min(self.cut, upper), splits=self.splits + 1)._left(
            (*others, *made)
        )


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
