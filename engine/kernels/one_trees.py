"""Bounds of round trips whose ways cost the same there and back: trees with one circle.

A trip is a tree over all nodes but the first, with two ways to the first, and two ways at each
node. With a price p of each node that all its ways pay, twice of which every trip pays,

    trip >= least of such trees at cost[i, j] + p_i + p_j, without 2 sum p

for any p; p moves to where nodes have two ways. Everything is in whole numbers.

Source: Held and Karp, "The traveling-salesman problem and minimum spanning trees", Operations
Research 1970; Volgenant and Jonker, European Journal of Operational Research 1982 (steps).
"""

import numpy as np

from engine.kernels.fused import fused, put

FAR = 1 << 62
DEAREST = 1 << 47  # price, which keeps sums within 64 bits: costs are below 2^44, nodes 2^9


@fused()
def raise_prices(cost, price, upper, passes):
    """cost (n, n) int64, alike both ways, FAR where there is no way; n at least 3; price (n,) to
    begin with; upper: what a trip costs. -> the best prices (n,) and their bound, FAR where there
    is no such tree"""
    n = len(cost)
    price, best = price.copy(), price.copy()
    parent = np.empty(n, dtype=np.int64)
    ends = np.empty(2, dtype=np.int64)
    degree, before = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    bound, share, idle = -FAR, 1.0, 0
    for p in range(passes):
        total = grow(cost, price, parent, ends)
        if total >= FAR:
            return price, FAR
        if total > bound:
            bound, idle = total, 0
            put(best, price)
        else:
            idle += 1
            if idle >= 4:
                share, idle = share * 0.7, 0
        degree[:] = -2
        for v in range(2, n):
            degree[v] += 1
            degree[parent[v]] += 1
        for k in range(2):
            degree[ends[k]] += 1
        degree[0] = 0
        off = 0
        for v in range(n):
            off += degree[v] * degree[v]
        if not off or bound >= upper:
            break
        step = share * (upper - total) / off
        for v in range(n):
            last = degree[v] if p == 0 else before[v]
            moved = price[v] + step * (0.7 * degree[v] + 0.3 * last)
            price[v] = int(min(max(moved, -DEAREST), DEAREST))
            before[v] = degree[v]
    return best, bound


@fused()
def grow(cost, price, parent, ends):
    """The least such tree; parent (n,): of each node but the first two; ends (2,): where the first
    leads. -> what it costs without twice all prices, FAR where there is none"""
    n = len(cost)
    near = np.full(n, FAR, dtype=np.int64)
    left = np.ones(n, dtype=np.bool_)
    left[0] = left[1] = False
    at, total = 1, 0
    for _ in range(n - 2):
        nearest = -1
        for v in range(2, n):
            if not left[v]:
                continue
            if cost[at, v] < FAR:
                own = cost[at, v] + price[at] + price[v]
                if own < near[v]:
                    near[v], parent[v] = own, at
            if near[v] < FAR and (nearest < 0 or near[v] < near[nearest]):
                nearest = v
        if nearest < 0:
            return FAR
        total += near[nearest]
        left[nearest] = False
        at = nearest
    for k in range(2):
        least, ends[k] = FAR, -1
        for v in range(1, n):
            if cost[0, v] < FAR and not (k == 1 and v == ends[0]):
                own = cost[0, v] + price[0] + price[v]
                if own < least:
                    least, ends[k] = own, v
        if ends[k] < 0:
            return FAR
        total += least
    for v in range(n):
        total -= 2 * price[v]
    return total


@fused()
def with_each(cost, price):
    """The least such tree with each way in it, at prices for which there is one: what it costs.
    -> (n, n) int64, FAR where there is no way"""
    n = len(cost)
    parent = np.empty(n, dtype=np.int64)
    ends = np.empty(2, dtype=np.int64)
    total = grow(cost, price, parent, ends)
    out = np.full((n, n), FAR, dtype=np.int64)
    dearest = np.zeros(n, dtype=np.int64)  # on the way through the tree from a node
    seen = np.zeros(n, dtype=np.bool_)
    stack = np.empty(n, dtype=np.int64)
    links = np.zeros((n, n), dtype=np.bool_)
    for v in range(2, n):
        links[v, parent[v]] = links[parent[v], v] = True
    for root in range(1, n):
        seen[:] = False
        seen[root] = True
        stack[0], count = root, 1
        dearest[root] = -FAR
        while count:
            count -= 1
            u = stack[count]
            for v in range(1, n):
                if links[u, v] and not seen[v]:
                    seen[v] = True
                    dearest[v] = max(dearest[u], cost[u, v] + price[u] + price[v])
                    stack[count] = v
                    count += 1
        for v in range(1, n):
            if v != root and cost[root, v] < FAR:
                out[root, v] = total + cost[root, v] + price[root] + price[v] - dearest[v]
    second = ends[1]
    out_of = cost[0, second] + price[0] + price[second]
    for v in range(1, n):
        if cost[0, v] < FAR:
            own = total
            if v != ends[0] and v != second:
                own += cost[0, v] + price[0] + price[v] - out_of
            out[0, v] = out[v, 0] = own
    return out
