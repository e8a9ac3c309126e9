"""Fused single-site sweeps over explicit structure, with incremental costs and violations.

E(x) = sum of table costs + sum_c weight_c violation_c(x), sampled at inverse temperature beta by
Metropolis moves: one site to another allowed value, or two sites of a tight line exchange values.
Sites of a line that is kept always differ: who moves to a value that another of them holds hands
that one its own.
A move of change d is taken with probability STIR min(1, exp(-beta d)); STIR < 1 keeps detailed
balance and breaks the parity that a strictly sequential scan of free sites would conserve.
Source: Metropolis et al., J. Chem. Phys. 1953; Kirkpatrick, Gelatt, Vecchi, Science 1983.

Every draw is Philox at (row key, particle, sweep, site): `reference` below repeats a sweep in plain
Python with the same draws, and the tests hold both equal.
"""

import math
from typing import NamedTuple

import numpy as np

from engine.kernels.fused import fused
from engine.kernels.philox import philox

STIR = 15 / 16  # share of moves that are looked at
SCALE = 2.0**32
CUT = STIR * SCALE
LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)
RECOUNT = 64  # sweeps after which a carried cost is counted anew


class Structure(NamedTuple):
    """Everything as arrays; a rule is a linear sum that must lie in [low, high], or a scope with
    forbidden combinations. Rules are numbered sums first, then such scopes."""

    offset: np.ndarray  # (n + 1,) int32 first literal of each site
    # scopes of tables: the place of the present combination moves by `stride` per value
    scope_start: np.ndarray  # (n + 1,) int32 -> scope, stride
    scope: np.ndarray  # (A,) int32
    stride: np.ndarray  # (A,) int64
    base: np.ndarray  # (S,) int64 where the table of a scope begins in the pool
    lead: np.ndarray  # (S,) int64 what one row adds to `base`; 0: the same for all rows
    key_start: np.ndarray  # (S,) int64 where the sorted keys of a sparse table begin
    keys: np.ndarray  # (S,) int64 how many there are; 0: dense
    span: np.ndarray  # (S, 2) int64 the places at which a sparse table binds; beyond, it costs 0
    rule: np.ndarray  # (S,) int32 number of the rule of a scope; -1: forbids nothing
    key: np.ndarray  # (K,) int64
    pool: np.ndarray  # (T,) float64 costs, 0 where forbidden
    ban: np.ndarray  # (T,) uint8 1 where forbidden
    # sums in which a site occurs with one value, by literal
    literal_start: np.ndarray  # (C + 1,) int32 -> sum, coefficient
    literal_sum: np.ndarray  # (L,) int32
    literal_coefficient: np.ndarray  # (L,) float64
    # sums in which a site occurs with several values, by site, a coefficient for each value
    pair_start: np.ndarray  # (n + 1,) int32 -> sum, first
    pair_sum: np.ndarray  # (Q,) int32
    pair_first: np.ndarray  # (Q,) int64
    pair_coefficient: np.ndarray  # (D,) float64
    low: np.ndarray  # (m,) float64
    high: np.ndarray  # (m,) float64
    # tight lines, for exchanges
    line_start: np.ndarray  # (l + 1,) int32
    line_site: np.ndarray  # (Z,) int32
    # lines whose sites always differ, each site in at most one
    keeps: np.ndarray  # (n,) int32 where the holders of the values of its line begin; -1: in none
    holders: np.ndarray  # (H,) int32 all -1


class Pairs(NamedTuple):
    """E = sum_i field_i x_i + sum_ij coupling_ij x_i x_j over sites of two values (compressed
    rows, both directions)."""

    start: np.ndarray  # (n + 1,) int32
    near: np.ndarray  # (A,) int32
    coupling: np.ndarray  # (A,) float64


class Couplings(NamedTuple):
    """E = sum_i field_i(x_i) + sum_ij table_ij(x_i, x_j) over sites of any number of values
    (compressed rows, both directions)."""

    start: np.ndarray  # (n + 1,) int32
    near: np.ndarray  # (A,) int32
    base: np.ndarray  # (A,) int32 where the costs of a pair begin in the pool: of the values of
    # this site, for each value of the near one
    pool: np.ndarray  # (T,) float64


