"""The loop that settles a problem within a budget.

`engine.solve` is this room, and may be called as the function `solve` of its file `loop`.
"""

import importlib
import sys
from types import ModuleType
from typing import Any

from engine.solve.budget import (
    ENDLESS,
    Budget,
    Solution,
    budget_of,
    check_minimizer_given,
    minimizer_of,
)
from engine.solve.loop import checking, report_start, solve
from engine.solve.tally import Tally

__all__ = [
    "Budget",
    "ENDLESS",
    "Solution",
    "Tally",
    "budget_of",
    "check_minimizer_given",
    "checking",
    "minimizer_of",
    "solve",
    "report_start",
]


class _Room(ModuleType):
    def __call__(self, *args: Any, **options: Any) -> Any:
        return solve(*args, **options)

    def __reduce__(self) -> Any:
        return importlib.import_module, (__name__,)


sys.modules[__name__].__class__ = _Room
