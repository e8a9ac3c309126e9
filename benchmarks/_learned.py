"""A learned energy for benchmarks, and a service that offers it: python -m benchmarks._learned."""

import math
import sys
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from engine import Term, Variable
from engine.domain import Domain
from modules.catalogue import Catalogue
from services.query import Query, query_of
from services.reasoner.reason import Reasoner
from services.rpc.server import run
from services.server.app import create_server

SITES, PARTICLES, STEPS = 20, 64, 300  # of a learned solve


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


def learned(
    k: int, seed: int, steps: int = STEPS, rows: int = 1, values: Sequence[int] = ()
) -> Query:
    """A learned energy over real sites, or over choices, one of them given in each row."""
    given: list[list[float | None]] = [[None] * SITES for _ in range(rows)]
    for row, sites in enumerate(given, start=k):
        sites[row % SITES] = values[row % len(values)] if values else (row % 7) / 7 - 0.5
    domain = {"values": values} if values else {"low": -2.0, "high": 2.0}
    return query_of(
        {
            "variables": {"x": {**domain, "shape": [SITES]}},
            "terms": [{"kind": "_learned.Learned", "scope": ["x"]}],
            "evidence": [{"x": sites} for sites in given],
            "budget": {"particles": PARTICLES, "seed": seed + k, "steps": steps},
        }
    )


def main() -> int:
    """Serve on a free port until SIGTERM."""
    torch.set_num_threads(1)
    reasoner = Reasoner(catalogue())
    return run(lambda: create_server(reasoner, "127.0.0.1:0"), "127.0.0.1:0")


if __name__ == "__main__":
    sys.exit(main())
