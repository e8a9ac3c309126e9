"""A row answers as it does alone, whatever stands beside it: rows that lack an input, that are told
what gives no number, that no rule can decide, that are told in other precisions."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import (
    BadQuery,
    Budget,
    Finite,
    Input,
    Problem,
    Real,
    Status,
    Term,
    Told,
    Variable,
    answers,
    required,
    score_plain,
)
from engine.energy import Sum
from engine.energy.definition import Definition
from engine.sampling.draw import samples
from engine.session import Session

F = Input("f", Real())
X = Variable("x", Finite((0, 1, 2), (4,)))


class Scaled(Term):
    """A cost of two sites, times ln of what is told: no number below 0, -inf at 0."""

    affine = False

    def __init__(self, a: int, b: int):
        super().__init__(F, X[a], X[b])
        self.costs = torch.randn(3, 3, generator=torch.Generator().manual_seed(7 * a + b))

    def energy(self, *tensors: Any) -> torch.Tensor:
        f, x, y = tensors
        return f.log() * torch.einsum("bi,ij,bj->b", x, self.costs, y)


class Below(Term):
    """A rule that cannot say where what is told is beyond 5."""

    affine = False

    def __init__(self):
        super().__init__(F, X[0], X[1])

    def energy(self, *tensors: Any) -> torch.Tensor:
        f, x, y = tensors
        total = (x + y) @ torch.arange(3.0)
        return torch.relu(total - f)

    def holds(self, *values: Any) -> bool | None:
        f, x, y = values
        return None if f > 5 else x + y <= f


PAIRS = list(itertools.combinations(range(4), 2))


def problem(rule: bool) -> Problem:
    terms = [Scaled(a, b) for a, b in PAIRS] + ([Below()] if rule else [])
    return Problem(Sum(*(s for t in terms for s in t.summands())), (X, F))


rows_of = st.lists(
    st.sampled_from([{}, {"f": 2.0}, {"f": 0.5}, {"f": -1.0}, {"f": 7.0}, {"f": 3.25}]),
    min_size=2,
    max_size=5,
)


@settings(max_examples=25, deadline=None)
@given(rows_of, st.booleans())
def test_a_row_answers_as_alone(rows: list[dict[str, Any]], rule: bool) -> None:
    asked, budget = problem(rule), Budget(steps=60)
    together = answers(asked.given_rows(rows), particles=4, budget=budget)
    for row, answer in zip(rows, together, strict=True):
        (alone,) = answers(asked.given_rows([row]), particles=4, budget=budget)
        assert (alone.status, alone.energy, alone.bound, alone.unique, alone.values) == (
            answer.status, answer.energy, answer.bound, answer.unique, answer.values)  # fmt: skip
        f = row.get("f")
        if f is not None and 0 < f <= 5:
            assert answer.status is Status.OPTIMAL
            least = min(cost(f, x) for x in itertools.product(range(3), repeat=4)
                        if not rule or x[0] + x[1] <= f)  # fmt: skip
            assert answer.energy == pytest.approx(least, abs=1e-5)


def cost(f: float, x: tuple[int, ...]) -> float:
    return math.log(f) * sum(float(Scaled(a, b).costs[x[a], x[b]]) for a, b in PAIRS)


def test_a_bound_of_costs_by_row_is_not_rounded_to_whole_numbers() -> None:
    class Trap(Term):
        affine = False

        def energy(self, *tensors: Any) -> torch.Tensor:
            f, y = tensors
            hit = (y.argmax(-1) == torch.tensor([2, 1, 2, 0, 1, 2])).all(-1)
            return torch.where(hit, f, torch.ones_like(f))

    y = Variable("y", Finite((0, 1, 2), (6,)))
    for told in (0.6, 0.75, 0.51, -2.3):
        (answer,) = answers(Problem(Trap(F, y)).given(f=told))
        assert answer.status is Status.OPTIMAL
        assert answer.energy == pytest.approx(told) and answer.bound == answer.energy


def test_terms_that_are_not_affine_are_right_in_any_company() -> None:
    class Square(Term):
        def energy(self, *tensors: Any) -> torch.Tensor:
            f, x = tensors
            return -f * x[:, 1] ** 2

    class Place(Term):
        def energy(self, *tensors: Any) -> torch.Tensor:
            f, x = tensors
            return (x.argmax(-1) - f) ** 2

    y = Variable("y", Finite((0, 1, 2)))
    found = answers(Problem(Square(F, y)).given_rows([{"f": 0.0}, {"f": 3.0}, {"f": 0.0}]))
    assert [a.energy for a in found] == [0.0, -3.0, 0.0]
    assert [a.energy for a in answers(Problem(Place(F, y)).given_rows([{"f": 1.0}] * 3))] == [0] * 3


def test_rules_see_numbers_in_one_precision() -> None:
    class Sum1(Term):
        def energy(self, *tensors: Any) -> torch.Tensor:
            return tensors[0].new_zeros(len(tensors[0]))

        def holds(self, *values: Any) -> bool | None:
            return bool(values[0].sum() <= 1)

    g, y = Input("g", Real((3,))), Variable("y", Finite((0, 1, 2)))
    near = np.array([0.31860515, 0.5916566, 0.08973829], np.float32)
    asked = Problem(Sum1(g, y))
    alone = answers(asked.given_rows([{"g": near}]))[0]
    beside = answers(asked.given_rows([{"g": near}, {"g": [0.0, 0.0, 0.0]}]))[0]
    assert alone.status is beside.status


class Twice(Definition):
    def define(self, *inputs: Any) -> torch.Tensor:
        return 2 * inputs[0]


class Pick(Term):
    def energy(self, *tensors: Any) -> torch.Tensor:
        y, z = (x.reshape(len(x), -1) for x in tensors)
        return 0.1 * (y[:, 0] - 5) ** 2 + y[:, 0] * z[:, 1]

    def floor(self) -> float:
        return -9.0


@pytest.mark.parametrize("reduced", [False, True])
def test_a_definition_defines_nothing_where_its_input_is_absent(reduced: bool) -> None:
    g, y = Input("g", Real((1,))), Variable("y", Real((1,), -9, 9))
    z = Variable("z", Finite((0, 1)))
    asked = Problem(required(Twice(g, y)) + Pick(y, z))
    rows = asked.given_rows([{}, {"g": [2.0]}, {}])
    found = answers(rows.reduced() if reduced else rows, budget=Budget(steps=300))
    assert [a.energy for a in found] == pytest.approx([0.0, 0.1, 0.0], abs=1e-4)
    assert found[1].values == {"y": [4.0], "z": 0}


def test_definitions_of_finite_and_of_single_sites_are_judged() -> None:
    class Valued(Definition):
        def define(self, *inputs: Any) -> torch.Tensor:
            return inputs[0][..., 1] * 3.0

    class Near(Term):
        def energy(self, *tensors: Any) -> torch.Tensor:
            return (tensors[0] - 5).square()

    z, y = Variable("z", Finite((0, 1))), Variable("y", Real((), -9, 9))
    asked = Problem(Valued(z, y) + Near(y))
    (said,) = score_plain(asked, [{"z": 1, "y": 5.0}])
    assert said.findings[0].holds is False
    assert score_plain(asked, [{"z": 1, "y": 3.0}])[0].findings[0].holds is True
    (answer,) = answers(asked.given().reduced(), budget=Budget(steps=400))
    assert answer.values is not None and answer.values["z"] == 1
    assert answer.values["y"] == pytest.approx(3.0, abs=2e-3)


def test_a_reduced_problem_never_says_more_than_the_whole_one() -> None:
    """A definition of a finite variable stays a rule; what is computed of numbers may break its
    evidence, which no search over the rest can see."""

    class Looked(Definition):
        def define(self, *inputs: Any) -> torch.Tensor:
            return inputs[0] @ torch.tensor([0.0, 1.0, 7.0])

    class Pay(Term):
        def energy(self, *tensors: Any) -> torch.Tensor:
            return tensors[0] @ torch.tensor([0.0, 0.5, 1.0])

        def floor(self) -> float:
            return 0.0

    z, y = Variable("z", Finite("abc")), Variable("y", Real((), -50, 50))
    asked = Problem(Looked(z, y) + Pay(z), (z, y))
    (answer,) = answers(asked.given(y=1.0).reduced())
    assert answer.status is Status.OPTIMAL and answer.values == {"z": "b", "y": 1.0}
    (answer,) = answers(asked.given(y=3.0).reduced())
    assert answer.status is Status.INFEASIBLE
    (drawn,) = samples(asked.given(y=1.0).reduced(), 8, seed=0)
    assert {one.values["z"] for one in drawn.samples} == {"b"}
    u, w = Variable("u", Real((), 0, 1)), Variable("w", Real((), -5, 5))
    beside = Problem(Twice(u, w) + Pay(z), (z, u, w)).given(w=4.0).reduced()
    (answer,) = answers(beside, particles=2, budget=Budget(steps=30))
    assert answer.status is Status.UNSATISFIED
    with pytest.raises(BadQuery, match="is reduced"):
        Session(beside)


def test_a_session_adds_no_floor_where_an_input_is_absent() -> None:
    class Near(Term):
        def energy(self, *tensors: Any) -> torch.Tensor:
            return 5 * torch.exp(-10 * (tensors[0] - 1) ** 2) + 0 * tensors[0]

        def floor(self) -> float:
            return 0.0

    class Five(Term):
        def energy(self, *tensors: Any) -> torch.Tensor:
            return 5 + 0 * tensors[0]

        def floor(self) -> float:
            return 5.0

    r = Variable("r", Real((), 0.5, 1.0))
    session = Session(Problem(Near(r), (r, F)).given(), particles=2)
    session.answer(Budget(steps=2))
    session.add("five", Five(r, F))
    answer = session.answer(Budget(steps=2))
    assert answer.status is not Status.OPTIMAL and (answer.bound or 0.0) == 0.0


def test_a_required_choice_beside_an_input_is_answered() -> None:
    class Is(Term):
        affine = False

        def energy(self, *tensors: Any) -> torch.Tensor:
            f, z = tensors
            return (z[:, 1] != f).float()

        def holds(self, *values: Any) -> bool | None:
            f, z = values
            return float(f) == z

    z = Variable("z", Finite((0, 1)))
    (answer,) = answers(Problem(Is(F, z) | Is(F, z)).given(f=1.0))
    assert answer.status is Status.OPTIMAL and answer.values == {"z": 1}


def test_a_term_inside_a_choice_needs_every_entry_too() -> None:
    class Costs(Term):
        def energy(self, *tensors: Any) -> torch.Tensor:
            g, y = tensors
            return g.sum(1) + y[:, 1]

    g, y = Input("g", Real((3,))), Variable("y", Finite((0, 1)))
    with pytest.raises(BadQuery, match="entry 1 is absent, and Costs of AnyOf needs it"):
        Problem(Costs(g, y) | 2.0 * Costs(g, y)).given(g=[1.0, None, 2.0])


def test_whole_numbers_beyond_floats_are_mistakes() -> None:
    for value in (np.array(2**53 + 1), 2**53 + 1):
        with pytest.raises(BadQuery, match="9007199254740993"):
            Told(()).narrow([value])
    with pytest.raises(BadQuery, match="no int64"):
        Told((), integer=True).narrow([np.array(2**64 - 1, np.uint64)])


class Ratio(Term):
    """|z / f - 1|^2 / 2, which has no slope where f is 0."""

    dtype = torch.float64
    affine = False

    def __init__(self, f: Input, z: Variable):
        super().__init__(f, z)

    def energy(self, *tensors: Any) -> torch.Tensor:
        return self.residual(*tensors).square().sum(1) / 2

    def residual(self, *tensors: Any) -> torch.Tensor:
        f, z = tensors
        return z / f[:, None] - 1

    def holds(self, *values: Any) -> bool:
        f, z = values
        return all(abs(x / f - 1) < 1e-3 for x in z)


class Near(Term):
    """|z - 3|^2."""

    dtype = torch.float64

    def __init__(self, z: Variable):
        super().__init__(z)

    def energy(self, *tensors: Any) -> torch.Tensor:
        return (tensors[0] - 3).square().sum(1)


@pytest.mark.parametrize("told", [[{"f": 2.0}, {}], [{}], [{}, {}]])
def test_what_a_row_lacks_leaves_its_slopes_alone(told: list[dict[str, float]]) -> None:
    z = Variable("z", Real((2,), -2.0, 2.0))
    asked = Problem(Ratio(F, z) * 1.0 + Near(z), (z, F)).given_rows(told)
    ruled = Problem(required(Ratio(F, z)) + Near(z), (z, F)).given_rows(told)
    x = torch.full((len(told), 2), 0.5, dtype=torch.float64, requires_grad=True)
    constraints = ruled.constraints({"z": x})
    every = (
        asked.totals({"z": x}).energy,
        sum(ruled.totals({"z": x})),
        ruled.violations({"z": x}).sum(1),
        constraints.values.sum(1),
    )
    for row, one in enumerate(told):
        lacks = "f" not in one
        for k, total in enumerate(every):
            if not total.requires_grad:
                continue
            (slope,) = torch.autograd.grad(total.sum(), x, retain_graph=True)
            assert bool(slope.isfinite().all())
            if lacks:
                near = 0.0 if k > 1 else 2 * (0.5 - 3)
                assert slope[row].tolist() == [near, near]
    assert constraints.values.shape == (len(told), 2)
    found = answers(asked, particles=8, budget=Budget(steps=400))
    for one, answer in zip(told, found, strict=True):
        if not one:
            assert answer.energy == pytest.approx(2.0, abs=1e-3)
