"""Solved Sudokus, one a line: `python -m examples.generators.grids 200 > grids.txt`."""

import random
import sys

from examples.generators.sudoku import SIGNS, board, full_board


def grids(count: int, seed: int = 1, n: int = 9) -> list[str]:
    """Random full boards of n x n."""
    rng = random.Random(f"grids {n} {seed}")
    query = board(n)
    return ["".join(SIGNS[v - 1] for v in full_board(query, rng)) for _ in range(count)]


if __name__ == "__main__":
    print("\n".join(grids(int(sys.argv[1]))))
