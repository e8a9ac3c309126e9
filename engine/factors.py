"""Explicit structure of energies over finite sites: what the factored minimizers work on.

Sites are numbered flat, in the order of a term's scope; hidden sites that a term adds come after
them and never show in an answer. A literal is (site, value), the value given by its place. Every
factor remembers which part of its term it stands for, so that conflicts can be named.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from engine.decimals import (
    DIGITS,
    FINE,
    Scale,
    added,
    decimal,
    denominator,
    minus,
    scale_of,
    times,
    whole,
)
from engine.decimals import Floats as Floats
from engine.decimals import Ints as Ints
from engine.domain import Domain, Finite

DENSE = 65_536  # combinations up to which a table under a condition is written out
AMOUNTS = 64  # values of one hidden site that holds an amount; larger ones are binary digits


def ints(values: Iterable[int] | Ints = ()) -> Ints:
    return np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=np.int64)


def floats(values: Iterable[float] | Floats = ()) -> Floats:
    return np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=np.float64)


def _starts(lengths: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Literals:
    """Lists of literals, one list a factor (compressed rows): list i is [start[i], start[i+1])."""

    start: Ints = field(default_factory=lambda: ints([0]))  # (m + 1,)
    site: Ints = field(default_factory=ints)  # (L,)
    value: Ints = field(default_factory=ints)  # (L,)
    term: Ints = field(default_factory=ints)  # (m,) place of the term in the energy
    part: Ints = field(default_factory=ints)  # (m,) place of the part in the term

    @property
    def count(self) -> int:
        return len(self.start) - 1

    def lengths(self) -> Ints:
        return np.diff(self.start)

    def owner(self) -> Ints:
        """The list each literal belongs to. -> (L,)"""
        return np.repeat(np.arange(self.count), self.lengths())


@dataclass(frozen=True, eq=False)
class Counted(Literals):
    """low <= number of true literals <= high."""

    low: Ints = field(default_factory=ints)  # (m,)
    high: Ints = field(default_factory=ints)  # (m,)


@dataclass(frozen=True, eq=False)
class Clauses(Literals):
    """At least one literal is as its sign says."""

    sign: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))  # (L,)


@dataclass(frozen=True, eq=False)
class Sums(Literals):
    """low <= sum of coefficient * [literal] <= high."""

    coefficient: Floats = field(default_factory=floats)  # (L,)
    low: Floats = field(default_factory=floats)  # (m,)
    high: Floats = field(default_factory=floats)  # (m,)


@dataclass(frozen=True, eq=False)
class Different:
    """Lists of sites that take pairwise different values (places compared)."""

    start: Ints = field(default_factory=lambda: ints([0]))
    site: Ints = field(default_factory=ints)
    term: Ints = field(default_factory=ints)
    part: Ints = field(default_factory=ints)

    @property
    def count(self) -> int:
        return len(self.start) - 1

    def lines(self) -> list[Ints]:
        return [self.site[a:b] for a, b in zip(self.start[:-1], self.start[1:], strict=True)]


@dataclass(frozen=True, eq=False)
class Table:
    """A cost for each combination of values, shared by several scopes; infinite = forbidden.

    Combinations not listed cost `default`.
    """

    scopes: Ints  # (m, arity) sites
    tuples: Ints  # (T, arity) places of values
    costs: Floats  # (T,), or (R, T) where the costs differ by row
    default: float = 0.0
    term: Ints = field(default_factory=ints)  # (m,)
    part: Ints = field(default_factory=ints)  # (m,)
    error: float = 0.0  # by how much each cost may lie from the decimal that it stands for
    computed: bool = False  # the costs are no decimals but floats, exactly

    @property
    def arity(self) -> int:
        return self.scopes.shape[1]

    def dense(self, sizes: Sequence[int]) -> Floats:
        """The costs as one array. -> ([R,] k_1, ..., k_arity)"""
        lead = self.costs.shape[:-1]
        full = np.full((*lead, *sizes), self.default)
        full[(..., *self.tuples.T)] = self.costs
        return full

    @cached_property
    def soft(self) -> bool:
        """True when some combination has a finite cost other than 0."""
        return bool((self.finite_costs != 0).any())

    @cached_property
    def forbids(self) -> bool:
        """True when some combination has an infinite cost."""
        return bool(np.isinf(self.costs).any()) or math.isinf(self.default)

    @property
    def read(self) -> Callable[[float], Fraction]:
        """What number a cost stands for: its shortest decimal, or itself where it was computed."""
        return Fraction if self.computed else decimal

    @property
    def finite_costs(self) -> Floats:
        """Every finite cost, the default's included."""
        every = np.append(self.costs.reshape(-1), self.default)
        return every[np.isfinite(every)]

    def weighed(self, weight: float) -> "Table":
        """The costs times a weight; what is forbidden stays so."""
        if self.computed:
            return replace(self, costs=weight * self.costs, default=weight * self.default)
        costs, error = times(weight, np.append(self.costs.reshape(-1), self.default))
        return replace(
            self,
            costs=costs[:-1].reshape(self.costs.shape),
            default=float(costs[-1]),
            error=error + weight * self.error,
        )


