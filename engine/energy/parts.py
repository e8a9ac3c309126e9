"""Required terms by part: what each line, clause, edge or time step is violated by."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

SLIGHT, SHARE, ROUNDED = 1e-8, 1e-2, 4  # see `fineness`


class Totals(NamedTuple):
    """What states come to."""

    energy: Tensor  # (B,) float64 of the weighted terms
    violation: Tensor  # (B,) float64 of the required ones


class ByPart(NamedTuple):
    """What states come to, the required terms part by part."""

    energy: Tensor  # (B,) float64 of the weighted terms
    violation: Tensor  # (B,) float64 of the required ones: `parts` summed, but for what is spared
    parts: Tensor  # (B, m) float64, those of the first required term, then of the next


class Constraints(NamedTuple):
    """What states come to, the required terms as numbers that must lie between edges."""

    energy: Tensor  # (B,) float64 of the weighted terms
    violation: Tensor  # (B,) float64 of the required ones
    values: Tensor  # (B, n) float64, entries of residuals; parts of the terms that have none. No
    # tolerance spares any
    low: Tensor  # (B, n) where these must lie: 0 and 0 for such
    high: Tensor  # (B, n)
    fine: Tensor  # (n,) what is off by no more, of numbers up to 1, is off by rounding: `fineness`


def fineness(dtype: torch.dtype, allowed: float) -> float:
    """How closely a number can be met: to SLIGHT, or to SHARE of what a tolerance allows if that is
    less, but to no fewer than the last ROUNDED units that it is computed in."""
    return max(min(SLIGHT, SHARE * allowed), ROUNDED * torch.finfo(dtype).eps)


def spared(parts: Tensor, tolerance: float) -> Tensor:
    """The parts of one term: 0 where together they are at most its tolerance, and each that is at
    most its share of that; so all of them are 0 just where `within` is. (B, m) -> (B, m)"""
    little = parts.sum(1, keepdim=True) <= tolerance
    return torch.where(little | (parts <= tolerance / max(1, parts.shape[1])), 0.0, parts)


def within(violation: Tensor, tolerance: float) -> Tensor:
    """What a required term is violated by, 0 where that is at most its tolerance."""
    return torch.where(violation <= tolerance, 0.0, violation)


def side_by_side(energy: Tensor, every: Sequence[Tensor], tolerances: Sequence[float]) -> ByPart:
    """The parts of several required terms, (B, m) each, beside the energy of the others, (B,)."""
    violation, columns = torch.zeros_like(energy), [energy.new_zeros(len(energy), 0)]
    for parts, tolerance in zip(every, tolerances, strict=True):
        violation = violation + within(parts.sum(1), tolerance)
        columns.append(spared(parts, tolerance))
    return ByPart(energy, violation, torch.cat(columns, 1))
