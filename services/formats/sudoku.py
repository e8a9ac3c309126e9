"""Sudoku: one puzzle a line, of 4x4 to 25x25; a file of many puzzles is one batch.

A line is `puzzle`, or `id puzzle`; what follows is ignored (often the solution). The puzzle is the
first of the first two words whose length is 16, 81, 256 or 625 and whose signs fit its size.
Words end at white space, comma, semicolon or bar. `.` and `0` are blanks, 1-9 and then A-P (or
a-p) are values; a line that begins with `#` is a comment.
"""

import re
from functools import lru_cache, partial
from math import isqrt
from typing import Any, ClassVar, NamedTuple

from services.formats.base import Asked, Format, Mistakes, Values, inputs
from services.query import Query, query_of
from services.views import shown

SYMBOLS = "123456789ABCDEFGHIJKLMNOP"
SIZES = {n**2: n for n in (4, 9, 16, 25)}  # by number of cells
BATCH = 20_000  # puzzles of one query

_WORDS = re.compile(r"[\s,;|]+")
_CELLS = re.compile(r"[.0-9A-Za-z]{12,}")


class Board(NamedTuple):
    """What all boards of one size share."""

    n: int
    value: dict[str, int | None]  # of each sign
    lines: list[list[int]]  # cells that differ pairwise: rows, columns, boxes
    accepted: re.Pattern[str]


@lru_cache
def board(n: int) -> Board:
    """The board of size n x n."""
    signs = SYMBOLS[:n]
    value: dict[str, int | None] = {".": None, "0": None}
    for place, sign in enumerate(signs):
        value[sign] = value[sign.lower()] = place + 1
    at = [[row * n + column for column in range(n)] for row in range(n)]
    m = isqrt(n)
    boxes = [
        [at[r + i][c + j] for i in range(m) for j in range(m)]
        for r in range(0, n, m)
        for c in range(0, n, m)
    ]
    columns = [list(column) for column in zip(*at)]
    accepted = re.compile(f"[{''.join(value)}]+".replace(".", r"\."))
    return Board(n, value, at + columns + boxes, accepted)


class Sudoku(Format):
    name: ClassVar[str] = "sudoku"
    suffixes: ClassVar[tuple[str, ...]] = (".sudoku", ".sdk", ".sdm")

    def sniff(self, text: str) -> bool:
        for line in text[:100_000].splitlines():
            if line.strip() and not line.startswith("#"):
                return any(_CELLS.fullmatch(word) for word in _words(line))
        return False

    def read(self, text: str, source: str, given: Any) -> list[Asked]:
        inputs(given, ())
        wrong = Mistakes()
        batches: dict[int, list[tuple[int, str]]] = {}  # by size: (number, puzzle)
        count = 0
        for line_number, line in enumerate(text.splitlines(), 1):
            words = _words(line)
            if not words or line.startswith("#"):
                continue
            puzzle = next((word for word in words if _legal(word)), None)
            if puzzle is None:
                wrong.add(line_number, *_why(words))
                continue
            count += 1
            batches.setdefault(SIZES[len(puzzle)], []).append((count, puzzle))
        if not count and not wrong.found:
            wrong.add(1, "no puzzle in the whole text", "write one puzzle a line")
        wrong.check()
        return [
            _asked(n, puzzles[k : k + BATCH], source)
            for n, puzzles in batches.items()
            for k in range(0, len(puzzles), BATCH)
        ]


def sudoku_query(n: int, puzzles: list[str]) -> Query:
    """Puzzles of one size as the rows of one query."""
    shared = board(n)
    value = shared.value
    rows = [range(k, k + n) for k in range(0, n * n, n)]
    evidence = []
    for puzzle in puzzles:
        flat = [value[sign] for sign in puzzle]
        evidence.append({"grid": [flat[row.start : row.stop] for row in rows]})
    return query_of(
        {
            "variables": {"grid": {"values": list(range(1, n + 1)), "shape": [n, n]}},
            "terms": [
                {
                    "kind": "discrete.all_different",
                    "scope": ["grid"],
                    "params": {"lines": shared.lines},
                }
            ],
            "evidence": evidence,
        }
    )


def _asked(n: int, puzzles: list[tuple[int, str]], source: str) -> Asked:
    query = sudoku_query(n, [puzzle for _, puzzle in puzzles])
    numbers = tuple(number for number, _ in puzzles)
    return Asked(query, source, numbers, written, partial(drawn, n))


def written(values: Values) -> str:
    """The grid as one string."""
    return "".join([SYMBOLS[value - 1] for row in values["grid"] for value in row])


def drawn(n: int, values: Values) -> str:
    """The grid with its boxes, for people."""
    m = isqrt(n)
    rule = "+".join(["-" * (2 * m + 1)] * m)[1:-1]
    out = []
    for r, row in enumerate(values["grid"]):
        signs = ["." if value is None else SYMBOLS[value - 1] for value in row]
        if r and r % m == 0:
            out.append(rule)
        out.append(" | ".join(" ".join(signs[c : c + m]) for c in range(0, n, m)))
    return "\n".join(out)


def _words(line: str) -> list[str]:
    """The first two words of a line."""
    return [word for word in _WORDS.split(line.strip(), maxsplit=2)[:2] if word]


def _legal(word: str) -> bool:
    n = SIZES.get(len(word))
    return n is not None and board(n).accepted.fullmatch(word) is not None


def _why(words: list[str]) -> tuple[str, str]:
    """What is wrong with a line, and what to do."""
    for word in words:
        n = SIZES.get(len(word))
        if n is not None:
            accepted = board(n).value
            place = next(k for k, sign in enumerate(word) if sign not in accepted)
            return (
                f"{shown(word[place])} at place {place + 1} is no value of a {n}x{n} grid",
                f"use 1 to {SYMBOLS[n - 1]}, and . or 0 for a blank",
            )
    longest = max(words, key=len)
    near = min(SIZES, key=lambda cells: abs(cells - len(longest)))
    return (
        f"{shown(longest, 20)} has {len(longest)} characters",
        f"write 16, 81, 256 or 625 (nearest: {near}, a {SIZES[near]}x{SIZES[near]} grid)",
    )
