"""The default on real sites: what it asks of the augmented Lagrangian, and what ends a row."""

from typing import Any

import pytest
import torch

from engine import Budget, Finite, Problem, Real, Status, Term, Variable, answers
from engine.compare import dearer
from engine.minimizers.descent import Descent
from engine.minimizers.lagrangian import Lagrangian
from engine.minimizers.portfolio import Portfolio
from engine.minimizers.restarts import Restarts
from engine.random import Stream
from engine.testing import check_minimizer


class Cost(Term):
    """E = f(x)."""

    dtype = torch.float64

    def __init__(self, x: Variable, function: Any):
        super().__init__(x)
        self.function = function

    def energy(self, x: Any) -> torch.Tensor:
        return self.function(x)


class Equal(Cost):
    """g(x) = 0."""

    def residual(self, x: Any) -> torch.Tensor:
        return self.function(x)

    def energy(self, x: Any) -> torch.Tensor:
        return self.residual(x).square().sum(1) / 2

    def holds(self, x: Any) -> bool:
        return bool(self.energy(torch.tensor([x], dtype=torch.float64)) <= self.tolerance)


class Below(Cost):
    """g(x) <= 0, violated by the amount."""

    tolerance = 1e-9

    def violation(self, x: Any) -> torch.Tensor:
        return self.function(x).clamp(min=0)

    def energy(self, x: Any) -> torch.Tensor:
        return self.violation(x).sum(1)

    def holds(self, x: Any) -> bool:
        return bool(self.energy(torch.tensor([x], dtype=torch.float64)) <= self.tolerance)


class Pay(Term):
    """What some values cost."""

    def energy(self, x: Any) -> torch.Tensor:
        return (x * torch.tensor([1.0, 0.0, 2.0]).to(x)).sum((1, 2))


def least(problem: Problem, minimizer: Any = None, steps: int = 600) -> Any:
    (answer,) = answers(problem, minimizer, particles=8, budget=Budget(steps=steps))
    return answer


@pytest.mark.parametrize("steep", [1.0, 100.0])
def test_tolerances_are_not_made_use_of(steep: float) -> None:
    x = Variable("x", Real((1,), -5.0, 5.0))
    problem = Problem(1.0 * Cost(x, lambda x: steep * x[:, 0]) + Equal(x, lambda x: x - 1))
    assert least(problem, Descent()).energy < steep * (1 - 1e-4)
    answer = least(problem)
    assert answer.status is Status.SATISFIED
    assert answer.energy == pytest.approx(steep, rel=1e-7) and answer.steps < 600


def test_what_meeting_a_rule_costs_is_told_to_first_order() -> None:
    """E = 3 a - 4 b where a = 1 and b = 0: off by (e, -e), the least change back costs 7 e."""
    x = Variable("x", Real((2,), -5.0, 5.0))
    problem = Problem(
        1.0 * Cost(x, lambda x: 3 * x[:, 0] - 4 * x[:, 1])
        + Equal(x, lambda x: x - torch.tensor([1.0, 0.0], dtype=torch.float64))
    )
    off = 1e-5
    at = torch.tensor([[1 - off, off]], dtype=torch.float64)
    strictly, price = dearer(problem, {"x": at})
    assert strictly.item() == pytest.approx(off * off, rel=1e-6)
    assert 7 * off <= price.item() <= 4 * 7 * off
    strictly, price = dearer(problem, {"x": torch.tensor([[1.0, 0.0]], dtype=torch.float64)})
    assert strictly.item() == 0 and price.item() == 0


def test_who_gave_up_does_not_cut_off_the_other() -> None:
    """The first member, made to give up at once, ends no row that another improves."""
    x = Variable("x", Real((2,), -2.0, 2.0))
    problem = Problem(
        1.0 * Cost(x, lambda x: (x - 1).square().sum(1)) + Equal(x, lambda x: x[:, :1])
    )
    members = (
        Restarts(Lagrangian(inner=1, rounds=1), starts=1),
        Restarts(Descent(), starts=1),
    )
    portfolio, rng = Portfolio(), Stream(0, problem.keys)
    s = portfolio.init(problem, {"x": problem.sample("x", 4, rng)}, rng.at(0))
    start = {"x": problem.sample("x", 4, rng)}
    states = [m.init(problem, start, rng.at(0)) for m in members]
    s, ended = s._replace(members=members, states=states), None
    for k in range(3000):
        s = portfolio.step(problem, s, rng.at(k + 1))
        first, other = (m.report(problem, one) for m, one in zip(members, s.states, strict=True))
        if bool(first.done) and ended is None:
            ended = k
        whole = portfolio.report(problem, s)
        if bool(whole.done):
            break
    assert bool(other.done) and ended is not None and ended < k
    assert whole.energy.item() == pytest.approx(1.0, abs=1e-2)


