"""Bounds from cores: sets of costs that cannot all be avoided, found by clause learning.

Every cost is a weight on a literal. The search assumes that none of the heaviest is paid. A core, a
set of them that cannot all be avoided, raises the bound by its least weight w: each of its literals
weighs w less from now on, and paying for a second of them, a third, ... weighs w too, said by new
literals that count. A model of all that is left costs what the bound says.

Flips of single variables tell a first solution, where all is clauses; what weighs as much as is
left between the bounds is then never paid. There a second search beside, without assumptions, for
what costs less than the best solution, gets as much of the time: it is quick where costs are few,
as random clauses have it, and lost where many are paid, as by a cut of a graph. Where there are
groups or sums, complete search does the same (knapsacks of five weights took a tenth longer).

Source: Andres, Kaufmann, Matheis, Schaub, "Unsatisfiability-based optimization in clasp", ICLP 2012
and Morgado, Dodaro, Marques-Silva, "Core-guided MaxSAT with soft cardinality constraints", CP 2014
(OLL); Ansotegui, Bonet, Gabas, Levy, "Improving SAT-based weighted MaxSAT solvers", CP 2012 (strata
by weight, hardening); Ignatiev, Morgado, Marques-Silva, "RC2", JSAT 2019.
"""

from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import NamedTuple

import numpy as np

from engine.decimals import Ints
from engine.kernels import clauses as learning
from engine.search.flips import flipped
from engine.search.rowwise import RowSearch, cheap_phase
from engine.search.totalizer import Made, Totalizer

ROOM = 1  # new variables there is room for at first, for each one of the formula
SHRUNK = 60  # literals of a core up to which single ones are tried to be left out
WHOLE = 3  # times that a core is first searched as it is, which may leave some of it out
TRIED = 100  # conflicts of each such try
NARROW = 4  # part of what an advance looks at, that each such try does
SPENT = 4  # times what an advance may spend, after which no more are tried
LOOKS = 10_000_000  # what an advance looks at, if nobody says else
DIVERSE = 1.25  # weights by literal, from which on a stratum is wide enough


class Shrinking(NamedTuple):
    """A core, before it is taken apart: what it does not need is left out, as far as a few tries
    tell."""

    core: list[int]
    wholes: int  # tries as it is that are left
    singles: list[int] | None  # literals that may be left out, the next one last; None: not begun
    conflicts: int  # of all so far, after which no more are tried
    seen: int


