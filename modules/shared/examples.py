"""Small scopes and parameters at random, for the examples on which a kind is held to its laws.

rng is `random.Random`. A scope has at most four sites of at most three values, so that every state
can be tried.
"""

import random
from collections.abc import Sequence
from typing import Any

from engine.domain import Finite, Variable

SHAPES: tuple[tuple[tuple[int, ...], ...], ...] = (
    ((3,),), ((2, 2),), ((2,), ()), ((), (2,)), ((), (), (2,)),
)  # fmt: skip
VALUES: tuple[tuple[Any, ...], ...] = (
    (0, 1), (1, 2, 3), ("red", "green"), (True, 1), (3, 1, 2), (2,),
)  # fmt: skip


def scope_of(rng: random.Random) -> list[Variable]:
    """One to three finite variables, with equal values or each with its own."""
    alike, first = rng.random() < 0.5, rng.choice(VALUES)
    return [
        Variable(f"v{k}", Finite(first if alike else rng.choice(VALUES), shape))
        for k, shape in enumerate(rng.choice(SHAPES))
    ]


def values_of(scope: Sequence[Variable]) -> list[tuple[Any, ...]]:
    """The values at each site of a scope of finite variables."""
    every = [v.domain for v in scope]
    return [d.values for d in every if isinstance(d, Finite) for _ in range(d.sites)]


def literal(rng: random.Random, values: Sequence[tuple[Any, ...]]) -> tuple[int, Any]:
    """A site, and one of its values."""
    site = rng.randrange(len(values))
    return site, rng.choice(values[site])


def lines(
    rng: random.Random, values: Sequence[tuple[Any, ...]], least: int = 1, most: int = 4
) -> list[list[int]]:
    """None to three lists of different sites."""
    top = min(most, len(values))
    return [
        rng.sample(range(len(values)), rng.randint(least, top)) for _ in range(rng.randint(0, 3))
    ]


def pairs(rng: random.Random, values: Sequence[tuple[Any, ...]]) -> list[list[int]]:
    """None to three pairs of different sites."""
    return lines(rng, values, 2, 2)


def groups(rng: random.Random, values: Sequence[tuple[Any, ...]]) -> list[list[tuple[int, Any]]]:
    """None to three groups of one to four different literals."""
    made = []
    for _ in range(rng.randint(0, 3)):
        group = [literal(rng, values) for _ in range(rng.randint(1, 4))]
        made.append(list({(type(v), s, v): (s, v) for s, v in group}.values()))
    return made


def graph(rng: random.Random) -> tuple[list[Variable], list[list[int]]]:
    """One or two variables of 0 and 1, a site for each of at most five nodes, and edges between
    nodes: none to six, an edge twice or from a node to itself as well."""
    sizes = rng.choice([(1,), (3,), (4,), (5,), (2, 2), (1, 3)])
    values = rng.choice([(0, 1), (1, 0), (False, True)])
    variables = [Variable(f"v{k}", Finite(values, (n,))) for k, n in enumerate(sizes)]
    return variables, _edges(rng, sum(sizes), rng.randint(0, 6))


def links(rng: random.Random) -> tuple[Variable, list[list[int]], list[int]]:
    """A variable of 0 and 1 with a site for each of one to six edges, the edges, and at most five
    nodes that they may join; an edge twice or from a node to itself as well."""
    count = rng.randint(1, 6)
    names = sorted(rng.sample(range(9), rng.randint(2, 5)))
    edges = [[names[x] for x in edge] for edge in _edges(rng, len(names), count)]
    return Variable("taken", Finite(rng.choice([(0, 1), (1, 0)]), (count,))), edges, names


def _edges(rng: random.Random, nodes: int, count: int) -> list[list[int]]:
    return [[rng.randrange(nodes), rng.randrange(nodes)] for _ in range(count)]
