"""Solutions of complete search: what those cost that were found, those that others found, and those
that follow by symmetry."""

import math
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import torch

from engine.compare import verdicts
from engine.domain import State
from engine.factors import Factors
from engine.kernels import clauses as learning
from engine.minimizer import score
from engine.problem import Problem
from engine.search.placed import Placed
from engine.search.prepared import Prepared


class At(NamedTuple):
    """One row of a problem in complete search."""

    problem: Problem
    row: int
    plan: Prepared
    allowed: np.ndarray  # (C,) uint8
    fixed: State  # of what is not finite, (1, *event) each


def accepted_cost(at: At, places: np.ndarray, best: float) -> Fraction | None:
    """What a solution found elsewhere costs, as exactly as complete search tells costs apart; None
    where it is none, as far as can be said, or costs no less than the best."""
    plan, problem = at.plan, at.problem
    offset = np.concatenate([[0], np.cumsum(plan.factors.sizes)])[: plan.factors.visible]
    if not at.allowed[offset + places].all():
        return None
    if plan.rest is None:
        cost = problem.exactly(places, at.row)
        return cost if float(cost) < best else None
    placed, owner = Placed(problem, places[None], at.fixed), torch.tensor([at.row])
    rules = [part for part in plan.rest.summands() if part.required]
    (holds,) = verdicts(rules, problem.asked(problem.whole(placed, owner)))
    energy = float(score(problem, placed, owner).energy[0])
    fine = holds is True and math.isfinite(energy) and energy < best
    return Fraction(energy) if fine else None


def recoloured(places: np.ndarray, factors: Factors, allowed: np.ndarray) -> list[np.ndarray]:
    """The same solution with two interchangeable values exchanged, where evidence allows it."""
    n, k = factors.visible, int(factors.sizes[0])
    mask = allowed[: n * k].reshape(n, k)
    for a in range(k):
        for b in range(a + 1, k):
            if (mask[:, a] == mask[:, b]).all() and ((places == a) | (places == b)).any():
                swapped = places.copy()
                swapped[places == a], swapped[places == b] = b, a
                return [swapped]
    return []


def costs_of(
    problem: Problem, row: int, factors: Factors, found: np.ndarray, units: np.ndarray
) -> list[Fraction]:
    """What solutions of a row cost, told apart as far as can be: found (m, n), units (m or
    more,)."""
    if not factors.resolves:
        return [Fraction(own) / factors.scale.unit for own in units[: len(found)].tolist()]
    sites = np.unique(np.concatenate([t.scopes[:, 0] for t in factors.tables]))
    alike: dict[bytes, Fraction] = {}  # by the values of all sites that cost
    out = []
    for places in found:
        key = places[sites].tobytes()
        if key not in alike:
            alike[key] = problem.exactly(places, row)
        out.append(alike[key])
    return out


def capped(cost: int) -> int:
    """A number of units that the learning search can count."""
    return max(-learning.NEVER, min(cost, learning.NEVER))
