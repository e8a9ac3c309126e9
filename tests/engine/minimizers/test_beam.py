"""Many beginnings side by side, against enumeration."""

import itertools

import pytest
import torch

from engine.domain import Finite, Real, Variable
from engine.energy import Term, required
from engine.errors import BadQuery
from engine.minimizers.beam import Beam
from engine.minimizers.portfolio import Portfolio
from engine.problem import Problem
from engine.search import ahead
from engine.search.ahead import lanes_of, readers_of
from engine.settle import answers
from engine.testing import check_term
from modules.discrete.all_different import AllDifferent
from modules.discrete.linear import Linear
from modules.discrete.table import Table
from tests.support.trails import Trail, read_problem, trail


def every(count: int, values: int) -> torch.Tensor:
    return torch.tensor(list(itertools.product(range(values), repeat=count)))


def test_the_term_keeps_its_laws():
    check_term(trail(4, 3))


@pytest.mark.parametrize("seed", range(6))
def test_it_finds_the_least_beside_rules(seed):
    term = trail(7, 4, seed)
    x = term.scope[0].variable
    count = Linear(x, terms=[[k, 2, 1] for k in range(7)], compare="==", constant=3)
    apart = AllDifferent(x, lines=[[0, 3, 6]])
    dear = Table(x, sites=[1, 5], costs=[[3.0 * (a == b) for b in range(4)] for a in range(4)])
    problem = Problem(0.5 * term + required(count + apart) + 1.0 * dear)
    assert Beam().refuses(problem) is None
    (answer,) = answers(problem, Beam((8, 256)))
    states = every(7, 4)
    cost = 0.5 * term.cost(states).double() + 3.0 * (states[:, 1] == states[:, 5])
    three = states[:, [0, 3, 6]]
    ok = ((states == 2).sum(1) == 3) & (three[:, 0] != three[:, 1])
    ok &= (three[:, 1] != three[:, 2]) & (three[:, 0] != three[:, 2])
    assert answer.status == "SATISFIED"
    assert answer.energy == pytest.approx(float(cost[ok].min()), abs=1e-5)


def test_no_beginning_is_kept_that_no_state_goes_on_from():
    """One beginning alone is extended to a state that keeps the rules, whatever these are."""
    term = trail(9, 3)
    x = term.scope[0].variable
    last = Table(x, sites=[0, 8], costs=[[None, None, 0], [None, 0, None], [0, None, None]])
    count = Linear(x, terms=[[k, 1, 1] for k in range(9)], compare="==", constant=4)
    (answer,) = answers(Problem(1.0 * term + required(last + count)), Beam((1,)), particles=1)
    assert answer.status == "SATISFIED"


@pytest.mark.parametrize("seed", range(4))
def test_rules_too_wide_together_are_looked_ahead_one_by_one(seed, monkeypatch):
    term = trail(8, 4, seed)
    x = term.scope[0].variable
    rules = [
        Linear(x, terms=[[k, v, 1] for k in range(8)], compare="==", constant=2) for v in (1, 2, 3)
    ]
    ends = Table(x, sites=[0, 7], costs=[[1.0 * (a != b) for b in range(4)] for a in range(4)])
    problem = Problem(1.0 * term + required(rules[0] + rules[1] + rules[2]) + 2.0 * ends)
    one = ahead._lane

    def narrow(lane, row, every, apart, *more):
        alone = apart and len(lane.summands) == 1
        return one(lane, row, every, apart, *more) if alone else "too wide"

    monkeypatch.setattr(ahead, "_lane", narrow)
    assert Beam().refuses(problem) is None
    assert len(lanes_of(problem, 0, readers_of(problem))) == 4  # type: ignore[arg-type]
    (answer,) = answers(problem, Beam((512,)))
    states = every(8, 4)
    cost = term.cost(states).double() + 2.0 * (states[:, 0] != states[:, 7])
    ok = torch.stack([(states == v).sum(1) == 2 for v in (1, 2, 3)]).all(0)
    assert answer.status == "SATISFIED"
    assert answer.energy == pytest.approx(float(cost[ok].min()), abs=1e-5)


def test_rules_that_leave_nothing_are_proved():
    term = trail(9, 3)
    x = term.scope[0].variable
    count = Linear(x, terms=[[k, 1, 1] for k in range(9)], compare=">=", constant=4)
    few = Linear(x, terms=[[k, 1, 1] for k in range(9)], compare="<=", constant=3)
    (answer,) = answers(Problem(1.0 * term + required(count + few)))
    assert answer.status == "INFEASIBLE"


def test_it_is_the_default_where_all_is_read_and_nothing_else():
    big = Problem(1.0 * trail(12, 4))
    assert isinstance(Portfolio()._of(big)[0], Beam)
    assert not isinstance(Portfolio()._of(read_problem())[0], Beam)


def test_guesses_that_are_wrong_cost_nothing_but_time():
    class Misled(Trail):
        def reader(self, *domains):
            own = super().reader(*domains)
            own.ahead = lambda width: None if width != 2 else bad(len(own.sites))
            return own

    def bad(count: int):
        import numpy as np

        from engine.energy.reader import Windows

        places = np.arange(count - 1)[:, None] + np.arange(2)
        return Windows(places, 9.0 * np.eye(3))

    good = trail(9, 3, 4)
    term = Misled(good.scope[0].variable, good.table)
    problem = Problem(1.0 * term)
    lanes = lanes_of(problem, 0, readers_of(problem))  # type: ignore[arg-type]
    assert not isinstance(lanes, str) and lanes[0].guesses
    (answer,) = answers(problem, Beam((4096,)))
    assert answer.energy == pytest.approx(float(good.cost(every(9, 3)).min()), abs=1e-4)


def test_what_it_refuses():
    class Mute(Term):
        affine = False

        def energy(self, x):
            return x[..., 0].sum(1) ** 2

        def factors(self, *domains):
            return None

    x = Variable("x", Finite((0, 1, 2), (9,)))
    y = Variable("y", Real((2,)))

    class Number(Term):
        def energy(self, y):
            return (y**2).sum(1)

    assert "no order" in (Beam().refuses(Problem(1.0 * Mute(x))) or "")
    both = Problem(1.0 * trail(9, 3) + 1.0 * Number(y))
    assert "sees numbers" in (Beam().refuses(both) or "")
    twice = Trail(x[0:3], trail(3, 3).table)
    other = Trail(x[::-1][0:3], trail(3, 3).table)
    backwards = Problem(1.0 * twice + 1.0 * other)
    assert "do not agree" in (Beam().refuses(backwards) or "")
    with pytest.raises(BadQuery, match="widths"):
        Beam(())
