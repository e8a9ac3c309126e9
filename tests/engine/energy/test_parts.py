"""Violation by part: together it is the violation, and it is none just where that is none."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine import Finite, Input, Problem, Real, Term, Variable
from engine.domain import one_hot
from engine.energy import Sum, required
from engine.energy.definition import Definition
from engine.energy.parts import side_by_side, spared, within
from engine.random import Stream
from tests.support.costs import ATOMS, FEW, Even, X, Y, Z, energies, seeds, state
from tests.support.terms import Distinct


class Sorted(Term):
    """z[k] <= z[k + 1]; a part a pair, violated by the amount."""

    affine = False

    def violation(self, z: Any) -> torch.Tensor:
        return (z[:, :-1] - z[:, 1:]).clamp(min=0)

    def energy(self, *tensors: Any) -> torch.Tensor:
        return self.violation(*tensors).sum(1)

    def holds(self, z) -> bool:
        return all(a <= b + 1e-7 for a, b in zip(z, z[1:]))


class Copied(Definition):
    """out = in."""

    dtype = torch.float64

    def define(self, *inputs: Any) -> torch.Tensor:
        return inputs[0]


class Near(Term):
    """z lies near what was told."""

    affine = False

    def residual(self, told, z):
        return z - told

    def energy(self, told, z):
        return self.residual(told, z).square().sum(1) / 2

    def holds(self, told, z) -> bool:
        return all(abs(a - b) < 1e-3 for a, b in zip(told, z))


@FEW
@given(energies, energies, seeds)
def test_parts_together_are_the_violation(a, b, seed):
    at = state(seed)
    whole = Sum(*a.summands(), *required(Even(X) + Even(X[1, :])).summands(), *b.summands())
    energy, violation, parts = whole.by_part(at)
    assert torch.equal(energy, whole(at)) and torch.equal(parts, whole.violations(at))
    assert torch.allclose(violation, whole.total_violation(at), rtol=1e-6, atol=1e-9)
    assert torch.allclose(parts.sum(1), violation, atol=1e-4)
    assert torch.equal((parts == 0).all(1), violation == 0)


@given(
    st.lists(st.lists(st.floats(0, 3e-6), min_size=3, max_size=3), min_size=1, max_size=5),
    st.sampled_from([0.0, 1e-6, 4e-6]),
)
def test_parts_are_spared_just_where_their_sum_is(parts, tolerance):
    parts = torch.tensor(parts, dtype=torch.float64)
    left, total = spared(parts, tolerance), within(parts.sum(1), tolerance)
    assert torch.equal((left == 0).all(1), total == 0)
    assert bool(((left == parts) | (parts <= max(tolerance, 0))).all())
    told = side_by_side(
        torch.zeros(len(parts), dtype=torch.float64), [parts, parts], [tolerance, 0]
    )
    assert torch.equal(told.parts, torch.cat([left, parts], 1))
    assert torch.allclose(told.violation, total + parts.sum(1), rtol=1e-12)


def test_a_term_has_one_part_unless_it_says_more():
    at = state(3)
    for term in ATOMS:
        tensors = term.views(at)
        wanted = term.residual(*tensors)
        wanted = term.energy(*tensors)[:, None] if wanted is None else wanted.square() / 2
        assert torch.equal(term.violation(*tensors), wanted)


def test_decided_states_have_the_parts_of_one_hot_ones(monkeypatch):
    x = X.domain.sample(7, Stream(1, torch.tensor([5])))
    rule = Sum(*(Even(X) + Distinct(X[0, :])).summands())
    told = rule.violations({"x": one_hot(x, 3)})
    for elements in (2_000_000, 20):
        monkeypatch.setattr("engine.energy.term.ELEMENTS", elements)
        assert torch.equal(rule.violations({"x": x}), told)
    assert told.shape == (7, 2) and told.sum() > 0


def test_reals_are_violated_pair_by_pair():
    problem = Problem(Sorted(Z) + Even(X), (X, Y, Z))
    z = torch.tensor([[0.0, 1.0, 0.5], [2.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    x = torch.zeros(3, 2, 2, dtype=torch.uint8)
    parts = problem.violations({"x": x, "z": z.double()})
    assert parts.tolist() == [[0, 0.5, 0], [1, 1, 0], [0, 0, 0]]
    assert problem.count_parts({"x": x, "z": z.double()}) == 3


def test_a_row_that_lacks_an_input_is_violated_nowhere():
    told, z = Input("told", Real((2,))), Variable("z", Real((2,)))
    rows = Problem(Near(told, z), (told, z)).given_rows([{"told": [1.0, 0.0]}, {}])
    x = {"z": torch.full((4, 2), 3.0, dtype=torch.float64)}
    assert rows.violations(x).tolist() == [[2.0, 4.5]] * 2 + [[0.0, 0.0]] * 2
    assert torch.equal(rows.violations(x).sum(1), rows.totals(x).violation)


def test_computed_sites_are_parts_of_their_own():
    a, out = Variable("a", Real((3,))), Variable("out", Real((4,), -1.0, 1.0))
    problem = Problem(Copied(a, out[1:]) + required(Sorted(a)), (a, out))
    rows = problem.given_rows([{"out": [0.5, None, 0.0, None]}, {}]).reduced()
    x = {"a": torch.tensor([[0.0, 1.0, 3.0], [0.0, 0.5, 2.0]]).double()}
    x["out"] = torch.tensor([[0.5, 0, 0, 0], [0.25, 0, 0, 0]]).double()
    energy, violation, parts = rows.by_part(x)
    assert parts.tolist() == [[0, 0, 0, 0.5, 2.0], [0, 0, 0, 0, 0.5]]
    assert torch.equal(violation, rows.totals(x).violation) and not energy.any()


@pytest.mark.parametrize(
    "term", [Sorted(Z), Distinct(Variable("s", Finite((0, 1), (3,))))], ids=str
)
def test_parts_pull_as_the_energy_does(term):
    (variable,) = term.variables()
    x = variable.domain.sample(5, Stream(1, torch.tensor([5])))
    x = (one_hot(x, 2) * 0.8 + 0.1 if variable is not Z else x).requires_grad_()
    problem = Problem(required(term))
    parts, total = problem.violations({variable.name: x}), problem.totals({variable.name: x})
    (one,) = torch.autograd.grad(parts.sum(), x)
    (other,) = torch.autograd.grad(total.violation.sum(), x)
    assert torch.allclose(one, other) and bool(one.any())
