"""Cheap odd cycles of a graph whose edges are even or odd: walks along both kinds of parity.

Each node stands twice, once for each parity of the walk so far; a cheapest closed walk of odd
parity from a node is a shortest path from its even copy to its odd one.

Source: Groetschel, Lovasz, Schrijver, Geometric Algorithms and Combinatorial Optimization, 1988,
section 8.3.
"""

import heapq

import numpy as np

from engine.kernels.fused import fused


def odd_cycles(
    start: np.ndarray,
    to: np.ndarray,
    odd: np.ndarray,
    weight: np.ndarray,
    limit: float,
    work: int,
) -> tuple[np.ndarray, np.ndarray]:
    """From each node the cheapest closed walk of odd parity, where it costs less than `limit`.

    start (n + 1,), to, odd (0 or 1), weight (m,): the edges of each node, each edge both ways.
    Nodes are asked in order, until about `work` edges were looked at. Returns the edges of each
    walk, in compressed form: (k + 1,), (total,)
    """
    return _search(start, to, odd, weight, limit, work)


@fused()
def _search(start, to, odd, weight, limit, work):
    n = len(start) - 1
    ends, edges = [0], [0]
    edges.pop()
    cost = np.full(2 * n, np.inf)
    via = np.full(2 * n, -1)
    back = np.full(2 * n, -1)
    for source in range(n):
        if work <= 0:
            break
        cost[:], goal = np.inf, 2 * source + 1
        cost[2 * source] = 0.0
        heap = [(0.0, 2 * source)]
        while len(heap):
            far, node = heapq.heappop(heap)
            if node == goal:
                break
            if far > cost[node]:
                continue
            here = node >> 1
            work -= start[here + 1] - start[here]
            for k in range(start[here], start[here + 1]):
                other, there = 2 * to[k] + ((node & 1) ^ odd[k]), far + weight[k]
                if there < limit and there < cost[other]:
                    cost[other], via[other], back[other] = there, k, node
                    heapq.heappush(heap, (there, other))
        if cost[goal] < limit:
            node = goal
            while node != 2 * source:
                edges.append(via[node])
                node = back[node]
            ends.append(len(edges))
    return np.array(ends), np.array(edges)
