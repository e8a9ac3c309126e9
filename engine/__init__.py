"""Basin's engine: domains, energies, problems, the one loop, and verified answers.

    from engine import Finite, Variable, answers, Problem

Names listed here are public; everything else is imported from its own file.
"""

from engine.answer import Answer, Finding, Flag, Status
from engine.domain import Domain, Finite, Real, State, Variable, View
from engine.energy import Energy, Term, named, required, soft_min
from engine.errors import BadQuery, BasinError, Mistake
from engine.factors import Factors
from engine.minimizer import Minimizer
from engine.problem import Problem
from engine.random import Stream
from engine.rows import Report
from engine.settle import answers
from engine.solve import Budget, Solution, solve
from engine.verify import score_plain, verify

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "BadQuery",
    "BasinError",
    "Budget",
    "Domain",
    "Energy",
    "Factors",
    "Finding",
    "Finite",
    "Flag",
    "Minimizer",
    "Mistake",
    "Problem",
    "Real",
    "Report",
    "Solution",
    "State",
    "Status",
    "Stream",
    "Term",
    "Variable",
    "View",
    "answers",
    "named",
    "required",
    "score_plain",
    "soft_min",
    "solve",
    "verify",
]
