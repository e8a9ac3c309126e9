"""Explicit structure evaluated plainly, by trying every value of the hidden sites."""

import functools
import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from engine.decimals import Ints
from engine.factors import Factors, Table
from engine.factors.family import Family

ENUMERATED = 512  # states up to which a rule is judged at all of them
TRIED = 1_024  # combinations of hidden sites that are counted
HIDDEN = 200_000  # combinations of hidden sites that the oracle looks at


@dataclass(frozen=True, eq=False)
class _Factor:
    """One factor, which its family is asked about once for each combination of its own sites."""

    sites: frozenset[int]
    read: Callable[[Ints], float]  # places of all sites -> its cost
    known: dict[tuple[int, ...], float] = field(default_factory=dict)  # by places of its sites

    def cost(self, places: list[int]) -> float:
        """What it costs where all sites stand so."""
        own = tuple([places[site] for site in self.sites])
        cost = self.known.get(own)
        if cost is None:
            cost = self.known[own] = self.read(np.array(places, dtype=np.int64))
        return cost


@dataclass(frozen=True, eq=False)
class _Choice:
    """A hidden site to try the values of, and what is left to choose in each case."""

    site: int
    values: int
    settled: list[_Factor]  # what looks at no later site
    deeper: "list[_Choice]"


def evaluate_factors(factors: Factors, places: Sequence[int] | Ints, row: int = 0) -> float:
    """The cost of the places of the visible sites, hidden ones at their best; inf = forbidden.

    A plain oracle for small structures: hidden sites are enumerated, component by component.
    `row` says which costs count where they differ by row.
    """
    places = [int(p) for p in places]
    assert len(places) == factors.visible, f"{len(places)} places for {factors.visible} sites"
    full = [*places, *[0] * (len(factors.sizes) - factors.visible)]
    fixed, choices = _plan(factors, row)
    return float(sum(f.cost(full) for f in fixed) + _best(choices, full, [HIDDEN]))


def count_completions(factors: Factors, places: Sequence[int] | Ints) -> int:
    """How many values of the hidden sites go with the places of the visible ones, nothing of it
    forbidden; a count that is not above 1 where there are too many to try."""
    hidden = factors.sizes[factors.visible :].tolist()
    if math.prod(hidden) > TRIED:
        return 0
    every, found = _every_factor(factors, 0), 0
    places = [int(p) for p in places]
    for choice in np.ndindex(*hidden):
        full = [*places, *choice]
        found += all(f.cost(full) < math.inf for f in every)
    return found


def _best(choices: list[_Choice], full: list[int], left: list[int]) -> float:
    """The least cost over the hidden sites; the others stand in `full`."""
    total = 0.0
    for choice in choices:
        best = math.inf
        for value in range(choice.values):
            left[0] -= 1
            if left[0] < 0:
                raise ValueError("too many combinations of hidden sites for the plain oracle")
            full[choice.site] = value
            cost = sum(f.cost(full) for f in choice.settled)
            if cost < math.inf:
                best = min(best, cost + _best(choice.deeper, full, left))
        total += best
    return total


@functools.lru_cache(maxsize=8)
def _plan(factors: Factors, row: int) -> tuple[list[_Factor], list[_Choice]]:
    """The factors of no hidden site, and in which order hidden sites are tried: the same for all
    states of a rule."""
    hidden = frozenset(range(factors.visible, len(factors.sizes)))
    every = _every_factor(factors, row)
    loose = [f for f in every if f.sites & hidden]
    fixed = [f for f in every if not f.sites & hidden]
    return fixed, _choices(loose, hidden, factors.sizes.tolist())


def _choices(loose: list[_Factor], hidden: frozenset[int], sizes: Sequence[int]) -> list[_Choice]:
    """One site of each component, that of most factors, and what it leaves."""
    found = []
    for part, sites in _components(loose, hidden):
        counts = Counter(itertools.chain.from_iterable(f.sites for f in part))
        pivot = max(sites, key=counts.__getitem__)
        rest = sites - {pivot}
        settled = [f for f in part if not f.sites & rest]
        deeper = _choices([f for f in part if f.sites & rest], rest, sizes)
        found.append(_Choice(pivot, sizes[pivot], settled, deeper))
    return found


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


@functools.lru_cache(maxsize=8)
def _every_factor(factors: Factors, row: int) -> list[_Factor]:
    """Every single factor, as its family says what it costs; the same for all states of a rule."""
    return [one for family in factors.families() if family.count for one in _single(family, row)]


def _single(family: Family, row: int) -> Iterator[_Factor]:
    if isinstance(family, Table):  # a list of combinations, read once
        for table in family.each():
            costs = table.costs[row if len(table.costs) > 1 else 0] if table.by_row else table.costs
            tuples = zip(table.tuples.tolist(), costs, strict=True)
            known = {tuple(t): float(c) for t, c in tuples}
            for k, sites in enumerate(table.scopes_of()):
                read = functools.partial(_read, table.picked(slice(k, k + 1)), known)
                yield _Factor(frozenset(sites.tolist()), read)
        return
    for k, sites in enumerate(family.scopes_of()):
        read = functools.partial(_asked, family.picked(slice(k, k + 1)), row)
        yield _Factor(frozenset(sites.tolist()), read)


def _asked(one: Family, row: int, x: Ints) -> float:
    """What a single factor of a family costs."""
    return float(one.costs_at(x, row)[0])


def _read(one: Table, known: dict[tuple[int, ...], float], x: Ints) -> float:
    """What a table over a single scope costs."""
    listed = known.get(tuple(x[one.scopes[0]].tolist()), one.default)
    return listed if one.binding_at(x)[0] else 0.0
