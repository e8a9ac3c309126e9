"""When the tests of contracts call two numbers the same."""

import math

import torch
from torch import Tensor

NEAR = 1e-5  # relative; states are float32


def all_near(a: Tensor, b: Tensor) -> bool:
    a, b = a.double(), b.double()
    near = (a - b).abs() <= NEAR * (1 + b.abs())
    return bool(((a == b) | (near & a.isfinite() & b.isfinite())).all())


def bits_of(x: Tensor) -> Tensor:
    """Float64 numbers as whole ones: -0.0 is not 0.0."""
    return x.contiguous().view(torch.int64)


def near(a: float, b: float) -> bool:
    return a == b or (math.isfinite(a + b) and abs(a - b) <= NEAR * (1 + abs(b)))


def first_of(mask: Tensor) -> int:
    """The first state where something is so."""
    return int(mask.nonzero()[0, 0]) if mask.any() else 0