@dataclass(frozen=True, eq=False)
class Factors:
    """The structure of one term, or of a whole energy, over numbered finite sites."""

    sizes: Ints  # (n,) number of values of each site, hidden ones last
    visible: int  # sites that belong to variables
    counted: Counted = field(default_factory=Counted)
    clauses: Clauses = field(default_factory=Clauses)
    sums: Sums = field(default_factory=Sums)
    different: Different = field(default_factory=Different)
    tables: tuple[Table, ...] = ()
    interchangeable: bool = False  # any permutation of the values, at all sites alike, changes
    # nothing: colours

    @staticmethod
    def sizes_of(domains: Sequence[Domain]) -> Ints:
        """Sizes of the sites of several finite domains, in order."""
        sizes = []
        for domain in domains:
            assert isinstance(domain, Finite)
            sizes += [len(domain.values)] * domain.sites
        return ints(sizes)

    @staticmethod
    def table(
        sizes: Ints, tuples: Ints, costs: Floats, default: float = 0.0, computed: bool = False
    ) -> "Factors":
        """One table over all sites."""
        scopes = np.arange(len(sizes), dtype=np.int64)[None]
        one = Table(scopes, ints(tuples), floats(costs), default, ints([0]), ints([0]))
        one = replace(one, computed=computed)
        return Factors(sizes, len(sizes), tables=(one,))

    @property
    def soft(self) -> bool:
        return any(table.soft for table in self.tables)

    @cached_property
    def scale(self) -> Scale:
        """The unit in which the costs of the tables are counted."""
        return scale_of((len(t.scopes), t.finite_costs, t.error, t.computed) for t in self.tables)

    def owned_by(self, term: int) -> "Factors":
        """The same structure, marked as that of the term at this place."""

        def own(lists):
            return replace(lists, term=np.full(lists.count, term, dtype=np.int64))

        return replace(
            self,
            counted=own(self.counted),
            clauses=own(self.clauses),
            sums=own(self.sums),
            different=own(self.different),
            tables=tuple(
                replace(t, term=np.full(len(t.scopes), term, dtype=np.int64)) for t in self.tables
            ),
        )

    @staticmethod
    def merge(sizes: Ints, pieces: Sequence[tuple["Factors", Sequence[int] | Ints]]) -> "Factors":
        """Several structures over common sites: each with the place of its visible sites.

        Hidden sites are renumbered behind the common ones.
        """
        every, total = [ints(sizes)], len(sizes)
        moved = []
        for piece, places in pieces:
            hidden = len(piece.sizes) - piece.visible
            where = np.concatenate([ints(places), np.arange(total, total + hidden)])
            every.append(piece.sizes[piece.visible :])
            total += hidden
            moved.append(_renumbered(piece, where))
        return Factors(
            np.concatenate(every).astype(np.int64),
            len(sizes),
            _concatenated(Counted, [m.counted for m in moved]),
            _concatenated(Clauses, [m.clauses for m in moved]),
            _concatenated(Sums, [m.sums for m in moved]),
            _concatenated(Different, [m.different for m in moved]),
            tuple(table for m in moved for table in m.tables),
            all(piece.interchangeable for piece, _ in pieces) and bool(pieces),
        )

    def expanded(self) -> "Factors":
        """`different` written as counted groups: each value at most once a line, exactly once
        where the line is as long as there are values."""
        d = self.different
        if d.count == 0:
            return self
        lengths, owner = np.diff(d.start), np.repeat(np.arange(d.count), np.diff(d.start))
        widths = self.sizes[d.site]  # values of the site of each entry
        most = np.zeros(d.count, dtype=np.int64)
        np.maximum.at(most, owner, widths)
        least = np.full(d.count, np.iinfo(np.int64).max)
        np.minimum.at(least, owner, widths)
        tight = (lengths == most) & (least == most)
        # one group for each line and value: entries ordered by line, value, place in the line
        entry = np.repeat(np.arange(len(d.site)), widths)
        value = np.arange(len(entry)) - np.repeat(np.cumsum(widths) - widths, widths)
        order = np.lexsort((entry, value, owner[entry]))
        entry, value = entry[order], value[order]
        line = np.repeat(np.arange(d.count), most)
        first = np.cumsum(most) - most
        group = first[owner[entry]] + value
        groups = Counted(
            _starts(np.bincount(group, minlength=len(line))),
            d.site[entry],
            value,
            d.term[line],
            d.part[line],
            tight[line].astype(np.int64),
            np.ones(len(line), dtype=np.int64),
        )
        return replace(
            self, counted=_concatenated(Counted, [self.counted, groups]), different=Different()
        )

    def weighed(self, weight: float) -> "Factors | None":
        """The same structure at a price: each failing part costs `weight`, each unit by which a
        sum is missed costs `weight`, and the costs of tables are scaled: a cost that forbids a
        combination forbids it still.

        A hidden site tells which part fails. None where a sum has no explicit form.
        """
        tables = tuple(t.weighed(weight) for t in self.tables)
        rigid = replace(self.expanded(), tables=())
        if rigid.sums.count:
            return rigid._slackened(weight, tables)
        parts = np.unique(np.concatenate([rigid.counted.part, rigid.clauses.part]))
        return replace(rigid._loosened(parts), tables=tables)._with_price(weight, parts)

    def priced(self, weight: float) -> "Factors | None":
        """The structure of a rule at a price: as `weighed`, and a part that fails because a table
        forbids its combination costs `weight` too."""
        if not any(t.forbids for t in self.tables):
            return self.weighed(weight)
        rigid = replace(self.expanded().listed(), tables=())
        if rigid.sums.count:
            return None
        tables = self.listed().tables
        every = [rigid.counted.part, rigid.clauses.part, *(t.part for t in tables)]
        parts, count = np.unique(np.concatenate(every), return_counts=True)
        if (count == 1).all() and not rigid.counted.count and not rigid.clauses.count:
            return replace(self, tables=tuple(_failing(t, weight) for t in tables))
        loose = rigid._loosened(parts)
        hidden = {int(p): len(rigid.sizes) + k for k, p in enumerate(parts)}
        own = [
            piece
            for t in tables
            for piece in _selected(t, ints([hidden[int(p)] for p in t.part]), 0, loose.sizes)
        ]
        return replace(loose, tables=tuple(own))._with_price(weight, parts)

    def _loosened(self, parts: Ints) -> "Factors":
        """Counts and clauses that bind only where a hidden site of their part, behind the other
        sites, is 0."""
        n = len(self.sizes)
        hidden = {int(p): n + k for k, p in enumerate(parts)}
        loose = _conditioned(
            self,
            [(hidden[int(p)], 0) for p in self.counted.part],
            [(hidden[int(p)], 0) for p in self.clauses.part],
            [],
        )
        return replace(
            loose, sizes=np.concatenate([self.sizes, np.full(len(parts), 2)]).astype(np.int64)
        )

    def _with_price(self, weight: float, parts: Ints) -> "Factors":
        """The last sites cost `weight` each where they are 1."""
        if not len(parts):
            return self
        first = len(self.sizes) - len(parts)
        price = Table(
            np.arange(first, len(self.sizes))[:, None],
            ints([0, 1])[:, None],
            floats([0.0, weight]),
            term=np.zeros(len(parts), dtype=np.int64),
            part=parts,
        )
        return replace(
            self,
            tables=(*self.tables, price),
            interchangeable=self.interchangeable and not self.tables,
        )

    def listed(self) -> "Factors":
        """Large tables that forbid all but a list of combinations, with a hidden site for each of
        their scopes: the place of its combination in the list."""
        sizes, tables = list(self.sizes), []
        lists: list[Clauses] = []
        for table in self.tables:
            shape = [int(self.sizes[s]) for s in table.scopes[0]]
            if math.isfinite(table.default) or math.prod(shape) <= DENSE or table.costs.ndim > 1:
                tables.append(table)
                continue
            open_ = np.isfinite(table.costs)
            tuples, costs = table.tuples[open_], table.costs[open_]
            count, m = len(tuples), len(table.scopes)
            first = len(sizes)
            if count == 0:  # nothing is allowed
                lists.append(Clauses(np.zeros(m + 1, np.int64), term=table.term, part=table.part))
                continue
            sizes += [count] * m
            # clauses: not the k-th combination, or its value at each site
            hidden = np.repeat(first + np.arange(m), count * table.arity)
            k = np.tile(np.repeat(np.arange(count), table.arity), m)
            site = np.repeat(table.scopes, count, axis=0).reshape(-1)
            value = np.tile(tuples.reshape(-1), m)
            rows = len(hidden)
            lists.append(
                Clauses(
                    np.arange(0, 2 * rows + 1, 2),
                    np.stack([hidden, site], 1).reshape(-1),
                    np.stack([k, value], 1).reshape(-1),
                    np.repeat(table.term, count * table.arity),
                    np.repeat(table.part, count * table.arity),
                    np.tile(np.array([False, True]), rows),
                )
            )
            if (costs != 0).any():
                own = first + np.arange(m)
                tables.append(
                    replace(
                        table, scopes=own[:, None], tuples=np.arange(count)[:, None], costs=costs
                    )
                )
        clauses = _concatenated(Clauses, [self.clauses, *lists])
        return replace(self, sizes=ints(sizes), clauses=clauses, tables=tuple(tables))

    def _slackened(self, weight: float, tables: tuple[Table, ...]) -> "Factors | None":
        """Sums whose violation is paid for by the unit: hidden sites hold the amount, one site
        where that is small, else one for each binary digit."""
        if self.counted.count or self.clauses.count:
            return None
        s = self.sums
        sizes: list[int] = []
        prices: list[Table] = []
        site, value, coefficient = [], [], []
        n = len(self.sizes)
        for k in range(s.count):
            a, b = s.start[k], s.start[k + 1]
            edges = floats([x for x in (s.low[k], s.high[k]) if math.isfinite(x)])
            unit = denominator(np.unique(np.append(s.coefficient[a:b], edges)))
            if unit is None:
                return None
            own = np.array(whole(s.coefficient[a:b], unit), dtype=object)
            least, most = reach(self.sizes, s.site[a:b], s.value[a:b], own)
            over = most - whole(s.high[k : k + 1], unit)[0] if math.isfinite(s.high[k]) else 0
            under = whole(s.low[k : k + 1], unit)[0] - least if math.isfinite(s.low[k]) else 0
            if max(over, under) >= DIGITS or unit >= DIGITS:
                return None
            sites, values, factors = [s.site[a:b]], [s.value[a:b]], [s.coefficient[a:b]]
            for amount, sign in ((over, -1.0), (under, 1.0)):
                for steps in _amounts(amount):
                    hidden = n + len(sizes)
                    sizes.append(len(steps) + 1)
                    sites.append(np.full(len(steps), hidden))
                    values.append(np.arange(1, len(steps) + 1))
                    worth = floats([step / unit for step in steps])
                    factors.append(sign * worth)
                    prices.append(
                        Table(
                            ints([hidden])[:, None],
                            np.arange(len(steps) + 1)[:, None],
                            np.append(0.0, worth),
                            term=s.term[k : k + 1],
                            part=s.part[k : k + 1],
                        ).weighed(weight)
                    )
            site.append(np.concatenate(sites))
            value.append(np.concatenate(values))
            coefficient.append(np.concatenate(factors))
        loose = Sums(
            _starts(ints([len(x) for x in site])),
            np.concatenate(site),
            np.concatenate(value),
            s.term,
            s.part,
            np.concatenate(coefficient),
            s.low,
            s.high,
        )
        every = np.concatenate([self.sizes, ints(sizes)]).astype(np.int64)
        return Factors(every, self.visible, sums=loose, tables=(*tables, *prices))


