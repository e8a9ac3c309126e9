"""Dual-MCMC teaching: an energy, a generator and an encoder learn from two revisions by moves.

    x' = moves of G(z) under E;   z' = moves of a draw of q(z | x) under p(z | x)
    energy:     mean E(x) - mean E(x')
    generator:  reconstruct |x - G(z')|^2 + imitate |G(z) - x'|^2
    encoder:    -ln q(z' | x) - amortize ln q(z | x')

Each network learns what a few moves add to it, so that the next moves begin where the last ended.
reconstruct = 0 is cooperative learning (Xie, Lu, Gao, Zhu, Wu, 2018). The generator's second term
keeps the graph of G(z) and none of x'; energies see pictures made anew by the generator that has
just moved. Moves at a temperature far below 1 are short-run descent: such an energy ranks, and is
no log-density.
Source: Cui and Han, "Learning energy-based model via dual-MCMC teaching", NeurIPS 2023.
"""

from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.domain import State
from engine.errors import BadQuery, Mistake
from engine.learning.objective import Nets, Objective, Update, energy_of
from engine.learning.objectives.hat import against, check_short_run
from engine.learning.revision import (
    network,
    normal,
    pictured,
    revised_latents,
    revised_pictures,
)
from engine.moves.langevin import Langevin
from engine.random import Stream

LATENTS, WALK, BELIEF, INFER, AGAIN, NOISE = 471, 472, 473, 474, 475, 476  # lanes of the stream
LEAST = 1e-6  # added to the variance of the encoder


@dataclass(frozen=True)
class DualMcmc(Objective[tuple[()]]):
    """The encoder maps pictures to means and ln variances, (B, 2 * latent).

    pictures, latents: the two kernels, and how many moves each makes; beta: over the temperature of
    the first. spread: sigma of p(x | z). noise: added to both sorts of pictures before they are
    judged, which smooths the energy.
    """

    latent: int
    pictures: Langevin
    latents: Langevin
    beta: float
    spread: float
    picture_steps: int = 30
    latent_steps: int = 10
    reconstruct: float = 1.0
    imitate: float = 1.0
    amortize: float = 0.1
    noise: float = 0.0
    penalty: float = 0.0
    clip: float | None = 5.0

    def __post_init__(self):
        check_short_run(self.latent, self.pictures, self.picture_steps)
        check_short_run(self.latent, self.latents, self.latent_steps)
        for name in ("reconstruct", "imitate", "amortize"):
            if not getattr(self, name) >= 0:
                raise BadQuery(Mistake(name, f"{getattr(self, name)!r}", "give a number >= 0"))

    def start(self, nets: Nets, rng: Stream) -> tuple[()]:
        pictured(energy_of(nets))
        network(nets, "generator")
        network(nets, "encoder")
        return ()

    def updates(
        self, nets: Nets, batch: State, s: tuple[()], rng: Stream
    ) -> Generator[Update, None, tuple[()]]:
        energy, generator = energy_of(nets), network(nets, "generator")
        encoder = network(nets, "encoder")
        x = batch[pictured(energy).name]
        z = normal(rng.fork(LATENTS), len(x), self.latent, x)
        begun = generator(z).reshape(x.shape)
        revised = self._pictures(nets, begun, rng.fork(WALK))
        with torch.no_grad():
            drawn = draw(encoder(x), rng.fork(BELIEF))
        inferred = revised_latents(
            generator, drawn, x, self.spread, self.latents, self.latent_steps, rng.fork(INFER)
        )
        missed = _squares(x - generator(inferred).reshape(x.shape))
        imitated = _squares(begun - revised)
        yield Update(
            "generator",
            self.reconstruct * missed + self.imitate * imitated,
            self.clip,
            {"missed": float(missed.detach()), "imitated": float(imitated.detach())},
        )
        loss = surprise(encoder(x), inferred)
        if self.amortize:
            loss = loss + self.amortize * surprise(encoder(revised), z)
        yield Update("encoder", loss, self.clip)
        with torch.no_grad():
            begun = generator(z).reshape(x.shape)
        revised = self._pictures(nets, begun, rng.fork(AGAIN))
        yield against(energy, x, revised, rng.fork(NOISE), self.noise, self.penalty, self.clip)
        return s

    def _pictures(self, nets: Nets, begun: Tensor, rng: Stream) -> Tensor:
        """Pictures of the generator after their moves. (B, *shape) -> same"""
        return revised_pictures(
            energy_of(nets), begun, self.pictures, self.picture_steps, rng, self.beta
        )


def draw(belief: Tensor, rng: Stream) -> Tensor:
    """Latents drawn from what an encoder believes. (B, 2 d) -> (B, d)"""
    mean, log = belief.chunk(2, 1)
    return mean + (log / 2).exp() * normal(rng, len(mean), mean.shape[1], mean)


def surprise(belief: Tensor, z: Tensor) -> Tensor:
    """Mean of -ln q(z), up to a constant. (B, 2 d), (B, d) -> ()"""
    mean, log = belief.chunk(2, 1)
    return (log + (z - mean).square() / (LEAST + log.exp())).sum(1).mean() / 2


def _squares(x: Tensor) -> Tensor:
    """Mean over rows of the sum of squares. (B, *shape) -> ()"""
    return x.flatten(1).square().sum(1).mean()
