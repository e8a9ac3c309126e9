"""What can be said of incomplete values: a bound on every completion, and whether one exists.

No search for good values takes place: deduction, a short refutation, bounds by mini-buckets where
something explicit is soft, and what energies that are read site by site say of the sites before the
first open one. `INFEASIBLE` means that completion is ruled out, proved; anything else leaves it
open, and findings say which terms wait for which sites.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from engine.answer import Answer, Finding, Place, Status
from engine.decimals import surely_below
from engine.domain import Domain, Finite, Real
from engine.energy import Summand
from engine.judgement import term_names
from engine.kernels import clauses as learning
from engine.kernels import cover as covering
from engine.problem import Problem
from engine.search.ahead import Read, readers_of
from engine.search.boolean import NotEncodable
from engine.search.elimination import Elimination
from engine.search.minibuckets import FEW, WORK, bound_of, split_plan
from engine.search.prepared import Prepared, prepared_rows
from engine.search.prices import budget_step
from engine.search.semiring import Least

NODES = 400  # of the depth-first refutation of one row
CONFLICTS = 200  # of the learning refutation of one row
PLANNED = 2_000  # scopes of tables, up to which mini-buckets tell a bound
ROUNDED = 1e-5  # by which what is read may be off, relative
NAMED = 4  # open sites that are told


def partial(problem: Problem) -> list[Answer]:
    """One answer for each row: SCORED with a bound valid for every completion, or INFEASIBLE."""
    answers = _deduced(problem)
    every = readers_of(problem) if problem.form.rest is not None else ()
    for row, answer in enumerate(answers):
        if answer.status is Status.SCORED:
            answers[row] = _told(problem, row, answer, () if isinstance(every, str) else every)
    return answers


def _told(problem: Problem, row: int, answer: Answer, every: Sequence[Read]) -> Answer:
    """The same with the best bound that is cheap, and what is missing."""
    bound = -math.inf if answer.bound is None else answer.bound
    split = _split(problem, row)
    if split == math.inf:
        return _ruled_out()
    bound = max(bound, split)
    rest = problem.form.rest
    if every and rest is not None and math.isfinite(rest.floor()):
        said = sum(one.weight * max(0.0, _begun(problem, row, one)) for one in every)
        bound = surely_below(bound + max(0.0, said - max(0.0, rest.floor())))
    missing = tuple(
        Finding(name, None, summand.required, text)
        for name, summand in zip(term_names(problem), problem.summands, strict=True)
        if (text := _missing(problem, row, summand))
    )
    return replace(answer, bound=bound if math.isfinite(bound) else None, findings=missing)


def _split(problem: Problem, row: int) -> float:
    """A bound of the whole by mini-buckets, where something is soft; infinite: nothing keeps the
    rules."""
    factors = problem.form.factors
    if not factors.soft or sum(len(t.scopes) for t in factors.tables) > PLANNED:
        return -math.inf
    plan = split_plan(problem, FEW)
    if plan is None:
        return -math.inf
    made = Elimination.of(plan, problem, row, Least())
    while not made.done:
        made = made.advanced(WORK)
    return bound_of(problem, row, made)


def _begun(problem: Problem, row: int, one: Read) -> float:
    """What the sites cost that evidence decides before the first open one, the least that this one
    may cost, and the least of those behind it."""
    allowed, sizes = problem.allowed[row], problem.form.factors.sizes
    start = np.concatenate([[0], np.cumsum(sizes)])
    known, total = one.reader.begin(row), 0.0
    for k, site in enumerate(one.sites):
        left = np.flatnonzero(allowed[start[site] : start[site + 1]])
        costs = one.reader.costs(known)[0].cpu().numpy()[left]
        total += float(costs.min(initial=math.inf))
        if len(left) != 1:
            later = len(one.sites) - k - 1
            total += later * one.reader.least if later else 0.0
            break
        known = one.reader.read(known, torch.from_numpy(left))
    return total - ROUNDED * max(1.0, abs(total)) if math.isfinite(total) else total


def _missing(problem: Problem, row: int, summand: Summand) -> str:
    """Which sites a term waits for, in words; empty where there are none."""
    some: list[str] = []
    count = 0
    for view, domain in zip(summand.term.scope, problem.scope(summand.term), strict=True):
        for k in _open(domain, row):
            count += 1
            if len(some) < NAMED:
                place, variable = int(view.places.reshape(-1)[k]), view.variable
                some.append(Place.at(variable.name, variable.domain.shape, place, None).where)
    if not count:
        return ""
    more = f" and {count - NAMED} more" if count > NAMED else ""
    return f"waits for {', '.join(some)}{more}"


def _open(domain: Domain, row: int) -> list[int]:
    """The sites that evidence leaves open, flat."""
    if isinstance(domain, Finite):
        left = domain.allowed[row if domain.rows > 1 else 0].sum(-1) != 1
    elif isinstance(domain, Real):
        low, high = (t[row if len(t) > 1 else 0] for t in (domain.low, domain.high))
        left = low != high
    else:
        return []
    return left.reshape(-1).nonzero().reshape(-1).tolist()


def _deduced(problem: Problem) -> list[Answer]:
    """By rules alone, and the floors of terms."""
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
