"""Generators of example queries: seeded, and only of kinds that exist. Nothing here is a rule.

`VARIANTS[name](seed)` gives a plain query, as a YAML file would hold it. Those in `UNIQUE` have
one solution.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from examples.generators.magic import magic_square
from examples.generators.maps import map_coloring
from examples.generators.queens import queens
from examples.generators.sudoku import sudoku
from examples.generators.timetable import timetable
from examples.generators.variants import (
    anti_king,
    anti_knight,
    diagonal,
    even_odd,
    greater_than,
    jigsaw,
    killer,
)
from examples.generators.zebra import zebra

VARIANTS: dict[str, Callable[[int], dict[str, Any]]] = {
    "sudoku 4x4": partial(sudoku, n=4),
    "sudoku 9x9": sudoku,
    "sudoku 16x16": partial(sudoku, n=16),
    "sudoku 25x25": partial(sudoku, n=25),
    "diagonal": diagonal,
    "anti-knight": anti_knight,
    "anti-king": anti_king,
    "even and odd cells": even_odd,
    "killer cages": killer,
    "jigsaw": jigsaw,
    "greater-than": greater_than,
    "n-queens": queens,
    "magic square 3x3": partial(magic_square, n=3),
    "magic square 4x4": magic_square,
    "zebra puzzle": zebra,
    "timetable": timetable,
    "map colouring": map_coloring,
}
UNIQUE = frozenset(VARIANTS) - {"timetable", "map colouring"}

__all__ = ["UNIQUE", "VARIANTS"]
