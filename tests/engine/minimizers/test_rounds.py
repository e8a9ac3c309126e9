"""Round trips as stops: held against all orders, and seen in structures alone that are nothing
else."""

import itertools

import numpy as np
import pytest

from engine import Finite, Problem, Variable, answers, required
from engine.minimizers.enumeration import Enumeration
from engine.minimizers.portfolio import Portfolio
from engine.minimizers.rounds import Rounds
from modules.discrete.all_different import AllDifferent
from modules.discrete.table import Table


def trip(far: list, order: tuple[int, ...]) -> Problem:
    """The stops are visited in this order of sites."""
    n = len(far)
    x = Variable("x", Finite(tuple(range(n)), (n,)))
    legs = [[order[k], order[(k + 1) % n]] for k in range(n)]
    rule = required(AllDifferent(x, lines=[list(range(n))]))
    return Problem(rule + 0.5 * Table(x, sites=legs, costs=far))


@pytest.mark.parametrize("n", [3, 4, 6])
def test_the_least_of_all_orders(n: int) -> None:
    rng, shut = np.random.default_rng(n), 0
    for _ in range(8):
        costs = rng.integers(-5, 20, (n, n)).tolist()
        far = [[None if rng.random() < 0.25 else c for c in row] for row in costs]
        problem = trip(far, tuple(rng.permutation(n).tolist()))
        for given in ([None] * n, [None] * (n - 1) + [int(rng.integers(n))]):
            own = problem.given(x=given)
            assert Rounds().refuses(own) is None
            (answer,) = answers(own, Portfolio())
            ways = [
                [far[a][b] for a, b in zip(p, (*p[1:], p[0]), strict=True)]
                for p in itertools.permutations(range(n))
            ]
            least = min([0.5 * sum(way) for way in ways if None not in way], default=None)
            if least is None:
                shut += 1
                assert answer.status == "INFEASIBLE"
                continue
            assert (answer.status, answer.energy, answer.bound) == ("OPTIMAL", least, least)
            assert given[-1] is None or answer.values["x"][-1] == given[-1]
    assert shut < 16


def test_it_leaves_alone_what_is_more_than_that() -> None:
    rng = np.random.default_rng(1)
    far = rng.integers(0, 20, (5, 5)).tolist()
    plain = trip(far, (0, 1, 2, 3, 4))
    (x,) = plain.variables
    assert Rounds().refuses(plain) is None
    rule, ways = required(AllDifferent(x, lines=[list(range(5))])), Table
    more = {
        "two stops are told": plain.given(x=[1, None, 0, None, None]),
        "a cost of one stop": Problem(
            plain.energy + 1.0 * ways(x, sites=[0], costs=[3, 1, 0, 2, 4])
        ),
        "other ways": Problem(plain.energy + 1.0 * ways(x, sites=[0, 2], costs=far)),
        "no way back": Problem(rule + ways(x, sites=[[k, k + 1] for k in range(4)], costs=far)),
        "two circles": Problem(
            rule + ways(x, sites=[[0, 1], [1, 0], [2, 3], [3, 4], [4, 2]], costs=far)
        ),
        "some differ": Problem(
            required(AllDifferent(x, lines=[[0, 1, 2, 3]]))
            + ways(x, sites=[[k, (k + 1) % 5] for k in range(5)], costs=far)
        ),
    }
    for name, problem in more.items():
        assert Rounds().refuses(problem) is not None, name
        (answer,), (exact,) = answers(problem, Portfolio()), answers(problem, Enumeration())
        assert (answer.status, answer.energy) == (exact.status, exact.energy), name
