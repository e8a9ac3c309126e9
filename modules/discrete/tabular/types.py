"""What each column of a table holds, told by its cells, or by the user where they mislead."""

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from engine.errors import BadQuery, Mistake, known
from modules.discrete.tabular.cells import Missing, dated, decorated, number, numbers
from modules.discrete.tabular.reading import MISTAKES, SEPARATORS, Grid
from modules.discrete.tabular.schema import Column, Schema, Type

FEW = 12  # different numbers up to which a column is ordinal
NAMES = 256  # different names up to which a column is nominal
IDENTIFIERS = 1_000  # rows from which a column of all different whole numbers is an identifier
ALONE = 20  # rows from which columns of names or row numbers without any repetition are ignored
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
CYCLES = {"hour": (0, 23), "month": (1, 12), "weekday": (0, 7)}
_IDENTIFIER = re.compile(
    r"(?i:(.*[_\W])?(id|no|nr|key|index|idx|rows?|row_?(names|number)|uuid))|.*[a-z]I[Dd]"
)


@dataclass(frozen=True)
class Wanted:
    """What the user says of a schema; everything else is told by the cells.

    types: of single columns, by name. bins: of a numeric column. missing: the words that mean a
    missing cell.
    """

    types: Mapping[str, str] = field(default_factory=dict)
    bins: int = 32
    missing: tuple[str, ...] | None = None


def infer(grid: Grid, wanted: Wanted | None = None) -> Schema:
    """The schema of a table. Raises BadQuery where a column cannot be what the user says, or
    where most of its cells are numbers and some are neither numbers nor missing."""
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
    if len(grid.header) < 2:
        raise _one_column(grid)
    columns = []
    for at, name in enumerate(grid.header):
        cells = [_Cell(line, row[at]) for line, row in zip(grid.lines, grid.rows, strict=True)]
        try:
            columns.append(_column(name, cells, wanted))
        except BadQuery as error:
            wrong += error.mistakes
    if wrong:
        raise BadQuery(*wrong[:MISTAKES])
    schema = Schema(tuple(columns), wanted.missing)
    if len(schema.modelled) < 2:
        raise _too_narrow(schema)
    return schema


def _too_narrow(schema: Schema) -> BadQuery:
    problem = "fewer than two columns can be modelled"
    ignored = [f"{c.name}: {c.note}" for c in schema.columns if c.type is Type.IGNORED]
    remedy = f"give more, or say `types`; ignored are {'; '.join(ignored)}"
    return BadQuery(Mistake("line 1", problem, remedy))


def _one_column(grid: Grid) -> BadQuery:
    problem = f"{grid.header[0]!r} is one column, and a table has two or more"
    every = ", ".join(SEPARATORS.values())
    remedy = f"separate cells by a {every}, or name another in a first line such as `sep=:`"
    return BadQuery(Mistake("line 1", problem, remedy))


class _Cell(NamedTuple):
    line: int
    text: str | None


def _column(name: str, cells: Sequence[_Cell], wanted: Wanted) -> Column:
    said = Type(wanted.types[name]) if name in wanted.types else None
    if said is Type.IGNORED:
        return Column(name, said, (), note="as said")
    missing = Missing(wanted.missing)
    filled = [cell for cell in cells if cell.text is not None]
    left = [cell for cell in filled if not missing.means(cell.text or "", numbers=True)]
    read = numbers(cell.text or "" for cell in left)
    odd = [cell for cell in left if cell.text not in read]
    if not left and said is not Type.NOMINAL:
        raise BadQuery(
            Mistake(
                f"column {name}",
                "every cell is missing",
                f"leave it out, or say it is ignored: types.{name}"
                + ("; or nominal, where these words are names" if filled else ""),
            )
        )
    almost = len(left) - len(odd) + sum(decorated(cell.text or "") for cell in odd)
    if odd and (said is Type.NUMERIC or (said is None and 2 * almost >= len(left))):
        gone = {_text(cell) for cell in filled} - {_text(cell) for cell in left}
        raise BadQuery(_odd(name, odd, len(left), said, sorted(gone)))
    if odd or said is Type.NOMINAL:
        return _of_names(name, cells, said, missing)
    found = [read[cell.text or ""] for cell in left]
    gaps = len(left) < len(cells)
    note = _dropped(_text(cell) for cell in filled if cell.text not in read)
    told, why = (said, "") if said else _told(name, found, len(cells))
    note = "; ".join(filter(None, (why, note)))
    if told is Type.IGNORED:
        return Column(name, told, (), note=note)
    if told is Type.NUMERIC:
        return _binned(name, found, wanted.bins, gaps, note)
    _few_enough(name, len(read))
    return Column(name, told, _one_text_each(read), (), gaps, note)


def _text(cell: _Cell) -> str:
    return str(cell.text)


def _odd(
    name: str, odd: Sequence[_Cell], present: int, said: Type | None, gone: Sequence[str]
) -> Mistake:
    """Cells that are no numbers in a column of numbers; gone: its words for missing ones."""
    word = _text(odd[0])
    problem = f"{word!r} is no number"
    others = len({cell.text for cell in odd}) - 1
    problem += f", nor are {others} other words" if others else ""
    if said is None:
        problem += f"; {present - len(odd)} of {present} cells are"
        kinds = f"say what it is, as in {_param('types', {name: 'nominal'})} (or ignored)"
    else:
        kinds = "say it is nominal"
    if decorated(word):
        remedy = f"write numbers such as 1234.5; or {kinds}"
    else:
        words = _param("missing", [word, *gone])
        remedy = f"mend the cell or empty it; or say that it means missing: {words}; or {kinds}"
    return Mistake(f"line {odd[0].line}, column {name}", problem, remedy)


