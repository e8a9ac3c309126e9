"""Costs of any size are summed and compared exactly: decimals, energies, bounds and proofs."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from engine import Finite, Problem, Variable, answers, required
from engine.decimals import LARGEST, Paid, decimal, denominator, scale_of, times, whole
from engine.errors import BadQuery
from engine.minimizer import score
from engine.minimizers.enumeration import Enumeration
from modules.discrete.equal import Equal
from modules.discrete.linear import Linear
from modules.discrete.table import Table
from tests.support.exact_costs import cases, complaints

decimals = st.builds(
    lambda units, places: float(Fraction(units, 10**places)),
    st.integers(-(10**14), 10**14),
    st.integers(0, 9),
)
anything = st.floats(-1e290, 1e290)
large = st.floats(-1e200, 1e200)


@given(st.lists(decimals | anything, min_size=1, max_size=20))
def test_a_denominator_makes_every_decimal_whole_and_none_smaller_does(values) -> None:
    exact = [decimal(x) for x in values]
    least = math.lcm(*(x.denominator for x in exact))
    found = denominator(np.array(values))
    assert found == least
    assert whole(np.array(values), least) == [int(x * least) for x in exact]


@given(st.lists(st.tuples(st.integers(1, 50), decimals | anything), min_size=1, max_size=20))
def test_units_of_a_scale_stand_for_the_decimals(entries) -> None:
    """Exactly, or off by no more than the scale says; never more than 2^62 in all."""
    scale = scale_of(Paid(n, np.array([x])) for n, x in entries)
    units = [int(scale.units(np.array([x]))[0]) for _, x in entries]
    total = sum(n * u for (n, _), u in zip(entries, units, strict=True))
    exact = sum((n * decimal(x) for n, x in entries), Fraction(0))
    assert abs(total - exact * scale.unit) <= scale.error
    assert sum(n * abs(u) for (n, _), u in zip(entries, units, strict=True)) < 2 * LARGEST
    below = scale.below(total)
    assert below == -math.inf or Fraction(below) <= exact + abs(exact) * Fraction(2.0**-52)
    if scale.error == 0:
        assert scale.value(total) == float(exact)
    if scale.fine:  # totals are told apart by float64
        assert scale.value(total + 1) > scale.value(total) > scale.value(total - 1)


@given(st.lists(st.lists(st.floats(-100, 100, width=32), min_size=1), min_size=1, max_size=4))
def test_units_of_computed_floats_are_those_of_the_floats(entries) -> None:
    scale = scale_of(Paid(1, np.array(x), True) for x in entries)
    for values in entries:
        units = scale.units(np.array(values), Fraction).tolist()
        for value, own in zip(values, units, strict=True):
            exact = Fraction(value) * scale.unit
            assert own == exact if scale.error == 0 else abs(own - exact) <= Fraction(1, 2)
    every = [Fraction(x) for values in entries for x in values]
    least = math.lcm(*(x.denominator for x in every))
    total = sum(max(abs(Fraction(x)) for x in values) for values in entries)
    assert (scale.error == 0) == (total * least < LARGEST)
    assert scale.error or scale.unit == least


def test_many_costs_beside_finer_ones_are_counted_in_their_unit() -> None:
    many, fine = np.arange(60_000) * 1e6 + 0.125, np.array([1e-6])
    scale = scale_of([Paid(1, many), Paid(1, fine)])
    assert (scale.unit, scale.error) == (10**6, 0)
    assert (scale.units(many) == np.arange(60_000) * 10**12 + 125_000).all()


@given(st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=2), st.lists(decimals | large))
def test_products_are_those_of_the_decimals(weights, costs) -> None:
    """At one weight and at two, but for products that no float tells apart: these are floats."""
    made, products = np.array([*costs, math.inf]), None
    exact = [decimal(c) for c in costs]
    for weight in weights:
        made, products = times(weight, made, products)
        assert made[-1] == math.inf
        exact = [decimal(weight) * x for x in exact]
        assert made[:-1].tolist() == [float(x) for x in exact]
        told = set(zip(made[:-1].tolist(), exact, strict=True))
        if len({x for x, _ in told}) < len(told) or (0.0 in made and any(exact)):
            return
        read = decimal if products is None else products.read
        assert all(read(x) == y for x, y in told)


@pytest.mark.parametrize("seed", range(3))
def test_the_least_cost_is_found_and_proved_at_every_size(seed: int) -> None:
    for case in cases(36, seed=100 + seed):
        assert complaints(case) == [], case.name


def test_costs_cast_to_float32_are_noticed(monkeypatch) -> None:
    """Planted: the fault that called answers least that were not."""
    real = Table.factors

    def cast(term, *domains):
        term.costs = term.costs.astype(np.float32).astype(np.float64)
        return real(term, *domains)

    monkeypatch.setattr(Table, "factors", cast)
    assert any(complaints(case) for case in cases(36, seed=100))


def test_a_relative_gap_is_noticed(monkeypatch) -> None:
    from engine import compare

    monkeypatch.setattr(compare, "slack", lambda problem, x: torch.full((problem.rows,), 1e9))
    monkeypatch.setattr(
        "engine.judgement.room",
        lambda problem, energy: 1e-6 * max(problem.explicit.reach.values()),
    )
    for opens in ("_opens", "_pairs"):
        own = f"engine.minimizers.portfolio.Portfolio.{opens}"
        monkeypatch.setattr(own, lambda self, problem: False)
    assert any(complaints(case) for case in cases(60, seed=100))


def test_costs_beyond_any_unit_are_told_apart_one_by_one() -> None:
    """No unit holds both 3e9 and 1e-9: rounded units are level, costs are not."""
    x = Variable("x", Finite(("a", "b", "c"), (3,)))
    costs = [3e9, 0.0, 1e-9]
    problem = Problem(1.0 * Table(x, sites=[[0], [1], [2], [0]], costs=costs))
    assert problem.explicit.resolves
    answer = answers(problem)[0]
    assert (answer.status, answer.values, answer.energy) == ("OPTIMAL", {"x": ["b"] * 3}, 0.0)
    given = answers(problem.given(x=["c", "a", None]))[0]
    assert (given.status, given.values["x"][2]) == ("OPTIMAL", "b")


def test_energies_of_tables_and_weights_are_decimals() -> None:
    """0.1 + 0.2 is 0.3, weights included, and the bound is never above the energy."""
    x = Variable("x", Finite((0, 1), (3,)))
    energy = Equal(x, pairs=[[0, 1]]) + 0.1 * Table(x, sites=[[0], [1], [2]], costs=[1, 7])
    answer = answers(Problem(energy))[0]
    assert (answer.status, answer.energy, answer.bound) == ("OPTIMAL", 0.3, 0.3)
    assert [share.energy for share in answer.terms] == [0.0, 0.3]


def test_every_minimizer_says_the_same_energy() -> None:
    x = Variable("x", Finite((0, 1, 2), (4,)))
    costs = [10**8 + 0.25, 10**8 + 0.01, -(10**8) + 0.02]
    energy = 1.0 * Table(x, sites=[[0], [1], [2], [3]], costs=costs)
    energy = energy + Linear(x, terms=[[s, 2, 1] for s in range(4)], compare="<=", constant=2)
    problem = Problem(energy)
    for minimizer in (None, Enumeration()):
        answer = answers(problem, minimizer)[0]
        assert (answer.status, answer.energy, answer.bound) == ("OPTIMAL", 0.06, 0.06)


def test_an_energy_is_looked_up_as_its_terms_say() -> None:
    """Tables of several sizes of sites, shared scopes, a default, and what is forbidden."""
    x = Variable("x", Finite((0, 1, 2), (3,)))
    y = Variable("y", Finite((0, 1), (2,)))
    energy = (
        0.5 * Table(x, sites=[[0, 1], [1, 2]], costs=[[0.1, 2, 3], [4, None, 6], [7, 8, 0.9]])
        + 2.0 * Table(y, sites=[0, 1], tuples=[[1, 1, 0.3]], default=0.7)
        + 1.0 * Table(x, y, sites=[2, 4], tuples=[[0, 1, 5], [2, 0, None]], default=-1)
    )
    problem = Problem(energy)
    places = np.indices((3, 3, 3, 2, 2)).reshape(5, -1).T
    state = problem.state(places)
    told = sum(p.weight * p.term(state).double() for p in problem.summands)
    looked = score(problem, state).energy
    assert looked.isinf().any() and torch.equal(looked.isinf(), told.isinf())
    assert torch.allclose(looked, told)


@pytest.mark.parametrize(
    ("terms", "compare", "constant", "right"),
    [
        ([(0, 1 / 3), (1, 1 / 3), (2, 1 / 3)], "==", 1.0, [1, 1, 1]),
        ([(0, 0.1 + 0.2), (1, 5.0)], "==", 0.3, [1, 0]),
        ([(0, 2.2 * 3), (1, 1e-5)], "==", 6.6, [1, 0]),
        ([(0, math.sqrt(2)), (1, -math.sqrt(2)), (2, 1.0)], "==", 1.0, None),
        ([(0, 10**16 + 7), (1, 2 * 10**16 + 3), (2, 3 * 10**16 + 11)], "==", 3 * 10**16 + 10,
         [1, 1, 0]),
        ([(0, 10**16 + 1), (1, 10**16 + 3)], "<=", 10**16 + 2, None),
        ([(0, 1e-9), (1, 1e-9)], "==", 2e-9, [1, 1]),
    ],
)  # fmt: skip
def test_sums_of_computed_floats_and_long_whole_numbers(terms, compare, constant, right) -> None:
    n = len(terms)
    x = Variable("x", Finite((0, 1), (n,)))
    rule = Linear(x, terms=[[s, 1, c] for s, c in terms], compare=compare, constant=constant)
    allowed = [v for v in np.ndindex(*[2] * n) if rule.holds(list(v))]
    tensors = x.domain.decide(torch.zeros(1, n, 2))
    for values in np.ndindex(*[2] * n):
        tensors = x.domain.encode(list(values))[None]
        assert (float(rule(dict(x=tensors))) == 0) == (values in allowed)
    answer = answers(Problem(rule))[0]
    assert answer.status == "OPTIMAL" and tuple(answer.values["x"]) in allowed
    assert right is None or answer.values["x"] == right
    for values in np.ndindex(*[2] * n):
        given = answers(Problem(rule).given(x=list(values)))[0]
        assert given.status == ("OPTIMAL" if values in allowed else "INFEASIBLE")


def test_a_weighed_sum_pays_decimal_amounts_of_any_size() -> None:
    """The amount by which a sum is missed, in hidden digits, not only small whole amounts."""
    x = Variable("x", Finite((0, 1), (13,)))
    terms = [[s, 1, 0.5 + 10.0**9 * (s % 3)] for s in range(13)]
    rule = Linear(x, terms=terms, compare="==", constant=3 * 10**9 + 0.25)
    energy = 0.1 * rule + 1.0 * Table(x, sites=[[s] for s in range(13)], costs=[0.03, 0])
    problem = Problem(energy)
    assert problem.factored()[1] is None
    least = min(
        Fraction(1, 10)
        * abs(sum(decimal(c) for (s, _, c) in terms if v[s]) - decimal(3 * 10**9 + 0.25))
        + Fraction(3, 100) * (13 - sum(v))
        for v in np.ndindex(*[2] * 13)
    )
    answer = answers(problem)[0]
    assert (answer.status, answer.energy) == ("OPTIMAL", float(least))


@pytest.mark.parametrize("cost", [2**53 + 1, 10**400])
def test_costs_that_float64_rounds_are_told(cost: int) -> None:
    x = Variable("x", Finite((0, 1)))
    with pytest.raises(Exception, match=r"costs\[1\].*(too many digits|no finite cost)"):
        Table(x, sites=[0], costs=[0, cost])


def test_every_kind_of_cost_keeps_its_digits() -> None:
    from modules.discrete.lattice import Lattice
    from modules.graph.cut import Cut

    y = Variable("y", Finite((0, 1), (2,)))
    for energy, least in (
        (Lattice(y, pairs=[[0, 1]], couplings=1000000002, fields=0.1), -1000000002.2),
        (Cut(y, edges=[[0, 1, 1000000002.3]]), -1000000002.3),
    ):
        answer = answers(Problem(1.0 * energy))[0]
        assert (answer.status, answer.energy, answer.bound) == ("OPTIMAL", least, least)


def test_a_literal_may_stand_twice_in_a_group() -> None:
    from modules.discrete.exactly_one import ExactlyOne

    x = Variable("x", Finite((1, 2, 3), (2,)))
    rule = ExactlyOne(x[[1, 0, 1]], groups=[[[2, 2], [0, 2], [0, 3]]])
    for values in np.ndindex(3, 3):
        plain = [v + 1 for v in values]
        answer = answers(Problem(rule).given(x=plain))[0]
        assert (answer.status == "OPTIMAL") == rule.holds([plain[1], plain[0], plain[1]])
        assert answer.status in ("OPTIMAL", "INFEASIBLE")


def test_heavy_rules_beside_small_costs_are_told_apart() -> None:
    """A weight of 1e12 beside thousandths: float64 holds no sum of both, whole numbers do."""
    import random

    for seed in range(12):
        rng = random.Random(seed)
        x = Variable("x", Finite((0, 1, 2), (4,)))
        costs = [[rng.randint(0, 9) / 1000 for _ in range(3)] for _ in range(4)]
        rule = 1e12 * Equal(x, pairs=[[0, 1], [1, 2], [2, 3]])
        tables = [1.0 * Table(x, sites=[s], costs=row) for s, row in enumerate(costs)]
        answer = answers(Problem(sum(tables, start=rule)))[0]
        least = min(sum(decimal(row[v]) for row in costs) for v in range(3))
        assert (answer.status, answer.energy) == ("OPTIMAL", float(least))


def test_sums_inside_a_choice_keep_their_decimals() -> None:
    x = Variable("x", Finite((0, 1), (3,)))
    some = Linear(x, terms=[[0, 1, 0.7], [1, 1, 0.1], [2, 1, 0.1]], compare="<=", constant=0.5)
    every = Linear(x, terms=[[s, 1, 1] for s in range(3)], compare="==", constant=3)
    for values in np.ndindex(2, 2, 2):
        right = some.holds(list(values)) or every.holds(list(values))
        answer = answers(Problem(some | every).given(x=list(values)))[0]
        assert answer.status == ("OPTIMAL" if right else "INFEASIBLE")


def test_totals_that_no_float_holds_are_told() -> None:
    x = Variable("x", Finite((0, 1), (2,)))
    for costs in ([1.7e308, 1.7e308], [1e308, 1.7e308]):
        alike = 1.0 * Table(x, sites=[[0], [1]], costs=costs)
        apart = 1.0 * Table(x, sites=[[0]], costs=costs) + Table(x, sites=[[1]], costs=[1e308, 0])
        for energy in (alike, apart):
            with pytest.raises(BadQuery, match="add up to more than 1e\\+300"):
                answers(Problem(energy))


@pytest.mark.parametrize("number", [5e-324, 1e-310, 1e-299])
def test_numbers_of_a_sum_may_be_less_than_any_unit(number: float) -> None:
    x = Variable("x", Finite((0, 1), (2,)))
    rule = Linear(x, terms=[[0, 1, number], [1, 1, number]], compare=">=", constant=number)
    table = 1.0 * Table(x, sites=[[0], [1]], costs=[0, 1])
    (paid,) = answers(Problem(2.0 * rule + table))
    assert paid.status == "OPTIMAL" and paid.values == {"x": [0, 0]}
    assert 0 <= paid.energy <= 2 * number and paid.bound == paid.energy
    (kept,) = answers(Problem(required(rule) + table))
    assert kept.status == "OPTIMAL" and kept.energy == 1
    assert answers(Problem(required(rule)).given(x=[0, 0]))[0].status == "INFEASIBLE"
