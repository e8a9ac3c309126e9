"""Explicit structure as the arrays that the kernels of sweeps read."""

import math
from dataclasses import dataclass

import numpy as np

from engine.decimals import Floats, Ints
from engine.errors import BadQuery
from engine.factors import Factors
from engine.kernels.sweeps import Pairs, Structure

DENSE = 1 << 21  # combinations up to which a table is kept dense; beyond, its keys are searched


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


def lay_out(factors: Factors) -> Layout:
    """The arrays of a structure. Raises BadQuery as `refusal` says."""
    why = refusal(factors)
    if why is not None:
        raise BadQuery(why)
    sizes = factors.sizes.astype(np.int64)
    offset = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    scopes = _Scopes(sizes, offset)
    for table in factors.tables:
        scopes.add(table)
    lines = tight_lines(factors)
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
        self.costs: list[tuple[Ints, Floats]] = []  # of tables over one site: the sites (m,), and
        # costs (1 or R, 1 or m, k)
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
        if table.apart and table.arity > 1:
            for one in table.each():
                self.add(one)
            return
        shapes = self.sizes[table.scopes]
        for shape in np.unique(shapes, axis=0):
            mine = table.scopes[(shapes == shape).all(1)]
            if table.arity == 1:
                dense = table.dense(shape.tolist())
                lists = len(mine) if table.apart else 1
                self.costs.append((mine[:, 0], dense.reshape(-1, lists, dense.shape[-1])))
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
        for sites, costs in self.costs:
            literal = self.offset[sites][:, None] + np.arange(costs.shape[-1])  # (m, k)
            costs = np.moveaxis(np.broadcast_to(costs, (rows, *literal.shape)), 0, 2)
            bad = ~np.isfinite(costs)
            np.add.at(field.T, literal, np.where(bad, 0.0, costs))
            np.logical_or.at(closed.T, literal, bad)
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


def tight_lines(factors: Factors) -> tuple[Ints, Ints]:
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
