"""Annealing that keeps linear rows: groups of sites change value alone, or two groups at once.

A group is sites that must have one value. It takes the value of a neighbour or any other; where
rows would break, another group takes the value that the first gave up, if all rows hold then. The
better are taken, and the worse with probability exp(-beta * rise).

Sources: Metropolis et al., J. Chemical Physics 21, 1953; Kernighan, Lin, "An efficient heuristic
procedure for partitioning graphs", Bell System Technical Journal 49, 1970 (exchanges keep sizes).
"""

import numpy as np

from engine.kernels.fused import fused
from engine.kernels.philox import philox

PARTNERS = 16  # that are tried


@fused()
def rise(start, pair, side, ends, table, pool, cost, groups, members, of, x, g, value):
    """What a group costs more at a value, all others as they are; infinite where forbidden."""
    more = 0.0
    for m in range(groups[g], groups[g + 1]):
        v = members[m]
        old = x[v]
        more += cost[v, value] - cost[v, old]
        for p in range(start[v], start[v + 1]):
            e, s = pair[p], side[p]
            u, t = ends[e, 1 - s], table[e]
            if of[u] == g:
                if s == 0:
                    more += pool[t, value, value] - pool[t, old, old]
            elif s == 0:
                more += pool[t, value, x[u]] - pool[t, old, x[u]]
            else:
                more += pool[t, x[u], value] - pool[t, x[u], old]
    return more


@fused()
def turn(groups, members, at, row, worth, width, total, x, g, value):
    """A group takes a value, in place; `total` (r,) is what the rows come to."""
    for m in range(groups[g], groups[g + 1]):
        v = members[m]
        for p in range(at[v * width + x[v]], at[v * width + x[v] + 1]):
            total[row[p]] -= worth[p]
        for p in range(at[v * width + value], at[v * width + value + 1]):
            total[row[p]] += worth[p]
        x[v] = value


@fused()
def held(groups, members, at, row, width, low, high, total, g, one, other):
    """Whether the rows of two values of a group hold."""
    for m in range(groups[g], groups[g + 1]):
        v = members[m]
        for k in range(2):
            literal = v * width + (one if k == 0 else other)
            for p in range(at[literal], at[literal + 1]):
                r = row[p]
                if total[r] < low[r] or total[r] > high[r]:
                    return False
    return True


@fused()
def exchange(
    start, pair, side, ends, table, pool, cost, possible, groups, members, of,
    at, row, worth, low, high, total, x, best, score, key0, key1, lane, first, moves, beta, reach,
):  # fmt: skip
    """So many moves from a state that keeps all rows, in place.

    start, pair, side, ends, table, pool, cost as of `messages.visit_sites`; possible (groups, k);
    groups (G + 1,), members (n,): the sites of each group; of (n,): the group of each. at, row,
    worth, low, high: as of `messages.mend`. x, best (n,); score (2,): what x and best cost, beside
    what x cost at the beginning; key0, key1, lane, first: words of the draws; reach: what a
    group may cost more than is taken, as another may pay for it.
    """
    count, width = len(groups) - 1, cost.shape[1]
    for move in range(moves):
        c = np.uint64(first + move)
        word0, word1, word2, word3 = philox(
            c & np.uint64(0xFFFFFFFF), c >> np.uint64(32), np.uint64(0), np.uint64(lane), key0, key1
        )
        g = (np.int64(word0) * count) >> 32
        v = members[groups[g]]
        old, near = x[v], start[v + 1] - start[v]
        value = (np.int64(word1) * width) >> 32
        if near > 0 and np.int64(word3) & 1:
            p = start[v] + ((np.int64(word1) * near) >> 32)
            value = x[ends[pair[p], 1 - side[p]]]
        if value == old or possible[g, value] == 0:
            continue
        more = rise(start, pair, side, ends, table, pool, cost, groups, members, of, x, g, value)
        limit = -np.log((np.float64(np.int64(word2)) + 0.5) / 4294967296.0) / beta
        if more > limit + reach:
            continue
        turn(groups, members, at, row, worth, width, total, x, g, value)
        taken, h = False, -1
        if held(groups, members, at, row, width, low, high, total, g, old, value):
            taken = more <= limit
        else:
            h = np.int64(word3) % count
            stride = 1 + (np.int64(word2) >> 8) % max(1, count - 1)
            for _ in range(PARTNERS):
                h = (h + stride) % count
                his = x[members[groups[h]]]
                if h == g or his == old or possible[h, old] == 0:
                    continue
                turn(groups, members, at, row, worth, width, total, x, h, old)
                fits = held(groups, members, at, row, width, low, high, total, g, old, value)
                fits = fits and held(groups, members, at, row, width, low, high, total, h, old, his)
                turn(groups, members, at, row, worth, width, total, x, h, his)
                if fits:
                    more += rise(
                        start, pair, side, ends, table, pool, cost, groups, members, of, x, h, old
                    )
                    taken = more <= limit
                    if taken:
                        turn(groups, members, at, row, worth, width, total, x, h, old)
                    break
        if not taken:
            turn(groups, members, at, row, worth, width, total, x, g, old)
            continue
        score[0] += more
        if score[0] < score[1] - 0.5:
            score[1] = score[0]
            best[:] = x
