"""A moving horizon: a mass is steered to the origin, planned anew at every tick; the search of the
session goes on, and its plans are judged as those that are found from nothing."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine import Problem, Real, Status, Term, Variable, answers
from engine.energy.definition import Definition
from engine.minimizers.lagrangian import Lagrangian
from engine.minimizers.restarts import Restarts
from engine.session import Session
from engine.testing import check_term

HORIZON, DT, TICKS = 5, 0.2, 4
STEP, PUSH = np.array([[1, DT], [0, 1]]), np.array([DT**2 / 2, DT])


class Mass(Definition):
    """Place and speed of a mass under piecewise constant acceleration, s[0] and a (T,) to s[1:]; it
    proposes the last plan, moved on by a tick."""

    dtype = torch.float64

    def __init__(self, s: Variable, a: Variable):
        super().__init__(s[0], a, s[1:])

    def define(self, *inputs: Any) -> Tensor:  # (B, 2), (B, T) -> (B, T, 2)
        start, a = inputs
        states, step, push = [start], start.new_tensor(STEP), start.new_tensor(PUSH)
        for t in range(a.shape[1]):
            states.append(states[-1] @ step.T + a[:, t, None] * push)
        return torch.stack(states[1:], 1)

    def propose(self, particles, rng, known, *domains):
        if known is None:
            return None
        start, a, states = (x.repeat_interleave(particles, 0) for x in known)
        a, after = torch.cat([a[:, 1:], 0 * a[:, :1]], 1), states[:, :1].flatten(1)
        return start, a, self.define(after, a)


class Effort(Term):
    """E = (sum over time of p^2 + 0.1 v^2 + 0.1 a^2) / 2, ten times that of the last state."""

    dtype = torch.float64

    def energy(self, *tensors: Any) -> Tensor:
        s, a = tensors
        own = s[..., 0].square() + 0.1 * s[..., 1].square()
        return (own.sum(1) + 9 * own[:, -1] + 0.1 * a.square().sum(1)) / 2

    def floor(self) -> float:
        return 0.0


def problem() -> Problem:
    s = Variable("s", Real((HORIZON + 1, 2), -10.0, 10.0))
    a = Variable("a", Real((HORIZON,), -10.0, 10.0))
    return Problem(Mass(s, a) + 1.0 * Effort(s, a), (s, a))


def given(state: np.ndarray) -> dict[str, Any]:
    return {"s": [state.tolist(), *[[None, None]] * HORIZON]}


def plan(state: np.ndarray) -> tuple[float, float]:
    """The least cost and the first action, by the Riccati recursion."""
    own = np.diag([1.0, 0.1])
    p = 10 * own
    for _ in range(HORIZON):
        gain = (PUSH @ p @ STEP) / (0.1 + PUSH @ p @ PUSH)
        p = own + STEP.T @ p @ (STEP - np.outer(PUSH, gain))
    return float(state @ p @ state / 2), float(-gain @ state)


def test_plans_are_those_of_the_riccati_recursion_at_a_share_of_the_steps() -> None:
    asked, rng, state = problem(), np.random.default_rng(3), np.array([1.0, -0.5])
    minimizer = Restarts(Lagrangian(), starts=5)
    session = Session(asked.given(**given(state)), minimizer=minimizer, particles=1)
    warm = cold = 0
    for tick in range(TICKS):
        session.given(given(state))
        found = session.answer()
        (fresh,) = answers(asked.given(**given(state)), minimizer, particles=1)
        least, push = plan(state)
        for answer in (found, fresh):
            assert answer.status is Status.SATISFIED and answer.values is not None
            assert answer.energy == pytest.approx(least, rel=1e-3, abs=1e-4)
            assert answer.values["a"][0] == pytest.approx(push, abs=0.05)
        if tick:
            warm, cold = warm + found.steps, cold + fresh.steps
        state = STEP @ state + PUSH * push + rng.normal(size=2) * 0.01
    assert warm <= 0.4 * cold


def test_the_terms_keep_their_contract() -> None:
    s, a = Variable("s", Real((4, 2), -1.0, 1.0)), Variable("a", Real((3,), -1.0, 1.0))
    check_term(Mass(s, a), samples=8)
    check_term(Effort(s, a), samples=8)
