"""Denoising score matching at many widths of noise at once: slopes lead back to data from afar.

    loss = mean over rows of |scale^2 grad E(y) - (y - x)|^2 / (2 sigma^2),   y = x + sigma noise,
    sigma drawn evenly from [low, high] for each row

At one width this is `score_matching`. With several, E falls towards the data from wherever noise
has brought them, as steep as a Gaussian of the width `scale` would have it.
Source: Li, Chen, Sommer, "Learning energy-based models in high-dimensional spaces with multiscale
denoising score matching", Entropy 2023 (arXiv 1910.07762).
"""

import math
from collections.abc import Generator
from dataclasses import dataclass

import torch

from engine.domain import State
from engine.errors import BadQuery, Mistake
from engine.learning.objective import Nets, Objective, Update, energy_of
from engine.learning.revision import pictured
from engine.random import Stream

WIDTH, NOISE = 481, 482  # lanes of the stream


@dataclass(frozen=True)
class MultiscaleScoreMatching(Objective[tuple[()]]):
    """Of an energy of one real variable, in whose unit the widths are."""

    low: float
    high: float
    scale: float
    weight: float = 1.0
    clip: float | None = None

    def __post_init__(self):
        if not 0 < self.low <= self.high < math.inf:
            problem = f"{self.low!r} and high {self.high!r}"
            raise BadQuery(Mistake("low", problem, "give 0 < low <= high"))
        for name in ("scale", "weight"):
            if not 0 < getattr(self, name) < math.inf:
                raise BadQuery(Mistake(name, f"{getattr(self, name)!r}", "give a number above 0"))

    def start(self, nets: Nets, rng: Stream) -> tuple[()]:
        pictured(energy_of(nets))
        return ()

    def updates(
        self, nets: Nets, batch: State, s: tuple[()], rng: Stream
    ) -> Generator[Update, None, tuple[()]]:
        energy = energy_of(nets)
        name = pictured(energy).name
        x = batch[name]
        ones = [1] * (x.dim() - 1)
        width = rng.fork(WIDTH).uniform(len(x), dtype=torch.float64).to(x).reshape(-1, *ones)
        width = self.low + (self.high - self.low) * width
        noise = rng.fork(NOISE).normal(len(x), *x.shape[1:], dtype=torch.float64).to(x)
        noisy = (x + width * noise).requires_grad_()
        (slope,) = torch.autograd.grad(energy({name: noisy}).sum(), noisy, create_graph=True)
        missed = (self.scale**2 * slope.to(x) / width - noise).flatten(1).square().sum(1)
        yield Update("energy", self.weight * missed.mean() / 2, self.clip)
        return s
