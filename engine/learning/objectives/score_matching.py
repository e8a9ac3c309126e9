"""Denoising score matching: the slope of the energy points from noisy examples back to clean ones.

    loss = mean over rows of  sigma^2 |grad E(y) - (y - x) / sigma^2|^2 / 2,   y = x + sigma noise

Least where E = -ln (p * Gaussian) + c: the density of the data blurred by sigma, without Z and
without samples. Source: Vincent, "A connection between score matching and denoising autoencoders",
Neural Computation 2011; weights after Song and Ermon, NeurIPS 2019.
"""

import math
from collections.abc import Generator
from dataclasses import dataclass

import torch

from engine.domain import Real, State
from engine.errors import BadQuery, Mistake
from engine.learning.objective import Nets, Objective, Update, energy_of
from engine.random import Stream


@dataclass(frozen=True)
class DenoisingScoreMatching(Objective[tuple[()]]):
    """Over the real variables of the energy; sigma in their unit."""

    sigma: float
    clip: float | None = None

    def __post_init__(self):
        if not 0 < self.sigma < math.inf:
            raise BadQuery(Mistake("sigma", f"{self.sigma!r}", "give a number above 0"))

    def start(self, nets: Nets, rng: Stream) -> tuple[()]:
        if not any(isinstance(v.domain, Real) for v in energy_of(nets).variables()):
            raise BadQuery(Mistake("nets.energy", "has no real variable", "use energy discrepancy"))
        return ()

    def updates(
        self, nets: Nets, batch: State, s: tuple[()], rng: Stream
    ) -> Generator[Update, None, tuple[()]]:
        energy = energy_of(nets)
        real = [v.name for v in energy.variables() if isinstance(v.domain, Real)]
        noisy = {}
        for lane, n in enumerate(real):
            noise = rng.fork(lane).normal(len(batch[n]), *batch[n].shape[1:]).to(batch[n])
            noisy[n] = (batch[n] + self.sigma * noise).requires_grad_()
        total = energy({**batch, **noisy}).sum()
        slopes = torch.autograd.grad(total, [noisy[n] for n in real], create_graph=True)
        loss = torch.zeros((), dtype=torch.float64, device=total.device)
        for n, slope in zip(real, slopes, strict=True):
            wanted = (noisy[n].detach() - batch[n]) / self.sigma**2
            missed = (slope - wanted).flatten(1).square().sum(1)
            loss = loss + self.sigma**2 * missed.double().mean() / 2
        yield Update("energy", loss, self.clip)
        return s
