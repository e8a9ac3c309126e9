"""Exact draws and the exact sum over all states, by elimination of one site after the other.

Z = sum over x of exp(-beta E(x)), over the states that keep the rules. Hidden sites that the
visible ones determine are summed over; others are minimized over, as they are in E, and so come
first. Source: Dechter, "Bucket elimination", Artificial Intelligence 1999.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from engine.problem import Problem
from engine.random import Stream
from engine.search.elimination import Elimination, Plan
from engine.search.network import Network, hidden_terms
from engine.search.plans import counts_of, network_of, plan_of
from engine.search.semiring import Weight

DRAW = 401  # lane of the stream
WORK = 4_000_000  # table entries added up between two looks at the clock
NUMBERS = 1 << 22  # uniform numbers drawn at once


@dataclass(frozen=True, eq=False)
class Summed:
    """All states of one row, summed up; draws follow."""

    elimination: Elimination

    @property
    def log_partition(self) -> float | None:
        """ln Z; None where no state keeps the rules."""
        total = self.elimination.total
        return None if total is None else -float(total)

    def draw(self, count: int, rng: Stream) -> np.ndarray | None:
        """Independent draws, of visible sites. -> (count, n)"""
        if self.elimination.total is None:
            return None
        network = self.elimination.plan.network
        n, visible = len(network.sizes), self.elimination.visible
        out, some = np.zeros((count, visible), dtype=np.int64), max(1, NUMBERS // max(1, n))
        for k, first in enumerate(range(0, count, some)):
            m = min(some, count - first)
            u = rng.at(k).fork(DRAW).uniform(m, n, dtype=torch.float64).cpu().numpy()
            out[first : first + m] = self.elimination.drawn(u)[:, :visible]
        return out


def sum_up(problem: Problem, beta: float, stop: Callable[[], bool]) -> Summed | str:
    """The sum over all states of a problem of one row, or why elimination cannot tell it."""
    plan = _plan(problem)
    if isinstance(plan, str):
        return plan
    elimination = Elimination.of(plan, problem, 0, Weight(beta))
    while not elimination.done:
        if stop():
            return "out of time"
        elimination = elimination.advanced(WORK)
    return Summed(elimination)


def _plan(problem: Problem) -> Plan | str:
    network = None if problem.form.rest is not None else network_of(problem)
    if not isinstance(network, Network) or not network.minimized.any():
        return plan_of(problem, 0)
    plan = Plan.of(network, counts_of(problem, 0), hidden_first=True)
    if isinstance(plan, Plan):
        return plan
    mine = (names for _, names, functional in hidden_terms(problem) if not functional)
    names = sorted(set().union(*mine))
    return f"hidden sites of {', '.join(names)} are minimized over before all others: {plan}"
