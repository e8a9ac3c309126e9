"""How well parallel chains mixed: split R-hat and the effective number of independent draws.

Each chain is cut in halves; with W the variance inside the halves, B the variance of their means,
n draws in each and V = (n - 1) W / n + B, R-hat = sqrt(V / W), and M halves are worth M V / B
independent draws. Both come from means alone, so that draws may be missing.
Source: Gelman et al., Bayesian Data Analysis, 3rd edition, 2013, section 11.4.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

SMALL = 1e-12  # relative variance that counts as none


@dataclass(frozen=True)
class Mixing:
    """Of one variable: the worst of all its sites and values."""

    variable: str
    r_hat: float | None  # 1 is best, above 1.05 is poor; None: the chains stand still, apart
    effective: float  # independent draws that those recorded are worth, at most their number; 0
    # where nothing can be told


def mixing(records: Mapping[str, Tensor], valid: Tensor) -> tuple[Mixing, ...]:
    """How the chains mixed. records {name: (K, P, *event)}, valid (K, P) bool: what counts"""
    half = len(valid) // 2
    if half == 0:
        return tuple(Mixing(name, None, 0.0) for name in records)
    out = []
    for name, record in records.items():
        flat = record[: 2 * half].double().reshape(*valid[: 2 * half].shape, -1)  # (2 half, P, F)
        halves = flat.unflatten(0, (2, half)).transpose(1, 2).flatten(0, 1)  # (2P, half, F)
        counts = valid[: 2 * half].unflatten(0, (2, half)).transpose(1, 2).flatten(0, 1)
        out.append(Mixing(name, *_worst(halves, counts)))
    return tuple(out)


def _worst(halves: Tensor, valid: Tensor) -> tuple[float | None, float]:
    """R-hat and effective draws of the worst feature. (M, n, F), (M, n)"""
    total = float(valid.sum())
    kept = valid.sum(1) >= 2
    if int(kept.sum()) < 2:
        return None, 0.0
    x, w = halves[kept], valid[kept].double()[..., None]
    n = w.sum(1)  # (M, 1)
    mean = (x * w).sum(1) / n  # (M, F)
    inside = (((x - mean[:, None]).square() * w).sum(1) / (n - 1)).mean(0)  # (F,)
    between = mean.var(0)
    typical = len(n) / (1 / n).sum()  # harmonic mean: variances of means add up as 1 / n
    whole = (typical - 1) / typical * inside + between
    scale = mean.square().mean(0) + whole
    moves = whole > SMALL * scale  # a site that rules leave one value mixes by itself
    if not bool(moves.any()):
        return 1.0, total
    inside, between, whole = inside[moves], between[moves], whole[moves]
    r_hat = float((whole / inside).sqrt().max())
    if not math.isfinite(r_hat):
        return None, 0.0
    return r_hat, min(total, float((len(n) * whole / between).min()))
