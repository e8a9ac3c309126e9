"""Large neighbourhoods: most sites keep the values of the best solution, the others are searched
completely, by clause learning or by branch and bound on a linear relaxation.

What pays is done more often: each way to free sites and to search them has a credit. A way frees
more where it has searched all quickly, fewer where it has not come to an end. A clause that was
learned holds everywhere, so that what one neighbourhood taught serves the next; where all sites
are free and nothing is found, the best solution is proved.

Before there is a solution, clause learning looks for one, which tries cheap values first; then the
values that the relaxation leans to.

Source: Shaw, CP 1998; Danna, Rothberg, Le Pape, Mathematical Programming 2005; Berthold, "RENS",
Mathematical Programming Computation 2014 (rounding the relaxation); Hendel, "Adaptive large
neighborhood search for mixed integer programming", 2022 (credits).
"""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
import torch

from engine.decimals import Floats
from engine.kernels import clauses as learning
from engine.random import Stream
from engine.search.branching import Tree
from engine.search.freed import Sites
from engine.search.rowwise import RowSearch, cheap_phase
from engine.search.short import short_search

NEAR, PAID, APART, CHANCE, ROUNDED = range(5)  # ways to free sites
LEARNED, RELAXED = 0, 5  # who searches them: added to the way
WAYS = 10
FIRST = 12  # sites that are freed at first
FOLLOWS = 100  # conflicts, after which what follows of a solution is left open
WHOLE = 0.01  # of a whole number: so near, the relaxation has decided
SHARE = 4  # neighbourhoods of one advance by clause learning
LOOSENED = 0.1  # of what the relaxation has decided, left open after a piece without an end
GROWN, SHRUNK = 1.3, 0.9
KEPT = 0.8  # of a credit, from one use of a way to the next
LEAST = 0.08  # chance of a way that has no credit
LEANS = 8  # advances before the relaxation is solved, where there is no solution before
ROOT = 40  # advances that the root of the relaxation gets


class Spent(NamedTuple):
    """What one advance may spend."""

    conflicts: int
    spread: int  # literals propagated