def _amounts(most: int) -> list[list[int]]:
    """The amounts that each of some hidden sites may add, so that they reach any up to `most`."""
    if most <= 0:
        return []
    if most < AMOUNTS:
        return [list(range(1, most + 1))]
    return [[1 << k] for k in range(int(most).bit_length())]


def _failing(table: Table, weight: float) -> Table:
    """The table of a rule, where each forbidden combination costs `weight`, and nothing else."""
    costs = np.where(np.isinf(table.costs), weight, 0.0)
    return replace(table, costs=costs, default=weight if math.isinf(table.default) else 0.0)


def whole_sum(sums: Sums, k: int) -> tuple[Floats, float, float] | None:
    """Coefficients and edges of one sum as whole numbers whose totals float64 holds exactly; None
    where there are none so small."""
    own = sums.coefficient[sums.start[k] : sums.start[k + 1]]
    ends = floats([sums.low[k], sums.high[k]])
    every = np.append(own, ends[np.isfinite(ends)])
    unit = denominator(np.unique(every))
    if unit is None or float(np.abs(every).sum()) >= FINE / unit:
        return None
    low, high = (float(whole(end[None], unit)[0]) if np.isfinite(end) else end for end in ends)
    return floats(whole(own, unit)), low, high


def per_site(
    sizes: Ints, site: Ints, value: Ints, coefficient: np.ndarray
) -> tuple[Ints, Ints, np.ndarray]:
    """Coefficients added up for each value of each site that occurs. -> the sites, where the
    values of each begin (one more than sites), and the sums in that order"""
    sites, place = np.unique(site, return_inverse=True)
    start = _starts(sizes[sites])
    sums = np.zeros(start[-1], dtype=coefficient.dtype)
    np.add.at(sums, start[place] + value, coefficient)
    return sites, start, sums


