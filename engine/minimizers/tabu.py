"""Tabu search over explicit structure: the best single move or exchange that is not forbidden.

For permutations of any kind, such as keys of ciphers, orders and assignments with costs of pairs:
every exchange of two values of a line that is kept is looked at before one is made, so that a state
at which it stands is the best of all its neighbours. The kernel says how (`kernels/tabu.py`).
It is no member of the default portfolio: beside annealing, at equal CPU time, it found the same on
six of eight random assignments with costs of pairs (9 to 26 sites), once better and once worse.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.errors import BadQuery, Mistake
from engine.kernels.tabu import tabu
from engine.problem import Problem
from engine.random import Stream
from engine.sweeps.run import layout_of
from engine.sweeps.swept import Swept, SweptState

MOVE = 104  # lane of the stream


@dataclass(frozen=True)
class Tabu(Swept):
    """sweeps: moves of one round. tenure: moves for which a value that was left is not taken again,
    up to twice as many, as drawn."""

    sweeps: int = 200
    tenure: int = 8

    def __post_init__(self):
        super().__post_init__()
        if self.tenure < 0:
            raise BadQuery(Mistake("tenure", f"{self.tenure!r}", "give at least 0"))

    def refuses(self, problem: Problem) -> str | None:
        why = super().refuses(problem)
        if why is None and not layout_of(problem).kept and _coupled(problem):
            return "tabu needs rules, or tables of more than two sites; use annealing for pairs"
        return why

    def _marks(self, particles: int, literals: int) -> Tensor:
        return torch.zeros(particles, literals, dtype=torch.int64)

    def _visit(self, s: SweptState, r: int, rng: Stream) -> None:
        plan, done = s.plan, int(s.sweep[r])
        options = s.options[r].numpy()
        moves = max(1, int((options.astype(np.int64) - 1).sum()))
        touches = 4 * plan.particles * max(1, plan.layout.work) * moves // max(1, len(options))
        count = min(max(1, self.visit // max(1, touches)), self.sweeps - done % self.sweeps)
        at = slice(r * plan.particles, (r + 1) * plan.particles)
        tabu(
            plan.layout.structure,
            int(s.origin[r]),
            s.choices[r].numpy(),
            options,
            plan.field(int(s.origin[r])),
            s.multiplier[r].numpy(),
            float(s.scale[r]),
            self.tenure,
            rng.words[r].cpu().numpy().astype(np.uint64),
            rng.at(0).fork(MOVE).lane,
            done,
            count,
            s.places[at].numpy(),
            s.best[at].numpy(),
            s.scores[at].numpy(),
            s.until[at].numpy(),
        )
        s.sweep[r] += count


def _coupled(problem: Problem) -> bool:
    """Its arrays are the lean ones of costs of pairs."""
    layout = layout_of(problem)
    return layout.pairs is not None or layout.couplings is not None
