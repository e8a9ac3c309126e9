"""Explicit structure evaluated plainly, by trying every value of the hidden sites."""

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from engine.decimals import Ints
from engine.factors import Factors

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
    c, k, s, d = factors.counted, factors.clauses, factors.sums, factors.different
    for i in range(c.count):
        at = slice(c.start[i], c.start[i + 1])
        yield _counted(c.site[at], c.value[at], int(c.low[i]), int(c.high[i]))
    for i in range(k.count):
        at = slice(k.start[i], k.start[i + 1])
        yield _clause(k.site[at], k.value[at], k.sign[at])
    for i in range(s.count):
        at = slice(s.start[i], s.start[i + 1])
        yield _summed(s.site[at], s.value[at], s.coefficient[at], s.low[i], s.high[i])
    for line in d.lines():
        yield _Factor(
            frozenset(line.tolist()),
            lambda x, at=line: _forbid(len(set(x[at].tolist())) == len(at)),
        )
    for table in factors.plain().tables:
        costs = table.costs[row] if table.by_row else table.costs
        known = {tuple(t): float(c) for t, c in zip(table.tuples.tolist(), costs, strict=True)}
        for scope in table.scopes:
            yield _Factor(
                frozenset(scope.tolist()),
                lambda x, at=scope, known=known, default=table.default: known.get(
                    tuple(x[at].tolist()), default
                ),
            )


def _counted(site: Ints, value: Ints, low: int, high: int) -> _Factor:
    return _Factor(
        frozenset(site.tolist()), lambda x: _forbid(low <= int((x[site] == value).sum()) <= high)
    )


def _clause(site: Ints, value: Ints, sign: np.ndarray) -> _Factor:
    return _Factor(
        frozenset(site.tolist()), lambda x: _forbid(bool(((x[site] == value) == sign).any()))
    )


def _summed(site: Ints, value: Ints, coefficient: Any, low: float, high: float) -> _Factor:
    def cost(x: Ints) -> float:
        total = math.fsum(coefficient[x[site] == value])
        slack = 1e-9 * (1 + abs(total))
        return _forbid(low - slack <= total <= high + slack)

    return _Factor(frozenset(site.tolist()), cost)


def _forbid(good: bool) -> float:
    return 0.0 if good else math.inf
