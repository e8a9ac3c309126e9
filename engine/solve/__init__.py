"""The loop that settles a problem within a budget."""

from engine.solve.budget import ENDLESS, Budget, Solution, budget_of, check_minimizer_given
from engine.solve.loop import checking, solve, unsearched
from engine.solve.tally import Tally

__all__ = [
    "Budget",
    "ENDLESS",
    "Solution",
    "Tally",
    "budget_of",
    "check_minimizer_given",
    "checking",
    "solve",
    "unsearched",
]
