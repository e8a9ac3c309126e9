"""The schema of a table: what each column holds, told by its cells or by the user.

numeric   real numbers, binned; a value that is frequent has a bin to itself
ordinal   few numbers, in order
cyclic    few values around a circle, such as hours
nominal   names without an order
ignored   not modelled: row numbers, identifiers, free text
"""

import bisect
import csv
import io
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np

from engine.errors import BadQuery, Mistake, known

MISSING = frozenset({"", "?", "NA", "N/A", "NaN", "nan", "null"})
FEW = 12  # different numbers up to which a column is ordinal
NAMES = 256  # different names up to which a column is nominal
IDENTIFIERS = 1_000  # rows from which a column of all different whole numbers is an identifier
MISTAKES = 100
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class Type(StrEnum):
    """What kind of values a column has."""

    NUMERIC = "numeric"
    ORDINAL = "ordinal"
    CYCLIC = "cyclic"
    NOMINAL = "nominal"
    IGNORED = "ignored"


@dataclass(frozen=True)
class Grid:
    """A table as it was read: cells are stripped texts, None where one is missing."""

    header: tuple[str, ...]
    rows: tuple[tuple[str | None, ...], ...]
    lines: tuple[int, ...]  # of the file, one a row


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

    @cached_property
    def plain(self) -> tuple[Any, ...]:
        """The values as a query names them: numbers where all of them are numbers."""
        numbers = [n for n in map(_number, self.values) if n is not None]
        if len(numbers) < len(self.values):
            return self.values
        return tuple(int(n) if n.is_integer() else n for n in numbers)

    @cached_property
    def _lookup(self) -> dict[Any, int]:
        return {self._key(value): k for k, value in enumerate(self.values)}

    def _key(self, value: Any) -> Any:
        """Whole numbers are the same whatever their writing: 1, 1.0 and "1"."""
        text = str(value).strip()
        number = _number(text)
        return text if number is None or isinstance(value, bool) else number

    def code(self, value: Any) -> int:
        """The code of a cell, or of a value of a query. Raises BadQuery with a near miss."""
        if self.type is Type.NUMERIC:
            number = None if isinstance(value, bool) else _number(str(value).strip())
            if number is None:
                raise BadQuery(
                    Mistake("", f"{value!r} is no number", f"{self.name} is a numeric column")
                )
            return bisect.bisect_left(self.edges, number)
        code = self._lookup.get(self._key(value))
        if code is None:
            raise BadQuery(
                Mistake("", f"{value!r} is no value of {self.name}", known(value, self.values))
            )
        return code


@dataclass(frozen=True)
class Schema:
    """All columns of a table, in the order of its header."""

    columns: tuple[Column, ...]

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

    def codes(self, grid: Grid) -> np.ndarray:
        """The cells of the modelled columns. -> (N, D) int64; -1 where one is missing.

        Raises BadQuery with the line and column of every cell that does not fit.
        """
        wrong = self._misfits(grid)
        out = np.full((len(grid.rows), len(self.modelled)), -1, dtype=np.int64)
        for d, column in enumerate(self.modelled):
            at = grid.header.index(column.name) if column.name in grid.header else None
            if at is None:
                continue
            known_codes: dict[str, int] = {}
            for n, row in enumerate(grid.rows):
                cell = row[at]
                if cell is None:
                    continue
                if cell not in known_codes:
                    try:
                        known_codes[cell] = column.code(cell)
                    except BadQuery as error:
                        if len(wrong) < MISTAKES:
                            path = f"line {grid.lines[n]}, column {column.name}"
                            wrong += error.under(path).mistakes
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
    def of(plain: Sequence[Mapping[str, Any]]) -> "Schema":
        """The inverse of `plain`."""
        return Schema(
            tuple(
                Column(
                    str(c["name"]),
                    Type(c["type"]),
                    tuple(str(v) for v in c["values"]),
                    tuple(float(e) for e in c["edges"]),
                    bool(c["gaps"]),
                )
                for c in plain
            )
        )


@dataclass(frozen=True)
class Wanted:
    """What the user says of a schema; everything else is told by the cells.

    types: of single columns, by name. bins: of a numeric column.
    """

    types: Mapping[str, str] = field(default_factory=dict)
    bins: int = 32


def read_grid(text: str) -> Grid:
    """A CSV text with a header. Raises BadQuery with every line that does not fit."""
    reader = csv.reader(io.StringIO(text), skipinitialspace=True)
    header: tuple[str, ...] = ()
    rows: list[tuple[str | None, ...]] = []
    lines: list[int] = []
    wrong: list[Mistake] = []
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if not any(stripped) and (not header or len(cells) <= 1 < len(header)):
                continue
            if not header:
                header = tuple(stripped)
            elif len(cells) != len(header):
                problem = f"{len(cells)} cells, but the header names {len(header)} columns"
                wrong.append(Mistake(f"line {reader.line_num}", problem, "give one cell a column"))
            else:
                rows.append(tuple(None if cell in MISSING else cell for cell in stripped))
                lines.append(reader.line_num)
    except csv.Error as error:
        raise BadQuery(
            Mistake(f"line {reader.line_num}", f"is no CSV: {error}", "quote such cells")
        ) from None
    if not header:
        wrong.append(Mistake("line 1", "the file is empty", "begin with a header of column names"))
    for name, times in Counter(header).items():
        if times > 1 or not name:
            said = f"column {name!r} stands {times} times" if name else "a column has no name"
            wrong.append(Mistake("line 1", said, "give every column a name of its own"))
    if header and not rows and not wrong:
        wrong.append(Mistake("line 2", "there are no rows", "give at least one below the header"))
    if wrong:
        raise BadQuery(*wrong[:MISTAKES])
    return Grid(header, tuple(rows), tuple(lines))


