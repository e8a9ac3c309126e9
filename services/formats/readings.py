"""Other readings of a Sudoku in a picture: all that cost little more than the answer."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from engine.decimals import Floats, Ints
from engine.kernels.cover import EXHAUSTED, FAR, search, search_priced
from engine.search.prices import budget_step
from modules.discrete.proper import puzzle
from modules.image._boards.reading import UNIT

NODES = 200_000  # decisions of a search for readings
COUNTING = 20_000  # decisions, of counting the solutions of a reading
WANTED = 64  # fillings that are listed


class Reading(NamedTuple):
    """What the clues may say, and the one solution that this leaves."""

    clues: Ints  # (sites,) 0: blank
    grid: Ints  # (sites,)
    energy: float


class Near(NamedTuple):
    """Readings up to a price, the cheapest first."""

    readings: tuple[Reading, ...]
    complete: bool  # there are no others at such a price


def near_readings(
    prices: Floats, inked: np.ndarray, lines: Sequence[Sequence[int]], most: float
) -> Near:
    """The readings that leave one solution and cost at most `most`. Complete search over the
    fillings of the grid, which costs what its inked cells do; prices (sites, values + 1) of the
    blank and all values, whole numbers of 1 / UNIT."""
    sites, values = len(prices), prices.shape[1] - 1
    own = np.where(inked[:, None], prices[:, 1:], 0.0)
    allowed = np.isfinite(own)
    if not allowed.any(1).all():
        return Near((), True)
    units = np.round(np.where(allowed, own, 0.0) * UNIT).astype(np.int64)
    least = np.where(allowed, units, FAR).min(1)
    above = np.where(allowed, units - least[:, None], 0).reshape(1, -1)
    room = int(np.floor(most * UNIT)) - int(least.sum()) + 1  # what costs less is listed
    if room <= 0:
        return Near((), True)
    cover = puzzle(sites, values, lines)
    found = search_priced(
        cover, allowed.reshape(1, -1), above, NODES,
        below=room, step=budget_step(above), margin=room, wanted=WANTED,
    )  # fmt: skip
    complete = bool(found.status[0] == EXHAUSTED and (found.listed[0] or not found.found[0]))
    grids = found.solutions[0, : found.found[0]].astype(np.int64)
    clues = np.where(inked, grids + 1, 0)
    kept = np.unique(clues, axis=0, return_index=True)[1]  # one filling of each reading
    possible = (clues[kept, :, None] == 0) | (clues[kept, :, None] == np.arange(1, values + 1))
    if not len(kept):
        return Near((), complete)
    counted = search(cover, possible.reshape(len(kept), -1), COUNTING, wanted=2)
    decided = (counted.status == EXHAUSTED) | (counted.found >= 2)
    paid = (found.paid[0, kept] + int(least.sum())) / UNIT
    order = [k for k in np.argsort(paid, kind="stable").tolist() if counted.found[k] == 1]
    readings = [Reading(clues[kept[k]], grids[kept[k]] + 1, float(paid[k])) for k in order]
    return Near(tuple(readings), complete and bool(decided.all()))