def _param(name: str, value: object) -> str:
    return f"--params '{json.dumps({name: value}, ensure_ascii=False)}'"


def _of_names(name: str, cells: Sequence[_Cell], said: Type | None, missing: Missing) -> Column:
    """A column of names, an order among them as said, or by the season."""
    filled = [cell for cell in cells if cell.text is not None]
    left = [cell for cell in filled if not missing.means(cell.text or "", numbers=False)]
    if not left:
        remedy = f"leave it out, or say it is ignored: types.{name}"
        raise BadQuery(Mistake(f"column {name}", "every cell is missing", remedy))
    counts = Counter(_text(cell) for cell in left)
    kept = set(map(id, left))
    notes = [_dropped(_text(cell) for cell in filled if id(cell) not in kept)]
    some = sum(times for text, times in counts.items() if number(text) is not None)
    if 0 < some < len(left):
        notes.append(f"{some} of {len(left)} cells are numbers, taken for names")
    told, why = (said, "") if said else _told_names(counts, len(cells))
    if told is Type.IGNORED:
        return Column(name, told, (), note="; ".join(filter(None, (why, *notes))))
    _few_enough(name, len(counts))
    gaps = len(left) < len(cells)
    if all(number(text) is not None for text in counts):
        read = {text: float(text) for text in counts}
        return Column(name, told, _one_text_each(read), (), gaps, "; ".join(filter(None, notes)))
    if missing.words is None:
        words = [text for text in counts if missing.means(text, numbers=True)]
        notes += [
            f"{_cells(counts[text])} {text!r}, a name here; if it means missing, list it in "
            "`missing`"
            for text in words
        ]
    if said is None and sum(map(dated, counts)) > len(counts) / 2:
        notes.append("dates are taken for names; give year, month, weekday as columns of numbers")
    note = "; ".join(filter(None, notes))
    return Column(name, told, tuple(sorted(counts, key=_season)), (), gaps, note)


def _dropped(words: Iterable[str]) -> str:
    """The words that were taken for missing cells."""
    counts = Counter(words)
    return ", ".join(f"{_cells(n)} {word!r}, taken as missing" for word, n in counts.items())


def _cells(count: int) -> str:
    return f"{count} cells say" if count > 1 else "1 cell says"


def _few_enough(name: str, count: int) -> None:
    if count > NAMES:
        remedy = f"the limit is {NAMES}: say it is numeric or ignored"
        raise BadQuery(Mistake(f"column {name}", f"{count} different values", remedy))


def _one_text_each(read: Mapping[str, float]) -> tuple[str, ...]:
    """Numbers in order, each in its longest writing that programs read."""
    one: dict[float, str] = {}
    for text, value in sorted(read.items(), key=lambda item: -len(item[0])):
        one.setdefault(value, text if number(text) is not None else _shortest(value))
    return tuple(one[value] for value in sorted(one))


def _told(name: str, found: Sequence[float], rows: int) -> tuple[Type, str]:
    """The type of a column of numbers, and why it is ignored."""
    different = set(found)
    low, high, count = min(different), max(different), len(different)
    whole = all(value.is_integer() for value in different)
    spans = CYCLES.get(name.lower())
    if spans and whole and spans[0] <= low and high <= spans[1] and count > 4:
        return Type.CYCLIC, ""
    if whole and count == rows >= ALONE:
        remedy = f"to use it say {_param('types', {name: 'numeric'})}"
        if high - low == rows - 1:
            return Type.IGNORED, f"it numbers the rows; {remedy}"
        if rows >= IDENTIFIERS or _IDENTIFIER.fullmatch(name):
            return Type.IGNORED, f"every cell is another whole number, as of identifiers; {remedy}"
    return (Type.ORDINAL if count <= FEW else Type.NUMERIC), ""


def _told_names(counts: Counter[str], rows: int) -> tuple[Type, str]:
    """The type of a column of names, and why it is ignored."""
    seasonal = all(_season(text)[0] < math.inf for text in counts)
    if seasonal and len(counts) > 4:
        return Type.CYCLIC, ""
    why = ""
    if len(counts) > NAMES:
        why = f"{len(counts)} different texts, over {NAMES}"
    elif len(counts) == sum(counts.values()) and rows >= ALONE < len(counts):
        why = "every cell is another text"
    if why and sum(map(dated, counts)) > len(counts) / 2:
        why += "; they look like dates: give year, month, weekday as columns of numbers"
    return (Type.IGNORED if why else Type.NOMINAL), why


def _season(text: str) -> tuple[float, str]:
    """The place of a month or a day of the week; names sort behind, by themselves."""
    low = text.lower()
    for names, full in ((MONTHS, 9), (DAYS, 9)):
        if low[:3] in names and len(low) <= full and (len(low) == 3 or low.isalpha()):
            return float(names.index(low[:3])), text
    return math.inf, text


def _binned(name: str, present: Sequence[float], bins: int, gaps: bool, note: str) -> Column:
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
    return Column(name, Type.NUMERIC, tuple(texts), tuple(edges), gaps, note)


def _shortest(value: float) -> str:
    return (
        str(int(value)) if float(value).is_integer() and abs(value) < 1e15 else repr(float(value))
    )
