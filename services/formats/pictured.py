"""Boards in pictures as queries: strips of ink for inputs, and what was read of them."""

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.decimals import Floats
from engine.domain.told import Given
from engine.errors import BadQuery, Mistake, shown
from modules.image._boards.grid import Grid, cells_of, found_grid
from modules.image._boards.ink import inked
from modules.image._boards.pictures import grey_picture
from modules.image._boards.reading import WEIGHTS
from modules.image._boards.strips import HIGH, cut_to_ink, scaled
from services.formats.base import Asked, Format, given_values


class PictureFormat(Format, ABC):
    """Abstract: one way in which a picture holds an instance; no text does."""

    def sniff(self, text: str) -> bool:
        del text
        return False

    def read(self, text: str, source: str, given: Any) -> list[Asked]:
        del text, source, given
        raise BadQuery(Mistake("", "is no picture", "give a PNG of a board"))

    @abstractmethod
    def sniff_raw(self, raw: bytes) -> bool:
        """Whether the bytes are such a picture."""

    @abstractmethod
    def read_raw(self, raw: bytes, source: str, given: Any) -> list[Asked]:
        """The query of a picture."""


PNG = b"\x89PNG\r\n\x1a\n"
MOST = 1e9  # nats that `--given` asks for
TOO_FAINT = Mistake(
    "", "the picture is no text", "a board in a PNG is read by --format visual-sudoku or kenken"
)


class Said(NamedTuple):
    """What one picture was read as."""

    variable: str
    site: list[int]
    plain: str  # by itself
    read: str  # in the answer
    price: float  # what it costs more, in nats

    def written(self) -> dict[str, Any]:
        return self._asdict()


class Otherwise(NamedTuple):
    """What the runner-up reads elsewise than the answer, in one picture."""

    variable: str
    site: list[int]
    read: str  # in the answer
    other: str  # in the runner-up
    price: float  # what that costs more, in nats; below 0 where it costs less

    def written(self) -> dict[str, Any]:
        return self._asdict()


def told_apart(others: Sequence[Otherwise], more: float, same: bool) -> list[str]:
    """The runner-up for people: at which price, in what it differs, and whether it is solved by
    the same."""
    every = ", ".join(f"{one.other} for {one.read} at {one.site}" for one in others)
    solved = "; its solution is the same" if same else ""
    return [f"the runner-up costs {more:.3g} nats more and reads {every}{solved}"]


@dataclass(frozen=True, eq=False)
class Cells:
    """The grid of a picture, and the strip of ink of each of its cells."""

    grid: Grid
    strips: npt.NDArray[np.float32]  # (n * n, HIGH, width); 0 where there is none
    inked: np.ndarray  # (n * n,) bool
    sizes: Floats  # (n * n,) the longer side of the ink of each cell, in sides of a cell

    @property
    def n(self) -> int:
        return self.grid.n

    def given(self, cells: list[int] | None = None) -> Given:
        """The strips of some cells as evidence of an input; all, absent where nothing stands."""
        at = np.arange(len(self.inked)) if cells is None else np.array(cells, dtype=int)
        return Given(self.strips[at], self.inked[at])

    def given_sizes(self) -> Given:
        """How large the ink of each cell is, as evidence of an input."""
        return Given(self.sizes, self.inked)


def cells_in(raw: bytes, sizes: tuple[int, ...], width: int) -> Cells:
    """The board of a picture. Raises BadQuery where it shows none."""
    grid = found_grid(inked(grey_picture(raw)), sizes)
    inks = [cut_to_ink(cell) for row in cells_of(grid) for cell in row]
    found = np.array([ink is not None for ink in inks])
    if not found.any():
        raise BadQuery(Mistake("", "the board is empty", "give a board with clues"))
    blank = np.zeros((HIGH, width), np.float32)
    strips = np.stack([blank if ink is None else scaled(ink, width) for ink in inks])
    large = np.array([0.0 if ink is None else max(ink.shape) / grid.pitch for ink in inks])
    return Cells(grid, strips, found, large)


def wishes(given: Any, known: Mapping[str, Any]) -> dict[str, Any]:
    """What `--given` asks of a picture: `known` by its defaults. Raises BadQuery."""
    asked = {**known, **given_values(given, list(known))}
    wrong = [
        Mistake(f"--given.{name}", f"{shown(asked[name])} does not fit", _such_as(default))
        for name, default in known.items()
        if not _fits(asked[name], default)
    ]
    if wrong:
        raise BadQuery(*wrong)
    return asked


def _fits(value: Any, default: Any) -> bool:
    """Whether a value is of the sort of its default; numbers are finite, 0 or more."""
    if isinstance(default, float):
        return type(value) in (int, float) and 0.0 <= value <= MOST
    return type(value) is type(default)


def _such_as(default: Any) -> str:
    above = ", 0 or more" if isinstance(default, float) else ""
    return f"such as {json.dumps(default)}{above}"


__all__ = [
    "PNG", "WEIGHTS", "Cells", "Otherwise", "PictureFormat", "Said", "cells_in", "told_apart",
    "wishes",
]  # fmt: skip
