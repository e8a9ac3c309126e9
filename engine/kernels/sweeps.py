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
            return 4 * len(self.sizes) + len(self.pairs.near) // 2
        literals = len(s.literal_sum) / max(1, s.offset[-1]) * len(self.sizes)
        swaps = 4 * len(s.line_site)
        return int(
            4 * len(self.sizes) + 3 * len(s.scope) + 4 * literals + 3 * len(s.pair_sum) + swaps
        )


# ---------------------------------------------------------------- from factors to arrays


def refusal(factors: Factors) -> str | None:
    """Why a structure has no such arrays; None: it has."""
    if factors.sizes.max(initial=0) > np.iinfo(np.int16).max:
        return "annealing takes at most 32,767 values a site"
    for table in factors.tables:
        if table.arity == 0:
            return "a table over no sites"
        most = factors.sizes[table.scopes].astype(np.float64).prod(1).max(initial=0)
        if most > 2.0**62:
            return f"a table over {most:.3g} combinations; give a smaller scope"
    return None


def layout(factors: Factors) -> Layout:
    """The arrays of a structure. Raises BadQuery as `refusal` says."""
    why = refusal(factors)
    if why is not None:
        raise BadQuery(why)
    sizes = factors.sizes.astype(np.int64)
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
            self.blocks.append((scopes, np.zeros((0,))))  # never asked for
        forbidden = ~np.isfinite(costs)
        least = np.where(forbidden, np.inf, costs).min(1)
        lead = costs.shape[1] if len(costs) > 1 else 0
        for name, value in (
            ("base", self.filled),
            ("lead", lead),
            ("key_start", key_start),
            ("keys", keys),
            ("forbids", forbidden.any()),
            ("least", least),
        ):
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
            **{
                name: np.array(self.columns[name], dtype=np.int64)
                for name in ("base", "lead", "key_start", "keys")
            },
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
    high = np.concatenate(
        [f.counted.high.astype(float), np.full(f.clauses.count, np.inf), f.sums.high]
    )
    shifts = np.cumsum([0] + [lists.count for lists, _ in families])
    owner = np.concatenate(
        [lists.owner() + shift for (lists, _), shift in zip(families, shifts[:-1], strict=True)]
    )
    literal = np.concatenate([offset[lists.site] + lists.value for lists, _ in families])
    coefficient = np.concatenate([factor for _, factor in families])
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
        **_by_site(
            link[times > 1], link_of[several], literal[several], merged[several], sizes, offset
        ),
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


