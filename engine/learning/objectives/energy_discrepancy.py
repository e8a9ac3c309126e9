"""Energy discrepancy: the data against states that a channel could have mistaken for them.

    ED_q(p, U) = E_p[U(x)] - E_p E_q(y|x)[U_q(y)],   U_q(y) = -ln sum_x q(x | y) e^-U(x)

It needs no sampler and is least exactly at U = -ln p + c when the channel loses information; it
equals KL(p | p_U) - KL(Qp | Qp_U) + H(p) - H(Qp), so with more noise it nears likelihood. The
estimate draws one y for each example and M states back from the same y:

    loss = mean_i ln( w + sum_j exp(U(x_i) - U(x_ij)) ) - ln M

w > 0 keeps it stable with few negatives (w = 0 diverges below about 32), at the price of a flatter
landscape. Sources: Schroeder, Ou, Lim, Li, Vollmer, Duncan, NeurIPS 2023; the same with Li, Duncan,
NeurIPS 2024 (discrete and mixed data).
"""

import math
from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.domain import State
from engine.energy import Energy
from engine.errors import BadQuery, Mistake
from engine.learning.corruptions import Channel
from engine.learning.objective import Nets, Objective, Update, energy_of, relaxed_of
from engine.random import Stream


@dataclass(frozen=True)
class EnergyDiscrepancy(Objective[tuple[()]]):
    """channel: loses information about every variable of the energy; negatives: M; weight: w."""

    channel: Channel
    negatives: int = 32
    weight: float = 1.0
    clip: float | None = 5.0

    def __post_init__(self):
        if self.negatives < 1:
            raise BadQuery(Mistake("negatives", f"{self.negatives!r}", "give at least 1"))
        if not 0 <= self.weight < math.inf:
            raise BadQuery(Mistake("weight", f"{self.weight!r}", "give a number >= 0"))

    def start(self, nets: Nets, rng: Stream) -> tuple[()]:
        names = {v.name for v in energy_of(nets).variables()}
        if missing := sorted(names - set(self.channel.variables)):
            raise BadQuery(Mistake("channel", f"leaves {missing} alone", "cover every variable"))
        return ()

    def updates(
        self, nets: Nets, batch: State, s: tuple[()], rng: Stream
    ) -> Generator[Update, None, tuple[()]]:
        energy = energy_of(nets)
        batch = relaxed_of(energy, batch)
        negatives = perturb(self.channel, batch, self.negatives, rng)
        rise = energy_rises(energy, batch, negatives)  # (B, M)
        loss = discrepancy(rise, self.weight)
        yield Update("energy", loss, self.clip)
        return s


def perturb(channel: Channel, x: State, count: int, rng: Stream) -> dict[str, Tensor]:
    """`count` states for each example, all drawn back from its one y. -> {name: (B * M, *event)}"""
    return channel.back(channel.corrupt(x, rng.fork(0)), count, rng.fork(1))


def energy_rises(energy: Energy, x: State, negatives: State) -> Tensor:
    """U(x_i) - U(x_ij), in one evaluation. -> (B, M)"""
    names = list(negatives)
    batch = len(x[names[0]])
    both = energy({n: torch.cat([x[n], negatives[n]]) for n in names})
    return both[:batch, None] - both[batch:].reshape(batch, -1)


def discrepancy(rise: Tensor, weight: float) -> Tensor:
    """mean_i ln(w + sum_j exp(rise_ij)) - ln M. (B, M) -> ()"""
    columns = [rise]
    if weight > 0:
        columns.append(rise.new_full((len(rise), 1), math.log(weight)))
    return torch.cat(columns, 1).logsumexp(1).mean() - math.log(rise.shape[1])
