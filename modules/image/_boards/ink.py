"""Ink on paper: pictures as arrays of ink, and the connected pieces that ink falls into."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from engine.decimals import Floats, Ints

INK = 0.35  # from which a pixel counts as ink
FLAT = 0.05  # a picture whose numbers differ by less, of the largest, shows nothing


class Piece(NamedTuple):
    """One connected piece of ink: where it stands, and its pixels."""

    top: int
    left: int
    mask: np.ndarray  # (h, w) bool

    @property
    def bottom(self) -> int:
        return self.top + self.mask.shape[0]

    @property
    def right(self) -> int:
        return self.left + self.mask.shape[1]

    @property
    def area(self) -> int:
        return int(self.mask.sum())


def inked(picture: Floats) -> Floats:
    """A grey picture as ink from 0 (paper) to 1: what most of it shows is paper, light or dark.

    Contrast is stretched; a flat picture has no ink. (h, w) -> (h, w) float32
    """
    x = np.asarray(picture)
    least, most = float(x.min()), float(x.max())
    if most - least <= FLAT * max(abs(least), abs(most)):
        return np.zeros(x.shape, np.float32)
    light = 2 * np.count_nonzero(x > (least + most) / 2) > x.size
    paper, ink = (most, least) if light else (least, most)
    out = np.subtract(x, paper, dtype=np.result_type(x, np.float32))
    out /= ink - paper
    return out.astype(np.float32, copy=False)


def pieces_of(mask: np.ndarray) -> list[Piece]:
    """The pieces of a mask that touch, corners too, from left to right. (h, w) bool"""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return []
    first, before = int(rows[0]), int(columns[0])
    begin, end, row = _runs(mask[first : rows[-1] + 1, before : columns[-1] + 1])
    parent = _joined(begin, end, row)
    out = []
    for root in np.unique(parent):
        own = np.flatnonzero(parent == root)
        top, bottom = int(row[own[0]]), int(row[own[-1]]) + 1
        left, right = int(begin[own].min()), int(end[own].max())
        inside = np.zeros((bottom - top, right - left), bool)
        for k in own.tolist():
            inside[row[k] - top, begin[k] - left : end[k] - left] = True
        out.append(Piece(first + top, before + left, inside))
    return sorted(out, key=lambda p: (p.left + p.right, p.top))


def _runs(mask: np.ndarray) -> tuple[Ints, Ints, Ints]:
    """The runs of ink in the rows of a mask: first column, column behind, row; row by row."""
    high, wide = mask.shape
    padded = np.zeros((high, wide + 2), np.int8)
    padded[:, 1:-1] = mask
    edges = np.diff(padded, axis=1)
    row, begin = np.nonzero(edges == 1)
    _, end = np.nonzero(edges == -1)
    return begin, end, row


def _joined(begin: Ints, end: Ints, row: Ints) -> Ints:
    """The first run of the piece that each run belongs to. (m,) -> (m,)"""
    parent = list(range(len(row)))

    def root(k: int) -> int:
        while parent[k] != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    first, last, rows = begin.tolist(), end.tolist(), row.tolist()
    above, here = 0, 0
    for k in range(len(rows)):
        if k and rows[k] != rows[k - 1]:
            above, here = (here, k) if rows[k] == rows[k - 1] + 1 else (k, k)
        j = above
        while j < here:
            if first[j] <= last[k] and first[k] <= last[j]:  # corners touch, too
                a, b = root(j), root(k)
                parent[max(a, b)] = min(a, b)
            j += 1
    return np.array([root(k) for k in range(len(rows))], dtype=np.int64)


def resized(x: Floats, high: int, wide: int) -> Floats:
    """A picture of another size; each new pixel is the mean of what it covers. (h, w) -> (high,
    wide)"""
    return _shares(x.shape[0], high) @ x @ _shares(x.shape[1], wide).T


@lru_cache(maxsize=256)
def _shares(old: int, new: int) -> Floats:
    """How much each old pixel takes part in each new one. -> (new, old), which nobody changes"""
    if old >= new:
        edges = np.arange(new + 1) * (old / new)
        low, high = edges[:-1, None], edges[1:, None]
        at = np.arange(old)
        share = np.minimum(high, at + 1) - np.maximum(low, at)
        out = np.clip(share, 0, None) * (new / old)
    else:
        centre = (np.arange(new) + 0.5) * (old / new) - 0.5
        at = np.clip(centre, 0, old - 1)
        out = np.clip(1 - np.abs(at[:, None] - np.arange(old)), 0, None)
    out.setflags(write=False)
    return out


def framed(ink: Floats, side: int = 28, box: int = 20) -> np.ndarray:
    """A character as MNIST frames it: its longer side fits a box, its centre of mass the middle.

    ink (h, w), cut to what it shows -> (side, side) float32
    """
    share = box / max(ink.shape)
    high, wide = (max(1, round(share * n)) for n in ink.shape)
    small = resized(ink, high, wide)
    top_of = small.max(initial=1e-9)
    small = np.clip(small / top_of, 0, 1)
    mass = small.sum() + 1e-9
    row = float((small.sum(1) * (np.arange(high) + 0.5)).sum() / mass)
    column = float((small.sum(0) * (np.arange(wide) + 0.5)).sum() / mass)
    out = np.zeros((side, side), np.float32)
    top = min(max(0, round(side / 2 - row)), side - high)
    left = min(max(0, round(side / 2 - column)), side - wide)
    out[top : top + high, left : left + wide] = small
    return out
