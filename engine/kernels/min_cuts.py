"""Sets of nodes that little leads out of: the cuts on the way to a least one.

Nodes are added to a growing set, always the one that most leads to; what leads to the last of them
is a cut, and it is merged with the one before. Of all these cuts one is least.

Source: Stoer and Wagner, "A simple min-cut algorithm", Journal of the ACM 1997.
"""

import numpy as np

from engine.kernels.fused import fused, put


@fused()
def small_cuts(weight, limit):
    """weight (n, n), at least 0, alike both ways. -> (k, n) bool: sets that less than `limit` leads
    out of, a least one among them where there is any"""
    n = len(weight)
    w = weight.copy()
    within = np.zeros((n, n), dtype=np.bool_)  # what was merged into each node
    for v in range(n):
        w[v, v] = 0.0
        within[v, v] = True
    out = np.zeros((n, n), dtype=np.bool_)
    count = 0
    alive = np.arange(n)
    pull = np.empty(n)
    inside = np.empty(n, dtype=np.bool_)
    for size in range(n, 1, -1):
        for k in range(size):
            pull[alive[k]] = w[alive[0], alive[k]]
            inside[alive[k]] = False
        inside[alive[0]] = True
        before, last = alive[0], alive[0]
        for _ in range(size - 1):
            most = -1
            for k in range(size):
                v = alive[k]
                if not inside[v] and (most < 0 or pull[v] > pull[most]):
                    most = v
            before, last = last, most
            inside[most] = True
            for k in range(size):
                v = alive[k]
                if not inside[v]:
                    pull[v] += w[most, v]
        if pull[last] < limit:
            put(out[count], within[last])
            count += 1
        for k in range(size):
            v = alive[k]
            w[before, v] += w[last, v]
            w[v, before] = w[before, v]
        w[before, before] = 0.0
        for v in range(n):
            within[before, v] |= within[last, v]
        at = 0
        for k in range(size):
            if alive[k] != last:
                alive[at] = alive[k]
                at += 1
    return out[:count]
