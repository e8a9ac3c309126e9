"""Pictures of nothing, for the label `none`: noise fine and coarse, of even and of few values."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from engine.random import Stream

NONE = "none"  # a label that no value may have: what shows no other label
KINDS = 4


def nothing(count: int, high: int, wide: int, rng: Stream) -> Tensor:
    """So many of them. -> (count, high, wide) in [0, 1]"""
    u = rng.fork(0).uniform(count, 1, high, wide)
    coarse = rng.fork(1).uniform(count, 1, (high + 1) // 2, (wide + 1) // 2)
    smooth = interpolate(coarse, (high, wide), mode="bilinear", align_corners=False)
    ink = rng.fork(2).uniform(count, 1, 1, 1)  # the share of paper, in noise of two values
    power = 1 + 3 * ink  # from as much ink as paper to little ink
    every = [u, u**power, (u > 0.4 + 0.5 * ink).to(u.dtype), smooth**power]
    kind = torch.arange(count) % KINDS
    return torch.stack(every, 1)[torch.arange(count), kind][:, 0]
