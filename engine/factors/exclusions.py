"""Literals of which at most one is true, wherever that is said: in sums, in pairs, in groups; and
what follows by counting alone.

Pairs that exclude each other are merged into cliques. Lists of which something is true, more of
them than groups that hold their literals, cannot all be served: what clause learning needs time
without measure for (pigeonholes) is a matching. Source: Hall, "On representatives of subsets",
Journal of the London Mathematical Society 1935.
"""

from dataclasses import replace

import numpy as np

from engine.decimals import Ints
from engine.factors.factors import Factors
from engine.factors.families import Clauses, Counted, Lists, Sums, ints, starts

MOST = 20_000  # literals in pairs, up to which cliques are looked for
ARCS = 100_000  # of a matching


def exclusive(factors: Factors) -> Factors:
    """The same set of solutions, with counts in place of sums and pairs that say no more."""
    own = _cliques(_counts(factors))
    new = own is not factors
    groups = int(((own.counted.high == 1) & (own.counted.lengths() > 1)).sum())
    wide = int((own.sizes > 2).sum()) + int((own.counted.low > 0).sum())
    if groups and (new or wide > groups) and _overfull(own):
        empty = Clauses(ints([0, 0]), term=own.counted.term[:1], part=own.counted.part[:1])
        return replace(own, clauses=Clauses.joined([own.clauses, empty]))
    return own


def _counts(factors: Factors) -> Factors:
    """Sums of which no two literals fit, or each suffices, as counts."""
    s = factors.sums
    if not s.count or not s.lengths().all():
        return factors
    first = s.start[:-1]
    least, most = (
        np.minimum.reduceat(s.coefficient, first),
        np.maximum.reduceat(s.coefficient, first),
    )
    whole = np.logical_and.reduceat(s.coefficient == np.rint(s.coefficient), first)
    whole &= (s.low == np.rint(s.low)) & (s.high == np.rint(s.high))
    upper = np.isfinite(s.high) & (most <= s.high) & (2 * least > s.high)
    lower = np.isfinite(s.low) & (s.low > 0) & (least >= s.low)
    kept = whole & (least > 0) & (most < 2**53) & _once(s, factors.sizes)
    kept &= (upper | np.isinf(s.high)) & (lower | np.isinf(s.low)) & (upper | lower)
    if not kept.any():
        return factors
    entries = kept[s.owner()]
    lengths = s.lengths()[kept]
    high = np.where(upper[kept], 1, lengths)
    counted = Counted(
        starts(lengths),
        s.site[entries],
        s.value[entries],
        s.term[kept],
        s.part[kept],
        lower[kept].astype(np.int64),
        high,
    )
    rest = Sums(
        starts(s.lengths()[~kept]),
        s.site[~entries],
        s.value[~entries],
        s.term[~kept],
        s.part[~kept],
        s.coefficient[~entries],
        s.low[~kept],
        s.high[~kept],
    )
    return replace(factors, counted=Counted.joined([factors.counted, counted]), sums=rest)


def _once(lists: Lists, sizes: Ints) -> np.ndarray:
    """The lists that name each literal once. -> (m,) bool"""
    keys, owner = _keys(lists, sizes), lists.owner()
    order = np.lexsort((keys, owner))
    again = (np.diff(owner[order]) == 0) & (np.diff(keys[order]) == 0)
    out = np.ones(lists.count, dtype=bool)
    out[owner[order][1:][again]] = False
    return out


def _keys(lists: Lists, sizes: Ints) -> Ints:
    """A number for each literal of lists."""
    offset = np.concatenate([[0], np.cumsum(sizes)])
    return offset[lists.site] + lists.value  # type: ignore[attr-defined]


def _cliques(factors: Factors) -> Factors:
    """Groups of two of which at most one is true, merged into larger ones; pairs of different sites
    in clauses too. A greedy cover of pairs by maximal cliques."""
    c, f = factors.counted, factors.clauses
    pairs = (c.lengths() == 2) & (c.high == 1) & (c.low == 0) & _once(c, factors.sizes)
    barred = np.zeros(f.count, dtype=bool)
    if f.count:
        signs = np.bincount(f.owner(), f.sign, f.count)
        barred = (f.lengths() == 2) & (signs == 0)
    total = int(pairs.sum()) + int(barred.sum())
    if total < 3 or total > MOST:
        return factors
    ends = [_keys(c, factors.sizes)[pairs[c.owner()]].reshape(-1, 2)]
    ends.append(_keys(f, factors.sizes)[barred[f.owner()]].reshape(-1, 2))
    edges = np.concatenate(ends)
    groups = _grown(edges[edges[:, 0] != edges[:, 1]])
    if groups is None:
        return factors
    term = np.concatenate([c.term[pairs], f.term[barred]])
    part = np.concatenate([c.part[pairs], f.part[barred]])
    proper = edges[:, 0] != edges[:, 1]
    term, part = term[proper], part[proper]
    offset = np.concatenate([[0], np.cumsum(factors.sizes)])
    literals = ints([x for group, _ in groups for x in group])
    site = np.searchsorted(offset, literals, side="right") - 1
    one = np.ones(len(groups), dtype=np.int64)
    owner = ints([edge for _, edge in groups])
    merged = Counted(
        starts(ints([len(group) for group, _ in groups])),
        site,
        literals - offset[site],
        term[owner],
        part[owner],
        0 * one,
        one,
    )
    keep_c, keep_f = np.flatnonzero(~pairs), _kept_clauses(f, barred)
    counted = Counted.joined([_some(c, keep_c), merged])
    return replace(factors, counted=counted, clauses=keep_f)


