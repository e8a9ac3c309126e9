"""Problems: an energy, domains, inputs, and what is known of them before any search."""

from engine.energy.parts import Totals
from engine.problem.completion import Completion, Whole
from engine.problem.problem import Problem

__all__ = ["Completion", "Problem", "Totals", "Whole"]
