"""Basin's engine: domains, energies, problems, the one loop, and verified answers.

    from engine import Finite, Variable, answers, Problem

Names listed here are public; everything else is imported from its own file. A name is loaded when
it is first asked for, so that who only reads answers needs no torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.answer import Answer, Finding, Flag, Status
    from engine.domain import Domain, Finite, Given, Input, Real, State, Told, Variable, View
    from engine.energy import Definition, Energy, Term, named, required, soft_min
    from engine.errors import BadQuery, BasinError, Mistake
    from engine.factors import Factors
    from engine.judgement import score_plain, verify
    from engine.minimizer import Minimizer
    from engine.problem import Problem
    from engine.random import Stream
    from engine.rows import Report
    from engine.settle import answers
    from engine.solve import Budget, Solution
    from engine.solve.loop import solve

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "BadQuery",
    "BasinError",
    "Budget",
    "Definition",
    "Domain",
    "Energy",
    "Factors",
    "Finding",
    "Finite",
    "Flag",
    "Given",
    "Input",
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
    "Told",
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

_ROOMS = ("answer", "errors", "domain", "energy", "factors", "minimizer", "problem", "random",
          "rows", "settle", "solve", "judgement")  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in __all__:
        for room in _ROOMS:
            module = importlib.import_module(f"engine.{room}")
            if name in vars(module):
                return globals().setdefault(name, vars(module)[name])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
