"""Contrastive divergence, the pseudo-spherical score and score matching, against exact oracles."""

import math
from dataclasses import dataclass

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from engine.domain import Finite, Real, Variable
from engine.energy import Term
from engine.errors import BadQuery
from engine.learning.examples import Stored
from engine.learning.objectives.contrastive_divergence import (
    ContrastiveDivergence,
    positive,
    surrogate,
)
from engine.learning.objectives.pseudo_spherical import PseudoSpherical, pseudo_spherical
from engine.learning.objectives.score_matching import DenoisingScoreMatching
from engine.learning.recipe import Recipe
from engine.learning.train import train
from engine.minimizers.gibbs import Gibbs
from engine.moves.heat_bath import HeatBath
from engine.moves.proposals import Path
from engine.moves.sampler import Sampler
from tests.support.learners import blank, every_state, exact_samples, spins, stream

ORDERS = st.sampled_from([-0.5, 0.0, 0.3, 1.0, 2.0])


@given(ORDERS, st.integers(0, 20))
def test_gradient_of_the_exact_score(gamma, seed):
    """On 7 states: autograd, the formula a - r, and invariance to a constant."""
    g = torch.Generator().manual_seed(seed)
    e = torch.randn(7, generator=g, dtype=torch.float64).requires_grad_()
    data = torch.randint(7, (40,), generator=g)
    loss = pseudo_spherical(e[data], e, gamma)
    (slope,) = torch.autograd.grad(loss, e)
    with torch.no_grad():
        a = torch.zeros(7, dtype=torch.float64)
        a.index_add_(0, data, torch.softmax(-gamma * e[data], 0))
        r = torch.softmax(-(gamma + 1) * e, 0)
        assert torch.allclose(slope, a - r, atol=1e-12)
        assert torch.isclose(pseudo_spherical(e[data] + 3, e + 3, gamma), loss, atol=1e-9)


@given(st.sampled_from([-0.5, 0.3, 1.0, 2.0]))
def test_sampled_gradients_approach_the_exact_one(gamma):
    """Weighted samples of q and plain samples of r give the gradient of the exact score."""
    g = torch.Generator().manual_seed(5)
    e = (0.7 * torch.randn(40, generator=g, dtype=torch.float64)).requires_grad_()
    data = torch.randint(40, (200,), generator=g)
    (exact,) = torch.autograd.grad(pseudo_spherical(e[data], e, gamma), e)
    for tempered in (False, True):
        law = torch.softmax(-(1 + gamma if tempered else 1) * e.detach(), 0)
        model = torch.multinomial(law, 200_000, replacement=True, generator=g)
        loss = surrogate(e[data], e[model], gamma, tempered)
        (slope,) = torch.autograd.grad(loss, e)
        assert torch.cosine_similarity(slope, exact, 0) > 0.99
        assert (slope - exact).norm() < 0.1 * exact.norm()


