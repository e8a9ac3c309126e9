"""Terms that are asked together say what each says alone: structure, costs, verdicts, answers."""

import itertools
import random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Finite, Problem, Variable, answers, required
from engine.energy import Energy, Sum, Term
from engine.energy.kin import FEW, kin_of
from engine.judgement import score_plain
from engine.testing.factors import evaluate_factors
from modules.discrete.clause import Clause
from modules.discrete.linear import Linear
from modules.discrete.table import Table

PRICES = [0, 1.5, -2, 0.25, 7, 1e6, None]


def tables(rng: random.Random, x: Variable, prices: list[Any]) -> list[Energy]:
    """Costs of one or two sites each, some with a weight, of several shapes."""
    out: list[Energy] = []
    for k in range(rng.randint(FEW, 3 * FEW)):
        arity = 1 if k < FEW else rng.choice([1, 2])
        sites = rng.sample(range(4), arity)
        costs = np.array([rng.choice(prices) for _ in range(3**arity)], dtype=object)
        term = Table(x, sites=sites, costs=costs.reshape([3] * arity).tolist())
        out.append(rng.choice([1.0, 0.5, 3.0]) * term)
    return out


def sums(rng: random.Random, x: Variable) -> list[Energy]:
    """Linear rules over literals."""
    numbers = [1, 2, -1, 0.1, 0.25, -3, 1 / 3]
    out: list[Energy] = []
    for _ in range(rng.randint(FEW, 2 * FEW)):
        terms = [
            [rng.randrange(4), rng.randrange(3), rng.choice(numbers)]
            for _ in range(rng.randint(1, 4))
        ]
        compare, constant = rng.choice(["<=", ">="]), rng.choice([0, 1, 2, -1, 0.3])
        out.append(required(Linear(x, terms=terms, compare=compare, constant=constant)))
    return out


def clauses(rng: random.Random, x: Variable) -> list[Energy]:
    """Clauses, rules and at prices, with tautologies, empty ones and literals that stand twice."""
    out: list[Energy] = []
    for k in range(rng.randint(2 * FEW, 3 * FEW)):
        rows = [
            [
                [rng.randrange(4), rng.randrange(3), rng.random() < 0.5]
                for _ in range(rng.randint(0 if k % 2 else 1, 4))
            ]
            for _ in range(rng.randint(0, 2) if k % 2 else 1)
        ]
        term = Clause(x, clauses=rows)
        out.append(rng.choice([1.0, 0.1, 3.0, 1e6]) * term if k % 2 else required(term))
    return out


def alone(energy: Energy) -> Energy:
    """The same, of terms whose classes are asked one by one."""
    kinds: dict[type[Term], type[Term]] = {}
    for s in energy.summands():
        own = type(s.term)
        kind = kinds.setdefault(own, type(own.__name__, (own,), {}))
        s.term.__class__ = kind
    return energy


@settings(max_examples=60)
@given(st.integers(0, 10**9))
def test_a_problem_is_the_same_whether_terms_are_asked_together_or_alone(seed: int) -> None:
    made = []
    for apart in (False, True):
        rng, x = random.Random(seed), Variable("x", Finite((0, 1, 2), (4,)))
        energy = Sum(
            *(
                s
                for e in [*tables(rng, x, PRICES), *sums(rng, x), *clauses(rng, x)]
                for s in e.summands()
            )
        )
        made.append(Problem(alone(energy) if apart else energy))
    together, single = made
    assert not single.kin
    values = [{"x": list(p)} for p in itertools.product(range(3), repeat=4)]
    every = [score_plain(problem, values) for problem in made]
    for one, other in zip(*every, strict=True):
        assert (one.energy, one.status) == (other.energy, other.status)
        assert one.findings == other.findings and one.terms == other.terms
    places = np.array(list(itertools.product(range(3), repeat=4)))
    told = [problem.factored()[0] for problem in made]
    for at in random.Random(seed).sample(places.tolist(), 5):
        costs = [evaluate_factors(own, at) for own in told]
        assert costs[0] == pytest.approx(costs[1])
    assert np.array_equal(together.explicit.units(places), single.explicit.units(places))
    x = {"x": torch.from_numpy(places)}
    assert torch.equal(together.totals(x).energy, single.totals(x).energy)
    (one,), (other,) = (answers(problem, seed=1) for problem in made)
    assert (one.status, one.energy, one.bound) == (other.status, other.energy, other.bound)


