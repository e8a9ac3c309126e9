"""Independent draws from a Boltzmann distribution over finite sites, and whether it is empty.

p(x) is proportional to exp(-beta E(x)) where all required rules hold. Explicit structure of small
width is summed out site by site, and drawn backwards; else all states, or all states that satisfy
the rules, are listed where they are few.
Source: Dechter, "Bucket elimination", Artificial Intelligence 1999.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch

from engine.compare import verdicts
from engine.domain import Finite
from engine.energy import Sum
from engine.errors import BadQuery, Mistake
from engine.kernels import clauses as learning
from engine.minimizer import forbidden, never
from engine.problem import Problem
from engine.random import Stream
from engine.sampling.elimination import DRAW, Summed, sum_up
from engine.search.boolean import NotEncodable
from engine.search.prepared import prepared_rows

STATES = 1 << 15  # listed one by one
JUDGED = 4_096  # of them at once
SOLUTIONS = 2_048  # of the rules, listed by search
CONFLICTS = 20_000  # that the search may spend


@dataclass(frozen=True, eq=False)
class Drawn:
    """Independent draws; no places where no state satisfies the rules."""

    places: np.ndarray | None  # (N, n) of values at the visible sites
    method: str
    log_partition: float | None  # ln Z of all states; None where there are none


def draw_exactly(
    problem: Problem, beta: float, count: int, rng: Stream, stop: Callable[[], bool]
) -> Drawn | None:
    """`count` draws of a one-row problem, or None where no exact way is short enough."""
    if not all(
        isinstance(domain, Finite) for domain in (problem.domains[v.name] for v in problem.open)
    ):
        return None
    made = sum_up(problem, beta, stop)
    if isinstance(made, Summed):
        return Drawn(made.draw(count, rng), "elimination", made.log_partition)
    states = states_left(problem)
    if states is None:
        states = solutions(problem, stop)
    log = None if states is None else _weights(problem, states, beta, stop)
    if states is None or log is None:
        return None
    if not len(log) or log.max() == -np.inf:
        return Drawn(None, "enumeration", None)
    u = rng.at(0).fork(DRAW).uniform(count, 1, dtype=torch.float64)[:, 0].cpu().numpy()
    heap = np.exp(log - log.max()).cumsum()
    place = np.searchsorted(heap, u * heap[-1], side="right")
    places = states[np.minimum(place, len(states) - 1)]
    return Drawn(places, "enumeration", float(log.max() + np.log(heap[-1])))


def log_partition(problem: Problem, temperature: float = 1.0) -> list[float]:
    """ln Z of each row, Z = sum over states that keep the rules of exp(-E / temperature), exactly
    but for float64; -inf where no state does. Raises BadQuery where elimination cannot tell."""
    if not 0 < temperature < math.inf:
        raise BadQuery(Mistake("temperature", f"{temperature!r}", "give a number above 0"))
    out = []
    for row in range(problem.rows):
        if len(problem.finite) < len(problem.open):
            raise BadQuery("ln Z is a sum over finite variables, and some are real")
        made = sum_up(problem.select([row]), 1 / temperature, never)
        if isinstance(made, str):
            raise BadQuery(f"ln Z has no exact form here: {made}")
        out.append(-math.inf if made.log_partition is None else made.log_partition)
    return out


def values_left(problem: Problem) -> list[np.ndarray]:
    """The values that evidence leaves each visible site."""
    sizes = [k for v in problem.finite for k in [v.domain.event[-1]] * v.domain.sites]
    allowed = problem.allowed[0].astype(bool)
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(int)
    return [np.flatnonzero(allowed[a:b]) for a, b in zip(starts[:-1], starts[1:], strict=True)]


def states_left(problem: Problem) -> np.ndarray | None:
    """All states that evidence leaves, where they are few. -> (M, n)"""
    options = values_left(problem)
    if math.prod(len(o) for o in options) > STATES:
        return None
    grids = np.meshgrid(*options, indexing="ij")
    return np.stack([g.reshape(-1) for g in grids], 1) if grids else np.zeros((1, 0), int)


def solutions(problem: Problem, stop: Callable[[], bool]) -> np.ndarray | None:
    """All states that satisfy the explicit rules, where they are few, found by search with each
    one found shut out. -> (M, n), or None where they are many, or not all were found"""
    rules = [part for part in problem.summands if part.required]
    if not rules:
        return None
    strict = replace(problem, energy=Sum(*rules))
    plan = prepared_rows(strict)[0]
    try:
        learner = plan.learner(strict.allowed[0])
    except NotEncodable:
        return None
    n = len(values_left(problem))
    found: list[np.ndarray] = []
    limit = learning.conflicts(learner.state) + CONFLICTS
    while not stop():
        left = limit - learning.conflicts(learner.state)
        status, state = learning.search(learner.state, (), max(0, left))
        learner = learner._replace(state=state)
        if status == learning.REFUTED:
            return np.stack(found) if found else np.zeros((0, n), dtype=np.int64)
        if status == learning.LIMIT or len(found) == SOLUTIONS:
            return None
        places = plan.boolean.places(learner.model())
        found.append(places)
        learner = learner.without(plan.boolean.model_literals(places) ^ 1)
    return None


@torch.no_grad()
def _weights(
    problem: Problem, states: np.ndarray, beta: float, stop: Callable[[], bool]
) -> np.ndarray | None:
    """ln p of listed states, up to a constant. (M, n) -> (M,); None where some rule cannot say of
    a state whether it holds, or none has a weight and that proves nothing.

    Rules that are evaluated only are judged on plain values: a violation is no verdict.
    """
    _, rest = problem.factored()
    opaque = [] if rest is None else [part for part in rest.summands() if part.required]
    explicit = Sum(*(part for part in problem.summands if part.required and part not in opaque))
    log, shut = np.full(len(states), -np.inf), np.zeros(len(states), dtype=bool)
    for first in range(0, len(states), JUDGED):
        if stop():
            return None
        some = slice(first, first + JUDGED)
        state = problem.state(states[some])
        x = problem.whole(state)
        energy = problem.energy(x).cpu().numpy()
        shut[some] = forbidden(problem, 0, state).numpy()
        shut[some] |= (explicit.total_violation(x) > 0).cpu().numpy()
        if opaque:
            said = verdicts(opaque, problem.asked(x))
            if None in said:
                return None
            shut[some] |= np.array([holds is False for holds in said])
        log[some] = np.where(np.isfinite(energy) & ~shut[some], -beta * energy, -np.inf)
    return log if shut.all() or log.max() > -np.inf else None
