"""Small Sudokus of our own: a shuffled pattern grid, dug out while the solution stays unique.

Uniqueness is decided by plain backtracking that shares nothing with the engine: an oracle.
"""

import random
from functools import lru_cache
from math import isqrt

SIGNS = "123456789ABCDEFGHIJKLMNOP"


def grid(n: int, rng: random.Random) -> list[int]:
    """A full grid of size n x n: the pattern grid with everything shuffled that may be."""
    m = isqrt(n)

    def shuffled() -> list[int]:
        return [m * band + k for band in rng.sample(range(m), m) for k in rng.sample(range(m), m)]

    rows, columns, signs = shuffled(), shuffled(), rng.sample(range(1, n + 1), n)
    return [signs[(m * (r % m) + r // m + c) % n] for r in rows for c in columns]


@lru_cache
def peers(n: int) -> tuple[tuple[int, ...], ...]:
    """The cells that share a row, a column or a box with each cell."""
    m = isqrt(n)

    def units(cell: int) -> tuple[int, int, int]:
        r, c = divmod(cell, n)
        return r, c, m * (r // m) + c // m

    cells = range(n * n)
    return tuple(
        tuple(b for b in cells if b != a and any(map(int.__eq__, units(a), units(b))))
        for a in cells
    )


def solutions(n: int, cells: list[int], most: int = 2) -> list[list[int]]:
    """Up to `most` ways to fill the cells that are 0, fewest choices first."""
    found: list[list[int]] = []
    cells = list(cells)

    def choices(cell: int) -> list[int]:
        seen = {cells[other] for other in peers(n)[cell]}
        return [value for value in range(1, n + 1) if value not in seen]

    def fill() -> None:
        best, least = -1, None
        for cell, value in enumerate(cells):
            if value == 0:
                open_values = choices(cell)
                if least is None or len(open_values) < len(least):
                    best, least = cell, open_values
        if least is None:
            found.append(list(cells))
            return
        for value in least:
            cells[best] = value
            fill()
            if len(found) >= most:
                break
        cells[best] = 0

    if all(value == 0 or value in choices(cell) for cell, value in enumerate(cells)):
        fill()
    return found


def puzzle(n: int, seed: int, holes: int | None = None) -> tuple[str, str]:
    """A puzzle with one solution, and the solution. `holes`: stop digging there."""
    rng = random.Random(seed)
    full = grid(n, rng)
    cells = list(full)
    left = n * n if holes is None else holes
    for cell in rng.sample(range(n * n), n * n):
        if left == 0:
            break
        cells[cell] = 0
        if len(solutions(n, cells)) > 1:
            cells[cell] = full[cell]
        else:
            left -= 1
    return written(cells), written(full)


def written(cells: list[int]) -> str:
    """Cells as one string, `.` where they are open."""
    return "".join(SIGNS[value - 1] if value else "." for value in cells)
