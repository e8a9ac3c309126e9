"""The least assignment of rows to columns, one row after the other by a shortest way.

Duals u, v with u_i + v_j <= c_ij everywhere and equal along the assignment, v <= 0, and 0 at
columns that stay free: so its total is sum u + sum v, and none costs less. Source: Jonker and
Volgenant, "A shortest augmenting path algorithm for dense and sparse linear assignment problems",
Computing 1987.
"""

import numpy as np

from engine.kernels.fused import fused

FAR = 1 << 62


@fused()
def assign(cost, open_):
    """cost (m, n) int64 at least 0, open_ (m, n) bool: which pairs are possible.
    -> the column of each row (m,), v (n,); where the rows do not all fit, the first of them -1"""
    m, n = cost.shape
    column = np.full(m, -1, dtype=np.int64)
    row = np.full(n + 1, -1, dtype=np.int64)  # of each column; the last is where a way begins
    u = np.zeros(m, dtype=np.int64)
    v = np.zeros(n + 1, dtype=np.int64)
    far = np.empty(n, dtype=np.int64)
    before = np.empty(n, dtype=np.int64)
    seen = np.empty(n + 1, dtype=np.bool_)
    for first in range(m):
        far[:] = FAR
        seen[:] = False
        row[n] = first
        at = n
        while row[at] >= 0:
            seen[at] = True
            i = row[at]
            step, nearest = FAR, -1
            for j in range(n):
                if seen[j]:
                    continue
                if open_[i, j]:
                    left = cost[i, j] - u[i] - v[j]
                    if left < far[j]:
                        far[j] = left
                        before[j] = at
                if far[j] < step:
                    step = far[j]
                    nearest = j
            if nearest < 0:
                column[0] = -1
                return column, v[:n]
            for j in range(n + 1):
                if seen[j]:
                    u[row[j]] += step
                    v[j] -= step
                elif j < n and far[j] < FAR:
                    far[j] -= step
            at = nearest
        while at != n:
            back = before[at]
            row[at] = row[back]
            at = back
        for j in range(n):
            if row[j] >= 0:
                column[row[j]] = j
    return column, v[:n]
