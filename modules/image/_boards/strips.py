"""Strips: what stands in a cell, cut to its ink, and how it may fall into characters.

A strip is cut into *parts*: its pieces of ink, wide ones also at columns that little ink crosses,
as characters may touch. A *segmentation* groups parts that stand side by side into characters; its
price grows with what speaks against it: parts apart in one character, a cut through ink.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from engine.decimals import Floats
from modules.image._boards.ink import INK, Piece, framed, pieces_of, resized
from modules.image._boards.seams import Seam, seams_of

HIGH = 32  # pixels of a strip
SPECK = 0.0004  # of a cell, below which a piece of ink is dirt
DUST = 0.03  # of the largest piece
EDGE = 0.3  # of the largest piece, below which what touches the edge of a cell belongs to a line
MOST = 8  # parts of a strip; beyond, the smallest are left out
JOINED = 4  # pieces of a character, where the strip has more
WIDEST = 1.7  # times the height of the strip's ink, of a character of several parts
WIDE = 0.75  # times that height, from which a piece may be several characters
NEAR = 0.2  # of that height, that cuts of a piece lie apart
DEEP = 0.25  # of that height, that a cut goes through ink
SLIM = 0.6  # of that height, how wide characters are that touch
CUTS = 2  # of a piece, for each border between so slim ones that it has room for; at least one
APART = (1.0, 8.0)  # price of parts in one character that stand apart: at all, for each height
BROAD = 8.0  # price of each height that a character is wider than the widest
WITHIN = 3.0  # price of a border between characters that overlap wholly
CUT = (1.0, 8.0)  # price of a cut: at all, for the share of the height that it goes through ink


class Part(NamedTuple):
    """A piece of ink, or what lies between two cuts of one."""

    piece: int
    left: int
    right: int
    mask: np.ndarray  # (h, w) bool, of the whole strip


class Segmentation(NamedTuple):
    """Characters, each a run of parts, and what speaks against it."""

    characters: tuple[int, ...]
    price: float


class Strip(NamedTuple):
    """The characters that a strip may show, and how they may follow each other."""

    pictures: Floats  # (m, 28, 28) of each character
    segmentations: tuple[Segmentation, ...]


def strip_of(cell: Floats, wide: int) -> npt.NDArray[np.float32] | None:
    """What stands in a cell, cut to its ink and scaled to `HIGH` x `wide`, from the left; None
    where nothing does. (h, w) -> (HIGH, wide) float32"""
    ink = cut_to_ink(cell)
    return None if ink is None else scaled(ink, wide)


def cut_to_ink(cell: Floats) -> Floats | None:
    """What stands in a cell, without dirt and remains of lines, cut to its ink; None where nothing
    does. (h, w) -> (h', w')"""
    pieces = _clean(pieces_of(cell > INK), cell.shape)
    if not pieces:
        return None
    kept = np.zeros(cell.shape, bool)
    for p in pieces:
        kept[max(0, p.top - 1) : p.bottom + 1, max(0, p.left - 1) : p.right + 1] = True
    top, bottom = min(p.top for p in pieces), max(p.bottom for p in pieces)
    left, right = min(p.left for p in pieces), max(p.right for p in pieces)
    return np.where(kept, cell, 0.0)[top:bottom, left:right]


def scaled(ink: Floats, wide: int) -> npt.NDArray[np.float32]:
    """Ink as a strip: as large as fits, from the left. (h, w) -> (HIGH, wide) float32"""
    share = min(HIGH / ink.shape[0], wide / ink.shape[1])
    high, across = (max(1, min(m, round(share * n))) for n, m in zip(ink.shape, (HIGH, wide)))
    out = np.zeros((HIGH, wide), np.float32)
    out[:high, :across] = resized(ink, high, across)
    return out


def _clean(pieces: Sequence[Piece], shape: tuple[int, int]) -> list[Piece]:
    """The pieces of a cell without dirt and remains of lines."""
    largest = max((p.area for p in pieces), default=0)
    high, wide = shape
    out = []
    for p in pieces:
        touches = p.top == 0 or p.left == 0 or p.bottom == high or p.right == wide
        least = max(SPECK * high * wide, (EDGE if touches else DUST) * largest)
        if p.area >= least:
            out.append(p)
    return out


def strip_read(strip: Floats) -> Strip:
    """The characters of a strip. (HIGH, wide) -> Strip; without ink it has no segmentation"""
    pieces = pieces_of(strip > INK)
    largest = max((p.area for p in pieces), default=0)
    pieces = [p for p in pieces if p.area >= DUST * largest]
    if not pieces:
        return Strip(np.zeros((0, 28, 28), np.float32), ())
    high = max(p.bottom for p in pieces) - min(p.top for p in pieces)
    parts, cuts = _parts(pieces, strip, high)
    count = len(parts)
    every = [(a, b) for a in range(count) for b in range(a + 1, count + 1)]
    runs = {run: k for k, run in enumerate(r for r in every if _may_join(parts, *r, high))}
    pictures = np.stack([_picture(strip, parts[a:b]) for a, b in runs])
    return Strip(pictures, tuple(_segmentations(parts, cuts, runs, high)))


def _may_join(parts: Sequence[Part], a: int, b: int, high: int) -> bool:
    """Whether parts may be one character: those of one piece, at any width; those of few pieces,
    or all there are, where they are not too wide."""
    count = len({p.piece for p in parts[a:b]})
    few = count <= JOINED or b - a == len(parts)
    return count == 1 or (few and _across(parts[a:b]) <= WIDEST * high)


def _across(parts: Sequence[Part]) -> int:
    return max(p.right for p in parts) - min(p.left for p in parts)


def _parts(
    pieces: Sequence[Piece], strip: Floats, high: int
) -> tuple[list[Part], dict[int, float]]:
    """The parts from left to right, and the price of the cut before a part, where there is one."""
    if len(pieces) > MOST:
        least = sorted((p.area for p in pieces), reverse=True)[MOST - 1]
        pieces = [p for p in pieces if p.area >= least][:MOST]
    parts: list[Part] = []
    cuts: dict[int, float] = {}
    for k, p in enumerate(pieces):
        seams = []
        if len(pieces) + len(cuts) < MOST and p.right - p.left >= WIDE * high:
            seams = _seams(p, strip, high)
        for j, seam in enumerate(seams):
            cuts[len(parts) + j + 1] = CUT[0] + CUT[1] * seam.ink / high
        parts += _cut(k, p, seams, strip.shape)
    return parts, cuts


def _seams(piece: Piece, strip: Floats, high: int) -> list[Seam]:
    """Where a wide piece may be cut."""
    box = slice(piece.top, piece.bottom), slice(piece.left, piece.right)
    borders = (piece.right - piece.left) / (SLIM * high) - 1
    most = max(1, round(CUTS * borders))
    return seams_of(strip[box] * piece.mask, max(2, round(NEAR * high)), most, DEEP * high)


def _cut(k: int, piece: Piece, seams: Sequence[Seam], shape: tuple[int, ...]) -> list[Part]:
    """What lies between the seams of a piece."""
    wide = piece.mask.shape[1]
    left = np.zeros(len(piece.mask), int)
    out = []
    for right in [*(seam.columns for seam in seams), np.full_like(left, wide)]:
        right = np.maximum(left, right)
        at = np.arange(wide)
        own = piece.mask & (at >= left[:, None]) & (at < right[:, None])
        filled = np.flatnonzero(own.any(0))
        mask = np.zeros(shape, bool)
        mask[piece.top : piece.bottom, piece.left : piece.right] = own
        out.append(Part(k, piece.left + int(filled[0]), piece.left + int(filled[-1]) + 1, mask))
        left = right
    return out


def _picture(strip: Floats, parts: Sequence[Part]) -> Floats:
    """The ink of some parts as one character. -> (28, 28)"""
    mask = np.logical_or.reduce([p.mask for p in parts])
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    return framed(np.where(_grown(mask), strip, 0.0)[box])


def _grown(mask: np.ndarray) -> np.ndarray:
    """A mask and the pixels beside it, where its soft edge lies."""
    out = mask.copy()
    out[1:] |= mask[:-1]
    out[:-1] |= mask[1:]
    out[:, 1:] |= mask[:, :-1]
    out[:, :-1] |= mask[:, 1:]
    return out


def _segmentations(
    parts: Sequence[Part], cuts: dict[int, float], runs: dict[tuple[int, int], int], high: int
) -> list[Segmentation]:
    """All ways to group the parts."""
    inside = {run: _inside(parts[run[0] : run[1]], high) for run in runs}
    between = [0.0] + [_between(parts, cuts, k) for k in range(1, len(parts))]
    out: list[Segmentation] = []

    def extended(start: int, characters: tuple[int, ...], price: float) -> None:
        if start == len(parts):
            out.append(Segmentation(characters, price))
            return
        for end in range(start + 1, len(parts) + 1):
            if (start, end) in runs:
                paid = price + inside[start, end] + between[start]
                extended(end, (*characters, runs[start, end]), paid)

    extended(0, (), 0.0)
    return out


def _inside(parts: Sequence[Part], high: int) -> float:
    """What speaks against parts in one character: gaps between its pieces, and its width."""
    price = BROAD * max(0.0, _across(parts) / high - WIDEST)
    for a, b in zip(parts, parts[1:], strict=False):
        gap = b.left - a.right
        if a.piece != b.piece and gap >= 0:
            price += APART[0] + APART[1] * gap / high
    return price


def _between(parts: Sequence[Part], cuts: dict[int, float], k: int) -> float:
    """What speaks against a border before a part: a cut, or that both sides overlap."""
    if k in cuts:
        return cuts[k]
    a, b = parts[k - 1], parts[k]
    shared = min(a.right, b.right) - max(a.left, b.left)
    least = min(a.right - a.left, b.right - b.left)
    return WITHIN * max(0.0, shared / max(least, 1))
