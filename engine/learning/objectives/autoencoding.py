"""A deterministic autoencoder with codes on a sphere: a decoder that is no sampler by itself.

    loss = mean over rows of |x - G(c(x) + blur n)|^2,   c(x) = sqrt(d) e(x) / |e(x)|,  n normal

Codes lie where normal vectors of d numbers mostly lie, at sqrt(d); the little noise smooths G
between them. Source: Ghosh, Sajjadi, Vergari, Black, Schölkopf, "From variational to deterministic
autoencoders", ICLR 2020; as the generator that Hat EBM turns into a sampler: Hill et al., 2022.
"""

from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.domain import State
from engine.errors import BadQuery, Mistake
from engine.learning.objective import Nets, Objective, Update
from engine.learning.revision import network, normal
from engine.random import Stream


@dataclass(frozen=True)
class Autoencoding(Objective[tuple[()]]):
    """The networks "encoder", to d numbers or more, the first d of which count, and "generator".
    What is learned from is the variable `name` of the batch."""

    latent: int
    name: str = "picture"
    blur: float = 0.02
    clip: float | None = 5.0

    def __post_init__(self):
        if self.latent < 1:
            raise BadQuery(Mistake("latent", f"{self.latent!r}", "give at least 1"))

    def start(self, nets: Nets, rng: Stream) -> tuple[()]:
        network(nets, "encoder")
        network(nets, "generator")
        return ()

    def updates(
        self, nets: Nets, batch: State, s: tuple[()], rng: Stream
    ) -> Generator[Update, None, tuple[()]]:
        x = batch[self.name]
        code = on_sphere(nets["encoder"](x)[:, : self.latent])
        near = code + self.blur * normal(rng, len(code), self.latent, code)
        missed = x - nets["generator"](near).reshape(x.shape)
        yield Update(("encoder", "generator"), missed.flatten(1).square().sum(1).mean(), self.clip)
        return s


def on_sphere(code: Tensor) -> Tensor:
    """Codes at the length of the root of their number. (B, d) -> same"""
    length = code.norm(dim=1, keepdim=True).clamp(min=torch.finfo(code.dtype).tiny)
    return code / length * code.shape[1] ** 0.5
