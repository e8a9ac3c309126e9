"""Projected descent on relaxed states: Adam on every particle, multipliers for required rules.

Minimizes energy + sum over parts of multiplier * violation over boxes and simplices. After each
move the state is projected into its domain; the multiplier of a part grows while its particle
breaks that part, the worst part fastest; the step shrinks once the objective has not fallen for a
while, until the particle stands still.
Sources: Kingma and Ba, "Adam", ICLR 2015; Duchi et al., ICML 2008 (simplex projection); Bertsekas,
"Constrained Optimization and Lagrange Multiplier Methods", 1982 (exact penalty).
Finds local minima; `restarts` looks further.
"""

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from engine.answer import Proof
from engine.compare import proved
from engine.domain import Domain, Finite, Real, State
from engine.errors import BadQuery, Mistake
from engine.minimizer import Best, Minimizer, heard, score, sound
from engine.moves.gradient import power
from engine.problem import Problem
from engine.random import Stream
from engine.rows import Report

FAST, SLOW, TINY = 0.9, 0.99, 1e-12  # Adam's two memories and its smallest slope
STEEPEST = 1e6  # multiplier at which a part is given up
RENEWED = 8  # by which steps are smaller at first under moved evidence
LEAST, MOST = 1.12, 1.25  # growth of a multiplier: of a part that fails by little, of the worst


class DescentState(NamedTuple):
    """All particles, and the best decided state of each row."""

    free: dict[str, Tensor]  # (R * P, *event) what moves
    mean: dict[str, Tensor]  # (R * P, *event) slopes, remembered
    square: dict[str, Tensor]  # (R * P, *event) squared slopes, remembered
    age: Tensor  # (R * P,) moves that Adam has seen
    rate: Tensor  # (R * P,) step in units of each box; 0: stands still
    lowest: Tensor  # (R * P,) least objective
    waited: Tensor  # (R * P,) moves since then
    multiplier: Tensor  # (R * P, m) of each part of the required terms
    moves: Tensor  # (R,) all moves
    x: dict[str, Tensor]  # (R, *shape) best decided states
    energy: Tensor  # (R,)
    violation: Tensor  # (R,)
    done: Tensor  # (R,) bool


class Slopes(NamedTuple):
    """What one evaluation of relaxed states gives."""

    energy: Tensor  # (B,) float64
    violation: Tensor  # (B,) float64
    parts: Tensor  # (B, m) float64, what each part is violated by
    objective: Tensor  # (B,) energy + multipliers * parts
    slope: dict[str, Tensor]  # of that


