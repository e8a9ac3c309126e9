"""From a problem to its answers in one call: solve to the end, then verify."""

from engine.answer import Answer
from engine.domain import State
from engine.judgement import verify
from engine.minimizer import Minimizer
from engine.problem import Problem
from engine.solve import Budget, Solution, budget_of, solve


def answers(
    problem: Problem,
    minimizer: Minimizer | None = None,
    *,
    particles: int = 64,
    budget: Budget | None = None,
    seed: int = 0,
    start: State | None = None,
) -> list[Answer]:
    """One verified answer for each row of evidence; seconds of a budget count from here."""
    budget = budget_of(budget).begun()
    return verify(
        problem,
        last(solve(problem, minimizer, particles=particles, budget=budget, seed=seed, start=start)),
    )


def last(solutions) -> Solution:
    """The final solution of a solve."""
    final = None
    for solution in solutions:
        final = solution
    assert final is not None and final.final
    return final
