"""Minimum cuts against all states, with evidence, ties, and what is refused."""

import itertools

import numpy as np
import pytest
import torch

from engine import Finite, Problem, Variable, answers
from engine.errors import BadQuery
from engine.minimizers.min_cut import MinCut
from engine.minimizers.portfolio import Portfolio
from modules.discrete.table import Table


def drawn(seed: int, sites: int = 7, agree: bool = True):
    """Random costs of sites and of pairs that would rather agree; some costs are no tenths."""
    rng = np.random.default_rng(seed)
    x = Variable("x", Finite((0, 1), (sites,)))
    unit = float(rng.choice([0.1, 1.0, 0.37]))
    energy = unit * Table(x, sites=[0], costs=rng.integers(-5, 6, 2).tolist())
    for k in range(1, sites):
        energy = energy + unit * Table(x, sites=[k], costs=rng.integers(-5, 6, 2).tolist())
    for a, b in itertools.combinations(range(sites), 2):
        if rng.random() < 0.5:
            costs = rng.integers(-3, 4, (2, 2))
            costs[0, 1] += max(0, costs[0, 0] + costs[1, 1] - costs[0, 1] - costs[1, 0])
            if not agree:
                costs[0, 1] -= 20
            energy = energy + unit * Table(x, sites=[a, b], costs=costs.tolist())
    return x, Problem(energy)


def every(problem, sites, given=None):
    states = np.array(list(itertools.product((0, 1), repeat=sites)))
    if given is not None:
        keep = [all(g is None or g == v for g, v in zip(given, s, strict=True)) for s in states]
        states = states[keep]
    return states, problem.energy({"x": torch.tensor(states)}).numpy()


@pytest.mark.parametrize("seed", range(25))
def test_the_least_of_all_states_is_found_and_proved(seed):
    _, problem = drawn(seed)
    rng = np.random.default_rng(seed)
    given = [[None if rng.random() < 0.7 else int(rng.integers(2)) for _ in range(7)], [None] * 7]
    found = answers(problem.given_rows([{"x": row} for row in given]), MinCut())
    for row, answer in zip(given, found, strict=True):
        _, costs = every(problem, 7, row)
        assert answer.status == "OPTIMAL" and answer.energy == pytest.approx(costs.min(), abs=1e-9)
        ties = int((costs < costs.min() + 1e-9).sum())
        assert answer.unique is (ties == 1)


def test_ties_are_no_unique_answer():
    x = Variable("x", Finite((0, 1), (3,)))
    problem = Problem(1.0 * Table(x, sites=[[0, 1], [1, 2]], costs=[[0, 1], [1, 0]]))
    (answer,) = answers(problem, MinCut())
    assert answer.energy == 0 and answer.unique is False


def test_what_is_no_cut_is_refused():
    _, differ = drawn(0, agree=False)
    assert "agree" in MinCut().refuses(differ)
    three = Variable("x", Finite((0, 1, 2), (2,)))
    problem = Problem(1.0 * Table(three, sites=[0, 1], costs=[[0, 1, 1], [1, 0, 1], [1, 1, 0]]))
    assert "two values" in MinCut().refuses(problem)
    assert MinCut().refuses(problem.given(x=[2, None])) is not None  # three are left to one
    with pytest.raises(BadQuery):
        answers(problem, MinCut())


def test_large_grids_go_to_it():
    """A grid too wide for elimination; the answer is proved, and near costs change nothing."""
    rng, side = np.random.default_rng(0), 40
    place = np.arange(side * side).reshape(side, side)
    pairs = [
        *zip(place[:, :-1].reshape(-1), place[:, 1:].reshape(-1), strict=True),
        *zip(place[:-1].reshape(-1), place[1:].reshape(-1), strict=True),
    ]
    x = Variable("x", Finite((0, 1), (side, side)))
    smooth = Table(x, sites=[[int(a), int(b)] for a, b in pairs], costs=[[0, 1], [1, 0]])
    energy = 0.7 * smooth
    for k, cost in enumerate(rng.integers(-10, 11, side * side).tolist()):
        if k % 5 == 0:
            energy = energy + 0.1 * Table(x, sites=[k], costs=[0, cost])
    problem = Problem(energy)
    assert Portfolio()._of(problem) == (MinCut(),)
    (answer,) = answers(problem)
    assert answer.status == "OPTIMAL" and answer.bound == answer.energy
