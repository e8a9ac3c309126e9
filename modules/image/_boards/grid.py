"""The grid of a board in a picture: where its lines run, how thick they are, and its cells."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from engine.decimals import Floats, Ints
from engine.errors import BadQuery, Mistake

FULL = 0.85  # of the width of a board, that a line is drawn over
DARK = 0.5
EVEN = 0.15  # of a cell, that a line may stand aside
PLAIN = 28  # pixels of a cell without lines
THICK = 1.6  # times the thinnest edge


class Grid(NamedTuple):
    """A board of n x n cells: edges of cells, as pixels."""

    ink: Floats  # (h, w) the whole picture
    rows: Floats  # (n + 1,) where its lines run, their middles
    columns: Floats  # (n + 1,)
    lines: bool  # lines are drawn

    @property
    def n(self) -> int:
        return len(self.rows) - 1

    @property
    def pitch(self) -> float:
        return float(self.rows[-1] - self.rows[0]) / self.n


def found_grid(ink: Floats, sizes: Sequence[int]) -> Grid:
    """The one grid of a picture. Raises BadQuery where there is none of these sizes."""
    asked = ", ".join(f"{n} x {n}" for n in sizes)
    if min(ink.shape) < 4 * min(sizes) or not (ink > DARK).any():
        raise BadQuery(Mistake("", "shows no board", f"give a picture of a board of {asked}"))
    rows, columns = _lines(ink), _lines(ink.T)
    if rows is not None and columns is not None and len(rows) == len(columns):
        n = len(rows) - 1
        high, wide = rows[-1] - rows[0], columns[-1] - columns[0]
        if n in sizes and 0.8 < high / wide < 1.25:
            return Grid(ink, rows, columns, True)
        if n not in sizes:
            raise BadQuery(Mistake("", f"shows a grid of {n} x {n} cells", f"known: {asked}"))
    for n in sizes:
        if ink.shape == (n * PLAIN, n * PLAIN) and rows is None and columns is None:
            edges = np.arange(n + 1.0) * PLAIN
            return Grid(ink, edges, edges, False)
    remedy = (
        f"give a board of {asked} that fills the picture, with straight lines, or cells of "
        f"{PLAIN} x {PLAIN} pixels without lines"
    )
    raise BadQuery(Mistake("", "no grid was found in the picture", remedy))


def _lines(ink: Floats) -> Floats | None:
    """Where the horizontal lines of an even grid run; None: there is none. -> (n + 1,)"""
    dark = ink > DARK
    columns = np.flatnonzero(dark.any(0))
    inside = dark[:, columns[0] : columns[-1] + 1]
    full = inside.mean(1) > FULL
    first = np.flatnonzero(full & ~np.append(False, full[:-1]))
    last = np.flatnonzero(full & ~np.append(full[1:], False))
    if len(first) < 3:
        return None
    middle = (first + last + 1) / 2
    gap = float(np.median(np.diff(middle)))
    if (np.abs(np.diff(middle) - gap) > EVEN * gap).any():
        return None
    for end, edge in ((0, 0.0), (-1, float(len(ink)))):  # a frame that was cut off
        if abs(abs(middle[end] - edge) - gap) < EVEN * gap:
            middle = np.append(edge, middle) if end == 0 else np.append(middle, edge)
    return middle if len(middle) > 3 else None


def thickness(grid: Grid) -> tuple[Ints, Ints]:
    """How thick each edge of a cell is, in pixels: above each cell, (n + 1, n), and left of it,
    (n, n + 1)."""
    dark = grid.ink > DARK
    above = _thick(dark, grid.rows, grid.columns)
    return above, _thick(dark.T, grid.columns, grid.rows).T


def _thick(dark: np.ndarray, rows: Floats, columns: Floats) -> Ints:
    """Of horizontal edges: the rows around a line that are dark all along the edge."""
    n = len(rows) - 1
    reach = max(2, int((rows[-1] - rows[0]) / n / 6))
    out = np.zeros((n + 1, n), np.int64)
    for i, row in enumerate(rows.tolist()):
        low, high = max(0, round(row) - reach), min(len(dark), round(row) + reach + 1)
        for j in range(n):
            wide = columns[j + 1] - columns[j]
            part = slice(round(columns[j] + 0.2 * wide), round(columns[j + 1] - 0.2 * wide))
            out[i, j] = int((dark[low:high, part].mean(1) > 0.9).sum())
    return out


def cells_of(grid: Grid) -> list[list[Floats]]:
    """The inside of each cell, without the lines around it."""
    if not grid.lines:
        edges = np.round(grid.rows).astype(int)
        return [
            [grid.ink[a:b, c:d] for c, d in zip(edges[:-1], edges[1:], strict=True)]
            for a, b in zip(edges[:-1], edges[1:], strict=True)
        ]
    above, left = thickness(grid)
    slack = max(1, round(0.015 * grid.pitch))
    out = []
    for i in range(grid.n):
        row = []
        for j in range(grid.n):
            top = _inner(grid.rows[i], above[i, j], slack)
            bottom = _inner(grid.rows[i + 1], -above[i + 1, j], -slack)
            first = _inner(grid.columns[j], left[i, j], slack)
            last = _inner(grid.columns[j + 1], -left[i, j + 1], -slack)
            row.append(grid.ink[max(0, top) : bottom, max(0, first) : last])
        out.append(row)
    return out


def _inner(line: float, thick: int, slack: int) -> int:
    """Where the inside of a cell begins, past half of a line."""
    return (
        int(np.floor(line + thick / 2 + slack))
        if slack > 0
        else int(np.ceil(line + thick / 2 + slack))
    )


def cages_of(grid: Grid) -> list[list[int]]:
    """The cells that thick edges enclose, as flat places, each cage by its first cell."""
    n = grid.n
    above, left = thickness(grid)
    inner = np.concatenate([above[1:-1].reshape(-1), left[:, 1:-1].reshape(-1)])
    thin = max(1, int(inner[inner > 0].min(initial=1 << 30)))
    frame = int(np.median(np.concatenate([above[0], above[-1], left[:, 0], left[:, -1]])))
    bound = max(THICK * thin, 1.5)
    if inner.max(initial=0) < bound and frame < bound:
        raise BadQuery(Mistake("", "shows no cages", "draw the borders of cages thick"))
    cage = np.arange(n * n)

    def joined(a: int, b: int) -> None:
        cage[cage == max(cage[a], cage[b])] = min(cage[a], cage[b])

    for i in range(n):
        for j in range(n):
            if i and above[i, j] < bound:
                joined(i * n + j - n, i * n + j)
            if j and left[i, j] < bound:
                joined(i * n + j - 1, i * n + j)
    return [np.flatnonzero(cage == first).tolist() for first in np.unique(cage)]
