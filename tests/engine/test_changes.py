"""Changes of single sites against the energies of the changed states, one by one."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from engine.changes import allowed_values, energy_changes, places_at, violation_changes
from engine.domain import Finite, Real, Variable
from engine.energy import Energy, Term, required, soft_min
from engine.energy import changes as single
from engine.problem import Problem
from engine.random import Stream
from tests.support.costs import Costs, Even, Well

X = Variable("x", Finite((0, 1, 2), (2, 2)))
Y = Variable("y", Finite(("a", "b"), (2,)))
ONE = Variable("one", Finite(tuple(range(5))))
Z = Variable("z", Real((3,), -1.0, 2.0))


class Coupled(Term):
    """E = (w, x)^2 + <x, 1> z_0: no site is affine, and a real number counts."""

    affine = False

    def __init__(self, x, z, seed: int = 0):
        super().__init__(x, z)
        g = torch.Generator().manual_seed(seed)
        self.w = nn.Parameter(torch.randn(self.scope[0].variable.domain.event[-1], generator=g))

    def energy(self, x: Tensor, z: Tensor) -> Tensor:  # (B, ..., k), (B, 3) -> (B,)
        flat = x.reshape(len(x), -1, x.shape[-1])
        return (flat @ self.w).sum(1).square() + flat[:, 0, 1] * z[:, 0]


class Twice(Term):
    """E = <a, b>: two views, which may be of one site."""

    def energy(self, a: Tensor, b: Tensor) -> Tensor:
        return (a * b).flatten(1).sum(1)

    def holds(self, a, b) -> bool:
        return a != b


class Shut(Term):
    """Infinite where the first site takes its last value, else the number of the other's value."""

    affine = False

    def energy(self, x: Tensor) -> Tensor:
        flat = x.reshape(len(x), -1, x.shape[-1])
        count = torch.arange(x.shape[-1], dtype=x.dtype)
        return torch.where(flat[:, 0, -1] > 0.5, math.inf, flat[:, 1] @ count)


ENERGIES = [
    1.0 * Costs(X, Y),
    2.0 * Costs(X) + 0.5 * Costs(ONE) + 1.0 * Coupled(X, Z),
    1.0 * Coupled(ONE, Z) + 3.0 * Twice(Y[1], Y[0]) + 0.5 * Twice(X[0, :], X[1, ::-1]),
    0.5 * Twice(X[0, :], X[:, 0]) + 1.0 * Costs(Y),
    1.0 * Shut(X) + 1.0 * Costs(X),
    1.0 * (Costs(X) | Costs(X, seed=1)) + 0.5 * soft_min(Costs(Y), Well(Z), temperature=0.3),
    required(Even(X)) + required(Twice(X[0, 0], X[0, 0])) + 1.0 * Costs(Y),
    required(Twice(X[0, :], X[1, :])) + 1.0 * Well(Z),
]


def states(problem: Problem, count: int, seed: int) -> dict[str, Tensor]:
    rng = Stream(seed, torch.tensor([seed]))
    domains = problem.domains.items()
    return {n: d.sample(count, rng.fork(k)) for k, (n, d) in enumerate(domains)}


def plain_changes(problem: Problem, x: dict[str, Tensor], energy) -> Tensor:
    """One state after the other, one site after the other. -> (B, n, k)"""
    places, most = problem.places(x), max(v.domain.event[-1] for v in problem.finite)
    out = torch.full((*places.shape, most), math.inf, dtype=torch.float64)
    sizes = [v.domain.event[-1] for v in problem.finite for _ in range(v.domain.sites)]
    for row, site in np.ndindex(*places.shape):
        for value in range(sizes[site]):
            changed = places[row : row + 1].copy()
            changed[0, site] = value
            own = {n: t[row : row + 1] for n, t in x.items()}
            with torch.no_grad():
                before, after = energy(own), energy({**own, **problem.state(changed)})
            rise = float(after - before)
            if value == places[row, site]:
                rise = 0.0
            out[row, site, value] = math.inf if math.isinf(after) and rise else rise
    return out


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(ENERGIES), st.integers(0, 2**16), st.sampled_from([2_000_000, 30, 1]))
def test_changes_are_differences_of_the_energy(energy: Energy, seed: int, elements: int) -> None:
    problem = Problem(energy, (X, Y, ONE, Z))
    x = states(problem, 3, seed)
    n = problem.places(x).shape[1]
    sites = np.random.default_rng(seed).permutation(n)
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        patch.setattr(single, "ELEMENTS", elements)
        found = energy_changes(problem, sites, x)
        broken = violation_changes(problem, sites, x)
    for told, of in ((found, problem.energy), (broken, problem.energy.total_violation)):
        wanted = plain_changes(problem, x, of)[:, sites]
        with torch.no_grad():  # a term that does not see a site says nothing of it
            blind = of(x).isinf()[:, None, None] & torch.from_numpy(sites >= 4)[:, None]
        near = blind | ((told - wanted).abs() <= 1e-5 * (1 + wanted.abs().clamp(max=1e6)))
        assert ((told == wanted) | near).all()
    assert (places_at(problem, sites, x).numpy() == problem.places(x)[:, sites]).all()
    with torch.no_grad():
        some = energy_changes(problem, sites[:2], x)  # no site of five values among them, perhaps
    assert torch.allclose(some, found[:, :2, : some.shape[-1]], atol=1e-5)


def test_allowed_values_are_what_evidence_leaves() -> None:
    problem = Problem(Costs(X, Y), (X, Y, ONE)).given_rows([{"x": [[1, None], [None, 2]]}, {}])
    allowed = allowed_values(problem, np.array([6, 0, 4, 1]))
    assert allowed.shape == (2, 4, 5)
    assert allowed[0].sum(-1).tolist() == [5, 1, 2, 3] and allowed[0, 1].nonzero().item() == 1
    assert allowed[1].sum(-1).tolist() == [5, 3, 2, 3]


@pytest.mark.parametrize("elements", [2_000_000, 40])
@pytest.mark.parametrize("affine", [True, False])
def test_changes_have_gradients_towards_parameters(
    affine: bool, elements: int, monkeypatch
) -> None:
    monkeypatch.setattr(single, "ELEMENTS", elements)

    class Own(Term):
        def __init__(self, x):
            super().__init__(x)
            self.affine = affine  # type: ignore[misc]
            self.w = nn.Parameter(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)))

        def energy(self, x):
            p = (x.flatten(1, 2) * self.w.square()).sum(-1)  # (B, 4)
            return p[:, 0] * p[:, 1] + p[:, 2:].sum(1)

    term = Own(X)
    problem = Problem(1.0 * term)
    x = states(problem, 4, 1)
    found = energy_changes(problem, np.arange(4), x)
    g = torch.randn(found.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    (told,) = torch.autograd.grad((found * g).sum(), term.w)
    whole = torch.zeros((), dtype=torch.float64)
    places = problem.places(x)
    for row, site, value in np.ndindex(*found.shape):
        changed = places[row : row + 1].copy()
        changed[0, site] = value
        rise = term(problem.state(changed)) - term({"x": x["x"][row : row + 1]})
        whole = whole + g[row, site, value] * rise.double()[0]
    (wanted,) = torch.autograd.grad(whole, term.w)
    assert torch.allclose(told, wanted, atol=1e-5)
    with torch.no_grad():
        assert not energy_changes(problem, np.arange(4), x).requires_grad
