"""Messages between sites that cost in pairs: passes that never lower the bound; states read off.

A pair costs `pool[t, i, j]`. A message moves cost from a pair to one of its ends, so that all sums
stay what they are; the bound is the sum of the least cost of each site and of each pair. A visit
of a site takes in all that its pairs can give it, and hands it out to the pairs yet to come, in
equal shares. Neither lowers the bound.

Sources: Kolmogorov, "Convergent tree-reweighted message passing for energy minimization", PAMI 2006
(sequential visits, shares); Kolmogorov, "A new look at reweighted message passing", PAMI 2015 (this
form of it); Wainwright, Jaakkola, Willsky, IEEE Trans. Information Theory 2005 (the bound).
"""

import numpy as np

from engine.kernels.fused import fused


@fused()
def visit_sites(start, pair, side, ends, table, pool, cost, possible, message, forward):
    """One visit of every site in order, or against it; in place. -> whether every site has a value

    start (n + 1,), pair (P,), side (P,): the pairs of each site, and which end it is of each; ends
    (m, 2); table (m,); pool (t, k, k), infinite where forbidden; cost (n, k); possible (n, k)
    uint8, from which values go that no partner is left for; message (m, 2, k).
    """
    n, width = cost.shape
    total = np.empty(width)
    for i in range(n):
        v = i if forward else n - 1 - i
        for k in range(width):
            total[k] = cost[v, k]
        ahead, behind = 0, 0
        for p in range(start[v], start[v + 1]):
            e, s = pair[p], side[p]
            u, t = ends[e, 1 - s], table[e]
            if (u > v) == forward:
                ahead += 1
            else:
                behind += 1
            for k in range(width):
                if possible[v, k] == 0:
                    continue
                least = np.inf
                for j in range(width):
                    if possible[u, j]:
                        c = pool[t, k, j] if s == 0 else pool[t, j, k]
                        c -= message[e, 1 - s, j]
                        if c < least:
                            least = c
                if least == np.inf:
                    possible[v, k] = 0
                else:
                    message[e, s, k] = least
                    total[k] += least
        left = False
        for k in range(width):
            left = left or possible[v, k] > 0
        if not left:
            return False
        if ahead == 0:
            continue
        share = 1.0 / max(ahead, behind)
        for p in range(start[v], start[v + 1]):
            e, s = pair[p], side[p]
            if (ends[e, 1 - s] > v) == forward:
                for k in range(width):
                    if possible[v, k]:
                        message[e, s, k] -= share * total[k]
    return True


