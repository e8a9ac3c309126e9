"""Magic squares: each number once, and all rows, columns and both diagonals of one sum."""

import random
from typing import Any

from examples.generators.settled import dug, flat_of, problem_of, settled


def square(n: int) -> dict[str, Any]:
    """The query of an empty square."""
    count = n * n
    rows = [[r * n + c for c in range(n)] for r in range(n)]
    columns = [list(column) for column in zip(*rows, strict=True)]
    diagonals = [[k * n + k for k in range(n)], [k * n + n - 1 - k for k in range(n)]]
    names = [f"row {k + 1}" for k in range(n)] + [f"column {k + 1}" for k in range(n)]
    sums = [
        {
            "kind": "discrete.linear",
            "scope": ["square"],
            "name": name,
            "params": {
                "terms": [[site, v, v] for site in line for v in range(1, count + 1)],
                "compare": "==",
                "constant": n * (count + 1) // 2,
            },
        }
        for name, line in zip(
            [*names, "falling diagonal", "rising diagonal"],
            rows + columns + diagonals,
            strict=True,
        )
    ]
    once = {
        "kind": "discrete.all_different",
        "scope": ["square"],
        "name": "each number once",
        "params": {"lines": [list(range(count))]},
    }
    values = list(range(1, count + 1))
    return {
        "variables": {"square": {"values": values, "shape": [n, n]}},
        "terms": [once, *sums],
        "evidence": {},
    }


def magic_square(seed: int, n: int = 4) -> dict[str, Any]:
    """Some numbers are given; there is one way to fill in the others."""
    rng = random.Random(f"magic {n} {seed}")
    query = square(n)
    return dug(query, "square", _filled(query, n, rng), rng, ahead=4)


def _filled(query: dict[str, Any], n: int, rng: random.Random) -> list[int]:
    """A magic square with a random number in a random corner or two."""
    problem = problem_of(query)
    while True:
        flat: list[int | None] = [None] * (n * n)
        values = rng.sample(range(1, n * n + 1), n - 2)
        for site, value in zip(rng.sample(range(n * n), n - 2), values, strict=True):
            flat[site] = value
        rows = [flat[k * n : (k + 1) * n] for k in range(n)]
        answer = settled(problem, [{"square": rows}], unique=False)[0]
        if answer.values is not None and answer.holds:
            return flat_of(answer.values["square"])
