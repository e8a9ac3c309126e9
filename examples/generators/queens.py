"""The n queens: one in each row and column of a board, no two on a diagonal."""

import random
from typing import Any

from examples.generators.settled import dug, flat_of, problem_of, settled


def board(n: int) -> dict[str, Any]:
    """The query of an empty board: sites are rows, values are columns from 1."""
    falling = [[[r, c] for r in range(n) for c in range(1, n + 1) if c - r == d] for d in _ways(n)]
    rising = [
        [[r, c] for r in range(n) for c in range(1, n + 1) if c + r == d + n] for d in _ways(n)
    ]
    groups = [group for group in falling + rising if len(group) > 1]
    return {
        "variables": {"queens": {"values": list(range(1, n + 1)), "shape": [n]}},
        "terms": [
            {
                "kind": "discrete.all_different",
                "scope": ["queens"],
                "name": "columns",
                "params": {"lines": [list(range(n))]},
            },
            {
                "kind": "discrete.at_most_one",
                "scope": ["queens"],
                "name": "diagonals",
                "params": {"groups": groups},
            },
        ],
        "evidence": {},
    }


def queens(seed: int, n: int = 12) -> dict[str, Any]:
    """Some queens stand already; there is one way to place the others."""
    rng = random.Random(f"queens {n} {seed}")
    query = board(n)
    return dug(query, "queens", _placed(query, n, rng), rng, ahead=4)


def _placed(query: dict[str, Any], n: int, rng: random.Random) -> list[int]:
    """All queens, the first few at random."""
    problem = problem_of(query)
    while True:
        rows = rng.sample(range(n), 3)
        columns = rng.sample(range(1, n + 1), 3)
        given = [columns[rows.index(r)] if r in rows else None for r in range(n)]
        answer = settled(problem, [{"queens": given}], unique=False)[0]
        if answer.values is not None and answer.holds:
            return flat_of(answer.values["queens"])


def _ways(n: int) -> range:
    """The diagonals of one direction."""
    return range(2 - n, n + 1)
