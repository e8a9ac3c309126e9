"""Finite sites beside numbers: enumeration times the exact minimum of a quadratic, what is proved,
and what a search of numbers in vain may never say."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from engine import Budget, Finite, Input, Problem, Real, Status, Term, Variable, answers, required
from engine.minimizers.gibbs import Gibbs
from engine.minimizers.leaves import Leaves, few_leaves
from engine.minimizers.portfolio import Portfolio
from engine.random import Stream
from modules.discrete.all_different import AllDifferent
from modules.discrete.table import Table


class Coupled(Term):
    """E = |A x - sum over sites of B[f]|^2 / 2."""

    affine = False
    dtype = torch.float64

    def __init__(self, f: Variable, x: Variable, a: Tensor, b: Tensor):
        super().__init__(f, x)
        self.register_buffer("a", a)  # (m, d)
        self.register_buffer("b", b)  # (n, k, m)

    def residual(self, *tensors: Any) -> Tensor:
        f, x = tensors
        return x @ self.a.T - torch.einsum("bnk,nkm->bm", f, self.b)

    def energy(self, *tensors: Any) -> Tensor:
        return self.residual(*tensors).square().sum(1) / 2


class Mixed:
    """A random problem, and its rows of evidence."""

    def __init__(self, seed: int, n: int, k: int, d: int, rows: int, *, rule: bool):
        self.rng = np.random.default_rng(seed)
        self.n, self.k, self.d = n, k, d
        draw = self.rng.normal
        self.a = np.concatenate([draw(size=(d, d)), np.eye(d)])
        self.b = draw(size=(n, k, 2 * d))
        self.costs = self.rng.integers(0, 90, (n, k)) / 100
        self.costs[0, 0] = math.inf  # a value that is forbidden
        self.f = Variable("f", Finite(tuple(range(k)), (n,)))
        self.x = Variable("x", Real((d,), -100.0, 100.0))
        energy = 1.0 * Coupled(self.f, self.x, torch.tensor(self.a), torch.tensor(self.b))
        for site in range(n):
            costs = [None if math.isinf(c) else float(c) for c in self.costs[site]]
            energy = energy + 0.5 * Table(self.f, sites=[site], costs=costs)
        self.rule = rule
        if rule:
            energy = energy + required(AllDifferent(self.f, lines=[list(range(n))]))
        self.given = [self._evidence(row) for row in range(rows)]
        self.problem = Problem(energy, (self.f, self.x)).given_rows(self.given)

    def _evidence(self, row: int) -> dict[str, list[Any]]:
        f: list[int | None] = [None] * self.n
        x: list[float | None] = [None] * self.d
        if row % 2:
            f[-1] = int(self.rng.integers(self.k))
        if row > 1 and self.d > 1:
            x[0] = float(self.rng.normal())
        return {"f": f, "x": x}

    def least(self, row: int) -> float:
        """By enumeration and a linear solve for each; infinite where nothing is allowed."""
        f, x = self.given[row]["f"], self.given[row]["x"]
        loose = [j for j, value in enumerate(x) if value is None]
        held = self.a @ np.array([value or 0.0 for value in x])
        best = math.inf
        for places in itertools.product(range(self.k), repeat=self.n):
            if any(told not in (None, at) for told, at in zip(f, places)):
                continue
            if self.rule and len(set(places)) < self.n:
                continue
            cost = 0.5 * sum(self.costs[site, v] for site, v in enumerate(places))
            wanted = sum(self.b[site, v] for site, v in enumerate(places)) - held
            at = np.linalg.lstsq(self.a[:, loose], wanted, rcond=None)[0]
            best = min(best, cost + float(np.square(self.a[:, loose] @ at - wanted).sum() / 2))
        return best


shapes = {"n": st.integers(1, 3), "k": st.integers(2, 3), "d": st.integers(1, 3)}


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), rows=st.integers(1, 4), rule=st.booleans(), **shapes)
def test_it_is_enumeration_times_the_exact_minimum(seed, rows, rule, n, k, d) -> None:
    mixed = Mixed(seed, n, k, d, rows, rule=rule)
    for minimizer in (Leaves(), None):
        found = answers(mixed.problem, minimizer, particles=4)
        for row, answer in enumerate(found):
            least = mixed.least(row)
            if math.isinf(least):  # rules over finite sites alone refute it
                assert answer.status is Status.INFEASIBLE
                continue
            assert answer.status is not Status.INFEASIBLE and answer.energy is not None
            assert answer.energy == pytest.approx(least, abs=1e-6)
            assert answer.bound is None or answer.bound <= least + 1e-9
            if answer.status is Status.OPTIMAL:
                assert least == pytest.approx(answer.bound, abs=2e-6)
            alone = answers(mixed.problem.select([row]), minimizer, particles=4)[0]
            assert (alone.status, alone.bound) == (answer.status, answer.bound)
            assert alone.energy == pytest.approx(answer.energy, abs=1e-9)


class Told(Coupled):
    """The same, from what an input tells on."""

    def __init__(self, f: Variable, x: Variable, p: Input, a: Tensor, b: Tensor):
        Term.__init__(self, f, x, p)
        self.register_buffer("a", a)
        self.register_buffer("b", b)

    def residual(self, *tensors: Any) -> Tensor:
        return super().residual(*tensors[:2]) - tensors[2]


def test_rows_that_are_told_other_inputs_have_leaves_of_their_own() -> None:
    f, x = Variable("f", Finite((0, 1, 2), (2,))), Variable("x", Real((1,), -9.0, 9.0))
    p, b = Input("p", Real((2,))), torch.tensor(np.random.default_rng(1).normal(size=(2, 3, 2)))
    told = Told(f, x, p, torch.ones(2, 1).double(), b)
    problem = Problem(1.0 * told + AllDifferent(f, lines=[[0, 1]]), (f, x, p))
    rows: list[dict[str, Any]] = [{"p": [0.5, -1.0]}, {"p": [2.0, 1.0]}, {}]
    for row, answer in zip(rows, answers(problem.given_rows(rows)), strict=True):
        least = 0.0 if not row else math.inf  # a row without it costs nothing
        for i, j in itertools.permutations(range(3), 2) if row else ():
            wanted = b[0, i].numpy() + b[1, j].numpy() + np.array(row["p"])
            least = min(least, np.square(wanted - wanted.mean()).sum() / 2)
        assert answer.energy == pytest.approx(least, abs=1e-9)


class Near(Term):
    """Required: |x - g(f)| = 0 for a place g of each value."""

    dtype = torch.float64
    required_by_default = True

    def __init__(self, f: Variable, x: Variable, places: list[float]):
        super().__init__(f, x)
        self.register_buffer("places", torch.tensor(places, dtype=torch.float64))
        self.said = places

    def residual(self, *tensors: Any) -> Tensor:
        f, x = tensors
        return x - f[:, 0] @ self.places[:, None]

    def energy(self, *tensors: Any) -> Tensor:
        return self.residual(*tensors).square().sum(1) / 2

    def holds(self, *values: Any) -> bool:
        f, x = values
        return abs(x[0] - self.said[f[0]]) <= 1e-3


class Effort(Term):
    """E = (x - 1)^2."""

    dtype = torch.float64

    def energy(self, *tensors: Any) -> Tensor:
        return (tensors[0] - 1).square().sum(1)

    def floor(self) -> float:
        return 0.0


def hinged(places: list[float], edge: float = 10.0) -> Problem:
    f = Variable("f", Finite(range(len(places)), (1,)))
    x = Variable("x", Real((1,), -edge, edge))
    return Problem(required(Near(f, x, places)) + 1.0 * Effort(x), (f, x))


def test_a_required_term_that_couples_is_met_at_the_best_leaf() -> None:
    (answer,) = answers(hinged([5.0, 3.0, -2.0]))
    assert answer.status is Status.SATISFIED and answer.values is not None
    assert answer.values["f"] == [1] and answer.energy == pytest.approx(4.0, abs=1e-3)
    assert answer.bound == 0.0
    (answer,) = answers(hinged([5.0, 1.0, -2.0]))  # at the floor
    assert answer.status is Status.OPTIMAL


def test_numbers_searched_in_vain_refute_nothing() -> None:
    (answer,) = answers(hinged([5.0, 3.0, -2.0], edge=1.0))
    assert answer.status is Status.UNSATISFIED


class Closed(Term):
    """A rule over finite sites that says nothing explicit."""

    def energy(self, *tensors: Any) -> Tensor:
        return tensors[0][..., 0].sum(1)

    def holds(self, *values: Any) -> bool:
        return 0 not in values[0]

    def factors(self, *domains: Any) -> None:
        del domains


def test_rules_over_finite_sites_alone_refute_leaf_by_leaf() -> None:
    f, x = Variable("f", Finite(range(3), (2,))), Variable("x", Real((2,), -1.0, 1.0))
    coupled = Coupled(f, x, torch.eye(2).double(), torch.full((2, 3, 2), 0.1).double())
    problem = Problem(1.0 * coupled + required(Closed(f)), (f, x))
    rows = problem.given_rows([{"f": [0, None]}, {"f": [1, None]}])
    shut, loose = answers(rows)
    assert shut.status is Status.INFEASIBLE
    assert loose.status is Status.OPTIMAL and 0 not in loose.values["f"]  # at the floor


def test_many_leaves_are_found_beside_sampling() -> None:
    """More leaves than are looked at one by one: both kinds of search take part."""
    mixed = Mixed(3, 12, 2, 2, 1, rule=False)
    assert not bool(few_leaves(mixed.problem).any())
    members = Portfolio().kin(mixed.problem)[0]
    assert [type(m) for m in members] == [Leaves, Gibbs]
    (answer,) = answers(mixed.problem, budget=Budget(steps=60), particles=8)
    assert answer.energy == pytest.approx(mixed.least(0), abs=0.05)
    assert answer.bound <= mixed.least(0)


def test_sites_that_no_number_sees_take_their_cheapest_values() -> None:
    """Ten sites chained by costs behind one that a number sees: a leaf for each value of that."""
    rng = np.random.default_rng(5)
    first, chain = Variable("first", Finite(range(3), (1,))), Variable("c", Finite(range(3), (10,)))
    x = Variable("x", Real((1,), -9.0, 9.0))
    b = torch.tensor(rng.normal(size=(1, 3, 2)))
    costs = rng.integers(0, 90, (10, 3, 3)) / 100
    energy = 1.0 * Coupled(first, x, torch.ones(2, 1).double(), b)
    energy = energy + 1.0 * Table(first, chain, sites=[0, 1], costs=costs[0].tolist())
    for k in range(9):
        energy = energy + 1.0 * Table(chain, sites=[k, k + 1], costs=costs[k + 1].tolist())
    problem = Problem(energy, (first, chain, x))
    minimizer, rng_of = Leaves(), Stream(0, problem.keys)
    start = {v.name: problem.sample(v.name, 2, rng_of) for v in problem.open}
    state = minimizer.init(problem, start, rng_of)
    for k in range(1, 40):
        state = minimizer.step(problem, state, rng_of.at(k))
    assert len(state.rows[0].known) <= 3 and bool(state.done[0])
    onward = np.zeros(3)
    for table in costs[::-1]:
        onward = (table + onward).min(1)
    off = (b[0] - b[0].mean(1, keepdim=True)).square().sum(1).numpy() / 2
    assert float(state.best.energy[0]) == pytest.approx((onward + off).min(), abs=1e-6)