def _some(c: Counted, which: Ints) -> Counted:
    entries = np.isin(c.owner(), which)
    return Counted(
        starts(c.lengths()[which]),
        c.site[entries],
        c.value[entries],
        c.term[which],
        c.part[which],
        c.low[which],
        c.high[which],
    )


def _kept_clauses(f: Clauses, barred: np.ndarray) -> Clauses:
    """The clauses that became no group: a literal that excludes itself stays."""
    if not barred.any():
        return f
    ends = f.site[barred[f.owner()]].reshape(-1, 2), f.value[barred[f.owner()]].reshape(-1, 2)
    alike = (ends[0][:, 0] == ends[0][:, 1]) & (ends[1][:, 0] == ends[1][:, 1])
    gone = barred.copy()
    gone[np.flatnonzero(barred)[alike]] = False
    entries = ~gone[f.owner()]
    return Clauses(
        starts(f.lengths()[~gone]),
        f.site[entries],
        f.value[entries],
        f.term[~gone],
        f.part[~gone],
        f.sign[entries],
    )


def _grown(edges: Ints) -> list[tuple[list[int], int]] | None:
    """Cliques that cover all edges, each with the edge that it grew from; None where none is larger
    than an edge."""
    names, ends = np.unique(edges, return_inverse=True)
    near = [0] * len(names)
    pairs = ends.reshape(-1, 2).tolist()
    for a, b in pairs:
        near[a] |= 1 << b
        near[b] |= 1 << a
    covered, out, larger = [0] * len(names), [], False
    for k, (a, b) in enumerate(pairs):
        if covered[a] >> b & 1:
            continue
        members, common = [a, b], near[a] & near[b]
        while common:
            best = (common & -common).bit_length() - 1
            members.append(best)
            common &= near[best]
        bits = sum(1 << m for m in members)
        for m in members:
            covered[m] |= bits
        larger = larger or len(members) > 2
        out.append(([int(names[m]) for m in members], k))
    return out if larger else None


def _overfull(factors: Factors) -> bool:
    """Lists of which something must be true are more than the groups that hold their literals."""
    c, sizes = factors.counted, factors.sizes
    offset = np.concatenate([[0], np.cumsum(sizes)])
    keys, owner = _keys(c, sizes), c.owner()
    size = np.where(c.high == 1, c.lengths(), 0)
    home = np.full(int(offset[-1]), -1)  # the largest group of each literal
    order = np.argsort(size[owner], kind="stable")
    order = order[size[owner[order]] > 1]
    last = len(order) - 1 - np.unique(keys[order][::-1], return_index=True)[1]
    home[keys[order[last]]] = owner[order[last]]
    # a group that is a list: whatever else wants it shares a literal with that, so it is served
    served = np.bincount(owner, home[keys] == owner, c.count) > 0
    lists = [keys[c.start[k] : c.start[k + 1]] for k in np.flatnonzero((c.low > 0) & ~served)]
    lists += [np.arange(offset[s], offset[s + 1]) for s in np.flatnonzero(sizes > 2)]
    used, wanted = home < 0, list[list[int]]()
    for literals in lists:
        if not used[literals].any():
            used[literals] = True
            wanted.append(np.unique(home[literals]).tolist())
    if len(wanted) < 2 or sum(map(len, wanted)) > ARCS:
        return False
    return not _matched(wanted)


def _matched(wanted: list[list[int]]) -> bool:
    """Whether each list gets a group of its own."""
    taken: dict[int, int] = {}  # the list that has each group
    own: dict[int, int] = {}
    for first in range(len(wanted)):
        free, before = _way(wanted, taken, first)
        if free < 0:
            return False
        one = before[free]
        while one != first:
            free, own[one], taken[free] = own[one], free, one
            one = before[free]
        own[first], taken[free] = free, first
    return True


def _way(wanted: list[list[int]], taken: dict[int, int], first: int) -> tuple[int, dict[int, int]]:
    """A group that is free, -1 if none is, and by which list each group was reached from one."""
    before: dict[int, int] = {}
    queue = [first]
    for one in queue:
        for group in wanted[one]:
            if group not in before:
                before[group] = one
                if group not in taken:
                    return group, before
                queue.append(taken[group])
    return -1, before
