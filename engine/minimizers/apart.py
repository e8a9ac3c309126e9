"""A problem that falls apart, each part searched by itself: energies, violations and bounds add up.

A part is a group of variables that no summand connects with the others (`engine.problem.apart`).
The whole is infeasible where a part is, and has one solution alone where each part has.
"""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from engine.answer import Proof
from engine.compare import proved
from engine.domain import State
from engine.errors import BadQuery
from engine.minimizer import Minimizer, score
from engine.problem import Problem
from engine.problem.apart import groups_of, parts_of
from engine.random import Stream
from engine.rows import NOT_UNIQUE, PROOFS, Report


class ApartState(NamedTuple):
    """The state of each part."""

    parts: list[Any]


@dataclass(frozen=True)
class Apart(Minimizer[ApartState]):
    """A step moves every part that is not done, each with randomness of its own.

    inner: searches a part.
    """

    inner: Minimizer

    def refuses(self, problem: Problem) -> str | None:
        if len(groups_of(problem)) == 1:
            return "apart needs a problem that falls apart; use its inner minimizer"
        return next((why for p in parts_of(problem) if (why := self.inner.refuses(p))), None)

    def prepare(self, problem: Problem) -> Iterator[None]:
        yield from problem.prepare()
        for part in parts_of(problem):
            yield from self.inner.prepare(part)

    def asked(self, unique: bool, alternatives: int) -> "Apart":
        return replace(self, inner=self.inner.asked(unique, alternatives))

    def kin(self, problem: Problem) -> Sequence[Hashable]:
        """Rows whose parts are all searched alike, and have one form."""
        every = [(part.form, self.inner.kin(part)) for part in parts_of(problem)]
        return [tuple((form, kin[row]) for form, kin in every) for row in range(problem.rows)]

    def init(self, problem: Problem, x: State, rng: Stream) -> ApartState:
        why = self.refuses(problem)
        if why is not None:
            raise BadQuery(why)
        parts = enumerate(parts_of(problem))
        return ApartState([self.inner.init(p, _Some(p, x), rng.fork(k)) for k, p in parts])

    def step(self, problem: Problem, s: ApartState, rng: Stream) -> ApartState:
        moved = []
        for k, (part, state) in enumerate(zip(parts_of(problem), s.parts, strict=True)):
            over = bool(self.inner.report(part, state).done.all())
            moved.append(state if over else self.inner.step(part, state, rng.fork(k)))
        return ApartState(moved)

    def report(self, problem: Problem, s: ApartState) -> Report:
        every = zip(parts_of(problem), s.parts, strict=True)
        reports = [self.inner.credited(part, state) for part, state in every]
        x: State = {n: t for r in reports for n, t in r.x.items()}
        energy = _sum([r.energy for r in reports])
        bound = _sum([r.bound for r in reports])
        infeasible = torch.stack([r.bound == math.inf for r in reports]).any(0)
        bound = torch.where(infeasible, math.inf, bound)
        exact = torch.stack([r.energy == r.bound for r in reports]).all(0) & ~infeasible
        if bool(exact.any()):  # each is the least of its part, to the bit
            energy = torch.where(exact, score(problem, x).energy, energy)
            bound = torch.where(exact, energy, bound)
        violation = _sum([r.violation for r in reports])
        met = proved(problem, x, energy, violation, bound)
        done = torch.stack([r.done for r in reports]).all(0) | infeasible | met
        unique = torch.stack([r.unique for r in reports]).amin(0)
        unique = torch.where(_any(reports, NOT_UNIQUE), NOT_UNIQUE, unique)
        others = _Others(reports)
        return Report(x, energy, violation, bound, done, unique, others, _credits(reports))

    def told(self, problem: Problem, s: ApartState, report: Report) -> ApartState:
        """Each part is told its share of the states; what is proved is of the whole alone."""
        known, told = report.energy.isfinite(), []
        if not bool(known.any()):
            return s
        for part, state in zip(parts_of(problem), s.parts, strict=True):
            x = {v.name: report.x[v.name] for v in part.open}
            energy, violation = score(part, part.decide(x))
            own = replace(Report.blank(part, x), energy=energy, violation=violation).only(known)
            told.append(self.inner.told(part, state, own))
        return ApartState(told)

    def renewed(self, problem: Problem, s: ApartState) -> ApartState | None:
        parts = parts_of(problem)
        if len(parts) != len(s.parts):
            return None
        every = [self.inner.renewed(p, one) for p, one in zip(parts, s.parts, strict=True)]
        return None if any(one is None for one in every) else ApartState(every)

    def width(self, s: ApartState) -> int:
        return min(self.inner.width(state) for state in s.parts)

    def select(self, s: ApartState, rows: Sequence[int], total: int) -> ApartState:
        return ApartState([self.inner.select(state, rows, total) for state in s.parts])

    def stack(self, states: Sequence[ApartState], totals: Sequence[int]) -> ApartState:
        each = zip(*(s.parts for s in states), strict=True)
        return ApartState([self.inner.stack(own, totals) for own in each])


def _sum(every: Sequence[Tensor]) -> Tensor:
    """In order. (R,) each -> (R,)"""
    out = every[0]
    for one in every[1:]:
        out = out + one
    return out


def _credits(reports: Sequence[Report]) -> Tensor:
    """What proved the bounds of all parts, or those of one that nothing satisfies. -> (R,) int8"""
    by = torch.stack([r.by for r in reports])
    shut = torch.stack([r.bound == math.inf for r in reports])
    first = by.gather(0, shut.int().argmax(0, keepdim=True))[0]
    alike = (by == by[0]).all(0) | shut.any(0)
    return torch.where(alike, first, PROOFS.index(Proof.PARTS)).to(by.dtype)


def _any(reports: Sequence[Report], unique: int) -> Tensor:
    """Rows in which some part says this of its uniqueness. -> (R,) bool"""
    return torch.stack([r.unique == unique for r in reports]).any(0)


class _Some(Mapping[str, Tensor]):
    """The starting states of a part, taken when they are looked at."""

    def __init__(self, part: Problem, x: State):
        self.x, self.names = x, [v.name for v in part.open]
        self.starts = ()  # those know the whole problem

    def __getitem__(self, name: str) -> Tensor:
        if name not in self.names:
            raise KeyError(name)
        return self.x[name]

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


class _Others(Sequence[tuple[State, ...]]):
    """Further solutions of each row: another of one part, beside the best of all others."""

    def __init__(self, reports: Sequence[Report]):
        self.reports = reports

    def __len__(self) -> int:
        return len(self.reports[0].done)

    def __getitem__(self, row):
        best = {n: t[row : row + 1] for r in self.reports for n, t in r.x.items()}
        every = (o for r in self.reports if r.others for o in r.others[row])
        return tuple({**best, **other} for other in every)
