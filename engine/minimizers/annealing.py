"""Simulated annealing by fused sweeps over explicit structure, all particles of a row at once.

Minimizes cost + sum_c multiplier_c violation_c while beta rises geometrically from hot to cold.
After each anneal the multiplier of every rule grows with the share of particles that break it, so
that required structure comes to hold without tuned penalties.
Source: Kirkpatrick, Gelatt, Vecchi, Science 1983; multipliers after Wah and Wang, "Simulated
annealing with asymptotic convergence for nonlinear constrained optimization", CP 1999.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.errors import BadQuery, Mistake
from engine.random import Stream
from engine.sweeps.run import OpenValues, PreparedSweeps, run_sweeps
from engine.sweeps.swept import Swept, SweptState

SWEEP = 103  # lane of the stream


@dataclass(frozen=True)
class Annealing(Swept):
    """Needs the whole energy as explicit structure over finite sites.

    sweeps: length of one anneal.
    hot, cold: inverse temperatures of its ends; None: from the scale of the costs, row by row.
    """

    hot: float | None = None
    cold: float | None = None

    def __post_init__(self):
        super().__post_init__()
        for name in ("hot", "cold"):
            beta = getattr(self, name)
            if beta is not None and not 0 <= beta < math.inf:
                raise BadQuery(Mistake(name, f"{beta!r}", "give a number >= 0, in 1 / energy"))

    def _visit(self, s: SweptState, r: int, rng: Stream) -> None:
        """Some sweeps of one row, up to the end of its anneal; writes into the copies in `s`."""
        plan, done = s.plan, int(s.sweep[r])
        left = OpenValues(s.choices[r].numpy(), s.options[r].numpy())
        position = done % self.sweeps
        chunk = max(1, self.visit // (plan.particles * max(1, plan.layout.work)))
        count = min(chunk, self.sweeps - position)
        origin = int(s.origin[r])
        at = slice(r * plan.particles, (r + 1) * plan.particles)
        betas = self._betas(s.beta[r], position, count)
        key = rng.words[r].cpu().numpy().astype(np.uint64)
        lane = rng.at(0).fork(SWEEP).lane
        arrays = (s.places[at].numpy(), s.best[at].numpy(), s.scores[at].numpy())
        blame = np.zeros(plan.layout.rules)
        run_sweeps(
            plan, origin, left, s.multiplier[r].numpy(), betas, key, lane, done, arrays, blame
        )
        s.sweep[r] += count
        if position + count == self.sweeps and len(blame):
            share = torch.from_numpy(blame / plan.particles)
            s.multiplier[r] += s.scale[r] * share

    def _betas(self, ends: Tensor, position: int, count: int) -> np.ndarray:
        """Inverse temperatures of some sweeps of an anneal, rising geometrically."""
        hot, cold = ends.tolist()
        t = np.arange(position, position + count) / max(1, self.sweeps - 1)
        if hot == cold:
            return np.full(count, hot)
        return max(hot, 1e-12) ** (1 - t) * max(cold, 1e-12) ** t

    def _scales(
        self, plan: PreparedSweeps, left: OpenValues, places: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        multiplier, beta, scale = super()._scales(plan, left, places)
        for k, end in enumerate((self.hot, self.cold)):
            if end is not None:
                beta[:, k] = end / (1.0 if plan.scale is None else float(plan.scale.unit))
        return multiplier, beta, scale
