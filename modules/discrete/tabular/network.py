"""The energy of a row of a table as a network: single values, pairs of values, hidden units.

    U(x) = - sum_d a[x_d] - sum_(d<e) W[x_d, x_e] - sum_h v_h silu(b_h + sum_d A[x_d, h])

A missing cell is one more value of its column, which nothing is ever predicted to have: the place
behind its values, ruled out by the domain of the row.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import silu

from engine.domain import Finite, Variable
from engine.energy import Term

WIDTH = 0.3  # standard deviation of the hidden units' first weights
PRIOR = 0.5  # standard deviation of the logarithm of the temperature


class TableNet(Term):
    """Over one variable, a site for each column of the given sizes.

    `temperature` divides the energy; it is fitted afterwards, on held-out rows (Guo, Pleiss, Sun,
    Weinberger, ICML 2017)."""

    affine = False
    calibrated = True

    temperature: Tensor
    across: Tensor
    first: Tensor
    missing: Tensor

    def __init__(self, sizes: Sequence[int], hidden: int, generator: torch.Generator | None = None):
        self.sizes = tuple(sizes)
        most = max(self.sizes)
        missing = torch.tensor(self.sizes)
        allowed = torch.arange(most + 1) < missing[:, None]  # (D, k)
        row = Finite(tuple(range(most + 1)), (len(self.sizes),), allowed[None])
        super().__init__(Variable("row", row))
        self.hidden = hidden
        width = sum(self.sizes) + len(self.sizes)  # one literal more a column: missing
        starts = [0]
        for size in self.sizes:
            starts.append(starts[-1] + size + 1)
        self.starts = starts
        self.single = nn.Parameter(torch.zeros(width))
        self.pairs = nn.Parameter(torch.zeros(width, width))
        self.inward = nn.Parameter(WIDTH * torch.randn(width, hidden, generator=generator))
        self.shift = nn.Parameter(torch.zeros(hidden))
        self.outward = nn.Parameter(torch.zeros(hidden))
        self.register_buffer("temperature", torch.ones(()))
        owner = torch.repeat_interleave(
            torch.arange(len(self.sizes)), torch.tensor(self.sizes, dtype=torch.long) + 1
        )
        across = (owner[:, None] != owner[None, :]).float()
        self.register_buffer("across", across, persistent=False)
        self.register_buffer("first", torch.tensor(starts[:-1]), persistent=False)
        self.register_buffer("missing", missing, persistent=False)

    @property
    def width(self) -> int:
        """Literals of all columns, missing cells among them."""
        return self.starts[-1]

    def places(self, codes: Tensor) -> Tensor:
        """Rows of codes as decided states; -1 is missing. (B, D) -> (B, D) int64"""
        return torch.where(codes < 0, self.missing, codes)

    def literals(self, row: Tensor) -> Tensor:
        """Decided states as literals; beyond the values of a column is missing. (B, D) ->
        (B, width)"""
        at = torch.minimum(row, self.missing) + self.first
        return self.single.new_zeros(len(row), self.width).scatter_(1, at, 1.0)

    def energy(self, row: Tensor) -> Tensor:  # (B, D, k) -> (B,)
        place = torch.arange(row.shape[-1], device=row.device)
        at = torch.minimum(place, self.missing[:, None]) + self.first[:, None]  # (D, k)
        x = row.new_zeros(len(row), self.width).index_add(1, at.flatten(), row.flatten(1))
        return self.of_literals(x.to(self.single.dtype))

    def cost(self, row: Tensor) -> Tensor:  # (B, D) -> (B,)
        return self.of_literals(self.literals(row))

    def changes(self, sites: Tensor, row: Tensor) -> Tensor:  # (m, 2), (B, D) -> (B, m, k)
        x, place = self.literals(row), torch.arange(max(self.sizes) + 1, device=row.device)
        none = x.new_zeros(len(row), 0, len(place), dtype=torch.float64)
        out = []
        for d in sites[:, 1].tolist():
            each = -self.column(x, d).double()
            stands = row[:, d : d + 1].clamp(max=self.sizes[d])
            out.append((each - each.gather(1, stands))[:, place.clamp(max=self.sizes[d])])
        return torch.stack(out, 1) if out else none

    def of_literals(self, x: Tensor) -> Tensor:
        """U / temperature of literals, or of distributions over them. (B, width) -> (B,)"""
        linear = x @ self.single
        paired = ((x @ self._couplings()) * x).sum(-1) / 2
        hidden = silu(x @ self.inward + self.shift) @ self.outward
        return -(linear + paired + hidden) / self.temperature

    def logits(self, codes: Tensor, column: int) -> Tensor:
        """-energy of rows of codes with each value in a column, up to what is the same for all of
        them. (B, D) -> (B, K) float64"""
        at = torch.tensor([[0, column]], device=codes.device)
        return -self.changes(at, self.places(codes))[:, 0, : self.sizes[column]]

    def column(self, x: Tensor, column: int) -> Tensor:
        """-energy of literals with each value in a column, the missing one last, up to what is the
        same for all of them. (B, width) -> (B, K + 1)"""
        start, end = self.starts[column], self.starts[column + 1]
        own = slice(start, end)
        couplings = self._couplings(own)
        out = self.single[own] + x @ couplings
        rest = x @ self.inward - x[:, start:end] @ self.inward[start:end] + self.shift
        hidden = silu(rest[:, None] + self.inward[own]) @ self.outward
        return (out + hidden) / self.temperature

    @torch.no_grad()
    def stand_alone(self, column: int, chances: Tensor) -> None:
        """Cuts a column from all others: its values have these chances, whatever the others hold.

        To hidden units it then says the same whatever it holds, what it said on average.
        chances (K,), each above 0.
        """
        own = slice(self.starts[column], self.starts[column + 1])
        values = slice(own.start, own.stop - 1)
        self.pairs[own] = 0
        self.pairs[:, own] = 0
        self.inward[own] = chances.to(self.inward.dtype) @ self.inward[values]
        self.single[values] = chances.log().to(self.single.dtype) * self.temperature

    def _couplings(self, own: slice | None = None) -> Tensor:
        """What pairs of literals of different columns add; symmetric. -> (width, width or K)"""
        if own is None:
            return (self.pairs + self.pairs.T) / 2 * self.across
        return (self.pairs[:, own] + self.pairs[own].T) / 2 * self.across[:, own]


def fitted_temperature(logits: Sequence[tuple[Tensor, Tensor]]) -> float:
    """The temperature of least -ln p on held-out cells: [((N, K) logits, (N,) codes), ...].

    In place of codes there may be (N, K) chances. Its logarithm has a normal prior around 0, so
    that few cells do not lead far from 1.
    """
    low, high = math.log(0.2), math.log(5.0)

    def loss(log: float) -> float:
        losses = [
            nn.functional.cross_entropy(z.double() / math.exp(log), y, reduction="sum")
            for z, y in logits
        ]
        return float(sum(losses)) + (log / PRIOR) ** 2 / 2

    ratio = (math.sqrt(5) - 1) / 2  # golden section: the loss is convex in 1 / temperature
    a, b = high - ratio * (high - low), low + ratio * (high - low)
    left, right = loss(a), loss(b)
    for _ in range(30):
        if left < right:
            high, b, right = b, a, left
            a = high - ratio * (high - low)
            left = loss(a)
        else:
            low, a, left = a, b, right
            b = low + ratio * (high - low)
            right = loss(b)
    return math.exp((low + high) / 2)
