"""Terms of the tests of energies."""

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

from engine.domain import Finite, Real, Variable, flatten
from engine.energy import Sum, Term, soft_min
from engine.random import Stream

FEW = settings(max_examples=30, deadline=None)
X = Variable("x", Finite((0, 1, 2), (2, 2)))
Y = Variable("y", Finite(("a", "b"), (2,)))
Z = Variable("z", Real((3,), -1.0, 2.0))


class Costs(Term):
    """E = sum of cost * probability over all sites and values."""

    def __init__(self, *scope, seed: int = 0):
        super().__init__(*scope)
        rng = np.random.default_rng(seed)
        self.costs = [
            torch.from_numpy(rng.normal(size=v.variable.domain.event)) for v in self.scope
        ]

    def energy(self, *tensors: Tensor) -> Tensor:
        parts = zip(tensors, self.costs, strict=True)
        return sum((x * c.to(x)).flatten(1).sum(-1) for x, c in parts)

    def floor(self) -> float:
        return float(sum(c.flatten(0, -2).min(-1).values.sum() for c in self.costs))


class Well(Term):
    """E = |z - c|^2 / 2."""

    def __init__(self, z, center: float = 0.5):
        super().__init__(z)
        self.center = center

    def residual(self, z: Tensor) -> Tensor:
        return z - self.center

    def energy(self, z: Tensor) -> Tensor:
        return ((z - self.center) ** 2).sum(-1) / 2


class Even(Term):
    """The values of the first site and of the last have an even sum; E = 1 where not."""

    def energy(self, x: Tensor) -> Tensor:
        p = x.reshape(x.shape[0], -1, x.shape[-1])
        a, b = p[:, 0, 1], p[:, -1, 1]
        return a + b - 2 * a * b

    def holds(self, x) -> bool:
        flat = flatten(x, self.scope[0].shape)
        return (flat[0] + flat[-1]) % 2 == 0


def state(seed: int) -> dict[str, Tensor]:
    """Random relaxed states. -> 5 of them"""
    rng = Stream(seed, torch.tensor([seed]))
    x = rng.normal(5, *X.domain.event).softmax(-1)
    y = rng.fork(1).normal(5, *Y.domain.event).softmax(-1)
    return {"x": x, "y": y, "z": Z.domain.sample(5, rng.fork(2))}


ATOMS = [Costs(X), Costs(Y, seed=1), Costs(X, Y, seed=2), Well(Z), Even(X), Even(X[0, :])]


atoms = st.sampled_from(ATOMS)


weights = st.floats(0.1, 10)


seeds = st.integers(0, 2**31)


energies = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.builds(lambda a, b: a + b, inner, inner),
        st.builds(lambda w, a: w * a, weights, inner),
        st.builds(lambda a, b: a | b, inner, inner),
        st.builds(lambda a, b, t: soft_min(a, b, temperature=t), inner, inner, weights),
    ),
    max_leaves=5,
)


def same(a, b, at) -> bool:
    """Equal energy and violation; a term alone counts as it does in a sum."""
    a, b = Sum(*a.summands()), Sum(*b.summands())
    return torch.allclose(a(at), b(at), rtol=1e-9, atol=1e-9) and torch.allclose(
        a.total_violation(at), b.total_violation(at), rtol=1e-9, atol=1e-9
    )
