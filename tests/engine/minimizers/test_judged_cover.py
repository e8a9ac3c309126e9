"""Exact covers with prices beside rules that are not explicit: the least that these allow."""

import itertools

import numpy as np
import pytest
import torch

from engine.domain import Finite, Variable
from engine.energy import Term, required
from engine.minimizers import branch_and_bound
from engine.minimizers.branch_and_bound import BranchAndBound
from engine.problem import Problem
from engine.settle import answers
from modules.discrete.all_different import AllDifferent
from modules.discrete.kept import Kept
from modules.discrete.table import Table

LINES = [[0, 1, 2], [3, 4, 5], [6, 7, 8], [0, 3, 6], [1, 4, 7], [2, 5, 8]]
SQUARES = [
    [*a, *b, *c]
    for a, b, c in itertools.product(itertools.permutations((1, 2, 3)), repeat=3)
    if all(len({a[k], b[k], c[k]}) == 3 for k in range(3))
]


class Odd(Term):
    """A rule that nothing but values tells: their weighted sum has a remainder among a few."""

    affine = False

    def __init__(self, x: Variable, allowed: frozenset[int]):
        super().__init__(x)
        self.allowed, self.asked = allowed, 0

    def holds(self, *values):
        self.asked += 1
        flat = np.array(values[0]).reshape(-1)
        return int((flat * np.arange(1, len(flat) + 1)).sum()) % 7 in self.allowed

    def energy(self, x):
        flat = x.argmax(-1).reshape(len(x), -1) + (x.shape[-1] == 3)
        total = (flat * torch.arange(1, flat.shape[1] + 1)).sum(1) % 7
        told = torch.tensor([t not in self.allowed for t in total.tolist()])
        return told.to(x.dtype)


@pytest.mark.parametrize("seed", range(12))
def test_a_rule_over_the_grid(seed):
    rng = np.random.default_rng(seed)
    grid = Variable("grid", Finite((1, 2, 3), (3, 3)))
    costs = rng.integers(0, 9, (9, 3)).astype(float)
    allowed = frozenset(rng.permutation(7)[: rng.integers(0, 4)].tolist())
    rule = Odd(grid, allowed)
    energy = AllDifferent(grid, lines=LINES) + required(rule)
    for site in range(9):
        energy = energy + Table(grid, sites=[site], costs=costs[site].tolist())
    (answer,) = answers(Problem(energy), BranchAndBound())
    fine = [
        sum(costs[k, v - 1] for k, v in enumerate(s)) for s in SQUARES if rule.holds(np.array(s))
    ]
    if not fine:
        assert answer.status == "INFEASIBLE"
        return
    assert answer.status == "OPTIMAL" and answer.energy == pytest.approx(min(fine))
    assert rule.holds(answer.values["grid"])


@pytest.mark.parametrize("seed", range(12))
def test_a_search_that_goes_on_and_finds_nothing_better_refutes_nothing(seed, monkeypatch):
    """The first round ends with a solution; the second seeks what costs less."""
    rng = np.random.default_rng(seed)
    grid = Variable("grid", Finite((1, 2, 3), (3, 3)))
    costs = rng.integers(0, 9, (9, 3)).astype(float)
    rule = Odd(grid, frozenset(range(7)))
    energy = AllDifferent(grid, lines=LINES) + required(rule)
    for site in range(9):
        energy = energy + Table(grid, sites=[site], costs=costs[site].tolist())
    least = min(
        sum(costs[k, v - 1] for k, v in enumerate(s)) for s in SQUARES if rule.holds(np.array(s))
    )
    for nodes in range(1, 12):
        monkeypatch.setattr(branch_and_bound, "COVER_ROUNDS", ((nodes, 64), (20_000, 2)))
        (answer,) = answers(Problem(energy), BranchAndBound())
        assert answer.status == "OPTIMAL" and answer.energy == pytest.approx(least)


@pytest.mark.parametrize("seed", range(12))
def test_a_rule_over_the_clues_shuts_out_readings(seed):
    """All grids of one reading are refuted together."""
    rng = np.random.default_rng(seed)
    grid = Variable("grid", Finite((1, 2, 3), (3, 3)))
    clues = Variable("clues", Finite((0, 1, 2, 3), (3, 3)))
    inked = rng.random(9) < 0.5
    costs = rng.integers(0, 9, (9, 4)).astype(float)
    allowed = frozenset(rng.permutation(7)[: rng.integers(0, 3)].tolist())
    rule = Odd(clues, allowed)
    energy = AllDifferent(grid, lines=LINES) + Kept(clues, grid) + required(rule)
    for site in np.flatnonzero(inked).tolist():
        energy = energy + Table(clues, sites=[site], costs=[None, *costs[site, 1:].tolist()])
    evidence = np.where(inked, None, 0).reshape(3, 3).tolist()
    (answer,) = answers(Problem(energy).given(clues=evidence), BranchAndBound())
    fine = [
        sum(costs[k, v] for k, v in enumerate(s) if inked[k])
        for s in SQUARES
        if rule.holds(np.where(inked, s, 0))
    ]
    if not fine:
        assert answer.status == "INFEASIBLE"
        return
    assert answer.status == "OPTIMAL" and answer.energy == pytest.approx(min(fine))


def test_rows_together_are_as_rows_alone():
    rng = np.random.default_rng(5)
    grid = Variable("grid", Finite((1, 2, 3), (3, 3)))
    energy = AllDifferent(grid, lines=LINES) + required(Odd(grid, frozenset({1, 4})))
    for site in range(9):
        energy = energy + Table(grid, sites=[site], costs=rng.integers(0, 9, 3).tolist())
    rows = [{"grid": [[v, None, None], [None] * 3, [None] * 3]} for v in (1, 2, 3)]
    problem = Problem(energy)
    together = answers(problem.given_rows(rows))
    alone = [answers(problem.given(**row))[0] for row in rows]
    assert [a.energy for a in together] == [a.energy for a in alone]
    assert [a.status for a in together] == [a.status for a in alone]