@settings(max_examples=60)
@given(st.integers(0, 10**9))
def test_costs_and_verdicts_together_are_those_of_each(seed: int) -> None:
    rng, x = random.Random(seed), Variable("x", Finite((0, 1, 2), (4,)))
    energy = Sum(
        *(
            s
            for e in [*tables(rng, x, PRICES), *sums(rng, x), *clauses(rng, x)]
            for s in e.summands()
        )
    )
    state = {"x": torch.from_numpy(np.array(list(itertools.product(range(3), repeat=4))))}
    found = kin_of(energy.summands())
    for kin in found:
        own = kin.energies(state)
        assert own is not None
        for column, term in zip(own.unbind(1), kin.terms, strict=True):
            assert torch.equal(column, term(state).double())
        for at in itertools.product(range(3), repeat=4):
            told = list(kin.verdicts({"x": list(at)}))
            assert told == [term.holds(list(at)) for term in kin.terms]


def test_what_terms_say_together_is_marked_as_theirs() -> None:
    x = Variable("x", Finite((0, 1), (6,)))
    rules = [Linear(x, terms=[[k, 1, 1]], compare="<=", constant=k % 2) for k in range(6)]
    cost = [2.0 * Table(x, sites=[k], costs=[0, -k - 1]) for k in range(6)]
    problem = Problem(
        sum([e for pair in zip(rules, cost, strict=True) for e in pair][1:], rules[0])
    )
    factors = problem.factored()[0]
    assert factors.sums.term.tolist() == [0, 2, 4, 6, 8, 10]
    (table,) = factors.tables
    assert table.term.tolist() == [1, 3, 5, 7, 9, 11]
    (answer,) = answers(problem)
    assert answer.values == {"x": [0, 1, 0, 1, 0, 1]} and answer.energy == -2.0 * (2 + 4 + 6)
    assert [share.energy for share in answer.terms][1::2] == [0, -4, 0, -8, 0, -12]
    wrong = score_plain(problem, [{"x": [1, 1, 0, 0, 0, 0]}])[0]
    assert [f.holds for f in wrong.findings] == [False, *[True] * 11]
    assert "the sum is 1, not at most 0" in wrong.findings[0].text


def test_a_class_that_inherits_is_asked_term_by_term() -> None:
    class Never(Linear):
        def holds(self, *values: Any) -> bool:
            return False

    x = Variable("x", Finite((0, 1), (4,)))
    rules = [required(Never(x, terms=[[k, 1, 1]], compare="<=", constant=1)) for k in range(4)]
    problem = Problem(sum(rules[1:], rules[0]))
    assert not problem.kin
    (answer,) = answers(problem)
    assert answer.status == "UNSATISFIED"


def test_evidence_and_rows_share_what_is_asked_together() -> None:
    x = Variable("x", Finite((0, 1, 2), (5,)))
    cost = [1.0 * Table(x, sites=[k], costs=[3, 1, 2]) for k in range(5)]
    problem = Problem(sum(cost[1:], cost[0]))
    rows = problem.given_rows([{"x": [0, None, None, None, None]}, {"x": [None, 2, 2, None, None]}])
    assert rows.form is problem.form
    assert [a.energy for a in answers(rows)] == [7, 7]
    more = problem.with_summands(
        [*problem.summands, *(2.0 * Table(x, sites=[0], costs=[0, 9, 9])).summands()]
    )
    assert answers(more)[0].energy == 4 + 3


def test_what_terms_say_together_is_held_against_their_structure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def answer() -> Any:
        x = Variable("x", Finite((0, 1), (6,)))
        cost = [1.0 * Table(x, sites=[k], costs=[3, 1 + k]) for k in range(6)]
        return answers(Problem(sum(cost[1:], cost[0])))[0]

    assert answer().status == "OPTIMAL"
    own = Table.cost_together
    with monkeypatch.context() as planted:
        planted.setattr(Table, "cost_together", lambda terms, *x: own(terms, *x) - 0.5)
        assert (answer().status, answer().bound) == ("SATISFIED", None)
