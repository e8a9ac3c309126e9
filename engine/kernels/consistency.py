"""Complete search over sites that cost alone and in pairs, kept bounded by soft local consistency.

Cost moves between a pair and its ends, and from a site into `FLOOR`, what every state below costs
at least, so that all sums stay what they are and nothing gets below nought, in whole numbers. A
pair costs `pool[t, a, b] - moved[e, 0, a] - moved[e, 1, b]`. A value that would cost `TOP` leaves
its site. At the fixpoint, for which only what changed is looked at again:

- some value of each site costs nothing (node);
- each value of a site has a partner in each pair that costs nothing there (arc), and in pairs with
  later sites one that costs nothing itself (directional);
- some value of each site costs nothing and has such partners at all its pairs (existential).

A node branches on the site that failed last, or else that of least values / weight, the weights of
a site being those of its pairs; a pair weighs the more the more often it was what failed. Of few
values it tries one and then all but this, of many the cheaper half and then the other.

Sources: Larrosa and Schiex, "Solving weighted CSP by maintaining arc consistency", Artificial
Intelligence 159, 2004; de Givry, Heras, Zytnicki, Larrosa, "Existential arc consistency: getting
closer to full arc consistency in weighted CSPs", IJCAI 2005; Boussemart et al., ECAI 2004
(weights); Lecoutre et al., "Last conflict based reasoning", ECAI 2006.
"""

from typing import NamedTuple

import numpy as np

from engine.kernels.fused import fused, put

NEVER = 1 << 62  # the cost of what is forbidden
FLOOR, TOP, DEPTH, LAST, FOUND, WORK, STALE, SHUT, BESIDE, NODES = range(10)
NUMBERS = 10
HALVED = 10  # values of a site, from which on a branch keeps half of them


class Net(NamedTuple):
    """What never changes."""

    start: np.ndarray  # (n + 1,) the pairs of each site: where they begin,
    pair: np.ndarray  # (P,) the pair,
    side: np.ndarray  # (P,) and which end of it
    ends: np.ndarray  # (m, 2)
    table: np.ndarray  # (m,)
    pool: np.ndarray  # (2, t, k, k) NEVER where forbidden; seen from either end
    row_start: np.ndarray  # (r + 1,) rows: the sum of what values are worth is at most `row_high`
    row_site: np.ndarray  # (S,) each once a row
    row_worth: np.ndarray  # (S, k)
    row_high: np.ndarray  # (r,)
    row_price: np.ndarray  # (r,) that is counted in the costs of sites, from nought on
    step: int  # totals are multiples of it


class Here(NamedTuple):
    """Where the search stands; changed in place."""

    number: np.ndarray  # (NUMBERS,) int64
    cost: np.ndarray  # (n, k)
    open: np.ndarray  # (n, k) uint8
    value: np.ndarray  # (n, k) the values of each site, those first that are open
    left: np.ndarray  # (n,) values that are open
    fixed: np.ndarray  # (n,) uint8: one is left, and its costs are with its partners
    moved: np.ndarray  # (m, 2, k)
    arc: np.ndarray  # (n,) uint8: it lost values
    way: np.ndarray  # (n,) uint8: values of it began to cost, or left
    whole: np.ndarray  # (n,) uint8: so did values of it or of its partners
    support: np.ndarray  # (n,) the value that costs nothing with partners that cost nothing
    weight: np.ndarray  # (m,)
    best: np.ndarray  # (n,) the last state found
    least: np.ndarray  # (k,) for use


class Path(NamedTuple):
    """What was before each branch that is open still, as `Here`."""

    site: np.ndarray  # (D,)
    taken: np.ndarray  # (D, k) uint8: values that were tried
    floor: np.ndarray  # (D,)
    cost: np.ndarray  # (D, n, k)
    open: np.ndarray
    left: np.ndarray  # (D, n)
    fixed: np.ndarray
    moved: np.ndarray  # (D, m, 2, k)
    support: np.ndarray  # (D, n)


@fused()
def _raised(net, here, v):
    """A value of a site began to cost, or left."""
    here.way[v] = 1
    here.whole[v] = 1
    for p in range(net.start[v], net.start[v + 1]):
        here.whole[net.ends[net.pair[p], 1 - net.side[p]]] = 1


@fused()
def _shut(net, here, v, a):
    """A value leaves a site."""
    here.open[v, a] = 0
    here.left[v] -= 1
    last, k = here.left[v], 0
    while here.value[v, k] != a:
        k += 1
    here.value[v, k], here.value[v, last] = here.value[v, last], a
    here.arc[v] = 1
    here.number[SHUT] = 1
    _raised(net, here, v)