@fused(inline="always")
def _miss(low, high, total):
    """The amount by which a sum lies outside its bounds."""
    if total < low:
        return low - total
    if total > high:
        return total - high
    return 0.0


@fused(inline="always")
def _draw(words, key, lane, p, sweep):
    """Fills `words` with what a particle draws in one sweep."""
    for q in range(len(words) // 4):
        c0, c1, c2, c3 = philox(
            np.uint64(q), np.uint64(p), np.uint64(sweep), np.uint64(lane), key[0], key[1]
        )
        words[4 * q], words[4 * q + 1] = c0, c1
        words[4 * q + 2], words[4 * q + 3] = c2, c3


@fused()
def _search(key, first, count, begin, end, place):
    """Where the cost of a combination stands in a sparse table; `count`: not listed, one more: it
    does not bind."""
    if place < begin or place >= end:
        return count + 1
    low, high = first, first + count
    while low < high:
        middle = (low + high) >> 1
        if key[middle] < place:
            low = middle + 1
        else:
            high = middle
    if low < first + count and key[low] == place:
        return low - first
    return count


@fused()
def measure(s, row, field, x, place, total, blame):
    """Energy and violation of one state; fills the place of each scope's combination and the
    total of each sum, and adds the violation of every rule to `blame`. -> (cost, violation)"""
    cost, broken = 0.0, 0.0
    place[:] = 0
    total[:] = 0.0
    for i in range(len(x)):
        v = np.int64(x[i])
        c = s.offset[i] + v
        cost += field[c]
        for e in range(s.scope_start[i], s.scope_start[i + 1]):
            place[s.scope[e]] += s.stride[e] * v
        for e in range(s.literal_start[c], s.literal_start[c + 1]):
            total[s.literal_sum[e]] += s.literal_coefficient[e]
        for e in range(s.pair_start[i], s.pair_start[i + 1]):
            total[s.pair_sum[e]] += s.pair_coefficient[s.pair_first[e] + v]
    for k in range(len(s.base)):
        at = place[k]
        if s.keys[k] > 0:
            at = _search(s.key, s.key_start[k], s.keys[k], s.span[k, 0], s.span[k, 1], at)
        at += s.base[k] + row * s.lead[k]
        cost += s.pool[at]
        broken += s.ban[at]
        if s.ban[at]:
            blame[s.rule[k]] += 1.0
    for k in range(len(s.low)):
        miss = _miss(s.low[k], s.high[k], total[k])
        broken += miss
        blame[k] += miss
    return cost, broken


@fused(inline="always")
def _taken(change, beta, fraction):
    """The Metropolis test with the low half of a product of draws, in [0, 2**32).

    exp(y) >= 1 + y + y^2 / 2 spares most logarithms."""
    if change <= 0.0:
        return True
    y = beta * change
    if (fraction + 0.5) * (1.0 + y + 0.5 * y * y) > CUT:
        return False
    return y <= -math.log((fraction + 0.5) / CUT)


@fused()
def sweep(
    s, row, choices, options, field, weight, betas, key, lane, first, x, best, score, blame, probe
):
    """Sweeps of one row's particles, one for each of `betas`, numbered from `first`.

    choices (C,): the allowed values of each site, packed at its offset; options (n,): how many.
    x, best (P, n): states and best states; score (P, 4): cost and violation of both. All changed
    in place. blame (rules,): the violation of every rule in the last states is added.
    probe (P, n, 2): what the moves looked at would change, cost and violation; or (0, 0, 2).
    """
    # local names, and everything in one function: a call would count references to every array
    offset, scope_start, scope, stride = s.offset, s.scope_start, s.scope, s.stride
    base, lead, keys, rule, pool, ban = s.base, s.lead, s.keys, s.rule, s.pool, s.ban
    literal_start, literal_sum = s.literal_start, s.literal_sum
    literal_coefficient = s.literal_coefficient
    pair_start, pair_sum, pair_first = s.pair_start, s.pair_sum, s.pair_first
    pair_coefficient, low, high = s.pair_coefficient, s.low, s.high
    line_start, line_site, keeps = s.line_start, s.line_site, s.keeps
    holder = s.holders.copy()  # of each value of each kept line, the site that has it
    particles, n = x.shape
    place = np.zeros(len(base), dtype=np.int64)
    total = np.zeros(len(low))
    moves = n + len(line_site)
    words = np.zeros(4 * ((moves + 3) // 4), dtype=np.uint64)
    nothing = np.zeros(len(blame))
    site, before = np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64)
    after = np.zeros(3, dtype=np.int64)
    for p in range(particles):
        cost, broken = measure(s, row, field, x[p], place, total, nothing)
        if len(holder):
            holder[:] = -1
            for i in range(n):
                if keeps[i] >= 0:
                    holder[keeps[i] + x[p, i]] = i
        for t in range(-1, len(betas)):
            line = 0
            if t >= 0:
                _draw(words, key, lane, p, first + t)
            for m in range(moves if t >= 0 else 0):
                if m < n:  # one site to another value
                    parts = 1
                    others = options[m] - 1
                    if others < 1:
                        continue
                    product = words[m] * np.uint64(others)
                    site[0], before[0] = m, x[p, m]
                    after[0] = choices[offset[m] + np.int64(product >> HALF)]
                    if after[0] == before[0]:
                        after[0] = choices[offset[m] + others]
                    if keeps[m] >= 0 and holder[keeps[m] + after[0]] >= 0:
                        parts = 2
                        j = np.int64(holder[keeps[m] + after[0]])
                        site[1], before[1], after[1] = j, after[0], before[0]
                        legal = 0
                        for q in range(options[j]):
                            if choices[offset[j] + q] == after[1]:
                                legal = 1
                                break
                        if legal == 0:
                            continue
                else:  # two sites of a line exchange their values
                    parts = 2
                    e = m - n
                    while line_start[line + 1] <= e:
                        line += 1
                    head = line_start[line]
                    product = words[m] * np.uint64(line_start[line + 1] - head - 1)
                    other = head + np.int64(product >> HALF)
                    i, j = line_site[e], line_site[other if other < e else other + 1]
                    site[0], site[1] = i, j
                    before[0] = after[1] = x[p, i]
                    before[1] = after[0] = x[p, j]
                    legal = 0
                    for h in range(2):
                        for q in range(options[site[h]]):
                            if choices[offset[site[h]] + q] == after[h]:
                                legal += 1
                                break
                    if legal < 2 or before[0] == after[0]:
                        continue
                fraction = np.float64(np.int64(product & LOW))
                if fraction + 0.5 >= CUT:
                    continue
                cost_change, broken_change, change = 0.0, 0.0, 0.0
                taken = False
                # every part is tried and applied in turn; what is refused is taken back
                h = 0
                while True:
                    i, a, b = site[h], before[h], after[h]
                    at, to = offset[i] + a, offset[i] + b
                    if h < parts:
                        d = field[to] - field[at]
                        for e in range(scope_start[i], scope_start[i + 1]):
                            k = scope[e]
                            old = place[k]
                            new = old + stride[e] * (b - a)
                            if keys[k] > 0:
                                start, begin, end = s.key_start[k], s.span[k, 0], s.span[k, 1]
                                old = _search(s.key, start, keys[k], begin, end, old)
                                new = _search(s.key, start, keys[k], begin, end, new)
                            shift = base[k] + row * lead[k]
                            d += pool[new + shift] - pool[old + shift]
                            if rule[k] >= 0:
                                w = np.float64(ban[new + shift]) - np.float64(ban[old + shift])
                                broken_change += w
                                change += weight[rule[k]] * w
                        cost_change += d
                        change += d
                        sign = -1.0
                        c = at
                        while True:
                            for e in range(literal_start[c], literal_start[c + 1]):
                                k = literal_sum[e]
                                w = _miss(low[k], high[k], total[k] + sign * literal_coefficient[e])
                                w -= _miss(low[k], high[k], total[k])
                                broken_change += w
                                change += weight[k] * w
                            if c == to:
                                break
                            sign, c = 1.0, to
                        for e in range(pair_start[i], pair_start[i + 1]):
                            c = pair_first[e]
                            k = pair_sum[e]
                            w = _miss(
                                low[k],
                                high[k],
                                total[k] + pair_coefficient[c + b] - pair_coefficient[c + a],
                            )
                            w -= _miss(low[k], high[k], total[k])
                            broken_change += w
                            change += weight[k] * w
                        if h == parts - 1:
                            taken = _taken(change, betas[t], fraction)
                            if not taken:
                                if parts == 1:
                                    break
                                h = 2  # take the first part back
                                site[2], before[2], after[2] = site[0], after[0], before[0]
                                continue
                    x[p, i] = b
                    for e in range(scope_start[i], scope_start[i + 1]):
                        place[scope[e]] += stride[e] * (b - a)
                    for e in range(literal_start[at], literal_start[at + 1]):
                        total[literal_sum[e]] -= literal_coefficient[e]
                    for e in range(literal_start[to], literal_start[to + 1]):
                        total[literal_sum[e]] += literal_coefficient[e]
                    for e in range(pair_start[i], pair_start[i + 1]):
                        c = pair_first[e]
                        total[pair_sum[e]] += pair_coefficient[c + b] - pair_coefficient[c + a]
                    h += 1
                    if h >= parts:
                        break
                if m < n and p < len(probe):
                    probe[p, m, 0], probe[p, m, 1] = cost_change, broken_change
                if taken:
                    cost += cost_change
                    broken += broken_change
                    if m < n and keeps[m] >= 0:
                        holder[keeps[m] + before[0]] = site[1] if parts == 2 else -1
                        holder[keeps[m] + after[0]] = m
            if broken < score[p, 3] - 1e-9 or (
                broken <= score[p, 3] + 1e-9 and cost < score[p, 2] - 1e-9
            ):
                for i in range(n):
                    best[p, i] = x[p, i]
                score[p, 2], score[p, 3] = cost, broken
        score[p, 0], score[p, 1] = measure(s, row, field, x[p], place, total, blame)


@fused()
def seat(offset, choices, options, line_start, line_site, keeps, holders, x, lost):
    """Gives the sites of kept lines allowed values that differ, and leaves those that do alone.

    By augmenting paths. x (P, n) is changed in place; lost (P,) is 1 where a line has no such
    values. Source: Kuhn, Naval Research Logistics Quarterly 1955.
    """
    holder = holders.copy()
    source = np.zeros(len(holders), dtype=np.int64)  # the site from which a value was reached
    queue = np.zeros(x.shape[1] + 1, dtype=np.int64)
    for p in range(len(x)):
        holder[:] = -1
        for line in range(len(line_start) - 1):
            a, b = line_start[line], line_start[line + 1]
            for e in range(a, b):  # who stands well stays
                i = line_site[e]
                at = keeps[i] + x[p, i]
                if holder[at] < 0:
                    holder[at] = i
            for e in range(a, b):
                first = line_site[e]
                if holder[keeps[first] + x[p, first]] == first:
                    continue
                source[:] = -1
                queue[0], head, tail, found = first, 0, 1, -1
                while head < tail and found < 0:
                    i = queue[head]
                    head += 1
                    for q in range(options[i]):
                        turn = (q + x[p, first] + p) % options[i]
                        at = keeps[i] + choices[offset[i] + turn]
                        if source[at] >= 0:
                            continue
                        source[at] = i
                        if holder[at] < 0:
                            found = at
                            break
                        queue[tail] = holder[at]
                        tail += 1
                if found < 0:
                    lost[p] = 1
                    continue
                while True:  # everybody on the way moves on
                    i = source[found]
                    old = keeps[i] + x[p, i]
                    holder[found] = i
                    x[p, i] = found - keeps[i]
                    if i == first:
                        break
                    found = old


@fused()
def sweep_pairs(s, options, field, constant, betas, key, lane, first, x, best, score):
    """`sweep` for `Pairs`: local fields, so that a move that is not taken costs one comparison."""
    start, near, coupling = s.start, s.near, s.coupling
    particles, n = x.shape
    blocks = (n + 3) // 4
    draw = np.zeros(4 * blocks)
    local = np.zeros(n)  # what a site's value 1 costs more than its value 0
    sign = np.zeros(n)  # 1 at value 0, -1 at value 1
    for p in range(particles):
        cost = constant
        for i in range(n):
            sign[i] = 1.0 - 2.0 * x[p, i]
        for i in range(n):
            coupled = 0.0
            for e in range(start[i], start[i + 1]):
                if sign[near[e]] < 0.0:
                    coupled += coupling[e]
            local[i] = field[i] + coupled
            if sign[i] < 0.0:
                cost += field[i] + 0.5 * coupled
        for t in range(-1, len(betas)):
            if t >= 0:
                for q in range(blocks):
                    c0, c1, c2, c3 = philox(
                        np.uint64(q),
                        np.uint64(p),
                        np.uint64(first + t),
                        np.uint64(lane),
                        key[0],
                        key[1],
                    )
                    draw[4 * q] = np.float64(np.int64(c0))
                    draw[4 * q + 1] = np.float64(np.int64(c1))
                    draw[4 * q + 2] = np.float64(np.int64(c2))
                    draw[4 * q + 3] = np.float64(np.int64(c3))
                beta = betas[t]
                for i in range(n):
                    change = sign[i] * local[i]
                    fraction = draw[i]
                    if fraction + 0.5 >= CUT or options[i] < 2:
                        continue
                    if _taken(change, beta, fraction):
                        step = sign[i]
                        sign[i] = -step
                        cost += change
                        for e in range(start[i], start[i + 1]):
                            local[near[e]] += step * coupling[e]
            if score[p, 3] > 0.0 or cost < score[p, 2] - 1e-9:
                for i in range(n):
                    best[p, i] = np.int16(sign[i] < 0.0)
                score[p, 2], score[p, 3] = cost, 0.0
        score[p, 0], score[p, 1] = cost, 0.0
        for i in range(n):
            x[p, i] = np.int16(sign[i] < 0.0)


@fused()
def _coupled_cost(s, offset, field, x):
    """The energy of one state of `Couplings`; each pair is counted at its lower end, or at one of
    two ends that are the same."""
    start, near, base, pool = s.start, s.near, s.base, s.pool
    cost = 0.0
    for i in range(len(x)):
        at = offset[i] + x[i]
        cost += field[at]
        values = offset[i + 1] - offset[i]
        for e in range(start[i], start[i + 1]):
            if near[e] > i:
                cost += pool[base[e] + values * x[near[e]] + x[i]]
    return cost


@fused()
def sweep_couplings(
    s, offset, choices, options, field, betas, key, lane, first, x, best, score, probe
):
    """`sweep` for `Couplings`: the same moves by the same draws, of pairs alone.

    The cost of a state is carried from call to call in `score`, and counted anew where that is
    infinite, and every RECOUNT sweeps."""
    start, near, base, pool = s.start, s.near, s.base, s.pool
    particles, n = x.shape
    words = np.zeros(4 * ((n + 3) // 4), dtype=np.uint64)
    recount = first % RECOUNT < len(betas)
    for p in range(particles):
        cost = score[p, 0]
        if recount or not math.isfinite(cost):
            cost = _coupled_cost(s, offset, field, x[p])
        for t in range(-1, len(betas)):
            if t >= 0:
                _draw(words, key, lane, p, first + t)
            for i in range(n if t >= 0 else 0):
                others = options[i] - 1
                if others < 1:
                    continue
                product = words[i] * np.uint64(others)
                fraction = np.float64(np.int64(product & LOW))
                if fraction + 0.5 >= CUT:
                    continue
                a = np.int64(x[p, i])
                b = np.int64(choices[offset[i] + np.int64(product >> HALF)])
                if b == a:
                    b = np.int64(choices[offset[i] + others])
                values = np.int64(offset[i + 1] - offset[i])
                change = field[offset[i] + b] - field[offset[i] + a]
                for e in range(start[i], start[i + 1]):
                    at = base[e] + values * x[p, near[e]]
                    change += pool[at + b] - pool[at + a]
                if p < len(probe):
                    probe[p, i, 0] = change
                if _taken(change, betas[t], fraction):
                    x[p, i] = b
                    cost += change
            if score[p, 3] > 0.0 or cost < score[p, 2] - 1e-9:
                for i in range(n):
                    best[p, i] = x[p, i]
                score[p, 2], score[p, 3] = cost, 0.0
        score[p, 0], score[p, 1] = cost, 0.0
