"""The families of explicit structure as flat arrays: counts, clauses, sums, lists, tables."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np
import numpy.typing as npt

from engine.decimals import Floats as Floats
from engine.decimals import Ints as Ints
from engine.decimals import Paid, Products, decimal, times
from engine.factors.family import Derived, Family

if TYPE_CHECKING:
    from engine.factors.factors import Factors


BY_ENTRY = frozenset({"site", "value", "sign", "coefficient"})  # columns of lists, one an entry
MANY = 65_536  # combinations of a table from which on what it forbids is never written out
NEAR = 1e-9  # relative to a sum, by which it may miss its edges


def ints(values: Iterable[int] | Ints = ()) -> Ints:
    return np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=np.int64)


def floats(values: Iterable[float] | Floats = ()) -> Floats:
    return np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=np.float64)


def starts(lengths: Ints) -> Ints:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def forbidden(bad: npt.NDArray[np.bool_]) -> Floats:
    """Infinite where something fails, else 0."""
    return np.where(bad, math.inf, 0.0)


class Lists(Family):
    """Abstract: factors as lists in compressed rows: list i is [start[i], start[i+1])."""

    start: Ints  # (m + 1,)
    site: Ints  # (L,)

    @property
    def count(self) -> int:
        return len(self.start) - 1

    def lengths(self) -> Ints:
        return np.diff(self.start)

    def owner(self) -> Ints:
        """The list each entry belongs to. -> (L,)"""
        return np.repeat(np.arange(self.count), self.lengths())

    def lines(self) -> list[Ints]:
        """The sites of each list."""
        return [self.site[a:b] for a, b in zip(self.start[:-1], self.start[1:], strict=True)]

    def scopes_of(self) -> list[Ints]:
        return self.lines()

    def picked(self, which: slice) -> Self:
        mine = np.arange(self.count)[which]
        flat = np.concatenate(
            [ints(), *(np.arange(self.start[k], self.start[k + 1]) for k in mine)]
        )
        columns = {
            f.name: getattr(self, f.name)[flat if f.name in BY_ENTRY else mine]
            for f in fields(self)  # type: ignore[arg-type]
            if f.name != "start"
        }
        return replace(self, start=starts(self.lengths()[mine]), **columns)  # type: ignore[type-var]

    def renumbered(self, where: Ints) -> Self:
        return replace(self, site=where[self.site]) if self.count else self  # type: ignore[type-var]

    def marked(self, term: Ints, part: Ints) -> Self:
        return replace(self, term=term, part=part) if self.count else self  # type: ignore[type-var]

    @classmethod
    def joined(cls, families: Sequence[Self]) -> Self:
        lists = [x for x in families if x.count]
        if len(lists) < 2:
            return lists[0] if lists else cls()
        columns = {
            f.name: np.concatenate([getattr(x, f.name) for x in lists])
            for f in fields(cls)  # type: ignore[arg-type]
            if f.name != "start"
        }
        return cls(start=starts(np.concatenate([x.lengths() for x in lists])), **columns)  # type: ignore[call-arg]


@dataclass(frozen=True, eq=False)
class Literals(Lists):
    """Abstract: lists of literals."""

    start: Ints = field(default_factory=lambda: ints([0]))  # (m + 1,)
    site: Ints = field(default_factory=ints)  # (L,)
    value: Ints = field(default_factory=ints)  # (L,)
    term: Ints = field(default_factory=ints)  # (m,) place of the term in the energy
    part: Ints = field(default_factory=ints)  # (m,) place of the part in the term

    def true_at(self, places: Ints) -> npt.NDArray[np.bool_]:
        """Which literals are true. (n,) -> (L,)"""
        return places[self.site] == self.value

    def sums_at(self, each: np.ndarray) -> Floats:
        """The sum over each list of what its literals count. (L,) -> (m,)"""
        return floats(np.bincount(self.owner(), each.astype(np.float64), self.count))


@dataclass(frozen=True, eq=False)
class Counted(Literals):
    """low <= number of true literals <= high."""

    low: Ints = field(default_factory=ints)  # (m,)
    high: Ints = field(default_factory=ints)  # (m,)

    def costs_at(self, places: Ints, row: int = 0) -> Floats:
        del row
        count = self.sums_at(self.true_at(places))
        return forbidden((count < self.low) | (count > self.high))


@dataclass(frozen=True, eq=False)
class Clauses(Literals):
    """At least one literal is as its sign says."""

    sign: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))  # (L,)

    def costs_at(self, places: Ints, row: int = 0) -> Floats:
        del row
        return forbidden(self.sums_at(self.true_at(places) == self.sign) == 0)


@dataclass(frozen=True, eq=False)
class Sums(Literals):
    """low <= sum of coefficient * [literal] <= high."""

    coefficient: Floats = field(default_factory=floats)  # (L,)
    low: Floats = field(default_factory=floats)  # (m,)
    high: Floats = field(default_factory=floats)  # (m,)

    def costs_at(self, places: Ints, row: int = 0) -> Floats:
        del row
        true, ends = np.where(self.true_at(places), self.coefficient, 0.0), self.start.tolist()
        pairs = zip(ends[:-1], ends[1:], strict=True)
        total = floats([math.fsum(true[a:b]) for a, b in pairs])
        slack = NEAR * (1 + abs(total))
        return forbidden((total < self.low - slack) | (total > self.high + slack))


@dataclass(frozen=True, eq=False)
class Different(Lists, Derived):
    """Lists of sites that take pairwise different values (places compared)."""

    start: Ints = field(default_factory=lambda: ints([0]))
    site: Ints = field(default_factory=ints)
    term: Ints = field(default_factory=ints)
    part: Ints = field(default_factory=ints)

    def costs_at(self, places: Ints, row: int = 0) -> Floats:
        del row
        at = [places[line].tolist() for line in self.lines()]
        return forbidden(np.array([len(set(line)) < len(line) for line in at], dtype=bool))

    def lowered(self, sizes: Ints) -> "Factors":
        from engine.factors.factors import Factors  # made of families

        return Factors(sizes, len(sizes), counted=self.groups(sizes))

    def groups(self, sizes: Ints) -> Counted:
        """Each value at most once a line, exactly once where the line is as long as there are
        values."""
        lengths, owner = self.lengths(), self.owner()
        widths = sizes[self.site]  # values of the site of each entry
        most = np.zeros(self.count, dtype=np.int64)
        np.maximum.at(most, owner, widths)
        least = np.full(self.count, np.iinfo(np.int64).max)
        np.minimum.at(least, owner, widths)
        tight = (lengths == most) & (least == most)
        # one group for each line and value: entries ordered by line, value, place in the line
        entry = np.repeat(np.arange(len(self.site)), widths)
        value = np.arange(len(entry)) - np.repeat(np.cumsum(widths) - widths, widths)
        order = np.lexsort((entry, value, owner[entry]))
        entry, value = entry[order], value[order]
        line = np.repeat(np.arange(self.count), most)
        first = np.cumsum(most) - most
        group = first[owner[entry]] + value
        return Counted(
            starts(np.bincount(group, minlength=len(line))),
            self.site[entry],
            value,
            self.term[line],
            self.part[line],
            tight[line].astype(np.int64),
            np.ones(len(line), dtype=np.int64),
        )


@dataclass(frozen=True, eq=False)
class Table(Family):
    """A cost for each combination of values, shared by several scopes; infinite = forbidden.

    Combinations not listed cost `default`. Where the table `varies`, what the listed ones cost is
    told for each row beside the structure (`Problem.costs`), and `costs` are none of them: 0.
    Where it is `apart` each scope, all of one shape, has costs of its own: (m, T), or (R, m, T).
    Where it has conditions, a scope costs nothing unless all of its own literals are true.
    """

    scopes: Ints  # (m, arity) sites
    tuples: Ints  # (T, arity) places of values
    costs: Floats  # (T,), or (R, T) where the costs differ by row
    default: float = 0.0
    term: Ints = field(default_factory=ints)  # (m,)
    part: Ints = field(default_factory=ints)  # (m,)
    computed: bool = False  # the costs are no decimals but floats, exactly
    varies: bool = False
    apart: bool = False
    when: Ints | None = None  # (m, c, 2) literals (site, value); None: it always binds
    products: Products | None = None  # what the costs stand for, where they are no decimals of
    # floats but products of several

    @property
    def count(self) -> int:
        return len(self.scopes)

    @property
    def arity(self) -> int:
        return self.scopes.shape[1]

    @property
    def by_row(self) -> bool:
        """True where costs differ from row to row."""
        return self.costs.ndim > 1 + self.apart

    def each(self) -> "Iterator[Table]":
        """Tables whose scopes share their costs: itself, or one a scope where it is `apart`."""
        if not self.apart:
            yield self
            return
        for j in range(self.count):
            one = self.picked(slice(j, j + 1))
            yield replace(one, costs=one.costs[..., 0, :], apart=False)

    def picked(self, which: "slice | Ints | npt.NDArray[np.bool_]") -> "Table":
        """The same table over some of its scopes."""
        return replace(
            self,
            scopes=self.scopes[which],
            costs=self.costs[..., which, :] if self.apart else self.costs,
            term=self.term[which],
            part=self.part[which],
            when=None if self.when is None else self.when[which],
        )

    def lists(self, sizes: Ints) -> bool:
        """It forbids all but a list of very many combinations."""
        if math.isfinite(self.default) or not self.count:
            return False
        return math.prod(sizes[self.scopes[0]].tolist()) > MANY

    def under(self, sites: Ints, value: int) -> "Table":
        """The same where also, of each scope, a site has this value. sites (m,)"""
        own = np.stack([sites, np.full(len(sites), value)], 1)[:, None].astype(np.int64)
        when = own if self.when is None else np.concatenate([self.when, own], 1)
        return replace(self, when=when)

    @property
    def bound(self) -> "Table":
        """What it says where its conditions hold."""
        return self if self.when is None else replace(self, when=None)

    def binding_at(self, places: Ints) -> npt.NDArray[np.bool_]:
        """The scopes whose conditions hold. (n,) -> (m,)"""
        if self.when is None:
            return np.ones(self.count, dtype=bool)
        return (places[self.when[:, :, 0]] == self.when[:, :, 1]).all(1)

    def scopes_of(self) -> list[Ints]:
        if self.when is None:
            return list(self.scopes)
        return list(np.concatenate([self.scopes, self.when[:, :, 0]], 1))

    def costs_at(self, places: Ints, row: int = 0) -> Floats:
        costs = self.costs[row if len(self.costs) > 1 else 0] if self.by_row else self.costs
        place = self._place
        binding, out = self.binding_at(places).tolist(), []
        for j, at in enumerate(places[self.scopes].tolist()):
            k = place.get(tuple(at))
            cost = self.default if k is None else costs[j, k] if self.apart else costs[k]
            out.append(float(cost) if binding[j] else 0.0)
        return floats(out)

    @cached_property
    def _place(self) -> dict[tuple[int, ...], int]:
        """Where each combination is listed."""
        return {tuple(t): k for k, t in enumerate(self.tuples.tolist())}

    def renumbered(self, where: Ints) -> "Table":
        when = self.when
        if when is not None:
            when = np.stack([where[when[:, :, 0]], when[:, :, 1]], 2)
        return replace(self, scopes=where[self.scopes], when=when)

    def marked(self, term: Ints, part: Ints) -> "Table":
        return replace(self, term=term, part=part)

    @classmethod
    def joined(cls, families: Sequence["Table"], products: Products | None = None) -> "Table":
        """Tables of one shape, the same for all rows and with as many conditions, that list the
        same combinations, as one whose scopes pay apart. products: of all of them"""
        first = families[0]
        costs = [t.costs if t.apart else np.tile(t.costs, (t.count, 1)) for t in families]
        when = None
        if first.when is not None:
            when = np.concatenate([t.when for t in families if t.when is not None])
        return replace(
            first,
            scopes=np.concatenate([t.scopes for t in families]),
            costs=np.concatenate(costs),
            term=np.concatenate([t.term for t in families]),
            part=np.concatenate([t.part for t in families]),
            apart=True,
            when=when,
            products=products,
        )

    def dense(self, sizes: Sequence[int]) -> Floats:
        """The costs as one array. -> ([R,] [m,] k_1, ..., k_arity)"""
        assert self.when is None, "a table under conditions says this of where they hold: `bound`"
        lead = self.costs.shape[:-1]
        full = np.full((*lead, *sizes), self.default)
        full[(..., *self.tuples.T)] = self.costs
        return full

    @cached_property
    def soft(self) -> bool:
        """True when some combination may have a finite cost other than 0."""
        return self.varies or bool((self.finite_costs != 0).any())

    @cached_property
    def forbids(self) -> bool:
        """True when some combination has an infinite cost."""
        return bool(np.isinf(self.costs).any()) or math.isinf(self.default)

    @property
    def read(self) -> Callable[[float], Fraction]:
        """What number a cost stands for: its shortest decimal, or itself where it was computed, or
        a product of decimals."""
        if self.products is not None:
            return self.products.read
        return Fraction if self.computed else decimal

    @property
    def finite_costs(self) -> Floats:
        """Every finite cost, the default's included."""
        every = np.append(self.costs.reshape(-1), self.default)
        return every[np.isfinite(every)]

    @property
    def most(self) -> Floats:
        """The largest magnitude of what each scope may pay, in any row. -> (m,)"""
        if not self.apart:
            return np.full(self.count, np.abs(self.finite_costs).max(initial=0.0))
        finite = np.abs(np.where(np.isfinite(self.costs), self.costs, 0.0))
        own = np.moveaxis(finite, -2, 0).reshape(self.count, -1).max(1, initial=0.0)
        return np.maximum(own, abs(self.default) if math.isfinite(self.default) else 0.0)

    @property
    def paid(self) -> Paid:
        """What the scopes may pay, as an entry of `scale_of`."""
        costs = self.finite_costs
        if self.apart:
            own = np.moveaxis(self.costs, -2, 0).reshape(len(self.scopes), -1)
            costs = np.append(own, np.full((len(own), 1), self.default), 1)
        return Paid(len(self.scopes), costs, self.computed, self.products)

    def weighed(self, weight: float) -> "Table":
        """The costs times a weight; what is forbidden stays so."""
        if self.computed:
            return replace(self, costs=weight * self.costs, default=weight * self.default)
        every = np.append(self.costs.reshape(-1), self.default)
        costs, products = times(weight, every, self.products)
        return replace(
            self,
            costs=costs[:-1].reshape(self.costs.shape),
            default=float(costs[-1]),
            products=None if self.by_row else products,  # of a structure, not of what rows pay
        )
