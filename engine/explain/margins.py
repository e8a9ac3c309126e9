"""By how much each site of an answer is ahead of its other values: between two proved numbers.

The margin of a site is what the best state costs more in which it has another value, all others
free. At most what the cheapest change of this site alone costs more; at least what messages prove
of its other values, each beside the energy of the answer, and never less than its own bound does.
"""

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch

from engine.answer import Answer, Margin
from engine.decimals import Floats, Ints, Scale
from engine.domain import Finite
from engine.minimizer import never
from engine.problem import Problem
from engine.search.messages import NEVER, Passing, coupled_of, unread

PASSES = 200  # of messages, there and back
IDLE = 20  # passes without a better bound that end them


class Margins(NamedTuple):
    """Of one variable: below and above what each site is ahead, each of its shape; infinite where
    no other value is possible. Negative below: a better state is not ruled out."""

    low: Floats
    high: Floats


def margins(
    problem: Problem, answer: Answer, passes: int = PASSES, stop: Callable[[], bool] = never
) -> dict[str, Margins] | None:
    """The margins of an answer of a one-row problem, by variable; None where its costs are not
    those of sites and pairs, or where it has no values. Where `stop` says so, they are what is
    known by then."""
    if problem.rows != 1 or answer.values is None or answer.energy is None:
        return None
    if problem.form.rest is not None or unread(problem.form.factors) is not None:
        return None
    if len(problem.form.factors.sizes) > problem.form.factors.visible:
        return None  # hidden sites would have to move along
    scale = problem.explicits[0].scale
    made = coupled_of(problem.concrete(0), scale, problem.allowed[0])
    if not made.whole:
        return None  # what a change costs would be told without some tables
    now = Passing.begun(made)
    energy = answer.energy * float(scale.unit)
    while now.passes < passes and now.idle < IDLE and not now.refuted and not stop():
        now, _ = now.passed(1, energy)
    places = _places(problem, answer.values)
    exact = int(scale.from_on(problem.exactly(places, 0))) - scale.error
    least = -math.inf if answer.bound is None else min(0.0, answer.bound - answer.energy)
    return _by_variable(problem, places, now, exact, least)


def told_margins(every: Mapping[str, Margins]) -> tuple[Margin, ...]:
    """Margins as an answer tells them."""
    return tuple(
        Margin(name, tuple(m.low.reshape(-1).tolist()), tuple(m.high.reshape(-1).tolist()))
        for name, m in every.items()
    )


def _places(problem: Problem, values: Mapping) -> np.ndarray:
    """The places of plain values at all finite sites. -> (n,)"""
    state = {v.name: v.domain.encode(values[v.name])[None] for v in problem.finite}
    return problem.places({n: torch.as_tensor(x) for n, x in state.items()})[0]


def _by_variable(
    problem: Problem, places: np.ndarray, now: Passing, energy: int, least: float
) -> dict[str, Margins]:
    """`least`: what is proved of all states, other values or not."""
    c, scale = now.coupled, problem.explicits[0].scale
    other = np.ones(now.coupled.cost.shape, bool)  # than what each site has
    other[np.arange(len(places)), places] = False
    flips = np.where(other, c.flips(places), NEVER).min(1)
    high = _as_costs(flips, 2 * scale.error, scale)  # each total lies off by so much, at most
    bounds = c.bounds(now.message, now.price, now.possible)
    low = np.full(len(places), -math.inf)
    if bounds is not None and not now.refuted:
        others = np.where(other, bounds, NEVER).min(1)
        low = _as_costs(others, -(energy + 2 * scale.error), scale)
    out = {}
    for v in problem.finite:
        assert isinstance(v.domain, Finite)
        first = problem.starts[v.name]
        own = slice(first, first + v.domain.sites)
        below, above = (x[own].reshape(v.domain.shape) for x in (low, high))
        out[v.name] = Margins(np.maximum(below, least), above)
    return out


def _as_costs(units: Ints, more: int, scale: Scale) -> Floats:
    """Whole units, and some more, as costs: added before they are rounded. (n,) -> (n,)"""
    never = units == NEVER
    return np.where(never, math.inf, scale.values(np.where(never, 0, units + more)))
