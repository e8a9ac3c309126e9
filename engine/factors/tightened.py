"""Structure made tighter without changing what it allows: cliques of pairwise exclusions become
groups, sums that count are counts, and what has too little room is refuted by counting."""

from dataclasses import replace

import numpy as np

from engine.factors.exclusions import exclusive
from engine.factors.factors import Factors
from engine.factors.families import Clauses, Different, Ints, ints


def tighten(factors: Factors) -> Factors:
    """The same set of solutions, with fewer and stronger factors."""
    return _pigeonholes(_cliques(exclusive(factors)))


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


def overfull(factors: Factors) -> list[Ints]:
    """Sites that all differ and are one more than the values they have; of each line or clique of
    pairs that has too many, those with the fewest values. Each of (m,)"""
    merged = _cliques(factors)
    return [sites for _, sites in _overfull(merged)]


def _overfull(merged: Factors) -> list[tuple[int, Ints]]:
    """The same of structure whose cliques are merged, with the place of each line."""
    d, found = merged.different, []
    if d.count == 0:
        return []
    lengths, widths = np.diff(d.start), merged.sizes[d.site]
    if lengths.max() <= widths.min(initial=np.iinfo(np.int64).max):
        return []
    least = np.full(d.count, np.iinfo(np.int64).max)
    np.minimum.at(least, np.repeat(np.arange(d.count), lengths), widths)
    for k in np.flatnonzero(lengths > least).tolist():
        sites = np.unique(d.site[d.start[k] : d.start[k + 1]])
        sites = sites[np.argsort(merged.sizes[sites], kind="stable")]
        over = np.flatnonzero(merged.sizes[sites] <= np.arange(len(sites)))
        if len(over):
            found.append((k, sites[: over[0] + 1]))
    return found


def _pigeonholes(merged: Factors) -> Factors:
    """More sites than values in one line: an empty clause says so."""
    over, d = _overfull(merged), merged.different
    if not over:
        return merged
    first = over[0][0]
    empty = Clauses(ints([0, 0]), term=d.term[first : first + 1], part=d.part[first : first + 1])
    return replace(merged, clauses=Clauses.joined([merged.clauses, empty]))
