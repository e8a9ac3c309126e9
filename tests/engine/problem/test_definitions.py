"""Views that terms define: reduced problems compute them, and judge what is wanted of them."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import BadQuery, Budget, Finite, Input, Problem, Real, Status, Term, Variable, answers
from engine.energy.definition import Definition
from engine.minimizers.descent import Descent
from engine.minimizers.gibbs import Gibbs
from engine.minimizers.lagrangian import Lagrangian
from engine.random import Stream

T = 6


class Doubled(Definition):
    """out = 2 in."""

    dtype = torch.float64

    def __init__(self, given, out):
        super().__init__(given, out)

    def define(self, *inputs: Any) -> torch.Tensor:
        return 2 * inputs[0]


class Walk(Definition):
    """s[t + 1] = s[t] + a[t]."""

    dtype = torch.float64

    def __init__(self, s, a):
        super().__init__(s[0], a, s[1:])

    def define(self, *inputs: Any) -> torch.Tensor:
        start, a = inputs
        return start[:, None] + a.cumsum(1)


class Effort(Term):
    dtype = torch.float64

    def __init__(self, a):
        super().__init__(a)

    def energy(self, *tensors: Any) -> torch.Tensor:
        return tensors[0].square().sum(1)

    def floor(self) -> float:
        return 0.0


class Apart(Term):
    dtype = torch.float64

    def __init__(self, z, x):
        super().__init__(z, x)

    def energy(self, *tensors: Any) -> torch.Tensor:
        z, x = tensors
        return (x * (torch.arange(x.shape[-1]) - z[:, :1]).abs()).sum(-1)


def walk(most: float = 5.0) -> Problem:
    s, a = Variable("s", Real((T + 1,), -most, most)), Variable("a", Real((T,), -2, 2))
    return Problem(Walk(s, a) + Effort(a), (s, a))


def states(*given: Any) -> list[Any]:
    return [*given, *[None] * (T + 1 - len(given))]


def test_defined_variables_are_not_searched():
    problem = walk().given(s=states(1.0))
    reduced = problem.reduced()
    assert [v.name for v in reduced.open] == ["a"]
    assert reduced.reduced() is reduced
    assert [p.label for p in reduced.summands] == ["Effort", "Computed"]
    assert walk().reduced().open == walk().reduced().variables or True
    a = torch.rand(3, T, dtype=torch.float64)
    s = reduced.whole({"a": a})["s"]
    assert torch.allclose(s[:, 1:], 1.0 + a.cumsum(1)) and (s[:, 0] == 1.0).all()


@settings(max_examples=20)
@given(st.integers(0, 2**31))
def test_value_and_gradient_of_a_roll_out_equal_differences(seed):
    reduced = walk(0.5).given_rows([{"s": states(0.1)}, {"s": states(-0.2)}]).reduced()
    a = reduced.sample("a", 2, Stream(seed, reduced.keys)).requires_grad_()
    energy, violation = reduced.totals({"a": a})
    (slope,) = torch.autograd.grad((energy + violation).sum(), a)
    for place in range(T):
        step = torch.zeros_like(a)
        step[:, place] = 1e-6
        up, down = (sum(reduced.totals({"a": (a + d).detach()})) for d in (step, -step))
        assert torch.allclose(slope[:, place], (up - down) / 2e-6, atol=1e-5)


@pytest.mark.parametrize("minimizer", [Descent(), Gibbs(steps=40), Lagrangian()], ids=str)
def test_a_site_that_only_a_definition_sees_is_searched(minimizer):
    goal = walk().given(s=[*[None] * T, 4.0]).reduced()
    assert [v.name for v in goal.open] == ["s", "a"]
    (answer,) = answers(goal, minimizer, budget=Budget(steps=300))
    assert answer.holds and answer.values["s"][-1] == pytest.approx(4.0, abs=2e-3)


def test_evidence_on_a_defined_site_is_violation():
    goal = walk().given(s=[1.0, *[None] * (T - 1), 4.0]).reduced()
    a = torch.zeros(1, T, dtype=torch.float64)
    assert goal.totals({"a": a}).violation.tolist() == [0.5 * 3.0**2]
    assert goal.totals({"a": a + 0.5}).violation.tolist() == [0.0]
    edges = walk(1.0).given(s=states(1.0)).reduced()
    assert edges.totals({"a": a + 0.25}).violation[0] > 0
    assert edges.totals({"a": a - 0.25}).violation.tolist() == [0.0]


def test_what_was_computed_is_judged():
    (answer,) = answers(walk().given(s=[1.0, *[None] * (T - 1), 4.0]).reduced(), Descent())
    assert answer.status is Status.SATISFIED and answer.values is not None
    assert [f.term for f in answer.findings] == ["Walk", "Effort"]
    assert answer.values["s"][-1] == pytest.approx(4.0, abs=2e-3)
    assert answer.energy == pytest.approx(3.0**2 / T, rel=1e-2)


def test_what_constants_define_is_computed_once_and_explicit():
    calls: list[int] = []

    class Encoder(Definition):
        def __init__(self, picture, z):
            super().__init__(picture, z)

        def define(self, *inputs: Any) -> torch.Tensor:
            calls.append(len(inputs[0]))
            return inputs[0].sum(1, keepdim=True)

    picture, z = Input("picture", Real((3,))), Variable("z", Real((1,)))
    x = Variable("x", Finite(range(5)))
    problem = Problem(Encoder(picture, z) + Apart(z, x), (x, z, picture))
    rows = problem.given_rows([{"picture": [1, 1, 1]}, {"picture": [0, 0, 1]}])
    assert rows.constants == {"z"}
    found = answers(rows)
    assert [a.values for a in found] == [{"x": 3, "z": [3.0]}, {"x": 1, "z": [1.0]}]
    assert all(a.status is Status.OPTIMAL for a in found)


def test_plain_numbers_are_judged_as_they_are():
    class Sharp(Doubled):
        tolerance = 1e-30

    term = Sharp(*(Variable(n, Real((2,))) for n in ("one", "two")))
    assert term.holds([0.1, 0.3], [0.2, 0.6]) is True
    assert term.holds([0.1, 0.3], [0.2, 0.6 + 1e-12]) is False


def test_chains_of_definitions_are_computed_in_order():
    one, two, three = (Variable(n, Real((2,))) for n in ("one", "two", "three"))
    problem = Problem(Doubled(two, three) + Doubled(one, two), (three, two, one)).reduced()
    assert [v.name for v in problem.open] == ["one"]
    whole = problem.whole({"one": torch.ones(1, 2, dtype=torch.float64)})
    assert whole["three"].tolist() == [[4.0, 4.0]]


def test_circles_and_second_definitions_are_mistakes():
    one, two = (Variable(n, Real((2,))) for n in ("one", "two"))
    with pytest.raises(BadQuery, match="defined from itself"):
        Problem(Doubled(one, two) + Doubled(two, one))
    with pytest.raises(BadQuery, match="defined twice"):
        Problem(Doubled(one, two) + Doubled(one[1:], two[:1]))
    with pytest.raises(BadQuery, match="no variable of real numbers"):
        Problem(Doubled(one, Variable("x", Finite((0, 1), (2,)))))


class Disc(Real):
    """A disc of radius 1."""

    def project(self, x: torch.Tensor) -> torch.Tensor:
        far = x.square().sum(-1, keepdim=True).sqrt().clamp(min=1.0)
        return super().project(x / far)


@pytest.mark.parametrize("form", ["lifted", "reduced"])
@pytest.mark.parametrize(
    "given, off", [({"z": [0.25, 0.25], "o": [None, 0.0]}, 0.125), ({"z": [2.0, 0.25]}, 4.5)]
)
def test_what_follows_from_constants_alone_is_held_to_evidence(
    form: str, given: dict[str, Any], off: float
) -> None:
    z, o = Variable("z", Real((2,), -2.0, 2.0)), Variable("o", Real((2,), -1.0, 1.0))
    y = Variable("y", Real((2,), -1.0, 1.0))
    asked = Problem(Doubled(z, o), (z, o, y)).given(**given)
    asked = asked.reduced() if form == "reduced" else asked
    x = {"y": torch.zeros(1, 2, dtype=torch.float64)}
    assert asked.totals(x).violation.tolist() == [off]
    assert asked.by_part(x).parts.sum().item() == asked.violations(x).sum().item() == off
    told = asked.constraints(x)
    assert told.violation.tolist() == [off]
    near = told.values.clamp(told.low, told.high)
    assert 0.5 * (told.values - near).square().sum().item() == off
    (answer,) = answers(asked, particles=4, budget=Budget(steps=50))
    assert answer.status is Status.UNSATISFIED


def test_a_domain_that_is_no_box_is_told_by_distance() -> None:
    a, b = Variable("a", Real((2,), -2.0, 2.0)), Variable("b", Disc((2,)))
    asked = Problem(Doubled(a, b), (a, b)).reduced()
    for x in ([1.0, 1.0], [0.1, 0.2], [0.0, -2.0]):
        state = {"a": torch.tensor([x], dtype=torch.float64)}
        told, parts = asked.constraints(state), asked.by_part(state)
        off = told.values - told.values.clamp(told.low, told.high)
        assert (0.5 * off.square()).sum(1).tolist() == pytest.approx(parts.violation.tolist())
        assert told.violation.tolist() == pytest.approx(parts.violation.tolist())


def test_the_parts_of_one_state_are_counted_as_those_of_its_batch() -> None:
    z, o = Variable("z", Real((2,), -2.0, 2.0)), Variable("o", Real((2,), -1.0, 1.0))
    asked = Problem(Doubled(z, o), (z, o)).given_rows([{"z": [0.1, 0.1]}, {}]).reduced()
    x = {v.name: torch.zeros(2, 2, dtype=torch.float64) for v in asked.open}
    assert asked.count_parts(x) == asked.violations(x).shape[1]


def test_numbers_are_as_coarse_reduced_as_lifted() -> None:
    z, o = Variable("z", Real((2,), -2.0, 2.0)), Variable("o", Real((2,), -1.0, 1.0))
    lifted = Problem(Doubled(z, o), (z, o))
    assert lifted.coarse == lifted.reduced().coarse == frozenset()


def test_a_move_that_fails_leaves_the_terms_where_they_are() -> None:
    z, o = Variable("z", Real((2,), -2.0, 2.0)), Variable("o", Real((2,), -1.0, 1.0))
    asked = Problem(Doubled(z, o), (z, o))
    with pytest.raises(RuntimeError):
        asked.to("meta")
    x = {v.name: torch.zeros(1, 2, dtype=torch.float64) for v in asked.open}
    assert asked.totals(x).violation.tolist() == [0.0]
