"""The schema of a table: what each column holds, as told by its cells or by the user.

numeric   real numbers, binned; a value that is frequent has a bin to itself
ordinal   few numbers, in order
cyclic    few values around a circle, such as hours
nominal   names without an order
ignored   not modelled: row numbers, identifiers, free text
"""

import bisect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np

from engine.errors import BadQuery, Mistake, known
from modules.discrete.tabular.cells import Missing, decorated, number, numbers
from modules.discrete.tabular.reading import MISTAKES, Grid


class Type(StrEnum):
    """What kind of values a column has."""

    NUMERIC = "numeric"
    ORDINAL = "ordinal"
    CYCLIC = "cyclic"
    NOMINAL = "nominal"
    IGNORED = "ignored"


@dataclass(frozen=True)
class Column:
    """One column: its values in the order of their codes.

    Of a numeric column `values` are the representatives of the bins (their medians), and `edges`
    the upper ends of all bins but the last.
    """

    name: str
    type: Type
    values: tuple[str, ...]
    edges: tuple[float, ...] = ()
    gaps: bool = False  # whether cells were missing in the data it was learned from
    note: str = field(default="", compare=False)  # what its cells were taken for, in words

    @cached_property
    def of_numbers(self) -> bool:
        """Whether its values are numbers, so that some words mean a missing cell."""
        return all(number(value) is not None for value in self.values)

    @cached_property
    def plain(self) -> tuple[Any, ...]:
        """The values as a query names them: numbers where all of them are numbers."""
        found = [n for n in map(number, self.values) if n is not None]
        if len(found) < len(self.values):
            return self.values
        return tuple(int(n) if n.is_integer() else n for n in found)

    @cached_property
    def _lookup(self) -> dict[str | float, int]:
        """Of each value as a text, and as a number: 1, 1.0 and "1" are the same."""
        found: dict[str | float, int] = {value: k for k, value in enumerate(self.values)}
        for k, value in enumerate(self.values):
            if (n := number(value)) is not None:
                found.setdefault(n, k)
        return found

    def code(self, value: Any) -> int:
        """The code of a cell, or of a value of a query. Raises BadQuery with a near miss."""
        text = str(value).strip()
        told = None if isinstance(value, bool) else number(text)
        if self.type is Type.NUMERIC:
            if told is None:
                remedy = f"{self.name} is a numeric column"
                remedy += ": write such as 1234.5" if decorated(text) else ""
                raise BadQuery(Mistake("", f"{value!r} is no number", remedy))
            return bisect.bisect_left(self.edges, told)
        code = self._lookup.get(text)
        if code is None and told is not None:
            code = self._lookup.get(told)
        if code is None:
            raise BadQuery(
                Mistake("", f"{value!r} is no value of {self.name}", known(value, self.values))
            )
        return code


