"""Fused tabu search over explicit structure: of all single moves the best that is not forbidden.

A move takes one site to another allowed value; where a line of sites that differ is kept, to one
that another of them may hold, which is then handed the first one's own. The best move is made even
if it is for the worse, and the values that were left may not be taken again for a while, unless
that is better than anything before. Where no move is better and rules are broken, these weigh more.
Sources: Glover, "Tabu search, part I", ORSA Journal on Computing 1989; Taillard, "Robust taboo
search for the quadratic assignment problem", Parallel Computing 1991; Morris, "The breakout
method", AAAI 1993.
"""

import numpy as np

from engine.kernels.fused import fused
from engine.kernels.philox import philox
from engine.kernels.sweeps import _miss, _search, measure

NEAR = 1e-9  # nearer than this is level


@fused(inline="always")
def _change(s, row, field, weight, place, total, i, a, b):
    """What site i costs more, violates more, and both weighed, with value b in place of a."""
    at, to = s.offset[i] + a, s.offset[i] + b
    cost, broken = field[to] - field[at], 0.0
    weighed = cost
    for e in range(s.scope_start[i], s.scope_start[i + 1]):
        k = s.scope[e]
        old = place[k]
        new = old + s.stride[e] * (b - a)
        if s.keys[k] > 0:
            old = _search(s.key, s.key_start[k], s.keys[k], s.span[k, 0], s.span[k, 1], old)
            new = _search(s.key, s.key_start[k], s.keys[k], s.span[k, 0], s.span[k, 1], new)
        shift = s.base[k] + row * s.lead[k]
        d = s.pool[new + shift] - s.pool[old + shift]
        cost += d
        weighed += d
        if s.rule[k] >= 0:
            w = np.float64(s.ban[new + shift]) - np.float64(s.ban[old + shift])
            broken += w
            weighed += weight[s.rule[k]] * w
    for side in range(2):
        c = at if side == 0 else to
        sign = -1.0 if side == 0 else 1.0
        for e in range(s.literal_start[c], s.literal_start[c + 1]):
            k = s.literal_sum[e]
            w = _miss(s.low[k], s.high[k], total[k] + sign * s.literal_coefficient[e])
            w -= _miss(s.low[k], s.high[k], total[k])
            broken += w
            weighed += weight[k] * w
    for e in range(s.pair_start[i], s.pair_start[i + 1]):
        c, k = s.pair_first[e], s.pair_sum[e]
        d = s.pair_coefficient[c + b] - s.pair_coefficient[c + a]
        w = _miss(s.low[k], s.high[k], total[k] + d) - _miss(s.low[k], s.high[k], total[k])
        broken += w
        weighed += weight[k] * w
    return cost, broken, weighed


@fused(inline="always")
def _put(s, place, total, i, a, b):
    """Moves the places and totals that hang on site i from value a to b."""
    for e in range(s.scope_start[i], s.scope_start[i + 1]):
        place[s.scope[e]] += s.stride[e] * (b - a)
    at, to = s.offset[i] + a, s.offset[i] + b
    for e in range(s.literal_start[at], s.literal_start[at + 1]):
        total[s.literal_sum[e]] -= s.literal_coefficient[e]
    for e in range(s.literal_start[to], s.literal_start[to + 1]):
        total[s.literal_sum[e]] += s.literal_coefficient[e]
    for e in range(s.pair_start[i], s.pair_start[i + 1]):
        c = s.pair_first[e]
        total[s.pair_sum[e]] += s.pair_coefficient[c + b] - s.pair_coefficient[c + a]


@fused()
def tabu(
    s, row, choices, options, field, weight, growth, tenure, key, lane, first, count,
    x, best, score, until,
):  # fmt: skip
    """Moves of one row's particles, `count` each, numbered from `first`.

    choices, options, x, best, score: as of `sweep`. weight (rules,): grows by `growth` for what is
    broken where no move is better. tenure: moves for which a value that was left is not taken
    again; up to twice as many, drawn. until (P, C) int64: up to which move. Changed in place.
    """
    particles, n = x.shape
    offset, keeps = s.offset, s.keeps
    place = np.zeros(len(s.base), dtype=np.int64)
    total = np.zeros(len(s.low))
    blame = np.zeros(len(weight))
    holder = s.holders.copy()
    for p in range(particles):
        cost, broken = measure(s, row, field, x[p], place, total, blame)
        if len(holder):
            holder[:] = -1
            for i in range(n):
                if keeps[i] >= 0:
                    holder[keeps[i] + x[p, i]] = i
        for t in range(first, first + count):
            c0, c1, c2, c3 = philox(
                np.uint64(0), np.uint64(p), np.uint64(t), np.uint64(lane), key[0], key[1]
            )
            shift = np.int64(c0) % n
            least, site, value = np.inf, -1, 0
            d_cost, d_broken = 0.0, 0.0
            for q in range(n):
                i = (q + shift) % n
                a = np.int64(x[p, i])
                for o in range(options[i]):
                    b = np.int64(choices[offset[i] + o])
                    if b == a:
                        continue
                    j = np.int64(-1)
                    if keeps[i] >= 0:
                        j = np.int64(holder[keeps[i] + b])
                    if j >= 0:
                        if j < i:
                            continue  # the same exchange is seen from there
                        legal = False
                        for h in range(options[j]):
                            legal = legal or choices[offset[j] + h] == a
                        if not legal:
                            continue
                    cost_change, broken_change, change = _change(
                        s, row, field, weight, place, total, i, a, b
                    )
                    if j >= 0:
                        _put(s, place, total, i, a, b)
                        other = _change(s, row, field, weight, place, total, j, b, a)
                        _put(s, place, total, i, b, a)
                        cost_change += other[0]
                        broken_change += other[1]
                        change += other[2]
                    if change >= least:
                        continue
                    forbidden = until[p, offset[i] + b] > t
                    if j >= 0:
                        forbidden = forbidden or until[p, offset[j] + a] > t
                    if forbidden:
                        less = broken + broken_change - score[p, 3]
                        if less > NEAR:
                            continue
                        if less >= -NEAR and cost + cost_change >= score[p, 2] - NEAR:
                            continue
                    least, site, value = change, i, b
                    d_cost, d_broken = cost_change, broken_change
            if site >= 0:
                if least >= -NEAR and broken > NEAR:
                    blame[:] = 0.0
                    measure(s, row, field, x[p], place, total, blame)
                    for k in range(len(weight)):
                        if blame[k] > NEAR:
                            weight[k] += growth
                long = tenure + np.int64(c1) % (tenure + 1)
                a = np.int64(x[p, site])
                j = np.int64(-1)
                if keeps[site] >= 0:
                    j = np.int64(holder[keeps[site] + value])
                _put(s, place, total, site, a, value)
                x[p, site] = value
                until[p, offset[site] + a] = t + 1 + long
                if j >= 0:
                    _put(s, place, total, j, value, a)
                    x[p, j] = a
                    until[p, offset[j] + value] = t + 1 + long
                if keeps[site] >= 0:
                    holder[keeps[site] + value] = site
                    holder[keeps[site] + a] = j
                cost += d_cost
                broken += d_broken
                if broken < score[p, 3] - NEAR or (
                    broken <= score[p, 3] + NEAR and cost < score[p, 2] - NEAR
                ):
                    for i in range(n):
                        best[p, i] = x[p, i]
                    score[p, 2], score[p, 3] = cost, broken
        score[p, 0], score[p, 1] = measure(s, row, field, x[p], place, total, blame)
