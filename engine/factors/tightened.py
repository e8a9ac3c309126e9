"""Structure made tighter without changing what it allows: cliques of pairwise exclusions become
groups, and lines with more sites than values are refuted by counting."""

from dataclasses import replace

import numpy as np

from engine.factors.factors import Factors
from engine.factors.families import Clauses, Different, concatenated, ints


def tighten(factors: Factors) -> Factors:
    """The same set of solutions, with fewer and stronger factors."""
    return _pigeonholes(_cliques(factors))


def _cliques(factors: Factors) -> Factors:
    """Pairs of different sites merged into lines that are pairwise different as a whole.

    Greedy edge cover by maximal cliques; a longer line counts its edges as covered.
    """
    d = factors.different
    if d.count == 0 or int(np.diff(d.start).min()) > 2:  # no pairs to merge
        return factors
    lines = d.lines()
    near: dict[int, int] = {}  # neighbours of each site, as the bits of an integer
    for line in lines:
        sites = line.tolist()
        bits = sum(1 << s for s in set(sites))
        for s in sites:
            near[s] = near.get(s, 0) | (bits & ~(1 << s))
    covered: dict[int, int] = dict.fromkeys(near, 0)
    kept: list[tuple[list[int], int, int]] = []
    order = sorted(range(len(lines)), key=lambda k: -len(lines[k]))
    for k in order:
        sites = lines[k].tolist()
        if len(set(sites)) < len(sites):  # nothing differs from itself
            kept.append((sites, int(d.term[k]), int(d.part[k])))
            continue
        if len(sites) == 2 and covered[sites[0]] >> sites[1] & 1:
            continue
        grown = _grown(sites, near, covered)
        bits = sum(1 << s for s in grown)
        for s in grown:
            covered[s] |= bits
        kept.append((grown, int(d.term[k]), int(d.part[k])))
    start = np.concatenate([[0], np.cumsum([len(line) for line, _, _ in kept])]).astype(np.int64)
    merged = Different(
        start,
        ints([s for line, _, _ in kept for s in line]),
        ints([t for _, t, _ in kept]),
        ints([p for _, _, p in kept]),
    )
    return replace(factors, different=merged)


def _grown(sites: list[int], near: dict[int, int], covered: dict[int, int]) -> list[int]:
    """A clique extended to a maximal one, preferring sites with many neighbours in reach that
    are not covered yet."""
    common = near[sites[0]]
    for s in sites[1:]:
        common &= near[s]
    members = list(sites)
    inside = sum(1 << s for s in members)
    while common:
        best, worth = -1, (-1, -1)
        rest = common
        while rest:
            low = rest & -rest
            s = low.bit_length() - 1
            rest ^= low
            fresh = (inside & ~covered[s]).bit_count()
            value = ((near[s] & common).bit_count(), fresh)
            if value > worth:
                best, worth = s, value
        members.append(best)
        inside |= 1 << best
        common &= near[best]
    return members


def _pigeonholes(factors: Factors) -> Factors:
    """More sites than values in one line: an empty clause says so."""
    d = factors.different
    over = [
        k
        for k, line in enumerate(d.lines())
        if len(line) and len(line) > int(factors.sizes[line].max())
    ]
    if not over:
        return factors
    first = over[0]
    empty = Clauses(ints([0, 0]), term=d.term[first : first + 1], part=d.part[first : first + 1])
    return replace(factors, clauses=concatenated(Clauses, [factors.clauses, empty]))
