"""An energy that is read site by site, and says nothing explicitly."""

import torch
from torch import Tensor

from engine.domain import Finite, Variable
from engine.energy import Term
from engine.energy.reader import Reader, Windows
from engine.problem import Problem


class Trail(Term):
    """E = sum over t of cost[x_(t-2), x_(t-1), x_t], with place 0 before the first site."""

    affine = False

    def __init__(self, x: Variable, cost: Tensor):
        super().__init__(x)
        self.register_buffer("table", cost)

    def energy(self, x: Tensor) -> Tensor:  # (B, n, k) -> (B,)
        first = torch.zeros_like(x[:, :1])
        first[..., 0] = 1
        x = torch.cat([first, first, x], 1)
        return torch.einsum(
            "bti,btj,btk,ijk->b", x[:, :-2], x[:, 1:-1], x[:, 2:], self.table.to(x.dtype)
        )

    def factors(self, *domains):
        return None

    def reader(self, *domains) -> "TrailReader":
        return TrailReader(self.table.cpu().double(), self.scope[0].places.size)


class TrailReader(Reader[tuple[Tensor, Tensor]]):
    """What is known: the last two places."""

    def __init__(self, table: Tensor, count: int):
        self.table = table
        self.sites = torch.stack([torch.zeros(count, dtype=torch.long), torch.arange(count)], 1)

    def begin(self, row: int):
        return torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long)

    def costs(self, s):
        return self.table[s]

    def read(self, s, places):
        return s[1], places

    def picked(self, s, index):
        return s[0][index], s[1][index]

    def ahead(self, width: int) -> Windows | None:
        count = len(self.sites)
        if width != 2 or count < 2:
            return None
        places = torch.arange(count - 1)[:, None] + torch.arange(2)
        return Windows(places.numpy(), self.table.mean(0).numpy())


def trail(count: int, values: int, seed: int = 0) -> Trail:
    rng = torch.Generator().manual_seed(seed)
    cost = torch.rand(values, values, values, generator=rng) * 4
    return Trail(Variable("x", Finite(tuple(range(values)), (count,))), cost)


def read_problem(count: int = 8) -> Problem:
    rows = [{"x": [k % 3, *[None] * (count - 2), None if k % 2 else 1]} for k in range(7)]
    return Problem(1.0 * trail(count, 3)).given_rows(rows)
