"""A roll-out whose states are defined: reduced and lifted have the optimum of the closed form.

The double integrator: position and speed, pushed by an action in each of T steps of 0.1 s.
"""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Definition, Problem, Real, Status, Term, Variable, answers
from engine.minimizers.lagrangian import Lagrangian
from engine.random import Stream
from engine.testing import check_term

A = torch.tensor([[1.0, 0.1], [0.0, 1.0]], dtype=torch.float64)
B = torch.tensor([0.005, 0.1], dtype=torch.float64)


class RollOut(Definition):
    """s[t + 1] = A s[t] + B a[t], of (s[0], a) and the states after it."""

    dtype = torch.float64

    def __init__(self, first, actions, states):
        super().__init__(first, actions, states)
        steps = actions.places.size if hasattr(actions, "places") else actions.domain.sites
        powers = torch.stack([torch.linalg.matrix_power(A, k) for k in range(steps + 1)])
        pushed = powers @ B  # (T + 1, 2): what an action has done so many steps later
        later = (torch.arange(steps)[:, None] - torch.arange(steps)).clamp(min=-1)
        reach = pushed[later].masked_fill((later < 0)[..., None], 0.0)
        for name, own in (("a", A), ("b", B), ("powers", powers[1:]), ("reach", reach)):
            self.register_buffer(name, own)

    def define(self, *inputs: Any) -> torch.Tensor:  # (B, 2), (B, T) -> (B, T, 2)
        first, actions = inputs
        drift = torch.einsum("tij,bj->bti", self.powers, first)
        return drift + torch.einsum("tki,bk->bti", self.reach, actions)

    def residual(self, *tensors: Any) -> torch.Tensor:  # a step each, so that it is sparse
        first, actions, states = tensors
        before = torch.cat([first[:, None], states[:, :-1]], 1)
        return (states - before @ self.a.T - actions[..., None] * self.b).flatten(1)


class Effort(Term):
    """sum_t (0.1 a_t^2 + 0.1 |s_t|^2), and ten times |s_T|^2."""

    dtype = torch.float64

    def __init__(self, states, actions):
        super().__init__(states, actions)

    def energy(self, *tensors: Any) -> torch.Tensor:
        states, actions = tensors
        ends = 0.1 * states[:, :-1].square().sum((1, 2)) + 10 * states[:, -1].square().sum(1)
        return 0.1 * actions.square().sum(1) + ends

    def floor(self) -> float:
        return 0.0


def plan(steps: int) -> Problem:
    s, a = Variable("s", Real((steps + 1, 2))), Variable("a", Real((steps,), -10, 10))
    return Problem(RollOut(s[0], a, s[1:]) + Effort(s, a), (s, a))


def started(steps: int, *starts: list[float]) -> Problem:
    rows = [{"s": [start, *[[None, None]] * steps]} for start in starts]
    return plan(steps).given_rows(rows)


def closed_form(steps: int, start: list[float]) -> float:
    """The least effort by the normal equations, built step by step."""
    drift, reach = torch.tensor(start, dtype=torch.float64), torch.zeros(2, steps).double()
    h, g, c = 0.1 * torch.eye(steps).double(), torch.zeros(steps).double(), 0.0
    for t in range(steps + 1):
        weight = 10.0 if t == steps else 0.1
        h += weight * reach.T @ reach
        g += weight * reach.T @ drift
        c += weight * float(drift @ drift)
        if t < steps:
            drift, reach = A @ drift, A @ reach
            reach[:, t] += B
    actions = -torch.linalg.solve(h, g)
    return float(actions @ h @ actions + 2 * g @ actions) + c


@pytest.mark.parametrize("reduced", [True, False])
def test_the_optimum_is_that_of_the_closed_form(reduced: bool) -> None:
    steps, starts = 8, ([1.0, 0.5], [-2.0, 0.0])
    problem = started(steps, *starts)
    found = answers(problem.reduced() if reduced else problem, Lagrangian(), particles=1)
    for start, answer in zip(starts, found, strict=True):
        assert answer.status is Status.SATISFIED and answer.values is not None
        assert answer.values["s"][0] == start
        assert answer.energy == pytest.approx(closed_form(steps, start), rel=1e-6)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31))
def test_value_and_gradient_equal_differences(seed: int) -> None:
    reduced = started(6, [1.0, 0.0], [0.0, -1.0]).reduced()
    a = reduced.sample("a", 2, Stream(seed, reduced.keys)).requires_grad_()
    energy = reduced.totals({"a": a}).energy
    (slope,) = torch.autograd.grad(energy.sum(), a)
    for place in range(6):
        step = torch.zeros_like(a)
        step[:, place] = 1e-5
        up, down = (reduced.totals({"a": (a + d).detach()}).energy for d in (step, -step))
        assert torch.allclose(slope[:, place], (up - down) / 2e-5, rtol=1e-6, atol=1e-6)


def test_the_terms_keep_their_contract() -> None:
    for summand in plan(4).summands:
        check_term(summand.term, samples=8)
