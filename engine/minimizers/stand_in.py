"""Search under explicit stand-ins of opaque terms, then by the energy itself, one move at a time.

A term whose structure would be too large may name a smaller one that orders states much alike
(`Term.stand_in`): runs of four letters for runs of five. Annealing finds the best states under
these; each is scored by the energy itself, and the best of them goes downhill to the best
neighbour, until no move makes it better. A move exchanges two sites of a line that must differ,
gives one of them a value that its line does not hold, or any other site any value.
Source: surrogates that screen, such as Jin, Swarm and Evolutionary Computation 1, 2011.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.answer import Proof
from engine.decimals import Ints
from engine.domain import State
from engine.energy import Sum
from engine.errors import BadQuery
from engine.minimizer import Best, Minimizer, best_start, heard, score
from engine.minimizers.annealing import Annealing
from engine.problem import Problem
from engine.random import Stream
from engine.rows import UNKNOWN, Report, select_rows, stack_rows
from engine.sweeps.layout import lines_to_keep
from engine.sweeps.swept import SweptState

KEPT = "_stood_in"  # of a problem: the same under stand-ins
PIECE = 512  # neighbours that one step of a row scores


class StandInState(NamedTuple):
    """The search under stand-ins, and the best states by the energy itself."""

    inner: SweptState
    best: Best
    next: Tensor  # (R,) int64 the first neighbour of the best state that was not looked at
    bound: Tensor  # (R,)
    done: Tensor  # (R,) bool


@dataclass(frozen=True)
class StandIn(Minimizer[StandInState]):
    """Needs finite sites alone, and a stand-in of every term that is not explicit.

    inner: searches under these.
    """

    proof: ClassVar[Proof] = Proof.FLOOR

    inner: Annealing = Annealing()

    def refuses(self, problem: Problem) -> str | None:
        if len(problem.finite) < len(problem.open):
            return "stand-ins need finite variables alone; use gibbs or descent"
        for place in sorted(problem.form.lacking):
            summand = problem.summands[place]
            if summand.required or summand.term.stand_in() is None:
                return f"{summand.label} has no explicit stand-in; use gibbs"
        return self.inner.refuses(stood_in(problem))

    def prepare(self, problem: Problem) -> Iterator[None]:
        yield from problem.prepare()
        if self.refuses(problem) is None:
            yield from self.inner.prepare(stood_in(problem))

    def init(self, problem: Problem, x: State, rng: Stream) -> StandInState:
        why = self.refuses(problem)
        if why is not None:
            raise BadQuery(why)
        inner = self.inner.init(stood_in(problem), x, rng)
        rows, device = problem.rows, problem.device
        none = torch.zeros(rows, dtype=torch.int64, device=device)
        bound = torch.full((rows,), -math.inf, dtype=torch.float64, device=device)
        return StandInState(inner, best_start(problem, x), none, bound, none > 0)

    def step(self, problem: Problem, s: StandInState, rng: Stream) -> StandInState:
        under = stood_in(problem)
        before = self.inner.report(under, s.inner)
        inner = self.inner.step(under, s.inner, rng)
        after = self.inner.report(under, inner)
        moved = ((before.energy != after.energy) | (before.violation != after.violation)) & ~s.done
        best = s.best
        if bool(moved.any()):
            x = {v.name: after.x[v.name] for v in problem.open}
            best = best.joined(x, *score(problem, x), moved)
        shut = after.bound == math.inf  # by rules alone, which have no stand-ins
        s = StandInState(inner, best, s.next, torch.where(shut, math.inf, s.bound), s.done | shut)
        for row in (before.done & ~s.done).nonzero().reshape(-1).tolist():
            s = self._moved(problem, s, row)
        return s

    def report(self, problem: Problem, s: StandInState) -> Report:
        x, energy, violation = s.best
        bound = torch.maximum(s.bound, torch.full_like(s.bound, problem.floor))
        unique = torch.full_like(s.done, UNKNOWN, dtype=torch.int8)
        return Report(x, energy, violation, bound, s.done, unique, ((),) * len(s.done))

    def told(self, problem: Problem, s: StandInState, report: Report) -> StandInState:
        best, _, done = heard(problem, report, s.best)
        new = best.energy != s.best.energy
        return s._replace(best=best, next=s.next.masked_fill(new, 0), done=s.done | done)

    def width(self, s: StandInState) -> int:
        return self.inner.width(s.inner)

    def select(self, s: StandInState, rows: Sequence[int], total: int) -> StandInState:
        own = select_rows(s._replace(inner=None), rows, total)  # type: ignore[arg-type]
        return own._replace(inner=self.inner.select(s.inner, rows, total))

    def stack(self, states: Sequence[StandInState], totals: Sequence[int]) -> StandInState:
        own = stack_rows([s._replace(inner=None) for s in states], totals)  # type: ignore[arg-type]
        return own._replace(inner=self.inner.stack([s.inner for s in states], totals))

    def _moved(self, problem: Problem, s: StandInState, row: int) -> StandInState:
        """Some neighbours of the best state of a row; the best of them where it is better."""
        mine = torch.arange(len(s.done), device=s.done.device) == row
        at = problem.places({n: t[row : row + 1] for n, t in s.best.x.items()})[0]
        first = int(s.next[row])
        every = neighbours(problem, row, at)
        some = every[first : first + PIECE]
        if not len(some):
            return s._replace(done=s.done | mine)
        x = problem.state(some)
        got = score(problem, x, torch.full((len(some),), row, device=problem.device))
        own = Best(
            {n: t[row : row + 1] for n, t in s.best.x.items()},
            s.best.energy[row : row + 1],
            s.best.violation[row : row + 1],
        )
        new = own.joined(x, *got, mine[row : row + 1])
        if new is own:
            return s._replace(next=torch.where(mine, first + PIECE, s.next))
        index = torch.tensor([row], device=s.done.device)
        best = Best(
            {n: t.index_copy(0, index, new.x[n].to(t.dtype)) for n, t in s.best.x.items()},
            s.best.energy.index_copy(0, index, new.energy),
            s.best.violation.index_copy(0, index, new.violation),
        )
        return s._replace(best=best, next=s.next.masked_fill(mine, 0))


def stood_in(problem: Problem) -> Problem:
    """The same rows under stand-ins of all that is not explicit."""
    if KEPT not in vars(problem):
        base = problem.root or problem
        if KEPT not in vars(base):
            lacking = problem.form.lacking
            parts = (
                s if k not in lacking else replace(s, term=s.term.stand_in() or s.term)
                for k, s in enumerate(problem.summands)
            )
            vars(base)[KEPT] = replace(base, energy=Sum(*parts))
        root: Problem = vars(base)[KEPT]
        vars(problem)[KEPT] = root if base is problem else root._with(problem.every, root)
    own: Problem = vars(problem)[KEPT]
    return own


def neighbours(problem: Problem, row: int, at: Ints) -> Ints:
    """All states one move away from a state of a row, in a fixed order. (n,) -> (m, n)"""
    factors = problem.form.factors
    sizes = factors.sizes[: factors.visible]
    lines = [factors.different.lines()[k] for k in lines_to_keep(factors)]
    lines = [line for line in lines if (line < factors.visible).all()]
    free = np.setdiff1d(np.arange(len(sizes)), np.concatenate([np.zeros(0, np.int64), *lines]))
    out = [at[None][:0]]
    for line in lines:
        a, b = np.triu_indices(len(line), 1)
        swapped = np.tile(at, (len(a), 1))
        every = np.arange(len(a))
        swapped[every, line[a]], swapped[every, line[b]] = at[line[b]], at[line[a]]
        out.append(swapped)
        unused = np.setdiff1d(np.arange(sizes[line[0]]), at[line])
        out.append(_set(at, np.repeat(line, len(unused)), np.tile(unused, len(line))))
    site = np.repeat(free, sizes[free])
    value = np.concatenate([np.zeros(0, np.int64), *(np.arange(k) for k in sizes[free])])
    out.append(_set(at, site, value))
    every = np.concatenate(out)
    offset = np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64)
    open_ = problem.possible[row][offset + every].all(1)
    return every[open_ & (every != at).any(1)]


def _set(at: Ints, site: Ints, value: Ints) -> Ints:
    """A state with one site at another value, for each of several. (n,), (m,), (m,) -> (m, n)"""
    out = np.tile(at, (len(site), 1))
    out[np.arange(len(site)), site] = value
    return out
