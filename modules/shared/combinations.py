"""What combinations of values cost, looked up: all of them, or some and a default for others."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from engine.decimals import Floats, Ints

SMALL = 1 << 16  # combinations that are written out, however few are listed
LARGEST = 2**62  # of a number


class Combinations:
    """Costs of places at some sites, infinite where forbidden.

    A combination has a number, in mixed radix. Where numbers of whole combinations are too large,
    columns are numbered bunch by bunch: the rank of what stands before among what is listed, then
    the places of the bunch.
    """

    def __init__(self, sizes: Sequence[int], tuples: Ints, costs: Floats, default: float):
        """tuples (T, arity), costs (T,): what is listed, each once."""
        total = math.prod(sizes)
        self.default = default
        self.whole = total < LARGEST  # one number tells a combination
        self.strides = torch.from_numpy(_strides(sizes if self.whole else ()))  # (arity,) where so
        self.written = self.whole and total <= max(SMALL, 2 * len(tuples))
        self._bunches: list[tuple[slice, Tensor, int, Tensor]] = []
        place = np.zeros(len(tuples), dtype=np.int64)
        for part in _bunches(sizes, len(tuples)):
            strides, size = _strides(sizes[part]), math.prod(sizes[part])
            place = place * size + (tuples[:, part] * strides).sum(1)
            if self.written:
                break
            known, place = np.unique(place, return_inverse=True)
            place = place.reshape(-1)
            self._bunches.append((part, torch.from_numpy(strides), size, torch.from_numpy(known)))
        every = np.full(total if self.written else max(1, len(tuples)), default, dtype=np.float64)
        every[place] = costs
        self._costs = torch.from_numpy(every)

    def cost(self, places: Tensor) -> Tensor:
        """(..., arity) int64 -> (...) float64"""
        if self.whole:
            return self.numbered(self.number(places))
        rank = torch.zeros(places.shape[:-1], dtype=torch.int64, device=places.device)
        found = torch.ones_like(rank, dtype=torch.bool)
        for part, strides, size, known in self._bunches:
            number = rank * size + (places[..., part] * strides.to(places.device)).sum(-1)
            rank, here = _ranked(known.to(places.device), number)
            found &= here
        return torch.where(found, self._costs.to(rank.device)[rank], self.default)

    def number(self, places: Tensor) -> Tensor:
        """The numbers of combinations, where they are `whole`. (..., arity) -> (...)"""
        return (places * self.strides.to(places.device)).sum(-1)

    def numbered(self, number: Tensor) -> Tensor:
        """What the combinations of these numbers cost. -> same shape, float64"""
        costs = self._costs.to(number.device)
        if self.written:
            return costs.take(number)
        rank, found = _ranked(self._bunches[0][3].to(number.device), number)
        return torch.where(found, costs[rank], self.default)


def _ranked(known: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
    """Where numbers stand in a rising list, and whether they do."""
    if not len(known):
        return torch.zeros_like(number), torch.zeros_like(number, dtype=torch.bool)
    rank = torch.searchsorted(known, number.contiguous()).clamp(max=len(known) - 1)
    return rank, known[rank] == number


def _strides(sizes: Sequence[int]) -> Ints:
    """What a step of each place adds to a number; the last counts fastest."""
    return np.array([math.prod(sizes[j + 1 :]) for j in range(len(sizes))], dtype=np.int64)


def _bunches(sizes: Sequence[int], listed: int) -> list[slice]:
    """Columns whose places, beside the rank of what stands before, make one number."""
    out, first, room = [], 0, 1
    for j, size in enumerate(sizes):
        if room * size >= LARGEST:
            out.append(slice(first, j))
            first, room = j, max(1, listed)
        room *= size
    return [*out, slice(first, len(sizes))]
