"""Pictures as the network sees them: light strokes on black, from 0 to 1, of one size.

Nothing depends on the scale of the numbers (0 to 1, 0 to 16, 0 to 255, 0 to 65,535), on dark
strokes on light paper or the other way round, nor on the size.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

Ink = Literal["dark", "light"]
FLAT = 1e-6  # a picture whose numbers differ by a smaller share of the largest has no strokes


def prepared(pictures: Tensor, side: int, ink: Ink | None = None) -> Tensor:
    """Pictures of any size as light on black, squared up and resized.

    ink: whether strokes are dark or light; None: told by the frame of each picture, its outermost
    pixels, which are taken for paper. (n, h, w) -> (n, 1, side, side) float32 in [0, 1]
    """
    x = pictures.detach().to(torch.float64 if pictures.dtype == torch.float64 else torch.float32)
    if not len(x):
        return x.new_zeros(0, 1, side, side, dtype=torch.float32)
    least, most = x.amin((1, 2)), x.amax((1, 2))
    span = most - least
    plain = span <= FLAT * torch.maximum(least.abs(), most.abs())
    x = (x - least[:, None, None]) / torch.where(plain, 1.0, span)[:, None, None]
    x[plain] = 0.0
    dark = _dark_strokes(x) if ink is None else torch.full((len(x),), ink == "dark")
    x = torch.where((dark.to(x.device) & ~plain)[:, None, None], 1.0 - x, x).float()
    return resized(squared(x), side)[:, None]


def _dark_strokes(x: Tensor) -> Tensor:
    """Whether the frame of pictures is light. (n, h, w) in [0, 1] -> (n,) bool"""
    if min(x.shape[1:]) < 3:
        return x.flatten(1).median(1).values > 0.5
    frame = torch.cat([x[:, 0], x[:, -1], x[:, 1:-1, 0], x[:, 1:-1, -1]], 1)
    return frame.median(1).values > 0.5


def squared(x: Tensor) -> Tensor:
    """Pictures on a square of black, in its middle. (n, h, w) -> (n, s, s)"""
    high, wide = x.shape[1:]
    if high == wide:
        return x
    more, less = max(high, wide), min(high, wide)
    before = (more - less) // 2
    after = more - less - before
    return pad(x, (before, after, 0, 0) if wide < high else (0, 0, before, after))


def resized(x: Tensor, side: int) -> Tensor:
    """Square pictures of another size, smoothed where they shrink. (n, s, s) -> (n, side, side)"""
    if x.shape[1] == side:
        return x
    shape = (side, side)
    return interpolate(x[:, None], shape, mode="bilinear", antialias=True)[:, 0].clamp(0.0, 1.0)


def framed(strokes: Tensor, side: int = 28, box: int = 20, ink: float = 0.2) -> Tensor:
    """One piece of handwriting as MNIST frames it: cut to its ink, fitted into a box of `box`
    pixels, its centre of mass in the middle of the picture. Light on black, in [0, 1]; pixels above
    `ink` count. (h, w) -> (side, side)
    """
    out = strokes.new_zeros(side, side)
    rows = (strokes > ink).any(1).nonzero()[:, 0]
    columns = (strokes > ink).any(0).nonzero()[:, 0]
    if not len(rows):
        return out
    cut = strokes[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    share = box / max(cut.shape)
    high, wide = (max(1, round(share * n)) for n in cut.shape)
    small = interpolate(cut[None, None], (high, wide), mode="bilinear", antialias=True)[0, 0]
    mass = small.sum()
    row = float((small.sum(1) * torch.arange(high)).sum() / mass)
    column = float((small.sum(0) * torch.arange(wide)).sum() / mass)
    top = min(max(0, round((side - 1) / 2 - row)), side - high)
    left = min(max(0, round((side - 1) / 2 - column)), side - wide)
    out[top : top + high, left : left + wide] = small.clamp(0.0, 1.0)
    return out
