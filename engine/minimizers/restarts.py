"""Restarts: a minimizer begun afresh from new starts every so many steps, the best kept.

Each row restarts by its own count of steps, or once its search has nothing left to do, so that
what a row finds does not depend on its batch.
"""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from engine.answer import Proof
from engine.compare import proved
from engine.domain import State
from engine.errors import BadQuery, Mistake
from engine.minimizer import Best, Minimizer, heard
from engine.moves.start import Proposer, Start, starts_of
from engine.problem import Problem
from engine.random import Stream
from engine.rows import Report, particles_of, put_rows, select_rows, stack_rows

START, INNER = 211, 212  # lanes of the stream


class RestartsState(NamedTuple):
    """The state of the wrapped minimizer, and what its earlier starts found."""

    inner: Any
    kept: Report  # the best of all starts; `done` is that of the whole
    age: Tensor  # (R,) steps since the last start
    starts: Tensor  # (R,) starts begun
    particles: int
    proposers: list[Proposer]  # who is asked for starts, beside the terms


@dataclass(frozen=True)
class Restarts(Minimizer[RestartsState]):
    """inner: what is restarted; after: steps of one start at most; starts: how many, None: until
    something is proved."""

    proof: ClassVar[Proof] = Proof.FLOOR

    inner: Minimizer
    after: int = 2000
    starts: int | None = 8

    def __post_init__(self):
        for name, value in (("after", self.after), ("starts", self.starts)):
            if value is not None and value < 1:
                raise BadQuery(Mistake(name, f"{value!r}", "give at least 1"))

    def init(self, problem: Problem, x: State, rng: Stream) -> RestartsState:
        rows = problem.rows
        inner = self.inner.init(problem, x, rng.fork(INNER))
        return RestartsState(
            inner,
            self._seen(
                problem,
                self.inner.report(problem, inner),
                torch.zeros(rows, dtype=torch.bool, device=problem.device),
            ),
            torch.zeros(rows, dtype=torch.int64, device=problem.device),
            torch.ones(rows, dtype=torch.int64, device=problem.device),
            particles_of(problem, x),
            list(starts_of(x)),
        )

    def step(self, problem: Problem, s: RestartsState, rng: Stream) -> RestartsState:
        if s.kept.done.all():
            return s
        inner = self.inner.step(problem, s.inner, rng.fork(INNER))
        report = self.inner.report(problem, inner)
        age = s.age + 1
        over = ((age >= self.after) | report.done) & ~s.kept.done
        spent = torch.zeros_like(over) if self.starts is None else s.starts >= self.starts
        joined = s.kept.joined(replace(report, done=s.kept.done))
        kept = self._seen(problem, joined, s.kept.done | over & spent)
        again = over & ~kept.done
        if again.any():
            rows = again.nonzero().reshape(-1).tolist()
            inner = self._afresh(problem, s, inner, rows, rng)
        age = torch.where(again, 0, age)
        return s._replace(inner=inner, kept=kept, age=age, starts=s.starts + again)

    def report(self, problem: Problem, s: RestartsState) -> Report:
        return s.kept

    def told(self, problem: Problem, s: RestartsState, report: Report) -> RestartsState:
        kept = s.kept
        best, bound, done = heard(problem, report, Best(dict(kept.x), kept.energy, kept.violation))
        bound = torch.maximum(kept.bound, bound)
        kept = replace(kept, **best._asdict(), bound=bound, done=kept.done | done)
        return s._replace(inner=self.inner.told(problem, s.inner, report), kept=kept)

    def renewed(self, problem: Problem, s: RestartsState) -> RestartsState | None:
        """The last start goes on, and one more may follow it."""
        inner = self.inner.renewed(problem, s.inner)
        if inner is None:
            return None
        report = self.inner.report(problem, inner)
        kept = self._seen(problem, report, torch.zeros_like(s.kept.done))
        starts = torch.clamp(s.starts - 1, min=1)
        return s._replace(inner=inner, kept=kept, age=torch.zeros_like(s.age), starts=starts)

    def kin(self, problem: Problem) -> Sequence[Hashable]:
        return self.inner.kin(problem)

    def width(self, s: RestartsState) -> int:
        return self.inner.width(s.inner)

    def select(self, s: RestartsState, rows: Sequence[int], total: int) -> RestartsState:
        inner = self.inner.select(s.inner, rows, total)
        return select_rows(s._replace(inner=None), rows, total)._replace(inner=inner)

    def stack(self, states: Sequence[RestartsState], totals: Sequence[int]) -> RestartsState:
        inner = self.inner.stack([s.inner for s in states], totals)
        return stack_rows([s._replace(inner=None) for s in states], totals)._replace(inner=inner)

    def _seen(self, problem: Problem, report: Report, done: Tensor) -> Report:
        """A report whose rows are done where something is proved, or `done` says so."""
        met = proved(problem, report.x, report.energy, report.violation, report.bound)
        ended = (report.bound == math.inf) | met
        return replace(report, done=done | ended)

    def _afresh(
        self, problem: Problem, s: RestartsState, inner: Any, rows: list[int], rng: Stream
    ) -> Any:
        start, best = rng.fork(START), problem.filled(s.kept.x)
        x = Start(problem, s.particles, start, {}, s.proposers, best)
        fresh = self.inner.init(problem, x, start.fork(INNER))
        total = problem.rows
        return put_rows(inner, self.inner.select(fresh, rows, total), rows, total)
