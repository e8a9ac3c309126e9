"""Crosswords and word squares: lines of a grid, `.` open, `#` a block, letters as given.

Every run of at least two cells, across and down, is to be a word. Empty lines part the grids of a
file; a line of a grid that begins with `#` is a line of the grid. `--given '{"words": FILE}'` names
a list of words, one a line; without it a few hundred common English words are used. The solution is
the list of lines.
"""

import string
from collections.abc import Sequence
from typing import Any, ClassVar

from engine.errors import BadQuery, Mistake, Mistakes, shown
from modules.language._dictionary import read_words
from modules.shared.lines import lines_of
from modules.shared.reading.texts import check_utf8
from services.formats.base import Asked, Format, Values, given_values
from services.query import Query, query_of

LETTERS = string.ascii_lowercase
OPEN, BLOCK = ".", "#"
LARGEST = 64  # cells of a line
Grid = tuple[str, ...]


class Crossword(Format):
    name: ClassVar[str] = "crossword"
    suffixes: ClassVar[tuple[str, ...]] = (".crossword", ".xw")

    def sniff(self, text: str) -> bool:
        del text  # a Sudoku may look like one: its name or --format says so
        return False

    def read(self, text: str, source: str, given: Any) -> list[Asked]:
        words = _words(given_values(given, ("words",)))
        check_utf8(text)
        wrong = Mistakes()
        grids = read_grids(text, wrong)
        wrong.check()
        alike: dict[Grid, list[tuple[int, Grid]]] = {}
        for number, grid in enumerate(grids, 1):
            blocks = tuple("".join(BLOCK if c == BLOCK else OPEN for c in line) for line in grid)
            alike.setdefault(blocks, []).append((number, grid))
        out = []
        for blocks, own in alike.items():
            query = crossword_query(blocks, [grid for _, grid in own], words)
            numbers = tuple(number for number, _ in own)
            out.append(Asked(query, source, numbers, written, drawn))
        return out


def _words(given: dict[str, Any]) -> dict[str, Any]:
    """The parameters that name the words."""
    if "words" not in given:
        return {}
    words = given["words"]
    named = {"file": words} if isinstance(words, str) else {"words": words}
    try:
        read_words(named.get("words"), named.get("file"))
    except BadQuery as error:
        first = error.mistakes[0]
        raise BadQuery(Mistake("--given.words", first.problem, first.remedy)) from None
    return named


def read_grids(text: str, wrong: Mistakes) -> list[Grid]:
    """The grids of a text, in small letters; what is wrong is told by line."""
    grids: list[list[str]] = []
    first = 0  # line of the present grid
    previous = ""
    number = 0
    for number, raw in enumerate([*lines_of(text), ""], 1):
        line = raw.strip().lower()
        if line and not previous:
            grids.append([])
            first = number
        if line:
            strange = next((c for c in line if c not in LETTERS + OPEN + BLOCK), None)
            if strange is not None:
                wrong.add(number, f"{shown(strange)} is no cell", "write ., # or a letter a to z")
            if len(line) != len((grids[-1] or [line])[0]):
                told = f"has {len(line)} cells, the first line of its grid {len(grids[-1][0])}"
                wrong.add(number, told, "give as many, and part grids by an empty line")
            if len(line) > LARGEST or len(grids[-1]) == LARGEST:
                wrong.add(number, "is too long", f"give at most {LARGEST} x {LARGEST} cells")
            grids[-1].append(line)
        elif previous and not wrong.found:
            _check_cells(grids[-1], first, wrong)
        previous = line
    if not grids:
        wrong.add(1, "there is no grid", "write lines of ., # and letters")
    return [tuple(grid) for grid in grids]


def _check_cells(grid: Sequence[str], first: int, wrong: Mistakes) -> None:
    """Every open cell has to stand in a word."""
    width = len(grid[0])
    seen = {cell for line in lines_of_grid(grid) for cell in line}
    for k, sign in enumerate("".join(grid)):
        if sign != BLOCK and k not in seen:
            told = f"cell {k % width + 1} stands in no word"
            wrong.add(first + k // width, told, "make it a block, or open a cell beside it")


def lines_of_grid(grid: Sequence[str]) -> list[list[int]]:
    """The cells of every word, flat: those across, then those down."""
    height, width = len(grid), len(grid[0])
    across = [[r * width + c for c in range(width)] for r in range(height)]
    down = [[r * width + c for r in range(height)] for c in range(width)]
    out: list[list[int]] = []
    cells = "".join(grid)
    for line in (*across, *down):
        run: list[int] = []
        for cell in (*line, None):
            if cell is not None and cells[cell] != BLOCK:
                run.append(cell)
                continue
            if len(run) > 1:
                out.append(run)
            run = []
    return out


def crossword_query(blocks: Grid, grids: Sequence[Grid], words: dict[str, Any]) -> Query:
    """Grids with the same blocks as the rows of one query."""
    evidence = [
        {"grid": [[None if sign == OPEN else sign for sign in line] for line in grid]}
        for grid in grids
    ]
    return query_of(
        {
            "variables": {
                "grid": {"values": [*LETTERS, BLOCK], "shape": [len(blocks), len(blocks[0])]}
            },
            "terms": [
                {
                    "kind": "language.in_dictionary",
                    "scope": ["grid"],
                    "params": {"lines": lines_of_grid(blocks), **words},
                }
            ],
            "evidence": evidence,
        }
    )


def written(values: Values) -> list[str]:
    """The grid as a list of lines."""
    return ["".join(OPEN if sign is None else sign for sign in line) for line in values["grid"]]


def drawn(values: Values) -> str:
    """The grid, for people."""
    return "\n".join(" ".join(line).upper() for line in written(values))
