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