def test_who_met_everything_and_has_the_best_ends_the_row() -> None:
    x = Variable("x", Real((2,), -2.0, 2.0))
    problem = Problem(1.0 * Cost(x, lambda x: x.square().sum(1)) + Equal(x, lambda x: x[:, :1] - 1))
    alone = least(problem, Restarts(Lagrangian()), 5000)
    assert least(problem, None, 5000).steps <= 1.5 * alone.steps
    assert least(problem, Restarts(Descent()), 5000).steps > 3 * alone.steps


def test_inequalities_are_priced_by_default() -> None:
    """A linear programme: the least of -a - 2 b - c where a + b + c <= 1.5 and b - c <= 0.25, in
    the unit box, is at (0, 0.875, 0.625) = -2.375."""
    x = Variable("x", Real((3,), 0.0, 1.0))
    cost = torch.tensor([-1.0, -2.0, -1.0], dtype=torch.float64)
    a = torch.tensor([[1.0, 1.0, 1.0], [0.0, 1.0, -1.0]], dtype=torch.float64)
    b = torch.tensor([1.5, 0.25], dtype=torch.float64)
    problem = Problem(1.0 * Cost(x, lambda x: x @ cost) + Below(x, lambda x: x @ a.T - b))
    assert [type(m.inner) for m in Portfolio().kin(problem)[0]] == [Lagrangian, Descent]
    answer = least(problem)
    assert answer.status is Status.SATISFIED
    assert answer.energy == pytest.approx(-2.375, abs=1e-7)


def test_without_a_rule_on_reals_descent_goes_first() -> None:
    x = Variable("x", Real((3,), 0.0, 1.0))
    ((first, second),) = Portfolio().kin(Problem(1.0 * Cost(x, lambda x: x.square().sum(1))))
    assert [type(first.inner), type(second.inner)] == [Descent, Lagrangian]


def mixed() -> Problem:
    z, x = Variable("z", Real((2,), -5.0, 5.0)), Variable("x", Finite((0, 1, 2), (2,)))
    energy = 1.0 * Cost(z, lambda z: z.square().sum(1)) + 1.0 * Pay(x)
    return Problem(energy + Equal(z, lambda z: z[:, :1] + z[:, 1:] - 1), (z, x))


def test_values_that_evidence_has_decided_are_not_searched() -> None:
    problem = mixed().given(x=[1, 0])
    assert Lagrangian().refuses(problem) is None
    for minimizer in (None, Lagrangian()):
        answer = least(problem, minimizer, 800)
        assert answer.status is Status.SATISFIED and answer.values["x"] == [1, 0]
        assert answer.energy == pytest.approx(1.5, abs=1e-7)
    assert "x" in str(Lagrangian().refuses(mixed().given(x=[1, None])))


def test_rows_are_searched_by_what_is_left_of_each() -> None:
    rows = mixed().given_rows([{"x": [1, 0]}, {}, {"x": [2, 2]}, {"x": [1, None]}])
    told = answers(rows, particles=4, budget=Budget(steps=300))
    assert [told[0].energy, told[2].energy] == pytest.approx([1.5, 4.5], abs=1e-7)
    alone = least(mixed().given(x=[2, 2]), steps=300)
    assert alone.values["x"] == told[2].values["x"]


def test_the_contract_beside_decided_values() -> None:
    rows = mixed().given_rows([{"x": [1, 0]}, {"x": [2, 2], "z": [0.25, None]}])
    check_minimizer(Lagrangian(memory=3, inner=5), rows, particles=3, steps=40)
    check_minimizer(Portfolio(), rows, particles=2, steps=6)
