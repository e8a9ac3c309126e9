"""Elimination of one site after the other: an order, the messages, and states out of them.

A *factor* is a table over a scope of sites, entry base + sum of stride * value in one array `data`;
several may share a table. A *bucket* is a site together with those that stand in a factor or
message with it when it is eliminated: the sum of all of these, reduced over the site, is its
message, a table over the others. Messages stand in `data` behind the tables, by the places that
values have among the options left to a site. The reduction is the minimum, or, where `soft` says
so, -ln sum exp(-cost). A total of `limit` or more is forbidden and becomes `forbidden`.
Source: Dechter, "Bucket elimination", Artificial Intelligence 113, 1999. The order is greedy, by
the least table or the fewest new neighbours: Kjaerulff, "Triangulation of graphs", 1990.
"""

import heapq
from typing import NamedTuple

import numpy as np

from engine.kernels.fused import fused, put

WIDE = 48  # neighbours from which on those that miss each other are not counted


class Scopes(NamedTuple):
    """What every factor reaches over."""

    start: np.ndarray  # (F + 1,) int64
    site: np.ndarray  # (A,) int64
    stride: np.ndarray  # (A,) int64 in its table
    base: np.ndarray  # (F,) int64 where its table begins


class Buckets(NamedTuple):
    """What is eliminated in which order, out of what; the last bucket is what remains."""

    order: np.ndarray  # (B,) int64 sites
    axis_start: np.ndarray  # (B + 1,) int64
    axis: np.ndarray  # sites of a bucket, its own last
    part_start: np.ndarray  # (B + 2,) int64
    part: np.ndarray  # factors, and behind their number messages by their bucket
    slot_start: np.ndarray  # (P + 1,) int64
    slot: np.ndarray  # which axis of the bucket each entry of a part's scope is; -1: none, as the
    # site has one value


class Options(NamedTuple):
    """The values left to each site of a row, and where its messages stand in `data`."""

    start: np.ndarray  # (N + 1,) int64
    value: np.ndarray
    message: np.ndarray  # (B,) int64


@fused()
def _slot_of(table, key):
    """Where a key stands in a hash table, or the free place where it would."""
    mask = len(table) - 1
    at = (key * np.int64(0x9E3779B97F4A7C15 >> 1)) >> 20 & mask
    while table[at] >= 0 and table[at] != key:
        at = (at + 1) & mask
    return at


@fused()
def _grown(table):
    """The same keys with twice the room."""
    out = np.full(2 * len(table), -1, np.int64)
    for key in table:
        if key >= 0:
            out[_slot_of(out, key)] = key
    return out


@fused()
def _near(u, head, after, to, gone, out):
    """The neighbours of a site that are left; those gone are taken off its list. -> how many"""
    count, last, e = 0, -1, head[u]
    while e >= 0:
        v = to[e]
        if gone[v]:
            if last < 0:
                head[u] = after[e]
            else:
                after[last] = after[e]
        else:
            out[count] = v
            count += 1
            last = e
        e = after[e]
    return count


@fused()
def _missing(near, count, edges, n):
    """Pairs of neighbours that are none of each other."""
    if count > WIDE:
        return count * count
    out = 0
    for i in range(count):
        for j in range(i):
            a, b = min(near[i], near[j]), max(near[i], near[j])
            if edges[_slot_of(edges, a * n + b)] < 0:
                out += 1
    return out


@fused(inline="always")
def _linked(a, b, size, edges, head, after, to, weight, count):
    """With an edge between two sites, a < b, unless it is there: the arrays that may have grown,
    and how many ends of edges there are."""
    key = a * len(size) + b
    at = _slot_of(edges, key)
    if edges[at] >= 0:
        return edges, after, to, count
    edges[at] = key
    if count + 2 > len(to):
        after = np.concatenate((after, np.empty_like(after)))
        to = np.concatenate((to, np.empty_like(to)))
    to[count], after[count], head[a] = b, head[a], count
    to[count + 1], after[count + 1], head[b] = a, head[b], count + 1
    weight[a] += size[b]
    weight[b] += size[a]
    if 2 * (count + 2) > len(edges):
        edges = _grown(edges)
    return edges, after, to, count + 2