@fused()
def bound_values(
    start, pair, side, ends, table, pool, cost, possible, message, site, least, bound, never, out
):
    """One visit of every site in order, in whole numbers, which says of each value what the bound
    is if the site has it: in `out` (n, k), `never` where it cannot. -> whether something is left

    site (n,), least (m,): the least cost of each site and pair; `bound` is the sum of these, and of
    what is paid beside. All but `cost` and `pool`, which is `never` where forbidden, is used up.
    """
    n, width = cost.shape
    total = np.empty(width, np.int64)
    for v in range(n):
        ahead, behind, before = 0, 0, site[v]
        for k in range(width):
            total[k] = cost[v, k]
        for p in range(start[v], start[v + 1]):
            e, s = pair[p], side[p]
            u, t = ends[e, 1 - s], table[e]
            if u > v:
                ahead += 1
            else:
                behind += 1
            before += least[e]
            for k in range(width):
                if possible[v, k] == 0:
                    continue
                best = never
                for j in range(width):
                    c = pool[t, k, j] if s == 0 else pool[t, j, k]
                    if possible[u, j] and c != never:
                        best = min(best, c - message[e, 1 - s, j])
                if best == never:
                    possible[v, k] = 0
                else:
                    message[e, s, k] = best
                    total[k] += best
        now = never
        for k in range(width):
            if possible[v, k]:
                now = min(now, total[k])
        if now == never:
            return False
        bound += now - before
        share = max(ahead, behind, 1)
        site[v] = never
        for k in range(width):
            if possible[v, k]:
                out[v, k] = bound - now + total[k]
                site[v] = min(site[v], total[k] - ahead * (total[k] // share))
            else:
                out[v, k] = never
        bound += site[v] - now
        for p in range(start[v], start[v + 1]):
            e, s = pair[p], side[p]
            least[e] = 0
            if ends[e, 1 - s] > v:
                least[e] = never
                for k in range(width):
                    if possible[v, k]:
                        message[e, s, k] -= total[k] // share
                        least[e] = min(least[e], total[k] // share)
                bound += least[e]
    return True


@fused()
def read_off(start, pair, side, ends, table, pool, cost, possible, message, sweeps):
    """A state: each site in order takes its cheapest value beside those before it and what those
    after it say; then sites take cheaper values, one by one. -> (n,) int64"""
    n, width = cost.shape
    x = np.zeros(n, np.int64)
    for sweep in range(sweeps + 1):
        moved = False
        for v in range(n):
            best, least = -1, np.inf
            for k in range(width):
                if possible[v, k] == 0:
                    continue
                total = cost[v, k]
                for p in range(start[v], start[v + 1]):
                    e, s = pair[p], side[p]
                    u, t = ends[e, 1 - s], table[e]
                    if sweep > 0 or u < v:
                        total += pool[t, k, x[u]] if s == 0 else pool[t, x[u], k]
                        continue
                    near = np.inf
                    for j in range(width):
                        if possible[u, j]:
                            c = pool[t, k, j] if s == 0 else pool[t, j, k]
                            near = min(near, c - message[e, 1 - s, j])
                    total += near
                if best < 0 or total < least or (sweep > 0 and k == x[v] and total == least):
                    best, least = k, total
            if sweep == 0 or best != x[v]:
                x[v] = max(best, 0)
                moved = True
        if not moved:
            break
    return x


@fused()
def mend(start, pair, side, ends, table, pool, cost, possible, at, row, worth, low, high, x, moves):
    """Single moves from a state, in place: while rows are missed, the move that costs least for
    each unit that it mends; then the cheapest that breaks none. -> how much rows are missed by

    at (n * k + 1,), row (L,), worth (L,): the rows of each literal, and what it counts there; low,
    high (r,). Pairs are never forbidden by a move.
    """
    n, width = cost.shape
    total = np.zeros(len(low))
    more = np.zeros((n, width))  # what each site costs at each value, the others as they stand
    for v in range(n):
        for p in range(at[v * width + x[v]], at[v * width + x[v] + 1]):
            total[row[p]] += worth[p]
        for k in range(width):
            more[v, k] = cost[v, k]
            for p in range(start[v], start[v + 1]):
                e, s = pair[p], side[p]
                u, t = ends[e, 1 - s], table[e]
                more[v, k] += pool[t, k, x[u]] if s == 0 else pool[t, x[u], k]
    change = np.zeros(len(low))
    for _ in range(moves):
        missed = 0.0
        for r in range(len(low)):
            missed += max(total[r] - high[r], 0.0) + max(low[r] - total[r], 0.0)
        site, value, best = -1, -1, 0.0 if missed == 0 else np.inf
        for v in range(n):
            for k in range(width):
                if k == x[v] or possible[v, k] == 0 or more[v, k] == np.inf:
                    continue
                rise = more[v, k] - more[v, x[v]]
                if missed == 0 and rise >= best:
                    continue
                for p in range(at[v * width + x[v]], at[v * width + x[v] + 1]):
                    change[row[p]] -= worth[p]
                for p in range(at[v * width + k], at[v * width + k + 1]):
                    change[row[p]] += worth[p]
                gain = 0.0
                for side_ in range(2):
                    literal = v * width + (x[v] if side_ == 0 else k)
                    for p in range(at[literal], at[literal + 1]):
                        r = row[p]
                        if change[r] != 0:
                            before = max(total[r] - high[r], 0.0) + max(low[r] - total[r], 0.0)
                            now = total[r] + change[r]
                            gain += before - max(now - high[r], 0.0) - max(low[r] - now, 0.0)
                            change[r] = 0.0
                if missed == 0:
                    if gain == 0:
                        site, value, best = v, k, rise
                elif gain > 0 and rise / gain < best:
                    site, value, best = v, k, rise / gain
        if site < 0:
            return missed
        old = x[site]
        for p in range(at[site * width + old], at[site * width + old + 1]):
            total[row[p]] -= worth[p]
        for p in range(at[site * width + value], at[site * width + value + 1]):
            total[row[p]] += worth[p]
        for p in range(start[site], start[site + 1]):
            e, s = pair[p], side[p]
            u, t = ends[e, 1 - s], table[e]
            for k in range(width):
                if s == 0:
                    more[u, k] += pool[t, value, k] - pool[t, old, k]
                else:
                    more[u, k] += pool[t, k, value] - pool[t, k, old]
        x[site] = value
    missed = 0.0
    for r in range(len(low)):
        missed += max(total[r] - high[r], 0.0) + max(low[r] - total[r], 0.0)
    return missed
