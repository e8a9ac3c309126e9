"""What held-out pictures say of an energy that was learned: its temperature, and what is usual."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from engine.random import Stream
from modules.image._generated.networks import Judge
from modules.shared.band import quantile_at
from modules.shared.weights import positive

QUANTILES = (0.5, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 1.0)
NOISE = 0.15  # of the held-out pictures on which the temperature is fitted
BUNCH = 1024  # pictures that pass at once


@dataclass(frozen=True, eq=False)
class Measured:
    """Abstract: what a training leaves, as far as the energy goes.

    shape: (height, width). judge: what a picture costs, times `temperature`. quantiles: of the
    energies of held-out pictures, at QUANTILES. made: the command.
    """

    shape: tuple[int, int]
    judge: Judge
    temperature: float = field(default=1.0, kw_only=True)
    quantiles: tuple[float, ...] = field(default=(), kw_only=True)
    made: str = field(default="", kw_only=True)

    def band(self, share: float) -> float:
        """The energy that `share` of held-out pictures lie below, between the shares kept."""
        return quantile_at(QUANTILES, self.quantiles, share, self.quantiles[0])


M = TypeVar("M", bound=Measured)


def measured(learned: M, held: Tensor, made: str) -> M:
    """The same with a temperature and quantiles of energies, fitted on held-out pictures."""
    temperature = fitted_temperature(learned.judge, held)
    quantiles = held_quantiles(learned.judge, held, temperature)
    return replace(learned, temperature=temperature, quantiles=quantiles, made=made)


def as_told(blank: M, about: Mapping[str, Any]) -> M:
    """The same with the temperature and the quantiles that a file tells. Raises BadQuery and
    ValueError for what was never fitted."""
    temperature = positive(about, "temperature")
    quantiles = tuple(float(value) for value in about["quantiles"])
    if len(quantiles) != len(QUANTILES) or list(quantiles) != sorted(quantiles):
        raise ValueError("no quantiles")
    return replace(blank, temperature=temperature, quantiles=quantiles, made=about["made"])


def fitted_temperature(judge: Judge, held: Tensor) -> float:
    """The temperature of an energy H on pictures that it did not learn from. (n, h, w)

    The slope of E = H / T should point from noisy pictures back to clean ones: T is the least
    squares of  grad H(y) / T = (y - x) / NOISE^2,  y = x + NOISE n  (`score_matching`). Where
    slopes do not point there at all the temperature stays 1.
    """
    rng = Stream(0, torch.zeros(1, dtype=torch.int64))
    noise = rng.normal(len(held), *held.shape[1:], dtype=torch.float64).to(held)
    noisy = (held + NOISE * noise).requires_grad_()
    (slope,) = torch.autograd.grad(judge(noisy).sum(), noisy)
    wanted = NOISE * noise / NOISE**2
    agreed, size = float((slope * wanted).sum()), float(slope.square().sum())
    return size / agreed if agreed > 0 and size > 0 else 1.0


@torch.no_grad()
def held_quantiles(judge: Judge, held: Tensor, temperature: float) -> tuple[float, ...]:
    """What held-out pictures cost, at QUANTILES. (n, h, w)"""
    every = torch.cat([judge(x) for x in held.split(BUNCH)]).double() / temperature
    return tuple(torch.quantile(every, torch.tensor(QUANTILES, dtype=torch.float64)).tolist())
