"""A limit that is over before anything is prepared: values of all variables come back, too."""

import torch

from engine import Budget, Finite, Given, Input, Problem, Real, Term, Variable, answers
from engine.energy.definition import Definition
from engine.settle import last
from engine.solve import solve


class Twice(Definition):
    """y = 2 c."""

    def define(self, *inputs):  # (B, 3) -> (B, 3)
        return 2 * inputs[0]


class Ones(Term):
    """E = how many sites are 1."""

    def energy(self, *tensors):  # (B, 4, 2) -> (B,)
        return tensors[0][..., 1].sum(1)


def problem() -> Problem:
    """y is computed of what is told alone, so that nothing of it is searched."""
    c, y = Input("c", Real((3,), 0.0, 1.0)), Variable("y", Real((3,), 0.0, 2.0))
    x = Variable("x", Finite((0, 1), (4,)))
    told = Given(torch.tensor([0.1, 0.2, 0.3]), torch.ones(3, dtype=torch.bool))
    return Problem(1.0 * Ones(x) + Twice(c, y), (x, y, c)).given(c=told)


def test_what_is_computed_of_inputs_comes_back_too() -> None:
    own = problem()
    solution = last(solve(own, budget=Budget(seconds=1e-9)))
    assert not solution.prepared and set(solution.report.x) == {"x", "y"}
    (answer,) = answers(own, budget=Budget(seconds=1e-9))
    assert answer.values is not None
    assert torch.allclose(torch.tensor(answer.values["y"]), torch.tensor([0.2, 0.4, 0.6]))
