"""Hat EBM: an energy on top of a generator, of pictures x = y + G(z) with a correction y.

    U(y, z) = E(y + G(z));   grad L = E_data[grad E(x)] - E_U[grad E(y + G(z))]

U depends on (y, z) through x alone, and every x is y + G(z) with y = x - G(z) for any z: the first
mean needs no latent and no Jacobian. `HatRefinement` moves y and z with a generator that stays (one
that was trained elsewhere, or the decoder of an autoencoder, which is no sampler by itself).
`HatSynthesis` keeps z as it was drawn, moves y alone, and teaches the generator what the moves
made: by old pairs out of a bank, or it would chase the last short run and swing.
Source: Hill, Nijkamp, Mitchell, Pang, Zhu, "Learning probabilistic models from generator latent
spaces with Hat EBM", NeurIPS 2022.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from engine.domain import State
from engine.energy import Energy
from engine.errors import BadQuery, Mistake
from engine.learning.objective import Nets, Objective, Update, energy_of
from engine.learning.revision import (
    hat_problem,
    network,
    normal,
    pictured,
    revised_pairs,
    revised_pictures,
)
from engine.moves.langevin import Langevin
from engine.random import Stream

LATENTS, WALK, NOISE, PICK = 461, 462, 463, 464  # lanes of the stream


class PairBank(NamedTuple):
    """Pictures that moves made, and the latents they began at."""

    x: Tensor  # (size, *shape)
    z: Tensor  # (size, latent)

    def put(self, places: Tensor, x: Tensor, z: Tensor) -> "PairBank":
        """The same with other pairs at some places. (b,), (b, *shape), (b, latent)"""
        return PairBank(
            self.x.index_copy(0, places, x.to(self.x)), self.z.index_copy(0, places, z.to(self.z))
        )


@dataclass(frozen=True)
class HatRefinement(Objective[tuple[()]]):
    """The energy of what a generator that stays makes, corrected: y and z move.

    latent: numbers of z. sampler: unadjusted, with a step of its own for "latent". beta: over the
    temperature of the moves. width: of a Gaussian of y; infinite: none. noise: added to both
    sorts of pictures before they are judged, which smooths the energy. penalty: of the squared
    energies, which holds them near 0.
    """

    latent: int
    sampler: Langevin
    steps: int = 30
    beta: float = 1.0
    width: float = float("inf")
    noise: float = 0.0
    penalty: float = 0.0
    clip: float | None = 5.0

    def __post_init__(self):
        check_short_run(self.latent, self.sampler, self.steps)

    def start(self, nets: Nets, rng: Stream) -> tuple[()]:
        pictured(energy_of(nets))
        network(nets, "generator")
        return ()

    def updates(
        self, nets: Nets, batch: State, s: tuple[()], rng: Stream
    ) -> Generator[Update, None, tuple[()]]:
        energy, generator = energy_of(nets), network(nets, "generator")
        x = batch[pictured(energy).name]
        z = normal(rng.fork(LATENTS), len(x), self.latent, x)
        problem = hat_problem(energy, generator, self.latent, self.width)
        _, made = revised_pairs(problem, z, self.sampler, self.steps, rng.fork(WALK), self.beta)
        yield against(energy, x, made, rng.fork(NOISE), self.noise, self.penalty, self.clip)
        return s


@dataclass(frozen=True)
class HatSynthesis(Objective[PairBank]):
    """The energy and its generator, each taught by the other: z stays, y moves.

    bank: pairs that the generator learns from. The other fields are those of `HatRefinement`.
    """

    latent: int
    sampler: Langevin
    steps: int = 30
    beta: float = 1.0
    bank: int = 10_000
    noise: float = 0.0
    penalty: float = 0.0
    clip: float | None = 5.0

    def __post_init__(self):
        check_short_run(self.latent, self.sampler, self.steps)
        if self.bank < 1:
            raise BadQuery(Mistake("bank", f"{self.bank!r}", "give at least 1"))

    @torch.no_grad()
    def start(self, nets: Nets, rng: Stream) -> PairBank:
        shape = pictured(energy_of(nets)).domain.shape
        generator = network(nets, "generator")
        like = next(generator.parameters())
        z = normal(rng.fork(LATENTS), self.bank, self.latent, like)
        x = torch.cat([generator(some).reshape(-1, *shape) for some in z.split(1_000)])
        return PairBank(x, z)

    def updates(
        self, nets: Nets, batch: State, s: PairBank, rng: Stream
    ) -> Generator[Update, None, PairBank]:
        energy, generator = energy_of(nets), network(nets, "generator")
        x = batch[pictured(energy).name]
        z = normal(rng.fork(LATENTS), len(x), self.latent, s.z)
        with torch.no_grad():
            begun = generator(z).reshape(x.shape)
        made = revised_pictures(energy, begun, self.sampler, self.steps, rng.fork(WALK), self.beta)
        yield against(energy, x, made, rng.fork(NOISE), self.noise, self.penalty, self.clip)
        count = min(len(x), self.bank)
        places = rng.fork(PICK).uniform(1, self.bank)[0].topk(count).indices
        missed = generator(s.z[places]).reshape(-1, *x.shape[1:]) - s.x[places]
        yield Update("generator", missed.flatten(1).square().sum(1).mean(), self.clip)
        return s.put(places, made[:count], z[:count])


def against(
    energy: Energy,
    data: Tensor,
    made: Tensor,
    rng: Stream,
    noise: float,
    penalty: float,
    clip: float | None,
) -> Update:
    """Energies of data against those of what was made, both under noise. (B, *shape) each"""
    name = pictured(energy).name
    every = torch.cat([data, made])
    if noise:
        drawn = rng.normal(len(every), *every.shape[1:], dtype=torch.float64)
        every = every + noise * drawn.to(every)
    both = energy({name: every})
    real, false = both[: len(data)], both[len(data) :]
    loss = real.mean() - false.mean()
    if penalty:
        loss = loss + penalty * (real.square().mean() + false.square().mean())
    shown = {"data": float(real.detach().mean()), "made": float(false.detach().mean())}
    return Update("energy", loss, clip, shown)


def check_short_run(latent: int, sampler: Langevin, steps: int) -> None:
    """Raises BadQuery where a short run makes no sense."""
    wrong = []
    if latent < 1:
        wrong.append(Mistake("latent", f"{latent!r}", "give at least 1"))
    if steps < 1:
        wrong.append(Mistake("steps", f"{steps!r}", "give at least 1"))
    if sampler.adjusted:
        remedy = "give Langevin(..., adjusted=False): a short run does not wait for its law"
        wrong.append(Mistake("sampler", "refuses moves", remedy))
    if wrong:
        raise BadQuery(*wrong)
