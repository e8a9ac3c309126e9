"""Seams: paths from the top of a piece of ink to its bottom along which least ink is cut.

A seam goes down row by row, straight or one column aside, so it finds its way between characters
that touch where no straight column does. Through column c of the middle row it cuts, at least,

    S(c) = min over paths that pass there of (ink on the path + ASIDE * steps aside)
"""

from typing import NamedTuple

import numpy as np

from engine.decimals import Floats, Ints

ASIDE = 0.02  # pixels of ink, that a step aside counts as
LEAST = 0.03  # of the square of the height: ink on either side of a seam


class Seam(NamedTuple):
    """One cut from top to bottom."""

    middle: int  # the column in the middle row
    ink: float  # what it cuts, in pixels
    columns: Ints  # (h,) the first column at its right, in each row


def seams_of(ink: Floats, near: int, most: int, dearest: float) -> list[Seam]:
    """The cheapest seams of a piece, from left to right: at most so many, none that cuts more than
    `dearest` pixels, `near` columns apart, with ink between them. (h, w), 0 outside the piece"""
    middle = len(ink) // 2
    above, below = _paths(ink[: middle + 1]), _paths(ink[middle:][::-1])
    through = above[-1] + below[-1] - ink[middle]
    area = (ink > 0).cumsum(1)
    least = LEAST * len(ink) ** 2
    chosen: list[Seam] = []
    order = near + np.argsort(through[near : len(through) - near + 1], kind="stable")
    for column in order.tolist():
        if len(chosen) == most or through[column] > dearest:
            break
        if any(abs(column - seam.middle) < near for seam in chosen):
            continue
        columns = np.append(_traced(above, column)[::-1], _traced(below, column)[1:])
        seam = Seam(column, float(through[column]), columns)
        every = sorted([*chosen, seam])
        if all(part >= least for part in _areas(area, every)):
            chosen = every
    return chosen


def _paths(ink: Floats) -> Floats:
    """What the cheapest path costs from the first row to each place. (h, w) -> (h, w)"""
    out = np.empty(ink.shape)
    out[0] = ink[0]
    for row in range(1, len(ink)):
        before = out[row - 1]
        best = before.copy()
        np.minimum(best[1:], before[:-1] + ASIDE, out=best[1:])
        np.minimum(best[:-1], before[1:] + ASIDE, out=best[:-1])
        out[row] = best + ink[row]
    return out


def _traced(paths: Floats, column: int) -> Ints:
    """The columns of the cheapest path, from the last row to the first. -> (h,)"""
    out = [column]
    for before in paths[-2::-1]:
        sides = [c for c in (column, column - 1, column + 1) if 0 <= c < len(before)]
        column = min(sides, key=lambda c: before[c] + ASIDE * (c != out[-1]))
        out.append(column)
    return np.array(out)


def _areas(area: Ints, seams: list[Seam]) -> list[int]:
    """Pixels of ink between seams that follow each other. area (h, w), summed along rows"""
    high, wide = area.shape
    padded = np.concatenate([np.zeros((high, 1), area.dtype), area], 1)
    edges = [np.zeros(high, int), *(seam.columns for seam in seams), np.full(high, wide)]
    rows = np.arange(high)
    at = np.maximum.accumulate(np.array(edges))
    return np.diff(padded[rows, at].sum(1)).tolist()
