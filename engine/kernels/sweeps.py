"""Fused single-site sweeps over explicit structure, with incremental costs and violations.

E(x) = sum of table costs + sum_c weight_c violation_c(x), sampled at inverse temperature beta by
Metropolis moves: one site to another allowed value, or two sites of a tight line exchange values.
A move of change d is taken with probability STIR min(1, exp(-beta d)); STIR < 1 keeps detailed
balance and breaks the parity that a strictly sequential scan of free sites would conserve.
Source: Metropolis et al., J. Chem. Phys. 1953; Kirkpatrick, Gelatt, Vecchi, Science 1983.

Every draw is Philox at (row key, particle, sweep, site): `reference` below repeats a sweep in plain
Python with the same draws, and the tests hold both equal.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

from engine.errors import BadQuery
from engine.factors import Factors, Floats, Ints
from engine.kernels.philox import philox

DENSE = 1 << 21  # combinations up to which a table is kept dense; beyond, its keys are searched
STIR = 15 / 16  # share of moves that are looked at
SCALE = 2.0**32
CUT = STIR * SCALE
LOW = np.uint64(0xFFFFFFFF)
HALF = np.uint64(32)


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


class Pairs(NamedTuple):
    """E = sum_i field_i x_i + sum_ij coupling_ij x_i x_j over sites of two values (compressed
    rows, both directions)."""

    start: np.ndarray  # (n + 1,) int32
    near: np.ndarray  # (A,) int32
    coupling: np.ndarray  # (A,) float64


@dataclass(frozen=True, eq=False)
class Layout:
    """A structure ready for the kernels, for all rows."""

    sizes: Ints  # (n,)
    visible: int
    structure: Structure
    field: Floats  # (1 or R, C) cost of each literal
    closed: np.ndarray  # (1 or R, C) bool: literals that a table over one site forbids
    floor: Floats  # (1 or R,) sum of the least costs of tables over several sites
    pairs: Pairs | None = None  # the fast form, where it says everything
    pair_field: Floats | None = None  # (1 or R, n)
    pair_constant: Floats | None = None  # (1 or R,)

    @property
    def rules(self) -> int:
        """Sums, and scopes that forbid combinations."""
        s = self.structure
        return len(s.low) + int((s.rule >= 0).sum())

    @property
    def work(self) -> int:
        """Rough count of memory touches of one sweep of one particle."""
        s = self.structure
        if self.pairs is not None:
            return 2 * len(self.sizes)
        literals = len(s.literal_sum) / max(1, s.offset[-1]) * len(self.sizes)
        swaps = 4 * len(s.line_site)
        return int(4 * len(self.sizes) + 3 * len(s.scope) + 4 * literals
                   + 3 * len(s.pair_sum) + swaps)


# ---------------------------------------------------------------- from factors to arrays


def layout(factors: Factors) -> Layout:
    """The arrays of a structure. Refuses sites with more than 32,767 values."""
    sizes = factors.sizes.astype(np.int64)
    if len(sizes) and sizes.max() > np.iinfo(np.int16).max:
        raise BadQuery("annealing takes at most 32,767 values a site")
    offset = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    scopes = _Scopes(sizes, offset)
    for table in factors.tables:
        scopes.add(table)
    lines = _tight_lines(factors)
    structure = Structure(
        offset.astype(np.int32),
        **_sum_arrays(factors, sizes, offset, scopes),
        line_start=lines[0].astype(np.int32),
        line_site=lines[1].astype(np.int32),
    )
    field, closed = scopes.unary()
    out = Layout(sizes, factors.visible, structure, field, closed, scopes.floor())
    return _fast(out, scopes)


class _Scopes:
    """Tables gathered into one pool."""

    def __init__(self, sizes: Ints, offset: Ints):
        self.sizes, self.offset = sizes, offset
        self.costs: list[tuple[int, Floats]] = []  # (site, (1 or R, k)) of tables over one site
        self.pool: list[Floats] = []
        self.ban: list[np.ndarray] = []
        self.key: list[Ints] = []
        self.columns: dict[str, list] = {
            name: [] for name in ("base", "lead", "key_start", "keys", "forbids", "least")
        }
        self.scope_site: list[Ints] = []
        self.scope_of: list[Ints] = []
        self.scope_stride: list[Ints] = []
        self.blocks: list[tuple[Ints, Floats]] = []  # (scopes, dense (R or 1, *shape))
        self.filled = self.keyed = self.count = 0

    def add(self, table) -> None:
        if table.arity == 0:
            raise BadQuery("a table over no sites")
        shapes = self.sizes[table.scopes]
        for shape in np.unique(shapes, axis=0):
            mine = table.scopes[(shapes == shape).all(1)]
            if table.arity == 1:
                dense = np.atleast_2d(table.dense(shape.tolist()))
                self.costs += [(int(site), dense) for site in mine[:, 0]]
            else:
                self._block(table, mine, shape)

    def _block(self, table, scopes: Ints, shape: Ints) -> None:
        total = math.prod(shape.tolist())
        if total > 2**62:
            raise BadQuery(f"a table over {total} combinations; give a smaller scope")
        strides = np.array([math.prod(shape[a + 1 :].tolist()) for a in range(len(shape))])
        key_start, keys = 0, 0
        if total <= DENSE:
            costs = table.dense(shape.tolist())
            costs = costs.reshape(-1, total)
            self.blocks.append((scopes, costs.reshape(-1, *shape)))
        else:
            flat = table.tuples @ strides
            order = np.argsort(flat, kind="stable")
            listed = np.atleast_2d(table.costs)[:, order]
            rest = np.full((len(listed), 1), table.default)
            costs = np.concatenate([listed, rest], 1)
            key_start, keys = self.keyed, len(flat)
            self.key.append(flat[order])
            self.keyed += keys
            self.blocks.append((scopes, None))
        forbidden = ~np.isfinite(costs)
        least = np.where(forbidden, np.inf, costs).min(1)
        lead = costs.shape[1] if len(costs) > 1 else 0
        for name, value in (("base", self.filled), ("lead", lead), ("key_start", key_start),
                            ("keys", keys), ("forbids", forbidden.any()), ("least", least)):
            self.columns[name] += [value] * len(scopes)
        self.pool.append(np.where(forbidden, 0.0, costs).reshape(-1))
        self.ban.append(forbidden.reshape(-1))
        self.filled += costs.size
        number = self.count + np.arange(len(scopes))
        self.count += len(scopes)
        self.scope_of.append(np.repeat(number, len(shape)))
        self.scope_site.append(scopes.reshape(-1))
        self.scope_stride.append(np.tile(strides, len(scopes)))

    def arrays(self, sums: int) -> dict[str, np.ndarray]:
        site, scope, stride = (
            np.concatenate([np.zeros(0, np.int64), *x])
            for x in (self.scope_site, self.scope_of, self.scope_stride)
        )
        # a site that stands twice in a scope moves it by both strides
        pair, inverse = np.unique(site * max(1, self.count) + scope, return_inverse=True)
        merged = np.zeros(len(pair), dtype=np.int64)
        np.add.at(merged, inverse, stride)
        site, scope = pair // max(1, self.count), pair % max(1, self.count)
        forbids = np.array(self.columns["forbids"], dtype=bool)
        rule = np.where(forbids, sums + np.cumsum(forbids) - 1, -1)
        return {
            "scope_start": _starts(site, len(self.sizes)),
            "scope": scope.astype(np.int32),
            "stride": merged,
            **{name: np.array(self.columns[name], dtype=np.int64)
               for name in ("base", "lead", "key_start", "keys")},
            "rule": rule.astype(np.int32),
            "key": np.concatenate([np.zeros(0, np.int64), *self.key]).astype(np.int64),
            "pool": np.concatenate([np.zeros(0), *self.pool]),
            "ban": np.concatenate([np.zeros(0, bool), *self.ban]).astype(np.uint8),
        }

    def unary(self) -> tuple[Floats, np.ndarray]:
        """Costs by literal, and which literals are forbidden."""
        rows = max([len(c) for _, c in self.costs], default=1)
        field = np.zeros((rows, int(self.offset[-1])))
        closed = np.zeros(field.shape, dtype=bool)
        for site, costs in self.costs:
            at = slice(int(self.offset[site]), int(self.offset[site + 1]))
            bad = ~np.isfinite(costs)
            field[:, at] += np.where(bad, 0.0, costs)
            closed[:, at] |= bad
        return field, closed

    def floor(self) -> Floats:
        rows = max([len(x) for x in self.columns["least"]], default=1)
        out = np.zeros(rows)
        for least in self.columns["least"]:
            out = out + least
        return out


def _sum_arrays(factors: Factors, sizes: Ints, offset: Ints, scopes: _Scopes) -> dict:
    """Groups, clauses and sums as one family of linear sums."""
    f = factors.expanded()
    families = (
        (f.counted, np.ones(len(f.counted.site))),
        (f.clauses, np.where(f.clauses.sign, 1.0, -1.0)),
        (f.sums, f.sums.coefficient),
    )
    low = np.concatenate([f.counted.low.astype(float), _clause_lows(f), f.sums.low])
    high = np.concatenate([f.counted.high.astype(float),
                           np.full(f.clauses.count, np.inf), f.sums.high])
    owner, literal, coefficient, shift = [], [], [], 0
    for lists, factor in families:
        owner.append(lists.owner() + shift)
        literal.append(offset[lists.site] + lists.value)
        coefficient.append(factor)
        shift += lists.count
    owner, literal = np.concatenate(owner), np.concatenate(literal).astype(np.int64)
    coefficient = np.concatenate(coefficient)
    total = int(offset[-1])
    pair, inverse = np.unique(owner * max(1, total) + literal, return_inverse=True)
    merged = np.zeros(len(pair))
    np.add.at(merged, inverse, coefficient)
    owner, literal = pair // max(1, total), pair % max(1, total)
    site = np.searchsorted(offset, literal, side="right") - 1
    link, link_of, times = np.unique(
        owner * max(1, len(sizes)) + site, return_inverse=True, return_counts=True
    )
    several = times[link_of] > 1
    return {
        **scopes.arrays(len(low)),
        **_by_literal(owner[~several], literal[~several], merged[~several], total),
        **_by_site(link[times > 1], link_of[several], literal[several], merged[several],
                   sizes, offset),
        "low": low.astype(np.float64),
        "high": high.astype(np.float64),
    }


def _clause_lows(f: Factors) -> Floats:
    negative = np.zeros(f.clauses.count)
    np.add.at(negative, f.clauses.owner(), ~f.clauses.sign)
    return 1.0 - negative


def _by_literal(owner: Ints, literal: Ints, coefficient: Floats, total: int) -> dict:
    order = np.argsort(literal, kind="stable")
    return {
        "literal_start": _starts(literal[order], total),
        "literal_sum": owner[order].astype(np.int32),
        "literal_coefficient": coefficient[order],
    }


def _by_site(links: Ints, link_of: Ints, literal: Ints, coefficient: Floats, sizes: Ints,
             offset: Ints) -> dict:
    """links: sum * n + site of sums that see several values of a site; link_of: its place among
    all links, of every such literal."""
    n = max(1, len(sizes))
    owner, site = links // n, links % n
    first = np.concatenate([[0], np.cumsum(sizes[site])]).astype(np.int64)
    dense = np.zeros(int(first[-1]))
    _, which = np.unique(link_of, return_inverse=True)
    np.add.at(dense, first[which] + literal - offset[site[which]], coefficient)
    order = np.argsort(site, kind="stable")
    return {
        "pair_start": _starts(site[order], len(sizes)),
        "pair_sum": owner[order].astype(np.int32),
        "pair_first": first[:-1][order],
        "pair_coefficient": dense,
    }


def _starts(owner: Ints, count: int) -> np.ndarray:
    """Beginnings of the blocks of a sorted list of owners. -> (count + 1,) int32"""
    return np.searchsorted(owner, np.arange(count + 1)).astype(np.int32)


def _tight_lines(factors: Factors) -> tuple[Ints, Ints]:
    """Lines that take every value exactly once."""
    lines = [
        line for line in factors.different.lines()
        if len(line) > 1 and (factors.sizes[line] == len(line)).all()
    ]
    start = np.concatenate([[0], np.cumsum([len(line) for line in lines])])
    return start, np.concatenate([np.zeros(0, np.int64), *lines])


def _fast(out: Layout, scopes: _Scopes) -> Layout:
    """The form with local fields, where all is pairs of sites of two values and costs."""
    s = out.structure
    binary = bool((out.sizes == 2).all())
    if not binary or out.rules or len(s.line_site) or s.lead.any() or s.keys.any():
        return out
    if any(dense.ndim != 3 or (pairs[:, 0] == pairs[:, 1]).any() for pairs, dense in scopes.blocks):
        return out
    n = len(out.sizes)
    field = out.field[:, 1::2] - out.field[:, ::2]  # (1 or R, n)
    constant = out.field[:, ::2].sum(1)
    linear = np.zeros(n)
    first, second, coupling = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    for pairs, dense in scopes.blocks:
        t = dense[0]
        constant = constant + t[0, 0] * len(pairs)
        np.add.at(linear, pairs[:, 0], t[1, 0] - t[0, 0])
        np.add.at(linear, pairs[:, 1], t[0, 1] - t[0, 0])
        first.append(pairs[:, 0])
        second.append(pairs[:, 1])
        coupling.append(np.full(len(pairs), t[1, 1] - t[1, 0] - t[0, 1] + t[0, 0]))
    a = np.concatenate([*first, *second])
    b = np.concatenate([*second, *first])
    both, inverse = np.unique(a * max(1, n) + b, return_inverse=True)
    merged = np.zeros(len(both))
    np.add.at(merged, inverse, np.concatenate([*coupling, *coupling]))
    kept = merged != 0
    both, merged = both[kept], merged[kept]
    pairs = Pairs(_starts(both // max(1, n), n), (both % max(1, n)).astype(np.int32), merged)
    return Layout(out.sizes, out.visible, s, out.field, out.closed, out.floor, pairs,
                  np.ascontiguousarray(field + linear), constant)


# ---------------------------------------------------------------- kernels


@njit(cache=True, nogil=True, inline="always")
def _miss(low, high, total):
    """The amount by which a sum lies outside its bounds."""
    if total < low:
        return low - total
    if total > high:
        return total - high
    return 0.0


@njit(cache=True, nogil=True)
def _slot(s, scope, place):
    """Where the cost of a combination stands, behind the base of its table."""
    count = s.keys[scope]
    if count == 0:
        return place
    low = s.key_start[scope]
    first, high = low, low + count
    while low < high:
        middle = (low + high) >> 1
        if s.key[middle] < place:
            low = middle + 1
        else:
            high = middle
    if low < first + count and s.key[low] == place:
        return low - first
    return count


@njit(cache=True, nogil=True)
def measure(s, row, field, x, place, total):
    """Energy and violation of one state; fills the place of each scope's combination and the
    total of each sum. -> (cost, violation)"""
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
        at = s.base[k] + row * s.lead[k] + _slot(s, k, place[k])
        cost += s.pool[at]
        broken += s.ban[at]
    for k in range(len(s.low)):
        broken += _miss(s.low[k], s.high[k], total[k])
    return cost, broken


@njit(cache=True, nogil=True)
def _blame(s, row, place, total, blame):
    """Adds the violation of every rule."""
    for k in range(len(s.low)):
        blame[k] += _miss(s.low[k], s.high[k], total[k])
    for k in range(len(s.base)):
        if s.rule[k] >= 0:
            blame[s.rule[k]] += s.ban[s.base[k] + row * s.lead[k] + _slot(s, k, place[k])]


@njit(cache=True, nogil=True)
def _change(s, row, field, weight, place, total, i, a, b):
    """What site i going from a to b changes. -> (cost, violation, weighted violation)"""
    at, to = s.offset[i] + a, s.offset[i] + b
    cost = field[to] - field[at]
    broken, priced = 0.0, 0.0
    for e in range(s.scope_start[i], s.scope_start[i + 1]):
        k = s.scope[e]
        base = s.base[k] + row * s.lead[k]
        before = base + _slot(s, k, place[k])
        after = base + _slot(s, k, place[k] + s.stride[e] * (b - a))
        cost += s.pool[after] - s.pool[before]
        if s.rule[k] >= 0:
            d = np.float64(s.ban[after]) - np.float64(s.ban[before])
            broken += d
            priced += weight[s.rule[k]] * d
    for side in range(2):
        c = at if side == 0 else to
        sign = -1.0 if side == 0 else 1.0
        for e in range(s.literal_start[c], s.literal_start[c + 1]):
            k = s.literal_sum[e]
            t = total[k]
            d = _miss(s.low[k], s.high[k], t + sign * s.literal_coefficient[e]) - _miss(
                s.low[k], s.high[k], t
            )
            broken += d
            priced += weight[k] * d
    for e in range(s.pair_start[i], s.pair_start[i + 1]):
        first = s.pair_first[e]
        step = s.pair_coefficient[first + b] - s.pair_coefficient[first + a]
        if step != 0.0:
            k = s.pair_sum[e]
            t = total[k]
            d = _miss(s.low[k], s.high[k], t + step) - _miss(s.low[k], s.high[k], t)
            broken += d
            priced += weight[k] * d
    return cost, broken, priced


@njit(cache=True, nogil=True)
def _move(s, x, place, total, i, a, b):
    """Site i goes from a to b."""
    x[i] = b
    for e in range(s.scope_start[i], s.scope_start[i + 1]):
        place[s.scope[e]] += s.stride[e] * (b - a)
    c = s.offset[i] + a
    for e in range(s.literal_start[c], s.literal_start[c + 1]):
        total[s.literal_sum[e]] -= s.literal_coefficient[e]
    c = s.offset[i] + b
    for e in range(s.literal_start[c], s.literal_start[c + 1]):
        total[s.literal_sum[e]] += s.literal_coefficient[e]
    for e in range(s.pair_start[i], s.pair_start[i + 1]):
        first = s.pair_first[e]
        total[s.pair_sum[e]] += s.pair_coefficient[first + b] - s.pair_coefficient[first + a]


@njit(cache=True, nogil=True, inline="always")
def _taken(change, beta, fraction):
    """The Metropolis test with the low half of a product of draws, in [0, 2**32)."""
    return change <= 0.0 or beta * change <= -math.log((fraction + 0.5) / CUT)


@njit(cache=True, nogil=True)
def sweep(s, row, choices, options, field, weight, betas, key, lane, first, x, best, score, blame):
    """Sweeps of one row's particles, one for each of `betas`, numbered from `first`.

    choices (C,): the allowed values of each site, packed at its offset; options (n,): how many.
    x, best (P, n): states and best states; score (P, 4): cost and violation of both. All changed
    in place. blame (rules,): the violation of every rule in the last states is added.
    """
    particles, n = x.shape
    place = np.zeros(len(s.base), dtype=np.int64)
    total = np.zeros(len(s.low))
    blocks = (n + 3) // 4
    words = np.zeros(4 * ((n + len(s.line_site) + 3) // 4), dtype=np.uint64)
    used = len(words) // 4 if len(s.line_site) else blocks
    for p in range(particles):
        mine = x[p]
        cost, broken = measure(s, row, field, mine, place, total)
        _keep(mine, best[p], score[p], cost, broken)
        for t in range(len(betas)):
            beta = betas[t]
            for q in range(used):
                c0, c1, c2, c3 = philox(np.uint64(q), np.uint64(p), np.uint64(first + t),
                                        np.uint64(lane), key[0], key[1])
                words[4 * q], words[4 * q + 1] = c0, c1
                words[4 * q + 2], words[4 * q + 3] = c2, c3
            for i in range(n):
                others = options[i] - 1
                if others < 1:
                    continue
                product = words[i] * np.uint64(others)
                fraction = np.float64(product & LOW)
                if fraction + 0.5 >= CUT:
                    continue
                a = np.int64(mine[i])
                b = np.int64(choices[s.offset[i] + np.int64(product >> HALF)])
                if b == a:
                    b = np.int64(choices[s.offset[i] + others])
                dc, db, dw = _change(s, row, field, weight, place, total, i, a, b)
                if _taken(dc + dw, beta, fraction):
                    _move(s, mine, place, total, i, a, b)
                    cost += dc
                    broken += db
            for k in range(len(s.line_start) - 1):
                begin, end = s.line_start[k], s.line_start[k + 1]
                for e in range(begin, end):
                    product = words[n + e] * np.uint64(end - begin - 1)
                    fraction = np.float64(product & LOW)
                    other = begin + np.int64(product >> HALF)
                    i = s.line_site[e]
                    j = s.line_site[other if other < e else other + 1]
                    a, b = np.int64(mine[i]), np.int64(mine[j])
                    if a == b or fraction + 0.5 >= CUT:
                        continue
                    if not (_open(choices, options, s.offset, i, b)
                            and _open(choices, options, s.offset, j, a)):
                        continue
                    dc, db, dw = _change(s, row, field, weight, place, total, i, a, b)
                    _move(s, mine, place, total, i, a, b)
                    ec, eb, ew = _change(s, row, field, weight, place, total, j, b, a)
                    if _taken(dc + dw + ec + ew, beta, fraction):
                        _move(s, mine, place, total, j, b, a)
                        cost += dc + ec
                        broken += db + eb
                    else:
                        _move(s, mine, place, total, i, b, a)
            _keep(mine, best[p], score[p], cost, broken)
        score[p, 0], score[p, 1] = cost, broken
        _blame(s, row, place, total, blame)


@njit(cache=True, nogil=True, inline="always")
def _open(choices, options, offset, i, v):
    """Whether value v is allowed at site i."""
    for q in range(options[i]):
        if choices[offset[i] + q] == v:
            return True
    return False


@njit(cache=True, nogil=True, inline="always")
def _keep(mine, best, score, cost, broken):
    """Keeps a state that breaks less, or breaks as little and costs less."""
    if broken < score[3] - 1e-9 or (broken <= score[3] + 1e-9 and cost < score[2] - 1e-9):
        best[:] = mine
        score[2], score[3] = cost, broken


@njit(cache=True, nogil=True)
def sweep_pairs(s, options, field, constant, betas, key, lane, first, x, best, score):
    """`sweep` for `Pairs`: local fields, so that a move that is not taken costs one comparison."""
    particles, n = x.shape
    blocks = (n + 3) // 4
    drop = np.zeros(4 * blocks)
    local = np.zeros(n)
    mine = np.zeros(n)
    for p in range(particles):
        cost = constant
        for i in range(n):
            mine[i] = np.float64(x[p, i])
        for i in range(n):
            coupled = 0.0
            for e in range(s.start[i], s.start[i + 1]):
                coupled += s.coupling[e] * mine[s.near[e]]
            local[i] = field[i] + coupled
            cost += mine[i] * (field[i] + 0.5 * coupled)
        _keep_bits(mine, best[p], score[p], cost)
        for t in range(len(betas)):
            beta = betas[t]
            for q in range(blocks):
                c0, c1, c2, c3 = philox(np.uint64(q), np.uint64(p), np.uint64(first + t),
                                        np.uint64(lane), key[0], key[1])
                drop[4 * q] = np.float64(np.int64(c0))
                drop[4 * q + 1] = np.float64(np.int64(c1))
                drop[4 * q + 2] = np.float64(np.int64(c2))
                drop[4 * q + 3] = np.float64(np.int64(c3))
            for i in range(n):
                change = (1.0 - 2.0 * mine[i]) * local[i]
                fraction = drop[i]
                if options[i] < 2 or fraction + 0.5 >= CUT or beta * change > 23.0:
                    continue  # exp(-23) < 1 / (2 CUT): no draw is that small
                if _taken(change, beta, fraction):
                    step = 1.0 - 2.0 * mine[i]
                    mine[i] += step
                    cost += change
                    for e in range(s.start[i], s.start[i + 1]):
                        local[s.near[e]] += step * s.coupling[e]
            _keep_bits(mine, best[p], score[p], cost)
        score[p, 0] = cost
        score[p, 1] = 0.0
        for i in range(n):
            x[p, i] = np.int16(mine[i])


@njit(cache=True, nogil=True, inline="always")
def _keep_bits(mine, best, score, cost):
    if score[3] > 0.0 or cost < score[2] - 1e-9:
        for i in range(len(mine)):
            best[i] = np.int16(mine[i])
        score[2], score[3] = cost, 0.0


@njit(cache=True, nogil=True)
def changes(s, row, choices, options, field, weight, x, out):
    """What a move of each site to its next allowed value would change: the scale of costs.

    out (P, n, 2): cost, violation; 0 where a site cannot move."""
    place = np.zeros(len(s.base), dtype=np.int64)
    total = np.zeros(len(s.low))
    for p in range(len(x)):
        measure(s, row, field, x[p], place, total)
        for i in range(x.shape[1]):
            out[p, i] = 0.0
            if options[i] > 1:
                a = np.int64(x[p, i])
                pick = (p + i) % options[i]
                b = np.int64(choices[s.offset[i] + pick])
                if b == a:
                    b = np.int64(choices[s.offset[i] + (pick + 1) % options[i]])
                dc, db, _ = _change(s, row, field, weight, place, total, i, a, b)
                out[p, i, 0], out[p, i, 1] = dc, db


# ---------------------------------------------------------------- the plain reference


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
    start, line_site = _tight_lines(factors)

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


def plain_energy(factors: Factors, x: Ints, weight: Floats, row: int = 0
                 ) -> tuple[float, float, float]:
    """Cost, violation and weighted violation of one state, straight from the factors."""
    f = factors.expanded()
    misses = []
    for k in range(f.counted.count):
        at = slice(f.counted.start[k], f.counted.start[k + 1])
        true = int((x[f.counted.site[at]] == f.counted.value[at]).sum())
        misses.append(max(0, f.counted.low[k] - true, true - f.counted.high[k]))
    for k in range(f.clauses.count):
        at = slice(f.clauses.start[k], f.clauses.start[k + 1])
        misses.append(int(not ((x[f.clauses.site[at]] == f.clauses.value[at])
                               == f.clauses.sign[at]).any()))
    for k in range(f.sums.count):
        at = slice(f.sums.start[k], f.sums.start[k + 1])
        true = x[f.sums.site[at]] == f.sums.value[at]
        t = f.sums.coefficient[at][true].sum()
        misses.append(max(0.0, f.sums.low[k] - t, t - f.sums.high[k]))
    cost = 0.0
    for table in f.tables:
        listed = np.atleast_2d(table.costs)
        costs = listed[row if len(listed) > 1 else 0]
        forbids = not (np.isfinite(listed).all() and math.isfinite(table.default))
        for scope in table.scopes:
            hit = (table.tuples == x[scope]).all(1)
            price = costs[hit][-1] if hit.any() else table.default
            cost += price if math.isfinite(price) else 0.0
            if table.arity > 1 and forbids:
                misses.append(int(not math.isfinite(price)))
    misses = np.array(misses, dtype=np.float64)
    return cost, float(misses.sum()), float((misses * weight).sum())
