"""A sheet of one board: its picture, what was read there and what was corrected, and the solution.

Black stands what was read as it looks, red what was read otherwise, with what it looks like beside
it in brackets; blue stands what the solution adds.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.answer import Answer
from modules.image._boards.grid import Grid

SIDE = 480  # pixels of a board
ROOM = 24  # around it
PAPER, LINE, READ, CORRECTED, FOUND = "white", "#999999", "black", "#c00000", "#1f5fbf"


class Mark(NamedTuple):
    """What was read in one cell."""

    text: str
    plain: str | None = None  # what it looks like, where that is something else


def sheet_of(
    grid: Grid,
    marks: Mapping[int, Mark],
    solution: Sequence[str],
    cages: Sequence[Sequence[int]] = (),
    title: str = "",
) -> npt.NDArray[np.uint8]:
    """Three boards side by side. marks: of flat places; solution: a text for each place; cages:
    marks then stand in corners. -> (h, w, 3)"""
    from PIL import Image, ImageDraw  # only where sheets are drawn

    wide = 3 * SIDE + 4 * ROOM
    image = Image.new("RGB", (wide, SIDE + 2 * ROOM), PAPER)
    pen = ImageDraw.Draw(image)
    lefts = [ROOM + k * (SIDE + ROOM) for k in range(3)]
    top, bottom = (round(float(grid.rows[k])) for k in (0, -1))
    left, right = (round(float(grid.columns[k])) for k in (0, -1))
    ink = (255 * (1 - grid.ink[max(0, top) : bottom + 1, max(0, left) : right + 1])).astype("uint8")
    image.paste(Image.fromarray(ink).resize((SIDE, SIDE)), (lefts[0], ROOM))
    for name, x in zip(("picture", "reading", "solution"), lefts, strict=True):
        _write(pen, (x, ROOM / 2), name, 14, READ, "lm")
    _write(pen, (wide - ROOM, ROOM / 2), title, 14, READ, "rm")
    for x in lefts[1:]:
        _lines(pen, x, grid.n, cages)
    cell = SIDE / grid.n
    for place, text in enumerate(solution):
        row, column = divmod(place, grid.n)
        mark = None if cages else marks.get(place)
        colour = FOUND if mark is None else CORRECTED if mark.plain else READ
        middle = lefts[2] + (column + 0.5) * cell, ROOM + (row + 0.5) * cell
        _write(pen, middle, text, 0.55 * cell, colour, "mm")
    for place, mark in marks.items():
        row, column = divmod(place, grid.n)
        colour, size = CORRECTED if mark.plain else READ, (0.3 if cages else 0.55) * cell
        share = (0.06, 0.06) if cages else (0.5, 0.42 if mark.plain else 0.5)
        at = lefts[1] + (column + share[0]) * cell, ROOM + (row + share[1]) * cell
        _write(pen, at, mark.text, size, colour, "la" if cages else "mm")
        if mark.plain:
            below = at[0], ROOM + (row + (0.5 if cages else 0.85)) * cell
            _write(pen, below, f"({mark.plain})", 0.32 * cell, LINE, "lm" if cages else "mm")
    return np.asarray(image)


def judged(answer: Answer) -> str:
    """What stands above a sheet: the status of an answer, its flags and its energy."""
    said = [answer.status, *answer.flags]
    return " ".join([*said, *([] if answer.energy is None else [f"{answer.energy:.4g} nats"])])


def _write(
    pen: Any, at: tuple[float, float], text: str, size: float, colour: str, anchor: str
) -> None:
    from PIL import ImageFont

    pen.text(at, text, colour, font=ImageFont.load_default(max(6.0, size)), anchor=anchor)


def _lines(pen: Any, left: float, n: int, cages: Sequence[Sequence[int]]) -> None:
    """The lines of a board; thick ones around boxes, or around cages."""
    box = round(n**0.5)
    owner = {place: k for k, cage in enumerate(cages) for place in cage}
    if not cages:
        owner = {p: p // n // box * n + p % n // box for p in range(n * n)}
    cell = SIDE / n
    for k in range(n + 1):
        for j in range(n):
            across = k in (0, n) or owner[(k - 1) * n + j] != owner[k * n + j]
            down = k in (0, n) or owner[j * n + k - 1] != owner[j * n + k]
            a, b, c = j * cell, (j + 1) * cell, k * cell
            for thick, ends in (
                (across, (left + a, ROOM + c, left + b, ROOM + c)),
                (down, (left + c, ROOM + a, left + c, ROOM + b)),
            ):
                pen.line(ends, READ if thick else LINE, 3 if thick else 1)
