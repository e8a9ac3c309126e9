"""Plain Sudokus of 4x4 to 25x25: rows, columns and boxes hold every value once."""

import random
from math import isqrt
from typing import Any

from examples.generators.settled import dug, random_solution

CLUES = {4: 0, 9: 0, 16: 110, 25: 320}  # left at least; past that the large boards get hard to dig
SIGNS = "123456789ABCDEFGHIJKLMNOP"


def rows_and_columns(n: int) -> list[list[int]]:
    """The rows, then the columns of a board, as lists of flat places."""
    rows = [[r * n + c for c in range(n)] for r in range(n)]
    return rows + [list(column) for column in zip(*rows, strict=True)]


def boxes(n: int) -> list[list[int]]:
    """The boxes of a board, as lists of flat places."""
    m = isqrt(n)
    corners = [(r, c) for r in range(0, n, m) for c in range(0, n, m)]
    return [[(r + i) * n + c + j for i in range(m) for j in range(m)] for r, c in corners]


def board(n: int, *terms: dict[str, Any], regions: list[list[int]] | None = None) -> dict[str, Any]:
    """The query of an empty board under further terms; `regions` stand in place of boxes."""
    lines = rows_and_columns(n) + (boxes(n) if regions is None else regions)
    usual = {
        "kind": "discrete.all_different",
        "scope": ["grid"],
        "name": "rows, columns and boxes" if regions is None else "rows, columns and regions",
        "params": {"lines": lines},
    }
    return {
        "variables": {"grid": {"values": list(range(1, n + 1)), "shape": [n, n]}},
        "terms": [usual, *terms],
        "evidence": {},
    }


def full_board(query: dict[str, Any], rng: random.Random) -> list[int]:
    """A random solution of an empty board whose rules treat all values alike."""
    n = query["variables"]["grid"]["shape"][0]
    return random_solution(query, "grid", rng, pins=n - 1)


def sudoku(seed: int, n: int = 9) -> dict[str, Any]:
    """A Sudoku with one solution."""
    rng = random.Random(f"sudoku {n} {seed}")
    query = board(n)
    return dug(query, "grid", full_board(query, rng), rng, keep=CLUES[n])


def line_of(query: dict[str, Any]) -> str:
    """The givens of a board as one line of a puzzle file."""
    rows = query["evidence"]["grid"]
    return "".join("." if v is None else SIGNS[v - 1] for row in rows for v in row)
