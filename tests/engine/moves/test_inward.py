"""Numbers that keep a rule by its tolerance alone are answered where the rule holds."""

from typing import Any

import pytest
import torch
from torch import Tensor

from engine import Budget, Finite, Problem, Real, Status, Term, Variable, answers, required
from engine.minimizers.descent import Descent
from engine.minimizers.lagrangian import Lagrangian
from engine.moves.inward import inward
from tests.support.terms import Distinct

STEPS = Budget(steps=250)


class Away(Term):
    """|x - 3|^2."""

    affine = False

    def energy(self, x: Any) -> Tensor:
        return (x - 3).square().sum(1)


class Away64(Away):
    dtype = torch.float64


class Half(Term):
    """a . x <= 1 for each a: strictly so, where plain values are asked about."""

    affine = False
    square = False
    rows: Any = ((1.0, 0.3), (0.3, 1.0))

    def violation(self, x: Any) -> Tensor:
        over = (x @ torch.tensor(self.rows, dtype=x.dtype).T - 1).clamp(min=0)
        return over.square() / 2 if self.square else over

    def energy(self, x: Any) -> Tensor:
        return self.violation(x).sum(1)

    def holds(self, x: Any) -> bool:
        return all(a * x[0] + b * x[1] <= 1 for a, b in self.rows)


class Smooth(Half):
    square = True


class Half64(Half):
    dtype = torch.float64


class Smooth64(Smooth):
    dtype = torch.float64


class Never(Half):
    """It says that nothing holds, whatever its energy is."""

    def holds(self, x: Any) -> bool:
        return False


LEAST = 2 * (3 - 1 / 1.3) ** 2


@pytest.mark.parametrize("minimizer", [Descent(), Lagrangian()])
@pytest.mark.parametrize("rule", [Half, Smooth, Half64, Smooth64])
def test_strict_rules_are_met(minimizer: Any, rule: type[Half]) -> None:
    """Close to the least energy there is, and never below it."""
    x = Variable("x", Real((2,), -4.0, 4.0))
    cost = Away64(x) if rule.dtype == torch.float64 else Away(x)
    problem = Problem(1.0 * cost + required(rule(x)))
    (answer,) = answers(problem, minimizer, particles=2, budget=STEPS)
    assert answer.status is Status.SATISFIED and answer.values is not None
    assert all(a * answer.values["x"][0] + b * answer.values["x"][1] <= 1 for a, b in Half.rows)
    assert LEAST - 1e-5 <= answer.energy <= LEAST + 2e-2


def test_rows_and_finite_sites_beside_it() -> None:
    """Each row as it is alone; a number that evidence gives stays to the bit."""
    x, y = Variable("x", Real((2,), -4.0, 4.0)), Variable("y", Finite((0, 1), (2,)))
    problem = Problem(1.0 * Away(x) + required(Half(x)) + required(Distinct(y)))
    rows = [{"y": [1, None]}, {"x": [0.7, None]}, {"y": [None, 1]}]
    whole = problem.given_rows(rows)
    state = {
        "x": torch.full((3, 2), 0.1, dtype=torch.float64),
        "y": torch.tensor([[1, 0], [0, 1], [0, 1]]),
    }
    state["x"][0] = 1 / 1.3 + 4e-7  # within the tolerance, and outside
    state["x"][1] = torch.tensor([0.7, 0.79 + 5e-7])
    moved, holds = inward(whole, state)
    assert holds.tolist() == [True] * 3 and moved["x"][1, 0] == 0.7
    assert torch.equal(moved["y"], state["y"]) and torch.equal(moved["x"][2], state["x"][2])
    assert (moved["x"] - state["x"]).abs().max() < 1e-4
    for row in range(3):
        alone, _ = inward(whole.select([row]), {n: t[row : row + 1] for n, t in state.items()})
        assert torch.equal(alone["x"][0], moved["x"][row])


def test_what_never_holds_is_not_moved() -> None:
    x = Variable("x", Real((2,), -4.0, 4.0))
    problem = Problem(1.0 * Away(x) + required(Never(x)))
    state = {"x": torch.tensor([[0.5, 0.5]], dtype=torch.float64)}
    moved, holds = inward(problem, state)
    assert not holds.any() and torch.equal(moved["x"], state["x"])
    (answer,) = answers(problem, Descent(), particles=2, budget=Budget(steps=50))
    assert answer.status is Status.UNSATISFIED
