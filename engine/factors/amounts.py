"""Sums as whole numbers: what they reach, and hidden amounts by which they are missed."""

import math
from dataclasses import replace
from typing import Any

import numpy as np

from engine.decimals import FINE, denominator, whole
from engine.decimals import Floats as Floats
from engine.decimals import Ints as Ints
from engine.factors.families import Sums, Table, floats, starts

AMOUNTS = 64  # values of one hidden site that holds an amount; larger ones are binary digits


def amounts_up_to(most: int) -> list[list[int]]:
    """The amounts that each of some hidden sites may add, so that they reach any up to `most`."""
    if most <= 0:
        return []
    if most < AMOUNTS:
        return [list(range(1, most + 1))]
    return [[1 << k] for k in range(int(most).bit_length())]


def failing_table(table: Table, weight: float) -> Table:
    """The table of a rule, where each forbidden combination costs `weight`, and nothing else."""
    costs = np.where(np.isinf(table.costs), weight, 0.0)
    default = weight if math.isinf(table.default) else 0.0
    return replace(table, costs=costs, default=default, products=None)


def whole_sum(sums: Sums, k: int) -> tuple[Floats, float, float] | None:
    """Coefficients and edges of one sum as whole numbers whose totals float64 holds exactly; None
    where there are none so small."""
    own = sums.coefficient[sums.start[k] : sums.start[k + 1]]
    ends = floats([sums.low[k], sums.high[k]])
    every = np.append(own, ends[np.isfinite(ends)])
    unit = denominator(np.unique(every))
    if unit is None or float(np.abs(every).sum()) >= FINE / unit:
        return None
    low, high = (float(whole(end[None], unit)[0]) if np.isfinite(end) else end for end in ends)
    return floats(whole(own, unit)), low, high


def per_site(
    sizes: Ints, site: Ints, value: Ints, coefficient: np.ndarray
) -> tuple[Ints, Ints, np.ndarray]:
    """Coefficients added up for each value of each site that occurs. -> the sites, where the
    values of each begin (one more than sites), and the sums in that order"""
    sites, place = np.unique(site, return_inverse=True)
    start = starts(sizes[sites])
    sums = np.zeros(start[-1], dtype=coefficient.dtype)
    np.add.at(sums, start[place] + value, coefficient)
    return sites, start, sums


def reach(sizes: Ints, site: Ints, value: Ints, coefficient: np.ndarray) -> tuple[Any, Any]:
    """The least and greatest sum of coefficients, each site taking exactly one value."""
    _, start, sums = per_site(sizes, site, value, coefficient)
    if len(start) == 1:
        return 0, 0
    least, most = (ufunc.reduceat(sums, start[:-1]) for ufunc in (np.minimum, np.maximum))
    return least.sum(), most.sum()
