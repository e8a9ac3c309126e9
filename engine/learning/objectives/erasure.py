"""Energy discrepancy of erasing one site of each row, with every value as a negative.

    loss = E_p E_i [ -ln p_E(x_i | x_-i) ]
    p_E(v | x_-i) = exp(-E(v, x_-i)) / sum_w exp(-E(w, x_-i))

The grid channel erases one site i of the data; the way back draws it evenly. With all its values in
place of M drawn ones the estimate of `energy_discrepancy` has no sampling noise left, needs no
stabilizing weight, and is stochastic pseudo-likelihood, up to ln K_i. The site is drawn anew for
each step, the same for the whole batch, so that one call gives all energies.
Sources: Schroeder, Ou, Li, Duncan, NeurIPS 2024; Besag, 1975.
"""

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from engine.changes import Sites, allowed_values, energy_changes, places_at
from engine.domain import State
from engine.errors import BadQuery, Mistake
from engine.learning.objective import Nets, Objective, Update, decided_of, energy_of, problem_of
from engine.problem import Problem
from engine.random import Stream

SITE = 601  # lane of the stream


@dataclass(frozen=True)
class Erasure(Objective[tuple[()]]):
    """Over the finite variables of the energy, in decided states. A value that the base domain of
    its site rules out is a missing one: others see it, and it is never predicted.

    favoured: the number of a site that a share `favour` of the steps goes to, beside its turn with
    the others; for classification.
    """

    favoured: int | None = None
    favour: float = 0.25
    clip: float | None = 5.0

    def __post_init__(self):
        if not 0 <= self.favour < 1:
            raise BadQuery(Mistake("favour", f"{self.favour!r}", "give 0 <= favour < 1"))

    def start(self, nets: Nets, rng: Stream) -> tuple[()]:
        del rng
        if not problem_of(1.0 * energy_of(nets)).finite:
            raise BadQuery(Mistake("nets.energy", "has no finite variable", "use another"))
        return ()

    def updates(
        self, nets: Nets, batch: State, s: tuple[()], rng: Stream
    ) -> Generator[Update, None, tuple[()]]:
        energy = energy_of(nets)
        problem = problem_of(1.0 * energy)
        site = self._site(sum(v.domain.sites for v in problem.finite), rng.fork(SITE))
        x = present_rows(problem, decided_of(energy, batch), site)
        each = erased_losses(problem, x, np.array([site]))
        yield Update("energy", each.sum() / max(1, len(each)), self.clip)
        return s

    def _site(self, count: int, rng: Stream) -> int:
        which, where = rng.uniform(1, 2, dtype=torch.float64)[0].tolist()
        if self.favoured is not None and which < self.favour:
            return self.favoured
        return min(int(where * count), count - 1)


def present_rows(problem: Problem, x: State, site: int) -> dict[str, Tensor]:
    """The decided states whose value at a site is none of the missing ones."""
    at = np.array([site])
    stands = places_at(problem, at, x)[:, 0]
    rows = allowed_values(problem, at)[0, 0][stands].nonzero()[:, 0]
    return {n: t[rows] for n, t in x.items()}


def erased_losses(problem: Problem, x: State, sites: Sites) -> Tensor:
    """-ln p of what stands at some sites of decided states, each given all the others; the values
    that base domains rule out have no chance. {name: (B, *shape)} -> (B, m)"""
    change = energy_changes(problem, sites, x)  # (B, m, k), 0 for what stands
    value = torch.arange(change.shape[-1], device=change.device)
    stands = value == places_at(problem, sites, x)[..., None]
    closed = ~allowed_values(problem, sites) & ~stands
    return (-change).masked_fill(closed, -torch.inf).logsumexp(-1)
