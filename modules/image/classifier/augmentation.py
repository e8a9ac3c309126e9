"""Pictures as other hands would have written them: moved, turned, slanted, bent, thick or thin.

    x'(p) = x(A p + t + d(p))

A: rotation, scale of each axis, shear; t: a shift; d: a smooth random field (Simard, Steinkraus,
Platt, "Best practices for convolutional neural networks applied to visual document analysis", ICDAR
2003). Then strokes are mixed with their dilation or erosion.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample, interpolate, max_pool2d

from engine.random import Stream

COARSE = 6  # points a side of the bending field


@dataclass(frozen=True)
class Augmentation:
    """How far pictures are changed, uniformly up to each; 0 leaves that out."""

    turn: float = 0.22  # radians
    scale: float = 0.16  # of each axis
    shear: float = 0.18
    shift: float = 0.16  # of half the side
    bend: float = 0.035  # standard deviation of the field, of half the side
    stroke: float = 0.6  # share of the dilated or eroded picture, in half of the pictures

    def __call__(self, x: Tensor, rng: Stream) -> Tensor:
        """(n, 1, s, s) in [0, 1] -> same"""
        n = len(x)
        u = 2 * rng.fork(0).uniform(n, 8) - 1
        grid = affine_grid(self._matrix(u), list(x.shape), align_corners=False)
        if self.bend:
            field = self.bend * rng.fork(1).normal(n, 2, COARSE, COARSE)
            size = x.shape[2:]
            smooth = interpolate(field, size, mode="bicubic", align_corners=True)
            grid = grid + smooth.movedim(1, 3)
        return self._stroked(grid_sample(x, grid, align_corners=False), u[:, 6], u[:, 7])

    def _matrix(self, u: Tensor) -> Tensor:
        """Where each picture is looked up. (n, 8) -> (n, 2, 3)"""
        turn, shear = self.turn * u[:, 0], self.shear * u[:, 1]
        wide, high = 1 + self.scale * u[:, 2], 1 + self.scale * u[:, 3]
        c, s = turn.cos(), turn.sin()
        first = torch.stack([c * wide, (shear * c - s) * high, self.shift * u[:, 4]], 1)
        second = torch.stack([s * wide, (shear * s + c) * high, self.shift * u[:, 5]], 1)
        return torch.stack([first, second], 1)

    def _stroked(self, x: Tensor, which: Tensor, share: Tensor) -> Tensor:
        """A quarter of the pictures with thicker strokes, a quarter with thinner ones."""
        if not self.stroke:
            return x
        part = self.stroke * share.abs()[:, None, None, None]
        thick, thin = max_pool2d(x, 3, 1, 1), -max_pool2d(-x, 3, 1, 1)
        which = which[:, None, None, None]
        x = torch.where(which > 0.5, x + part * (thick - x), x)
        return torch.where(which < -0.5, x + part * (thin - x), x)
