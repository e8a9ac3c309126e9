"""Whether numbers settled is said only where a slope tells it."""

import pytest
import torch

from engine import Budget, Problem, Real, Term, Variable, answers


class Bowl(Term):
    """|x - 0.3|^2, and where x adds up to more than 100 a root that has no slope elsewhere."""

    dtype = torch.float64

    def energy(self, *tensors):
        (x,) = tensors
        over = x.sum(1) - 100
        return self.base(x) + torch.where(over > 0, over.sqrt(), torch.zeros_like(over))

    def base(self, x):
        return (x - 0.3).square().sum(1)

    def floor(self):
        return 0.0


class Deaf(Bowl):
    """The same without any slope."""

    def energy(self, *tensors):
        return self.base(tensors[0]).detach()


class Plain(Bowl):
    """The same with slopes everywhere."""

    def energy(self, *tensors):
        return 0.1 + self.base(tensors[0])


@pytest.mark.parametrize(("kind", "said"), [(Bowl, None), (Deaf, None), (Plain, True)])
def test_where_no_slope_tells_it_nothing_is_said(kind: type[Bowl], said: bool | None) -> None:
    x = Variable("x", Real((5,), -1.0, 1.0))
    (answer,) = answers(Problem(1.0 * kind(x)), budget=Budget(steps=400))
    assert answer.converged is said
