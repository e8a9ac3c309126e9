"""Kinds beside inputs, for the tests of services: a classifier, a rule, an energy to pull at."""

import torch

from engine.domain import Input, Variable, View
from engine.energy import Term
from engine.factors import Factors


class Guess(Term):
    """-ln p(label | features) of a linear classifier: vectors (n, d), labels (n,)."""

    calibrated = True
    partial = True
    fixed_structure = True
    dtype = torch.float64

    def __init__(self, features: Input | View, labels: Variable | View, matrix: list[list[float]]):
        super().__init__(features, labels)
        self.register_buffer("matrix", torch.tensor(matrix, dtype=torch.float64))  # (d, k)

    def costs(self, values, present):
        """(R, n, d), (R, n) -> (R, n, k)"""
        return -torch.log_softmax(values @ self.matrix, -1) * present[..., None]

    def energy(self, features, labels):
        values, present = features
        assert values.dtype == torch.float64 and not values[~present].any()
        return (self.costs(values, present) * labels).sum((-2, -1))

    def floor(self):
        return 0.0

    def factors(self, features, labels):
        told = self.costs(features.tensor.double(), features.present)
        return Factors.unary(told.numpy())


class Sure(Guess):
    """The same, which stands by labels that cost at most 0.7."""

    def accepts(self, domains, tensors):
        (values, present), labels = tensors
        return (self.costs(values, present) * labels).sum(-1) <= 0.7


class Told(Term):
    """The labels are what was told; a whole number, or a name."""

    affine = False

    def __init__(self, told: Input | View, labels: Variable | View):
        super().__init__(told, labels)

    def energy(self, told, labels):
        assert told.dtype == torch.int64
        return (labels.argmax(-1) != told).float().sum(-1)

    def holds(self, told, labels):
        return list(told) == list(labels)

    def explain(self, told, labels):
        wrong = [k for k, (a, b) in enumerate(zip(told, labels)) if a != b]
        return [f"label {k} is not {told[k]}" for k in wrong]


class Toward(Term):
    """Squared distance of numbers from those told; it knows where to begin, and its own band."""

    def __init__(self, aim: Input | View, x: Variable | View, band: float = 0.5):
        super().__init__(aim, x)
        self.band = band

    def energy(self, aim, x):
        assert aim.dtype == torch.float32
        return ((x - aim) ** 2).reshape(len(x), -1).sum(-1)

    def propose(self, particles, rng, known, aim, x):
        told = aim.tensor.float().repeat_interleave(particles, 0)
        return aim.tensor, told + 1e-3 * rng.normal(particles, *x.event)

    def accepts(self, domains, tensors):
        aim, x = tensors
        assert torch.equal(domains[0].tensor.float(), aim)
        return (x - aim).abs().reshape(len(x), -1) <= self.band


class Sums(Term):
    """The sum of what is there of an input, times a number: never explicit."""

    partial = True

    def __init__(self, told: Input | View, x: Variable | View):
        super().__init__(told, x)

    def energy(self, told, x):
        values, present = told
        return (values.sum(-1) * present.sum(-1) - x).square()
