"""Points of the plane with networks over them: what objectives of three networks are tried on."""

import torch
from torch import Tensor, nn

from engine.domain import Real, Variable
from engine.energy import Term
from engine.learning.examples import Stored
from engine.random import Stream
from tests.support.planar import points


def layers(*widths: int) -> nn.Sequential:
    """Linear maps with smooth steps between them."""
    made: list[nn.Module] = []
    for inward, outward in zip(widths, widths[1:], strict=False):
        made += [nn.Linear(inward, outward), nn.SiLU()]
    return nn.Sequential(*made[:-1])


class Plane(Term):
    """E = a network over a point."""

    def __init__(self, hidden: int = 64):
        super().__init__(Variable("x", Real((2,))))
        self.net = layers(2, hidden, hidden, 1)

    def energy(self, x: Tensor) -> Tensor:  # (B, 2) -> (B,)
        return self.net(x)[:, 0]


def stream(seed: int) -> Stream:
    """Of one row."""
    return Stream(seed, torch.zeros(1, dtype=torch.int64))


def gaussians(count: int, seed: int) -> Stored:
    """Points of eight round heaps on a circle."""
    return Stored({"x": points("8gaussians", count, stream(seed)).float()})
