"""Explicit structure as the arrays that the kernels of sweeps read."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from engine.decimals import Floats, Ints
from engine.errors import BadQuery
from engine.factors import Different, Factors, Table, ints
from engine.factors.conditions import written_out
from engine.factors.explicit import combinations
from engine.kernels.sweeps import Couplings, Pairs, Structure
from engine.sweeps.coupled import Block, couplings, pairs, starts

DENSE = 1 << 21  # combinations up to which a table is kept dense; beyond, its keys are searched
KEPT = 3  # sites of a line from which on it is kept by moves


@dataclass(frozen=True, eq=False)
class Layout:
    """A structure ready for the kernels, for all rows."""

    sizes: Ints  # (n,)
    visible: int
    structure: Structure
    field: Floats  # (1 or R, C) cost of each literal
    closed: np.ndarray  # (1 or R, C) bool: literals that a table over one site forbids
    floor: Floats  # (1 or R,) sum of the least costs of tables over several sites
    pairs: Pairs | None = None  # the form of two values a site, where it says everything
    pair_field: Floats | None = None  # (1 or R, n)
    pair_constant: Floats | None = None  # (1 or R,)
    couplings: Couplings | None = None  # the form of any, where that and `field` say everything
    kept: tuple[Ints, ...] = ()  # lines whose sites differ in every state that is visited

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
        if self.couplings is not None:
            return 4 * len(self.sizes) + len(self.couplings.near)
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
        widths = combinations(factors.sizes[table.scopes])
        most = (widths * _beside(table, factors.sizes)).max(initial=0)
        if most > 2.0**62:
            return f"a table over {most:.3g} combinations; give a smaller scope"
    return None


def lay_out(factors: Factors, kept: Sequence[int] = ()) -> Layout:
    """The arrays of a structure. Raises BadQuery as `refusal` says.

    kept: lines of `factors.different`, no two of which share a site, that every state visited is
    to keep; such states alone may then be handed to the kernels."""
    why = refusal(factors)
    if why is not None:
        raise BadQuery(why)
    always = tuple(factors.different.lines()[k] for k in kept)
    lines, factors = tight_lines(factors), without_lines(factors, kept).expanded()
    if kept:  # exchanges along other lines would break those that are kept
        lines = lines[0][:1], lines[1][:0]
    sizes = factors.sizes.astype(np.int64)
    offset = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    several = (t for t in factors.tables if t.arity > 1 or t.when is not None)
    blocks = [block for t in several for block in _blocks(t, sizes)]
    coupled = not factors.rules and not kept and all(block.couples for block in blocks)
    structure = Structure(
        offset.astype(np.int32),
        **_sum_arrays(factors, sizes, offset, [] if coupled else blocks),
        line_start=lines[0].astype(np.int32),
        line_site=lines[1].astype(np.int32),
        **_holders(always, sizes),
    )
    field, closed = _fields(factors, sizes, offset)
    out = Layout(sizes, factors.visible, structure, field, closed, _floor(blocks), kept=always)
    if not coupled:
        return out
    if (sizes == 2).all():
        both, own, constant = pairs(sizes, field, blocks)
        return replace(out, pairs=both, pair_field=own, pair_constant=constant)
    return replace(out, couplings=couplings(sizes, blocks))


def _blocks(table: Table, sizes: Ints) -> Iterator[Block]:
    """A table over several sites, by the shapes of its scopes and by what they hang on."""
    beside = table.scopes[:, :0] if table.when is None else table.when[:, :, 0]
    values = beside if table.when is None else table.when[:, :, 1]
    alike = np.concatenate([sizes[table.scopes], sizes[beside], values], 1)
    for row in np.unique(alike, axis=0):
        own = table.picked((alike == row).all(1))
        shape, more, when = np.split(row, [table.arity, table.arity + beside.shape[1]])
        if math.prod([*shape.tolist(), *more.tolist()]) <= DENSE:
            wide = written_out(own, sizes, DENSE)
            assert wide is not None  # all of one shape
            yield from _dense(wide, [*shape.tolist(), *more.tolist()])
            continue
        for one in own.each():
            yield _keyed(one, shape.tolist(), more.tolist(), when.tolist())


def _dense(table: Table, shape: list[int]) -> Iterator[Block]:
    """Scopes of one shape, all combinations written out."""
    size = math.prod(shape)
    costs = table.dense(shape).reshape(-1, table.count if table.apart else 1, size)
    each = max(1, DENSE // size) if table.apart else table.count
    for first in range(0, table.count, each):
        some = slice(first, first + each)
        yield Block(table.scopes[some], shape, costs[:, some] if table.apart else costs)


def _keyed(table: Table, shape: list[int], more: list[int], when: list[int]) -> Block:
    """Scopes of one shape by what is listed. Sites that they hang on move the place by so much that
    it is out of the span unless all of these have their values."""
    size = math.prod(shape)
    beyond = [size * math.prod(2 * k for k in more[:j]) for j in range(len(more))]
    begin = sum(b * v for b, v in zip(beyond, when, strict=True))
    strides = _strides(shape)
    flat, costs = begin + table.tuples @ strides, np.atleast_2d(table.costs)
    if not len(flat):  # the kernels take one without keys for written out
        flat, costs = ints([begin]), np.full((len(costs), 1), table.default)
    order = np.argsort(flat, kind="stable")
    listed = costs[:, order]
    rest = np.full((len(listed), 1), table.default)
    costs = np.concatenate([listed, rest, np.zeros_like(rest)], 1)
    scopes = table.scopes
    if table.when is not None:
        scopes = np.concatenate([scopes, table.when[:, :, 0]], 1)
    strides = np.append(strides, ints(beyond))
    return Block(
        scopes, [*shape, *more], costs[:, None], flat[order], strides, (begin, begin + size)
    )


def _beside(table: Table, sizes: Ints) -> Floats:
    """By how many times the places of each scope grow with the sites that it hangs on. -> (m,)"""
    if table.when is None:
        return np.ones(table.count)
    return (2.0 * sizes[table.when[:, :, 0]]).prod(1)


def _strides(shape: list[int]) -> Ints:
    """What a step of each place adds to the number of a combination."""
    return ints([math.prod(shape[a + 1 :]) for a in range(len(shape))])


def _fields(factors: Factors, sizes: Ints, offset: Ints) -> tuple[Floats, np.ndarray]:
    """What tables over one site cost by literal, and which literals they forbid. -> (1 or R, C)"""
    own = [table for table in factors.tables if table.arity == 1 and table.when is None]
    rows = max([len(t.costs) for t in own if t.by_row], default=1)
    field = np.zeros((rows, int(offset[-1])))
    closed = np.zeros(field.shape, dtype=bool)
    for table in own:
        site = table.scopes[:, 0]
        for k in np.unique(sizes[site]).tolist():
            mine = sizes[site] == k
            literal = offset[site[mine]][:, None] + np.arange(k)  # (m, k)
            dense = table.dense([k])
            dense = dense[..., mine, :] if table.apart else dense[..., None, :]
            costs = np.moveaxis(np.broadcast_to(dense, (rows, *literal.shape)), 0, 2)
            bad = ~np.isfinite(costs)
            np.add.at(field.T, literal, np.where(bad, 0.0, costs))
            np.logical_or.at(closed.T, literal, bad)
    return field, closed


def _floor(blocks: Sequence[Block]) -> Floats:
    """The sum of the least finite cost of each scope. -> (1 or R,)"""
    out = np.zeros(max([len(b.costs) for b in blocks], default=1))
    for b in blocks:
        least = np.where(np.isfinite(b.costs), b.costs, np.inf).min(2)  # (1 or R, 1 or m)
        out = out + (len(b.scopes) // least.shape[1]) * least.sum(1)
    return out


def _scope_arrays(blocks: Sequence[Block], sizes: Ints, sums: int) -> dict[str, np.ndarray]:
    """Tables over several sites gathered into one pool."""
    counts = ints([len(b.scopes) for b in blocks])
    total = int(counts.sum())
    first = np.cumsum(counts) - counts
    none = np.zeros(0, np.int64)
    site = np.concatenate([none, *(b.scopes.reshape(-1) for b in blocks)])
    scope = np.concatenate(
        [
            none,
            *(
                np.repeat(f + np.arange(len(b.scopes)), len(b.shape))
                for f, b in zip(first, blocks, strict=True)
            ),
        ]
    )
    strides = (_strides(b.shape) if b.strides is None else b.strides for b in blocks)
    stride = np.concatenate(
        [none, *(np.tile(own, len(b.scopes)) for own, b in zip(strides, blocks, strict=True))]
    )
    # a site that stands twice in a scope moves it by both strides
    pair, inverse = np.unique(site * max(1, total) + scope, return_inverse=True)
    merged = np.zeros(len(pair), dtype=np.int64)
    np.add.at(merged, inverse, stride)
    site, scope = pair // max(1, total), pair % max(1, total)
    filled = ints([b.costs.size for b in blocks])
    keyed = ints([0 if b.keys is None else len(b.keys) for b in blocks])
    lead = ints([b.costs[0].size if len(b.costs) > 1 else 0 for b in blocks])
    own = [b.costs.shape[2] * np.arange(len(b.scopes)) * (b.costs.shape[1] > 1) for b in blocks]
    span = ints([end for b in blocks for end in b.span]).reshape(-1, 2)
    shut = [~np.isfinite(b.costs).all((0, 2)) for b in blocks]
    every = [np.broadcast_to(s, len(b.scopes)) for s, b in zip(shut, blocks, strict=True)]
    forbids = np.concatenate([np.zeros(0, dtype=bool), *every])
    pool = np.concatenate([np.zeros(0), *(b.costs.reshape(-1) for b in blocks)])
    return {
        "scope_start": starts(site, len(sizes)),
        "scope": scope.astype(np.int32),
        "stride": merged,
        "base": np.repeat(np.cumsum(filled) - filled, counts) + np.concatenate([none, *own]),
        "lead": np.repeat(lead, counts),
        "key_start": np.repeat(np.cumsum(keyed) - keyed, counts),
        "keys": np.repeat(keyed, counts),
        "span": np.repeat(span, counts, axis=0),
        "rule": np.where(forbids, sums + np.cumsum(forbids) - 1, -1).astype(np.int32),
        "key": np.concatenate([none, *(b.keys for b in blocks if b.keys is not None)]),
        "pool": np.where(np.isfinite(pool), pool, 0.0),
        "ban": (~np.isfinite(pool)).astype(np.uint8),
    }


def _sum_arrays(
    factors: Factors, sizes: Ints, offset: Ints, blocks: Sequence[Block]
) -> dict[str, np.ndarray]:
    """Groups, clauses and sums as one family of linear sums."""
    f = factors
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
        **_scope_arrays(blocks, sizes, len(low)),
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
        "literal_start": starts(literal[order], total),
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
        "pair_start": starts(site[order], len(sizes)),
        "pair_sum": owner[order].astype(np.int32),
        "pair_first": first[:-1][order],
        "pair_coefficient": dense,
    }


def _holders(lines: Sequence[Ints], sizes: Ints) -> dict[str, np.ndarray]:
    """Where the holders of the values of each kept line stand."""
    keeps, first = np.full(len(sizes), -1, dtype=np.int32), 0
    for line in lines:
        keeps[line] = first
        first += int(sizes[line[0]])
    return {"keeps": keeps, "holders": np.full(first, -1, dtype=np.int32)}


def without_lines(factors: Factors, left_out: Sequence[int]) -> Factors:
    """The structure without some of its lines of sites that differ."""
    if not left_out:
        return factors
    stay = np.setdiff1d(np.arange(factors.different.count), np.array(left_out, dtype=np.int64))
    each = [factors.different.picked(slice(k, k + 1)) for k in stay.tolist()]
    return replace(factors, different=Different.joined(each))


def lines_to_keep(factors: Factors) -> list[int]:
    """Lines that moves can keep: of at least `KEPT` sites with values alike, no two with a site in
    common, the longest first."""
    taken: set[int] = set()
    out = []
    every = factors.different.lines()
    for k in sorted(range(len(every)), key=lambda k: -len(every[k])):
        line = every[k]
        alike = len(np.unique(factors.sizes[line])) == 1
        if len(line) < KEPT or not alike or len(line) > factors.sizes[line[0]]:
            continue
        if taken.isdisjoint(line.tolist()):
            taken.update(line.tolist())
            out.append(k)
    return sorted(out)


def tight_lines(factors: Factors) -> tuple[Ints, Ints]:
    """Lines that take every value exactly once."""
    lines = [
        line
        for line in factors.different.lines()
        if len(line) > 1 and (factors.sizes[line] == len(line)).all()
    ]
    start = np.concatenate([[0], np.cumsum([len(line) for line in lines])])
    return start, np.concatenate([np.zeros(0, np.int64), *lines])
