"""The families of explicit structure as flat arrays: counts, clauses, sums, lists, tables."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property

import numpy as np
import numpy.typing as npt

from engine.decimals import Floats as Floats
from engine.decimals import Ints as Ints
from engine.decimals import decimal, times

DENSE = 65_536  # combinations up to which a table under a condition is written out


def ints(values: Iterable[int] | Ints = ()) -> Ints:
    return np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=np.int64)


def floats(values: Iterable[float] | Floats = ()) -> Floats:
    return np.asarray(values if isinstance(values, np.ndarray) else list(values), dtype=np.float64)


def starts(lengths: Ints) -> Ints:
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

    Combinations not listed cost `default`. Where the table `varies`, what the listed ones cost is
    told for each row beside the structure (`Problem.costs`), and `costs` are none of them: 0.
    Where it is `apart` each scope, all of one shape, has costs of its own: (m, T), or (R, m, T).
    """

    scopes: Ints  # (m, arity) sites
    tuples: Ints  # (T, arity) places of values
    costs: Floats  # (T,), or (R, T) where the costs differ by row
    default: float = 0.0
    term: Ints = field(default_factory=ints)  # (m,)
    part: Ints = field(default_factory=ints)  # (m,)
    error: float = 0.0  # by how much each cost may lie from the decimal that it stands for
    computed: bool = False  # the costs are no decimals but floats, exactly
    varies: bool = False
    apart: bool = False

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
        for j in range(len(self.scopes)):
            own = slice(j, j + 1)
            yield replace(
                self,
                scopes=self.scopes[own],
                costs=self.costs[..., j, :],
                term=self.term[own],
                part=self.part[own],
                apart=False,
            )

    def dense(self, sizes: Sequence[int]) -> Floats:
        """The costs as one array. -> ([R,] [m,] k_1, ..., k_arity)"""
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
        """What number a cost stands for: its shortest decimal, or itself where it was computed."""
        return Fraction if self.computed else decimal

    @property
    def finite_costs(self) -> Floats:
        """Every finite cost, the default's included."""
        every = np.append(self.costs.reshape(-1), self.default)
        return every[np.isfinite(every)]

    @property
    def paid(self) -> tuple[int, Floats, float, bool]:
        """What the scopes may pay, as an entry of `scale_of`."""
        costs = self.finite_costs
        if self.apart:
            own = np.moveaxis(self.costs, -2, 0).reshape(len(self.scopes), -1)
            costs = np.append(own, np.full((len(own), 1), self.default), 1)
        return len(self.scopes), costs, self.error, self.computed

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


def concatenated(kind, lists):
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
    start = starts(np.concatenate([np.diff(x.start) for x in lists]))
    return kind(start=start, **columns)
