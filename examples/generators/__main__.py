"""Writes the example files anew: `python -m examples.generators` in the root of the checkout."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from examples.generators import VARIANTS
from examples.generators.blocks import OPEN, blocks, labels_query, open_blocks, trust_query
from examples.generators.documents import written
from examples.generators.loans import loan_query, loans, open_table, table_of
from examples.generators.sudoku import line_of, sudoku
from examples.generators.weighted import knapsack, roster
from examples.generators.zebra import einstein

FOLDER = Path(__file__).resolve().parents[1]
SEED = 1
FILES: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "sudoku_16x16": (partial(VARIANTS["sudoku 16x16"], SEED), "A 16x16 Sudoku."),
    "sudoku_25x25": (partial(VARIANTS["sudoku 25x25"], SEED), "A 25x25 Sudoku."),
    "sudoku_diagonal": (
        partial(VARIANTS["diagonal"], SEED),
        "A Sudoku whose two long diagonals hold every value once, too.",
    ),
    "sudoku_anti_knight": (
        partial(VARIANTS["anti-knight"], SEED),
        "A Sudoku in which cells a knight's move apart differ.",
    ),
    "sudoku_anti_king": (
        partial(VARIANTS["anti-king"], SEED),
        "A Sudoku in which cells a king's move apart differ.",
    ),
    "sudoku_even_odd": (
        partial(VARIANTS["even and odd cells"], SEED),
        "A Sudoku in which some cells are known to be even, or odd.",
    ),
    "sudoku_killer": (
        partial(VARIANTS["killer cages"], SEED),
        "A killer Sudoku: each cage holds different values of a given sum.",
    ),
    "sudoku_jigsaw": (
        partial(VARIANTS["jigsaw"], SEED),
        "A Sudoku with crooked regions in place of boxes.",
    ),
    "sudoku_greater_than": (
        partial(VARIANTS["greater-than"], SEED),
        "A Sudoku that tells of some neighbours which is greater.",
    ),
    "queens": (
        partial(VARIANTS["n-queens"], SEED),
        "Twelve queens, some of them placed: a site is a row, its value a column.",
    ),
    "magic_square": (
        partial(VARIANTS["magic square 4x4"], SEED),
        "A magic square of 1 to 16, partly filled in: every line adds up to 34.",
    ),
    "zebra": (einstein, "Who owns the zebra? The number of its house is that of the answer."),
    "timetable": (
        partial(VARIANTS["timetable"], SEED),
        "A timetable of fifteen lessons: rules must hold, wishes are weighed.",
    ),
    "map_coloring": (
        partial(VARIANTS["map colouring"], SEED),
        "A map of 24 countries in four colours: neighbours differ.",
    ),
    "knapsack": (
        partial(knapsack, 40, SEED),
        "What to take of forty things when half their weight may be carried.",
    ),
    "roster": (
        partial(roster, 8, 14, SEED),
        "Fourteen days of eight nurses: shifts, rest, and the wishes that are cheapest to leave.",
    ),
    "blocks_trust": (
        trust_query,
        "Which nodes of a graph should I not trust, and by which of three energies?",
    ),
    "blocks_labels": (
        labels_query,
        "To which block of a graph does each node belong?",
    ),
    "loans": (
        loan_query,
        "The likeliest loan that was not repaid, at 41.5 years, in May, with little debt.",
    ),
}


def query_file(stem: str) -> str:
    """The text of one example."""
    make, about = FILES[stem]
    ask = f"basin ask examples/{stem}.yaml"
    again = "Made by: python -m examples.generators"
    query = {name: part for name, part in make().items() if part}
    return written(query, [f"{about}  {ask} --prove", again])


def puzzle_file() -> str:
    """Ten 9x9, two 4x4 and one 16x16 puzzle."""
    lines = ["# Thirteen Sudokus, each with one solution. Ask them:  basin ask examples/sudoku.txt"]
    lines += ["# Made by: python -m examples.generators"]
    sizes = [9] * 10 + [4] * 2 + [16]
    lines += [line_of(sudoku(SEED + k, n)) for k, n in enumerate(sizes)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write every file."""
    for stem in FILES:
        (FOLDER / f"{stem}.yaml").write_text(query_file(stem))
    (FOLDER / "sudoku.txt").write_text(puzzle_file())
    np.savez_compressed(FOLDER / "blocks.npz", **blocks(SEED, 300))
    np.savez_compressed(FOLDER / OPEN, **open_blocks())
    (FOLDER / "loans.csv").write_text(table_of(loans(SEED, 3000)))
    (FOLDER / "loans_open.csv").write_text(open_table(SEED + 1))


if __name__ == "__main__":
    main()
