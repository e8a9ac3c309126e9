"""Map colouring: countries that share a border have different colours."""

import random
from typing import Any

from examples.generators.regions import neighbours, random_countries

COLOURS = ("red", "green", "blue", "yellow")


def map_coloring(seed: int, countries: int = 24, side: int = 14) -> dict[str, Any]:
    """A random map, cut out of a square of `side` x `side` fields; such a map is planar, so four
    colours are enough. Two neighbours have their colour already."""
    rng = random.Random(f"map {countries} {seed}")
    owner = {
        field: k
        for k, fields in enumerate(random_countries(side, countries, rng))
        for field in fields
    }
    borders = sorted(
        {(owner[a], owner[b]) for a in owner for b in neighbours(a, side) if owner[a] < owner[b]}
    )
    given: list[str | None] = [None] * countries
    first, second = rng.choice(borders)
    given[first], given[second] = rng.sample(COLOURS, 2)
    return {
        "variables": {"country": {"values": list(COLOURS), "shape": [countries]}},
        "terms": [
            {
                "kind": "graph.coloring",
                "scope": ["country"],
                "name": "borders",
                "params": {"edges": [list(edge) for edge in borders]},
            }
        ],
        "evidence": {"country": given},
    }
