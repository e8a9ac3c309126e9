"""A learned energy for benchmarks, and a service that offers it: python -m benchmarks._learned."""

import math
import sys

import torch
from torch import Tensor, nn

from engine import Term, Variable
from engine.domain import Domain
from modules.catalogue import Catalogue
from services.reason import Reasoner
from services.server import create_server
from services.serving import run


class Learned(Term):
    """A network of two hidden layers with fixed weights, and a shallow bowl around it.

    h = tanh(2 B tanh(2 A x)); E(x) = mean h^2 + |x|^2 / 10 - 0.3 sum of the first 8 of h.
    """

    def __init__(self, x: Variable, hidden: int = 64):
        super().__init__(x)
        rng = torch.Generator().manual_seed(0)
        size = math.prod(self.scope[0].variable.domain.event)
        self.a = nn.Parameter(torch.randn(size, hidden, generator=rng) / math.sqrt(size))
        self.b = nn.Parameter(torch.randn(hidden, hidden, generator=rng) / math.sqrt(hidden))
        self.requires_grad_(False)

    def energy(self, x: Tensor) -> Tensor:  # (B, *event) -> (B,)
        flat = x.flatten(1).float()
        h = torch.tanh(2 * torch.tanh(2 * flat @ self.a) @ self.b)
        return h.square().mean(1) + flat.square().sum(1) / 10 - 0.3 * h[:, :8].sum(1)

    def floor(self) -> float:
        return -2.4

    def factors(self, *_: Domain) -> None:
        return None


def catalogue() -> Catalogue:
    """The kinds of Basin and this one, as `_learned.Learned`."""
    return Catalogue(entry_points=False, also=(f"{__file__}:Learned",))


def main() -> int:
    """Serve on a free port until SIGTERM."""
    torch.set_num_threads(1)
    reasoner = Reasoner(catalogue())
    return run(lambda: create_server(reasoner, "127.0.0.1:0"), "127.0.0.1:0")


if __name__ == "__main__":
    sys.exit(main())
