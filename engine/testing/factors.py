"""Explicit structure evaluated plainly, by trying every value of the hidden sites."""

import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from engine.decimals import Ints
from engine.factors import Factors, Table

ENUMERATED = 512  # states up to which a rule is judged at all of them
TRIED = 1_024  # combinations of hidden sites that are counted
HIDDEN = 200_000  # combinations of hidden sites that the oracle looks at


class _Factor(NamedTuple):
    """One factor: its sites, and what it reads its cost from."""

    sites: frozenset[int]
    cost: Any  # places of all sites -> float


def evaluate_factors(factors: Factors, places: Sequence[int] | Ints, row: int = 0) -> float:
    """The cost of the places of the visible sites, hidden ones at their best; inf = forbidden.

    A plain oracle for small structures: hidden sites are enumerated, component by component.
    `row` says which costs count where they differ by row.
    """
    places = [int(p) for p in places]
    assert len(places) == factors.visible, f"{len(places)} places for {factors.visible} sites"
    full = np.array([*places, *[0] * (len(factors.sizes) - factors.visible)])
    hidden = frozenset(range(factors.visible, len(factors.sizes)))
    every = list(_every_factor(factors, row))
    fixed = sum(f.cost(full) for f in every if not f.sites & hidden)
    loose = [f for f in every if f.sites & hidden]
    return float(fixed + _best(loose, hidden, full, factors.sizes, [HIDDEN]))


def count_completions(factors: Factors, places: Sequence[int] | Ints) -> int:
    """How many values of the hidden sites go with the places of the visible ones, nothing of it
    forbidden; a count that is not above 1 where there are too many to try."""
    hidden = factors.sizes[factors.visible :].tolist()
    if math.prod(hidden) > TRIED:
        return 0
    every, found = list(_every_factor(factors, 0)), 0
    for choice in np.ndindex(*hidden):
        full = np.array([*places, *choice])
        found += all(f.cost(full) < math.inf for f in every)
    return found


def _best(
    loose: list[_Factor], hidden: frozenset[int], full: Ints, sizes: Ints, left: list[int]
) -> float:
    """The least cost over the hidden sites; the others stand in `full`."""
    total = 0.0
    for part, sites in _components(loose, hidden):
        if not part:
            continue
        pivot = max(sites, key=lambda s: sum(s in f.sites for f in part))
        best, rest = math.inf, sites - {pivot}
        for value in range(int(sizes[pivot])):
            left[0] -= 1
            if left[0] < 0:
                raise ValueError("too many combinations of hidden sites for the plain oracle")
            full[pivot] = value
            cost = sum(f.cost(full) for f in part if not f.sites & rest)
            if cost < math.inf:
                deeper = [f for f in part if f.sites & rest]
                best = min(best, cost + _best(deeper, rest, full, sizes, left))
        total += best
    return total


def _components(
    loose: list[_Factor], hidden: frozenset[int]
) -> Iterator[tuple[list[_Factor], frozenset[int]]]:
    """Hidden sites that share factors, together with these."""
    rest = list(loose)
    while rest:
        part = [rest.pop()]
        sites = set(part[0].sites & hidden)
        grown = True
        while grown:
            near = [f for f in rest if f.sites & sites]
            grown = bool(near)
            rest = [f for f in rest if not f.sites & sites]
            for f in near:
                part.append(f)
                sites |= f.sites & hidden
        yield part, frozenset(sites)


def _every_factor(factors: Factors, row: int) -> Iterator[_Factor]:
    """Every single factor, as its family says what it costs."""
    for family in factors.families():
        if not family.count:
            continue
        if isinstance(family, Table):  # a list of combinations, read once
            yield from _of_table(family, row)
            continue
        for k, sites in enumerate(family.scopes_of()):
            one = family.picked(slice(k, k + 1))
            yield _Factor(
                frozenset(sites.tolist()), lambda x, one=one: float(one.costs_at(x, row)[0])
            )


def _of_table(table: Table, row: int) -> Iterator[_Factor]:
    for one in table.each():
        costs = one.costs[row if len(one.costs) > 1 else 0] if one.by_row else one.costs
        known = {tuple(t): float(c) for t, c in zip(one.tuples.tolist(), costs, strict=True)}
        for k, sites in enumerate(one.scopes_of()):
            cost = functools.partial(_read, one.picked(slice(k, k + 1)), known)
            yield _Factor(frozenset(sites.tolist()), cost)


def _read(one: Table, known: dict[tuple[int, ...], float], x: Ints) -> float:
    """What a table over a single scope costs."""
    listed = known.get(tuple(x[one.scopes[0]].tolist()), one.default)
    return listed if one.binding_at(x)[0] else 0.0