@fused()
def order_sites(start, site, size, later, widest, most, filling):
    """Which site is eliminated when, and the axes of its bucket.

    size (N,) log2 of values; sites of one value join nothing. later (N,) sites that wait for all
    others. widest, most: log2 of the cells of one bucket, and cells of all. filling: by the fewest
    new neighbours, then the least bucket; else by the least bucket alone. -> order, axis_start,
    axis, cells; an order that ends early came to a bucket too wide, whose cells it tells.
    """
    n = len(size)
    pairs, room = 8, 16
    for f in range(len(start) - 1):
        pairs += (start[f + 1] - start[f]) * (start[f + 1] - start[f] - 1) // 2
    while room < 2 * pairs and room < 1 << 20:
        room *= 2
    edges = np.full(room, -1, np.int64)
    head = np.full(n, -1, np.int64)
    after, to = np.empty(room, np.int64), np.empty(room, np.int64)
    weight = size.copy()
    gone = np.zeros(n, np.bool_)
    near, far = np.empty(n, np.int64), np.empty(n, np.int64)
    count = 0
    for f in range(len(start) - 1):
        for i in range(start[f], start[f + 1]):
            for j in range(start[f], i):
                a, b = min(site[i], site[j]), max(site[i], site[j])
                if a == b or size[a] == 0.0 or size[b] == 0.0:
                    continue
                edges, after, to, count = _linked(a, b, size, edges, head, after, to, weight, count)
    heap = [(0.0, 0.0, np.int64(0)) for _ in range(0)]
    for u in range(n):
        score = 0.0
        if filling:
            score = float(_missing(near, _near(u, head, after, to, gone, near), edges, n))
        heap.append((score + 1e15 * later[u], weight[u], np.int64(u)))
    heapq.heapify(heap)
    order, axis_start = np.empty(n, np.int64), np.zeros(n + 1, np.int64)
    axis = np.empty(max(16, 2 * len(site)), np.int64)
    done, used, cells = 0, 0, 0.0
    while done < n:
        score, key, u = heapq.heappop(heap)
        if gone[u]:
            continue
        held = _near(u, head, after, to, gone, near)
        now = 1e15 * later[u]
        if filling:
            now += float(_missing(near, held, edges, n))
        if weight[u] > key + 1e-9 or now > score:
            heapq.heappush(heap, (now, weight[u], u))
            continue
        cells += 2.0 ** min(weight[u], 1000.0)
        if weight[u] > widest + 1e-9 or cells > most:
            return order[:done], axis_start[: done + 1], axis[:used], 2.0 ** min(weight[u], 1000.0)
        gone[u] = True
        if used + held + 1 > len(axis):
            axis = np.concatenate((axis, np.empty(len(axis) + held + 1, np.int64)))
        put(axis[used : used + held], near[:held])
        axis[used + held] = u
        used += held + 1
        order[done] = u
        done += 1
        axis_start[done] = used
        for i in range(held):
            a = near[i]
            weight[a] -= size[u]
        for i in range(held):
            for j in range(i):
                a, b = min(near[i], near[j]), max(near[i], near[j])
                edges, after, to, count = _linked(a, b, size, edges, head, after, to, weight, count)
        for i in range(held):
            a = near[i]
            score = 1e15 * later[a]
            if filling:
                score += float(_missing(far, _near(a, head, after, to, gone, far), edges, n))
            heapq.heappush(heap, (score, weight[a], a))
    return order, axis_start, axis[:used], cells


@fused()
def fill_buckets(start, site, size, order, axis_start, axis):
    """Which factors and messages each bucket sums, and how they lie in it.
    -> part_start, part, slot_start, slot"""
    buckets, factors = len(order), len(start) - 1
    place = np.empty(buckets, np.int64)
    for b in range(buckets):
        place[order[b]] = b
    home = np.full(factors + buckets, buckets, np.int64)
    for f in range(factors):
        for i in range(start[f], start[f + 1]):
            if size[site[i]] != 0.0:
                home[f] = min(home[f], place[site[i]])
        if home[f] == buckets:  # all of its sites have one value
            home[f] = place[site[start[f]]]
    for b in range(buckets):
        for i in range(axis_start[b], axis_start[b + 1] - 1):
            home[factors + b] = min(home[factors + b], place[axis[i]])
    part_start = np.zeros(buckets + 2, np.int64)
    for one in home:
        part_start[one + 1] += 1
    for b in range(buckets + 1):
        part_start[b + 1] += part_start[b]
    part, filled = np.empty(len(home), np.int64), part_start.copy()
    for p in range(len(home)):
        part[filled[home[p]]] = p
        filled[home[p]] += 1
    slot_start = np.zeros(len(part) + 1, np.int64)
    for k in range(len(part)):
        p = part[k]
        if p < factors:
            length = start[p + 1] - start[p]
        else:
            length = axis_start[p - factors + 1] - axis_start[p - factors] - 1
        slot_start[k + 1] = slot_start[k] + length
    slot = np.full(slot_start[-1], -1, np.int64)
    for b in range(buckets):
        for k in range(part_start[b], part_start[b + 1]):
            p = part[k]
            for i in range(slot_start[k + 1] - slot_start[k]):
                s = site[start[p] + i] if p < factors else axis[axis_start[p - factors] + i]
                for j in range(axis_start[b], axis_start[b + 1]):
                    if axis[j] == s:
                        slot[slot_start[k] + i] = j - axis_start[b]
    return part_start, part, slot_start, slot


