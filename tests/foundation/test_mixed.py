"""A torch net over numbers and names, beside hard rules: held against a grid of numbers for each
pair of names, polished."""

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from engine import Budget, Finite, Problem, Real, Status, Term, Variable, answers
from engine.minimizers.gibbs import Gibbs
from engine.testing import check_term
from modules.discrete.all_different import AllDifferent
from modules.discrete.table import Table

WIDTH, EDGE, GRID = 16, 3.0, 121
COSTS = [[0.01, 0.0, 0.02], [0.0, 0.03, 0.02]]


class Learned(Term):
    """E = net(x, level)^2 / 10 + |x - 1|^2 / 20, of a net 8-16-1 with drawn weights."""

    affine = False  # the square of a net is not, in what its sites say

    def __init__(self, x: Variable, level: Variable, seed: int = 7):
        super().__init__(x, level)
        g = torch.Generator().manual_seed(seed)
        self.first = nn.Parameter(torch.randn(WIDTH, 8, generator=g))
        self.shift = nn.Parameter(torch.randn(WIDTH, generator=g))
        self.second = nn.Parameter(torch.randn(WIDTH, generator=g))

    def energy(self, *tensors: Any) -> Tensor:  # (B, 2), (B, 2, 3) -> (B,)
        x, level = tensors
        hidden = torch.tanh(torch.cat([x, level.flatten(1)], 1) @ self.first.T + self.shift)
        return (hidden @ self.second).square() / 10 + (x - 1).square().sum(1) / 20

    def floor(self) -> float:
        return 0.0


def problem(seed: int = 7) -> Problem:
    x = Variable("x", Real((2,), -EDGE, EDGE))
    level = Variable("level", Finite(("lo", "mid", "hi"), (2,)))
    energy = Learned(x, level, seed) + AllDifferent(level, lines=[[0, 1]])
    for site, costs in enumerate(COSTS):
        energy = energy + 1.0 * Table(level, sites=[site], costs=costs)
    return Problem(energy, (x, level))


def best_known(term: Term) -> float:
    """The best of a grid over all numbers, for each pair of names, polished."""
    line, least = torch.linspace(-EDGE, EDGE, GRID), float("inf")
    grid = torch.cartesian_prod(line, line)
    for a, b in itertools.permutations(range(3), 2):
        level = nn.functional.one_hot(torch.tensor([[a, b]]), 3).float()
        cost = term.energy(grid, level.expand(len(grid), 2, 3)).detach()
        x = grid[cost.topk(12, largest=False).indices].clone().requires_grad_()
        polish = torch.optim.LBFGS([x], max_iter=200, line_search_fn="strong_wolfe")

        def closure(x=x, level=level, polish=polish):
            polish.zero_grad()
            total = term.energy(x.clamp(-EDGE, EDGE), level.expand(len(x), 2, 3)).sum()
            total.backward()
            return total

        polish.step(closure)
        found = (
            term.energy(x.detach().clamp(-EDGE, EDGE), level.expand(len(x), 2, 3)).min().detach()
        )
        least = min(least, found.item() + COSTS[0][a] + COSTS[1][b])
    return least


@pytest.mark.parametrize("seed", [7, 8, 9])
def test_the_best_known_is_reached_and_has_converged(seed: int) -> None:
    asked = problem(seed)
    (answer,) = answers(asked, seed=1)
    assert answer.energy == pytest.approx(best_known(asked.summands[0].term), abs=1e-5)
    assert answer.status is Status.SATISFIED and answer.converged is True
    assert answer.bound is not None and 0 <= answer.bound <= answer.energy


def test_an_answer_that_has_not_converged_says_so() -> None:
    (answer,) = answers(problem(), Gibbs(), budget=Budget(steps=1))
    assert answer.converged is False


def test_names_that_break_the_rules_are_refuted() -> None:
    (answer,) = answers(problem().given(level=["lo", "lo"]))
    assert answer.status is Status.INFEASIBLE


def test_the_term_keeps_its_contract() -> None:
    x, level = problem().variables
    check_term(Learned(x, level), samples=8)
