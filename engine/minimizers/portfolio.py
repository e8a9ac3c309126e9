"""The default minimizer: picks by the form of the problem, and runs its members side by side."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from engine.compare import proved
from engine.domain import Finite, State
from engine.factors import Factors
from engine.minimizer import WIDE, Minimizer
from engine.minimizers.annealing import Annealing
from engine.minimizers.branch_and_bound import BranchAndBound
from engine.minimizers.descent import Descent
from engine.minimizers.enumeration import Enumeration, enumerable
from engine.minimizers.gibbs import Gibbs
from engine.minimizers.restarts import Restarts
from engine.problem import Problem
from engine.random import Stream
from engine.rows import Report, put_rows, select_rows
from engine.search.prepared import LARGE, selectors

RARE = 16  # steps from one visit of complete search to the next, where an energy is opaque


class PortfolioState(NamedTuple):
    """The states of the members, and how far their work has come."""

    members: tuple[Minimizer, ...]
    states: list[Any]
    every: int  # the first member moves a row at every so many of its steps
    turn: Tensor  # (R,) int64 steps done
    waits: Tensor  # (R,) int64 visits of the first member since the others had nothing left to do


@dataclass(frozen=True)
class Portfolio(Minimizer[PortfolioState]):
    """Rules and small soft problems: complete search, beside annealing where something is soft.
    What is not explicit: enumeration where the open sites of every row have few combinations; real
    variables only: descent; anything else: gradient-informed sampling, beside complete search over
    the explicit part where all variables are finite.

    A step moves every member, but for complete search over solutions that have to be evaluated one
    by one: that moves a row every RARE steps, other rows at other steps, as it gains nothing from
    the company of rows and sampling does.

    Complete search is left out where it refuses the structure, or where so much is weighed that
    its form would be large, unless uniqueness or a proof is asked for; annealing does without it.

    unique: decide uniqueness of rule-only problems, whatever it takes.
    alternatives: further solutions to look for in rule-only problems.
    patience: visits that complete search still gets on a soft problem after the others ended;
    None: it goes on until it has decided. On rules alone it always does.
    endless: the others go on too, until the budget ends.
    """

    unique: bool = False
    alternatives: int = 0
    patience: int | None = 200
    endless: bool = False

    def asked(self, unique: bool, alternatives: int) -> "Portfolio":
        patience = None if unique else self.patience
        return replace(self, unique=unique, alternatives=alternatives, patience=patience)

    def init(self, problem: Problem, x: State, rng: Stream) -> PortfolioState:
        opaque = problem.factored()[1] is not None
        members = self._members(problem, opaque and bool(enumerable(problem).all()))
        states = [m.init(problem, x, rng.fork(k)) for k, m in enumerate(members)]
        zero = torch.zeros(problem.rows, dtype=torch.int64)
        every = RARE if opaque and len(members) > 1 else 1
        return PortfolioState(members, states, every, zero, zero)

    def kin(self, problem: Problem) -> Sequence[Hashable]:
        """The members that search a row."""
        if problem.factored()[1] is None:
            return (self._members(problem, False),) * problem.rows
        few, many = (self._members(problem, one) for one in (True, False))
        return [few if one else many for one in enumerable(problem).tolist()]

    def _members(self, problem: Problem, few: bool) -> tuple[Minimizer, ...]:
        """Who searches rows of few combinations, or others; told once for a structure."""
        key = f"members {self} {few}"
        if key not in problem.memo:
            problem.memo[key] = self._chosen(problem, few)
        return problem.memo[key]

    def _chosen(self, problem: Problem, few: bool) -> tuple[Minimizer, ...]:
        finite = [isinstance(problem.domains[v.name], Finite) for v in problem.open]
        factors, rest = problem.factored()
        complete, annealing, gibbs = self._complete, Annealing(), Gibbs()
        if self.endless:
            annealing, gibbs = Annealing(patience=None), Gibbs(patience=None)
        fits = rest is None and annealing.refuses(problem) is None
        if rest is None:
            if (fits and self._large(factors)) or complete.refuses(problem) is not None:
                return (annealing,) if fits else (gibbs,)
            return (complete, annealing) if fits and _beside(factors) else (complete,)
        if few:
            return (Enumeration(self.alternatives),)
        if not any(finite):
            return (Restarts(Descent(), starts=None) if self.endless else Restarts(Descent()),)
        if self._large(factors) or complete.refuses(problem) is not None:
            return (gibbs,)
        return (complete, gibbs)

    def _large(self, factors: Factors) -> bool:
        """So much is weighed that complete search would hardly begin."""
        return not self.unique and selectors(factors) > LARGE

    @property
    def _complete(self) -> BranchAndBound:
        return BranchAndBound(unique=self.unique, alternatives=self.alternatives)

    def prepare(self, problem: Problem) -> Iterator[None]:
        key = f"prepared {self}"
        if key not in problem.memo:
            yield from self._prepared(problem)
            problem.memo[key] = True

    def _prepared(self, problem: Problem) -> Iterator[None]:
        yield from problem.prepare()
        factors, rest = problem.factored()
        fits = rest is None and Annealing().refuses(problem) is None
        large = self._large(factors)
        if fits and (large or _beside(factors)):
            yield from Annealing().prepare(problem)
        if not large or (rest is None and not fits):
            yield from self._complete.prepare(problem)

    def step(self, problem: Problem, s: PortfolioState, rng: Stream) -> PortfolioState:
        place = rng.words[:, 0] % s.every if s.every > 1 else 0
        due = (s.turn + place) % s.every == 0  # (R,)
        rows = due.nonzero().reshape(-1)
        first = s.states[0]
        if len(rows) == problem.rows:
            first = s.members[0].step(problem, first, rng.fork(0))
        elif len(rows):
            chosen, total = rows.tolist(), problem.rows
            some = s.members[0].select(first, chosen, total)
            some = s.members[0].step(problem.select(chosen), some, rng.select(rows).fork(0))
            first = put_rows(first, some, chosen, total)
        others = [
            m.step(problem, state, rng.fork(k))
            for k, (m, state) in enumerate(zip(s.members, s.states, strict=True))
            if k
        ]
        waits = s.waits
        if others:
            waits = waits + (due & s.members[1].report(problem, others[0]).done)
        return s._replace(states=[first, *others], turn=s.turn + 1, waits=waits)

    def report(self, problem: Problem, s: PortfolioState) -> Report:
        """The best of all members. Done: the first member is, or the bound of one meets the
        solution of another, or the others ended long ago."""
        reports = [m.report(problem, one) for m, one in zip(s.members, s.states, strict=True)]
        if len(reports) == 1:
            return reports[0]
        whole = reports[0]
        for report in reports[1:]:
            whole = whole.joined(report)
        met = proved(problem, whole.x, whole.energy, whole.violation, whole.bound)
        done = reports[0].done | met
        if self.patience is not None:
            done = done | (s.waits >= self.patience)
        return replace(whole, done=done)

    def width(self, s: PortfolioState) -> int:
        widths = [m.width(state) for m, state in zip(s.members, s.states, strict=True)]
        return min(widths[0] * s.every, *widths[1:], WIDE)

    def select(self, s: PortfolioState, rows: Sequence[int], total: int) -> PortfolioState:
        states = [
            m.select(state, rows, total) for m, state in zip(s.members, s.states, strict=True)
        ]
        turn, waits = (select_rows(t, rows, total) for t in (s.turn, s.waits))
        return s._replace(states=states, turn=turn, waits=waits)

    def stack(self, states: Sequence[PortfolioState], totals: Sequence[int]) -> PortfolioState:
        first = states[0]
        each = zip(*(s.states for s in states), strict=True)
        inner = [m.stack(own, totals) for m, own in zip(first.members, each, strict=True)]
        turn, waits = (torch.cat([getattr(s, n) for s in states]) for n in ("turn", "waits"))
        return first._replace(states=inner, turn=turn, waits=waits)


def _beside(factors: Factors) -> bool:
    """Annealing takes part where something is soft, and no table is over very many sites."""
    wide = max((t.arity for t in factors.tables), default=0)
    return factors.soft and 0 < wide <= 8
