"""Explicit structure of energies over finite sites: what the factored minimizers work on.

Sites are numbered flat, in the order of a term's scope; hidden sites that a term adds come after
them and never show in an answer. A literal is (site, value), the value given by its place. Every
factor remembers which part of its term it stands for, so that conflicts can be named.
"""

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from engine.decimals import DIGITS, LONG, Scale, denominator, scale_of, whole
from engine.decimals import Floats as Floats
from engine.decimals import Ints as Ints
from engine.domain import Domain, Finite
from engine.factors.amounts import amounts_up_to, failing_table, reach
from engine.factors.batched import batched
from engine.factors.conditions import put_under_condition
from engine.factors.distinct import distinct
from engine.factors.families import (
    Clauses,
    Counted,
    Different,
    Sums,
    Table,
    floats,
    ints,
    starts,
)
from engine.factors.family import Derived, Family

FEW = 1 << 15  # costs that are counted in units of any size


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
    others: tuple[Derived, ...] = ()  # families beyond these, one object each
    functional: bool = False  # the visible sites determine the hidden ones wherever nothing is
    # forbidden, so that sums over states may run over these, too

    def families(self) -> Iterator[Family]:
        """All of it, family by family."""
        yield from (self.counted, self.clauses, self.sums, self.different)
        yield from self.tables
        yield from self.others

    def mapped(self, change: "Callable[[Any], Any]") -> "Factors":
        """The same structure with each family changed."""
        return replace(
            self,
            counted=change(self.counted),
            clauses=change(self.clauses),
            sums=change(self.sums),
            different=change(self.different),
            tables=tuple(map(change, self.tables)),
            others=tuple(map(change, self.others)),
        )

    @property
    def rules(self) -> bool:
        """Some of it is no table."""
        lists = (self.counted, self.clauses, self.sums, self.different, *self.others)
        return any(family.count for family in lists)

    @staticmethod
    def sizes_of(domains: Sequence[Domain]) -> Ints:
        """Sizes of the sites of the finite ones among several domains, in order."""
        sizes = []
        for domain in domains:
            if isinstance(domain, Finite):
                sizes += [len(domain.values)] * domain.sites
        return ints(sizes)

    @staticmethod
    def unary(costs: Floats) -> "Factors":
        """A cost for each value of each site, a part each.

        costs: (R, n, k), or (n, k) where all rows pay the same. They are read as the floats they
        are, not as decimals.
        """
        costs = np.asarray(costs, dtype=np.float64)
        n, k = costs.shape[-2:]
        sites = np.arange(n)
        table = Table(sites[:, None], np.arange(k)[:, None], costs, 0.0, 0 * sites, sites)
        return Factors(
            np.full(n, k, dtype=np.int64), n, tables=(replace(table, computed=True, apart=True),)
        )

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

    @property
    def resolves(self) -> bool:
        """Costs that no unit makes whole can still be summed one by one, exactly."""
        return bool(self.scale.error)

    @cached_property
    def scale(self) -> Scale:
        """The unit in which the costs of the tables are counted."""
        return scale_of(t.paid for t in self.tables)

    @cached_property
    def long(self) -> Scale | None:
        """The unit, of any size, in which costs are whole that `scale` rounds; None where it rounds
        none, or they are many or have no such unit."""
        if not self.resolves or sum(t.count * len(t.tuples) for t in self.tables) > FEW:
            return None
        scale = scale_of((t.paid for t in self.tables), LONG)
        return None if scale.error else scale

    @property
    def by_row(self) -> bool:
        """True when some costs differ from row to row."""
        return any(table.by_row for table in self.tables)

    def plain(self) -> "Factors":
        """The same structure with tables whose scopes share their costs."""
        if not any(table.apart for table in self.tables):
            return self
        return replace(self, tables=tuple(one for table in self.tables for one in table.each()))

    def split(self, rows: int) -> "tuple[Factors, Floats]":
        """What all rows share, and what each pays beside it: the costs of the tables that vary,
        one after the other. -> the structure, (rows, F)"""
        pieces, tables = [np.zeros((rows, 0))], []
        for table in self.tables:
            if table.by_row:
                flat = table.costs.reshape(len(table.costs), -1)
                pieces.append(np.broadcast_to(flat, (rows, flat.shape[1])))
                table = replace(table, costs=np.zeros(table.costs.shape[1:]), varies=True)
            tables.append(table)
        return replace(self, tables=tuple(tables)), np.concatenate(pieces, 1)

    @cached_property
    def varying(self) -> list[tuple[int, slice]]:
        """The tables that vary, and where the costs of each stand among those of a row."""
        out, end = [], 0
        for k, table in enumerate(self.tables):
            if table.varies:
                out.append((k, slice(end, end + table.costs.size)))
                end = out[-1][1].stop
        return out

    def filled(self, costs: Floats) -> "Factors":
        """The structure of one row, its own costs in their place. costs: (F,)"""
        if not self.varying:
            return self
        tables = list(self.tables)
        for k, own in self.varying:
            shape = tables[k].costs.shape
            tables[k] = replace(tables[k], costs=costs[own].reshape(shape), varies=False)
        return replace(self, tables=tuple(tables))

    def of_row(self, row: int) -> "Factors":
        """The structure of one row, of one whose tables have costs by row."""
        tables = (
            replace(t, costs=t.costs[row if len(t.costs) > 1 else 0]) if t.costs.ndim > 1 else t
            for t in self.tables
        )
        return replace(self, tables=tuple(tables)) if self.by_row else self

    def gathered(self, costs: Floats) -> "Factors":
        """The structure with what every row pays in place. costs: (R, F)"""
        tables = list(self.tables)
        for k, own in self.varying:
            shape = (len(costs), *tables[k].costs.shape)
            tables[k] = replace(tables[k], costs=costs[:, own].reshape(shape), varies=False)
        return replace(self, tables=tuple(tables)) if self.varying else self

    def like(self, other: "Factors") -> bool:
        """Whether two structures are the same in all but the costs of tables that vary."""
        return self.visible == other.visible and _same(self, other)

    def owned_by(self, term: int) -> "Factors":
        """The same structure, marked as that of the term at this place."""

        return self.mapped(
            lambda family: family.marked(np.full(family.count, term, np.int64), family.part)
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
            moved.append(renumber(piece, where))
        return Factors(
            np.concatenate(every).astype(np.int64),
            len(sizes),
            Counted.joined([m.counted for m in moved]),
            Clauses.joined([m.clauses for m in moved]),
            Sums.joined([m.sums for m in moved]),
            Different.joined([m.different for m in moved]),
            batched([table for m in moved for table in m.tables], np.concatenate(every)),
            all(piece.interchangeable for piece, _ in pieces) and bool(pieces),
            _joined([family for m in moved for family in m.others]),
            all(piece.functional for piece, _ in pieces if len(piece.sizes) > piece.visible),
        )

    def lowered(self) -> "Factors":
        """The same without `others`, which say themselves in the families that all searches know;
        sites that they hide come behind all others."""
        if not self.others:
            return self
        every = range(len(self.sizes))
        pieces = [replace(self, others=(), visible=len(self.sizes), interchangeable=False)]
        pieces += [family.lowered(self.sizes).lowered() for family in self.others]
        merged = Factors.merge(self.sizes, [(piece, every) for piece in pieces])
        return replace(
            merged,
            visible=self.visible,
            interchangeable=self.interchangeable,
            functional=merged.functional and (self.functional or len(self.sizes) == self.visible),
        )

    def expanded(self) -> "Factors":
        """The same in counts, clauses, sums and tables alone."""
        own = self.lowered()
        if not own.different.count:
            return own
        counted = Counted.joined([own.counted, own.different.groups(own.sizes)])
        return replace(own, counted=counted, different=Different())

    def distinct(self) -> "Factors":
        """The same with tables whose scopes name each site once."""
        tables = tuple(one for table in self.tables for one in distinct(table))
        same = len(tables) == len(self.tables) and all(map(operator.is_, tables, self.tables))
        return self if same else replace(self, tables=tables)

    def weighed(self, weight: float) -> "Factors | None":
        """The same structure at a price: each failing part costs `weight`, each unit by which a
        sum is missed costs `weight`, and the costs of tables are scaled: a cost that forbids a
        combination forbids it still.

        A hidden site tells which part fails. None where a sum has no explicit form.
        """
        tables = tuple(t.weighed(weight) for t in self.tables)
        if not self.rules:
            return replace(self, tables=tables)
        rigid = replace(self, tables=()).expanded()
        if rigid.tables:  # of families that say their rules so
            loose = rigid.priced(weight)
            return loose if loose is None else replace(loose, tables=(*tables, *loose.tables))
        if rigid.sums.count:
            return rigid._slackened(weight, tables)
        parts = np.unique(np.concatenate([rigid.counted.part, rigid.clauses.part]))
        return replace(rigid._loosened(parts), tables=tables)._with_price(weight, parts)

    def priced(self, weight: float) -> "Factors | None":
        """The structure of a rule at a price: as `weighed`, and a part that fails because a table
        forbids its combination costs `weight` too."""
        whole = self.lowered()
        if not any(t.forbids for t in whole.tables):
            return whole.weighed(weight)
        rigid = replace(whole.expanded(), tables=())
        if rigid.sums.count:
            return None
        tables = whole.tables
        every = [rigid.counted.part, rigid.clauses.part, *(t.part for t in tables)]
        parts, count = np.unique(np.concatenate(every), return_counts=True)
        alone = (count == 1).all() and not rigid.counted.count and not rigid.clauses.count
        if alone and not any(t.lists(self.sizes) for t in tables):
            failing = tuple(failing_table(t, weight) for t in tables)
            return replace(whole, tables=failing, functional=False)
        loose, first = rigid._loosened(parts), len(rigid.sizes)
        own = [t.under(first + np.searchsorted(parts, t.part), 0) for t in tables]
        return replace(loose, tables=tuple(own))._with_price(weight, parts)

    def priced_apart(self, weights: Sequence[float]) -> "Factors":
        """Clauses alone, of several terms, each at the price of its term where it fails: as
        `priced` says it of each term."""
        own, n = self.clauses, len(self.sizes)
        m = own.count
        loose = put_under_condition(self, [], [(n + k, 0) for k in range(m)], [])
        costs = np.stack([np.zeros(m), floats(weights)[own.term]], 1)
        sites = np.arange(n, n + m)[:, None]
        price = Table(sites, ints([0, 1])[:, None], costs, 0.0, own.term, own.part, apart=True)
        sizes = np.concatenate([self.sizes, np.full(m, 2)]).astype(np.int64)
        return replace(loose, sizes=sizes, tables=(price,) if m else (), functional=False)

    def _loosened(self, parts: Ints) -> "Factors":
        """Counts and clauses that bind only where a hidden site of their part, behind the other
        sites, is 0."""
        n = len(self.sizes)
        hidden = {int(p): n + k for k, p in enumerate(parts)}
        loose = put_under_condition(
            self,
            [(hidden[int(p)], 0) for p in self.counted.part],
            [(hidden[int(p)], 0) for p in self.clauses.part],
            [],
        )
        return replace(
            loose,
            sizes=np.concatenate([self.sizes, np.full(len(parts), 2)]).astype(np.int64),
            functional=False,
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
                for steps in amounts_up_to(amount):
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
            starts(ints([len(x) for x in site])),
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


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal, arrays entry by entry, classes of columns field by field."""
    if one is other:
        return True
    if isinstance(one, np.ndarray) or isinstance(other, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if is_dataclass(one):
        return type(one) is type(other) and all(
            _same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one)
        )
    return bool(one == other)


def _joined(families: Sequence[Derived]) -> tuple[Derived, ...]:
    """Families beyond the searches' own, those of one class as one object."""
    kinds = dict.fromkeys(type(family) for family in families if family.count)
    return tuple(kind.joined([f for f in families if type(f) is kind]) for kind in kinds)


def renumber(factors: Factors, where: Ints) -> Factors:
    """The same structure with site s called where[s]."""
    return factors.mapped(lambda family: family.renumbered(where))