def reach(sizes: Ints, site: Ints, value: Ints, coefficient: np.ndarray) -> tuple[Any, Any]:
    """The least and greatest sum of coefficients, each site taking exactly one value."""
    _, start, sums = per_site(sizes, site, value, coefficient)
    if len(start) == 1:
        return 0, 0
    least, most = (ufunc.reduceat(sums, start[:-1]) for ufunc in (np.minimum, np.maximum))
    return least.sum(), most.sum()


def conditional(branches: Sequence[Factors]) -> Factors:
    """A choice between structures over the same sites: a hidden selector says which one binds."""
    first = branches[0]
    selector = first.visible
    sizes = np.append(first.sizes[: first.visible], len(branches)).astype(np.int64)
    pieces, offset = [], 0
    for b, branch in enumerate(branches):
        rigid = branch.expanded().listed()
        n = len(rigid.sizes)
        bound = _conditioned(
            rigid,
            [(n, b)] * rigid.counted.count,
            [(n, b)] * rigid.clauses.count,
            [(n, b)] * rigid.sums.count,
        )
        bound = replace(
            bound,
            sizes=np.append(rigid.sizes, len(branches)).astype(np.int64),
            tables=tuple(
                piece
                for t in rigid.tables
                for piece in _selected(t, np.full(len(t.scopes), n), b, rigid.sizes)
            ),
        )
        bound, offset = parts_after(bound, offset)
        # the selector is the last hidden site of the branch: bring it to its common place
        hidden = n - branch.visible
        order = [
            *range(branch.visible),
            *range(branch.visible + 1, branch.visible + 1 + hidden),
            branch.visible,
        ]
        bound = _renumbered(bound, ints(order))
        bound = replace(
            bound,
            sizes=np.concatenate([sizes, rigid.sizes[branch.visible :]]).astype(np.int64),
            visible=selector + 1,
        )
        pieces.append((bound, list(range(selector + 1))))
    merged = Factors.merge(sizes, pieces)
    return replace(merged, visible=selector, interchangeable=False)


