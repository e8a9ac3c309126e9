"""Langevin moves of real variables: unadjusted (ULA), or corrected by Metropolis (MALA).

    x' = x - step beta grad E(x) + sqrt(2 step) noise

Unadjusted, the law is off by O(step) and a move out of a box is projected; adjusted, a move is
taken with probability min(1, p(x') q(x | x') / (p(x) q(x' | x))), and one out of a box is refused,
so that the law is exact. Sources: Roberts and Tweedie, Bernoulli 1996; Rossky, Doll, Friedman 1978.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.domain import Real, State
from engine.errors import BadQuery, Mistake
from engine.minimizer import sound
from engine.moves.gradient import where
from engine.moves.sampler import Sampler
from engine.problem import Problem
from engine.random import Stream


@dataclass(frozen=True)
class Langevin(Sampler):
    """step: in squared units of the variables; finite variables stay where they are."""

    step: float
    adjusted: bool = True

    def __post_init__(self):
        if not 0 < self.step < math.inf:
            raise BadQuery(Mistake("step", f"{self.step!r}", "give a number above 0"))

    def walk(
        self, problem: Problem, x: State, steps: int, rng: Stream, beta: float = 1.0
    ) -> dict[str, Tensor]:
        x = dict(x)
        names = [v.name for v in problem.energy.variables() if isinstance(v.domain, Real)]
        if not names:
            raise BadQuery(Mistake("variables", "have no real one", "use gibbs or heat bath"))
        particles = len(x[names[0]]) // problem.rows
        energy, slope = self._slopes(problem, x, names, beta)
        for k in range(steps):
            lane = rng.fork(k)
            there = {}
            for place, n in enumerate(names):
                noise = lane.fork(place).normal(particles, *x[n].shape[1:], dtype=torch.float64)
                moved = x[n].double() - self.step * slope[n]
                moved = moved + math.sqrt(2 * self.step) * noise.to(moved.device)
                there[n] = self._open(problem, n, x[n], moved)
            inside = {n: problem.domain(n).project(t).to(x[n].dtype) for n, t in there.items()}
            after, downhill = self._slopes(problem, {**x, **inside}, names, beta)
            if not self.adjusted:
                x, energy, slope = {**x, **inside}, after, downhill
                continue
            log = energy - after
            for n in names:
                log = log + self._ratio(x[n], inside[n], slope[n], downhill[n])
                log = torch.where(_same(inside[n], there[n]), log, -math.inf)
            u = lane.fork(len(names)).uniform(particles, dtype=torch.float64).to(log.device)
            taken = u.log() <= log
            x = {**x, **{n: where(taken, inside[n], x[n]) for n in names}}
            energy = torch.where(taken, after, energy)
            slope = {n: where(taken, downhill[n], slope[n]) for n in names}
        return x

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

    def _ratio(self, x: Tensor, there: Tensor, slope: Tensor, back: Tensor) -> Tensor:
        """ln q(x | x') - ln q(x' | x); sites that stand still say nothing. -> (B,)"""
        gone = there.double() - x.double()
        forward = (gone + self.step * slope).masked_fill(gone == 0, 0.0)
        reverse = (-gone + self.step * back).masked_fill(gone == 0, 0.0)
        return ((forward.square() - reverse.square()).flatten(1).sum(1)) / (4 * self.step)


def _same(inside: Tensor, there: Tensor) -> Tensor:
    """Whether nothing was projected. -> (B,)"""
    return ((inside.double() - there).abs() <= 1e-5 * (1 + there.abs())).flatten(1).all(1)
