"""What can be said of incomplete values: a bound on every completion, and whether one exists.

No search for good values takes place: deduction and a short refutation only. `INFEASIBLE` means
that completion is ruled out, proved; anything else leaves it open.
"""

import math

import numpy as np

from engine.answer import Answer, Status
from engine.decimals import surely_below
from engine.domain import Finite
from engine.kernels import clauses as learning
from engine.kernels import cover as covering
from engine.problem import Problem
from engine.search.boolean import NotEncodable
from engine.search.prepared import Prepared, prepared_of
from engine.search.prices import budget_step

NODES = 400  # of the depth-first refutation of one row
CONFLICTS = 200  # of the learning refutation of one row


def partial(problem: Problem) -> list[Answer]:
    """One answer for each row: SCORED with a bound valid for every completion, or INFEASIBLE."""
    floor = problem.floor
    if not any(isinstance(d, Finite) for d in problem.domains.values()):
        return [_scored(floor) for _ in range(problem.rows)]
    plan = prepared_of(problem)
    if plan.prices is not None:
        return _priced(problem, plan)
    if plan.cover is not None:
        found = covering.search(plan.cover, problem.allowed, NODES, 1, plan.symmetric)
        dead = (found.status == covering.EXHAUSTED) & (found.found == 0)
        return [_ruled_out() if d else _scored(floor) for d in dead.tolist()]
    return [_learned(problem, plan, row, floor) for row in range(problem.rows)]


def _priced(problem: Problem, plan: Prepared) -> list[Answer]:
    """By the depth-first search, where single sites have costs."""
    assert plan.cover is not None and plan.prices is not None
    opened, price, least = plan.prices.rows(problem.rows)
    step, allowed = budget_step(price), problem.allowed & opened
    found = covering.search_priced(plan.cover, allowed, price, NODES, step=step)
    dead = (found.status == covering.EXHAUSTED) & (found.found == 0)
    units = least + np.where(dead, 0, found.bound)
    scale = plan.factors.scale
    return [
        _ruled_out() if gone else _scored(scale.below(total))
        for gone, total in zip(dead.tolist(), units.tolist(), strict=True)
    ]


def _learned(problem: Problem, plan: Prepared, row: int, floor: float) -> Answer:
    try:
        learner = plan.learner(problem.allowed[row], row)
    except NotEncodable:
        return _scored(floor)
    status, state = learning.search(learner.state, (), CONFLICTS)
    if status == learning.REFUTED:
        return _ruled_out()
    scale = plan.factors.scale
    explicit = scale.below(learner.constant + learning.lower_bound(state))
    if plan.rest is None:
        return _scored(explicit)
    return _scored(max(floor, surely_below(explicit + plan.rest_floor)))


def _ruled_out() -> Answer:
    return Answer(Status.INFEASIBLE, None, None, None)


def _scored(bound: float) -> Answer:
    """Nothing is claimed but the bound."""
    return Answer(Status.SCORED, None, None, bound if math.isfinite(bound) else None)
