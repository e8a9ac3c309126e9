"""Kinds that no release ships, for the fuzzer: opaque, undecided, rounding, hard tables, reals.

Each is a few lines, as a user would write it; what it means is written once more in `meaning.py`.
`place` of a value is its place among the values of its site.
"""

import math

import numpy as np
import torch

from engine import Factors, Term, Variable
from engine.domain import Finite, View
from engine.factors import Table, floats


def _places(x: torch.Tensor) -> torch.Tensor:
    """(B, *shape, k) -> (B, n): the expected place at each site."""
    flat = x.reshape(len(x), -1, x.shape[-1])
    return (flat * torch.arange(x.shape[-1], dtype=x.dtype)).sum(-1)


def _flat(value) -> list:
    return [v for part in value for v in _flat(part)] if isinstance(value, list) else [value]


class _OfPlaces(Term):
    """Abstract: judges plain values by their places."""

    affine = False

    def __init__(self, x: Variable | View):
        super().__init__(x)
        domain = self.scope[0].variable.domain
        assert isinstance(domain, Finite)
        self.domain = domain

    def places(self, value) -> list[int]:
        return [self.domain.place(v) for v in _flat(value)]


class Tenths(_OfPlaces):
    """Holds where step times the sum of places is the goal; its energy is rounded to float32."""

    def __init__(self, x: Variable | View, step: float = 0.1, goal: float = 0.9):
        super().__init__(x)
        self.step, self.goal = step, goal

    def energy(self, x):
        steps = (_places(x) * torch.tensor(self.step)).cumsum(-1)[..., -1]
        return (steps - self.goal).abs()

    def holds(self, value):
        return abs(sum(self.places(value)) * self.step - self.goal) < 1e-6

    def factors(self, *domains):
        return None


class Unsure(_OfPlaces):
    """The sum of places modulo 3: 0 holds, 1 fails, 2 it cannot say. Opaque."""

    def energy(self, x):
        return (_places(x).sum(-1).round() % 3 != 0).double()

    def holds(self, value):
        return {0: True, 1: False, 2: None}[sum(self.places(value)) % 3]

    def factors(self, *domains):
        return None


class UnsureTable(Unsure):
    """The same with the structure that the engine enumerates."""

    factors = Term.factors

    def energy(self, x):
        return super().energy(x)

    def holds(self, value):
        return super().holds(value)


class Word(_OfPlaces):
    """1 where the places spell none of the words; its structure is a table that forbids."""

    fixed_structure = True

    def __init__(self, x: Variable | View, words: list[list[int]]):
        super().__init__(x)
        self.words = [tuple(word) for word in words]

    def energy(self, x):
        flat = x.reshape(len(x), -1, x.shape[-1])
        total = flat.new_zeros(len(x))
        for word in self.words:
            total = total + flat[:, range(len(word)), word].prod(-1)
        return 1 - total

    def holds(self, value):
        return tuple(self.places(value)) in self.words

    def factors(self, *domains):
        sizes = Factors.sizes_of(domains)
        n, none = len(sizes), np.zeros(1, dtype=np.int64)
        tuples = np.array(self.words, dtype=np.int64).reshape(-1, n)
        costs = floats([0.0] * len(tuples))
        table = Table(np.arange(n)[None], tuples, costs, math.inf, none, none)
        return Factors(sizes, n, tables=(table,))


class Wave(_OfPlaces):
    """scale * cos(sum of (site + 1) * place), opaque."""

    def __init__(self, x: Variable | View, scale: float = 1.0):
        super().__init__(x)
        self.scale = scale

    def energy(self, x):
        places = _places(x)
        return self.scale * (places * (1 + torch.arange(places.shape[1]))).sum(-1).cos()

    def floor(self):
        return -self.scale * (1 + 1e-6)

    def factors(self, *domains):
        return None


class WaveTable(Wave):
    """The same with the structure that the engine enumerates."""

    factors = Term.factors


class Modulo(_OfPlaces):
    """Holds where the sum of places modulo m is r; opaque, and exact."""

    def __init__(self, x: Variable | View, m: int = 2, r: int = 0):
        super().__init__(x)
        self.m, self.r = m, r

    def energy(self, x):
        return (_places(x).sum(-1).round() % self.m != self.r).double()

    def holds(self, value):
        return sum(self.places(value)) % self.m == self.r

    def factors(self, *domains):
        return None


class Pull(Term):
    """Squared distance of reals from a number."""

    def __init__(self, a: Variable | View, to: float = 0.25):
        super().__init__(a)
        self.to_ = to

    def energy(self, a):
        return (a.double().reshape(len(a), -1) - self.to_).square().sum(-1)

    def floor(self):
        return 0.0


class Slope(Term):
    """The sum of reals; no floor."""

    def energy(self, a):
        return a.double().reshape(len(a), -1).sum(-1)

    def __init__(self, a: Variable | View):
        super().__init__(a)


class Within(Term):
    """Reals between two numbers."""

    affine = False

    def __init__(self, a: Variable | View, low: float = 0.0, high: float = 0.5):
        super().__init__(a)
        self.low, self.high = low, high

    def energy(self, a):
        a = a.double().reshape(len(a), -1)
        return ((self.low - a).clamp(min=0) + (a - self.high).clamp(min=0)).sum(-1)

    def holds(self, a):
        return all(self.low <= v <= self.high for v in _flat(a))


class Toward(Term):
    """Squared distance of the first real from a quarter of the first place."""

    def __init__(self, x: Variable | View, a: Variable | View):
        super().__init__(x, a)

    def energy(self, x, a):
        return (a.double().reshape(len(a), -1)[:, 0] - _places(x)[:, 0] / 4).square()

    def floor(self):
        return 0.0


class Gate(Term):
    """Where the first place is not 0, the first real is at most a half."""

    affine = False

    def __init__(self, x: Variable | View, a: Variable | View):
        super().__init__(x, a)
        domain = self.scope[0].variable.domain
        assert isinstance(domain, Finite)
        self.domain = domain

    def energy(self, x, a):
        over = (a.double().reshape(len(a), -1)[:, 0] - 0.5).clamp(min=0)
        return over * _places(x)[:, 0].clamp(max=1)

    def holds(self, x, a):
        return self.domain.place(_flat(x)[0]) == 0 or _flat(a)[0] <= 0.5
