"""A double integrator, searched as actions alone or with its states: the closed form either way."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from engine import Problem, Real, Status, Term, Variable, answers
from engine.energy.definition import Definition
from engine.minimizers.lagrangian import Lagrangian
from engine.random import Stream
from engine.testing import check_term

HORIZON, DT = 50, 0.1
PLACE, SPEED, EFFORT, END = 1.0, 0.1, 0.1, 10.0  # what each costs, squared
STARTS = [[1.0, -0.5], [-2.0, 0.0], [0.3, 1.7]]


class DoubleIntegrator(Definition):
    """Place and speed under piecewise constant acceleration: p' = p + v dt + a dt^2 / 2,
    v' = v + a dt, from s[0] and a (T,) to s[1:] (T, 2). Sums over time, no step by step."""

    dtype = torch.float64

    def __init__(self, s: Variable, a: Variable, dt: float = DT):
        super().__init__(s[0], a, s[1:])
        self.dt = dt

    def define(self, *inputs: Any) -> Tensor:  # (B, 2), (B, T) -> (B, T, 2)
        start, a = inputs
        after = start[:, 1:] + self.dt * a.cumsum(1)
        before = torch.cat([start[:, 1:], after[:, :-1]], 1)
        place = start[:, :1] + (self.dt * before + self.dt**2 / 2 * a).cumsum(1)
        return torch.stack([place, after], -1)


class Quadratic(Term):
    """E = (sum over time of PLACE p^2 + SPEED v^2 + EFFORT a^2, END times |s|^2 at the end) / 2."""

    dtype = torch.float64

    def __init__(self, s: Variable, a: Variable):
        super().__init__(s, a)

    def energy(self, *tensors: Any) -> Tensor:
        s, a = tensors
        along = PLACE * s[..., 0].square() + SPEED * s[..., 1].square()
        effort = EFFORT * a.square().sum(1)
        return (along.sum(1) + effort + END * s[:, -1].square().sum(1)) / 2

    def floor(self) -> float:
        return 0.0


def problem(edge: float = 10.0) -> Problem:
    s = Variable("s", Real((HORIZON + 1, 2), -edge, edge))
    a = Variable("a", Real((HORIZON,), -10.0, 10.0))
    rows = [{"s": [start, *[[None, None]] * HORIZON]} for start in STARTS]
    return Problem(DoubleIntegrator(s, a) + 1.0 * Quadratic(s, a), (s, a)).given_rows(rows)


def closed_form(start: list[float]) -> tuple[float, np.ndarray]:
    """The least cost and its actions, by the normal equations: s = free + M a, state by state."""
    step, push = np.array([[1, DT], [0, 1]]), np.array([DT**2 / 2, DT])
    free, m = np.zeros((HORIZON + 1, 2)), np.zeros((HORIZON + 1, 2, HORIZON))
    free[0] = start
    for t in range(HORIZON):
        free[t + 1], m[t + 1] = step @ free[t], step @ m[t]
        m[t + 1, :, t] += push
    weight = np.tile([PLACE, SPEED], (HORIZON + 1, 1))
    weight[-1] += END
    root = np.sqrt(weight).reshape(-1, 1)
    rows = np.concatenate([root * m.reshape(-1, HORIZON), np.sqrt(EFFORT) * np.eye(HORIZON)])
    told = np.concatenate([-root[:, 0] * free.reshape(-1), np.zeros(HORIZON)])
    a = np.linalg.solve(rows.T @ rows, rows.T @ told)
    return float(np.square(rows @ a - told).sum() / 2), a


@pytest.mark.parametrize("form", ["reduced", "lifted"])
def test_the_optimum_is_that_of_the_normal_equations(form: str) -> None:
    asked = problem().reduced() if form == "reduced" else problem()
    assert [v.name for v in asked.open] == (["a"] if form == "reduced" else ["s", "a"])
    for answer, start in zip(answers(asked, Lagrangian(), particles=2), STARTS, strict=True):
        least, a = closed_form(start)
        assert answer.status is Status.SATISFIED and answer.values is not None
        assert answer.energy == pytest.approx(least, rel=1e-6)
        assert answer.values["a"] == pytest.approx(a.tolist(), abs=5e-3)
        assert answer.values["s"][0] == start


def test_value_and_gradient_of_the_roll_out_equal_differences() -> None:
    reduced = problem(edge=2.0).reduced()  # some states lie outside
    a = reduced.sample("a", 2, Stream(7, reduced.keys)).requires_grad_()
    energy, violation = reduced.totals({"a": a})
    assert bool((violation > 0).any())
    s = reduced.whole({"a": a.detach()})["s"].numpy()
    for row, actions in enumerate(a.tolist()):  # the states, one after the other
        place, speed = STARTS[row // 2]
        for t, push in enumerate(actions):
            place, speed = place + DT * speed + DT**2 / 2 * push, speed + DT * push
            assert s[row, t + 1] == pytest.approx([place, speed], abs=1e-12)
    along = PLACE * s[..., 0] ** 2 + SPEED * s[..., 1] ** 2
    cost = along.sum(1) + EFFORT * (a.detach().numpy() ** 2).sum(1) + END * (s[:, -1] ** 2).sum(1)
    assert energy.tolist() == pytest.approx((cost / 2).tolist(), rel=1e-12)
    over = np.clip(np.abs(s[:, 1:]) - 2.0, 0, None)
    assert violation.tolist() == pytest.approx((over**2).sum((1, 2)) / 2, rel=1e-12, abs=1e-6)
    (slope,) = torch.autograd.grad((energy + violation).sum(), a)
    for place in range(0, HORIZON, 7):
        step = torch.zeros_like(a)
        step[:, place] = 1e-6
        up, down = (sum(reduced.totals({"a": (a + d).detach()})) for d in (step, -step))
        assert torch.allclose(slope[:, place], (up - down) / 2e-6, rtol=1e-5, atol=1e-5)


def test_the_terms_keep_their_contract() -> None:
    s, a = Variable("s", Real((5, 2), -1.0, 1.0)), Variable("a", Real((4,), -1.0, 1.0))
    check_term(DoubleIntegrator(s, a), samples=8)
    check_term(Quadratic(s, a), samples=8)