def test_small_orders_are_likelihood():
    e = torch.randn(50, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    assert abs(positive(e, 1e-3) - e.mean()) < 2e-3 and positive(e, 1e-5) == e.mean()
    with pytest.raises(BadQuery, match="above -1"):
        PseudoSpherical(dict, -1.0)


@pytest.mark.parametrize("gamma", [-0.5, 0.0, 1.0, 2.0])
def test_every_order_has_its_minimum_at_the_data(gamma):
    """A table over 64 states, weights of the data exact: KL below 1e-6 (properness)."""
    g = torch.Generator().manual_seed(1)
    p = torch.softmax(0.4 * torch.randn(64, generator=g, dtype=torch.float64), 0)
    e = torch.zeros(64, dtype=torch.float64, requires_grad=True)
    steps = torch.optim.LBFGS(
        [e], max_iter=2000, tolerance_grad=1e-12, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def loss() -> Tensor:
        steps.zero_grad()
        fit = (p * e).sum() if gamma == 0 else -torch.logsumexp(p.log() - gamma * e, 0) / gamma
        out = fit + torch.logsumexp(-(gamma + 1) * e, 0) / (gamma + 1)
        out.backward()
        return out

    steps.step(loss)
    q = torch.log_softmax(-e.detach(), 0)
    assert (p * (p.log() - q)).sum() < 1e-6


class Normal(Term):
    """E = (x - mu)^2 / (2 sigma^2)"""

    def __init__(self, x: Variable, mu: float, sigma: float):
        super().__init__(x)
        self.mu = nn.Parameter(torch.tensor(mu, dtype=torch.float64))
        self.log = nn.Parameter(torch.tensor(math.log(sigma), dtype=torch.float64))

    def energy(self, x: Tensor) -> Tensor:
        return ((x[:, 0] - self.mu) / self.log.exp()).square() / 2


def quantiles(parts, count: int = 4000) -> Tensor:
    """A mixture of (weight, mean, variance) as evenly weighted points. -> (n, 1)"""
    every = []
    for weight, mean, variance in parts:
        n = round(weight * count)
        u = (torch.arange(n, dtype=torch.float64) + 0.5) / n
        every.append(mean + math.sqrt(2 * variance) * torch.erfinv(2 * u - 1))
    return torch.cat(every)[:, None]


MIXTURE = ((0.33, -1, 0.0625), (0.67, 2, 2.0))
CONTAMINATED = ((0.9, 0, 1.0), (0.1, 8, 0.25))
KNOWN = [
    (MIXTURE, -0.25, 1.092, 1.712),
    (MIXTURE, 0.0, 1.010, 1.830),
    (MIXTURE, 0.25, 0.951, 1.941),
    (MIXTURE, 1.0, 0.840, 2.240),
    (CONTAMINATED, 0.0, 0.800, 2.586),
    (CONTAMINATED, 0.5, 0.0, 1.0),
    (CONTAMINATED, 1.0, 0.0, 1.0),
]


@pytest.mark.parametrize("parts, gamma, mu, sigma", KNOWN)
def test_the_closed_form_table_of_the_gaussian(parts, gamma, mu, sigma):
    """The score by quadrature, minimized; with gamma above 0 outliers leave no trace."""
    x, states = quantiles(parts), torch.linspace(-40, 40, 16_001, dtype=torch.float64)[:, None]
    start = (0.0, 1.2) if parts is CONTAMINATED and gamma else (1.0, 1.9)
    term = Normal(Variable("x", Real((1,))), *start)
    cell = math.log(float(states[1] - states[0]))
    steps = torch.optim.LBFGS(term.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        steps.zero_grad()
        out = pseudo_spherical(term.energy(x), term.energy(states), gamma, cell)
        out.backward()
        return out

    steps.step(loss)
    assert abs(float(term.mu.detach()) - mu) < 0.01
    assert abs(float(term.log.detach().exp()) - sigma) < 0.01


@dataclass(frozen=True)
class Exact(Sampler):
    """Independent draws of a `Normal`."""

    def walk(self, problem, x, steps, rng, beta=1.0):
        (part,) = problem.summands
        noise = rng.normal(len(x["x"]), 1, dtype=torch.float64)
        term = part.term
        return {"x": (term.mu + term.log.exp() * noise / math.sqrt(beta)).detach()}


@pytest.mark.parametrize("tempered", [False, True])
def test_outliers_are_passed_over_where_likelihood_is_not(tempered):
    g = torch.Generator().manual_seed(3)
    outlier = torch.rand(20_000, 1, generator=g) < 0.1
    noise = torch.randn(20_000, 1, generator=g, dtype=torch.float64)
    x = {"x": torch.where(outlier, 8 + 0.5 * noise, noise)}

    def fitted(gamma: float) -> tuple[float, float]:
        term = Normal(Variable("x", Real((1,))), 0.2, 1.4)
        objective = ContrastiveDivergence(Exact(), 1, buffer=1000, gamma=gamma, tempered=tempered)
        train(objective, {"energy": term}, Stored(x), Recipe(800, batch=1000, rate=0.02))
        return float(term.mu.detach()), float(term.log.detach().exp())

    mu, sigma = fitted(1.0)
    assert abs(mu) < 0.08 and abs(sigma - 1) < 0.08
    mu, sigma = fitted(0.0)
    assert abs(mu - 0.8) < 0.15 and abs(sigma - 2.586) < 0.2


@pytest.mark.parametrize("sampler", [Gibbs(flips=Path(2)), HeatBath()], ids=["path", "heat bath"])
def test_persistent_contrastive_divergence_recovers_couplings(sampler):
    truth = spins(5, 7)
    term = blank(truth)
    examples = Stored({"x": exact_samples(truth, 5, 20_000, 1)})
    objective = ContrastiveDivergence(sampler, 2, buffer=500)
    train(objective, {"energy": term}, examples, Recipe(300, batch=400, rate=0.05))
    assert (term.couplings - truth.couplings).triu(1).square().mean().sqrt() < 0.06


def test_the_buffer_is_saved_and_resumed(tmp_path):
    truth = spins(4, 1)
    examples = Stored({"x": exact_samples(truth, 4, 50, 2)})
    objective = ContrastiveDivergence(Gibbs(), 2, buffer=30, fresh=0.1)

    def run(work=None, seconds=None):
        term = blank(truth)
        recipe = Recipe(20, batch=8, rate=0.05, seconds=seconds)
        return term, train(objective, {"energy": term}, examples, recipe, work=work)

    whole, a = run()
    _, first = run(tmp_path, 1e-9)
    resumed, b = run(tmp_path)
    assert first.steps == 1 and b.steps == 20
    assert torch.equal(a.state.x["x"], b.state.x["x"])
    assert torch.equal(whole.couplings, resumed.couplings)


def test_score_matching_finds_the_blurred_gaussian():
    g = torch.Generator().manual_seed(0)
    x = 1.5 + 0.8 * torch.randn(20_000, 1, generator=g, dtype=torch.float64)
    term = Normal(Variable("x", Real((1,))), 0.0, 2.0)
    train(DenoisingScoreMatching(0.6), {"energy": term}, Stored({"x": x}), Recipe(600, 500, 0.02))
    assert abs(float(term.mu.detach()) - 1.5) < 0.05
    assert abs(float(term.log.detach().exp()) - math.hypot(0.8, 0.6)) < 0.05
    finite = spins(2, 0)
    with pytest.raises(BadQuery, match="no real variable"):
        DenoisingScoreMatching(0.1).start({"energy": finite}, stream())


def test_all_states_as_the_negative_phase():
    """Exact likelihood over an enumerated space ends where pseudo-likelihood does: at the data."""
    truth = spins(4, 2)
    term = blank(truth)
    states = {"x": every_state(4)}
    examples = Stored({"x": exact_samples(truth, 4, 20_000, 1)})
    objective = PseudoSpherical(lambda: states, 0.5, warm=50)
    train(objective, {"energy": term}, examples, Recipe(300, batch=500, rate=0.05))
    assert (term.couplings - truth.couplings).triu(1).square().mean().sqrt() < 0.06


def test_finite_domains_are_needed_for_nothing_here():
    """The sampled objective runs over real and finite variables alike: both start inside."""
    b, r = Variable("b", Finite((0, 1))), Variable("r", Real((2,), -1, 1))

    class Both(Term):
        def __init__(self, b: Variable, r: Variable):
            super().__init__(b, r)
            self.w = nn.Parameter(torch.ones(2))

        def energy(self, b: Tensor, r: Tensor) -> Tensor:
            return b[:, 1] * (r @ self.w)

    term = Both(b, r)
    objective = ContrastiveDivergence(Gibbs(pace=0.05), 3, buffer=40)
    examples = Stored({"b": torch.tensor([0, 1]).repeat(20), "r": torch.zeros(40, 2)})
    trained = train(objective, {"energy": term}, examples, Recipe(5, batch=16))
    assert trained.state.x["r"].abs().max() <= 1
    assert trained.state.x["b"].dtype == torch.uint8 and trained.state.x["b"].max() <= 1
