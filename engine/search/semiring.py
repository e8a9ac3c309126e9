"""In what elimination adds and reduces: the least cost in whole units, or the weight of all."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from engine.decimals import LARGEST, Floats, Scale


class Semiring(ABC):
    """Costs add along a state, and are reduced over the values of a site."""

    dtype: type
    forbidden: float | int  # the cost of what cannot be
    limit: float | int  # a cost of so much or more is forbidden
    soft: bool  # over a site, -ln sum exp(-cost); else the minimum

    @abstractmethod
    def read(self, costs: Floats, scale: Scale, read: Callable[[float], Fraction]) -> np.ndarray:
        """Costs of tables as its own numbers; `read` says what number a cost stands for."""


@dataclass(frozen=True)
class Least(Semiring):
    """(min, +) in the units of `decimals`: exact. A total lies below 2^61, and what is forbidden so
    far above that no cost brings it there, and two of it stay below 2^63."""

    dtype = np.int64
    forbidden = 2 * LARGEST - 1
    limit = LARGEST
    soft = False

    def read(self, costs: Floats, scale: Scale, read: Callable[[float], Fraction]) -> np.ndarray:
        shut = ~np.isfinite(costs)
        if not shut.any():
            return scale.units(costs, read)
        return np.where(shut, self.forbidden, scale.units(np.where(shut, 0.0, costs), read))


@dataclass(frozen=True)
class Weight(Semiring):
    """(ln sum exp, +) of -beta times costs, as costs: -ln sum exp(-cost)."""

    beta: float = 1.0

    dtype = np.float64
    forbidden = math.inf
    limit = math.inf
    soft = True

    def read(self, costs: Floats, scale: Scale, read: Callable[[float], Fraction]) -> np.ndarray:
        del scale, read
        return self.beta * costs