@fused()
def _floored(here, v):
    """What a site costs at least goes into the floor."""
    least = NEVER
    for k in range(here.left[v]):
        least = min(least, here.cost[v, here.value[v, k]])
        if least == 0:
            return
    if least == NEVER:
        return
    for k in range(here.left[v]):
        here.cost[v, here.value[v, k]] -= least
    here.number[FLOOR] += least
    here.number[STALE] = 1


@fused()
def _paid(net, here, v, a, more):
    """A value costs more."""
    if here.cost[v, a] == 0:
        _raised(net, here, v)
    here.cost[v, a] += more
    number = here.number
    if number[FLOOR] + number[BESIDE] + here.cost[v, a] >= number[TOP]:
        number[STALE] = 1


@fused()
def _fully(net, here, e, s):
    """Each value of one end gets a partner that costs nothing in the pair and by itself: what the
    partners cost goes to the pair, what it then costs at least to the value. -> a value is left"""
    v, u = net.ends[e, s], net.ends[e, 1 - s]
    pool, moved, number = net.pool[s, net.table[e]], here.moved[e], here.number
    number[WORK] += here.left[v] * here.left[u]
    room = number[TOP] - number[FLOOR] - number[BESIDE]
    some = False
    for k in range(here.left[v] - 1, -1, -1):
        a, least = here.value[v, k], NEVER
        for j in range(here.left[u]):
            b = here.value[u, j]
            c = pool[a, b]
            if c != NEVER:
                least = min(least, c + here.cost[u, b] - moved[1 - s, b])
        if least != NEVER:
            least -= moved[s, a]
        here.least[a] = least
        if least >= room:
            _shut(net, here, v, a)
        elif least > 0:
            some = True
    if not some:
        return here.left[v] > 0
    for j in range(here.left[u]):
        b = here.value[u, j]
        if here.cost[u, b] > 0:
            most = 0
            for k in range(here.left[v]):
                a = here.value[v, k]
                c = pool[a, b]
                if c != NEVER:
                    most = max(most, here.least[a] - c + moved[s, a] + moved[1 - s, b])
            if most > 0:
                moved[1 - s, b] -= most
                here.cost[u, b] -= most
    for k in range(here.left[v]):
        a = here.value[v, k]
        if here.least[a] > 0:
            moved[s, a] += here.least[a]
            _paid(net, here, v, a, here.least[a])
    _floored(here, v)
    return here.left[v] > 0


@fused()
def _simply(net, here, e, s):
    """Each value of one end gets a partner that costs nothing in the pair. -> a value is left"""
    v, u = net.ends[e, s], net.ends[e, 1 - s]
    pool, moved = net.pool[s, net.table[e]], here.moved[e]
    here.number[WORK] += here.left[v] * here.left[u]
    for k in range(here.left[v] - 1, -1, -1):
        a, least = here.value[v, k], NEVER
        for j in range(here.left[u]):
            b = here.value[u, j]
            c = pool[a, b]
            if c != NEVER:
                least = min(least, c - moved[1 - s, b] - moved[s, a])
                if least == 0:
                    break
        if least == NEVER:
            _shut(net, here, v, a)
        elif least > 0:
            moved[s, a] += least
            _paid(net, here, v, a, least)
    _floored(here, v)
    return here.left[v] > 0


@fused()
def _free(net, here, v, a):
    """Whether a value costs nothing and has partners at all pairs that cost nothing there."""
    if here.open[v, a] == 0 or here.cost[v, a] > 0:
        return False
    for p in range(net.start[v], net.start[v + 1]):
        e, s = net.pair[p], net.side[p]
        u, t = net.ends[e, 1 - s], net.table[e]
        if here.fixed[u]:
            continue
        here.number[WORK] += here.left[u]
        found = False
        for j in range(here.left[u]):
            b = here.value[u, j]
            if here.cost[u, b] == 0:
                c = net.pool[s, t, a, b]
                if c != NEVER and c == here.moved[e, 1 - s, b] + here.moved[e, s, a]:
                    found = True
                    break
        if not found:
            return False
    return True


@fused()
def _existential(net, here, v):
    """Some value of a site is free; else what all of them cost goes into the floor. -> -1, or the
    pair that failed"""
    if _free(net, here, v, here.support[v]):
        return -1
    for k in range(here.left[v]):
        a = here.value[v, k]
        if _free(net, here, v, a):
            here.support[v] = a
            return -1
    for p in range(net.start[v], net.start[v + 1]):
        e, s = net.pair[p], net.side[p]
        if here.fixed[net.ends[e, 1 - s]] == 0 and not _fully(net, here, e, s):
            return e
    for k in range(here.left[v]):
        if here.cost[v, here.value[v, k]] == 0:
            here.support[v] = here.value[v, k]
    return -1