def _by_site(
    links: Ints, link_of: Ints, literal: Ints, coefficient: Floats, sizes: Ints, offset: Ints
) -> dict:
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
        line
        for line in factors.different.lines()
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
    if any(t.ndim != 3 or (ends[:, 0] == ends[:, 1]).any() for ends, t in scopes.blocks):
        return out
    n = len(out.sizes)
    field = out.field[:, 1::2] - out.field[:, ::2]  # (1 or R, n)
    constant = out.field[:, ::2].sum(1)
    linear = np.zeros(n)
    first, second, coupling = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    for ends, dense in scopes.blocks:
        t = dense[0]
        constant = constant + t[0, 0] * len(ends)
        np.add.at(linear, ends[:, 0], t[1, 0] - t[0, 0])
        np.add.at(linear, ends[:, 1], t[0, 1] - t[0, 0])
        first.append(ends[:, 0])
        second.append(ends[:, 1])
        coupling.append(np.full(len(ends), t[1, 1] - t[1, 0] - t[0, 1] + t[0, 0]))
    a = np.concatenate([*first, *second])
    b = np.concatenate([*second, *first])
    both, inverse = np.unique(a * max(1, n) + b, return_inverse=True)
    merged = np.zeros(len(both))
    np.add.at(merged, inverse, np.concatenate([*coupling, *coupling]))
    kept = merged != 0
    both, merged = both[kept], merged[kept]
    pairs = Pairs(_starts(both // max(1, n), n), (both % max(1, n)).astype(np.int32), merged)
    return Layout(
        out.sizes,
        out.visible,
        s,
        out.field,
        out.closed,
        out.floor,
        pairs,
        np.ascontiguousarray(field + linear),
        constant,
    )


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
def _search(key, first, count, place):
    """Where the cost of a combination stands in a sparse table; `count`: not listed."""
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


@njit(cache=True, nogil=True)
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
            at = _search(s.key, s.key_start[k], s.keys[k], at)
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


@njit(cache=True, nogil=True, inline="always")
def _taken(change, beta, fraction):
    """The Metropolis test with the low half of a product of draws, in [0, 2**32).

    exp(y) >= 1 + y + y^2 / 2 spares most logarithms."""
    if change <= 0.0:
        return True
    y = beta * change
    if (fraction + 0.5) * (1.0 + y + 0.5 * y * y) > CUT:
        return False
    return y <= -math.log((fraction + 0.5) / CUT)


@njit(cache=True, nogil=True)
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
    line_start, line_site = s.line_start, s.line_site
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
        for t in range(-1, len(betas)):
            line = 0
            if t >= 0:
                for q in range(len(words) // 4):
                    c0, c1, c2, c3 = philox(
                        np.uint64(q),
                        np.uint64(p),
                        np.uint64(first + t),
                        np.uint64(lane),
                        key[0],
                        key[1],
                    )
                    words[4 * q], words[4 * q + 1] = c0, c1
                    words[4 * q + 2], words[4 * q + 3] = c2, c3
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
                else:  # two sites of a line exchange their values
                    parts = 2
                    e = m - n
                    while line_start[line + 1] <= e:
                        line += 1
                    begin = line_start[line]
                    product = words[m] * np.uint64(line_start[line + 1] - begin - 1)
                    other = begin + np.int64(product >> HALF)
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
                                old = _search(s.key, s.key_start[k], keys[k], old)
                                new = _search(s.key, s.key_start[k], keys[k], new)
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
            if broken < score[p, 3] - 1e-9 or (
                broken <= score[p, 3] + 1e-9 and cost < score[p, 2] - 1e-9
            ):
                for i in range(n):
                    best[p, i] = x[p, i]
                score[p, 2], score[p, 3] = cost, broken
        score[p, 0], score[p, 1] = measure(s, row, field, x[p], place, total, blame)


@njit(cache=True, nogil=True)
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


def probed(out: Layout, row: int, choices, options, field, weight, x) -> Floats:
    """What single moves of some states would change: cost and violation. -> (moves, 2)"""
    if out.pairs is not None:
        assert out.pair_field is not None
        owner = np.repeat(np.arange(len(out.sizes)), np.diff(out.pairs.start))
        change = out.pair_field[row if len(out.pair_field) > 1 else 0] + np.stack(
            [np.bincount(owner, out.pairs.coupling * y[out.pairs.near], len(out.sizes)) for y in x]
        )
        change = np.where(options > 1, change, 0.0).reshape(-1)
        return np.stack([change, np.zeros_like(change)], 1)
    x = x.copy()
    probe = np.zeros((*x.shape, 2))
    key = np.zeros(2, dtype=np.uint64)
    sweep(
        out.structure,
        row,
        choices,
        options,
        field,
        weight,
        np.zeros(1),
        key,
        0,
        0,
        x,
        x.copy(),
        np.zeros((len(x), 4)),
        np.zeros(out.rules),
        probe,
    )
    return probe.reshape(-1, 2)


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
    for table in f.tables:
        listed = np.atleast_2d(table.costs)
        costs = listed[row if len(listed) > 1 else 0]
        shape = factors.sizes[table.scopes[0]].tolist() if len(table.scopes) else []
        forbids = not np.isfinite(table.dense(shape)).all()
        for scope in table.scopes:
            hit = (table.tuples == x[scope]).all(1)
            price = costs[hit][-1] if hit.any() else table.default
            cost += price if math.isfinite(price) else 0.0
            if table.arity > 1 and forbids:
                misses.append(int(not math.isfinite(price)))
    broken = np.array(misses, dtype=np.float64)
    return cost, float(broken.sum()), float((broken * weight).sum())
