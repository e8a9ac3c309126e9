"""CaDiCaL (extra `exact`): rules as clauses for a solver of others, asked for by name.

Counts and sums become clauses; weighted terms are refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Event

import numpy as np
from pysat.solvers import Cadical153

from engine.kernels.clauses import Formula
from engine.search.boolean import NotEncodable
from engine.search.cnf import signed_clauses
from engine.search.external import Attempt, Finisher, refused

CONFLICTS = 2_000  # of the first attempt, and between two looks at the clock


@dataclass(frozen=True)
class Cadical(Finisher):
    """Finds, proves unique and proves infeasible, by CaDiCaL 1.5.3 (Biere et al., "CaDiCaL,
    Kissat, Paracooba, Plingeling and Treengeling entering the SAT Competition 2020")."""

    def attempt(self, formula: Formula, clauses: Sequence[np.ndarray], effort: int) -> Attempt:
        if len(formula.cost):
            raise refused("decides rules, and cannot take weighted terms; cp_sat can")
        try:
            every, variables = signed_clauses(formula, clauses)
        except NotEncodable as error:
            raise refused(f"cannot take {error}; cp_sat can") from None
        if [] in every:
            return Attempt(None, True, 0)
        with Cadical153(bootstrap_with=every) as solver:
            halted = Event()
            decided = self.watched(lambda: _decided(solver, 1 << effort, halted), halted.set)
            if decided is None:
                return Attempt(None, False, 0)
            if not decided:
                return Attempt(None, True, 0)
            model = np.zeros(variables, np.uint8)
            true = np.array([x for x in solver.get_model() if 0 < x <= variables], int)
            model[true - 1] = 1
            return Attempt(model[: formula.variables], False, 0)


def _decided(solver: Cadical153, slices: int, halted: Event) -> bool | None:
    """Whether the clauses can hold; None where that takes more slices. What was learned in one is
    kept for the next."""
    for _ in range(slices):
        solver.conf_budget(CONFLICTS)
        decided = solver.solve_limited()
        if decided is not None or halted.is_set():
            return decided
    return None
