"""Short round trips by exchanging three ways at a time, from many places near the best one.

Of three ways a -> a', b -> b', d -> d' of a trip, in this order, what lies between is joined anew:
both parts change places, or one of them is turned round as well; with two ways, one part is turned
round. Ways may cost more in one direction than in the other.

Source: Lin, "Computer solutions of the traveling salesman problem", Bell System Technical Journal
1965; Lourenco, Martin, Stuetzle, "Iterated local search", Handbook of Metaheuristics 2003.
"""

import numpy as np

from engine.kernels.fused import fused, put


@fused()
def shorten(cost, order, kicks, reach):
    """The shortest order found, from `order` (n,) and after each kick: the places (k, 3) in
    ascending order where the best order is cut, what lies between changing places. cost (n, n)
    int64; reach: nodes of the shorter part that three ways move, at most. -> (n,)"""
    n = len(order)
    best = order.copy()
    total = settle(cost, best, reach)
    other = np.empty(n, dtype=np.int64)
    for k in range(len(kicks)):
        a, b, c = kicks[k]
        at = 0
        for first, last in ((0, a), (b, c), (a, b), (c, n)):
            for p in range(first, last):
                other[at] = best[p]
                at += 1
        own = settle(cost, other, reach)
        if own <= total:
            total = own
            put(best, other)
    return best


@fused()
def settle(cost, o, reach):
    """Shortens an order in place until no such change does. -> what it costs"""
    n = len(o)
    part = np.empty(n, dtype=np.int64)
    there = np.zeros(n, dtype=np.int64)  # what the ways up to a place cost
    back = np.zeros(n, dtype=np.int64)  # the same, turned round
    changed = True
    while changed:
        changed = False
        measure(cost, o, there, back)
        for i in range(n - 2):
            j = i + 1
            while j < n:
                a, a1, b = o[i], o[i + 1], o[j]
                b1 = o[j + 1] if j + 1 < n else o[0]
                turned = back[j] - back[i + 1] - there[j] + there[i + 1]
                if cost[a, b] + cost[a1, b1] + turned < cost[a, a1] + cost[b, b1]:
                    swap(o, part, i, j, i, False, True)
                    measure(cost, o, there, back)
                    changed = True
                    continue
                last = n if j - i <= reach else min(n, j + 1 + reach)
                k = j + 1
                while k < last:
                    d = o[k]
                    d1 = o[k + 1] if k + 1 < n else o[0]
                    left = cost[a, a1] + cost[b, b1] + cost[d, d1]
                    second = back[k] - back[j + 1] - there[k] + there[j + 1]
                    plain = cost[a, b1] + cost[d, a1] + cost[b, d1]
                    one = cost[a, b1] + cost[d, b] + cost[a1, d1] + turned
                    two = cost[a, d] + cost[b1, a1] + cost[b, d1] + second
                    least = min(plain, one, two)
                    if least < left:
                        swap(o, part, i, k, j, least == one, least != one and least == two)
                        measure(cost, o, there, back)
                        changed = True
                        a1, b = o[i + 1], o[j]
                        b1 = o[j + 1]
                        turned = back[j] - back[i + 1] - there[j] + there[i + 1]
                    k += 1
                j += 1
    return there[n - 1] + cost[o[n - 1], o[0]]


@fused()
def measure(cost, o, there, back):
    """What an order costs up to each of its places, and turned round."""
    for p in range(len(o) - 1):
        there[p + 1] = there[p] + cost[o[p], o[p + 1]]
        back[p + 1] = back[p] + cost[o[p + 1], o[p]]


@fused()
def swap(o, part, i, k, j, first, second):
    """The places i+1..j and j+1..k of an order change places; first, second: turned round."""
    at = 0
    for p in range(j + 1, k + 1):
        part[at] = o[k + j + 1 - p] if second else o[p]
        at += 1
    for p in range(i + 1, j + 1):
        part[at] = o[j + i + 1 - p] if first else o[p]
        at += 1
    for p in range(at):
        o[i + 1 + p] = part[p]
