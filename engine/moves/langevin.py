"""Langevin moves of real variables: unadjusted (ULA), or corrected by Metropolis (MALA).

    x' = x - step beta grad E(x) + sqrt(2 step) noise

with a step for each variable, a diagonal preconditioner. Unadjusted, the law is off by O(step) and
a move out of a box is projected; adjusted, a move of all variables together is taken with
probability min(1, p(x') q(x | x') / (p(x) q(x' | x))), and one out of a box is refused, so that the
law is exact. Sources: Roberts and Tweedie, Bernoulli 1996; Rossky, Doll, Friedman 1978.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from engine.domain import Real, State
from engine.errors import BadQuery, Mistake, known
from engine.minimizer import sound
from engine.moves.gradient import where
from engine.moves.sampler import Sampler
from engine.problem import Problem
from engine.random import Stream


@dataclass(frozen=True)
class Langevin(Sampler):
    """step: in squared units of the variables; steps: of single ones by name, whose unit differs.
    Finite variables stay where they are."""

    step: float
    adjusted: bool = True
    steps: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self):
        every = {"step": self.step, **{f"steps.{n}": step for n, step in self.steps.items()}}
        wrong = [
            Mistake(path, f"{step!r}", "give a number above 0")
            for path, step in every.items()
            if not 0 < step < math.inf
        ]
        if wrong:
            raise BadQuery(*wrong)

    def step_of(self, name: str) -> float:
        """Of one variable."""
        return self.steps.get(name, self.step)

    def walk(
        self, problem: Problem, x: State, steps: int, rng: Stream, beta: float = 1.0
    ) -> dict[str, Tensor]:
        x = dict(x)
        names = self._names(problem)
        if not names:  # all are given, or defined
            return x
        particles = len(x[names[0]]) // len(rng.keys)
        energy, slope = self._slopes(problem, x, names, beta)
        for k in range(steps):
            lane = rng.fork(k)
            there = {}
            for place, n in enumerate(names):
                noise = lane.fork(place).normal(particles, *x[n].shape[1:], dtype=torch.float64)
                moved = x[n].double() - self.step_of(n) * slope[n]
                moved = moved + math.sqrt(2 * self.step_of(n)) * noise.to(moved.device)
                there[n] = self._open(problem, n, x[n], moved)
            inside = {n: problem.domain(n).project(t).to(x[n].dtype) for n, t in there.items()}
            after, downhill = self._slopes(problem, {**x, **inside}, names, beta)
            if not self.adjusted:
                x, energy, slope = {**x, **inside}, after, downhill
                continue
            log = energy - after
            for n in names:
                log = log + _ratio(self.step_of(n), x[n], inside[n], slope[n], downhill[n])
                log = torch.where(_same(inside[n], there[n]), log, -math.inf)
            u = lane.fork(len(names)).uniform(particles, dtype=torch.float64).to(log.device)
            taken = u.log() <= log
            x = {**x, **{n: where(taken, inside[n], x[n]) for n in names}}
            energy = torch.where(taken, after, energy)
            slope = {n: where(taken, downhill[n], slope[n]) for n in names}
        return x

    def _names(self, problem: Problem) -> list[str]:
        """The variables that move. Raises BadQuery where there is no real one, or not one that has
        a step."""
        real = [v.name for v in problem.energy.variables() if isinstance(v.domain, Real)]
        if not real:
            raise BadQuery(Mistake("variables", "have no real one", "use gibbs or heat bath"))
        if strange := sorted(set(self.steps) - set(real)):
            wrong = [Mistake(f"steps.{n}", "no real variable", known(n, real)) for n in strange]
            raise BadQuery(*wrong)
        searched = {v.name for v in problem.open}  # neither given nor defined by others
        return [name for name in real if name in searched]

    def _slopes(
        self, problem: Problem, x: State, names: list[str], beta: float
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """beta * energy and its slopes. -> (B,), {name: (B, *event)}, float64"""
        leaves = {n: x[n].detach().requires_grad_() for n in names}
        with torch.enable_grad():
            energy = beta * problem.energy(problem.whole({**x, **leaves}))
            slopes = torch.autograd.grad(energy.sum(), list(leaves.values()))
        broken = problem.energy.total_violation(
            problem.whole({n: t.detach() for n, t in x.items()})
        ).detach()
        hard = torch.where(broken == 0, 0.0, math.inf)
        slope = {
            n: g.double().nan_to_num(0.0, 0.0, 0.0) for n, g in zip(names, slopes, strict=True)
        }
        return sound(energy.detach() + hard), slope

    def _open(self, problem: Problem, name: str, x: Tensor, moved: Tensor) -> Tensor:
        """Sites that evidence fixes stay."""
        domain = problem.domain(name)
        assert isinstance(domain, Real)
        fixed = (domain.low == domain.high).expand(problem.rows, *domain.shape).to(x.device)
        fixed = fixed.repeat_interleave(len(x) // problem.rows, 0)
        return torch.where(fixed, x.double(), moved)


def _ratio(step: float, x: Tensor, there: Tensor, slope: Tensor, back: Tensor) -> Tensor:
    """ln q(x | x') - ln q(x' | x) of one variable; sites that stand still say nothing. -> (B,)"""
    gone = there.double() - x.double()
    forward = (gone + step * slope).masked_fill(gone == 0, 0.0)
    reverse = (-gone + step * back).masked_fill(gone == 0, 0.0)
    return ((forward.square() - reverse.square()).flatten(1).sum(1)) / (4 * step)


def _same(inside: Tensor, there: Tensor) -> Tensor:
    """Whether nothing was projected. -> (B,)"""
    return ((inside.double() - there).abs() <= 1e-5 * (1 + there.abs())).flatten(1).all(1)
