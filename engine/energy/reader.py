"""How an energy is read along an order of its sites, one after the other.

    E(x) = sum over t of cost_t(x_t | x_1 ... x_(t-1))

A language model is read so, and so is whatever draws one choice after the other. What is known of
the sites read so far is a row for each of several states side by side; those with one beginning
share the reading of it.
"""

import math
from abc import ABC, abstractmethod
from typing import Generic, NamedTuple, TypeVar

import numpy as np
from torch import Tensor

S = TypeVar("S")


class Windows(NamedTuple):
    """What the last of some neighbouring sites costs beside the others, roughly."""

    places: np.ndarray  # (m, w) int64: places in the order of reading
    costs: np.ndarray  # (k, ..., k) float64, w axes: the values of those sites


class Reader(ABC, Generic[S]):
    """`sites`: (n, 2) int64, the entry of the scope and the flat site in it, in the order in which
    they are read; each site of the scope once. `least`: no site adds less, whatever stands before
    it."""

    sites: Tensor
    least: float = -math.inf

    @abstractmethod
    def begin(self, row: int) -> S:
        """What is known before anything is read, of one state of this row."""

    @abstractmethod
    def costs(self, s: S) -> Tensor:
        """What each value of the next site adds. -> (B, k) float64, +inf where it may not be"""

    @abstractmethod
    def read(self, s: S, places: Tensor) -> S:
        """After the next site of each state has this value. (B,) int64"""

    @abstractmethod
    def picked(self, s: S, index: Tensor) -> S:
        """Some of the states, in any order, any of them more than once. (m,)"""

    def ahead(self, width: int) -> Windows | None:
        """A rough guess of what sites to come will cost, by windows of so many sites: a search
        looks ahead by it, and nothing else depends on it. None: has none of this width."""
        del width
        return None