def parts_after(factors: Factors, offset: int) -> tuple[Factors, int]:
    """The same structure with its part numbers moved behind `offset`, and the next free number."""
    parts = [factors.counted.part, factors.clauses.part, factors.sums.part, factors.different.part]
    parts += [table.part for table in factors.tables]
    top = max([int(part.max()) for part in parts if len(part)], default=-1)
    moved = replace(
        factors,
        counted=replace(factors.counted, part=factors.counted.part + offset),
        clauses=replace(factors.clauses, part=factors.clauses.part + offset),
        sums=replace(factors.sums, part=factors.sums.part + offset),
        different=replace(factors.different, part=factors.different.part + offset),
        tables=tuple(replace(t, part=t.part + offset) for t in factors.tables),
    )
    return moved, offset + top + 1


def _selected(table: Table, selector: Ints, branch: int, sizes: Ints) -> list[Table]:
    """The same costs where the selector of a scope is `branch`, and 0 elsewhere.

    selector (m,) a site for each scope. A default that is not 0 is written out, or, where that
    takes too much room, paid by the selector.
    """
    scopes = np.concatenate([table.scopes, selector[:, None]], axis=1).astype(np.int64)
    tuples, costs, error = table.tuples, table.costs, table.error
    shape = [int(sizes[s]) for s in table.scopes[0]]
    pieces = []
    if table.default != 0 and (math.prod(shape) <= DENSE or math.isinf(table.default)):
        dense = table.dense(shape)
        lead = table.costs.ndim - 1
        tuples = np.indices(dense.shape[lead:]).reshape(table.arity, -1).T
        costs = dense.reshape(*dense.shape[:lead], -1)
    elif table.default != 0:
        if table.computed:
            costs, more = costs - table.default, abs(table.default) * 2.0**-50
        else:
            costs, more = minus(costs, table.default)
        error += more
        paid = Table(
            selector[:, None],
            ints([branch])[:, None],
            floats([table.default]),
            0.0,
            table.term,
            table.part,
            table.error,
            table.computed,
        )
        pieces.append(paid)
    tuples = np.concatenate([tuples, np.full((len(tuples), 1), branch)], axis=1).astype(np.int64)
    chosen = replace(table, scopes=scopes, tuples=tuples, costs=costs, default=0.0, error=error)
    return [chosen, *pieces]


