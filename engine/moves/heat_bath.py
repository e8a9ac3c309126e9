"""Site by site from the exact conditional distribution."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.changes import allowed_values, energy_changes, violation_changes
from engine.compare import LEVEL
from engine.domain import State
from engine.moves.sampler import Sampler
from engine.problem import Problem
from engine.random import Stream


@dataclass(frozen=True)
class HeatBath(Sampler):
    """Gibbs sampling proper: a step draws every open finite site once, in a random order, from its
    distribution given all others.

    Source: Geman and Geman, IEEE PAMI 1984.
    """

    @torch.no_grad()
    def walk(
        self, problem: Problem, x: State, steps: int, rng: Stream, beta: float = 1.0
    ) -> dict[str, Tensor]:
        x = {n: t.clone() for n, t in x.items()}
        sites = [(v.name, i) for v in problem.finite for i in range(v.domain.sites)]
        allowed = allowed_values(problem, np.arange(len(sites)))  # (R, n, k)
        for step in range(steps):
            turn = rng.fork(2 * step)
            order = turn.select(torch.zeros(1, dtype=torch.long)).uniform(1, len(sites))[0]
            particles = len(x[sites[0][0]]) // problem.rows if sites else 0
            u = rng.fork(2 * step + 1).uniform(particles, len(sites), dtype=torch.float64)
            for place in order.argsort().tolist():
                name, i = sites[place]
                stands = x[name].view(len(u), -1)[:, i]
                own = allowed[:, place].repeat_interleave(particles, 0)
                change = self._changes(problem, x, place, own)
                drawn = _drawn(change, u[:, place], beta).to(stands.dtype)
                stuck = (change == torch.inf).all(1)  # nowhere to go: it stays
                x[name].view(len(u), -1)[:, i] = torch.where(stuck, stands, drawn)
        return x

    def _changes(self, problem: Problem, x: State, place: int, allowed: Tensor) -> Tensor:
        """What each value of a site changes of the energy; infinite where evidence or a rule shuts
        it out. (B, k) allowed -> (B, k)"""
        site = np.array([place])
        energy = energy_changes(problem, site, x)[:, 0]
        closed = ~allowed[:, : energy.shape[1]].to(energy.device)
        if any(summand.required for summand in problem.summands):
            closed = closed | ~(violation_changes(problem, site, x)[:, 0] <= LEVEL)
        return energy.masked_fill(closed, torch.inf)


def _drawn(change: Tensor, u: Tensor, beta: float) -> Tensor:
    """The places that uniform numbers tell: (B, k) changes, (B,) -> (B,)

    Where what stands has infinite energy, any value that has not is as good as another.
    """
    log = torch.where(change == -torch.inf, torch.inf, -beta * change)
    way = log - log.max(1, keepdim=True).values
    heap = way.nan_to_num(0.0).exp().cumsum(1)
    drawn = torch.searchsorted(heap, u[:, None].to(heap) * heap[:, -1:])[:, 0]
    return drawn.clamp(max=heap.shape[1] - 1)
