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

import numpy as np

from engine.kernels import clauses as learning
from engine.search.flips import flipped
from engine.search.rowwise import RowSearch, cheap_phase
from engine.search.short import short_search
from engine.search.totalizer import Made, Totalizer

ROOM = 1  # new variables there is room for at first, for each one of the formula
SHRUNK = 60  # literals of a core up to which single ones are tried to be left out
TRIED = 100  # conflicts of each such try
SPENT = 4  # times the conflicts of an advance, after which no more are tried
DIVERSE = 1.25  # weights by literal, from which on a stratum is wide enough


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
    stratum: int  # weights from this on are assumed away
    best: np.ndarray | None = None  # the model that costs `upper`
    added: list[list[int]] = field(default_factory=list)  # clauses beyond the formula
    ended: bool = False
    beside: learning.State | None = None  # the search for what costs less than `upper`; none yet

    @staticmethod
    def of(formula: learning.Formula, upper: int, conflicts: int) -> "Cores":
        weights, constant = _weights(formula)
        room = max(64, ROOM * formula.variables)
        own = formula._replace(variables=formula.variables + room)
        stratum = _next_stratum(weights, 1 << 62)
        state = learning.load(own)
        made = formula.variables
        return Cores(
            formula, own, state, weights, {}, [], made, constant, upper, conflicts, stratum
        )

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
        before = learning.propagations(self.state)
        self._cores()
        self._cheaper(max(0, learning.propagations(self.state) - before))

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
        """The search beside, for about so many propagations."""
        assert self.beside is not None
        end = learning.propagations(self.beside) + spread
        while not self.ended and (left := end - learning.propagations(self.beside)) > 0:
            none = np.zeros(0, np.int32)
            status, self.beside = short_search(self.beside, none, self.upper, self.conflicts, left)
            if status == learning.SATISFIED:
                self.best = learning.model(self.beside)
                self.upper = learning.objective(self.given, self.best)
                self._harden()
            elif status == learning.REFUTED:
                self.ended, self.lower = True, self.upper

    def _cores(self) -> None:
        """Cores, until so many conflicts are met."""
        end = learning.conflicts(self.state) + self.conflicts
        while not self.ended:
            if self.lower >= self.upper:
                self.ended = True
                return
            left = end - learning.conflicts(self.state)
            if left <= 0:
                return
            assumed = [x ^ 1 for x, w in self.weights.items() if w >= self.stratum]
            status = self._search(assumed, left)
            if status == learning.LIMIT:
                return
            if status == learning.SATISFIED:
                self._model()
            else:
                self._core(learning.core(self.state).tolist())

    def _search(self, assumed: list[int], conflicts: int) -> int:
        status, self.state = learning.search(self.state, assumed, conflicts)
        return status

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
        core = self._shrunk(core) if core else core
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

    def _shrunk(self, core: list[int]) -> list[int]:
        """The same without what it does not need, as far as a few conflicts tell."""
        end = learning.conflicts(self.state) + SPENT * self.conflicts
        for _ in range(3):
            status = self._search(core, TRIED)
            if status != learning.REFUTED:
                break
            smaller = learning.core(self.state).tolist()
            if len(smaller) >= len(core):
                break
            core = smaller
        if len(core) > SHRUNK:
            return core
        for literal in sorted(core, key=lambda x: self.weights[x ^ 1]):
            if len(core) == 1 or learning.conflicts(self.state) >= end:
                break
            rest = [x for x in core if x != literal]
            if len(rest) < len(core) and self._search(rest, TRIED) == learning.REFUTED:
                core = learning.core(self.state).tolist()
        return core

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
    lighter = sorted({w for w in weights.values() if w < stratum}, reverse=True)
    for weight in lighter:
        mine = [w for w in weights.values() if w >= weight]
        if len(mine) / len(set(mine)) >= DIVERSE:
            return weight
    return 1