@dataclass(frozen=True)
class Descent(Minimizer[DescentState]):
    """One evaluation with gradient a step.

    rate: first step, as a share of the width of a box (of 1 where it is infinite).
    patience: moves without a lower objective after which the step is halved.
    smallest: step at which a particle stands still.
    every: moves between decisions of finite sites and changes of multipliers.
    """

    proof: ClassVar[Proof] = Proof.FLOOR

    rate: float = 0.05
    patience: int = 12
    smallest: float = 1e-6
    every: int = 8

    def __post_init__(self):
        if not 0 < self.smallest <= self.rate < math.inf:
            raise BadQuery(Mistake("rate", f"{self.rate!r}", "give smallest <= rate < infinity"))

    def init(self, problem: Problem, x: State, rng: Stream) -> DescentState:
        free = {
            v.name: _relaxed(problem.domain(v.name), x[v.name])
            for v in problem.open
            if v.name in problem.used
        }
        rows = problem.rows
        batch = next((t.shape[0] for t in free.values()), rows)
        one = torch.ones(batch, dtype=torch.float64, device=problem.device)
        infinite = torch.full((rows,), math.inf, dtype=torch.float64, device=problem.device)
        s = DescentState(
            free,
            {n: torch.zeros_like(t) for n, t in free.items()},
            {n: torch.zeros_like(t) for n, t in free.items()},
            torch.zeros_like(one, dtype=torch.int64),
            self.rate * one,
            math.inf * one,
            torch.zeros_like(one, dtype=torch.int64),
            one[:, None].repeat(1, problem.count_parts(free) if free else 0),
            torch.zeros_like(infinite, dtype=torch.int64),
            {v.name: x[v.name][:: len(x[v.name]) // rows].clone() for v in problem.open},
            infinite,
            infinite.clone(),
            torch.full_like(infinite, not free, dtype=torch.bool),
        )
        return self._decided(problem, s, torch.ones_like(s.done))

    def step(self, problem: Problem, s: DescentState, rng: Stream) -> DescentState:
        if s.done.all():
            return s
        got = self._slopes(problem, s)
        if all(isinstance(problem.domains[n], Real) for n in s.free):
            s = self._kept(s, s.free, got.energy, got.violation, ~s.done)
        s = self._paced(s, got)
        s = self._moved(problem, s, got.slope)
        s = s._replace(moves=s.moves + 1)
        due = s.moves % self.every == 0  # (R,)
        if due.any():
            s = self._adapted(s, got.parts, due)
            if any(isinstance(problem.domains[n], Finite) for n in s.free):
                s = self._decided(problem, s, due)
        return self._finished(problem, s)

    def report(self, problem: Problem, s: DescentState) -> Report:
        bound = torch.full_like(s.energy, problem.floor)
        return Best(s.x, s.energy, s.violation).reported(problem, bound, s.done)

    def told(self, problem: Problem, s: DescentState, report: Report) -> DescentState:
        best, _, done = heard(problem, report, Best(s.x, s.energy, s.violation))
        return s._replace(**best._asdict(), done=s.done | done)

    def renewed(self, problem: Problem, s: DescentState) -> DescentState | None:
        """Every particle from where it stood, with its momenta and multipliers, at small steps."""
        names = {v.name for v in problem.open}
        if names != s.x.keys() or {n for n in names if n in problem.used} != s.free.keys():
            return None
        free = {n: problem.domain(n).project(t) for n, t in s.free.items()}
        x = {n: problem.domain(n).decide(t) for n, t in s.x.items()}
        fresh = self.init(problem, x, Stream(0, problem.keys))
        if fresh.multiplier.shape[1:] != s.multiplier.shape[1:]:
            return None
        s = fresh._replace(
            free=free,
            mean=s.mean,
            square=s.square,
            age=s.age,
            rate=torch.full_like(s.rate, self.rate / RENEWED),
            lowest=torch.full_like(s.lowest, math.inf),
            waited=torch.zeros_like(s.waited),
            multiplier=s.multiplier,
        )
        return self._decided(problem, s, torch.ones_like(s.done))

    def _slopes(self, problem: Problem, s: DescentState) -> Slopes:
        leaves = {n: t.detach().requires_grad_() for n, t in s.free.items()}
        with torch.enable_grad():
            energy, violation, parts = problem.by_part(leaves)
            objective = energy + (s.multiplier * parts).sum(1)
        slopes: tuple[Tensor | None, ...] = (None,) * len(leaves)
        if objective.requires_grad:
            slopes = torch.autograd.grad(objective.sum(), list(leaves.values()), allow_unused=True)
        slope = {
            n: torch.zeros_like(t) if g is None else torch.nan_to_num(g, 0.0, 0.0, 0.0)
            for (n, t), g in zip(s.free.items(), slopes, strict=True)
        }
        return Slopes(
            energy.detach(), violation.detach(), parts.detach(), objective.detach(), slope
        )

    def _paced(self, s: DescentState, got: Slopes) -> DescentState:
        """The step of each particle, halved where the objective has not fallen for a while."""
        objective = sound(got.objective)
        close = 1e-9 * s.lowest.abs().nan_to_num(0, 0, 0)
        fell = objective < s.lowest - close
        waited = torch.where(fell, 0, s.waited + 1)
        tired = waited >= self.patience
        rate = torch.where(tired, s.rate / 2, s.rate)
        return s._replace(
            lowest=torch.minimum(s.lowest, objective),
            waited=torch.where(tired, 0, waited),
            rate=torch.where(rate < self.smallest, 0.0, rate),
        )

    def _moved(self, problem: Problem, s: DescentState, slope: dict[str, Tensor]) -> DescentState:
        """One step of Adam, and back into the domains."""
        ages = torch.where(s.rate > 0, s.age + 1, s.age)
        free, mean, square = {}, {}, {}
        for name, x in s.free.items():
            lead = (-1, *[1] * (x.dim() - 1))
            g = slope[name]
            mean[name] = FAST * s.mean[name] + (1 - FAST) * g
            square[name] = SLOW * s.square[name] + (1 - SLOW) * g * g
            age = ages.clamp(min=1).view(lead).double()
            m = mean[name] / (1 - power(FAST, age)).to(x.dtype)
            v = square[name] / (1 - power(SLOW, age)).to(x.dtype)
            pace = s.rate.view(lead).to(x.dtype) * _width(problem, name, x)
            moved = problem.rounded(name, x - pace * m / (v.sqrt() + TINY))
            moved = problem.domain(name).project(moved)
            free[name] = torch.where(s.rate.view(lead) > 0, moved, x)
        return s._replace(free=free, mean=mean, square=square, age=ages)

    def _adapted(self, s: DescentState, parts: Tensor, due: Tensor) -> DescentState:
        """Larger multipliers where parts fail, the more the worse they do beside the worst one of
        the particle; the objective is then another, and begins anew."""
        if not parts.shape[1]:
            return s
        failing = (parts > 0) & (s.multiplier < STEEPEST)
        failing = failing & due.repeat_interleave(len(parts) // len(due))[:, None]
        share = (parts / parts.amax(1, keepdim=True)).nan_to_num(1.0)
        grown = LEAST + (MOST - LEAST) * share
        broken = failing.any(1)
        asleep = broken & (s.rate == 0)
        return s._replace(
            multiplier=torch.where(failing, s.multiplier * grown, s.multiplier),
            lowest=torch.where(broken, math.inf, s.lowest),
            waited=torch.where(broken & asleep, 0, s.waited),
            rate=torch.where(asleep, self.rate / 4, s.rate),
        )

    def _decided(self, problem: Problem, s: DescentState, due: Tensor) -> DescentState:
        """Decides the particles of some rows and scores them as they would be answered."""
        x = {n: problem.domain(n).decide(t) for n, t in s.free.items()}
        if not x:  # nothing moves
            energy, violation = score(problem, s.x)
            return s._replace(energy=sound(energy), violation=sound(violation))
        particles = len(s.rate) // problem.rows
        still = {n: t.repeat_interleave(particles, 0) for n, t in s.x.items() if n not in x}
        return self._kept(s, x, *score(problem, {**still, **x}), due)

    def _kept(
        self,
        s: DescentState,
        x: State,
        energy: Tensor,
        violation: Tensor,
        due: Tensor,
    ) -> DescentState:
        """The best of the rows so far and of their particles."""
        best = Best(s.x, s.energy, s.violation).joined(x, energy, violation, due)
        return s._replace(**best._asdict())

    def _finished(self, problem: Problem, s: DescentState) -> DescentState:
        """Rows whose particles all stand still, or whose best is at the floor, are done."""
        still = (s.rate.view(problem.rows, -1) == 0).all(1)
        bound = torch.full_like(s.energy, problem.floor)
        done = s.done | still | proved(problem, s.x, s.energy, s.violation, bound)
        if not (done & ~s.done).any():
            return s
        asleep = done.repeat_interleave(len(s.rate) // problem.rows)
        s = s._replace(done=done, rate=torch.where(asleep, 0.0, s.rate))
        if any(isinstance(problem.domains[n], Finite) for n in s.free):
            return self._decided(problem, s, done)
        return s


def _relaxed(domain: Domain, x: Tensor) -> Tensor:
    """A decided state as one that moves. (B, *shape) -> (B, *event)"""
    return domain.hot(x) if isinstance(domain, Finite) else x.clone()


def _width(problem: Problem, name: str, x: Tensor) -> Tensor | float:
    """The unit of a step at each site: the width of its box, 1 where that is infinite."""
    domain = problem.domain(name)
    if not isinstance(domain, Real):
        return 1.0
    low, high = (e.expand(problem.rows, *domain.shape) for e in (domain.low, domain.high))
    width = torch.where((high - low).isfinite(), high - low, 1.0).to(x.dtype)
    return width.repeat_interleave(x.shape[0] // problem.rows, 0)
