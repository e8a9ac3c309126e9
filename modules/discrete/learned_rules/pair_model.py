"""Energies of couplings between pairs of sites, as they are trained on solved examples.

    E(x) = sum over relations c and pairs {i, j} of c of x_i' W_c x_j

Rows of x are one-hot; a zero row is a site that is hidden, or that a smaller board does not have.
W_c is a multiple of the unit matrix where values are alike. Affine in each site.
"""

import numpy as np
import torch
from torch import Tensor, nn

from engine.decimals import Floats
from engine.domain import Finite, Real, State, Variable
from engine.energy import Term
from modules.discrete.learned_rules.examples import Solved
from modules.discrete.learned_rules.relations import all_pairs, pairs_of


class RelationCouplings(Term):
    """One table a relation, for boards of several sizes and lines.

    The second variable says for each example which board it is on: a place in `near`.
    """

    def __init__(self, solved: Solved, alike: bool):
        k, n = len(solved.values), max(board.sites for board in solved.boards)
        boards = Variable("board", Real((1,), 0.0, float(len(solved.boards))))
        super().__init__(Variable("x", Finite(solved.values, (n,))), boards)
        near = torch.zeros(len(solved.boards), len(solved.relations), n, n)
        for b, board in enumerate(solved.boards):
            for c, name in enumerate(solved.relations):
                one, other = torch.from_numpy(pairs_of(board.lines[name])).T
                near[b, c, one, other] = near[b, c, other, one] = 1
        self.register_buffer("near", near, persistent=False)  # (boards, C, n, n)
        self.near: Tensor
        self.alike = alike
        size = (len(solved.relations), 1) if alike else (len(solved.relations), k, k)
        self.weights = nn.Parameter(torch.zeros(size))

    def energy(self, x: Tensor, board: Tensor) -> Tensor:  # (B, n, k), (B, 1) -> (B,)
        met = self.near[board[:, 0].long()] @ x[:, None]  # (B, C, n, k) values around each site
        if self.alike:
            return 0.5 * ((met * x[:, None]).sum((-1, -2)) * self.weights[:, 0]).sum(-1)
        both = self.weights + self.weights.transpose(-1, -2)
        return 0.25 * ((met @ both) * x[:, None]).sum((-1, -2, -3))

    def couplings(self) -> Floats:
        """(C, 1) where values are alike, else (C, k, k), symmetric."""
        w = self.weights.detach().double()
        return (w if self.alike else (w + w.transpose(-1, -2)) / 2).numpy()


class PairCouplings(Term):
    """One table for every pair of sites."""

    def __init__(self, solved: Solved, alike: bool):
        n, k = solved.boards[0].sites, len(solved.values)
        super().__init__(Variable("x", Finite(solved.values, (n,))))
        self.one, self.other = torch.from_numpy(all_pairs(n)).T
        self.alike = alike
        self.weights = nn.Parameter(torch.zeros(len(self.one), *((1,) if alike else (k, k))))

    def energy(self, x: Tensor) -> Tensor:  # (B, n, k) -> (B,)
        n, k = x.shape[1:]
        if self.alike:
            w = x.new_zeros(n, n).index_put((self.one, self.other), self.weights[:, 0])
            return ((w @ x) * x).sum((-1, -2))
        w = x.new_zeros(n, n, k, k).index_put((self.one, self.other), self.weights)
        flat = x.flatten(1)  # (B, n k)
        return ((flat @ w.transpose(1, 2).reshape(n * k, n * k)) * flat).sum(-1)

    def couplings(self) -> Floats:
        """(P, 1) where values are alike, else (P, k, k)."""
        return self.weights.detach().double().numpy()


def couplings_of(solved: Solved, alike: bool) -> RelationCouplings | PairCouplings:
    """The untrained energy for these examples: all couplings 0."""
    if solved.relations:
        return RelationCouplings(solved, alike)
    return PairCouplings(solved, alike)


def states(solved: Solved) -> State:
    """The examples as states of that energy, smaller boards filled up with zero rows.

    -> {"x": (N, n, k)}, and with relations {"board": (N, 1)}
    """
    n, k = max(board.sites for board in solved.boards), len(solved.values)
    rows, places = [], []
    for b, board in enumerate(solved.boards):
        hot = np.eye(k, dtype=np.float32)[board.places]
        rows.append(np.pad(hot, ((0, 0), (0, n - board.sites), (0, 0))))
        places.append(np.full((len(hot), 1), b, dtype=np.float32))
    x = torch.from_numpy(np.concatenate(rows))
    if not solved.relations:
        return {"x": x}
    return {"x": x, "board": torch.from_numpy(np.concatenate(places))}
