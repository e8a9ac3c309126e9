"""Laws of the algebra of energies and of domains, and a contract kit that catches faults."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine.domain import Finite, Variable
from engine.energy import AnyOf, SoftMin, Sum, Term, named, required, soft_min
from engine.errors import BadQuery
from engine.problem import Problem
from engine.testing import evaluate_factors
from tests.support.costs import (
    FEW,
    Costs,
    Even,
    Well,
    X,
    Y,
    Z,
    energies,
    same,
    seeds,
    state,
    weights,
)

# --- the algebra ----------------------------------------------------------------------------------


@FEW
@given(a=energies, b=energies, c=energies, seed=seeds)
def test_addition_is_commutative_and_associative(a, b, c, seed):
    at = state(seed)
    assert same(a + b, b + a, at)
    assert same((a + b) + c, a + (b + c), at)
    assert same(sum([a, b, c]), a + b + c, at)
    assert same(0 + a, Sum(*a.summands()), at)


@FEW
@given(a=energies, b=energies, u=weights, w=weights, seed=seeds)
def test_weights_distribute(a, b, u, w, seed):
    at = state(seed)
    # a bare rule times a number is a weighted rule; inside a sum it stays required
    a, b = Sum(*a.summands()), Sum(*b.summands())
    assert same(w * (a + b), w * a + w * b, at)
    assert same(u * (w * a), (u * w) * a, at)
    assert same(1.0 * a, a, at)


@FEW
@given(a=energies, b=energies, c=energies, seed=seeds)
def test_the_choice_is_the_minimum(a, b, c, seed):
    at = state(seed)

    def whole(energy):  # rules counted with weight 1
        return Sum(*energy.summands())(at) + energy.total_violation(at)

    either = AnyOf(a, b)
    assert torch.allclose(whole(either), torch.minimum(whole(a), whole(b)))
    assert torch.allclose(whole(a | b), whole(b | a))
    assert torch.allclose(whole((a | b) | c), whole(a | (b | c)))
    assert torch.allclose(whole(AnyOf(a, a)), whole(a))
    assert either.floor() <= float(whole(either).min()) + 1e-9


@FEW
@given(a=energies, b=energies, t=st.floats(0.01, 5), seed=seeds)
def test_the_smooth_minimum_lies_below_the_minimum_and_tends_to_it(a, b, t, seed):
    at = state(seed)
    hard = AnyOf(a, b).energy(*(at[v.variable.name] for v in AnyOf(a, b).scope))

    def soft(temperature):
        term = soft_min(a, b, temperature=temperature)
        return term.energy(*(at[v.variable.name] for v in term.scope))

    assert (soft(t) <= hard + 1e-6).all()
    assert (soft(t) >= hard - t * math.log(2) - 1e-6).all()
    assert torch.allclose(soft(1e-4), hard, atol=1e-3)
    mean = -t * math.log(2) + soft_min(a, a, temperature=t).energy(
        *(at[v.variable.name] for v in SoftMin(a, a, temperature=t).scope)
    )
    whole = Sum(*a.summands())(at) + a.total_violation(at)
    assert torch.allclose(mean + 2 * t * math.log(2), whole, atol=1e-5)


def test_rules_are_required_unless_weighed():
    rule = Even(X)
    assert rule.required_by_default and not Costs(X).required_by_default
    at = state(3)
    assert rule.summands()[0].required and torch.equal(
        Sum(*rule.summands())(at), torch.zeros(5).double()
    )
    assert torch.allclose(rule.total_violation(at), rule(at).double())
    weighed = 2.0 * rule
    assert not weighed.summands()[0].required and torch.equal(
        weighed.total_violation(at), 0 * rule(at)
    )
    assert torch.allclose(weighed(at), 2 * rule(at).double())
    back = required(weighed)
    assert back.summands()[0].required and torch.allclose(
        back.total_violation(at), rule(at).double()
    )
    assert (rule | rule).required_by_default and not (rule | Costs(X)).required_by_default
    assert not (rule | 2.0 * rule).required_by_default


def test_a_sum_keeps_its_rules_required_when_weighed():
    both = 3.0 * (Costs(X) + Even(X))
    assert [p.weight for p in both.summands()] == [3.0, None]


def test_names_reach_the_parts():
    assert [p.label for p in (named("n", Costs(X)) + Even(X)).summands()] == ["n", "Even"]


@pytest.mark.parametrize("weight", [0, -1, math.nan, math.inf])
def test_weights_are_above_zero_and_finite(weight):
    with pytest.raises(BadQuery, match="weight"):
        weight * Costs(X)


@pytest.mark.parametrize("wrong", [None, "2", True])
def test_only_numbers_weigh_and_only_energies_add(wrong):
    with pytest.raises(TypeError):
        wrong * Costs(X)
    with pytest.raises(TypeError):
        Costs(X) + wrong
    with pytest.raises(TypeError):
        Costs(X) | wrong


def test_what_cannot_decide_cannot_be_required():
    with pytest.raises(BadQuery, match="cannot be required"):
        required(Costs(X))
    with pytest.raises(BadQuery, match="cannot be required"):
        required(Even(X) | Costs(X))


@pytest.mark.parametrize("temperature", [0, -1, math.inf, math.nan])
def test_temperatures_are_above_zero(temperature):
    with pytest.raises(BadQuery, match="temperature"):
        soft_min(Costs(X), Costs(X), temperature=temperature)


def test_one_name_is_one_variable():
    other = Variable("x", X.domain)
    with pytest.raises(BadQuery, match="x: names two different variables"):
        (Costs(X) + Costs(other)).variables()
    with pytest.raises(BadQuery):
        Problem(Costs(X), (other,))


def test_variables_stand_in_order_of_first_use():
    assert (Costs(Y) + Costs(X, Y) + Well(Z)).variables() == (Y, X, Z)


def test_explanations_of_a_choice_name_every_branch():
    either = Even(X) | Even(X[0, :])
    assert either.holds([[0, 0], [0, 1]]) is True
    (said,) = either.explain([[0, 1], [0, 1]])
    assert said == "no branch holds: Even does not hold | Even does not hold"


# --- structure ------------------------------------------------------------------------------------


def costs_of(energy):
    """Structure and energy of a small problem at every state."""
    problem = Problem(energy)
    factors, rest = problem.factored()
    assert rest is None
    sizes = [len(v.domain.values) for v in problem.finite for _ in range(v.domain.sites)]
    places = np.array(list(np.ndindex(*sizes)))
    every = problem.state(places)
    wanted = problem.energy(every).numpy().copy()
    wanted[problem.energy.total_violation(every).numpy() > 1e-6] = math.inf
    return np.array([evaluate_factors(factors, row) for row in places]), wanted


@pytest.mark.parametrize(
    "energy",
    [
        Costs(X),
        2.0 * Costs(Y),
        Even(X),
        0.5 * Even(X) + Costs(X, seed=3),
        Even(X) + Even(X[:, 1]) + 2.0 * Even(X[0, :]),
        Even(X) | Even(X[0, :]),
        3.0 * (Even(X) | Even(X[0, :])) + Costs(Y),
        (Even(X[0, :]) + Costs(X)) | 0.3 * Costs(X, seed=4),
        0.5 * soft_min(Costs(Y), Costs(Y, seed=5), temperature=0.5),
    ],
    ids=str,
)
def test_structure_of_terms_that_write_only_energy(energy):
    told, wanted = costs_of(energy)
    np.testing.assert_allclose(told, wanted, rtol=1e-5, atol=1e-5)


def test_a_scope_too_large_to_enumerate_has_no_structure():
    big = Variable("big", Finite((0, 1), (20,)))
    factors, rest = Problem(Costs(big)).factored()
    assert rest is not None and not factors.tables
    narrowed = Problem(Costs(big)).given(big=[0] * 15 + [None] * 5)
    factors, rest = narrowed.factored()
    assert rest is None and len(factors.tables[0].costs) == 32


def test_real_variables_have_no_structure():
    factors, rest = Problem(Well(Z) + Costs(X)).factored()
    assert [type(p.term) for p in rest.summands()] == [Well] and len(factors.tables) == 1


def test_problems_stack_and_select_rows():
    problem = Problem(Even(X))
    a = problem.given(x=[[1, None], [None, None]])
    b = problem.given_rows([{"x": [[None, None], [2, None]]}, {}])
    both = Problem.stack([a, b])
    assert both.rows == 3 and both.keys.tolist() == [*a.keys.tolist(), *b.keys.tolist()]
    assert torch.equal(both.select([2, 0]).keys, both.keys[[2, 0]])
    assert len(set(both.keys.tolist())) == 3


def test_what_is_no_scope_and_no_energy_is_told() -> None:
    class Sums(Term):
        def energy(self, *xs):
            return xs[0].flatten(1).sum(1)

    x = Variable("x", Finite((0, 1), (2,)))
    with pytest.raises(BadQuery, match=r"Sums.scope\[1\]: 'y' is no variable; give a Variable"):
        Sums(x, "y")
    with pytest.raises(BadQuery, match="Sums.scope: is empty"):
        Sums()
    with pytest.raises(BadQuery, match=r"energy: \[Sums\(\)\] is no energy; give a term"):
        Problem([Sums(x)])
    with pytest.raises(BadQuery, match=r"evidence: .* is no list of rows; write given_rows\(\["):
        Problem(1.0 * Sums(x)).given_rows({"x": [0, 1]})