def _conditioned(
    factors: Factors,
    counted_if: Sequence[tuple[int, int]],
    clauses_if: Sequence[tuple[int, int]],
    sums_if: Sequence[tuple[int, int]],
) -> Factors:
    """Structure that binds only where a literal is true: one condition a list.

    A clause takes the negated literal; counts and sums become sums with a large enough
    coefficient on the literal.
    """
    clauses = factors.clauses
    if clauses.count:
        at = clauses.start[1:]
        cond_site, cond_value = ints([s for s, _ in clauses_if]), ints([v for _, v in clauses_if])
        clauses = replace(
            clauses,
            start=clauses.start + np.arange(clauses.count + 1),
            site=np.insert(clauses.site, at, cond_site),
            value=np.insert(clauses.value, at, cond_value),
            sign=np.insert(clauses.sign, at, False),
        )
    c, s = factors.counted, factors.sums
    pieces = []
    for k in range(c.count):
        a, b = c.start[k], c.start[k + 1]
        pieces.append(
            (
                c.site[a:b],
                c.value[a:b],
                np.ones(b - a),
                float(c.low[k]),
                float(c.high[k]),
                counted_if[k],
                c.term[k],
                c.part[k],
            )
        )
    for k in range(s.count):
        a, b = s.start[k], s.start[k + 1]
        pieces.append(
            (
                s.site[a:b],
                s.value[a:b],
                s.coefficient[a:b],
                s.low[k],
                s.high[k],
                sums_if[k],
                s.term[k],
                s.part[k],
            )
        )
    sums = _conditional_sums(pieces)
    return replace(factors, counted=Counted(), clauses=clauses, sums=sums)


