"""Enumeration: the least of all combinations, held against plain loops over them."""

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine.answer import Status
from engine.domain import Finite, Real, Variable
from engine.energy import Term, required
from engine.errors import BadQuery
from engine.minimizers.enumeration import Enumeration, enumerable
from engine.problem import Problem
from engine.settle import answers
from modules.discrete.circuit import Circuit
from modules.discrete.table import Table


class Wave(Term):
    """E = sin of a weighted sum of places, plus a real site: no structure that could be used."""

    affine = False

    def __init__(self, x: Variable, y: Variable, seed: int):
        super().__init__(x, y)
        g = torch.Generator().manual_seed(seed)
        self.weights = 3 * torch.rand(x.domain.sites, generator=g).double()

    def value(self, x: list[int], y: float) -> float:
        return math.sin(sum(w * v for w, v in zip(self.weights.tolist(), x, strict=True)) + y)

    def energy(self, x: Tensor, y: Tensor) -> Tensor:
        places = x.double() @ torch.arange(x.shape[-1]).double()
        return torch.sin(places @ self.weights + y.double())

    def factors(self, *domains):
        return None


class Odd(Term):
    """The places add up to an odd number."""

    affine = False

    def __init__(self, x: Variable):
        super().__init__(x)

    def energy(self, x: Tensor) -> Tensor:
        places = (x.double() @ torch.arange(x.shape[-1]).double()).sum(-1)
        return 1 - places.round() % 2

    def holds(self, x: list[int]) -> bool:
        return sum(x) % 2 == 1

    def factors(self, *domains):
        return None


def wave(seed: int, rule: bool, n: int = 3) -> tuple[Problem, Wave]:
    x, y = Variable("x", Finite((0, 1, 2), (n,))), Variable("y", Real())
    term = Wave(x, y, seed)
    return Problem(term + required(Odd(x)) if rule else 1.0 * term), term


ROW = st.lists(st.sampled_from([0, 1, 2, None]), min_size=3, max_size=3)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 1000), st.booleans(), st.lists(ROW, min_size=1, max_size=4))
def test_rows_get_the_least_of_all_combinations(seed, rule, rows):
    problem, term = wave(seed, rule)
    asked = problem.given_rows([{"x": row, "y": k / 3} for k, row in enumerate(rows)])
    for k, (row, answer) in enumerate(
        zip(rows, answers(asked, Enumeration(alternatives=2)), strict=True)
    ):
        every = itertools.product(*((v,) if v is not None else (0, 1, 2) for v in row))
        costs = sorted((term.value(list(x), k / 3), x) for x in every if not rule or sum(x) % 2)
        if not costs:
            assert answer.status is Status.INFEASIBLE
            continue
        assert answer.status is Status.OPTIMAL
        assert answer.energy == pytest.approx(costs[0][0], abs=1e-6)
        assert answer.bound == pytest.approx(costs[0][0], abs=1e-6)
        others = [other.energy for other in answer.alternatives]
        assert others == pytest.approx([cost for cost, _ in costs[1:3]], abs=1e-6)


def test_what_is_too_wide_or_real_is_left_to_others():
    problem, _ = wave(1, False)
    assert not enumerable(problem.given(x=[0, 1, None]))  # y is open
    assert enumerable(problem.given(y=0.5))
    wide, _ = wave(1, False, n=10)
    assert not enumerable(wide.given(y=0.0))
    with pytest.raises(BadQuery, match="at most"):
        answers(wide.given(y=0.0), Enumeration())


def test_two_level_states_are_not_called_unique():
    x, y = Variable("x", Finite((0, 1), (2,))), Variable("y", Real())
    term = Wave(x, y, 0)
    term.weights = torch.tensor([1.0, 1.0], dtype=torch.float64)
    level = answers(Problem(1.0 * term).given(x=[None, None], y=-2.5), Enumeration())[0]
    assert level.status is Status.OPTIMAL and level.unique is False
    single = answers(Problem(1.0 * term).given(x=[None, 0], y=-2.5), Enumeration())[0]
    assert single.unique is True


@pytest.mark.parametrize("row", [[0, 1], [0, None], [None, None]])
def test_what_a_guard_forbids_at_a_price_is_decided(row):
    """The guarded costs are explicit, but not looked up; the circuit at a price is evaluated."""
    x = Variable("x", Finite((0, 1), (2,)))
    guarded = 1.0 * Table(x, sites=[1], costs=[0, None], guard=[[0, 0]])
    shut = 1.0 * Table(x, sites=[1], costs=[None, 0], guard=[[1, 0]])
    for energy in (1.0 * Circuit(x) + guarded + shut, 0.5 * Circuit(x) + 2.0 * guarded):
        (answer,) = answers(Problem(energy).given(x=row), Enumeration())
        none = row[1] == 1 or (row[0] == 0 and len(list(energy.summands())) == 3)
        assert answer.status == ("INFEASIBLE" if none else "OPTIMAL")
