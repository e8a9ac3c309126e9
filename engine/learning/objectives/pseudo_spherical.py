"""The pseudo-spherical score without sampling: the sum over all states is done, or a quadrature.

    L(E) = -(1/gamma) ln E_p[e^(-gamma E)] + 1/(gamma+1) ln sum_x e^(log_cell - (gamma+1) E(x))

For spaces small enough to enumerate; gamma = 0 is likelihood. The oracle of its sampled sister,
`contrastive_divergence` beside it. Source: Yu, Song, Song, Ermon, NeurIPS 2021; the same as the
gamma cross entropy of Fujisawa and Eguchi, J. Multivariate Analysis 2008.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.domain import State
from engine.energy import home_of
from engine.learning.objective import Nets, Objective, Update, energy_of
from engine.learning.objectives.contrastive_divergence import check_order, positive
from engine.random import Stream


@dataclass(frozen=True)
class PseudoSpherical(Objective[tuple[()]]):
    """states: every state once, or the points of a quadrature, each of volume e^log_cell.

    warm: steps over which gamma rises from 0 to its value; for gamma > 0 the loss has several
    minima, and the way from likelihood leads to the one that the data agree on.
    """

    states: Callable[[], State]
    gamma: float
    log_cell: float = 0.0
    warm: int = 0
    clip: float | None = None

    def __post_init__(self):
        check_order(self.gamma)

    def start(self, nets: Nets, rng: Stream) -> tuple[()]:
        return ()

    def updates(
        self, nets: Nets, batch: State, s: tuple[()], rng: Stream
    ) -> Generator[Update, None, tuple[()]]:
        energy = energy_of(nets)
        gamma = float(self.gamma * (min(1.0, rng.step / self.warm) if self.warm else 1.0))
        every = {n: t.to(home_of(energy)) for n, t in self.states().items()}
        loss = pseudo_spherical(energy(batch), energy(every), gamma, self.log_cell)
        yield Update("energy", loss, self.clip)
        return s


def pseudo_spherical(data: Tensor, every: Tensor, gamma: float, log_cell: float = 0.0) -> Tensor:
    """L(E) from the energies of the data and of every state. (N,), (K,) -> ()"""
    whole = torch.logsumexp(log_cell - (gamma + 1) * every, 0) / (gamma + 1)
    return positive(data, gamma) + whole
