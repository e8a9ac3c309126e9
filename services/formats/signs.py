"""The signs of a Sudoku: which are blanks, and whether 0 is one of them or a value.

What cannot be told is a mistake.
"""

from collections.abc import Sequence
from itertools import combinations
from math import isqrt
from typing import NamedTuple

from engine.errors import Mistakes, shown
from modules.shared.lines import whole_of

SYMBOLS = "123456789ABCDEFGHIJKLMNOP"
SIZES = {n**2: n for n in (4, 9, 16, 25)}  # by number of cells
BLANKS = ".-*_?xX"  # and 0, where it is no value
DOTTED = str.maketrans(dict.fromkeys(BLANKS, ".") | {s.lower(): s for s in SYMBOLS})


class Puzzle(NamedTuple):
    """One board: its cells as signs, `.` where nothing is given, or 0 if values begin at 1."""

    line: int
    n: int
    first: int  # of the values: 1, or 0 where 0 is no blank
    cells: str


class Odd(Exception):
    """A board that cannot be read: what is wrong, and what to do."""


def board_of(line: int, n: int, cells: Sequence[str]) -> Puzzle:
    """A board of n x n cells, each a sign or a number. Raises Odd."""
    numbers = not isinstance(cells, str) and max(map(len, cells)) > 1
    if numbers:
        cells = [_of_number(cell, place, n) for place, cell in enumerate(cells, 1)]
    blanks = sorted(set("".join(cells).lower()) & set(BLANKS))
    text = "".join(cells).translate(DOTTED)
    if strange := set(text) - set(f".0{SYMBOLS[:n]}"):
        place = next(k for k, sign in enumerate(text) if sign in strange)
        raise _no_value(cells[place], place + 1, n, _last(n))
    if len(blanks) > 1:
        raise Odd(f"{' and '.join(blanks)} both stand for blanks", "write all blanks alike")
    zero = _zero(n, text)
    if zero is None:
        raise Odd(
            f"0 and {blanks[0]} both occur, so that 0 may be a value or a blank",
            f"write blanks as . and values as 1 to {_last(n)}",
        )
    return Puzzle(line, n, 0 if zero else 1, text)


def _of_number(cell: str, place: int, n: int) -> str:
    """The sign of a number, or of a blank. Raises Odd."""
    number = whole_of(cell)
    if number is not None and 0 <= number <= n:
        return f"0{SYMBOLS}"[number]
    if len(cell) > 1 or cell not in BLANKS:
        raise _no_value(cell, place, n, str(n))
    return cell


def _no_value(cell: str, place: int, n: int, last: str) -> Odd:
    return Odd(
        f"{shown(cell)} at place {place} is no value of a {n}x{n} grid",
        f"use 1 to {last}, and . or 0 for a blank",
    )


def _zero(n: int, text: str) -> bool | None:
    """Whether 0 is a value, so that values run from 0 to n - 1; None: it cannot be told.

    Beside another sign for blanks it is, where the last of 1 to n does not occur and all 0 could be
    one value: up to n of them, and on small boards, where digits from 1 are usual, no two in a row,
    column or box. Without another sign it is a blank; only large boards that are full have values.
    """
    zeros = [place for place, sign in enumerate(text) if sign == "0"]
    if not zeros:
        return False
    large = n >= 16
    if "." not in text:
        return large and all(text.count(sign) == n for sign in f"0{SYMBOLS[: n - 1]}")
    if _last(n) in text:
        return None if large else False
    if large:
        return True if len(zeros) <= n else None
    m = isqrt(n)
    units = [(k // n, k % n, (k // n // m, k % n // m)) for k in zeros]
    apart = all(a != b for one, two in combinations(units, 2) for a, b in zip(one, two))
    return True if apart else None


def alike(puzzles: list[Puzzle], wrong: Mistakes) -> list[Puzzle]:
    """Boards that leave open whether 0 is a value, read as the others of the text."""
    zeros = {p.n: p for p in reversed(puzzles) if p.first == 0}
    if not zeros:
        return puzzles
    unclear = [p for p in puzzles if p.first == 1 and p.n in zeros and _last(p.n) not in p.cells]
    for p in unclear:
        if "0" in p.cells:
            problem = f"0 is a blank here, and a value in line {zeros[p.n].line}"
            wrong.add(p.line, problem, "write blanks as .")
    for p in puzzles:
        if _last(p.n) in p.cells:
            zeros.pop(p.n, None)
    return [p._replace(first=0) if p.n in zeros else p for p in puzzles]


def _last(n: int) -> str:
    """The sign of the last value, where values begin at 1."""
    return SYMBOLS[n - 1]
