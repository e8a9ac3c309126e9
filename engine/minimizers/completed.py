"""A search of any kind; what it leaves with broken rules is searched completely by these alone.

Beginnings side by side foresee what narrow rules forbid, and not what several wide ones forbid
together. Complete search over the rules, with no cost beside them, then proves that nothing keeps
them, or finds what does: that is an answer, though nobody looked for a cheap one.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from engine.domain import State
from engine.energy import Sum
from engine.errors import BadQuery
from engine.minimizer import Best, Minimizer, heard, score
from engine.minimizers.branch_and_bound import BranchAndBound
from engine.problem import Problem
from engine.random import Stream
from engine.rows import UNKNOWN, Report, select_rows, stack_rows

KEPT = "_rules"  # of a problem: the same with its rules alone
INNER, COMPLETE = 311, 312  # lanes of the stream


class _Late(NamedTuple):
    """Complete search of one row."""

    problem: Problem  # the rules of that row
    state: Any


class CompletedState(NamedTuple):
    """The first search, and complete ones of the rows that it left."""

    inner: Any
    late: tuple[_Late | None, ...]  # of each row
    best: Best
    bound: Tensor  # (R,)
    done: Tensor  # (R,) bool


@dataclass(frozen=True)
class Completed(Minimizer[CompletedState]):
    """Needs rules that are explicit, over finite sites.

    inner: searches first, and alone where it ends with a state that keeps the rules.
    """

    inner: Minimizer[Any]
    complete: BranchAndBound = BranchAndBound()

    def refuses(self, problem: Problem) -> str | None:
        for place in sorted(problem.form.lacking):
            summand = problem.summands[place]
            if summand.required:
                return f"{summand.label} is required and not explicit"
        if not any(summand.required for summand in problem.summands):
            return "there are no rules; use the inner minimizer"
        if len(problem.finite) < len(problem.open):
            return "rules alone do not tell numbers; use the inner minimizer"
        return self.inner.refuses(problem) or self.complete.refuses(rules_of(problem))

    def prepare(self, problem: Problem) -> Iterator[None]:
        return self.inner.prepare(problem)

    def init(self, problem: Problem, x: State, rng: Stream) -> CompletedState:
        why = self.refuses(problem)
        if why is not None:
            raise BadQuery(why)
        inner = self.inner.init(problem, x, rng.fork(INNER))
        first = self.inner.report(problem, inner)
        best = Best(dict(first.x), first.energy, first.violation)
        done = torch.zeros_like(first.done)
        return CompletedState(inner, (None,) * problem.rows, best, first.bound, done)

    def step(self, problem: Problem, s: CompletedState, rng: Stream) -> CompletedState:
        before = self.inner.report(problem, s.inner).done
        if not bool(before.all()):
            s = s._replace(inner=self.inner.step(problem, s.inner, rng.fork(INNER)))
        report = self.inner.report(problem, s.inner)
        s = self._told(problem, s, report)
        kept = (s.best.violation == 0) & s.best.energy.isfinite()
        s = s._replace(done=s.done | (s.bound == math.inf) | (report.done & kept))
        for row in (before & report.done & ~s.done).nonzero().reshape(-1).tolist():
            s = self._completed(problem, s, row, rng)
        return s

    def report(self, problem: Problem, s: CompletedState) -> Report:
        x, energy, violation = s.best
        unique = torch.full_like(s.done, UNKNOWN, dtype=torch.int8)
        return Report(x, energy, violation, s.bound, s.done, unique, ((),) * len(s.done))

    def told(self, problem: Problem, s: CompletedState, report: Report) -> CompletedState:
        return self._told(
            problem, s._replace(inner=self.inner.told(problem, s.inner, report)), report
        )

    def _told(self, problem: Problem, s: CompletedState, report: Report) -> CompletedState:
        best, bound, done = heard(problem, report, s.best)
        return s._replace(best=best, bound=torch.maximum(s.bound, bound), done=s.done | done)

    def width(self, s: CompletedState) -> int:
        return self.inner.width(s.inner)

    def select(self, s: CompletedState, rows: Sequence[int], total: int) -> CompletedState:
        own = select_rows(s._replace(inner=None), rows, total)
        return own._replace(inner=self.inner.select(s.inner, rows, total))

    def stack(self, states: Sequence[CompletedState], totals: Sequence[int]) -> CompletedState:
        own = stack_rows([s._replace(inner=None) for s in states], totals)
        return own._replace(inner=self.inner.stack([s.inner for s in states], totals))

    def _completed(
        self, problem: Problem, s: CompletedState, row: int, rng: Stream
    ) -> CompletedState:
        """A step of complete search of one row."""
        one, stream = s.late[row], rng.select(torch.tensor([row])).fork(COMPLETE)
        if one is None:
            rules = rules_of(problem)
            rules = rules.select([row]) if problem.rows > 1 else rules
            x = {n: t[row : row + 1] for n, t in s.best.x.items()}
            one = _Late(rules, self.complete.init(rules, x, stream.at(0)))
        one = one._replace(state=self.complete.step(one.problem, one.state, stream))
        late = (*s.late[:row], one, *s.late[row + 1 :])
        said = self.complete.report(one.problem, one.state)
        if not bool(said.done[0]):
            return s._replace(late=late)
        mine = torch.arange(len(s.done), device=s.done.device) == row
        refuted = bool(said.bound[0] == math.inf)
        bound = torch.where(mine, math.inf, s.bound) if refuted else s.bound
        best = s.best
        if not refuted and bool(said.energy[0].isfinite()):
            found = {v.name: said.x[v.name] for v in problem.open}
            x = {
                n: t.index_copy(0, torch.tensor([row]), found[n].to(t.dtype))
                for n, t in s.best.x.items()
            }
            best = best.joined(x, *score(problem, x), mine)
        return s._replace(late=late, best=best, bound=bound, done=s.done | mine)


def rules_of(problem: Problem) -> Problem:
    """The same rows with required terms alone."""
    if KEPT not in vars(problem):
        base = problem.root or problem
        if KEPT not in vars(base):
            required = (summand for summand in base.summands if summand.required)
            vars(base)[KEPT] = replace(base, energy=Sum(*required))
        root: Problem = vars(base)[KEPT]
        vars(problem)[KEPT] = root if base is problem else root._with(problem.every, root)
    own: Problem = vars(problem)[KEPT]
    return own
