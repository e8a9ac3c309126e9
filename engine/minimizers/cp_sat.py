"""CP-SAT (extra `exact`): rules and costs for a solver of others, asked for by name."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ortools.sat.python import cp_model

from engine.kernels.clauses import Formula
from engine.search.external import Attempt, Finisher, refused

SECONDS = 0.05  # of the first attempt, in the solver's deterministic time
UNITS = 1 << 51  # that all costs together may reach: its bounds are float64


@dataclass(frozen=True)
class CpSat(Finisher):
    """Finds, proves least, unique and infeasible, by CP-SAT of OR-tools with one worker.

    Costs are whole units. Where those are too large they are rounded, and the bound is lowered by
    as much as that can matter.
    """

    def attempt(self, formula: Formula, clauses: Sequence[np.ndarray], effort: int) -> Attempt:
        model = cp_model.CpModel()
        true = [model.new_bool_var("") for _ in range(formula.variables)]

        def literals(row: np.ndarray) -> list:
            return [~true[x >> 1] if x & 1 else true[x >> 1] for x in row.tolist()]

        def rows(ptr: np.ndarray, lit: np.ndarray) -> list[list]:
            return [literals(row) for row in np.split(lit, ptr[1:-1])] if len(ptr) > 1 else []

        for row in rows(formula.clause_ptr, formula.clause_lit):
            model.add_bool_or(row)
        for clause in clauses:
            model.add_bool_or(literals(clause))
        for row in rows(formula.group_ptr, formula.group_lit):
            model.add_at_most_one(row)
        factors = np.split(formula.sum_coef, formula.sum_ptr[1:-1])
        sums = rows(formula.sum_ptr, formula.sum_lit)
        for row, factor, bound in zip(sums, factors, formula.sum_bound.tolist(), strict=False):
            model.add(cp_model.LinearExpr.weighted_sum(row, factor.tolist()) <= bound)
        shift = max(0, int(np.abs(formula.cost).sum()).bit_length() - UNITS.bit_length() + 1)
        if len(formula.cost):
            units = [c >> shift for c in formula.cost.tolist()]
            objective = cp_model.LinearExpr.weighted_sum(literals(formula.cost_lit), units)
            model.minimize(objective)
        solver = cp_model.CpSolver()
        solver.parameters.num_workers = 1
        solver.parameters.max_deterministic_time = SECONDS * 2**effort
        solver.parameters.catch_sigint_signal = False  # it is the caller's
        status = self.watched(lambda: solver.solve(model), solver.stop_search)
        if status == cp_model.MODEL_INVALID:
            raise refused("has no form for coefficients that are so large")
        if status == cp_model.INFEASIBLE:
            return Attempt(None, True, 0)
        bound = 0
        if len(formula.cost):
            bound = (math.ceil(solver.best_objective_bound - 1e-3)) << shift
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            return Attempt(None, False, bound)
        found = np.array([solver.boolean_value(x) for x in true], np.uint8)
        return Attempt(found, status == cp_model.OPTIMAL and len(formula.cost) > 0, bound)
