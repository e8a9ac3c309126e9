"""What can be said of incomplete values: a bound on every completion, and whether one exists.

No search for good values takes place: deduction and a short refutation only. `INFEASIBLE` means
that completion is ruled out, proved; anything else leaves it open.
"""

import math

from engine.answer import Answer, Status
from engine.decimals import surely_below
from engine.domain import Finite
from engine.kernels import clauses as learning
from engine.kernels import cover as covering
from engine.problem import Problem
from engine.search.boolean import NotEncodable
from engine.search.prepared import Prepared, prepared_rows
from engine.search.prices import budget_step

NODES = 400  # of the depth-first refutation of one row
CONFLICTS = 200  # of the learning refutation of one row


def partial(problem: Problem) -> list[Answer]:
    """One answer for each row: SCORED with a bound valid for every completion, or INFEASIBLE."""
    floor = problem.floor
    if not any(isinstance(d, Finite) for d in problem.domains.values()):
        return [_scored(floor) for _ in range(problem.rows)]
    plans = prepared_rows(problem)
    plan = plans[0]
    if plan.prices is not None:
        return [_priced(problem, own, row) for row, own in enumerate(plans)]
    if plan.cover is not None:
        found = covering.search(plan.cover, problem.allowed, NODES, 1, plan.symmetric)
        dead = (found.status == covering.EXHAUSTED) & (found.found == 0)
        return [_ruled_out() if d else _scored(floor) for d in dead.tolist()]
    return [_learned(problem, own, row, floor) for row, own in enumerate(plans)]


def _priced(problem: Problem, plan: Prepared, row: int) -> Answer:
    """By the depth-first search, where single sites have costs."""
    assert plan.cover is not None and plan.prices is not None
    opened, price, least = plan.prices
    step, allowed = budget_step(price[None]), problem.allowed[row : row + 1] & opened
    found = covering.search_priced(plan.cover, allowed, price[None], NODES, step=step)
    if found.status[0] == covering.EXHAUSTED and not found.found[0]:
        return _ruled_out()
    return _scored(plan.factors.scale.below(least + int(found.bound[0])))


def _learned(problem: Problem, plan: Prepared, row: int, floor: float) -> Answer:
    try:
        learner = plan.learner(problem.allowed[row])
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
