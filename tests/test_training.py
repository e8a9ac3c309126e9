"""Training: resumption to the bit, learners that recover known parameters, planted failures."""

import itertools

import pytest
import torch
from torch import Tensor, nn

from engine.domain import Finite, Variable
from engine.energy import Term
from engine.errors import BadQuery
from engine.objectives.pseudo_likelihood import PseudoLikelihood, conditionals
from engine.random import Stream
from engine.train import Examples, Recipe, Stored, train


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


# ---------------------------------------------------------------- the loop

RECIPE = Recipe(steps=60, batch=16, rate=0.02, every=10, seed=3)


def small_run(work=None, **changes):
    truth = spins(4, 1)
    term = blank(truth)
    examples = Stored({"x": exact_samples(truth, 4, 50, 2)})
    recipe = Recipe(**{**RECIPE.__dict__, **changes})
    trained = train(PseudoLikelihood(), {"energy": term}, examples, recipe, work=work)
    return term.couplings.detach().clone(), trained


def test_a_resumed_run_ends_with_the_same_weights(tmp_path):
    whole, _ = small_run()
    _, first = small_run(tmp_path, seconds=1e-9)  # stops after one step, in the middle of a pass
    assert first.steps == 1 and first.stopped == "seconds"
    resumed, second = small_run(tmp_path)
    assert second.steps == 60 and torch.equal(resumed, whole)
    again, third = small_run(tmp_path)  # nothing left to do
    assert third.steps == 60 and torch.equal(again, whole)


def test_another_run_is_never_resumed(tmp_path):
    small_run(tmp_path)
    with pytest.raises(BadQuery, match="other recipe"):
        small_run(tmp_path, rate=0.03)


def test_seeds_decide_everything():
    assert torch.equal(small_run()[0], small_run()[0])
    assert not torch.equal(small_run()[0], small_run(seed=4)[0])


def test_every_pass_takes_each_example_once():
    examples: Examples = Stored({"x": torch.arange(10.0)})
    taken = [examples.batch(4, step, stream())["x"] for step in range(5)]
    first, second = torch.cat(taken).split(10)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(10))
    assert first.tolist() != second.tolist()


# ---------------------------------------------------------------- pseudo-likelihood


def test_conditionals_are_those_of_the_enumerated_distribution():
    term = spins(4, 5)
    x = every_state(4)
    logs = conditionals(term, {"x": x})["x"]
    energy = term.energy(x)
    for i in range(4):
        flipped = x.clone()
        flipped[:, i] = x[:, i].flip(-1)
        other = term.energy(flipped)
        expected = torch.log_softmax(torch.stack([-energy, -other], -1), -1)[:, 0]
        assert torch.allclose((logs[:, i] * x[:, i]).sum(-1), expected, atol=1e-5)


def test_pseudo_likelihood_recovers_couplings():
    truth = spins(5, 7)
    term = blank(truth)
    examples = Stored({"x": exact_samples(truth, 5, 20_000, 1)})
    train(PseudoLikelihood(), {"energy": term}, examples, Recipe(steps=400, batch=500, rate=0.05))
    error = (term.couplings - truth.couplings).triu(1).square().mean().sqrt()
    assert error < 0.05 < truth.couplings.square().mean().sqrt()
    assert (term.field - truth.field).square().mean().sqrt() < 0.05