@fused()
def _fix(net, here, v):
    """The last value of a site is taken: what its pairs cost is with its partners from now on."""
    a = here.value[v, 0]
    here.fixed[v] = 1
    here.number[FLOOR] += here.cost[v, a]
    here.cost[v, a] = 0
    here.number[STALE] = 1
    for p in range(net.start[v], net.start[v + 1]):
        e, s = net.pair[p], net.side[p]
        u, t = net.ends[e, 1 - s], net.table[e]
        if here.fixed[u]:
            continue
        here.number[WORK] += here.left[u]
        for j in range(here.left[u] - 1, -1, -1):
            b = here.value[u, j]
            c = net.pool[s, t, a, b]
            if c == NEVER:
                _shut(net, here, u, b)
                continue
            c -= here.moved[e, s, a] + here.moved[e, 1 - s, b]
            if c > 0:
                _paid(net, here, u, b, c)
        if here.left[u] == 0:
            return e
        _floored(here, u)
    return -1


@fused()
def _rowed(net, here):
    """Values leave by which a row would be above its edge; what rows are below theirs at least is
    paid at their price. -> no row fails"""
    number = here.number
    number[BESIDE] = 0
    for r in range(len(net.row_high)):
        low, high = 0, 0
        for k in range(net.row_start[r], net.row_start[r + 1]):
            v = net.row_site[k]
            least, most = NEVER, -NEVER
            for j in range(here.left[v]):
                least = min(least, net.row_worth[k, here.value[v, j]])
                most = max(most, net.row_worth[k, here.value[v, j]])
            low += least
            high += most
        number[WORK] += net.row_worth.shape[1] * (net.row_start[r + 1] - net.row_start[r])
        if low > net.row_high[r]:
            return False
        number[BESIDE] += net.row_price[r] * max(0, net.row_high[r] - high)
        for k in range(net.row_start[r], net.row_start[r + 1]):
            v = net.row_site[k]
            if here.fixed[v]:
                continue
            least = NEVER
            for j in range(here.left[v]):
                least = min(least, net.row_worth[k, here.value[v, j]])
            for j in range(here.left[v] - 1, -1, -1):
                a = here.value[v, j]
                if low - least + net.row_worth[k, a] > net.row_high[r]:
                    _shut(net, here, v, a)
    return True


@fused()
def _settled(net, here):
    """The fixpoint. -> -1; or that nothing below `TOP` is left: the pair that failed, or m"""
    n, number = len(here.left), here.number
    none = len(net.ends)
    while True:
        while number[STALE] or number[SHUT]:
            if number[SHUT]:
                number[SHUT] = 0
                if len(net.row_high) and not _rowed(net, here):
                    return none
            number[STALE] = 0
            room = number[TOP] - number[FLOOR] - number[BESIDE]
            if room <= 0:
                return none
            for v in range(n):
                if here.fixed[v]:
                    continue
                for k in range(here.left[v] - 1, -1, -1):
                    if here.cost[v, here.value[v, k]] >= room:
                        _shut(net, here, v, here.value[v, k])
                if here.left[v] == 0:
                    return none
                _floored(here, v)
                if here.left[v] == 1:
                    failed = _fix(net, here, v)
                    if failed >= 0:
                        return failed
        again = False
        for v in range(n):
            if here.whole[v]:
                here.whole[v] = 0
                if here.fixed[v] == 0:
                    failed = _existential(net, here, v)
                    if failed >= 0:
                        return failed
                    if number[FLOOR] + number[BESIDE] >= number[TOP]:
                        return _heaviest(net, here, v)
        for v in range(n - 1, -1, -1):
            if here.way[v]:
                here.way[v] = 0
                again = True
                failed = _supported(net, here, v, True)
                if failed >= 0:
                    return failed
        for v in range(n):
            if here.arc[v]:
                here.arc[v] = 0
                again = True
                failed = _supported(net, here, v, False)
                if failed >= 0:
                    return failed
        if not (again or number[STALE] or number[SHUT]):
            return -1


