"""Characters seen several times, a little turned, slanted and stretched: chances are their mean.

    p(label | x) = mean over views v of p(label | v(x))

What a network is sure of is seen once, and so is what it takes for no character, or what matters
little; another character that it doubts is seen in every view.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

SURE = 0.98  # the chance from which a character is seen once
VIEWS = (  # turned by radians, slanted, wider, higher
    (0.12, 0.0, 1.0, 1.0),
    (-0.12, 0.0, 1.0, 1.0),
    (0.0, 0.12, 1.0, 1.0),
    (0.0, -0.12, 1.0, 1.0),
    (0.0, 0.0, 1.1, 1.0),
    (0.0, 0.0, 1.0, 1.1),
)


def seen_often(
    log_chances: Callable[[Tensor], Tensor],
    pictures: Tensor,
    none: int | None = None,
    matters: Callable[[Tensor], Tensor] | None = None,
) -> Tensor:
    """ln of the mean chances; none: which label is that of no character; matters: which pictures
    do, told what they look like at first, (n, k) -> (n,) bool. (n, h, w) -> (n, k)"""
    once = log_chances(pictures)
    most, which = once.max(1)
    doubt = most < torch.tensor(SURE, dtype=once.dtype).log()
    doubt = doubt if none is None else doubt & (which != none)
    doubted = (doubt if matters is None else doubt & matters(once)).nonzero()[:, 0]
    if not len(doubted):
        return once
    some = pictures[doubted]
    more = log_chances(torch.cat([seen(some, *view) for view in VIEWS]))
    every = torch.cat([once[doubted][None], more.reshape(len(VIEWS), len(some), -1)])
    out = once.clone()
    out[doubted] = every.logsumexp(0) - torch.tensor(len(every), dtype=once.dtype).log()
    return out


def seen(pictures: Tensor, turn: float, slant: float, wide: float, high: float) -> Tensor:
    """Pictures in one view. (n, h, w) -> same"""
    t = torch.tensor(turn)
    c, s = float(t.cos()), float(t.sin())
    matrix = torch.tensor(
        [[c / wide, (slant * c - s) / high, 0], [s / wide, (slant * s + c) / high, 0]]
    )
    size = [len(pictures), 1, *pictures.shape[1:]]
    grid = affine_grid(
        matrix.expand(len(pictures), 2, 3).to(pictures.dtype), size, align_corners=False
    )
    return grid_sample(pictures[:, None], grid, align_corners=False)[:, 0]
