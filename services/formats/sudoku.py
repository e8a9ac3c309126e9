"""Sudoku: puzzles of 4x4 to 25x25, as `boards` reads them; a file of many is one batch.

One puzzle a line, and what follows it is ignored; a column of a CSV; or n rows of n. Values are 1-9
and then A-P (or a-p); or 0-9A-O, where 0 is no blank. Blanks are `.`, or 0, or one of - * _ ? x;
`#` begins a comment. A solution is one string of the signs that its puzzle is written with.
"""

import re
from functools import lru_cache, partial
from math import isqrt
from typing import Any, ClassVar, NamedTuple

from engine.errors import Mistakes
from modules.shared.lines import lines_of
from services.formats.base import Asked, Format, Values, given_values
from services.formats.boards import read_boards
from services.formats.signs import SYMBOLS
from services.query import Query, query_of

SIGNS = f"0{SYMBOLS}"
BATCH = 20_000  # puzzles of one query

_WORDS = re.compile(r"[\s,;|]+")
_CELLS = re.compile(r"(?=.*[.0-9*_?-])[.0-9A-Za-z*_?-]{12,}")


class Board(NamedTuple):
    """What all boards of one size share."""

    n: int
    lines: list[list[int]]  # cells that differ pairwise: rows, columns, boxes


@lru_cache
def board(n: int) -> Board:
    """The board of size n x n."""
    at = [[row * n + column for column in range(n)] for row in range(n)]
    m = isqrt(n)
    boxes = [
        [at[r + i][c + j] for i in range(m) for j in range(m)]
        for r in range(0, n, m)
        for c in range(0, n, m)
    ]
    columns = [list(column) for column in zip(*at)]
    return Board(n, at + columns + boxes)


class Sudoku(Format):
    name: ClassVar[str] = "sudoku"
    suffixes: ClassVar[tuple[str, ...]] = (".sudoku", ".sdk", ".sdm", ".ss")

    def sniff(self, text: str) -> bool:
        text = text[:100_000]
        first = next((line for line in lines_of(text) if line.partition("#")[0].strip()), "")
        if any(map(_CELLS.fullmatch, _WORDS.split(first.strip(), maxsplit=2)[:2])):
            return True
        wrong = Mistakes()
        return bool(read_boards(text, wrong)) and not wrong.found

    def read(self, text: str, source: str, given: Any) -> list[Asked]:
        given_values(given, ())
        wrong = Mistakes()
        batches: dict[tuple[int, int], list[tuple[int, str]]] = {}  # (number, cells)
        for number, (_, n, first, cells) in enumerate(read_boards(text, wrong), 1):
            batches.setdefault((n, first), []).append((number, cells))
        wrong.check()
        return [
            _asked(n, first, puzzles[k : k + BATCH], source)
            for (n, first), puzzles in batches.items()
            for k in range(0, len(puzzles), BATCH)
        ]


def sudoku_query(n: int, puzzles: list[str], first: int = 1) -> Query:
    """Puzzles of one size as the rows of one query; values run from `first`."""
    values = list(range(first, first + n))
    value: dict[str, int | None] = {".": None, "0": None} | dict(zip(SIGNS[first:], values))
    rows = [range(k, k + n) for k in range(0, n * n, n)]
    evidence = []
    for puzzle in puzzles:
        flat = [value[sign] for sign in puzzle]
        evidence.append({"grid": [flat[row.start : row.stop] for row in rows]})
    return query_of(
        {
            "variables": {"grid": {"values": values, "shape": [n, n]}},
            "terms": [
                {
                    "kind": "discrete.all_different",
                    "scope": ["grid"],
                    "params": {"lines": board(n).lines},
                }
            ],
            "evidence": evidence,
        }
    )


def _asked(n: int, first: int, puzzles: list[tuple[int, str]], source: str) -> Asked:
    query = sudoku_query(n, [cells for _, cells in puzzles], first)
    numbers = tuple(number for number, _ in puzzles)
    return Asked(query, source, numbers, written, partial(drawn, n))


def written(values: Values) -> str:
    """The grid as one string."""
    return "".join([SIGNS[value] for row in values["grid"] for value in row])


def drawn(n: int, values: Values) -> str:
    """The grid with its boxes, for people."""
    m = isqrt(n)
    rule = "+".join(["-" * (2 * m + 1)] * m)[1:-1]
    out = []
    for r, row in enumerate(values["grid"]):
        signs = ["." if value is None else SIGNS[value] for value in row]
        if r and r % m == 0:
            out.append(rule)
        out.append(" | ".join(" ".join(signs[c : c + m]) for c in range(0, n, m)))
    return "\n".join(out)