@fused()
def _supported(net, here, v, fully):
    """Supports of the sites before v, or of those behind it, in v. -> the pair that fails, or -1"""
    number = here.number
    if here.fixed[v]:
        return -1
    for p in range(net.start[v], net.start[v + 1]):
        e, s = net.pair[p], 1 - net.side[p]
        u = net.ends[e, s]
        if here.fixed[u] == 0 and (u < v) == fully:
            held = _fully(net, here, e, s) if fully else _simply(net, here, e, s)
            if not held or number[FLOOR] + number[BESIDE] >= number[TOP]:
                return e
    return -1


@fused()
def _heaviest(net, here, v):
    """The pair of a site that failed most often."""
    out, most = len(net.ends), -1
    for p in range(net.start[v], net.start[v + 1]):
        e = net.pair[p]
        if here.fixed[net.ends[e, 1 - net.side[p]]] == 0 and here.weight[e] > most:
            out, most = e, here.weight[e]
    return out


@fused()
def _chosen(net, here):
    """The site to branch on; -1: all are fixed."""
    last = here.number[LAST]
    if last >= 0 and here.fixed[last] == 0:
        return last
    out, least = -1, np.inf
    for v in range(len(here.left)):
        if here.fixed[v]:
            continue
        weight = 1.0
        for p in range(net.start[v], net.start[v + 1]):
            e = net.pair[p]
            if here.fixed[net.ends[e, 1 - net.side[p]]] == 0:
                weight += here.weight[e]
        total = 0
        for k in range(here.left[v]):
            total += here.cost[v, here.value[v, k]]
        weight += total / (here.left[v] * net.step)
        share = here.left[v] / weight
        if share < least:
            out, least = v, share
    return out


@fused()
def _tried(here, v, taken):
    """The values of a site that a branch keeps, in `taken` (k,)."""
    width = len(taken)
    taken[:] = 0
    if here.left[v] < HALVED:
        a = here.support[v]
        if here.open[v, a] == 0 or here.cost[v, a] > 0:
            a = -1
            for b in range(width):
                if here.open[v, b] and (a < 0 or here.cost[v, b] < here.cost[v, a]):
                    a = b
        taken[a] = 1
        return
    for _ in range(here.left[v] // 2):
        a = -1
        for b in range(width):
            if here.open[v, b] and taken[b] == 0 and (a < 0 or here.cost[v, b] < here.cost[v, a]):
                a = b
        taken[a] = 1


@fused()
def _priced(net, here):
    """What the state costs where all sites are fixed, without prices of rows."""
    total = here.number[FLOOR]
    for r in range(len(net.row_high)):
        reached = 0
        for k in range(net.row_start[r], net.row_start[r + 1]):
            v = net.row_site[k]
            reached += net.row_worth[k, here.value[v, 0]]
        total += net.row_price[r] * (net.row_high[r] - reached)
    return total


@fused()
def search(net, here, path, work):
    """Goes on, in place, until so much work is done. -> nothing below `TOP` is left

    Where a state is found, it is in `best`, `FOUND` counts it, and `TOP` is what the next costs at
    most, and one more.
    """
    number, width = here.number, here.cost.shape[1]
    number[WORK] = 0
    while number[WORK] < work:
        failed = _settled(net, here)
        v = -1
        if failed < 0:
            v = _chosen(net, here)
            if v < 0:
                put(here.best, here.value[:, 0])
                number[FOUND] += 1
                number[TOP] = _priced(net, here) - net.step + 1
        elif failed < len(net.ends):
            here.weight[failed] += 1
        d = number[DEPTH]
        number[NODES] += 1
        number[WORK] += 4 * here.cost.size + here.moved.size
        if v >= 0:
            _tried(here, v, path.taken[d])
            path.site[d], path.floor[d] = v, number[FLOOR]
            put(path.cost[d], here.cost)
            put(path.open[d], here.open)
            put(path.left[d], here.left)
            put(path.fixed[d], here.fixed)
            put(path.moved[d], here.moved)
            put(path.support[d], here.support)
            for a in range(width):
                if here.open[v, a] and path.taken[d, a] == 0:
                    _shut(net, here, v, a)
            number[DEPTH] += 1
            continue
        here.arc[:], here.way[:], here.whole[:] = 0, 0, 0
        if d == 0:
            return True
        d -= 1
        number[DEPTH] = d
        v = path.site[d]
        number[FLOOR], number[LAST] = path.floor[d], v
        put(here.cost, path.cost[d])
        put(here.open, path.open[d])
        put(here.left, path.left[d])
        put(here.fixed, path.fixed[d])
        put(here.moved, path.moved[d])
        put(here.support, path.support[d])
        number[STALE], number[SHUT] = 1, 1
        for a in range(width):
            if path.taken[d, a]:
                _shut(net, here, v, a)
    return False