@dataclass
class Cores(RowSearch):
    """The search of one formula."""

    given: learning.Formula
    formula: learning.Formula  # the same with room for new variables
    state: learning.State
    weights: dict[int, int]  # of each literal, paid where it is true
    counts: dict[int, tuple[int, int]]  # an output: which count, and its place there
    totals: list[Totalizer]
    made: int  # variables in use
    lower: int  # proved, in units of the formula
    upper: int
    conflicts: int  # of one advance
    looks: int  # of one advance, about
    stratum: int  # weights from this on are assumed away
    best: np.ndarray | None = None  # the model that costs `upper`
    added: list[list[int]] = field(default_factory=list)  # clauses beyond the formula
    ended: bool = False
    beside: learning.State | None = None  # the search for what costs less than `upper`; none yet
    shrinking: Shrinking | None = None  # the last core
    met: int = 0  # conflicts
    seen: int = 0  # what was looked at
    spread: int = 0  # literals propagated

    @staticmethod
    def of(formula: learning.Formula, upper: int, conflicts: int, looks: int = LOOKS) -> "Cores":
        weights, constant = _weights(formula)
        room = max(64, ROOM * formula.variables)
        own = formula._replace(variables=formula.variables + room)
        stratum = _next_stratum(weights, 1 << 62)
        state = learning.load(own)
        made = formula.variables
        spent = (conflicts, looks)
        return Cores(formula, own, state, weights, {}, [], made, constant, upper, *spent, stratum)

    def copy(self) -> "Cores":
        return replace(
            self,
            state=learning.copy(self.state),
            beside=None if self.beside is None else learning.copy(self.beside),
            weights=dict(self.weights),
            counts=dict(self.counts),
            totals=[one.copy() for one in self.totals],
            added=list(self.added),
        )

    @property
    def bound(self) -> int:
        return min(self.lower, self.upper)

    @property
    def done(self) -> bool:
        return self.ended

    @property
    def model(self) -> np.ndarray | None:
        return None if self.best is None else self.best[: self.given.variables]

    def told(self, upper: int, literals: np.ndarray) -> None:
        del literals
        if upper < self.upper:
            self.upper, self.best = upper, None

    def advance(self) -> None:
        if len(self.given.group_lit) or len(self.given.sum_lit):
            self._cores()
            return
        if self.beside is None:
            self.beside = self._begun()
        before = self.spread
        self._cores()
        self._cheaper(self.spread - before)

    def _begun(self) -> learning.State:
        """The search beside, and a first solution, which it tries first."""
        state = learning.load(self.given)
        model = flipped(self.given, self.weights, self.lower, self.upper)
        learning.set_phase(state, cheap_phase(self.given) if model is None else model)
        if model is not None:
            self.upper, self.best = learning.objective(self.given, model), model
            self._harden()
        return state

    def _cheaper(self, spread: int) -> None:
        """The search beside, for about so many propagations, and no more looks than an advance."""
        assert self.beside is not None
        end = learning.propagations(self.beside) + spread
        far = learning.looks(self.beside) + self.looks
        while not self.ended and learning.propagations(self.beside) < end:
            left = far - learning.looks(self.beside)
            if left <= 0:
                return
            status, self.beside = learning.search(self.beside, (), self.conflicts, self.upper, left)
            if status == learning.SATISFIED:
                self.best = learning.model(self.beside)
                self.upper = learning.objective(self.given, self.best)
                self._harden()
            elif status == learning.REFUTED:
                self.ended, self.lower = True, self.upper

    def _cores(self) -> None:
        """Cores, until so many conflicts are met, or so much was looked at."""
        end, far = self.met + self.conflicts, self.seen + self.looks
        while not self.ended:
            if self.lower >= self.upper:
                self.ended = True
                return
            if self.met >= end or self.seen >= far:
                return
            if self.shrinking is not None:
                self._shrink(self.shrinking)
                continue
            assumed = [x ^ 1 for x, w in self.weights.items() if w >= self.stratum]
            status = self._search(assumed, end - self.met, far - self.seen)
            if status == learning.LIMIT:
                return
            if status == learning.SATISFIED:
                self._model()
            else:
                ends = (self.met + SPENT * self.conflicts, self.seen + SPENT * self.looks)
                core = learning.core(self.state).tolist()
                self.shrinking = Shrinking(core, WHOLE, None, *ends)

    def _search(self, assumed: list[int], conflicts: int, looks: int) -> int:
        before = self._counts()
        status, self.state = learning.search(self.state, assumed, conflicts, looks=looks)
        met, seen, spread = (self._counts() - before).tolist()
        self.met, self.seen, self.spread = self.met + met, self.seen + seen, self.spread + spread
        return status

    def _counts(self) -> Ints:
        """Conflicts, looks and propagations of the search so far. -> (3,)"""
        state = self.state
        every = learning.conflicts(state), learning.looks(state), learning.propagations(state)
        return np.array(every)

    def _model(self) -> None:
        """A solution; the next stratum, where one is left."""
        model = learning.model(self.state)
        cost = learning.objective(self.formula, model)
        if cost < self.upper:
            self.upper, self.best = cost, model
        if self.lower >= self.upper:
            self.ended = True
            return
        self.stratum = _next_stratum(self.weights, self.stratum)
        self._harden()

    def _harden(self) -> None:
        """What weighs as much as is left between the bounds is not paid."""
        room = self.upper - self.lower
        heavy = [x for x, w in self.weights.items() if w >= room]
        for literal in heavy:
            del self.weights[literal]
            self._add([[literal ^ 1]])

    def _core(self, core: list[int]) -> None:
        """Takes a core apart."""
        if not core:
            self.ended, self.lower = True, self.upper
            return
        paid = [x ^ 1 for x in core]  # literals of which one is true
        weight = min(self.weights[x] for x in paid)
        self.lower += weight
        for literal in paid:
            self.weights[literal] -= weight
            if not self.weights[literal]:
                del self.weights[literal]
        made = Made(self.made)
        made.clauses.append(paid)
        for literal in paid:
            if literal in self.counts:
                self._count(*self.counts[literal], weight, made)
        if len(paid) > 1:
            self.totals.append(Totalizer.over(paid))
            self._count(len(self.totals) - 1, 0, weight, made)
        self.made = made.next
        self._add(made.clauses)
        self._harden()

    def _count(self, which: int, place: int, weight: int, made: Made) -> None:
        """The next output of a count weighs so much (more)."""
        total, place = self.totals[which], place + 1
        if place >= total.size:
            return
        total.extend(place + 1, made)
        literal = total.outputs[place]
        self.counts[literal] = (which, place)
        self.weights[literal] = self.weights.get(literal, 0) + weight

    def _shrink(self, now: Shrinking) -> None:
        """One more try to leave something out of the last core; it is taken apart where none is
        left."""
        core = [x for x in now.core if x ^ 1 in self.weights]  # what was hardened since holds
        singles = now.singles
        if singles is None and now.wholes and core:
            smaller, wholes = self._smaller(core), now.wholes - 1
            if smaller is None or len(smaller) >= len(core):
                smaller, wholes = core, 0
            self.shrinking = now._replace(core=smaller, wholes=wholes)
            return
        if singles is None:
            by_weight = sorted(core, key=lambda x: self.weights[x ^ 1])
            singles = by_weight[::-1] if len(core) <= SHRUNK else []
        singles = [x for x in singles if x in core]
        over = self.met >= now.conflicts or self.seen >= now.seen
        if len(core) < 2 or over or not singles:
            self.shrinking = None
            self._core(core)
            return
        without = [x for x in core if x != singles[-1]]
        smaller = self._smaller(without)
        core = core if smaller is None else smaller
        self.shrinking = now._replace(core=core, singles=singles[:-1])

    def _smaller(self, assumed: list[int]) -> list[int] | None:
        """A core of these literals, where one is found soon."""
        status = self._search(assumed, TRIED, self.looks // NARROW)
        return learning.core(self.state).tolist() if status == learning.REFUTED else None

    def _add(self, clauses: list[list[int]]) -> None:
        """More clauses, with more room for variables where they need it."""
        self.added += clauses
        if self.made > self.formula.variables:
            self.formula = self.formula._replace(variables=2 * self.made)
            self.state = learning.load(self.formula)
            clauses = self.added
        if clauses:
            ptr = np.concatenate([[0], np.cumsum([len(c) for c in clauses])])
            self.state = learning.add_clauses(self.state, ptr, np.concatenate(clauses))


def _weights(formula: learning.Formula) -> tuple[dict[int, int], int]:
    """What each literal pays beyond the least of its groups, and what is paid whatever is true."""
    paid: dict[int, int] = {}
    constant = 0
    for a, b in zip(formula.cost_ptr[:-1], formula.cost_ptr[1:], strict=True):
        costs = formula.cost[a:b]
        least = int(costs.min())
        constant += least
        for literal, cost in zip(formula.cost_lit[a:b].tolist(), costs.tolist(), strict=True):
            if cost > least:
                paid[literal] = paid.get(literal, 0) + cost - least
    for literal in [x for x in paid if not x & 1 and x ^ 1 in paid]:
        both = min(paid[literal], paid[literal ^ 1])
        constant += both
        for x in (literal, literal ^ 1):
            paid[x] -= both
            if not paid[x]:
                del paid[x]
    return paid, constant


def _next_stratum(weights: dict[int, int], stratum: int) -> int:
    """The next weight from which on literals are assumed away: the first below `stratum` that
    leaves the weights above it diverse; 1 at last."""
    taken = different = 0
    for weight, same in groupby(sorted(weights.values(), reverse=True)):
        taken, different = taken + sum(1 for _ in same), different + 1
        if weight < stratum and taken / different >= DIVERSE:
            return weight
    return 1