@dataclass(frozen=True)
class Schema:
    """All columns of a table, in the order of its header.

    missing: the words that mean a missing cell, as the user gave them; None: see `Missing`.
    """

    columns: tuple[Column, ...]
    missing: tuple[str, ...] | None = None

    @cached_property
    def modelled(self) -> tuple[Column, ...]:
        """The columns that an energy speaks of."""
        return tuple(c for c in self.columns if c.type is not Type.IGNORED)

    @property
    def sizes(self) -> list[int]:
        """The number of values of each modelled column."""
        return [len(c.values) for c in self.modelled]

    def place(self, name: str) -> int:
        """The place of a modelled column. Raises BadQuery with a near miss."""
        names = [c.name for c in self.modelled]
        if name not in names:
            raise BadQuery(Mistake("", f"{name!r} is no modelled column", known(name, names)))
        return names.index(name)

    def resolved(self, grid: Grid) -> Grid:
        """The table with None in every cell of a modelled column that is missing."""
        missing = Missing(self.missing)
        numeric = {c.name: c.of_numbers for c in self.modelled}
        each = [numeric.get(name) for name in grid.header]

        def kept(cell: str | None, numbers: bool | None) -> str | None:
            if cell is None or (numbers is not None and missing.means(cell, numbers)):
                return None
            return cell

        rows = (tuple(map(kept, row, each)) for row in grid.rows)
        return replace(grid, rows=tuple(rows))

    def taken(self, grid: Grid) -> list[str]:
        """What is written in a table and counts as missing, in words; not its empty cells."""
        found: Counter[tuple[str, str]] = Counter()
        first: dict[tuple[str, str], int] = {}
        for line, row, kept in zip(grid.lines, grid.rows, self.resolved(grid).rows, strict=True):
            for name, cell, left in zip(grid.header, row, kept, strict=True):
                if cell is not None and left is None:
                    found[name, cell] += 1
                    first.setdefault((name, cell), line)
        return [
            f"line {first[name, cell]}, column {name}: {str(cell)!r} counts as missing"
            + (f", as do {times - 1} more such cells" if times > 1 else "")
            for (name, cell), times in found.items()
        ]

    def codes(self, grid: Grid) -> np.ndarray:
        """The cells of the modelled columns. -> (N, D) int64; -1 where one is missing.

        Raises BadQuery with the line and column of every cell that does not fit.
        """
        wrong = self._misfits(grid)
        cells = self.resolved(grid).rows
        out = np.full((len(grid.rows), len(self.modelled)), -1, dtype=np.int64)
        for d, column in enumerate(self.modelled):
            at = grid.header.index(column.name) if column.name in grid.header else None
            if at is None:
                continue
            present = {cell for row in cells if (cell := row[at]) is not None}
            written = numbers(present) if column.of_numbers else {}
            known_codes: dict[str, int] = {}
            for n, row in enumerate(cells):
                cell = row[at]
                if cell is None:
                    continue
                if cell not in known_codes:
                    try:
                        known_codes[cell] = column.code(written.get(cell, str(cell)))
                    except BadQuery as error:
                        if len(wrong) < MISTAKES:
                            path = f"line {grid.lines[n]}, column {column.name}"
                            wrong += _misfit(error, cell).under(path).mistakes
                        continue
                out[n, d] = known_codes[cell]
        if wrong:
            raise BadQuery(*wrong[:MISTAKES])
        return out

    def _misfits(self, grid: Grid) -> list[Mistake]:
        """Columns that the table has and the schema lacks, or the other way round."""
        ours = [c.name for c in self.columns]
        wrong = [
            Mistake("line 1", f"column {name!r} is unknown", known(name, ours))
            for name in grid.header
            if name not in ours
        ]
        wrong += [
            Mistake("line 1", f"column {c.name!r} is missing", "add it; its cells may be empty")
            for c in self.modelled
            if c.name not in grid.header
        ]
        return wrong

    def plain(self) -> list[dict[str, Any]]:
        """As JSON holds it."""
        return [
            {
                "name": c.name,
                "type": c.type.value,
                "values": list(c.values),
                "edges": list(c.edges),
                "gaps": c.gaps,
            }
            for c in self.columns
        ]

    @staticmethod
    def of(plain: Sequence[Mapping[str, Any]], missing: Sequence[str] | None = None) -> "Schema":
        """The inverse of `plain`."""
        columns = (
            Column(
                str(c["name"]),
                Type(c["type"]),
                tuple(str(v) for v in c["values"]),
                tuple(float(e) for e in c["edges"]),
                bool(c["gaps"]),
            )
            for c in plain
        )
        return Schema(tuple(columns), None if missing is None else tuple(map(str, missing)))


def _misfit(error: BadQuery, cell: str) -> BadQuery:
    """The mistakes of a cell; one that may stand for a missing cell has a remedy more."""
    if not Missing().means(str(cell), True):
        return error
    remedy = "if the cell is missing, leave it empty; "
    return BadQuery(*(Mistake(m.path, m.problem, remedy + m.remedy) for m in error.mistakes))
