"""Sudokus with further rules, each rule a term of an existing kind: no code is needed."""

import itertools
import random
from collections.abc import Iterable
from typing import Any

from examples.generators.regions import neighbours, random_cages, random_regions
from examples.generators.settled import dug
from examples.generators.sudoku import board, boxes, full_board

KNIGHT = ((1, 2), (2, 1), (2, -1), (1, -2))
KING = ((1, 1), (1, -1))  # sideways is a matter of rows and columns
N = 9


def diagonal(seed: int) -> dict[str, Any]:
    """Both long diagonals hold every value once, too."""
    lines = [[k * N + k for k in range(N)], [k * N + N - 1 - k for k in range(N)]]
    return _made("diagonal", seed, board(N, _term("all_different", "diagonals", lines=lines)))


def anti_knight(seed: int) -> dict[str, Any]:
    """Cells a knight's move apart differ."""
    pairs = _steps(KNIGHT)
    return _made("anti-knight", seed, board(N, _term("not_equal", "knight's moves", pairs=pairs)))


def anti_king(seed: int) -> dict[str, Any]:
    """Cells a king's move apart differ."""
    pairs = _steps(KING)
    return _made("anti-king", seed, board(N, _term("not_equal", "king's moves", pairs=pairs)))


def even_odd(seed: int) -> dict[str, Any]:
    """Some cells are marked: their values are even, or odd."""
    rng = random.Random(f"even-odd {seed}")
    full = full_board(board(N), rng)
    marked = sorted(rng.sample(range(N * N), 30))
    groups = [[[c, v] for v in range(1, N + 1) if v % 2 == full[c] % 2] for c in marked]
    query = board(N, _term("exactly_one", "even and odd cells", groups=groups))
    return dug(query, "grid", full, rng, keep=18)


def killer(seed: int) -> dict[str, Any]:
    """Cages hold different values of a given sum."""
    rng = random.Random(f"killer {seed}")
    full = full_board(board(N), rng)
    cages = random_cages(N, full, rng)
    terms = [_term("all_different", "cages", lines=cages)]
    for cage in cages:
        total = sum(full[c] for c in cage)
        terms.append(
            _term(
                "linear",
                f"cage of {cage[0] // N + 1}/{cage[0] % N + 1}",
                terms=[[c, v, v] for c in cage for v in range(1, N + 1)],
                compare="==",
                constant=total,
            )
        )
    return dug(board(N, *terms), "grid", full, rng, keep=4, ahead=32)


def jigsaw(seed: int) -> dict[str, Any]:
    """Crooked regions stand in place of the boxes."""
    for attempt in itertools.count():
        rng = random.Random(f"jigsaw {seed} {attempt}")
        query = board(N, regions=random_regions(boxes(N), N, rng))
        try:
            full = full_board(query, rng)
        except ValueError:  # some cuts leave no way to fill the board
            continue
        return dug(query, "grid", full, rng, keep=22)
    raise AssertionError


def greater_than(seed: int) -> dict[str, Any]:
    """Between some neighbours inside a box it is given which is greater."""
    rng = random.Random(f"greater-than {seed}")
    full = full_board(board(N), rng)
    inside = {c: k for k, box in enumerate(boxes(N)) for c in box}
    pairs = [(a, b) for a in range(N * N) for b in neighbours(a, N) if inside[a] == inside[b]]
    pairs = [pair for pair in pairs if full[pair[0]] > full[pair[1]]]  # each once, greater first
    sites = [list(pair) for pair in sorted(rng.sample(pairs, 60))]
    costs = [[0 if a > b else None for b in range(N)] for a in range(N)]
    greater = _term("table", "the first is greater", sites=sites, costs=costs) | {"required": True}
    return dug(board(N, greater), "grid", full, rng, keep=8, ahead=32)


def _made(name: str, seed: int, query: dict[str, Any]) -> dict[str, Any]:
    rng = random.Random(f"{name} {seed}")
    return dug(query, "grid", full_board(query, rng), rng, keep=10)


def _term(kind: str, name: str, **params: Any) -> dict[str, Any]:
    return {"kind": f"discrete.{kind}", "scope": ["grid"], "name": name, "params": params}


def _steps(moves: Iterable[tuple[int, int]]) -> list[list[int]]:
    """The pairs of cells that one of these steps joins."""
    return [
        [r * N + c, (r + down) * N + c + right]
        for r in range(N)
        for c in range(N)
        for down, right in moves
        if r + down < N and 0 <= c + right < N
    ]
