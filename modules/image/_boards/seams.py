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
STEPS = np.array([0, -1, 1])


class Seam(NamedTuple):
    """One cut from top to bottom."""

    middle: int  # the column in the middle row
    ink: float  # what it cuts, in pixels
    columns: Ints  # (h,) the first column at its right, in each row


def seams_of(ink: Floats, near: int, most: int, dearest: float) -> list[Seam]:
    """The cheapest seams of a piece, from left to right: at most so many, none that cuts more than
    `dearest` pixels, `near` columns apart, with ink between them. (h, w), 0 outside the piece"""
    middle = len(ink) // 2
    above, below = _Paths.of(ink[: middle + 1]), _Paths.of(ink[middle:][::-1])
    through = above.cost + below.cost - ink[middle]
    order = near + np.argsort(through[near : len(through) - near + 1], kind="stable")
    order = order[through[order] <= dearest]
    if not len(order):
        return []
    columns = np.concatenate([above.traced(order)[::-1], below.traced(order)[1:]])
    area = (ink > 0).cumsum(1)
    chosen: list[Seam] = []
    for column, path in zip(order.tolist(), columns.T, strict=True):
        if len(chosen) == most:
            break
        if any(abs(column - seam.middle) < near for seam in chosen):
            continue
        every = sorted([*chosen, Seam(column, float(through[column]), path)])
        if min(_areas(area, every)) >= LEAST * len(ink) ** 2:
            chosen = every
    return chosen


class _Paths(NamedTuple):
    """The cheapest paths from the first row to each place of the last."""

    cost: Floats  # (w,)
    steps: list[Ints]  # (w,) for each row but the first: from where it comes, -1, 0 or 1 aside

    @staticmethod
    def of(ink: Floats) -> "_Paths":
        """(h, w) -> paths"""
        cost, steps = ink[0].astype(np.float64), []
        sides = np.full((3, ink.shape[1]), np.inf)  # straight, from the left, from the right
        for row in ink[1:]:
            sides[0] = cost
            sides[1, 1:] = cost[:-1] + ASIDE
            sides[2, :-1] = cost[1:] + ASIDE
            best = sides.argmin(0)
            steps.append(STEPS[best])
            cost = sides.min(0) + row
        return _Paths(cost, steps)

    def traced(self, columns: Ints) -> Ints:
        """Where the paths to some places of the last row pass, from there to the first row.
        (m,) -> (h, m)"""
        out = [columns]
        for step in reversed(self.steps):
            out.append(out[-1] + step[out[-1]])
        return np.array(out)


def _areas(area: Ints, seams: list[Seam]) -> list[int]:
    """Pixels of ink between seams that follow each other. area (h, w), summed along rows"""
    high, wide = area.shape
    padded = np.concatenate([np.zeros((high, 1), area.dtype), area], 1)
    edges = [np.zeros(high, int), *(seam.columns for seam in seams), np.full(high, wide)]
    rows = np.arange(high)
    at = np.maximum.accumulate(np.array(edges))
    return np.diff(padded[rows, at].sum(1)).tolist()