@fused()
def lay_messages(axis_start, axis, part_start, counts):
    """The cells of the message of each bucket, and the work on it: cells of the bucket times its
    parts. -> (B,), (B,) float64"""
    buckets = len(axis_start) - 1
    cells, work = np.empty(buckets, np.int64), np.empty(buckets, np.float64)
    for b in range(buckets):
        size = 1
        for i in range(axis_start[b], axis_start[b + 1] - 1):
            size *= counts[axis[i]]
        cells[b] = size
        own = counts[axis[axis_start[b + 1] - 1]]
        work[b] = 1.0 * size * own * max(1, part_start[b + 1] - part_start[b])
    return cells, work


@fused()
def _strides(b, scopes, buckets, options, stride, offset):
    """The stride of each part of a bucket along each of its axes, and where the part begins."""
    factors = len(scopes.base)
    first = buckets.part_start[b]
    for q in range(buckets.part_start[b + 1] - first):
        k = first + q
        p = buckets.part[k]
        stride[q, :] = 0
        length = buckets.slot_start[k + 1] - buckets.slot_start[k]
        if p < factors:
            offset[q] = scopes.base[p]
            for i in range(length):
                at, entry = buckets.slot[buckets.slot_start[k] + i], scopes.start[p] + i
                if at < 0:
                    value = options.value[options.start[scopes.site[entry]]]
                    offset[q] += scopes.stride[entry] * value
                else:
                    stride[q, at] += scopes.stride[entry]
        else:
            offset[q] = options.message[p - factors]
            step = 1
            for i in range(length - 1, -1, -1):
                at = buckets.slot[buckets.slot_start[k] + i]
                stride[q, at] += step
                s = buckets.axis[buckets.axis_start[b] + at]
                step *= options.start[s + 1] - options.start[s]


@fused()
def _softmin(cost, count):
    """-ln sum exp(-cost)."""
    least = np.inf
    for v in range(count):
        least = min(least, cost[v])
    if least == np.inf:
        return least
    total = 0.0
    for v in range(count):
        total += np.exp(least - cost[v])
    return least - np.log(total)


@fused()
def send_messages(first, last, scopes, buckets, options, data, soft, limit, forbidden):
    """Eliminates the sites of some buckets, into `data`."""
    factors = len(scopes.base)
    for b in range(first, last):
        axes = buckets.axis[buckets.axis_start[b] : buckets.axis_start[b + 1]]
        m, q = len(axes), buckets.part_start[b + 1] - buckets.part_start[b]
        own = axes[m - 1]
        k = options.start[own + 1] - options.start[own]
        parts = buckets.part[buckets.part_start[b] : buckets.part_start[b + 1]]
        stride, offset = np.zeros((q, m), np.int64), np.zeros(q, np.int64)
        _strides(b, scopes, buckets, options, stride, offset)
        still, inner = np.zeros(k, data.dtype), np.zeros((q, k), np.int64)
        moving, cells = np.empty(q, np.int64), 1
        wide = 0
        for p in range(q):
            message, steps = parts[p] >= factors, False
            for a in range(m - 1):
                steps = steps or stride[p, a] != 0
                if not message:
                    offset[p] += stride[p, a] * options.value[options.start[axes[a]]]
            for v in range(k):
                inner[p, v] = stride[p, m - 1] * (
                    v if message else options.value[options.start[own] + v]
                )
            if steps:
                moving[wide] = p
                wide += 1
            else:
                for v in range(k):
                    still[v] += data[offset[p] + inner[p, v]]
                    if still[v] >= limit:
                        still[v] = forbidden
        for a in range(m - 1):
            cells *= options.start[axes[a] + 1] - options.start[axes[a]]
        cost, at = np.empty(k, data.dtype), np.zeros(m, np.int64)
        out = options.message[b]
        for cell in range(cells):
            put(cost, still)
            for w in range(wide):
                p = moving[w]
                for v in range(k):
                    total = cost[v] + data[offset[p] + inner[p, v]]
                    cost[v] = total if total < limit else forbidden
            if soft[b]:
                data[out + cell] = _softmin(cost, k)
            else:
                least = forbidden
                for v in range(k):
                    least = min(least, cost[v])
                data[out + cell] = least
            a = m - 2
            while a >= 0:
                s = options.start[axes[a]]
                at[a] += 1
                ended = at[a] == options.start[axes[a] + 1] - s
                to = 0 if ended else at[a]
                was = at[a] - 1
                for w in range(wide):
                    p = moving[w]
                    if parts[p] >= factors:
                        offset[p] += stride[p, a] * (to - was)
                    else:
                        offset[p] += stride[p, a] * (options.value[s + to] - options.value[s + was])
                if not ended:
                    break
                at[a] = 0
                a -= 1


