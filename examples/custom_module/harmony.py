"""A module of one's own: people who sit side by side should be of like mind."""

import torch
from torch import Tensor

from engine import Finite, Term, Variable


class Harmony(Term):
    """E = sum over neighbouring seats of a round table of (difference of opinion)^2."""

    affine = False  # squares

    def __init__(self, seat: Variable, opinions: list[float]):
        super().__init__(seat)
        self.opinions = opinions

    def energy(self, seat: Tensor) -> Tensor:  # (B, guests, seats) -> (B,)
        opinion = torch.einsum("bgs,g->bs", seat, seat.new_tensor(self.opinions))
        return (opinion - opinion.roll(1, 1)).square().sum(1)

    def floor(self) -> float:
        return 0.0

    @classmethod
    def example(cls) -> "Harmony":  # what `basin check harmony.py` tries the laws on
        return cls(Variable("seat", Finite((1, 2, 3), (3,))), [0.5, 0.1, 0.8])