@dataclass
class Neighbourhoods(RowSearch):
    """The search of one formula."""

    formula: learning.Formula
    sites: Sites
    state: learning.State
    upper: int
    conflicts: int  # of one advance
    spread: int  # literals that one advance propagates, about
    root: Tree | None  # of its relaxation; none where that is too large
    lower: int
    stands: np.ndarray | None = None  # (V,) uint8 the solution whose neighbours are looked at
    found: np.ndarray | None = None  # the model that costs `upper`
    point: Floats | None = None  # where the relaxation is least
    size: Floats = field(default_factory=lambda: np.full(WAYS, float(FIRST)))
    credit: Floats = field(default_factory=lambda: np.ones(WAYS))
    turn: int = 0
    drawn: int = 0
    ended: bool = False
    steers: bool = False  # phases were told
    leant: np.ndarray | None = None  # literals that the relaxation has decided, as far as kept

    bounds = False

    @staticmethod
    def of(
        formula: learning.Formula, sites: Sites, upper: int, spent: Spent, root: Tree | None
    ) -> "Neighbourhoods":
        state = learning.load(formula)
        lower = learning.lower_bound(state)
        return Neighbourhoods(formula, sites, state, upper, *spent, root, lower)

    def copy(self) -> "Neighbourhoods":
        return replace(
            self,
            state=learning.copy(self.state),
            root=None if self.root is None else self.root.copy(),
            size=self.size.copy(),
            credit=self.credit.copy(),
        )

    @property
    def bound(self) -> int:
        return self.upper if self.ended else min(self.lower, self.upper)

    @property
    def done(self) -> bool:
        return self.ended

    @property
    def model(self) -> np.ndarray | None:
        return self.found

    def told(self, upper: int, literals: np.ndarray) -> None:
        if upper < self.upper or self.stands is None:
            self.upper, self.found = min(upper, self.upper), None
            self.stands = self._whole(literals)

    def _whole(self, literals: np.ndarray) -> np.ndarray:
        """The model at which these literals are true; what they leave open is false where it does
        not follow at once."""
        plain = learning.load(self.formula)
        status, plain = learning.search(plain, literals, FOLLOWS)
        if status == learning.SATISFIED:
            return learning.model(plain)
        out = np.zeros(self.formula.variables, dtype=np.uint8)
        out[literals >> 1] = 1 - (literals & 1)
        return out

    def advance(self) -> None:
        self.turn += 1
        if self.lower >= self.upper:
            self.ended = True
            return
        if self._leans():
            return
        if self.stands is None:
            self._first()
            return
        for _ in range(SHARE):
            if self.ended:
                return
            way = self._way()
            if way >= RELAXED:
                self._relaxed(way)
                return
            self._learned(way)

    def _leans(self) -> bool:
        """A piece of the root of the relaxation, at every other advance; whether it was done."""
        root = self.root
        if root is None or self.turn % 2 or (self.point is not None and not root.dives):
            return False
        if self.stands is None and self.turn < LEANS:
            return False
        if self.turn > 2 * ROOT:
            self.root = None
            return False
        root.told(self.upper, _NONE)
        root.relaxation.resume(root.program, root.basis)
        root.spend(root.work)
        root.basis = root.relaxation.basis
        self._taken(root)
        if root.done:
            self.ended = True
        if root.bottom is not None:
            self.point = root.leaning
        if self.point is not None and self.stands is None:
            learning.set_phase(self.state, (self.point >= 0.5).astype(np.uint8))
        return True

    def _taken(self, tree: Tree) -> None:
        """Takes in what a tree found."""
        if tree.model is not None and tree.upper < self.upper:
            self.upper, self.found = tree.upper, tree.model
            self.stands = tree.model

    def _first(self) -> None:
        """A piece of the search for some solution."""
        if not self.steers:
            learning.set_phase(self.state, cheap_phase(self.formula))
            self.steers = True
        if self.point is not None:
            self._rounded()
            return
        self._search(_NONE, self.conflicts, self.spread)

    def _rounded(self) -> None:
        """A piece of the search beside the sites that the relaxation has decided, fewer of them
        each time."""
        assert self.point is not None
        if self.leant is None:
            decided = np.flatnonzero(self.point > 1 - WHOLE)
            own = decided[self.sites.site[decided] >= 0]
            self.leant = (2 * own).astype(np.int32)
        status = self._search(self.leant, self.conflicts, self.spread)
        if status == learning.REFUTED:
            self.leant = self.leant[~np.isin(self.leant, learning.core(self.state))]
        elif status == learning.LIMIT:
            self.leant = self.leant[self._draws(len(self.leant)) > LOOSENED]

    def _search(self, assumed: np.ndarray, conflicts: int, spread: int) -> int:
        """A search under assumptions, for so many conflicts or literals; a solution is taken in."""
        status, self.state = short_search(self.state, assumed, self.upper, conflicts, spread)
        if status == learning.SATISFIED:
            model = learning.model(self.state)
            self.upper, self.found = learning.objective(self.formula, model), model
            self.stands = model
        elif status == learning.REFUTED and not len(learning.core(self.state)):
            self.ended = True
        return status

    def _draws(self, count: int) -> Floats:
        """Chances that were not drawn before. -> (count,)"""
        self.drawn += 1
        if not count:
            return np.zeros(0)
        stream = Stream(0, torch.zeros(1, dtype=torch.int64), self.drawn)
        return stream.uniform(1, count, dtype=torch.float64)[0].numpy()

    def _way(self) -> int:
        """The way to go next, by credit."""
        open_ = np.ones(WAYS, dtype=bool)
        if self.root is None:
            open_[RELAXED:] = False
        if self.point is None:
            open_[[APART, ROUNDED]] = False
            open_[RELAXED:] = False
        elif 2 * self._loose().sum() > self.sites.count:
            open_[[ROUNDED, RELAXED + ROUNDED]] = False
        chance = np.where(open_, LEAST + self.credit, 0.0)
        at = np.cumsum(chance)
        return int(np.searchsorted(at, self._draws(1)[0] * at[-1], side="right"))

    def _freed(self, way: int) -> np.ndarray:
        """The literals that are kept."""
        assert self.stands is not None
        n, kind, sites = self.sites.count, way % RELAXED, self.sites
        size = min(n, int(self.size[way]))
        chance = self._draws(n)
        stands = self.stands
        if kind == ROUNDED:
            assert self.point is not None
            loose = self._loose()
            stands = np.rint(self.point).astype(np.uint8)
            size = max(0, size - FIRST)
            score = chance - loose
        elif kind == NEAR:
            first = int(np.argmax(chance + (sites.paid(stands) > 0)))
            out = np.ones(n, dtype=bool)
            out[sites.near(first, size, chance)] = False
            return self._kept(stands, out)
        elif kind == PAID:
            paid = sites.paid(stands)
            score = -(chance ** (1.0 / (1e-3 + paid / max(1e-9, paid.max(initial=0.0)))))
        elif kind == APART:
            assert self.point is not None
            score = -(sites.apart(stands, self.point) + 0.5 * chance)
        else:
            score = chance
        keeps = np.ones(n, dtype=bool)
        keeps[np.argsort(score)[:size]] = False
        if kind == ROUNDED:
            keeps &= ~loose
        return self._kept(stands, keeps)

    def _loose(self) -> np.ndarray:
        """The sites that the relaxation has not decided. -> (n,) bool"""
        assert self.point is not None
        off = np.abs(self.point - np.rint(self.point)) >= WHOLE
        out = np.zeros(self.sites.count, dtype=bool)
        out[self.sites.site[off & (self.sites.site >= 0)]] = True
        return out

    def _kept(self, stands: np.ndarray, keeps: np.ndarray) -> np.ndarray:
        true = self.sites.true(stands)
        return true[keeps & (true >= 0)].astype(np.int32)

    def _learned(self, way: int) -> None:
        """A neighbourhood by clause learning."""
        kept = self._freed(way)
        assert self.stands is not None
        learning.set_phase(self.state, self.stands)
        began, far = learning.conflicts(self.state), learning.propagations(self.state)
        most, wide = max(4, self.conflicts // SHARE), max(1, self.spread // SHARE)
        before, status = self.upper, learning.SATISFIED
        while status == learning.SATISFIED and not self.ended and self.lower < self.upper:
            left = most - (learning.conflicts(self.state) - began)
            open_ = wide - (learning.propagations(self.state) - far)
            if left <= 0 or open_ <= 0:
                break
            status = self._search(kept, left, open_)
        spent = (learning.conflicts(self.state) - began) / most
        spent = max(spent, (learning.propagations(self.state) - far) / wide)
        self._judged(way, before, status == learning.REFUTED, spent < 0.25)

    def _relaxed(self, way: int) -> None:
        """A neighbourhood by branch and bound on the relaxation."""
        root = self.root
        assert root is not None
        kept = self._freed(way)
        tree = root.within(kept, self.upper)
        tree.relaxation.resume(root.program, root.basis)
        left = tree.spend(root.work)
        before = self.upper
        self._taken(tree)
        if tree.done and not len(kept):
            self.ended = True
        self._judged(way, before, tree.done, left > root.work // 2)

    def _judged(self, way: int, before: int, whole: bool, quick: bool) -> None:
        """What a neighbourhood came to: all of it searched, and quickly."""
        gained = float(self.upper < before)
        self.credit[way] = KEPT * self.credit[way] + (1 - KEPT) * gained
        most = float(self.sites.count)
        if whole and quick:
            self.size[way] = min(most, self.size[way] * GROWN + 1)
        elif not whole and not gained:
            self.size[way] = max(min(4.0, most), self.size[way] * SHRUNK)


_NONE = np.zeros(0, dtype=np.int32)
