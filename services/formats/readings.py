"""Readings of a Sudoku in a picture by their price: the cheapest, and all that cost little more.

Complete search over the fillings of the grid, each at the price of what its inked cells show; of
each reading it is then counted whether it leaves one solution. Where a reading leaves many, what is
left of the others is parted from it: the first cell that shows something else is this, or that one
(Murty, Operations Research 16, 1968).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from engine.decimals import Floats, Ints
from engine.kernels.cover import EXHAUSTED, FAR, Cover, search, search_priced
from engine.search.prices import budget_step
from modules.discrete.proper import puzzle
from modules.image._boards.reading import UNIT

NODES = 60_000  # decisions of a search for readings
COUNTING = 20_000  # decisions, of counting the solutions of a reading
WANTED = 512  # fillings that are listed
PARTS = 1_024  # searches, where readings are parted from each other
EACH = 2_000  # decisions of one of them
DEEPER = (0.0, 1.0, 3.0, 6.0, 10.0, 16.0)  # nats above the cheapest filling, in turn


class Reading(NamedTuple):
    """What the clues may say, and the one solution that this leaves."""

    clues: Ints  # (sites,) 0: blank
    grid: Ints  # (sites,)
    energy: float


class Near(NamedTuple):
    """Readings up to a price, the cheapest first."""

    readings: tuple[Reading, ...]
    complete: bool  # there are no others at such a price


class Priced(NamedTuple):
    """Fillings of a grid as an exact cover with prices: units above the cheapest of each cell."""

    cover: Cover
    inked: np.ndarray  # (sites,) bool
    allowed: np.ndarray  # (sites, values) bool
    above: Ints  # (sites, values)
    least: int  # what the cheapest of all cells cost

    @property
    def step(self) -> int:
        return int(budget_step(self.above.reshape(1, -1))[0])


def priced(prices: Floats, inked: np.ndarray, lines: Sequence[Sequence[int]]) -> Priced:
    """prices (sites, values + 1) of the blank and all values, whole numbers of 1 / UNIT."""
    own = np.where(inked[:, None], prices[:, 1:], 0.0)
    allowed = np.isfinite(own)
    units = np.round(np.where(allowed, own, 0.0) * UNIT).astype(np.int64)
    least = np.where(allowed, units, FAR).min(1)
    least[~allowed.any(1)] = 0
    above = np.where(allowed, units - least[:, None], 0)
    sites, values = own.shape
    return Priced(puzzle(sites, values, lines), inked, allowed, above, int(least.sum()))


def least_reading(board: Priced) -> Reading | None:
    """The cheapest reading that leaves one solution, proved; None where the search was given up,
    or there is none at prices that are searched."""
    found = search_priced(
        board.cover, board.allowed.reshape(1, -1), board.above.reshape(1, -1), NODES,
        step=board.step,
    )  # fmt: skip
    if not found.found[0] or found.status[0] != EXHAUSTED:
        return None
    first = (board.least + int(found.paid[0, 0])) / UNIT
    for more in DEEPER:
        near = near_readings(board, first + more)
        if near.readings and not near.complete:  # none is cheaper, if all that are so are known
            near = near_readings(board, near.readings[0].energy)
        if near.readings and near.complete:
            return near.readings[0]
        if not near.complete:
            return None
    return None


def near_readings(board: Priced, most: float) -> Near:
    """The readings that leave one solution and cost at most `most`."""
    room = int(np.floor(most * UNIT)) - board.least + 1  # what costs less is listed
    if room <= 0:
        return Near((), True)
    found = search_priced(
        board.cover, board.allowed.reshape(1, -1), board.above.reshape(1, -1), NODES,
        below=room, step=board.step, margin=room, wanted=WANTED,
    )  # fmt: skip
    complete = bool(found.status[0] == EXHAUSTED and (found.listed[0] or not found.found[0]))
    grids = found.solutions[0, : found.found[0]].astype(np.int64)
    paid = found.paid[0, : found.found[0]]
    if not complete and found.found[0]:
        grids, paid, complete = _parted(board, room)
    clues = np.where(board.inked, grids + 1, 0)
    kept = np.unique(clues, axis=0, return_index=True)[1]  # one filling of each reading
    if not len(kept):
        return Near((), complete)
    solutions = _solutions(board, clues[kept])
    energy = (paid[kept] + board.least) / UNIT
    order = [k for k in np.argsort(energy, kind="stable").tolist() if solutions[k] == 1]
    readings = [Reading(clues[kept[k]], grids[kept[k]] + 1, float(energy[k])) for k in order]
    return Near(tuple(readings), complete and bool((solutions >= 0).all()))


def _solutions(board: Priced, clues: Ints) -> Ints:
    """How many solutions readings leave: 0, 1, or 2 for several; -1 where it is not known.
    (R, sites) -> (R,)"""
    values = np.arange(1, board.above.shape[1] + 1)
    possible = (clues[:, :, None] == 0) | (clues[:, :, None] == values)
    counted = search(board.cover, possible.reshape(len(clues), -1), COUNTING, wanted=2)
    decided = (counted.status == EXHAUSTED) | (counted.found >= 2)
    return np.where(decided, counted.found, -1).astype(np.int64)


def _parted(board: Priced, room: int) -> tuple[Ints, Ints, bool]:
    """A filling of each reading that costs less than `room`, what they pay, and whether these are
    all."""
    rows, grids, paid, complete, spent = [board.allowed], [], [], True, 0
    while rows:
        batch, rows = rows, []
        spent += len(batch)
        if spent > PARTS:
            complete = False
            break
        above = np.repeat(board.above.reshape(1, -1), len(batch), 0)
        allowed = np.stack(batch).reshape(len(batch), -1)
        found = search_priced(board.cover, allowed, above, EACH, below=room, step=board.step)
        complete = complete and bool((found.status == EXHAUSTED).all())
        for k in np.flatnonzero(found.found).tolist():
            grids.append(found.solutions[k, 0].astype(np.int64))
            paid.append(int(found.paid[k, 0]))
            rows += _others(board, batch[k], grids[-1], room)
    sites = len(board.inked)
    return np.array(grids, np.int64).reshape(-1, sites), np.array(paid, np.int64), complete


def _others(board: Priced, allowed: np.ndarray, grid: Ints, room: int) -> list[np.ndarray]:
    """What is allowed beside a reading, in parts: the first cell that shows something else."""
    price = np.where(allowed, board.above, FAR)
    cheapest = price.min(1)
    spare = room - int(cheapest.sum())  # what one cell may cost above its cheapest, and less
    at = np.arange(len(grid))
    other = price.copy()
    other[at, grid] = FAR
    sites = np.flatnonzero(board.inked & (other.min(1) < FAR) & (other.min(1) - cheapest < spare))
    out = []
    for k, site in enumerate(sites.tolist()):
        part = allowed.copy()
        before = sites[:k]
        part[before] = False
        part[before, grid[before]] = True
        part[site, grid[site]] = False
        out.append(part)
    return out
