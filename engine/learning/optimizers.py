"""How a network steps along its gradient: frozen settings, one optimizer for each network.

    Recipe(steps=2000, optimizers={"generator": Adam(1e-4, betas=(0.0, 0.9), fall=0.998)})

Sources: Kingma and Ba, "Adam", ICLR 2015; Loshchilov and Hutter, "Decoupled weight decay
regularization", ICLR 2019.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from engine.errors import BadQuery, Mistake


class Optimizer(ABC):
    """What an optimizer is told; `made` begins one."""

    rate: float  # of the first pass over the examples
    fall: float  # factor of the rate from one pass to the next

    @abstractmethod
    def made(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Torch's own, over some parameters; the loop sets its rate before each step."""

    def rate_at(self, epoch: int) -> float:
        """rate * fall^epoch"""
        return self.rate * self.fall**epoch


@dataclass(frozen=True)
class Adaptive(Optimizer):
    """Abstract: steps by running means of the gradient and of its square."""

    rate: float
    betas: tuple[float, float] = (0.9, 0.999)
    weight_decay: float = 0.0
    fall: float = 1.0

    def __post_init__(self):
        _check(self.rate, self.betas, self.weight_decay, self.fall)


@dataclass(frozen=True)
class Adam(Adaptive):
    """weight_decay: added to the gradient, and so scaled as it is (L2)."""

    def made(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.Adam(parameters, self.rate, self.betas, weight_decay=self.weight_decay)


@dataclass(frozen=True)
class AdamW(Adaptive):
    """weight_decay: of the weights themselves, rate * weight_decay of each at every step."""

    def made(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        return torch.optim.AdamW(parameters, self.rate, self.betas, weight_decay=self.weight_decay)


def _check(rate: float, betas: tuple[float, float], weight_decay: float, fall: float) -> None:
    """Raises BadQuery with every number that makes no sense."""
    wrong = []
    if not 0 < rate < math.inf:
        wrong.append(Mistake("rate", f"{rate!r}", "give a number above 0"))
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        wrong.append(Mistake("betas", f"{betas!r}", "give two numbers, 0 <= beta < 1"))
    if not 0 <= weight_decay < math.inf:
        wrong.append(Mistake("weight_decay", f"{weight_decay!r}", "give a number >= 0"))
    if not 0 < fall <= 1:
        wrong.append(Mistake("fall", f"{fall!r}", "give 0 < fall <= 1; 1: the rate stays"))
    if wrong:
        raise BadQuery(*wrong)