@fused()
def _bucket_costs(b, scopes, buckets, options, data, at, limit, forbidden, cost):
    """What each option of the site of a bucket costs beside the places of the others. -> count"""
    factors = len(scopes.base)
    axes = buckets.axis[buckets.axis_start[b] : buckets.axis_start[b + 1]]
    m, q = len(axes), buckets.part_start[b + 1] - buckets.part_start[b]
    own = axes[m - 1]
    k = options.start[own + 1] - options.start[own]
    stride, offset = np.zeros((q, m), np.int64), np.zeros(q, np.int64)
    _strides(b, scopes, buckets, options, stride, offset)
    cost[:k] = 0
    for p in range(q):
        message = buckets.part[buckets.part_start[b] + p] >= factors
        for a in range(m - 1):
            place = at[axes[a]]
            value = place if message else options.value[options.start[axes[a]] + place]
            offset[p] += stride[p, a] * value
        for v in range(k):
            value = v if message else options.value[options.start[own] + v]
            total = cost[v] + data[offset[p] + stride[p, m - 1] * value]
            cost[v] = total if total < limit else forbidden
    return k


@fused()
def pick_least(last, scopes, buckets, options, data, limit, forbidden, at, regret):
    """The cheapest option of each site of the buckets before `last`, from the last to the first,
    beside the places `at` (N,) of what was eliminated later; and what each option costs more.
    regret: one entry an option of each site."""
    widest = 1
    for s in range(len(options.start) - 1):
        widest = max(widest, options.start[s + 1] - options.start[s])
    cost = np.empty(widest, data.dtype)
    for b in range(last - 1, -1, -1):
        k = _bucket_costs(b, scopes, buckets, options, data, at, limit, forbidden, cost)
        best = 0
        for v in range(1, k):
            if cost[v] < cost[best]:
                best = v
        s = buckets.order[b]
        at[s] = best
        for v in range(k):
            more = forbidden if cost[v] >= limit else cost[v] - cost[best]
            regret[options.start[s] + v] = more


@fused()
def extend_states(b, scopes, buckets, options, data, limit, forbidden, at, cost):
    """What each option of the site of a bucket costs beside the places of several states.
    at (D, N), cost (D, k)"""
    for d in range(len(at)):
        _bucket_costs(b, scopes, buckets, options, data, at[d], limit, forbidden, cost[d])


@fused()
def draw_places(scopes, buckets, options, data, limit, forbidden, soft, u, at):
    """Draws, each site given those eliminated later; where it was minimized over, the cheapest
    option. u (D, N) uniform numbers, at (D, N) places."""
    widest = 1
    for s in range(len(options.start) - 1):
        widest = max(widest, options.start[s + 1] - options.start[s])
    cost = np.empty(widest, data.dtype)
    for d in range(len(u)):
        for b in range(len(buckets.order) - 1, -1, -1):
            k = _bucket_costs(b, scopes, buckets, options, data, at[d], limit, forbidden, cost)
            s, best = buckets.order[b], 0
            for v in range(1, k):
                if cost[v] < cost[best]:
                    best = v
            at[d, s] = best
            if not soft[b]:
                continue
            least, total = cost[best], 0.0
            for v in range(k):
                cost[v] = np.exp(least - cost[v])
                total += cost[v]
            left = u[d, s] * total
            for v in range(k):
                left -= cost[v]
                if cost[v] > 0:
                    at[d, s] = v
                if left < 0:
                    break
