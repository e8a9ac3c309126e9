"""Relations between the sites of a board: which lines of sites stand in the same relation."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from engine.decimals import Ints
from engine.errors import BadQuery, Mistake, known

Lines = list[list[int]]


def rows(height: int, width: int) -> Lines:
    """Sites of one row."""
    return _board(height, width).tolist()


def columns(height: int, width: int) -> Lines:
    """Sites of one column."""
    return _board(height, width).T.tolist()


def boxes(height: int, width: int) -> Lines:
    """Sites of one box: a square board cut into squares of the root of its side."""
    side = math.isqrt(height)
    if height != width or side * side != height:
        raise BadQuery(
            Mistake("", f"a board of {height} x {width} has no boxes", "take 4 x 4, 9 x 9, 16 x 16")
        )
    board = _board(height, width).reshape(side, side, side, side)
    return board.swapaxes(1, 2).reshape(height, height).tolist()


def diagonals(height: int, width: int) -> Lines:
    """Sites of one diagonal of either direction, |dr| = |dc|, of two sites or more."""
    board = _board(height, width)
    found = [
        [int(site) for site in each.diagonal(k)]
        for each in (board, board[:, ::-1])
        for k in range(1 - height, width)
    ]
    return [line for line in found if len(line) > 1]


GEOMETRY: Mapping[str, Callable[[int, int], Lines]] = {
    "row": rows,
    "column": columns,
    "box": boxes,
    "diagonal": diagonals,
}


def geometric(names: Sequence[str], shape: tuple[int, ...]) -> dict[str, Lines]:
    """The lines of the relations that the shape of a board alone gives.

    Raises BadQuery where the board is not one of rows and columns.
    """
    asked = [name for name in names if name in GEOMETRY]
    if asked and len(shape) != 2:
        raise BadQuery(
            Mistake(
                "scope",
                f"{' and '.join(asked)}: a shape of {list(shape)} has no rows and columns",
                "name one variable, or a view of it, with two axes",
            )
        )
    return {name: GEOMETRY[name](*shape) for name in asked}


def check_names(names: Sequence[str], path: str) -> tuple[str, ...]:
    """Names of relations, each once. Any name but those of the geometry is one whose lines the
    examples and the query give."""
    for k, name in enumerate(names):
        if not isinstance(name, str) or not name.isidentifier():
            raise BadQuery(Mistake(f"{path}[{k}]", f"{name!r} is no name", known("", GEOMETRY)))
        if name in names[:k]:
            raise BadQuery(Mistake(f"{path}[{k}]", f"{name} stands twice", "name it once"))
    return tuple(names)


def pairs_of(lines: Lines) -> Ints:
    """Every pair of sites that share a line, once, the lower site first. -> (M, 2)"""
    found = {(min(pair), max(pair)) for line in lines for pair in itertools.combinations(line, 2)}
    return np.array(sorted(found), dtype=np.int64).reshape(-1, 2)


def all_pairs(sites: int) -> Ints:
    """Every pair of sites, in order. -> (n (n - 1) / 2, 2)"""
    return np.stack(np.triu_indices(sites, 1), 1).astype(np.int64)


def _board(height: int, width: int) -> Ints:
    return np.arange(height * width, dtype=np.int64).reshape(height, width)
