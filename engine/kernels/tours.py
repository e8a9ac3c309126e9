"""The least tour through few nodes, by the sets of nodes that ways from node 0 have seen.

    best[S, j] = min over i in S - {j} of best[S - {j}, i] + cost[i, j]

Source: Bellman, "Dynamic programming treatment of the travelling salesman problem", Journal of the
ACM 1962; Held and Karp, "A dynamic programming approach to sequencing problems", SIAM Journal 1962.
"""

import numpy as np

from engine.kernels.fused import fused

FAR = 1 << 62


@fused()
def tour(cost):
    """cost (n, n) int64, FAR where there is no arc; n at least 2; a tour costs less than FAR.
    -> the node that follows each (n,); where there is no tour, the first of them -1"""
    m = len(cost) - 1  # nodes but the first; node j is bit j - 1
    full = (1 << m) - 1
    best = np.full((full + 1, m), FAR, dtype=np.int64)
    after = np.full(m + 1, -1, dtype=np.int64)
    for j in range(m):
        best[1 << j, j] = cost[0, j + 1]
    for seen in range(1, full + 1):
        for j in range(m):
            so_far = best[seen, j]
            if so_far >= FAR:
                continue
            for k in range(m):
                bit = 1 << k
                if seen & bit or cost[j + 1, k + 1] >= FAR:
                    continue
                total = so_far + cost[j + 1, k + 1]
                if total < best[seen | bit, k]:
                    best[seen | bit, k] = total
    least, last = FAR, -1
    for j in range(m):
        if best[full, j] < FAR and cost[j + 1, 0] < FAR and best[full, j] + cost[j + 1, 0] < least:
            least, last = best[full, j] + cost[j + 1, 0], j
    if last < 0:
        return after
    after[last + 1] = 0
    seen, j = full, last
    while seen != 1 << j:
        rest = seen & ~(1 << j)
        for i in range(m):
            step = cost[i + 1, j + 1]
            if rest & (1 << i) and step < FAR and best[rest, i] < FAR:
                if best[rest, i] + step == best[seen, j]:
                    after[i + 1] = j + 1
                    seen, j = rest, i
                    break
    after[0] = j + 1
    return after
