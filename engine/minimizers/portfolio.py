"""The default minimizer: picks by the form of the problem, and lets its members share the work."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from engine.domain import Finite, State
from engine.factors import Factors
from engine.minimizer import GAP, Minimizer, Report, select_rows
from engine.minimizers.annealing import Annealing
from engine.minimizers.branch_and_bound import BranchAndBound
from engine.minimizers.descent import Descent
from engine.minimizers.gibbs import Gibbs
from engine.minimizers.restarts import Restarts
from engine.problem import Problem
from engine.random import Stream


class PortfolioState(NamedTuple):
    """The states of the members, whose turn it is, and what they found together."""

    members: tuple[Minimizer, ...]
    states: list[Any]
    turn: int
    waits: Tensor  # (R,) int64 turns since every heuristic member had nothing left to do


@dataclass(frozen=True)
class Portfolio(Minimizer[PortfolioState]):
    """Rules and small soft problems: complete search, beside annealing where something is soft.
    Real variables only: descent. Anything else: gradient-informed sampling, beside complete search
    over the explicit part where all variables are finite.

    unique: decide uniqueness of rule-only problems, whatever it takes.
    alternatives: further solutions to look for in rule-only problems.
    patience: turns that complete search still gets on a soft problem after the heuristics ended;
    on rules alone it goes on until it has decided.
    """

    unique: bool = False
    alternatives: int = 0
    patience: int = 400

    def asked(self, unique: bool, alternatives: int) -> "Portfolio":
        return replace(self, unique=unique, alternatives=alternatives)

    def init(self, problem: Problem, x: State, rng: Stream) -> PortfolioState:
        members = self._members(problem)
        states = [m.init(problem, x, rng.fork(k)) for k, m in enumerate(members)]
        waits = torch.zeros(problem.rows, dtype=torch.int64)
        return PortfolioState(members, states, 0, waits)

    def _members(self, problem: Problem) -> tuple[Minimizer, ...]:
        finite = [isinstance(d, Finite) for d in problem.domains.values()]
        factors, rest = problem.factored()
        complete = BranchAndBound(unique=self.unique, alternatives=self.alternatives)
        if rest is None:
            return (complete, Annealing()) if _annealed(factors) else (complete,)
        if not any(finite):
            return (Restarts(Descent()),)
        used = {v.name for v in rest.variables()}
        if all(isinstance(d, Finite) for n, d in problem.domains.items() if n in used):
            return (complete, Gibbs())
        return (Gibbs(),)

    def step(self, problem: Problem, s: PortfolioState, rng: Stream) -> PortfolioState:
        k = s.turn % len(s.members)
        states = list(s.states)
        states[k] = s.members[k].step(problem, states[k], rng.fork(k))
        waits = s.waits
        if len(s.members) > 1:
            waits = waits + s.members[1].report(problem, states[1]).done
        return PortfolioState(s.members, states, s.turn + 1, waits)

    def report(self, problem: Problem, s: PortfolioState) -> Report:
        """The best of all members. Done: the first member is, or the bound of one meets the
        solution of another, or the others ended long ago."""
        reports = [m.report(problem, one) for m, one in zip(s.members, s.states, strict=True)]
        if len(reports) == 1:
            return reports[0]
        whole = reports[0]
        for report in reports[1:]:
            whole = whole.joined(report)
        gap = GAP * whole.energy.abs().clamp(min=1.0)
        met = (whole.violation == 0) & (whole.energy - whole.bound <= gap)
        return replace(whole, done=reports[0].done | met | (s.waits >= self.patience))

    def width(self, s: PortfolioState) -> int:
        k = s.turn % len(s.members)
        return s.members[k].width(s.states[k])

    def phase(self, s: PortfolioState) -> int:
        return s.turn % len(s.members)

    def select(self, s: PortfolioState, rows: Sequence[int], total: int) -> PortfolioState:
        states = [
            m.select(state, rows, total) for m, state in zip(s.members, s.states, strict=True)
        ]
        return PortfolioState(s.members, states, s.turn, select_rows(s.waits, rows, total))

    def stack(self, states: Sequence[PortfolioState], totals: Sequence[int]) -> PortfolioState:
        members, turn = states[0].members, states[0].turn
        each = zip(*(s.states for s in states), strict=True)
        inner = [m.stack(own, totals) for m, own in zip(members, each, strict=True)]
        return PortfolioState(members, inner, turn, torch.cat([s.waits for s in states]))


def _annealed(factors: Factors) -> bool:
    """Annealing takes part where something is soft, within what its layout can hold."""
    sizes = factors.sizes
    wide = max((t.arity for t in factors.tables), default=0)
    return factors.soft and int(sizes.max(initial=0)) <= 32_767 and 0 < wide <= 8
