"""The same sweeps in plain Python, by evaluating the whole energy at each move."""

import math

import numpy as np

from engine.decimals import Floats, Ints
from engine.factors import Factors
from engine.kernels.sweeps import CUT
from engine.sweeps.layout import tight_lines


def reference(
    factors: Factors, allowed: np.ndarray, weight: Floats, betas, words, x: Ints, row: int = 0
) -> tuple[Ints, float, float]:
    """The same sweeps of one particle, by evaluating the whole energy before and after each move.

    words (len(betas), n + sites of tight lines): the draws. -> (state, cost, violation)
    """
    x = x.copy()
    n = len(x)
    offset = np.concatenate([[0], np.cumsum(factors.sizes)])
    open_values = [np.flatnonzero(allowed[offset[i] : offset[i + 1]]) for i in range(n)]
    start, line_site = tight_lines(factors)

    def attempt(y: Ints, fraction: int, beta: float) -> None:
        if fraction + 0.5 >= CUT:
            return
        before, after = (plain_energy(factors, z, weight, row) for z in (x, y))
        change = after[0] + after[2] - before[0] - before[2]
        if change <= 1e-9 or beta * change <= -math.log((fraction + 0.5) / CUT):
            x[:] = y

    for beta, draws in zip(betas, words, strict=True):
        for i in range(n):
            others = len(open_values[i]) - 1
            if others < 1:
                continue
            pick, fraction = divmod(int(draws[i]) * others, 2**32)
            value = open_values[i][pick]
            y = x.copy()
            y[i] = open_values[i][others] if value == x[i] else value
            attempt(y, fraction, beta)
        for begin, end in zip(start[:-1], start[1:], strict=True):
            for e in range(begin, end):
                pick, fraction = divmod(int(draws[n + e]) * int(end - begin - 1), 2**32)
                other = begin + pick
                i, j = line_site[e], line_site[other if other < e else other + 1]
                if x[i] != x[j] and x[j] in open_values[i] and x[i] in open_values[j]:
                    y = x.copy()
                    y[i], y[j] = x[j], x[i]
                    attempt(y, fraction, beta)
    cost, broken, _ = plain_energy(factors, x, weight, row)
    return x, cost, broken


def plain_energy(
    factors: Factors, x: Ints, weight: Floats, row: int = 0
) -> tuple[float, float, float]:
    """Cost, violation and weighted violation of one state, straight from the factors."""
    f = factors.expanded()
    misses: list[float] = []
    for k in range(f.counted.count):
        at = slice(f.counted.start[k], f.counted.start[k + 1])
        true = int((x[f.counted.site[at]] == f.counted.value[at]).sum())
        misses.append(max(0, f.counted.low[k] - true, true - f.counted.high[k]))
    for k in range(f.clauses.count):
        at = slice(f.clauses.start[k], f.clauses.start[k + 1])
        misses.append(
            int(not ((x[f.clauses.site[at]] == f.clauses.value[at]) == f.clauses.sign[at]).any())
        )
    for k in range(f.sums.count):
        at = slice(f.sums.start[k], f.sums.start[k + 1])
        true = x[f.sums.site[at]] == f.sums.value[at]
        t = f.sums.coefficient[at][true].sum()
        misses.append(max(0.0, f.sums.low[k] - t, t - f.sums.high[k]))
    cost = 0.0
    for table in f.plain().tables:
        listed = np.atleast_2d(table.costs)
        costs = listed[row if len(listed) > 1 else 0]
        shapes = {tuple(factors.sizes[scope].tolist()) for scope in table.scopes}
        forbids = {s: not np.isfinite(table.bound.dense(s)).all() for s in shapes}
        for scope, binding in zip(table.scopes, table.binding_at(x).tolist(), strict=True):
            hit = (table.tuples == x[scope]).all(1)
            price = costs[hit][-1] if hit.any() else table.default
            price = price if binding else 0.0
            cost += price if math.isfinite(price) else 0.0
            several = table.arity > 1 or table.when is not None
            if several and forbids[tuple(factors.sizes[scope].tolist())]:
                misses.append(int(not math.isfinite(price)))
    broken = np.array(misses, dtype=np.float64)
    return cost, float(broken.sum()), float((broken * weight).sum())