def _conditional_sums(pieces) -> Sums:
    start, site, value, coefficient = [0], [], [], []
    low, high, term, part = [], [], [], []
    for sites, values, factors, least, most, (cond_site, cond_value), owner, place in pieces:
        bottom, top = added(factors[factors < 0]), added(factors[factors > 0])
        if math.isfinite(most) and top > decimal(most):
            room = math.ceil(top - decimal(most))  # whole, so that the edge keeps its digits
            site.append(np.append(sites, cond_site))
            value.append(np.append(values, cond_value))
            coefficient.append(np.append(factors, float(room)))
            low.append(-math.inf)
            high.append(float(decimal(most) + room))
        if math.isfinite(least) and bottom < decimal(least):
            room = math.ceil(decimal(least) - bottom)
            site.append(np.append(sites, cond_site))
            value.append(np.append(values, cond_value))
            coefficient.append(np.append(factors, -float(room)))
            low.append(float(decimal(least) - room))
            high.append(math.inf)
        while len(start) <= len(site):
            start.append(start[-1] + len(site[len(start) - 1]))
            term.append(owner)
            part.append(place)
    if not site:
        return Sums()
    return Sums(
        ints(start),
        ints(np.concatenate(site)),
        ints(np.concatenate(value)),
        ints(term),
        ints(part),
        floats(np.concatenate(coefficient)),
        floats(low),
        floats(high),
    )


def _renumbered(factors: Factors, where: Ints) -> Factors:
    """The same structure with site s called where[s]."""

    def move(lists):
        return replace(lists, site=where[lists.site]) if lists.count else lists

    return replace(
        factors,
        counted=move(factors.counted),
        clauses=move(factors.clauses),
        sums=move(factors.sums),
        different=move(factors.different),
        tables=tuple(replace(t, scopes=where[t.scopes]) for t in factors.tables),
    )


def _concatenated(kind, lists):
    """Several families of lists of one class as one."""
    lists = [x for x in lists if x.count]
    if not lists:
        return kind()
    if len(lists) == 1:
        return lists[0]
    columns = {
        name: np.concatenate([getattr(x, name) for x in lists])
        for name in kind.__dataclass_fields__
        if name != "start"
    }
    start = _starts(np.concatenate([np.diff(x.start) for x in lists]))
    return kind(start=start, **columns)
