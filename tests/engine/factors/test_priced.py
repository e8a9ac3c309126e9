"""Clauses at a price are looked up as their terms say, and other rules at a price are not."""

import itertools

import numpy as np
import pytest
import torch

from engine import Finite, Problem, Variable, answers, required
from engine.factors.priced import switches_of
from modules.discrete.all_different import AllDifferent
from modules.discrete.clause import Clause
from modules.discrete.linear import Linear
from modules.discrete.table import Table


def clauses(rng, n, k, count):
    return [
        [
            [int(s), int(rng.integers(k)), bool(rng.integers(2))]
            for s in rng.permutation(n)[: rng.integers(1, 4)]
        ]
        for _ in range(count)
    ]


@pytest.mark.parametrize("seed", range(20))
def test_what_is_looked_up_is_what_the_terms_say(seed):
    rng = np.random.default_rng(seed)
    n, k = 4, int(rng.integers(2, 4))
    x = Variable("x", Finite(tuple(range(k)), (n,)))
    weights = [0.1, 3.0, 1e12 + 1, 0.25][: int(rng.integers(1, 5))]
    energy = 1.0 * Table(x, sites=[0], costs=list(range(k)))
    for w in weights:
        energy = energy + w * Clause(x, clauses=clauses(rng, n, k, int(rng.integers(1, 4))))
    energy = energy + required(Clause(x, clauses=clauses(rng, n, k, 1)))
    if seed % 2:
        energy = energy + 2.0 * AllDifferent(x, lines=[[0, 1]])
        energy = energy + 1.5 * Linear(x, terms=[[0, 1, 2], [1, 1, 3]], compare="<=", constant=2)
    problem = Problem(energy)
    explicit = problem.explicit
    assert set(range(1, 1 + len(weights))) <= explicit.direct
    states = list(itertools.product(range(k), repeat=n))
    state = {"x": torch.tensor(states)}
    units = explicit.units(np.array(states))
    order = sorted(explicit.direct)
    for place in range(1, 1 + len(weights)):
        said = problem.summands[place].term(state).double().numpy() * weights[place - 1]
        assert np.allclose(
            explicit.scale.values(units[:, order.index(place)]), said, rtol=1e-12, atol=0
        )
    if not seed % 2:
        for s, u in zip(states, units, strict=True):
            total = sum(u.tolist()) / explicit.scale.unit
            assert problem.exactly(np.array(s)) == total


def test_other_rules_at_a_price_are_asked():
    x = Variable("x", Finite((0, 1, 2), (3,)))
    problem = Problem(
        2.0 * AllDifferent(x, lines=[[0, 1, 2]])
        + 1.0 * Clause(x, clauses=[[[0, 1, True], [1, 1, False]]])
    )
    assert problem.explicit.hidden == {0} and problem.explicit.direct == {1}
    switches = switches_of(problem.form.factors)
    assert switches is not None and switches.term.tolist() == [1]
    plain = Problem(2.0 * AllDifferent(x, lines=[[0, 1, 2]]))
    assert switches_of(plain.form.factors) is None
    (answer,) = answers(problem)
    assert answer.status == "OPTIMAL" and answer.energy == 0
