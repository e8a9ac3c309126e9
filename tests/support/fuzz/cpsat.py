"""The oracle's other eye: the same query as a CP-SAT model, solved with presolve and without."""

import itertools
import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from ortools.sat.python import cp_model

from tests.support.fuzz.checks import Complaint
from tests.support.fuzz.draw import Case
from tests.support.fuzz.landscape import Landscape, Row, flat
from tests.support.fuzz.meaning import INFINITE, key

LARGEST = 2**60


def disagreements(case: Case, scape: Landscape) -> Iterator[Complaint]:
    """Where enumeration and CP-SAT differ: feasible or not, and the least energy."""
    loose = [
        s for s in scape.summands if not s.exact or s.unsure or not (s.explicit or s.weight is None)
    ]
    if case.real or case.python or loose:
        return
    for evidence in case.rows:
        row = scape.view(evidence)
        least = row.feasible[0].exact if row.feasible else None
        model, unit = modelled(scape, row)
        if model is None:
            continue
        for presolve in (True, False):
            solver = cp_model.CpSolver()
            solver.parameters.num_workers = 1
            solver.parameters.cp_model_presolve = presolve
            solver.parameters.max_time_in_seconds = 20
            status = solver.solve(model)
            if status == cp_model.INFEASIBLE:
                found: Any = None
            elif status == cp_model.OPTIMAL:
                found = Fraction(round(solver.objective_value), unit)
                best = solver.best_objective_bound
                found = found if abs(best) < 2**50 else least  # its values are float64
            else:
                yield Complaint("oracle", f"CP-SAT says {solver.status_name(status)}")
                continue
            if found != least:
                yield Complaint("oracle", f"CP-SAT finds {found}, enumeration {least}")


def modelled(scape: Landscape, row: Row) -> tuple[Any, int]:
    """One row as literals, constraints over parts, and whole costs. (None, 1): numbers too large"""
    model = cp_model.CpModel()
    literal = {}
    given = row.evidence
    for site, options in zip(scape.sites, scape.options):
        literal[site] = {v: model.new_bool_var("") for v in options}
        model.add_exactly_one(literal[site].values())
        name, where = site
        if given.get(name) is not None and flat(given[name])[where] is not None:
            model.add(literal[site][key(flat(given[name])[where])] == 1)
    shares: list[tuple[Fraction, Any]] = []
    for summand in scape.summands:
        assert summand.leaf is not None
        meaning, sites = summand.leaf.meaning, summand.leaf.sites
        for part in meaning.parts:
            own = [sites[s] for s in part.sites]
            for values in itertools.product(*(literal[s] for s in own)):
                if any(
                    u != v
                    for (s, u), (t, v) in itertools.combinations(zip(own, values), 2)
                    if s == t
                ):
                    continue
                amount = part.amount(*values)
                chosen = [literal[s][v] for s, v in dict(zip(own, values)).items()]
                fails = amount == INFINITE if meaning.priced else amount > 0
                if amount == INFINITE or (summand.weight is None and fails):
                    model.add_bool_or(~x for x in chosen)
                elif summand.weight is not None and amount:
                    shares.append((summand.weight * amount, _all(model, chosen)))
    unit = math.lcm(1, *(share.denominator for share, _ in shares))
    whole = [(int(share * unit), x) for share, x in shares]
    if sum(abs(c) for c, _ in whole) > LARGEST:
        return None, 1
    model.minimize(sum(c * x for c, x in whole))
    return model, unit


def _all(model: Any, literals: list[Any]) -> Any:
    """A literal that is true exactly where all of these are; true where there are none."""
    met = model.new_bool_var("")
    model.add_bool_or([met, *(~x for x in literals)])
    for x in literals:
        model.add_implication(met, x)
    return met
