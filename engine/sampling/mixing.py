"""How well parallel chains mixed: split R-hat and the effective number of independent draws.

Each chain is cut in halves; with W the variance inside the halves, B the variance of their means,
n draws in each and V = (n - 1) W / n + B, R-hat = sqrt(V / W), and M halves are worth M V / B
independent draws. Both come from means alone, so that draws may be missing. Numbers are replaced
by the normal scores of their ranks, and of the ranks of their distances from the median, so that
chains which differ in scale, or have no variance, are seen too; the worst counts. Chains that
disagree are worth nothing: M stuck chains would pass as M draws, from wherever they got stuck.
Sources: Gelman et al., Bayesian Data Analysis, 3rd edition, 2013, section 11.4; Vehtari, Gelman,
Simpson, Carpenter, Buerkner, Bayesian Analysis 2021 (ranks, folding).
"""

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from engine.domain import one_hot
from engine.sampling.samples import MIXED, Mixing

PIECE = 1 << 20  # indicators of values looked at in one go
SMALL = 1e-12  # relative variance that counts as none


def mixing(records: Mapping[str, Tensor], valid: Tensor) -> tuple[Mixing, ...]:
    """How the chains mixed. records {name: (K, P, *shape)} decided, valid (K, P) bool: what counts.
    A finite site is looked at value by value."""
    half = len(valid) // 2
    if half == 0:
        return tuple(Mixing(name, None, 0.0) for name in records)
    valid = valid[: 2 * half]
    counts = valid.unflatten(0, (2, half)).transpose(1, 2).flatten(0, 1)
    out = []
    for name, record in records.items():
        flat = record[: 2 * half].reshape(*valid.shape, -1)
        each = []
        for part in _features(flat, valid):  # (2 half, P, F)
            halves = part.unflatten(0, (2, half)).transpose(1, 2).flatten(0, 1)  # (2P, half, F)
            each.append(_worst(halves, counts))
        worst = [r_hat for r_hat, _ in each if r_hat is not None]
        stuck = len(worst) < len(each)
        effective = min(number for _, number in each)
        if stuck or max(worst) > MIXED:
            effective = 0.0
        out.append(Mixing(name, None if stuck else max(worst), effective))
    return tuple(out)


def _features(flat: Tensor, valid: Tensor) -> Iterator[Tensor]:
    """What is held against each other, in pieces: whether a finite site has each value, the scores
    of a real one. (K, P, n) -> (K, P, F) float64"""
    if flat.is_floating_point():
        flat = flat.double()
        two = bool(((flat == 0) | (flat == 1)).all())  # their ranks say the same as they
        yield flat if two else _scores(flat, valid)
        return
    most = int(flat.max()) + 1 if flat.numel() else 1  # values that never stand say nothing
    for part in flat.split(max(1, PIECE // max(1, valid.numel() * most)), -1):
        yield one_hot(part, most, torch.float64).flatten(2)


def _scores(x: Tensor, valid: Tensor) -> Tensor:
    """Normal scores of ranks, and of ranks of distances from the median. (K, P, F) -> (K, P, 2F)"""
    if not bool(valid.any()):
        return x
    kept = x[valid].T.contiguous()  # (F, S)
    far = (kept - kept.median(1, keepdim=True).values).abs()
    out = x.new_zeros(*valid.shape, 2 * len(kept))
    out[valid] = torch.cat([_ranked(kept), _ranked(far)]).T
    return out


def _ranked(x: Tensor) -> Tensor:
    """The normal scores of mean ranks. (F, S) -> same"""
    ordered = x.sort(1).values
    below = torch.searchsorted(ordered, x)
    upto = torch.searchsorted(ordered, x, right=True)
    rank = (below + upto + 1) / 2
    share = (rank.double() - 0.375) / (x.shape[1] + 0.25)
    return torch.special.ndtri(share)


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
    if r_hat > MIXED:
        return r_hat, 0.0
    return r_hat, min(total, float((len(n) * whole / between).min()))
