"""Site by site from the exact conditional distribution."""

from dataclasses import dataclass

import torch
from torch import Tensor

from engine.compare import LEVEL
from engine.domain import Finite, State
from engine.minimizer import score
from engine.moves.sampler import Sampler
from engine.problem import Problem
from engine.random import Stream


@dataclass(frozen=True)
class HeatBath(Sampler):
    """Gibbs sampling proper: a step draws every open finite site once, in a random order, from its
    distribution given all others; every value of a site is evaluated.

    Source: Geman and Geman, IEEE PAMI 1984.
    """

    @torch.no_grad()
    def walk(
        self, problem: Problem, x: State, steps: int, rng: Stream, beta: float = 1.0
    ) -> dict[str, Tensor]:
        x = dict(x)
        sites = [(v.name, i) for v in problem.finite for i in range(v.domain.sites)]
        for step in range(steps):
            turn = rng.fork(2 * step)
            order = turn.select(torch.zeros(1, dtype=torch.long)).uniform(1, len(sites))[0]
            particles = len(x[sites[0][0]]) // problem.rows if sites else 0
            u = rng.fork(2 * step + 1).uniform(particles, len(sites), dtype=torch.float64)
            for place in order.argsort().tolist():
                name, i = sites[place]
                x[name] = self._drawn(problem, x, name, i, u[:, place], beta)
        return x

    def _drawn(
        self, problem: Problem, x: State, name: str, i: int, u: Tensor, beta: float
    ) -> Tensor:
        """One site of every particle drawn anew. -> (B, *event)"""
        domain = problem.domain(name)
        assert isinstance(domain, Finite)
        now = x[name]
        batch, k = len(now), now.shape[-1]
        flat = now.reshape(batch, -1, k)
        wide = flat.repeat_interleave(k, 0)
        wide[:, i] = torch.eye(k, dtype=now.dtype, device=now.device).repeat(batch, 1)
        state = {n: t.repeat_interleave(k, 0) for n, t in x.items() if n != name}
        energy, violation = score(problem, {**state, name: wide.reshape(-1, *domain.event)})
        energy, violation = energy.reshape(batch, k), violation.reshape(batch, k)
        present = violation.gather(1, flat[:, i].argmax(-1, keepdim=True))
        allowed = domain.allowed.reshape(problem.rows, -1, k)[:, i]
        allowed = allowed.repeat_interleave(batch // problem.rows, 0).to(now.device)
        closed = ~allowed | ~(violation <= present + LEVEL) | ~energy.isfinite()
        stuck = closed.all(1, keepdim=True)  # nowhere to go: it stays
        closed = torch.where(stuck, ~flat[:, i].bool(), closed)
        energy = energy.masked_fill(closed, 0.0)
        heap = torch.softmax((-beta * energy).masked_fill(closed, -torch.inf), 1).cumsum(1)
        drawn = torch.searchsorted(heap, u[:, None].to(heap) * heap[:, -1:]).clamp(max=k - 1)
        flat = flat.clone()
        flat[:, i] = torch.eye(k, dtype=now.dtype, device=now.device)[drawn[:, 0]]
        return flat.reshape(now.shape)