def infer(grid: Grid, wanted: Wanted | None = None) -> Schema:
    """The schema of a table. Raises BadQuery where a column cannot be what the user says."""
    wanted = wanted or Wanted()
    wrong: list[Mistake] = []
    for name, said in wanted.types.items():
        if name not in grid.header:
            remedy = known(name, grid.header)
            wrong.append(Mistake(f"types.{name}", f"there is no column {name!r}", remedy))
        elif said not in list(Type):
            wrong.append(Mistake(f"types.{name}", f"{said!r} is no type", known(said, list(Type))))
    if not 2 <= wanted.bins <= 256:
        wrong.append(Mistake("bins", f"{wanted.bins!r}", "give 2 to 256"))
    if wrong:
        raise BadQuery(*wrong)
    columns = []
    for at, name in enumerate(grid.header):
        of = Type(wanted.types[name]) if name in wanted.types else None
        cells = [row[at] for row in grid.rows]
        try:
            columns.append(_column(name, cells, of, wanted.bins))
        except BadQuery as error:
            wrong += error.mistakes
    if wrong:
        raise BadQuery(*wrong[:MISTAKES])
    schema = Schema(tuple(columns))
    if len(schema.modelled) < 2:
        raise BadQuery(
            Mistake("line 1", "fewer than two columns can be modelled", "give more, or say `types`")
        )
    return schema


def _column(name: str, cells: Sequence[str | None], said: Type | None, bins: int) -> Column:
    if said is Type.IGNORED:
        return Column(name, said, ())
    present = [cell for cell in cells if cell is not None]
    if not present:
        raise BadQuery(
            Mistake(
                f"column {name}",
                "every cell is missing",
                f"leave it out, or say it is ignored: types.{name}",
            )
        )
    counts = Counter(present)
    numbers = {text: _number(text) for text in counts}
    told = said or _told(name, counts, numbers, len(cells))
    if told is Type.IGNORED:
        return Column(name, told, ())
    gaps = len(present) < len(cells)
    if told is Type.NUMERIC:
        broken = [text for text, number in numbers.items() if number is None]
        if broken:
            raise BadQuery(
                Mistake(
                    f"column {name}",
                    f"{broken[0]!r} is no number",
                    "say it is nominal, or mend the cell",
                )
            )
        return _binned(name, [numbers[text] for text in present], bins, gaps)  # type: ignore[misc]
    if len(counts) > NAMES:
        raise BadQuery(
            Mistake(
                f"column {name}",
                f"{len(counts)} different values",
                f"the limit is {NAMES}: say it is numeric or ignored",
            )
        )
    if all(number is not None for number in numbers.values()):
        one = {number: text for text, number in sorted(numbers.items(), key=lambda i: -len(i[0]))}
        return Column(name, told, tuple(one[n] for n in sorted(one)), (), gaps)  # type: ignore[type-var]
    return Column(name, told, tuple(sorted(counts, key=_season)), (), gaps)


def _told(name: str, counts: Counter[str], numbers: Mapping[str, float | None], rows: int) -> Type:
    """The type of a column by its cells and, for cycles, its name."""
    every = [number for number in numbers.values() if number is not None]
    if len(every) < len(counts):
        seasonal = all(_season(text)[0] < math.inf for text in counts)
        if seasonal and len(counts) > 4:
            return Type.CYCLIC
        return Type.NOMINAL if len(counts) <= NAMES else Type.IGNORED
    whole = all(number.is_integer() for number in every)
    if whole and len(counts) == rows >= IDENTIFIERS:
        return Type.IGNORED
    spans = {"hour": (0, 23), "month": (1, 12), "weekday": (0, 7)}.get(name.lower())
    if spans and whole and spans[0] <= min(every) and max(every) <= spans[1] and len(every) > 4:
        return Type.CYCLIC
    return Type.ORDINAL if len(counts) <= FEW else Type.NUMERIC


def _season(text: str) -> tuple[float, str]:
    """The place of a month or a day of the week; names sort behind, by themselves."""
    low = text.lower()
    for names, full in ((MONTHS, 9), (DAYS, 9)):
        if low[:3] in names and len(low) <= full and (len(low) == 3 or low.isalpha()):
            return float(names.index(low[:3])), text
    return math.inf, text


def _binned(name: str, present: Sequence[float], bins: int, gaps: bool) -> Column:
    """Bins of about equal mass; a value with more than its share has a bin to itself."""
    every = np.sort(np.asarray(present, dtype=np.float64))
    values, counts = np.unique(every, return_counts=True)
    heavy = counts * bins >= len(every)
    room = max(1, bins - int(heavy.sum()))
    share = max(1.0, counts[~heavy].sum() / room)
    edges: list[float] = []
    mass = 0
    for k, (value, count, alone) in enumerate(zip(values, counts, heavy, strict=True)):
        if alone and mass:
            edges.append(float(values[k - 1]))
        mass += int(count)
        if alone or mass >= share:
            edges.append(float(value))
            mass = 0
    edges = [edge for edge in edges if edge < values[-1]]
    code = np.searchsorted(edges, every, side="left")
    middles = [every[code == k] for k in range(len(edges) + 1)]
    texts = [_shortest(part[(len(part) - 1) // 2]) for part in middles]
    return Column(name, Type.NUMERIC, tuple(texts), tuple(edges), gaps)


def _shortest(value: float) -> str:
    return (
        str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))
    )


def _number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and "_" not in text else None
