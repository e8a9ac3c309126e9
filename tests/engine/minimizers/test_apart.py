"""Problems that fall apart: each part by what suits it, and what is said of the whole."""

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Finite, Problem, Real, Status, Term, Variable, answers, required
from engine.minimizers.apart import Apart
from engine.minimizers.elimination import LeastByElimination
from engine.minimizers.portfolio import Portfolio
from engine.problem.apart import MOST, Group, groups_of, parts_of
from modules.discrete.all_different import AllDifferent
from modules.discrete.table import Table
from tests.support.terms import Opaque, parted_problem


class Bowl(Term):
    """E = |x - centre|^2, at least 0."""

    dtype = torch.float64

    def __init__(self, x: Variable, centre: float = 0.3):
        super().__init__(x)
        self.centre = centre

    def energy(self, *tensors: Any) -> torch.Tensor:
        return (tensors[0] - self.centre).square().sum(1)

    def floor(self) -> float:
        return 0.0


class Loose(Bowl):
    """The same, of which no bound is known."""

    def floor(self) -> float:
        return -float("inf")


def sites(name: str, n: int, k: int) -> Variable:
    return Variable(name, Finite(tuple(range(k)), (n,)))


def number(name: str) -> Variable:
    return Variable(name, Real((1,), -1.0, 1.0))


def names(group: Group) -> set[str]:
    return {v.name for v in group.variables}


def differ(x: Variable) -> AllDifferent:
    return AllDifferent(x, lines=[list(range(x.domain.sites))])


@settings(max_examples=15, deadline=None)
@given(n=st.integers(1, 4), k=st.integers(2, 4), seed=st.integers(0, 10**6), cost=st.booleans())
def test_rules_beside_a_number_are_what_they_are_alone(n, k, seed, cost) -> None:
    x, y = sites("x", n, k), number("y")
    costs = torch.randint(0, 100, (n, k), generator=torch.Generator().manual_seed(seed)) / 10
    energy = differ(x)
    if cost:
        for site in range(n):
            energy = energy + 0.5 * Table(x, sites=[site], costs=costs[site].tolist())
    rows = [{}, {"x": [0, *[None] * (n - 1)]}]
    alone = answers(Problem(energy, (x,)).given_rows(rows))
    beside = answers(Problem(energy + 1.0 * Bowl(y), (x, y)).given_rows(rows))
    for one, other in zip(alone, beside, strict=True):
        assert one.status is other.status
        if one.status is Status.OPTIMAL:
            assert other.energy == pytest.approx(one.energy, abs=1e-6)
            assert other.bound == pytest.approx(one.bound, abs=1e-6)


def test_each_part_has_what_suits_it() -> None:
    problem = parted_problem()
    assert [[v.name for v in g.variables] for g in groups_of(problem)] == [["x"], ["y"], ["z"]]
    (member,) = Portfolio().kin(problem.select([0])) and Portfolio()._of(problem)
    assert isinstance(member, Apart)
    assert type(Portfolio()._of(parts_of(problem)[0])[0]) is LeastByElimination


def test_rows_that_are_selected_and_stacked_have_parts_of_one_energy() -> None:
    problem = parted_problem()
    some = [problem.select([k]) for k in (0, 3)]
    for own in zip(*(parts_of(one) for one in some), strict=True):
        assert own[0].energy is own[1].energy and own[0].form is own[1].form
        assert Problem.stack(own).rows == 2


def test_one_part_that_is_refuted_refutes_the_whole() -> None:
    x, y = sites("x", 3, 2), number("y")
    (answer,) = answers(Problem(differ(x) + 1.0 * Loose(y), (x, y)))
    assert answer.status is Status.INFEASIBLE


def test_a_part_of_which_nothing_is_proved_leaves_nothing_proved() -> None:
    x, y = sites("x", 3, 3), number("y")
    (answer,) = answers(Problem(differ(x) + 1.0 * Loose(y), (x, y)))
    assert answer.status is Status.SATISFIED and answer.bound is None
    assert answer.energy == pytest.approx(0.0, abs=1e-6)


def test_a_number_that_nothing_sees_and_one_that_constants_link() -> None:
    x, y, z = sites("x", 3, 3), number("y"), number("z")
    both = Bowl(y) + 1.0 * Product(y, z)
    problem = Problem(differ(x) + both + 1.0 * Linked(x, z), (x, y, z, number("free")))
    assert [names(g) for g in groups_of(problem)] == [{"free"}, {"x", "y", "z"}]
    given = problem.given(z=[0.5])  # what linked them is a constant
    assert [names(g) for g in groups_of(given)] == [{"free", "x", "z"}, {"y", "z"}]
    (answer,) = answers(given)
    (whole,) = answers(problem)
    assert whole.energy <= answer.energy + 1e-6
    least = min(
        (y - 0.3) ** 2 + 0.5 * y + 0.5 * first for y, first in itertools.product([0.05], range(3))
    )  # d/dy: 2 (y - 0.3) + 0.5 = 0
    assert answer.energy == pytest.approx(least, abs=1e-6)


class Product(Term):
    """E = y z."""

    dtype = torch.float64

    def energy(self, *tensors: Any) -> torch.Tensor:
        y, z = tensors
        return (y * z).sum(1)


class Linked(Term):
    """E = z times the place of the first site."""

    dtype = torch.float64

    def energy(self, *tensors: Any) -> torch.Tensor:
        x, z = tensors
        places = torch.arange(x.shape[-1], dtype=x.dtype)
        return z[:, 0] * (x[:, 0] * places).sum(1)


def test_uniqueness_and_alternatives_of_parts() -> None:
    one, two = sites("one", 2, 2), sites("two", 2, 2)
    pinned = Table(one, sites=[0], costs=[0, None])  # one = (0, 1)
    twice = differ(two) + required(Opaque(two))  # two answers, told by an opaque rule as well
    problem = Problem(required(pinned) + differ(one) + twice, (one, two))
    (answer,) = answers(problem, Portfolio(unique=True, alternatives=1))
    assert answer.values["one"] == [0, 1] and answer.unique is False
    assert [a.values["one"] for a in answer.alternatives] == [[0, 1]]
    assert answer.alternatives[0].values["two"] != answer.values["two"]
    held = problem.given(two=[1, None])
    (answer,) = answers(held, Portfolio(unique=True))
    assert answer.unique is True and answer.status is Status.OPTIMAL


def test_more_parts_than_are_kept_apart() -> None:
    every = [number(f"y{k}") for k in range(MOST + 5)]
    energy = sum((1.0 * Bowl(y) for y in every), start=1.0 * Bowl(number("first")))
    problem = Problem(energy)
    assert len(groups_of(problem)) == MOST
    (answer,) = answers(problem)
    assert answer.energy == pytest.approx(0.0, abs=1e-6 * MOST) and answer.bound == 0.0
