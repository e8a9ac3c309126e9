"""A Boolean formula as an integer program: rows of whole numbers over columns of 0 and 1.

    least constant + cost @ x   where low <= A x <= high,  x in {0, 1}^n

Some columns may take more values than these (`engine.search.numbers`), from 0 up.

Everything is in whole numbers, so that what a row, a cut or a bound says holds exactly.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from engine.decimals import Floats, Ints
from engine.kernels.clauses import Formula
from engine.search.linear import Linear

OPEN = 1 << 62  # an edge of a row that is none
FAR = 1 << 400  # an upper cost in units of any size that any solution beats
COARSE = 59  # bits of a total in coarse units


@dataclass(frozen=True, eq=False)
class Rows:
    """Linear rows in compressed form: row i is `coef[ptr[i]:ptr[i + 1]]` at `col` likewise."""

    ptr: Ints  # (m + 1,)
    col: Ints  # (N,)
    coef: Ints  # (N,) none is 0
    low: Ints  # (m,) -OPEN where there is no such edge
    high: Ints  # (m,) OPEN likewise

    @property
    def count(self) -> int:
        return len(self.low)

    @cached_property
    def owner(self) -> Ints:
        """The row of each entry. -> (N,)"""
        return np.repeat(np.arange(self.count), np.diff(self.ptr))

    def values(self, x: Ints) -> Ints:
        """A x, exactly. (n,) -> (m,)"""
        out = np.zeros(self.count, dtype=np.int64)
        np.add.at(out, self.owner, self.coef * x[self.col])
        return out

    def hold(self, x: Ints) -> bool:
        """All rows hold. (n,)"""
        values = self.values(x)
        return bool(((values >= self.low) & (values <= self.high)).all())

    def some(self, which: np.ndarray) -> "Rows":
        """Some of the rows. which: (m,) bool"""
        ptr = np.concatenate([[0], np.cumsum(np.diff(self.ptr)[which])]).astype(np.int64)
        kept = which[self.owner]
        return Rows(ptr, self.col[kept], self.coef[kept], self.low[which], self.high[which])

    @staticmethod
    def joined(every: "list[Rows]") -> "Rows":
        """Several lists of rows as one, in order."""
        lengths = np.concatenate([np.diff(rows.ptr) for rows in every])
        return Rows(
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            *(
                np.concatenate([getattr(rows, name) for rows in every]).astype(np.int64)
                for name in ("col", "coef", "low", "high")
            ),
        )

    @staticmethod
    def of_literals(ptr: Ints, lit: Ints, coef: Ints, low: Ints, high: Ints) -> "Rows":
        """Rows over literals: 2 v is x_v, 2 v + 1 is 1 - x_v; a column that a row names twice
        counts once, with the sum."""
        owner = np.repeat(np.arange(len(low)), np.diff(ptr))
        off = (lit & 1).astype(bool)
        moved = np.zeros(len(low), dtype=np.int64)
        np.add.at(moved, owner, np.where(off, coef, 0))
        low = np.where(low == -OPEN, low, low - moved)
        high = np.where(high == OPEN, high, high - moved)
        col, coef = (lit >> 1).astype(np.int64), np.where(off, -coef, coef).astype(np.int64)
        order = np.lexsort((col, owner))
        owner, col, coef = owner[order], col[order], coef[order]
        if len(col):
            first = np.concatenate([[True], (np.diff(owner) != 0) | (np.diff(col) != 0)])
            at = np.flatnonzero(first)
            coef = np.add.reduceat(coef, at)
            owner, col = owner[at], col[at]
            kept = coef != 0
            owner, col, coef = owner[kept], col[kept], coef[kept]
        counts = np.bincount(owner, minlength=len(low))
        return Rows(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), col, coef, low, high)


@dataclass(frozen=True, eq=False)
class Program:
    """What a formula says, over one column for each of its variables."""

    rows: Rows
    cost: Ints  # (n,) of 64 bits, or whole numbers of Python
    constant: int
    # columns of more values than 0 and 1: these, ascending from 0
    integers: Mapping[int, Ints] = field(default_factory=dict)

    @property
    def long(self) -> bool:
        """Costs are whole numbers of any size; all columns are 0 or 1 then."""
        return self.cost.dtype == object

    @cached_property
    def coarse(self) -> "tuple[Program, int]":
        """The same rows at costs of 64 bits that are rounded down, without the constant: multiples
        of a power of 2. As no column is below 0, nothing costs less than it does there."""
        total = sum(map(abs, self.cost.tolist()))
        shift = max(0, total.bit_length() - COARSE)
        return Program(self.rows, (self.cost >> shift).astype(np.int64), 0), shift

    @property
    def columns(self) -> int:
        return len(self.cost)

    def total(self, x: Ints) -> int:
        """What a solution costs. (n,)"""
        return self.constant + int((self.cost * x).sum())

    @cached_property
    def top(self) -> Ints:
        """The largest value of each column. -> (n,)"""
        out = np.ones(self.columns, dtype=np.int64)
        for column, values in self.integers.items():
            out[column] = values[-1]
        return out

    @cached_property
    def sparse(self) -> dict[int, Ints]:
        """The integer columns that do not take all values up to the largest."""
        return {c: own for c, own in self.integers.items() if len(own) <= own[-1]}

    def takes(self, x: Ints) -> bool:
        """Whether every column takes this value, as far as ends do not tell. (n,)"""
        return all(x[c] in own for c, own in self.sparse.items())

    def snapped(self, lo: Ints, hi: Ints) -> tuple[Ints, Ints]:
        """The smallest box around the same whole points. (n,), (n,) -> (n,), (n,)"""
        for c, own in self.sparse.items():
            first, last = np.searchsorted(own, lo[c]), np.searchsorted(own, hi[c], side="right")
            if first >= last:
                first, last = len(own) - 1, 1  # empty
            lo[c], hi[c] = own[first], own[last - 1]
        return lo, hi

    @cached_property
    def dearest(self) -> float:
        """The largest magnitude that all costs may add up to."""
        return float((np.abs(self.cost.astype(np.float64)) * self.top).sum())

    @cached_property
    def sizes(self) -> Floats:
        """The largest magnitude that each row's coefficients may add up to. -> (m,)"""
        rows = self.rows
        size = np.abs(rows.coef.astype(np.float64)) * self.top[rows.col]
        return np.bincount(rows.owner, size, rows.count).astype(np.float64)

    def with_rows(self, more: Rows) -> "Program":
        return replace(self, rows=Rows.joined([self.rows, more]))

    @cached_property
    def turned(self) -> tuple[Ints, Ints, Ints, Ints]:
        """A by columns: first entry of each column that has some, these columns, rows and
        coefficients."""
        rows = self.rows
        order = np.argsort(rows.col, kind="stable")
        col = rows.col[order]
        at = np.flatnonzero(np.concatenate([[True], np.diff(col) != 0])) if len(col) else col
        return at, col[at], rows.owner[order], rows.coef[order]

    @cached_property
    def entries(self) -> tuple[Ints, Ints, Ints]:
        """A by columns: the first entry of every column and the end, rows and coefficients."""
        _, _, row, coef = self.turned
        counts = np.bincount(self.rows.col, minlength=self.columns)
        return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), row, coef

    def weighed(self, y: Ints) -> Ints:
        """A^T y of whole numbers, each within what its type holds. (m,) -> (n,)"""
        return self._turned(self.turned[3].astype(y.dtype), y)

    def moved(self, y: Floats) -> Floats:
        """|A|^T y, about. (m,) -> (n,)"""
        return self._turned(np.abs(self.turned[3].astype(np.float64)), y)

    def _turned(self, coef: np.ndarray, y: np.ndarray) -> np.ndarray:
        out = np.zeros(self.columns, dtype=y.dtype)
        at, col, owner, _ = self.turned
        if len(at):
            out[col] = np.add.reduceat(coef * y[owner], at)
        return out


