"""The default minimizer: picks by the form of the problem, and lets its members share the work."""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from engine.domain import Finite, State
from engine.minimizer import GAP, Minimizer, Report
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
    report: Report


@dataclass(frozen=True)
class Portfolio(Minimizer[PortfolioState]):
    """Rules and small soft problems: complete search, beside annealing where something is soft.
    Real variables only: descent. Anything else: gradient-informed sampling, beside complete search
    over the explicit part where all variables are finite.

    unique: decide uniqueness of rule-only problems, whatever it takes.
    alternatives: further solutions to look for in rule-only problems.
    """

    unique: bool = False
    alternatives: int = 0

    def init(self, problem: Problem, x: State, rng: Stream) -> PortfolioState:
        members = self._members(problem)
        states = [m.init(problem, x, rng.fork(k)) for k, m in enumerate(members)]
        report = _joined(problem, members, states)
        return PortfolioState(members, states, 0, report)

    def _members(self, problem: Problem) -> tuple[Minimizer, ...]:
        finite = [isinstance(d, Finite) for d in problem.domains.values()]
        factors, rest = problem.factored()
        complete = BranchAndBound(unique=self.unique, alternatives=self.alternatives)
        if rest is None:
            return (complete, Annealing()) if factors.soft else (complete,)
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
        report = s.members[k].report(problem, states[k])
        if len(s.members) > 1:
            report = _closed(s.report.joined(report))
        return PortfolioState(s.members, states, s.turn + 1, report)

    def report(self, problem: Problem, s: PortfolioState) -> Report:
        return s.report


def _joined(problem: Problem, members: tuple[Minimizer, ...], states: list[Any]) -> Report:
    reports = [m.report(problem, s) for m, s in zip(members, states, strict=True)]
    whole = reports[0]
    for report in reports[1:]:
        whole = whole.joined(report)
    return whole


def _closed(report: Report) -> Report:
    """Done also where the bound of one member meets the solution of another."""
    gap = GAP * report.energy.abs().clamp(min=1.0)
    met = (report.violation == 0) & (report.energy - report.bound <= gap)
    return replace(report, done=report.done | met)
