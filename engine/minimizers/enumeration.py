"""Every combination of the open sites, evaluated: complete wherever these are few.

Takes any energy, as it only evaluates it, such as a learned one under nearly complete evidence.
The least energy found is a proved bound, because nothing was left out; the next best ones are
alternatives for free.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from torch import Tensor

from engine.answer import Proof
from engine.compare import opaque_slack, verdicts
from engine.domain import Finite, Real, State
from engine.errors import BadQuery, Mistake
from engine.minimizer import Minimizer, forbidden, score
from engine.problem import Problem
from engine.random import Stream
from engine.rows import NOT_UNIQUE, UNIQUE, UNKNOWN, Report

MOST = 16_384  # combinations of one row
LEVEL = 4_096  # combinations as cheap as the best that are judged to call it the only one
JUDGED = 256  # combinations judged in one call


class EnumerationState(NamedTuple):
    """The result of every row."""

    x: dict[str, Tensor]  # (R, *shape)
    energy: Tensor  # (R,)
    violation: Tensor  # (R,)
    bound: Tensor  # (R,)
    done: Tensor  # (R,) bool
    unique: Tensor  # (R,) int8
    others: tuple[tuple[State, ...], ...]


@dataclass(frozen=True)
class Enumeration(Minimizer[EnumerationState]):
    """One step settles a row.

    alternatives: next best states to report.
    elements: literals of the states evaluated in one call, of one row at least.
    """

    proof: ClassVar[Proof] = Proof.ENUMERATION

    alternatives: int = 0
    elements: int = 2_000_000

    def __post_init__(self):
        if self.elements < 1:
            raise BadQuery(Mistake("elements", f"{self.elements!r}", "give at least 1"))

    def init(self, problem: Problem, x: State, rng: Stream) -> EnumerationState:
        if not bool(enumerable(problem).all()):
            raise BadQuery(f"enumeration takes rows of at most {MOST} combinations")
        every = {v.name: problem.domain(v.name) for v in problem.open}
        first = {
            n: d.decide(torch.zeros(problem.rows, *d.event, device=d.device))
            for n, d in every.items()
        }
        blank = Report.blank(problem, first)
        told = (blank.energy, blank.violation, blank.bound, blank.done, blank.unique)
        return EnumerationState(first, *told, ((),) * problem.rows)

    def step(self, problem: Problem, s: EnumerationState, rng: Stream) -> EnumerationState:
        open_rows = (~s.done).nonzero().reshape(-1).tolist()
        spaces = {row: _Space(problem, row) for row in open_rows}
        literals = sum(math.prod(problem.domains[v.name].event) for v in problem.open)
        most = max(1, self.elements // max(1, literals))
        bunch: list[int] = []
        for row in open_rows:
            if bunch and sum(spaces[r].count for r in (*bunch, row)) > most:
                s = self._settled(problem, s, [spaces[r] for r in bunch])
                bunch = []
            bunch.append(row)
        return self._settled(problem, s, [spaces[r] for r in bunch]) if bunch else s

    def report(self, problem: Problem, s: EnumerationState) -> Report:
        return Report(s.x, s.energy, s.violation, s.bound, s.done, s.unique, s.others)

    def _settled(
        self, problem: Problem, s: EnumerationState, spaces: list["_Space"]
    ) -> EnumerationState:
        """Evaluates all combinations of some rows in one call."""
        counts = [space.count for space in spaces]
        states = [space.states() for space in spaces]
        rows = torch.tensor([space.row for space in spaces])
        owner = rows.repeat_interleave(torch.tensor(counts)).to(problem.device)
        together = {n: torch.cat([state[n] for state in states]) for n in states[0]}
        got = score(problem, together, owner)
        out = {
            name: getattr(s, name).clone()
            for name in ("energy", "violation", "bound", "done", "unique")
        }
        x, others = {n: t.clone() for n, t in s.x.items()}, list(s.others)
        pieces = zip(
            spaces, states, got.energy.split(counts), got.violation.split(counts), strict=True
        )
        for space, state, energy, violation in pieces:
            r = space.row
            found = _ranked(space, state, energy, violation, self.alternatives)
            for name, t in state.items():
                x[name][r] = t[found.best]
            out["energy"][r] = energy[found.best]
            out["violation"][r] = 0.0 if found.good else violation[found.best]
            out["bound"][r], out["unique"][r] = found.bound, found.unique
            out["done"][r] = True
            others[r] = tuple(
                {n: t[k : k + 1] for n, t in state.items()}
                for k in found.good[1 : 1 + self.alternatives]
            )
        return s._replace(x=x, others=tuple(others), **out)


class _Ranked(NamedTuple):
    """What is known of all combinations of one row."""

    best: int  # the best one
    good: list[int]  # those that satisfy every required rule, cheapest first, as many as are needed
    bound: float
    unique: int


def _ranked(
    space: "_Space", state: State, energy: Tensor, violation: Tensor, alternatives: int
) -> _Ranked:
    """The best combinations. `holds` says which count, whatever their violation, and only those it
    refutes are left out of the bound."""
    problem = space.problem
    rules = [part for part in problem.summands if part.required]
    cost = energy.cpu().numpy()
    shut = np.isinf(cost) & forbidden(problem, space.row, state).numpy()
    clean = ~shut & (violation == 0).cpu().numpy()
    order = np.argsort(cost, kind="stable")  # what is no number comes last
    good: list[int] = []
    doubt: list[int] = []

    def judge(places: np.ndarray, wanted: int, doubts: float = math.inf) -> None:
        for first in range(0, len(places), JUDGED):
            block = places[first : first + JUDGED]
            some = {n: t[torch.from_numpy(block)] for n, t in state.items()}
            whole = problem.whole(some, torch.full((len(block),), space.row))
            for k, holds in zip(block.tolist(), verdicts(rules, problem.asked(whole)), strict=True):
                if holds and math.isfinite(cost[k]):
                    good.append(k)
                elif holds is not False:
                    doubt.append(k)
            if len(good) >= wanted or len(doubt) >= doubts:
                return

    judge(order[clean[order]], max(2, 1 + alternatives))
    least = float(cost[good[0]]) if good else math.inf
    left = order[~clean[order] & ~shut[order]]
    judge(left[~(cost[left] >= least)] if good else left, len(cost) + 1)
    good.sort(key=lambda k: (cost[k], k))
    low = min((float(cost[k]) for k in doubt if cost[k] < math.inf), default=math.inf)
    if any(math.isnan(cost[k]) for k in doubt):
        low = -math.inf
    if not good:
        best = min(doubt, key=lambda k: (float(violation[k]), cost[k]), default=None)
        nothing = int(violation.nan_to_num(math.inf).argmin())
        return _Ranked(
            nothing if best is None else best, [], -math.inf if doubt else math.inf, UNKNOWN
        )
    least, unique = float(cost[good[0]]), UNKNOWN
    soft = problem.factored()[1] is not None and any(not part.required for part in problem.summands)
    room = float(opaque_slack(energy[good[0]])) if soft else 0.0
    level = left[(cost[left] >= least) & (cost[left] <= least + room)]
    alone = sum(cost[k] <= least + room for k in good) == 1
    sure = len(level) <= LEVEL
    if alone and sure and not doubt:  # a violation is no verdict
        judge(level, len(good) + 1, 1)
        good.sort(key=lambda k: (cost[k], k))
    if not doubt and (sure or not alone):
        gap = float(cost[good[1]]) - least if len(good) > 1 else math.inf
        unique = NOT_UNIQUE if gap == 0.0 else UNIQUE if gap > room else UNKNOWN
    return _Ranked(good[0], good, min(least, low), unique)


class _Space:
    """The combinations of the open sites of one row."""

    def __init__(self, problem: Problem, row: int):
        self.problem, self.row = problem, row
        self.choices: dict[str, list[Tensor]] = {}
        for v in problem.finite:
            domain = problem.domain(v.name)
            assert isinstance(domain, Finite)
            flat = domain.allowed[row].reshape(domain.sites, -1)
            self.choices[v.name] = [site.nonzero().reshape(-1) for site in flat]
        every = [c for sites in self.choices.values() for c in sites]
        self.count = math.prod(len(c) for c in every)

    def states(self) -> dict[str, Tensor]:
        """All of them. -> {name: (count, *shape)}"""
        every = [c.cpu().numpy() for sites in self.choices.values() for c in sites]
        index = _digits([len(c) for c in every])
        out, site = {}, 0
        for variable in self.problem.open:
            name, domain = variable.name, self.problem.domains[variable.name]
            if name not in self.choices:
                assert isinstance(domain, Real)
                low = self.problem.domain(name).low[self.row]  # type: ignore[attr-defined]
                out[name] = low.expand(self.count, *domain.shape).clone()
                continue
            width = domain.sites
            places = [every[site + j][index[site + j]] for j in range(width)]
            stacked = np.stack(places, -1) if places else np.zeros((self.count, 0), dtype=int)
            assert isinstance(domain, Finite)
            places_here = torch.from_numpy(stacked).to(domain.dtype).to(self.problem.device)
            out[name] = places_here.reshape(self.count, *domain.shape)
            site += width
        return out


def _digits(sizes: list[int]) -> np.ndarray:
    """Every combination of places, the last one counting fastest. -> (sites, combinations)"""
    out = np.zeros((len(sizes), math.prod(sizes)), dtype=np.int64)
    number = np.arange(out.shape[1])
    for site in range(len(sizes) - 1, -1, -1):
        number, out[site] = np.divmod(number, sizes[site])
    return out


def enumerable(problem: Problem) -> Tensor:
    """Rows whose open sites have at most `MOST` combinations, and none of whose real sites is
    open. -> (R,) bool"""
    bits = torch.zeros(problem.rows, dtype=torch.float64, device=problem.device)
    for name in problem.domains:
        domain = problem.domain(name)
        if isinstance(domain, Finite):
            counts = domain.allowed.reshape(domain.rows, domain.sites, -1).sum(-1)
            bits = bits + counts.double().log2().sum(-1)
        else:
            assert isinstance(domain, Real)
            same = domain.low == domain.high
            settled = same.reshape(domain.rows, domain.sites).all(-1)
            bits = torch.where(settled, bits, math.inf)
    return bits <= math.log2(MOST) + 1e-9