def program_of(formula: Formula, linear: Linear | None = None) -> Program:
    """The integer program of a formula; linear: what it costs exactly."""
    f, unit = formula, lambda lit: np.ones(len(lit), dtype=np.int64)

    def edges(count: int, value: int) -> Ints:
        return np.full(count, value, dtype=np.int64)

    clauses, groups, sums = len(f.clause_ptr) - 1, len(f.group_ptr) - 1, len(f.sum_bound)
    alike = _alike(f)  # the group of each clause over the same literals, -1 where there is none
    once = np.ones(groups, dtype=bool)
    once[alike[alike >= 0]] = False
    clause_high = np.where(alike >= 0, 1, OPEN)
    parts = [
        Rows.of_literals(
            f.clause_ptr, f.clause_lit, unit(f.clause_lit), edges(clauses, 1), clause_high
        ),
        Rows.of_literals(
            f.group_ptr, f.group_lit, unit(f.group_lit), edges(groups, -OPEN), edges(groups, 1)
        ).some(once),
        Rows.of_literals(f.sum_ptr, f.sum_lit, f.sum_coef, edges(sums, -OPEN), f.sum_bound),
    ]
    if linear is not None:
        return Program(Rows.joined(parts), linear.cost, 0)
    off = (f.cost_lit & 1).astype(bool)
    cost = np.zeros(f.variables, dtype=np.int64)
    np.add.at(cost, f.cost_lit >> 1, np.where(off, -f.cost, f.cost))
    return Program(Rows.joined(parts), cost, int(f.cost[off].sum()))


def _alike(f: Formula) -> Ints:
    """Of each clause a group over the same literals, so that exactly one is true; -1: none."""
    out = np.full(len(f.clause_ptr) - 1, -1, dtype=np.int64)
    groups = {
        np.sort(f.group_lit[a:b]).tobytes(): g
        for g, (a, b) in enumerate(zip(f.group_ptr[:-1], f.group_ptr[1:], strict=True))
    }
    lengths = np.diff(f.clause_ptr)
    for c in np.flatnonzero((lengths > 1) & np.isin(lengths, np.diff(f.group_ptr))).tolist():
        a, b = f.clause_ptr[c : c + 2]
        out[c] = groups.get(np.sort(f.clause_lit[a:b]).tobytes(), -1)
    return out
