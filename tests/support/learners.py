"""Small energies whose distributions can be enumerated, for tests of learners and samplers."""

import itertools

import torch
from torch import Tensor, nn

from engine.domain import Finite, Variable
from engine.energy import Term
from engine.random import Stream


def stream(seed: int = 0) -> Stream:
    return Stream(seed, torch.tensor([seed]))


class Spins(Term):
    """E = - sum_(i<j) J_ij s_i s_j - sum_i h_i s_i with s = -1, 1."""

    def __init__(self, x: Variable, couplings: Tensor, field: Tensor):
        super().__init__(x)
        self.couplings = nn.Parameter(couplings.clone())
        self.field = nn.Parameter(field.clone())

    def energy(self, x: Tensor) -> Tensor:  # (B, n, 2) -> (B,)
        s = x[..., 1] - x[..., 0]
        pairs = torch.einsum("bi,ij,bj->b", s, self.couplings.triu(1), s)
        return -pairs - s @ self.field


def spins(n: int, seed: int, scale: float = 0.5) -> Spins:
    g = torch.Generator().manual_seed(seed)
    x = Variable("x", Finite((0, 1), (n,)))
    couplings = scale * torch.randn(n, n, generator=g).triu(1)
    return Spins(x, couplings, scale * torch.randn(n, generator=g))


def blank(like: Spins) -> Spins:
    (view,) = like.scope
    return Spins(view.variable, 0 * like.couplings.detach(), 0 * like.field.detach())


def every_state(n: int, k: int = 2) -> Tensor:
    """All states of n sites, one-hot. -> (k^n, n, k)"""
    places = torch.tensor(list(itertools.product(range(k), repeat=n)))
    return torch.nn.functional.one_hot(places, k).float()


def exact_samples(term: Term, n: int, count: int, seed: int) -> Tensor:
    """Independent draws from exp(-E) / Z by enumeration."""
    states = every_state(n)
    with torch.no_grad():
        p = torch.softmax(-term.energy(states).double(), 0)
    g = torch.Generator().manual_seed(seed)
    return states[torch.multinomial(p, count, replacement=True, generator=g)]
