"""Rules over many sites as running totals, against all states."""

from collections.abc import Iterator

import numpy as np
import pytest

from engine import Finite, Problem, Status, Variable, answers, required
from engine.energy.choice import AnyOf
from engine.minimizers.elimination import LeastByElimination
from engine.sampling.exact import log_partition
from engine.search.minibuckets import minibucket_bounds
from modules.discrete.at_least_one import AtLeastOne
from modules.discrete.at_most_one import AtMostOne
from modules.discrete.exactly_one import ExactlyOne
from modules.discrete.linear import Linear
from modules.discrete.table import Table

N = 14  # sites of two values: more combinations than one table has
STATES = np.array(list(np.ndindex(*[2] * N)))
RNG = np.random.default_rng(0)
COSTS = RNG.integers(-9, 10, N) / 10
PAIRS = RNG.integers(0, 10, (N - 1, 2, 2)) / 10


def cases() -> Iterator[tuple[str, object, np.ndarray]]:
    """Rules over all sites, and the states that keep each."""
    x = Variable("x", Finite((0, 1), (N,)))
    count = STATES.sum(1)
    coefficients = [1 + k % 3 for k in range(N)]
    total = STATES @ np.array(coefficients)
    for compare, holds in (("<=", np.less_equal), (">=", np.greater_equal), ("==", np.equal)):
        for edge in (3, 9, 20):
            terms = [[k, 1, c] for k, c in enumerate(coefficients)]
            rule = Linear(x, terms=terms, compare=compare, constant=edge)
            yield f"{compare} {edge}", rule, holds(total, edge)
    group = [[[k, 1] for k in range(N)]]
    yield "at most one", AtMostOne(x, groups=group), count <= 1
    yield "at least one", AtLeastOne(x, groups=group), count >= 1
    yield "exactly one", ExactlyOne(x, groups=group), count == 1


CASES = {name: (rule, holds) for name, rule, holds in cases()}


def paid(states: np.ndarray) -> np.ndarray:
    """(m, N) -> (m,)"""
    along = [PAIRS[k][states[:, k], states[:, k + 1]] for k in range(N - 1)]
    return states @ COSTS + sum(along)


def problem(rule, weight: float | None) -> Problem:
    (x,) = rule.variables()
    energy = required(rule) if weight is None else weight * rule
    for k in range(N):
        energy = energy + 1.0 * Table(x, sites=[k], costs=[0, float(COSTS[k])])
    for k in range(N - 1):
        energy = energy + 1.0 * Table(x, sites=[k, k + 1], costs=PAIRS[k].tolist())
    return Problem(energy)


@pytest.mark.parametrize("name", CASES)
def test_rules_over_many_sites_are_those_of_all_states(name: str) -> None:
    rule, holds = CASES[name]
    rows = problem(rule, None).given_rows(
        [{}, {"x": [0] * 5 + [None] * (N - 5)}, {"x": [1, 0] + [None] * (N - 2)}]
    )
    kept = [
        holds,
        holds & (STATES[:, :5] == 0).all(1),
        holds & (STATES[:, 0] == 1) & (STATES[:, 1] == 0),
    ]
    for minimizer in (None, LeastByElimination()):
        for answer, mine in zip(answers(rows, minimizer), kept, strict=True):
            if not mine.any():
                assert answer.status is Status.INFEASIBLE
                continue
            least = paid(STATES[mine]).min()
            assert answer.status is Status.OPTIMAL
            assert answer.energy == pytest.approx(least, abs=1e-9) == answer.bound
    for own, mine in zip(log_partition(rows), kept, strict=True):
        right = np.logaddexp.reduce(-paid(STATES[mine])) if mine.any() else -np.inf
        assert own == pytest.approx(right, abs=1e-9)
    for bound, mine in zip(minibucket_bounds(rows, cells=64), kept, strict=True):
        assert not mine.any() or bound <= paid(STATES[mine]).min() + 1e-9


def test_a_rule_at_a_price_over_many_sites() -> None:
    rule, holds = CASES["<= 3"]
    (answer,) = answers(problem(rule, 0.25))
    total = STATES @ np.array([1 + k % 3 for k in range(N)])
    assert answer.status is Status.OPTIMAL
    least = (paid(STATES) + 0.25 * np.clip(total - 3, 0, None)).min()
    assert answer.energy == pytest.approx(least, abs=1e-9)


def test_states_that_hidden_sites_tell_apart_hide_no_other_optimum() -> None:
    x = Variable("x", Finite((0, 1), ()))
    same = [1.0 * Table(x, sites=[0], costs=[0, 1])] * 150
    choice = AnyOf(*same, 1.0 * Table(x, sites=[0], costs=[1, 0]))
    (answer,) = answers(Problem(1.0 * choice), LeastByElimination(unique=True))
    assert answer.status is Status.OPTIMAL and answer.unique is not True


def test_what_was_left_out_of_a_list_is_not_told_as_there_is_none() -> None:
    y, w = Variable("y", Finite(tuple(range(200)), ())), Variable("w", Finite((0, 1), (2,)))
    costs = [(2000 - i) * 1e-17 / 3 for i in range(200)]
    wide = Table(w, sites=[0, 1], costs=[[0, 1e9 / 3], [1e9 / 7, 1e9 / 11]])
    (answer,) = answers(Problem(1.0 * Table(y, sites=[0], costs=costs) + 1.0 * wide))
    assert answer.bound is not None and answer.bound <= min(costs)
    assert answer.unique is not True or answer.energy == min(costs)
